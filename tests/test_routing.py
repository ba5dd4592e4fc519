"""Routes: which tier, endpoint and model each agent of each stage gets, and the reason it is given."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from routing_worlds import (
    BIG,
    CHAT,
    CODER,
    DEFAULT,
    HALF,
    LLAMA2,
    MISTRAL,
    PLAIN,
    PROMOTED,
    TINY,
    Graph,
    Stage,
    embedded,
    model,
    offer,
    ollama,
    plan,
    settings,
    shape,
    taken,
)

from vwt_agents.errors import EndpointUnavailable, LicenceRefused, ModelMissing, Rejected, VwtError
from vwt_agents.routing import Offer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vwt_agents.config import Settings
    from vwt_agents.routing import ModelOffer, Plan


ALL_7B = ollama(CODER, MISTRAL, CHAT, BIG)

# Rule 1


def test_enough_high_importance_stages_promote_the_whole_run_to_one_large_worker() -> None:
    found = plan(PROMOTED, ALL_7B)
    assert (found.promoted, found.tier) == (True, "large")
    assert found.reason == "promoted: 2 high-importance stages, promote_at = 2"
    draft = found.routes["draft", "coder"]
    assert (draft.tier, draft.model, draft.slots, draft.escalated) == ("large", "qwen2.5-coder:14b", 1, None)
    assert draft.reason == f"{found.reason}; first of tiers.large that can be used"


def test_too_few_high_importance_stages_stay_small() -> None:
    found = plan(Graph((Stage("draft", importance="high"), Stage("review"))), ALL_7B)
    assert (found.promoted, found.tier) == (False, "small")
    assert found.reason == "not promoted: 1 high-importance stage, promote_at = 2"


def test_with_scope_stage_only_the_high_importance_stages_go_to_the_large_tier() -> None:
    per_stage = replace(DEFAULT, routing=replace(DEFAULT.routing, scope="stage"))
    graph = Graph((*PROMOTED.stages, Stage("plan", ("planner",))))
    found = plan(graph, ALL_7B, per_stage)
    assert (found.promoted, found.tier) == (True, "small")
    assert {stage: route.tier for (stage, _), route in found.routes.items()} == {
        "draft": "large",
        "tests": "large",
        "review": "small",
        "plan": "small",
    }


def test_a_tier_that_pins_an_agent_goes_before_the_promotion_and_before_staying_small() -> None:
    assert (route := plan(PROMOTED, ALL_7B).routes["review", "reviewer"]).tier == "small"
    assert route.reason == "pinned by agents.reviewer.tier; tiers.small for task 'general'"
    assert route.escalated is None
    judged = plan(Graph((Stage("draft"), Stage("judge", ("judge",)))), ALL_7B)
    assert judged.routes["judge", "judge"].tier == "large"


def test_without_a_large_tier_nothing_is_promoted_and_nothing_escalates() -> None:
    only_small = settings("[agents.coder]")
    found = plan(Graph((Stage("draft", importance="high"),)), ollama(model("a:7b")), only_small)
    assert not found.promoted
    assert found.reason.endswith("agents.toml has no tiers.large")
    assert found.routes["draft", "coder"].escalated is None


# Rule 2


@pytest.mark.parametrize(
    ("stage", "promoted", "reason"),
    [
        (Stage("s", ("analyst",)), True, "promoted: one stage only, of analysis"),
        (Stage("s", ("coder",), "high"), True, "promoted: one stage only, of high importance"),
        (Stage("s", ("coder",)), False, "not promoted: 0 high-importance stages, promote_at = 2"),
        (Stage("s", ("analyst", "coder")), False, "not promoted: 0 high-importance stages, promote_at = 2"),
        (Stage("s", ()), False, "not promoted: 0 high-importance stages, promote_at = 2"),
    ],
)
def test_a_one_off_deep_analysis_goes_to_the_large_tier(stage: Stage, promoted: bool, reason: str) -> None:
    found = plan(Graph((stage,)), ALL_7B)
    assert (found.promoted, found.tier == "large", found.reason) == (promoted, promoted, reason)


def test_an_analysis_among_other_stages_stays_small() -> None:
    found = plan(Graph((Stage("look", ("analyst",)), Stage("draft"))), ALL_7B)
    assert found.routes["look", "analyst"].tier == "small"


# Rule 3


@pytest.mark.parametrize(
    ("agent", "chosen", "why"),
    [
        ("task = 'code'", "my-coder:7b", "tiers.small for task 'code'"),
        ("task = 'chat'", "neural-chat:7b", "tiers.small for task 'chat'"),
        ("task = 'analysis'", "plain:7b", "general model of tiers.small"),
        ("task = 'code'\nmodel = 'Plain:7b'", "plain:7b", "agents.coder.model"),
        ("task = 'code'\nmodel = 'gone:7b'\nfallback = ['neural-chat:7b']", "neural-chat:7b", "agents.coder.fallback"),
    ],
)
def test_small_is_the_agents_model_else_one_for_its_task_else_a_general_one(agent: str, chosen: str, why: str) -> None:
    own = settings(f"[agents.coder]\n{agent}", small="gone:7b my-coder:7b neural-chat:7b plain:7b")
    offers = ollama(model("my-coder:7b"), model("neural-chat:7b"), model("plain:7b"))
    route = plan(Graph((Stage("s"),)), offers, own).routes["s", "coder"]
    assert route.model == chosen
    assert why in route.reason


def test_a_tier_of_models_for_other_tasks_still_serves() -> None:
    own = settings("[agents.coder]\ntask = 'chat'", small="x-coder:7b")
    route = plan(Graph((Stage("s"),)), ollama(model("x-coder:7b")), own).routes["s", "coder"]
    assert route.reason.endswith("next of tiers.small")


def test_the_tasks_that_an_endpoint_names_go_before_the_models_name() -> None:
    own = settings("[agents.coder]\ntask = 'sql'", small="x-coder:7b plain:7b")
    offers = ollama(model("x-coder:7b", tasks=("sql",)), model("plain:7b"))
    assert plan(Graph((Stage("s"),)), offers, own).routes["s", "coder"].model == "x-coder:7b"


def test_an_agent_whose_model_only_the_large_tier_has_goes_there() -> None:
    own = settings("[agents.coder]\nmodel = 'big:13b'", large="big:13b")
    route = plan(Graph((Stage("s"), Stage("t"))), ollama(model("a:7b"), model("big:13b")), own).routes["s", "coder"]
    assert (route.tier, route.reason) == ("large", "agents.coder.model is in tiers.large only; agents.coder.model")


def test_a_model_is_found_whatever_the_case_and_the_latest_tag() -> None:
    own = settings("[agents.coder]", small="Mistral")
    assert plan(Graph((Stage("s"),)), ollama(MISTRAL), own).routes["s", "coder"].model == "mistral:latest"


# Not installed


def test_a_model_that_is_not_installed_is_passed_over_with_a_note() -> None:
    found = plan(PLAIN, ollama(CHAT))
    assert found.routes["draft", "coder"].model == "neural-chat:latest"
    assert "qwen2.5-coder:7b is not installed on ollama" in found.notes
    assert "qwen2.5-coder:7b is not installed on ollama" in found.routes["draft", "coder"].reason


def test_without_any_model_on_ollama_the_error_has_the_command_that_brings_one() -> None:
    with pytest.raises(ModelMissing) as caught:
        plan(PLAIN, ollama())
    assert caught.value.message == (
        "agents.coder: tiers.small has no model that can be used: qwen2.5-coder:7b is not installed on ollama; "
        "mistral:latest is not installed on ollama; neural-chat:latest is not installed on ollama"
    )
    assert caught.value.hint == (
        "ollama pull qwen2.5-coder:7b   (or: python -m vwt_agents models pull qwen2.5-coder:7b); "
        "or name in [tiers.small] one that it has: python -m vwt_agents models"
    )


def test_a_model_that_its_server_says_nothing_of_is_not_taken_for_missing() -> None:
    offers = {**ollama(), "ollama": replace(offer("ollama"), untold={"mistral:latest": "503: server is busy"})}
    with pytest.raises(EndpointUnavailable) as caught:
        plan(PLAIN, offers)
    assert "ollama does not say what mistral:latest is (503: server is busy)" in caught.value.message
    assert caught.value.hint == "try again; if it stays so: python -m vwt_agents doctor"


def test_a_missing_model_names_what_the_endpoint_has_the_nearest_first_and_five_at_most() -> None:
    there = frozenset({"qwen2.5-coder:3b", "zephyr:7b", "qwen2.5:7b", "a:1b", "b:1b", "c:1b", "d:1b"})
    offers = {**ollama(), "ollama": replace(offer("ollama"), others=there)}
    with pytest.raises(ModelMissing) as caught:
        plan(PLAIN, offers)
    said = (caught.value.hint or "").partition("one that it has: ")[2]
    assert said.startswith("qwen2.5-coder:3b, qwen2.5:7b, ")
    assert said.endswith(" and 2 more")
    assert len(said.split(", ")) == 5


def test_a_model_that_the_embedded_engine_does_not_know_names_those_it_can_pull() -> None:
    offers = {**embedded(), "embedded": replace(offer("embedded"), others=frozenset({"smollm2:135m"}))}
    with pytest.raises(ModelMissing, match=r"name one of them in \[tiers.small.otherwise\], such as smollm2:135m"):
        plan(PLAIN, offers)


def test_on_the_embedded_engine_the_first_of_the_list_is_pulled_when_none_is_installed() -> None:
    catalogue = embedded(replace(TINY, installed=False), replace(HALF, installed=False))
    found = plan(PLAIN, catalogue)
    route = found.routes["draft", "coder"]
    assert (route.model, route.needs_pull) == ("smollm2:135m", True)
    assert "smollm2:135m was not there yet: the run pulls it first, as `models pull smollm2:135m` does" in route.reason
    assert [spec.needs_pull for spec in found.specs] == [True]


def test_on_the_embedded_engine_an_installed_model_goes_before_one_to_pull() -> None:
    found = plan(PROMOTED, embedded(TINY, replace(HALF, installed=False)))
    assert found.routes["draft", "coder"].model == "smollm2:135m"
    [note] = [note for note in found.notes if "not installed on embedded" in note]
    assert note.endswith("(python -m vwt_agents models pull qwen2.5-coder:0.5b brings it)")


def test_an_embedded_engine_whose_catalogue_has_none_of_the_models_says_where_to_look() -> None:
    with pytest.raises(ModelMissing, match=r"\n  python -m vwt_agents models list shows"):
        plan(PLAIN, embedded())


# Endpoints that do not answer


def test_without_ollama_both_tiers_fall_to_the_embedded_engine_and_one_line_says_so() -> None:
    found = plan(PLAIN, embedded(TINY, HALF))
    route = found.routes["draft", "coder"]
    assert (route.endpoint, route.model, route.device, route.num_ctx) == ("embedded", "qwen2.5-coder:0.5b", "cpu", 2048)
    assert found.notes == (
        "ollama does not answer (connection refused): using embedded instead (qwen2.5-coder:0.5b, smollm2:135m)",
    )


def test_an_ollama_without_any_model_of_the_tiers_is_passed_over_like_one_that_does_not_answer() -> None:
    offers = {**embedded(TINY, HALF), "ollama": Offer("ollama", answers=True, detail="Ollama 0.9", empty=True)}
    found = plan(PLAIN, offers)
    assert {route.endpoint for route in found.routes.values()} == {"embedded"}
    assert found.notes == (
        (
            "ollama has none of the models in agents.toml (`ollama pull qwen2.5-coder:7b` would bring one): "
            "using embedded instead (qwen2.5-coder:0.5b, smollm2:135m)"
        ),
    )


def test_an_ollama_with_one_model_of_any_tier_is_not_passed_over_for_a_tier_it_has_nothing_for() -> None:
    offers = {**ollama(CODER), "embedded": offer("embedded", TINY, HALF)}
    with pytest.raises(ModelMissing, match=r"tiers\.large has no model") as caught:
        plan(PROMOTED, offers)
    assert "ollama pull qwen2.5-coder:14b" in (caught.value.hint or "")
    assert "or name in [tiers.large] one that it has" in (caught.value.hint or "")


def test_with_nothing_in_its_place_the_empty_ollama_says_what_to_pull() -> None:
    offers = {"ollama": Offer("ollama", answers=True, empty=True), "embedded": offer("embedded", answers=False)}
    with pytest.raises(ModelMissing) as caught:
        plan(PLAIN, offers)
    assert "ollama pull qwen2.5-coder:7b" in (caught.value.hint or "")


def test_without_any_endpoint_the_error_names_each_and_what_it_said() -> None:
    offers = {"ollama": offer("ollama", answers=False, detail="connection refused")}
    with pytest.raises(EndpointUnavailable) as caught:
        plan(PLAIN, offers)
    assert caught.value.message == (
        "tiers.small has no endpoint that answers: ollama (connection refused), embedded (does not answer)"
    )
    with pytest.raises(EndpointUnavailable, match=r"answers: ollama \(does not answer\)\n"):
        plan(PLAIN, {}, settings("[agents.coder]\n[agents.reviewer]"))


def test_an_endpoint_that_was_not_probed_counts_as_silent() -> None:
    assert plan(PLAIN, {"embedded": offer("embedded", TINY)}).notes[0] == (
        "ollama does not answer: using embedded instead (smollm2:135m)"
    )


# Licences


def test_a_model_under_a_licence_that_is_not_allowed_is_passed_over_with_a_note() -> None:
    own = settings("[agents.coder]\n", large="llama2:13b big:13b")
    high = Graph((Stage("s", importance="high"),))
    found = plan(high, ollama(LLAMA2, model("big:13b", 5000)), own)
    assert found.routes["s", "coder"].model == "big:13b"
    assert found.notes == ("llama2:13b is under the licence 'llama2', which agents.toml does not allow",)


def test_if_only_a_licence_is_in_the_way_the_error_has_the_line_to_add() -> None:
    with pytest.raises(LicenceRefused) as caught:
        plan(PROMOTED, ollama(CODER, LLAMA2))
    assert caught.value.message == (
        "agents.coder: tiers.large has no model that can be used: qwen2.5-coder:14b is not installed on ollama; "
        "llama2:13b is under the licence 'llama2', which agents.toml does not allow"
    )
    assert caught.value.hint == (
        'if you agree to its licence, say so in agents.toml: [licences] accept = ["llama2:13b"]; '
        "or ollama pull qwen2.5-coder:14b   (or: python -m vwt_agents models pull qwen2.5-coder:14b)"
    )


def test_the_line_to_add_keeps_what_was_accepted_before() -> None:
    own = settings("[agents.coder]\n", small="llama2:13b", more="[licences]\naccept = ['other:7b']\n")
    with pytest.raises(LicenceRefused, match=r'accept = \["other:7b", "llama2:13b"\]$'):
        plan(Graph((Stage("s"),)), ollama(LLAMA2), own)


def test_an_accepted_model_is_used_and_an_unknown_licence_is_used_with_a_note() -> None:
    own = settings("[agents.coder]\n", small="llama2:13b", more="[licences]\naccept = ['llama2:13b']\n", parallel=1)
    assert plan(Graph((Stage("s"),)), ollama(LLAMA2), own).notes == ()
    unknown = settings("[agents.coder]\n", small="a:7b")
    found = plan(Graph((Stage("s"),)), ollama(model("a:7b", licence="")), unknown)
    assert found.notes == ("a:7b: its endpoint names no licence",)


# Rule 4


def test_what_does_not_fit_is_never_picked_the_next_in_the_list_is() -> None:
    own = settings("[agents.coder]\ntask = 'code'", small="huge-coder:30b a:7b")
    found = plan(Graph((Stage("s"),)), ollama(model("huge-coder:30b", 19000), model("a:7b")), own)
    route = found.routes["s", "coder"]
    assert route.model == "a:7b"
    assert "huge-coder:30b needs 19896 MiB, gpu0 has 14767" in route.reason


def test_a_run_of_which_nothing_fits_is_rejected_with_the_arithmetic() -> None:
    own = settings("[agents.coder]\nnum_ctx = 4096", small="llama2:13b", more="\n[licences]\naccept = ['llama2:13b']\n")
    with pytest.raises(Rejected) as caught:
        plan(Graph((Stage("s"),)), ollama(LLAMA2), own)
    assert caught.value.message == (
        "agents.coder: no model of tiers.small fits gpu0: llama2:13b needs 20120 MiB at num_ctx 4096 x 4 "
        "(weights 6936 + KV 12800 (4096 x 4 tokens at 800 KiB, f16) + compute 0 + context 384 = 20120 MiB), "
        "budget 14767 MiB; with parallel = 1 it needs 10520 MiB"
    )
    assert caught.value.hint == "a lower num_ctx, an endpoint with parallel = 1, or more under [budget] gpu0"


def test_the_large_tiers_one_worker_still_pays_for_every_slot_of_an_ollama_server() -> None:
    """OLLAMA_NUM_PARALLEL is the server's: one worker on a server of four slots has four KV caches."""
    own = settings("[agents.coder]\n", large="big:13b")
    high = Graph((Stage("s", importance="high"),))
    route = plan(high, ollama(model("big:13b", 4000, 256)), own).routes["s", "coder"]
    assert (route.slots, route.footprint) == (1, 4000 + 4096 + 384)
    with pytest.raises(Rejected, match="at num_ctx 2048 x 4 .* with parallel = 1 it needs 7384 MiB"):
        plan(high, ollama(model("big:13b", 4000, 1500)), own)


