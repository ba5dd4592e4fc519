"""Promises of declaring a pipeline: what is decorated stays what it was, nothing is judged yet, and it is all typed."""

from __future__ import annotations

import inspect
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from vwt_agents.errors import DefinitionError
from vwt_agents.pipeline import Pipeline, Place
from vwt_agents.pipeline_file import load_pipeline

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_stage_stays_the_function_it_was() -> None:
    pipeline = Pipeline("p")

    async def double(number: int) -> int:
        return number * 2

    assert pipeline.stage(double) is double
    assert pipeline.stage(importance="high", timeout="90s")(double) is double
    assert await double(4) == 8


def test_the_body_of_an_ask_stays_callable() -> None:
    pipeline = Pipeline("p")

    @pipeline.ask(agent="coder")
    def prompt(task: str) -> str:
        return f"Do {task}."

    assert prompt("it") == "Do it."


def test_declarations_are_kept_in_the_order_they_were_written() -> None:
    pipeline, other = Pipeline("p", defaults={"lines": 3}), Pipeline("other")

    @pipeline.stage(each="files", timeout=5)
    async def one(files: str) -> str:
        return files

    @pipeline.ask(agent="coder", returns=int, importance="high")
    def two(one: list[str]) -> str:
        return ""

    pipeline.include(other, name="build", inputs={"task": "two"})
    line = inspect.currentframe().f_lineno - 1  # type: ignore[union-attr]
    pipeline.output("two")

    assert [d.func for d in pipeline.declarations] == [one, two]
    assert [(d.importance, d.each, d.timeout, d.agent) for d in pipeline.declarations] == [
        ("normal", "files", 5, None),
        ("high", None, None, "coder"),
    ]
    (included,) = pipeline.inclusions
    assert (included.pipeline, included.name, dict(included.inputs)) == (other, "build", {"task": "two"})
    assert included.place == Place(__file__, line)
    assert pipeline.outputs == (("two", Place(__file__, line + 2)),)
    assert pipeline.defaults == {"lines": 3}
    assert repr(pipeline) == "Pipeline('p')"


def test_a_place_is_told_relative_to_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert str(Place(f"{tmp_path}/a/b.py", 3)) == "a/b.py:3"
    assert str(Place("/elsewhere/b.py", 3)) == "/elsewhere/b.py:3"


def test_declaring_imports_neither_pydantic_nor_anyio() -> None:
    heavy = ("pydantic", "anyio", "asyncio", "httpx", "ollama", "structlog", "pathlib")
    code = f"import sys; from vwt_agents.pipeline import Pipeline; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"], **_CAPTURE)
    assert found.stdout.strip() == "[]", found.stderr


_CAPTURE = {"capture_output": True, "text": True, "check": False}

USER_FILE = """
from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vwt_agents.pipeline import Pipeline


class Agent:
    __vwt_role__: ClassVar[str] = "agent"

    async def ask(self, prompt: str) -> str:
        return prompt


@dataclass(frozen=True)
class Task:
    text: str


pipeline = Pipeline("codegen", doc="Write a module.", defaults={"lines": 40})
inner = Pipeline("inner")


@pipeline.stage(importance="high", timeout="90s")
async def draft(coder: Agent, task: Task, lines: int) -> str:
    return await coder.ask(task.text)


@pipeline.stage
async def files(draft: str) -> list[str]:
    return draft.split()


@pipeline.stage(each={"file": "files"})
async def sized(file: str) -> int:
    return len(file)


@pipeline.ask(agent="reviewer", returns=Task, importance="high")
def review(task: Task, sized: list[int]) -> str:
    return f"{task.text} {sized}"


@inner.ask(agent="coder")
async def notes(task: Task) -> str:
    return task.text


pipeline.include(inner, name="build", inputs={"task": "review"})
pipeline.output("review")


async def check() -> None:
    size: int = await sized("a")
    text: str = await draft(Agent(), Task("t"), 3)
    prompt: str = review(Task("t"), [size, len(text)])
    print(prompt)
"""


