"""A scheduler whose clock the test moves, and runs said in one line."""

from vwt_agents.core import (
    BudgetSet,
    Grant,
    Loaded,
    ModelKey,
    ModelSpec,
    Registered,
    Released,
    RunEnded,
    Scheduler,
    Step,
    Submitted,
    Use,
)

A, B, C = (ModelKey("here", name) for name in "abc")


class Core:
    """A scheduler over models of 5000 MiB with loads of 5 s and two slots, and a clock that the test moves."""

    def __init__(self, *keys, budget=5_000, slots=2, **more):
        self.scheduler = Scheduler(max_agents=8, max_wait={"interactive": 15.0, "batch": 120.0})
        self.now = 0.0
        self.post(BudgetSet("gpu0", budget))
        for key in keys:
            self.post(Registered(ModelSpec(key, "gpu0", 5_000, slots, load_s=5.0, **more)))

    def post(self, *events, after=0.0):
        self.now += after
        actions = list(self.scheduler.handle_all(events, self.now))
        self.scheduler.state.check()
        return actions

    def ask(self, request, key, run="run", **more):
        return self.post(Submitted(request, key, run, **more))

    def resident(self, key, request=1000):
        self.ask(request, key, run=f"earlier{request}")
        self.post(Loaded(key), after=5.0)
        self.post(Released(request), RunEnded(f"earlier{request}"))

    def order(self, first):
        """The requests in the order in which one slot serves them, from the one that holds it on."""
        served = [first]
        while grants := [action for action in self.post(Released(served[-1])) if isinstance(action, Grant)]:
            served.append(grants[0].request)
        return served


def chain(*steps):
    """Steps one after the other: (name, model, seconds)."""
    names = [name for name, *_ in steps]
    return tuple(
        Step(name, (Use(key, seconds),) if key else (), 0.0 if key else seconds, tuple(names[max(0, i - 1) : i]))
        for i, (name, key, seconds) in enumerate(steps)
    )
