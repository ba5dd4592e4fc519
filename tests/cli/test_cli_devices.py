"""What `doctor` and `plan` make of the devices that the driver shows, and of endpoints on several of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fake_nvml import LOST, FakeNvml, card, load
from serving import PIPELINE, Served

from vwt_agents.cli import run_cli
from vwt_agents.testing import ServedModel

SEVEN, THIRTEEN, SMALL = "mistral:latest", "llama2:13b", "small:1b"


def llama(layers: int, embedding: int, heads: int, kv_heads: int) -> dict[str, Any]:
    shape = {
        "block_count": layers,
        "embedding_length": embedding,
        "attention.head_count": heads,
        "attention.head_count_kv": kv_heads,
        "context_length": 4096,
        "vocab_size": 32000,
    }
    return {"general.architecture": "llama", **{f"llama.{key}": value for key, value in shape.items()}}


MODELS = {
    SEVEN: ServedModel(3923, llama(32, 4096, 32, 8)),
    THIRTEEN: ServedModel(7025, llama(40, 5120, 40, 40)),
    SMALL: ServedModel(200),
}


@pytest.fixture
def driver(here: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    """A folder with a pipeline, a server with models of 7 and 13 billion parameters, and a driver to play scenes."""
    here.server.models = dict(MODELS)
    return load(tmp_path, monkeypatch)


def configure(url: str, small: tuple[str, str], large: tuple[str, str], *, budget: str = "") -> None:
    """agents.toml with a tier on an endpoint each: (device, model)."""
    text = f"[budget]\n{budget}\n"
    for tier, (device, model) in (("small", small), ("large", large)):
        where = f'kind = "ollama"\nurl = "{url}"\ndevice = "{device}"\nparallel = 1'
        text += f'[endpoints.{tier}]\n{where}\n[tiers.{tier}]\nendpoint = "{tier}"\nmodels = ["{model}"]\n'
    text += '[agents.coder]\ntask = "code"\n[agents.reviewer]\ntier = "large"\n'
    Path("agents.toml").write_text(text + '[licences]\naccept = ["llama2:13b"]\n')


def data(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> Any:
    capsys.readouterr()
    got = run_cli([*argv, "--json"])
    out, err = capsys.readouterr()
    assert got == code, err
    return json.loads(out)


def findings(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    capsys.readouterr()
    run_cli(["doctor", "--json"])
    return {one["what"]: one for one in json.loads(capsys.readouterr().out)["findings"]}


def residency(plan: Any) -> dict[str, tuple[list[str], bool]]:
    return {one["device"]: (one["models"], one["side_by_side"]) for one in plan["residency"]}


def test_doctor_shows_a_card_with_a_desktop_on_it_as_the_driver_library_tells(here: Served, tmp_path: Path) -> None:
    """The library is found and loaded as on a user's machine, by a process of its own."""
    (tmp_path / "two.py").write_text(PIPELINE)
    with pytest.MonkeyPatch.context() as patch:
        fake = load(tmp_path, patch)
    configure(here.server.url, ("gpu0", SMALL), ("gpu0", SMALL))
    here.server.models = dict(MODELS)
    fake.play(card(1200, uuid="GPU-1"), f"process 0 {os.getpid()} 900")
    command = [sys.executable, "-m", "vwt_agents", "doctor", "--json"]
    done = subprocess.run(command, env=fake.env, capture_output=True, text=True, check=False)
    (gpu,) = [one for one in json.loads(done.stdout)["findings"] if one["what"] == "device gpu0"]
    assert gpu["level"] == "ok"
    assert gpu["detail"].startswith(
        "NVIDIA GeForce RTX 5080; budget gpu0: 16303 MiB total - 1536 MiB reserve = 14767 MiB, "
        "less 1200 MiB that others take now (900 MiB by process "
    )
    assert gpu["detail"].endswith("= 13567 MiB")


