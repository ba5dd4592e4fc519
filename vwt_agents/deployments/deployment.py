"""How a server is brought up, asked after and taken down: exact argument lists and environments. Pure; runs nothing.

No shell is involved anywhere: what is shown is what is executed, on every platform.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vwt_agents.config import EndpointSettings
    from vwt_agents.types import Seconds

__all__ = ["Deployment", "Order", "deployment_of"]

_LOADED_MODELS: Final = "16"  # what is resident is decided by us: no count of Ollama's own
_CACHE_RAM_MIB: Final = "1024"  # of host memory per model, for old prompts; llama.cpp's own is 8192


@dataclass(frozen=True, slots=True)
class Order:
    """A command: its arguments, the variables that go over the environment of whoever gives it, and its folder."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    folder: str | None = None

    def lines(self) -> list[str]:
        """The variables, one a line, then the command, each quoted so that a shell would take it."""
        return [*(f"{name}={shlex.quote(value)}" for name, value in self.env.items()), shlex.join(self.argv)]


@dataclass(frozen=True, slots=True)
class Deployment:
    """One server that can be started here: `service` of the `compose` files, or the process of `command`.

    `timeout` is how long, in seconds, a start may take until the server answers at `url`; after `idle_stop` seconds
    without use it is stopped. `env` holds only what is set over the environment of the one who starts it.
    """

    endpoint: str
    url: str
    compose: tuple[str, ...] = ()
    service: str = ""
    project: str | None = None
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    folder: str | None = None
    timeout: Seconds = 60.0
    idle_stop: Seconds = 600.0

    @property
    def key(self) -> str:
        """One name for every way to write the url: what is written of a server, and its locks, are found by it."""
        return re.sub(r"[^A-Za-z0-9.]+", "-", _host_port(self.url)).strip("-")

    def up(self) -> Order:
        """Start it. A command is the server itself and stays; compose returns once its health check is content."""
        return self._compose("up", "-d", "--wait", self.service) if self.compose else self._order(self.command)

    def down(self) -> Order | None:
        """Stop it; None for a command's process, which is told by a signal."""
        return self._compose("stop", self.service) if self.compose else None

    def status(self) -> Order | None:
        """Ask the one who runs it; None for a command's process, which is looked at directly."""
        return self._compose("ps", "--format", "json", self.service) if self.compose else None

    def shown(self) -> str:
        """The command of `up` in one line, without the environment."""
        return shlex.join(self.up().argv)

    def as_json(self) -> dict[str, Any]:
        """Plain data that `from_json` reads."""
        return {**{name: getattr(self, name) for name in self.__dataclass_fields__}, "env": dict(self.env)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Deployment:
        """The deployment `as_json` wrote."""
        lists = {name: tuple(data[name]) for name in ("compose", "command")}
        return cls(**{**data, **lists, "env": MappingProxyType(dict(data["env"]))})

    def same_start(self, other: Deployment) -> bool:
        """Whether both would start the same thing in the same way, whatever they are called and however long it may take."""
        return self.up() == other.up()

    def _compose(self, *verb: str) -> Order:
        files = [part for name in self.compose for part in ("-f", name)]
        project = ["-p", self.project] if self.project is not None else []
        return self._order(("docker", "compose", *project, *files, *verb))

    def _order(self, argv: tuple[str, ...]) -> Order:
        return Order(argv, self.env, self.folder)


def deployment_of(settings: EndpointSettings) -> Deployment | None:
    """How agents.toml says this endpoint is started; None where it does not.

    A command's server is told to listen at the endpoint's url with its number of slots, to keep the KV cache as
    footprints count it, to let nothing expire and to keep few old prompts, unless `env` says otherwise. Compose is told how
    the KV cache is to be kept where that is not the default: in variables that its files may pass on.
    """
    start, url = settings.start, settings.url
    if start is None or url is None:
        return None
    derived = {**({} if start.compose else _serving(url, settings.parallel)), **_kv_cache(settings)}
    return Deployment(
        endpoint=settings.name,
        url=url,
        compose=tuple(str(path.absolute()) for path in start.compose),
        service=start.service or "",
        project=start.project,
        command=start.command,
        env=MappingProxyType({**derived, **start.env}),
        folder=str(start.folder.absolute()) if start.folder is not None else None,
        timeout=start.timeout,
        idle_stop=start.idle_stop,
    )


def _serving(url: str, parallel: int) -> dict[str, str]:
    return {
        "OLLAMA_HOST": _host_port(url),
        "OLLAMA_NUM_PARALLEL": str(parallel),
        "OLLAMA_MAX_LOADED_MODELS": _LOADED_MODELS,
        "OLLAMA_KEEP_ALIVE": "-1",
        "LLAMA_ARG_CACHE_RAM": _CACHE_RAM_MIB,
    }


def _kv_cache(settings: EndpointSettings) -> dict[str, str]:
    """What differs from the server's own defaults; it takes a quantised cache only with flash attention switched on."""
    if settings.cache_type != "f16":
        return {"OLLAMA_KV_CACHE_TYPE": settings.cache_type, "OLLAMA_FLASH_ATTENTION": "1"}
    return {} if settings.flash_attention else {"OLLAMA_FLASH_ATTENTION": "0"}


def _host_port(url: str) -> str:
    parts = urlsplit(url)
    host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
