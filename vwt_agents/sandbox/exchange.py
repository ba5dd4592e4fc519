"""One question and its answer as values: what of the tests can travel to the code, and what of the code arrives as what."""

from __future__ import annotations

import importlib
import operator
import sys
from typing import TYPE_CHECKING, Any

from vwt_agents.sandbox.classes import library_error, made_class, made_error
from vwt_agents.sandbox.code_modules import LENT, CodeModule
from vwt_agents.sandbox.handles import ClassMeta, Function, Handle, Method
from vwt_agents.sandbox.value_classes import is_named, is_value_class, made_value
from vwt_agents.sandbox.wire import DEEPEST, PLAIN_CLASSES, Coder, WireError, is_plain, plain_class

if TYPE_CHECKING:
    from vwt_agents.sandbox.asking import Link

__all__ = ["Exchange"]


class Exchange(Coder):
    """One exchange, seen from the tests' side."""

    # So that what the code gave can be handed back to it: it may not make tests unsendable.
    deepest_taken = DEEPEST - 20

    def __init__(self, link: Link) -> None:
        super().__init__(link.held)
        self.link = link

    def encode_other(self, value: Any, depth: int) -> Any:
        """What is no plain data: what the code has given, or what it can find by name."""
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
            number = getattr(value, "vwt_number", None) if isinstance(value, ClassMeta) or is_named(value) else None
            return ["class", number] if number is not None else _class_name(value)
        if kind is Function:
            return ["function", value.vwt_id]
        if kind is Method:
            return ["method", self.encode(value.vwt_target, depth + 1), value.__name__]
        if isinstance(value, CodeModule):
            return ["module", value.__name__]
        if isinstance(kind, ClassMeta):
            return ["object", value.vwt_id]
        if is_named(kind):
            return ["named", ["class", kind.vwt_number], self.each(tuple.__iter__(value), depth)]
        return None

    def _encode_error(self, error: BaseException, depth: int) -> Any:
        name = next(one.__name__ for one in type(error).__mro__ if one.__module__ == "builtins")
        tells = isinstance(error, Exception) and not isinstance(error, AssertionError)  # what was expected is not told
        arguments = [one if is_plain(one) else str(one) for one in error.args] if tells else []
        return ["exception", name, self.each(arguments, depth)]

    def decode_other(self, data: list[Any], depth: int) -> Any:
        """What stays with the code, as what stands for it here."""
        match data:
            case ["object", int(number), kind]:
                return self._object(number, self.decode(kind, depth + 1))
            case ["function", int(number), {"name": str(name), "doc": doc}]:
                if number not in self.link.things:
                    self.link.things[number] = Function(number, name, doc)
                return self.link.things[number]
            case ["method", target, str(name)]:
                return Method(self.decode(target, depth + 1), name)
            case ["module", str(name)]:
                return self._module(name)
            case ["class" | "raised", *_]:
                return self._class(data, depth)
            case ["exception", kind, list(arguments), state, dict(about)]:
                error = self._error(kind, arguments, state, about, depth)
                if about["cause"] is not None:
                    error.__cause__ = self.decode(about["cause"], depth + 1)
                return error
            case _:
                return self._decode_values(data, depth)

    def _decode_values(self, data: list[Any], depth: int) -> Any:
        match data:
            case ["value", int(number), kind, plain]:
                return self._value(number, self.decode(kind, depth + 1), self.decode(plain, depth + 1))
            case ["named", kind, list(items)]:
                cls = self.decode(kind, depth + 1)
                if not is_named(cls):
                    raise WireError("a named tuple of another class")
                return tuple.__new__(cls, self.all_of(items, depth))
            case _:
                return super().decode_other(data, depth)

    def _error(self, kind: Any, arguments: list[Any], state: Any, about: dict[str, Any], depth: int) -> BaseException:
        cls = self.decode(kind, depth + 1)
        if not issubclass(cls, BaseException):
            raise WireError("no exception")
        made = made_error(cls, self.all_of(arguments, depth), self.decode(state, depth + 1), about)
        assert isinstance(made, BaseException)
        return made

    def _object(self, number: int, cls: Any) -> Any:
        known = self.link.things.get(number)
        if known is None:
            if not isinstance(cls, ClassMeta) or not issubclass(cls, Handle):
                raise WireError("an object without a class")
            known = object.__new__(cls)
            object.__setattr__(known, "vwt_id", number)
            object.__setattr__(known, "vwt_derived", False)
            object.__setattr__(known, "vwt_differs", False)
            self.link.things[number] = known
        return known

    def _value(self, number: int, cls: Any, plain: Any) -> Any:
        known = self.link.things.get(number)
        if known is None:
            if not is_value_class(cls) or type(plain) is not cls.vwt_base:
                raise WireError("a value of another class")
            known = self.link.things[number] = made_value(cls, plain, number)
        return known

    def _module(self, name: str) -> Any:
        if name in self.link.modules:
            return importlib.import_module(name)
        return importlib.import_module(name) if name in LENT else CodeModule(name)

    def _class(self, data: list[Any], depth: int) -> Any:
        match data:
            case ["class", str(name)]:
                return PLAIN_CLASSES[name]
            case ["class", int(number)]:
                return self.link.classes[number]
            case ["raised", list(names)]:
                return library_error(names)
            case ["class", int(number), dict(about), list(bases)]:
                if number not in self.link.classes:
                    self.link.classes[number] = made_class(number, about, self.all_of(bases, depth))
                return self.link.classes[number]
            case _:
                raise WireError("no class")


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
