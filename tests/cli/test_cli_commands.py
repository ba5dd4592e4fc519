"""Each command does what DESIGN promises of it: results on stdout, everything else on stderr, fields and exit codes."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from serving import Served, served
from two_models import CONFIG, MODELS

from vwt_agents.cli import run_cli
from vwt_agents.testing import ServedModel

RESULT = {
    *(
        "run_id",
        "pipeline",
        "status",
        "promoted",
        "tier",
        "verdict",
        "outputs",
        "seconds",
        "stages",
        "loads",
        "unloads",
    ),
    *("budget_mib", "peak_mib", "artifacts", "report"),
}
STAGE = {
    *("name", "agent", "model", "endpoint", "attempts", "seconds", "wait_seconds", "load_seconds", "prompt_tokens"),
    *("output_tokens", "cached"),
}

Capture = pytest.CaptureFixture[str]


def called(capsys: Capture, *argv: str) -> tuple[int, str, str]:
    code = run_cli(argv)
    out, err = capsys.readouterr()
    return code, out, err


def data(capsys: Capture, *argv: str, code: int = 0) -> Any:
    got, out, err = called(capsys, *argv, "--json")
    assert got == code, err
    return json.loads(out)


def test_a_limit_of_the_command_line_ends_the_run_and_resuming_with_a_higher_one_goes_on(
    here: Served, capsys: Capture
) -> None:
    first = data(capsys, "run", "two.py", "--max-calls", "1", "--priority", "interactive", "--deadline", "1h", code=1)
    assert first["limits"]["max_calls"] == {"used": 1, "limit": 1}
    assert "--max-calls" in first["error"]
    assert "runs resume" in first["error"]
    second = data(capsys, "runs", "resume", first["run_id"], "--max-calls", "5", "--max-tokens", "100000")
    assert (second["status"], second["limits"]["max_calls"]) == ("good", {"used": 1, "limit": 5})
    assert set(second["limits"]) == {"deadline", "max_calls", "max_tokens"}
    assert len(here.server.calls) == 2


@pytest.mark.parametrize("number", ["nan", "inf", "0", "-1"])
def test_a_limit_of_model_time_is_a_number_of_seconds(here: Served, capsys: Capture, number: str) -> None:
    code, _out, err = called(capsys, "run", "two.py", "--max-seconds", number)
    assert code == 2
    assert "--max-seconds" in err
    Path("agents.toml").write_text(
        CONFIG.format(budget="4 GiB", url=here.server.url) + f"[run]\nmax_seconds = {number}\n"
    )
    code, _out, err = called(capsys, "run", "two.py")
    assert code == 2
    assert "max_seconds" in err


def test_run_prints_what_came_of_it_and_tells_its_progress_on_stderr(here: Served, capsys: Capture) -> None:
    code, out, err = called(capsys, "run", "two.py", "--out", "made")
    assert code == 0
    assert out.startswith("two: good in ")
    assert "an answer" in out
    assert Path("made/answer.txt").read_text() == "an answer"
    for line in ("> first (coder)", "+ second", "load small:1b on here"):
        assert line in err
        assert line not in out


def test_run_json_has_every_promised_field_and_stdout_holds_nothing_else(here: Served, capsys: Capture) -> None:
    result = data(capsys, "run", "two.py", "-i", "task=another")
    assert set(result) >= RESULT
    assert [set(stage) >= STAGE for stage in result["stages"]] == [True, True]
    assert (result["status"], result["outputs"], result["loads"]) == ("good", {"second": "an answer"}, 1)
    assert Path(result["report"]).read_text().startswith("# two: good")
    assert "another" in json.dumps(here.server.calls[0])


def test_what_a_pipeline_prints_never_gets_into_the_result(here: Served, capsys: Capture) -> None:
    text = Path("two.py").read_text().replace("    text = await", '    print("from a stage")\n    text = await')
    Path("two.py").write_text(f'print("from the file")\n{text}')
    for command in ("plan", "run"):
        code, out, err = called(capsys, command, "two.py", "--json")
        assert code == 0
        assert json.loads(out)
        assert "from the file" in err
    assert "from a stage" in err


def test_quiet_says_nothing_while_it_runs(here: Served, capsys: Capture) -> None:
    code, _out, err = called(capsys, "run", "two.py", "--quiet")
    assert (code, err) == (0, "")


def test_verbose_shows_the_log_on_stderr(here: Served, capsys: Capture) -> None:
    code, out, err = called(capsys, "run", "two.py", "-v")
    assert code == 0
    assert "stage.started" in err
    assert "stage.started" not in out


def test_a_stage_that_raises_ends_the_run_with_exit_code_one_and_its_line(here: Served, capsys: Capture) -> None:
    Path("two.py").write_text(
        Path("two.py").read_text().replace("    return text\n", '    raise ValueError("no good")\n')
    )
    code, out, _err = called(capsys, "run", "two.py")
    assert code == 1
    assert "two: bad" in out
    assert "stage 'second' raised ValueError: no good (two.py:16)" in out
    assert "Traceback" not in out


def test_a_model_that_is_not_pulled_names_the_command_that_pulls_it(here: Served, capsys: Capture) -> None:
    del here.server.models["small:1b"], here.server.models["large:2b"]
    code, out, err = called(capsys, "run", "two.py")
    assert (code, out) == (3, "")
    assert "small:1b" in err
    assert "pull small:1b" in err


def test_a_refused_licence_says_how_to_accept_it(here: Served, capsys: Capture) -> None:
    here.server.models |= {name: ServedModel(300, licence="LLAMA 2 COMMUNITY LICENSE AGREEMENT") for name in MODELS}
    code, out, err = called(capsys, "run", "two.py")
    assert code in (2, 3)
    assert out == ""
    assert "llama2" in err
    assert "accept" in err


def test_a_budget_that_no_model_fits_ends_at_once_with_the_arithmetic(here: Served, capsys: Capture) -> None:
    Path("agents.toml").write_text(CONFIG.format(budget="50 MiB", url=here.server.url))
    code, out, err = called(capsys, "run", "two.py")
    assert (code, out) == (3, "")
    assert "budget 50 MiB" in err or "50 MiB" in err
    assert here.server.loads == []


def test_an_out_folder_that_cannot_be_made_is_the_users_fault_and_nothing_was_loaded(
    here: Served, capsys: Capture
) -> None:
    Path("taken").write_text("a file")
    code, out, err = called(capsys, "run", "two.py", "--out", "taken")
    assert (code, out) == (2, "")
    assert "taken" in err
    assert "--out" in err
    assert here.server.loads == []


def test_plan_loads_nothing_and_gives_every_route_its_reason(here: Served, capsys: Capture) -> None:
    code, text, _err = called(capsys, "plan", "two.py")
    plan = data(capsys, "plan", "two.py")
    _code, mermaid, _err = called(capsys, "plan", "two.py", "--mermaid")
    assert code == 0
    assert "predicted loads: 1" in text
    assert all(route["reason"] for route in plan["routes"])
    assert all(part in text for route in plan["routes"] for part in route["reason"].split("; "))
    assert [model["model"] for model in plan["models"] if not model["only_escalation"]] == ["small:1b"]
    assert plan["budgets"]["cpu"] == 4096
    assert mermaid.startswith("flowchart")
    assert (here.server.loads, here.server.calls) == ([], [])


def test_doctor_is_content_where_runs_can_work(here: Served, capsys: Capture) -> None:
    found = data(capsys, "doctor")
    assert found["ok"]
    assert {"python", "endpoint here", "models of tier small", "sandbox", "journal"} <= {
        one["what"] for one in found["findings"]
    }
    assert here.server.loads == []


def test_doctor_names_what_is_missing_and_the_command_that_fixes_it(here: Served, capsys: Capture) -> None:
    del here.server.models["small:1b"]
    code, out, _err = called(capsys, "doctor")
    assert code == 3
    assert "MISSING models of tier small: small:1b is not pulled" in out
    assert "fix: python -m vwt_agents models pull small:1b" in out


def test_doctor_judges_a_tier_by_the_endpoint_that_runs_would_use(here: Served, capsys: Capture) -> None:
    """Models of `otherwise` are of no use while the tier's own endpoint answers."""
    Path("agents.toml").write_text(
        CONFIG.format(budget="4 GiB", url=here.server.url)
        .replace('["small:1b"]\n', '["small:1b"]\notherwise = { endpoint = "spare", models = ["large:2b"] }\n')
        .replace("[tiers.small]", f'[endpoints.spare]\nkind = "ollama"\nurl = "{here.server.url}"\n[tiers.small]')
    )
    del here.server.models["small:1b"]
    levels = {one["what"]: one["level"] for one in data(capsys, "doctor", code=3)["findings"]}
    assert (levels["models of tier small"], levels["models of tier large"]) == ("missing", "ok")


