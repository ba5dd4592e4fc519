"""Why a request waits, in words."""

import pytest

from vwt_agents.core import (
    BudgetSet,
    Loaded,
    ModelKey,
    ModelSpec,
    Registered,
    Released,
    Scheduler,
    Submitted,
    Woken,
    explain,
)

CODER, CHAT, LLAMA = (ModelKey("small", "coder"), ModelKey("small", "chat"), ModelKey("large", "llama"))


class World:
    def __init__(self, coder: int = 6_000, chat: int = 6_000, llama: int = 9_000, max_agents: int = 4):
        self.scheduler = Scheduler(max_agents=max_agents, max_wait={"interactive": 15.0, "batch": 120.0})
        self.post(BudgetSet("gpu0", 10_000))
        for key, footprint in ((CODER, coder), (CHAT, chat), (LLAMA, llama)):
            self.post(Registered(ModelSpec(key, "gpu0", footprint, 1)))

    def post(self, *events, now: float = 0.0):
        for event in events:
            self.scheduler.handle(event, now)

    def ask(self, request: int, key: ModelKey, **more):
        self.post(Submitted(request, key, "run", **more))

    def why(self, request: int) -> str:
        return explain(self.scheduler.state, request)


@pytest.fixture
def world() -> World:
    return World()


def test_a_request_that_runs_or_has_ended_says_so(world):
    world.ask(1, CODER)
    world.post(Loaded(CODER))
    assert world.why(1) == "runs on coder on small"
    world.post(Released(1))
    assert world.why(1) == "has ended"


def test_a_model_on_its_way_in_or_out_is_named(world):
    world.ask(1, CODER)
    assert world.why(1) == "coder is loading"
    world.ask(2, CHAT)
    assert world.why(2) == "waits until coder is loaded: gpu0 loads one model at a time"
    world.post(Loaded(CODER), Released(1))
    assert world.why(2) == "waits for 6000 MiB on gpu0 (4000 free); coder is being unloaded"
    world.ask(3, CODER)
    assert world.why(3) == "coder is being unloaded and has to be loaded again"
    world.ask(4, LLAMA)
    assert world.why(4) == "waits for its turn on gpu0: chat is next"


def test_a_full_model_says_how_many_slots_are_in_use(world):
    world.ask(1, CODER)
    world.post(Loaded(CODER))
    world.ask(2, CODER)
    assert world.why(2) == "waits for a slot of coder (1 of 1 in use)"


def test_busy_agents_are_counted():
    world = World(coder=5_000, chat=5_000, max_agents=1)
    world.ask(1, CODER)
    world.ask(2, CHAT)
    world.post(Loaded(CODER), Loaded(CHAT))
    assert world.why(2) == "waits: 1 of 1 agents busy"


def test_missing_room_says_how_much_and_whose_idleness_would_free_it(world):
    world.ask(1, CODER)
    world.post(Loaded(CODER))
    world.ask(2, CHAT)
    assert world.why(2) == "waits for 6000 MiB on gpu0 (4000 free); frees when coder is idle"


def test_several_models_in_the_way_are_all_named():
    world = World(coder=5_000, chat=5_000, llama=10_000)
    world.ask(1, CODER)
    world.ask(2, CHAT)
    world.post(Loaded(CODER), Loaded(CHAT))
    world.ask(3, LLAMA)
    assert world.why(3) == "waits for 10000 MiB on gpu0 (0 free); frees when coder and chat are idle"


def test_a_draining_model_says_for_whom(world):
    world.ask(1, CODER)
    world.post(Loaded(CODER))
    world.ask(2, CHAT, klass="interactive")
    world.post(Woken(), now=15.0)
    world.ask(3, CODER)
    assert world.why(3) == "coder takes no new requests: it makes room for chat"


def test_over_budget_the_budget_is_what_room_is_made_for():
    world = World(coder=5_000, chat=5_000)
    world.ask(1, CODER)
    world.ask(2, CHAT)
    world.post(Loaded(CODER), Loaded(CHAT), BudgetSet("gpu0", 9_000))
    world.ask(3, CHAT)
    assert world.why(3) == "chat takes no new requests: it makes room for the budget"
