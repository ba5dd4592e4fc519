import pytest
from rate_limiter import RateLimiter


def test_only_so_many_are_allowed():
    limiter = RateLimiter(3, 60)
    assert [limiter.allow(0), limiter.allow(0), limiter.allow(0), limiter.allow(0)] == [True, True, True, False]


def test_the_window_slides():
    limiter = RateLimiter(2, 10)
    assert limiter.allow(0)
    assert limiter.allow(5)
    assert not limiter.allow(9.9)
    assert limiter.allow(10)
    assert not limiter.allow(14)
    assert limiter.allow(15)


def test_refused_calls_do_not_count():
    limiter = RateLimiter(1, 10)
    assert limiter.allow(0)
    assert [limiter.allow(second) for second in range(1, 10)] == [False] * 9
    assert limiter.allow(10)


def test_what_remains():
    limiter = RateLimiter(2, 10)
    assert limiter.remaining(0) == 2
    limiter.allow(0)
    assert limiter.remaining(3) == 1
    assert limiter.remaining(3) == 1
    assert limiter.remaining(10) == 2


@pytest.mark.parametrize(("limit", "window"), [(0, 10), (-1, 10), (1, 0), (1, -2)])
def test_bad_settings_are_refused(limit, window):
    with pytest.raises(ValueError):
        RateLimiter(limit, window)
