"""agents.toml: which file is read, what it means, and how each fault of it is reported."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from vwt_agents.config import (
    AgentSettings,
    LicenceSettings,
    RunSettings,
    Settings,
    StartSettings,
    TierSettings,
    canonical,
    licence_id,
    load_settings,
    parse_settings,
)
from vwt_agents.config.located import locate, positions
from vwt_agents.config.schema import Sampling
from vwt_agents.errors import ConfigError
from vwt_agents.limits import RunLimits
from vwt_agents.messages import Options

ROOT = Path(__file__).parent.parent

SMALL = """\
[endpoints.here]
kind = "ollama"
[endpoints.engine]
kind = "embedded"
[tiers.small]
endpoint = "here"
models = ["a:7b", "b:7b"]
otherwise = { endpoint = "engine", models = ["c:135m"] }
"""

MODELS_WANTED = 'the models it serves, best first, such as models = ["qwen2.5-coder:7b"]'
ENDPOINTS_WANTED = 'where models are served, such as [endpoints.small] with kind = "ollama"'


def faults(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_settings(text)
    return [str(fault) for fault in caught.value.faults]


def one_fault(more: str) -> str:
    """The only fault of a good file with `more` after it, without its file name and with lines counted from `more`."""
    (found,) = faults(SMALL + more)
    _, line, rest = found.split(":", 2)
    return f"{int(line) - SMALL.count(chr(10))}:{rest}"


# Which file


def test_the_named_file_goes_before_all_others(tmp_path: Path) -> None:
    named = tmp_path / "other.toml"
    named.write_text(SMALL)
    (tmp_path / "agents.toml").write_text("not even TOML")
    assert load_settings(Path("other.toml"), pipeline=tmp_path / "p.py", cwd=tmp_path).source == named


def test_the_file_beside_the_pipeline_goes_before_the_one_in_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "pipelines").mkdir()
    beside, here = tmp_path / "pipelines" / "agents.toml", tmp_path / "agents.toml"
    here.write_text(SMALL)
    pipeline = Path("pipelines/codegen.py")
    assert load_settings(None, pipeline=pipeline, cwd=tmp_path).source == here
    beside.write_text(SMALL)
    assert load_settings(None, pipeline=pipeline, cwd=tmp_path).source == beside


def test_without_any_file_the_packaged_default_is_used(tmp_path: Path) -> None:
    settings = load_settings(None, pipeline=None, cwd=tmp_path)
    assert settings.source is None
    assert set(settings.agents) >= {"coder", "tester", "reviewer", "linter", "analyst", "judge", "planner"}


def test_the_example_at_the_top_of_the_repository_is_the_packaged_default() -> None:
    assert (ROOT / "agents.toml").read_bytes() == (ROOT / "vwt_agents/defaults/agents.toml").read_bytes()


def test_a_missing_file_is_a_fault_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: there is no such file\n  name a file that exists"):
        load_settings(Path("nowhere.toml"), pipeline=None, cwd=tmp_path)


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.write_bytes(b"\xff\xfe = 1")])
def test_an_unreadable_file_is_a_fault(make: object, tmp_path: Path) -> None:
    make(tmp_path / "odd.toml")  # type: ignore[operator]
    with pytest.raises(
        ConfigError, match=r"^odd\.toml: (cannot be read: Is a directory|is not UTF-8 text: byte 0 is 0xff)\n"
    ):
        load_settings(tmp_path / "odd.toml", pipeline=None, cwd=tmp_path)


def test_faults_name_the_file_relative_to_the_current_folder_if_it_is_inside(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "agents.toml").write_text("x = 1")
    with pytest.raises(ConfigError, match=r"^agents\.toml:1:1: "):
        load_settings(None, pipeline=None, cwd=tmp_path)
    with pytest.raises(ConfigError) as caught:
        load_settings(Path("../agents.toml"), pipeline=None, cwd=tmp_path / "sub")
    assert "agents.toml:1:1: " in str(caught.value)


# What it means


def test_the_default_gives_every_table_of_the_file_its_meaning(tmp_path: Path) -> None:
    settings = load_settings(None, pipeline=None, cwd=tmp_path)
    assert settings.budget.devices == {"gpu0": "auto", "cpu": "auto"}
    assert settings.budget.reserve == 1536
    assert settings.scheduler.max_wait == {"interactive": 15.0, "batch": 120.0}
    assert settings.scheduler.keep_alive == 600
    assert (settings.endpoints["ollama"].device, settings.endpoints["ollama"].url) == ("auto", None)
    assert settings.on("gpu1").endpoints["ollama"].device == "gpu1"
    assert settings.tiers["large"] == TierSettings(
        "large",
        "ollama",
        ("qwen2.5-coder:14b", "llama2:13b"),
        workers=1,
        num_ctx=4096,
        otherwise=TierSettings("large", "embedded", ("qwen2.5-coder:0.5b", "smollm2:135m"), workers=1, num_ctx=4096),
    )
    assert (settings.agents["reviewer"].tier, settings.agents["judge"].tier) == ("small", "large")
    assert settings.agents["coder"].options == Options(temperature=0.2)
    assert settings.licences == LicenceSettings(("apache-2.0", "mit"), ())
    assert (settings.sandbox.backend, settings.sandbox.timeout, settings.sandbox.memory) == ("auto", 30, 1024)


def test_agents_that_write_code_share_one_system_prompt_so_that_the_engine_reads_it_once(tmp_path: Path) -> None:
    agents = load_settings(None, pipeline=None, cwd=tmp_path).agents
    assert agents["coder"].system == agents["tester"].system == agents["linter"].system != ""


def test_what_the_file_leaves_out_has_the_same_defaults_as_the_settings_themselves() -> None:
    settings = parse_settings(SMALL + "[agents.coder]")
    bare = Settings(None, settings.endpoints, settings.tiers, {"coder": AgentSettings("coder")})
    assert settings == bare


def test_every_key_reaches_the_settings() -> None:
    settings = parse_settings(
        SMALL.replace(
            'kind = "ollama"', 'kind = "ollama"\nurl = "http://host:1"\nparallel = 2\ndevice = "gpu1"'
        ).replace('kind = "embedded"', 'kind = "embedded"\nthreads = 3')
        + """
