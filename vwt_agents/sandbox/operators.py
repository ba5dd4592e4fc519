"""Operators of the code's objects, as the tests use them: who answers, and what is believed. See docs/verdicts.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from vwt_agents.sandbox.asking import OURS, ask, doubt, guarded, worked_here
from vwt_agents.sandbox.handles import (
    Handle,
    contains,
    exactly,
    held_by,
    of_code,
    refuse_derived,
    refuse_difference,
    refuse_order,
)
from vwt_agents.sandbox.wire import is_plain

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BINARY", "CHANGING", "OPERATORS", "WORKING", "added_to", "local"]

_PAIR: Final = 2


def _remote(name: str) -> Callable[..., Any]:
    def method(self: Any, *arguments: Any) -> Any:
        __tracebackhide__ = True
        return ask(name, self, *arguments)

    return method


def _judging(name: str, kind: type | None = None) -> Callable[..., Any]:
    """An operation that turns an object into a figure, which could be one that the tests told it before."""

    def method(self: Any, *arguments: Any) -> Any:
        __tracebackhide__ = True
        refuse_derived(self, name)
        answer = ask(name, self, *arguments)
        return answer if kind is None else exactly(kind, answer)

    return method


def _counting(name: str) -> Callable[..., Any]:
    """An operation that says what is in an object, which is nothing where that is a difference to what was expected."""

    def method(self: Any) -> Any:
        __tracebackhide__ = True
        refuse_difference(self, name)
        return ask(name, self)

    return method


def _unary(name: str) -> Callable[..., Any]:
    def method(self: Any) -> Any:
        __tracebackhide__ = True
        answer = ask(name, self)
        return _derived(answer, name) if self.vwt_derived else answer

    return method


def _binary(name: str, *, reflected: bool = False) -> Callable[..., Any]:
    def method(self: Any, other: Any, *more: Any) -> Any:
        __tracebackhide__ = True
        own = of_code(other)
        if not own and not is_plain(other):
            return NotImplemented
        answer = ask(name, other, self) if reflected else ask(name, self, other, *more)
        return answer if own else _derived(answer, name)

    return method


def _derived(answer: Any, name: str) -> Any:
    """What came of a value of the tests: an object, or two as `divmod` gives; never as many as it may have been told."""
    objects = answer if type(answer) is tuple and len(answer) == _PAIR else (answer,)
    if not all(isinstance(one, Handle) for one in objects):
        doubt(f"`{name}` of an object of the code and a value of the tests gave plain data: it could be made to fit")
    alike, made = (name if name in BINARY else name[1:]) in WORKING, worked_here()
    for one in objects:
        if not (alike and made):
            object.__setattr__(one, "vwt_derived", True)
        if not (alike or made):
            object.__setattr__(one, "vwt_differs", True)
    return answer


def _order(name: str) -> Callable[..., Any]:
    def method(self: Any, other: Any) -> Any:
        __tracebackhide__ = True
        if of_code(other):
            return exactly(bool, ask(name, self, other))
        if is_plain(other):
            refuse_order()
        return NotImplemented

    return method


def _exit(self: Any, kind: Any, error: Any, trace: Any) -> bool:
    __tracebackhide__ = True
    if isinstance(error, OURS):
        return False
    swallowed = ask("exit", self, kind, error, None)
    # What a test asserts is not the code's to forgive, nor what keeps it from asserting.
    return (
        swallowed is True
        and isinstance(error, Exception)
        and not isinstance(error, AssertionError)
        and not guarded(trace)
    )


def _call(self: Any, *positional: Any, **named: Any) -> Any:
    __tracebackhide__ = True
    return ask("call", self, list(positional), named)


BINARY: Final = (
    *("add", "sub", "mul", "truediv", "floordiv", "mod", "divmod", "pow", "matmul", "lshift", "rshift"),
    *("and", "or", "xor"),
)
"""Those that both sides of an operator may answer, also as `radd`, ..."""
OPERATORS: Final[dict[str, Callable[..., Any]]] = {
    **{name: _remote(name) for name in ("next", "getitem", "setitem", "delitem", "enter", "bytes")},
    **{name: _counting(name) for name in ("iter", "len", "reversed")},
    **{name: _judging(name) for name in ("abs", "round", "index", "trunc", "floor", "ceil", "complex")},
    "bool": _judging("bool", bool),
    "int": _judging("int", int),
    "float": _judging("float", float),
    **{name: _unary(name) for name in ("neg", "pos", "invert")},
    **{name: _binary(name) for name in BINARY},
    **{"r" + name: _binary(name, reflected=True) for name in BINARY},
    **{name: _binary(name) for name in ("iadd", "isub", "imul", "itruediv", "ior", "iand", "ixor")},
    **{name: _order(name) for name in ("lt", "le", "gt", "ge")},
    "contains": contains,
    "exit": _exit,
    "call": _call,
}
WORKING: Final = frozenset({"add", "mul", "matmul", "truediv", "floordiv", "or", "and"})
"""Operators that do not compare: what comes of an object that the tests made and a value is like the object. Of `-` and `%` and
the like it is how far they differ, which a test may ask to be nothing."""
CHANGING: Final = frozenset({"setitem", "delitem", "iadd", "isub", "imul", "ior", "iand", "ixor"})


def added_to(self: Any, other: Any) -> Any:
    """`other + self` for a list of a class of the code, as a list does it with every class that is made from it."""
    return other + held_by(self) if type(other) is self.vwt_base else NotImplemented


def local(name: str) -> Callable[..., Any]:
    """An operation that a class of the code has from list, int, ... and did not change: done here, on what the object holds."""

    def method(self: Any, *arguments: Any) -> Any:
        mine = [held_by(one) if isinstance(one, Handle) and one.vwt_base else one for one in arguments]
        return getattr(held_by(self), name)(*mine)

    return method
