"""Real servers on demand for tests: the scripted Ollama as a process, a free port, and nothing left of them afterwards."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import anyio

from vwt_agents.deployments import Deployment
from vwt_agents.deployments.folder import Record, ServerFolder
from vwt_agents.deployments.kept import KeptServer
from vwt_agents.endpoints.ollama import OllamaEndpoint

SERVER = (sys.executable, "-m", "vwt_agents.testing", "--model", "small:1b=300", "--model", "large:2b=600")


def free_port() -> int:
    """A port that stays free until a server has it: below those that Linux gives to whoever asks for any."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as one, suppress(OSError):
            one.bind(("127.0.0.1", port))
            return port


def server(folder: Path, /, *, port: int | None = None, command: tuple[str, ...] = SERVER, **more: Any) -> KeptServer:
    """A deployment at a free port, its files in `folder`; as another process or another run would have it."""
    address = f"127.0.0.1:{port or free_port()}"
    settings: dict[str, Any] = {"command": command, "timeout": 20.0, "idle_stop": 60.0, **more}
    settings["env"] = MappingProxyType({"OLLAMA_HOST": address, **settings.get("env", {})})
    return again(KeptServer(Deployment("large", f"http://{address}", **settings), ServerFolder(folder), _never))


def again(kept: KeptServer) -> KeptServer:
    """The same server, with a probe of its own."""
    probe = OllamaEndpoint("large", kept.deployment.url).probe

    async def answers() -> bool:
        return (await probe()).ok

    return KeptServer(kept.deployment, ServerFolder(kept.folder.path), answers)


async def _never() -> bool:
    return False


async def until(fact: Callable[[], Any], within: float = 15.0) -> Any:
    """What `fact` returns once it is true."""
    with anyio.fail_after(within):
        while not (found := fact()):  # noqa: ASYNC110 - facts of other processes: there is no event
            await anyio.sleep(0.01)
    return found


def record(kept: KeptServer) -> Record:
    found = kept.folder.record()
    assert found is not None
    return found


def server_pid(kept: KeptServer) -> int:
    mark = record(kept).server
    assert mark is not None
    return mark.pid


@contextmanager
def nothing_left_in(folder: Path) -> Iterator[None]:
    """Whatever servers and keepers are written of below `folder` are killed at the end."""
    try:
        yield
    finally:
        for path in folder.rglob("record.json"):
            left = ServerFolder(path.parent)
            found = left.record()
            marks = [] if found is None else [found.keeper if left.kept() else None, found.server]
            for mark in marks:
                if mark is not None and not mark.gone():
                    with suppress(ProcessLookupError):
                        os.kill(mark.pid, signal.SIGKILL)
