"""The inputs of a run: text from the command line and a JSON file becomes validated values, by the graph's annotations.

Owns every fault such text can have and reports them all at once. Defaults are the pipeline's own values and are not touched.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vwt_agents.errors import Fault, InputError, did_you_mean
from vwt_agents.graph import Graph, Input, type_name
from vwt_agents.whole import read_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pydantic import TypeAdapter, ValidationError

__all__ = ["from_file", "read_inputs"]

_MOST: Final = 256 * 2**20  # bytes of one input


def from_file(path: Path) -> str:
    """The text of a file; of a pipe too, as `<(command)` is one."""
    return read_text(path, _MOST)


class _Unfit(Exception):
    """What is wrong with one value, in words."""


def read_inputs(
    graph: Graph, pairs: Sequence[str], file: Path | None = None, read: Callable[[Path], str] = from_file
) -> dict[str, Any]:
    """A value for every input of the graph; InputError with every fault at once.

    `pairs` are `NAME=VALUE` or `NAME=@FILE` and win over the JSON object in `file`. A `str` takes the text as it is; any other
    type reads it as JSON, and what is no JSON of that type as a plain string.
    """
    intake = _Intake(graph)
    given = _split(pairs, intake.faults)
    for name, value in _object(file, read, intake.faults).items():
        if name not in given:
            intake.take(name, f"{file}, {name}", partial(_from_json, value))
    for name, text in given.items():
        intake.take(name, f"-i {name}", partial(_from_pair, text, read))
    return intake.complete()


class _Intake:
    """Values and faults as they come in, until the inputs are complete."""

    def __init__(self, graph: Graph) -> None:
        self.faults: list[Fault] = []
        self._graph = graph
        self._known = {item.name: item for item in graph.inputs}
        self._values: dict[str, Any] = {}

    def take(self, name: str, where: str, read: Callable[[Input], Any]) -> None:
        """Keep what `read` makes of it, or the fault."""
        item = self._known.get(name)
        if item is None:
            hint = did_you_mean(name, self._known) if self._known else "it takes no inputs"
            self.faults.append(Fault(where, f"pipeline {self._graph.name} has no input {name!r}", hint))
            return
        self._values[name] = None  # it was given, so it is not missing, whatever it is worth
        try:
            self._values[name] = read(item)
        except _Unfit as error:
            self.faults.append(Fault(where, str(error), None if item.annotation is str else _how(item)))

    def complete(self) -> dict[str, Any]:
        """Every input's value in the graph's order; InputError when anything was at fault."""
        self.faults += [
            _missing(item) for item in self._graph.inputs if item.required and item.name not in self._values
        ]
        if self.faults:
            raise InputError(self.faults)
        return {item.name: self._values.get(item.name, item.default) for item in self._graph.inputs}


def _split(pairs: Sequence[str], faults: list[Fault]) -> dict[str, str]:
    given: dict[str, str] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            faults.append(Fault(f"-i {pair}", "is not NAME=VALUE", "write -i NAME=VALUE, or -i NAME=@FILE"))
        elif name in given:
            faults.append(Fault(f"-i {name}", "is given twice", "pass a list as JSON, in one value"))
        else:
            given[name] = text
    return given


def _object(file: Path | None, read: Callable[[Path], str], faults: list[Fault]) -> Mapping[str, Any]:
    if file is None:
        return {}
    try:
        found = json.loads(_file(file, read))
    except _Unfit as error:
        faults.append(Fault(str(file), str(error)))
        return {}
    except json.JSONDecodeError as error:
        faults.append(Fault(f"{file}:{error.lineno}:{error.colno}", f"is not JSON: {error.msg}"))
        return {}
    if not isinstance(found, dict):
        faults.append(Fault(str(file), "is not a JSON object", 'write {"NAME": VALUE, ...}'))
        return {}
    return found


def _from_pair(text: str, read: Callable[[Path], str], item: Input) -> Any:
    return _from_text(_file(Path(text[1:]), read) if text.startswith("@") else text, item)


def _file(path: Path, read: Callable[[Path], str]) -> str:
    try:
        return read(path)
    except UnicodeDecodeError as error:
        raise _Unfit(f"{path} is not UTF-8: byte {error.start} is {error.object[error.start]:#04x}") from error
    except OSError as error:
        raise _Unfit(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:  # a name that no file can have
        raise _Unfit(f"cannot read {str(path)!r}: {error}") from error


def _from_text(text: str, item: Input) -> Any:
    from pydantic import ValidationError

    if item.annotation is str:
        return text
    adapter = _adapter(item)
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        as_json = error
    try:
        return adapter.validate_python(text)
    except ValidationError as error:
        broken = as_json.errors(include_url=False)[0]["type"] == "json_invalid"
        raise _Unfit(_short(error if broken else as_json)) from error


def _from_json(value: Any, item: Input) -> Any:
    from pydantic import ValidationError

    try:
        return _adapter(item).validate_python(value)
    except ValidationError as error:
        raise _Unfit(_short(error)) from error


def _adapter(item: Input) -> TypeAdapter[Any]:
    from pydantic import PydanticUndefinedAnnotation, PydanticUserError, TypeAdapter

    try:
        return TypeAdapter(item.annotation)
    except (PydanticUserError, PydanticUndefinedAnnotation) as error:
        raise _Unfit(f"no value of type {type_name(item.annotation)} can be read from text") from error


def _short(error: ValidationError) -> str:
    """What pydantic found, without its preamble: `'abc' is not a valid integer`."""
    found = []
    for item in error.errors(include_url=False):
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in item["loc"]).removeprefix(".")
        message = item["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
        if item["type"] == "missing":
            message = "is missing"
        elif message.startswith("Input should be "):
            wanted = message.removeprefix("Input should be ").split(", unable to", 1)[0]
            message = f"{_shown(item['input'])} is not {wanted.replace('dictionary', 'JSON object')}"
        else:
            message = f"{_shown(item['input'])}: {message}"
        found.append(f"{where}: {message}" if where else message)
    return "; ".join(dict.fromkeys(found))


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:50]}... ({len(text)} characters)"


def _how(item: Input) -> str:
    return f"{item.name} is {type_name(item.annotation)}; other than text is written as JSON"


def _missing(item: Input) -> Fault:
    hint = f"pass -i {item.name}=VALUE or -i {item.name}=@FILE, or name it in --inputs FILE.json"
    if item.near is not None:
        hint += f"; or did you mean the stage {item.near!r}?"
    used = ", ".join(item.used_by)
    return Fault(f"-i {item.name}", f"is missing: a value of type {type_name(item.annotation)} for stage {used}", hint)
