"""What tests need: an endpoint that answers from a script, and a server that behaves as Ollama does."""

from __future__ import annotations

from vwt_agents.endpoints.scripted import Answer, Script, ScriptedEndpoint
from vwt_agents.testing.faults import Fault
from vwt_agents.testing.ollama_server import OllamaServer
from vwt_agents.testing.replies import ServedModel

__all__ = ["Answer", "Fault", "OllamaServer", "Script", "ScriptedEndpoint", "ServedModel"]
