"""What is written down of one server, and the locks around it. Owns the files; starts, stops and asks nothing.

keeper.lock      held by the process that looks after the server, as long as it lives
door.lock        held for moments: by a user who registers, and by the keeper while it makes sure that there is none
users/PID-N      one for each user, locked as long as it uses the server; a dead user's lock is free
record.json      what was started, by whom, how it stands; `known.json` what the server has, noted when it was up
server.log       the server's own words since its last start, and compose's; keeper.log those of the keeper
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from vwt_agents.deployments.deployment import Deployment
from vwt_agents.deployments.locks import FileLock
from vwt_agents.processes import ProcessMark
from vwt_agents.whole import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

__all__ = ["Record", "ServerFolder", "State", "Use"]

State: TypeAlias = Literal["starting", "running", "stopping", "stopped", "failed"]

_TAIL_BYTES: Final = 8 * 1024
_TAIL_LINES: Final = 12
_PATIENCE_S: Final = 5.0
_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Record:
    """How a server we started stands: `said` why it failed, stopped or (where it is left `stopping`) could not be stopped;
    `at` is when it came to `state`, in seconds since 1970.

    `server` is the process of a command. `used_at` is when it was last seen in use.
    """

    state: State
    deployment: Deployment
    keeper: ProcessMark
    server: ProcessMark | None = None
    said: str = ""
    at: float = 0.0
    used_at: float = 0.0

    def lives(self) -> bool:
        """Whether what was started may still be there. Of a service only its url can tell."""
        if self.state in {"stopped", "failed"}:
            return False
        return not self.server.gone() if self.server is not None else bool(self.deployment.compose)

    def failed(self, deployment: Deployment, *, since: float) -> bool:
        """Whether this very start failed after that moment, whoever began it."""
        return self.state == "failed" and self.at >= since and self.deployment.same_start(deployment)


class Use:
    """That this process uses a server, until `end` or until the process dies."""

    def __init__(self, lock: FileLock) -> None:
        self._lock = lock

    def end(self) -> None:
        """No longer. Ending twice is no error."""
        self._lock.let_go(remove=True)


class ServerFolder:
    """The files of one server, in a folder of its own that only its owner may read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keeper = FileLock(path / "keeper.lock")
        self.door = FileLock(path / "door.lock")

    @property
    def log(self) -> Path:
        """The server's own words."""
        return self.path / "server.log"

    def make(self) -> None:
        """Make the folder; OSError where it cannot be."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.path / "users").mkdir(mode=0o700, exist_ok=True)

    # -- who uses it --------------------------------------------------------------------------------------------------

    def register(self) -> Use | None:
        """This process uses the server from now on; None while the door is shut for a moment: ask again."""
        if not self.door.take():
            return None
        try:
            lock = FileLock(self.path / "users" / f"{os.getpid()}-{next(_numbers)}")
            return Use(lock) if lock.take() else None
        finally:
            self.door.let_go()

    def users(self) -> tuple[int, ...]:
        """The process ids of those who use the server now, one for each use."""
        return tuple(int(path.name.partition("-")[0]) for path in self._uses() if FileLock(path).taken())

    def forget_dead_users(self) -> None:
        """Remove what dead users left; only behind the door, where nobody is about to lock a file of his."""
        for path in self._uses():
            lock = FileLock(path)
            if lock.take():
                lock.let_go(remove=True)

    def shut_door(self) -> None:
        """Take the door; TimeoutError when somebody stands in it for longer than anybody has business there."""
        until = time.monotonic() + _PATIENCE_S
        while not self.door.take():
            if time.monotonic() > until:
                raise TimeoutError(f"{self.door.path} is held by another process")
            time.sleep(0.002)

    def _uses(self) -> Iterator[Path]:
        folder = self.path / "users"
        return iter(sorted(folder.iterdir())) if folder.is_dir() else iter(())

    # -- how it stands ------------------------------------------------------------------------------------------------

    def kept(self) -> bool:
        """Whether a living process looks after the server."""
        return self.keeper.taken()

    def record(self) -> Record | None:
        """What was last written of it; None where nothing (that this version can read) was."""
        data = self.read("record.json")
        try:
            server = ProcessMark(**data["server"]) if data["server"] is not None else None
            deployment, keeper = Deployment.from_json(data["deployment"]), ProcessMark(**data["keeper"])
            return Record(data["state"], deployment, keeper, server, data["said"], data["at"], data["used_at"])
        except (KeyError, TypeError):
            return None

    def write_record(self, record: Record) -> Record:
        """Replace what is written; returns it with the time of now, if the state is a new one."""
        before = self.record()
        same = before is not None and (before.state, before.keeper) == (record.state, record.keeper)
        stamped = record if same else replace(record, at=time.time())
        server = asdict(stamped.server) if stamped.server is not None else None
        parts = {"state": stamped.state, "said": stamped.said, "at": stamped.at, "used_at": stamped.used_at}
        parts |= {"server": server, "keeper": asdict(stamped.keeper), "deployment": stamped.deployment.as_json()}
        self.write("record.json", parts)
        return stamped

    def read(self, name: str) -> dict[str, Any]:
        """A JSON object from one of its files; empty where there is none."""
        try:
            data = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return data if isinstance(data, dict) else {}

    def write(self, name: str, data: Mapping[str, Any]) -> None:
        """Replace one of its files as a whole."""
        write_whole(self.path / name, json.dumps(data).encode(), mode=0o600)  # the environment may hold a key

    def tail(self) -> str:
        """The last lines of the server's log; empty where it said nothing."""
        try:
            with self.log.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - _TAIL_BYTES))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return ""
        return "\n".join(text.strip().splitlines()[-_TAIL_LINES:])
