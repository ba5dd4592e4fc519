"""CodeProfile: how a family of models is made to answer with code, and how code is read from what it says. Calls no model.

The same weights of a small model solve 41 % or 70 % of a benchmark's tasks by four characters of prefill, so this belongs to a
family of models, is chosen by the model's name, and can be replaced by a pipeline's author.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from vwt_agents.examples import Stub

__all__ = ["PLAIN", "CodeProfile", "code_profile", "module_source", "stub_of"]

_FENCE: Final = "```python\n"
_AFTER_A_FUNCTION: Final = ("\n```", "\ndef ", "\nclass ", "\nif __name__", "\nprint(", "\nassert ", "\n#")
_MOST_DOC: Final = 300  # characters of a task that go into a docstring made for it


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeProfile:
    """How a family of models writes code best.

    `fence`: the answer is made to begin with an opened code block. `completes`: where the function's head is known, the answer
    also begins with it and its docstring, so that the model writes the body at once. `indent` ends that: it must not be a
    whole indentation, because the space that is missing is part of the model's next token.

    `temperature` is that of samples; `samples` and `repairs` are how many have been worth their tokens; from `enough` examples
    in a task on, tests the model writes itself were not. `hints`: it follows a word on how to go about a task. `blanks`: what
    is wrong in a folder is not shown to it, because it would copy that; it completes the function anew.
    """

    fence: bool = True
    completes: bool = False
    indent: str = "\n   "
    temperature: float = 0.7
    samples: int = 7
    repairs: int = 2
    enough: int = 3
    hints: bool = True
    blanks: bool = False

    def opening(self, stub: str | None, margin: str = "") -> str:
        """What the answer begins with; `stub` is the code up to where the body is missing of a function `margin` deep."""
        if self.completes and stub:
            return _FENCE + stub.rstrip() + self.indent.replace("\n", f"\n{margin}")
        return _FENCE if self.fence else ""

    def stops(self, stub: str | None, margin: str = "") -> tuple[str, ...]:
        """Where the answer is over: with a body only the body is wanted, else the block."""
        if self.completes and stub:
            return (*_AFTER_A_FUNCTION, *((f"\n{margin}def ", f"\n{margin}@") if margin else ()))
        return ("\n```",) if self.fence else ()

    def without_head(self) -> CodeProfile:
        """The same, and the model writes the whole module: what is asked for in another form is often solved in another way."""
        return replace(self, completes=False)


PLAIN: Final = CodeProfile(fence=False, completes=False)
"""Nothing is prefilled: the code is taken from the answer's fenced block."""

# By the beginning of the name, the first that fits. Measured (bench/humaneval.py) is the 0.5B coder alone. Its tests are
# wrong more often than not, it neither repairs what it wrote nor follows hints, but of some samples one is often good.
_PROFILES: Final = (
    ("qwen2.5-coder:0.5b", CodeProfile(completes=True, samples=5, repairs=0, enough=1, hints=False, blanks=True)),
    ("smollm2", CodeProfile(completes=True, repairs=0, enough=1, hints=False, blanks=True)),
    ("qwen2.5-coder", CodeProfile(completes=True)),
)


def code_profile(model: str) -> CodeProfile:
    """The profile of a model by its name, with or without the registry and namespace before it."""
    name = model.rpartition("/")[2].lower()
    return next((profile for family, profile in _PROFILES if name.startswith(family)), CodeProfile())


def stub_of(task: str, signature: str | None, found: Stub | None) -> str | None:
    """The code up to a missing body: as the task gives it, or its signature with the task's first words as docstring."""
    if found is not None:
        return found.source
    if signature is None:
        return None
    words = " ".join(task.strip().split("\n\n")[0].split()).replace('"""', "'").replace("\\", "/")
    return f'{signature}\n    """{words[:_MOST_DOC]}"""'


def module_source(text: str, *, stub: str | None = None) -> str:
    """The source less what is no part of a module: an end that was cut off, and statements that would run on import.

    What `stub` has above the function it leaves open, imports and helpers, is put before it where the text left it out.
    """
    lines = text.strip("\n").splitlines()
    while lines:
        try:
            tree = ast.parse("\n".join(lines))
            break
        except (SyntaxError, ValueError):
            lines.pop()
    else:
        return text.strip("\n") + "\n"
    keep = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
    spans = [(_first_line(node) - 1, node.end_lineno or 0) for node in tree.body if isinstance(node, keep)]
    parts = ["\n".join(lines[start:end]) for start, end in spans]
    return "\n\n".join([*_left_out(stub, tree), *parts]) + "\n"


def _left_out(stub: str | None, module: ast.Module) -> list[str]:
    """The definitions above the open function of a stub that the module does not have."""
    try:
        above = ast.parse(stub or "").body[:-1]
    except (SyntaxError, ValueError):
        return []
    there = {name for node in module.body for name in _names(node)}
    missing = [node for node in above if _names(node) - there]
    return [ast.get_source_segment(stub or "", node) or "" for node in missing]


def _names(node: ast.stmt) -> set[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return {name}
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return {(alias.asname or alias.name).partition(".")[0] for alias in names}
        case ast.Assign(targets=targets):
            return {target.id for target in targets if isinstance(target, ast.Name)}
        case _:
            return set()


def _first_line(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])
