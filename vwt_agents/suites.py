"""Test suites as data: single pytest functions that can be kept, dropped, counted and put together into one file.

Pure: it reads and writes Python source, runs nothing. A suite remembers where each test came from, because a test the task
states (`given`) is never dropped and one an agent wrote may be.
"""

from __future__ import annotations

import ast
import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from vwt_agents.examples import Example

__all__ = ["TestCase", "TestSuite"]


@dataclass(frozen=True, slots=True)
class TestCase:
    """One test function: its name, its source, and whether the task itself states it."""

    __test__ = False

    name: str
    source: str
    given: bool = False


@dataclass(frozen=True, slots=True)
class TestSuite:
    """Tests of one module. `preamble` is what they import beside the module and pytest, `file` where they are kept."""

    __test__ = False

    module: str
    cases: tuple[TestCase, ...] = ()
    preamble: tuple[str, ...] = ()
    file: str = ""

    @property
    def file_name(self) -> str:
        """The name the suite is delivered under."""
        return self.file or f"test_{self.module}.py"

    @property
    def given(self) -> tuple[TestCase, ...]:
        """The tests the task itself states."""
        return tuple(case for case in self.cases if case.given)

    @property
    def written(self) -> tuple[TestCase, ...]:
        """The tests an agent wrote."""
        return tuple(case for case in self.cases if not case.given)

    def with_examples(self, examples: Iterable[Example]) -> TestSuite:
        """This suite with the task's examples in front."""
        cases = [TestCase(f"test_example_{n}", example.as_test(n), given=True) for n, example in enumerate(examples, 1)]
        return replace(self, cases=(*cases, *self.cases))

    def with_written(self, source: str) -> TestSuite:
        """This suite with the test functions found in an agent's source; what does not parse or asserts nothing is left out.

        Functions take no arguments (no fixtures). One that only asserts is split into one test an assert, so that a wrong
        expectation costs one test and not all; what is already there is not taken twice.
        """
        tree = _parse_longest(source)
        if tree is None:
            return self
        cases, bodies, names = (
            list(self.cases),
            {_body(case.source) for case in self.cases},
            {case.name for case in self.cases},
        )
        for node in tree.body:
            if not isinstance(node, ast.FunctionDef) or not node.name.startswith("test") or not _is_test(node):
                continue
            for single in _split(node):
                body = _body_of(single)
                if body in bodies:
                    continue
                bodies.add(body)
                single.name = _unique(single.name, names)
                names.add(single.name)
                cases.append(TestCase(single.name, ast.unparse(single) + "\n"))
        imports = dict.fromkeys((*self.preamble, *_imports(tree, self.module)))
        return replace(self, cases=tuple(cases), preamble=tuple(imports))

    def first(self, count: int) -> TestSuite:
        """This suite with at most `count` written tests, the first of them."""
        return self.only({case.name for case in (*self.given, *self.written[:count])})

    def without(self, names: Collection[str]) -> TestSuite:
        """This suite less the written tests of these names; given ones stay whatever is asked."""
        return replace(self, cases=tuple(case for case in self.cases if case.given or case.name not in names))

    def only(self, names: Collection[str]) -> TestSuite:
        """This suite with just these tests."""
        return replace(self, cases=tuple(case for case in self.cases if case.name in names))

    def render(self) -> str:
        """The suite as a pytest file."""
        head = ["import pytest", *self.preamble, "", f"from {self.module} import *", ""]
        blocks = ["\n".join(head)]
        blocks += [case.source.rstrip("\n") + "\n" for case in self.cases]
        return "\n\n".join(blocks)

    def __len__(self) -> int:
        return len(self.cases)


def _parse_longest(source: str) -> ast.Module | None:
    """The syntax tree of the longest beginning of the source that parses: a cut-off answer keeps its whole tests."""
    lines = source.splitlines()
    while lines:
        try:
            return ast.parse("\n".join(lines))
        except (SyntaxError, ValueError):
            lines.pop()
    return None


def _is_test(node: ast.FunctionDef) -> bool:
    arguments = node.args
    if arguments.args or arguments.kwonlyargs or arguments.posonlyargs or arguments.vararg or node.decorator_list:
        return False
    return any(isinstance(inner, ast.Assert | ast.With) for inner in ast.walk(node))


def _split(node: ast.FunctionDef) -> list[ast.FunctionDef]:
    """One test an assert, where a test consists of nothing else; asserts that compare with an error's class say nothing."""
    if not all(isinstance(statement, ast.Assert) for statement in node.body):
        return [node]
    singles = []
    for statement in node.body:
        assert isinstance(statement, ast.Assert)
        if _names_an_error(statement.test):
            continue
        single = copy.copy(node)
        single.body = [ast.copy_location(ast.Assert(test=statement.test, msg=None), statement)]
        singles.append(single)
    return singles


def _names_an_error(test: ast.expr) -> bool:
    sides = [test.left, *test.comparators] if isinstance(test, ast.Compare) else []
    return any(isinstance(side, ast.Name) and side.id.endswith(("Error", "Exception")) for side in sides)


def _imports(tree: ast.Module, module: str) -> list[str]:
    """The imports of the standard library a test file needs; those of the module itself and of pytest are already there."""
    import sys

    kept = []
    for node in tree.body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        if names and all(name.partition(".")[0] in sys.stdlib_module_names for name in names) and module not in names:
            kept.append(ast.unparse(node))
    return kept


def _body(source: str) -> str:
    return _body_of(ast.parse(source).body[0])


def _body_of(node: ast.stmt) -> str:
    """What a test does, whatever it is called and whichever quotes it is written with."""
    return "\n".join(ast.unparse(statement) for statement in getattr(node, "body", [node]))


def _unique(name: str, taken: Collection[str]) -> str:
    if name not in taken:
        return name
    number = 2
    while f"{name}_{number}" in taken:
        number += 1
    return f"{name}_{number}"
