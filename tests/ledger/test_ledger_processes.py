"""Real processes on one budget, watched from outside by somebody who only reads the files."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest
from ledgers import BUDGET, LLAMA, QWEN, die, ledger

WORKER = """
import random, sys
from vwt_agents.ledger import Ledger, Resource
seed = int(sys.argv[1])
dice = random.Random(seed)
granted = refused = 0
with Ledger.open(f"run {seed}") as ledger:
    held = set()
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(100):
        if held and dice.random() < 0.5:
            resource = dice.choice(sorted(held, key=str))
            if ledger.leave(resource):
                ledger.drop(resource)
            held.discard(resource)
        else:
            server = dice.choice(["", "http://127.0.0.1:11434"])
            resource = Resource(f"model{dice.randrange(4)}", server)
            refusal = ledger.claim("gpu0", resource, dice.randrange(1, 5000), 10000)
            if refusal is None:
                held.add(resource)
                granted += 1
            else:
                assert "does not move" not in refusal.reason, refusal
                refused += 1
    for resource in held:
        ledger.drop(resource)
    print(granted, refused, flush=True)
"""

HOLDER = """
import sys
from vwt_agents.ledger import Ledger, Resource
ledger = Ledger.open("holder")
assert ledger.claim("gpu0", Resource("model"), 6000, 10000) is None
print("held", flush=True)
sys.stdin.read()
"""

WRITERS = """
import os, random, signal, sys, time
from pathlib import Path
from vwt_agents.ledger import Ledger, Resource
dice = random.Random(7)
shared = Resource("shared", "http://127.0.0.1:11434")
def write():
    ledger = Ledger.open("writer")
    os.write(told, b"x")
    while True:
        ledger.claim("gpu0", Resource("own"), dice.randrange(1, 3000), 10000)
        ledger.claim("gpu0", shared, dice.randrange(1, 3000), 10000)
        ledger.drop(Resource("own"))
with Ledger.open("reader") as reader:
    assert not reader.alone
    for moment in range(100):
        tell, told = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                write()
            finally:
                os._exit(1)
        assert os.read(tell, 1) == b"x"
        time.sleep(dice.random() * 0.004)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(tell), os.close(told)
        seen = reader.snapshot()
        assert len(seen.holders) <= 1, seen
        assert all(holder.orphan and 0 < holder.mib < 3000 for holder in seen.holders), seen
        assert reader.claim("gpu0", Resource("mine"), 7000, 10000) is None
        reader.drop(Resource("mine"))
        if reader.adopt(shared):
            reader.drop(shared)
        assert reader.snapshot().others("gpu0") == 0
print("readable", flush=True)
"""


def started(stack: ExitStack, folder, script: str, *arguments: str) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "VWT_LEDGER": str(folder)},
        text=True,
    )
    stack.enter_context(process)
    stack.callback(process.kill)
    return process


def latest(page: str) -> dict:
    """Of a page's two versions the one of the later turn."""
    places = [place.partition("\n")[0].split(" ", 2) for place in (page[: 1 << 14], page[1 << 14 :])]
    return json.loads(max((place for place in places if len(place) == 3), key=lambda place: int(place[1]))[2])


