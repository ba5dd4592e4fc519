"""What routing is told about the world: the models each endpoint offers, and what they need. Never asks an endpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from vwt_agents.config import EndpointSettings, canonical
from vwt_agents.footprint import DeviceKind, ModelShape, estimate, shape_from_metadata
from vwt_agents.types import MIB, Mib

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ModelOffer", "Need", "Offer"]


@dataclass(frozen=True, slots=True)
class Need:
    """The MiB a model needs, and how that is known."""

    mib: Mib
    arithmetic: str


@dataclass(frozen=True, slots=True)
class ModelOffer:
    """A model an endpoint has, or (installed=False) could pull.

    `shape` None stands for unreadable metadata: the footprint is then guessed high from `size_mib`. `measured` is what
    it really took here, by (num_ctx, slots allotted). `licence` is an id or a full text; empty is not known.
    """

    name: str
    shape: ModelShape | None
    size_mib: Mib
    licence: str = ""
    tasks: tuple[str, ...] = ()
    installed: bool = True
    measured: Mapping[tuple[int, int], Mib] = field(default_factory=lambda: MappingProxyType({}))

    def capped(self, num_ctx: int) -> int:
        """`num_ctx`, but never more than the model was trained for."""
        return self.shape.capped(num_ctx) if self.shape is not None else num_ctx

    def need(self, endpoint: EndpointSettings, *, num_ctx: int, slots: int) -> Need:
        """What it takes on `endpoint` to serve `slots` requests at once; a measured figure goes before the estimate.

        Ollama allots the KV cache of all its OLLAMA_NUM_PARALLEL slots to every model, however few of them are used.
        """
        slots = endpoint.parallel if endpoint.kind == "ollama" else slots
        measured = self.measured.get((num_ctx, slots))
        if measured is not None:
            return Need(measured, f"{measured} MiB, measured here at num_ctx {num_ctx} x {slots}")
        shape = self.shape or shape_from_metadata({}, size_bytes=self.size_mib * MIB)
        device_kind: DeviceKind = "cpu" if endpoint.device == "cpu" else "gpu"
        footprint = estimate(shape, num_ctx=num_ctx, slots=slots, device_kind=device_kind)
        return Need(footprint.total, footprint.arithmetic)

    def suits(self, task: str) -> int:
        """How well it suits a task: 0 made for it, 1 a general model, 2 made for something else."""
        tasks = self.tasks or _tasks_by_name(self.name)
        return 0 if task in tasks else 1 if "general" in tasks else 2


@dataclass(frozen=True, slots=True)
class Offer:
    """What a probe of an endpoint found: does it answer, one sentence for people, and its models by name.

    An endpoint whose server is started when it is needed answers too: `asleep` is True until then, and `unknown` are the
    models of which nobody can say whether it has them.
    """

    endpoint: str
    answers: bool
    detail: str = ""
    models: Mapping[str, ModelOffer] = field(default_factory=lambda: MappingProxyType({}))
    asleep: bool = False
    unknown: frozenset[str] = frozenset()

    def find(self, model: str) -> ModelOffer | None:
        """The model of that name, compared as Ollama does: whatever the case, `latest` where there is no tag."""
        return next((offer for name, offer in self.models.items() if canonical(name) == canonical(model)), None)


def _tasks_by_name(model: str) -> tuple[str, ...]:
    """Ollama does not say what a model is for; makers put it into the name."""
    return ("code",) if "code" in model else ("chat",) if "chat" in model else ("general",)
