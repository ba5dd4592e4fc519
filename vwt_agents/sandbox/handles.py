"""Objects, classes and functions of the code, as the tests hold them: every use of one is a question to the code.

Owns what is believed of the answers: nothing that only the tests may judge. See docs/verdicts.md.
"""

from __future__ import annotations

from types import GeneratorType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from vwt_agents.sandbox.asking import ask, doubt, lost, made_here, refuse
from vwt_agents.sandbox.bases import plain_of
from vwt_agents.sandbox.decoys import among_decoys
from vwt_agents.sandbox.wire import is_plain

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "ClassMeta",
    "Function",
    "Handle",
    "Method",
    "answers",
    "attribute",
    "contains",
    "equals_plain",
    "exactly",
    "held_by",
    "of_code",
    "refuse_derived",
    "refuse_difference",
    "refuse_order",
]

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


def refuse_order() -> None:
    """Give up where a test orders an object that it made and plain data: that asks for the object's own word."""
    if made_here():
        refuse("a test orders an object that it made and plain data")


def of_code(value: Any) -> bool:
    """Whether it is an object of the code, or a number, text, ... of a class of the code."""
    return isinstance(type(value), ClassMeta)


class ClassMeta(type):
    """A class of the code: calling it, or reading what it has, asks the code."""

    vwt_members: tuple[str, ...] | None = None
    """What an instance has to have, where the class is a protocol that can be checked."""
    vwt_checks = False
    vwt_base: type | None = None
    vwt_enums: tuple[str, ...] = ()
    """Which classes of the library's `enum` it counts as, by name."""
    vwt_meta: type | None = None
    """The class of the library that it is an instance of, other than `type`."""

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> ClassMeta:
        """One of ours; the tests may not derive from it."""
        if namespace.pop("vwt_made", False):
            return super().__new__(cls, name, bases, namespace)
        return refuse(f"the tests derive {name} from a class of the code")

    @property  # type: ignore[misc]
    def __class__(cls) -> Any:
        """What `isinstance(cls, enum.EnumMeta)` looks at."""
        return cls.vwt_meta or type(cls)

    def __call__(cls, *positional: Any, **named: Any) -> Any:
        """What the code makes."""
        __tracebackhide__ = True
        if cls.vwt_base is not None and len(positional) == 1 and isinstance(positional[0], GeneratorType):
            positional = (list(positional[0]),)
        return ask("call", cls, list(positional), named)

    def __instancecheck__(cls, instance: Any) -> bool:
        """Whether it is made from this class, or has what this protocol wants; of its own objects the code is asked."""
        __tracebackhide__ = True
        if type.__instancecheck__(cls, instance) or not cls.vwt_checks:
            return type.__instancecheck__(cls, instance)
        if of_code(instance):
            return _said_of_kind(cls, "instance", instance)
        return bool(cls.vwt_members) and all(hasattr(instance, name) for name in cls.vwt_members or ())

    def __subclasscheck__(cls, other: Any) -> bool:
        """Whether it is derived from this class, or the code says that it counts as such."""
        __tracebackhide__ = True
        if type.__subclasscheck__(cls, other) or not (cls.vwt_checks and isinstance(other, ClassMeta)):
            return type.__subclasscheck__(cls, other)
        return _said_of_kind(cls, "subclass", other)

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
        return contains(cls, item)

    def __getitem__(cls, key: Any) -> Any:
        __tracebackhide__ = True
        return ask("getitem", cls, key)


