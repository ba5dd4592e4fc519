"""Where an Ollama server is and what its models are called. Never connects to it.

Owns the forms of OLLAMA_HOST and the one spelling of a model's name.
"""

from __future__ import annotations

import ipaddress
import os
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from vwt_agents.config import canonical as spelt
from vwt_agents.errors import EndpointUnavailable

if TYPE_CHECKING:
    from urllib.parse import SplitResult

__all__ = ["DEFAULT_URL", "canonical", "server_url"]

DEFAULT_URL: Final = "http://127.0.0.1:11434"

_SCHEME_PORTS: Final = {"http": 80, "https": 443}
_OLLAMA_PORT: Final = 11434


def canonical(model: str) -> str:
    """The one spelling of a model's name: lower case, with its tag, because Ollama ignores case and means `latest`."""
    return spelt(model.strip())


def server_url(text: str | None = None) -> str:
    """The base URL meant by `text`, else by OLLAMA_HOST, else the default; every form that `ollama` itself accepts.

    `host`, `host:port`, `:port`, `http(s)://host[:port][/path]`; an address to listen on (0.0.0.0, [::]) becomes
    the loopback address that reaches it. EndpointUnavailable when it is none of these.
    """
    source = "url" if text else "OLLAMA_HOST"
    given = (text or os.environ.get("OLLAMA_HOST", "")).strip().strip("\"'").strip()
    if not given:
        return DEFAULT_URL
    scheme, separator, rest = given.partition("://")
    if not separator:
        scheme, rest = "http", given
    parts, port = _split(scheme.lower(), rest, f"{source} {given!r}")
    if port is None:
        port = _SCHEME_PORTS[parts.scheme] if separator else _OLLAMA_PORT
    path = parts.path.strip("/")
    return f"{parts.scheme}://{_reachable(parts.hostname or '127.0.0.1')}:{port}" + (f"/{path}" if path else "")


def _split(scheme: str, rest: str, what: str) -> tuple[SplitResult, int | None]:
    hint = "write it as host:port or http://host:port, such as 127.0.0.1:11434"
    if scheme not in _SCHEME_PORTS:
        raise EndpointUnavailable(f"{what} is not an address of Ollama: {scheme}:// is not http://", hint=hint)
    try:
        parts = urlsplit(f"{scheme}://{rest}")
        port = parts.port
    except ValueError as error:
        raise EndpointUnavailable(f"{what} is not the address of an Ollama server: {error}", hint=hint) from error
    return parts, port


def _reachable(host: str) -> str:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        address = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")
    return str(address) if address.version == 4 else f"[{address}]"
