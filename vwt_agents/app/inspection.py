"""What `doctor` finds out about Ollama servers: version, slots, options, what is in their memory, tags; what to set.

Reads and compares; loads nothing: `slots` counts by loading.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from vwt_agents.app.findings import Finding
from vwt_agents.app.world import offer_of
from vwt_agents.config import DEFAULT_NUM_CTX, canonical
from vwt_agents.endpoints.address import server_url
from vwt_agents.endpoints.server_facts import ServerEnvironment, environment_of, era_of
from vwt_agents.errors import VwtError
from vwt_agents.footprint import Slots, slots_of
from vwt_agents.routing import device_kind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vwt_agents.app.world import World
    from vwt_agents.config import EndpointSettings
    from vwt_agents.endpoints.base import ModelInfo, Residence

__all__ = ["ServerLook", "environment_for", "look_at_servers", "slots_finding", "solved_slots"]

# where one of these differs, a model is loaded again
_RUNNER_OPTIONS: Final = frozenset(
    [
        "num_ctx",
        "num_batch",
        "num_gpu",
        "main_gpu",
        "use_mmap",
        "num_thread",
        "draft_num_predict",
    ]
)
_CACHE_RAM: Final = "1024"


@dataclass(frozen=True, slots=True)
class ServerLook:
    """One server: its findings, and the environment it should have for these agents; `known` is what it has."""

    endpoint: str
    findings: tuple[Finding, ...]
    wanted: Mapping[str, str]
    known: ServerEnvironment | None
    answers: bool = True


async def look_at_servers(
    world: World, *, environment: Callable[[str], ServerEnvironment | None] = environment_of
) -> list[ServerLook]:
    """Each Ollama looked at, also for what one that does not answer should be started with; it starts and loads nothing."""
    return [
        await _look(world, name, environment)
        if name in world.endpoints and world.health[name].ok and not world.health[name].asleep
        else ServerLook(name, (), environment_for(world, name), None, answers=False)
        for name, settings in world.settings.endpoints.items()
        if settings.kind == "ollama" and name in world.health
    ]


async def _look(world: World, name: str, environment: Callable[[str], ServerEnvironment | None]) -> ServerLook:
    settings = world.settings.endpoints[name]
    known = environment(server_url(settings.url))
    try:
        there, infos = await world.endpoints[name].resident(), await world.endpoints[name].models()
    except VwtError as error:
        return ServerLook(name, (Finding(f"memory of {name}", "note", error.message),), {}, known)
    by_name = {canonical(info.name): info for info in infos}
    findings = (
        _version(world, name),
        slots_finding(name, settings, _slots(world, name, there, by_name, known)),
        *_options(world, name, known),
        *_memory(world, name, there),
        *_remembered(world, name),
        *_tags(name, infos),
    )
    return ServerLook(name, findings, environment_for(world, name), known)


def environment_for(world: World, name: str) -> dict[str, str]:
    """The variables a server should be started with to serve what agents.toml plans for it."""
    settings = world.settings.endpoints[name]
    ways = [way for _tier, way in world.settings.ways(name)]
    contexts = [way.num_ctx or DEFAULT_NUM_CTX for way in ways]
    contexts += [agent.num_ctx for agent in world.settings.agents.values() if agent.num_ctx is not None and ways]
    return {
        "OLLAMA_NUM_PARALLEL": str(settings.parallel),
        "OLLAMA_CONTEXT_LENGTH": str(max(contexts, default=DEFAULT_NUM_CTX)),
        "OLLAMA_MAX_LOADED_MODELS": str(max(len(world.settings.listed(name)), 1)),
        "OLLAMA_KEEP_ALIVE": "-1",
        "OLLAMA_FLASH_ATTENTION": "1" if settings.flash_attention else "0",
        "OLLAMA_KV_CACHE_TYPE": settings.cache_type,
        "LLAMA_ARG_CACHE_RAM": _CACHE_RAM,
    }


def _version(world: World, name: str) -> Finding:
    version = world.health[name].version
    era = era_of(version)
    what, detail = f"version of {name}", f"Ollama {version}: {era.says}"
    if era.current:
        return Finding(what, "ok", detail)
    return Finding(what, "note", detail, "update Ollama: https://ollama.com/download")


def _slots(
    world: World,
    name: str,
    there: tuple[Residence, ...],
    infos: Mapping[str, ModelInfo],
    known: ServerEnvironment | None,
) -> Slots | None:
    """How many slots the server gives a model, by its environment or by what is in its memory; None where neither tells."""
    if known is not None:
        said = known.number("OLLAMA_NUM_PARALLEL")
        if said is not None:
            return Slots(said, sure=True, why=f"OLLAMA_NUM_PARALLEL={said} in {known.source}")
        default = era_of(world.health[name].version).default_slots
        if default is not None:
            why = f"OLLAMA_NUM_PARALLEL is not set in {known.source}, so {default}"
            return Slots(default, sure=True, why=why)
    found = [
        solved
        for one in there
        if (info := infos.get(canonical(one.model))) is not None
        and (solved := solved_slots(world, name, info, one)) is not None
    ]
    return max(found, key=lambda solved: solved.sure, default=None)


def solved_slots(world: World, name: str, info: ModelInfo, there: Residence) -> Slots | None:
    """The slots that explain what a resident model takes; None where nothing can be told by it."""
    settings = world.settings.endpoints[name]
    offer = offer_of(world, name, info.name, info)
    spilt = settings.device != "cpu" and there.device_mib < there.size_mib
    if offer.shape is None or spilt or offer.allotted(settings, 2) != settings.parallel:
        return None
    solved = slots_of(
        offer.shape,
        there.size_mib,
        num_ctx=there.num_ctx,
        cache_type=settings.cache_type,
        device_kind=device_kind(settings),
        flash_attention=settings.flash_attention,
    )
    return None if solved is None else replace(solved, why=f"{info.name}: {solved.why}")


def slots_finding(name: str, settings: EndpointSettings, found: Slots | None) -> Finding:
    """The server's slots beside those agents.toml says."""
    what, said = f"slots of {name}", f"agents.toml says parallel = {settings.parallel}"
    if found is None:
        detail = f"{said}; no API of Ollama's shows OLLAMA_NUM_PARALLEL, and what is in its memory does not tell"
        return Finding(
            what, "note", detail, "python -m vwt_agents doctor --load   (loads the smallest model and counts)"
        )
    number, certain = found.number, "" if found.sure else ", as far as can be told"
    if number == settings.parallel:
        return Finding(what, "ok", f"{number}{certain} ({found.why}), as agents.toml says")
    fix = f"start it with OLLAMA_NUM_PARALLEL={settings.parallel}, or say parallel = {number} in [endpoints.{name}]"
    detail = f"the server gives {number}{certain} ({found.why}), {said}"
    if number < settings.parallel:
        wait = "requests wait inside Ollama, where nobody sees them, and footprints are counted too high"
        return Finding(what, "note", f"{detail}: {wait}", fix)
    spill = "models take more memory than is counted, and may spill to the CPU"
    return Finding(what, "missing" if found.sure else "note", f"{detail}: {spill}", fix)


