"""Example: one call and what it must give, as the task states it, and the test that holds it."""

from __future__ import annotations

import ast
import textwrap
from dataclasses import dataclass

__all__ = ["Example"]


@dataclass(frozen=True, slots=True)
class Example:
    """One call and what it must give: `call == expected`, or `raises` the exception of that name.

    `setup` are the statements a doctest makes before it. `shown`: `expected` is what the value looks like (its repr), for
    values that are no literals.
    """

    call: str
    expected: str = ""
    raises: str = ""
    setup: tuple[str, ...] = ()
    shown: bool = False

    def as_test(self, number: int) -> str:
        """A pytest function that holds exactly this example."""
        lines = list(self.setup)
        if self.raises:
            lines += [f"with pytest.raises({self.raises}):", textwrap.indent(self.call, "    ")]
        elif self.shown:
            lines.append(f"assert repr({self.call}) == {self.expected!r}")
        elif isinstance(_value(self.expected), float):
            lines.append(f"assert {self.call} == pytest.approx({self.expected})")
        else:
            lines.append(f"assert {self.call} == {self.expected}")
        return f"def test_example_{number}():\n" + textwrap.indent("\n".join(lines), "    ") + "\n"

    def __str__(self) -> str:
        said = f"{self.call} raises {self.raises}" if self.raises else f"{self.call} == {self.expected}"
        return "; ".join((*self.setup, said))


def _value(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return None
