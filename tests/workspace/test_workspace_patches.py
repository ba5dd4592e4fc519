"""A patch is what real git applies: the folder it was made for becomes, byte for byte, the one that was meant."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vwt_agents.workspace import unified_patch

CASES = {
    "a line changes": ({"a.py": "1\n2\n3\n"}, {"a.py": "1\nzwei\n3\n"}),
    "two far apart": (
        {"a.py": "".join(f"{n}\n" for n in range(40))},
        {"a.py": "x\n" + "".join(f"{n}\n" for n in range(1, 39)) + "y\n"},
    ),
    "a new file in a new folder": ({"a.py": "1\n"}, {"a.py": "1\n", "new/b.py": "2\n"}),
    "a new empty file": ({"a.py": "1\n"}, {"a.py": "1\n", "pkg/__init__.py": ""}),
    "an empty file is filled": ({"a.py": ""}, {"a.py": "1\n"}),
    "a file is emptied": ({"a.py": "1\n"}, {"a.py": ""}),
    "no newline at the end, before and after": ({"a.py": "1\n2"}, {"a.py": "0\n2"}),
    "the last newline comes": ({"a.py": "1"}, {"a.py": "1\n"}),
    "the last newline goes": ({"a.py": "1\n"}, {"a.py": "1"}),
    "unicode in text and name": ({"größe.py": "é = 1\n"}, {"größe.py": "é = 2\n", "日本.py": "x\n"}),
    "blanks and quotes in names": ({"a b.py": "1\n"}, {"a b.py": "2\n", 'c"\\\t.py': "3\n", "d e.py": "4\n"}),
    "line ends of Windows": ({"a.py": "1\r\n2\r\n"}, {"a.py": "1\r\n3\r\n"}),
    "form feeds and odd separators": ({"a.py": "1\x0c2\u20283\n4\n"}, {"a.py": "1\x0c2\u20283\n5\n"}),
    "a file goes": ({"a.py": "1\n", "b.py": "2\n"}, {"a.py": "1\n"}),
}


def _write(top: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(text.encode())


def _applied(top: Path, before: dict[str, str], after: dict[str, str]) -> dict[str, str]:
    _write(top, before)
    patch = unified_patch(before, after)
    if patch:
        done = subprocess.run(["git", "apply", "-"], cwd=top, input=patch.encode(), capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode() + patch
    return {
        path.relative_to(top).as_posix(): path.read_bytes().decode()
        for path in sorted(top.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("case", CASES)
def test_git_applies_it(tmp_path: Path, case: str) -> None:
    before, after = CASES[case]
    assert _applied(tmp_path, before, after) == after


_TEXTS = st.lists(st.sampled_from(["a\n", "b\n", "\n", "c\r\n", "-- x\n", "+y\n", "é\x0c\n"]), max_size=12).map("".join)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(before=_TEXTS, after=_TEXTS, cut=st.booleans())
def test_git_applies_whatever_changed(
    tmp_path_factory: pytest.TempPathFactory, before: str, after: str, cut: bool
) -> None:
    wanted = {"a.py": after.removesuffix("\n") if cut else after}
    assert _applied(tmp_path_factory.mktemp("p"), {"a.py": before}, wanted) == wanted


def test_nothing_changed_is_no_patch() -> None:
    assert unified_patch({"a.py": "1"}, {"a.py": "1"}) == ""
