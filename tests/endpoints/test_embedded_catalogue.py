"""The catalogue: what it promises of its own entries, and how it takes the user's."""

from __future__ import annotations

import pytest

from vwt_agents.endpoints.embedded.catalogue import load_catalogue
from vwt_agents.errors import ConfigError, ModelMissing


def test_the_shipped_entries_pin_whole_files():
    """The parts of every wheel source add up to the file, and each is pinned by its own digest."""
    for entry in load_catalogue():
        assert len(entry.sha256) == 64
        assert entry.licence == "apache-2.0"
        assert entry.sources
        for source in entry.sources:
            if source.kind == "wheels":
                assert sum(part.size for part in source.parts) == entry.size
                assert all(len(part.sha256) == 64 for part in source.parts)


def test_an_entry_carries_what_a_footprint_needs():
    for entry in load_catalogue():
        arch = entry.metadata["general.architecture"]
        for key in (
            "block_count",
            "context_length",
            "embedding_length",
            "attention.head_count",
            "attention.head_count_kv",
        ):
            assert entry.metadata[f"{arch}.{key}"] > 0


def test_the_publisher_comes_before_a_repackaging():
    entry = load_catalogue()["qwen2.5-coder:0.5b"]
    assert [source.trust for source in entry.sources] == ["publisher", "third-party-repack"]


def test_an_alias_names_the_same_entry_in_any_case():
    catalogue = load_catalogue()
    assert catalogue["QWEN2.5-coder:0.5b-instruct-q4_k_m"] is catalogue["qwen2.5-coder:0.5b"]


def test_an_unknown_name_gets_the_nearest_one():
    with pytest.raises(ModelMissing, match="did you mean 'smollm2:135m'"):
        load_catalogue()["smolm2:135m"]


def test_a_users_entry_is_added_and_replaces_by_name(tmp_path):
    extra = tmp_path / "catalogue.toml"
    extra.write_text(
        '[models."mine:1b"]\nsize = 3\nsha256 = "ab"\nlicence = "mit"\n'
        'sources = [{ kind = "file", path = "/share/mine.gguf" }]\n'
        '[models."smollm2:135m"]\nsize = 4\nsha256 = "cd"\nlicence = "mit"\n'
    )
    catalogue = load_catalogue(extra)
    assert catalogue["mine:1b"].sources[0].label == "file /share/mine.gguf"
    assert catalogue["smollm2:135m"].size == 4
    assert catalogue.find("qwen2.5-coder:0.5b") is not None


def test_every_fault_of_a_users_file_is_told_at_once(tmp_path):
    extra = tmp_path / "catalogue.toml"
    extra.write_text(
        '[models."a"]\nsize = "big"\nsha256 = "ab"\nlicence = "mit"\n[models."b"]\nsize = 1\nlicense = "mit"\n'
    )
    with pytest.raises(ConfigError) as caught:
        load_catalogue(extra)
    text = str(caught.value)
    assert 'models."a".size' in text
    assert 'models."b".sha256' in text
    assert 'models."b".license' in text
