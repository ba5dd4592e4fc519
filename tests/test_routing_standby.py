"""Once an endpoint is lost, a tier goes on where agents.toml has a place for it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from routing_worlds import PLAIN, offer, shape

from vwt_agents.config import parse_settings
from vwt_agents.errors import EndpointUnavailable
from vwt_agents.routing import ModelOffer, plan_routes, standing_in

A, B = (ModelOffer(name, shape(4000, 56), 4000, licence="apache-2.0") for name in ("a:7b", "b:7b"))
BUDGETS = {"gpu0": 20000}


def settings(*, otherwise: bool):
    more = 'otherwise = { endpoint = "last", models = ["b:7b"] }' if otherwise else ""
    return parse_settings(f"""
[endpoints.first]
kind = "ollama"
[endpoints.second]
kind = "ollama"
[endpoints.last]
kind = "ollama"
[tiers.small]
endpoint = "first"
models = ["a:7b", "b:7b"]
{more}
[agents.coder]
[agents.reviewer]
""").on("gpu0")


def routed(world, offers, lost) -> set[tuple[str, str]]:
    plan = plan_routes(PLAIN, *standing_in(world, offers, lost), BUDGETS)
    return {(route.endpoint, route.model) for route in plan.routes.values()}


def test_nothing_moves_while_nothing_is_lost() -> None:
    offers = {"first": offer("first", A), "second": offer("second", A)}
    assert routed(settings(otherwise=False), offers, set()) == {("first", "a:7b")}


def test_a_tier_goes_to_its_otherwise_before_any_other_place() -> None:
    offers = {"first": offer("first", A), "second": offer("second", A), "last": offer("last", B)}
    assert routed(settings(otherwise=True), offers, {"first"}) == {("last", "b:7b")}


@pytest.mark.parametrize("gone", [{"first"}, {"first", "last"}])
def test_without_an_otherwise_that_can_it_goes_to_the_first_endpoint_with_one_of_its_models(gone) -> None:
    offers = {
        "first": offer("first", A, B),
        "second": offer("second", B),
        "last": offer("last", A if len(gone) > 1 else B),
    }
    assert routed(settings(otherwise=len(gone) > 1), offers, gone) == {("second", "b:7b")}


def test_a_model_that_would_have_to_be_pulled_first_does_not_count() -> None:
    absent = replace(A, installed=False)
    offers = {"first": offer("first", A), "second": offer("second", absent), "last": offer("last", B, answers=False)}
    with pytest.raises(EndpointUnavailable, match="lost in this run"):
        routed(settings(otherwise=True), offers, {"first"})
