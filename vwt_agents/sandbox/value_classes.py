"""Numbers, texts, tuples, ... of a class of the code, as the tests hold them: real ones, of a class made from int, str, ...

What the builtin can do is done here, on the value that arrived; only what the class adds asks the code. So no comparison,
length or method of a str is the code's to answer. What it makes of a value of the tests is believed where the builtin agrees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from vwt_agents.sandbox.asking import ask, made_here
from vwt_agents.sandbox.bases import plain_of
from vwt_agents.sandbox.handles import ClassMeta, attribute, equals_plain, exactly, of_code, refuse_order
from vwt_agents.sandbox.operators import BINARY, OPERATORS
from vwt_agents.sandbox.wire import is_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["is_value_class", "made_value", "value_class"]

_UNARY: Final = frozenset({"neg", "pos", "invert", "abs", "round", "trunc", "floor", "ceil"})
_ORDER: Final = frozenset({"lt", "le", "gt", "ge"})
_TEXTS: Final = frozenset({"str", "repr", "format"})


def value_class(name: str, kind: type, has: Iterable[str], bases: Iterable[Any], common: dict[str, Any]) -> type:
    """A class made from `kind`, with the operators that the code's class has of its own."""
    space = {**common, "vwt_base": kind, "vwt_made": True, "vwt_derived": False}
    space |= {"__getattr__": attribute, "__setattr__": _set, "__copy__": _itself, "__deepcopy__": _itself}
    for one in has:
        method = _operator(one, kind)
        if method is not None:
            space[f"__{one}__"] = method
    parents = tuple(one for one in bases if is_value_class(one) and issubclass(one, kind))
    try:
        return ClassMeta.__new__(ClassMeta, name, parents or (kind,), dict(space))
    except TypeError:
        return ClassMeta.__new__(ClassMeta, name, (kind,), space)


def is_value_class(cls: Any) -> bool:
    """Whether its instances are values, which are here."""
    return isinstance(cls, ClassMeta) and cls.vwt_base is not None and issubclass(cls, cls.vwt_base)


def made_value(cls: Any, plain: Any, number: int) -> Any:
    """The value that the code has under this number."""
    made = cls.vwt_base.__new__(cls, plain)
    made.__dict__["vwt_id"] = number
    return made


def _itself(self: Any, *_: Any) -> Any:
    return self


def _set(self: Any, name: str, value: Any) -> None:
    __tracebackhide__ = True
    ask("set", self, name, value)


def _operator(name: str, kind: type) -> Callable[..., Any] | None:
    """What does it here; None leaves it to the builtin."""
    own = getattr(kind, f"__{name}__", None)
    if name in ("eq", "ne"):
        return _equality(own, same=name == "eq")
    if name in _ORDER:
        return None if own is None else _order(own)
    if name in _TEXTS:
        return _text(name)
    if name in _UNARY or name in BINARY:
        return _agreed(name, own)
    if name.startswith("r") and name[1:] in BINARY:
        return _agreed(name[1:], own, reflected=True)
    return OPERATORS.get(name) if own is None and name != "bool" else None


def _equality(own: Any, *, same: bool) -> Callable[..., Any]:
    def method(self: Any, other: Any) -> Any:
        __tracebackhide__ = True
        if made_here() and is_plain(_plain(other)):
            return equals_plain(self, other) is same
        return own(self, other)

    return method


def _order(own: Any) -> Callable[..., Any]:
    def method(self: Any, other: Any) -> Any:
        __tracebackhide__ = True
        refuse_order()
        return own(self, other)

    return method


def _text(name: str) -> Callable[..., str]:
    def method(self: Any, *spec: Any) -> str:
        __tracebackhide__ = True
        return exactly(str, ask(name, self, *spec))

    return method


def _agreed(name: str, own: Any, *, reflected: bool = False) -> Callable[..., Any]:
    """Asks the code, and takes what the builtin says unless both agree or no value of the tests has a part in it."""

    def method(self: Any, *others: Any) -> Any:
        __tracebackhide__ = True
        plain = [other for other in others if not of_code(other)]
        if not all(is_plain(other) for other in plain):
            return NotImplemented
        here = NotImplemented if own is None else own(plain_of(self), *map(_plain, others))
        said = ask(name, *others, self) if reflected else ask(name, self, *others)
        if (others and not plain) or here is NotImplemented:
            return said if not plain else here
        agree = of_code(said) and is_value_class(type(said)) and _same(plain_of(said), here)
        return said if agree else here

    return method


def _plain(value: Any) -> Any:
    return plain_of(value) if is_value_class(type(value)) else value


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)
