"""Examples a task states about the code it wants, as checks. Pure: reads text, runs nothing.

Three ways people write them are read: doctest (`>>> f(1)` and the value below), arrows (`f(1) => 2`, `f(1) -> 2`, `f(1) == 2`,
`f(1) returns 2`), Markdown tables (`| f(1) | 2 |`). An example is kept only when both sides are Python that parses and the
left one calls the wanted function: what the task's author wrote is the one thing no model may edit, so nothing is guessed.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Example", "find_examples", "find_signature", "function_name"]

_ARROW: Final = re.compile(r"\s*(?:=>|->|→|==|\breturns\b|\bgives\b|\bshould be\b)\s*")
_DEF: Final = re.compile(r"(?:async\s+)?def\s+([A-Za-z_]\w*)\s*\(")
_BACKTICK_CALL: Final = re.compile(r"`([A-Za-z_]\w*)\s*\(([^`]*)\)\s*(->\s*[^`]+)?`")
_DOCTEST_CALL: Final = re.compile(r">>>\s*([A-Za-z_]\w*)\s*\(")
_PLAIN_SIGNATURE: Final = re.compile(r"\b([a-z_]\w*)\(([^()\n]*:[^()\n]*)\)\s*(->\s*[\w\[\], .|]+)?")


@dataclass(frozen=True, slots=True)
class Example:
    """One call and what it must give: `call == expected`, or `raises` the exception of that name."""

    call: str
    expected: str = ""
    raises: str = ""

    def as_test(self, number: int) -> str:
        """A pytest function that holds exactly this example."""
        head = f"def test_example_{number}():\n"
        if self.raises:
            return f"{head}    with pytest.raises({self.raises}):\n        {self.call}\n"
        if re.search(r"\d\.\d", self.expected):
            return (
                f"{head}    assert {self.call} == pytest.approx({self.expected})\n"
                if _is_number(self.expected)
                else self._plain(head)
            )
        return self._plain(head)

    def _plain(self, head: str) -> str:
        return f"{head}    assert {self.call} == {self.expected}\n"

    def __str__(self) -> str:
        return f"{self.call} raises {self.raises}" if self.raises else f"{self.call} == {self.expected}"


def function_name(task: str) -> str | None:
    """The name of the function the task asks for: from a `def`, a call in backticks, or a doctest; None when it names none."""
    for pattern in (_DEF, _BACKTICK_CALL, _DOCTEST_CALL, _PLAIN_SIGNATURE):
        match = pattern.search(task)
        if match is not None:
            return match[1]
    return None


def find_signature(task: str) -> str | None:
    """The `def ...:` line the task gives, or one made from a typed call in backticks; None when neither parses."""
    for line in task.splitlines():
        stripped = line.strip().strip("`")
        if stripped.startswith(("def ", "async def ")):
            head = stripped if stripped.endswith(":") else f"{stripped.rstrip('.')}:"
            if _parses(f"{head}\n    pass"):
                return head
    for pattern in (_BACKTICK_CALL, _PLAIN_SIGNATURE):
        for match in pattern.finditer(task):
            head = f"def {match[1]}({match[2].strip()}){' ' + match[3].strip() if match[3] else ''}:"
            if _parses(f"{head}\n    pass"):
                return head
    return None


def find_examples(task: str, name: str | None = None) -> tuple[Example, ...]:
    """The examples in the task that call `name` (by default the function it asks for), in order, each once."""
    wanted = name if name is not None else function_name(task)
    if wanted is None:
        return ()
    found = [*_doctests(task), *_arrows(task), *_tables(task)]
    kept = [
        example for example in found if _calls(example.call, wanted) and (example.raises or _is_value(example.expected))
    ]
    return tuple(dict.fromkeys(kept))


def _doctests(task: str) -> Iterator[Example]:
    lines = task.splitlines()
    for index, line in enumerate(lines):
        call = line.strip().removeprefix(">>>").strip()
        if not line.strip().startswith(">>>") or index + 1 >= len(lines):
            continue
        answer = lines[index + 1].strip()
        if answer.startswith("Traceback"):
            last = next(
                (text.strip() for text in lines[index + 2 : index + 6] if re.match(r"\s*\w*(Error|Exception)\b", text)),
                "",
            )
            yield Example(call, raises=last.partition(":")[0])
        elif answer and not answer.startswith((">>>", "```")):
            yield Example(call, answer)


def _arrows(task: str) -> Iterator[Example]:
    for line in task.splitlines():
        text = line.strip().lstrip("-*+ ").replace("`", "").strip()
        if text.startswith((">>>", "|", "def ")):
            continue
        raised = re.fullmatch(r"(?P<call>.+?\))\s+raises\s+(?:an?\s+)?(?P<error>[A-Z]\w*)\.?", text)
        if raised is not None:
            yield Example(raised["call"], raises=raised["error"])
            continue
        for match in _ARROW.finditer(text):
            call, expected = text[: match.start()].strip(), _value_at_start(text[match.end() :])
            if expected and _is_call(call):
                yield Example(call, expected)
                break


def _tables(task: str) -> Iterator[Example]:
    for line in task.splitlines():
        cells = [cell.strip().strip("`") for cell in line.strip().strip("|").split("|")]
        if line.strip().startswith("|") and len(cells) == 2 and _is_call(cells[0]):
            raised = re.fullmatch(r"(?:raises\s+)?([A-Z]\w*(?:Error|Exception))", cells[1])
            yield Example(cells[0], raises=raised[1]) if raised else Example(cells[0], cells[1])


def _value_at_start(text: str) -> str:
    """The longest beginning of a line that is a Python value: `2  (rounded)` gives `2`, `'a, b'.` gives `'a, b'`."""
    candidate = text.strip()
    while candidate:
        if _is_value(candidate):
            return candidate
        shorter = candidate.rstrip(".,;").rstrip()
        candidate = shorter if shorter != candidate else candidate.rpartition(" ")[0].rstrip()
    return ""


def _is_call(text: str) -> bool:
    try:
        return isinstance(ast.parse(text, mode="eval").body, ast.Call)
    except (SyntaxError, ValueError):
        return False


def _calls(text: str, name: str) -> bool:
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError):
        return False
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
        for node in ast.walk(tree)
    )


def _is_value(text: str) -> bool:
    """True for a literal (also of nested containers, sets and negative numbers): what an example's right side must be."""
    try:
        ast.literal_eval(text)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return text in {"set()", "frozenset()"}
    return True


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _parses(source: str) -> bool:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError):
        return False
    return True
