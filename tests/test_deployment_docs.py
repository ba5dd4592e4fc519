"""docs/deployments.md: each of its files can be used as it stands, and its figures are the program's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vwt_agents.config import Settings, StartSettings, parse_settings
from vwt_agents.deployments import deployment_of

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs/deployments.md").read_text(encoding="utf-8")
FILES = re.findall(r"^```toml\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def settings(text: str) -> Settings:
    return parse_settings(text, source=ROOT / "agents.toml")


def test_there_is_a_whole_file_for_each_pattern() -> None:
    endpoints = [settings(text).endpoints for text in FILES]
    assert [len(found) for found in endpoints] == [1, 2, 2, 2]
    assert [any(one.start for one in found.values()) for found in endpoints] == [False, False, True, True]


@pytest.mark.parametrize("text", FILES)
def test_each_file_puts_the_large_model_on_one_worker(text: str) -> None:
    assert settings(text).tiers["large"].workers == 1


def test_the_files_of_compose_that_it_names_are_there() -> None:
    start = settings(FILES[2]).endpoints["large"].start
    assert start is not None
    assert all(path.is_file() for path in start.compose)


def test_what_it_says_of_a_command_is_what_a_command_gets() -> None:
    deployment = deployment_of(settings(FILES[3]).endpoints["large"])
    assert deployment is not None
    for name, value in deployment.env.items():
        assert name in TEXT
        assert name in {"OLLAMA_HOST", "OLLAMA_NUM_PARALLEL", "OLLAMA_FLASH_ATTENTION"} or f"{name}={value}" in TEXT
    assert (StartSettings().timeout, StartSettings().idle_stop) == (60, 600)


def test_the_default_shows_how_a_server_on_demand_would_be_written() -> None:
    """The lines that are commented out in agents.toml are a table that can be used."""
    default = (ROOT / "agents.toml").read_text(encoding="utf-8")
    shown = default.partition("# [endpoints.large]")[2].partition("\n\n")[0]
    table = "[endpoints.large]" + shown.replace("\n# ", "\n")
    found = settings(f'{table}\n[tiers.small]\nendpoint = "large"\nmodels = ["a"]').endpoints["large"].start
    assert found is not None
    assert (found.service, found.idle_stop) == ("ollama-large", 600)
