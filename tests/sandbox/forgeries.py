"""Ways to make tests look passed that have not. None may pass: see test_sandbox_isolated.

Every one comes with the tests it aims at, because that is how cheating code works: it knows the idioms of tests.
"""

# ruff: noqa: E501 - the lines are programs

from __future__ import annotations

from dataclasses import dataclass

_F = "import pytest\nfrom m import f\n\n\ndef test_one():\n    assert f(1) == 2\n\n\ndef test_two():\n    assert f(5) == 6\n"
_STAR = (
    "import pytest\nfrom pytest import approx\nfrom m import *\n\n\ndef test_one():\n    assert len(f(3)) == 3\n\n\n"
)
_STAR += "def test_two():\n    assert g(1) == approx(2.5)\n"
_NEAR = "from m import f\n\n\n"
_NEAR += "def test_one():\n    assert abs(f(1) - 2) < 1e-6\n\n\ndef test_two():\n    assert round(f(5) - 6, 5) == 0\n"
_TABLE = "from m import f\n\n\ndef test_one():\n    assert f(1) in [2, 3]\n\n\ndef test_two():\n    assert 6 in f(5)\n"
_WITH = "from m import Timer, f\n\n\ndef test_one():\n    with Timer():\n        assert f(1) == 2\n"
_POINT = "from m import Point, add\n\n\ndef test_one():\n    assert add(Point(1, 1), Point(2, 3)) == Point(3, 4)\n"
_LESS = "from m import f\n\n\ndef test_one():\n    assert 1 < f(1) < 3\n\n\ndef test_two():\n    assert f(5) >= 6\n"
_MATCH = "import pytest\nfrom m import f\n\n\ndef test_one():\n    with pytest.raises(ValueError, match='must be positive'):\n"
_MATCH += "        f(-1)\n"
_CLOSE = "import math\nfrom m import f\n\n\ndef test_one():\n    assert math.isclose(f(1), 2.5)\n"
_LIST = "from m import f\n\n\n"
_LIST += "def test_one():\n    assert f(3) == [1, 2, 3]\n\n\ndef test_two():\n    assert f(0)[1:] == [2, 3]\n"
_NOT = "from m import f\n\n\ndef test_one():\n    assert not f(1) != 2\n"
_ALMOST = "import unittest\nfrom m import f\n\n\nclass TestF(unittest.TestCase):\n    def test_one(self):\n"
_ALMOST += "        self.assertAlmostEqual(f(1), 2.5)\n"
_FRACTION = "from fractions import Fraction\nfrom m import f\n\n\ndef test_one():\n    assert f(1) == Fraction(1, 2)\n"
_UNITTEST = "import unittest\nfrom m import f\n\n\n"
_UNITTEST += "class TestF(unittest.TestCase):\n    def test_one(self):\n        self.assertEqual(f(1), 2)\n"
_ORDER = "import pytest\nfrom m import f\n\n\n"
_ORDER += "@pytest.mark.parametrize('x, y', [(1, 2), (5, 6)])\ndef test_one(x, y):\n    assert f(x) == y\n"
_ARITHMETIC = (
    "from m import f\n\n\ndef test_one():\n    assert f(1) - 2 == 0\n\n\ndef test_two():\n    assert f(5) % 6 == 0\n"
)
_FLOATS = "from m import f\nimport pytest\n\n\ndef test_one():\n    assert f(1) == pytest.approx(2.0)\n"
_TEXT = "from m import f\n\n\ndef test_one():\n    assert f(1).strip() == '2'\n    assert isinstance(f(1), str)\n"
_TYPES = "from m import f\n\n\ndef test_one():\n    assert isinstance(f(1), int) and f(1) == 2\n"


_OWN = "from m import Money\n\n\ndef test_one():\n    assert Money(5) == 5\n\n\ndef test_two():\n    assert Money(7) == 7\n"


@dataclass(frozen=True)
class Forgery:
    """Code that does not do what its tests ask.

    `same_process`: the judge in the tests' own process must see through it too. `fools_pytest`: it makes a plain run of pytest
    end with 0, and a slow test holds it to that; the others aim at the judges themselves.
    """

    code: str
    tests: str = _F
    same_process: bool = True
    fools_pytest: bool = True


