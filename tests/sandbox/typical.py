"""Pairs of code and tests as people and models write them, each with one way to get the code wrong. Pure text.

`same_process` names those that only the weaker judge can try, by the reason it gives. `wrong` is a piece of the code and what
stands there when it is wrong: at least one of its tests has to fail then.
"""

# ruff: noqa: E501 - the lines are programs

from __future__ import annotations

import re
from typing import NamedTuple


class Pair(NamedTuple):
    """One module `m`, its tests, and a fault."""

    code: str
    tests: str
    wrong: tuple[str, str]
    same_process: str = ""


def as_files(pairs: dict[str, Pair], *, wrong: bool = False) -> tuple[dict[str, str], dict[str, str]]:
    """All of them in one folder of code and one of tests: each module and test file under a name of its own."""
    code, tests = {}, {}
    for name, pair in pairs.items():
        assert pair.code.count(pair.wrong[0]) == 1, name
        text = pair.code.replace(*pair.wrong) if wrong else pair.code
        module = f"m_{name}"
        code[f"{module}.py"] = text
        ours = re.sub(r"(?m)^(\s*)from m import", rf"\1from {module} import", pair.tests)
        tests[f"test_{name}.py"] = re.sub(r"(?m)^(\s*)import m$", rf"\1import {module} as m", ours)
    return code, tests


_MONEY = """
class Money:
    def __init__(self, amount):
        self.amount = amount
    def __eq__(self, other):
        if isinstance(other, (int, float)):
            return self.amount == other
        if isinstance(other, Money):
            return self.amount == other.amount
        return NotImplemented
    def __lt__(self, other):
        return self.amount < getattr(other, "amount", other)
    def __hash__(self):
        return hash(self.amount)
"""
_STACK = """
class Stack:
    def __init__(self, items=None):
        self.items = list(items or [])
    def push(self, item):
        self.items.append(item)
    def pop(self):
        if not self.items:
            raise IndexError("pop from an empty stack")
        return self.items.pop()
    def all(self):
        return list(self.items)
    def __len__(self):
        return len(self.items)
"""
_CELSIUS = """
class Celsius(float):
    def to_f(self):
        return self * 9 / 5 + 32
    def __add__(self, other):
        return Celsius(float(self) + float(other))
    def __repr__(self):
        return f"Celsius({float(self)})"
"""
_BAG = """
from collections import Counter
class Bag:
    def __init__(self, items=()):
        self.counts = Counter(items)
    def count(self, item):
        return self.counts[item]
    def __len__(self):
        return sum(self.counts.values())
    def __contains__(self, item):
        return self.counts[item] > 0
    def __bool__(self):
        return len(self) > 0
    def __eq__(self, other):
        return isinstance(other, Bag) and self.counts == other.counts
    def __add__(self, items):
        return Bag(self.counts + Counter(items))
    def __iadd__(self, item):
        self.counts[item] += 1
        return self
"""
_ORDERS = "a test orders an object that it made and plain data"