def _options(world: World, name: str, known: ServerEnvironment | None) -> list[Finding]:
    """Context default, KV cache type and flash attention, where the server's environment can be seen."""
    settings = world.settings.endpoints[name]
    if known is None:
        if settings.cache_type == "f16":
            return []
        detail = f"agents.toml counts on {settings.cache_type}; whether the server has it can't be seen from here"
        fix = f"start it with OLLAMA_KV_CACHE_TYPE={settings.cache_type}"
        return [Finding(f"KV cache of {name}", "note", detail, fix)]
    context = known.number("OLLAMA_CONTEXT_LENGTH")
    default = f"{context} tokens" if context else "Ollama's own choice by the size of the GPU (4096, 32768 or 262144)"
    runs = "runs always say theirs; another client that says none has the model loaded again"
    findings = [Finding(f"context default of {name}", "ok", f"{default}; {runs}"), *_at_once(world, name, known)]
    flash = {None: "on where every device can", True: "on", False: "off"}[known.flash_attention]
    same = known.cache_type == settings.cache_type and known.flash_attention is not (not settings.flash_attention)
    said = f"{known.cache_type}, flash attention {flash} ({known.source})"
    if same:
        return [*findings, Finding(f"KV cache of {name}", "ok", said)]
    off = f"cache_type = {settings.cache_type!r}, flash_attention = {str(settings.flash_attention).lower()}"
    detail = f"the server has {said}, agents.toml counts on {off}: footprints are wrong"
    flag = "" if known.flash_attention is None else f", flash_attention = {str(known.flash_attention).lower()}"
    fix = f'say cache_type = "{known.cache_type}"{flag} in [endpoints.{name}], or start the server as shown below'
    return [*findings, Finding(f"KV cache of {name}", "missing", detail, fix)]


