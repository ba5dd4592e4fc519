"""The two forms a single call can have, and how the code is read from its answer. Pure.

`prefilled`: the answer is made to begin with the code fence and the stub, so that the model writes the body and nothing else.
`chat`: the model answers as it likes, and the fenced block with the wanted names is taken.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vwt_agents.messages import Message
from vwt_agents.workspace import read_workspace

if TYPE_CHECKING:
    from pathlib import Path

    from codebench.tasks import Task

__all__ = ["FORM", "Form", "chat", "prefilled", "writable"]

FORM: Final = "2"
"""Changes when a prompt below does: records of another form do not belong in the same table."""

COMPLETE: Final = "Complete this function. Answer with one Python code block."
FENCE: Final = "```python\n"
BODY_ENDS: Final = ("\n```", "\ndef ", "\nclass ", "\nif __name__", "\nprint(", "\nassert ", "\n#")
BLOCK_ENDS: Final = ("\n```",)
STUB_TOKENS: Final = 600
MODULE_TOKENS: Final = 900


@dataclass(frozen=True, slots=True)
class Form:
    """A prompt, where its answer ends, and the code that the answer's text stands for."""

    messages: tuple[Message, ...]
    stop: tuple[str, ...]
    num_predict: int
    task: Task
    prefill: str = ""

    def code(self, text: str) -> str:
        """The module in an answer; never fails, because a bad answer is an answer too."""
        if self.task.folder is not None:
            return writable(f"{self.prefill}{text}\n```\n" if self.prefill else text)
        if self.prefill:
            return writable(self.prefill.removeprefix(FENCE) + text.partition("\n```")[0] + "\n")
        return writable(_head(self.task) + _block(text, self.task.defines) + "\n")


def prefilled(task: Task) -> Form:
    """The form that suits a model which continues: its end, newline and three spaces, makes it write a body at once."""
    if task.folder is not None:
        return Form(
            (Message("user", _folder_wanted(task.folder, task.text)), Message("assistant", FENCE)),
            BLOCK_ENDS,
            MODULE_TOKENS,
            task,
            FENCE,
        )
    if task.stub is None:
        messages = (Message("user", f"{_module_wanted(task)}\n\n{task.text}"), Message("assistant", FENCE))
        return Form(messages, BLOCK_ENDS, MODULE_TOKENS, task, FENCE)
    prefill = f"{FENCE}{task.stub.rstrip()}\n   "
    return Form((Message("user", COMPLETE), Message("assistant", prefill)), BODY_ENDS, STUB_TOKENS, task, prefill)


def chat(task: Task) -> Form:
    """The form everybody starts with: the task, and a free answer."""
    if task.folder is not None:
        return Form((Message("user", _folder_wanted(task.folder, task.text)),), (), MODULE_TOKENS, task)
    if task.stub is None:
        return Form((Message("user", f"{_module_wanted(task)}\n\n{task.text}"),), (), MODULE_TOKENS, task)
    return Form((Message("user", f"{COMPLETE}\n\n{FENCE}{task.stub}```"),), (), STUB_TOKENS, task)


def _module_wanted(task: Task) -> str:
    return f"Write the Python module `{task.module}.py`. Answer with one Python code block."


def _folder_wanted(folder: Path, task: str) -> str:
    """The task, and the whole of the folder: what people paste into a chat."""
    files = read_workspace(folder).files
    shown = "\n\n".join(f"`{path}`:\n```python\n{text}```" for path, text in files.items() if text.strip())
    asked = (
        "Change the code so that the task is done. Answer with the functions that change, each written as a whole, "
        "in a Python code block with the path of the file above it."
    )
    return f"{shown}\n\n{task.strip()}\n\n{asked}"


def _head(task: Task) -> str:
    """What a stub has before the wanted function (imports, helpers): an answer that leaves it out is not failed for that."""
    if task.stub is None:
        return ""
    lines = task.stub.splitlines(keepends=True)
    wanted = next(node for node in ast.parse(task.stub).body if getattr(node, "name", None) == task.defines[0])
    return "".join(lines[: wanted.lineno - 1])


def _block(text: str, names: tuple[str, ...]) -> str:
    """Of the fenced blocks the one that defines most of the names, the first of equals; without a fence the text itself."""
    blocks = re.findall(r"^ {0,3}```[^\n]*\n(.*?)(?:^ {0,3}```|\Z)", text, re.MULTILINE | re.DOTALL)
    return max(blocks, key=lambda block: _defined(block, names), default=text)


def _defined(block: str, names: tuple[str, ...]) -> int:
    return sum(bool(re.search(rf"^(?:async def|def|class) {re.escape(name)}\b", block, re.MULTILINE)) for name in names)


def writable(text: str) -> str:
    """The text as a file can hold it: half a surrogate pair, which a model may well write, becomes a question mark."""
    return text.encode("utf-8", "replace").decode("utf-8")
