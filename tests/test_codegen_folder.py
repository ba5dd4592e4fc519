"""`codegen -i repo=DIR` from the command's view: a patch that git applies and a good verdict, or exit code 1 and no lie."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from two_models import CONFIG, MODELS

from vwt_agents.app import App, Job
from vwt_agents.result import RunResult
from vwt_agents.testing import OllamaServer

CODEGEN = Path(__file__).parent.parent / "pipelines" / "codegen.py"
MORE = "[agents.tester]\ntask = 'code'\n[sandbox]\ntimeout = '120s'\n"
PAGES = {
    "pages.py": 'def page(values, number, size):\n    """A page; they count from 1."""\n'
    "    return values[number * size : (number + 1) * size]\n",
    "tests/test_pages.py": "from pages import page\n\n\ndef test_first():\n    assert page([1, 2, 3], 1, 2) == [1, 2]\n\n\n"
    "def test_nothing():\n    assert page([], 1, 2) == []\n",
}
FIXED = "```python\ndef page(values, number, size):\n    return values[(number - 1) * size : number * size]\n```"


def write(top: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)
    return top


def apply(patch: Path, repo: Path) -> None:
    subprocess.run(["git", "apply", str(patch)], cwd=repo, check=True)


async def run(
    tmp_path: Path, script: Callable[[dict[str, Any]], str], *pairs: str
) -> tuple[RunResult, list[dict[str, Any]]]:
    config = tmp_path / "agents.toml"
    async with OllamaServer(MODELS, script) as server:
        config.write_text(CONFIG.format(url=server.url, budget="100000 MiB") + MORE)
        job = Job(CODEGEN, pairs=("samples=2", "repairs=1", *pairs), config=config, out=tmp_path / "out")
        return await App().run(job), server.calls


async def test_a_change_that_is_suspected_is_good_once_the_user_accepts_that_by_name(tmp_path: Path) -> None:
    files = {
        "calc.py": "def value(text):\n    return 0\n",
        "test_calc.py": "from calc import value\n\n\ndef test_value(tmp_path):\n    assert value('1 + 2') == 3\n",
    }
    repo = write(tmp_path / "repo", files)
    answer = "```python\ndef value(text):\n    return eval(text)\n```"
    task = "task=`value` gives 0 instead of the value of its text"
    result, _ = await run(tmp_path, lambda _: answer, f"repo={repo}", task)
    assert (result.status, result.exit_code) == ("bad", 1)
    assert result.verdict is not None
    what = "accept='[\"runs text as code (calc.py)\"]'"
    assert what in result.verdict["reason"]
    accepted, _ = await run(tmp_path, lambda _: answer, f"repo={repo}", task, what.replace("'", ""))
    assert (accepted.status, accepted.exit_code) == ("good", 0), accepted.verdict


async def test_a_bug_in_a_folder_becomes_a_patch_and_the_folder_stays_as_it_was(tmp_path: Path) -> None:
    repo = write(tmp_path / "repo", PAGES)
    result, calls = await run(tmp_path, lambda _: FIXED, f"repo={repo}", "task=`page` gives the wrong page")
    assert (result.status, result.exit_code) == ("good", 0), result.verdict
    assert result.verdict is not None
    assert result.verdict["reason"] == "all 2 tests that count passed"
    assert {path.name: path.read_text() for path in repo.rglob("*.py")} == {Path(n).name: t for n, t in PAGES.items()}
    patch = tmp_path / "out/changes.patch"
    apply(patch, repo)
    assert "(number - 1) * size" in (repo / "pages.py").read_text()
    assert (tmp_path / "out/changed/pages.py").read_text() == (repo / "pages.py").read_text()
    asked = calls[0]["messages"][-2 if calls[0]["messages"][-1]["role"] == "assistant" else -1]["content"]
    assert "assert page([1, 2, 3], 1, 2) == [1, 2]" in asked


@pytest.mark.slow
async def test_a_change_that_breaks_what_passed_ends_bad(tmp_path: Path) -> None:
    repo = write(tmp_path / "repo", PAGES)
    wrong = "```python\ndef page(values, number, size):\n    return [1, 2]\n```"
    result, _ = await run(tmp_path, lambda _: wrong, f"repo={repo}", "task=`page` gives the wrong page")
    assert (result.status, result.exit_code) == ("bad", 1)
    assert result.verdict is not None
    assert "1 that passed before fail now: tests/test_pages.py::test_nothing" in result.verdict["reason"]
    assert "NOT PROVEN" in (tmp_path / "out/notes.md").read_text()


@pytest.mark.slow
async def test_answers_that_reach_for_the_tests_or_change_nothing_are_told_why_and_prove_nothing(
    tmp_path: Path,
) -> None:
    repo = write(tmp_path / "repo", PAGES)
    told: list[str] = []

    def script(body: dict[str, Any]) -> str:
        told.append(json.dumps(body["messages"]))
        return "`tests/test_pages.py`:\n```python\ndef test_first():\n    pass\n```"

    result, _ = await run(tmp_path, script, f"repo={repo}", "task=`page` gives the wrong page")
    assert (result.status, result.exit_code) == ("bad", 1)
    assert any("belongs to the tests" in one for one in told)
    assert (tmp_path / "out/changes.patch").read_text() == ""


async def test_a_new_function_is_proven_by_the_examples_of_the_task_and_both_are_in_the_patch(tmp_path: Path) -> None:
    repo = write(tmp_path / "repo", {"shop/__init__.py": "", "shop/tax.py": "RATE = 2\n"})
    answer = "`shop/tax.py`:\n```python\ndef gross(net: int) -> int:\n    return net * RATE\n```"
    task = "task=Add `gross(net: int) -> int` to shop/tax.py.\n\ngross(2) => 4\ngross(0) => 0\ngross(5) => 10\n"
    result, _ = await run(tmp_path, lambda _: answer, f"repo={repo}", task)
    assert (result.status, result.verdict and result.verdict["tests_passed"]) == ("good", 3), result.verdict
    apply(tmp_path / "out/changes.patch", repo)
    assert (repo / "shop/tax.py").read_text() == "RATE = 2\n\n\ndef gross(net: int) -> int:\n    return net * RATE\n"
    assert "gross(5) == 10" in (repo / "test_tax.py").read_text()


async def test_several_files_without_a_folder_are_written_in_turn_and_tested_together(tmp_path: Path) -> None:
    def script(body: dict[str, Any]) -> str:
        text = json.dumps(body["messages"])
        if "whole file `store.py`" in text:
            return "```python\nclass Store:\n    def __init__(self):\n        self.values = {}\n```"
        return (
            "```python\nfrom store import Store\n\n\ndef count(n: int) -> int:\n    return len(Store().values) + n\n```"
        )

    task = "task=Write `store.py` with a class Store, and `cli.py` with `count(n: int) -> int`.\n\n"
    task += "count(1) => 1\ncount(2) => 2\ncount(3) => 3\n"
    result, _ = await run(tmp_path, script, task)
    assert (result.status, result.verdict and result.verdict["tests_passed"]) == ("good", 3), result.verdict
    assert "from store import Store" in (tmp_path / "out/cli.py").read_text()
    assert (tmp_path / "out/store.py").exists()
    assert not (tmp_path / "out/changes.patch").exists()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "there is no folder"),
        ({"m.py": "", "test_m.py": "import nothing_of_that_name\n\ndef test(): pass\n"}, "has no nothing_of_that_name"),
    ],
)
async def test_a_folder_that_cannot_be_worked_on_ends_the_run_with_what_to_do(
    tmp_path: Path, files: dict[str, str], message: str
) -> None:
    repo = write(tmp_path / "repo", files)
    result, calls = await run(tmp_path, lambda _: "", f"repo={repo}", "task=Make the tests pass.")
    assert result.exit_code in (2, 3)
    assert message in (result.error or "")
    assert calls == []


async def test_what_got_further_is_gone_on_from_until_the_rest_passes_too(tmp_path: Path) -> None:
    """A small model completes one function after the other; the second is asked for with the first one mended."""
    text = "def one():\n    return 0\n\n\ndef two():\n    return one()\n"
    test = "from m import one, two\n\n\ndef test_one():\n    assert one() == 1\n\n\ndef test_two():\n    assert two() == 2\n"
    repo = write(tmp_path / "repo", {"m.py": text, "test_m.py": test})
    seen: list[str] = []

    def script(body: dict[str, Any]) -> str:
        last = body["messages"][-1]
        if last["role"] != "assistant" or "Write the" in body["messages"][-2]["content"]:
            return "no idea"
        seen.append(last["content"])
        return " return 1" if last["content"].rpartition("def ")[2].startswith("one") else " return one() + 1"

    config = tmp_path / "agents.toml"
    models = {"qwen2.5-coder:0.5b": MODELS["small:1b"], "large:2b": MODELS["large:2b"]}
    async with OllamaServer(models, script) as server:
        settings = CONFIG.format(url=server.url, budget="100000 MiB") + MORE
        config.write_text(settings.replace("small:1b", "qwen2.5-coder:0.5b").replace("large:2b", "qwen2.5-coder:0.5b"))
        pairs = (f"repo={repo}", "task=Make the tests pass.", "advice=false")
        result = await App().run(Job(CODEGEN, pairs=pairs, config=config, out=tmp_path / "out"))
    assert (result.status, result.exit_code) == ("good", 0), result.verdict
    assert ">>> one()\n    1" in seen[0]
    assert "return 1" in seen[-1]
    assert "def two():\n    return one() + 1\n" in (tmp_path / "out/changed/m.py").read_text()


async def test_a_file_without_the_function_it_was_to_have_is_no_good_whatever_the_tests_say(tmp_path: Path) -> None:
    answer = "```python\ndef add(a: int, b: int) -> int:\n    return a + b\n```"
    task = "task=Write `sums.py` with `add(a: int, b: int) -> int`, and `cli.py` with `total(values: list) -> int`.\n\n"
    task += "add(1, 2) => 3\nadd(0, 0) => 0\nadd(5, 1) => 6\n"
    result, _ = await run(tmp_path, lambda _: answer, task)
    assert (result.status, result.exit_code) == ("bad", 1)
    assert result.verdict is not None
    assert result.verdict["reason"] == "cli.py has no total, which the task asks for"