def test_an_ollama_with_none_of_the_models_is_passed_over_and_doctor_says_so(here: Served, capsys: Capture) -> None:
    with served() as spare:
        here.server.models.clear()
        here.server.models["mine:8b"] = ServedModel(100)
        instead = 'otherwise = { endpoint = "spare", models = ["small:1b", "large:2b"] }\n'
        Path("agents.toml").write_text(
            CONFIG.format(budget="4 GiB", url=here.server.url)
            .replace('["small:1b"]\n', '["small:1b"]\n' + instead)
            .replace('["large:2b"]\n', '["large:2b"]\n' + instead)
            .replace("[tiers.small]", f'[endpoints.spare]\nkind = "ollama"\nurl = "{spare.server.url}"\n[tiers.small]')
        )
        code, _out, err = called(capsys, "run", "two.py")
        assert code == 0, err
        assert "has none of the models in agents.toml (`ollama pull " in err
        assert (here.server.calls, len(spare.server.calls) > 0) == ([], True)
        findings = {one["what"]: one for one in data(capsys, "doctor", code=0)["findings"]}
        assert findings["models of tier small"]["level"] == "ok"
        note = next(one for one in findings.values() if "none of the models" in one["detail"])
        assert (note["level"], "ollama pull small:1b" in note["fix"]) == ("note", True)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it has other numbers")
