"""The compose files say what the documents beside them promise. No container is started: the files are only read."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
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
    assert found["environment"]["LLAMA_ARG_CACHE_RAM"].endswith(":-1024}")
    assert found["environment"]["OLLAMA_MAX_LOADED_MODELS"].endswith(":-16}")
    [store] = found["volumes"]
    assert store.endswith(("ollama-models:/root/.ollama", "_MODELS:-ollama-models}:/root/.ollama"))


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


FILES = [
    "docker-compose.yml",
    "docker-compose.gpu.yml",
    "docker-compose.ollama-small.yml",
    "docker-compose.ollama-large.yml",
]
SETS = [FILES[:1], FILES[:2], FILES[2:3], FILES[3:]]


def test_every_compose_file_is_valid_by_the_schema_of_compose():
    pytest.importorskip("check_jsonschema")
    assert sorted(path.name for path in FOLDER.glob("*.yml")) == sorted(FILES)
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", *FILES]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_store_that_a_variable_may_name_is_declared():
    for name in FILES:
        if name != "docker-compose.gpu.yml":
            declared = yaml.safe_load((FOLDER / name).read_text())["volumes"]
            tiers = [tier for tier in ("small", "large") if f"ollama-{tier}" in services(name)]
            assert set(declared) == {"ollama-models", *(f"ollama-{tier}-models" for tier in tiers)}


def _why_no_compose():
    if shutil.which("docker") is None:
        return "docker is not here"
    done = subprocess.run(["docker", "compose", "version"], capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else "this docker has no compose: " + done.stderr.strip().partition("\n")[0]


@pytest.fixture
def compose():
    """`docker compose config` on files of ours, as data; it needs no daemon."""
    if (why := _why_no_compose()) is not None:
        pytest.skip(why)

    def config(files, *services):
        named = [part for name in files for part in ("-f", name)]
        command = ["docker", "compose", *named, "config", "--format", "json", *services]
        done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return config


def test_compose_itself_reads_every_set_of_files(compose):
    assert [sorted(compose(files)["services"]) for files in SETS] == [
        ["ollama"],
        ["ollama"],
        ["ollama-small"],
        ["ollama-large"],
    ]


def test_a_named_service_is_there_whatever_its_profile_with_the_gpu_and_the_store_asked_for(compose, monkeypatch):
    monkeypatch.setenv("OLLAMA_LARGE_MODELS", "ollama-large-models")
    monkeypatch.setenv("OLLAMA_LARGE_PARALLEL", "2")
    found = compose(FILES[:2], "ollama-large")["services"]["ollama-large"]
    assert found["environment"]["OLLAMA_NUM_PARALLEL"] == "2"
    assert [volume["source"] for volume in found["volumes"]] == ["ollama-large-models"]
    [device] = found["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
