"""What is wrong with agents.toml, said for people: pydantic's findings, with the key's path and the nearest right name.
Sampling options that are given in Python are held to the same rules.

Never raises and never reads a file. A fault here has a key path; `load` turns it into file, line and column.
"""

from __future__ import annotations

import difflib
import re
import typing
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from vwt_agents.config.schema import Agent, AgentsToml, Sampling
from vwt_agents.errors import did_you_mean

if typing.TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic_core import ErrorDetails

__all__ = ["PathFault", "option_faults", "schema_faults"]


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


def option_faults(given: Mapping[str, Any]) -> list[str]:
    """What is wrong with sampling options, as they would stand in agents.toml."""
    try:
        Sampling.model_validate(given)
    except ValidationError as error:
        return [fault.message + (f" ({fault.hint})" if fault.hint else "") for fault in schema_faults(error)]
    return []


def _fault(found: ErrorDetails) -> PathFault:
    path, value = found["loc"], found["input"]
    table, key = path[:-1], str(path[-1]) if path else ""
    match found["type"]:
        case "extra_forbidden":
            unknown = PathFault.at(table, f"unknown key {key!r}", _nearest_key(key, table))
            return PathFault(path, unknown.message, unknown.hint)
        case "missing":
            return PathFault.at(table, f"missing key {key!r}", _WANTED.get(key))
        case "literal_error":
            possible = [name.strip("'") for name in found["ctx"]["expected"].replace(" or ", ", ").split(", ")]
            return PathFault.at(path, f"{value!r} is not one of {', '.join(possible)}", _near(str(value), possible))
        case "value_error":
            return PathFault.at(path, str(found["ctx"]["error"]))
        case "string_pattern_mismatch":  # of the keys of `env`, whose place is the key itself
            return PathFault.at(
                path[:-1], "an environment variable's name has letters, digits and _ only, no digit first"
            )
        case kind:
            return _measured(kind, path, value, found.get("ctx", {}))


def _measured(kind: str, path: tuple[str | int, ...], value: Any, bounds: Mapping[str, Any]) -> PathFault:
    """A value of the wrong type, or out of its bounds."""
    shown = str(value).lower() if isinstance(value, bool) else repr(value)
    if kind in _EMPTY:
        return PathFault.at(path, *_EMPTY[kind])
    if kind in _TYPES:
        return PathFault.at(path, f"{shown} is not {_TYPES[kind]}", _as_meant(kind, path, value))
    for bound, words in _BOUNDS.items():
        if bound in bounds:
            return PathFault.at(path, f"{shown} should be {words} {bounds[bound]:.12g}")
    return PathFault.at(path, f"{shown} cannot be read")


def _as_meant(kind: str, path: tuple[str | int, ...], value: Any) -> str | None:
    """How to write what was probably meant."""
    key = str(path[-1]) if path else ""
    if kind in {"int_type", "float_type", "bool_type"} and isinstance(value, str):
        plain = value.strip().lower()
        fits = plain in {"true", "false"} if kind == "bool_type" else re.fullmatch(r"-?\d+(\.\d+)?", plain)
        return f"without quotes: {key} = {plain}" if fits else None
    if kind == "bool_type":
        return f"{key} = true, or false"
    if kind == "list_type" and value and isinstance(value, str):
        return f'in brackets: {key} = ["{value}"]'
    if kind == "string_type" and isinstance(value, int | float) and not isinstance(value, bool):
        return f'in quotes: "{value}"'
    return f"as a table of its own: [{'.'.join(map(str, path))}]" if kind in {"model_type", "dict_type"} else None


_WANTED: Final = {
    "endpoints": 'where models are served, such as [endpoints.small] with kind = "ollama"',
    "tiers": "which models there are: [tiers.small] with endpoint and models",
    "small": "which models there are: [tiers.small] with endpoint and models",
    "kind": 'kind = "ollama", or "embedded"',
    "endpoint": "the name of one of [endpoints]",
    "models": 'the models it serves, best first, such as models = ["qwen2.5-coder:7b"]',
}
_EMPTY: Final = {
    "too_short": ("an empty list says nothing", "name at least one"),
    "string_too_short": ("an empty text says nothing", "leave it out, or say what it should be"),
}
_TYPES: Final = {
    "bool_type": "true or false",
    "dict_type": "a table",
    "finite_number": "a finite number",
    "float_type": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "list_type": "a list",
    "model_type": "a table",
    "string_type": "a text",
}
_BOUNDS: Final = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
"""Of pydantic's findings, those that a value of agents.toml can have."""


def _near(word: str, possible: list[str]) -> str | None:
    near = difflib.get_close_matches(word, possible, n=1)
    return f"did you mean {near[0]!r}?" if near else None


def _nearest_key(key: str, table: tuple[str | int, ...]) -> str | None:
    model = _model_at(table)
    if model is Agent and (near := difflib.get_close_matches(key, Sampling.model_fields, n=1)):
        sure = "" if near[0] == key else f"did you mean {near[0]!r}? "
        return f"{sure}it goes in options = {{ {near[0]} = ... }}"
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