def test_doctor_says_where_the_null_device_is_none_and_how_it_is_made_anew(
    here: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Capture
) -> None:
    def found(code: int) -> tuple[str, str, str]:
        findings = {one["what"]: one for one in data(capsys, "doctor", code=code)["findings"]}
        one = findings["null device"]
        return one["level"], one["detail"], one["fix"]

    assert found(0) == ("ok", "/dev/null", None)
    null = tmp_path / "null"
    null.write_text("what was thrown away")
    monkeypatch.setattr(os, "devnull", str(null))
    level, detail, fix = found(3)
    assert (level, fix) == ("missing", f"as root: rm -f {null}; mknod -m 666 {null} c 1 3")
    assert f"{null} is a regular file" in detail


def test_models_without_a_command_lists_as_json_too(here: Served, capsys: Capture) -> None:
    assert data(capsys, "models") == data(capsys, "models", "list")
    code, _out, err = called(capsys, "models", "--json", "show", "small:1b")
    assert (code, "goes after the command" in err) == (2, True)


def test_a_model_that_nobody_knows_cannot_be_forgotten(here: Served, capsys: Capture) -> None:
    assert called(capsys, "run", "two.py", "--quiet")[0] == 0
    code, _out, err = called(capsys, "models", "forget", "smal:1b")
    assert (code, "no endpoint knows a model 'smal:1b'" in err, "did you mean 'small:1b'?" in err) == (3, True, True)
    del here.server.models["small:1b"]  # gone since it was measured
    assert called(capsys, "models", "forget", "small:1b")[1] == "small:1b: 1 measurement forgotten\n"
    assert called(capsys, "models", "forget", "small:1b")[0] == 3


def test_models_lists_what_tiers_name_first_and_what_is_not_there(here: Served, capsys: Capture) -> None:
    here.server.models["other:7b"] = ServedModel(100)
    del here.server.models["large:2b"]
    rows = data(capsys, "models", "list")
    assert [(row["model"], row["tiers"], row["installed"]) for row in rows] == [
        ("large:2b", ["large"], False),
        ("small:1b", ["small"], True),
        ("other:7b", [], True),
    ]
    code, out, _err = called(capsys, "models")
    assert code == 0
    assert "no: pull" in out
    assert "small:1b" in out


def test_a_run_whose_models_are_not_there_says_what_is(here: Served, capsys: Capture) -> None:
    del here.server.models["small:1b"]
    here.server.models["smaller:1b"] = ServedModel(100)
    code, _out, err = called(capsys, "plan", "two.py")
    assert code == 3
    assert "or name in [tiers.small] one that it has: smaller:1b, large:2b\n" in err


