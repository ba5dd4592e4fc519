"""No folder is left: not at any end of a process that can still act, and of a killed one not after the next use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from vwt_agents.sandbox import folders
from vwt_agents.sandbox.folders import kept, stage_folder

FILES = {"a.txt": b"a", "deep/b.txt": b"b"}
USE = "import os, sys, threading\nfrom vwt_agents.sandbox.folders import kept, stage_folder\n"
USE += "FILES = lambda: {'a': b''}\n"
HOLD = USE + "kept('x', FILES)\nwith stage_folder():\n    print(flush=True)\n    sys.stdin.read()\n"


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """Where folders are made here; this process has not swept it yet."""
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(folders, "_own", folders._Own())
    yield tmp_path
    folders._leave()


def python(program, **options):
    return subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options
    )


def holding():
    """A process that has a folder of each kind."""
    process = python(HOLD)
    process.stdout.readline()
    return process


def end(process, number=None):
    if number is not None:
        process.send_signal(number)
    process.communicate()


def test_what_a_killed_process_left_is_swept_by_the_next_use_and_nothing_else_is(place):
    killed, living = holding(), holding()
    try:
        own = set(place.iterdir())
        assert len(own) == 4
        end(killed, signal.SIGKILL)
        others = [place / "vwt-sandbox", place / "other", place / "target"]
        for one in others:
            one.mkdir()
        (place / "target/file").touch()
        (place / "vwt-sandbox-link").symlink_to(place / "target")
        (place / "vwt-sandbox-file").touch()
        os.mkfifo(place / "vwt-sandbox-pipe")
        with stage_folder() as mine:
            left = set(place.iterdir()) - {Path(mine)}
        assert len(left & own) == 2
        assert {one.name for one in left - own} == {
            *("vwt-sandbox", "other", "target", "vwt-sandbox-link", "vwt-sandbox-file", "vwt-sandbox-pipe")
        }
        assert (place / "target/file").exists()
    finally:
        end(living)
    assert not set(place.iterdir()) & own


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder of another user")
def test_a_folder_of_another_user_is_left_alone(place):
    (place / "vwt-sandbox-theirs").mkdir()
    os.chown(place / "vwt-sandbox-theirs", 65534, 65534)
    with stage_folder():
        pass
    assert [one.name for one in place.iterdir()] == ["vwt-sandbox-theirs"]


def test_a_folder_that_was_swept_while_it_was_made_is_made_again(place, monkeypatch):
    make, made = folders.tempfile.mkdtemp, []

    def swept_at_once(**options):
        made.append(make(**options))
        if len(made) == 1:
            Path(made[0]).rmdir()
        return made[-1]

    monkeypatch.setattr(folders.tempfile, "mkdtemp", swept_at_once)
    with stage_folder() as folder:
        assert Path(folder).is_dir()
    assert len(made) == 2


def test_folders_without_rights_and_very_deep_ones_are_swept_too(place):
    deep = "    for _ in range(1500):\n        os.mkdir('d')\n        os.chdir('d')\n    print("
    process = python(HOLD.replace("    print(", deep), cwd=place)
    process.stdout.readline()
    locked = next(one for one in place.glob("vwt-sandbox-*") if (one / "x").exists()) / "locked"
    (locked / "deeper").mkdir(parents=True)
    (place / "d").rename(locked / "deeper/d")
    locked.chmod(0)
    end(process, signal.SIGKILL)
    with stage_folder():
        pass
    assert list(place.iterdir()) == []


def test_a_fork_does_not_wait_for_what_a_thread_of_its_parent_is_writing(place):
    program = USE + (
        "import signal\nfrom vwt_agents.sandbox import folders\nbegun, go = threading.Event(), threading.Event()\n"
        "def slow():\n    begun.set()\n    go.wait()\n    return FILES()\n"
        "writing = threading.Thread(target=kept, args=('x', slow))\nwriting.start()\nbegun.wait()\n"
        "if not (child := os.fork()):\n    signal.alarm(20)\n    kept('x', FILES)\n"
        "    folders._leave()\n    os._exit(7)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\ngo.set()\nwriting.join()\n"
    )
    assert python(program).communicate()[0] == "7\n"
    assert list(place.iterdir()) == []


def test_what_somebody_put_in_the_place_of_the_kept_folder_is_not_used(place):
    folder = kept("test-files", lambda: FILES)
    home = folder.parent
    home.rename(place / "taken")
    (home / "test-files/deep").mkdir(parents=True)
    for name in FILES:
        (home / "test-files" / name).write_bytes(b"planted")
    again = kept("test-files", lambda: FILES)
    assert again != folder
    assert {name: (again / name).read_bytes() for name in FILES} == FILES
    folders._leave()
    assert (folder / "a.txt").read_bytes() == b"planted"


@pytest.mark.parametrize("short", [{"f_favail": 100}, {"f_bavail": 1}])
def test_memory_that_is_almost_full_is_not_chosen(place, monkeypatch, short):
    monkeypatch.delenv("TMPDIR")
    monkeypatch.setattr(folders, "_SHARED", str(place))
    room = {"f_bavail": 10**6, "f_frsize": 4096, "f_files": 10**6, "f_favail": 10**6}

    def there_is(**what):
        monkeypatch.setattr(os, "statvfs", lambda _: type("Room", (), {**room, **what}))

    there_is(**short)
    with stage_folder(mib=0) as folder:
        assert Path(folder).parent != place
    there_is()
    with stage_folder(mib=0) as folder:
        assert Path(folder).parent == place
    there_is(f_files=0, f_favail=0)  # a file system that does not count files
    with stage_folder(mib=0) as folder:
        assert Path(folder).parent == place


@pytest.mark.parametrize("how", ["fork", "spawn", "forkserver"])
def test_a_child_of_multiprocessing_leaves_nothing(how, tmp_path_factory):
    program = tmp_path_factory.mktemp("program") / "program.py"
    program.write_text(
        USE + "import multiprocessing\ndef use():\n    kept('x', lambda: {'a': b''})\n"
        f"if __name__ == '__main__':\n    child = multiprocessing.get_context('{how}').Process(target=use)\n"
        "    child.start()\n    child.join()\n    print(child.exitcode, os.listdir(os.environ['TMPDIR']))\n"
    )
    with tempfile.TemporaryDirectory(
        dir="/tmp"
    ) as short:  # multiprocessing binds a socket there, whose name has 107 bytes
        environment = {**os.environ, "TMPDIR": short}
        done = subprocess.run(
            [sys.executable, str(program)], capture_output=True, text=True, check=True, env=environment
        )
    left = [one for one in eval(done.stdout.partition(" ")[2]) if one.startswith("vwt")]
    assert (done.stdout[0], left) == ("0", [])


def test_workers_that_were_stopped_leave_nothing_when_their_parent_has_ended(place):
    """As those of a multiprocessing Pool are, and as a fork that ends with os._exit does."""
    program = USE + (
        "for end in (lambda: os.kill(os.getpid(), 15), lambda: os._exit(0)):\n"
        "    if not (child := os.fork()):\n        kept('x', FILES)\n        end()\n    os.waitpid(child, 0)\n"
        "print(len(os.listdir(os.environ['TMPDIR'])))\n"
    )
    assert python(program).communicate()[0] == "1\n"  # the second has swept what the first left
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_command_that_is_stopped_leaves_nothing_and_a_killed_one_not_after_the_next(
    place, best, number, tmp_path_factory
):
    work = tmp_path_factory.mktemp("work")
    waiting = f"wait-{os.getpid()}.py"
    (work / waiting).write_text("import signal\nsignal.pause()\n")
    (work / "end.py").write_text("")
    command = [sys.executable, "-m", "vwt_agents", "sandbox", "run", str(work)]
    process = subprocess.Popen([*command, waiting, "--backend", best], stderr=subprocess.DEVNULL)
    while not _is_running(waiting):  # the probe comes first: what counts is the program itself
        assert process.poll() is None
    process.send_signal(number)
    assert process.wait() == (130 if number != signal.SIGKILL else -9)
    if number == signal.SIGKILL:
        assert list(place.iterdir()) != []
        subprocess.run([*command, "end.py", "--backend", best], check=True)
    assert list(place.iterdir()) == []


def _is_running(name):
    """Whether a program of that name runs in a sandbox."""
    for entry in Path("/proc").iterdir():
        try:
            words, settings = (entry / "cmdline").read_bytes().split(b"\0"), (entry / "environ").read_bytes()
        except OSError:
            continue
        if words[-2:-1] == [name.encode()] and b"HOME=/box" in settings:
            return True
    return False
