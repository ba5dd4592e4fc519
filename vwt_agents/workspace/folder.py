"""Reading a folder of the user's into a Workspace. Reads only; never writes there, follows no link, runs nothing of it.

In a git checkout the files are those git would track (`.gitignore` holds); elsewhere, all but caches, environments and builds.
"""

from __future__ import annotations

import os
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final

from vwt_agents.errors import UsageError
from vwt_agents.workspace.tree import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["ReadLimits", "read_workspace"]

_SKIP: Final = frozenset(
    {
        ".git", ".hg", ".svn", ".venv", "venv", "node_modules", "__pycache__", "__pypackages__", "site-packages",
        ".tox", ".nox", ".eggs", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".hypothesis", ".idea", ".vscode",
    }
)  # fmt: skip
_SKIP_UNTRACKED: Final = frozenset({"build", "dist", "env"})  # names that a checkout may well use for sources
_GIT_WAIT: Final = 20.0


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """How much of a folder is read. A file above `file_kib` is left out; a folder above the others is refused."""

    files: int = 2000
    file_kib: int = 256
    total_kib: int = 4096


def read_workspace(folder: str | Path, *, limits: ReadLimits | None = None) -> Workspace:
    """The folder's text files; UsageError when there is no such folder, it holds no Python, or it is too large."""
    limits = limits or ReadLimits()
    top = Path(folder).expanduser()
    if not top.exists():
        raise UsageError(f"there is no folder {str(folder)!r}", hint="give the folder to work on: -i repo=DIR")
    if not top.is_dir():
        raise UsageError(f"{str(folder)!r} is a file, not a folder", hint=f"give its folder: -i repo={top.parent}")
    top = top.resolve()
    try:
        return _read(top, limits)
    except PermissionError as error:
        raise UsageError(f"cannot read {error.filename}: {error.strerror}", hint="check its permissions") from error


def _read(top: Path, limits: ReadLimits) -> Workspace:
    files: dict[str, str] = {}
    left_out: list[str] = []
    total = 0
    for name in _names(top):
        text = _text(top, name, limits)
        if not isinstance(text, str):
            left_out.append(f"{name}: {text.reason}")
            continue
        files[name] = text
        total += len(text.encode())
        if len(files) > limits.files or total > limits.total_kib * 1024:
            raise UsageError(
                f"{top} holds more than {limits.files} files or {limits.total_kib} KiB of text",
                hint="give the folder of one package, or list in .gitignore what is no source",
            )
    if not any(name.endswith(".py") for name in files):
        raise UsageError(f"{top} holds no Python file", hint="give the folder that the package and its tests lie in")
    return Workspace(files, name=top.name, left_out=tuple(left_out))


@dataclass(frozen=True, slots=True)
class _NoText:
    reason: str


def _text(top: Path, name: str, limits: ReadLimits) -> str | _NoText:
    try:
        fd = os.open(top / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return _NoText("git knows it, and it is not there")
    except OSError:
        if (top / name).is_symlink():
            return _NoText("a link")
        raise
    with os.fdopen(fd, "rb") as file:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode):
            return _NoText("no plain file")
        if about.st_size > limits.file_kib * 1024:
            return _NoText(f"larger than {limits.file_kib} KiB")
        data = file.read(limits.file_kib * 1024 + 1)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        return _NoText("no UTF-8 text")
    return _NoText("no text") if "\0" in text else text


def _names(top: Path) -> Iterable[str]:
    tracked = _from_git(top)
    return tracked or _from_walk(top)


def _from_git(top: Path) -> list[str]:
    """What git tracks or would track below `top`; nothing when it is no checkout, git is missing or does not trust it."""
    if not any((one / ".git").exists() for one in (top, *top.parents)):
        return []
    # A repository's own configuration may name programs to run; those are switched off.
    command = ["git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-C", str(top)]
    command += ["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"]
    try:
        done = subprocess.run(
            command,
            check=True,
            capture_output=True,
            timeout=_GIT_WAIT,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"},
        )
    except (OSError, subprocess.SubprocessError):
        return []
    names = [os.fsdecode(one) for one in done.stdout.split(b"\0") if one]
    return [name for name in sorted(names) if not _SKIP & set(PurePosixPath(name).parts) and not name.endswith("/")]


def _from_walk(top: Path) -> Iterator[str]:
    for folder, folders, names in os.walk(top, onerror=_raise):
        folders[:] = sorted(one for one in folders if not _is_skipped(Path(folder, one)))
        for name in sorted(names):
            yield Path(folder, name).relative_to(top).as_posix()


def _is_skipped(folder: Path) -> bool:
    name = folder.name
    return (
        name in _SKIP or name in _SKIP_UNTRACKED or name.endswith(".egg-info") or (folder / "pyvenv.cfg").exists()
    ) and not (folder / "__init__.py").exists()


def _raise(error: OSError) -> None:
    raise error
