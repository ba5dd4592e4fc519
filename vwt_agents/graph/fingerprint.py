"""The fingerprint of a function's code: the same in every process, another as soon as the function would do otherwise.

Owns what counts as otherwise: bytecode, constants, defaults, the names it uses, and what those names mean as far as it is
the user's own: functions, classes, constants and closures of the same file and of files below its folder are followed, to
any depth. Installed packages count by name only. Comments, line numbers and the file's place do not count, so a moved or
reformatted stage still finds its entries in the journal. What cannot be known (state behind an object, an import within a
function, what a name means only at run time) is left out.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import re
import sys
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, Final, get_args, get_origin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["fingerprint"]

_KINDS: Final = (
    inspect.CO_VARARGS
    | inspect.CO_VARKEYWORDS
    | inspect.CO_GENERATOR
    | inspect.CO_COROUTINE
    | inspect.CO_ASYNC_GENERATOR
)
"""The flags that say what kind of function it is; a `from __future__` import of its file leaves it what it was."""

_PLAIN: Final = (str, bytes, int, float, complex, type(None), type(...))
_INSTALLED: Final = ("site-packages", "dist-packages")
_ADDRESS: Final = re.compile(r" at 0x[0-9a-f]+")


def fingerprint(func: Callable[..., Any], *more: str, types: Iterable[Any] = ()) -> str:
    """The sha256, in hex, of a function's code, of whatever else shapes what it does, and of the user's own among `types`."""
    walk = _Walk(inspect.unwrap(func))
    digest = hashlib.sha256()
    own = (piece for one in types for piece in walk.own_type(one))
    for piece in (*walk.of(func), *(text.encode() for text in more), *own):
        digest.update(len(piece).to_bytes(8, "big"))
        digest.update(piece)
    return digest.hexdigest()


class _Walk:
    """From one function through all of the user's own that it names. What was met before is referred to by its number."""

    def __init__(self, root: FunctionType) -> None:
        self._file = root.__code__.co_filename
        self._module = root.__module__
        folder = str(PurePath(self._file).parent)
        self._folder = f"{folder}/" if PurePath(self._file).is_absolute() else None
        self._met: dict[int, int] = {}

    def of(self, value: Any) -> Iterator[bytes]:
        """The pieces of any value."""
        yield type(value).__name__.encode()
        if isinstance(value, _PLAIN) and not isinstance(value, Enum):
            yield repr(value).encode()
        elif isinstance(value, CodeType):
            yield from self._code(value, {})
        elif isinstance(value, tuple | list):
            yield len(value).to_bytes(8, "big")
            for item in value:
                yield from self.of(item)
        elif isinstance(value, set | frozenset):  # their order differs from process to process
            yield from sorted(b"\0".join(self.of(item)) for item in value)
        elif id(value) in self._met:
            yield b"%d" % self._met[id(value)]
        else:
            self._met[id(value)] = len(self._met)
            yield from self._thing(value)

    def own_type(self, annotation: Any) -> Iterator[bytes]:
        """The pieces of the user's own classes in an annotation; nothing for others."""
        if isinstance(annotation, type) and get_origin(annotation) is None:
            if self._is_own(annotation):
                yield from self.of(annotation)
            return
        for arg in get_args(annotation):
            yield from self.own_type(arg)

    def _thing(self, value: Any) -> Iterator[bytes]:
        match value:
            case FunctionType():
                yield from self._function(value)
            case type():
                yield from self._class(value)
            case dict():
                for key, item in value.items():
                    yield from (*self.of(key), *self.of(item))
            case MethodType() | classmethod() | staticmethod():
                yield from self.of(value.__func__)
            case property():
                yield from self.of((value.fget, value.fset, value.fdel))
            case functools.partial():
                yield from self.of((value.func, value.args, value.keywords))
            case re.Pattern():
                yield repr((value.pattern, value.flags)).encode()
            case ModuleType() | BuiltinFunctionType():
                yield str(value.__name__).encode()
            case _:
                yield from self._other(value)

    def _other(self, value: Any) -> Iterator[bytes]:
        origin = get_origin(value)
        if origin is not None:
            yield from self.of((origin, *get_args(value)))
            return
        yield from self.of(type(value))
        if isinstance(value, Enum):
            yield value.name.encode()
            return
        wrapped = inspect.unwrap(value) if callable(value) else value
        if wrapped is not value:  # a cached function, say
            yield from self.of(wrapped)
        elif is_dataclass(value) and value.__dataclass_params__.frozen:  # type: ignore[union-attr]
            for field in fields(value):
                yield from self.of(getattr(value, field.name, None))

    def _function(self, func: FunctionType) -> Iterator[bytes]:
        if not self._is_own(func):
            yield f"{func.__module__}.{func.__qualname__}".encode()
            return
        yield from self._code(func.__code__, func.__globals__)
        yield from self.of((func.__defaults__, func.__kwdefaults__))
        for cell in func.__closure__ or ():
            try:
                yield from self.of(cell.cell_contents)
            except ValueError:  # not filled yet
                yield b"empty"
        if hasattr(func, "__wrapped__"):
            yield from self.of(func.__wrapped__)

    def _class(self, cls: type) -> Iterator[bytes]:
        yield f"{'' if self._is_own(cls) else cls.__module__}.{cls.__qualname__}".encode()
        if not self._is_own(cls):
            return
        yield from self.of(cls.__bases__)
        for name, value in vars(cls).items():
            if _written(name, value):
                yield name.encode()
                yield from self.of(value)
        for name, field in getattr(cls, "__pydantic_fields__", {}).items():
            yield f"{name}: {_ADDRESS.sub('', repr(field))}".encode()
            yield from self.own_type(field.annotation)

    def _code(self, code: CodeType, names: dict[str, Any]) -> Iterator[bytes]:
        yield code.co_code
        yield code.co_exceptiontable
        counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & _KINDS)
        yield repr((counts, code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)).encode()
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                yield from self._code(constant, names)
            else:
                yield from self.of(constant)
        for name in code.co_names:
            if name in names:
                yield from self._named(names[name], code.co_names)

    def _named(self, value: Any, used: tuple[str, ...]) -> Iterator[bytes]:
        """What a global name means; of a module of the user's own, what the function may use of it."""
        yield from self.of(value)
        if isinstance(value, ModuleType) and self._is_own(value):
            for name in used:
                if name in vars(value):
                    yield from self.of(vars(value)[name])

    def _is_own(self, thing: FunctionType | type | ModuleType) -> bool:
        if isinstance(thing, FunctionType):
            file = thing.__code__.co_filename
        elif isinstance(thing, type) and thing.__module__ == self._module != "builtins":
            return True
        else:
            module = sys.modules.get(thing.__module__) if isinstance(thing, type) else thing
            file = getattr(module, "__file__", None) or ""
        if file == self._file:
            return True
        below = self._folder is not None and file.startswith(self._folder)
        return below and not any(part in _INSTALLED for part in PurePath(file).parts)


def _written(name: str, value: Any) -> bool:
    """Whether a class's attribute was written by its author: not made from other parts, as a dataclass's methods are, by
    code that is in no file; and not one of Python's own, which say where the class stands.
    """
    if isinstance(value, FunctionType):
        return value.__code__.co_filename != "<string>" or not name.startswith("__")
    dunder = name.startswith("__") and name.endswith("__")
    return name == "__annotations__" or not (dunder or type(value).__name__ == "member_descriptor")
