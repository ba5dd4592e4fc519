import pytest

from inventory import Inventory


def test_counts():
    store = Inventory()
    store.add("nut", 5)
    store.take("nut", 2)
    assert store.count("nut") == 3
    assert store.count("bolt") == 0
    with pytest.raises(ValueError):
        store.take("nut", 4)


def test_low():
    store = Inventory()
    store.add("nut", 5)
    store.add("bolt", 2)
    store.add("axle", 1)
    assert store.low(3) == ["axle", "bolt"]
