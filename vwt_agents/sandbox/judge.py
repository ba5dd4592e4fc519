"""Did the tests truly pass? Owns the Verdict and how it is known; believes signed records only, never output or exit codes.

The code runs in the tests' own process (integrity `same-process`), so what it could forge is made to show: records are
signed, two sentinel tests with random names must fail and pass, and every test function found in the trusted text must
have passed cleanly. A judge that keeps the code in another sandbox fits behind `judge` and stamps `isolated`.
"""

from __future__ import annotations

import ast
import hashlib
import hmac
import json
import secrets
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from vwt_agents.errors import SandboxUnavailable, UsageError
from vwt_agents.sandbox.base import BOX, Backend, Integrity, Level, Limits, Mount, SandboxResult, Stopped

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Failure", "Verdict", "checked_files", "declared_tests", "judge"]

_TESTS, _TRUSTED = "/tests", "/trusted"
_MOST_RECORDS = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Failure:
    """One test that did not pass: its id, the kind (an exception's name, `skipped`, `timeout`, ...), <= 15 lines of why."""

    test: str
    kind: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether the tests truly passed, and how that is known. `reason` is one sentence; `stdout_tail` is shown, never judged.

    `sound`: the run came to its end and its sentinels did as they must, so what it says of single tests can be believed.
    """

    passed: bool
    reason: str
    tests_run: int
    tests_passed: int
    tests_failed: int
    failures: tuple[Failure, ...] = ()
    level: Level = "full"
    backend: str = ""
    integrity: Integrity = "same-process"
    stopped: Stopped | None = None
    seconds: float = 0.0
    stdout_tail: str = ""
    sound: bool = False


@dataclass(slots=True)
class _Test:
    phases: dict[str, str] = field(default_factory=dict)
    failure: Failure | None = None

    @property
    def clean(self) -> bool:
        return self.failure is None and self.phases == {"setup": "passed", "call": "passed", "teardown": "passed"}


@dataclass(slots=True)
class _Report:
    """What the driver said, as far as it was signed and in order."""

    tests: dict[str, _Test] = field(default_factory=dict)
    collect: list[Failure] = field(default_factory=list)
    status: int | None = None
    aborted: str | None = None
    running: str | None = None
    forged: bool = False


async def judge(
    backend: Backend, code: Mapping[str, str], tests: Mapping[str, str], *, limits: Limits, paths: Sequence[str] = ()
) -> Verdict:
    """Run the tests against the code and judge. UsageError for unusable files, SandboxUnavailable without sandbox or pytest."""
    from vwt_agents.sandbox.supervise import stage_folder, write_files

    declared = declared_tests(tests)
    token = secrets.token_hex(8)
    with stage_folder() as stage:
        trusted = write_files(Path(stage, "trusted"), _trusted_files(token))
        mounts = (Mount(trusted, _TRUSTED), Mount(write_files(_made(stage, "tests"), checked_files(tests)), _TESTS))
        work = write_files(_made(stage, "code"), checked_files(code))
        sentinel = f"{_TRUSTED}/test_{token}.py"
        result, said = await _run(backend, sentinel, work, mounts, limits, _import_paths(paths))
    return _judge(result, _read(bytes(said.data), said.key), declared, token)


def _made(stage: str, name: str) -> Path:
    folder = Path(stage, name)
    folder.mkdir()
    return folder


def _trusted_files(token: str) -> dict[str, str]:
    sentinels = f"def test_good_{token}():\n    assert 1 == 1\n\n\ndef test_bad_{token}():\n    assert 1 == 2\n"
    driver = Path(__file__).with_name("driver.py").read_text(encoding="utf-8")
    return {"driver.py": driver, "pytest.ini": "[pytest]\n", f"test_{token}.py": sentinels}


# ---- the files


def _import_paths(names: Sequence[str]) -> list[str]:
    """Where modules are looked for besides the tops, in the sandbox's words: first all of the tests, then those of the code."""
    checked_files(dict.fromkeys((name for name in names if name != "."), ""))
    return [f"{root}/{name}" for root in (_TESTS, BOX) for name in names if name != "."]


