"""What is wrong with agents.toml, said for people: pydantic's findings, with the key's path and the nearest right name.

Never raises and never reads a file. A fault here has a key path; `load` turns it into file, line and column.
"""

from __future__ import annotations

import difflib
import typing
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from vwt_agents.config.schema import Agent, AgentsToml, Sampling
from vwt_agents.errors import did_you_mean

if typing.TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic_core import ErrorDetails

__all__ = ["PathFault", "schema_faults"]


@dataclass(frozen=True, slots=True)
class PathFault:
    """A fault at a key path: `path` finds the line, `message` begins with the table's name as people write it."""

    path: tuple[str | int, ...]
    message: str
    hint: str | None = None

    @classmethod
    def at(cls, path: tuple[str | int, ...], text: str, hint: str | None = None) -> PathFault:
        """A fault whose message is the dotted path, then `text`."""
        dotted = ".".join(str(part) for part in path)
        return cls(path, f"{dotted}: {text}" if dotted else text, hint)


def schema_faults(error: ValidationError) -> Iterator[PathFault]:
    """Each finding of pydantic as a fault."""
    for found in error.errors(include_url=False):
        yield _fault(found)


def _fault(found: ErrorDetails) -> PathFault:
    path, value = found["loc"], found["input"]
    table, key = path[:-1], str(path[-1]) if path else ""
    match found["type"]:
        case "extra_forbidden":
            unknown = PathFault.at(table, f"unknown key {key!r}", _nearest_key(key, table))
            return PathFault(path, unknown.message, unknown.hint)
        case "missing":
            return PathFault.at(table, f"missing key {key!r}")
        case "literal_error":
            possible = [name.strip("'") for name in found["ctx"]["expected"].replace(" or ", ", ").split(", ")]
            return PathFault.at(path, f"{value!r} is not one of {', '.join(possible)}", _near(str(value), possible))
        case "value_error":
            return PathFault.at(path, str(found["ctx"]["error"]))
        case "model_type" | "dict_type":
            return PathFault.at(path, f"{value!r} should be a table")
        case _:
            text = found["msg"]
            said = f"{value!r} {text.removeprefix('Input ')}" if text.startswith("Input ") else text
            return PathFault.at(path, said)


def _near(word: str, possible: list[str]) -> str | None:
    near = difflib.get_close_matches(word, possible, n=1)
    return f"did you mean {near[0]!r}?" if near else None


def _nearest_key(key: str, table: tuple[str | int, ...]) -> str | None:
    model = _model_at(table)
    if model is Agent and (near := difflib.get_close_matches(key, Sampling.model_fields, n=1)):
        return f"did you mean {near[0]!r}? it goes in options = {{ {near[0]} = ... }}"
    return did_you_mean(key, model.model_fields) if model else None


def _model_at(path: tuple[str | int, ...]) -> type[BaseModel] | None:
    """The schema of the table at `path`."""
    annotation: Any = AgentsToml
    for part in path:
        model = _model_in(annotation)
        named = typing.get_args(annotation)  # a dict of named tables, where there is no model
        annotation = model.model_fields[str(part)].annotation if model is not None else named[1]
    return _model_in(annotation)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) is dict:
        return None
    return next((found for part in typing.get_args(annotation) if (found := _model_in(part))), None)
