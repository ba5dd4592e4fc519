"""The header reader: what it gives of a whole file, and that a broken one is told without a process."""

from __future__ import annotations

import pytest
from embedded_files import gguf_bytes, write

from vwt_agents.endpoints.embedded.gguf import BrokenFile, read_header


def test_a_header_gives_scalars_and_short_arrays_and_counts_long_ones(tmp_path):
    data = gguf_bytes()
    header = read_header(write(tmp_path / "a.gguf", data))
    assert header.architecture == "llama"
    assert header.quantisation == "Q4_1"
    assert header.metadata["llama.attention.head_count_kv"] == [3, 5]
    assert header.metadata["llama.vocab_size"] == 300
    assert "tokenizer.ggml.tokens" not in header.metadata
    assert header.parameters == 4096
    assert header.tensors_end == len(data)


def test_a_short_vocabulary_is_counted_too(tmp_path):
    header = read_header(write(tmp_path / "a.gguf", gguf_bytes(words=7)))
    assert header.metadata["llama.vocab_size"] == 7
    assert "tokenizer.ggml.tokens" not in header.metadata


@pytest.mark.parametrize("cut", [1, 5000, 17_000])
def test_a_file_cut_short_is_told_from_its_header(tmp_path, cut):
    data = gguf_bytes()
    with pytest.raises(BrokenFile, match="cut short"):
        read_header(write(tmp_path / "a.gguf", data[:-cut]))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"<html>please log in</html>", "not a GGUF file"),
        (b"", "not a GGUF file"),
        (gguf_bytes(version=9), "version is 9"),
        (b"GGUF" + bytes([3, 0, 0, 0]) + b"\xff" * 16, "which no model has"),
        (gguf_bytes(**{"general.architecture": ""}), "names no general.architecture"),
    ],
)
def test_what_is_no_model_says_why(tmp_path, data, why):
    with pytest.raises(BrokenFile, match=why):
        read_header(write(tmp_path / "a.gguf", data))


def test_no_flipped_byte_of_a_header_does_more_than_break_the_file(tmp_path):
    """Headers come from strangers: whatever is in them, the reader ends with a header or with BrokenFile."""
    data = gguf_bytes(words=20, elements=64)
    for position in range(400):
        spoilt = data[:position] + b"\xff" + data[position + 1 :]
        try:
            read_header(write(tmp_path / f"{position}.gguf", spoilt))
        except BrokenFile:
            continue