def test_with_one_slot_the_arithmetic_has_no_smaller_case() -> None:
    own = settings("[agents.coder]\n", small="a:7b", parallel=1)
    with pytest.raises(Rejected) as caught:
        plan(Graph((Stage("s"),)), ollama(model("a:7b", 20000)), own)
    assert caught.value.message.endswith("budget 14767 MiB")


def test_the_embedded_engine_serves_with_fewer_slots_where_all_do_not_fit() -> None:
    budgets = {"cpu": 94 + 28 + 2 * 88}
    found = plan(PLAIN, embedded(replace(TINY, shape=shape(94, 44))), budgets=budgets)
    route = found.routes["draft", "coder"]
    assert (route.slots, route.footprint) == (2, budgets["cpu"])
    assert "2 of 4 slots: with all of it smollm2:135m needs 474 MiB, cpu has 298" in route.reason


def test_another_model_with_all_slots_goes_before_the_first_with_fewer() -> None:
    both = embedded(replace(TINY, shape=shape(94, 400)), replace(HALF, tasks=()))
    route = plan(PLAIN, both, budgets={"cpu": 800}).routes["review", "reviewer"]
    assert (route.model, route.slots) == ("qwen2.5-coder:0.5b", 4)


@pytest.mark.parametrize(
    ("offers", "budgets", "hint"),
    [
        (ollama(CODER), {"cpu": 8000}, 'set device = "cpu" for endpoints.ollama'),
        (embedded(TINY), {}, "more under [budget] cpu"),
    ],
)
def test_a_device_without_memory_is_rejected_with_what_to_do(
    offers: Mapping[str, Offer], budgets: Mapping[str, int], hint: str
) -> None:
    with pytest.raises(Rejected) as caught:
        plan(PLAIN, offers, budgets=budgets)
    assert hint in str(caught.value)


