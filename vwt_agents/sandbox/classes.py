"""Classes of the code made again in the tests' sandbox: real ones, so that `isinstance`, `except` and dataclasses work."""

from __future__ import annotations

import sys
from abc import ABCMeta
from enum import EnumMeta
from typing import TYPE_CHECKING, Any, Final

from vwt_agents.sandbox.asking import ask
from vwt_agents.sandbox.bases import CHANGEABLE
from vwt_agents.sandbox.driver import WHERE, collected
from vwt_agents.sandbox.handles import ClassMeta, Handle, answers
from vwt_agents.sandbox.operators import CHANGING, OPERATORS, added_to, local
from vwt_agents.sandbox.value_classes import named_class, value_class
from vwt_agents.sandbox.wire import PLAIN_CLASSES

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ErrorMeta", "library_error", "made_class", "made_error"]


_VIEWS: Final = ("dict_keys", "dict_items")
_METAS: Final = {"ABCMeta": ABCMeta, "EnumMeta": EnumMeta, "EnumType": EnumMeta}


def made_class(number: int, about: dict[str, Any], bases: list[Any]) -> type:
    """A class here for a class there: its name, its bases as far as they are the code's, and the operators it has."""
    fields, base = about["fields"], about["base"]
    common = {
        "__module__": about["module"],
        "__qualname__": about["qualname"],
        "__doc__": about["doc"],
        "__test__": False,
    }
    common["vwt_number"] = number
    if base == "tuple" and fields and not about["dataclass"]:
        return named_class(about["name"], about, common)
    errors = tuple(one for one in bases if isinstance(one, type) and issubclass(one, BaseException))
    if errors:
        said = {"__str__": _said, "__repr__": _shown, "__getattr__": _error_attribute}
        return _first_that_works(ErrorMeta, about["name"], (errors, errors[:1]), common | said)
    members = about["members"]
    common |= {
        "vwt_own_equality": bool(about["own_equality"]),
        "vwt_checks": bool(about["checks"]),
        "vwt_enums": tuple(str(one) for one in about["enums"]),
        "vwt_meta": None if about["meta"] is None else _METAS.get(str(about["meta"])),
        "vwt_members": None if members is None else tuple(str(one) for one in members),
    }
    kind = None if base is None else PLAIN_CLASSES[base]
    if kind is not None and kind not in CHANGEABLE:
        return value_class(about["name"], kind, about, bases, common)
    space = common | {"__slots__": ()}
    space |= {f"__{name}__": OPERATORS[name] for name in about["has"] if name in OPERATORS}
    if kind is not None:
        space["vwt_base"] = kind
        space |= _from_base(kind, set(about["has"]))
        if kind is set and about["name"] in _VIEWS:
            space |= {"vwt_view": about["name"], "__reversed__": local("__reversed__")}
        elif about["made_from_base"]:
            like = type(about["name"], (kind,), {name: common[name] for name in ("__module__", "__qualname__")})
            space["__class__"] = property(lambda _: like)  # `isinstance(x, list)` looks at it, and at nothing else
    if about["dataclass"]:
        from dataclasses import make_dataclass

        space["__dataclass_fields__"] = vars(make_dataclass("fields", fields))["__dataclass_fields__"]
    handles = tuple(one for one in bases if isinstance(one, ClassMeta) and issubclass(one, Handle))
    return _first_that_works(ClassMeta, about["name"], (handles or (Handle,), (Handle,)), space)


def _from_base(kind: type, own: set[str]) -> dict[str, Any]:
    space = {}
    for name, remote in OPERATORS.items():
        dunder = f"__{name}__"
        if hasattr(kind, dunder) and name not in own and name != "call":
            asks = name in CHANGING or (name == "getitem" and "missing" in own)
            space[dunder] = remote if asks else local(dunder)
    if kind in (list, bytearray) and "radd" not in own:
        space["__radd__"] = added_to  # a list does without: its `+` knows every class made from it
    return space


def _first_that_works(
    meta: type[ClassMeta], name: str, choices: Sequence[tuple[type, ...]], space: dict[str, Any]
) -> type:
    for bases in choices[:-1]:
        try:
            return meta.__new__(meta, name, bases, {**space, "vwt_made": True})
        except TypeError:
            continue
    return meta.__new__(meta, name, choices[-1], {**space, "vwt_made": True})


# ---- exceptions


class ErrorMeta(ClassMeta):
    """An exception class of the code: real, so that `except` and `pytest.raises` know it."""


def _said(self: Any) -> str:
    return str(self.__dict__.get("vwt_text", ""))


def _shown(self: Any) -> str:
    return str(self.__dict__.get("vwt_repr", type(self).__name__))


def _error_attribute(self: Any, name: str) -> Any:
    __tracebackhide__ = True
    if not answers(name) or "vwt_id" not in self.__dict__:
        raise AttributeError(name)
    return ask("get", self, name)


def library_error(names: Sequence[Sequence[str]]) -> type[BaseException]:
    """The first of these exceptions that there is here: a builtin, or one of a loaded module of the standard library."""
    for module, name in names:
        root = module.partition(".")[0]
        known = root in sys.stdlib_module_names and root not in ("unittest", "doctest")
        found = getattr(sys.modules.get(module), name, None) if known else None
        if isinstance(found, type) and (issubclass(found, Exception) or found in (SystemExit, BaseException)):
            return found
    return RuntimeError


def made_error(cls: type[BaseException], arguments: list[Any], state: dict[str, Any], about: dict[str, Any]) -> Any:
    """An exception as the code raised it, with the lines of the code for who reports it: tests do not see them."""
    try:
        error = BaseException.__new__(cls) if isinstance(cls, ErrorMeta) else cls(*arguments)
    except Exception:  # noqa: BLE001 - a class with a constructor of its own
        error = cls.__new__(cls)
    error.args = tuple(arguments)
    error.__dict__.update({str(key): value for key, value in state.items()})
    if isinstance(cls, ErrorMeta):
        error.__dict__.update(vwt_id=about["number"], vwt_text=about["text"], vwt_repr=about["repr"])
    if about["where"]:
        where = "in the code:\n" + "\n".join(str(line) for line in about["where"])
        if collected:
            error.__dict__[WHERE] = where
        else:
            error.add_note(where)
    return error
