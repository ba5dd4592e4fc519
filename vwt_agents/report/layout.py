"""Where the stages of a graph stand in its picture: layers from top to bottom, few crossings, edges around the boxes.

Sugiyama's steps, small: the layer of a stage is its distance from the start, an edge over several layers passes through a
place of its own in each, and the places of a layer are put in the order of the middles of their neighbours, down and up.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Box", "Edge", "Layout", "lay_out"]

WIDTH: Final = 148
HEIGHT: Final = 46
_GAP_X: Final = 22
_GAP_Y: Final = 40
_NARROW: Final = 16
"""The width of the place an edge passes through."""
_SWEEPS: Final = 8


@dataclass(frozen=True, slots=True)
class Box:
    """A stage's box: its left upper corner."""

    name: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Edge:
    """From a stage to one that needs it, through these points; `implied` where a longer way leads there too."""

    source: str
    target: str
    points: tuple[tuple[float, float], ...]
    implied: bool


@dataclass(frozen=True, slots=True)
class Layout:
    """The whole picture and its size."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]


def lay_out(needs: Mapping[str, Sequence[str]]) -> Layout:
    """The picture of a graph, given the stages each stage needs, in an order in which they could run."""
    depth: dict[str, int] = {}
    for name, before in needs.items():
        depth[name] = 1 + max((depth[need] for need in before), default=-1)
    pairs = [(need, name) for name, before in needs.items() for need in dict.fromkeys(before)]
    layers: list[list[str]] = [[] for _ in range(1 + max(depth.values(), default=-1))]
    for name, layer in depth.items():
        layers[layer].append(name)
    chains: list[list[str]] = []
    for number, (source, target) in enumerate(pairs):
        chain = [source]
        for layer in range(depth[source] + 1, depth[target]):
            place = f"\0{number}.{layer}"
            layers[layer].append(place)
            chain.append(place)
        chains.append([*chain, target])
    _order(layers, chains)
    middles, width = _place(layers, chains)
    return Layout(
        width,
        max(0, len(layers) * (HEIGHT + _GAP_Y) - _GAP_Y),
        tuple(Box(name, middles[name] - WIDTH / 2, depth[name] * (HEIGHT + _GAP_Y)) for name in needs),
        tuple(
            Edge(chain[0], chain[-1], _points(chain, middles, depth[chain[0]]), implied=_implied(chain, needs))
            for chain in chains
        ),
    )


def _order(layers: list[list[str]], chains: Sequence[Sequence[str]]) -> None:
    """Put each layer in the order of the mean place of its neighbours, by turns of those above and those below."""
    above: dict[str, list[str]] = {}
    below: dict[str, list[str]] = {}
    for chain in chains:
        for upper, lower in pairwise(chain):
            above.setdefault(lower, []).append(upper)
            below.setdefault(upper, []).append(lower)
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        neighbours = above if down else below
        for layer in layers if down else reversed(layers):
            places = {name: index for other in layers for index, name in enumerate(other)}
            layer.sort(key=partial(_mean, neighbours, places))


def _mean(neighbours: Mapping[str, Sequence[str]], places: Mapping[str, int], name: str) -> float:
    """The mean place of its neighbours; its own where it has none."""
    near = neighbours.get(name, ())
    return sum(places[one] for one in near) / len(near) if near else float(places[name])


def _place(layers: Sequence[Sequence[str]], chains: Sequence[Sequence[str]]) -> tuple[dict[str, float], float]:
    """The middle of each place, and the width of it all: each near its neighbours above, as far as the layer allows."""
    widths = [sum(_width(name) + _GAP_X for name in layer) - _GAP_X for layer in layers]
    whole = float(max(widths, default=0))
    above: dict[str, list[str]] = {}
    for chain in chains:
        for upper, lower in pairwise(chain):
            above.setdefault(lower, []).append(upper)
    middles: dict[str, float] = {}
    for layer, width in zip(layers, widths, strict=True):
        room, left = whole - width, 0.0
        used = 0.0
        for name in layer:
            near = above.get(name)
            half = _width(name) / 2
            wished = sum(middles[one] for one in near) / len(near) - half if near else left + room / 2 - used
            start = min(max(wished, left), left + room - used)
            used += start - left
            middles[name] = start + half
            left = start + _width(name) + _GAP_X
    return middles, whole


def _width(name: str) -> int:
    return _NARROW if name.startswith("\0") else WIDTH


def _points(chain: Sequence[str], middles: Mapping[str, float], layer: int) -> tuple[tuple[float, float], ...]:
    points = [(middles[chain[0]], float(layer * (HEIGHT + _GAP_Y) + HEIGHT))]
    for number, name in enumerate(chain[1:-1], layer + 1):
        top = float(number * (HEIGHT + _GAP_Y))
        points += [(middles[name], top), (middles[name], top + HEIGHT)]
    points.append((middles[chain[-1]], float((layer + len(chain) - 1) * (HEIGHT + _GAP_Y))))
    return tuple(points)


def _implied(chain: Sequence[str], needs: Mapping[str, Sequence[str]]) -> bool:
    """Whether another stage that the target needs needs the source in turn."""
    source, target = chain[0], chain[-1]
    seen: set[str] = set()
    ahead = [need for need in needs[target] if need != source]
    while ahead:
        name = ahead.pop()
        if source in needs[name]:
            return True
        if name not in seen:
            seen.add(name)
            ahead += needs[name]
    return False
