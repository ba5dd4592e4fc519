"""Rule 5: agents share fewer models where theirs would be swapped, if they allow it, and the route says so."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import settings as settings_of
from hypothesis import strategies as st
from routing_worlds import DEFAULT, HALF, PROMOTED, TINY, Graph, Stage, embedded, model, ollama, plan, settings

from vwt_agents.config import EndpointSettings
from vwt_agents.routing.pool import Pick
from vwt_agents.routing.substitute import Seat, reseated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vwt_agents.config import Settings
    from vwt_agents.routing import Offer, Plan

FOUR = Graph(tuple(Stage(name, (name,)) for name in ("one", "two", "three", "four")))
POOL = ollama(model("x-coder:7b"), model("plain:7b"), model("other:7b"))
LEAST = 4000 + 512 + 384  # one of these at num_ctx 2048 x 4
SIDE_BY_SIDE = 2 * LEAST


def four(*, more: str = "", **tables: str) -> Settings:
    """Four agents; three write code."""
    agents = {"one": "code", "two": "code", "three": "code", "four": "general"}
    text = "".join(f"[agents.{name}]\ntask = '{task}'\n{tables.get(name, '')}\n" for name, task in agents.items())
    return settings(text + more, small="x-coder:7b plain:7b other:7b")


def models_of(found: Plan) -> list[str]:
    return [found.routes[stage.name, stage.name].model for stage in FOUR.stages]


def test_models_that_fit_side_by_side_with_what_the_agents_need_stay_apart() -> None:
    found = plan(FOUR, POOL, four(), {"gpu0": SIDE_BY_SIDE})
    assert models_of(found) == ["x-coder:7b", "x-coder:7b", "x-coder:7b", "plain:7b"]
    assert [residency.side_by_side for residency in found.residency({"gpu0": SIDE_BY_SIDE})] == [True]


def test_models_that_do_not_fit_side_by_side_give_way_to_one_and_the_fewest_agents_move() -> None:
    found = plan(FOUR, POOL, four(), {"gpu0": SIDE_BY_SIDE - 1})
    assert models_of(found) == ["x-coder:7b"] * 4
    assert found.routes["four", "four"].reason.endswith(
        "x-coder:7b instead of plain:7b: the two models need at least 9792 MiB side by side, budget 9791 MiB, "
        "one needs 5408 MiB"
    )
    assert "instead of" not in found.routes["one", "one"].reason
    assert found.notes == ()


def test_an_agent_that_names_a_model_and_no_fallback_is_never_moved_so_the_others_come_to_it() -> None:
    found = plan(FOUR, POOL, four(four="model = 'plain:7b'"), {"gpu0": SIDE_BY_SIDE - 1})
    assert models_of(found) == ["plain:7b"] * 4


def test_an_agents_fallback_lets_it_leave_the_model_it_names() -> None:
    own = four(one="model = 'x-coder:7b'", four="model = 'plain:7b'\nfallback = ['x-coder:7b']")
    assert models_of(plan(FOUR, POOL, own, {"gpu0": SIDE_BY_SIDE - 1})) == ["x-coder:7b"] * 4


def test_agents_that_name_different_models_are_swapped_and_a_note_says_so() -> None:
    own = four(one="model = 'x-coder:7b'", four="model = 'plain:7b'")
    found = plan(FOUR, POOL, own, {"gpu0": SIDE_BY_SIDE - 1})
    assert models_of(found) == ["x-coder:7b"] * 3 + ["plain:7b"]
    assert found.notes == (
        (
            "x-coder:7b and plain:7b need at least 9792 MiB side by side, gpu0 has 9791: they are swapped, "
            "because their agents accept no other"
        ),
    )


def test_with_substitute_off_every_agent_keeps_its_first_choice() -> None:
    found = plan(FOUR, POOL, four(more="[routing]\nsubstitute = false\n"), {"gpu0": SIDE_BY_SIDE - 1})
    assert models_of(found) == ["x-coder:7b"] * 3 + ["plain:7b"]
    assert found.notes[0].endswith("they are swapped, because routing.substitute is false")


def test_of_three_models_only_those_go_that_have_to_and_to_the_one_that_suits_the_agent_best() -> None:
    """With the chat model gone two fit. The agent for code could go to either; the coder suits it, the other does not."""
    own = four(one="model = 'x-coder:7b'", three="fallback = ['other:7b']", four="model = 'plain:7b'")
    found = plan(FOUR, POOL, own, {"gpu0": SIDE_BY_SIDE})
    assert models_of(found) == ["x-coder:7b", "x-coder:7b", "x-coder:7b", "plain:7b"]
    reason = found.routes["three", "three"].reason
    assert "x-coder:7b instead of other:7b: the three models need at least 14688 MiB side by side" in reason
    assert "budget 9792 MiB, two need 9792 MiB" in reason


def test_where_swaps_remain_fewer_models_still_swap() -> None:
    own = four(one="model = 'x-coder:7b'", three="fallback = ['other:7b']", four="model = 'plain:7b'")
    found = plan(FOUR, POOL, own, {"gpu0": SIDE_BY_SIDE - 1})
    assert models_of(found) == ["x-coder:7b", "x-coder:7b", "x-coder:7b", "plain:7b"]
    assert "budget 9791 MiB, two are left to swap" in found.routes["three", "three"].reason


def test_an_agent_is_not_moved_to_a_model_that_was_not_trained_for_its_context() -> None:
    offers = ollama(model("x-coder:7b", context=4096), model("plain:7b"), model("other:7b"))
    own = four(four="num_ctx = 8192\nmodel = 'plain:7b'\nfallback = ['x-coder:7b']", one="model = 'x-coder:7b'")
    assert models_of(plan(FOUR, offers, own, {"gpu0": SIDE_BY_SIDE - 1}))[3] == "plain:7b"


def test_a_model_too_big_for_another_agents_context_does_not_take_its_place() -> None:
    """With the fourth agent's 16384 tokens the coder would need more than the device has, the plain model does not."""
    offers = ollama(model("x-coder:7b", 4000, 128), model("plain:7b", 3000, 64), model("other:7b"))
    found = plan(FOUR, offers, four(four="num_ctx = 16384"), {"gpu0": 9000})
    assert models_of(found) == ["plain:7b"] * 4


