"""What the ledger promises to processes that share a machine."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from ledgers import BUDGET, LLAMA, MISTRAL, QWEN, SERVER, Clock, die, ledger

from vwt_agents.errors import LedgerUnavailable
from vwt_agents.ledger import Claim, Ledger, Resource, Want, own_page
from vwt_agents.ledger.folder import Folder


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "shared"


@pytest.fixture
def pair(folder):
    clock = Clock()
    with ledger(folder, "run a", clock) as a, ledger(folder, "run b", clock) as b:
        yield a, b, clock


# -- claims -----------------------------------------------------------------------------------------------------------


def test_claims_of_all_processes_stay_within_the_ceiling(pair):
    a, b, _ = pair
    assert a.claim("gpu0", QWEN, 6000, BUDGET) is None
    assert b.claim("gpu0", LLAMA, 6000, BUDGET) is not None
    assert b.claim("gpu0", MISTRAL, 4000, BUDGET) is None
    assert b.claim("cpu", LLAMA, 6000, BUDGET) is None


def test_a_refusal_says_who_holds_what(pair):
    a, b, _ = pair
    a.claim("gpu0", QWEN, 4226, BUDGET, name="qwen2.5-coder:7b")
    refused = b.claim("gpu0", LLAMA, 7025, BUDGET, name="llama2:13b")
    assert refused.reason == (
        "llama2:13b needs 7025 MiB on gpu0, and of 10000 MiB 4226 are claimed: "
        f"4226 MiB for qwen2.5-coder:7b by run a, process {os.getpid()}"
    )
    assert refused.hint


def test_a_model_on_a_shared_server_counts_once_at_the_larger_figure(pair):
    a, b, _ = pair
    assert a.claim("gpu0", QWEN, 6000, BUDGET) is None
    assert b.claim("gpu0", QWEN, 7000, BUDGET) is None
    assert a.claim("gpu0", MISTRAL, 3001, BUDGET) is not None
    assert a.claim("gpu0", MISTRAL, 3000, BUDGET) is None


def test_workers_of_two_processes_count_each(pair):
    a, b, _ = pair
    assert a.claim("cpu", Resource("smollm2:135m"), 6000, BUDGET) is None
    assert b.claim("cpu", Resource("smollm2:135m"), 6000, BUDGET) is not None


def test_a_claim_again_replaces_the_first(pair):
    a, b, _ = pair
    a.claim("gpu0", QWEN, 9000, BUDGET)
    assert a.claim("gpu0", QWEN, 5000, BUDGET) is None
    assert a.claim("gpu0", QWEN, BUDGET + 1, BUDGET) is not None
    assert b.snapshot().others("gpu0") == 5000


def test_the_measured_size_replaces_the_expected_one(pair):
    a, b, _ = pair
    a.claim("gpu0", QWEN, 5000, BUDGET)
    a.settle(QWEN, 4500)
    assert b.snapshot().others("gpu0") == 4500
    a.settle(LLAMA, 1)
    assert b.snapshot().others("gpu0") == 4500


def test_others_leaves_out_what_this_process_holds_too(pair):
    a, b, _ = pair
    a.claim("gpu0", QWEN, 4000, BUDGET)
    a.claim("gpu0", MISTRAL, 3000, BUDGET)
    assert b.snapshot().others("gpu0") == 7000
    assert b.snapshot().others("gpu0", but=[MISTRAL]) == 4000
    b.claim("gpu0", QWEN, 4000, BUDGET)
    assert b.snapshot().others("gpu0") == 3000


def test_two_processes_do_not_reload_one_model_in_turns_for_their_contexts(pair):
    a, b, _ = pair
    a.claim("gpu0", QWEN, 4000, BUDGET, name="qwen", terms="num_ctx 4096")
    refused = b.claim("gpu0", QWEN, 5000, BUDGET, terms="num_ctx 8192")
    assert "num_ctx 4096" in refused.reason
    assert "num_ctx 8192" in refused.reason
    assert b.claim("gpu0", QWEN, 4000, BUDGET, terms="num_ctx 4096") is None


# -- leaving ----------------------------------------------------------------------------------------------------------


def test_only_the_last_holder_may_unload(pair):
    a, b, _ = pair
    a.claim("gpu0", QWEN, 4000, BUDGET)
    b.claim("gpu0", QWEN, 4000, BUDGET)
    assert a.leave(QWEN) is False
    assert b.leave(QWEN) is True


def test_what_is_being_unloaded_counts_until_it_is_gone_and_nobody_joins_it(pair):
    a, b, _ = pair
    a.claim("gpu0", QWEN, 6000, BUDGET, name="qwen")
    assert a.leave(QWEN) is True
    assert b.snapshot().others("gpu0") == 6000
    assert "is being unloaded" in b.claim("gpu0", QWEN, 6000, BUDGET).reason
    a.drop(QWEN)
    assert b.claim("gpu0", QWEN, 6000, BUDGET) is None


def test_what_could_not_be_unloaded_is_held_again(pair):
    a, b, _ = pair
    a.claim("gpu0", QWEN, 6000, BUDGET)
    a.leave(QWEN)
    a.stay(QWEN)
    assert b.claim("gpu0", QWEN, 6000, BUDGET) is None


def test_nothing_is_given_up_for_unloading_while_somebody_keeps_the_lock(pair, monkeypatch):
    a, b, _ = pair
    a.claim("gpu0", QWEN, 6000, BUDGET)
    monkeypatch.setattr(own_page, "WAIT_S", 0.02)
    with b._own._shelf.locked(1.0), pytest.raises(LedgerUnavailable, match="does not move"):
        a.leave(QWEN)
    assert a.leave(QWEN)


@pytest.mark.parametrize(
    ("ours", "theirs", "serves"),
    [
        ("num_ctx 4096", "num_ctx 4096", True),
        ("num_ctx 8192", "num_ctx 4096", True),
        ("num_ctx 2048", "num_ctx 4096", False),
        ("num_ctx 8192 on the CPU", "num_ctx 4096", False),
        ("num_ctx 8192 on the CPU", "num_ctx 4096 on the CPU", True),
        ("", "", True),
        ("num_ctx 99999999999", "num_ctx 4096", False),
        ("something else", "num_ctx 4096", False),
    ],
)
def test_a_longer_context_serves_who_needs_a_shorter_one_in_the_same_place(ours, theirs, serves):
    assert Claim("gpu0", QWEN, 1, terms=ours).serves(Want("gpu0", QWEN, 1, 0.0, 0.0, terms=theirs)) is serves


def test_what_was_never_claimed_may_be_unloaded_unless_others_hold_it(pair):
    a, b, _ = pair
    assert a.leave(QWEN) is True
    b.claim("gpu0", QWEN, 4000, BUDGET)
    assert a.leave(QWEN) is False
    a.stay(QWEN)
    assert a.snapshot().others("gpu0") == 4000


# -- death and orphans ------------------------------------------------------------------------------------------------


def test_a_dead_process_has_no_worker_and_leaves_no_file(pair, folder):
    a, b, _ = pair
    a.claim("gpu0", Resource("smollm2:135m"), 6000, BUDGET)
    die(a)
    assert b.snapshot().others("gpu0") == 0
    assert [file.name for file in folder.iterdir()] == ["lock"]


def test_a_model_that_the_dead_left_on_a_server_counts_until_it_is_taken_over(pair):
    a, b, _ = pair
    a.claim("gpu0", QWEN, 6000, BUDGET, name="qwen")
    a.claim("gpu0", MISTRAL, 1000, BUDGET)
    die(a)
    assert b.snapshot().others("gpu0") == 7000
    assert "left at http://127.0.0.1:11434 by process" in b.claim("gpu0", LLAMA, 5000, BUDGET).reason
    assert b.claim("gpu0", QWEN, 6000, BUDGET) is None
    assert b.snapshot().others("gpu0") == 1000
    b.drop(QWEN)
    assert b.snapshot().others("gpu0") == 1000


def test_an_orphan_is_adopted_once_to_be_unloaded(pair, folder):
    a, b, _ = pair
    a.claim("gpu0", QWEN, 6000, BUDGET, name="qwen")
    die(a)
    with ledger(folder) as c:
        assert [str(orphan.name) for orphan in b.snapshot().orphans(SERVER)] == ["qwen"]
        assert b.adopt(QWEN) is True
        assert c.adopt(QWEN) is False
        assert c.snapshot().others("gpu0") == 6000
        assert c.snapshot().orphans(SERVER) == ()
        b.disown(QWEN)
        assert c.adopt(QWEN) is True
        c.drop(QWEN)
        assert b.snapshot().others("gpu0") == 0


def test_a_model_that_somebody_alive_holds_is_no_orphan(pair):
    a, b, _ = pair
    a.claim("gpu0", QWEN, 6000, BUDGET)
    b.claim("gpu0", QWEN, 6000, BUDGET)
    die(a)
    assert b.snapshot().orphans(SERVER) == ()
    assert b.adopt(QWEN) is False


def test_orphans_that_their_server_does_not_show_are_forgotten(pair):
    a, b, _ = pair
    a.claim("gpu0", QWEN, 6000, BUDGET)
    a.claim("gpu0", MISTRAL, 1000, BUDGET)
    die(a)
    b.forget({LLAMA})
    assert b.snapshot().others("gpu0") == 7000
    b.forget({QWEN})
    assert b.snapshot().others("gpu0") == 1000


def test_leaving_a_ledger_keeps_the_models_on_servers_and_nothing_else(pair, folder):
    a, b, _ = pair
    a.claim("gpu0", QWEN, 6000, BUDGET)
    a.claim("gpu0", Resource("smollm2:135m"), 100, BUDGET)
    a.close()
    a.close()
    assert b.snapshot().others("gpu0") == 6000
    assert len(b.snapshot().orphans(SERVER)) == 1


def test_nothing_outlasts_a_reboot(folder):
    before = Ledger(Folder(folder, boot="yesterday"))
    before.claim("gpu0", QWEN, 6000, BUDGET)
    die(before)
    with Ledger(Folder(folder, boot="today")) as after:
        assert after.snapshot().others("gpu0") == 0


def test_a_forked_child_neither_holds_nor_uses_its_parents_claims(pair):
    a, b, _ = pair
    a.claim("gpu0", QWEN, 6000, BUDGET)
    script = """
