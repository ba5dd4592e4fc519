"""The pytest plugin: the fixture `vwt_app`, and `--vwt-record`. Found by pytest wherever vwt_agents is installed.

It is imported at the start of every pytest on such a machine, so it imports nothing until a test asks for the fixture.
"""

from __future__ import annotations

import inspect
import os
import shlex
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from vwt_agents.testing.vwt_app import VwtApp

__all__ = ["pytest_addoption", "vwt_app"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--vwt-record`: ask the models, and write down what they say."""
    group = parser.getgroup("vwt_agents", "runs of vwt_agents")
    group.addoption(
        "--vwt-record",
        action="store_true",
        help="run tests that use `vwt_app` with the real models, and write their recordings anew (also VWT_RECORD=1)",
    )


@pytest.fixture
def vwt_app(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> VwtApp:
    """Runs pipelines with recorded or given answers, in a state of their own: `result = await vwt_app.run(FILE, ...)`."""
    if why := _not_awaited(request):
        pytest.fail(why, pytrace=False)
    from vwt_agents.testing.vwt_app import VwtApp

    record = bool(request.config.getoption("--vwt-record")) or os.environ.get("VWT_RECORD", "0") not in {"", "0"}
    monkeypatch.setenv("VWT_STATE", str(tmp_path / "vwt" / "state"))
    if not record:  # models that are really loaded are claimed where all processes of this machine look
        monkeypatch.setenv("VWT_LEDGER", str(tmp_path / "vwt" / "ledger"))
    folder = tmp_path / "vwt"
    folder.mkdir(exist_ok=True)
    return VwtApp(
        folder,
        root=request.config.rootpath,
        here=request.path.parent,
        record=record,
        command=f"python -m pytest {shlex.quote(request.node.nodeid)} --vwt-record",
    )


def _not_awaited(request: pytest.FixtureRequest) -> str:
    """Why nobody would run an async test; empty where somebody does, or where the test is none."""
    test = getattr(request.node, "obj", None)
    if not inspect.iscoroutinefunction(test):
        return ""
    marked = {mark.name for mark in request.node.iter_markers()}
    if "anyio" in marked or "trio" in marked:
        return ""
    sync = "or write a test that is not async and use vwt_app.run_sync(...)"
    if not request.config.pluginmanager.hasplugin("asyncio"):
        return f"nothing here runs async tests: pip install pytest-asyncio, {sync}"
    if "asyncio" not in marked:
        return (
            f'pytest-asyncio does not run this test: mark it @pytest.mark.asyncio, or set asyncio_mode = "auto"; {sync}'
        )
    return ""