def test_models_show_prints_one_model_and_knows_the_nearest_name(here: Served, capsys: Capture) -> None:
    [row] = data(capsys, "models", "show", "SMALL:1b")
    assert (row["model"], row["licence"], row["fits"]) == ("small:1b", "apache-2.0", True)
    code, _out, err = called(capsys, "models", "show", "smal:1b")
    assert code == 3
    assert "did you mean 'small:1b'" in err


def test_models_show_has_the_full_arithmetic(here: Served, capsys: Capture) -> None:
    code, out, _err = called(capsys, "models", "show", "small:1b")
    assert code == 0
    [row] = data(capsys, "models", "show", "small:1b")
    assert row["arithmetic"] in out
    assert "KV cache f16" in out
    assert "beside large:2b; budget of cpu: 4096 MiB" in out
    assert (row["measured"], row["beside"], row["alone"]) == (None, ["large:2b"], False)


def test_models_show_says_where_a_licence_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("VWT_MODELS", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)
    tier = '[tiers.small]\nendpoint = "here"\nmodels = ["smollm2:135m"]\n'
    Path("agents.toml").write_text(f'[endpoints.here]\nkind = "embedded"\n{tier}')
    assert "apache-2.0, https://huggingface.co/" in called(capsys, "models", "show", "smollm2:135m")[1]


def test_models_show_says_a_model_once_with_all_the_endpoints_that_know_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("VWT_MODELS", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)
    tier = '[tiers.small]\nendpoint = "here"\nmodels = ["smollm2:135m"]\n'
    endpoints = '[endpoints.here]\nkind = "embedded"\n[endpoints.there]\nkind = "embedded"\nparallel = 2\n'
    Path("agents.toml").write_text(endpoints + tier)
    assert [row["endpoint"] for row in data(capsys, "models", "show", "smollm2:135m")] == ["here", "there"]
    assert called(capsys, "models", "show", "zz")[2].endswith("possible: qwen2.5-coder:0.5b, smollm2:135m\n")
    _code, out, _err = called(capsys, "models", "show", "smollm2:135m")
    once = ["  here ", "  licence ", "  digest ", "  weights "]
    each = ["  on           here, device cpu; tier small\n", "  on           there, device cpu; in no tier\n"]
    assert out.splitlines().count("smollm2:135m") == 1
    assert [out.count(part) for part in [*once, *each, "  fits "]] == [1, 1, 1, 1, 1, 1, 2]


def test_models_say_what_was_measured_until_it_is_forgotten(here: Served, capsys: Capture) -> None:
    Path("agents.toml").write_text(Path("agents.toml").read_text().replace("cpu", "gpu0"))
    assert called(capsys, "run", "two.py", "--quiet")[0] == 0
    [row] = data(capsys, "models", "show", "small:1b")
    assert row["measured"]
    assert f"{row['footprint_mib']} MiB, measured here on {row['measured']} at num_ctx 2048 x 2" in row["arithmetic"]
    _code, out, _err = called(capsys, "models")
    assert f"{row['footprint_mib']}*" in out
    assert "* measured here" in out
    assert called(capsys, "models", "forget", "small:1b")[:2] == (0, "small:1b: 1 measurement forgotten\n")
    [row] = data(capsys, "models", "show", "small:1b")
    assert row["measured"] is None


def test_a_model_that_spilled_is_said_by_models_plan_and_doctor(here: Served, capsys: Capture) -> None:
    Path("agents.toml").write_text(Path("agents.toml").read_text().replace("cpu", "gpu0"))
    here.server.vram_mib = 200
    code, _out, err = called(capsys, "run", "two.py", "--quiet")
    assert code == 3, err
    code, _out, err = called(capsys, "plan", "two.py")
    assert code == 3
    assert "spilled to the CPU here on" in err
    _code, out, _err = called(capsys, "models")
    assert "no: spilled on" in out
    found = {one["what"]: one for one in data(capsys, "doctor", code=3)["findings"]}
    assert "models forget small:1b" in found["small:1b on here"]["fix"]


