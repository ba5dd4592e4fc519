"""Walks through graphs: a graph is a dict of lists, node -> the nodes next to it."""


def neighbours(graph, node):
    """The nodes next to a node; none for one that is not in the graph."""
    return graph.get(node, [])


def reachable(graph, start):
    """The set of all nodes that can be reached from `start`, itself among them."""
    found = {start}
    for node in neighbours(graph, start):
        found |= reachable(graph, node)
    return found


def is_reachable(graph, start, end):
    """Whether there is a way from one node to another."""
    return end in reachable(graph, start)
