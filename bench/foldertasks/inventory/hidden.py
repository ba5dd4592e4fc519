from inventory import Inventory


def test_low():
    store = Inventory()
    assert store.low(10) == []
    store.add("b", 2)
    store.add("a", 3)
    store.add("c", 1)
    assert store.low(2) == ["c"]
    assert store.low(3) == ["b", "c"]
    assert store.low(4) == ["a", "b", "c"]
    store.take("a", 3)
    assert store.low(1) == ["a"]


def test_the_rest():
    store = Inventory()
    store.add("x")
    assert store.count("x") == 1