def test_pulling_a_model_whose_licence_is_not_allowed_says_so(here: Served, capsys: Capture) -> None:
    here.server.pullable["llama2:13b"] = ServedModel(100, licence="LLAMA 2 COMMUNITY LICENSE AGREEMENT")
    code, out, err = called(capsys, "models", "pull", "llama2:13b")
    assert (code, out) == (0, "llama2:13b is ready on endpoint here\n")
    assert "llama2:13b is under the licence 'llama2', which agents.toml does not allow" in err
    assert 'accept = ["llama2:13b"]' in err
    assert "pulling" in err


def test_doctor_shows_the_environment_to_set_for_a_shell_and_for_compose(here: Served, capsys: Capture) -> None:
    code, out, _err = called(capsys, "doctor")
    assert code == 0
    for line in (
        "  export OLLAMA_NUM_PARALLEL=2",
        "  export LLAMA_ARG_CACHE_RAM=1024",
        '    OLLAMA_NUM_PARALLEL:      "2"',
    ):
        assert line in out
    assert data(capsys, "doctor")["environment"]["here"]["OLLAMA_CONTEXT_LENGTH"] == "2048"


def test_doctor_loads_a_model_to_count_slots_only_when_it_may(here: Served, capsys: Capture) -> None:
    assert called(capsys, "doctor")[0] == 0
    assert here.server.loads == []
    _code, out, _err = called(capsys, "doctor", "--load")
    assert "calls to small:1b" in out
    assert (here.server.loads, here.server.resident) == ([("small:1b", 2048)], {})


def test_an_ollama_host_that_is_no_address_is_one_finding_of_several(
    here: Served, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = CONFIG.format(budget="4 GiB", url=here.server.url)
    Path("agents.toml").write_text(f'{text}[endpoints.other]\nkind = "ollama"\n')
    monkeypatch.setenv("OLLAMA_HOST", "http://[broken")
    found = {one["what"]: one for one in data(capsys, "doctor")["findings"]}
    assert "OLLAMA_HOST" in found["endpoint other"]["detail"]
    assert found["endpoint other"]["fix"] == "export OLLAMA_HOST=127.0.0.1:11434"
    assert found["models of tier small"]["level"] == "ok"


def test_models_pull_brings_a_model_and_says_when_there_is_none(here: Served, capsys: Capture) -> None:
    here.server.pullable["new:1b"] = ServedModel(100)
    code, out, err = called(capsys, "models", "pull", "new:1b")
    assert (code, out) == (0, "new:1b is ready on endpoint here\n")
    assert "pulling" in err
    assert "new:1b" in here.server.models
    code, out, err = called(capsys, "models", "pull", "nowhere:1b")
    assert (code, out) == (3, "")
    assert "nowhere:1b" in err


def test_models_import_refuses_what_is_no_model(here: Served, capsys: Capture) -> None:
    Path("not.gguf").write_text("not a model")
    for file in ("not.gguf", "nope.gguf"):
        code, out, err = called(capsys, "models", "import", file, "--as", "mine:1b")
        assert (code in (2, 3), out) == (True, "")
        assert file in err
        assert "Traceback" not in err


def test_runs_remembers_shows_reports_and_resumes(here: Served, capsys: Capture) -> None:
    _code, out, _err = called(capsys, "runs", "list")
    assert "no runs yet" in out
    here.server.fail("/api/chat", "oom", times=20)
    failed = data(capsys, "run", "two.py", "--quiet", code=3)
    assert failed["status"] == "failed"
    here.server._faults.clear()
    listed = data(capsys, "runs", "list")
    assert [(row["id"], row["status"]) for row in listed] == [(failed["run_id"], "failed")]
    resumed = data(capsys, "runs", "resume", "last", "--quiet")
    assert (resumed["run_id"], resumed["status"]) == (failed["run_id"], "good")
    code, out, _err = called(capsys, "runs", "show", "last")
    assert code == 0
    assert "first" in out
    entries = data(capsys, "runs", "show", "last")["entries"]
    assert {"plan", "first", "second"} <= {entry["name"] for entry in entries}
    code, out, _err = called(capsys, "runs", "report", "last")
    assert (code, out.startswith("# two: good")) == (0, True)
    code, _out, err = called(capsys, "runs", "resume", "last")
    assert code == 2
    assert "nothing to resume" in err
