"""Promises of reading a folder: what is source comes in, what is not stays out with a reason."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from vwt_agents.errors import UsageError
from vwt_agents.workspace import ReadLimits, Workspace, is_guarded, is_test_file, read_workspace


def folder(top: Path, files: dict[str, str | bytes]) -> Path:
    for name, text in files.items():
        place = top / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text if isinstance(text, bytes) else text.encode())
    return top


def git(top: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=n", "-c", "user.email=e@x", "-c", "commit.gpgsign=false", *words]
    return subprocess.run(command, cwd=top, check=True, capture_output=True, text=True).stdout


def test_text_files_come_in_the_order_of_their_paths_byte_for_byte(tmp_path: Path) -> None:
    top = folder(tmp_path / "shop", {"b.py": "x = 1\r\n", "a/c.py": "é = '\x0c'", "README.md": "# Shop"})
    found = read_workspace(top)
    assert list(found.files.items()) == [("README.md", "# Shop"), ("a/c.py", "é = '\x0c'"), ("b.py", "x = 1\r\n")]
    assert (found.name, found.left_out) == ("shop", ())


def test_caches_environments_and_repositories_stay_out(tmp_path: Path) -> None:
    out = [".git/x.py", "venv/x.py", "__pycache__/x.py", "own/pyvenv.cfg", "own/x.py", "a.egg-info/x.py", "build/x.py"]
    top = folder(tmp_path, {"a.py": "1", "env/__init__.py": "", **dict.fromkeys(out, "x = 1")})
    assert list(read_workspace(top).files) == ["a.py", "env/__init__.py"]


def test_what_is_no_text_too_large_or_a_link_is_named_with_the_reason(tmp_path: Path) -> None:
    secret = folder(tmp_path / "outside", {"secret.py": "password = 1"})
    top = folder(tmp_path / "in", {"a.py": "1", "b.png": b"\x89PNG\xff", "nul.txt": "a\0b", "big.csv": "1," * 2000})
    (top / "leads_out.py").symlink_to(secret / "secret.py")
    (top / "leads_out").symlink_to(secret)
    os.mkfifo(top / "pipe.py")
    found = read_workspace(top, limits=ReadLimits(file_kib=1))
    assert list(found.files) == ["a.py"]
    assert found.left_out == (
        "b.png: no UTF-8 text",
        "big.csv: larger than 1 KiB",
        "leads_out.py: a link",
        "nul.txt: no text",
        "pipe.py: no plain file",
    )


def test_in_a_checkout_gitignore_holds_and_new_files_count(tmp_path: Path) -> None:
    top = folder(
        tmp_path, {"a.py": "1", ".gitignore": "gen/\n*.log\n", "gen/x.py": "1", "y.log": "1", "build/b.py": "1"}
    )
    git(top, "init", "-q")
    git(top, "add", "a.py", ".gitignore")
    assert list(read_workspace(top).files) == [".gitignore", "a.py", "build/b.py"]
    (top / "a.py").unlink()
    assert read_workspace(top).left_out == ("a.py: git knows it, and it is not there",)


def test_a_folder_inside_a_checkout_is_read_alone_and_runs_nothing_of_it(tmp_path: Path) -> None:
    top = folder(tmp_path, {"a.py": "1", "in/b.py": "2", "spy.sh": f"#!/bin/sh\ntouch {tmp_path}/ran\n"})
    (top / "spy.sh").chmod(0o755)
    git(top, "init", "-q")
    git(top, "config", "core.fsmonitor", str(top / "spy.sh"))
    assert list(read_workspace(top / "in").files) == ["b.py"]
    assert not (top / "ran").exists()


@pytest.mark.parametrize(
    ("files", "name", "message"),
    [
        ({}, "missing", "there is no folder"),
        ({"a.py": "1"}, "a.py", "is a file, not a folder"),
        ({"README.md": "1"}, ".", "holds no Python file"),
        ({f"{n}.py": "1" for n in range(4)}, ".", "more than 3 files"),
        ({"a.py": "#" * 1000, "b.py": "#" * 1000}, ".", "or 1 KiB of text"),
    ],
)
def test_a_folder_that_cannot_be_worked_on_is_refused_with_what_to_do(
    tmp_path: Path, files: dict[str, str | bytes], name: str, message: str
) -> None:
    top = folder(tmp_path, files)
    with pytest.raises(UsageError, match=message) as caught:
        read_workspace(top / name, limits=ReadLimits(files=3, total_kib=1))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("path", "test", "guarded"),
    [
        ("test_a.py", True, True),
        ("pkg/a_test.py", True, True),
        ("tests/helpers.py", False, True),
        ("conftest.py", False, True),
        ("pyproject.toml", False, True),
        ("pkg/testing.py", False, False),
        ("attest.py", False, False),
        ("test_data.json", False, False),
    ],
)
def test_what_a_candidate_may_not_touch_is_known_by_its_path(path: str, test: bool, guarded: bool) -> None:
    assert (is_test_file(path), is_guarded(path)) == (test, guarded)


def test_import_roots_are_the_top_src_pythonpath_and_the_folders_of_tests() -> None:
    files = {
        "src/shop/__init__.py": "",
        "src/shop/cart.py": "",
        "tests/unit/__init__.py": "",
        "tests/unit/test_a.py": "",
    }
    config = {"pyproject.toml": '[tool.pytest.ini_options]\npythonpath = ["lib", "../out"]\ntestpaths = "tests"\n'}
    found = Workspace({**files, **config, "lib/x.py": "", "old/test_b.py": ""})
    assert found.roots == (".", "lib", "src", "tests")
    assert found.tests == ("tests/unit/test_a.py",)
    assert (found.module_of("src/shop/cart.py"), found.module_of("src/shop/__init__.py")) == ("shop.cart", "shop")
    assert (found.has_module("shop"), found.has_module("x"), found.has_module("numpy")) == (True, True, False)


def test_settings_are_read_from_ini_files_too() -> None:
    assert Workspace({"setup.cfg": "[tool:pytest]\npythonpath = a b\n", "x.py": ""}).roots == (".", "a", "b")
    assert Workspace({"pytest.ini": "[pytest]\npythonpath =\n  a\n", "pyproject.toml": "not toml ["}).roots == (
        ".",
        "a",
    )