import os, sys
from pathlib import Path
from vwt_agents.errors import LedgerUnavailable
from vwt_agents.ledger import Ledger, Resource
mine = Ledger.open()
mine.claim("gpu0", Resource("worker"), 100, 1000)
told, tell = os.pipe()
if os.fork() == 0:
    try:
        mine.claim("gpu0", Resource("worker"), 200, 1000)
    except LedgerUnavailable as error:
        os.write(tell, b"refused: " + str(error).encode())
    os.close(tell)
    sys.stdin.read()
    os._exit(0)
os.close(tell)
print(os.read(told, 100).decode(), flush=True)
os._exit(0)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "VWT_LEDGER": str(a._where)},
        text=True,
    ) as process:
        assert process.stdout.readline().startswith("refused: ")
        process.wait()  # the child still lives
        assert b.snapshot().others("gpu0") == 6000
        process.stdin.close()


# -- who waits --------------------------------------------------------------------------------------------------------


def test_a_newcomer_does_not_pass_who_waits(pair):
    a, b, clock = pair
    a.claim("gpu0", QWEN, 5000, BUDGET)
    b.want("gpu0", LLAMA, 7000, since=clock.now - 5)
    assert "has waited longer: for 7000 MiB" in a.claim("gpu0", MISTRAL, 3000, BUDGET).reason
    a.drop(QWEN)
    assert a.claim("gpu0", MISTRAL, 3000, BUDGET) is None, "now both fit"