def test_a_context_beyond_what_the_model_was_trained_for_is_cut_and_said_so() -> None:
    own = settings("[agents.coder]\nnum_ctx = 8192", small="a:7b")
    route = plan(Graph((Stage("s"),)), ollama(model("a:7b", context=4096)), own).routes["s", "coder"]
    assert route.num_ctx == 4096
    assert "a:7b was trained for num_ctx 4096, less than the 8192 asked for" in route.reason


def test_what_was_measured_here_goes_before_the_estimate() -> None:
    own = settings("[agents.coder]\n", small="a:7b")
    measured = model("a:7b", measured={(4096, 4): taken(5555, 4096, 4), (4096, 1): taken(1, 4096, 1)})
    route = plan(Graph((Stage("s"),)), ollama(measured), own).routes["s", "coder"]
    assert (route.footprint, route.arithmetic) == (5555, "5555 MiB, measured here on 2026-11-20 at num_ctx 4096 x 4")


def test_a_model_without_metadata_is_guessed_high_from_its_size() -> None:
    own = settings("[agents.coder]\n[agents.coder.options]\n", small="a:7b")
    route = plan(Graph((Stage("s"),)), ollama(model("a:7b", shape=None)), own).routes["s", "coder"]
    assert route.num_ctx == 4096
    assert route.footprint > plan(Graph((Stage("s"),)), ollama(model("a:7b")), own).routes["s", "coder"].footprint


