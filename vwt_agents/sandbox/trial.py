"""One run of tests against code, in one sandbox or in two. Owns what is put where and the private lines; judges nothing.

Isolated, the tests' sandbox has pytest, the tests and `stand_in`; the code's has the code and `served`; the socket between
them is the only thing they share. Both start at once, so that the second costs next to nothing.
"""

from __future__ import annotations

import functools
import json
import secrets
import socket
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vwt_agents.errors import SandboxUnavailable
from vwt_agents.sandbox.base import BOX, Backend, Limits, Mount, SandboxResult, python
from vwt_agents.sandbox.made_lines import lines_of_tests
from vwt_agents.sandbox.program import package
from vwt_agents.sandbox.pytest_inside import no_pytest, sites
from vwt_agents.sandbox.records import Report, read_records
from vwt_agents.sandbox.suite_files import checked_files, module_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Trial", "try_tests"]

_TESTS, _TRUSTED, _OWN, _SERVING = "/tests", "/trusted", "/trusted-run", "/serving"
_MOST_RECORDS = 16 * 1024 * 1024
_MOST_LEFT = 256  # pieces in the socket when the run has ended: more than its buffer holds
_MODULES = {
    "driving": ("driver",),
    "standing-in": (
        *("driver", "wire", "held", "bases", "decoys", "asking", "handles", "operators", "classes", "value_classes"),
        *("code_modules", "counting", "exchange", "stand_in"),
    ),
    "serving": ("wire", "held", "bases", "served", "served_values"),
}


@dataclass(frozen=True, slots=True)
class Trial:
    """How the tests' process ended, what it reported, and how the code's own process ended, if it had one and that ended."""

    result: SandboxResult
    report: Report
    token: str
    code: SandboxResult | None = None


@dataclass(slots=True)
class _Said:
    key: bytes
    data: bytearray = field(default_factory=bytearray)


async def try_tests(
    backend: Backend,
    code: Mapping[str, str],
    tests: Mapping[str, str],
    *,
    limits: Limits,
    isolated: bool,
    paths: Sequence[str] = (),
) -> Trial:
    """Run the tests. UsageError for unusable files, SandboxUnavailable without sandbox or pytest.

    `paths` are folders that modules are looked for in besides the tops; only where the code is not isolated.
    """
    from vwt_agents.sandbox.folders import stage_folder, write_files

    token = secrets.token_hex(8)
    letters = sum(len(text) for texts in (code, tests) for text in texts.values())
    mib = 2 * letters / 1e6  # a letter may be several bytes
    with stage_folder(mib) as stage:
        mounts = (
            Mount(_package(backend, stage, "standing-in" if isolated else "driving"), _TRUSTED),
            Mount(write_files(_made(stage, "own"), _own_files(token, (code, tests) if isolated else None)), _OWN),
            Mount(write_files(_made(stage, "tests"), checked_files(tests)), _TESTS),
        )
        work = write_files(_made(stage, "code"), checked_files(code))
        tests_side = _Side(backend, mounts, limits, f"{_OWN}/test_{token}.py", _import_paths(paths))
        if not isolated:
            result, said = await tests_side.run(work)
            return Trial(result, _reported(said), token)
        code_side = _CodeSide(backend, Mount(_package(backend, stage, "serving"), _SERVING), limits, work)
        return await _in_two(tests_side, code_side, token)


def _import_paths(names: Sequence[str]) -> tuple[str, ...]:
    """Where modules are looked for besides the tops, in the sandbox's words: first all of the tests, then those of the code."""
    checked_files(dict.fromkeys((name for name in names if name != "."), ""))
    return tuple(f"{root}/{name}" for root in (_TESTS, BOX) for name in names if name != ".")


def _made(stage: str, name: str) -> Path:
    folder = Path(stage, name)
    folder.mkdir()
    return folder


def _package(backend: Backend, stage: str, name: str) -> Path:
    """A folder with modules of ours; the same one each time where no program could have written to it."""
    from vwt_agents.sandbox.folders import kept, write_all

    files = functools.partial(package, _MODULES[name])
    return kept(name, files) if backend.level == "full" else write_all(Path(stage, name), files())


def _own_files(token: str, apart: tuple[Mapping[str, str], Mapping[str, str]] | None) -> dict[str, str]:
    """What is of this run only: the sentinels, pytest's settings, and, where code and tests are `apart`, which names are the
    code's and what the tests make of them.
    """
    sentinels = f"def test_good_{token}():\n    assert 1 == 1\n\n\ndef test_bad_{token}():\n    assert 1 == 2\n"
    files = {"pytest.ini": "[pytest]\n", f"test_{token}.py": sentinels}
    if apart is not None:
        code, tests = apart
        modules, packages = module_names(code)
        names = {"modules": sorted(modules), "packages": sorted(packages)}
        files["code.json"] = json.dumps({**names, **lines_of_tests(tests, modules)})
    return files


