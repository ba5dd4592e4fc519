"""What tests need: an endpoint that answers from a script, and a server that behaves as Ollama does."""

from __future__ import annotations

from vwt_agents.endpoints.scripted import Answer, Script, ScriptedEndpoint
from vwt_agents.testing.ollama_server import OllamaServer, ServedModel

__all__ = ["Answer", "OllamaServer", "Script", "ScriptedEndpoint", "ServedModel"]