def test_a_13b_and_a_7b_swap_on_one_card_of_16_gib(
    driver: FakeNvml, here: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    driver.play(card(1200))
    configure(here.server.url, ("gpu0", SEVEN), ("gpu0", THIRTEEN))
    plan = data(capsys, "plan", "two.py")
    assert plan["budgets"]["gpu0"] == 13567
    assert residency(plan) == {"gpu0": ([SEVEN, THIRTEEN], False)}
    assert plan["loads"]["swaps"]


def test_two_cards_with_an_endpoint_on_each_hold_both_at_once(
    driver: FakeNvml, here: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    driver.play(card(1200, uuid="GPU-A"), card(16, total=8192, uuid="GPU-B"))
    configure(here.server.url, ("gpu1", SEVEN), ("gpu0", THIRTEEN), budget='gpu1 = "auto"')
    plan = data(capsys, "plan", "two.py")
    assert (plan["budgets"]["gpu0"], plan["budgets"]["gpu1"]) == (13567, 6640)
    assert residency(plan) == {"gpu0": ([THIRTEEN], True), "gpu1": ([SEVEN], True)}
    assert (plan["loads"]["at_least"], plan["loads"]["swaps"]) == (2, False)
    found = findings(capsys)
    assert "CUDA_VISIBLE_DEVICES=GPU-A" in found["device gpu0"]["detail"]
    assert "CUDA_VISIBLE_DEVICES=GPU-B" in found["device gpu1"]["detail"]


def test_the_size_that_is_set_for_a_second_card_is_its_own(
    driver: FakeNvml, here: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    driver.play(card(), card())
    configure(here.server.url, ("gpu1", SEVEN), ("gpu0", THIRTEEN), budget='gpu1 = "2 GiB"')
    capsys.readouterr()
    assert run_cli(["plan", "two.py"]) == 3
    said = capsys.readouterr().err
    assert "budget of gpu1" in said or "gpu1" in said
    assert "2048 MiB" in said


def test_a_small_model_is_kept_on_the_cpu_beside_a_13b_on_the_card(
    driver: FakeNvml, here: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    driver.play(card(1200))
    configure(here.server.url, ("cpu", SMALL), ("gpu0", THIRTEEN))
    assert residency(data(capsys, "plan", "two.py")) == {"cpu": ([SMALL], True), "gpu0": ([THIRTEEN], True)}
    result = data(capsys, "run", "two.py")
    assert (result["status"], result["loads"]) == ("good", 2)
    assert set(result["devices"]) == {"cpu", "gpu0"}
    assert all(0 < device["peak_mib"] <= device["budget_mib"] for device in result["devices"].values())
    preloads = [body for path, body in here.server.requests if path == "/api/generate" and body.get("keep_alive") == -1]
    assert {body["model"]: body["options"].get("num_gpu") for body in preloads} == {SMALL: 0, THIRTEEN: None}


def test_an_instance_of_a_divided_card_is_a_device(
    driver: FakeNvml, here: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    driver.play(card(total=40960, mig=1), "part 0 9856 100 7", "part 0 19968 100 9")
    configure(here.server.url, ("gpu0:0", SEVEN), ("gpu0:1", THIRTEEN), budget='"gpu0:0" = "auto"\n"gpu0:1" = "auto"')
    plan = data(capsys, "plan", "two.py")
    assert residency(plan) == {"gpu0:0": ([SEVEN], True), "gpu0:1": ([THIRTEEN], True)}
    assert plan["budgets"]["gpu0:0"] == 9856 - 1536 - 100
    assert "CUDA_VISIBLE_DEVICES=MIG-0" in findings(capsys)["device gpu0:0"]["detail"]


def test_an_endpoint_on_a_device_that_is_not_there_names_those_that_are(
    driver: FakeNvml, here: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    driver.play(card())
    configure(here.server.url, ("gpu1", SEVEN), ("gpu0", THIRTEEN), budget='gpu1 = "auto"')
    capsys.readouterr()
    assert run_cli(["plan", "two.py"]) == 3
    said = "its device gpu1 is not on this machine, which has gpu0 (NVIDIA GeForce RTX 5080), cpu ("
    assert said in capsys.readouterr().err
    found = findings(capsys)["endpoint small"]
    assert (found["level"], found["detail"][: len(said)]) == ("missing", said)
    assert '[budget] gpu1 = "14 GiB"' in found["fix"]
    assert here.server.loads == []


def test_a_card_that_cannot_be_measured_is_believed_to_have_the_size_that_was_set(
    driver: FakeNvml, here: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    driver.play("init 9")
    configure(here.server.url, ("gpu0", SEVEN), ("gpu0", SEVEN), budget='gpu0 = "14 GiB"')
    assert data(capsys, "plan", "two.py")["budgets"]["gpu0"] == 14336


def test_a_lost_card_gets_no_model(driver: FakeNvml, here: Served, capsys: pytest.CaptureFixture[str]) -> None:
    driver.play(card(code=LOST))
    configure(here.server.url, ("gpu0", SEVEN), ("gpu0", THIRTEEN), budget='gpu0 = "14 GiB"')
    capsys.readouterr()
    assert run_cli(["plan", "two.py"]) == 3
    assert "its device gpu0 cannot be used: it does not answer: GPU is lost" in capsys.readouterr().err
    found = findings(capsys)["device gpu0"]
    assert found["level"] == "missing"
    assert "nvidia-smi --gpu-reset" in found["fix"]
