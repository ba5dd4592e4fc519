"""Objects, classes and functions of the code, as the tests hold them: every use of one is a question to the code.

Owns what is believed of the answers: nothing that only the tests may judge. See docs/verdicts.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from vwt_agents.sandbox.asking import OURS, ask, doubt, lost, refuse
from vwt_agents.sandbox.wire import is_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["CHANGING", "OPERATORS", "ClassMeta", "Function", "Handle", "Method", "answers", "attribute", "local"]

_T = TypeVar("_T")
_MOST_ITEMS: Final = 1_000_000
_ASKED: Final = frozenset(
    {"__version__", "__author__", "__annotations__", "__defaults__", "__kwdefaults__", "__members__"}
)


def answers(name: str) -> bool:
    """Whether the code is asked for an attribute: not for what Python or pytest look for on anything they meet."""
    if name.startswith("__") and name.endswith("__"):
        return name in _ASKED
    return not name.startswith(("_pytest", "pytest", "vwt_", "__vwt"))


def attribute(self: Any, name: str) -> Any:
    """What the code says an object's attribute is."""
    __tracebackhide__ = True
    if not answers(name):
        raise AttributeError(name)
    return ask("get", self, name)


class ClassMeta(type):
    """A class of the code: calling it, or reading what it has, asks the code."""

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> ClassMeta:
        """One of ours; the tests may not derive from it."""
        if namespace.pop("vwt_made", False):
            return super().__new__(cls, name, bases, namespace)
        return refuse(f"the tests derive {name} from a class of the code")

    def __call__(cls, *positional: Any, **named: Any) -> Any:
        """What the code makes."""
        __tracebackhide__ = True
        return ask("call", cls, list(positional), named)

    def __getattr__(cls, name: str) -> Any:
        __tracebackhide__ = True
        return attribute(cls, name)

    def __setattr__(cls, name: str, value: Any) -> None:
        __tracebackhide__ = True
        ask("set", cls, name, value)

    def __bool__(cls) -> bool:
        return True

    def __iter__(cls) -> Iterator[Any]:
        __tracebackhide__ = True
        return _iterated(ask("iter", cls))

    def __len__(cls) -> int:
        __tracebackhide__ = True
        return int(ask("len", cls))

    def __contains__(cls, item: Any) -> bool:
        __tracebackhide__ = True
        return _contains(cls, item)

    def __getitem__(cls, key: Any) -> Any:
        __tracebackhide__ = True
        return ask("getitem", cls, key)


