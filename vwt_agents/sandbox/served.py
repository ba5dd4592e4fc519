"""Serves the code to tests that run in another sandbox: imports, calls and reads it as asked, and sends plain data back.

Started with the words FD CODE SITE... inside the code's sandbox. All of this is in the hands of the code it
loads, so nothing here is relied on: the side of the tests (`stand_in`) believes data, never a judgement. What cannot be
plain data stays here and travels as a number.
"""

# No pathlib: its import would be most of this program's start-up. Paths are those of the sandbox.
# ruff: noqa: PTH123

from __future__ import annotations

import builtins
import importlib
import io
import json
import operator
import os
import sys
from types import MethodType, ModuleType
from typing import TYPE_CHECKING, Any, Final

from vwt_agents.sandbox.wire import MOST_BYTES, PLAIN_CLASSES, Coder, WireError, plain_class

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_TEXT: Final = 1024 * 1024
_MOST_OBJECTS: Final = 200_000
_LINES: Final = 6

OPERATIONS: Final[dict[str, Callable[..., Any]]] = {
    "len": len, "iter": iter, "next": next, "reversed": reversed, "bool": bool, "int": int, "float": float,
    "complex": complex, "index": operator.index, "abs": abs, "neg": operator.neg, "pos": operator.pos,
    "invert": operator.invert, "round": round, "hash": hash, "str": str, "repr": repr, "format": format,
    "bytes": bytes, "contains": operator.contains, "getitem": operator.getitem, "setitem": operator.setitem,
    "delitem": operator.delitem, "divmod": divmod, "pow": pow, "dir": dir, "vars": vars, "lt": operator.lt,
    "le": operator.le, "gt": operator.gt, "ge": operator.ge, "add": operator.add, "sub": operator.sub,
    "mul": operator.mul, "truediv": operator.truediv, "floordiv": operator.floordiv, "mod": operator.mod,
    "matmul": operator.matmul, "lshift": operator.lshift, "rshift": operator.rshift, "and": operator.and_,
    "or": operator.or_, "xor": operator.xor, "iadd": operator.iadd, "isub": operator.isub, "imul": operator.imul,
    "itruediv": operator.itruediv, "ior": operator.ior, "iand": operator.iand, "ixor": operator.ixor,
    "get": getattr, "set": setattr, "del": delattr,
    "enter": lambda own: type(own).__enter__(own),
    "exit": lambda own, *why: bool(type(own).__exit__(own, *why)),
    "trunc": lambda own: type(own).__trunc__(own),
    "floor": lambda own: type(own).__floor__(own),
    "ceil": lambda own: type(own).__ceil__(own),
}  # fmt: skip
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
_CHANGEABLE: Final = (list, dict, set, bytearray)


class Objects:
    """What stays here: objects by number."""

    def __init__(self) -> None:
        self.by_number: list[Any] = []
        self.numbers: dict[int, int] = {}
        self.described: set[int] = set()

    def number(self, value: Any) -> int:
        """The number of an object, always the same one."""
        known = self.numbers.get(id(value))
        if known is not None:
            return known
        if len(self.by_number) >= _MOST_OBJECTS:
            raise WireError(f"more than {_MOST_OBJECTS} objects were handed out")
        self.numbers[id(value)] = len(self.by_number)
        self.by_number.append(value)
        return len(self.by_number) - 1


