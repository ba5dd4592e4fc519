"""What tests need: whole runs with recorded or given answers, an endpoint that answers from a script, and a server that
behaves as Ollama does.

Names are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from vwt_agents.endpoints.scripted import Answer, Script, ScriptedEndpoint
    from vwt_agents.testing.faults import Fault
    from vwt_agents.testing.ollama_server import OllamaServer
    from vwt_agents.testing.recording import Recording
    from vwt_agents.testing.replies import ServedModel
    from vwt_agents.testing.vwt_app import Answers, VwtApp

__all__ = [
    "Answer",
    "Answers",
    "Fault",
    "OllamaServer",
    "Recording",
    "Script",
    "ScriptedEndpoint",
    "ServedModel",
    "VwtApp",
]

_HOMES: Final = {
    "Answer": "endpoints.scripted",
    "Answers": "testing.vwt_app",
    "Fault": "testing.faults",
    "OllamaServer": "testing.ollama_server",
    "Recording": "testing.recording",
    "Script": "endpoints.scripted",
    "ScriptedEndpoint": "endpoints.scripted",
    "ServedModel": "testing.replies",
    "VwtApp": "testing.vwt_app",
}


def __getattr__(name: str) -> Any:
    if (home := _HOMES.get(name)) is None:
        raise AttributeError(f"module 'vwt_agents.testing' has no attribute {name!r}")
    import importlib

    value = globals()[name] = getattr(importlib.import_module(f"vwt_agents.{home}"), name)
    return value
