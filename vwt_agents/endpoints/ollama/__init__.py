"""Ollama as an endpoint: the one place that imports the `ollama` package.

`OllamaClient` is one server's API in our words; `OllamaEndpoint` adds what the core relies on: a load is wholly on its
device or it failed, an unload has ended when its memory is free. Neither decides what is resident, or retries.
"""

from vwt_agents.endpoints.ollama.client import OllamaClient
from vwt_agents.endpoints.ollama.endpoint import OllamaEndpoint

__all__ = ["OllamaClient", "OllamaEndpoint"]
