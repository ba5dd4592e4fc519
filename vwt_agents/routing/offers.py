"""What routing is told about the world: the models each endpoint offers, and what they need. Never asks an endpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from vwt_agents.config import EndpointSettings, canonical
from vwt_agents.footprint import ONE_SLOT, Footprint, Measurement, ModelShape, estimate, shape_from_metadata
from vwt_agents.types import MIB, DeviceKind, Mib

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ModelOffer", "Need", "Offer", "device_kind", "tasks_by_name"]


@dataclass(frozen=True, slots=True)
class Need:
    """The MiB a model needs, and how that is known: `measured` here (or spilled here) where it is not an estimate."""

    mib: Mib
    arithmetic: str
    measured: Measurement | None = None

    @property
    def spilled(self) -> bool:
        """Whether it is known to have no room."""
        return self.measured is not None and self.measured.fitted is not None


@dataclass(frozen=True, slots=True)
class ModelOffer:
    """A model an endpoint has, or (installed=False) could pull.

    `shape` None stands for unreadable metadata: the footprint is then guessed high from `size_mib`. `measured` is what
    it really took here, by (num_ctx, slots allotted). `licence` is an id or a full text; empty is not known. `resident` is
    the name its weights are loaded by where an earlier tag of the endpoint has the same ones; empty is its own.
    """

    name: str
    shape: ModelShape | None
    size_mib: Mib
    licence: str = ""
    tasks: tuple[str, ...] = ()
    installed: bool = True
    measured: Mapping[tuple[int, int], Measurement] = field(default_factory=lambda: MappingProxyType({}))
    resident: str = ""

    @property
    def loaded_as(self) -> str:
        """The name its weights are loaded by: a server has one runner for them, whatever tags they have."""
        return self.resident or self.name

    def capped(self, num_ctx: int) -> int:
        """`num_ctx`, but never more than the model was trained for."""
        return self.shape.capped(num_ctx) if self.shape is not None else num_ctx

    def allotted(self, endpoint: EndpointSettings, slots: int) -> int:
        """The slots whose KV cache it gets where `slots` are used.

        Ollama allots all its OLLAMA_NUM_PARALLEL to every model, however few of them are used, and one to some kinds.
        """
        if endpoint.kind != "ollama":
            return slots
        return 1 if self.shape is not None and self.shape.architecture.startswith(ONE_SLOT) else endpoint.parallel

    def expected(self, endpoint: EndpointSettings, *, num_ctx: int, slots: int) -> Footprint:
        """The estimate for `slots` allotted, whatever was measured."""
        return estimate(
            self.shape or shape_from_metadata({}, size_bytes=self.size_mib * MIB),
            num_ctx=num_ctx,
            slots=slots,
            cache_type=endpoint.cache_type,
            device_kind=device_kind(endpoint),
            flash_attention=endpoint.flash_attention,
        )

    def need(self, endpoint: EndpointSettings, *, num_ctx: int, slots: int) -> Need:
        """What it takes on `endpoint` to serve `slots` requests at once; a measured figure goes before the estimate.

        An estimate is never below what fewer tokens were measured to take, nor below what fewer tokens spilled at.
        """
        slots = self.allotted(endpoint, slots)
        found = self.measured.get((num_ctx, slots))
        if found is not None and found.fitted is None:
            said = f"{found.mib} MiB, measured here on {found.on} at num_ctx {num_ctx} x {slots}"
            return Need(found.mib, said, measured=found)
        expected = self.expected(endpoint, num_ctx=num_ctx, slots=slots)
        least = self._least(num_ctx * slots)
        if least is None or (least.fitted is None and least.mib <= expected.total):
            return Need(expected.total, expected.arithmetic)
        context, allotted = least.conditions.num_ctx, least.conditions.slots
        if least.fitted is None:
            said = f"{least.mib} MiB, as measured here on {least.on} at num_ctx {context} x {allotted} (estimated: "
            return Need(least.mib, f"{said}{expected.arithmetic})")
        said = (
            f"spilled to the CPU here on {least.on} at num_ctx {context} x {allotted}, only {least.fitted} MiB fitted"
        )
        return Need(max(least.mib, expected.total), f"{said}; estimated: {expected.arithmetic}", measured=least)

    def _least(self, tokens: int) -> Measurement | None:
        """Of what was measured with no more tokens: one that spilled, else the largest."""
        fewer = [one for (num_ctx, slots), one in self.measured.items() if num_ctx * slots <= tokens]
        return max(fewer, key=lambda one: (one.fitted is not None, one.mib), default=None)

    def suits(self, task: str) -> int:
        """How well it suits a task: 0 made for it, 1 a general model, 2 made for something else."""
        tasks = self.tasks or tasks_by_name(self.name)
        return 0 if task in tasks else 1 if "general" in tasks else 2


@dataclass(frozen=True, slots=True)
class Offer:
    """What a probe of an endpoint found: does it answer, one sentence for people, and its models by name.

    An endpoint whose server is started when it is needed answers too: `asleep` is True until then, and `unknown` are the
    models of which nobody can say whether it has them. `empty`: it was asked for every model that agents.toml would have it
    serve, and has none. `others` are all that it has, or could pull, where one that it was asked for was missing. `untold`
    are the models that it would say nothing of, by name, with why: a broken file, or it went away meanwhile.
    """

    endpoint: str
    answers: bool
    detail: str = ""
    models: Mapping[str, ModelOffer] = field(default_factory=lambda: MappingProxyType({}))
    asleep: bool = False
    unknown: frozenset[str] = frozenset()
    empty: bool = False
    others: frozenset[str] = frozenset()
    untold: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def useful(self) -> bool:
        """It answers, and has some model that it is asked for, as far as is known."""
        return self.answers and not self.empty

    def find(self, model: str) -> ModelOffer | None:
        """The model of that name, compared as Ollama does: whatever the case, `latest` where there is no tag."""
        return next((offer for name, offer in self.models.items() if canonical(name) == canonical(model)), None)


def device_kind(endpoint: EndpointSettings) -> DeviceKind:
    """What kind of memory its models live in."""
    return "cpu" if endpoint.device == "cpu" else "gpu"


def tasks_by_name(model: str) -> tuple[str, ...]:
    """Ollama does not say what a model is for; makers put it into the name."""
    return ("code",) if "code" in model else ("chat",) if "chat" in model else ("general",)
