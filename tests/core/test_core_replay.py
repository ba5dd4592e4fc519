"""The same events give the same actions, in every process: nothing hangs on the order of a set or on an address."""

import os
import random
import subprocess
import sys

from vwt_agents.core import (
    Announced,
    BudgetSet,
    Closing,
    Grant,
    Load,
    Loaded,
    ModelKey,
    ModelSpec,
    Registered,
    Released,
    RunEnded,
    Scheduler,
    Step,
    Submitted,
    Unload,
    Unloaded,
    Use,
)

KEYS = [ModelKey(f"endpoint{number % 3}", f"model{number}") for number in range(12)]


def play():
    """All that a scheduler says to a crowd of runs over twelve models, while the budget comes and goes."""
    dice, said = random.Random(7), []
    scheduler = Scheduler(max_agents=3, max_wait={"interactive": 15.0, "batch": 120.0})
    todo = [Registered(ModelSpec(key, f"gpu{i % 2}", 2 + i % 4, 2, 30.0)) for i, key in enumerate(KEYS)]
    for request in range(300):
        run, key = f"run{request % 7}", dice.choice(KEYS)
        if request % 20 == 0:
            todo += [BudgetSet("gpu0", dice.choice([0, 9])), BudgetSet("gpu1", dice.choice([9, 12]))]
            uses = tuple(Use(each, 3.0) for each in dice.sample(KEYS, 4))
            todo += [RunEnded(run), Announced(run, (Step("a", uses[:2]), Step("b", uses[2:], after=("a",))))]
        todo.append(Submitted(request, key, run, step=dice.choice("ab"), klass=dice.choice(["interactive", "batch"])))
        for _ in range(2):  # too few, so that a queue builds up
            actions = scheduler.handle(todo.pop(0), request * 0.7)
            said.append((actions, scheduler.deadline))
            for action in actions:
                match action:
                    case Load(key):
                        todo.append(Loaded(key))
                    case Unload(key, _):
                        todo.append(Unloaded(key))
                    case Grant(request=granted):
                        todo.append(Released(granted))
    return [*said, scheduler.handle_all([*todo, Closing()], 300.0)]


def test_the_same_events_give_the_same_actions_in_every_process():
    said = [
        subprocess.run(
            [sys.executable, __file__], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    ]
    assert said == [said[0]] * 3
    assert all(kind in said[0] for kind in (b"Load(", b"Unload(", b"Grant(", b"Reject("))


if __name__ == "__main__":
    sys.stdout.write(repr(play()))
