"""A stage's value read back from its JSON: as the type the stage declares, or not at all.

JSON says less than Python: what came of `Any`, or of either of two classes, cannot be told from it. Such a value is never
guessed. Pure; pydantic does the reading.
"""

from __future__ import annotations

import functools
import types
import typing
from collections.abc import Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from vwt_agents.values import encode

__all__ = ["Unreadable", "read_value", "says_all", "why_unreadable"]

_KINDS: Final[tuple[tuple[type, str], ...]] = (
    (bool, "boolean"),
    (int, "integer"),
    (float, "number"),
    (str, "text"),
    (bytes, "text"),
    (types.NoneType, "null"),
    (Mapping, "object"),
    (Sequence, "array"),
    (Set, "array"),
)
_PLAIN_MODULES: Final = frozenset({"builtins", "datetime", "decimal", "pathlib", "pathlib._local", "uuid"})


class Unreadable(ValueError):
    """The value cannot be had from its JSON; the message says why."""


def read_value(text: str, annotation: Any) -> Any:
    """The value of that type that this JSON was made of; Unreadable where another one may have been meant."""
    if (why := why_unreadable(annotation)) is not None:
        raise Unreadable(why)
    try:
        value = _cached(_adapter, annotation).validate_json(text)
    except ValueError as error:
        raise Unreadable(f"what was kept is no {_name(annotation)} any more") from error
    if encode(value) != text:  # a part was lost on the way: a subclass's field, say
        raise Unreadable(f"what was kept is more than {_name(annotation)} says")
    return value


def why_unreadable(annotation: Any) -> str | None:
    """Why values of this type cannot be read back, in words; None where they can."""
    why: str | None = _cached(_why_ambiguous, annotation) or _cached(_why_indescribable, annotation)
    return why


def says_all(annotation: Any) -> bool:
    """Whether equal JSON means equal values of this type. Cheap: nothing is imported for it."""
    return _cached(_why_ambiguous, annotation) is None


def _cached(function: Any, annotation: Any) -> Any:
    try:
        return function(annotation)
    except TypeError:  # not hashable, as an Annotated may be
        return function.__wrapped__(annotation)


@functools.lru_cache(maxsize=256)
def _why_ambiguous(annotation: Any) -> str | None:
    try:
        _check(annotation, set())
    except Unreadable as error:
        return str(error)
    except (NameError, AttributeError, TypeError) as error:  # a field's type that cannot be found
        return f"{_name(annotation)} cannot be read: {error}"
    return None


@functools.lru_cache(maxsize=256)
def _why_indescribable(annotation: Any) -> str | None:
    try:
        _cached(_adapter, annotation)
    except Exception as error:  # noqa: BLE001 - pydantic's own, of many kinds, for types it cannot describe
        return f"{_name(annotation)} cannot be read: {type(error).__name__}"
    return None


@functools.lru_cache(maxsize=256)
def _adapter(annotation: Any) -> Any:
    from pydantic import PydanticUserError, TypeAdapter

    try:
        return TypeAdapter(annotation, config={"val_json_bytes": "base64"})
    except PydanticUserError:  # a class says itself how it is read
        return TypeAdapter(annotation)


def _check(annotation: Any, seen: set[int]) -> None:
    """Unreadable for a type of which one JSON text may stand for several values."""
    origin = get_origin(annotation)
    if origin is Annotated:
        _check(get_args(annotation)[0], seen)
    elif origin in (Union, types.UnionType):
        _check_union(annotation, seen)
    elif origin is not None and origin is not Literal:
        for arg in get_args(annotation):
            if arg is not ...:
                _check(arg, seen)
    elif origin is None and annotation is not None:
        _check_class(annotation, seen)


def _check_class(annotation: Any, seen: set[int]) -> None:
    if not isinstance(annotation, type) or annotation is object or _is_open(annotation):
        raise Unreadable(f"{_name(annotation)} may be anything")
    if not _is_data(annotation):
        raise Unreadable(f"{_name(annotation)} is no type whose values JSON can hold")
    if id(annotation) not in seen:
        seen.add(id(annotation))
        for part in _parts(annotation):
            _check(part, seen)


def _is_open(annotation: type) -> bool:
    """Whether it says nothing of its items, or is a protocol."""
    if annotation is Any or getattr(annotation, "_is_protocol", False):
        return True
    if typing.is_typeddict(annotation) or hasattr(annotation, "_fields") or issubclass(annotation, str | bytes):
        return False
    return issubclass(annotation, Mapping | Sequence | Set) or annotation in (Mapping, Sequence, Set)


def _is_data(annotation: type) -> bool:
    return (
        is_dataclass(annotation)
        or typing.is_typeddict(annotation)
        or issubclass(annotation, Enum)
        or hasattr(annotation, "__pydantic_fields__")
        or hasattr(annotation, "_fields")
        or annotation.__module__ in _PLAIN_MODULES
    )


def _check_union(annotation: Any, seen: set[int]) -> None:
    kinds: list[str] = []
    for member in get_args(annotation):
        _check(member, seen)
        kinds += _kinds(member)
    if len(set(kinds)) < len(kinds):
        raise Unreadable(f"which part of {_name(annotation)} it was cannot be told")


def _kinds(annotation: Any) -> list[str]:
    """What its JSON is, where that is known; `object` for a class with fields, `text` for what is written as such."""
    origin = get_origin(annotation) or annotation
    if origin is Annotated:
        return _kinds(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [kind for member in get_args(annotation) for kind in _kinds(member)]
    if origin is Literal:
        return list(dict.fromkeys(kind for value in get_args(annotation) for kind in _kinds(type(value))))
    if isinstance(origin, type):
        if is_dataclass(origin) or hasattr(origin, "__pydantic_fields__"):
            return ["object"]
        return [next((kind for base, kind in _KINDS if issubclass(origin, base)), "text")]
    return ["text"]


def _parts(cls: type) -> list[Any]:
    """The types of a class's fields."""
    if hasattr(cls, "__pydantic_fields__"):
        return [field.annotation for field in cls.__pydantic_fields__.values()]
    if is_dataclass(cls):
        hints = get_type_hints(cls, include_extras=True)
        return [hints[field.name] for field in fields(cls)]
    if typing.is_typeddict(cls) or (issubclass(cls, tuple) and hasattr(cls, "_fields")):
        return list(get_type_hints(cls, include_extras=True).values())
    return []


def _name(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) and get_origin(annotation) is None else str(annotation)