[tiers.large]
endpoint = "here"
models = ["d:13b"]
[budget]
gpu1 = "14 GiB"
cpu = "900 MiB"
reserve = "0 MiB"
[scheduler]
max_agents = 2
max_wait = { batch = "1m" }
keep_alive = "250ms"
[routing]
promote_at = 3
scope = "stage"
[agents.coder]
task = "code"
model = "A:7B"
tier = "small"
fallback = ["b:7b", "c:135m"]
num_ctx = 8192
system = '''
Be brief.
'''
timeout = "90s"
deadline = "2m"
priority = "interactive"
[agents.coder.options]
temperature = 0
top_p = 0.9
top_k = 40
min_p = 0.1
repeat_penalty = 1.1
seed = 7
num_predict = 9
stop = ["x"]
[licences]
allow = ["mit"]
accept = ["d:13b"]
[sandbox]
backend = "namespaces"
allow_reduced = true
timeout = "5s"
memory = "512 MiB"
[run]
priority = "interactive"
deadline = "30m"
max_calls = 200
max_tokens = 200_000
max_seconds = 600
"""
    )
    assert settings.budget.devices == {"gpu0": "auto", "gpu1": 14336, "cpu": 900}
    assert settings.budget.reserve == 0
    assert (settings.scheduler.max_agents, settings.scheduler.keep_alive) == (2, 0.25)
    assert settings.scheduler.max_wait == {"interactive": 15, "batch": 60}
    here, engine = settings.endpoints["here"], settings.endpoints["engine"]
    assert (here.url, here.parallel, here.device, here.threads) == ("http://host:1", 2, "gpu1", None)
    assert (engine.url, engine.parallel, engine.device, engine.threads) == (None, 4, "cpu", 3)
    assert (settings.routing.promote_at, settings.routing.scope) == (3, "stage")
    assert settings.agents["coder"] == AgentSettings(
        name="coder",
        task="code",
        model="A:7B",
        tier="small",
        fallback=("b:7b", "c:135m"),
        num_ctx=8192,
        system="Be brief.",
        options=Options(0, 0.9, 40, 0.1, 1.1, 7, 9, ("x",)),
        timeout=90,
        deadline=120,
        priority="interactive",
    )
    assert settings.run == RunSettings("interactive", RunLimits(1800, 200, 200_000, 600))
    assert settings.licences == LicenceSettings(("mit",), ("d:13b",))
    assert (settings.sandbox.backend, settings.sandbox.timeout, settings.sandbox.memory) == ("namespaces", 5, 512)
    assert settings.sandbox.allow_reduced


def test_settings_cannot_be_changed() -> None:
    settings = parse_settings(SMALL)
    with pytest.raises(TypeError):
        settings.endpoints["other"] = settings.endpoints["here"]  # type: ignore[index]


def test_the_options_of_an_agent_are_those_of_a_request() -> None:
    assert set(Sampling.model_fields) == {field.name for field in fields(Options)}


def test_reading_good_settings_never_imports_tree_sitter() -> None:
    program = (
        "import sys, pathlib; from vwt_agents.config import load_settings; assert 'pydantic' not in sys.modules; "
        "load_settings(None, pipeline=None, cwd=pathlib.Path('/')); assert 'tree_sitter' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


# Faults


def test_all_faults_of_a_file_are_reported_at_once_in_order_with_line_and_column() -> None:
    text = """\
