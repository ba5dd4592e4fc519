"""Promises of a run's inputs: text becomes a value of the declared type, and every fault is told at once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import pytest

from vwt_agents.errors import InputError
from vwt_agents.graph import REQUIRED, Graph, Input, Param
from vwt_agents.inputs import read_inputs


@dataclass(frozen=True)
class Task:
    text: str
    size: int = 1


class Model(pydantic.BaseModel):
    files: list[Task]

    @pydantic.field_validator("files")
    @classmethod
    def _some(cls, files: list[Task]) -> list[Task]:
        if not files:
            raise ValueError("at least one file")
        return files


class Opaque:
    pass


def graph(*inputs: Input) -> Graph:
    return Graph("p", "", (), inputs, (), Param("output", "stage", "", Any))


def item(name: str, annotation: Any, default: Any = REQUIRED, near: str | None = None) -> Input:
    return Input(name, annotation, default, ("draft", "tests"), near)


def read(annotation: Any, text: str, tmp_path: Path) -> Any:
    """The value from `-i`, which is the same from a file named on the command line."""
    (tmp_path / "value").write_text(text, encoding="utf-8")
    wanted = graph(item("x", annotation))
    value = read_inputs(wanted, [f"x={text}"])["x"]
    assert read_inputs(wanted, [f"x=@{tmp_path / 'value'}"])["x"] == value
    return value


def fault(*pairs: str, annotation: Any = int, file: Path | None = None) -> str:
    with pytest.raises(InputError) as caught:
        read_inputs(graph(item("lines", annotation)), pairs, file)
    assert caught.value.exit_code == 2
    (found,) = caught.value.faults
    return f"{found.where}: {found.message}"


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (str, "40", "40"),
        (str, '"quoted" = kept\n', '"quoted" = kept\n'),
        (int, "40", 40),
        (float, "0.5", 0.5),
        (bool, "yes", True),
        (bool, "true", True),
        (str | None, "null", None),
        (str | None, "5", "5"),
        (str | None, "word", "word"),
        (Path, "a/b.py", Path("a/b.py")),
        (Path, "123", Path("123")),
        (list[str], '["a", "b"]', ["a", "b"]),
        (tuple[int, ...], "[1, 2]", (1, 2)),
        (Literal["a", "b"], "a", "a"),
        (Literal["1", "2"], "1", "1"),
        (Task, '{"text": "t", "size": 2}', Task("t", 2)),
        (Model, '{"files": [{"text": "t"}]}', Model(files=[Task("t")])),
        (Annotated[int, pydantic.Field(gt=0)], "3", 3),
        (Any, "[1]", [1]),
        (Any, "word", "word"),
    ],
)
def test_text_becomes_a_value_of_the_declared_type(annotation: Any, text: str, value: Any, tmp_path: Path) -> None:
    found = read(annotation, text, tmp_path)
    assert found == value
    assert type(found) is type(value)


def test_a_json_file_gives_many_and_the_command_line_wins(tmp_path: Path) -> None:
    file = tmp_path / "inputs.json"
    file.write_text(json.dumps({"task": {"text": "t"}, "lines": 3, "names": ["a"], "size": "7"}))
    wanted = graph(
        item("names", list[str]), item("task", Task), item("lines", int), item("size", int), item("left", str, "l")
    )
    found = read_inputs(wanted, ["lines=4"], file)
    assert found == {"names": ["a"], "task": Task("t"), "lines": 4, "size": 7, "left": "l"}
    assert list(found) == ["names", "task", "lines", "size", "left"]


def test_defaults_are_used_as_they_are() -> None:
    default = Opaque()
    assert read_inputs(graph(item("x", int, default)), [])["x"] is default


def test_a_graph_without_inputs_reads_nothing() -> None:
    assert read_inputs(graph(), []) == {}


def test_all_faults_come_at_once(tmp_path: Path) -> None:
    file = tmp_path / "inputs.json"
    file.write_text('{"tsak": 1, "size": "big"}')
    wanted = graph(
        item("task", Task, near="tasks"),
        item("lines", int),
        item("size", int),
        item("names", list[str]),
        item("a", str),
    )
    with pytest.raises(InputError) as caught:
        read_inputs(wanted, ["lines=abc", "nonsense", "=x", "names=[1]", "lines=3", "other=1"], file)
    assert [str(found) for found in caught.value.faults] == [
        "-i nonsense: is not NAME=VALUE (write -i NAME=VALUE, or -i NAME=@FILE)",
        "-i =x: is not NAME=VALUE (write -i NAME=VALUE, or -i NAME=@FILE)",
        "-i lines: is given twice (pass a list as JSON, in one value)",
        f"{file}, tsak: pipeline p has no input 'tsak' (did you mean 'task'?)",
        f"{file}, size: 'big' is not a valid integer (size is int; other than text is written as JSON)",
        "-i lines: 'abc' is not a valid integer (lines is int; other than text is written as JSON)",
        "-i names: [0]: 1 is not a valid string (names is list[str]; other than text is written as JSON)",
        "-i other: pipeline p has no input 'other' (possible: a, lines, names, size, task)",
        (
            "-i task: is missing: a value of type Task for stage draft, tests "
            "(pass -i task=VALUE or -i task=@FILE, or name it in --inputs FILE.json; or did you mean the stage 'tasks'?)"
        ),
        (
            "-i a: is missing: a value of type str for stage draft, tests "
            "(pass -i a=VALUE or -i a=@FILE, or name it in --inputs FILE.json)"
        ),
    ]


def test_a_pipeline_without_inputs_says_so() -> None:
    with pytest.raises(InputError, match=r"no input 'x' \(it takes no inputs\)"):
        read_inputs(graph(), ["x=1"])


@pytest.mark.parametrize(
    ("annotation", "text", "message"),
    [
        (int, "abc", "'abc' is not a valid integer"),
        (int, "[1]", "[1] is not a valid integer"),
        (int, "a" * 100, f"'{'a' * 49}... (102 characters) is not a valid integer"),
        (Task, "just text", "'just text' is not a JSON object or an instance of Task"),
        (Task, '{"size": 1}', "text: is missing"),
        (Task, '{"text": 1, "size": "x"}', "text: 1 is not a valid string; size: 'x' is not a valid integer"),
        (Model, '{"files": [{"text": 3}]}', "files[0].text: 3 is not a valid string"),
        (Model, '{"files": []}', "files: []: at least one file"),
        (Literal["a", "b"], "c", "'c' is not 'a' or 'b'"),
        (Annotated[int, pydantic.Field(gt=0)], "0", "0 is not greater than 0"),
        (Opaque, "x", "no value of type Opaque can be read from text"),
    ],
)
def test_a_wrong_value_is_told_in_few_words(annotation: Any, text: str, message: str) -> None:
    assert fault(f"lines={text}", annotation=annotation) == f"-i lines: {message}"


def test_a_missing_file_and_one_that_is_not_text_are_told(tmp_path: Path) -> None:
    assert fault(f"lines=@{tmp_path}/none") == f"-i lines: cannot read {tmp_path}/none: No such file or directory"
    (tmp_path / "bytes").write_bytes(b"ab\xff")
    assert (
        fault(f"lines=@{tmp_path}/bytes", annotation=str) == f"-i lines: {tmp_path}/bytes is not UTF-8: byte 2 is 0xff"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"lines" 1}', ":1:10: is not JSON: Expecting ':' delimiter"),
        ("[1]", ": is not a JSON object"),
    ],
)
def test_a_broken_inputs_file_is_told_with_its_line(content: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "inputs.json"
    file.write_text(content)
    found = fault("lines=1", file=file)
    assert found.startswith(f"{file}{message}")


def test_a_missing_inputs_file_is_told(tmp_path: Path) -> None:
    file = tmp_path / "none.json"
    assert fault("lines=1", file=file) == f"{file}: cannot read {file}: No such file or directory"


def test_how_files_are_read_is_the_callers_choice() -> None:
    seen: list[Path] = []

    def read_text(path: Path) -> str:
        seen.append(path)
        return "4"

    assert read_inputs(graph(item("x", int)), ["x=@some/file"], None, read_text) == {"x": 4}
    assert seen == [Path("some/file")]