def test_where_no_model_can_serve_all_each_keeps_its_own() -> None:
    offers = ollama(model("x-coder:7b", 4000, 128), model("plain:7b", 3000, 64, 8192), model("other:7b"))
    pinned = "model = 'x-coder:7b'"
    found = plan(FOUR, offers, four(one=pinned, two=pinned, three=pinned, four="num_ctx = 16384"), {"gpu0": 7000})
    assert models_of(found) == ["x-coder:7b"] * 3 + ["plain:7b"]


def test_agents_of_two_tiers_share_a_model_that_both_tiers_list() -> None:
    """Promoted, the reviewer stays small and has a model of its own, until both do not fit."""
    offers = embedded(replace(HALF, tasks=("code",)), TINY)
    apart, together = (plan(PROMOTED, offers, DEFAULT, {"cpu": mib}) for mib in (1200, 620))
    assert {route.model for route in apart.routes.values()} == {"qwen2.5-coder:0.5b", "smollm2:135m"}
    assert {route.model for route in together.routes.values()} == {"qwen2.5-coder:0.5b"}
    assert together.routes["review", "reviewer"].tier == "small"


# Properties

NAMES = ("a:7b", "b:7b", "c:7b")


@dataclass(frozen=True)
class World:
    own: Settings
    offers: Mapping[str, Offer]
    graph: Graph

    def plan(self, budget: int) -> Plan:
        return plan(self.graph, self.offers, self.own, {"gpu0": budget})


@st.composite
def worlds(draw: st.DrawFn) -> World:
    count = draw(st.integers(1, 6))
    tables = []
    for index in range(count):
        named = draw(st.sampled_from([None, *NAMES]))
        fallback = draw(st.lists(st.sampled_from(NAMES), max_size=2, unique=True))
        num_ctx = draw(st.sampled_from([None, None, 1024, 8192]))
        task = draw(st.sampled_from(["code", "chat", "general"]))
        lines = [f"[agents.agent{index}]", f"task = '{task}'", f"fallback = {fallback}"]
        lines += [f"model = '{named}'"] if named else []
        lines += [f"num_ctx = {num_ctx}"] if num_ctx else []
        tables.append("\n".join(lines) + "\n")
    offers = ollama(
        *(
            model(
                name,
                draw(st.integers(500, 5000)),
                draw(st.sampled_from([12, 64, 128])),
                tasks=(draw(st.sampled_from(["code", "chat", "general"])),),
            )
            for name in NAMES
        )
    )
    graph = Graph(tuple(Stage(f"stage{index}", (f"agent{index}",)) for index in range(count)))
    return World(settings("".join(tables)), offers, graph)


