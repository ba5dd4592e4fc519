"""Graphs, models, offers and settings as routing is told of them, for its tests."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from vwt_agents.config import Settings, load_settings, parse_settings
from vwt_agents.footprint import Conditions, Layer, Measurement, ModelShape
from vwt_agents.routing import ModelOffer, Offer, Plan, plan_routes

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Stage:
    name: str
    agents: tuple[str, ...] = ("coder",)
    importance: str = "normal"
    needs: tuple[str, ...] = ()
    kind: str = "stage"
    each: str | None = None


@dataclass(frozen=True)
class Graph:
    stages: tuple[Stage, ...]


def shape(weights: int, kib: int, context: int = 32768) -> ModelShape:
    """A model of `weights` MiB whose KV cache takes `kib` KiB a token (on a GPU, 384 MiB and a compute buffer come on top)."""
    return ModelShape(
        architecture="llama",
        size_bytes=weights << 20,
        device_bytes=weights << 20,
        layers=(Layer(1),) * kib,
        key_length=256,
        value_length=256,
        embedding_length=0,
        vocabulary=0,
        context_length=context,
    )


def model(name: str, weights: int = 4000, kib: int = 64, context: int = 32768, **more: object) -> ModelOffer:
    offer = ModelOffer(name, shape(weights, kib, context), weights, licence="apache-2.0")
    return replace(offer, **more)  # type: ignore[arg-type]


def taken(mib: int, num_ctx: int, slots: int, *, fitted: int | None = None) -> Measurement:
    """What a model was measured to take on a GPU, or spilled with."""
    conditions = Conditions("weights", num_ctx, slots, "f16", "ollama 0.33.0", "gpu")
    return Measurement(conditions, "a:7b", mib, datetime(2026, 11, 20, tzinfo=UTC), fitted)


CODER, MISTRAL, CHAT = model("qwen2.5-coder:7b"), model("mistral:latest"), model("neural-chat:latest")
BIG = model("qwen2.5-coder:14b", 8500, 192)
LLAMA2 = model("llama2:13b", 6936, 800, 4096, licence="LLAMA 2 COMMUNITY LICENSE AGREEMENT")
TINY = model("smollm2:135m", 94, 22, 8192, tasks=("chat", "general"))
HALF = model("qwen2.5-coder:0.5b", 469, 12, tasks=("code", "chat", "general", "analysis"))

DEFAULT = load_settings(None, pipeline=None, cwd=Path("/")).on("gpu0")
CARD_16 = {"gpu0": 14767, "cpu": 8000}
PLAIN = Graph((Stage("draft"), Stage("review", ("reviewer",))))
PROMOTED = Graph(
    (Stage("draft", importance="high"), Stage("tests", ("tester",), "high"), Stage("review", ("reviewer",)))
)


def offer(endpoint: str, *models: ModelOffer, answers: bool = True, detail: str = "") -> Offer:
    return Offer(endpoint, answers, detail, {found.name: found for found in models})


def ollama(*models: ModelOffer) -> Mapping[str, Offer]:
    return {"ollama": offer("ollama", *models), "embedded": offer("embedded", answers=False)}


def embedded(*models: ModelOffer) -> Mapping[str, Offer]:
    silent = offer("ollama", answers=False, detail="connection refused")
    return {"ollama": silent, "embedded": offer("embedded", *models)}


def plan(
    graph: Graph,
    offers: Mapping[str, Offer],
    settings: Settings = DEFAULT,
    budgets: Mapping[str, int] = CARD_16,
) -> Plan:
    return plan_routes(graph, settings, offers, budgets)  # type: ignore[arg-type]


def settings(agents: str = "", *, small: str = "", large: str = "", more: str = "", parallel: int = 4) -> Settings:
    """Two tiers on one Ollama: `small` and `large` are their models, one table of agents in TOML."""
    text = f"""
[endpoints.ollama]
kind = "ollama"
parallel = {parallel}
[tiers.small]
endpoint = "ollama"
models = {(small or "a:7b b:7b c:7b").split()}
"""
    if large:
        text += f'[tiers.large]\nendpoint = "ollama"\nmodels = {large.split()}\n'
    return parse_settings(text + agents + more).on("gpu0")
