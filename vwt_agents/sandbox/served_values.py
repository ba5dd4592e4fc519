"""The values of the code as the tests are told of them: plain data, or the number of what stays here.

Runs in the code's sandbox, in the hands of the code: nothing here is relied on.
"""

# No pathlib: its import would be most of this program's start-up.
# ruff: noqa: PTH123

from __future__ import annotations

import builtins
import importlib
import operator
import sys
from types import MethodType, ModuleType
from typing import TYPE_CHECKING, Any, Final

from vwt_agents.sandbox.bases import CHANGEABLE, base_of, is_made_from, plain_of
from vwt_agents.sandbox.wire import PLAIN_CLASSES, Coder, WireError, plain_class

if TYPE_CHECKING:
    from collections.abc import Callable

    from vwt_agents.sandbox.held import Held

__all__ = ["Objects", "ServedCoder", "code_is_in", "text_or_none"]

_MOST_OBJECTS: Final = 200_000
_LINES: Final = 6
_METAS: Final = ("abc", "enum")
_HOME: list[str] = []


def code_is_in(folder: str) -> None:
    """Say where the code is, so that its lines can be shown."""
    _HOME[:] = [folder]


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
        if self.full():
            raise WireError(f"more than {_MOST_OBJECTS} objects were handed out")
        self.numbers[id(value)] = len(self.by_number)
        self.by_number.append(value)
        return len(self.by_number) - 1

    def full(self) -> bool:
        """No more will be taken."""
        return len(self.by_number) >= _MOST_OBJECTS


class ServedCoder(Coder):
    """One exchange, seen from the code's side."""

    def __init__(self, held: Held, objects: Objects) -> None:
        super().__init__(held)
        self.objects = objects
        self.described: list[int] = []

    def take_back(self) -> None:
        """What was encoded so far will not be sent: the tests know none of it."""
        self.held.take_back()
        self.objects.described.difference_update(self.described)

    # ---- out

    def encode_other(self, value: Any, depth: int) -> Any:
        """What is no plain data: what arrives there as an object, class, function, exception, ..."""
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
            about = {"name": _name(value), "doc": text_or_none(getattr(value, "__doc__", None))}
            return ["function", self.objects.number(value), about]
        return self._encode_object(value, kind, depth)

    def _encode_object(self, value: Any, kind: type, depth: int) -> Any:
        base = base_of(kind)
        if base is tuple and type(getattr(kind, "_fields", None)) is tuple:
            items = [self.encode(one, depth + 1) for one in plain_of(value)]
            return ["named", self.encode(kind, depth + 1), items]
        if base is not None and base not in CHANGEABLE:
            return self._encode_value(value, kind, depth)
        if kind.__module__.partition(".")[0] == "numpy" and getattr(value, "ndim", None) == 0:
            return self.encode(value.item(), depth + 1)
        return ["object", self.objects.number(value), self.encode(kind, depth + 1)]

    def _encode_value(self, value: Any, kind: type, depth: int) -> Any:
        """A number, text, ... of a class of the code: as the plain one it is, and by number for what the class adds."""
        plain = self.encode(plain_of(value), depth + 1)
        if self.objects.full() or (_of_library(kind) and not _is_enum(kind)):
            return plain
        return ["value", self.objects.number(value), self.encode(kind, depth + 1), plain]

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
        self.described.append(number)
        bases = [self._encode_class(one, depth + 1) for one in cls.__bases__]
        base = base_of(cls)
        own = [one for one in cls.__mro__ if one is not object and base_of(one) is not one]
        own = own if base is None or is_made_from(cls) else []
        fields = getattr(cls, "__dataclass_fields__", None) or getattr(cls, "_fields", None) or ()
        about = {
            "name": cls.__name__,
            "qualname": cls.__qualname__,
            "module": str(cls.__module__),
            "doc": text_or_none(cls.__doc__),
            "has": sorted({key[2:-2] for one in own for key in vars(one) if _dunder(key)}),
            "changed": _changed(own, base),
            "own_equality": any("__eq__" in vars(one) for one in own),
            "base": base.__name__ if base else None,
            "made_from_base": is_made_from(cls),
            "enums": [one.__name__ for one in cls.__mro__ if one.__module__ == "enum"] if _is_enum(cls) else [],
            "meta": next((one.__name__ for one in type.mro(type(cls)) if one.__module__ in _METAS), None),
            "checks": type(cls) is not type,
            "members": _members(cls),
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
        """What the tests got from here, or what both sides find by name."""
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
                return tuple.__new__(self.decode(cls, depth + 1), self.all_of(items, depth))
            case ["library", str(module), str(name)]:
                return operator.attrgetter(name)(importlib.import_module(module))
            case ["exception", str(name), arguments]:
                return getattr(builtins, name)(*self.all_of(arguments, depth))
            case _:
                return super().decode_other(data, depth)


def _name(value: Any) -> Any:
    return getattr(value, "__name__", None)


def text_or_none(value: Any) -> str | None:
    """The beginning of a docstring, if it is one."""
    return str.__str__(value)[:20_000] if isinstance(value, str) else None


def _dunder(key: str) -> bool:
    return key.startswith("__") and key.endswith("__")


def _changed(own: list[type], base: type | None) -> list[str]:
    """The methods of a builtin that a class made from it has in another way."""
    if base is None or base in CHANGEABLE:
        return []
    return sorted({key for one in own for key, value in vars(one).items() if callable(value) and _changes(base, key)})


def _changes(base: type, key: str) -> bool:
    return hasattr(base, key) and not _dunder(key)


def _members(cls: type) -> list[str] | None:
    """What a runtime-checkable protocol wants of its instances."""
    if not (getattr(cls, "_is_protocol", False) and getattr(cls, "_is_runtime_protocol", False)):
        return None
    names = getattr(cls, "__protocol_attrs__", None)
    if names is None:
        names = sys.modules["typing"]._get_protocol_attrs(cls)  # noqa: SLF001  # before 3.12
    return sorted(str(one) for one in names)


def _of_library(cls: type) -> bool:
    return str(cls.__module__).partition(".")[0] in sys.stdlib_module_names and cls.__module__ != "__main__"


def _is_enum(kind: type) -> bool:
    enum = sys.modules.get("enum")
    return enum is not None and isinstance(kind, enum.EnumMeta)


def _is_library_exception(cls: type) -> bool:
    if not issubclass(cls, BaseException):
        return False
    module = sys.modules.get(cls.__module__)
    return _of_library(cls) and getattr(module, cls.__qualname__, None) is cls


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
        if _HOME and code.co_filename.startswith(_HOME[0]):
            name = code.co_filename[len(_HOME[0]) + 1 :]
            lines.append(f"{name}:{trace.tb_lineno}: in {code.co_name}\n    {_line(code.co_filename, trace.tb_lineno)}")
        trace = trace.tb_next
    return lines[-_LINES:]


def _line(path: str, number: int) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return next((line.strip() for at, line in enumerate(file, 1) if at == number), "")
    except (OSError, ValueError):
        return ""
