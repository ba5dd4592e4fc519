"""Small GGUF files for the tests of the embedded engine, built as the format says; never a model that could answer."""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING, Any

from vwt_agents.endpoints.embedded.catalogue import ModelEntry, Source

if TYPE_CHECKING:
    from pathlib import Path


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(value: Any) -> bytes:
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + _string(value)
    if value and isinstance(value[0], str):
        return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(_string, value))
    return struct.pack("<IIQ", 9, 4, len(value)) + b"".join(struct.pack("<I", item) for item in value)


def gguf_bytes(*, words: int = 300, elements: int = 4096, version: int = 3, **more: Any) -> bytes:
    """A GGUF file of one F32 tensor of that many elements and a vocabulary of that many words."""
    keys: dict[str, Any] = {
        "general.architecture": "llama",
        "general.file_type": 3,
        "llama.block_count": 2,
        "llama.attention.head_count_kv": [3, 5],
        "tokenizer.ggml.tokens": [f"w{number}" for number in range(words)],
        "tokenizer.ggml.token_type": list(range(words)),
        "llama.rope.freq_base": 10000.0,
        "tokenizer.ggml.add_bos_token": False,
        **more,
    }
    head = b"GGUF" + struct.pack("<IQQ", version, 1, len(keys))
    head += b"".join(_string(key) + _value(value) for key, value in keys.items())
    head += _string("token_embd.weight") + struct.pack("<IQIQ", 1, elements, 0, 0)
    head += bytes(-len(head) % 32)
    return head + bytes(range(256)) * (elements * 4 // 256)


def entry_for(data: bytes, *sources: Source, name: str = "tiny:1b") -> ModelEntry:
    """A catalogue entry that pins those bytes."""
    digest = hashlib.sha256(data).hexdigest()
    return ModelEntry(name=name, size=len(data), sha256=digest, licence="mit", tasks=("chat",), sources=sources)


def write(path: Path, data: bytes) -> Path:
    """The path, now with those bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