[budget]
reserv = "1 GiB"
[endpoints.small]
kind = "olama"
device = "gpu2"
[tiers.small]
endpoint = "smal"
models = ["a:7b"]
otherwise = { endpoint = "small", model = ["b"] }
[agents.coder]
options = { temperatur = 0.2 }
model = "a:8b"
"""
    assert faults(text) == [
        "agents.toml:2:1: budget: unknown key 'reserv' (did you mean 'reserve'?)",
        "agents.toml:4:1: endpoints.small.kind: 'olama' is not one of ollama, embedded (did you mean 'ollama'?)",
        (
            "agents.toml:5:1: endpoints.small.device: unknown device 'gpu2' (did you mean 'gpu0'? "
            'or give it a budget: [budget] gpu2 = "auto")'
        ),
        "agents.toml:7:1: tiers.small.endpoint: unknown endpoint 'smal' (did you mean 'small'?)",
        f"agents.toml:9:1: tiers.small.otherwise: missing key 'models' ({MODELS_WANTED})",
        "agents.toml:9:35: tiers.small.otherwise: unknown key 'model' (did you mean 'models'?)",
        "agents.toml:11:13: agents.coder.options: unknown key 'temperatur' (did you mean 'temperature'?)",
        "agents.toml:12:1: agents.coder.model: 'a:8b' is not in the models of any tier (did you mean 'a:7b'?)",
    ]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            "[agents.coder]\ntemperatur = 1",
            ("2:1: agents.coder: unknown key 'temperatur' (did you mean 'temperature'? "
            "it goes in options = { temperature = ... })"),
        ),
        ("[agents.coder]\nmodle = 'a:7b'", "2:1: agents.coder: unknown key 'modle' (did you mean 'model'?)"),
        ("[agent.coder]", "1:1: unknown key 'agent' (did you mean 'agents'?)"),
        (
            "[agents.coder]\ntask = ''",
            "2:1: agents.coder.task: an empty text says nothing (leave it out, or say what it should be)",
        ),
        (
            "[agents.coder]\nfallback = 'a:7b'",
            "2:1: agents.coder.fallback: 'a:7b' is not a list (in brackets: fallback = [\"a:7b\"])",
        ),
        (
            "[agents.coder]\nnum_ctx = '4096'",
            "2:1: agents.coder.num_ctx: '4096' is not a whole number (without quotes: num_ctx = 4096)",
        ),
        ("[agents.coder.options]\ntemperature = inf", "2:1: agents.coder.options.temperature: inf is not a finite number"),
        ("[agents.coder.options]\ntemperature = 20", "2:1: agents.coder.options.temperature: 20 should be at most 10"),
        (
            "[agents.coder.options]\nseed = 1208925819614629174706176",
            "2:1: agents.coder.options.seed: 1208925819614629174706176 should be at most 4294967294",
        ),
        (
            "[agents.coder.options]\nnum_predict = 2147483648",
            "2:1: agents.coder.options.num_predict: 2147483648 should be at most 2147483647",
        ),
        (
            "[agents.coder]\ntemperature = 0",
            "2:1: agents.coder: unknown key 'temperature' (it goes in options = { temperature = ... })",
        ),
        ("[sandbox]\nmemory = '0 MiB'", "2:1: sandbox.memory: '0 MiB' should be more than 0"),
        ("[agents]\ncoder = 3", "2:1: agents.coder: 3 is not a table (as a table of its own: [agents.coder])"),
        ("[[agents]]\nname = 'coder'", "1:1: agents: [{'name': 'coder'}] is not a table (as a table of its own: [agents])"),
        ("[agents.coder]\nnum_ctx = '4k'", "2:1: agents.coder.num_ctx: '4k' is not a whole number"),
        ("[agents.coder]\nnum_ctx = 4.5", "2:1: agents.coder.num_ctx: 4.5 is not a whole number"),
        (
            "[agents.coder]\nnum_ctx = 8",
            "2:1: agents.coder.num_ctx: 8 should be at least 256",
        ),
        (
            "[agents.coder]\nmodel = ''",
            "2:1: agents.coder.model: '' is not in the models of any tier (possible: a:7b, b:7b, c:135m)",
        ),
        ("[agents.coder]\nfallback = [1]", '2:13: agents.coder.fallback.0: 1 is not a text (in quotes: "1")'),
        ("[agents.coder]\nsystem = 1", '2:1: agents.coder.system: 1 is not a text (in quotes: "1")'),
        (
            "[agents.coder]\ntier = 'smal'",
            "2:1: agents.coder.tier: 'smal' is not one of small, large (did you mean 'small'?)",
        ),
        ("[agents.coder]\ntier = 'large'", "2:1: agents.coder.tier: unknown tier 'large' (add [tiers.large])"),
        (
            "[agents.coder]\nfallback = [\n  'a:7b',  # fine\n  'd:7b']",
            "4:3: agents.coder.fallback.1: 'd:7b' is not in the models of any tier (did you mean 'b:7b'?)",
        ),
        (
            "[tiers.large]\nendpoint = 'here'\nmodels = ['big']\n[agents.coder]\ntier = 'large'\nmodel = 'a:7b'",
            "6:1: agents.coder.model: 'a:7b' is not in the models of tiers.large (possible: big)",
        ),
        (
            "[agents.'two words']",
            "1:1: agents.two words: an agent's name is a parameter's name, so letters, digits and _ only",
        ),
        (
            "[tiers.large]\nendpoint = 'here'\nmodels = []",
            "3:1: tiers.large.models: an empty list says nothing (name at least one)",
        ),
        (
            "[tiers.large]\nmodels = ['x']",
            "1:1: tiers.large: missing key 'endpoint' (the name of one of [endpoints])",
        ),
        (
            "[tiers.large]\nendpoint = 'here'\nmodels = ['x']\notherwise = { endpoint = 'elsewhere', models = ['y'] }",
            "4:15: tiers.large.otherwise.endpoint: unknown endpoint 'elsewhere' (did you mean 'here'?)",
        ),
        ("[tiers.medium]", "1:1: tiers: unknown key 'medium' (possible: large, small)"),
        ("[budget]\ngpu0 = 14", "2:1: budget.gpu0: 14 is not a size in quotes, such as '14 GiB'"),
        (
            "[budget]\ngpu1 = '14 GB of it'",
            "2:1: budget.gpu1: '14 GB of it' is not a size; write a number and a unit, such as '14 GiB' or '900 MiB'",
        ),
        (
            "[agents.coder]\npriority = 'interactiv'",
            "2:1: agents.coder.priority: 'interactiv' is not one of interactive, batch (did you mean 'interactive'?)",
        ),
        (
            "[agents.coder]\ndeadline = 30",
            "2:1: agents.coder.deadline: 30 is not a duration in quotes, such as '15s'",
        ),
        ("[run]\nmax_call = 3", "2:1: run: unknown key 'max_call' (did you mean 'max_calls'?)"),
        ("[run]\nmax_calls = 0", "2:1: run.max_calls: 0 should be at least 1"),
        ("[run]\nmax_tokens = '9k'", "2:1: run.max_tokens: '9k' is not a whole number"),
        ("[run]\nmax_seconds = -1", "2:1: run.max_seconds: -1 should be more than 0"),
        ("[run]\ndeadline = '0s'", (
                "2:1: run.deadline: '0s' is not a duration; "
                "write a number above 0 and a unit (ms, s, m, h, d), such as '15s' or '10m'"
            )),
        ("[scheduler]\nkeep_alive = 600", "2:1: scheduler.keep_alive: 600 is not a duration in quotes, such as '15s'"),
        (
            "[scheduler]\nmax_wait = { bach = '1s' }",
            "2:14: scheduler.max_wait: unknown key 'bach' (did you mean 'batch'?)",
        ),
        (
            "[endpoints.'x.y']\nkind = 'embedded'\nurl = 'http://h'",
            "3:1: endpoints.x.y.url: the embedded engine has no url: it starts its own workers",
        ),
        (
            "[endpoints.x]\nkind = 'ollama'\nthreads = 2",
            "3:1: endpoints.x.threads: only the embedded engine takes it; Ollama chooses its own",
        ),
        (
            "[endpoints.x]\nkind = 'ollama'\nurl = 'localhost:11434'",
            "3:1: endpoints.x.url: 'localhost:11434' is not a URL such as 'http://127.0.0.1:11434'",
        ),
        (
            "[endpoints.x]\nkind = 'ollama'\ndevice = 'tpu'",
            "3:1: endpoints.x.device: unknown device 'tpu' (did you mean 'cpu'?)",
        ),
        (
            "[endpoints.x]\nkind = 'ollama'\nidle_stop = '10m'",
            ("3:1: endpoints.x.idle_stop: only what `start` brought up is ever stopped (say how to start it: "
            "start = { compose = [...], service = ... } or start = { command = [...] })"),
        ),
        (
            "[endpoints.x]\nkind = 'embedded'\nstart = { command = ['a'] }",
            "3:1: endpoints.x.start: the embedded engine starts its own workers (leave start out)",
        ),
        (
            "[endpoints.x]\nkind = 'ollama'\n[endpoints.x.start]\ncommand = ['ollama', 'serve']",
            ("3:1: endpoints.x.start: the endpoint needs a url to be started at "
            '(such as url = "http://127.0.0.1:11434")'),
        ),
        (
            "[endpoints.x]\nkind = 'ollama'\nurl = 'http://127.0.0.1:9'\nstart = { compose = ['a.yml'], command = ['b'] }",
            "4:1: endpoints.x.start: compose and command are two ways to start one server (keep one of them)",
        ),
        (
            "[endpoints.x]\nkind = 'ollama'\nurl = 'http://127.0.0.1:9'\nstart = { compose = ['a.yml'] }",
            ("4:1: endpoints.x.start: compose needs the name of the service "
            '(the one that listens at this url, such as service = "ollama-large")'),
        ),
        (
            "[endpoints.x]\nkind = 'ollama'\nurl = 'http://127.0.0.1:9'\nstart = { command = ['a'], service = 'b' }",
            "4:28: endpoints.x.start.service: only compose has it (leave it out, or name compose files)",
        ),
        (
            "[endpoints.x]\nkind = 'ollama'\nurl = 'http://127.0.0.1:9'\nstart = { timeout = '1m' }",
            ('4:1: endpoints.x.start: neither compose nor command says how (start = { compose = ["docker-compose.yml"], '
            'service = "ollama" } or { command = ["ollama", "serve"] })'),
        ),
        (
            "[endpoints.x]\nkind = 'ollama'\nurl = 'http://127.0.0.1:9'\nstart = { comand = ['a'], command = ['a'] }",
            "4:11: endpoints.x.start: unknown key 'comand' (did you mean 'command'?)",
        ),
        (
            "[endpoints.x]\nkind = 'ollama'\nurl = 'http://127.0.0.1:9'\nstart = 'ollama serve'",
            "4:1: endpoints.x.start: 'ollama serve' is not a table (as a table of its own: [endpoints.x.start])",
        ),
        (
            "[endpoints.x]\nkind = 'ollama'\nurl = 'http://127.0.0.1:9'\nstart = { command = ['a'], env = { A = 1 } }",
            '4:36: endpoints.x.start.env.A: 1 is not a text (in quotes: "1")',
        ),
        (
            ("[endpoints.x]\nkind = 'ollama'\nurl = 'http://127.0.0.1:9'\nstart = { command = ['a'] }\n"
            "[endpoints.y]\nkind = 'ollama'\nurl = 'http://127.0.0.1:9/'\nstart = { command = ['a'] }"),
            ("7:1: endpoints.y.url: endpoints.x is started at http://127.0.0.1:9/ too "
            "(give each a port of its own, or let both tiers name one endpoint)"),
        ),
        (
            "[sandbox]\nbackend = 'none'",
            "2:1: sandbox.backend: 'none' is not one of auto, bubblewrap, namespaces, docker, podman, landlock, unsafe",
        ),
    ],
)  # fmt: skip
def test_a_fault_says_where_it_is_what_it_is_and_what_was_possible(more: str, said: str) -> None:
    assert one_fault(more) == said


ON_DEMAND = """
[endpoints.large]
kind = "ollama"
url = "http://127.0.0.1:11435"
parallel = 1
idle_stop = "5m"
start = {start}
"""


def start_of(start: str, source: Path | None = None) -> StartSettings:
    found = parse_settings(SMALL + ON_DEMAND.format(start=start), source=source).endpoints["large"].start
    assert found is not None
    return found


def test_paths_of_a_start_are_relative_to_the_file_that_names_them() -> None:
    source = Path("/etc/vwt/agents.toml")
    found = start_of('{ compose = ["compose/a.yml", "/b.yml"], service = "ollama-large", project = "mine" }', source)
    assert found.compose == (Path("/etc/vwt/compose/a.yml"), Path("/b.yml"))
    assert (found.service, found.project, found.folder) == ("ollama-large", "mine", Path("/etc/vwt"))
    assert start_of('{ command = ["bin/ollama", "serve"] }', source).command == ("/etc/vwt/bin/ollama", "serve")
    assert start_of('{ command = ["ollama", "a/b"] }', source).command == ("ollama", "a/b")


def test_a_first_start_of_compose_has_time_to_pull_the_image() -> None:
    assert start_of('{ compose = ["a.yml"], service = "b" }').timeout == 1800
    assert start_of('{ command = ["ollama", "serve"] }').timeout == 60
    assert start_of('{ command = ["ollama", "serve"], timeout = "5s" }').timeout == 5


def test_what_is_started_is_stopped_after_ten_minutes_unless_another_time_is_named() -> None:
    assert start_of('{ command = ["a"] }').idle_stop == 300
    unsaid = SMALL + ON_DEMAND.format(start='{ command = ["a"] }').replace('idle_stop = "5m"', "")
    start = parse_settings(unsaid).endpoints["large"].start
    assert start is not None
    assert start.idle_stop == 600


def test_a_file_without_tiers_or_endpoints_says_what_is_missing() -> None:
    assert faults("") == [
        f"agents.toml:1:1: missing key 'endpoints' ({ENDPOINTS_WANTED})",
        "agents.toml:1:1: missing key 'tiers' (which models there are: [tiers.small] with endpoint and models)",
    ]


def test_a_part_of_the_wrong_type_does_not_hide_the_faults_elsewhere() -> None:
    found = faults("endpoints = 3\ntiers = []\nagents = { coder = { fallback = 'x', model = 4 } }\nscheduller = 1")
    assert [fault.partition(": ")[0] for fault in found] == [
        "agents.toml:1:1",
        "agents.toml:2:1",
        "agents.toml:3:22",
        "agents.toml:3:38",
        "agents.toml:4:1",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[agents]\nx = ", "agents.toml:2:5: not valid TOML: invalid value"),
        ("a = 1\na = 2\n", "agents.toml:2:6: not valid TOML: cannot overwrite a value"),
        ("# one\n[x", "agents.toml:2:3: not valid TOML: expected ']' at the end of a table declaration"),
        ('a = """\n\n', "agents.toml:3:1: not valid TOML: unterminated string"),
    ],
)
def test_broken_toml_is_one_fault_with_line_and_column(text: str, said: str) -> None:
    assert faults(text) == [said]


