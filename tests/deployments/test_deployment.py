"""Which commands start, stop and ask after a server, with which environment: exactly what is run is what is shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from vwt_agents.config import EndpointSettings, StartSettings
from vwt_agents.deployments import Deployment, Order, deployment_of

FILES = (Path("/etc/vwt/docker-compose.yml"), Path("/etc/vwt/docker-compose.gpu.yml"))


def deployment(url: str = "http://127.0.0.1:11435", parallel: int = 1, **start: Any) -> Deployment:
    settings = EndpointSettings("large", "ollama", "gpu0", url, parallel, start=StartSettings(**start))
    found = deployment_of(settings)
    assert found is not None
    return found


def test_an_endpoint_without_start_has_no_deployment() -> None:
    assert deployment_of(EndpointSettings("here", "ollama", "gpu0", "http://127.0.0.1:11434")) is None


def test_compose_names_its_files_in_order_and_only_the_one_service() -> None:
    found = deployment(compose=FILES, service="ollama-large")
    files = ("-f", str(FILES[0]), "-f", str(FILES[1]))
    assert found.up() == Order(("docker", "compose", *files, "up", "-d", "--wait", "ollama-large"))
    assert found.down() == Order(("docker", "compose", *files, "stop", "ollama-large"))
    assert found.status() == Order(("docker", "compose", *files, "ps", "--format", "json", "ollama-large"))


def test_a_project_of_its_own_goes_before_the_files() -> None:
    found = deployment(compose=FILES[:1], service="ollama", project="mine")
    assert found.up().argv[:6] == ("docker", "compose", "-p", "mine", "-f", str(FILES[0]))


def test_compose_gets_only_the_variables_that_are_set_for_it() -> None:
    found = deployment(compose=FILES, service="ollama", env={"OLLAMA_IMAGE_TAG": "0.33.0"})
    assert found.up().env == {"OLLAMA_IMAGE_TAG": "0.33.0"}


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        ({"cache_type": "q8_0"}, {"OLLAMA_KV_CACHE_TYPE": "q8_0", "OLLAMA_FLASH_ATTENTION": "1"}),
        ({"flash_attention": False}, {"OLLAMA_FLASH_ATTENTION": "0"}),
    ],
)
def test_compose_is_told_how_the_kv_cache_is_kept_where_that_is_not_the_default(
    kept: dict[str, Any], told: dict[str, str]
) -> None:
    start = StartSettings(compose=FILES, service="ollama", env={"OTHER": "1"})
    found = deployment_of(EndpointSettings("x", "ollama", "gpu0", "http://127.0.0.1:11434", start=start, **kept))
    assert found is not None
    assert found.up().env == {**told, "OTHER": "1"}


def test_a_command_is_told_its_address_its_slots_and_that_nothing_expires() -> None:
    found = deployment(command=("ollama", "serve"), parallel=3, folder=Path("/etc/vwt"))
    assert found.up() == Order(
        ("ollama", "serve"),
        {
            "OLLAMA_HOST": "127.0.0.1:11435",
            "OLLAMA_NUM_PARALLEL": "3",
            "OLLAMA_MAX_LOADED_MODELS": "16",
            "OLLAMA_KEEP_ALIVE": "-1",
            "LLAMA_ARG_CACHE_RAM": "1024",
        },
        "/etc/vwt",
    )
    assert (found.down(), found.status()) == (None, None)


@pytest.mark.parametrize(
    ("cache_type", "flash_attention", "told"),
    [
        ("f16", True, {}),
        ("q8_0", True, {"OLLAMA_KV_CACHE_TYPE": "q8_0", "OLLAMA_FLASH_ATTENTION": "1"}),
        ("f16", False, {"OLLAMA_FLASH_ATTENTION": "0"}),
    ],
)
def test_a_command_keeps_the_kv_cache_as_footprints_count_it(
    cache_type: Literal["f16", "q8_0"], flash_attention: bool, told: dict[str, str]
) -> None:
    usual = EndpointSettings(
        "large", "ollama", "gpu0", "http://127.0.0.1:11435", start=StartSettings(command=("ollama", "serve"))
    )
    found = deployment_of(replace(usual, cache_type=cache_type, flash_attention=flash_attention))
    assert found is not None
    keys = {"OLLAMA_KV_CACHE_TYPE", "OLLAMA_FLASH_ATTENTION"}
    assert {key: value for key, value in found.up().env.items() if key in keys} == told


def test_env_goes_before_what_is_derived() -> None:
    env = {"OLLAMA_NUM_PARALLEL": "8", "OLLAMA_MODELS": "/srv/models"}
    found = deployment(command=("ollama", "serve"), env=env).up().env
    assert (found["OLLAMA_NUM_PARALLEL"], found["OLLAMA_MODELS"]) == ("8", "/srv/models")
    assert found["OLLAMA_KEEP_ALIVE"] == "-1"


@pytest.mark.parametrize(
    ("url", "host", "key"),
    [
        ("http://localhost:11435", "127.0.0.1:11435", "127.0.0.1-11435"),
        ("http://127.0.0.1:11435/", "127.0.0.1:11435", "127.0.0.1-11435"),
        ("http://[::1]:11435", "[::1]:11435", "1-11435"),
        ("http://box", "box:80", "box-80"),
        ("https://Box", "box:443", "box-443"),
    ],
)
def test_however_its_url_is_written_a_server_has_one_address_and_one_name(url: str, host: str, key: str) -> None:
    found = deployment(url, command=("ollama", "serve"))
    assert (found.up().env["OLLAMA_HOST"], found.key) == (host, key)


def test_what_is_shown_can_be_given_to_a_shell() -> None:
    order = Order(("my server", "--at", "a$b"), {"NAME": "two words"})
    assert order.lines() == ["NAME='two words'", "'my server' --at 'a$b'"]


def test_a_deployment_is_written_down_and_read_again_unchanged() -> None:
    for found in (
        deployment(command=("ollama", "serve"), env={"A": "b"}, timeout=3.0, idle_stop=4.0),
        deployment(compose=FILES, service="ollama", project="mine"),
    ):
        assert Deployment.from_json(found.as_json()) == found


def test_another_patience_is_the_same_start_and_another_environment_is_not() -> None:
    one = deployment(command=("ollama", "serve"))
    assert one.same_start(deployment(command=("ollama", "serve"), timeout=1.0, idle_stop=1.0))
    assert not one.same_start(deployment(command=("ollama", "serve"), env={"A": "b"}))
