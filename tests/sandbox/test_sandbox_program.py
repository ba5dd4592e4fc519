"""What runs inside and around a sandbox is written once per process, and no program can change it for the next."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from vwt_agents.sandbox import folders
from vwt_agents.sandbox.folders import kept, stage_folder, write_all
from vwt_agents.sandbox.program import package
from vwt_agents.sandbox.service import Sandbox

FILES = {"a.txt": b"a", "deep/b.txt": b"b"}


def test_what_never_changes_is_written_once_and_what_a_cleaner_took_is_written_again():
    folder = kept("test-files", lambda: FILES)
    first = (folder / "a.txt").stat().st_ino
    assert kept("test-files", lambda: FILES) == folder
    assert (folder / "a.txt").stat().st_ino == first
    (folder / "deep/b.txt").unlink()
    kept("test-files", lambda: FILES)
    assert {str(one.relative_to(folder)): one.read_bytes() for one in folder.rglob("*.txt")} == FILES


def test_it_is_gone_when_the_process_ends_and_a_fork_leaves_its_parents_alone():
    program = (
        "import os, sys\nfrom vwt_agents.sandbox.folders import kept\n"
        "mine = kept('x', lambda: {'a': b''})\n"
        "if not (child := os.fork()):\n"
        "    print(kept('x', lambda: {'a': b''}), flush=True)\n"
        "    sys.exit()\n"
        "os.waitpid(child, 0)\n"
        "print(mine, (mine / 'a').exists())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    childs, parents, there = done.stdout.split()
    assert there == "True"
    assert childs != parents
    assert not Path(childs).parent.exists()
    assert not Path(parents).parent.exists()


def test_small_files_lie_in_memory_unless_a_place_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.setattr(folders, "_SHARED", str(tmp_path))
    with stage_folder(mib=1.0) as small, stage_folder(mib=1.1) as large, stage_folder() as unknown:
        assert Path(small).parent == tmp_path
        assert tmp_path not in (Path(large).parent, Path(unknown).parent)
    assert not Path(small).exists()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "mine"))
    with stage_folder(mib=0) as named:
        assert Path(named).parent != tmp_path
    monkeypatch.delenv("TMPDIR")
    monkeypatch.setattr(folders, "_SHARED", str(tmp_path / "none"))
    with stage_folder(mib=0) as elsewhere:
        assert Path(elsewhere).is_dir()


async def test_without_a_sandbox_nothing_of_the_judge_is_kept_for_the_next_run():
    """There a program may write to all it is judged by, so each run has a judge of its own."""
    sandbox = await Sandbox.open("unsafe", allow_reduced=True, allow_unsafe=True)
    spoil = (
        "import pathlib, sys\n"
        "for one in pathlib.Path(sys.argv[0]).parent.rglob('*'):\n"
        "    if one.is_file():\n        one.chmod(0o600)\n        one.write_text('raise SystemExit')\n"
        "def f():\n    return 1\n"
    )
    test = "import solution\n\n\ndef test_f():\n    assert solution.f() == 1\n"
    await sandbox.test(spoil, test)
    assert (await sandbox.test("def f():\n    return 1\n", test)).passed
    verdict = await (await Sandbox.open()).test("def f():\n    return 1\n", test)
    assert verdict.passed
    assert verdict.integrity == "isolated"


def test_the_modules_of_a_sandbox_go_before_a_package_that_this_python_has(tmp_path):
    """One that is installed would be another version than the one that judges, or would be compiled in every run."""
    installed = tmp_path / "installed/vwt_agents/sandbox/wire.py"
    installed.parent.mkdir(parents=True)
    for one in (installed, installed.parent / "__init__.py", installed.parents[1] / "__init__.py"):
        one.write_text("raise SystemExit('installed')")
    write_all(tmp_path / "ours", package(["wire", "held"]))
    program = "import runpy, sys\nsys.path.append(sys.argv[1])\nstart, sys.argv[1:] = sys.argv[2], ['wire']\n"
    program += "runpy.run_path(start)"
    argv = [sys.executable, "-I", "-S", "-c", program, str(tmp_path / "installed"), str(tmp_path / "ours/start.py")]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert "module 'vwt_agents.sandbox.wire' has no attribute 'main'" in done.stderr
