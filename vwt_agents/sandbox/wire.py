"""Plain data as a line of JSON: a value arrives as exactly the type that was sent, and nothing that could lie gets through.

Runs in both sandboxes of the isolated judge, so it imports the standard library only, and the rarer parts of it when met.
Knows the builtin types and the plain ones of the standard library; what else there is, a subclass says (`encode_other`,
`decode_other`). Containers that can change are numbered (`held`), so that what one side does to one can be done to the other's,
and so that an argument that comes back is the same object.
"""

from __future__ import annotations

import base64
import sys
from collections import Counter, OrderedDict, defaultdict, deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from vwt_agents.sandbox.held import Held

__all__ = ["DEEPEST", "MOST_BYTES", "PLAIN_CLASSES", "Coder", "WireError", "is_plain", "look", "plain_class"]

DEEPEST: Final = 100
MOST_BYTES: Final = 32 * 1024 * 1024
_EXACT: Final = 2**53


class WireError(Exception):
    """The value cannot travel, or what arrived is no value; the message says why."""


class Coder:
    """Encodes and decodes the values of one exchange; `held` are the containers that both sides have."""

    deepest_taken: int = DEEPEST
    """What is decoded at most."""

    def __init__(self, held: Held) -> None:
        self.held = held

    def encode(self, value: Any, depth: int = 0) -> Any:
        """The value as JSON data; WireError when it is too deep."""
        kind = type(value)
        if value is None or kind is bool or kind is str:
            return value
        if kind is int:
            return value if -_EXACT <= value <= _EXACT else ["int", hex(value)]
        if kind is float:
            return value if value - value == 0 else ["float", repr(value)]
        if depth > DEEPEST:
            raise WireError(f"data nested deeper than {DEEPEST} levels")
        if kind in _CONTAINERS:
            number = self.held.number(value)
            return ["same", number] if number is not None else self._encode_new(value, depth)
        tag = _TAGS.get(kind) or _library_tag(kind)
        if tag is None:
            return self.encode_other(value, depth)
        return [tag, self.each(_FORMS[tag].parts(value), depth)]

    def _encode_new(self, container: Any, depth: int) -> Any:
        form = _CONTAINERS[type(container)]
        number = self.held.give(container)
        aside = self.encode(form.aside(container), depth + 1)
        return [form.tag, number, aside, self.items(container, depth)]

    def items(self, container: Any, depth: int = 0) -> list[Any]:
        """What is in a list, dict or other changeable container; other containers that both sides have are only named."""
        return self.each(_CONTAINERS[type(container)].items(container), depth)

    def each(self, values: Iterable[Any], depth: int) -> list[Any]:
        """Every value encoded, one level down."""
        return [self.encode(one, depth + 1) for one in values]

    def items_of(self, numbers: Iterable[int]) -> list[Any]:
        """The numbers of containers that this side has changed, and what is in them now; `held.agree` when that is sent."""
        return [[number, self.items(self.held.entries[number].container)] for number in numbers]

    def decode(self, data: Any, depth: int = 0) -> Any:
        """The value, of exactly the type it had; raises anything at all when the data is no value."""
        if type(data) is not list:
            return data
        if depth > self.deepest_taken:
            raise WireError(f"data nested deeper than {self.deepest_taken} levels")
        tag = data[0]
        if tag == "same":
            return self.held.entries[data[1]].container
        if tag in _BY_TAG:
            _, number, aside, items = data
            return self._decode_new(_BY_TAG[tag], number, self.decode(aside, depth + 1), items, depth)
        if tag in _FORMS:
            return _FORMS[tag].build(*self.all_of(data[1], depth))
        if tag == "int":
            return int(data[1], 16)
        if tag == "float":
            return float(data[1])
        return self.decode_other(data, depth)

    def _decode_new(self, form: _Container, number: int, aside: Any, items: list[Any], depth: int) -> Any:
        container = form.make(aside)
        self.held.take(number, container)
        form.fill(container, self.all_of(items, depth))
        self.held.agree(number)
        return container

    def all_of(self, data: list[Any], depth: int) -> list[Any]:
        """Every value decoded, one level down."""
        return [self.decode(one, depth + 1) for one in data]

    def apply(self, changes: list[Any]) -> None:
        """Do to the containers of this side what the other side has done to its own."""
        for number, items in changes:
            container = self.held.entries[number].container
            new = self.all_of(items, 0)
            container.clear()
            _CONTAINERS[type(container)].fill(container, new)
            self.held.agree(number)

    def encode_other(self, value: Any, depth: int) -> Any:  # noqa: ARG002
        """A value that is no plain data, as JSON data."""
        raise WireError(f"a {type(value).__name__} is no plain data")

    def decode_other(self, data: list[Any], depth: int) -> Any:  # noqa: ARG002
        """What `encode_other` of the other side sent."""
        raise WireError(f"there is nothing like {data[0]!r}")


