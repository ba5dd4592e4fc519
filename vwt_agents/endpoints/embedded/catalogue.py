"""The catalogue: which models the embedded engine can bring here, pinned by the sha256 of their weights, and from where.

Owns: the entries, shipped and the user's own, and the check of their text. Never touches the network or a model file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping  # noqa: TC003 - pydantic reads the annotations at run time
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeAlias

from vwt_agents.errors import ConfigError, Fault, ModelMissing, did_you_mean

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "Catalogue",
    "FileSource",
    "HttpSource",
    "ModelEntry",
    "Source",
    "WheelPart",
    "WheelSource",
    "load_catalogue",
]

_STRICT: Final[Any] = {"extra": "forbid"}


@dataclass(frozen=True, slots=True)
class HttpSource:
    """The file at an address: a Hugging Face file, an Ollama registry blob, a mirror of your own."""

    __pydantic_config__: ClassVar[Any] = _STRICT
    kind: Literal["http"]
    url: str
    trust: str = "publisher"

    @property
    def label(self) -> str:
        """The source in few words, for progress and errors."""
        return self.url


@dataclass(frozen=True, slots=True)
class WheelPart:
    """One wheel, pinned by its sha256, and the member of it that is a piece of the file; `size` is the member's bytes."""

    __pydantic_config__: ClassVar[Any] = _STRICT
    project: str
    version: str
    sha256: str
    member: str
    size: int


@dataclass(frozen=True, slots=True)
class WheelSource:
    """Members of wheels of the package registry that make up the file, in order."""

    __pydantic_config__: ClassVar[Any] = _STRICT
    kind: Literal["wheels"]
    parts: tuple[WheelPart, ...]
    trust: str = "publisher"

    @property
    def label(self) -> str:
        """The source in few words, for progress and errors."""
        first, last = self.parts[0], self.parts[-1]
        names = first.project if first == last else f"{first.project} .. {last.project}"
        return f"package registry ({names} {first.version})"


@dataclass(frozen=True, slots=True)
class FileSource:
    """A file on this machine or on a mounted share."""

    __pydantic_config__: ClassVar[Any] = _STRICT
    kind: Literal["file"]
    path: str
    trust: str = "local"

    @property
    def label(self) -> str:
        """The source in few words, for progress and errors."""
        return f"file {self.path}"


Source: TypeAlias = HttpSource | WheelSource | FileSource


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model: its weights by sha256 and size in bytes, what they are good for, and its sources in order of preference.

    `metadata` holds the GGUF keys a footprint needs, so that a plan can be made before the weights are here.
    """

    __pydantic_config__: ClassVar[Any] = _STRICT
    name: str
    size: int
    sha256: str
    licence: str
    licence_url: str = ""
    aliases: tuple[str, ...] = ()
    parameters: str = ""
    quantisation: str = ""
    tasks: tuple[str, ...] = ()
    note: str = ""
    sources: tuple[Source, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The entries by name; looking one up also takes an alias."""

    entries: tuple[ModelEntry, ...]

    def __iter__(self) -> Iterator[ModelEntry]:
        return iter(self.entries)

    def find(self, name: str) -> ModelEntry | None:
        """The entry of that name or alias, or None."""
        wanted = name.lower()  # as Ollama compares names
        return next(
            (one for one in self.entries if wanted in {known.lower() for known in (one.name, *one.aliases)}), None
        )

    def __getitem__(self, name: str) -> ModelEntry:
        """The entry of that name or alias; ModelMissing with the nearest name."""
        entry = self.find(name)
        if entry is None:
            known = [known for entry in self.entries for known in (entry.name, *entry.aliases)]
            hint = did_you_mean(name, known) or "see `python -m vwt_agents models list`"
            raise ModelMissing(f"the embedded engine's catalogue has no model {name!r}", hint=hint)
        return entry


def load_catalogue(extra: Path | None = None) -> Catalogue:
    """The shipped entries with those of the file `extra` merged over them by name; ConfigError lists every fault of it."""
    shipped = resources.files("vwt_agents.endpoints.embedded").joinpath("catalogue.toml")
    entries = _parse(shipped.read_text("utf-8"), "catalogue.toml")
    if extra is not None and extra.exists():
        entries |= _parse(extra.read_text("utf-8"), str(extra))
    return Catalogue(tuple(entries.values()))


def _parse(text: str, where: str) -> dict[str, ModelEntry]:
    from pydantic import TypeAdapter, ValidationError  # 100 ms that `--help` does not pay

    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([Fault(where, str(error))]) from None
    adapter = TypeAdapter(ModelEntry)
    entries: dict[str, ModelEntry] = {}
    faults: list[Fault] = []
    for name, table in document.get("models", {}).items():
        try:
            entries[name] = adapter.validate_python({"name": name, **table})
        except ValidationError as error:
            faults += [
                Fault(f'{where}: models."{name}".' + ".".join(map(str, fault["loc"])), fault["msg"])
                for fault in error.errors()
            ]
    if faults:
        raise ConfigError(faults)
    return entries