# One context and one number of slots for a model


def test_a_model_has_the_most_context_that_any_of_its_agents_wants() -> None:
    own = settings("[agents.coder]\nnum_ctx = 8192\n[agents.reviewer]\nnum_ctx = 2048\n", small="a:7b")
    found = plan(PLAIN, ollama(model("a:7b")), own)
    assert {route.num_ctx for route in found.routes.values()} == {8192}
    assert [(spec.num_ctx, spec.slots, spec.tiers) for spec in found.specs] == [(8192, 4, ("small",))]


def test_a_model_of_both_tiers_has_the_slots_of_the_small_one() -> None:
    own = settings("[agents.coder]\n[agents.reviewer]\ntier = 'large'\n", small="a:7b", large="a:7b")
    found = plan(PLAIN, ollama(model("a:7b")), own)
    assert [(spec.slots, spec.tiers) for spec in found.specs] == [(4, ("small", "large"))]
    assert found.routes["draft", "coder"].escalated is None


def test_a_long_context_of_one_agent_costs_the_others_slots_and_says_so() -> None:
    long = replace(DEFAULT.agents["reviewer"], num_ctx=8192)
    own = replace(DEFAULT, agents={**DEFAULT.agents, "reviewer": long})
    budgets = {"cpu": 94 + 28 + 2 * 8 * 22}
    found = plan(PLAIN, embedded(TINY), own, budgets)
    assert {(route.num_ctx, route.slots) for route in found.routes.values()} == {(8192, 2)}
    assert (
        "2 of 4 slots: with all of it smollm2:135m needs 826 MiB, cpu has 474" in found.routes["draft", "coder"].reason
    )


