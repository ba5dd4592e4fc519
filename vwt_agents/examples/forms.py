"""The ways people write examples, each read by a file of its own.

- `doctests`: `>>> f(1)` and the value below, with the statements before it; also `>>> f(1) == 2` and `>>> f(1) => 2`
- `calls`: `f(1) => 2`, `f(1) -> 2`, `f(1) = 2`, `f(1) returns 2`, `f(1)  # => 2`, `f(0) raises ValueError`, also several in a
  line and of what the call gives, `Square(2).area() == 4`; `| f(1) | 2 |`; and lines of Python, `assert len(f(1)) == 2`
- `inputs`: `For s = "ab", n = 2 the result should be "b"`, `Input: s = "ab", n = 2` and `Output: "b"`
- `tables`: Markdown tables with a column for each parameter and one for the result
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vwt_agents.examples.calls import calls
from vwt_agents.examples.doctests import doctests
from vwt_agents.examples.inputs import input_blocks, named_inputs, parameters_of
from vwt_agents.examples.tables import tables
from vwt_agents.examples.wanted import function_names

if TYPE_CHECKING:
    from vwt_agents.examples.example import Example

__all__ = ["find_examples"]


def find_examples(task: str, *names: str) -> tuple[Example, ...]:
    """The examples in the task that are about one of `names` (by default what it asks for), in order, each once."""
    lines = task.splitlines()
    found: dict[Example, None] = {}
    for name in names or function_names(task):
        parameters = parameters_of(task, name)
        for example in (
            *doctests(task, name),
            *calls(lines, name),
            *named_inputs(lines, name, parameters),
            *input_blocks(lines, name, parameters),
            *tables(lines, name, parameters),
        ):
            found.setdefault(example)
    return tuple(found)
