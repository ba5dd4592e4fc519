"""Honest code and tests of it, which must pass with the code in another sandbox than its tests."""

from __future__ import annotations

FILES = {
    "shop.py": '''
"""A module of many kinds."""
import math
from collections import Counter, namedtuple, defaultdict, deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

RATE = 0.25
NAMES = ["a", "b"]
counter = 0


class ShopError(ValueError):
    def __init__(self, message, code=0):
        super().__init__(message)
        self.code = code

    def describe(self):
        return f"{self.code}: {self}"


class Missing(ShopError, KeyError):
    def __str__(self):
        return "missing " + self.args[0]


class Plain:
    __slots__ = ("n",)

    def __init__(self, n):
        self.n = n

    def __eq__(self, other):
        return self.n == other.n

    def __hash__(self):
        return hash(self.n)


class Colour(Enum):
    RED = "r"
    BLUE = "b"


class Level(IntEnum):
    LOW = 1
    HIGH = 3


Pair = namedtuple("Pair", "left right")


class Triple(NamedTuple):
    a: int
    b: int = 2

    def total(self):
        return self.a + self.b


@dataclass
class Item:
    name: str
    price: float = 1.5
    tags: list = field(default_factory=list)

    def discounted(self, rate=RATE):
        return Item(self.name, self.price * (1 - rate))


@dataclass(frozen=True, order=True)
class Version:
    major: int
    minor: int = 0


class Vector:
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __add__(self, other):
        return Vector(self.x + other.x, self.y + other.y)

    def __mul__(self, k):
        return Vector(self.x * k, self.y * k)

    __rmul__ = __mul__

    def __matmul__(self, other):
        return self.x * other.x + self.y * other.y

    def __truediv__(self, k):
        return Vector(self.x / k, self.y / k)

    def __eq__(self, other):
        return isinstance(other, Vector) and (self.x, self.y) == (other.x, other.y)

    def __hash__(self):
        return hash((self.x, self.y))

    def __abs__(self):
        return math.hypot(self.x, self.y)

    def __repr__(self):
        return f"Vector({self.x}, {self.y})"

    def __bool__(self):
        return bool(self.x or self.y)


class Stack:
    made = 0

    def __init__(self, items=()):
        self._items = list(items)
        Stack.made += 1

    @classmethod
    def of(cls, *items):
        return cls(items)

    @staticmethod
    def limit():
        return 10

    @property
    def top(self):
        if not self._items:
            raise IndexError("the stack is empty")
        return self._items[-1]

    def push(self, item):
        self._items.append(item)
        return self

    def pop(self):
        return self._items.pop()

    def __len__(self):
        return len(self._items)

    def __iter__(self):
        return iter(self._items)

    def __contains__(self, item):
        return item in self._items

    def __getitem__(self, at):
        return self._items[at]

    def __setitem__(self, at, value):
        self._items[at] = value

    def __str__(self):
        return "Stack of " + str(len(self))


class History(list):
    def latest(self):
        return self[-1]


class Registry(dict):
    def named(self, name):
        return self.get(name, "none")


class Adder:
    def __init__(self, n):
        self.n = n

    def __call__(self, x):
        return x + self.n


class Session:
    def __enter__(self):
        self.open = True
        return self

    def __exit__(self, kind, error, trace):
        self.open = False
        return kind is not None and issubclass(kind, KeyError)


@contextmanager
def borrowed(log):
    log.append("in")
    yield "it"
    log.append("out")


class LyingInt(int):
    def __eq__(self, other):
        return False

    __hash__ = int.__hash__


def count():
    global counter
    counter += 1
    return counter


def numbers(n):
    for i in range(n):
        yield i * i


def endless():
    i = 0
    while True:
        yield i
        i += 1


def divide(a, b):
    return a / b


def check(x):
    if x < 0:
        raise ShopError("negative: %d" % x, code=7)
    if x == 0:
        raise Missing("zero")
    return x


def chained():
    try:
        {}["k"]
    except KeyError as error:
        raise RuntimeError("wrapped") from error


def reverse_in_place(items):
    items.reverse()


def compact(items):
    kept = [one for one in items if one]
    items[:] = kept
    return len(kept)


def grow(table):
    table["inner"]["x"] = [1]
    return table


def same(x):
    return x


def lying():
    return LyingInt(3)


def keyed(items, key=None, reverse=False):
    return sorted(items, key=key, reverse=reverse)


def greet(name="you", *, sign="!"):
    print("hello", name)
    return name + sign


def kinds():
    return [None, True, 1, 2**100, -0.0, 1.5, 2 + 3j, "é\\ud800", b"\\x00\\xff", bytearray(b"x"), (1, (2,)), {1, 2},
            frozenset({3}), {(1, 2): [3], None: {4: 5}}, range(1, 9, 2), slice(1, None), ..., Decimal("1.10"), Fraction(1, 3),
            date(2024, 2, 29), datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=timezone.utc), timedelta(days=1, microseconds=3),
            Path("/a/b"), Counter("aab"), deque([1, 2], maxlen=3), defaultdict(int, a=1), float("inf"), int, KeyError]


def not_a_number():
    return float("nan")


@lru_cache(maxsize=None)
def fib(n):
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def make_adder(n):
    def add(x):
        return x + n
    return add


def leave():
    raise SystemExit(3)


def parse(text):
    import json
    return json.loads(text)


def big(n):
    return "x" * n
''',
    "pkg/__init__.py": "from .inner import twice\nVERSION = '1.2'\n",
    "pkg/inner.py": "from shop import divide\n\n\ndef twice(x):\n    return 2 * x\n\n\ndef half(x):\n    return divide(x, 2)\n",
}

