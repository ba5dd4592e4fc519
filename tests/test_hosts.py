"""Addresses that are one server are one in all books, however they are written."""

from __future__ import annotations

import socket
from contextlib import suppress

import pytest

from vwt_agents import hosts
from vwt_agents.hosts import is_loopback, one_server


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:11434",
        "http://localhost:11434",
        "http://LOCALHOST:11434/",
        "HTTP://[::1]:11434",
        " http://127.0.0.1:11434/ ",
    ],
)
def test_this_machine_has_one_spelling(url: str) -> None:
    assert one_server(url) == "http://127.0.0.1:11434"


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("box", "http://box:11434"),
        ("Box.lan", "http://BOX.lan:11434"),
        ("box.lan", "http://box:11434"),
        ("box", "http://box.local:11434"),
    ],
)
def test_this_machine_may_be_called_by_its_own_name(name: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: name)
    hosts._own_names.cache_clear()
    try:
        assert one_server(url) == "http://127.0.0.1:11434"
        assert one_server("http://box.elsewhere:11434") == "http://box.elsewhere:11434"
    finally:
        hosts._own_names.cache_clear()


def _addresses() -> list[str]:
    """What this machine is reached by from elsewhere: nothing is sent."""
    found = []
    for family, elsewhere in ((socket.AF_INET, "198.51.100.1"), (socket.AF_INET6, "2001:db8::1")):
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as one:
            one.connect((elsewhere, 9))
            address = one.getsockname()[0]
            found.append(f"[{address}]" if family == socket.AF_INET6 else address)
    return found


@pytest.mark.skipif(not _addresses(), reason="this machine has no address in a network")
def test_this_machine_may_be_called_by_its_address_in_the_network() -> None:
    for address in _addresses():
        assert one_server(f"http://{address}:11434/") == "http://127.0.0.1:11434"


def test_a_name_is_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has to answer that may not."""

    def asked(*_: object, **__: object) -> None:
        raise AssertionError

    for lookup in ("getaddrinfo", "gethostbyname", "getfqdn"):
        monkeypatch.setattr(f"socket.{lookup}", asked)
    assert one_server("http://gpu.example:11434") == "http://gpu.example:11434"


@pytest.mark.parametrize(
    ("url", "spelt"),
    [
        ("http://localhost", "http://127.0.0.1:80"),
        ("https://Box", "https://box:443"),
        ("https://box:443/ollama/", "https://box:443/ollama"),
        ("http://[fe80::1]:9", "http://[fe80::1]:9"),
        ("http://127.0.0.2:11434", "http://127.0.0.2:11434"),  # a server of its own may listen there
        ("http://198.51.100.7:11434", "http://198.51.100.7:11434"),
        ("http://[2001:db8::7]:11434", "http://[2001:db8::7]:11434"),
        ("http://mylocalhost.example:1", "http://mylocalhost.example:1"),
        ("http://[::1", "http://[::1"),
        ("http://box:port", "http://box:port"),
        ("unix:/run/x", "unix:/run/x"),
        ("", ""),
    ],
)
def test_any_other_has_its_own_with_its_port(url: str, spelt: str) -> None:
    assert one_server(url) == spelt == one_server(spelt)


def test_all_of_loopback_is_this_machine() -> None:
    urls = ("http://127.0.0.2:1", "http://localhost:1", "http://[::1]:1", "http://box:1")
    assert [is_loopback(url) for url in urls] == [True, True, True, False]