def test_who_waits_longest_comes_first(pair):
    a, b, clock = pair
    a.want("gpu0", QWEN, 6000, since=clock.now - 5)
    b.want("gpu0", LLAMA, 6000, since=clock.now - 6)
    assert a.claim("gpu0", QWEN, 6000, BUDGET) is not None
    assert b.claim("gpu0", LLAMA, 6000, BUDGET) is None
    assert a.snapshot().pressing("gpu0") == ()


def test_pressing_is_what_others_wait_for_oldest_first(pair, folder):
    a, b, clock = pair
    with ledger(folder, clock=clock) as c:
        a.want("gpu0", QWEN, 100, since=900.0)
        b.want("gpu0", LLAMA, 200, since=800.0)
        b.want("gpu0", MISTRAL, 300, since=950.0)
        assert [want.mib for want in c.snapshot().pressing("gpu0")] == [200, 100, 300]
        assert [want.mib for want in a.snapshot().pressing("gpu0")] == [200, 300]
        b.unwant(LLAMA)
        b.unwant(LLAMA)
        assert [want.mib for want in a.snapshot().pressing("gpu0")] == [300]
        assert [want.mib for want in c.snapshot().wants] == [100, 300]


def test_who_stops_asking_or_dies_keeps_nobody_waiting(pair):
    a, b, clock = pair
    b.want("gpu0", LLAMA, BUDGET, since=clock.now)
    clock.now += 1
    assert a.claim("gpu0", QWEN, 1000, BUDGET) is not None
    clock.now += 10
    assert a.claim("gpu0", QWEN, 1000, BUDGET) is None
    b.want("gpu0", LLAMA, BUDGET, since=900.0)
    die(b)
    assert a.claim("gpu0", MISTRAL, 1000, BUDGET) is None