TESTS = {
    "conftest.py": "import pytest\nfrom shop import Stack\n\n\n@pytest.fixture\ndef stack():\n    return Stack([1, 2])\n",
    "test_values.py": """
import math
import json
from collections import Counter, deque, defaultdict
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from pathlib import Path

import pytest
import shop
from shop import *
from pkg import twice
from pkg.inner import half
import pkg.inner as inner


def test_values_arrive_as_their_own_types():
    wanted = [None, True, 1, 2**100, -0.0, 1.5, 2 + 3j, "é\\ud800", b"\\x00\\xff", bytearray(b"x"), (1, (2,)), {1, 2},
            frozenset({3}), {(1, 2): [3], None: {4: 5}}, range(1, 9, 2), slice(1, None), ..., Decimal("1.10"), Fraction(1, 3),
            date(2024, 2, 29), datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=timezone.utc), timedelta(days=1, microseconds=3),
            Path("/a/b"), Counter("aab"), deque([1, 2], maxlen=3), defaultdict(int, a=1), float("inf"), int, KeyError]
    got = shop.kinds()
    assert got == wanted
    assert [type(one) for one in got] == [type(one) for one in wanted]
    assert str(got[4]) == "-0.0" and str(got[17]) == "1.10"
    assert got[24].maxlen == 3 and got[25].default_factory is int


@pytest.mark.parametrize("value", [None, 0, -1.5, 10**40, "a\\nb\\0", [1, [2, {"k": (3,)}]], {"a": {1}}, b"x", 1j, True])
def test_values_go_there_and_back(value):
    assert shop.same(value) == value
    assert type(shop.same(value)) is type(value)


def test_floats():
    assert divide(1, 3) == pytest.approx(0.3333, abs=1e-3)
    assert abs(divide(1, 3) - 0.33) < 0.01
    assert math.isnan(shop.not_a_number())
    assert divide(b=4, a=2) == 0.5


def test_a_number_of_its_own_class_is_compared_as_a_number():
    assert lying() == 3 and isinstance(lying(), int) and type(lying()) is shop.LyingInt


def test_defaults_keywords_and_output(capsys):
    assert greet() == "you!"
    assert greet("Ann", sign="?") == "Ann?"
    assert capsys.readouterr().out == "hello you\\nhello Ann\\n"


def test_functions_of_the_library_may_be_handed_over():
    assert keyed(["bb", "a"], key=len) == ["a", "bb"]
    assert keyed(["B", "a"], key=str.lower, reverse=True) == ["B", "a"]


def test_arguments_are_changed_in_place():
    items = [3, 1, 2]
    assert reverse_in_place(items) is None
    assert items == [2, 1, 3]
    mixed = [0, 1, 0, 2]
    assert compact(mixed) == 2 and mixed == [1, 2]
    inner = {}
    table = {"inner": inner}
    assert grow(table) is table
    assert inner == {"x": [1]}


def test_generators_are_lazy():
    assert list(numbers(4)) == [0, 1, 4, 9]
    assert list(islice(endless(), 3)) == [0, 1, 2]
    steps = numbers(1)
    assert next(steps) == 0
    with pytest.raises(StopIteration):
        next(steps)
    assert sum(x for x in numbers(3)) == 5


def test_constants_state_and_packages():
    assert RATE == 0.25 and shop.NAMES == ["a", "b"]
    before = shop.counter
    assert [count(), count()] == [before + 1, before + 2]
    assert shop.counter == before + 2
    assert (twice(2), half(3), inner.half(5)) == (4, 1.5, 2.5)


def test_caches_closures_and_attributes():
    fib.cache_clear()
    assert fib(30) == 832040
    assert fib.cache_info().hits > 0
    assert shop.make_adder(2)(3) == 5
    assert greet.__name__ == "greet" and shop.__doc__.strip() == "A module of many kinds."


def test_big_strings_and_lent_modules():
    assert len(shop.big(3_000_000)) == 3_000_000
    assert math.pi == shop.math.pi


class TestErrors:
    def test_builtin(self):
        with pytest.raises(ZeroDivisionError, match="division by zero"):
            divide(1, 0)
        with pytest.raises(TypeError):
            divide("a", 2)
        with pytest.raises(AttributeError):
            shop.nothing
        with pytest.raises(FileNotFoundError) as info:
            shop.Path("/none/such").read_bytes()
        assert info.value.errno == 2

    def test_own(self):
        with pytest.raises(ShopError, match="negative: -1") as info:
            check(-1)
        assert info.value.code == 7 and info.value.args == ("negative: -1",)
        assert info.value.describe() == "7: negative: -1"
        assert isinstance(info.value, ValueError)
        with pytest.raises(KeyError):
            check(0)
        try:
            check(0)
        except Missing as error:
            assert str(error) == "missing zero"
        assert issubclass(Missing, ShopError) and not issubclass(ShopError, KeyError)
        assert str(ShopError("made", 3)) == "made"

    def test_cause_exit_and_library(self):
        with pytest.raises(RuntimeError) as info:
            shop.chained()
        assert isinstance(info.value.__cause__, KeyError)
        with pytest.raises(SystemExit) as left:
            shop.leave()
        assert left.value.code == 3
        with pytest.raises(json.JSONDecodeError) as bad:
            shop.parse("{")
        assert bad.value.lineno == 1
""",
    "test_objects.py": """
import copy
from collections.abc import Iterable
from dataclasses import FrozenInstanceError, asdict, fields, replace

import pytest
import shop
from shop import Adder, Colour, History, Item, Level, Pair, Registry, Session, Stack, Triple, Vector, Version, borrowed


def test_methods_and_operators(stack):
    assert stack.push(3) is stack
    assert (len(stack), list(stack), stack[0], stack[-1], stack[1:]) == (3, [1, 2, 3], 1, 3, [2, 3])
    assert 2 in stack and 9 not in stack
    stack[0] = "x"
    assert stack.top == "x" or stack.top == 3
    assert str(stack) == "Stack of 3" and f"{stack}" == "Stack of 3"
    assert stack.pop() == 3 and bool(stack)
    assert not Stack()
    with pytest.raises(IndexError, match="empty"):
        Stack().top
    assert isinstance(stack, Stack) and isinstance(stack, Iterable) and type(stack) is Stack
    assert not isinstance(stack, int)


def test_class_methods_and_attributes():
    made = Stack.made
    assert list(Stack.of(1, 2)) == [1, 2]
    assert Stack.made == made + 1 and Stack.limit() == 10
    one = Item("a")
    one.price = 4
    assert one.price == 4 and vars(one) == {"name": "a", "price": 4, "tags": []}
    del one.price
    assert one.price == 1.5
    assert hasattr(one, "name") and not hasattr(one, "colour")


def test_dataclasses():
    item = Item("a", 2.0)
    assert item == Item("a", 2.0) and item != Item("b", 2.0)
    assert repr(item) == "Item(name='a', price=2.0, tags=[])"
    assert item.discounted().price == pytest.approx(1.5)
    assert asdict(item) == {"name": "a", "price": 2.0, "tags": []}
    assert [one.name for one in fields(Item)] == ["name", "price", "tags"]
    assert replace(item, name="c").name == "c"
    with pytest.raises(FrozenInstanceError):
        Version(1).major = 2
    assert Version(1, 2) < Version(1, 3) and max(Version(1), Version(2)) == Version(2)
    assert sorted([Version(2), Version(1)]) == [Version(1), Version(2)]
    assert {Version(1): "x"}[Version(1)] == "x" and len({Version(1), Version(1)}) == 1
    with pytest.raises(TypeError):
        hash(Item("a"))
    with pytest.raises(TypeError):
        Item()


def test_arithmetic():
    v = Vector(3, 4)
    assert v + Vector(1, 1) == Vector(4, 5)
    assert v * 2 == Vector(6, 8) == 2 * v
    assert (v / 2).x == 1.5
    assert v @ v == 25 and abs(v) == 5.0
    assert v and not Vector(0, 0)
    assert copy.copy(v) == v and copy.deepcopy(v) is not v
    assert repr(v) == "Vector(3, 4)"
    with pytest.raises(TypeError):
        v < 3


def test_equality_that_expects_its_own_kind():
    assert shop.Plain(1) == shop.Plain(1) != shop.Plain(2)
    assert {shop.Plain(1): 2}[shop.Plain(1)] == 2
    assert not hasattr(shop.Plain(1), "__dict__")


def test_enums():
    assert Colour.RED is Colour.RED and Colour("b") is Colour.BLUE and Colour["RED"] == Colour.RED
    assert Colour.RED.value == "r" and Colour.RED.name == "RED" and Colour.RED != Colour.BLUE
    assert [one.name for one in Colour] == ["RED", "BLUE"] and len(Colour) == 2 and Colour.RED in Colour
    assert Level.HIGH == 3 and Level.HIGH > Level.LOW and Level.HIGH + 1 == 4
    with pytest.raises(ValueError):
        Colour("x")


def test_named_tuples():
    assert Pair(1, 2) == (1, 2) and Pair(1, right=2).right == 2
    left, right = Pair(1, 2)
    assert (left, right) == (1, 2) and isinstance(Pair(1, 2), tuple)
    assert Triple(1).total() == 3 and Triple(1) == Triple(1, 2) and Triple(a=5)._asdict() == {"a": 5, "b": 2}
    assert shop.same(Pair(1, 2)) == Pair(1, 2)


def test_subclasses_of_builtins_that_change():
    history = History([1])
    history.append(2)
    assert history == [1, 2] and history.latest() == 2 and len(history) == 2 and history[0] == 1
    registry = Registry(a=1)
    registry["b"] = 2
    assert registry == {"a": 1, "b": 2} and registry.named("z") == "none" and sorted(registry) == ["a", "b"]


def test_calls_contexts_and_identity():
    assert Adder(2)(3) == 5 and callable(Adder(2)) and not callable(Vector(1, 1))
    with Session() as session:
        assert session.open
    assert not session.open
    with Session():
        raise KeyError("swallowed")
    with pytest.raises(ValueError):
        with Session():
            raise ValueError("not swallowed")
    with borrowed(History()) as it:
        assert it == "it"
    with pytest.raises(AttributeError):
        with borrowed(3):
            pass
    assert shop.same(session) is session
""",
}