def _sites() -> list[str]:
    found = sites()
    if not found:
        raise no_pytest("")
    return [str(one) for one in found]


def _reported(said: _Said) -> Report:
    """What the driver said; SandboxUnavailable when it could not begin, which it says before any code to be judged is there."""
    report = read_records(bytes(said.data), said.key)
    if report.no_pytest is not None:
        raise no_pytest(report.no_pytest)
    return report


# ---- two sandboxes


@dataclass(slots=True)
class _CodeSide:
    """The code, served on a socket."""

    backend: Backend
    serving: Mount
    limits: Limits
    work: Path
    result: SandboxResult | None = None

    async def run(self, line: socket.socket) -> None:
        """Serve until the tests' side ends; the socket is closed then, so that nobody waits for an answer."""
        # Longer than the tests have, so that a hanging test is ended, and named, on its own side.
        limits = replace(self.limits, wall_s=self.limits.wall_s + 5)
        target = self.serving.target
        argv = (python(), "-I", "-B", f"{target}/start.py", "served", str(line.fileno()), BOX, *_sites())
        with line:
            self.result = await self.backend.run(
                argv, workdir=self.work, limits=limits, read_only=(self.serving,), pass_fds=(line.fileno(),)
            )


async def _in_two(tests_side: _Side, code_side: _CodeSide, token: str) -> Trial:
    import anyio

    asking, serving = socket.socketpair()
    ended: list[tuple[SandboxResult, _Said]] = []
    faults: list[SandboxUnavailable] = []
    with asking, serving:
        async with anyio.create_task_group() as group:

            async def serve() -> None:
                try:
                    await code_side.run(serving)
                except SandboxUnavailable as error:
                    faults.append(error)
                    group.cancel_scope.cancel()

            group.start_soon(serve)
            try:
                ended.append(await tests_side.run(None, asking.fileno()))
            except SandboxUnavailable as error:
                faults.append(error)
            group.cancel_scope.cancel()
    if faults:
        raise faults[0]
    result, said = ended[0]
    return Trial(result, _reported(said), token, code_side.result)


# ---- the tests' sandbox


@dataclass(frozen=True, slots=True)
class _Side:
    """The tests, pytest and the driver; the code too when `work` is its folder."""

    backend: Backend
    mounts: tuple[Mount, ...]
    limits: Limits
    sentinel: str
    paths: tuple[str, ...]

    async def run(self, work: Path | None, link: int | None = None) -> tuple[SandboxResult, _Said]:
        """Run to the end, and read meanwhile what the driver reports; `link` leads to the code, if that is elsewhere."""
        import anyio

        said = _Said(secrets.token_bytes(32))
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)  # noqa: FBT003
            ours.send(json.dumps({"key": said.key.hex(), "sites": _sites(), "paths": self.paths}).encode() + b"\n")
            argv = (python(), "-I", "-B", f"{_TRUSTED}/start.py", *self._words(theirs.fileno(), link))
            async with anyio.create_task_group() as group:
                group.start_soon(_listen, ours, said)
                result = await self.backend.run(
                    argv,
                    workdir=work,
                    limits=self.limits,
                    env={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
                    read_only=self.mounts,
                    pass_fds=(theirs.fileno(), *([link] if link is not None else [])),
                )
                group.cancel_scope.cancel()
            _drain(ours, said, _MOST_LEFT)
        return result, said

    def _words(self, records: int, link: int | None) -> tuple[str, ...]:
        if link is None:
            return ("driver", str(records), self.sentinel, BOX, _TESTS)
        return ("stand_in", str(records), self.sentinel, _TESTS, str(link))


async def _listen(ours: socket.socket, said: _Said) -> None:
    import anyio

    while True:
        await anyio.wait_readable(ours)
        # One piece at a time: while processes write faster than this reads, others must have a turn, such as the wall clock.
        if not _drain(ours, said, 1):
            return


def _drain(ours: socket.socket, said: _Said, pieces: int) -> bool:
    """Read what is there, so many pieces at most; False at the end of the stream."""
    for _ in range(pieces):
        try:
            data = ours.recv(65536)
        except BlockingIOError:
            return True
        except ConnectionResetError:
            return False
        if not data:
            return False
        if len(said.data) < _MOST_RECORDS:
            said.data += data
    return True
