"""What a model takes in memory, worked out from its GGUF metadata before it is ever loaded. Pure.

Owns `ModelShape` (what the metadata says) and `Footprint` (the MiB, with the arithmetic as text). It errs on the large
side: a missing key is replaced by an assumption that is named, never by an optimistic guess. Never looks at a device or
a file, and never replaces a figure measured here: routing prefers those.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from vwt_agents.types import MIB, Mib

__all__ = ["CacheType", "DeviceKind", "Footprint", "Layer", "ModelShape", "estimate", "shape_from_metadata"]

CacheType: TypeAlias = Literal["f32", "f16", "q8_0", "q4_0"]
DeviceKind: TypeAlias = Literal["gpu", "cpu"]

_CACHE_BYTES: Final[Mapping[str, float]] = {"f32": 4.0, "f16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32}

# Bytes per weight of the input embedding table, by `general.file_type` (llama.cpp's llama_ftype).
_EMBEDDING_BYTES: Final[Mapping[int, float]] = {
    0: 4.0, 1: 2.0, 2: 18 / 32, 3: 20 / 32, 7: 34 / 32, 8: 22 / 32, 9: 24 / 32, 10: 84 / 256, 11: 110 / 256,
    12: 110 / 256, 13: 110 / 256, 14: 144 / 256, 15: 144 / 256, 16: 176 / 256, 17: 176 / 256, 18: 210 / 256, 32: 2.0,
}  # fmt: skip

# One layer in N attends to everything, the others through the sliding window. Other architectures that name a window
# (mistral 0.1, qwen2, phi3) are loaded with full attention, so only these save memory by it.
_WINDOW_PERIOD: Final[Mapping[str, int]] = {
    "gemma2": 2,
    "gemma3": 6,
    "gemma3n": 5,
    "gpt-oss": 2,
    "gptoss": 2,
    "cohere2": 4,
}

_TIED_BELOW: Final = 3584
_TIED_FAMILIES: Final = ("gemma", "command-r", "cohere")
_UNKNOWN_VOCABULARY: Final = 152_064
_UNSHAPED_KV_SHARE: Final = 16_384

# A CUDA context with its cuBLAS workspace: 300-500 MiB per process; Ollama's own allowance is 457.
_GPU_OVERHEAD: Final[Mib] = 384
# The embedded engine's worker: interpreter and library, then what grows with the vocabulary (tokenizer, logits).
_CPU_BASE: Final[Mib] = 28
_CPU_BYTES_PER_WORD: Final = 710


@dataclass(frozen=True, slots=True)
class Layer:
    """The KV cache of one layer: its heads, and whether it keeps only the sliding window."""

    kv_heads: int
    windowed: bool = False


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What decides a model's memory. `assumptions` names, one sentence each, what the metadata did not say.

    `unshaped_kv_bytes` stands in for the KV cache of one token when the metadata has no layers at all;
    `state_bytes` is what a hybrid model's recurrent layers keep per slot, whatever the context.
    """

    architecture: str
    size_bytes: int
    layers: tuple[Layer, ...]
    key_length: int
    value_length: int
    embedding_length: int
    vocabulary: int
    context_length: int | None = None
    window: int | None = None
    device_bytes: int = 0
    state_bytes: int = 0
    unshaped_kv_bytes: int = 0
    assumptions: tuple[str, ...] = ()

    def kv_bytes_per_token(self, cache_type: CacheType = "f16") -> float:
        """Bytes the KV cache grows by with each token of context, all layers, as if none were windowed."""
        return self._layer_bytes(cache_type, windowed=False) + self._layer_bytes(cache_type, windowed=True)

    def capped(self, num_ctx: int) -> int:
        """`num_ctx`, but never more than the context the model was trained for: engines cap it there."""
        return num_ctx if self.context_length is None else min(num_ctx, self.context_length)

    def kv_bytes(self, *, num_ctx: int, slots: int, cache_type: CacheType = "f16", batch: int = 512) -> float:
        """Bytes of the KV cache and recurrent state for `slots` contexts of `num_ctx` tokens each."""
        tokens = self.capped(num_ctx) * slots
        windowed = tokens if self.window is None else min(tokens, self.window * slots + batch)
        return (
            self._layer_bytes(cache_type, windowed=False) * tokens
            + self._layer_bytes(cache_type, windowed=True) * windowed
            + self.state_bytes * slots
        )

    def _layer_bytes(self, cache_type: CacheType, *, windowed: bool) -> float:
        heads = sum(layer.kv_heads for layer in self.layers if layer.windowed is windowed)
        unshaped = 0 if windowed else self.unshaped_kv_bytes / 2
        return (heads * (self.key_length + self.value_length) + unshaped) * _CACHE_BYTES[cache_type]


@dataclass(frozen=True, slots=True)
class Footprint:
    """MiB a loaded model takes on its device, by part; `arithmetic` is the sum as one line for people."""

    weights: Mib
    kv: Mib
    compute: Mib
    overhead: Mib
    arithmetic: str = ""

    @property
    def total(self) -> Mib:
        """All of it."""
        return self.weights + self.kv + self.compute + self.overhead


def shape_from_metadata(metadata: Mapping[str, Any], *, size_bytes: int) -> ModelShape:
    """The shape in a model's GGUF keys, as a file or Ollama's `/api/show` has them; `size_bytes` is the file's."""
    return _Reader(metadata, size_bytes).shape()


