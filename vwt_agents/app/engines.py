"""What a trace calls the engine behind an endpoint, and where its server is. Never connects to it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from vwt_agents.endpoints.address import server_url
from vwt_agents.errors import EndpointUnavailable
from vwt_agents.traces import Engine

if TYPE_CHECKING:
    from vwt_agents.config import EndpointSettings

__all__ = ["engine_of"]


def engine_of(endpoint: EndpointSettings) -> Engine:
    """The engine of an endpoint of agents.toml; without an address where it has none, or one that is none."""
    if endpoint.kind == "embedded":
        return Engine("llama.cpp")
    try:
        url = urlsplit(server_url(endpoint.url))
    except EndpointUnavailable:
        return Engine(endpoint.kind)
    return Engine(endpoint.kind, url.hostname or "", url.port or 0)
