"""Runs pytest inside the sandbox and says, signed, what each test did. Trusted; the code it tests is not.

Started with the words FD SENTINEL CODE TESTS. pytest and all this needs are imported before any code to be judged, whose folder
comes last on the path, so that its modules can shadow nothing; or it is not here at all, and `stand_in` stands in for it.
Records are numbered and signed with a key read before that. What it prints proves nothing; the records are judged outside.
"""

# No pathlib: its import would be most of this program's start-up. Paths are those of the sandbox.
# ruff: noqa: PTH118, PTH120

from __future__ import annotations

import gc
import hashlib
import hmac
import json
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

WHERE = "vwt_where"
"""What an exception of the code has its lines under. Not among its notes: `pytest.raises(match=...)` looks at those too."""
collected: list[bool] = []
"""Something once no test file is imported any more: what one cannot import is reported at once, and no test looks at it."""
_MOST_TEXT = 4000
_LINES = 15


def main(records: str, sentinel: str, code: str, tests: str) -> None:
    """Run the tests with the code in this process."""
    drive(int(records), sentinel, tests, lambda _tell, paths: _use(code, paths))


def _use(code: str, paths: list[str]) -> None:
    sys.path.extend((code, *paths))
    if paths:
        os.environ["PYTHONPATH"] = os.pathsep.join(paths)  # for programs that tests start; -I ignores it here


def drive(fd: int, sentinel: str, tests: str, prepare: Callable[[Callable[..., None], list[str]], None]) -> None:
    """Read the key and settings from `fd`, run the tests and the sentinels, and write records to `fd`.

    `prepare` makes the code importable once pytest is there; it gets the function that writes a record, and the folders
    besides the code's own that modules are looked for in.
    """
    settings = json.loads(_read_line(fd))
    sys.path.extend(settings["sites"])
    gc.disable()
    tell = _teller(fd, bytes.fromhex(settings["key"]))
    try:
        import pytest
    except Exception as error:  # noqa: BLE001 - whatever it is, no test can be run
        tell(kind="no pytest", text=f"{type(error).__name__}: {error}"[:_MOST_TEXT])
        return

    # pytest has garbage collected five times at its end, so that nothing goes unsaid; what it is made of itself is none.
    gc.freeze()
    gc.enable()
    sys.path.append(tests)
    prepare(tell, settings["paths"])
    config = os.path.join(os.path.dirname(sentinel), "pytest.ini")
    arguments = [
        "-q",
        "--tb=short",
        "-c",
        config,
        f"--rootdir={tests}",
        f"--confcutdir={tests}",
        "--import-mode=importlib",
    ]
    end = os._exit
    try:
        status = pytest.main([*arguments, "-p", "no:cacheprovider", tests, sentinel], plugins=[_Plugin(tell, tests)])
        tell(kind="end", status=int(status))
    except BaseException as error:  # noqa: BLE001
        tell(kind="aborted", error=type(error).__name__, text=str(error)[:_MOST_TEXT])
    sys.stdout.flush()
    sys.stderr.flush()
    end(0)  # threads and atexit handlers of the code have no say


def _read_line(fd: int) -> bytes:
    data = b""
    while not data.endswith(b"\n"):
        data += os.read(fd, 65536)
    return data


def _teller(fd: int, key: bytes) -> Callable[..., None]:
    count = 0
    sign, digest, dump, write = hmac.new, hashlib.sha256, json.dumps, os.write

    def tell(**record: Any) -> None:
        nonlocal count
        body = dump([count, record])
        count += 1
        data = memoryview(dump([body, sign(key, body.encode(), digest).hexdigest()]).encode() + b"\n")
        while data:
            data = data[write(fd, data) :]

    return tell


class _Plugin:
    """Reports what pytest's own hooks say, phase by phase."""

    def __init__(self, tell: Callable[..., None], tests: str) -> None:
        self._tell = tell
        self._tests = tests

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._tell(kind="start", test=nodeid)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self._tell(kind="collect", test=report.nodeid, text=_shorten(str(report.longreprtext)))

    def pytest_collection_finish(self) -> None:
        collected.append(True)

    def pytest_runtest_makereport(self, call: Any) -> None:
        """Have the lines of the code shown, now that no test looks at the exception any more."""
        error, seen = call.excinfo.value if call.excinfo else None, set[int]()
        while error is not None and id(error) not in seen:
            seen.add(id(error))
            where = vars(error).pop(WHERE, None)
            if type(where) is str:
                error.add_note(where)
            error = error.__cause__ or error.__context__

    def pytest_runtest_logreport(self, report: Any) -> None:
        outcome = "xfail" if hasattr(report, "wasxfail") else report.outcome
        when = "subtest" if type(report).__name__ == "SubtestReport" else report.when  # one of any number
        record: dict[str, Any] = {"kind": "phase", "test": report.nodeid, "when": when, "outcome": outcome}
        if outcome != "passed":
            crash = getattr(report.longrepr, "reprcrash", None)
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else getattr(crash, "message", "")
            record |= {"reason": str(reason)[:_MOST_TEXT], "text": _shorten(str(report.longreprtext))}
        self._tell(**record)


def _shorten(text: str) -> str:
    return "\n".join(text.splitlines()[-_LINES:])[-_MOST_TEXT:]
