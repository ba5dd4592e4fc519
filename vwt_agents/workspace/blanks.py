"""Blank: a function whose body is to be written, with the code a reader would find above it, and the way back. Pure.

A small model that sees a faulty body writes it again. So the body is left out: what it continues is the module up to there,
the function's head, and a docstring with what tests show of it. Only the body it writes goes into the file.
"""

from __future__ import annotations

import ast
import textwrap
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from vwt_agents.workspace.shown import outline, tokens_of
from vwt_agents.workspace.splice import SpliceError, definitions, first_line, is_main, splice_anew

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vwt_agents.workspace.suspects import Suspect
    from vwt_agents.workspace.tree import Workspace

__all__ = ["Blank", "blank_of", "stub_of_function", "without_body"]

_INDENT: Final = "    "


@dataclass(frozen=True)
class Blank:
    """`code` is the module up to where the body is missing, and `stub` the function of it as the file is to have it.

    Both end with a head or a docstring; `stub` stands at the left margin, and has no cases. `margin` is how deep the
    function stands in `code`, `owner` the class it is put into.
    """

    text: str
    module: str
    code: str
    stub: str
    margin: str = ""
    owner: str = ""

    def alone(self) -> Blank:
        """The same function with nothing above it."""
        return replace(self, code=self.stub, margin="")

    def filled(self, body: str) -> str:
        """The file with this body, as it continues `code`; SpliceError where it is none or does what there was before."""
        source = self._function(body)
        if self.owner:
            source = f"class {self.owner}:\n{textwrap.indent(source, _INDENT)}\n"
        return splice_anew(self.text, source, module=self.module)

    def _function(self, body: str) -> str:
        """The function alone: as many lines of the body as parse, and belong to it."""
        lines = body.partition("\n```")[0].rstrip().splitlines()
        # The first line continues an indentation that the opening has begun.
        lines[:1] = [f"{self.margin}{_INDENT}{line.lstrip()}" for line in lines[:1]]
        while lines:
            source = "\n".join([self.stub, *(line.removeprefix(self.margin) for line in lines)])
            try:
                node = ast.parse(source).body
            except (SyntaxError, ValueError):
                lines.pop()
                continue
            if len(node) == 1 and _does_something(node[0]):
                return source
            lines.pop()
        raise SpliceError("it is no body of the function")


def blank_of(workspace: Workspace, suspect: Suspect, *, cases: Sequence[str] = (), doc: str = "", budget: int) -> Blank:
    """The function to be written anew, or for the first time (then `doc` is what it is to do). `budget`: tokens of `code`."""
    text = workspace.files[suspect.path]
    node = definitions(text).get(suspect.name)
    if isinstance(node, ast.ClassDef):
        raise TypeError(f"{suspect.name} is a class: only a function has a body to be left out")
    margin = _INDENT if suspect.owner else ""
    stub = stub_of_function(text, node) if node is not None else _with_doc(suspect.head, doc, ())
    words = (ast.get_docstring(node) or "") if node is not None else doc
    shown = _with_doc(_head_of(stub), words, cases) if cases else stub
    above = _above(text, suspect, budget - tokens_of(shown))
    apart = "\n\n" if margin else "\n\n\n"
    code = f"{above}{apart}{textwrap.indent(shown, margin)}" if above else textwrap.indent(shown, margin)
    return Blank(text, workspace.module_of(suspect.path), code, stub, margin, suspect.owner)


def without_body(text: str, name: str) -> str:
    """A module in which one function has dots for a body, below its docstring; as it is where that has no lines of its own."""
    node = definitions(text).get(name)
    if node is None or isinstance(node, ast.ClassDef):
        return text
    lines = text.splitlines()
    first = node.body[0]
    is_doc = ast.get_docstring(node, clean=False) is not None
    start = (first.end_lineno or first.lineno) if is_doc else first.lineno - 1
    if start < node.lineno:
        return text
    return "\n".join([*lines[:start], " " * first.col_offset + "...", *lines[node.end_lineno :]]) + "\n"