def test_a_want_that_nobody_could_serve_blocks_nobody(pair, folder):
    a, b, clock = pair
    dead = ledger(folder)
    dead.claim("gpu0", MISTRAL, 4000, BUDGET)
    die(dead)
    b.want("gpu0", LLAMA, 7000, since=clock.now - 5)
    assert a.claim("gpu0", QWEN, 5000, BUDGET) is None


def test_who_waits_for_a_model_with_another_context_is_not_passed_by_who_has_just_let_go_of_it(pair):
    a, b, clock = pair
    a.claim("gpu0", QWEN, 4000, BUDGET, terms="num_ctx 4096")
    b.want("gpu0", QWEN, 5000, since=clock.now - 5, terms="num_ctx 8192")
    a.drop(QWEN)
    assert "has waited longer" in a.claim("gpu0", QWEN, 4000, BUDGET, terms="num_ctx 4096").reason
    assert a.claim("gpu0", QWEN, 5000, BUDGET, terms="num_ctx 8192") is None


def test_a_want_that_went_stale_gives_no_seniority(pair):
    a, b, clock = pair
    a.want("gpu0", QWEN, 5000, since=clock.now - 5)
    clock.now += 10
    b.want("gpu0", LLAMA, 7000, since=clock.now - 1)
    assert a.claim("gpu0", QWEN, 5000, BUDGET) is not None


def test_who_says_again_that_it_waits_keeps_its_place_whatever_moment_it_names(pair):
    a, b, clock = pair
    b.want("gpu0", LLAMA, 7000, since=clock.now - 5)
    b.want("gpu0", LLAMA, 7000, since=clock.now)
    assert [want.since for want in a.snapshot().pressing("gpu0")] == [clock.now - 5]
    clock.now += 10
    b.want("gpu0", LLAMA, 7000, since=clock.now)
    assert [want.since for want in a.snapshot().pressing("gpu0")] == [clock.now]


def test_what_a_process_holds_already_it_keeps_although_others_wait(pair):
    a, b, clock = pair
    a.claim("gpu0", QWEN, 5000, BUDGET)
    b.want("gpu0", LLAMA, 7000, since=clock.now - 5)
    assert a.claim("gpu0", QWEN, 5000, BUDGET) is None


# -- damage -----------------------------------------------------------------------------------------------------------