TYPICAL: dict[str, Pair] = {
    # ---- objects and plain data
    "equal_to_plain_data": Pair(
        _MONEY,
        "from m import Money\ndef test_it():\n    assert Money(5) == 5\n    assert 5 == Money(5)\n    assert Money(5) != 6\n",
        ("self.amount == other\n", "False\n"),
    ),
    "equal_to_plain_data_by_name": Pair(
        _MONEY,
        "from m import Money\ndef test_it():\n    m = Money(5)\n    assert m == 5 and not m == 4\n",
        ("self.amount == other\n", "True\n"),
    ),
    "equal_to_plain_data_from_a_fixture": Pair(
        _MONEY,
        "import pytest\nimport m\n@pytest.fixture\ndef five():\n    return m.Money(5)\ndef test_it(five):\n    assert five == 5\n",
        ("self.amount == other\n", "False\n"),
    ),
    "equal_to_plain_data_in_a_case": Pair(
        _MONEY,
        "import unittest\nfrom m import Money\nclass TestMoney(unittest.TestCase):\n    def setUp(self):\n"
        "        self.money = Money(5)\n    def test_it(self):\n        self.assertEqual(self.money, 5)\n"
        "        self.assertNotEqual(self.money, 6)\n",
        ("self.amount == other\n", "False\n"),
    ),
    "never_equal_to_plain_data": Pair(
        _MONEY.replace("(int, float)", "()"),
        "from m import Money\ndef test_it():\n    assert Money(5) != 5\n    assert Money(5) == Money(5)\n",
        ("()):", "(int, float)):"),
    ),
    "less_than_plain_data": Pair(
        _MONEY,
        "from m import Money\ndef test_it():\n    assert Money(5) < 6\n    assert not Money(5) < 5\n",
        ("self.amount <", "self.amount <="),
        _ORDERS,
    ),
    "differs_from_plain_data": Pair(
        _MONEY.replace("(int, float)", "()") + "def wallet():\n    return Money(5)\n",
        "from m import wallet\ndef test_it():\n    assert wallet() != 5\n",
        ("()):", "(int, float)):"),
    ),
    "a_text_that_ignores_case": Pair(
        "class Name(str):\n    def __eq__(self, other):\n        return self.lower() == other.lower()\n"
        "    def __hash__(self):\n        return hash(self.lower())\n",
        "from m import Name\ndef test_it():\n    assert Name('Ann') == 'ANN'\n    assert Name('a') != 'b'\n",
        ("other.lower()", "other"),
    ),
    # ---- classes made from builtins
    "a_list_of_its_own": Pair(
        "class History(list):\n    def latest(self):\n        return self[-1]\ndef made():\n    return History([1, 2])\n",
        "from m import History, made\ndef test_it():\n    got = made()\n    assert isinstance(got, list) and isinstance(got, History)\n"
        "    assert not isinstance(got, dict)\n    assert got == [1, 2] and got.latest() == 2\n    got.append(3)\n"
        "    assert len(got) == 3 and got.latest() == 3\n",
        ("[-1]", "[0]"),
    ),
    "a_dict_of_its_own": Pair(
        "class Table(dict):\n    def __missing__(self, key):\n        return 0\ndef made():\n    return Table(a=1)\n",
        "from m import made\ndef test_it():\n    got = made()\n    assert isinstance(got, dict)\n    assert got['z'] == 0 and got['a'] == 1\n"
        "    assert dict(got) == {'a': 1} and {**got} == {'a': 1} and sorted(got.items()) == [('a', 1)]\n",
        ("return 0", "return 1"),
    ),
    "a_text_of_its_own": Pair(
        "class Slug(str):\n    def words(self):\n        return self.split('-')\ndef slug(text):\n"
        "    return Slug('-'.join(text.lower().split()))\n",
        "from m import Slug, slug\ndef test_it():\n    got = slug('A b')\n    assert isinstance(got, str) and isinstance(got, Slug)\n"
        "    assert got == 'a-b' and got.words() == ['a', 'b'] and got.upper() == 'A-B'\n    assert got + '!' == 'a-b!'\n"
        "    assert {got: 1}['a-b'] == 1 and f'{got}' == 'a-b' and got.startswith('a')\n",
        (".lower()", ""),
    ),
    "a_number_of_its_own": Pair(
        _CELSIUS,
        "from m import Celsius\ndef test_it():\n    c = Celsius(20)\n    assert isinstance(c, float) and c.to_f() == 68\n"
        "    assert c + 5 == 25 and (c + 5).to_f() == 77 and (c + Celsius(5)).to_f() == 77\n"
        "    assert c < 21 and abs(c - 20) < 1e-9 and repr(c) == 'Celsius(20.0)' and round(c) == 20\n",
        ("+ 32", "+ 30"),
    ),
    "a_whole_number_of_its_own": Pair(
        "class UserId(int):\n    @property\n    def label(self):\n        return f'user-{int(self)}'\ndef next_id(one):\n"
        "    return UserId(one + 1)\n",
        "from m import UserId, next_id\ndef test_it():\n    got = next_id(UserId(1))\n    assert got == 2 and got.label == 'user-2'\n"
        "    assert isinstance(got, int) and type(got) is UserId and [10, 20, 30][got] == 30\n",
        ("one + 1", "one + 2"),
    ),
    "a_tuple_of_its_own": Pair(
        "class Version(tuple):\n    def __new__(cls, text):\n        return super().__new__(cls, map(int, text.split('.')))\n"
        "    @property\n    def major(self):\n        return self[0]\n",
        "from m import Version\ndef test_it():\n    v = Version('1.10')\n    assert v == (1, 10) and v.major == 1 and isinstance(v, tuple)\n"
        "    assert v > Version('1.9') and sorted([Version('2.0'), v])[0] == v\n    major, minor = v\n    assert minor == 10\n",
        ("self[0]", "self[1]"),
    ),
    "a_tuple_with_operators": Pair(
        "class V(tuple):\n    def __new__(cls, *xs):\n        return super().__new__(cls, xs)\n    def __add__(self, o):\n        return V(*(a + b for a, b in zip(self, o)))\n"
        "    def __mul__(self, k):\n        return V(*(k * a for a in self))\n    __rmul__ = __mul__\n    def __lt__(self, o):\n        return sum(self) < sum(o)\n"
        "    def index(self, one):\n        return tuple.index(self, one) + 1\ndef f(n):\n    return V(n, 2)\n",
        "from m import V, f\ndef test_it():\n    assert f(1) + (1, 1) == (2, 3) and f(1) * 2 == V(2, 4) == 2 * f(1) and list(f(1) * 3) == [3, 6]\n"
        "    assert V(3, 0) < V(0, 9) and sorted([V(3), V(2)]) == [V(2), V(3)] and f(1).index(2) == 2\n",
        ("k * a for", "k + a for"),
    ),
    "a_text_with_methods_of_its_own": Pair(
        "class T(str):\n    def startswith(self, x):\n        return str.startswith(self.lower(), x.lower())\n    def __truediv__(self, o):\n        return T(f'{self}/{o}')\n"
        "    def __add__(self, o):\n        return T(f'{self} {o}')\n    def upper(self):\n        return T('!' + str.upper(self))\n    def __lt__(self, o):\n        return len(self) < len(o)\n"
        "def f(n):\n    return T('Hello' * n)\n",
        "from m import T, f\ndef test_it():\n    assert f(1).startswith('hel') and not f(1).startswith('x') and f(1).endswith('lo') and f(1).upper() == '!HELLO'\n"
        "    assert f(1) / 'b' == 'Hello/b' and f(1) + 'b' == f(1) + T('b') == 'Hello b' and T('zz') < T('aaa')\n",
        ("str.upper", "str.lower"),
    ),
    "a_number_that_goes_round": Pair(
        "class Mod(int):\n    def __new__(cls, n):\n        return super().__new__(cls, n % 7)\n    def __add__(self, o):\n        return Mod(int(self) + int(o))\n    __radd__ = __add__\n"
        "    def __mul__(self, o):\n        return Mod(int(self) * int(o))\n",
        "from m import Mod\ndef test_it():\n    assert Mod(3) + 6 == 2 and 6 + Mod(3) == Mod(2) and Mod(3) * 4 == 5 and Mod(3) * Mod(4) == Mod(5)\n",
        ("n % 7", "n % 9"),
    ),
    "keys_of_a_dict": Pair(
        "class Box:\n    def __init__(self):\n        self.d = {'a': 1, 'b': 2}\n    def keys(self):\n        return self.d.keys()\n"
        "    def values(self):\n        return self.d.values()\n    def items(self):\n        return self.d.items()\n",
        "from m import Box\ndef test_it():\n    assert Box().keys() == {'a', 'b'} and list(Box().values()) == [1, 2]\n"
        "    assert ('a', 1) in Box().items() and len(Box().keys()) == 2 and dict(Box()['a':] if 0 else Box().items()) == {'a': 1, 'b': 2}\n",
        ("'b': 2", "'c': 2"),
    ),
    # ---- protocols and abstract classes
    "a_protocol": Pair(
        "from typing import Protocol, runtime_checkable\n@runtime_checkable\nclass Speaks(Protocol):\n    name: str\n"
        "    def speak(self) -> str: ...\nclass Dog:\n    def __init__(self):\n        self.name = 'Rex'\n    def speak(self):\n"
        "        return 'Woof'\nclass Stone:\n    pass\n",
        "from m import Dog, Speaks, Stone\nclass Cat:\n    name = 'Tom'\n    def speak(self):\n        return 'Meow'\n"
        "def test_it():\n    assert isinstance(Dog(), Speaks)\n    assert not isinstance(Stone(), Speaks) and not isinstance(3, Speaks)\n"
        "    assert isinstance(Cat(), Speaks)\n",
        ("def speak(self):\n", "def talk(self):\n"),
    ),
    "an_abstract_class": Pair(
        "from abc import ABC, abstractmethod\nclass Shape(ABC):\n    @abstractmethod\n    def area(self): ...\n"
        "    def describe(self):\n        return f'{type(self).__name__} of {self.area()}'\nclass Square(Shape):\n"
        "    def __init__(self, side):\n        self.side = side\n    def area(self):\n        return self.side ** 2\n",
        "import pytest\nfrom m import Shape, Square\ndef test_it():\n    with pytest.raises(TypeError, match='abstract'):\n        Shape()\n"
        "    assert isinstance(Square(2), Shape) and issubclass(Square, Shape)\n    assert Square(2).describe() == 'Square of 4'\n",
        ("** 2", "* 3"),
    ),
    "a_registered_class": Pair(
        "from abc import ABC\nclass Shape(ABC):\n    pass\nclass Blob:\n    pass\nShape.register(Blob)\nclass Other:\n    pass\n",
        "from m import Blob, Other, Shape\ndef test_it():\n    assert isinstance(Blob(), Shape) and not isinstance(Other(), Shape)\n"
        "    assert issubclass(Blob, Shape) and not isinstance(1, Shape)\n",
        ("register(Blob)", "register(int)"),
    ),
    # ---- containers that both hold
    "a_list_grows_with_its_object": Pair(
        _STACK,
        "from m import Stack\ndef test_it():\n    s = Stack()\n    items = s.items\n    s.push(1)\n    s.push(2)\n"
        "    assert len(items) == 2 and items == [1, 2] and items is s.items\n",
        ("self.items.append(item)", "self.items = [*self.items, item]"),
    ),
    "a_list_that_is_a_copy": Pair(
        _STACK,
        "from m import Stack\ndef test_it():\n    s = Stack([1])\n    got = s.all()\n    got.append(2)\n"
        "    assert len(s) == 1 and s.items == [1]\n",
        ("return list(self.items)", "return self.items"),
    ),
    "a_list_changed_from_outside": Pair(
        _STACK,
        "from m import Stack\ndef test_it():\n    s = Stack([1])\n    s.items.append(2)\n    s.items[0] = 5\n    assert len(s) == 2\n"
        "    assert s.pop() == 2 and s.pop() == 5\n    s.items.extend([1, 2])\n    del s.items[0]\n    assert s.items == [2]\n",
        ("self.items.pop()", "self.items.pop(0)"),
    ),
    "an_argument_is_copied": Pair(
        _STACK,
        "from m import Stack\ndef test_it():\n    mine = [1, 2]\n    s = Stack(mine)\n    s.push(3)\n    assert mine == [1, 2]\n"
        "    mine.append(4)\n    assert len(s) == 3\n",
        ("list(items or [])", "items if items is not None else []"),
    ),
    "an_argument_is_kept": Pair(
        "class View:\n    def __init__(self, data):\n        self.data = data\n    def size(self):\n        return len(self.data)\n",
        "from m import View\ndef test_it():\n    mine = {'a': 1}\n    view = View(mine)\n    mine['b'] = 2\n    assert view.size() == 2\n"
        "    assert view.data is mine\n",
        ("self.data = data", "self.data = dict(data)"),
    ),
    "a_default_that_is_shared": Pair(
        "def add(item, to=None):\n    to = [] if to is None else to\n    to.append(item)\n    return to\n",
        "from m import add\ndef test_it():\n    assert add(1) == [1]\n    assert add(2) == [2]\n    mine = [0]\n"
        "    assert add(1, mine) is mine and mine == [0, 1]\n    first = add(5)\n    add(6)\n    assert first == [5]\n",
        ("to=None):\n    to = [] if to is None else to", "to=[]):"),
    ),
    "objects_do_not_share": Pair(
        "class Bag:\n    def __init__(self):\n        self.items = []\n    def add(self, item):\n        self.items.append(item)\n",
        "from m import Bag\ndef test_it():\n    one, two = Bag(), Bag()\n    one.add(1)\n    one.items.append(2)\n"
        "    assert one.items == [1, 2] and two.items == []\n",
        ("    def __init__(self):\n        self.items = []", "    items = []"),
    ),
    "nested_containers": Pair(
        "class Graph:\n    def __init__(self):\n        self.edges = {}\n    def add(self, a, b):\n        self.edges.setdefault(a, []).append(b)\n"
        "    def near(self, a):\n        return self.edges.get(a, [])\n",
        "from m import Graph\ndef test_it():\n    g = Graph()\n    g.add('a', 'b')\n    near = g.near('a')\n    g.add('a', 'c')\n"
        "    assert near == ['b', 'c'] and g.edges == {'a': ['b', 'c']}\n    g.edges['a'].remove('b')\n    assert g.near('a') == ['c']\n"
        "    g.edges['z'] = ['y']\n    assert g.near('z') == ['y']\n",
        ("append(b)", "insert(0, b)"),
    ),
    "data_of_the_module": Pair(
        "SEEN = []\nstack = [1, 2]\ndef note(x):\n    SEEN.append(x)\n    return len(SEEN)\ndef reset():\n    SEEN.clear()\n",
        "import m\nfrom m import SEEN, note, reset\ndef setup_function():\n    SEEN.clear()\ndef test_it():\n    note(1)\n"
        "    assert SEEN == [1] and 1 in SEEN and len(m.SEEN) == 1\n    reset()\n    assert not SEEN\n"
        "def test_pop():\n    assert m.stack.pop() == 2 and m.stack == [1]\n    assert note('x') == 1\n",
        ("SEEN.append(x)", "SEEN.append([x])"),
    ),
    "a_set_and_a_deque": Pair(
        "from collections import deque, defaultdict\nclass Seen:\n    def __init__(self):\n        self.ids = set()\n"
        "        self.last = deque(maxlen=2)\n        self.by = defaultdict(list)\n    def see(self, one):\n        self.ids.add(one)\n"
        "        self.last.append(one)\n        self.by[one % 2].append(one)\n",
        "from m import Seen\ndef test_it():\n    s = Seen()\n    ids, last, by = s.ids, s.last, s.by\n    for one in (1, 2, 3):\n        s.see(one)\n"
        "    assert ids == {1, 2, 3} and list(last) == [2, 3] and by[1] == [1, 3] and by[7] == []\n    ids.discard(1)\n"
        "    assert 1 not in s.ids and by == {0: [2], 1: [1, 3], 7: []}\n",
        ("maxlen=2", "maxlen=3"),
    ),
    "attributes_of_an_object": Pair(
        "class Point:\n    def __init__(self, x):\n        self.x = x\n    def double(self):\n        return self.x * 2\n",
        "from m import Point\ndef test_it():\n    p = Point(1)\n    p.__dict__['x'] = 4\n    assert p.double() == 8\n    p.x = 5\n"
        "    assert vars(p) == {'x': 5} and p.double() == 10\n",
        ("* 2", "* 3"),
    ),
    "a_list_changed_while_it_is_read": Pair(
        _STACK,
        "from m import Stack\ndef test_it():\n    s = Stack([1, 2, 3])\n    seen = []\n    for one in s.items:\n        seen.append(one)\n"
        "        if one == 1:\n            s.push(4)\n    assert seen == [1, 2, 3, 4]\n",
        ("self.items.append(item)", "self.items.append(item + 1)"),
    ),
    # ---- values with classes
    "dataclasses": Pair(
        "from dataclasses import dataclass, field\n@dataclass\nclass Item:\n    name: str\n    price: float = 1.0\n    tags: list = field(default_factory=list)\n"
        "    @property\n    def label(self):\n        return f'{self.name}: {self.price:.2f}'\n@dataclass(frozen=True, order=True)\nclass V:\n    a: int\n    b: int = 0\n",
        "import pytest\nfrom dataclasses import FrozenInstanceError, asdict, astuple, is_dataclass, replace\nfrom m import Item, V\n"
        "def test_it():\n    a = Item('x', 2)\n    assert a == Item('x', 2) and a != Item('y', 2) and a.label == 'x: 2.00'\n"
        "    a.tags.append('t')\n    assert a.tags == ['t'] and Item('x').tags == []\n    assert asdict(a) == {'name': 'x', 'price': 2, 'tags': ['t']}\n"
        "    assert V(1, 2) < V(2) and sorted([V(2), V(1)])[0] == V(1) and {V(1)} == {V(1)} and astuple(V(1)) == (1, 0)\n"
        "    assert is_dataclass(V) and replace(V(1), b=3) == V(1, 3) and repr(V(1)) == 'V(a=1, b=0)'\n"
        "    with pytest.raises(FrozenInstanceError):\n        V(1).a = 2\n",
        (":.2f", ":.1f"),
    ),
    "named_tuples": Pair(
        "from typing import NamedTuple\nfrom collections import namedtuple\nclass P(NamedTuple):\n    x: int\n    y: int = 0\n    def total(self):\n"
        "        return self.x + self.y\nPair = namedtuple('Pair', 'a b')\ndef swap(p):\n    return Pair(p.b, p.a)\n",
        "from m import P, Pair, swap\ndef test_it():\n    assert P(1, 2) == (1, 2) and P(1).y == 0 and P(1, 2).total() == 3\n"
        "    assert swap(Pair(1, 2)) == Pair(2, 1) and swap(Pair(1, 2)).a == 2\n    a, b = swap(Pair(1, 2))\n    assert P(1)._replace(y=5) == P(1, 5)\n"
        "    assert P._fields == ('x', 'y') and isinstance(P(1), tuple) and P(1, 2)[0] == 1\n",
        ("Pair(p.b, p.a)", "Pair(p.a, p.b)"),
    ),
    "named_tuples_with_operators": Pair(
        "from typing import NamedTuple\nclass P(NamedTuple):\n    x: float\n    y: float = 0\n    def __add__(self, o):\n        return P(self.x + o.x, self.y + o.y)\n"
        "    def __sub__(self, o):\n        return P(self.x - o.x, self.y - o.y)\n    def __mul__(self, k):\n        return P(self.x * k, self.y * k)\n    __rmul__ = __mul__\n"
        "    def __truediv__(self, k):\n        return P(self.x / k, self.y / k)\n    def __neg__(self):\n        return P(-self.x, -self.y)\n    def __matmul__(self, o):\n"
        "        return self.x * o.x + self.y * o.y\n    def __abs__(self):\n        return (self @ self) ** 0.5\n    def __str__(self):\n        return f'({self.x}, {self.y})'\n"
        "    def __lt__(self, o):\n        return abs(self) < abs(o)\n    def __bool__(self):\n        return self.x != 0\n    def __contains__(self, k):\n        return self.x <= k <= self.y\n"
        "    def __call__(self, k):\n        return self.x * k + self.y\nclass Span(NamedTuple):\n    a: int\n    b: int\n    def __len__(self):\n        return self.b - self.a\n"
        "    def count(self, one):\n        return self.b * one\ndef f(n):\n    return P(n, 2)\n",
        "import pytest\nfrom m import P, Span, f\ndef test_arithmetic():\n    assert P(1, 2) + P(1, 1) == P(2, 3) and (f(1) - P(1, 1)).y == 1 and sum([P(1), P(2)], P(0)) == (3, 0)\n"
        "    assert P(1, 2) * 2 == P(2, 4) and 2 * f(1) == (2, 4) and f(2) / 2 == (1, 1) and list(f(1) * 2) == [2, 4]\n    assert -f(1) == (-1, -2) and abs(P(3, 4)) == 5 and P(1, 2) @ P(3, 4) == 11\n"
        "def test_the_rest():\n    assert str(f(1)) == f'{f(1)}' == '(1, 2)' and repr(f(1)) == 'P(x=1, y=2)' and f(1) and not f(0)\n    assert P(3, 1) < P(0, 9) and sorted([P(0, 9), P(3, 1)])[0] == P(3, 1)\n"
        "    assert 1.5 in f(1) and 9 not in f(1) and f(3)(2) == 8 and len(Span(2, 7)) == 5 and Span(2, 7).count(3) == 21 and Span(2, 7) == (2, 7)\n"
        "    with pytest.raises(AttributeError):\n        f(1).x = 3\n    with pytest.raises(AttributeError):\n        f(1).z = 3\n",
        ("P(self.x * k, self.y * k)", "P(self.x * k, self.y)"),
    ),
    "enums": Pair(
        "from enum import Enum, IntEnum, Flag, auto\nclass Colour(Enum):\n    RED = 'r'\n    BLUE = 'b'\n    def warm(self):\n        return self is Colour.RED\n"
        "class Level(IntEnum):\n    LOW = 1\n    HIGH = 3\nclass Kind(str, Enum):\n    A = 'a'\n    B = 'b'\nclass Perm(Flag):\n    R = auto()\n    W = auto()\n"
        "def parse(text):\n    return Colour(text)\n",
        "import pytest\nfrom m import Colour, Kind, Level, Perm, parse\ndef test_it():\n    assert parse('r') is Colour.RED and parse('r') == Colour.RED\n"
        "    assert Colour.RED != 'r' and Colour['BLUE'].value == 'b' and Colour.RED.warm() and not Colour.BLUE.warm()\n"
        "    assert Level.HIGH > Level.LOW and Level.HIGH == 3 and Level(1) is Level.LOW and isinstance(Level.LOW, int)\n"
        "    assert Kind.A == 'a' and isinstance(Kind.A, str) and Kind('b') is Kind.B and Kind.A.upper() == 'A'\n"
        "    assert [c.name for c in Colour] == ['RED', 'BLUE'] and Perm.R | Perm.W == Perm(3) and Perm.R in Perm(3)\n"
        "    assert {Colour.RED: 1}[Colour.RED] == 1 and repr(Colour.RED) == \"<Colour.RED: 'r'>\"\n    with pytest.raises(ValueError):\n        parse('z')\n",
        ("HIGH = 3", "HIGH = 2"),
    ),
    "kinds_of_classes": Pair(
        "import abc, enum\nclass Colour(enum.Enum):\n    RED = 1\nclass Shape(abc.ABC):\n    pass\nclass Plain:\n    pass\n",
        "import abc, enum\nfrom m import Colour, Plain, Shape\ndef test_it():\n    assert isinstance(Colour, enum.EnumMeta) and isinstance(Shape, abc.ABCMeta) and isinstance(Colour, type)\n"
        "    assert not isinstance(Plain, enum.EnumMeta) and not isinstance(Shape, enum.EnumMeta) and issubclass(Colour, enum.Enum) and type(Colour.RED) is Colour\n",
        ("class Colour(enum.Enum):", "class Colour:"),
    ),
    "functions_that_end_an_iteration": Pair(
        "def f(x):\n    if x > 2:\n        raise StopIteration\n    return x\ndef g(xs):\n    return map(f, xs)\n",
        "import pytest\nfrom m import f, g\ndef test_it():\n    assert list(map(f, [1, 2, 3, 1])) == [1, 2] and list(g([1, 3, 1])) == [1]\n"
        "    with pytest.raises(StopIteration):\n        next(g([3]))\n    with pytest.raises(RuntimeError):\n        list(f(x) for x in [3])\n",
        ("> 2", "> 1"),
    ),
    "int_flags": Pair(
        "from enum import IntFlag\nclass P(IntFlag):\n    R = 4\n    W = 2\n    X = 1\ndef allowed(p):\n    return bool(p & P.W)\n",
        "from m import P, allowed\ndef test_it():\n    assert P.R | P.W == 6 and allowed(P.R | P.W) and not allowed(P.R)\n    assert (P.R | 1) == P.R | P.X\n",
        ("P.W)", "P.R)"),
    ),
    "exceptions_with_attributes": Pair(
        "class AppError(Exception):\n    pass\nclass Short(AppError):\n    def __init__(self, need, have):\n        self.need, self.have = need, have\n"
        "        super().__init__(f'need {need}, have {have}')\n    @property\n    def missing(self):\n        return self.need - self.have\n"
        "def pay(need, have):\n    if have < need:\n        raise Short(need, have)\n    return have - need\n",
        "import pytest\nfrom m import AppError, Short, pay\ndef test_it():\n    with pytest.raises(Short, match=r'need 5, have 3') as info:\n        pay(5, 3)\n"
        "    assert info.value.need == 5 and info.value.missing == 2 and str(info.value) == 'need 5, have 3'\n"
        "    assert isinstance(info.value, AppError) and info.type is Short and pay(3, 5) == 2\n    with pytest.raises(AppError):\n        raise Short(2, 1)\n",
        ("have < need", "have <= need - 3"),
    ),
    "chained_exceptions": Pair(
        "class ConfigError(Exception):\n    pass\ndef load(d):\n    try:\n        return d['k']\n    except KeyError as error:\n        raise ConfigError('no k') from error\n",
        "import pytest\nfrom m import ConfigError, load\ndef test_it():\n    with pytest.raises(ConfigError, match='no k') as info:\n        load({})\n"
        "    assert isinstance(info.value.__cause__, KeyError) and load({'k': 1}) == 1\n",
        ("from error", "from None"),
    ),
    "exceptions_in_a_case": Pair(
        "def divide(a, b):\n    if b == 0:\n        raise ZeroDivisionError('cannot divide by zero')\n    return a / b\n",
        "import unittest\nfrom m import divide\nclass TestIt(unittest.TestCase):\n    def test_it(self):\n        with self.assertRaises(ZeroDivisionError) as caught:\n"
        "            divide(1, 0)\n        self.assertIn('cannot', str(caught.exception))\n        self.assertRaisesRegex(ZeroDivisionError, 'by zero', divide, 1, 0)\n"
        "        self.assertAlmostEqual(divide(1, 3), 0.3333, places=3)\n",
        ("'cannot divide by zero'", "'oh'"),
    ),
    # ---- contexts, iteration
    "context_managers": Pair(
        "class Door:\n    def __init__(self):\n        self.log = []\n    def __enter__(self):\n        self.log.append('open')\n        return self\n"
        "    def __exit__(self, kind, error, trace):\n        self.log.append('close' if kind is None else kind.__name__)\n        return False\n",
        "import pytest\nfrom m import Door\ndef test_it():\n    with Door() as door:\n        assert door.log == ['open']\n    assert door.log == ['open', 'close']\n"
        "    door = Door()\n    with pytest.raises(ValueError):\n        with door:\n            raise ValueError('x')\n    assert door.log == ['open', 'ValueError']\n",
        ("'close' if", "'shut' if"),
    ),
    "contextlib_managers": Pair(
        "from contextlib import contextmanager, suppress\nlog = []\n@contextmanager\ndef tag(name):\n    log.append(f'<{name}>')\n    try:\n        yield name.upper()\n"
        "    finally:\n        log.append(f'</{name}>')\ndef quiet():\n    return suppress(KeyError)\n",
        "import pytest\nimport m\nfrom m import tag, quiet\ndef test_it():\n    with tag('b') as name:\n        assert name == 'B'\n    assert m.log == ['<b>', '</b>']\n"
        "    with pytest.raises(ZeroDivisionError):\n        with tag('i'):\n            1 / 0\n    assert m.log[-1] == '</i>'\n    with quiet():\n        {}['x']\n",
        ("'</{name}>'", "'<{name}/>'"),
    ),
    "generators": Pair(
        "def countdown(n):\n    while n > 0:\n        yield n\n        n -= 1\ndef echo():\n    got = None\n    while True:\n        got = yield got\ndef chunks(items, n):\n"
        "    for i in range(0, len(items), n):\n        yield items[i:i + n]\n",
        "import pytest\nfrom m import chunks, countdown, echo\ndef test_it():\n    assert list(countdown(3)) == [3, 2, 1]\n    g = echo()\n    next(g)\n    assert g.send(5) == 5\n"
        "    g.close()\n    with pytest.raises(StopIteration):\n        next(g)\n    assert list(chunks([1, 2, 3], 2)) == [[1, 2], [3]]\n    assert iter(countdown(1)) is not None and sum(countdown(3)) == 6\n",
        ("n -= 1", "n -= 2"),
    ),
    "iterators": Pair(
        "class Count:\n    def __init__(self, n):\n        self.n, self.i = n, 0\n    def __iter__(self):\n        return self\n    def __next__(self):\n"
        "        if self.i >= self.n:\n            raise StopIteration\n        self.i += 1\n        return self.i\nclass Pages:\n    def __init__(self, *items):\n"
        "        self.items = items\n    def __getitem__(self, at):\n        return self.items[at]\n    def __len__(self):\n        return len(self.items)\n    def __reversed__(self):\n        return iter(self.items[::-1])\n",
        "from collections.abc import Iterator\nfrom m import Count, Pages\ndef test_it():\n    c = Count(2)\n    assert isinstance(c, Iterator) and iter(c) is c and list(c) == [1, 2] and list(c) == []\n"
        "    assert list(Pages(1, 2)) == [1, 2] and Pages(1, 2)[-1] == 2 and Pages(1, 2, 3)[1:] == (2, 3) and list(reversed(Pages(1, 2))) == [2, 1]\n"
        "    assert 2 in Pages(1, 2) and [*zip(Pages('a'), Count(1))] == [('a', 1)] and dict(enumerate(Pages('x'))) == {0: 'x'}\n",
        ("self.i += 1", "self.i += 2"),
    ),
    # ---- operators
    "properties": Pair(
        "class T:\n    def __init__(self, c):\n        self.celsius = c\n    @property\n    def celsius(self):\n        return self._c\n    @celsius.setter\n"
        "    def celsius(self, value):\n        if value < -273.15:\n            raise ValueError('below absolute zero')\n        self._c = value\n    @property\n"
        "    def fahrenheit(self):\n        return self._c * 9 / 5 + 32\n",
        "import pytest\nfrom m import T\ndef test_it():\n    t = T(0)\n    assert t.fahrenheit == 32\n    t.celsius = 100\n    assert t.fahrenheit == pytest.approx(212)\n"
        "    with pytest.raises(ValueError, match='absolute'):\n        t.celsius = -300\n    with pytest.raises(AttributeError):\n        t.fahrenheit = 3\n    assert t.celsius == 100\n",
        ("+ 32", "+ 31"),
    ),
    "operators_both_ways": Pair(
        "class V:\n    def __init__(self, x, y):\n        self.x, self.y = x, y\n    def __eq__(self, o):\n        return isinstance(o, V) and (self.x, self.y) == (o.x, o.y)\n"
        "    def __hash__(self):\n        return hash((self.x, self.y))\n    def __add__(self, o):\n        return V(self.x + o.x, self.y + o.y)\n    def __mul__(self, k):\n"
        "        return V(self.x * k, self.y * k)\n    __rmul__ = __mul__\n    def __neg__(self):\n        return V(-self.x, -self.y)\n    def __iadd__(self, o):\n"
        "        self.x += o.x\n        self.y += o.y\n        return self\n    def __abs__(self):\n        return (self.x ** 2 + self.y ** 2) ** 0.5\n    def __radd__(self, o):\n        return self if o == 0 else NotImplemented\n"
        "    def __repr__(self):\n        return f'V({self.x}, {self.y})'\n",
        "import pytest\nfrom m import V\ndef test_it():\n    v = V(3, 4)\n    assert v + V(1, 1) == V(4, 5) and v * 2 == V(6, 8) == 2 * v and -v == V(-3, -4) and abs(v) == 5\n"
        "    v += V(1, 1)\n    assert v == V(4, 5) and sum([V(1, 0), V(0, 1)]) == V(1, 1) and repr(v) == 'V(4, 5)' and len({V(1, 1), V(1, 1)}) == 1\n"
        "    with pytest.raises((TypeError, AttributeError)):\n        v + 'x'\n    assert v != V(0, 0) and V(1, 2) in [V(1, 2)]\n",
        ("V(self.x * k, self.y * k)", "V(self.x * k, self.y)"),
    ),
    "operators_with_plain_data": Pair(
        "class Money:\n    def __init__(self, n):\n        self.n = n\n    def __add__(self, o):\n        return Money(self.n + (o.n if isinstance(o, Money) else o))\n    __radd__ = __add__\n"
        "    def __eq__(self, o):\n        return isinstance(o, Money) and self.n == o.n\n    def __rsub__(self, o):\n        return Money(o - self.n)\n",
        "from m import Money\ndef test_it():\n    assert Money(1) + 2 == Money(3) and 2 + Money(1) == Money(3) and 5 - Money(2) == Money(3)\n    assert sum([Money(1), Money(2)]).n == 3\n",
        ("o - self.n", "self.n - o"),
    ),
    "ordering": Pair(
        "from functools import total_ordering\n@total_ordering\nclass Card:\n    ORDER = '23456789TJQKA'\n    def __init__(self, rank):\n        self.rank = rank\n    def _key(self):\n"
        "        return self.ORDER.index(self.rank)\n    def __eq__(self, o):\n        return self._key() == o._key()\n    def __lt__(self, o):\n        return self._key() < o._key()\n",
        "from m import Card\ndef test_it():\n    assert Card('K') > Card('T') and Card('2') <= Card('2') and max([Card('3'), Card('A')]).rank == 'A'\n"
        "    assert [c.rank for c in sorted([Card('A'), Card('2')])] == ['2', 'A']\n    assert [c.rank for c in sorted([Card('A'), Card('2')], key=lambda c: c.rank)] == ['2', 'A']\n",
        ("self._key() <", "self.rank <"),
    ),
    "hashes_in_sets_and_dicts": Pair(
        "class Key:\n    def __init__(self, n):\n        self.n = n\n    def __eq__(self, o):\n        return isinstance(o, Key) and self.n % 10 == o.n % 10\n    def __hash__(self):\n        return hash(self.n % 10)\n"
        "class Bare:\n    pass\n",
        "from m import Bare, Key\ndef test_it():\n    assert len({Key(1), Key(11), Key(2)}) == 2 and {Key(1): 'a'}[Key(21)] == 'a' and hash(Key(1)) == hash(Key(11))\n"
        "    one = Bare()\n    assert one in {one} and len({Bare(), Bare()}) == 2 and Bare() != Bare()\n",
        ("hash(self.n % 10)", "hash(self.n)"),
    ),
    "containers_of_ones_own": Pair(
        "class Shelf:\n    def __init__(self):\n        self._d = {}\n    def __setitem__(self, k, v):\n        self._d[k] = v\n    def __getitem__(self, k):\n        return self._d[k]\n"
        "    def __delitem__(self, k):\n        del self._d[k]\n    def __contains__(self, k):\n        return k in self._d\n    def __len__(self):\n        return len(self._d)\n    def __iter__(self):\n        return iter(self._d)\n    def __bool__(self):\n        return bool(self._d)\n",
        "import pytest\nfrom m import Shelf\ndef test_it():\n    s = Shelf()\n    assert not s\n    s['a'] = 1\n    assert 'a' in s and s['a'] == 1 and len(s) == 1 and list(s) == ['a']\n    del s['a']\n    assert 'a' not in s\n"
        "    with pytest.raises(KeyError):\n        s['a']\n",
        ("self._d[k] = v", "self._d[k] = [v]"),
    ),
    "calling_an_object": Pair(
        "class Counter:\n    def __init__(self):\n        self.calls = 0\n    def __call__(self, x):\n        self.calls += 1\n        return x * self.calls\n",
        "from m import Counter\ndef test_it():\n    c = Counter()\n    assert c(2) == 2 and c(2) == 4 and c.calls == 2 and callable(c)\n    assert list(map(c, [1])) == [3]\n",
        ("* self.calls", "+ self.calls"),
    ),
    "class_attributes": Pair(
        "class Robot:\n    count = 0\n    names = []\n    def __init__(self, name):\n        Robot.count += 1\n        self.names.append(name)\n    @classmethod\n    def reset(cls):\n        cls.count = 0\n        cls.names.clear()\n    @staticmethod\n    def greet(name):\n        return f'hi {name}'\n",
        "from m import Robot\ndef test_it():\n    Robot.reset()\n    Robot('a')\n    Robot('b')\n    assert Robot.count == 2 and Robot.names == ['a', 'b'] and Robot.greet('x') == 'hi x'\n    Robot.count = 7\n    assert Robot('c').count == 8\n",
        ("count += 1", "count += 2"),
    ),
    "closures_and_caches": Pair(
        "from functools import lru_cache, partial, wraps\ndef counter():\n    n = 0\n    def step(by=1):\n        nonlocal n\n        n += by\n        return n\n    return step\n@lru_cache\ndef fib(n):\n    return n if n < 2 else fib(n - 1) + fib(n - 2)\n"
        "def twice(f):\n    @wraps(f)\n    def inner(*a):\n        return f(*a) * 2\n    return inner\n@twice\ndef add(a, b):\n    return a + b\ninc = partial(add, 1)\n",
        "from m import add, counter, fib, inc\ndef test_it():\n    a, b = counter(), counter()\n    assert a() == 1 and a(2) == 3 and b() == 1\n    assert fib(30) == 832040 and fib.cache_info().misses == 31\n    assert add(1, 2) == 6 and add.__name__ == 'add' and inc(2) == 6\n",
        ("n += by", "n += 1"),
    ),
    "builtin_functions_as_keys": Pair(
        "def group(items, key):\n    out = {}\n    for one in items:\n        out.setdefault(key(one), []).append(one)\n    return out\n",
        "from m import group\ndef test_it():\n    assert group(['a', 'bb', 'c'], len) == {1: ['a', 'c'], 2: ['bb']}\n    assert group([1, 'a'], type) == {int: [1], str: ['a']}\n",
        ("append(one)", "insert(0, one)"),
    ),
    "what_is_printed": Pair(
        "import sys\ndef hello(name):\n    print(f'Hello, {name}!')\n    print('note', file=sys.stderr)\n",
        "from m import hello\ndef test_it(capsys):\n    hello('Ann')\n    out, err = capsys.readouterr()\n    assert out == 'Hello, Ann!\\n' and err == 'note\\n'\n",
        ("Hello, {", "Hello {"),
    ),
    "linked_objects": Pair(
        "class Node:\n    def __init__(self, value, next=None):\n        self.value, self.next = value, next\nclass LinkedList:\n    def __init__(self, *values):\n        self.head = None\n        for one in reversed(values):\n            self.head = Node(one, self.head)\n"
        "    def __iter__(self):\n        node = self.head\n        while node:\n            yield node.value\n            node = node.next\n    def reverse(self):\n        before, node = None, self.head\n        while node:\n            node.next, before, node = before, node, node.next\n        self.head = before\n",
        "from m import LinkedList, Node\ndef test_it():\n    items = LinkedList(1, 2, 3)\n    first = items.head\n    items.reverse()\n    assert list(items) == [3, 2, 1] and first.next is None and items.head.value == 3\n    items.head.next = Node(9)\n    assert list(items) == [3, 9]\n",
        ("self.head = before", "self.head = node"),
    ),
    "a_cycle": Pair(
        "def made():\n    a = [1]\n    a.append(a)\n    return a\nclass Tree:\n    def __init__(self):\n        self.children = []\n        self.parent = None\n    def add(self, child):\n        child.parent = self\n        self.children.append(child)\n        return child\n",
        "from m import Tree, made\ndef test_it():\n    a = made()\n    assert a[1] is a and a[0] == 1\n    t = Tree()\n    c = t.add(Tree())\n    assert c.parent is t and t.children == [c] and t.children[0] is c\n",
        ("child.parent = self", "child.parent = child"),
    ),
    "a_singleton": Pair(
        "class Config:\n    _one = None\n    def __new__(cls):\n        if cls._one is None:\n            cls._one = super().__new__(cls)\n        return cls._one\n",
        "from m import Config\ndef test_it():\n    assert Config() is Config() and isinstance(Config(), Config)\n    Config().x = 1\n    assert Config().x == 1\n",
        ("if cls._one is None:", "if True:"),
    ),
    "text_forms": Pair(
        "class P:\n    def __init__(self, x):\n        self.x = x\n    def __str__(self):\n        return f'<{self.x}>'\n    def __repr__(self):\n        return f'P({self.x!r})'\n    def __format__(self, spec):\n        return format(self.x, spec)\n    def __bytes__(self):\n        return bytes([self.x])\n    def __int__(self):\n        return self.x\n",
        "from m import P\ndef test_it():\n    p = P(5)\n    assert str(p) == '<5>' and repr(p) == 'P(5)' and f'{p:03d}' == '005' and bytes(p) == b'\\x05' and int(p) == 5\n    assert '%s' % p == '<5>' and repr([p]) == '[P(5)]'\n",
        ("P({self.x!r})", "P<{self.x!r}>"),
    ),
    "copies": Pair(
        "import copy\nclass Doc:\n    def __init__(self):\n        self.lines = ['a']\n    def clone(self):\n        return copy.deepcopy(self)\n",
        "import copy\nfrom m import Doc\ndef test_it():\n    d = Doc()\n    c = d.clone()\n    c.lines.append('b')\n    assert d.lines == ['a'] and c.lines == ['a', 'b']\n    e = copy.copy(d)\n    e.lines.append('z')\n    assert d.lines == ['a', 'z']\n",
        ("copy.deepcopy(self)", "copy.copy(self)"),
    ),
    "json_of_results": Pair(
        "class Cfg:\n    def __init__(self, **kw):\n        self.kw = kw\n    def to_dict(self):\n        return {'kw': self.kw, 'n': len(self.kw)}\n    @classmethod\n    def from_dict(cls, d):\n        return cls(**d['kw'])\n",
        "import json\nfrom m import Cfg\ndef test_it():\n    d = Cfg(a=1, b=[2]).to_dict()\n    assert json.loads(json.dumps(d)) == {'kw': {'a': 1, 'b': [2]}, 'n': 2}\n    assert Cfg.from_dict(d).kw == {'a': 1, 'b': [2]}\n",
        ("'n': len(self.kw)", "'n': 1"),
    ),
    "numbers_near_each_other": Pair(
        "import math\ndef area(r):\n    return math.pi * r * r\ndef stats(xs):\n    mean = sum(xs) / len(xs)\n    return {'mean': mean, 'var': sum((x - mean) ** 2 for x in xs) / len(xs)}\n",
        "import math\nimport pytest\nfrom m import area, stats\ndef test_it():\n    assert area(2) == pytest.approx(12.566, abs=1e-2) and math.isclose(area(1), math.pi)\n    assert stats([1, 2, 3]) == pytest.approx({'mean': 2.0, 'var': 2 / 3})\n",
        ("/ len(xs)}", "/ (len(xs) - 1)}"),
    ),
    "many_cases": Pair(
        "def roman(n):\n    out = ''\n    for value, sign in ((10, 'X'), (9, 'IX'), (5, 'V'), (4, 'IV'), (1, 'I')):\n        while n >= value:\n            out += sign\n            n -= value\n    return out\n",
        "import pytest\nfrom m import roman\n@pytest.mark.parametrize(('n', 'text'), [(1, 'I'), (4, 'IV'), (9, 'IX'), (14, 'XIV')])\ndef test_it(n, text):\n    assert roman(n) == text\nclass TestMore:\n    @pytest.fixture\n    def ten(self):\n        return roman(10)\n    def test_ten(self, ten):\n        assert ten == 'X'\n",
        ("(4, 'IV'), ", ""),
    ),
    # ---- what only the same process can try
    "callbacks": Pair(
        "class Bus:\n    def __init__(self):\n        self.to = []\n    def on(self, f):\n        self.to.append(f)\n    def emit(self, x):\n        return [f(x) for f in self.to]\n",
        "from m import Bus\ndef test_it():\n    seen = []\n    bus = Bus()\n    bus.on(lambda x: seen.append(x) or x * 2)\n    assert bus.emit(2) == [4] and seen == [2]\n",
        ("[f(x) for", "[f(1) for"),
        "the tests hand the function <lambda> to the code",
    ),
    "a_module_patched": Pair(
        "import time\ndef stamp():\n    return int(time.time())\n",
        "import m\ndef test_it(monkeypatch):\n    monkeypatch.setattr(m.time, 'time', lambda: 12.9)\n    assert m.stamp() == 12\n",
        ("int(", "round("),
        "uses monkeypatch",
    ),
    "an_order_kept": Pair(
        "from collections import OrderedDict\nclass Recent:\n    def __init__(self):\n        self.seen = OrderedDict()\n    def see(self, key):\n        self.seen[key] = key\n        self.seen.move_to_end(key)\n",
        "from m import Recent\ndef test_it():\n    recent = Recent()\n    for key in (1, 2, 1):\n        recent.see(key)\n    assert list(recent.seen) == [2, 1]\n    assert list(recent.seen.items()) == [(2, 2), (1, 1)]\n    recent.seen.move_to_end(2)\n    recent.see(3)\n    assert [*recent.seen] == [1, 2, 3]\n",
        ("self.seen.move_to_end(key)", "pass"),
    ),
    "classes_derived_from": Pair(
        "class Base:\n    def run(self):\n        return self.step() + 1\n",
        "from m import Base\nclass Mine(Base):\n    def step(self):\n        return 1\ndef test_it():\n    assert Mine().run() == 2\n",
        ("+ 1", "+ 2"),
        "derives Mine from a class of the code",
    ),
    "files_written": Pair(
        "import json\ndef save(path, data):\n    with open(path, 'w') as file:\n        json.dump(data, file)\n",
        "import gzip\nfrom m import save\ndef test_it():\n    save('x.json', {'a': 1})\n    import configparser\n    with open('x.json') as file:\n        assert file.read() == '{\"a\": 1}'\n",
        ("json.dump(data, file)", "json.dump([data], file)"),
        "calls open()",
    ),
    "objects_of_the_tests": Pair(
        "def names(items):\n    return [one.name for one in items]\n",
        "from m import names\nclass Fake:\n    name = 'x'\ndef test_it():\n    fakes = [Fake()]\n    assert names(fakes) == ['x']\n",
        ("one.name", "one.name.upper()"),
        "the tests hand a Fake to the code",
    ),
    "coroutines": Pair(
        "import asyncio\nasync def double(x):\n    await asyncio.sleep(0)\n    return x * 2\n",
        "import asyncio\nfrom m import double\ndef test_it():\n    assert asyncio.run(double(2)) == 4\n",
        ("x * 2", "x * 3"),
        "uses asyncio",
    ),
    # ---- kinds, figures and looks at what is held
    "bag_in_one_line": Pair(
        _BAG,
        "from m import Bag\n\n\ndef test_bag():\n    bag = Bag('aab')\n    assert bag.count('a') == 2 and bag.count('b') == 1 and len(bag) == 3 and bag\n"
        "    more = bag + ['c']\n    assert more and more.count('c') == 1 and 'c' in more and len(more) == 4 and more != bag\n"
        "    bag += 'c'\n    assert bag and bag.count('c') == 1 and bag == more and not Bag()\n",
        ("self.counts + Counter(items)", "self.counts | Counter(items + items)"),
    ),
    "figures_of_what_was_made": Pair(
        "class Vec:\n    def __init__(self, x, y):\n        self.x, self.y = x, y\n    def __mul__(self, n):\n        return Vec(self.x * n, self.y * n)\n    __rmul__ = __mul__\n"
        "    def __truediv__(self, n):\n        return Vec(self.x / n, self.y / n)\n    def __abs__(self):\n        return (self.x ** 2 + self.y ** 2) ** 0.5\n    def __bool__(self):\n        return bool(self.x or self.y)\n",
        "import pytest\nfrom m import Vec\n\n\n@pytest.fixture\ndef vec(): return Vec(3, 4)\n\n\ndef test_abs(vec):\n    assert abs(vec) == 5\n    assert abs(vec * 2) == 10 and abs(2 * vec) == 10\n"
        "    assert abs(Vec(6, 8) / 2) == pytest.approx(5)\n    assert bool(vec * 2) and not vec * 0\n",
        ("self.y * n)", "self.y)"),
    ),
    "two_objects_of_an_operator": Pair(
        "class Span:\n    def __init__(self, s):\n        self.s = s\n    def __divmod__(self, n):\n        return Span(self.s // n), Span(self.s % n)\n    def __floordiv__(self, n):\n        return Span(self.s // n)\n"
        "    def __eq__(self, other):\n        return isinstance(other, Span) and self.s == other.s\n",
        "from m import Span\n\n\ndef test_divmod():\n    q, r = divmod(Span(17), 5)\n    assert (q.s, r.s) == (3, 2)\n    assert divmod(Span(17), 5) == (Span(3), Span(2))\n    assert Span(9) // 2 == Span(4)\n",
        ("Span(self.s % n)", "Span(self.s)"),
    ),
    "kinds_of_enumerations": Pair(
        "import enum\nclass Color(enum.Enum):\n    RED = 1\n    BLUE = 2\nclass Access(enum.Flag):\n    R = enum.auto()\n    W = enum.auto()\nclass Level(enum.IntEnum):\n    LOW = 1\nclass Name(str, enum.Enum):\n    A = 'a'\n"
        "def other(c):\n    return Color.BLUE if c is Color.RED else Color.RED\ndef both():\n    return Access.R | Access.W\n",
        "import enum\nfrom enum import Enum, Flag\nfrom m import Access, Color, Level, Name, both, other\n\n\ndef test_kinds():\n    assert isinstance(other(Color.RED), Enum) and other(Color.RED) is Color.BLUE\n"
        "    assert isinstance(both(), Flag) and isinstance(both(), enum.Enum) and Access.W in both()\n    assert issubclass(Color, Enum) and not issubclass(Color, Flag)\n"
        "    assert isinstance(Level.LOW, enum.IntEnum) and isinstance(Level.LOW, int) and isinstance(Name.A, Enum)\n    assert not isinstance(Color.RED, (int, Flag)) and not isinstance(1, Enum)\n",
        ("return Access.R | Access.W", "return Access.R"),
    ),
    "json_of_lists_and_dicts_of_the_code": Pair(
        "class Row(dict):\n    pass\nclass Rows(list):\n    def add(self, **row):\n        self.append(Row(row))\n        return self\n",
        'import json\nfrom m import Row, Rows\n\n\ndef test_json():\n    rows = Rows().add(a=1).add(b=Rows([2]))\n    assert json.dumps(rows) == \'[{"a": 1}, {"b": [2]}]\'\n'
        "    assert json.loads(json.dumps(Row(a=rows), indent=2, default=str)) == {'a': [{'a': 1}, {'b': [2]}]}\n    assert [0] + Rows([1]) == [0, 1]\n",
        ("self.append(Row(row))", "self.append(Row())"),
    ),
    "looks_at_a_dict": Pair(
        "class Reg:\n    def __init__(self):\n        self.d = {}\n    def add(self, name, *values):\n        self.d[name] = list(values)\n    def names(self):\n        return self.d.keys()\n    def items(self):\n        return self.d.items()\n",
        "from m import Reg\n\n\ndef test_looks():\n    reg = Reg()\n    for name in ('z', 'y', 'x', 'b', 'a'):\n        reg.add(name, 1)\n    assert list(reg.names()) == ['z', 'y', 'x', 'b', 'a'] and reg.names() == set('abxyz')\n"
        "    assert [name for name in reversed(reg.names())][0] == 'a' and len(reg.items()) == 5\n    assert dict(reg.items())['y'] == [1] and sorted(reg.items())[0] == ('a', [1]) and ('b', [1]) in reg.items()\n",
        ("list(values)", "list(values[1:])"),
    ),
    "subtests": Pair(
        "def roman(n):\n    return {1: 'I', 2: 'II', 5: 'V'}[n]\n",
        "import unittest\nfrom m import roman\n\n\nclass TestRoman(unittest.TestCase):\n    def test_all(self):\n        for n, text in ((1, 'I'), (2, 'II'), (5, 'V')):\n"
        "            with self.subTest(n=n):\n                self.assertEqual(roman(n), text)\n",
        ("2: 'II'", "2: 'X'"),
    ),
    "a_message_and_nothing_else": Pair(
        "def check(n):\n    if n < 0:\n        raise ValueError('n must be positive')\n    return n\n",
        "import pytest\nfrom m import check\n\n\ndef test_message():\n    with pytest.raises(ValueError, match='^n must be positive$'):\n        check(-1)\n    assert check(1) == 1\n",
        ("'n must be positive'", "'n must be positive, it is not'"),
    ),
    "two_made_at_once": Pair(
        "class Spans:\n    def __init__(self, *spans):\n        self.spans = tuple(sorted(spans))\n    def __or__(self, other):\n        return Spans(*self.spans, *other.spans)\n"
        "    def __eq__(self, other):\n        return self.spans == (other.spans if isinstance(other, Spans) else other)\n",
        "from m import Spans\n\n\ndef test_spans():\n    a, b = Spans((5, 7), (1, 3)), Spans((4, 4))\n    assert a == ((1, 3), (5, 7)) and b == ((4, 4),)\n    assert (a | b).spans == ((1, 3), (4, 4), (5, 7))\n",
        ("tuple(sorted(spans))", "tuple(spans)"),
    ),
    "errors_that_a_context_swallows": Pair(
        "class Ignore:\n    def __init__(self, *kinds):\n        self.kinds, self.seen = kinds, []\n    def __enter__(self):\n        return self\n"
        "    def __exit__(self, kind, error, trace):\n        if kind is None or not issubclass(kind, self.kinds):\n            return False\n        self.seen.append(str(error))\n        return True\n"
        "def parse(text):\n    return int(text)\n",
        "import pytest\nfrom m import Ignore, parse\n\n\ndef test_swallows():\n    with Ignore(ValueError) as ignore:\n        assert parse('1') == 1\n        parse('x')\n"
        "    assert len(ignore.seen) == 1 and 'x' in ignore.seen[0]\n\n\ndef test_lets_through():\n    with pytest.raises(KeyError):\n        with Ignore(ValueError):\n            raise KeyError('k')\n",
        ("issubclass(kind, self.kinds)", "issubclass(kind, Exception)"),
    ),
    "what_is_left_of_a_bag": Pair(
        "class Bag:\n    def __init__(self, items):\n        self.items = list(items)\n    def __sub__(self, items):\n        return Bag(one for one in self.items if one not in items)\n"
        "    def __len__(self):\n        return len(self.items)\n    def __iter__(self):\n        return iter(self.items)\n",
        "from m import Bag\n\n\ndef test_left():\n    bag = Bag('abc')\n    assert len(bag - ['a']) == 2\n    assert list(bag - 'bc') == ['a'] and not bag - 'abc'\n",
        ("if one not in items", "if one in items"),
    ),
}
