"""One busy run for all who read of it. A run of many calls is made in bench/, which is no package."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from report_runs import EVIL, Ran, busy_run

from vwt_agents.errors import EndpointUnavailable

sys.path.insert(0, str(Path(__file__).parents[2] / "bench"))


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A run whose task and answers are as hostile as they can be."""
    folder = tmp_path_factory.mktemp("busy")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VWT_STATE", str(folder / "state"))
        patch.setenv("VWT_LEDGER", str(folder / "ledger"))
        for tries in range(6):
            try:
                return asyncio.run(busy_run(folder, task=EVIL.replace("\udc80", ""), answer=f"```python\n{EVIL}\n```"))
            except EndpointUnavailable:  # the server is this process's own: the machine was too busy for it to answer
                if tries == 5:
                    raise
        raise AssertionError