# ---- containers that can change


class _Container(NamedTuple):
    tag: str
    make: Callable[[Any], Any]
    fill: Callable[[Any, list[Any]], None]
    items: Callable[[Any], Iterable[Any]]
    aside: Callable[[Any], Any]


def _none(_: Any) -> Any:
    return None


def _pairs(value: dict[Any, Any]) -> Iterable[Any]:
    return [part for pair in dict.items(value) for part in pair]


def _put(value: dict[Any, Any], items: list[Any]) -> None:
    dict.update(value, zip(items[::2], items[1::2], strict=True))


# An OrderedDict keeps the order of its items beside the dict it is made from, whose own methods neither see nor change it.


def _ordered_pairs(value: OrderedDict[Any, Any]) -> Iterable[Any]:
    return [part for pair in OrderedDict.items(value) for part in pair]


def _put_in_order(value: OrderedDict[Any, Any], items: list[Any]) -> None:
    OrderedDict.update(value, zip(items[::2], items[1::2], strict=True))


def _text(value: bytes | bytearray) -> list[str]:
    return [base64.b64encode(value).decode()]


def look(container: Any) -> list[Any]:
    """The items of a changeable container as they are."""
    return list(container) if type(container) is bytearray else list(_CONTAINERS[type(container)].items(container))


_CONTAINERS: Final[dict[type, _Container]] = {
    list: _Container("list", lambda _: [], lambda own, items: own.extend(items), lambda own: own, _none),
    dict: _Container("dict", lambda _: {}, _put, _pairs, _none),
    set: _Container("set", lambda _: set(), lambda own, items: own.update(items), lambda own: own, _none),
    bytearray: _Container(
        "bytearray", lambda _: bytearray(), lambda own, items: own.extend(base64.b64decode(items[0])), _text, _none
    ),
    deque: _Container(
        "deque",
        lambda most: deque(maxlen=most),
        lambda own, items: own.extend(items),
        lambda own: own,
        lambda own: own.maxlen,
    ),
    OrderedDict: _Container("OrderedDict", lambda _: OrderedDict(), _put_in_order, _ordered_pairs, _none),
    Counter: _Container("Counter", lambda _: Counter(), _put, _pairs, _none),
    defaultdict: _Container("defaultdict", defaultdict, _put, _pairs, lambda own: own.default_factory),
}
_BY_TAG: Final = {form.tag: form for form in _CONTAINERS.values()}


# ---- values that cannot


class _Form(NamedTuple):
    parts: Callable[[Any], Iterable[Any]]
    build: Callable[..., Any]


def _decimal(text: str) -> Any:
    from decimal import Decimal

    return Decimal(text)


def _fraction(above: int, below: int) -> Any:
    from fractions import Fraction

    return Fraction(above, below)


def _uuid(text: str) -> Any:
    from uuid import UUID

    return UUID(text)


def _path(kind: str, text: str) -> Any:
    import pathlib

    if kind not in ("PosixPath", "PurePosixPath", "PureWindowsPath"):
        raise WireError(f"there is no path {kind!r}")
    return getattr(pathlib, kind)(text)


