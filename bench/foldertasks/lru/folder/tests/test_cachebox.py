from cachebox import Cache


def test_the_oldest_leaves():
    cache = Cache(2)
    for number, key in enumerate("abc"):
        cache.put(key, number)
    assert cache.keys() == ["b", "c"]
    assert cache.get("a") is None


def test_hits_and_misses():
    cache = Cache(2)
    cache.put("a", 1)
    cache.get("a")
    cache.get("b")
    assert cache.stats.rate() == 0.5


def test_get_keeps_an_entry():
    cache = Cache(2)
    cache.put("a", 1)
    cache.put("b", 2)
    assert cache.get("a") == 1
    cache.put("c", 3)
    assert cache.keys() == ["a", "c"]
