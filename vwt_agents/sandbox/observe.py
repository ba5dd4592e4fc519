"""What several candidates give for the same calls, in one sandbox run. Owns how a value is written down to be compared.

Nothing here is a verdict: a candidate can print what it likes. It tells candidates apart before one of them is judged.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vwt_agents.sandbox.service import Sandbox

__all__ = ["observe"]

_MOST_TEXT: Final = 400  # characters of a value that is compared
_CALL_S: Final = 1.0


async def observe(
    sandbox: Sandbox, module: str, candidates: Sequence[Mapping[str, str]], calls: Sequence[str]
) -> list[list[str]]:
    """For each candidate (file name -> text), what each call gives: its repr, or `!` and the name of the error.

    Calls see what `from module import *` gives them. Floats are written to nine digits. A candidate that cannot be imported, or
    never ends, has an error for every call.
    """
    if not candidates or not calls:
        return [[] for _ in candidates]
    files = {"observe.py": _program(), "calls.json": json.dumps([module, list(calls), _MOST_TEXT, _CALL_S])}
    for number, candidate in enumerate(candidates):
        files |= {f"c{number}/{name}": text for name, text in candidate.items()}
    limits = replace(sandbox.limits, wall_s=min(sandbox.limits.wall_s, 5.0 + _CALL_S * len(candidates)), keep_kib=4096)
    result = await sandbox.run(files, "observe.py", limits=limits)
    said: dict[int, list[str]] = {}
    for line in result.stdout.decode("utf-8", "replace").splitlines():
        found, given = _read(line, len(calls))
        if found is not None:
            said.setdefault(found, given)
    return [said.get(number, ["!Stopped"] * len(calls)) for number in range(len(candidates))]


def _read(line: str, calls: int) -> tuple[int | None, list[str]]:
    try:
        number, given = json.loads(line)
    except (ValueError, TypeError):
        return None, []
    if not isinstance(number, int) or not isinstance(given, list) or len(given) != calls:
        return None, []
    return number, [str(one)[:_MOST_TEXT] for one in given]


def _program() -> str:
    return Path(__file__).with_name("observing.py").read_text(encoding="utf-8")