def _moment(kind: str, text: str, fold: int) -> Any:
    import datetime as dt

    if kind not in ("date", "datetime", "time"):
        raise WireError(f"there is no moment {kind!r}")
    made = getattr(dt, kind).fromisoformat(text)
    return made.replace(fold=fold) if fold else made


def _moment_parts(value: Any) -> Iterable[Any]:
    return (type(value).__name__, value.isoformat(), getattr(value, "fold", 0))


def _duration(days: int, seconds: int, micros: int) -> Any:
    from datetime import timedelta

    return timedelta(days, seconds, micros)


def _zone(seconds: float) -> Any:
    from datetime import timedelta, timezone

    return timezone(timedelta(seconds=seconds))


_FORMS: Final[dict[str, _Form]] = {
    "tuple": _Form(lambda own: own, lambda *items: items),
    "frozenset": _Form(lambda own: own, lambda *items: frozenset(items)),
    "bytes": _Form(_text, base64.b64decode),
    "complex": _Form(lambda own: (own.real, own.imag), complex),
    "range": _Form(lambda own: (own.start, own.stop, own.step), range),
    "slice": _Form(lambda own: (own.start, own.stop, own.step), slice),
    "ellipsis": _Form(lambda _: (), lambda: ...),
    "NotImplementedType": _Form(lambda _: (), lambda: NotImplemented),
    "Decimal": _Form(lambda own: (str(own),), _decimal),
    "Fraction": _Form(lambda own: (own.numerator, own.denominator), _fraction),
    "UUID": _Form(lambda own: (str(own),), _uuid),
    "path": _Form(lambda own: (type(own).__name__, str(own)), _path),
    "moment": _Form(_moment_parts, _moment),
    "timedelta": _Form(lambda own: (own.days, own.seconds, own.microseconds), _duration),
    "timezone": _Form(lambda own: (own.utcoffset(None).total_seconds(),), _zone),
}
_BUILTIN: Final = (tuple, frozenset, bytes, complex, range, slice, type(...), type(NotImplemented))
_TAGS: Final[dict[type, str]] = {kind: kind.__name__ for kind in _BUILTIN}
_LIBRARY: Final = {
    ("decimal", "Decimal"): "Decimal",
    ("fractions", "Fraction"): "Fraction",
    ("uuid", "UUID"): "UUID",
    ("datetime", "date"): "moment",
    ("datetime", "datetime"): "moment",
    ("datetime", "time"): "moment",
    ("datetime", "timedelta"): "timedelta",
    ("datetime", "timezone"): "timezone",
    ("pathlib", "PosixPath"): "path",
    ("pathlib", "PurePosixPath"): "path",
    ("pathlib", "PureWindowsPath"): "path",
}


def _library_tag(kind: type) -> str | None:
    """The tag of a plain class of the standard library, of itself and not of what only bears its name."""
    module = str(kind.__module__).partition(".")[0]
    tag = _LIBRARY.get((module, kind.__name__))
    return tag if tag and getattr(sys.modules.get(module), kind.__name__, None) is kind else None


PLAIN_CLASSES: Final[dict[str, type]] = {
    kind.__name__: kind
    for kind in (
        object,
        bool,
        int,
        float,
        complex,
        str,
        bytes,
        list,
        tuple,
        dict,
        set,
        frozenset,
        bytearray,
        range,
        slice,
    )
} | {kind.__name__: kind for kind in (type, deque, OrderedDict, Counter, defaultdict)}
"""Classes that travel by name, as values."""


def plain_class(value: Any) -> str | None:
    """The name a class travels by, or None."""
    name = getattr(value, "__name__", None) if isinstance(value, type) else None
    return name if isinstance(name, str) and PLAIN_CLASSES.get(name) is value else None


def is_plain(value: Any) -> bool:
    """The value's own type is one that travels as data, whatever it holds."""
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return True
    return kind in _CONTAINERS or kind in _TAGS or _library_tag(kind) is not None
