"""What an object of a class made from int, list, ... holds, as a plain value.

Runs in both sandboxes. Calls the builtin's own methods, never those of the class.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CHANGEABLE", "base_of", "is_made_from", "plain_of"]

_BASES: Final[dict[type, Callable[[Any], Any]]] = {
    int: lambda own: int.__add__(own, 0),
    float: float.__pos__,
    str: str.__str__,
    bytes: lambda own: bytes(memoryview(own)),
    complex: complex.__pos__,
    frozenset: lambda own: frozenset(frozenset.__iter__(own)),
    tuple: lambda own: tuple(tuple.__iter__(own)),
    list: lambda own: list(list.__iter__(own)),
    dict: lambda own: {key: dict.__getitem__(own, key) for key in dict.__iter__(own)},
    set: lambda own: set(set.__iter__(own)),
    bytearray: lambda own: bytearray(memoryview(own)),
}
CHANGEABLE: Final = (list, dict, set, bytearray)
_VIEWS: Final[dict[type, type]] = {type({}.keys()): set, type({}.items()): set, MappingProxyType: dict}
"""Looks at a dict that compare like the plain one they are not made from."""


def base_of(kind: type) -> type | None:
    """The builtin that a class is made from, or compared like, if it is one that has data."""
    return _VIEWS.get(kind) or next((one for one in kind.__mro__ if one in _BASES), None)


def is_made_from(kind: type) -> bool:
    """Whether `isinstance` says so too."""
    return kind not in _VIEWS and base_of(kind) is not None


def plain_of(value: Any) -> Any:
    """What it holds; KeyError for an object of a class without such a base."""
    kind = type(value)
    return _VIEWS[kind](value) if kind in _VIEWS else _BASES[base_of(kind) or object](value)
