"""Inputs to try a function with: variations of the inputs its examples have, and what its annotations allow.

Nobody knows what a function should give for them; they are for telling candidates apart, and for finding those that agree.
Pure and deterministic: the same examples and seed give the same calls.
"""

from __future__ import annotations

import ast
import random
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["probe_calls"]

_TRIES: Final = 20
_MOST_TEXT: Final = 300  # characters of a call: a probe is for telling apart, not for load
_INTS: Final = (0, 1, 2, 3, 5, 7, 10, 12, 25, 100, -1)
_STRINGS: Final = ("", "a", "ab", "abc", "Hello World", "aab bca", "A1b2", "racecar", "one two  three")
_BASES: Final[dict[str, tuple[Any, ...]]] = {
    "int": _INTS,
    "float": (0.0, 1.0, 2.5, -1.5, 10.0, 3.14),
    "str": _STRINGS,
    "bool": (True, False),
    "Any": (0, 1, "a", None),
}
_SEQUENCES: Final = {
    "list": list,
    "List": list,
    "Sequence": list,
    "Iterable": list,
    "tuple": tuple,
    "Tuple": tuple,
    "set": set,
    "Set": set,
}


def probe_calls(
    calls: Iterable[str], function: str, *, signature: str | None = None, count: int = 12, seed: int = 0
) -> tuple[str, ...]:
    """Up to `count` calls of `function`, none of them one of `calls` (examples, or calls in tests), which they vary.

    Without calls to vary, inputs are made by the annotations of `signature`; () where those say too little.
    """
    known = [arguments for call in calls if (arguments := _arguments(call, function)) is not None]
    rng = random.Random(seed)  # noqa: S311 -- a choice of inputs, no secret
    made: dict[str, None] = {}
    seen = {_call(function, arguments) for arguments in known}
    source = _varied(known, rng) if known else _typed(signature, rng)
    for _ in range(count * _TRIES):
        arguments = source()
        if arguments is None or len(made) >= count:
            break
        text = _call(function, arguments)
        if text not in seen and len(text) <= _MOST_TEXT:
            made[text] = None
    return tuple(made)


def _call(function: str, arguments: Sequence[Any]) -> str:
    return f"{function}({', '.join(map(repr, arguments))})"


def _arguments(call: str, function: str) -> list[Any] | None:
    """The plain positional arguments of the first call of `function` in an expression; None where there is none."""
    try:
        tree = ast.parse(call, mode="eval")
    except (SyntaxError, ValueError):
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function:
            try:
                return None if node.keywords else [ast.literal_eval(argument) for argument in node.args]
            except (ValueError, TypeError, SyntaxError):
                return None
    return None


# -- variations of what is known ------------------------------------------------------------------------------------------


def _varied(known: Sequence[list[Any]], rng: random.Random) -> Callable[[], list[Any] | None]:
    def one() -> list[Any] | None:
        arguments = list(rng.choice(known))
        if not arguments:
            return None
        for _ in range(rng.choice((1, 1, 2))):
            place = rng.randrange(len(arguments))
            others = [each[place] for each in known if len(each) > place]
            arguments[place] = rng.choice(others) if rng.random() < 0.2 else _vary(arguments[place], rng)
        return arguments

    return one


def _vary(value: Any, rng: random.Random) -> Any:
    """A neighbour of the value, of its own type."""
    match value:
        case bool():
            return not value
        case int():
            return rng.choice(
                (value + 1, value - 1, value * 2, value // 2, value + rng.randrange(2, 12), rng.choice(_INTS[:9]))
            )
        case float():
            return rng.choice((value + 1, value - 0.5, value * 2, -value, round(value)))
        case str():
            return _vary_text(value, rng)
        case list() | tuple() | set() | frozenset():
            return type(value)(_vary_items(list(value), rng))
        case dict():
            return _vary_dict(value, rng)
        case _:
            return value


def _vary_text(text: str, rng: random.Random) -> str:
    if not text:
        return rng.choice(_STRINGS)
    place = rng.randrange(len(text))
    return rng.choice(
        (
            text[:place] + text[place + 1 :],
            text[:place] + text[place] + text[place:],
            text[::-1],
            text + text,
            text.swapcase(),
            text[: place + 1],
            text[:place] + rng.choice(text) + text[place + 1 :],
            "",
        )
    )


def _vary_items(items: list[Any], rng: random.Random) -> list[Any]:
    if not items:
        return items
    place = rng.randrange(len(items))
    match rng.randrange(7):
        case 0:
            return items[:place] + items[place + 1 :]
        case 1:
            return [*items[:place], items[place], *items[place:]]
        case 2:
            return items[::-1]
        case 3:
            return items + items
        case 4:
            return items[: place + 1]
        case _:
            return [*items[:place], _vary(items[place], rng), *items[place + 1 :]]


def _vary_dict(value: dict[Any, Any], rng: random.Random) -> dict[Any, Any]:
    if not value:
        return value
    key = rng.choice(list(value))
    if rng.random() < 0.4:
        return {each: what for each, what in value.items() if each != key}
    return {**value, key: _vary(value[key], rng)}


# -- what annotations allow -------------------------------------------------------------------------------------------------


def _typed(signature: str | None, rng: random.Random) -> Callable[[], list[Any] | None]:
    makers = _makers(signature, rng)
    return lambda: [make() for make in makers] if makers else None


def _makers(signature: str | None, rng: random.Random) -> list[Callable[[], Any]] | None:
    if signature is None:
        return None
    try:
        function = ast.parse(f"{signature}\n    pass").body[0]
    except (SyntaxError, ValueError, IndexError):
        return None
    if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
        return None
    makers = [_maker(argument.annotation, rng) for argument in function.args.args]
    return None if not makers or None in makers else [make for make in makers if make is not None]


def _maker(annotation: ast.expr | None, rng: random.Random) -> Callable[[], Any] | None:
    match annotation:
        case ast.Name(id=name) if name in _BASES:
            return lambda: rng.choice(_BASES[name])
        case ast.Name(id=name) if name in _SEQUENCES:
            return lambda: _SEQUENCES[name](rng.choice(_INTS) for _ in range(rng.randrange(6)))
        case ast.Subscript(value=ast.Name(id=name), slice=inner) if name in _SEQUENCES:
            return _sequence_maker(name, inner, rng)
        case ast.Subscript(value=ast.Name(id="dict" | "Dict"), slice=ast.Tuple(elts=[key, value])):
            keys, values = _maker(key, rng), _maker(value, rng)
            return (
                None if keys is None or values is None else lambda: {keys(): values() for _ in range(rng.randrange(4))}
            )
        case (
            ast.Subscript(value=ast.Name(id="Optional"), slice=inner)
            | ast.BinOp(left=inner, right=ast.Constant(value=None))
        ):
            make = _maker(inner, rng)
            return None if make is None else lambda: make() if rng.random() < 0.8 else None
        case _:
            return None


def _sequence_maker(name: str, inner: ast.expr, rng: random.Random) -> Callable[[], Any] | None:
    if (
        isinstance(inner, ast.Tuple)
        and name in {"tuple", "Tuple"}
        and not any(isinstance(one, ast.Constant) for one in inner.elts)
    ):
        makers = [_maker(one, rng) for one in inner.elts]
        return None if None in makers else lambda: tuple(make() for make in makers if make is not None)
    make = _maker(inner.elts[0] if isinstance(inner, ast.Tuple) else inner, rng)
    return None if make is None else lambda: _SEQUENCES[name](make() for _ in range(rng.randrange(6)))
