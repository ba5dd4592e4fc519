"""What processes use is counted as the kernel sees it, what they hide from it included."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from vwt_agents.sandbox import accounts

MIB = 1 << 20
HOLDS = """
import ctypes, mmap, os, sys
shared = mmap.mmap(-1, 32 << 20)
if sys.argv[1] == "by a child":
    if os.fork() == 0:
        shared.write(b"x" * (32 << 20)); os._exit(0)
    os.wait()
if sys.argv[1] == "in mappings":
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    base = libc.mmap(None, 40000 * 4096, 1, 0x4022, -1, 0)
    for page in range(0, 40000, 2):
        libc.mprotect(ctypes.c_void_p(base + page * 4096), 4096, 0)
if sys.argv[1] == "in page tables":
    sparse = mmap.mmap(-1, 8 << 30, flags=0x4022, prot=1)
    any(sparse[at] for at in range(0, 8 << 30, 2 << 20))
if sys.argv[1] == "in locks":
    import fcntl, tempfile
    file = tempfile.TemporaryFile()
    for at in range(0, 2400, 2):
        fcntl.lockf(file, fcntl.LOCK_EX, 1, at)
if sys.argv[1] == "hidden":
    ctypes.CDLL(None).prctl(4, 0)
print("ready", flush=True); sys.stdin.read()
"""


@pytest.fixture
def holding():
    """Starts a process that holds memory in some way, and gives its pid once it does."""
    started = []

    def start(way: str) -> str:
        process = subprocess.Popen(
            [sys.executable, "-S", "-c", HOLDS, way], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        return str(process.pid)

    yield start
    for process in started:
        process.communicate()


def test_memory_filled_by_a_child_that_is_gone_counts(holding):
    resident, charged = accounts.memory([holding("by a child")], 0, own_network=False)
    assert resident < 32 * MIB <= charged


@pytest.mark.parametrize(("way", "mib"), [("in mappings", 8), ("in page tables", 16)])
def test_what_the_kernel_keeps_for_a_process_that_fills_no_page_counts(holding, way, mib):
    plainly = accounts.memory([holding("plainly")], 0, own_network=False)[1]
    resident, charged = accounts.memory([holding(way)], 0, own_network=False)
    assert resident < 32 * MIB
    assert charged - plainly > mib * MIB


def test_more_locks_on_files_than_anybody_needs_are_seen(holding):
    """The kernel counts them against nothing: a program kept gigabytes in them."""
    pid, other = holding("in locks"), holding("plainly")
    assert (accounts.too_many_locks([other]), accounts.too_many_locks([other, pid])) == (False, True)


def test_what_is_counted_ten_times_a_second_holds_nobody_up(monkeypatch):
    """While the kernel's list of locks is read, nobody on the machine can lock a file."""
    paths = []
    monkeypatch.setattr(accounts, "_read", lambda path, *_: paths.append(path) or "")
    accounts.memory([str(os.getpid())], 0, own_network=True)
    assert paths
    assert "/proc/locks" not in paths


def test_nothing_is_charged_where_nobody_could_be_above_the_limit(holding):
    resident, charged = accounts.memory([holding("plainly")], 64 << 30, own_network=False)
    assert (resident > 0, charged) == (True, 0)


@pytest.mark.skipif(os.geteuid() == 0, reason="root sees through it")
def test_a_process_that_hides_its_maps_is_charged_its_address_space(holding):
    pid = holding("hidden")
    assert accounts.memory([pid], 0, own_network=False)[1] >= 32 * MIB


def test_who_ended_is_charged_nothing():
    assert accounts.memory(["999999999"], 0, own_network=False) == (0, 0)


def test_descendants_and_tasks_are_found(holding):
    assert holding("plainly") in accounts.descendants()
    assert str(os.getpid()) not in accounts.descendants()
    assert accounts.tasks_of(os.getuid()) >= 2


def test_sockets_are_charged_with_what_they_may_hold():
    before = accounts._pairs([str(os.getpid())])
    one, two = socket.socketpair()
    with one, two:
        assert accounts._pairs([str(os.getpid())]) == before + 2 * accounts._SOCKET
        assert accounts.socket_buffers() >= 2 * accounts._SOCKET


def test_files_are_counted_and_a_missing_place_has_none(tmp_path):
    assert accounts.files(str(tmp_path)) > 0
    assert (accounts.files("/none"), accounts.is_full("/none")) == (0, False)
