"""A folder as a user has it: a pipeline, agents.toml beside it, and an Ollama that answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import PIPELINE, Served, served
from two_models import CONFIG


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    with served() as up:
        (tmp_path / "two.py").write_text(PIPELINE)
        (tmp_path / "agents.toml").write_text(CONFIG.format(budget="4 GiB", url=up.server.url))
        monkeypatch.chdir(tmp_path)
        yield up
