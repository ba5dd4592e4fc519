"""What the standard library itself asks of a value's kind, answered for the code's: members of enumerations, lists in JSON.

Runs in the tests' sandbox. It says what a class of the code is made from, and hands over what an object holds, as plain data:
what that is compared with, the code is not told.
"""

from __future__ import annotations

import enum
import json.encoder
from typing import TYPE_CHECKING, Any, Final

from vwt_agents.sandbox.handles import ClassMeta, held_by, of_code

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ENUMS", "teach"]

ENUMS: Final[dict[str, type]] = {
    name: getattr(enum, name)
    for name in ("Enum", "IntEnum", "StrEnum", "Flag", "IntFlag", "ReprEnum")
    if hasattr(enum, name)
}
"""What a class of the code may count as, by name."""


def teach() -> None:
    """Have `isinstance(x, enum.Enum)` and `json.dumps(x)` see what the code's values are made from."""
    meta: Any = enum.EnumMeta
    meta.__instancecheck__ = lambda cls, one: type.__instancecheck__(cls, one) or _counts(type(one), cls)
    meta.__subclasscheck__ = lambda cls, other: type.__subclasscheck__(cls, other) or _counts(other, cls)
    encoder: Any = json.encoder
    for name in ("c_make_encoder", "_make_iterencode"):
        if getattr(encoder, name, None) is not None:
            setattr(encoder, name, _with_lists(getattr(encoder, name)))


def _counts(kind: Any, cls: Any) -> bool:
    return isinstance(kind, ClassMeta) and any(ENUMS.get(name) is cls for name in kind.vwt_enums)


def _with_lists(make: Callable[..., Any]) -> Callable[..., Any]:
    """An encoder asks `default` for what it does not know: lists and dicts of a class of the code it would have known."""

    def made(markers: Any, default: Callable[[Any], Any], *more: Any, **others: Any) -> Any:
        def known(one: Any) -> Any:
            __tracebackhide__ = True
            return held_by(one) if isinstance(one, list | dict) and of_code(one) else default(one)

        return make(markers, known, *more, **others)

    return made
