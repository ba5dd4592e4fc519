"""Routing by what was measured here: models that spilled are not picked, tags of the same weights are one model."""

from __future__ import annotations

import pytest
from routing_worlds import CARD_16, Graph, Stage, model, ollama, plan, settings, shape, taken

from vwt_agents.errors import Rejected
from vwt_agents.routing import ModelOffer, device_kind

ONE = Graph((Stage("s"),))
A_7B = "[agents.coder]\nnum_ctx = 4096"


def test_a_model_that_spilled_here_is_passed_over_and_the_route_says_why() -> None:
    spilt = model("a:7b", measured={(4096, 4): taken(CARD_16["gpu0"] + 1, 4096, 4, fitted=5000)})
    route = plan(ONE, ollama(spilt, model("b:7b")), settings(A_7B)).routes["s", "coder"]
    assert route.model == "b:7b"
    assert "spilled to the CPU here on 2026-11-20 at num_ctx 4096 x 4, only 5000 MiB fitted" in route.reason


def test_a_model_that_spilled_is_not_tried_with_even_more_context() -> None:
    spilt = model("a:7b", measured={(4096, 4): taken(CARD_16["gpu0"] + 1, 4096, 4, fitted=5000)})
    own = settings("[agents.coder]\nnum_ctx = 8192", small="a:7b")
    with pytest.raises(Rejected, match="spilled to the CPU here"):
        plan(ONE, ollama(spilt), own)


def test_a_model_that_spilled_is_still_served_with_less_context() -> None:
    spilt = model("a:7b", measured={(4096, 4): taken(CARD_16["gpu0"] + 1, 4096, 4, fitted=5000)})
    route = plan(ONE, ollama(spilt), settings("[agents.coder]\n", small="a:7b")).routes["s", "coder"]
    assert (route.model, 2048 <= route.num_ctx < 4096) == ("a:7b", True)


def test_more_context_is_never_believed_to_take_less_than_less_did() -> None:
    own = settings("[agents.coder]\nnum_ctx = 8192", small="a:7b")
    estimated = plan(ONE, ollama(model("a:7b")), own).specs[0]
    more = model("a:7b", measured={(4096, 4): taken(estimated.footprint + 500, 4096, 4)})
    spec = plan(ONE, ollama(more), own).specs[0]
    assert spec.footprint == estimated.footprint + 500
    assert spec.arithmetic.startswith(f"{spec.footprint} MiB, as measured here on 2026-11-20 at num_ctx 4096 x 4 (est")
    less = model("a:7b", measured={(4096, 4): taken(estimated.footprint - 500, 4096, 4)})
    assert plan(ONE, ollama(less), own).specs[0] == estimated


def test_models_of_which_ollama_serves_one_request_at_a_time_get_one_slot_and_one_kv_cache() -> None:
    next_one = ModelOffer("qwen3.5:9b", shape(4000, 64), 4000, licence="apache-2.0")
    assert next_one.shape is not None
    object.__setattr__(next_one.shape, "architecture", "qwen35")
    graph = Graph((Stage("a"), Stage("b")))
    spec = plan(graph, ollama(next_one), settings(A_7B, small="qwen3.5:9b")).specs[0]
    assert spec.slots == 1
    assert "(4096 x 1 tokens" in spec.arithmetic


TWO_TAGS = "[agents.coder]\nmodel = 'a:7b'\n[agents.reviewer]\nmodel = 'a:mine'\nnum_ctx = 8192"
BOTH = Graph((Stage("draft"), Stage("review", ("reviewer",))))


def test_tags_of_the_same_weights_are_one_residency_and_are_asked_by_their_own_names() -> None:
    offers = ollama(model("a:7b"), model("a:mine", resident="a:7b"))
    made = plan(BOTH, offers, settings(TWO_TAGS, small="a:7b a:mine"))
    (spec,) = made.specs
    assert (spec.model, spec.tags) == ("a:7b", ("a:mine",))
    coder, reviewer = made.routes["draft", "coder"], made.routes["review", "reviewer"]
    assert (coder.model, coder.loaded_as) == ("a:7b", "a:7b")
    assert (reviewer.model, reviewer.loaded_as) == ("a:mine", "a:7b")
    assert coder.num_ctx == reviewer.num_ctx == 8192
    assert made.residency(CARD_16)[0].needed == spec.footprint


def test_of_two_tags_an_agent_is_moved_to_the_one_it_prefers() -> None:
    """Three sets of weights that do not fit side by side; the agent of the third accepts both tags of the first."""
    big = [
        model(name, 7000, resident=of) for name, of in (("a:7b", ""), ("a:mine", "a:7b"), ("b:7b", ""), ("c:7b", ""))
    ]
    agents = """
[agents.coder]
model = 'a:7b'
[agents.reviewer]
model = 'b:7b'
fallback = ['a:mine', 'a:7b']
"""
    made = plan(BOTH, ollama(*big), settings(agents, small="a:7b a:mine b:7b c:7b"), budgets={"gpu0": 9000})
    route = made.routes["review", "reviewer"]
    assert (route.model, route.loaded_as, len(made.specs)) == ("a:mine", "a:7b", 1)


def test_the_kind_of_memory_is_the_devices() -> None:
    own = settings(A_7B)
    assert device_kind(own.endpoints["ollama"]) == "gpu"
