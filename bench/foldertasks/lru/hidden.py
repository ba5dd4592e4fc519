from cachebox import Cache


def test_order():
    cache = Cache(3)
    for number, key in enumerate("abc"):
        cache.put(key, number)
    assert cache.get("b") == 1
    assert cache.get("a") == 0
    assert cache.keys() == ["c", "b", "a"]
    assert cache.get("x", 7) == 7
    cache.put("d", 4)
    assert cache.keys() == ["b", "a", "d"]
    assert (cache.stats.hits, cache.stats.misses) == (2, 1)
