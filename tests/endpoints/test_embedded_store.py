"""The store: names point at bytes, bytes are named by their digest, and Ollama's are only borrowed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from embedded_files import entry_for, gguf_bytes, write

from vwt_agents.endpoints.embedded.catalogue import Catalogue
from vwt_agents.endpoints.embedded.endpoint import EmbeddedEndpoint
from vwt_agents.endpoints.embedded.store import Store, default_root
from vwt_agents.errors import ModelMissing, UsageError

DATA = gguf_bytes()
ENTRY = entry_for(DATA)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "models", borrowed=tmp_path / "ollama")


def test_the_folder_can_be_chosen_by_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("VWT_MODELS", str(tmp_path))
    assert default_root() == tmp_path


def test_an_imported_file_the_catalogue_knows_gets_its_name(store, tmp_path):
    file = write(tmp_path / "whatever.gguf", DATA)
    manifest = store.bring_in(file, catalogue=Catalogue((ENTRY,)))
    assert (manifest.name, manifest.sha256, manifest.licence) == ("tiny:1b", ENTRY.sha256, "mit")
    assert store.find(ENTRY.sha256, ENTRY.size).read_bytes() == DATA
    assert store.verify("tiny:1b")


def test_an_imported_stranger_gets_the_name_given_or_its_own(store, tmp_path):
    file = write(tmp_path / "Mine.gguf", DATA)
    assert store.bring_in(file, catalogue=Catalogue(())).name == "mine"
    assert store.bring_in(file, name="other", catalogue=Catalogue(())).name == "other"
    assert [manifest.name for manifest in store.manifests()] == ["mine", "other"]


def test_a_catalogue_name_cannot_be_given_to_other_bytes(store, tmp_path):
    file = write(tmp_path / "a.gguf", gguf_bytes(words=9))
    with pytest.raises(UsageError, match="is not the catalogue's 'tiny:1b'"):
        store.bring_in(file, name="tiny:1b", catalogue=Catalogue((ENTRY,)))
    assert store.manifests() == ()


def test_a_broken_file_is_not_imported(store, tmp_path):
    with pytest.raises(UsageError, match="cut short"):
        store.bring_in(write(tmp_path / "a.gguf", DATA[:-1]), catalogue=Catalogue(()))
    with pytest.raises(UsageError, match="No such file"):
        store.bring_in(tmp_path / "none.gguf", catalogue=Catalogue(()))


def test_a_file_of_ollama_is_used_in_place_and_never_removed(store, tmp_path):
    theirs = write(tmp_path / "ollama" / f"sha256-{ENTRY.sha256}", DATA)
    assert store.find(ENTRY.sha256, ENTRY.size) == theirs
    store.record(ENTRY, source="test")
    assert store.verify("tiny:1b")
    assert store.remove("tiny:1b") == 0
    assert theirs.exists()


def test_a_file_of_another_size_is_not_taken_for_the_whole(store):
    write(store.blob(ENTRY.sha256), DATA[:-1])
    assert store.find(ENTRY.sha256, ENTRY.size) is None


def test_changed_bytes_are_noticed(store):
    write(store.blob(ENTRY.sha256), bytes(len(DATA)))
    store.record(ENTRY, source="test")
    assert not store.verify("tiny:1b")


def test_weights_stay_until_their_last_name_goes(store, tmp_path):
    file = write(tmp_path / "a.gguf", DATA)
    store.bring_in(file, name="one", catalogue=Catalogue(()))
    store.bring_in(file, name="two", catalogue=Catalogue(()))
    assert store.remove("one") == 0
    assert store.remove("two") == len(DATA)
    assert not store.blob(ENTRY.sha256).exists()
    with pytest.raises(ModelMissing, match="it has nothing"):
        store.remove("two")


async def test_where_a_licence_can_be_read_is_known_from_the_catalogue_else_from_the_file(store, tmp_path):
    pytest.importorskip("xllamacpp")
    first, second = (gguf_bytes(words=words, **{"general.license.link": "https://of.file"}) for words in (300, 301))
    catalogue = Catalogue((replace(entry_for(first), licence_url="https://of.catalogue"),))
    for data in (first, second):
        store.bring_in(write(tmp_path / "mine.gguf", data), catalogue=catalogue)
    infos = await EmbeddedEndpoint("here", store=store, catalogue=catalogue).models()
    assert {info.name: info.licence_url for info in infos} == {
        "tiny:1b": "https://of.catalogue",
        "mine": "https://of.file",
    }
