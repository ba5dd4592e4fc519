"""Numbers, texts, tuples, ... of a class of the code, as the tests hold them: real ones, of a class made from int, str, ...

What the builtin can do is done here, on the value that arrived; only what the class adds or changes asks the code. So no
equality or length of a str is the code's to answer. What it makes of a value of the tests is believed where the builtin agrees,
and where the answer cannot be what it was told. Named tuples are records, so of themselves they are believed what objects are.
"""

from __future__ import annotations

from collections import namedtuple
from typing import TYPE_CHECKING, Any, Final

from vwt_agents.sandbox.asking import ask, doubt, made_here, worked_here
from vwt_agents.sandbox.bases import plain_of
from vwt_agents.sandbox.decoys import among_decoys
from vwt_agents.sandbox.handles import (
    ClassMeta,
    Method,
    attribute,
    equals_plain,
    exactly,
    of_code,
    refuse_derived,
    refuse_order,
)
from vwt_agents.sandbox.operators import BINARY, OPERATORS, WORKING
from vwt_agents.sandbox.wire import is_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["is_named", "is_value_class", "made_value", "named_class", "value_class"]

_UNARY: Final = frozenset({"neg", "pos", "invert", "abs", "round", "trunc", "floor", "ceil"})
_ORDER: Final = frozenset({"lt", "le", "gt", "ge"})
_TEXTS: Final = frozenset({"str", "repr", "format"})
_SEQUENCES: Final = (str, bytes, tuple)
"""What these hold after `+`, `*` or `/` is more than they were told, unlike a number."""


def value_class(name: str, kind: type, about: dict[str, Any], bases: Iterable[Any], common: dict[str, Any]) -> type:
    """A class made from `kind`, with the operators and methods that the code's class has of its own or has changed."""
    space = {**common, "vwt_base": kind, "vwt_made": True, "vwt_derived": False}
    space |= {"__getattr__": attribute, "__setattr__": _set, "__copy__": _itself, "__deepcopy__": _itself}
    space |= _own_methods(kind, about)
    parents = tuple(one for one in bases if is_value_class(one) and issubclass(one, kind))
    try:
        return ClassMeta.__new__(ClassMeta, name, parents or (kind,), dict(space))
    except TypeError:
        return ClassMeta.__new__(ClassMeta, name, (kind,), space)


def named_class(name: str, about: dict[str, Any], common: dict[str, Any]) -> type:
    """A class made from the named tuple with the fields of the code's class, which also makes its instances."""

    def made(cls: type, *positional: Any, **named: Any) -> Any:
        __tracebackhide__ = True
        return ask("call", cls, list(positional), named)

    base: Any = namedtuple(name, about["fields"])  # type: ignore[misc]
    own = {f"__{one}__": OPERATORS[one] for one in about["has"] if one in OPERATORS} | _own_methods(tuple, about)
    space = {**common, **own, "vwt_derived": False, "vwt_differs": False, "__new__": made, "__getattr__": attribute}
    return type(name, (base,), space | {"__setattr__": _fixed, "__delattr__": _fixed})


def is_named(cls: type) -> bool:
    """Whether it stands for a named tuple of the code."""
    return issubclass(cls, tuple) and "vwt_number" in vars(cls) and not isinstance(cls, ClassMeta)


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


def _fixed(self: Any, name: str, *_: Any) -> None:
    raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r} that can be set")


def _own_methods(kind: type, about: dict[str, Any]) -> dict[str, Any]:
    operators = {f"__{one}__": _operator(one, kind) for one in about["has"]}
    methods = {str(one): _changed(str(one), getattr(kind, one)) for one in about["changed"]}
    return {name: method for name, method in operators.items() if method is not None} | methods


