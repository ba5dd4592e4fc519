"""What can be said of an annotation without running anything: its name for people, what it yields, what contradicts it.

Doubt is never a fault: whatever is not plainly known (Any, unions, protocols, type variables) agrees with everything.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterable
from typing import Annotated, Any, Final, Union, get_args, get_origin

__all__ = ["contradict", "item_type", "plain", "type_name", "unwrapped"]

_UNIONS: Final = (Union, types.UnionType)


def type_name(annotation: Any) -> str:
    """The annotation as the user would write it: `int`, `list[Task]`, `str | None`."""
    if isinstance(annotation, type) and get_origin(annotation) is None:
        return "None" if annotation is types.NoneType else annotation.__name__
    args = ", ".join("..." if arg is ... else type_name(arg) for arg in get_args(annotation))
    if get_origin(annotation) in _UNIONS:
        return " | ".join(type_name(arg) for arg in get_args(annotation))
    if get_origin(annotation) is Annotated:
        return type_name(get_args(annotation)[0])
    if isinstance(get_origin(annotation), type) and args:
        return f"{get_origin(annotation).__name__}[{args}]"
    return re.sub(r"\b(?:[A-Za-z_]\w*\.)+(?=[A-Za-z_])", "", str(annotation))


def unwrapped(annotation: Any) -> Any:
    """The annotation without `Annotated` and without an optional None."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in _UNIONS:
        rest = [arg for arg in get_args(annotation) if arg is not types.NoneType]
        return unwrapped(rest[0]) if len(rest) == 1 else annotation
    return annotation


def plain(annotation: Any) -> type | None:
    """The class of the values, where it is plainly known: `list` for `list[Task]`, None for a union."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    found = get_origin(annotation) or annotation
    return found if isinstance(found, type) and found not in (Any, *_UNIONS) else None


def item_type(annotation: Any) -> Any:
    """What iterating over such a value yields (Any where it is not known); None when it cannot be iterated.

    Text counts as one thing: a stage run once per letter is nobody's wish.
    """
    found = plain(annotation)
    if found is None:
        return Any
    if not hasattr(found, "__iter__") or issubclass(found, str | bytes):
        return None
    args = [arg for arg in get_args(unwrapped(annotation)) if arg is not ...]
    return args[0] if len(args) == 1 and issubclass(found, Iterable) else Any


def contradict(given: Any, wanted: Any) -> bool:
    """Whether a value of one type can plainly never be one of the other; a subclass either way is no contradiction."""
    have, want = plain(given), plain(wanted)
    if have is None or want is None or (have, want) in {(int, float), (int, complex), (float, complex)}:
        return False
    try:
        return not (issubclass(have, want) or issubclass(want, have))
    except TypeError:  # a protocol or a TypedDict, which cannot be asked
        return False
