"""One run of tests against code, in one sandbox or in two. Owns what is put where and the private lines; judges nothing.

Isolated, the tests' sandbox has pytest, the tests and `stand_in`; the code's has the code and `served`; the socket between
them is the only thing they share. Both start at once, so that the second costs next to nothing.
"""

from __future__ import annotations

import functools
import json
import secrets
import socket
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vwt_agents.errors import SandboxUnavailable
from vwt_agents.sandbox.base import BOX, Backend, Limits, Mount, SandboxResult, python
from vwt_agents.sandbox.made_lines import made_lines
from vwt_agents.sandbox.records import Report, read_records
from vwt_agents.sandbox.suite_files import checked_files, module_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Trial", "try_tests"]

_TESTS, _TRUSTED, _SERVING = "/tests", "/trusted", "/serving"
_MOST_RECORDS = 16 * 1024 * 1024
_STANDING_IN = (
    "driver",
    "wire",
    "held",
    "bases",
    "decoys",
    "asking",
    "handles",
    "operators",
    "classes",
    "value_classes",
    "code_modules",
    "exchange",
    "stand_in",
)
_START = """\
import importlib, sys
sys.path.insert(0, __file__.rpartition("/")[0])
main = importlib.import_module("vwt_agents.sandbox." + sys.argv[1]).main
del sys.path[0]
for name in [one for one in sys.modules if one.partition(".")[0] == "vwt_agents"]:
    del sys.modules[name]
main(*sys.argv[2:])
"""


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
    from vwt_agents.sandbox.supervise import stage_folder, write_files

    token = secrets.token_hex(8)
    with stage_folder() as stage:
        trusted = _made(stage, "trusted")
        _put_trusted(trusted, token, (code, tests) if isolated else None)
        mounts = (Mount(trusted, _TRUSTED), Mount(write_files(_made(stage, "tests"), checked_files(tests)), _TESTS))
        work = write_files(_made(stage, "code"), checked_files(code))
        tests_side = _Side(backend, mounts, limits, f"{_TRUSTED}/test_{token}.py", _import_paths(paths))
        if not isolated:
            result, said = await tests_side.run(work)
            return Trial(result, read_records(bytes(said.data), said.key), token)
        serving = _made(stage, "serving")
        _put_package(serving, ("wire", "held", "bases", "served", "served_values"))
        code_side = _CodeSide(backend, Mount(serving, _SERVING), limits, work)
        return await _in_two(tests_side, code_side, token)


def _import_paths(names: Sequence[str]) -> tuple[str, ...]:
    """Where modules are looked for besides the tops, in the sandbox's words: first all of the tests, then those of the code."""
    checked_files(dict.fromkeys((name for name in names if name != "."), ""))
    return tuple(f"{root}/{name}" for root in (_TESTS, BOX) for name in names if name != ".")


def _made(stage: str, name: str) -> Path:
    folder = Path(stage, name)
    folder.mkdir()
    return folder


def _put_trusted(folder: Path, token: str, apart: tuple[Mapping[str, str], Mapping[str, str]] | None) -> None:
    """The sentinels, what runs the tests, and, where code and tests are apart, what stands in for the code."""
    sentinels = f"def test_good_{token}():\n    assert 1 == 1\n\n\ndef test_bad_{token}():\n    assert 1 == 2\n"
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    (folder / f"test_{token}.py").write_text(sentinels, encoding="utf-8")
    _put_package(folder, ("driver",) if apart is None else _STANDING_IN)
    if apart is not None:
        code, tests = apart
        modules, packages = module_names(code)
        made = made_lines(tests, modules)
        names = json.dumps({"modules": sorted(modules), "packages": sorted(packages), "made": made})
        (folder / "code.json").write_text(names, encoding="utf-8")


def _put_package(folder: Path, names: Iterable[str]) -> None:
    """Put these modules of ours there, and what starts one of them; the sandbox has no other part of the package."""
    package = folder / "vwt_agents" / "sandbox"
    package.mkdir(parents=True)
    (folder / "start.py").write_text(_START, encoding="utf-8")
    for name in names:
        (package / f"{name}.pyc").write_bytes(_compiled(name))


@functools.cache
def _compiled(name: str) -> bytes:
    """A module of ours, compiled: read anew by each run, its text would cost more than the second sandbox."""
    import py_compile
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, name)
        source = Path(__file__).with_name(f"{name}.py")
        py_compile.compile(str(source), str(made), dfile=f"{name}.py", doraise=True)
        return made.read_bytes()


def _sites() -> list[str]:
    from importlib.util import find_spec

    spec = find_spec("pytest")
    if spec is None or spec.origin is None:
        raise SandboxUnavailable(
            f"tests are run by pytest, which {sys.executable} does not have", hint="pip install pytest"
        )
    return [str(Path(spec.origin).parent.parent)]


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
    return Trial(result, read_records(bytes(said.data), said.key), token, code_side.result)


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
            _drain(ours, said)
        return result, said

    def _words(self, records: int, link: int | None) -> tuple[str, ...]:
        if link is None:
            return ("driver", str(records), self.sentinel, BOX, _TESTS)
        return ("stand_in", str(records), self.sentinel, _TESTS, str(link))


async def _listen(ours: socket.socket, said: _Said) -> None:
    import anyio

    while True:
        await anyio.wait_readable(ours)
        if not _drain(ours, said):
            return


def _drain(ours: socket.socket, said: _Said) -> bool:
    """Read what is there; False at the end of the stream."""
    while True:
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
