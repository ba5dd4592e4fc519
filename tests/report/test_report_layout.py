"""The picture of any graph: no box on another, edges that lead down, and none through the box of a stage it does not touch."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from vwt_agents.report.layout import HEIGHT, WIDTH, lay_out


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, list[str]]:
    needs: dict[str, list[str]] = {}
    for number in range(draw(st.integers(0, 14))):
        needs[f"s{number}"] = draw(st.lists(st.sampled_from(sorted(needs)), unique=True, max_size=3)) if needs else []
    return needs


@settings(max_examples=50)
@given(graphs())
def test_no_box_covers_another_and_all_are_within_the_picture(needs: dict[str, list[str]]) -> None:
    made = lay_out(needs)
    assert {box.name for box in made.boxes} == set(needs)
    for box in made.boxes:
        assert 0 <= box.x <= made.width - WIDTH + 0.01
        assert 0 <= box.y <= made.height - HEIGHT
        for other in made.boxes:
            assert box is other or abs(box.y - other.y) >= HEIGHT or abs(box.x - other.x) >= WIDTH


@settings(max_examples=50)
@given(graphs())
def test_every_need_is_an_edge_that_leads_down_and_crosses_no_foreign_box(needs: dict[str, list[str]]) -> None:
    made = lay_out(needs)
    boxes = {box.name: box for box in made.boxes}
    assert {(edge.source, edge.target) for edge in made.edges} == {
        (need, name) for name in needs for need in needs[name]
    }
    for edge in made.edges:
        assert edge.points[0] == (boxes[edge.source].x + WIDTH / 2, boxes[edge.source].y + HEIGHT)
        assert edge.points[-1] == (boxes[edge.target].x + WIDTH / 2, boxes[edge.target].y)
        heights = [y for _, y in edge.points]
        assert heights == sorted(heights)
        for x, y in edge.points[1:-1]:
            assert not any(box.x < x < box.x + WIDTH and box.y <= y <= box.y + HEIGHT for box in made.boxes)


def test_an_edge_is_implied_where_a_longer_way_leads_there() -> None:
    made = lay_out({"a": [], "b": ["a"], "c": ["a", "b"]})
    assert {(edge.source, edge.target): edge.implied for edge in made.edges} == {
        ("a", "b"): False,
        ("b", "c"): False,
        ("a", "c"): True,
    }


def test_the_same_graph_has_the_same_picture() -> None:
    needs = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c", "a"]}
    assert lay_out(needs) == lay_out(needs)