def estimate(
    shape: ModelShape,
    *,
    num_ctx: int,
    slots: int,
    cache_type: CacheType = "f16",
    device_kind: DeviceKind = "gpu",
    batch: int = 512,
) -> Footprint:
    """The memory `shape` takes with `slots` contexts of `num_ctx` tokens (capped at what it was trained for).

    On a GPU the compute buffer is that of flash attention. On a CPU the weights are the whole mapped file.
    """
    context = shape.capped(num_ctx)
    kv = _mib(shape.kv_bytes(num_ctx=num_ctx, slots=slots, cache_type=cache_type, batch=batch))
    if device_kind == "gpu":
        weights = _mib(shape.device_bytes)
        compute = _mib(4 * batch * (shape.embedding_length + shape.vocabulary))
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
    return Footprint(weights=weights, kv=kv, compute=compute, overhead=overhead, arithmetic=arithmetic)


def _mib(size: float) -> Mib:
    return -int(-size // MIB)


class _Reader:
    """Reads one model's keys, noting what it had to assume."""

    def __init__(self, metadata: Mapping[str, Any], size_bytes: int) -> None:
        self.metadata = metadata
        self.size_bytes = size_bytes
        self.architecture = str(metadata.get("general.architecture") or "")
        self.assumptions: list[str] = []

    def shape(self) -> ModelShape:
        blocks, embedding = self.number("block_count"), self.number("embedding_length")
        heads = self.number("attention.head_count")
        per_head = embedding // heads if embedding and heads else 0
        key = self.number("attention.key_length") or per_head
        value = self.number("attention.value_length") or per_head
        vocabulary = self.vocabulary()
        kv_heads = self.kv_heads(blocks or 0, heads)
        unshaped = 0
        if not kv_heads or not key or not value:
            kv_heads, unshaped = (), -(-self.size_bytes // _UNSHAPED_KV_SHARE)
            self.assume("no layer shape", f"the KV cache of a token as 1/{_UNSHAPED_KV_SHARE} of the weights")
        window = self.number("attention.sliding_window")
        windowed = self.windowed(len(kv_heads)) if window else (False,) * len(kv_heads)
        return ModelShape(
            architecture=self.architecture,
            size_bytes=self.size_bytes,
            layers=tuple(Layer(heads, flag) for heads, flag in zip(kv_heads, windowed, strict=True)),
            key_length=key or 0,
            value_length=value or 0,
            embedding_length=embedding or 0,
            vocabulary=vocabulary,
            context_length=self.number("context_length"),
            window=window if any(windowed) else None,
            device_bytes=self.size_bytes - self.input_table(vocabulary, embedding or 0),
            state_bytes=self.state_bytes(kv_heads, blocks or 0),
            unshaped_kv_bytes=unshaped,
            assumptions=tuple(self.assumptions),
        )

    def get(self, key: str) -> Any:
        return self.metadata.get(f"{self.architecture}.{key}")

    def number(self, key: str) -> int | None:
        """A positive whole number, the largest of an array, else None."""
        return _positive(self.get(key))

    def assume(self, missing: str, instead: str) -> None:
        self.assumptions.append(f"the metadata has {missing}: taken {instead}")

    def kv_heads(self, blocks: int, heads: int | None) -> tuple[int, ...]:
        found = self.get("attention.head_count_kv")
        if _is_array(found) and len(found) == blocks:
            return tuple(int(count) for count in found)
        count = _positive(found)
        if count is None and heads is not None and blocks:
            self.assume("no attention.head_count_kv", f"one KV head per head ({heads})")
            count = heads
        return (count,) * blocks if count is not None else ()

    def windowed(self, layers: int) -> tuple[bool, ...]:
        pattern = self.get("attention.sliding_window_pattern")
        if _is_array(pattern) and len(pattern) == layers:
            return tuple(bool(flag) for flag in pattern)
        period = _positive(pattern) or _WINDOW_PERIOD.get(self.architecture, 1)
        return tuple((index + 1) % period != 0 for index in range(layers))

    def vocabulary(self) -> int:
        tokens = self.metadata.get("tokenizer.ggml.tokens")
        if _is_array(tokens) and tokens:
            return len(tokens)
        known = self.number("vocab_size")
        if known is None:
            self.assume("no vocabulary size", f"{_UNKNOWN_VOCABULARY} tokens")
        return known or _UNKNOWN_VOCABULARY

    def input_table(self, vocabulary: int, embedding: int) -> int:
        """Bytes of the input embedding table, which stays in host memory unless the output layer shares it."""
        per_weight = _EMBEDDING_BYTES.get(_positive(self.metadata.get("general.file_type")) or 0, 0.0)
        named = "general.file_type" in self.metadata
        tied = embedding < _TIED_BELOW or self.architecture.startswith(_TIED_FAMILIES)
        return 0 if tied or not named else min(int(vocabulary * embedding * per_weight), self.size_bytes // 4)

    def state_bytes(self, kv_heads: Sequence[int], blocks: int) -> int:
        """Bytes per slot of a hybrid model's recurrent layers: those without KV heads, or all if that is not said."""
        inner, state = self.number("ssm.inner_size"), self.number("ssm.state_size")
        if inner is None or state is None:
            return 0
        recurrent = sum(1 for heads in kv_heads if heads == 0)
        if not recurrent:
            self.assume("no list of recurrent layers", f"all {blocks} layers as both attending and recurrent")
            recurrent = blocks
        convolution = (self.number("ssm.conv_kernel") or 4) - 1
        groups = self.number("ssm.group_count") or 1
        return recurrent * 4 * (convolution * (inner + 2 * groups * state) + inner * state)


def _is_array(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _positive(value: Any) -> int | None:
    if _is_array(value):
        return max((found for item in value if (found := _positive(item))), default=None)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if value >= 1 else None
