"""The driver's library, built from nvml.c beside this file, and the scenes it plays: the real binding talks to it."""

from __future__ import annotations

import atexit
import ctypes
import os
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest

LOST, NOT_SUPPORTED, NOT_LOADED, TIMEOUT, MISMATCH = 15, 3, 9, 10, 18


@cache
def _built(*flags: str) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (cc) here, so the driver's library cannot be played")
    folder = Path(mkdtemp(prefix="vwt-nvml-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    library = folder / "libnvidia-ml.so.1"
    subprocess.run(
        [compiler, "-shared", "-fPIC", *flags, "-o", library, Path(__file__).with_name("nvml.c")], check=True
    )
    return library


def card(used: int = 0, *, total: int = 16303, code: int = 0, mig: int = -1, uuid: str = "") -> str:
    """A line of a scene: one card, in MiB; every call about it answers `code`."""
    return f"gpu {total} {used} {code} {mig} {uuid}"


@dataclass
class FakeNvml:
    """A scene in a file that may change while a reader looks. `calls()` are the times it was opened and let go."""

    folder: Path
    library: Path

    def play(self, *lines: str) -> None:
        """From now on, this is what the driver says."""
        fresh = self.folder / "scene.new"
        fresh.write_text("\n".join(lines) + "\n")
        fresh.replace(self.folder / "scene")

    def calls(self) -> list[str]:
        log = self.folder / "calls"
        return log.read_text().split() if log.exists() else []

    @property
    def env(self) -> dict[str, str]:
        """What a process needs to find it, by the loader's own rules."""
        here = {"FAKE_NVML": str(self.folder / "scene"), "FAKE_NVML_LOG": str(self.folder / "calls")}
        return {**os.environ, **here, "LD_LIBRARY_PATH": str(self.library.parent)}


def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *flags: str) -> FakeNvml:
    """The library in this process, in place of the one that pynvml would load."""
    import pynvml

    fake = FakeNvml(tmp_path, _built(*flags))
    monkeypatch.setattr(pynvml, "nvmlLib", ctypes.CDLL(str(fake.library)))
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    for name in ("FAKE_NVML", "FAKE_NVML_LOG"):
        monkeypatch.setenv(name, fake.env[name])
    return fake