def test_positions_find_dotted_quoted_and_nested_keys_counting_characters() -> None:
    known = positions("a.b = 1\n[x.\"y z\"]\n'k' = { ä = 1, u = [1, { v = 2 }] }\n[[p]]\nq = 1\n")
    assert known["a",] == known["a", "b"] == (1, 1)
    assert known["x", "y z"] == (2, 1)
    assert known["x", "y z", "k", "u"] == (3, 16)
    assert known["x", "y z", "k", "u", 1, "v"] == (3, 26)
    assert known["p", "q"] == (5, 1)


def test_a_key_that_is_not_in_the_text_is_located_at_the_table_around_it() -> None:
    assert locate(("a", "b", "c"), {("a",): (7, 3)}) == (7, 3)
    assert locate(("z",), {("a",): (7, 3)}) == (1, 1)


# Names and licences


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("mistral", "mistral:latest"),
        ("Mistral:7B", "mistral:7b"),
        ("host:5000/team/model", "host:5000/team/model:latest"),
    ],
)
def test_model_names_compare_as_ollama_compares_them(name: str, same: str) -> None:
    assert canonical(name) == same


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("", ""),
        (" \n", ""),
        ("Apache-2.0", "apache-2.0"),
        ("apache 2.0", "apache-2.0"),
        ("                    Apache License\n   Version 2.0, January 2004\n", "apache-2.0"),
        ("Licensed under the Apache License, Version 2.0", "apache-2.0"),
        ("MIT", "mit"),
        ("MIT License\n\nCopyright (c) 2025 DeepSeek", "mit"),
        ("Copyright 2024 X\nPermission is hereby granted, free of charge, to any person", "mit"),
        ("Redistribution and use in source and binary forms, with or without", "bsd"),
        ("LLAMA 2 COMMUNITY LICENSE AGREEMENT\t\nLlama 2 Version Release Date: July 18, 2023", "llama2"),
        ("llama2", "llama2"),
        ("META LLAMA 3 COMMUNITY LICENSE AGREEMENT", "llama3"),
        ("LLAMA 3.1 COMMUNITY LICENSE AGREEMENT", "llama3.1"),
        ("LLAMA 3.2 COMMUNITY LICENSE AGREEMENT", "llama3.2"),
        ("Qwen RESEARCH LICENSE AGREEMENT", "qwen-research"),
        ("Tongyi Qianwen LICENSE AGREEMENT", "qwen"),
        ("Gemma Terms of Use\nLast modified: February 21, 2024", "gemma"),
        ("Mistral AI Research License", "mistral-research"),
        ("Attribution-NonCommercial 4.0 International", "cc-by-nc"),
        ("Apache License\nVersion 2.0\n... LLAMA 2 COMMUNITY LICENSE AGREEMENT", "llama2"),
        ("You may not." + " x" * 200 + " parts are under the Apache License, Version 2.0", "unknown"),
        ("You may do as the vendor says.", "unknown"),
        ("falcon-llm-1.0", "falcon-llm-1.0"),
    ],
)
def test_licence_texts_are_recognised_the_most_restrictive_first(text: str, name: str) -> None:
    assert licence_id(text) == name