class _Coder(Coder):
    """One exchange, seen from the code's side."""

    def __init__(self, objects: Objects) -> None:
        super().__init__()
        self.objects = objects

    # ---- out

    def encode_other(self, value: Any, depth: int) -> Any:
        if isinstance(value, type):
            return self._encode_class(value, depth)
        if isinstance(value, BaseException):
            return self.encode_exception(value, depth)
        kind = type(value)
        if isinstance(value, ModuleType):
            return ["module", value.__name__]
        if isinstance(value, MethodType) and getattr(value.__self__, value.__name__, None) == value:
            return ["method", self.encode(value.__self__, depth + 1), value.__name__]
        if kind.__module__ in ("builtins", "functools") and callable(value) and isinstance(_name(value), str):
            about = {"name": _name(value), "doc": _text_or_none(getattr(value, "__doc__", None))}
            return ["function", self.objects.number(value), about]
        return self._encode_object(value, kind, depth)

    def _encode_object(self, value: Any, kind: type, depth: int) -> Any:
        base = _base(kind)
        fields = getattr(kind, "_fields", None)
        if base is tuple and type(fields) is tuple:
            items = [self.encode(one, depth + 1) for one in _BASES[tuple](value)]
            return ["named", self.encode(kind, depth + 1), items]
        if base is not None and base not in _CHANGEABLE and not _is_enum(kind):
            return self.encode(_BASES[base](value), depth)
        if kind.__module__.partition(".")[0] == "numpy" and getattr(value, "ndim", None) == 0:
            return self.encode(value.item(), depth + 1)
        return ["object", self.objects.number(value), self.encode(kind, depth + 1)]

    def _encode_class(self, cls: type, depth: int) -> Any:
        name = plain_class(cls)
        if name is not None:
            return ["class", name]
        if _is_library_exception(cls):
            return ["raised", [[one.__module__, one.__qualname__] for one in cls.__mro__]]
        number = self.objects.number(cls)
        if number in self.objects.described:
            return ["class", number]
        self.objects.described.add(number)
        bases = [self._encode_class(one, depth + 1) for one in cls.__bases__]
        own = [one for one in cls.__mro__ if one is not object and one not in _BASES]
        base = _base(cls)
        fields = getattr(cls, "__dataclass_fields__", None) or getattr(cls, "_fields", None) or ()
        about = {
            "name": cls.__name__,
            "qualname": cls.__qualname__,
            "module": str(cls.__module__),
            "doc": _text_or_none(cls.__doc__),
            "has": sorted({key[2:-2] for one in own for key in dir(one) if _dunder(key) and key in vars(one)}),
            "own_equality": any("__eq__" in vars(one) for one in own),
            "base": base.__name__ if base else None,
            "fields": [str(one) for one in fields],
            "dataclass": hasattr(cls, "__dataclass_fields__"),
        }
        return ["class", number, about, bases]

    def encode_exception(self, error: BaseException, depth: int = 0) -> Any:
        """An exception: its class, arguments and attributes, what it says, where it was raised, and its cause."""
        error.__traceback__, trace = None, error.__traceback__
        state: dict[Any, Any] = {**vars(error)}
        library = _is_library_exception(type(error))
        about = {
            "number": None if library else self.objects.number(error),
            "text": _said(str, error),
            "repr": _said(repr, error),
            "where": _where(trace),
            "cause": None if error.__cause__ is None or depth > 2 else self.encode(error.__cause__, depth + 1),
        }
        kind = self._encode_class(type(error), depth + 1)
        arguments = [self.encode(one, depth + 1) for one in error.args]
        return ["exception", kind, arguments, self.encode(state, depth + 1), about]

    # ---- in

    def decode_other(self, data: list[Any], depth: int) -> Any:
        match data:
            case ["object" | "function", int(number)]:
                return self.objects.by_number[number]
            case ["class", str(name)]:
                return PLAIN_CLASSES[name]
            case ["class", int(number)]:
                return self.objects.by_number[number]
            case ["method", target, str(name)]:
                return getattr(self.decode(target, depth + 1), name)
            case ["module", str(name)]:
                return sys.modules[name]
            case ["named", cls, items]:
                return self.decode(cls, depth + 1)._make(self.all_of(items, depth))
            case ["library", str(module), str(name)]:
                return operator.attrgetter(name)(importlib.import_module(module))
            case ["exception", str(name), arguments]:
                return getattr(builtins, name)(*self.all_of(arguments, depth))
            case _:
                return super().decode_other(data, depth)


def _name(value: Any) -> Any:
    return getattr(value, "__name__", None)


def _text_or_none(value: Any) -> str | None:
    return str.__str__(value)[:20_000] if isinstance(value, str) else None


def _dunder(key: str) -> bool:
    return key.startswith("__") and key.endswith("__")


def _base(kind: type) -> type | None:
    """The builtin a class is made from, if it is one that has data."""
    return next((one for one in kind.__mro__ if one in _BASES), None)


def _is_enum(kind: type) -> bool:
    enum = sys.modules.get("enum")
    return enum is not None and isinstance(kind, enum.EnumMeta)


def _is_library_exception(cls: type) -> bool:
    if not issubclass(cls, BaseException):
        return False
    module = sys.modules.get(cls.__module__)
    known = cls.__module__.partition(".")[0] in sys.stdlib_module_names and cls.__module__ != "__main__"
    return known and getattr(module, cls.__qualname__, None) is cls


def _said(how: Callable[[Any], str], error: BaseException) -> str:
    try:
        return str.__str__(how(error))[:20_000]
    except Exception as other:  # noqa: BLE001
        return f"<{type(other).__name__} while it was written out>"


def _where(trace: Any) -> list[str]:
    """The last lines of the code that the exception passed through."""
    lines = []
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename.startswith(_CODE):
            name = code.co_filename[len(_CODE) + 1 :]
            lines.append(f"{name}:{trace.tb_lineno}: in {code.co_name}\n    {_line(code.co_filename, trace.tb_lineno)}")
        trace = trace.tb_next
    return lines[-_LINES:]


def _line(path: str, number: int) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return next((line.strip() for at, line in enumerate(file, 1) if at == number), "")
    except (OSError, ValueError):
        return ""


