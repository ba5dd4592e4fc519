"""Routing to an endpoint whose server is only started when it is needed: it counts as one that answers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from routing_worlds import BIG, CODER, PLAIN, PROMOTED, model, offer, plan

from vwt_agents.config import Settings, parse_settings
from vwt_agents.errors import EndpointAsleep, ModelMissing
from vwt_agents.routing import Offer

TWO = """
[endpoints.small]
kind = "ollama"
[endpoints.large]
kind = "ollama"
url = "http://127.0.0.1:11435"
parallel = 1
start = { command = ["ollama", "serve"] }
[tiers.small]
endpoint = "small"
models = ["qwen2.5-coder:7b"]
[tiers.large]
endpoint = "large"
models = ["qwen2.5-coder:14b", "other:13b"]
[agents.coder]
[agents.tester]
[agents.reviewer]
"""
NOTHING_KNOWN = frozenset({"qwen2.5-coder:14b", "other:13b"})


def settings() -> Settings:
    return parse_settings(TWO).on("gpu0")


def asleep(*models: object, unknown: frozenset[str] = frozenset()) -> dict[str, Offer]:
    large = replace(offer("large", *models, detail="not running; `ollama serve` is run"), asleep=True, unknown=unknown)  # type: ignore[arg-type]
    return {"small": offer("small", CODER), "large": large}


def test_a_promoted_run_goes_to_a_server_that_is_not_running_and_says_that_it_is_started() -> None:
    found = plan(PROMOTED, asleep(BIG), settings())
    assert {route.endpoint for route in found.routes.values()} == {"large"}
    assert "endpoint large is not running; `ollama serve` is run" in found.notes


def test_a_run_that_stays_on_the_small_tier_says_nothing_of_it() -> None:
    found = plan(PLAIN, asleep(BIG), settings())
    assert {route.endpoint for route in found.routes.values()} == {"small"}
    assert not [note for note in found.notes if "not running" in note]


def test_a_promoted_run_cannot_be_planned_while_nothing_is_known_of_the_servers_models() -> None:
    with pytest.raises(EndpointAsleep) as caught:
        plan(PROMOTED, asleep(unknown=NOTHING_KNOWN), settings())
    assert caught.value.endpoint == "large"
    assert "nothing is known yet of qwen2.5-coder:14b on large, which is not running" in caught.value.message
    assert "endpoints up large" in (caught.value.hint or "")


def test_a_run_that_is_not_promoted_can_and_goes_without_escalation() -> None:
    found = plan(PLAIN, asleep(unknown=NOTHING_KNOWN), settings())
    assert all(route.escalated is None for route in found.routes.values())
    assert any(note.startswith("no escalation to the large tier: ") for note in found.notes)


def test_one_model_that_is_known_is_enough_and_the_other_is_passed_over() -> None:
    found = plan(PROMOTED, asleep(model("other:13b"), unknown=frozenset({"qwen2.5-coder:14b"})), settings())
    assert {route.model for route in found.routes.values()} == {"other:13b"}
    assert any(note.startswith("nothing is known yet of qwen2.5-coder:14b on large") for note in found.notes)


def test_a_server_that_is_known_to_have_none_of_them_lacks_them() -> None:
    with pytest.raises(ModelMissing):
        plan(PROMOTED, asleep(), settings())