@pytest.mark.parametrize(
    ("model", "licence", "allowed"),
    [
        ("m", "Apache License Version 2.0", True),
        ("m", "", True),
        ("m", "LLAMA 2 COMMUNITY LICENSE", False),
        ("m", "something else altogether", False),
        ("Llama2:13B", "LLAMA 2 COMMUNITY LICENSE", True),
    ],
)
def test_a_licence_is_allowed_by_its_id_or_accepted_for_one_model(model: str, licence: str, *, allowed: bool) -> None:
    assert LicenceSettings(("Apache-2.0", "mit"), ("llama2:13b",)).allows(model, licence) is allowed


def test_an_endpoint_says_how_its_kv_cache_is_kept() -> None:
    own = parse_settings(SMALL.replace('kind = "ollama"', 'kind = "ollama"\ncache_type = "q8_0"'))
    assert (own.endpoints["here"].cache_type, own.endpoints["here"].flash_attention) == ("q8_0", True)
    assert own.endpoints["engine"].cache_type == "f16"
    assert "q5_1" in faults(SMALL.replace('kind = "ollama"', 'kind = "ollama"\ncache_type = "q5_1"'))[0]


def test_a_quantised_kv_cache_needs_flash_attention() -> None:
    (fault,) = faults(SMALL.replace('kind = "ollama"', 'kind = "ollama"\ncache_type = "q8_0"\nflash_attention = false'))
    assert fault.startswith("agents.toml:3:")
    assert "needs flash attention" in fault
