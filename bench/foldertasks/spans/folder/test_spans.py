from spans import covered, merge, overlap


def test_merge():
    assert merge([(1, 4), (2, 3)]) == [(1, 4)]
    assert merge([]) == []


def test_covered():
    assert covered([(1, 4), (2, 6)]) == 5


def test_overlap():
    assert overlap((1, 3), (2, 4))
    assert not overlap((1, 2), (2, 3))