def _at_once(world: World, name: str, known: ServerEnvironment) -> list[Finding]:
    """A server that keeps fewer models than agents.toml lists there, whether they fit or not."""
    most, listed = known.number("OLLAMA_MAX_LOADED_MODELS"), len(world.settings.listed(name))
    if most is None or most >= listed:
        return []
    said = f"OLLAMA_MAX_LOADED_MODELS={most} in {known.source}"
    detail = f"the server keeps {most} at once ({said}), agents.toml lists {listed}: it evicts what would fit"
    return [Finding(f"models of {name}", "note", detail, f"start it with OLLAMA_MAX_LOADED_MODELS={listed}")]


def _memory(world: World, name: str, there: tuple[Residence, ...]) -> list[Finding]:
    """What is in the server's memory now: no run of this command's, so somebody's; and what of it is on the CPU."""
    findings = []
    for one in there:
        what, fix = f"{one.model} on {name}", f"ollama stop {one.model}"
        if world.settings.endpoints[name].device != "cpu" and one.device_mib < one.size_mib:
            share = 100 * one.device_mib // max(1, one.size_mib)
            detail = f"spilled to the CPU: {one.device_mib} of its {one.size_mib} MiB are on the GPU ({share} %)"
            findings.append(Finding(what, "missing", f"{detail}, num_ctx {one.num_ctx}; answers are slow", fix))
            continue
        detail = f"in memory now, {one.size_mib} MiB at num_ctx {one.num_ctx}, loaded by somebody else or another run"
        findings.append(Finding(what, "note", f"{detail}: it counts against the budget until it goes", fix))
    return findings


def _remembered(world: World, name: str) -> list[Finding]:
    """The tiers' models that spilled here before, and so are not picked."""
    offer = world.offers.get(name)
    findings = []
    for model in offer.models.values() if offer is not None else ():
        for one in model.measured.values():
            if one.fitted is not None:
                sizes = f"num_ctx {one.conditions.num_ctx} x {one.conditions.slots}"
                detail = (
                    f"spilled here on {one.on} at {sizes}: only {one.fitted} MiB fitted; it is not picked with so much"
                )
                fix = f"lower num_ctx or parallel; once there is room: python -m vwt_agents models forget {model.name}"
                findings.append(Finding(f"{model.name} on {name}", "note", detail, fix))
    return findings


def _tags(name: str, infos: tuple[ModelInfo, ...]) -> list[Finding]:
    """Tags of the same weights: one runner serves them, unless their own options make each load throw out the other."""
    by_weights: dict[str, list[ModelInfo]] = {}
    for info in infos:
        if info.digest:
            by_weights.setdefault(info.digest, []).append(info)
    return [_same_weights(name, tags) for tags in by_weights.values() if len(tags) > 1]


def _same_weights(name: str, tags: list[ModelInfo]) -> Finding:
    what = f"{' and '.join(info.name for info in tags)} on {name}"
    options = [{key: value for key, value in info.options.items() if key in _RUNNER_OPTIONS} for info in tags]
    if all(one == options[0] for one in options):
        return Finding(what, "ok", "the same weights: served as one model")
    said = "; ".join(
        f"{info.name}: {', '.join(f'{key} {value}' for key, value in sorted(one.items())) or 'none'}"
        for info, one in zip(tags, options, strict=True)
    )
    detail = f"the same weights with different options ({said}): Ollama loads them again at each change between the two"
    return Finding(
        what, "note", detail, "use one of them, or give both the same PARAMETER lines (ollama show --modelfile)"
    )
