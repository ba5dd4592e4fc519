from graphs.shape import is_connected_from
from graphs.walk import is_reachable, reachable


def test_circles():
    graph = {"a": ["b", "c"], "b": ["d"], "c": ["a", "d"], "d": ["d"], "e": ["a"]}
    assert reachable(graph, "a") == {"a", "b", "c", "d"}
    assert reachable(graph, "e") == set("abcde")
    assert reachable(graph, "x") == {"x"}
    assert is_reachable(graph, "c", "b")
    assert not is_connected_from(graph, "a")


def test_a_deep_line():
    assert len(reachable({n: [n + 1] for n in range(50)}, 0)) == 51
