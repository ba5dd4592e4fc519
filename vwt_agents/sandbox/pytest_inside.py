"""The pytest that judges: where it is, and whether programs in a sandbox can import it. Owns what is said when they cannot."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vwt_agents.errors import SandboxUnavailable
from vwt_agents.sandbox.base import Limits, python

if TYPE_CHECKING:
    from vwt_agents.sandbox.base import Backend

__all__ = ["PytestFound", "look_for_pytest", "no_pytest", "sites"]

_IMPORT: Final = "import sys; sys.path.extend(sys.argv[1:]); import pytest; print(pytest.__version__)"


@dataclass(frozen=True, slots=True)
class PytestFound:
    """Whether pytest can be imported in a sandbox: its version, or what is missing and the command that fixes it."""

    works: bool
    reason: str
    fix: str | None = None


def sites() -> list[Path]:
    """The folder that pytest is in, as this Python finds it; none when it finds none."""
    spec = find_spec("pytest")
    return [] if spec is None or spec.origin is None else [Path(spec.origin).parent.parent]


def no_pytest(why: str) -> SandboxUnavailable:
    """The error for tests that cannot be run: `why` is what the import said, empty where there is nothing to import."""
    found = _missing(why)
    return SandboxUnavailable(found.reason, hint=found.fix)


def _missing(why: str) -> PytestFound:
    pip = f"{shlex.quote(python())} -m pip install"
    if not why:
        return PytestFound(
            works=False, reason=f"tests are run by pytest, which {python()} does not have", fix=f"{pip} pytest"
        )
    reason = f"tests are run by pytest, which {python()} cannot import in the sandbox: {why}"
    return PytestFound(works=False, reason=reason, fix=f"{pip} --force-reinstall pytest")


async def look_for_pytest(backend: Backend) -> PytestFound:
    """Import pytest in a sandbox; SandboxUnavailable when that cannot be set up."""
    there = sites()
    if not there:
        return _missing("")
    argv = (python(), "-I", "-B", "-c", _IMPORT, *map(str, there))
    result = await backend.run(argv, limits=Limits(wall_s=30))
    if result.ok:
        return PytestFound(works=True, reason=f"pytest {result.stdout.decode(errors='backslashreplace').strip()}")
    said = result.stderr.decode(errors="backslashreplace").strip().splitlines()
    return _missing(result.stopped or (said[-1][:300] if said else "it ended without a word"))