class Handle(metaclass=ClassMeta):
    """An object of the code, by number."""

    vwt_made = True
    __slots__ = ("__weakref__", "vwt_derived", "vwt_id")
    vwt_id: int
    vwt_derived: bool
    vwt_base: type | None = None
    vwt_number = -1
    vwt_own_equality = False

    __getattr__ = attribute

    def __setattr__(self, name: str, value: Any) -> None:
        __tracebackhide__ = True
        ask("set", self, name, value)

    def __delattr__(self, name: str) -> None:
        __tracebackhide__ = True
        ask("del", self, name)

    def __dir__(self) -> list[str]:
        return [str(one) for one in ask("dir", self)]

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        try:
            return dict(ask("vars", self))
        except TypeError:  # a class with slots alone
            raise AttributeError("__dict__") from None

    def __eq__(self, other: object) -> bool:
        __tracebackhide__ = True
        if isinstance(other, Handle):
            return _equal(self, other)
        if self.vwt_base is not None and not self.vwt_own_equality:
            return bool(_base_of(self) == other)
        return NotImplemented if not is_plain(other) else False

    def __ne__(self, other: object) -> bool:
        __tracebackhide__ = True
        equal = self.__eq__(other)
        return equal if equal is NotImplemented else not equal

    def __hash__(self) -> int:
        __tracebackhide__ = True
        if self.vwt_base is not None or self.vwt_own_equality:
            return int(ask("hash", self))
        return hash((self.vwt_id, "of the code"))

    def __repr__(self) -> str:
        return str(ask("repr", self)) if not lost() else f"<{type(self).__name__} of the lost code>"

    def __str__(self) -> str:
        __tracebackhide__ = True
        return _exactly(str, ask("str", self))

    def __format__(self, spec: str) -> str:
        __tracebackhide__ = True
        if spec:
            _refuse_derived(self, "format")
        return _exactly(str, ask("format", self, spec))

    def __copy__(self) -> Any:
        return ask("copy", self)

    def __deepcopy__(self, memo: Any) -> Any:
        return ask("deep copy", self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        refuse("the tests pickle an object of the code")


def _exactly(kind: type[_T], value: Any) -> _T:
    if type(value) is not kind:
        raise TypeError(f"the code gave a {type(value).__name__} where Python wants a {kind.__name__}")
    return value


def _base_of(handle: Any) -> Any:
    """What a list, int, ... of a class of the code holds, as a plain one. The code is not told what it is wanted for."""
    return _exactly(handle.vwt_base, ask("base", handle))


def _equal(one: Any, other: Any) -> bool:
    __tracebackhide__ = True
    if not (one.vwt_own_equality or other.vwt_own_equality):
        if one.vwt_base is not None and other.vwt_base is not None:
            return bool(_base_of(one) == _base_of(other))
        return one is other
    same, *strangers = ask("equal", one, other)
    if strangers != [False, False]:
        doubt(f"a {type(one).__name__} of the code says that it equals anything")
    return _exactly(bool, same)


def _contains(self: Any, item: Any) -> bool:
    __tracebackhide__ = True
    found, stranger = ask("holds", self, item)
    if stranger is not False:
        doubt(f"a {type(self).__name__} of the code says that it contains anything")
    return _exactly(bool, found)


def _refuse_derived(self: Any, what: str) -> None:
    if self.vwt_derived:
        name = type(self).__name__
        doubt(f"{what}() of what a {name} of the code made of a value of the tests: it could answer what it was told")


def _iterated(made: Any) -> Iterator[Any]:
    __tracebackhide__ = True
    for count, item in enumerate(made):
        if count >= _MOST_ITEMS:
            doubt(f"an iterator of the code goes on after {_MOST_ITEMS} items")
        yield item


def _remote(name: str) -> Callable[..., Any]:
    def method(self: Any, *arguments: Any) -> Any:
        __tracebackhide__ = True
        return ask(name, self, *arguments)

    return method


def _judging(name: str, kind: type | None = None) -> Callable[..., Any]:
    """An operation that turns an object into a figure, which could be one that the tests told it before."""

    def method(self: Any, *arguments: Any) -> Any:
        __tracebackhide__ = True
        _refuse_derived(self, name)
        answer = ask(name, self, *arguments)
        return answer if kind is None else _exactly(kind, answer)

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
        own = isinstance(other, Handle)
        if not own and not is_plain(other):
            return NotImplemented
        answer = ask(name, other, self) if reflected else ask(name, self, other, *more)
        return answer if own else _derived(answer, name)

    return method


def _derived(answer: Any, name: str) -> Any:
    if not isinstance(answer, Handle):
        doubt(f"`{name}` of an object of the code and a value of the tests gave plain data: it could be made to fit")
    object.__setattr__(answer, "vwt_derived", True)
    return answer


def _order(name: str) -> Callable[..., Any]:
    def method(self: Any, other: Any) -> Any:
        __tracebackhide__ = True
        if isinstance(other, Handle):
            return _exactly(bool, ask(name, self, other))
        return NotImplemented

    return method


def _exit(self: Any, kind: Any, error: Any, _: Any) -> bool:
    __tracebackhide__ = True
    if isinstance(error, OURS):
        return False
    swallowed = ask("exit", self, kind, error, None)
    # What a test asserts is not the code's to forgive.
    return swallowed is True and isinstance(error, Exception) and not isinstance(error, AssertionError)


def _call(self: Any, *positional: Any, **named: Any) -> Any:
    __tracebackhide__ = True
    return ask("call", self, list(positional), named)


_ARITHMETIC: Final = ("add", "sub", "mul", "truediv", "floordiv", "mod", "divmod", "pow", "matmul", "lshift", "rshift")
OPERATORS: Final[dict[str, Callable[..., Any]]] = {
    **{name: _remote(name) for name in ("next", "getitem", "setitem", "delitem", "enter", "bytes", "reversed")},
    **{name: _remote(name) for name in ("iter", "len")},
    **{name: _judging(name) for name in ("abs", "round", "index", "trunc", "floor", "ceil", "complex")},
    "bool": _judging("bool", bool),
    "int": _judging("int", int),
    "float": _judging("float", float),
    **{name: _unary(name) for name in ("neg", "pos", "invert")},
    **{name: _binary(name) for name in (*_ARITHMETIC, "and", "or", "xor")},
    **{"r" + name: _binary(name, reflected=True) for name in (*_ARITHMETIC, "and", "or", "xor")},
    **{name: _binary(name) for name in ("iadd", "isub", "imul", "itruediv", "ior", "iand", "ixor")},
    **{name: _order(name) for name in ("lt", "le", "gt", "ge")},
    "contains": _contains,
    "exit": _exit,
    "call": _call,
}
CHANGING: Final = frozenset({"setitem", "delitem", "iadd", "isub", "imul", "ior", "iand", "ixor"})


def local(name: str) -> Callable[..., Any]:
    """An operation that a class of the code has from list, int, ... and did not change: done here, on what the object holds."""

    def method(self: Any, *arguments: Any) -> Any:
        mine = [_base_of(one) if isinstance(one, Handle) and one.vwt_base else one for one in arguments]
        return getattr(_base_of(self), name)(*mine)

    return method


class Function:
    """A function of the code."""

    __test__ = False
    __name__: str

    def __init__(self, number: int, name: str, doc: str | None) -> None:
        self.__dict__.update(vwt_id=number, __name__=name, __qualname__=name, __doc__=doc)

    def __call__(self, *positional: Any, **named: Any) -> Any:
        """What the code answers."""
        __tracebackhide__ = True
        return ask("call", self, list(positional), named)

    __getattr__ = attribute

    def __setattr__(self, name: str, value: Any) -> None:
        __tracebackhide__ = True
        ask("set", self, name, value)

    def __repr__(self) -> str:
        return f"<function {self.__name__}>"


class Method(Function):
    """A method of an object of the code."""

    def __init__(self, target: Any, name: str) -> None:
        self.__dict__.update(vwt_target=target, __name__=name, __qualname__=name)