def page_of(folder, who):
    return next(file for file in folder.glob("*.page") if f'"{who}"' in file.read_text())


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\x00garbage", b"[]", b'{"version": 1}'])
def test_nothing_is_granted_beside_a_living_page_that_cannot_be_read_until_it_is_whole_again(pair, folder, damage):
    a, b, _ = pair
    a.claim("gpu0", QWEN, 6000, BUDGET)
    page_of(folder, "run a").write_bytes(damage)
    assert "cannot be read" in b.claim("gpu0", MISTRAL, 1000, BUDGET).reason
    a.snapshot().others("gpu0")
    assert b.claim("gpu0", MISTRAL, 1000, BUDGET) is None
    assert a.snapshot().others("gpu0") == 1000


@pytest.mark.parametrize("text", ["", "{", "[1, 2]", '{"version": 7}', "\x00" * 5000])
def test_a_dead_page_that_cannot_be_read_is_cleared_away(pair, folder, text):
    a, _, _ = pair
    (folder / "0123456789abcdef.page").write_text(text)
    (folder / "0123456789abcdef.tmp").write_text(text)
    (folder / "something.else").write_text("kept")
    assert a.claim("gpu0", QWEN, 6000, BUDGET) is None
    assert {file.name for file in folder.iterdir()} == {"lock", "something.else", page_of(folder, "run a").name}


def test_a_figure_below_nothing_is_no_figure(pair, folder):
    a, b, _ = pair
    a.claim("gpu0", QWEN, 6000, BUDGET)
    page = page_of(folder, "run a")
    page.write_text(page.read_text().replace("6000", "-6000"))
    assert b.claim("gpu0", LLAMA, 1000, BUDGET) is not None


def test_a_page_that_was_removed_is_written_again(pair, folder):
    a, b, _ = pair
    a.claim("gpu0", QWEN, 6000, BUDGET)
    page_of(folder, "run a").unlink()
    a.snapshot().pressing("gpu0")
    assert b.snapshot().others("gpu0") == 6000


def test_processes_meet_again_when_the_lock_or_the_whole_folder_was_removed(pair, folder):
    a, b, _ = pair
    a.claim("gpu0", QWEN, 6000, BUDGET)
    (folder / "lock").unlink()
    assert b.claim("gpu0", LLAMA, 6000, BUDGET) is not None
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    assert a.snapshot().others("gpu0") == 0
    assert b.claim("gpu0", LLAMA, 6000, BUDGET) is not None
    assert b.claim("gpu0", MISTRAL, 4000, BUDGET) is None


def test_an_old_page_is_written_anew_so_that_nothing_cleans_it_away(pair, folder):
    a, _, _ = pair
    a.claim("gpu0", QWEN, 6000, BUDGET)
    os.utime(page_of(folder, "run a"), (1, 1))
    a.snapshot().others("gpu0")
    assert page_of(folder, "run a").stat().st_mtime > 1


def test_a_ledger_that_cannot_be_written_grants_nothing_and_takes_back_everything(pair, folder, monkeypatch, caplog):
    a, b, _ = pair
    a.claim("gpu0", QWEN, 6000, BUDGET)
    full = OSError(28, "No space left on device")

    def write(*_):
        raise full

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", write)
        with pytest.raises(LedgerUnavailable, match="No space left on device") as caught:
            a.claim("gpu0", MISTRAL, 1000, BUDGET)
        assert "VWT_LEDGER" in caught.value.hint
        with pytest.raises(LedgerUnavailable):
            a.leave(QWEN)  # nobody could be told: another might take it up while it is unloaded
        a.settle(QWEN, 2000)
        a.settle(QWEN, 3000)
        assert b.snapshot().others("gpu0") == 6000
        assert caplog.text.count("ledger.behind") == 1
    a.snapshot().pressing("gpu0")
    assert b.snapshot().others("gpu0") == 3000


def test_a_page_takes_so_many_claims_and_no_more(pair):
    a, b, _ = pair
    for number in range(50):
        assert a.claim("gpu0", Resource(str(number), SERVER), 1, BUDGET) is None
    with pytest.raises(LedgerUnavailable, match="more than a page takes"):
        a.claim("gpu0", QWEN, 1, BUDGET, name="x" * 20_000)
    assert b.snapshot().others("gpu0") == 50


