"""A model's answer as changes of a workspace: fenced blocks with paths become files, and what is no use gets a reason. Pure.

The reasons are sentences for the model that is asked again. A block holds a whole file, or some of a file's functions and
classes, which are put into it (`splice`). Tests, and what configures them, are out of reach.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from vwt_agents.code import Block, fenced_blocks
from vwt_agents.workspace.splice import SpliceError, definitions, holds_all_of, splice
from vwt_agents.workspace.tree import Workspace, is_guarded

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Changes", "path_of", "read_changes"]

_PATH: Final = re.compile(
    r"(?<![\w/.\-\\])(?:\.{0,2}/)*(?:[\w\-.]+/)*[\w\-]+\.(?:py|pyi|txt|md|toml|cfg|ini|json|csv|yaml|yml|html|css|sql|sh)\b"
)
_ELIDED: Final = re.compile(
    r"^[ \t]*#[ \t]*(?:\.\.\.|…|(?:\.\.\. ?)?(?:the )?(?:rest|remaining|other|existing|previous)\b.*\b"
    r"(?:code|same|unchanged|functions?|methods?|class(?:es)?|here|file|implementation)\b).*$",
    re.MULTILINE | re.IGNORECASE,
)
_SHELLS: Final = frozenset({"bash", "sh", "shell", "console", "text", "output", "diff", "plaintext", "pycon"})


@dataclass(frozen=True)
class Changes:
    """Files with their new text, and a reason for each block of the answer that could not be used."""

    files: dict[str, str] = field(default_factory=dict)
    faults: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.files)


def read_changes(answer: str, workspace: Workspace, *, path: str | None = None) -> Changes:
    """What an answer changes in the workspace. `path` is the file a block without a path is for, where one was asked for.

    Faults: no block, a block for no known file, a test, a place outside, text that does not parse or leaves code out, and
    an answer that changes nothing at all.
    """
    files: dict[str, str] = {}
    faults: list[str] = []
    blocks = [block for block in fenced_blocks(answer) if block.text.strip()]
    for block in _useful(blocks):
        now = workspace.with_changes(files)
        try:
            target, text = _placed(block, now, path)
            files[target] = _merged(target, text, now)
        except SpliceError as fault:
            faults.append(str(fault))
    changed = {name: text for name, text in files.items() if workspace.files.get(name) != text}
    if not blocks:
        faults.append("There is no fenced code block.")
    elif not changed and not faults:
        faults.append("The answer changes nothing: what it holds is in the files already.")
    return Changes(changed, tuple(dict.fromkeys(faults)))


def path_of(block: Block) -> str | None:
    """The path a block is marked with: behind its fence, in its first line as a comment, or in the line above."""
    first = block.text.lstrip("\n").partition("\n")[0].strip()
    comment = re.match(r"(?:#+|//|<!--|--)\s*(?:file(?:name)?|path)?\s*:?\s*[`*]*(\S+)", first, re.IGNORECASE)
    for place in (block.info, comment[1] if comment else "", "" if block.language in _SHELLS else block.above):
        found: list[str] = [one for one in dict.fromkeys(_PATH.findall(place)) if _can_be(one, block)]
        if len(found) == 1:
            return found[0]
    return None


def _can_be(path: str, block: Block) -> bool:
    """A block of Python is no text of another kind, whatever file the line above it talks of."""
    return path.endswith((".py", ".pyi")) or block.language not in {"python", "py", "python3"}


def _useful(blocks: list[Block]) -> Iterable[Block]:
    """The blocks that are meant as files: not what to type into a shell, unless a path says so."""
    return [block for block in blocks if block.language not in _SHELLS or path_of(block) is not None]


def _placed(block: Block, workspace: Workspace, default: str | None) -> tuple[str, str]:
    marked = path_of(block)
    target = _resolved(marked, workspace) if marked is not None else default or _owner(block.text, workspace)
    if target is None:
        began = block.text.strip().partition("\n")[0][:60]
        raise SpliceError(f"The block that begins with `{began}` names no file: write its path above the block.")
    if is_guarded(target):
        raise SpliceError(f"`{target}` belongs to the tests, which are not to be changed: change the code they test.")
    return target, _unmarked(block.text, target, workspace)


def _resolved(marked: str, workspace: Workspace) -> str:
    """The file of the workspace a path means: itself, below the folder's own name, or the only file of that name."""
    path = PurePosixPath(marked)
    if path.is_absolute() or ".." in path.parts:
        raise SpliceError(f"`{marked}` is outside the folder: give paths relative to it.")
    if str(path) in workspace.files:
        return str(path)
    if workspace.name and path.parts[0] == workspace.name and len(path.parts) > 1:
        path = path.relative_to(workspace.name)
    if len(path.parts) == 1 and str(path) not in workspace.files:
        same = [one for one in workspace.files if PurePosixPath(one).name == path.name]
        if len(same) == 1:
            return same[0]
    for parent in (str(one) for one in path.parents):
        if parent in workspace.files:
            raise SpliceError(f"`{marked}` cannot be: `{parent}` is a file.")
    if any(PurePosixPath(one).is_relative_to(path) for one in workspace.files if one != str(path)):
        raise SpliceError(f"`{marked}` is a folder.")
    return str(path)


def _owner(text: str, workspace: Workspace) -> str | None:
    """The one source that already defines something the block defines; a method may stand there without its class."""
    names = {name for name in definitions(text) if "." not in name}
    defined = {
        path: {name.rpartition(".")[2] for name in definitions(workspace.files[path])} for path in workspace.sources
    }
    owners = [path for path in workspace.sources if names & defined[path]]
    if not owners and len(workspace.sources) == 1 and names:
        return workspace.sources[0]
    return owners[0] if len(owners) == 1 else None


def _unmarked(text: str, target: str, workspace: Workspace) -> str:
    """The text without the comment that only says its path."""
    first, _, rest = text.lstrip("\n").partition("\n")
    stripped = re.sub(r"(?i)^\s*#+\s*(?:file(?:name)?\s*:?\s*)?", "", first).strip(" `*:")
    says_path = first.lstrip().startswith("#") and PurePosixPath(stripped).name == PurePosixPath(target).name
    old_first = workspace.files.get(target, "").partition("\n")[0]
    return rest.lstrip("\n") if says_path and first.strip() != old_first.strip() else text.lstrip("\n")


def _merged(target: str, text: str, workspace: Workspace) -> str:
    """The file's new text: the whole of it, or the old one with the new definitions in it."""
    old = workspace.files.get(target)
    if not target.endswith(".py"):
        return text
    elided = _ELIDED.search(text)
    if elided is not None and elided[0] not in (old or ""):
        raise SpliceError(
            f"`{target}`: `{elided[0].strip()}` leaves code out; write every function you change as a whole."
        )
    if old is None or holds_all_of(text, old):
        try:
            ast.parse(text)
        except (SyntaxError, ValueError) as error:
            where = f" (line {error.lineno})" if isinstance(error, SyntaxError) else ""
            raise SpliceError(f"`{target}` does not parse: {getattr(error, 'msg', error)}{where}.") from error
        return _like(text, old)
    try:
        return splice(old, text, module=workspace.module_of(target))
    except SpliceError as fault:
        raise SpliceError(f"`{target}`: {fault}.") from fault


def _like(text: str, old: str | None) -> str:
    """A whole file with the line ends and the last line's end that it had."""
    if old is None:
        return text
    if old and not old.endswith("\n"):
        text = text.removesuffix("\n")
    return text.replace("\n", "\r\n") if "\r\n" in old else text