# ---- serving

_CODE = ""


class _Captured:
    """Stands in for a standard stream, so that what the code prints reaches the test that called it."""

    def __init__(self) -> None:
        self.bytes = io.BytesIO()
        self.stream = io.TextIOWrapper(self.bytes, encoding="utf-8", errors="backslashreplace", write_through=True)

    def take(self) -> str:
        if not self.stream.closed and self.bytes.tell() == 0:
            return ""
        text = "" if self.stream.closed else self.bytes.getvalue()[:_MOST_TEXT].decode(errors="backslashreplace")
        self.__init__()  # type: ignore[misc]
        return text


class _Server:
    def __init__(self, fd: int) -> None:
        os.set_inheritable(fd, False)  # noqa: FBT003
        self.reading = os.fdopen(fd, "rb")
        self.fd = fd
        self.objects = Objects()
        self.out, self.err = _Captured(), _Captured()

    def serve(self) -> None:
        for line in iter(self.reading.readline, b""):
            self.out_streams()
            self._send(self._answer(json.loads(line)))

    def out_streams(self) -> None:
        sys.stdout, sys.stderr = self.out.stream, self.err.stream

    def _answer(self, request: list[Any]) -> list[Any]:
        number, what, *data = request
        coder = _Coder(self.objects)
        try:
            before: list[Any] = []
            try:
                arguments = coder.all_of(data, 0)
                coder.numbering = False
                before = [coder.content(one) for one in coder.numbered]
                value = self._do(what, arguments)
                answer = [number, "value", coder.encode(value)]
            except BaseException as error:  # noqa: BLE001
                coder.numbering = False
                answer = [number, "error", coder.encode_exception(error)]
            after = [coder.content(one) for one in coder.numbered]
        except BaseException as error:  # noqa: BLE001
            answer, before, after = [number, "unsendable", f"{type(error).__name__}: {error}"[:500]], [], []
        changed = [[at, new] for at, (old, new) in enumerate(zip(before, after, strict=False)) if old != new]
        return [*answer, changed, self.out.take(), self.err.take()]

    def _do(self, what: str, arguments: list[Any]) -> Any:
        if what in OPERATIONS:
            return OPERATIONS[what](*arguments)
        match what, arguments:
            case "call", [target, positional, named]:
                return target(*positional, **named)
            case "import", [name]:
                return _exports(importlib.import_module(name))
            case "equal", [one, other]:
                stranger = object()
                return [bool(one == other), _equals(one, stranger), _equals(other, stranger)]
            case "holds", [one, item]:
                return [item in one, _holds(one, object())]
            case "base", [one]:
                return _BASES[_base(type(one)) or list](one)
            case "copy" | "deep copy", [one]:
                import copy

                return copy.copy(one) if what == "copy" else copy.deepcopy(one)
            case _:
                raise WireError(f"there is no operation {what!r}")

    def _send(self, answer: list[Any]) -> None:
        data = json.dumps(answer).encode() + b"\n"
        if len(data) > MOST_BYTES:
            text = f"an answer of {len(data)} bytes, more than {MOST_BYTES}"
            data = json.dumps([answer[0], "unsendable", text, [], "", ""]).encode() + b"\n"
        view = memoryview(data)
        while view:
            view = view[os.write(self.fd, view) :]


def _equals(one: Any, stranger: object) -> bool:
    try:
        return bool(one == stranger)
    except Exception:  # noqa: BLE001  # it looks for what only its own kind has, as honest code often does
        return False


def _holds(one: Any, item: object) -> bool:
    try:
        return bool(item in one)
    except Exception:  # noqa: BLE001
        return False


def _exports(module: ModuleType) -> dict[str, Any]:
    """What `from module import *` would bring: names of the module's own things, and where the others are from."""
    names = getattr(module, "__all__", None)
    chosen = [*names] if names is not None else [name for name in vars(module) if not name.startswith("_")]
    own, other = [], []
    for name in chosen:
        value = vars(module).get(name)
        home = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
        if isinstance(home, str) and home.partition(".")[0] in sys.stdlib_module_names and home not in _OWN_HOMES:
            other.append([str(name), "" if isinstance(value, ModuleType) else home])
        else:
            own.append(str(name))
    return {"own": own, "other": other, "doc": _text_or_none(module.__doc__)}


_OWN_HOMES: Final = ("builtins", "__main__")


def main(fd: str, code: str, *sites: str) -> None:
    """Serve requests that come on `fd` until it ends; the code is in the folder `code`."""
    global _CODE  # noqa: PLW0603
    _CODE = code
    sys.path.extend((*sites, code))
    sys.argv = [""]
    end = os._exit
    _Server(int(fd)).serve()
    end(0)  # threads and atexit handlers of the code have no say