class Handle(metaclass=ClassMeta):
    """An object of the code, by number."""

    vwt_made = True
    __slots__ = ("__weakref__", "vwt_derived", "vwt_differs", "vwt_id")
    vwt_id: int
    vwt_derived: bool
    """It is what an operator made of a value of the tests."""
    vwt_differs: bool
    """That operator was `-`, `^`, `%` or the like: nothing in it, or nothing left of it, would say that two values agree."""
    vwt_base: type | None = None
    vwt_number = -1
    vwt_own_equality = False
    vwt_view: str | None = None
    """`dict_keys` or `dict_items`, where it is such a look at a dict of the code."""

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
            return exactly(dict, ask("vars", self))
        except TypeError:  # a class with slots alone
            raise AttributeError("__dict__") from None

    def __eq__(self, other: object) -> bool:
        __tracebackhide__ = True
        if of_code(other):
            return _equal(self, other)
        if self.vwt_base is not None and not self.vwt_own_equality:
            return bool(held_by(self) == other)
        if not is_plain(other):
            return NotImplemented
        return self.vwt_own_equality and made_here() and equals_plain(self, other)

    def __ne__(self, other: object) -> bool:
        __tracebackhide__ = True
        equal = self.__eq__(other)
        if equal is NotImplemented:
            return NotImplemented
        if equal or not self.vwt_own_equality or not is_plain(other) or made_here():
            return not equal
        if not exactly(bool, ask("ne", self, other)):
            doubt(f"a {type(self).__name__} of the code says that it equals {other!r:.60}: that is the tests' to say")
        return True

    def __hash__(self) -> int:
        __tracebackhide__ = True
        if self.vwt_base is not None or self.vwt_own_equality:
            return int(ask("hash", self))
        return hash((self.vwt_id, "of the code"))

    def __repr__(self) -> str:
        return str(ask("repr", self)) if not lost() else f"<{type(self).__name__} of the lost code>"

    def __str__(self) -> str:
        __tracebackhide__ = True
        return exactly(str, ask("str", self))

    def __format__(self, spec: str) -> str:
        __tracebackhide__ = True
        if spec:
            refuse_derived(self, "format")
        return exactly(str, ask("format", self, spec))

    def __copy__(self) -> Any:
        return ask("copy", self)

    def __deepcopy__(self, memo: Any) -> Any:
        return ask("deep copy", self)

    def __reduce_ex__(self, protocol: Any) -> Any:
        refuse("the tests pickle an object of the code")


def exactly(kind: type[_T], value: Any) -> _T:
    """The value, which has to be of exactly this type."""
    if type(value) is not kind:
        raise TypeError(f"the code gave a {type(value).__name__} where Python wants a {kind.__name__}")
    return value


def held_by(one: Any) -> Any:
    """What a list, int, ... of a class of the code holds, as a plain one. The code is not told what it is wanted for."""
    if isinstance(one, Handle) and one.vwt_view is not None:
        items = exactly(list, ask("listed", one))
        return dict.fromkeys(items).keys() if one.vwt_view == "dict_keys" else dict(items).items()
    return exactly(type(one).vwt_base or object, ask("base", one)) if isinstance(one, Handle) else plain_of(one)


def equals_plain(self: Any, other: Any) -> bool:
    """The code's word on whether its object equals plain data, which it has to find among others that look like it."""
    __tracebackhide__ = True
    choices, at = among_decoys(other)
    said = ask("equal plain", self, choices)
    if type(said) is not list or len(said) != len(choices):
        doubt("the code does not say which of these its object equals")
    if said[at] is True and said.count(True) > 1:
        doubt(f"a {type(self).__name__} of the code says that it equals other plain data too")
    return exactly(bool, said[at] if said[at] is not None else ask("eq", self, other))


def _said_of_kind(cls: Any, what: str, one: Any) -> bool:
    """The code's word on the kind of its own object or class; one that takes strangers too is believed if it is a protocol."""
    __tracebackhide__ = True
    said, stranger = ask(what, one, cls)
    if stranger is not False and cls.vwt_members is None:
        doubt(f"{cls.__name__} of the code takes anything for its {what}")
    return exactly(bool, said)


def _equal(one: Any, other: Any) -> bool:
    __tracebackhide__ = True
    if not (one.vwt_own_equality or other.vwt_own_equality):
        if one.vwt_base is not None and other.vwt_base is not None:
            return bool(held_by(one) == held_by(other))
        return one is other
    same, *strangers = ask("equal", one, other)
    if strangers != [False, False]:
        doubt(f"a {type(one).__name__} of the code says that it equals anything")
    return exactly(bool, same)


def contains(self: Any, item: Any) -> bool:
    """The code's word on whether its object contains something; doubted when it contains a stranger too."""
    __tracebackhide__ = True
    found, stranger = ask("holds", self, item)
    if stranger is not False:
        doubt(f"a {type(self).__name__} of the code says that it contains anything")
    return exactly(bool, found)


def refuse_derived(self: Any, what: str) -> None:
    """Do not believe a figure or text that an object gives of itself after it was told a value of the tests."""
    if self.vwt_derived:
        name = type(self).__name__
        doubt(f"{what}() of what a {name} of the code made of a value of the tests: it could answer what it was told")


def refuse_difference(self: Any, what: str) -> None:
    """Do not believe how much is in what an object says is the difference between it and a value of the tests."""
    if self.vwt_differs:
        refuse_derived(self, what)


def _iterated(made: Any) -> Iterator[Any]:
    __tracebackhide__ = True
    for count, item in enumerate(made):
        if count >= _MOST_ITEMS:
            doubt(f"an iterator of the code goes on after {_MOST_ITEMS} items")
        yield item


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