def test_a_ledger_whose_folder_has_gone_for_good_stops_claims_and_nothing_else(pair, folder):
    a, _, _ = pair
    a.claim("gpu0", QWEN, 6000, BUDGET)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    folder.write_text("a file in its place")
    with pytest.raises(LedgerUnavailable):
        a.claim("gpu0", MISTRAL, 1000, BUDGET)
    assert a.leave(Resource("own")) is True, "who has it for himself needs nobody's word"
    a.drop(QWEN)
    assert a.snapshot().others("gpu0") == 0
    assert a.snapshot().holders == ()


def test_a_lock_that_its_holder_does_not_give_back_ends_in_a_refusal_that_names_it(pair, monkeypatch):
    a, b, _ = pair
    a.claim("gpu0", QWEN, 6000, BUDGET)
    monkeypatch.setattr(own_page, "WAIT_S", 0.02)
    with a._own._shelf.locked(1.0) as held:
        assert held
        refused = b.claim("gpu0", MISTRAL, 1000, BUDGET)
        assert f"process {os.getpid()} has held the ledger" in refused.reason
        assert "kill -CONT" in refused.hint
        assert b.snapshot().others("gpu0") == 6000, "reading goes on"
    assert b.claim("gpu0", MISTRAL, 1000, BUDGET) is None


def test_who_waited_for_the_lock_in_vain_does_not_wait_as_long_again(pair, monkeypatch):
    a, b, _ = pair
    waits = []
    locked = b._own._shelf.locked
    monkeypatch.setattr(b._own._shelf, "locked", lambda wait: waits.append(wait) or locked(min(wait, 0.02)))
    with a._own._shelf.locked(1.0):
        b.snapshot().others("gpu0")
        b.snapshot().others("gpu0")
    b.snapshot().others("gpu0")
    b.snapshot().others("gpu0")
    assert waits == [2.0, 0.05, 0.05, 2.0]


def test_threads_of_one_process_take_turns(pair):
    a, b, _ = pair

    def work(number: int) -> None:
        for _ in range(20):
            if a.claim("gpu0", Resource(str(number)), 4000, BUDGET) is None:
                a.drop(Resource(str(number)))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert b.snapshot().others("gpu0") == 0


# -- the folder -------------------------------------------------------------------------------------------------------