def _operator(name: str, kind: type) -> Callable[..., Any] | None:
    """What does it here; None leaves it to the builtin."""
    own = getattr(kind, f"__{name}__", None)
    if name in ("eq", "ne"):
        return _equality(own, same=name == "eq")
    if name in _ORDER:
        return None if own is None else _order(name, own, kind)
    if name in _TEXTS:
        return _text(name)
    if name in _UNARY or name in BINARY:
        return _agreed(name, own, kind)
    if name.startswith("r") and name[1:] in BINARY:
        return _agreed(name[1:], own, kind, reflected=True)
    return OPERATORS.get(name) if own is None and name != "bool" else None


def _equality(own: Any, *, same: bool) -> Callable[..., Any]:
    def method(self: Any, other: Any) -> Any:
        __tracebackhide__ = True
        if made_here() and is_plain(_plain(other)):
            return equals_plain(self, other) is same
        return own(self, other)

    return method


def _order(name: str, own: Any, kind: type) -> Callable[..., Any]:
    def method(self: Any, other: Any) -> Any:
        __tracebackhide__ = True
        if kind in _SEQUENCES and _is_ours(other):
            return exactly(bool, ask(name, self, other))
        refuse_order()
        return own(self, other)

    return method


def _text(name: str) -> Callable[..., str]:
    def method(self: Any, *spec: Any) -> str:
        __tracebackhide__ = True
        return exactly(str, ask(name, self, *spec))

    return method


def _agreed(name: str, own: Any, kind: type, *, reflected: bool = False) -> Callable[..., Any]:
    """Asks the code, and takes what the builtin says where the code might only repeat what it was told."""

    def method(self: Any, *others: Any) -> Any:
        __tracebackhide__ = True
        plain = [other for other in others if not _is_ours(other)]
        if not all(is_plain(other) for other in plain):
            return NotImplemented
        here = NotImplemented if own is None else own(plain_of(self), *map(_plain, others))
        said = ask(name, *others, self) if reflected else ask(name, self, *others)
        if not plain and (others or (own is None and not self.vwt_derived)):
            return said
        if _is_ours(said) and _same(plain_of(said), here):
            return _derived(said)
        if plain and name in WORKING and _can_be(said, kind) and all(_plain(said) != other for other in plain):
            return _derived(said)
        if own is None and not others:
            refuse_derived(self, name)
        return here

    return method


def _can_be(said: Any, kind: type) -> bool:
    """Whether what came of `+`, `*`, ... with a value of the tests may differ from what the builtin makes of it."""
    if kind in _SEQUENCES:
        return type(said) is kind or (_is_ours(said) and isinstance(said, kind))
    return _is_ours(said) and isinstance(said, kind) and worked_here()


def _derived(said: Any) -> Any:
    if _is_ours(said) and not worked_here():
        said.__dict__["vwt_derived"] = True
    return said


def _changed(name: str, own: Any) -> Callable[..., Any]:
    """A method of the builtin that the class has changed: where they differ, the code has to tell its argument from others.

    It hears that one alone only where it has raised an exception, or cannot be misled: then both have to say the same.
    """

    def method(self: Any, *others: Any, **named: Any) -> Any:
        __tracebackhide__ = True
        mine, here = Method(self, name), _tried(own, self, others, named)
        choices, at = among_decoys(others[0]) if others and is_plain(others[0]) else ([], 0)
        answers = ask("each", mine, choices, list(others[1:]), named) if choices else []
        if type(answers) is list and len(answers) > at and answers[at] is not None:
            said, believed = answers[at], answers.count(answers[at]) == 1
        else:
            said = mine(*others, **named)
            believed = not others and not named and type(said) is not bool
        if not believed and not _same(_plain(said), here):
            doubt(f"{name}() of a {type(self).__name__} of the code is not that of a {type(plain_of(self)).__name__}")
        return said

    return method


def _tried(own: Any, one: Any, others: Any, named: Any) -> Any:
    try:
        return own(plain_of(one), *others, **named)
    except Exception:  # noqa: BLE001 - the code did not raise it, so they differ
        return NotImplemented


def _is_ours(value: Any) -> bool:
    return of_code(value) or is_named(type(value))


def _plain(value: Any) -> Any:
    return plain_of(value) if is_value_class(type(value)) or is_named(type(value)) else value


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)