# Escalation


def test_a_small_route_carries_the_large_one_that_attempts_escalate_to() -> None:
    found = plan(PLAIN, ALL_7B)
    escalated = found.routes["draft", "coder"].escalated
    assert escalated is not None
    assert (escalated.tier, escalated.model, escalated.slots) == ("large", "qwen2.5-coder:14b", 1)
    assert escalated.reason == "escalated; first of tiers.large that can be used"
    assert [spec.model for spec in found.specs if spec.only_escalation] == ["qwen2.5-coder:14b"]


@pytest.mark.parametrize(
    ("offers", "note"),
    [
        (ollama(CODER, MISTRAL), "no escalation to the large tier: agents.coder: tiers.large has no model"),
        (embedded(TINY, replace(HALF, installed=False)), None),
    ],
)
def test_a_large_tier_that_cannot_be_had_leaves_no_escalation(offers: Mapping[str, Offer], note: str | None) -> None:
    found = plan(PLAIN, offers)
    assert found.routes["draft", "coder"].escalated is None
    assert note is None or any(text.startswith(note) for text in found.notes)


def test_nothing_is_pulled_for_an_escalation_that_may_never_come() -> None:
    own = replace(DEFAULT, tiers={**DEFAULT.tiers, "small": replace(DEFAULT.tiers["small"], otherwise=None)})
    large = replace(own.tiers["large"], endpoint="embedded", models=("qwen2.5-coder:0.5b",), otherwise=None)
    offers = {"ollama": offer("ollama", CODER, MISTRAL), "embedded": offer("embedded", replace(HALF, installed=False))}
    found = plan(PLAIN, offers, replace(own, tiers={**own.tiers, "large": large}))
    assert found.routes["draft", "coder"].escalated is None
    assert found.notes[-1] == "no escalation to the large tier: qwen2.5-coder:0.5b has not been pulled"