def observed(folder) -> int:
    """What the files say is taken, read without a line of the ledger's own code."""
    with (folder / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sums: dict[str, int] = {}
        for file in folder.glob("*.page"):
            with file.open() as page:
                try:
                    fcntl.flock(page, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    alive = False
                except BlockingIOError:
                    alive = True
                for claim in latest(page.read())["claims"]:
                    server = claim["resource"]["server"]
                    if alive or server:
                        key = (server or file.name) + claim["resource"]["model"]
                        sums[key] = max(claim["mib"], sums.get(key, 0))
        return sum(sums.values())


def within(seconds: float, fact) -> bool:
    """Whether the fact comes true in that time."""
    until = time.monotonic() + seconds
    while not fact():
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def test_four_processes_never_take_more_than_the_budget(tmp_path):
    folder = tmp_path / "shared"
    with ExitStack() as stack, ledger(folder):
        workers = [started(stack, folder, WORKER, str(seed)) for seed in range(4)]
        assert all(worker.stdout.readline() == "ready\n" for worker in workers)
        for worker in workers:
            worker.stdin.close()
        samples = []
        while any(worker.poll() is None for worker in workers):
            samples.append(observed(folder))
            time.sleep(0.0005)  # who only looks does not keep those who work from the lock
        counts = [tuple(map(int, worker.stdout.readline().split())) for worker in workers]
    assert len(samples) > 20
    assert max(samples) <= BUDGET
    assert max(samples) > BUDGET // 2, "the budget was really used"
    assert all(granted for granted, _ in counts), "all of them came to their turns"
    assert sum(refused for _, refused in counts) > 10, "there was less than they asked for"
    assert observed(folder) == 0


def test_a_killed_process_gives_its_share_back_within_five_seconds(tmp_path):
    folder = tmp_path / "shared"
    with ExitStack() as stack, ledger(folder) as mine:
        for _ in range(2):
            holder = started(stack, folder, HOLDER)
            assert holder.stdout.readline() == "held\n"
            assert mine.claim("gpu0", LLAMA, 6000, BUDGET) is not None
            os.kill(holder.pid, signal.SIGKILL)
            assert within(5, lambda: mine.claim("gpu0", LLAMA, 6000, BUDGET) is None)
            mine.drop(LLAMA)


def test_a_stopped_process_keeps_its_share_and_stops_nobody_else(tmp_path):
    folder = tmp_path / "shared"
    with ExitStack() as stack, ledger(folder) as mine:
        holder = started(stack, folder, HOLDER)
        assert holder.stdout.readline() == "held\n"
        os.kill(holder.pid, signal.SIGSTOP)
        assert f"process {holder.pid}" in mine.claim("gpu0", LLAMA, 6000, BUDGET).reason
        assert mine.claim("gpu0", QWEN, 4000, BUDGET) is None


def test_a_process_killed_in_the_middle_of_writing_leaves_a_readable_ledger(tmp_path):
    with ExitStack() as stack:
        writers = started(stack, tmp_path / "shared", WRITERS)
        assert writers.stdout.readline() == "readable\n"


class Killed(BaseException):
    """The process ended here."""


@pytest.mark.parametrize("before", [0, 2000], ids=["first page", "next version"])
def test_a_crash_in_any_file_operation_leaves_the_old_version_or_the_new_one(tmp_path, monkeypatch, before):
    """The same, at every step in turn; a write is cut off in its middle."""
    points = 0
    for survived in range(12):
        folder = tmp_path / str(survived)
        with ledger(folder) as left:
            left.claim("gpu0", QWEN, 1000, BUDGET)
        process = ledger(folder)
        if before:
            process.claim("gpu0", LLAMA, before, BUDGET)
        with monkeypatch.context() as patch:
            crash_after(survived, patch)
            try:
                process.claim("gpu0", QWEN, 1500, BUDGET)
                crashed = False
            except Killed:
                crashed = True
        die(process)
        with ledger(folder) as after:
            assert after.snapshot().others("gpu0") - before in ({1000, 1500} if crashed else {1500})
            assert after.claim("gpu0", QWEN, 500, BUDGET) is None
            assert after.snapshot().others("gpu0") == before
            assert len(list(folder.iterdir())) <= 3
        points += crashed
    assert 3 < points < 12


def crash_after(steps: int, patch: pytest.MonkeyPatch) -> None:
    """After so many file operations the process does nothing more; a write among them gets half through."""

    def crashing(real):
        def step(*args, **kwargs):
            nonlocal steps
            if steps == 0 and real is pwrite:
                real(args[0], args[1][: len(args[1]) // 2], args[2])
            steps -= 1
            if steps < 0:
                raise Killed
            return real(*args, **kwargs)

        return step

    pwrite = os.pwrite
    for name in ("open", "fchmod", "pwrite", "rename", "unlink", "ftruncate"):
        patch.setattr(os, name, crashing(getattr(os, name)))
