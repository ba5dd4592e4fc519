"""The MiB a model takes on its device, by part, with the sum as one line for people. Pure.

Checked against published shapes, engine logs and measurements. It never replaces a figure measured here: see `measured`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from vwt_agents.types import MIB, CacheType, DeviceKind, Mib

if TYPE_CHECKING:
    from vwt_agents.footprint.shape import ModelShape

__all__ = ["Footprint", "estimate"]

# A CUDA context with its cuBLAS workspace: 300-500 MiB per process; Ollama's own allowance is 457.
_GPU_OVERHEAD: Final[Mib] = 384
# The embedded engine's worker: interpreter and library, then what grows with the vocabulary (tokenizer, logits).
_CPU_BASE: Final[Mib] = 28
_CPU_BYTES_PER_WORD: Final = 710
# Of what must be there in any case, the share a measurement has to show: tables that stay in host memory are estimated too.
_SURE: Final = 0.9


@dataclass(frozen=True, slots=True)
class Footprint:
    """MiB a loaded model takes on its device, by part; `arithmetic` is the sum as one line for people.

    `overhead` is what no engine reports of itself: a CUDA context, or the process. `least` is what a model that is wholly
    there can't take less than, as far as its metadata is sure of it.
    """

    weights: Mib
    kv: Mib
    compute: Mib
    overhead: Mib
    least: Mib = 0
    arithmetic: str = ""

    @property
    def total(self) -> Mib:
        """All of it."""
        return self.weights + self.kv + self.compute + self.overhead


def estimate(
    shape: ModelShape,
    *,
    num_ctx: int,
    slots: int,
    cache_type: CacheType = "f16",
    device_kind: DeviceKind = "gpu",
    batch: int = 512,
    flash_attention: bool = True,
) -> Footprint:
    """The memory `shape` takes with `slots` contexts of `num_ctx` tokens (capped at what it was trained for).

    `batch` is Ollama's num_batch. On a CPU the weights are the whole mapped file.
    """
    context = shape.capped(num_ctx)
    kv = _mib(shape.kv_bytes(num_ctx=num_ctx, slots=slots, cache_type=cache_type, batch=batch))
    if device_kind == "gpu":
        weights = _mib(shape.device_bytes)
        compute = _mib(_graph(shape, context * slots, batch, flash_attention=flash_attention))
        overhead = _GPU_OVERHEAD
    else:
        weights = _mib(shape.size_bytes)
        compute = _mib(_CPU_BYTES_PER_WORD * shape.vocabulary)
        overhead = _CPU_BASE
    per_token = shape.kv_bytes_per_token(cache_type) / 1024
    total = weights + kv + compute + overhead
    arithmetic = (
        f"weights {weights} + KV {kv} ({context} x {slots} tokens at {per_token:.4g} KiB, {cache_type})"
        f" + compute {compute} + {'context' if device_kind == 'gpu' else 'process'} {overhead} = {total} MiB"
    )
    least = int(_SURE * (weights + (kv if shape.kv_known else 0)))
    return Footprint(weights, kv, compute, overhead, least, arithmetic)


def _graph(shape: ModelShape, tokens: int, batch: int, *, flash_attention: bool) -> int:
    """Bytes of the compute buffer: the logits of a batch, or without flash attention its scores over all `tokens`."""
    logits = 4 * batch * (shape.embedding_length + shape.vocabulary)
    scores = 4 * batch * (1 + 4 * shape.embedding_length + tokens * (1 + shape.heads))
    return logits if flash_attention else max(logits, scores)


def _mib(size: float) -> Mib:
    return -int(-size // MIB)
