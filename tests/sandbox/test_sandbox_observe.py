"""What candidates give for the same calls is seen in one run, and none of them can spoil it for the others."""

from __future__ import annotations

from vwt_agents.sandbox.observe import observe
from vwt_agents.sandbox.service import Sandbox

CALLS = ["f(1)", "f([])", "f(0.1 + 0.2)", "f({3, 1, 2})"]


async def test_each_candidate_s_values_and_errors_are_written_so_that_equal_ones_look_equal(best: str) -> None:
    sandbox = await Sandbox.open(best)
    programs = [
        {"m.py": "def f(x):\n    return x\n"},
        {"m.py": "def f(x):\n    return (x, 'é') if x == 1 else len(x)\n"},
        {"m.py": "def f(x):\n    raise KeyError(x)\n"},
    ]
    same, mixed, broken = await observe(sandbox, "m", programs, CALLS)
    assert same == ["1", "[]", "0.3", "{1, 2, 3}"]
    assert mixed == ["(1, 'é')", "0", "!TypeError", "3"]
    assert broken == ["!KeyError"] * 4


async def test_a_candidate_that_cannot_be_imported_never_ends_or_prints_spoils_only_itself(best: str) -> None:
    sandbox = await Sandbox.open(best)
    programs = [
        {"m.py": "def f(x:\n"},
        {"m.py": "import os\nos._exit(0)\n"},
        {"m.py": 'print(\'[3, ["9", "9"]]\')\ndef f(x):\n    while x: pass\n    return 5\n'},
        {"m.py": "from part import f\n", "part.py": "def f(x):\n    return object() if x else 7\n"},
    ]
    assert await observe(sandbox, "m", programs, ["f(0)", "f(1)"]) == [
        ["!SyntaxError"] * 2,
        ["!Stopped"] * 2,
        ["5", "!TimeoutError"],
        ["7", "<object object>"],
    ]


async def test_without_candidates_or_calls_nothing_is_run(best: str) -> None:
    sandbox = await Sandbox.open(best)
    assert await observe(sandbox, "m", [], CALLS) == []
    assert await observe(sandbox, "m", [{"m.py": ""}], []) == [[]]
