"""What every test shares: state of its own, how many run at once, and the word on which tests need a real model."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

SMALLEST = "smollm2:135m"
WORKERS = 4  # each reads all tests before its first one, which costs it 3 s: more of them gain little

# However this process was started, those that tests start find bytecode, or each of them compiles the package anew, and heed
# Ctrl-C, which a shell has its background jobs ignore. Set before the workers begin, who take it over.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# An example may take its time: a machine is as busy as it is, with our own workers too. CI tries the same examples each time,
# so that what it says is about the change; at a desk every run tries new ones.
settings.register_profile("desk", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("desk"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "desk")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One worker a core for folders of tests; none where only files are named: those are over before a worker has begun."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    files = all(Path(argument.partition("::")[0]).is_file() for argument in config.args)
    return 0 if files or cores == 1 else min(cores, WORKERS)


def _why_no_model() -> str | None:
    """Why the smallest real model cannot run here; None when it can."""
    if importlib.util.find_spec("xllamacpp") is None:
        return "the embedded engine is not installed: pip install -e '.[embedded]'"
    from vwt_agents.endpoints.embedded.catalogue import load_catalogue
    from vwt_agents.endpoints.embedded.store import Store

    entry = load_catalogue()[SMALLEST]
    if Store().find(entry.sha256) is None:
        return f"{SMALLEST} is not here: python -m vwt_agents models pull {SMALLEST}"
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    needing = [item for item in items if item.get_closest_marker("model")]
    if needing and (why := _why_no_model()) is not None:
        for item in needing:
            item.add_marker(pytest.mark.skip(reason=why))
    for item in items:
        if item.get_closest_marker("gpu") and not os.environ.get("OLLAMA_TEST_URL"):
            item.add_marker(pytest.mark.skip(reason="needs a GPU with Ollama: set OLLAMA_TEST_URL"))


@pytest.fixture(autouse=True)
def _own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test writes into the user's journal or the machine's ledger, and none meets the user's Ollama by accident."""
    monkeypatch.setenv("VWT_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("VWT_LEDGER", str(tmp_path / "ledger"))
    monkeypatch.setenv("OLLAMA_HOST", "http://127.0.0.1:9")