def stub_of_function(text: str, node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """The function up to its body, at the left margin: head and docstring."""
    first = node.body[0]
    is_doc = ast.get_docstring(node, clean=False) is not None
    if not is_doc and first.lineno == node.lineno:  # all on one line
        bare = ast.parse(f"{'async ' if isinstance(node, ast.AsyncFunctionDef) else ''}def f(): pass").body[0]
        assert isinstance(bare, ast.FunctionDef | ast.AsyncFunctionDef)
        bare.name, bare.args, bare.returns = node.name, node.args, node.returns
        return ast.unparse(bare).partition("\n")[0]
    end = (first.end_lineno or first.lineno) if is_doc else first.lineno - 1
    lines = text.splitlines()[node.lineno - 1 : end]
    while lines and not is_doc and (not lines[-1].strip() or lines[-1].lstrip().startswith("#")):
        lines.pop()
    return textwrap.dedent("\n".join(lines))


def _head_of(stub: str) -> str:
    """A stub less its docstring."""
    node = ast.parse(f"{stub}\n{_INDENT}pass").body[0]
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    if ast.get_docstring(node, clean=False) is None:
        return stub
    return "\n".join(stub.splitlines()[: node.body[0].lineno - 1])


def _with_doc(head: str, doc: str, cases: Sequence[str]) -> str:
    """A head with a docstring of words and cases below it; without either the head alone."""
    words = doc.replace("\\", "/").replace('"""', "'''").strip()
    if not words and not cases:
        return head
    if not cases:
        return f'{head}\n{_INDENT}"""{words}"""'
    told = "\n".join(cases).replace("\\", "\\\\").replace('"""', "'''")
    return f"{head}\n" + textwrap.indent(f'"""{words}\n\n{told}\n"""' if words else f'"""\n{told}\n"""', _INDENT)


def _above(text: str, suspect: Suspect, budget: int) -> str:
    """What stands above the function: whole where it fits, else as an outline, else the imports; helpers from below too."""
    tree = ast.parse(text)
    lines = text.splitlines()
    node = definitions(text).get(suspect.name)
    owner = definitions(text).get(suspect.owner) if suspect.owner else None
    used = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)} if node is not None else set()
    if owner is not None:
        before = lines[: first_line(owner) - 1]
        inside = lines[first_line(owner) - 1 : first_line(node) - 1 if node is not None else owner.end_lineno]
        after = _helpers(tree, lines, owner.end_lineno or 0, used)
        body = [*before, *after, *inside]
    elif node is not None:
        body = [*lines[: first_line(node) - 1], *_helpers(tree, lines, node.end_lineno or 0, used)]
    else:
        main = [one for one in tree.body if is_main(one)]
        body = lines[: main[0].lineno - 1] if main else lines
    whole = "\n".join(body).rstrip()
    imports = "\n".join(ast.unparse(one) for one in tree.body if isinstance(one, ast.Import | ast.ImportFrom))
    head = f"{imports}\n\n\nclass {suspect.owner}:" if suspect.owner else imports
    return next((one for one in (whole, outline(whole).rstrip()) if tokens_of(one) <= budget), head)


def _helpers(tree: ast.Module, lines: Sequence[str], end: int, used: set[str]) -> list[str]:
    """The functions below that the body there was used."""
    found: list[str] = []
    for one in tree.body:
        if (
            isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and one.lineno > end
            and one.name in used
        ):
            found += [*lines[first_line(one) - 1 : one.end_lineno], "", ""]
    return found


def _does_something(node: ast.stmt) -> bool:
    """Whether a function has more in it than its docstring."""
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    only = node.body[-1]
    return not (len(node.body) == 1 and isinstance(only, ast.Expr) and isinstance(only.value, ast.Constant))
