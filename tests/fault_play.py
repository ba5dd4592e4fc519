"""One random fault schedule, played: callers, a dispatcher, a guarded Ollama endpoint, and a server that misbehaves."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import anyio

from vwt_agents.core import ModelKey, ModelSpec, Scheduler
from vwt_agents.dispatcher import Dispatcher
from vwt_agents.endpoints.guarded import GuardedEndpoint
from vwt_agents.endpoints.ollama import OllamaEndpoint
from vwt_agents.errors import VwtError
from vwt_agents.messages import Message, Options, Request
from vwt_agents.swaps import Serving
from vwt_agents.testing import OllamaServer, ServedModel

OURS = {"a:latest": 4000, "b:latest": 5000, "c:latest": 3000}
FOREIGN = "x:latest"
BUDGET = 9000
NUM_CTX = 1024
ENDED_WITHIN_S = 1.0


class _Checked(list):
    """The loads of a server; at each of them our models together must be within the budget."""

    def __init__(self, server: OllamaServer) -> None:
        super().__init__()
        self._server = server
        self.broken: list[str] = []

    def append(self, load) -> None:
        super().append(load)
        ours = _ours(self._server)
        if sum(ours.values()) > BUDGET:
            self.broken.append(f"over the budget of {BUDGET} MiB: {ours}")


def _ours(server: OllamaServer) -> dict[str, int]:
    """What is in memory there that we loaded, with its MiB; others load the same models with another num_ctx."""
    there = server.memory.runners.items()
    return {name: runner.size for name, runner in there if name in OURS and runner.num_ctx == NUM_CTX}


@dataclass
class Told:
    """What came of a schedule."""

    script: list[str] = field(default_factory=list)
    ends: dict[int, list[str]] = field(default_factory=dict)

    def __str__(self) -> str:
        return "\n".join([*self.script, *(f"call {call}: {ends}" for call, ends in sorted(self.ends.items()))])


async def play(seed: int, told: Told) -> None:
    """Play it; AssertionError where a promise is broken."""
    rng = random.Random(seed)
    server = OllamaServer(
        {**{name: ServedModel(size) for name, size in OURS.items()}, FOREIGN: ServedModel(3000)},
        ["one ", "two ", "three"],
        vram_mib=10000,
        parallel=rng.choice([1, 4]),
    )
    loads = server.memory.loads = _Checked(server)
    server.load_s, server.piece_s = rng.choice([0.0, 4.0, 20.0]), rng.choice([0.0, 0.1, 5.0])
    server.obeys_truncate = rng.random() < 0.8
    scheduler = Scheduler(max_agents=4, max_wait={"interactive": 15.0, "batch": 120.0})
    async with server:
        await _played(rng, server, scheduler, told)
        assert _ours(server) == {}, "left in memory"
        assert loads.broken == []


async def _played(rng: random.Random, server: OllamaServer, scheduler: Scheduler, told: Told) -> None:
    async with GuardedEndpoint(OllamaEndpoint("small", server.url)) as endpoint:
        for name in OURS:
            await endpoint.describe(name)
        async with Dispatcher(scheduler, {"small": endpoint}) as dispatcher:
            dispatcher.set_budget("gpu0", BUDGET)
            for name, size in OURS.items():
                dispatcher.serve(Serving(ModelSpec(ModelKey("small", name), "gpu0", size, 4, 60.0), NUM_CTX))
            async with anyio.create_task_group() as world:
                world.start_soon(_misbehave, rng.randrange(2**32), server, told)
                async with anyio.create_task_group() as callers:
                    for number in range(rng.randint(2, 7)):
                        callers.start_soon(_ask, number, rng.randrange(2**32), dispatcher, told)
                world.cancel_scope.cancel()
            assert dispatcher.board.queue == {}
            assert not scheduler.state.leases, scheduler.state.leases
            server._faults.clear()
            await server.accept()
            there = dispatcher.board.models.values()
            told.script.append(f"at the end: {[(line.model, line.phase) for line in there]}, {server.resident}")
        with anyio.fail_after(120):
            await server.idle()
        assert server.active == 0
        assert all(len(ends) == 1 for ends in told.ends.values()), told.ends


async def _ask(number: int, seed: int, dispatcher: Dispatcher, told: Told) -> None:
    rng = random.Random(seed)
    await anyio.sleep(rng.choice([0.0, 0.0, rng.uniform(0, 60)]))
    model, deadline = rng.choice(list(OURS)), rng.choice([20.0, 100.0, 700.0])
    text = "word " * rng.choice([3, 3, 3, 2000])
    request = Request(
        "small", model, (Message("user", text),), NUM_CTX, Options(seed=1), deadline=deadline, timeout=60.0
    )
    heard: list[str] = []
    listener = rng.choice([None, lambda chunk: heard.append(chunk.text)])
    patience = rng.choice([None, None, None, rng.uniform(0, 30)])
    ends, began = told.ends.setdefault(number, []), anyio.current_time()
    with anyio.move_on_after(patience) as scope:
        try:
            response = await dispatcher.call(request, listener)
            assert response.text == "one two three"
            assert listener is None or "".join(heard) == response.text
            assert len(text) < 100, "a prompt that does not fit was answered"
            ends.append("answered")
        except VwtError as error:
            if error.exit_code != 3:
                raise AssertionError("not an error of the outside world") from error
            ends.append(f"{type(error).__name__}: {error.message}")
    if scope.cancelled_caught:
        ends.append("left")
    took = anyio.current_time() - began
    assert took <= min(deadline, patience or deadline) + ENDED_WITHIN_S, f"call {number} took {took:.1f} s"


async def _misbehave(seed: int, server: OllamaServer, told: Told) -> None:
    rng = random.Random(seed)
    deeds = [_fail, _fail, _fail, _lock_up, _evict, _foreign, _other_options, _revive, _down, _queue_full]
    began = anyio.current_time()
    while True:
        await anyio.sleep(rng.choice([0.0, rng.uniform(0, 5), rng.uniform(0, 60)]))
        deed = rng.choice(deeds)
        what = await deed(rng, server)
        told.script.append(f"{anyio.current_time() - began:7.1f} s {deed.__name__[1:]} {what or ''}")


async def _fail(rng: random.Random, server: OllamaServer) -> str:
    path, faults = rng.choice(
        [
            ("/api/chat", ["busy", "oom", "error", "cut", "short", "garbage", "hang", "reset"]),
            ("load", ["busy", "oom", "error", "hang", "reset"]),
            ("/api/generate", ["busy", "garbage", "hang", "reset"]),
            ("/api/ps", ["busy", "garbage", "hang", "reset"]),
        ]
    )
    fault, times = rng.choice(faults), rng.choice([1, 1, 2, 8])
    server.fail(path, fault, times)
    return f"{path} {fault} x {times}"


async def _lock_up(rng: random.Random, server: OllamaServer) -> None:
    server.lock_up()


async def _evict(rng: random.Random, server: OllamaServer) -> str:
    server.evict(name := rng.choice(list(OURS)))
    return name


async def _foreign(rng: random.Random, server: OllamaServer) -> None:
    with anyio.move_on_after(30):
        await server.load_by_another(FOREIGN)


async def _other_options(rng: random.Random, server: OllamaServer) -> str:
    name = rng.choice(list(server.resident) or [FOREIGN])
    with anyio.move_on_after(30):
        await server.load_by_another(name, num_ctx=rng.choice([512, 2048]))
    return name


async def _revive(rng: random.Random, server: OllamaServer) -> str:
    """Another client's call with a keep_alive of its own, on a model that is there."""
    memory = server.memory
    name = rng.choice(list(memory.runners) or [FOREIGN])
    if (runner := memory.runners.get(name)) is not None:
        async with memory.use(name, runner, 300.0):
            await anyio.sleep(rng.uniform(0, 20))
    return name


async def _down(rng: random.Random, server: OllamaServer) -> None:
    await server.refuse()
    await anyio.sleep(rng.choice([0.2, 3.0, 90.0]))
    await server.accept()


async def _queue_full(rng: random.Random, server: OllamaServer) -> None:
    server.memory.max_queue = 0
    try:
        await anyio.sleep(rng.uniform(0, 20))
    finally:
        server.memory.max_queue = 512
