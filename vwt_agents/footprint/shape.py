"""What decides a model's memory, read from its GGUF metadata as a file or Ollama's `/api/show` has it. Pure.

Owns `ModelShape`. It errs on the large side: a missing key is replaced by an assumption that is named, never by an
optimistic guess.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from vwt_agents.types import CacheType

__all__ = ["Layer", "ModelShape", "shape_from_metadata"]

_CACHE_BYTES: Final[Mapping[CacheType, float]] = {"f32": 4.0, "f16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32}

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
# Ollama leaves the tokens out of `/api/show`, and not every architecture names their number: the most any model of it has.
_VOCABULARIES: Final[Mapping[str, int]] = {
    "gemma": 262_144,
    "cohere": 262_144,
    "command-r": 256_000,
    "gpt-oss": 201_088,
    "gptoss": 201_088,
    "llama4": 202_048,
    "phi3": 200_064,
    "qwen3": 151_936,
    "qwen35": 248_320,
}
_UNKNOWN_VOCABULARY: Final = 152_064
_UNSHAPED_KV_SHARE: Final = 16_384


@dataclass(frozen=True, slots=True)
class Layer:
    """The KV cache of one layer: its heads, and whether it keeps only the sliding window."""

    kv_heads: int
    windowed: bool = False


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What decides a model's memory. `assumptions` names, one sentence each, what the metadata did not say.

    `unshaped_kv_bytes` stands in for the KV cache of one token when the metadata has no layers at all;
    `state_bytes` is what a hybrid model's recurrent layers keep per slot, whatever the context. `windowed_length` is key
    and value length together in the windowed layers, None where it is that of the others. `kv_known` is False where the
    KV cache rests on an assumption.
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
    heads: int = 0
    windowed_length: int | None = None
    kv_known: bool = True
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
        length = self.key_length + self.value_length
        if windowed and self.windowed_length is not None:
            length = self.windowed_length
        return (heads * length + unshaped) * _CACHE_BYTES[cache_type]


def shape_from_metadata(metadata: Mapping[str, Any], *, size_bytes: int) -> ModelShape:
    """The shape in a model's GGUF keys, as a file or Ollama's `/api/show` has them; `size_bytes` is the file's."""
    return _Reader(metadata, size_bytes).shape()


class _Reader:
    """Reads one model's keys, noting what it had to assume."""

    def __init__(self, metadata: Mapping[str, Any], size_bytes: int) -> None:
        self.metadata = metadata
        self.size_bytes = size_bytes
        self.architecture = str(metadata.get("general.architecture") or "")
        self.assumptions: list[str] = []
        self.kv_known = True

    def shape(self) -> ModelShape:
        blocks, embedding = self.number("block_count"), self.number("embedding_length")
        heads = self.number("attention.head_count")
        per_head = embedding // heads if embedding and heads else 0
        key = self.number("attention.key_length") or per_head
        value = self.number("attention.value_length") or per_head
        vocabulary = self.vocabulary()
        kv_heads = self.shared(self.attending(self.kv_heads(blocks or 0, heads)))
        unshaped = 0
        if not kv_heads or not key or not value:
            kv_heads, unshaped = (), -(-self.size_bytes // _UNSHAPED_KV_SHARE)
            self.assume_kv("no layer shape", f"the KV cache of a token as 1/{_UNSHAPED_KV_SHARE} of the weights")
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
            heads=heads or 0,
            windowed_length=self.windowed_length(),
            kv_known=self.kv_known,
            assumptions=tuple(self.assumptions),
        )

    def get(self, key: str) -> Any:
        return self.metadata.get(f"{self.architecture}.{key}")

    def number(self, key: str) -> int | None:
        """A positive whole number, the largest of an array, else None."""
        return _positive(self.get(key))

    def assume(self, missing: str, instead: str) -> None:
        self.assumptions.append(f"the metadata has {missing}: taken {instead}")

    def assume_kv(self, missing: str, instead: str) -> None:
        self.kv_known = False
        self.assume(missing, instead)

    def kv_heads(self, blocks: int, heads: int | None) -> tuple[int, ...]:
        found = self.get("attention.head_count_kv")
        if _is_array(found) and len(found) == blocks:
            return tuple(int(count) for count in found)
        count = _positive(found)
        if count is None and heads is not None and blocks:
            self.assume_kv("no attention.head_count_kv", f"one KV head per head ({heads})")
            count = heads
        return (count,) * blocks if count is not None else ()

    def attending(self, kv_heads: tuple[int, ...]) -> tuple[int, ...]:
        """Without the heads of the recurrent layers, where every Nth layer attends and the others are recurrent."""
        every = self.number("full_attention_interval")
        if every is None:
            return kv_heads
        return tuple(heads if (index + 1) % every == 0 else 0 for index, heads in enumerate(kv_heads))

    def shared(self, kv_heads: tuple[int, ...]) -> tuple[int, ...]:
        """Without the heads of the last layers where those have their keys and values from earlier ones."""
        shared = self.number("attention.shared_kv_layers") or 0
        own = len(kv_heads) - shared
        return tuple(heads if index < own else 0 for index, heads in enumerate(kv_heads))

    def windowed_length(self) -> int | None:
        key, value = self.number("attention.key_length_swa"), self.number("attention.value_length_swa")
        return key + value if key and value else None

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
        if known is not None:
            return known
        families = [family for family in _VOCABULARIES if self.architecture.startswith(family)]
        assumed = _VOCABULARIES[max(families, key=len)] if families else _UNKNOWN_VOCABULARY
        self.assume("no vocabulary size", f"{assumed} tokens")
        return assumed

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
        feeding = self.get("feed_forward_length")  # where it is by layer, a layer that feeds forward does nothing else
        only = feeding if _is_array(feeding) and len(feeding) == blocks and 0 in feeding else (0,) * blocks
        recurrent = sum(1 for heads, width in zip(kv_heads, only, strict=False) if heads == 0 and width == 0)
        if not recurrent:
            self.assume_kv("no list of recurrent layers", f"all {blocks} layers as both attending and recurrent")
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
