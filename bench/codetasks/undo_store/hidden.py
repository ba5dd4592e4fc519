import pytest
from undo_store import Store


def test_without_transactions_it_is_a_dictionary():
    store = Store()
    store.set("a", 1)
    store.set("a", 2)
    assert store.get("a") == 2
    store.delete("a")
    with pytest.raises(KeyError):
        store.get("a")
    with pytest.raises(KeyError):
        store.delete("a")


def test_a_rollback_undoes_everything():
    store = Store()
    store.set("a", 1)
    store.set("b", 2)
    store.begin()
    store.set("a", 9)
    store.delete("b")
    store.set("c", 3)
    store.rollback()
    assert (store.get("a"), store.get("b")) == (1, 2)
    with pytest.raises(KeyError):
        store.get("c")


def test_a_commit_keeps_everything():
    store = Store()
    store.begin()
    store.set("a", 1)
    store.commit()
    assert store.get("a") == 1
    with pytest.raises(RuntimeError):
        store.rollback()


def test_an_inner_rollback_leaves_the_outer_changes():
    store = Store()
    store.begin()
    store.set("a", 1)
    store.begin()
    store.set("a", 2)
    store.rollback()
    assert store.get("a") == 1
    store.commit()
    assert store.get("a") == 1


def test_an_outer_rollback_undoes_an_inner_commit():
    store = Store()
    store.set("a", 0)
    store.begin()
    store.begin()
    store.set("a", 1)
    store.commit()
    assert store.get("a") == 1
    store.rollback()
    assert store.get("a") == 0


def test_there_must_be_a_transaction():
    with pytest.raises(RuntimeError):
        Store().commit()
    with pytest.raises(RuntimeError):
        Store().rollback()
