"""A folder for a server's files, in which nothing goes on when the test is over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from server_processes import nothing_left_in


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with nothing_left_in(tmp_path):
        yield tmp_path / "server"
