"""Stands in for the code in the sandbox of its tests: the tests import it as ever, and every call goes to another sandbox.

What comes back is plain data of exact types, an exception, or an object that stays there and is asked. The judgement is made
here: an object of the code is never equal to plain data by its own word, and the few questions whose answer it could give away
(equality among its own objects, `in`) are asked about a stranger too. Only what the tests themselves do (a function handed over, a
class derived) makes `NotIsolatable`; what the code does never does, so that it cannot choose a weaker judge.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.abc
import importlib.machinery
import json
import operator
import os
import sys
from collections import namedtuple
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, NoReturn

from vwt_agents.sandbox.driver import drive
from vwt_agents.sandbox.wire import MOST_BYTES, PLAIN_CLASSES, Coder, WireError, is_plain, plain_class

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

__all__ = ["CodeLost", "NotBelieved", "NotIsolatable", "install"]

_MOST_ITEMS: Final = 1_000_000
_ASKED: Final = frozenset(
    {"__version__", "__author__", "__annotations__", "__defaults__", "__kwdefaults__", "__members__"}
)
_LENT: Final = frozenset(
    {
        "math",
        "re",
        "json",
        "string",
        "itertools",
        "functools",
        "collections",
        "datetime",
        "statistics",
        "operator",
        "typing",
    }
    | {"decimal", "fractions", "heapq", "bisect", "copy", "random", "abc", "enum", "dataclasses", "collections.abc"}
)
"""Modules of the standard library that a test may get from the code by `import *`: it gets its own ones."""


class NotIsolatable(BaseException):
    """The tests do what needs the code in their own process. No Exception, so that no test mistakes it for one of the code."""


class NotBelieved(BaseException):
    """The code answered what only the tests may judge."""


class CodeLost(BaseException):
    """The code's process ended, or answered with what is no answer."""


_OURS: Final = (NotIsolatable, NotBelieved, CodeLost)


class Link:
    """The way to the code: one request, one answer."""

    def __init__(self, fd: int, modules: Collection[str], tell: Callable[..., None]) -> None:
        self.fd = fd
        self.reading = os.fdopen(fd, "rb", closefd=False)
        self.modules = frozenset(modules)
        self.tell = tell
        self.count = 0
        self.lost: str | None = None
        self.classes: dict[int, Any] = {}
        self.things: dict[int, Any] = {}

    def ask(self, what: str, *data: Any) -> Any:
        """The answer; raises what the code raised."""
        __tracebackhide__ = True
        if self.lost is not None:
            raise CodeLost(self.lost)
        self.count += 1
        coder = _Coder(self)
        try:
            request = json.dumps([self.count, what, *coder.each(data, 0)]).encode() + b"\n"
        except WireError as error:
            self.refuse(f"the tests hand {error} to the code")
        coder.numbering = False
        answer = self._exchange(request)
        error = None
        try:
            value = self._taken(coder, answer)
            if answer[1] == "error":
                error = value if isinstance(value, BaseException) else TypeError("no exception")
        except _OURS:
            raise
        except Exception as fault:  # noqa: BLE001 - whatever is wrong with an answer, it is no answer
            self.lose(f"it answered with what is no answer ({type(fault).__name__}: {fault})"[:300])
        if error is not None:
            raise error
        return value

    def _taken(self, coder: _Coder, answer: list[Any]) -> Any:
        _, kind, value, changed, out, err = answer
        if kind == "unsendable":
            self.doubt(f"the code's answer cannot be sent: {value}")
        for number, content in changed:
            coder.replace(coder.numbered[number], content)
        if out or err:
            sys.stdout.write(out)
            sys.stderr.write(err)
        return coder.decode(value)

    def _exchange(self, request: bytes) -> list[Any]:
        view = memoryview(request)
        line = b""
        try:
            while view:
                view = view[os.write(self.fd, view) :]
            line = self.reading.readline(MOST_BYTES + 2)
        except OSError:
            pass
        if not line.endswith(b"\n"):
            self.lose("its process ended" if len(line) < MOST_BYTES else "its answer has no end")
        try:
            answer = json.loads(line)
            if type(answer) is list and len(answer) == 6 and answer[0] == self.count:  # noqa: PLR2004
                return answer
        except (ValueError, RecursionError):
            pass
        self.lose("it answered with what is no answer")

    def lose(self, why: str) -> NoReturn:
        """Give the code up: nothing it says from now on counts, and the verdict is bad whatever the tests make of it."""
        self.lost = f"the code cannot be asked any more: {why}"
        self.tell(kind="lost", text=self.lost)
        raise CodeLost(self.lost)

    def doubt(self, why: str) -> NoReturn:
        """Refuse to believe an answer."""
        self.tell(kind="doubt", text=why)
        raise NotBelieved(why)

    def refuse(self, why: str) -> NoReturn:
        """Say that these tests cannot be run apart from the code."""
        self.tell(kind="not isolatable", text=why)
        raise NotIsolatable(why)