def checked_files(files: Mapping[str, str]) -> Mapping[str, str]:
    """The same files; UsageError when a name would leave its folder."""
    for name in files:
        path = PurePosixPath(name)
        if not name or "\0" in name or path.is_absolute() or ".." in path.parts or path == PurePosixPath("."):
            raise UsageError(
                f"{name!r} is no name for a file in a work folder", hint="use a relative path without '..'"
            )
    return files


def declared_tests(tests: Mapping[str, str]) -> frozenset[str]:
    """Ids of the test functions the text of the files declares, as pytest names them without parameters."""
    found: set[str] = set()
    for name, text in tests.items():
        file = PurePosixPath(name)
        if file.suffix == ".py" and (file.name.startswith("test_") or file.stem.endswith("_test")):
            try:
                tree = ast.parse(text)
            except (SyntaxError, ValueError):
                found.add(f"{name}::does not parse")
                continue
            found.update(f"{name}::{one}" for one in _functions(tree.body))
    return frozenset(found)


def _functions(body: Iterable[ast.stmt], *, unittest: bool = False) -> Iterable[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test"):
            if not unittest or node.name != "test":
                yield node.name
        elif isinstance(node, ast.ClassDef):
            bases = [base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", "") for base in node.bases]
            case = any(base.endswith("TestCase") for base in bases)
            if case or node.name.startswith("Test"):
                yield from (f"{node.name}::{one}" for one in _functions(node.body, unittest=case))


# ---- the run


@dataclass(slots=True)
class _Said:
    key: bytes
    data: bytearray = field(default_factory=bytearray)


async def _run(
    backend: Backend, sentinel: str, work: Path, mounts: Sequence[Mount], limits: Limits, paths: list[str]
) -> tuple[SandboxResult, _Said]:
    import anyio

    said = _Said(secrets.token_bytes(32))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)  # noqa: FBT003
        ours.send(json.dumps({"key": said.key.hex(), "sites": _sites(), "paths": paths}).encode() + b"\n")
        argv = (sys.executable, "-I", "-B", f"{_TRUSTED}/driver.py", str(theirs.fileno()), sentinel, BOX, _TESTS)
        async with anyio.create_task_group() as group:
            group.start_soon(_listen, ours, said)
            result = await backend.run(
                argv,
                workdir=work,
                limits=limits,
                env={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
                read_only=mounts,
                pass_fds=(theirs.fileno(),),
            )
            group.cancel_scope.cancel()
        _drain(ours, said)
    return result, said


def _sites() -> list[str]:
    from importlib.util import find_spec

    spec = find_spec("pytest")
    if spec is None or spec.origin is None:
        raise SandboxUnavailable(
            f"tests are run by pytest, which {sys.executable} does not have", hint="pip install pytest"
        )
    return [str(Path(spec.origin).parent.parent)]


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


# ---- the judgement


def _read(data: bytes, key: bytes) -> _Report:
    report = _Report()
    for number, line in enumerate(data.splitlines()):
        record = _signed(line, key, number)
        if record is None:
            report.forged = True
            break
        _take(report, record)
    return report


def _signed(line: bytes, key: bytes, number: int) -> dict[str, Any] | None:
    try:
        body, signature = json.loads(line)
        if not hmac.compare_digest(signature, hmac.new(key, body.encode(), hashlib.sha256).hexdigest()):
            return None
        count, record = json.loads(body)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    return record if count == number and isinstance(record, dict) else None


def _take(report: _Report, record: dict[str, Any]) -> None:
    match record:
        case {"kind": "start", "test": str(test)}:
            report.running = test
            report.tests[test] = _Test()
        case {"kind": "collect", "test": str(test), "text": str(text)}:
            report.collect.append(Failure(test, "not collected", text))
        case {"kind": "phase", "test": str(test), "when": str(when), "outcome": str(outcome)}:
            _take_phase(report, test, when, outcome, record)
        case {"kind": "end", "status": int(status)}:
            report.status, report.running = status, None
        case {"kind": "aborted", "error": str(error)}:
            report.aborted = error
        case _:
            report.forged = True


def _take_phase(report: _Report, test: str, when: str, outcome: str, record: dict[str, Any]) -> None:
    one = report.tests.setdefault(test, _Test())
    if when in one.phases:
        report.forged = True
    one.phases[when] = outcome
    if outcome != "passed" and one.failure is None:
        reason = str(record.get("reason", ""))
        kind = {"skipped": "skipped", "xfail": "xfailed"}.get(outcome) or reason.split(":", maxsplit=1)[0].split(
            "\n", maxsplit=1
        )[0].rsplit(".", maxsplit=1)[-1]
        if not kind.isidentifier():
            kind = "AssertionError" if kind.startswith("assert") else "error"
        one.failure = Failure(test, kind, str(record.get("text") or reason))


def _judge(result: SandboxResult, report: _Report, declared: frozenset[str], token: str) -> Verdict:
    sentinels = {test: one for test, one in report.tests.items() if test.endswith(f"_{token}")}
    tests = {test: one for test, one in report.tests.items() if test not in sentinels}
    clean = [test for test, one in tests.items() if one.clean]
    failures = [*report.collect, *(one.failure for one in tests.values() if one.failure is not None)]
    if report.running in tests and result.stopped is not None:
        failures.append(
            Failure(report.running or "", result.stopped, f"it was running when the {result.stopped} limit was reached")
        )
    floor = sorted(declared - {test.split("[")[0] for test in clean} - {one.test.split("[")[0] for one in failures})
    tampered = _tampered(result, report, sentinels, token)
    if not tampered:
        failures += [Failure(test, "not run", "the test is declared but has no clean pass") for test in floor]
    reason = _stop_reason(result, report) or tampered or _count_reason(declared, tests, failures, len(clean))
    sound = result.stopped is None and report.status == 1 and _sentinels_held(result, sentinels, token)
    if reason is None and not sound:
        reason = "the tests ended before it was clear that they can fail"
    return Verdict(
        passed=reason is None,
        reason=reason or f"all {len(clean)} tests passed",
        tests_run=len(tests),
        tests_passed=len(clean),
        tests_failed=len(tests) - len(clean),
        failures=tuple(failures),
        level=result.level,
        backend=result.backend,
        stopped=result.stopped,
        seconds=result.wall_s,
        stdout_tail=(result.stdout + result.stderr).decode(errors="backslashreplace")[-4000:],
        sound=sound and not report.forged and report.aborted is None,
    )


def _stop_reason(result: SandboxResult, report: _Report) -> str | None:
    if result.stopped is not None:
        where = f" while {report.running} was running" if report.running else ""
        return f"stopped by the {result.stopped} limit after {result.wall_s:.1f} s{where}"
    if report.forged:
        return "the report of the tests was tampered with"
    if report.aborted is not None:
        return f"the code ended the test run with {report.aborted}"
    if report.status is None:
        return "the test process ended before the tests did"
    return None


def _tampered(result: SandboxResult, report: _Report, sentinels: Mapping[str, _Test], token: str) -> str | None:
    if report.collect or report.status in (2, 3, 4, 5):
        return None  # an honest end without a run; the failures say why, and nothing can be called passed
    if report.status == 1 and _sentinels_held(result, sentinels, token):
        return None
    return "the code changed how tests are judged: a test that must fail did not, or one that must pass did not"


def _sentinels_held(result: SandboxResult, sentinels: Mapping[str, _Test], token: str) -> bool:
    """Whether the test that must pass did, the one that must fail did, and the process ended as the driver ends it."""
    good = [one.clean for test, one in sentinels.items() if test.endswith(f"::test_good_{token}")]
    bad = [one for test, one in sentinels.items() if test.endswith(f"::test_bad_{token}")]
    failed_as_it_must = len(bad) == 1 and bad[0].phases == {"setup": "passed", "call": "failed", "teardown": "passed"}
    return good == [True] and failed_as_it_must and result.exit_code == 0


def _count_reason(
    declared: frozenset[str], tests: Mapping[str, _Test], failures: Sequence[Failure], clean: int
) -> str | None:
    if not declared or (not tests and not failures):
        return "there are no tests, and nothing proves nothing"
    if failures or clean < len(tests):
        kinds = ", ".join(sorted({one.kind for one in failures})[:4])
        return f"{clean} of {max(len(tests), len(declared))} tests passed ({kinds})"
    return None