@pytest.fixture(scope="module")
def types_seen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What mypy knows of the package already: the first test reads it for both."""
    return tmp_path_factory.mktemp("mypy")


def _mypy(path: Path, types_seen: Path) -> str:
    api = pytest.importorskip("mypy.api")
    out, err, _ = api.run(["--strict", "--no-error-summary", "--config-file=", f"--cache-dir={types_seen}", str(path)])
    return str(out + err)


def test_a_pipeline_file_passes_mypy_strict_and_loads(tmp_path: Path, types_seen: Path) -> None:
    path = tmp_path / "codegen.py"
    path.write_text(USER_FILE)
    assert _mypy(path, types_seen) == ""
    assert load_pipeline(path).name == "codegen"


def test_the_type_checker_sees_a_wrong_stage_and_a_wrong_call(tmp_path: Path, types_seen: Path) -> None:
    path = tmp_path / "wrong.py"
    path.write_text(
        textwrap.dedent("""
            from vwt_agents.pipeline import Pipeline

            pipeline = Pipeline("p")


            @pipeline.stage
            def plain(task: str) -> str:
                return task


            @pipeline.stage
            async def fine(task: str) -> str:
                return task


            @pipeline.stage(importance="hgih")
            async def loud(task: str) -> str:
                return await fine(3)
        """)
    )
    found = _mypy(path, types_seen).splitlines()
    assert any(":7: error" in line for line in found), "a stage that is not async"
    assert any(":17: error" in line for line in found), "an unknown importance"
    assert any(":19: error" in line for line in found), "a stage called with the wrong type"


# -- load_pipeline -------------------------------------------------------------------------------------------------------


def _write(path: Path, text: str) -> Path:
    path.write_text(textwrap.dedent(text).lstrip())
    return path


def _load_fault(path: Path) -> str:
    with pytest.raises(DefinitionError) as caught:
        load_pipeline(path)
    assert caught.value.exit_code == 2
    (fault,) = caught.value.faults
    return str(fault)


HEAD = "from vwt_agents.pipeline import Pipeline\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path.resolve()
    monkeypatch.chdir(folder)
    return folder


def test_the_one_pipeline_of_a_file_is_found_whatever_its_name(here: Path) -> None:
    path = _write(here / "a.py", HEAD + "p = Pipeline('only')\nsame = p\n")
    assert load_pipeline(path).name == "only"


def test_of_several_the_one_named_pipeline_is_meant(here: Path) -> None:
    path = _write(here / "a.py", HEAD + "other = Pipeline('other')\npipeline = Pipeline('main')\n")
    assert load_pipeline(path).name == "main"


def test_helpers_may_lie_beside_the_file_and_the_import_path_is_left_as_it_was(here: Path) -> None:
    _write(here / "beside_helper.py", "NAME = 'helped'\n")
    path = _write(here / "a.py", HEAD + "from beside_helper import NAME\npipeline = Pipeline(NAME)\n")
    before = list(sys.path)
    assert load_pipeline(path).name == "helped"
    assert sys.path == before
    assert not list(here.glob("__pycache__/a.*")), "nothing cached beside the user's file"


def test_an_edit_is_seen_at_once(here: Path) -> None:
    path = _write(here / "a.py", HEAD + "p = Pipeline('one')\n")
    assert load_pipeline(path).name == "one"
    _write(path, HEAD + "p = Pipeline('two')\n")
    assert load_pipeline(path).name == "two"


def test_two_files_of_one_name_do_not_mix(here: Path) -> None:
    paths = []
    for folder in ("x", "y"):
        (here / folder).mkdir()
        paths.append(_write(here / folder / "a.py", HEAD + f"p = Pipeline('{folder}')\nasync def f(): return p.name\n"))
    assert [load_pipeline(path).name for path in paths] == ["x", "y"]


def test_a_missing_file_is_told_with_what_is_there(here: Path) -> None:
    _write(here / "codegen.py", "")
    assert _load_fault(here / "codgen.py") == f"{here}/codgen.py: there is no such file (here are: codegen.py)"
    assert "no .py files" in _load_fault(here / "no" / "codgen.py")


def test_a_folder_and_another_kind_of_file_are_told(here: Path) -> None:
    _write(here / "notes.txt", "")
    assert "is not a Python file" in _load_fault(here / "notes.txt")
    assert "is a folder" in _load_fault(here)


def test_a_syntax_error_is_told_with_its_line(here: Path) -> None:
    fault = _load_fault(_write(here / "a.py", "x = 1\ndef f(:\n    pass\n"))
    assert fault.startswith("a.py:2: ")
    assert fault.endswith(": def f(:")


def test_a_file_that_is_not_utf_8_is_told(here: Path) -> None:
    (here / "a.py").write_bytes(b"x = '\xff'\n")
    assert _load_fault(here / "a.py").startswith("a.py:1: (unicode error) 'utf-8' codec can't decode")


def test_an_error_at_import_is_told_with_the_users_line(here: Path) -> None:
    fault = _load_fault(_write(here / "a.py", "x = 1\nint('abc')\n"))
    assert fault == "a.py:2: importing it failed with ValueError: invalid literal for int() with base 10: 'abc'"
    assert (
        _load_fault(_write(here / "b.py", "x = 1\nraise SystemExit\n")) == "b.py:2: importing it failed with SystemExit"
    )


def test_an_error_deeper_down_is_told_with_both_lines(here: Path) -> None:
    _write(here / "deep_helper.py", "def f():\n    raise KeyError('k')\n")
    fault = _load_fault(_write(here / "a.py", "import deep_helper\n\ndeep_helper.f()\n"))
    assert fault == "a.py:3: importing it failed with KeyError: 'k' (raised at deep_helper.py:2)"


def test_a_missing_module_is_told_with_the_way_out(here: Path) -> None:
    fault = _load_fault(_write(here / "a.py", "import no_such_thing\n"))
    assert fault.startswith("a.py:1: importing it failed with ModuleNotFoundError")
    assert "install no_such_thing, or put no_such_thing.py beside the pipeline" in fault


def test_text_that_fails_to_parse_at_run_time_is_no_syntax_error_of_the_file(here: Path) -> None:
    fault = _load_fault(_write(here / "a.py", "x = 1\ncompile('def', 'x', 'exec')\n"))
    assert fault.startswith("a.py:2: importing it failed with SyntaxError")


def test_our_own_errors_pass_as_they_are(here: Path) -> None:
    text = "from vwt_agents.errors import DefinitionError, Fault\nraise DefinitionError([Fault('x', 'mine')])\n"
    assert _load_fault(_write(here / "a.py", text)) == "x: mine"


def test_a_file_without_a_pipeline_is_told(here: Path) -> None:
    fault = _load_fault(_write(here / "a.py", "x = 1\n"))
    assert fault.startswith("a.py:1: it defines no Pipeline (write `pipeline = Pipeline('name')`")


def test_several_pipelines_are_listed(here: Path) -> None:
    fault = _load_fault(_write(here / "a.py", HEAD + "b = Pipeline('b')\na = Pipeline('a')\n"))
    assert fault == "a.py:1: it defines several pipelines: a, b (name the one to run `pipeline`)"
