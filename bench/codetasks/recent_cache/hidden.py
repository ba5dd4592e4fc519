import pytest
from recent_cache import RecentCache


def filled(size, keys):
    cache = RecentCache(size)
    for key in keys:
        cache.put(key, key.upper())
    return cache


def test_the_oldest_goes_first():
    cache = filled(2, "abc")
    assert [cache.get(key) for key in "abc"] == [None, "B", "C"]


def test_a_get_is_a_use():
    cache = filled(2, "ab")
    cache.get("a")
    cache.put("c", 1)
    assert ("a" in cache, "b" in cache) == (True, False)


def test_storing_again_is_a_use_and_replaces():
    cache = filled(2, "ab")
    cache.put("a", 5)
    cache.put("c", 1)
    assert (cache.get("a"), "b" in cache, len(cache)) == (5, False, 2)


def test_in_is_no_use():
    cache = filled(2, "ab")
    assert "a" in cache
    cache.put("c", 1)
    assert "a" not in cache


def test_defaults_and_values_that_are_none():
    cache = RecentCache(1)
    assert cache.get("x", 7) == 7
    cache.put("x", None)
    assert cache.get("x", 7) is None


def test_a_size_is_at_least_one():
    with pytest.raises(ValueError):
        RecentCache(0)