_link: Link


# ---- what stands in for an object


def _answers(name: str) -> bool:
    """Whether the code is asked for an attribute: not for what Python or pytest look for on anything they meet."""
    if name.startswith("__") and name.endswith("__"):
        return name in _ASKED
    return not name.startswith(("_pytest", "pytest", "_vwt", "__vwt"))


def _attribute(self: Any, name: str) -> Any:
    __tracebackhide__ = True
    if not _answers(name):
        raise AttributeError(name)
    return _link.ask("get", self, name)


class _ClassMeta(type):
    """A class of the code: calling it, or reading what it has, asks the code."""

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> _ClassMeta:
        if namespace.pop("_vwt_made", False):
            return super().__new__(cls, name, bases, namespace)
        _link.refuse(f"the tests derive {name} from a class of the code")

    def __call__(cls, *positional: Any, **named: Any) -> Any:
        __tracebackhide__ = True
        return _link.ask("call", cls, list(positional), named)

    def __getattr__(cls, name: str) -> Any:
        __tracebackhide__ = True
        return _attribute(cls, name)

    def __setattr__(cls, name: str, value: Any) -> None:
        __tracebackhide__ = True
        _link.ask("set", cls, name, value)

    def __bool__(cls) -> bool:
        return True

    def __iter__(cls) -> Iterator[Any]:
        __tracebackhide__ = True
        return _iterated(_link.ask("iter", cls))

    def __len__(cls) -> int:
        __tracebackhide__ = True
        return int(_link.ask("len", cls))

    def __contains__(cls, item: Any) -> bool:
        __tracebackhide__ = True
        return _contains(cls, item)

    def __getitem__(cls, key: Any) -> Any:
        __tracebackhide__ = True
        return _link.ask("getitem", cls, key)


class _Handle(metaclass=_ClassMeta):
    """An object of the code, by number."""

    _vwt_made = True
    __slots__ = ("__weakref__", "_vwt_derived", "_vwt_id")
    _vwt_base: type | None = None
    _vwt_number = -1
    _vwt_own_equality = False

    __getattr__ = _attribute

    def __setattr__(self, name: str, value: Any) -> None:
        __tracebackhide__ = True
        _link.ask("set", self, name, value)

    def __delattr__(self, name: str) -> None:
        __tracebackhide__ = True
        _link.ask("del", self, name)

    def __dir__(self) -> list[str]:
        return [str(one) for one in _link.ask("dir", self)]

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        return dict(_link.ask("vars", self))

    def __eq__(self, other: object) -> bool:
        __tracebackhide__ = True
        if isinstance(other, _Handle):
            return _equal(self, other)
        if self._vwt_base is not None and not self._vwt_own_equality:
            return bool(_base_of(self) == other)
        return NotImplemented if not is_plain(other) else False

    def __ne__(self, other: object) -> bool:
        __tracebackhide__ = True
        equal = self.__eq__(other)
        return equal if equal is NotImplemented else not equal

    def __hash__(self) -> int:
        __tracebackhide__ = True
        if self._vwt_base is not None or self._vwt_own_equality:
            return int(_link.ask("hash", self))
        return hash((self._vwt_id, "of the code"))

    def __repr__(self) -> str:
        return str(_link.ask("repr", self)) if _link.lost is None else f"<{type(self).__name__} of the lost code>"

    def __str__(self) -> str:
        __tracebackhide__ = True
        return _exactly(str, _link.ask("str", self))

    def __format__(self, spec: str) -> str:
        __tracebackhide__ = True
        if spec:
            _refuse_derived(self, "format")
        return _exactly(str, _link.ask("format", self, spec))

    def __copy__(self) -> Any:
        return _link.ask("copy", self, False)  # noqa: FBT003

    def __deepcopy__(self, memo: Any) -> Any:
        return _link.ask("copy", self, True)  # noqa: FBT003

    def __reduce_ex__(self, protocol: Any) -> Any:
        _link.refuse("the tests pickle an object of the code")


