"""The servers of agents.toml as `endpoints` handles them: how they stand, brought up, taken down, and by which commands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from vwt_agents.app.world import make_endpoint, started_on_demand
from vwt_agents.deployments import Order, deployment_of
from vwt_agents.errors import EndpointUnavailable, UsageError, VwtError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vwt_agents.config import Settings
    from vwt_agents.endpoints.base import Endpoint
    from vwt_agents.endpoints.on_demand import OnDemandEndpoint
    from vwt_agents.types import Seconds

__all__ = ["ServerStatus", "Verb", "bring_up", "named", "orders", "server_statuses", "take_down"]

Verb: TypeAlias = Literal["up", "down", "status"]


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """How one endpoint's server stands. `users` are process ids of this user's; times are in seconds, None where none runs.

    `kept` says whether a keeper is there to stop it after `idle_stop`; `last` is how the last one we started ended.
    """

    endpoint: str
    kind: str
    url: str | None
    answers: bool
    version: str | None
    detail: str
    started_by_us: bool = False
    kept: bool = False
    users: tuple[int, ...] = ()
    idle: Seconds | None = None
    idle_stop: Seconds | None = None
    resident: tuple[dict[str, Any], ...] = ()
    last: str = ""


def named(settings: Settings, names: Sequence[str], *, startable: bool) -> list[str]:
    """Those endpoints of agents.toml, or all of them (that can be started) where none is named; UsageError for a wrong name."""
    can = [name for name, endpoint in settings.endpoints.items() if endpoint.start is not None or not startable]
    for name in names:
        if name not in settings.endpoints:
            hint = did_you_mean(name, settings.endpoints)
            raise UsageError(f"agents.toml has no endpoint {name!r}", hint=hint)
        if name not in can:
            raise UsageError(f"agents.toml does not say how endpoint {name!r} is started", hint=_HOW.format(name=name))
    if not can:
        first = next(iter(settings.endpoints), "NAME")
        raise UsageError("agents.toml does not say of any endpoint how it is started", hint=_HOW.format(name=first))
    return list(dict.fromkeys(names)) or can


_HOW = (
    '[endpoints.{name}] start = {{ command = ["ollama", "serve"] }}, or start = {{ compose = ["docker-compose.yml"], '
    'service = "ollama" }}; docs/deployments.md has whole files'
)


async def server_statuses(settings: Settings, names: Sequence[str]) -> list[ServerStatus]:
    """How each stands; starts nothing."""
    return [await _status(settings, name) for name in named(settings, names, startable=False)]


async def bring_up(settings: Settings, names: Sequence[str], say: Callable[[str], None]) -> list[ServerStatus]:
    """Each of them up, or EndpointUnavailable with the words of the first that could not be started."""
    found = []
    for name in named(settings, names, startable=True):
        async with _opened(settings, name, say) as endpoint:
            await endpoint.start()
        found.append(await _status(settings, name))
    return found


async def take_down(settings: Settings, names: Sequence[str], *, force: bool) -> dict[str, str | None]:
    """Each of them stopped, with why there was nothing to stop where that is so.

    EndpointUnavailable for one that others use (unless `force`) or that somebody else started.
    """
    chosen = named(settings, names, startable=True)
    said: dict[str, str | None] = {}
    for name in chosen:
        endpoint = _opened(settings, name)
        users = endpoint.server.standing().users
        if users and not force:
            who = ", ".join(str(pid) for pid in dict.fromkeys(users))
            hint = "wait until they have ended, or stop it under them with --force"
            raise EndpointUnavailable(f"endpoint {name} is in use by process {who}", hint=hint)
        async with endpoint:
            said[name] = await endpoint.server.down()
            if said[name] is not None and names and (await endpoint.probe()).ok and not await _asleep(endpoint):
                hint = "stop it the way it was started"
                raise EndpointUnavailable(f"endpoint {name} answers, but {said[name]}", hint=hint)
    return said


def orders(settings: Settings, names: Sequence[str], verb: Verb) -> list[tuple[str, Order | None, str]]:
    """For each endpoint the command of that verb, or None and what is done instead."""
    found: list[tuple[str, Order | None, str]] = []
    for name in named(settings, names, startable=True):
        deployment = deployment_of(settings.endpoints[name])
        assert deployment is not None
        order = {"up": deployment.up, "down": deployment.down, "status": deployment.status}[verb]()
        instead = ""
        if order is None and verb == "down":
            record = _opened(settings, name).server.standing().record
            alive = record is not None and record.lives() and record.server is not None
            instead = (
                f"SIGTERM to process {record.server.pid}" if alive and record and record.server else "nothing to stop"
            )
        elif order is None:
            instead = f"GET {deployment.url}/api/version"
        found.append((name, order, instead))
    return found


def _opened(settings: Settings, name: str, say: Callable[[str], None] | None = None) -> OnDemandEndpoint:
    endpoint = started_on_demand(make_endpoint(settings.endpoints[name]), settings.endpoints[name], say)
    if endpoint is None:  # it has `start`, or `named` would not have let it through
        raise EndpointUnavailable(
            "servers on demand need Linux or macOS", hint="run it in WSL, or start the server by hand"
        )
    return endpoint


async def _asleep(endpoint: OnDemandEndpoint) -> bool:
    return (await endpoint.probe()).asleep


async def _status(settings: Settings, name: str) -> ServerStatus:
    one = settings.endpoints[name]
    inner = make_endpoint(one)
    endpoint = started_on_demand(inner, one)
    async with endpoint or inner as opened:
        health = await opened.probe()
        answers = health.ok and not health.asleep
        resident = await _resident(opened) if answers else ()
    url = getattr(inner, "url", None)
    if endpoint is None:
        return ServerStatus(name, one.kind, url, answers, health.version, health.detail, resident=resident)
    standing = endpoint.server.standing()
    record = standing.record
    ended = record is not None and not standing.ours and record.state in {"stopped", "failed"}
    return ServerStatus(
        name,
        one.kind,
        url,
        answers,
        health.version,
        health.detail,
        started_by_us=standing.ours,
        kept=standing.kept,
        users=standing.users,
        idle=round(standing.idle, 1) if standing.idle is not None else None,
        idle_stop=endpoint.server.deployment.idle_stop,
        resident=resident,
        last=f"{record.state}: {record.said}" if ended and record is not None else "",
    )


async def _resident(endpoint: Endpoint) -> tuple[dict[str, Any], ...]:
    try:
        there = await endpoint.resident()
    except VwtError:
        return ()
    return tuple({"model": one.model, "mib": one.size_mib, "num_ctx": one.num_ctx} for one in there)
