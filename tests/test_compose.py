"""The compose files say what the documents beside them promise. No container is started: the files are only read."""

from __future__ import annotations

from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")

FOLDER = Path(__file__).parents[1] / "compose"


def services(name: str) -> dict:
    return yaml.safe_load((FOLDER / name).read_text())["services"]


@pytest.mark.parametrize(
    ("file", "service", "port"),
    [
        ("docker-compose.yml", "ollama", 11434),
        ("docker-compose.ollama-small.yml", "ollama-small", 11434),
        ("docker-compose.ollama-large.yml", "ollama-large", 11435),
    ],
)
def test_a_server_is_reached_from_this_machine_only_and_lets_nothing_expire(file, service, port):
    found = services(file)[service]
    assert found["ports"] == [f"127.0.0.1:{port}:11434"]
    assert found["environment"]["OLLAMA_KEEP_ALIVE"] == "-1"
    assert found["healthcheck"]["test"] == ["CMD", "ollama", "list"]
    assert found["volumes"] == ["ollama-models:/root/.ollama"]


def test_every_service_can_be_given_the_gpu():
    overlay = services("docker-compose.gpu.yml")
    assert overlay.keys() == services("docker-compose.yml").keys()
    for service in overlay.values():
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}


def test_a_service_that_extends_another_file_names_a_service_of_it():
    for service in services("docker-compose.yml").values():
        if extended := service.get("extends"):
            assert extended["service"] in services(extended["file"])
