"""Runs as processes of their own on one server and one budget, killed, interrupted and stopped at random moments.

Whatever happens to some: the server is never over the budget, nothing is unloaded under a process that uses it, nothing is
loaded that nobody has claimed, and all the others end well and in time. A play is its seed.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from vwt_agents.ledger import Ledger
from vwt_agents.testing import OllamaServer, ServedModel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from anyio.abc import Process

BUDGET = 1000
MODELS = {"a:1b": ServedModel(300), "b:1b": ServedModel(400), "c:2b": ServedModel(600)}
STRANGER = "x:9b"
RUNS = 4
ENDS_S = 300.0

CONFIG = """
[budget]
cpu = "{budget} MiB"
[endpoints.here]
kind = "ollama"
url = "{url}"
device = "cpu"
parallel = 2
[tiers.small]
endpoint = "here"
models = [{models}]
num_ctx = {num_ctx}
[routing]
substitute = false
[scheduler]
patience = "60s"
max_wait = {{ interactive = "2s", batch = "4s" }}
"""
STAGE = """

@pipeline.stage
async def s{number}(agent{agent}: Agent{before}) -> str:
    await asyncio.sleep({think})
    return await agent{agent}.ask("go on")
"""


class Loads(list[tuple[str, int]]):
    """The loads of a server, each checked as it happens; `broken` are the promises that were not kept."""

    def __init__(self, server: OllamaServer, watching: Ledger) -> None:
        super().__init__()
        self._server, self._watching = server, watching
        self._told = server.memory.told_to_leave
        server.memory.told_to_leave = self.told_to_leave  # type: ignore[method-assign]
        self.broken: list[str] = []

    def append(self, load: tuple[str, int]) -> None:
        super().append(load)
        there = {name: runner.size for name, runner in self._server.memory.runners.items()}
        if sum(there.values()) > BUDGET:
            self.broken.append(f"over the budget: {there}")
        if load[0] != STRANGER and not self._holders(load[0]):
            self.broken.append(f"loaded, and claimed by nobody: {load}")

    def told_to_leave(self, name: str) -> None:
        users = [str(holder) for holder in self._holders(name) if not holder.orphan and not holder.leaving]
        if users and name in self._server.memory.runners:
            self.broken.append(f"unloaded under {users}")
        self._told(name)

    def _holders(self, name: str) -> list[Any]:
        return [holder for holder in self._watching.snapshot().holders if holder.name == name]


@dataclass
class Play:
    """Runs of random pipelines over some of the models, and what is done to them."""

    folder: Path
    url: str
    dice: random.Random
    running: dict[int, Process] = field(default_factory=dict)
    given_up: set[int] = field(default_factory=set)
    ended: dict[int, int] = field(default_factory=dict)

    async def start(self) -> None:
        number = len(self.running)
        place = self.folder / f"run{number}"
        place.mkdir()
        models = self.dice.sample(sorted(MODELS), self.dice.choice([1, 2]))
        text = CONFIG.format(
            budget=BUDGET,
            url=self.dice.choice([self.url, self.url.replace("127.0.0.1", "localhost")]),
            models=", ".join(f'"{model}"' for model in models),
            num_ctx=self.dice.choice([1024, 2048, 4096]),
        )
        agents = (f'[agents.agent{at}]\nmodel = "{model}"\n' for at, model in enumerate(models))
        (place / "agents.toml").write_text(text + "".join(agents))
        stages = (
            STAGE.format(
                number=at, agent=at % len(models), before=f", s{at - 1}: str" if at else "", think=self._think()
            )
            for at in range(self.dice.choice([2, 3, 4]))
        )
        head = 'import asyncio\nfrom vwt_agents import Agent, Pipeline\npipeline = Pipeline("p")\n'
        (place / "p.py").write_text(head + "".join(stages))
        argv = [sys.executable, "-m", "vwt_agents", "run", "p.py", "--quiet", "--out", "out"]
        env = {**os.environ, "VWT_STATE": str(place / "state")}
        with (place / "said").open("wb") as said:
            self.running[number] = await anyio.open_process(argv, cwd=place, env=env, stdout=said, stderr=said)

    def _think(self) -> float:
        return self.dice.choice([0.0, 0.0, 0.5, 1.0])

    async def disturb(self, server: OllamaServer) -> None:
        restarted = False
        while True:
            await anyio.sleep(self.dice.uniform(0.2, 1.5))
            if not (alive := [number for number, each in self.running.items() if each.returncode is None]):
                continue
            number, what = self.dice.choice(alive), self.dice.choice(["kill", "interrupt", "stop", "restart", "load"])
            if what == "restart" and not restarted:  # of one that does so again and again a run thinks that it is gone
                restarted = True
                await server.refuse()
                await anyio.sleep(0.5)
                await server.accept()
            elif what == "load":
                await server.load_by_another(STRANGER)
            elif what == "stop":
                await self._stop(self.running[number])
            elif what != "restart" and len(self.given_up) < RUNS:
                self.given_up.add(number)
                self.running[number].send_signal(signal.SIGKILL if what == "kill" else signal.SIGINT)
                await self.start()

    async def _stop(self, process: Process) -> None:
        process.send_signal(signal.SIGSTOP)
        try:
            await anyio.sleep(self.dice.choice([0.5, 3.0]))
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGCONT)

    async def end(self) -> None:
        while waiting := [number for number in self.running if number not in self.ended]:
            self.ended[waiting[0]] = await self.running[waiting[0]].wait()

    def failed(self) -> dict[int, str]:
        return {
            number: (self.folder / f"run{number}" / "said").read_text()
            for number, status in self.ended.items()
            if status != 0 and number not in self.given_up
        }


@pytest.fixture
async def server() -> AsyncIterator[OllamaServer]:
    # what another client loads is on its GPU: it takes nothing of the memory that is counted here
    async with OllamaServer({**MODELS, STRANGER: ServedModel(0)}, ["one ", "two"], parallel=2) as running:
        running.load_s, running.piece_s = 0.2, 0.05
        yield running


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
async def test_runs_that_share_a_server_keep_within_the_budget_and_end_whatever_befalls_some_of_them(
    tmp_path: Path, server: OllamaServer, seed: int
) -> None:
    with Ledger.open("watching") as watching:
        loads = server.memory.loads = Loads(server, watching)
        play = Play(tmp_path, server.url, random.Random(seed))
        try:
            with anyio.fail_after(ENDS_S):
                for _ in range(RUNS):
                    await play.start()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(play.disturb, server)
                    await play.end()
                    tasks.cancel_scope.cancel()
        finally:
            for process in play.running.values():
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        assert loads.broken == []
        assert play.failed() == {}
        assert len(loads) > 1
