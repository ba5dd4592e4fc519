from spans import covered, merge, overlap


def test_merge():
    assert merge([(3, 4), (1, 2), (2, 3)]) == [(1, 4)]
    assert merge([(1, 10), (2, 3), (10, 11), (12, 13)]) == [(1, 11), (12, 13)]
    assert merge([(1, 1), (1, 1)]) == [(1, 1)]


def test_the_rest():
    assert covered([(0, 1), (1, 2), (5, 6)]) == 3
    assert not overlap((1, 2), (2, 3))
