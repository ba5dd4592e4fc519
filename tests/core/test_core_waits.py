"""How long a request waits at most, in a world where loads, unloads and calls take time: a few events on a virtual clock."""

import heapq
import itertools

import pytest

from vwt_agents.core import (
    BudgetSet,
    Grant,
    Load,
    Loaded,
    ModelKey,
    ModelSpec,
    ProgramAware,
    Registered,
    Released,
    Scheduler,
    Submitted,
    Unload,
    Unloaded,
    Woken,
)

LOAD_S, UNLOAD_S, CALL_S, MAX_WAIT, SHARE = 5.0, 1.0, 3.0, 30.0, 0.5
VISIT_S = 2 * LOAD_S * (1 / SHARE - 1)


def play(arrivals, *, names, until):
    """Waits by request and the order of loads, for models of which one at a time fits."""
    scheduler = Scheduler(
        max_agents=4,
        max_wait={"interactive": MAX_WAIT, "batch": MAX_WAIT},
        policy=ProgramAware(overhead={"batch": SHARE}),
    )
    scheduler.handle(BudgetSet("gpu0", 10), 0.0)
    for name in names:
        scheduler.handle(Registered(ModelSpec(ModelKey("small", name), "gpu0", 8, 2)), 0.0)
    order, requests = itertools.count(), itertools.count()
    agenda, asked, waits, loads = [], {}, {}, []

    def later(moment, event):
        heapq.heappush(agenda, (moment, next(order), event))

    for moment, name in arrivals:
        request = next(requests)
        asked[request] = moment
        later(moment, Submitted(request, ModelKey("small", name), "run"))
    while agenda and agenda[0][0] <= until:
        deadline = scheduler.deadline
        if deadline is not None and deadline < agenda[0][0]:
            now, event = deadline, Woken()
        else:
            now, _, event = heapq.heappop(agenda)
        for action in scheduler.handle(event, now):
            match action:
                case Load(key):
                    loads.append(key.model)
                    later(now + LOAD_S, Loaded(key))
                case Unload(key, _):
                    later(now + UNLOAD_S, Unloaded(key))
                case Grant(request, _):
                    waits[request] = now - asked[request]
                    later(now + CALL_S, Released(request))
    return waits, loads


def test_a_steady_stream_on_the_resident_model_delays_another_one_by_a_known_bound():
    """One visit at most stands before a due request: what is left of a visit, a call, an unload, a load."""
    stream = [(0.5 * step, "a") for step in range(800)]
    waits, loads = play([*stream, (20.0, "b")], names="ab", until=400.0)
    request = len(stream)
    assert waits[request] <= max(MAX_WAIT - LOAD_S, VISIT_S) + CALL_S + UNLOAD_S + LOAD_S
    assert loads[:3] == ["a", "b", "a"]


@pytest.mark.parametrize("names", ["ab", "abc", "abcd"])
def test_saturated_models_wait_for_one_visit_of_each_other_and_no_more(names):
    """Everybody has a backlog for ever: no model goes unserved for longer than one visit of every other one."""
    arrivals = sorted((step * 1.0, name) for step in range(300) for name in names)
    waits, loads = play(arrivals, names=names, until=300.0)
    assert len(loads) >= 2 * len(names)
    assert loads == [names[index % len(names)] for index in range(len(loads))]
    assert len(waits) >= 300 / (LOAD_S + UNLOAD_S + VISIT_S + CALL_S) * VISIT_S / CALL_S, "serves, not only loads"