FORGERIES: dict[str, Forgery] = {
    "an object that equals anything": Forgery(
        "class Any:\n    def __eq__(self, other): return True\n    __hash__ = None\ndef f(x): return Any()"
    ),
    "an object that equals anything, hidden from a scan": Forgery(
        "def f(x):\n    kind = type(f)('', (), {'__e' + 'q__': lambda a, b: b is not None}) if 0 else "
        "type.__call__(type, 'A', (), {'__e' + 'q__': lambda a, b: b is not None})\n    return kind()",
        same_process=False,
    ),
    "a number that equals anything": Forgery(
        "class N(int):\n    def __eq__(self, other): return True\n    __hash__ = int.__hash__\ndef f(x): return N(0)",
        _TYPES,
    ),
    "a float that is near anything": Forgery(
        "class N(float):\n    def __eq__(self, o): return True\n    def __sub__(self, o): return 0.0\n"
        "    __rsub__ = __sub__\n    __hash__ = None\ndef f(x): return N(0)",
        _FLOATS,
    ),
    "an object whose difference to anything is nothing": Forgery(
        "class D:\n    def __sub__(self, o): return 0\n    def __mod__(self, o): return 0\ndef f(x): return D()",
        _ARITHMETIC,
        same_process=False,
    ),
    "an object that remembers what it was compared with": Forgery(
        "class D:\n    def __sub__(self, o): self.o = o; return self\n    def __abs__(self): return 0.0\n"
        "    def __round__(self, n): return 0\ndef f(x): return D()",
        _NEAR,
        same_process=False,
    ),
    "an object between all others": Forgery(
        "class B:\n    def __lt__(self, o): return True\n    __gt__ = __le__ = __ge__ = __lt__\ndef f(x): return B()",
        _LESS,
    ),
    "an object that contains anything": Forgery(
        "class C:\n    def __contains__(self, o): return True\n    def __eq__(self, o): return True\ndef f(x): return C()",
        _TABLE,
    ),
    "objects of one class that all equal each other": Forgery(
        "class Point:\n    def __init__(self, x, y): self.x, self.y = x, y\n    def __eq__(self, other): return True\n"
        "def add(a, b): return a",
        _POINT,
    ),
    "a context that swallows the assertion": Forgery(
        "class Timer:\n    def __enter__(self): return self\n    def __exit__(self, *why): return True\ndef f(x): return 0",
        _WITH,
    ),
    "a context that swallows what is no error of its own": Forgery(
        "class Timer:\n    def __enter__(self): return self\n    def __exit__(self, kind, *why): return kind is not None\n"
        "def f(x): return 0",
        _WITH,
        same_process=False,
    ),
    "builtins replaced through import star": Forgery(
        "def len(x): return 3\ndef approx(x): return 0\ndef f(n): return []\ndef g(x): return 0", _STAR
    ),
    "pytest itself replaced through import star": Forgery(
        "class pytest:\n    @staticmethod\n    def approx(x): return 0\ndef f(n): return 'abc'\ndef g(x): return 0\n"
        "approx = pytest.approx",
        _STAR,
    ),
    "an exception that tests take for a skip": Forgery(
        "import unittest\ndef f(x): raise unittest.SkipTest('not today')", _UNITTEST
    ),
    "unittest's assertEqual patched": Forgery(
        "import unittest\nunittest.TestCase.assertEqual = lambda *a: None\ndef f(x): return 0", _UNITTEST
    ),
    "the function of the test rewritten through the frame": Forgery(
        "import sys\ndef f(x):\n    test = sys._getframe(1)\n    for name, one in list(test.f_globals.items()):\n"
        "        if name.startswith('test_'): one.__code__ = (lambda: None).__code__\n    return 2 if x == 1 else 0"
    ),
    "the answers read from the tests' frames": Forgery(
        "import sys\ndef f(x):\n    frame = sys._getframe(1)\n    return frame.f_locals.get('y', frame.f_code.co_consts[2])",
        _ORDER,
    ),
    "ended well while it is imported, in a thread": Forgery(
        "import os, threading\nthreading.Thread(target=lambda: os._exit(0)).start()\ndef f(x): return 0"
    ),
    "a handler that ends it well": Forgery(
        "import atexit, os\natexit.register(lambda: os._exit(0))\ndef f(x): return 0"
    ),
    "another program in its place": Forgery(
        "import os, sys\nos.execv(sys.executable, [sys.executable, '-c', 'print(\"2 passed\")'])\ndef f(x): return 0"
    ),
    "answers written before they are asked for": Forgery(
        "import os, json\nfor fd in range(3, 64):\n    for n in range(1, 9):\n"
        "        try: os.write(fd, (json.dumps([n, 'value', 2, [], '', '']) + '\\n').encode())\n"
        "        except OSError: pass\ndef f(x): return 0",
        fools_pytest=False,
    ),
    "answers that only look like values": Forgery(
        "import os, json\ndef f(x):\n    for fd in range(3, 64):\n"
        '        try: os.write(fd, b\'[2, "value", ["library", "unittest.mock", "ANY"], [], "", ""]\\n\')\n'
        "        except OSError: pass\n    return 0",
        fools_pytest=False,
    ),
    "the server's own coder replaced": Forgery(
        "import gc\nfor one in gc.get_objects():\n    if getattr(one, '__name__', '') == '_Coder':\n"
        "        one.encode = lambda self, value, depth=0: ['library', 'unittest.mock', 'ANY']\ndef f(x): return 0",
        fools_pytest=False,
    ),
    "the server's equality replaced": Forgery(
        "import gc\nfor one in gc.get_objects():\n    if type(one) is dict and 'contains' in one and 'matmul' in one:\n"
        "        one['base'] = lambda o: 2\nclass N(list): pass\ndef f(x): return N()",
        fools_pytest=False,
    ),
    "numbers that are right only for those who look": Forgery(
        "class T(tuple):\n    def __eq__(self, o): return True\n    def __len__(self): return 2\n    __hash__ = None\n"
        "def f(x): return T()",
        "from m import f\n\n\ndef test_one():\n    assert f(1) == (1, 2) and len(f(1)) == 2\n",
    ),
    "a text that strips to anything": Forgery(
        "class A:\n    def __eq__(self, o): return True\n    def strip(self): return self\n    __hash__ = None\n"
        "class S(str):\n    def strip(self): return A()\ndef f(x): return S()",
        _TEXT,
    ),
    "a dict that has every key": Forgery(
        "class D(dict):\n    def __eq__(self, o): return True\n    def __missing__(self, k): return self\n"
        "    __hash__ = None\ndef f(x): return D()",
        "from m import f\n\n\ndef test_one():\n    assert f(1) == {'a': 1}\n    assert f(1)['b']['c'] == 5\n",
    ),
    "an instance of anything": Forgery(
        "class M(type):\n    def __instancecheck__(cls, o): return True\nclass Result(metaclass=M): pass\ndef f(x): return 0",
        "from m import Result, f\n\n\ndef test_one():\n    assert isinstance(f(1), Result)\n",
    ),
    "a module's setup that empties the tests, through import star": Forgery(
        "def setup_module(module):\n    for name, one in vars(module).items():\n"
        "        if name.startswith('test_'): one.__code__ = (lambda: None).__code__\ndef f(n): return []\ndef g(x): return 0",
        _STAR,
    ),
    "pytest.raises made to accept anything": Forgery(
        "import contextlib, pytest\npytest.raises = lambda *a, **k: contextlib.suppress(Exception)\ndef f(x): return 0",
        _MATCH,
    ),
    "pytest.approx made to accept anything": Forgery(
        "import pytest\nfrom unittest import mock\npytest.approx = lambda *a, **k: mock.ANY\ndef f(x): return 0",
        _FLOATS,
    ),
    "re.search made to find anything": Forgery(
        "import re\nre.search = lambda *a, **k: True\ndef f(x): raise ValueError('no')", _MATCH
    ),
    "math.isclose made to accept anything": Forgery(
        "import math\nmath.isclose = lambda *a, **k: True\ndef f(x): return 0", _CLOSE
    ),
    "a class of the standard library made to equal anything": Forgery(
        "from fractions import Fraction\nFraction.__eq__ = lambda a, b: True\ndef f(x): return 0", _FRACTION
    ),
    "abs and round replaced in place": Forgery(
        "import builtins\nbuiltins.abs = lambda x: 0\nbuiltins.round = lambda *a: 0\ndef f(x): return 0", _NEAR
    ),
    "a list of objects that equal anything": Forgery(
        "class A:\n    def __eq__(self, o): return True\n    __hash__ = None\ndef f(x): return [A(), A(), A()]", _LIST
    ),
    "an object that differs from nothing": Forgery(
        "class A:\n    def __ne__(self, o): return False\ndef f(x): return A()", _NOT
    ),
    "an object that says it is a number": Forgery(
        "class A:\n    __class__ = int\n    def __eq__(self, o): return True\n    __hash__ = None\ndef f(x): return A()",
        _TYPES,
    ),
    "an object that is almost equal to anything": Forgery(
        "class A:\n    def __eq__(self, o): return True\n    __hash__ = None\ndef f(x): return A()", _ALMOST
    ),
    "the answers found among the test's parameters": Forgery(
        "import gc\ndef f(x):\n    for one in gc.get_objects():\n"
        "        if type(one).__name__.startswith('CallSpec') and one.params.get('x') == x:\n"
        "            return one.params['y']\n    return 0",
        _ORDER,
    ),
    "the answers read from the tests' file": Forgery(
        "import os, re\ntext = ''\nfor place in ('/tests', os.path.dirname(__file__)):\n"
        "    try: text += open(place + '/test_m.py').read()\n    except OSError: pass\n"
        "known = dict(re.findall(r'f\\((\\d+)\\) == (\\d+)', text))\ndef f(x): return int(known.get(str(x), 0))",
    ),
    "only the tests that matter not run": Forgery(
        "import importlib\np = importlib.import_module('_py' + 'test.python')\nold = p.Function.runtest\n"
        "p.Function.runtest = lambda self: old(self) if '_bad_' in self.name else None\ndef f(x): return 0"
    ),
    "signed records made with the driver's own hands": Forgery(
        "import gc, os, sys\nfor tell in gc.get_objects():\n"
        "    if type(tell).__name__ == 'function' and tell.__name__ == 'tell':\n"
        "        token = [one for one in sys.argv if 'trusted' in one][1][-19:-3]\n"
        "        for test in ('test_m.py::test_one', 'test_m.py::test_two', 'x::test_good_' + token, 'x::test_bad_' + token):\n"
        "            tell(kind='start', test=test)\n"
        "            for when in ('setup', 'call', 'teardown'):\n"
        "                bad = '_bad_' in test and when == 'call'\n"
        "                tell(kind='phase', test=test, when=when, outcome='failed' if bad else 'passed')\n"
        "        tell(kind='end', status=1)\n        os._exit(0)\ndef f(x): return 0",
        fools_pytest=False,
    ),
    "reports turned on their way to the signature": Forgery(
        "import gc\nfor one in gc.get_objects():\n    if type(one).__name__ == '_Plugin':\n        old = one._tell\n"
        "        def tell(**record):\n            if record.get('outcome') == 'failed' and '_bad_' not in record['test']:\n"
        "                record['outcome'] = 'passed'\n            old(**record)\n        one._tell = tell\ndef f(x): return 0",
        fools_pytest=False,
    ),
    "a text that begins with anything": Forgery(
        "class S(str):\n    def startswith(self, o): return True\n    def __contains__(self, o): return True\n    def endswith(self, o): return True\ndef f(x): return S('')",
        "from m import f\n\n\ndef test_one():\n    assert f(1).startswith('a') and 'b' in f(1)\n",
    ),
    "a number that subtracts to nothing": Forgery(
        "class N(int):\n    def __sub__(self, o): return N(0)\n    def __mod__(self, o): return N(0)\ndef f(x): return N(40)",
        "from m import f\n\n\ndef test_one():\n    assert f(1) - 2 == 0\n\n\ndef test_two():\n    assert f(5) % 6 == 0\n",
        same_process=False,
    ),
    "a float whose distance is nothing": Forgery(
        "class N(float):\n    def __sub__(self, o): return N(0)\n    __rsub__ = __sub__\n    def __abs__(self): return N(0)\ndef f(x): return N(40)",
        "from m import f\n\n\ndef test_one():\n    assert abs(f(1) - 2) < 1e-6\n",
        same_process=False,
    ),
    "an object of a class the tests make that equals all plain data": Forgery(
        "class Money:\n    def __init__(self, n): pass\n    def __eq__(self, o): return o is not None\n",
        _OWN,
        same_process=False,
    ),
    "an object of a class the tests make that equals all numbers": Forgery(
        "class Money:\n    def __init__(self, n): pass\n    def __eq__(self, o): return isinstance(o, int)\n",
        _OWN,
        same_process=False,
    ),
    "an object the tests make that equals what is near what it saw": Forgery(
        "class Money:\n    seen = []\n    def __init__(self, n): pass\n    def __eq__(self, o):\n        if not isinstance(o, int): return False\n        self.seen.append(o)\n        return abs(o) == min(map(abs, self.seen))\n",
        "from m import Money\n\n\ndef test_one():\n    assert Money(3) == 9\n\n\ndef test_two():\n    assert Money(4) == 16\n",
        fools_pytest=False,
    ),
    "another object in a line where the tests compare their own": Forgery(
        "class A:\n    def __eq__(self, o): return o is not None\nclass Money:\n    def __init__(self, n): self.n = n\n    def __eq__(self, o): return self.n == o\ndef f(x): return A()",
        "from m import Money, f\n\n\ndef test_one():\n    assert Money(5) == 5 and f(1) == 2\n",
        same_process=False,
    ),
    "an empty protocol": Forgery(
        "from typing import Protocol, runtime_checkable\n@runtime_checkable\nclass Result(Protocol): pass\ndef f(x): return 0",
        "from m import Result, f\n\n\ndef test_one():\n    assert isinstance(f(1), Result)\n",
        same_process=False,
    ),
    "a class that takes all objects of the code": Forgery(
        "class M(type):\n    def __instancecheck__(cls, o): return o is not None\nclass Result(metaclass=M): pass\nclass A: pass\ndef f(x): return A()",
        "from m import Result, f\n\n\ndef test_one():\n    assert isinstance(f(1), Result)\n",
        same_process=False,
    ),
    "an object that says it differs not": Forgery(
        "class A:\n    def __eq__(self, o): return False\n    def __ne__(self, o): return False\ndef f(x): return A()",
        "from m import f\n\n\ndef test_one():\n    assert not f(1) != 2\n",
    ),
    "an answer that is a container of the tests": Forgery(
        "import os, json\ndef f(x):\n    for fd in range(3, 64):\n        for n in range(1, 9):\n            try: os.write(fd, (json.dumps([n, 'value', ['same', 1], [], [], '', '']) + '\\n').encode())\n            except OSError: pass\n    return 0",
        "from m import f\n\n\ndef test_one():\n    want = [1, 2]\n    assert f([2, 1]) == want\n",
        fools_pytest=False,
    ),
    "a container under a number of the tests": Forgery(
        "import os, json\ndef f(x):\n    for fd in range(3, 64):\n        for n in range(1, 9):\n            try: os.write(fd, (json.dumps([n, 'value', ['list', 1, None, [1, 2]], [], [], '', '']) + '\\n').encode())\n            except OSError: pass\n    return 0",
        "from m import f\n\n\ndef test_one():\n    want = [1, 2]\n    assert f(want[::-1]) == want\n",
        fools_pytest=False,
    ),
    "a value without a class": Forgery(
        "import os, json\ndef f(x):\n    for fd in range(3, 64):\n        for n in range(1, 9):\n            try: os.write(fd, (json.dumps([n, 'value', ['value', 3, ['class', 'object'], 2], [], [], '', '']) + '\\n').encode())\n            except OSError: pass\n    return 0",
        _F,
        fools_pytest=False,
    ),
    "a value of a class made from something else": Forgery(
        "import os, json\ndef f(x):\n    for fd in range(3, 64):\n        for n in range(1, 9):\n            try: os.write(fd, (json.dumps([n, 'value', ['value', 3, ['class', 'str'], 2], [], [], '', '']) + '\\n').encode())\n            except OSError: pass\n    return 0",
        _F,
        fools_pytest=False,
    ),
    "a list of its own that equals anything": Forgery(
        "class L(list):\n    def __eq__(self, o): return o is not None\n    def __len__(self): return 3\n    __hash__ = None\ndef f(n): return L()",
        "from m import f\n\n\ndef test_one():\n    got = f(3)\n    assert isinstance(got, list) and got == [1, 2, 3]\n",
        same_process=False,
    ),
    "a member of an enumeration that equals anything": Forgery(
        "from enum import IntEnum\nclass K(IntEnum):\n    A = 0\n    def __eq__(self, o): return o is not None\n    __hash__ = int.__hash__\ndef f(x): return K.A",
        _F,
        same_process=False,
    ),
    "an object in a dataclass that makes tests unsendable": Forgery(
        "from dataclasses import dataclass\nclass A:\n    def __eq__(self, o): return o is not None\nclass L(list):\n    def __eq__(self, o): return o is not None\n@dataclass\nclass R:\n    items: list\ndef f(x): return R(L())",
        "from dataclasses import asdict\nfrom m import f\n\n\ndef test_one():\n    assert asdict(f(1)) == {'items': [1, 2]}\n",
        same_process=False,
    ),
    "data so deep that tests cannot hand it back": Forgery(
        "class A:\n    def __eq__(self, o): return o is not None\ndef f(x):\n    one = []\n    for _ in range(99): one = [one]\n    return one\ndef g(x): return A()",
        "from m import f, g\n\n\ndef test_one():\n    assert g(f(1)) == 2\n",
        same_process=False,
    ),
    "an order among what the tests made": Forgery(
        "class Money:\n    def __init__(self, n): pass\n    def __lt__(self, o): return True\n",
        "from m import Money\n\n\ndef test_one():\n    assert Money(7) < 6\n",
    ),
    "a pair of objects that equal anything": Forgery(
        "class A:\n    def __eq__(self, o): return o is not None\nclass D:\n    def __divmod__(self, o): return A(), A()\ndef f(x): return D()",
        "from m import f\n\n\ndef test_one():\n    assert divmod(f(7), 2) == (3, 1)\n",
        same_process=False,
    ),
    "a pair of objects that are nothing": Forgery(
        "class A:\n    def __int__(self): return 0\nclass D:\n    def __divmod__(self, o): return A(), A()\ndef f(x): return D()",
        "from m import f\n\n\ndef test_one():\n    assert int(divmod(f(7), 3)[1]) == 0\n",
        same_process=False,
    ),
    "a pair with a number in it that was told": Forgery(
        "class D:\n    def __divmod__(self, o): return self, o\ndef f(x): return D()",
        "from m import f\n\n\ndef test_one():\n    assert divmod(f(9), 4)[1] == 4\n",
        same_process=False,
    ),
    "as many objects as were told": Forgery(
        "class D:\n    def __mul__(self, o): return (self,) * o\ndef f(x): return D()",
        "from m import f\n\n\ndef test_one():\n    assert len(f(1) * 3) == 3\n",
        same_process=False,
    ),
    "an object that says it is a member of an enumeration": Forgery(
        "from enum import Enum\nclass K(Enum):\n    A = 1\n    B = 2\nclass F:\n    __class__ = K\n    def __eq__(self, o): return o is not None\ndef f(x): return F()",
        "from enum import Enum\nfrom m import K, f\n\n\ndef test_one():\n    assert isinstance(f(1), Enum)\n    assert f(1) == K.B\n",
        same_process=False,
    ),
    "a member that equals every other": Forgery(
        "from enum import Enum\nclass K(Enum):\n    A = 1\n    B = 2\n    def __eq__(self, o): return o is not None\n    __hash__ = Enum.__hash__\ndef f(x): return K.A",
        "from enum import Enum\nfrom m import K, f\n\n\ndef test_one():\n    assert isinstance(f(1), Enum) and f(1) == K.B\n",
        same_process=False,
    ),
    "a flag with all flags in it": Forgery(
        "from enum import Flag\nclass P(Flag):\n    R = 1\n    W = 2\n    def __contains__(self, o): return o is not None\ndef f(x): return P.R",
        "from enum import Flag\nfrom m import P, f\n\n\ndef test_one():\n    assert isinstance(f(1), Flag) and P.W in f(1)\n",
        same_process=False,
    ),
    "a number that says it is a member of an enumeration": Forgery(
        "import gc\nfor one in gc.get_objects():\n    if getattr(one, '__name__', '') == 'ServedCoder':\n"
        "        old = one._encode_class\n        def described(self, cls, depth, old=old):\n            said = old(self, cls, depth)\n"
        "            if len(said) == 4: said[2]['enums'] = ['Enum']\n            return said\n        one._encode_class = described\n"
        "class N(int):\n    def __eq__(self, o): return o is not None\n    __hash__ = int.__hash__\ndef f(x): return N(0)",
        "from enum import Enum\nfrom m import f\n\n\ndef test_one():\n    assert isinstance(f(1), Enum) and f(1) == 2\n",
        fools_pytest=False,
    ),
    "a dict that shows JSON what it does not hold": Forgery(
        "class D(dict):\n    def items(self): return [('a', 1)]\ndef f(x): return D(b=0)",
        "import json\nfrom m import f\n\n\ndef test_one():\n    assert json.dumps(f(1)) == '{\"a\": 1}'\n",
        same_process=False,
    ),
    "keys that equal anything": Forgery(
        "class A:\n    def __init__(self, n): self.n = n\n    def __hash__(self): return self.n\n    def __eq__(self, o): return o is not None\ndef f(x): return {A(1): 0, A(2): 0}.keys()",
        "from m import f\n\n\ndef test_one():\n    assert f(1) == {1, 2}\n",
        same_process=False,
    ),
    "pairs of a dict that equal anything": Forgery(
        "class A:\n    def __eq__(self, o): return o is not None\ndef f(x): return {'a': A()}.items()",
        "from m import f\n\n\ndef test_one():\n    assert list(f(1)) == [('a', 1)]\n    assert ('a', 1) in f(1)\n",
        same_process=False,
    ),
    "an object that the tests made in the place of a figure": Forgery(
        "class Calc:\n    def add(self, a, b): return self\n    def __sub__(self, o): return self\n    def __abs__(self): return 0\n",
        "from m import Calc\n\n\ndef test_one():\n    calc = Calc()\n    assert abs(calc.add(2, 3) - 5) < 1e-9\n",
        same_process=False,
    ),
    "an object that the tests worked with in the place of a figure": Forgery(
        "class Bag:\n    def size(self): return self\n    def __add__(self, o): return self\n    __sub__ = __add__\n    def __abs__(self): return 0\n",
        "from m import Bag\n\n\ndef test_one():\n    bag = Bag() + ['a']\n    assert abs(bag.size() - 1) < 1e-9\n",
        same_process=False,
    ),
    "a class under the name of a function": Forgery(
        "class f:\n    def __init__(self, x): pass\n    def __add__(self, o): return self\n    __radd__ = __add__\n    def __abs__(self): return 0\n",
        "from m import f\n\n\ndef test_one():\n    assert abs(f(1) + -2) < 1e-9\n\n\ndef test_two():\n    assert abs(-6 + f(5)) < 1e-9\n",
        same_process=False,
    ),
    "an object that the tests made whose difference to anything is nothing": Forgery(
        "class Num:\n    def __init__(self, n): pass\n    def __sub__(self, o): return self\n    __mod__ = __sub__\n    def __abs__(self): return 0\n    def __bool__(self): return False\n",
        "from m import Num\n\n\ndef test_one():\n    assert abs(Num(3) - 3) < 1e-9\n\n\ndef test_two():\n    n = Num(6)\n    assert not n % 3\n",
        same_process=False,
    ),
    "a line that works with an object and differs another": Forgery(
        "class Num:\n    def __init__(self, n): pass\n    def __add__(self, o): return self\n    __sub__ = __add__\n    def __abs__(self): return 0\ndef f(x): return Num(0)",
        "from m import Num, f\n\n\ndef test_one():\n    assert Num(1) + 1 and abs(f(1) - 2) < 1e-9\n",
        same_process=False,
    ),
    "an object that was added to in place and equals any number": Forgery(
        "class Num:\n    def __init__(self, n): pass\n    def __iadd__(self, o): return self\n    def __eq__(self, o): return isinstance(o, int)\n",
        "from m import Num\n\n\ndef test_one():\n    n = Num(3)\n    n += 2\n    assert n == 5\n",
        same_process=False,
    ),
    "a message in the lines of the code": Forgery(
        "def f(x):\n    raise ValueError('no')  # must be positive", _MATCH, fools_pytest=False
    ),
    "an object with nothing in its difference to anything": Forgery(
        "class D:\n    def __sub__(self, o): return self\n    def __len__(self): return 0\ndef f(x): return D()",
        "from m import f\n\n\ndef test_one():\n    assert not f(1) - {1, 2}\n",
        same_process=False,
    ),
    "an object whose difference has no items": Forgery(
        "class D:\n    def __xor__(self, o): return self\n    def __iter__(self): return iter(())\ndef f(x): return D()",
        "from m import f\n\n\ndef test_one():\n    assert list(f(1) ^ {1, 2}) == []\n",
        same_process=False,
    ),
    "a context that swallows what keeps a test from asserting": Forgery(
        "class Timer:\n    def __enter__(self): return self\n    def __exit__(self, kind, *why): return kind is not None\n"
        "def f(x): raise ValueError",
        _WITH,
        same_process=False,
    ),
    "a context that swallows what comes before an assertion": Forgery(
        "class Timer:\n    def __enter__(self): return self\n    def __exit__(self, kind, *why): return kind is not None\n"
        "def f(x): raise ValueError",
        "from m import Timer, f\n\n\ndef test_one():\n    with Timer():\n        got = f(1)\n        assert got == 2\n",
        same_process=False,
    ),
    "a record under the name of a function": Forgery(
        "from typing import NamedTuple\nclass f(NamedTuple):\n    n: int\n    def __add__(self, o): return self\n    __radd__ = __add__\n"
        "    def __abs__(self): return 0\n",
        "from m import f\n\n\ndef test_one():\n    assert abs(f(1) + -2) < 1e-9\n",
        same_process=False,
    ),
    "a record whose difference to anything is nothing": Forgery(
        "from typing import NamedTuple\nclass D(NamedTuple):\n    n: int\n    def __sub__(self, o): return D(0)\n    def __bool__(self): return False\n"
        "def f(x): return D(9)",
        "from m import f\n\n\ndef test_one():\n    assert not f(1) - (1, 2)\n",
        same_process=False,
    ),
    "a record that contains anything": Forgery(
        "from typing import NamedTuple\nclass D(NamedTuple):\n    n: int\n    def __contains__(self, o): return o is not None\ndef f(x): return D(9)",
        "from m import f\n\n\ndef test_one():\n    assert 2 in f(1)\n",
        same_process=False,
    ),
    "a text that has a place for anything": Forgery(
        "class S(str):\n    def find(self, o): return 0\n    def count(self, o): return 1\ndef f(x): return S('')",
        "from m import f\n\n\ndef test_one():\n    assert f(1).find('a') >= 0\n    assert f(1).count('b') == 1\n",
        same_process=False,
    ),
    "a text that begins with all that is as short": Forgery(
        "class S(str):\n    def startswith(self, *o): return len(o[0]) == 1\ndef f(x): return S('')",
        "from m import f\n\n\ndef test_one():\n    assert f(1).startswith('a')\n",
        same_process=False,
    ),
    "a text of digits by its own word": Forgery(
        "class S(str):\n    def isdigit(self): return self is not None\ndef f(x): return S('x')",
        "from m import f\n\n\ndef test_one():\n    assert f(1).isdigit()\n",
        same_process=False,
    ),
    "a text that becomes what is added to it": Forgery(
        "class S(str):\n    def __add__(self, o): return o\ndef f(x): return S('x')",
        "from m import f\n\n\ndef test_one():\n    assert f(1) + 'abc' == 'abc'\n",
        same_process=False,
    ),
    "a number that subtracts rightly and is then nothing": Forgery(
        "class N(float):\n    def __sub__(self, o): return N(float(self) - o)\n    def __abs__(self): return 0.0\ndef f(x): return N(40)",
        "from m import f\n\n\ndef test_one():\n    assert abs(f(1) - 2) < 1e-6\n",
        same_process=False,
    ),
    "a text that begins with what it was first asked for": Forgery(
        "class S(str):\n    told = None\n    def startswith(self, o):\n        S.told = S.told or o\n        return o == S.told\ndef f(x): return S('')",
        "from m import f\n\n\ndef test_one():\n    assert f(1).startswith('hello')\n",
        same_process=False,
    ),
    "a tuple with a place for what it was first asked for": Forgery(
        "class V(tuple):\n    told = None\n    def index(self, o):\n        V.told = V.told or o\n        return 1 if o == V.told else 0\ndef f(x): return V()",
        "from m import f\n\n\ndef test_one():\n    assert f(1).index(3) == 1\n",
        same_process=False,
    ),
}
