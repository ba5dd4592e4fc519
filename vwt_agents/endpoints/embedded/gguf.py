"""The header of a GGUF file, read with the standard library: its metadata, and whether the file is whole.

Owns: the parsing of untrusted files. Every length is checked against the file before it is believed. Never reads tensor data,
never keeps a big array: of those it keeps the length.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, BinaryIO, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["BrokenFile", "GgufHeader", "read_header"]

_MAGIC: Final = b"GGUF"
_SCALARS: Final = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING: Final = 8
_ARRAY: Final = 9
_KEPT_ITEMS: Final = 256  # longest array that is kept: per-layer values, never a vocabulary
_MOST_ITEMS: Final = 1 << 20  # more keys or tensors than any real file has

# Bytes and elements of one block, by ggml tensor type; a type that is not here leaves the end of the file unchecked.
_BLOCKS: Final = {
    0: (4, 1), 1: (2, 1), 2: (18, 32), 3: (20, 32), 6: (22, 32), 7: (24, 32), 8: (34, 32), 9: (36, 32), 10: (84, 256),
    11: (110, 256), 12: (144, 256), 13: (176, 256), 14: (210, 256), 15: (292, 256), 16: (66, 256), 17: (74, 256),
    18: (98, 256), 19: (50, 256), 20: (18, 32), 21: (110, 256), 22: (82, 256), 23: (136, 256), 24: (1, 1), 25: (2, 1),
    26: (4, 1), 27: (8, 1), 28: (8, 1), 29: (56, 256), 30: (2, 1), 34: (54, 256), 35: (66, 256), 39: (17, 32),
}  # fmt: skip

# `general.file_type` of llama.cpp, as people write it.
_FILE_TYPES: Final = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 38: "MXFP4",
}  # fmt: skip


class BrokenFile(ValueError):
    """The file is not a GGUF file, or not all of one; the message says why."""


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What the header says. `metadata` has every scalar, string and short array, and `{arch}.vocab_size` in any case."""

    version: int
    metadata: Mapping[str, Any]
    parameters: int
    tensors_end: int

    @property
    def architecture(self) -> str:
        """Such as `qwen2`; the prefix of the architecture's own keys."""
        return str(self.metadata.get("general.architecture", ""))

    @property
    def quantisation(self) -> str:
        """Such as `Q4_K_M`; empty when the file does not say."""
        return _FILE_TYPES.get(self.metadata.get("general.file_type", -1), "")


def read_header(path: Path) -> GgufHeader:
    """The header of the file, which is whole; BrokenFile says what is wrong, OSError that it cannot be read."""
    stat = path.stat()
    return _read_cached(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=32)  # describe() and load() ask for the same few files again and again
def _read_cached(path: Path, size: int, _mtime_ns: int) -> GgufHeader:
    with path.open("rb", buffering=1 << 20) as file:
        return _Reader(file, size).header()


class _Reader:
    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file = file
        self.size = size

    def header(self) -> GgufHeader:
        version, tensors, keys = self._preamble()
        metadata: dict[str, Any] = {}
        lengths: dict[str, int] = {}
        for _ in range(keys):
            key = self._string()
            value = self._value(self._number("<I"))
            if isinstance(value, _Skipped):
                lengths[key] = value.length
            else:
                metadata[key] = value
        arch = metadata.get("general.architecture")
        if not isinstance(arch, str) or not arch:
            raise BrokenFile("its header names no general.architecture")
        vocabulary = lengths.get("tokenizer.ggml.tokens", len(metadata.pop("tokenizer.ggml.tokens", ())))
        metadata.setdefault(f"{arch}.vocab_size", vocabulary)
        parameters, end = self._tensors(tensors, int(metadata.get("general.alignment", 32)))
        if end > self.size:
            raise BrokenFile(f"it is cut short: it has {self.size} bytes and its tensors end at byte {end}")
        return GgufHeader(version, metadata, parameters, end)

    def _preamble(self) -> tuple[int, int, int]:
        magic = self.file.read(4)
        if magic != _MAGIC:
            raise BrokenFile(f"it is not a GGUF file: it begins with {magic!r}, not {_MAGIC!r}")
        version = self._number("<I")
        if version not in {2, 3}:
            raise BrokenFile(f"its GGUF version is {version}; versions 2 and 3 can be read")
        tensors, keys = self._number("<Q"), self._number("<Q")
        if tensors > _MOST_ITEMS or keys > _MOST_ITEMS:
            raise BrokenFile(f"its header claims {keys} keys and {tensors} tensors, which no model has")
        return version, tensors, keys

    def _tensors(self, count: int, alignment: int) -> tuple[int, int]:
        """Elements in all, and the byte at which the last tensor ends."""
        elements = 0
        end = 0
        for _ in range(count):
            self._string()
            dimensions = self._number("<I")
            if dimensions > 8:
                raise BrokenFile(f"its header claims a tensor of {dimensions} dimensions")
            size = 1
            for _ in range(dimensions):
                size *= self._number("<Q")
            kind, offset = self._number("<I"), self._number("<Q")
            elements += size
            block_bytes, block_elements = _BLOCKS.get(kind, (0, 1))
            end = max(end, offset + size // block_elements * block_bytes)
        if alignment <= 0:
            raise BrokenFile(f"its general.alignment is {alignment}")
        start = -(-self.file.tell() // alignment) * alignment
        return elements, start + end

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            return self._array()
        if kind not in _SCALARS:
            raise BrokenFile(f"its header has a value of the unknown type {kind}")
        return self._number(_SCALARS[kind])

    def _array(self) -> Any:
        kind, length = self._number("<I"), self._number("<Q")
        if length > self.size:
            raise BrokenFile(f"its header claims an array of {length} items")
        if length <= _KEPT_ITEMS:
            return [self._value(kind) for _ in range(length)]
        if kind == _STRING:
            self._skip_strings(length)
        elif kind in _SCALARS:
            self._skip(length * struct.calcsize(_SCALARS[kind]))
        else:
            raise BrokenFile(f"its header has a long array of the type {kind}")
        return _Skipped(length)

    def _skip_strings(self, length: int) -> None:
        # The hot loop: a vocabulary has 150 000 entries, so local names and no calls of ours.
        read, unpack = self.file.read, struct.Struct("<Q").unpack
        for _ in range(length):
            head = read(8)
            if len(head) < 8:
                raise BrokenFile("it is cut short inside its header")
            (size,) = unpack(head)
            if size > 1 << 20:
                raise BrokenFile(f"its header claims a token of {size} bytes")
            read(size)

    def _skip(self, size: int) -> None:
        if self.file.tell() + size > self.size:
            raise BrokenFile("it is cut short inside its header")
        self.file.seek(size, 1)

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._bytes(struct.calcsize(form)))[0]

    def _string(self) -> str:
        length: int = self._number("<Q")
        return self._bytes(length).decode("utf-8", "replace")

    def _bytes(self, size: int) -> bytes:
        if self.file.tell() + size > self.size:
            raise BrokenFile("it is cut short inside its header")
        return self.file.read(size)


@dataclass(frozen=True, slots=True)
class _Skipped:
    length: int
