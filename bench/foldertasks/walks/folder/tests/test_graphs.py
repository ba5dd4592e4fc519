from graphs.shape import is_connected_from, nodes
from graphs.walk import is_reachable, reachable


def test_a_line():
    assert reachable({1: [2], 2: [3]}, 1) == {1, 2, 3}
    assert not is_reachable({1: [2], 2: [3]}, 3, 1)


def test_nodes():
    assert nodes({1: [2]}) == {1, 2}
    assert is_connected_from({1: [2]}, 1)


def test_a_circle():
    assert reachable({1: [2], 2: [1]}, 1) == {1, 2}
    assert reachable({1: [2, 3], 2: [1], 3: [3]}, 2) == {1, 2, 3}
