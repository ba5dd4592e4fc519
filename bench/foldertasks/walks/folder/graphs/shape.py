"""What can be said of a graph as a whole."""

from graphs.walk import reachable


def nodes(graph):
    """All nodes of a graph."""
    return set(graph) | {node for near in graph.values() for node in near}


def is_connected_from(graph, start):
    """Whether all nodes can be reached from one."""
    return reachable(graph, start) == nodes(graph)
