"""Slots and context of the models of a plan: chosen together, within the budget, and with the least given up."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from routing_worlds import HALF, TINY, Graph, Stage, embedded, model, ollama, plan, settings

from vwt_agents.config import EndpointSettings
from vwt_agents.routing.fit import Demand, Fit, Size, choose

if TYPE_CHECKING:
    from collections.abc import Sequence

EMBEDDED = EndpointSettings("embedded", "embedded", "cpu")
OLLAMA = EndpointSettings("ollama", "ollama", "gpu0", parallel=4)


def demand(
    weights: int = 100,
    kib: int = 32,
    *,
    num_ctx: int = 4096,
    floor: int = 2048,
    slots: int = 4,
    agents: int = 1,
    endpoint: EndpointSettings = EMBEDDED,
) -> Demand:
    """A model of `weights` MiB + 28, with `kib` KiB a token."""
    return Demand(endpoint, model("m", weights, kib), num_ctx=num_ctx, floor=floor, slots=slots, agents=agents)


def chosen(demands: Sequence[Demand], budget: int) -> tuple[bool, list[tuple[int, int]]]:
    fit = choose(demands, budget)
    assert fit is not None
    return fit.side_by_side, [(size.num_ctx, size.slots) for size in fit.sizes]


# The order of sacrifice: one model takes 128 MiB + 32 KiB a token, so 128 MiB for a slot of 4096


def test_with_room_for_everything_nothing_is_given_up() -> None:
    assert chosen([demand(), demand()], 1280) == (True, [(4096, 4), (4096, 4)])


def test_context_goes_first_and_no_more_of_it_than_has_to() -> None:
    assert chosen([demand(), demand()], 1279) == (True, [(4096, 4), (3840, 4)])
    assert chosen([demand(), demand()], 768) == (True, [(2048, 4), (2048, 4)])


def test_slots_go_next_where_fewer_agents_are() -> None:
    assert chosen([demand(agents=1), demand(agents=3)], 767) == (True, [(2304, 3), (2304, 4)])


def test_being_side_by_side_goes_last_and_then_each_has_the_device_to_itself() -> None:
    assert chosen([demand(), demand()], 384) == (True, [(2048, 1), (2048, 1)])
    assert chosen([demand(), demand()], 383) == (False, [(2560, 3), (2560, 3)])


def test_slots_are_shared_evenly_among_models_with_as_many_agents() -> None:
    assert chosen([demand(floor=4096), demand(floor=4096)], 256 + 4 * 128) == (True, [(4096, 2), (4096, 2)])


def test_context_is_shared_evenly_among_models_with_as_many_agents() -> None:
    assert chosen([demand(slots=1), demand(slots=1), demand(slots=1)], 3 * 128 + 3 * 96) == (True, [(3072, 1)] * 3)


def test_a_model_that_fits_with_none_of_its_sizes_has_no_fit() -> None:
    assert choose([demand(), demand(weights=1000)], 1000) is None


def test_on_an_ollama_server_fewer_slots_save_nothing_so_none_are_given_up() -> None:
    one = demand(floor=2048, endpoint=OLLAMA)
    least = one.size(2048, 4).need.mib
    assert chosen([one], least) == (True, [(2048, 4)])
    assert choose([one], least - 1) is None


def test_no_models_fit_any_budget() -> None:
    assert choose([], 0) == Fit((), side_by_side=True)


# Properties

demands = st.builds(
    lambda weights, kib, floor, more, slots, agents, kind: demand(
        weights, kib, num_ctx=floor + more, floor=floor, slots=slots, agents=agents, endpoint=kind
    ),
    st.integers(20, 2000),
    st.sampled_from([4, 12, 22, 64]),
    st.sampled_from([256, 1000, 2048, 8192]),
    st.sampled_from([0, 1, 256, 700, 2048, 24000]),
    st.integers(1, 4),
    st.integers(1, 5),
    st.sampled_from([EMBEDDED, OLLAMA]),
)
several = st.lists(demands, min_size=1, max_size=4)
budgets = st.integers(0, 16000)


def worth(demands: Sequence[Demand], sizes: Sequence[Size]) -> tuple[int, int, int, int]:
    """The order in which choices are better, as `choose` promises it."""
    pairs = list(zip(demands, sizes, strict=True))
    return (
        sum(demand.agents * size.slots for demand, size in pairs),
        -sum(size.slots**2 for _, size in pairs),
        sum(demand.agents * size.num_ctx for demand, size in pairs),
        -sum(size.num_ctx**2 for _, size in pairs),
    )


@given(several, budgets)
def test_what_is_called_side_by_side_is_within_the_budget_and_otherwise_each_is_alone(
    wanted: list[Demand], budget: int
) -> None:
    fit = choose(wanted, budget)
    if fit is None:
        assert max(one.least() for one in wanted) > budget
    elif fit.side_by_side:
        assert fit.mib <= budget
    else:
        assert all(size.need.mib <= budget for size in fit.sizes)
        assert sum(one.least() for one in wanted) > budget


@given(several, budgets)
def test_no_model_gets_less_context_than_was_declared_nor_more_of_anything_than_was_wanted(
    wanted: list[Demand], budget: int
) -> None:
    fit = choose(wanted, budget)
    for one, size in zip(wanted, fit.sizes if fit else (), strict=fit is not None):
        assert one.floor <= size.num_ctx <= one.num_ctx
        assert 1 <= size.slots <= one.slots
        assert size == one.size(size.num_ctx, size.slots)


@given(several, budgets, st.integers(0, 4000))
def test_more_memory_never_gives_a_worse_choice(wanted: list[Demand], budget: int, more: int) -> None:
    less, plenty = choose(wanted, budget), choose(wanted, budget + more)
    if less is None:
        return
    assert plenty is not None
    before, after = worth(wanted, less.sizes), worth(wanted, plenty.sizes)
    assert (plenty.side_by_side, after) >= (less.side_by_side, before)


@given(st.lists(demands, min_size=1, max_size=3), st.integers(500, 6000))
def test_no_choice_that_fits_is_better_than_the_one_made(wanted: list[Demand], budget: int) -> None:
    fit = choose(wanted, budget)
    ways = [
        sizes for sizes in product(*(one.sizes() for one in wanted)) if sum(size.need.mib for size in sizes) <= budget
    ]
    assert bool(ways) == (fit is not None and fit.side_by_side)
    if fit is not None and ways:
        assert worth(wanted, fit.sizes) == max(worth(wanted, sizes) for sizes in ways)


@given(several, budgets)
def test_nothing_could_be_given_back(wanted: list[Demand], budget: int) -> None:
    """Minimal sacrifice: no single model could have one slot or one step of context more."""
    fit = choose(wanted, budget)
    if fit is None or not fit.side_by_side:
        return
    for one, size in zip(wanted, fit.sizes, strict=True):
        others = fit.mib - size.need.mib
        for larger in one.sizes():
            more = (larger.slots >= size.slots, larger.num_ctx >= size.num_ctx)
            if all(more) and (larger.slots, larger.num_ctx) != (size.slots, size.num_ctx):
                assert others + larger.need.mib > budget


# In a plan


def test_a_plan_says_what_was_given_up_with_the_arithmetic_and_every_request_agrees_on_one_context() -> None:
    own = settings("[agents.coder]\nmodel = 'a:7b'\n[agents.reviewer]\nmodel = 'b:7b'\nnum_ctx = 4096\n")
    graph = Graph((Stage("draft"), Stage("again"), Stage("review", ("reviewer",))))
    found = plan(graph, ollama(model("a:7b"), model("b:7b")), own, {"gpu0": 10560})
    sizes = {route.model: (route.num_ctx, route.slots) for route in found.routes.values()}
    assert sizes == {"a:7b": (3072, 4), "b:7b": (4096, 4)}
    given_up = "num_ctx 3072 of 4096: with all of it a:7b and b:7b need 10816 MiB side by side, gpu0 has 10560"
    assert found.routes["again", "coder"].reason.endswith(f"; {given_up}")
    assert found.notes == (f"a:7b has {given_up}",)
    (residency,) = found.residency({"gpu0": 10560})
    assert str(residency) == "gpu0: 2 models side by side, 10560 of 10560 MiB"


def test_the_context_an_agent_declares_is_kept_even_if_the_models_then_swap() -> None:
    tables = "[agents.coder]\nmodel = 'a:7b'\nnum_ctx = 4096\n[agents.reviewer]\nmodel = 'b:7b'\nnum_ctx = 4096\n"
    graph = Graph((Stage("draft"), Stage("review", ("reviewer",))))
    found = plan(graph, ollama(model("a:7b"), model("b:7b")), settings(tables), {"gpu0": 10815})
    assert {route.num_ctx for route in found.routes.values()} == {4096}
    (residency,) = found.residency({"gpu0": 10815})
    assert str(residency) == "gpu0: swaps: 2 models in turn (10816 MiB together, budget 10815 MiB)"


@pytest.mark.parametrize(
    ("agent", "least"),
    [
        ("", 2048),
        ("options = { num_predict = 1500 }", 2560),
        (f"system = '{'x' * 3000}'", 2048),
        (f"system = '{'x' * 6000}'", 3072),
        ("options = { num_predict = 9000 }", 4096),
        ("num_ctx = 512", 512),
    ],
)
def test_an_agent_that_declares_no_context_keeps_room_for_its_instructions_a_prompt_and_an_answer(
    agent: str, least: int
) -> None:
    own = settings(f"[agents.coder]\n{agent}\n", small="a:7b")
    tight = 4000 + least // 4 + 384
    found = plan(Graph((Stage("s"),)), ollama(model("a:7b")), own, {"gpu0": tight})
    assert found.routes["s", "coder"].num_ctx == least


def test_an_escalation_that_would_cost_others_their_place_side_by_side_is_left_out_and_said_so() -> None:
    own = settings(
        "[agents.coder]\nmodel = 'a:7b'\nnum_ctx = 8192\n[agents.judge]\ntier = 'large'\n", small="a:7b", large="b:7b"
    )
    graph = Graph((Stage("draft"), Stage("look", ("judge",))))
    beside = (4000 + 2048 + 384) + (4000 + 512 + 384)
    both = ollama(model("a:7b"), model("b:7b"))
    found = plan(graph, both, own, {"gpu0": beside})
    assert found.routes["draft", "coder"].escalated is None
    assert found.notes[0].startswith("no escalation of coder to b:7b: with its num_ctx 8192")
    assert plan(graph, both, own, {"gpu0": beside + 1536}).routes["draft", "coder"].escalated is not None
    swapped = plan(graph, both, own, {"gpu0": beside - 1})
    assert swapped.routes["draft", "coder"].escalated is not None


# Slots by the graph


def asked(*stages: Stage, max_agents: int = 4) -> int:
    own = settings("[agents.coder]\n", more=f"[scheduler]\nmax_agents = {max_agents}\n", small="a:7b")
    (spec,) = plan(Graph(stages), ollama(model("a:7b")), own).specs
    return spec.slots


def ask(name: str, *needs: str, each: str | None = None) -> Stage:
    return Stage(name, needs=needs, kind="ask", each=each)


@pytest.mark.parametrize(
    ("stages", "slots"),
    [
        ((ask("a"), ask("b", "a"), ask("c", "b")), 1),
        ((ask("a"), ask("b", "a"), ask("c", "a"), ask("d", "b", "c")), 2),
        ((ask("a"), ask("b"), ask("c"), ask("d"), ask("e"), ask("f")), 4),
        ((ask("a"), Stage("between", (), needs=("a",)), ask("b", "between")), 1),
        ((ask("a", each="files"),), 4),
        ((Stage("body"),), 4),
    ],
)
def test_a_model_has_no_more_slots_than_the_graph_can_use_at_once(stages: tuple[Stage, ...], slots: int) -> None:
    assert asked(*stages) == slots


def test_a_model_has_no_more_slots_than_agents_may_work_at_once() -> None:
    assert asked(Stage("body"), max_agents=2) == 2


def test_a_model_that_one_call_at_a_time_needs_is_not_passed_over_for_one_with_more_slots() -> None:
    """In 300 MiB the first model has room for two slots: enough for a chain of single calls."""
    models = embedded(TINY, HALF)
    route = plan(Graph((Stage("s", ("planner",), kind="ask"),)), models, budgets={"cpu": 300}).routes["s", "planner"]
    assert (route.model, route.slots) == ("smollm2:135m", 1)