def test_all_users_may_write_into_the_folder_and_none_may_remove_anothers_file(pair, folder):
    a, _, _ = pair
    a.claim("gpu0", QWEN, 1, BUDGET)
    assert folder.stat().st_mode & 0o7777 == 0o1777
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o666}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_two_users_share_one_ledger_and_clear_up_after_each_other():
    script = """
import os, sys
from vwt_agents.ledger import Ledger, Resource, text
from vwt_agents.processes import ProcessMark
text.page_of("", b"")  # what they import has to be there before this user may not read it
ProcessMark.here()
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
other = Ledger.open("theirs")
assert not other.alone, other.alone
assert other.claim("gpu0", Resource("q", "s"), 6000, 10000) is None
assert other.claim("gpu0", Resource("m", "s"), 9000, 10000) is not None
print("claimed", flush=True)
sys.stdin.read()
os._exit(9)
"""
    with tempfile.TemporaryDirectory() as parent:
        Path(parent).chmod(0o777)
        folder = Path(parent) / "shared"
        env = {**os.environ, "VWT_LEDGER": str(folder)}
        with ledger(folder, "ours") as ours:
            process = subprocess.Popen(
                [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, text=True
            )
            with process:
                assert process.stdout.readline() == "claimed\n"
                assert "of user nobody" in ours.claim("gpu0", LLAMA, 5000, BUDGET).reason
                process.stdin.close()
            assert ours.adopt(Resource("q", "s"))
            ours.drop(Resource("q", "s"))
            assert ours.snapshot().others("gpu0") == 0
            ours.claim("gpu0", QWEN, 4000, BUDGET)
            die(ours)
            done = subprocess.run([sys.executable, "-c", script], env=env, text=True, input="", capture_output=True)
            assert done.stdout == "claimed\n", done.stderr


def test_links_and_things_that_are_no_files_are_not_followed(folder, tmp_path):
    treasure = tmp_path / "treasure"
    treasure.write_text("mine")
    folder.mkdir()
    (folder / "lock").symlink_to(treasure)
    assert "cannot be used" in Ledger.open(folder=folder).alone
    (folder / "lock").unlink()
    (folder / "lock").hardlink_to(treasure)
    assert "not a plain file" in Ledger.open(folder=folder).alone
    (folder / "lock").unlink()
    os.mkfifo(folder / "lock")
    assert Ledger.open(folder=folder).alone
    (folder / "lock").unlink()
    (folder / "a.page").symlink_to(treasure)
    (folder / "b.page").hardlink_to(treasure)
    os.mkfifo(folder / "c.page")
    with Ledger.open(folder=folder) as opened:
        assert opened.claim("gpu0", QWEN, 1, BUDGET) is None
    assert treasure.read_text() == "mine"


def test_a_folder_that_is_a_link_is_not_used(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    assert Ledger.open(folder=tmp_path / "link").alone
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_the_environment_chooses_the_folder_or_none(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("VWT_LEDGER", str(tmp_path / "deep" / "chosen"))
    with Ledger.open() as opened:
        assert opened.snapshot().where == str(tmp_path / "deep" / "chosen")
        assert opened.snapshot().shared
    monkeypatch.setenv("VWT_LEDGER", "~nobody-of-this-name/ledger")
    with Ledger.open() as opened:
        assert "cannot be used" in opened.alone
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VWT_LEDGER", "here")
    with Ledger.open() as opened:
        assert "no absolute path" in opened.alone
        assert opened.unusable
    assert not (tmp_path / "here").exists()
    caplog.clear()
    for off in ("off", "OFF"):
        monkeypatch.setenv("VWT_LEDGER", off)
        with Ledger.open() as opened:
            assert opened.alone == "VWT_LEDGER is off"
            assert not opened.snapshot().shared
            assert not opened.unusable
    assert caplog.text == ""


def test_where_no_folder_can_be_used_a_process_keeps_its_own_budget_and_says_so(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    with Ledger.open(folder=tmp_path / "file" / "folder") as opened:
        assert "cannot be used" in opened.alone
        assert caplog.text.count("ledger.unusable") == 1
        assert opened.claim("gpu0", QWEN, 6000, BUDGET) is None
        assert opened.claim("gpu0", LLAMA, 6000, BUDGET) is not None
        assert opened.leave(QWEN) is True
        opened.drop(QWEN)
        assert opened.claim("gpu0", LLAMA, 6000, BUDGET) is None
        opened.want("gpu0", QWEN, 6000, since=0.0)
        assert (
            opened.snapshot().others("gpu0"),
            opened.snapshot().pressing("gpu0"),
            opened.snapshot().orphans(SERVER),
        ) == (0, (), ())
        assert not opened.adopt(QWEN)
        opened.forget({QWEN})
        opened.disown(LLAMA)
        assert opened.snapshot().holders == ()


def test_who_only_looks_leaves_nothing(pair, folder):
    a, _, _ = pair
    a.claim("gpu0", QWEN, 6000, BUDGET, name="qwen")
    before = {file.name for file in folder.iterdir()}
    with ledger(folder) as looking:
        seen = looking.snapshot()
    assert [str(holder) for holder in seen.on("gpu0")] == [f"6000 MiB for qwen by run a, process {os.getpid()}"]
    assert seen.on("cpu") == ()
    assert {file.name for file in folder.iterdir()} == before


def test_anothers_words_do_not_move_the_cursor(pair, folder):
    a, b, _ = pair
    a.claim("gpu0", QWEN, 6000, BUDGET, name="evil\x1b[2Jname\n" + "x" * 500)
    reason = b.claim("gpu0", LLAMA, 6000, BUDGET).reason
    assert "evil?[2Jname?" in reason
    assert len(reason) < 300