def _exactly(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise TypeError(f"the code gave a {type(value).__name__} where Python wants a {kind.__name__}")
    return value


def _base_of(handle: Any) -> Any:
    """What a list, int, ... of a class of the code holds, as a plain one. The code is not told what it is wanted for."""
    return _exactly(handle._vwt_base, _link.ask("base", handle))


def _equal(one: Any, other: Any) -> bool:
    __tracebackhide__ = True
    if not (one._vwt_own_equality or other._vwt_own_equality):
        if one._vwt_base is not None and other._vwt_base is not None:
            return bool(_base_of(one) == _base_of(other))
        return one is other
    same, *strangers = _link.ask("equal", one, other)
    if strangers != [False, False]:
        _link.doubt(f"a {type(one).__name__} of the code says that it equals anything")
    return _exactly(bool, same)


def _contains(self: Any, item: Any) -> bool:
    __tracebackhide__ = True
    found, stranger = _link.ask("holds", self, item)
    if stranger is not False:
        _link.doubt(f"a {type(self).__name__} of the code says that it contains anything")
    return _exactly(bool, found)


def _refuse_derived(self: Any, what: str) -> None:
    if self._vwt_derived:
        _link.doubt(
            f"{what}() of what a {type(self).__name__} of the code made of a value of the tests: it could answer what it was told"
        )


def _iterated(made: Any) -> Iterator[Any]:
    __tracebackhide__ = True
    for count, item in enumerate(made):
        if count >= _MOST_ITEMS:
            _link.doubt(f"an iterator of the code goes on after {_MOST_ITEMS} items")
        yield item


def _remote(name: str) -> Callable[..., Any]:
    def method(self: Any, *arguments: Any) -> Any:
        __tracebackhide__ = True
        return _link.ask(name, self, *arguments)

    return method


def _judging(name: str, kind: type | None = None) -> Callable[..., Any]:
    """An operation that turns an object into a figure, which could be one that the tests told it before."""

    def method(self: Any, *arguments: Any) -> Any:
        __tracebackhide__ = True
        _refuse_derived(self, name)
        answer = _link.ask(name, self, *arguments)
        return answer if kind is None else _exactly(kind, answer)

    return method


def _unary(name: str) -> Callable[..., Any]:
    def method(self: Any) -> Any:
        __tracebackhide__ = True
        answer = _link.ask(name, self)
        return _derived(answer, name) if self._vwt_derived else answer

    return method


def _binary(name: str, *, reflected: bool = False) -> Callable[..., Any]:
    def method(self: Any, other: Any, *more: Any) -> Any:
        __tracebackhide__ = True
        own = isinstance(other, _Handle)
        if not own and not is_plain(other):
            return NotImplemented
        answer = _link.ask(name, other, self) if reflected else _link.ask(name, self, other, *more)
        return answer if own else _derived(answer, name)

    return method


def _derived(answer: Any, name: str) -> Any:
    if not isinstance(answer, _Handle):
        _link.doubt(
            f"`{name}` of an object of the code and a value of the tests gave plain data: it could be made to fit"
        )
    object.__setattr__(answer, "_vwt_derived", True)  # noqa: FBT003
    return answer


def _order(name: str) -> Callable[..., Any]:
    def method(self: Any, other: Any) -> Any:
        __tracebackhide__ = True
        if isinstance(other, _Handle):
            return _exactly(bool, _link.ask(name, self, other))
        return NotImplemented

    return method


def _exit(self: Any, kind: Any, error: Any, trace: Any) -> bool:
    __tracebackhide__ = True
    if isinstance(error, _OURS):
        return False
    swallowed = _link.ask("exit", self, kind, error, None)
    # What a test asserts is not the code's to forgive.
    return swallowed is True and isinstance(error, Exception) and not isinstance(error, AssertionError)


def _call(self: Any, *positional: Any, **named: Any) -> Any:
    __tracebackhide__ = True
    return _link.ask("call", self, list(positional), named)


_ARITHMETIC: Final = ("add", "sub", "mul", "truediv", "floordiv", "mod", "divmod", "pow", "matmul", "lshift", "rshift")
_DUNDERS: Final[dict[str, Callable[..., Any]]] = {
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
_CHANGING: Final = frozenset({"setitem", "delitem", "iadd", "isub", "imul", "ior", "iand", "ixor"})


def _local(name: str) -> Callable[..., Any]:
    """An operation that a class of the code has from list, int, ... and did not change: done here, on what the object holds."""

    def method(self: Any, *arguments: Any) -> Any:
        mine = [_base_of(one) if isinstance(one, _Handle) and one._vwt_base else one for one in arguments]
        return getattr(_base_of(self), name)(*mine)

    return method


class _Function:
    """A function of the code."""

    __test__ = False

    def __init__(self, number: int, name: str, doc: str | None) -> None:
        self.__dict__.update(_vwt_id=number, __name__=name, __qualname__=name, __doc__=doc)

    def __call__(self, *positional: Any, **named: Any) -> Any:
        __tracebackhide__ = True
        return _link.ask("call", self, list(positional), named)

    __getattr__ = _attribute

    def __setattr__(self, name: str, value: Any) -> None:
        __tracebackhide__ = True
        _link.ask("set", self, name, value)

    def __repr__(self) -> str:
        return f"<function {self.__name__}>"


class _Method(_Function):
    """A method of an object of the code."""

    def __init__(self, target: Any, name: str) -> None:
        self.__dict__.update(_vwt_target=target, __name__=name, __qualname__=name)


# ---- exceptions


class _ErrorMeta(_ClassMeta):
    """An exception class of the code: real, so that `except` and `pytest.raises` know it."""


def _said(self: Any) -> str:
    return str(self.__dict__.get("_vwt_text", ""))


def _shown(self: Any) -> str:
    return str(self.__dict__.get("_vwt_repr", type(self).__name__))


def _error_attribute(self: Any, name: str) -> Any:
    __tracebackhide__ = True
    if not _answers(name) or "_vwt_id" not in self.__dict__:
        raise AttributeError(name)
    return _link.ask("get", self, name)


def _library_error(names: Sequence[Sequence[str]]) -> type[BaseException]:
    """The first of these exceptions that there is here: a builtin, or one of a loaded module of the standard library."""
    for module, name in names:
        root = module.partition(".")[0]
        known = root in sys.stdlib_module_names and root not in ("unittest", "doctest")
        found = getattr(sys.modules.get(module), name, None) if known else None
        if isinstance(found, type) and (issubclass(found, Exception) or found in (SystemExit, BaseException)):
            return found
    return RuntimeError


def _made_error(cls: type[BaseException], arguments: list[Any], state: dict[str, Any], about: dict[str, Any]) -> Any:
    try:
        error = BaseException.__new__(cls) if isinstance(cls, _ErrorMeta) else cls(*arguments)
    except Exception:  # noqa: BLE001 - a class with a constructor of its own
        error = cls.__new__(cls)
    error.args = tuple(arguments)
    error.__dict__.update({str(key): value for key, value in state.items()})
    if isinstance(cls, _ErrorMeta):
        error.__dict__.update(_vwt_id=about["number"], _vwt_text=about["text"], _vwt_repr=about["repr"])
    if about["where"]:
        error.add_note("in the code:\n" + "\n".join(str(line) for line in about["where"]))
    return error


# ---- data to values, values to data


class _Coder(Coder):
    """One exchange, seen from the tests' side."""

    def __init__(self, link: Link) -> None:
        super().__init__()
        self.link = link

    def encode_other(self, value: Any, depth: int) -> Any:
        known = self._encode_known(value, depth)
        if known is None and isinstance(value, BaseException):
            known = self._encode_error(value, depth)
        if known is None:
            known = _library_name(value)
        if known is None:
            raise WireError(_described(value))
        return known

    def _encode_known(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if isinstance(value, type):
            number = getattr(value, "_vwt_number", None) if isinstance(value, _ClassMeta) or _is_named(value) else None
            return ["class", number] if number is not None else _class_name(value)
        if kind is _Function:
            return ["function", value._vwt_id]
        if kind is _Method:
            return ["method", self.encode(value._vwt_target, depth + 1), value.__name__]
        if isinstance(value, _CodeModule):
            return ["module", value.__name__]
        if isinstance(kind, _ClassMeta):
            return ["object", value._vwt_id]
        if _is_named(kind):
            return ["named", ["class", kind._vwt_number], self.each(value, depth)]
        return None

    def _encode_error(self, error: BaseException, depth: int) -> Any:
        name = next(one.__name__ for one in type(error).__mro__ if one.__module__ == "builtins")
        tells = isinstance(error, Exception) and not isinstance(error, AssertionError)  # what was expected is not told
        arguments = [one if is_plain(one) else str(one) for one in error.args] if tells else []
        return ["exception", name, self.each(arguments, depth)]

    def decode_other(self, data: list[Any], depth: int) -> Any:
        match data:
            case ["object", int(number), kind]:
                return self._object(number, self.decode(kind, depth + 1))
            case ["function", int(number), {"name": str(name), "doc": doc}]:
                if number not in self.link.things:
                    self.link.things[number] = _Function(number, name, doc)
                return self.link.things[number]
            case ["method", target, str(name)]:
                return _Method(self.decode(target, depth + 1), name)
            case ["module", str(name)]:
                return self._module(name)
            case ["class" | "raised", *_]:
                return self._class(data, depth)
            case ["exception", kind, list(arguments), state, dict(about)]:
                error = self._error(kind, arguments, state, about, depth)
                if about["cause"] is not None:
                    error.__cause__ = self.decode(about["cause"], depth + 1)
                return error
            case ["named", kind, list(items)]:
                return tuple.__new__(self.decode(kind, depth + 1), self.all_of(items, depth))
        return super().decode_other(data, depth)

    def _error(self, kind: Any, arguments: list[Any], state: Any, about: dict[str, Any], depth: int) -> BaseException:
        cls = self.decode(kind, depth + 1)
        if not issubclass(cls, BaseException):
            raise WireError("no exception")
        made = _made_error(cls, self.all_of(arguments, depth), self.decode(state, depth + 1), about)
        assert isinstance(made, BaseException)
        return made

    def _object(self, number: int, cls: Any) -> Any:
        known = self.link.things.get(number)
        if known is None:
            if not isinstance(cls, _ClassMeta) or issubclass(cls, BaseException):
                raise WireError("an object without a class")
            known = object.__new__(cls)
            object.__setattr__(known, "_vwt_id", number)
            object.__setattr__(known, "_vwt_derived", False)  # noqa: FBT003
            self.link.things[number] = known
        return known

    def _module(self, name: str) -> Any:
        if name in self.link.modules:
            return importlib.import_module(name)
        return importlib.import_module(name) if name in _LENT else _CodeModule(name)

    def _class(self, data: list[Any], depth: int) -> Any:
        match data:
            case ["class", str(name)]:
                return PLAIN_CLASSES[name]
            case ["class", int(number)]:
                return self.link.classes[number]
            case ["raised", list(names)]:
                return _library_error(names)
            case ["class", int(number), dict(about), list(bases)]:
                if number not in self.link.classes:
                    self.link.classes[number] = _made_class(number, about, self.all_of(bases, depth))
                return self.link.classes[number]
        raise WireError("no class")


def _is_named(cls: type) -> bool:
    return issubclass(cls, tuple) and "_vwt_number" in vars(cls)


def _class_name(cls: type) -> Any:
    name = plain_class(cls)
    if name is not None:
        return ["class", name]
    found = next((one for one in cls.__mro__ if one.__module__ == "builtins"), None)
    return ["library", "builtins", found.__name__] if issubclass(cls, BaseException) and found is not None else None


def _library_name(value: Any) -> Any:
    """How the code's side finds a function or class of the standard library, such as `len` or `operator.add`."""
    home = getattr(value, "__objclass__", value)
    module, name = getattr(home, "__module__", None), getattr(value, "__qualname__", None)
    if (
        not isinstance(module, str)
        or not isinstance(name, str)
        or module.partition(".")[0] not in sys.stdlib_module_names
    ):
        return None
    try:
        found = operator.attrgetter(name)(sys.modules[module])
    except (AttributeError, KeyError):
        return None
    return ["library", module, name] if found is value else None


def _described(value: Any) -> str:
    name = getattr(value, "__name__", None)
    if isinstance(value, type):
        return f"the class {name} of their own"
    return f"the function {name}" if callable(value) and isinstance(name, str) else f"a {type(value).__name__}"


def _made_class(number: int, about: dict[str, Any], bases: list[Any]) -> type:
    """A class here for a class there: its name, its bases as far as they are the code's, and the operators it has."""
    fields, base = about["fields"], about["base"]
    common = {
        "__module__": about["module"],
        "__qualname__": about["qualname"],
        "__doc__": about["doc"],
        "__test__": False,
    }
    common["_vwt_number"] = number
    if base == "tuple" and fields and not about["dataclass"]:
        return _named_class(about["name"], fields, common)
    errors = tuple(one for one in bases if isinstance(one, type) and issubclass(one, BaseException))
    if errors:
        said = {"__str__": _said, "__repr__": _shown, "__getattr__": _error_attribute}
        return _first_that_works(_ErrorMeta, about["name"], (errors, errors[:1]), common | said)
    space = common | {"__slots__": (), "_vwt_own_equality": bool(about["own_equality"])}
    space |= {f"__{name}__": _DUNDERS[name] for name in about["has"] if name in _DUNDERS}
    if base is not None:
        kind = PLAIN_CLASSES[base]
        space["_vwt_base"] = kind
        space |= _from_base(kind, set(about["has"]))
    if about["dataclass"]:
        from dataclasses import make_dataclass

        space["__dataclass_fields__"] = make_dataclass("fields", fields).__dataclass_fields__
    handles = tuple(one for one in bases if isinstance(one, _ClassMeta))
    return _first_that_works(_ClassMeta, about["name"], (handles or (_Handle,), (_Handle,)), space)


def _from_base(kind: type, own: set[str]) -> dict[str, Any]:
    space = {}
    for name, remote in _DUNDERS.items():
        dunder = f"__{name}__"
        if hasattr(kind, dunder) and name not in own and name != "call":
            space[dunder] = remote if name in _CHANGING else _local(dunder)
    return space


def _first_that_works(
    meta: type[_ClassMeta], name: str, choices: Sequence[tuple[type, ...]], space: dict[str, Any]
) -> type:
    for bases in choices[:-1]:
        try:
            return meta.__new__(meta, name, bases, {**space, "_vwt_made": True})
        except TypeError:
            continue
    return meta.__new__(meta, name, choices[-1], {**space, "_vwt_made": True})


def _named_class(name: str, fields: list[str], common: dict[str, Any]) -> type:
    def made(cls: type, *positional: Any, **named: Any) -> Any:
        __tracebackhide__ = True
        return _link.ask("call", cls, list(positional), named)

    base: Any = namedtuple(name, fields)  # noqa: PYI024
    return type(name, (base,), {**common, "__slots__": (), "__new__": made, "__getattr__": _attribute})


# ---- modules


class _CodeModule(ModuleType):
    """A module of the code."""

    def __getattr__(self, name: str) -> Any:
        __tracebackhide__ = True
        if name == "__all__":
            return self._vwt_names(sys._getframe(1).f_globals)
        if not _answers(name):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return _link.ask("get", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        __tracebackhide__ = True
        if name.startswith("__") or isinstance(value, ModuleType):
            super().__setattr__(name, value)
        else:
            _link.ask("set", self, name, value)

    def __delattr__(self, name: str) -> None:
        __tracebackhide__ = True
        _link.ask("del", self, name)

    def _vwt_names(self, into: dict[str, Any]) -> list[str]:
        """What `import *` brings into a module of the tests: nothing that would take the place of what they judge with."""
        exports = self.__dict__["_vwt_exports"]
        names = []
        for name in exports["own"]:
            if name.startswith(("_", "test", "Test", "pytest", "setup", "teardown")) or not name.isidentifier():
                continue
            taken = into.get(name, getattr(builtins, name, None) if name != self.__name__.rpartition(".")[2] else None)
            if taken is None or _is_of_code(taken):
                names.append(name)
            else:
                _link.tell(kind="note", text=f"{self.__name__} would replace {name!r} in the tests by `import *`")
        for name, home in exports["other"]:
            lent = _lent(name, home) if name not in into and not hasattr(builtins, name) else None
            if lent is not None:
                self.__dict__[name] = lent
                names.append(name)
        return names


def _is_of_code(value: Any) -> bool:
    return isinstance(value, _Function | _CodeModule | _ClassMeta) or isinstance(type(value), _ClassMeta)


def _lent(name: str, home: str) -> Any:
    """This side's own module or object of that name, where the standard library has it."""
    if home == "":
        return importlib.import_module(name) if name in _LENT else None
    return getattr(importlib.import_module(home), name, None) if home in _LENT else None


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the code's modules, after everything else."""

    def __init__(self, modules: Collection[str], packages: Collection[str]) -> None:
        self.modules = frozenset(modules)
        self.packages = frozenset(packages)

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self.modules:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=fullname in self.packages)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _CodeModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        __tracebackhide__ = True
        try:
            exports = _link.ask("import", module.__name__)
        except SystemExit as error:
            raise ImportError(f"{module.__name__} ended with SystemExit({error}) while it was imported") from None
        own, other = exports["own"], exports["other"]
        pairs = [(str(name), str(home)) for name, home in other]
        module.__doc__ = exports["doc"]
        module.__dict__["_vwt_exports"] = {"own": [str(name) for name in own], "other": pairs}


def install(fd: int, names: str, tell: Callable[..., None]) -> None:
    """Make the code's modules, which the file `names` lists, importable here; requests go out on `fd`."""
    global _link  # noqa: PLW0603
    with open(names, encoding="utf-8") as file:
        said = json.load(file)
    os.set_inheritable(fd, False)  # noqa: FBT003
    _link = Link(fd, said["modules"], tell)
    sys.meta_path.append(_Finder(said["modules"], said["packages"]))


def main(records: str, sentinel: str, tests: str, link: str) -> None:
    """Run the tests with the code elsewhere."""
    names = os.path.join(os.path.dirname(sentinel), "code.json")
    drive(int(records), sentinel, tests, lambda tell: install(int(link), names, tell))