ENOUGH_FOR_ANY = 5000 + 4096 + 384  # of these models, at the most context that an agent declares


def swaps(found: Plan, budget: int) -> int:
    return sum(len(one.models) for one in found.residency({"gpu0": budget}) if not one.side_by_side)


def moved(found: Plan) -> set[str]:
    return {route.agent for route in found.routes.values() if " instead of " in route.reason}


@given(worlds(), st.integers(ENOUGH_FOR_ANY, 30000))
def test_substitution_never_adds_a_swap_and_moves_nobody_where_there_is_none(world: World, budget: int) -> None:
    found = world.plan(budget)
    kept = replace(world, own=replace(world.own, routing=replace(world.own.routing, substitute=False))).plan(budget)
    assert swaps(found, budget) <= swaps(kept, budget)
    if not swaps(kept, budget):
        assert found == kept


@given(worlds(), st.integers(ENOUGH_FOR_ANY, 30000))
def test_an_agent_goes_nowhere_it_does_not_accept(world: World, budget: int) -> None:
    found = world.plan(budget)
    for route in found.routes.values():
        agent = world.own.agents[route.agent]
        if agent.model is not None:
            assert route.model in {agent.model, *agent.fallback}
        assert (route.agent in moved(found)) <= (agent.model is None or bool(agent.fallback))


@given(worlds(), st.integers(ENOUGH_FOR_ANY, 30000), st.integers(0, 10000))
def test_more_memory_never_means_more_swaps_nor_at_the_same_number_more_agents_moved(
    world: World, budget: int, more: int
) -> None:
    less, plenty = world.plan(budget), world.plan(budget + more)
    before, after = (swaps(less, budget), len(moved(less))), (swaps(plenty, budget + more), len(moved(plenty)))
    assert after <= before


@st.composite
def seatings(draw: st.DrawFn) -> list[Seat]:
    """A few agents, each on one of three models, some of which accept others, with what each needs there."""
    offers = [model(name, draw(st.integers(2000, 4000)), draw(st.sampled_from([12, 64, 128]))) for name in NAMES]
    endpoint = EndpointSettings("here", "embedded", "cpu")
    seats = []
    for index in range(draw(st.integers(2, 5))):
        floor = draw(st.sampled_from([1024, 8192, 16384]))
        picks = [
            Pick("small", endpoint, offer, floor, offer.capped(floor), 1, "", rank=draw(st.integers(0, 3)))
            for offer in offers
        ]
        own = draw(st.sampled_from(picks))
        accepted = draw(st.lists(st.sampled_from(picks), unique_by=lambda pick: pick.key))
        seats.append(Seat(f"agent{index}", own, {pick.key: pick for pick in accepted}))
    return seats


def price(seats: Sequence[Seat], keys: Sequence[tuple[str, str]], budget: int) -> tuple[int, ...] | None:
    """What this seating costs, in the order that substitution promises; None if some model does not fit even alone."""
    needs: dict[tuple[str, str], int] = {}
    for seat, key in zip(seats, keys, strict=True):
        pick = seat.on(key)
        assert pick is not None
        needs[key] = max(needs.get(key, 0), pick.least().mib)
    if max(needs.values()) > budget:
        return None
    swaps = sum(needs.values()) > budget
    moved = [seat for seat, key in zip(seats, keys, strict=True) if key != seat.pick.key]
    unsuited = sum(seat.accepts[key].rank for seat, key in zip(seats, keys, strict=True) if key != seat.pick.key)
    return swaps, len(needs) if swaps else 0, len(moved), unsuited


@settings_of(max_examples=300)
@given(seatings(), st.integers(4500, 13000))
def test_no_other_seating_has_fewer_swaps_or_moves_fewer_agents_or_suits_them_better(
    seats: list[Seat], budget: int
) -> None:
    chosen = price(seats, [pick.key for pick in reseated(seats, budget)], budget)
    there = {seat.pick.key for seat in seats}
    open_to = [there & {seat.pick.key, *seat.accepts} for seat in seats]
    prices = [price(seats, keys, budget) for keys in product(*open_to)]
    assert chosen == min((found for found in prices if found is not None), default=chosen)


@pytest.mark.parametrize("budget", [9000, 12000, 15000])
def test_the_same_world_gives_the_same_plan(budget: int) -> None:
    own = four(one="fallback = ['other:7b']", four="model = 'plain:7b'\nfallback = ['other:7b']")
    assert plan(FOUR, POOL, own, {"gpu0": budget}) == plan(FOUR, POOL, own, {"gpu0": budget})
