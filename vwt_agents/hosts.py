"""Servers by their addresses: which of them name one server, so that nothing of it is counted twice. Sends nothing.

Owns the one spelling to compare by. A server is connected to by the address its user wrote.
"""

from __future__ import annotations

import ipaddress
from functools import cache
from typing import Final
from urllib.parse import urlsplit

__all__ = ["is_loopback", "one_server"]

_THIS: Final = "127.0.0.1"
_NAMES: Final = frozenset({"localhost", _THIS, "::1"})
"""What this machine is called where one server listens: a server of its own may listen at 127.0.0.2."""
_PORTS: Final = {"http": 80, "https": 443}


def is_loopback(url: str) -> bool:
    """True when the URL names this machine, so that no proxy has any business with it."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def one_server(url: str) -> str:
    """The URL as all who mean its server write it: lower case, with its port, and this machine, also by its name or its
    address in the network, as 127.0.0.1.

    What is no URL with a host is given back without a slash at its end.
    """
    plain = url.strip().rstrip("/")
    try:
        parts = urlsplit(plain)
        host, port = parts.hostname, parts.port
    except ValueError:  # a port that is no number, a bracket that does not close
        return plain.lower()
    if host is None or parts.scheme not in _PORTS:
        return plain.lower()
    if host in _NAMES or host in _own_names() or _is_own(host):
        host = _THIS
    elif ":" in host:
        host = f"[{host}]"
    return f"{parts.scheme}://{host}:{port or _PORTS[parts.scheme]}{parts.path}"


@cache
def _own_names() -> frozenset[str]:
    import socket  # here, because most addresses are no names and a start is to be fast

    name = socket.gethostname().lower()
    short = name.partition(".")[0]
    return frozenset({name, short, f"{short}.local"} if short else ())


@cache
def _is_own(host: str) -> bool:
    """Whether it is an address that this machine has in a network; of a name nobody is asked, who might not answer."""
    import socket

    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    if address.is_loopback:  # a server of its own may listen there
        return False
    try:
        with socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as one:
            one.connect((host, 9))  # of datagrams: the system says from where it would send, and sends nothing
            return ipaddress.ip_address(one.getsockname()[0]) == address
    except OSError:
        return False