# Everything else


@dataclass(frozen=True)
class World:
    graph: Graph
    offers: Mapping[str, Offer]
    budgets: Mapping[str, int]
    settings: Settings


def _offers(names: tuple[str, ...], installed: st.SearchStrategy[bool]) -> st.SearchStrategy[list[ModelOffer]]:
    one = st.builds(
        lambda name, weights, kib, context, licence, here: model(
            name, weights, kib, context, licence=licence, installed=here
        ),
        st.sampled_from(names),
        st.integers(50, 7000),
        st.sampled_from([12, 64, 128, 400]),
        st.sampled_from([32768, 4096, 2048]),
        st.sampled_from(["mit", "apache-2.0", "mit", "", "llama2"]),
        installed,
    )
    return st.lists(one, min_size=1, max_size=len(names), unique_by=lambda found: found.name)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    stages = draw(
        st.lists(
            st.builds(
                Stage,
                st.sampled_from(["a", "b", "c", "d"]),
                st.lists(st.sampled_from(sorted(DEFAULT.agents)), max_size=3, unique=True).map(tuple),
                st.sampled_from(["normal", "normal", "normal", "high"]),
            ),
            min_size=1,
            max_size=4,
            unique_by=lambda stage: stage.name,
        )
    )
    there = tuple(name for tier in DEFAULT.tiers.values() for name in tier.models)
    small = ("smollm2:135m", "qwen2.5-coder:0.5b")
    agents = {
        name: replace(
            agent,
            num_ctx=draw(st.sampled_from([None, 1024, 8192])),
            model=draw(st.sampled_from([None, None, *there])) if agent.tier is None else None,
            fallback=tuple(draw(st.lists(st.sampled_from(there), max_size=2))),
        )
        for name, agent in DEFAULT.agents.items()
    }
    offers = {
        "ollama": offer(
            "ollama", *draw(_offers(there, st.just(True))), answers=draw(st.sampled_from([True, True, False]))
        ),
        "embedded": offer("embedded", *draw(_offers(small, st.booleans()))),
    }
    scope = draw(st.sampled_from(["run", "stage"]))
    own = replace(DEFAULT, agents=agents, routing=replace(DEFAULT.routing, scope=scope))
    budgets = {"gpu0": draw(st.integers(3000, 20000)), "cpu": draw(st.integers(1000, 16000))}
    return World(Graph(tuple(stages)), offers, budgets, own)


def outcome(world: World) -> Plan | VwtError:
    try:
        return plan(world.graph, world.offers, world.settings, world.budgets)
    except VwtError as error:
        return error


@given(worlds())
def test_every_agent_has_one_route_that_fits_and_says_why_and_the_same_world_gives_the_same_plan(world: World) -> None:
    found, again = outcome(world), outcome(world)
    if isinstance(found, VwtError):
        assert found.hint
        assert (type(again), str(again)) == (type(found), str(found))
        return
    assert again == found
    assert set(found.routes) == {(stage.name, name) for stage in world.graph.stages for name in stage.agents}
    specs = {(spec.endpoint, spec.model): spec for spec in found.specs}
    assert len(specs) == len(found.specs)
    for first in found.routes.values():
        for route in (first, first.escalated):
            if route is None:
                continue
            assert route.reason
            assert route.footprint <= world.budgets[route.device]
            spec = specs[route.endpoint, route.model]
            assert (route.num_ctx, route.slots, route.footprint) == (spec.num_ctx, spec.slots, spec.footprint)
            licence = world.offers[route.endpoint].models[route.model].licence
            assert world.settings.licences.allows(route.model, licence)
