"""What is known of an Ollama server from its version and from the environment of its process."""

from __future__ import annotations

from pathlib import Path

import pytest

from vwt_agents.endpoints.server_facts import ServerEnvironment, environment_of, era_of


@pytest.mark.parametrize(
    ("version", "slots", "current", "says"),
    [
        ("0.33.0", 1, True, "llama-server"),
        ("0.30.0-rc2", 1, True, "llama-server"),
        ("0.24.0", 1, True, "lays it out"),
        ("v0.9.7", 1, True, "lays it out"),
        ("0.9.6", None, False, "guesses"),
        ("0.1.44", None, False, "guesses"),
        ("1.0", 1, True, "llama-server"),
        ("0.0.0", 1, True, "nothing is known"),
        ("custom", 1, True, "nothing is known"),
        (None, 1, True, "nothing is known"),
    ],
)
def test_each_version_belongs_to_an_era(version: str | None, slots: int | None, current: bool, says: str) -> None:
    era = era_of(version)
    assert (era.default_slots, era.current) == (slots, current)
    assert says in era.says


def process(root: Path, pid: int, command: str, **environment: str) -> None:
    folder = root / str(pid)
    folder.mkdir()
    (folder / "cmdline").write_bytes(b"\0".join(word.encode() for word in command.split()) + b"\0")
    (folder / "environ").write_bytes(b"\0".join(f"{name}={value}".encode() for name, value in environment.items()))


def test_the_environment_is_that_of_the_server_at_that_port(tmp_path: Path) -> None:
    process(tmp_path, 7, "python server.py serve", OLLAMA_NUM_PARALLEL="9")
    process(tmp_path, 8, "/usr/bin/ollama serve", OLLAMA_HOST="0.0.0.0:11435", OLLAMA_NUM_PARALLEL="2")
    process(tmp_path, 9, "/usr/bin/ollama serve", OLLAMA_NUM_PARALLEL="4", HOME="/root")
    process(tmp_path, 10, "/usr/bin/ollama runner", OLLAMA_NUM_PARALLEL="8")
    process(tmp_path, 11, "ollama serve", OLLAMA_HOST="ftp://x")
    (tmp_path / "12").mkdir()
    found = environment_of("http://127.0.0.1:11434", root=tmp_path)
    assert found is not None
    assert (found.number("OLLAMA_NUM_PARALLEL"), found.source) == (4, "the environment of process 9")
    other = environment_of("http://localhost:11435", root=tmp_path)
    assert other is not None
    assert other.number("OLLAMA_NUM_PARALLEL") == 2
    assert environment_of("http://127.0.0.1:1", root=tmp_path) is None
    assert environment_of("http://10.0.0.5:11434", root=tmp_path) is None


@pytest.mark.parametrize(
    ("text", "number"), [("4", 4), (' "2"', 2), ("0", None), ("", None), ("-1", None), ("x", None)]
)
def test_a_number_that_is_none_is_not_set(text: str, number: int | None) -> None:
    assert ServerEnvironment({"N": text}, "s").number("N") == number


@pytest.mark.parametrize(
    ("values", "cache", "flash"),
    [
        ({}, "f16", None),
        ({"OLLAMA_KV_CACHE_TYPE": " Q8_0", "OLLAMA_FLASH_ATTENTION": "1"}, "q8_0", True),
        ({"OLLAMA_FLASH_ATTENTION": "false"}, "f16", False),
    ],
)
def test_cache_type_and_flash_attention(values: dict[str, str], cache: str, flash: bool | None) -> None:
    environment = ServerEnvironment(values, "s")
    assert (environment.cache_type, environment.flash_attention) == (cache, flash)


def test_a_server_in_a_container_is_not_taken_for_the_one_at_a_port_of_this_machine(tmp_path: Path) -> None:
    process(tmp_path, 8, "/bin/ollama serve", OLLAMA_HOST="0.0.0.0:11434", OLLAMA_NUM_PARALLEL="2")
    process(tmp_path, 9, "/usr/bin/ollama serve", OLLAMA_NUM_PARALLEL="4")
    for pid, network in (("self", 1), ("8", 2), ("9", 1)):
        (tmp_path / pid / "ns").mkdir(parents=True)
        (tmp_path / pid / "ns/net").symlink_to(f"net:[{network}]")
    found = environment_of("http://127.0.0.1:11434", root=tmp_path)
    assert found is not None
    assert found.number("OLLAMA_NUM_PARALLEL") == 4
