"""Finding agents.toml and reading it. Owns which file is read, and reports every fault of it in one ConfigError."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from vwt_agents.errors import ConfigError, Fault
from vwt_agents.whole import read_text

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from vwt_agents.config.faults import PathFault
    from vwt_agents.config.settings import Settings

__all__ = ["load_settings", "parse_settings"]

_FILE: Final = "agents.toml"
_MOST: Final = 4 * 2**20  # bytes
_WANTED: Final = "a TOML text is wanted, such as the agents.toml of vwt_agents/defaults: copy it and change it"


def load_settings(explicit: Path | None, *, pipeline: Path | None, cwd: Path) -> Settings:
    """The settings of `explicit`, else of agents.toml beside `pipeline`, else in `cwd`, else the packaged default.

    ConfigError lists every fault with file, line and column. Files are never merged: the first one found is all.
    """
    source = _find(explicit, pipeline=pipeline, cwd=cwd)
    if source is None:
        from importlib import resources  # 10 ms, and only needed without a file

        packaged = resources.files("vwt_agents").joinpath("defaults", _FILE)
        return parse_settings(packaged.read_text(encoding="utf-8"), shown=f"vwt_agents/defaults/{_FILE}")
    shown = str(source.relative_to(cwd)) if source.is_relative_to(cwd) else str(source)
    try:
        text = read_text(source, _MOST, regular=True)
    except FileNotFoundError:
        hint = f"name a file that exists, or leave --config out to use {_FILE} beside the pipeline or in this folder"
        raise ConfigError([Fault(shown, "there is no such file")], hint=hint) from None
    except UnicodeDecodeError as error:
        where = f"byte {error.start} is {error.object[error.start]:#04x}"
        raise ConfigError([Fault(shown, f"is not UTF-8 text: {where}")], hint=_WANTED) from error
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        said = error.strerror if isinstance(error, OSError) else error
        raise ConfigError([Fault(shown, f"cannot be read: {said}")], hint=_WANTED) from error
    if not text.strip():
        raise ConfigError([Fault(shown, "is empty")], hint=_WANTED)
    return parse_settings(text, source=source, shown=shown)


def parse_settings(text: str, *, source: Path | None = None, shown: str = _FILE) -> Settings:
    """The settings in a TOML text; `shown` is what its faults call it."""
    from pydantic import ValidationError

    from vwt_agents.config.faults import schema_faults
    from vwt_agents.config.references import reference_faults
    from vwt_agents.config.schema import AgentsToml

    raw = _toml(text, shown)
    faults: list[PathFault] = list(reference_faults(raw))
    try:
        parsed = AgentsToml.model_validate(raw)
    except ValidationError as error:
        told = {fault.path for fault in faults}
        faults += [fault for fault in schema_faults(error) if fault.path not in told]
    if faults:
        raise ConfigError(_located(text, shown, faults))
    return parsed.settings(source)


def _find(explicit: Path | None, *, pipeline: Path | None, cwd: Path) -> Path | None:
    if explicit is not None:
        return cwd / explicit
    beside = [(cwd / pipeline).parent / _FILE] if pipeline is not None else []
    return next((path for path in (*beside, cwd / _FILE) if path.exists()), None)


def _toml(text: str, shown: str) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        said, _, where = str(error).partition(" (at ")
        place = re.fullmatch(r"line (\d+), column (\d+)\)", where)
        lines = text.split("\n")
        at = f"{place[1]}:{place[2]}" if place else f"{len(lines)}:{len(lines[-1]) + 1}"
        raise ConfigError([Fault(f"{shown}:{at}", f"not valid TOML: {said[:1].lower()}{said[1:]}")]) from None


def _located(text: str, shown: str, faults: Iterable[PathFault]) -> list[Fault]:
    from vwt_agents.config.located import locate, positions

    known = positions(text)
    placed = sorted(((locate(fault.path, known), fault) for fault in faults), key=lambda pair: pair[0])
    return [Fault(f"{shown}:{line}:{column}", fault.message, fault.hint) for (line, column), fault in placed]
