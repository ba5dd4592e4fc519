"""The monitor keeps looking whatever ails its sources, and tells only what has changed."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
import pytest

from vwt_agents.devices import Device, Found, budget
from vwt_agents.occupancy import Monitor, Sources

CARD = Device("gpu0", "gpu", 16303, 0, 16303, "")
HOST = Device("cpu", "cpu", 32000, 4000, 28000, "")


@dataclass
class World:
    """All there is to look at. A `reader` that is set is called in place of the devices."""

    used: dict[str, int] = field(default_factory=lambda: {"gpu0": 0})
    problem: str = ""
    reader: Any = None
    own: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    moving: set[str] = field(default_factory=set)
    reserved: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    strangers: Any = 0
    told: list[tuple[str, int]] = field(default_factory=list)
    limits: list[tuple[str, int]] = field(default_factory=list)

    def read(self) -> Found:
        if self.reader is not None:
            return self.reader()
        cards = [replace(CARD, name=name, used_mib=used, problem=self.problem) for name, used in self.used.items()]
        return Found((*cards, HOST))

    async def ledger(self, device: str) -> int:
        return self.reserved[device]

    async def foreign(self, _device: str) -> int:
        if isinstance(self.strangers, Exception):
            raise self.strangers
        if callable(self.strangers):
            return await self.strangers()
        return self.strangers

    def monitor(self, devices: Sequence[str] = ("gpu0",), **more: Any) -> Monitor:
        sources = Sources(
            self.read, self.own.__getitem__, lambda name: name in self.moving, ledger=self.ledger, foreign=self.foreign
        )
        allowances = {name: budget(HOST if name == "cpu" else CARD, "auto", 1536) for name in devices}
        tell, limit = (lambda *what: self.told.append(what)), (lambda *what: self.limits.append(what))
        return Monitor(sources, allowances, tell, limit=limit, **more)


async def test_each_change_is_told_once_for_its_device() -> None:
    world = World({"gpu0": 1200, "gpu1": 0})
    monitor = world.monitor(["gpu0", "gpu1", "cpu"])
    for _ in range(3):
        await monitor.look()
    assert world.told == [("gpu0", 1200), ("cpu", 4000)]
    world.used["gpu1"] = 5000
    await monitor.look()
    assert world.told[2:] == [("gpu1", 5000)]


async def test_it_looks_until_it_is_cancelled() -> None:
    world, seen = World(), anyio.Event()
    monitor = world.monitor(interval=0.001)

    def growing() -> Found:
        world.used["gpu0"] += 100
        return Found((replace(CARD, used_mib=world.used["gpu0"]),))

    world.reader = growing
    monitor._tell = lambda _device, mib: seen.set() if mib >= 500 else None  # type: ignore[assignment]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(monitor.run)
        with anyio.fail_after(10):
            await seen.wait()
        tasks.cancel_scope.cancel()


async def test_other_processes_and_strangers_are_told_apart_from_what_is_used() -> None:
    world = World({"gpu0": 6000}, strangers=2000)
    world.reserved["gpu0"], world.own["gpu0"] = 3000, 6000
    await world.monitor().look()
    assert world.told == [("gpu0", 5000)]


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_residency_that_ends_while_it_looks_is_not_taken_for_somebody_elses(when: str) -> None:
    """The core learns of it just before or just after the device is read."""
    world = World({"gpu0": 1000})
    monitor = world.monitor()
    await monitor.look()
    world.own["gpu0"] = 8000

    def ends() -> Found:
        used = 9000 if when == "after" else 1000
        world.own["gpu0"] = 0
        return Found((replace(CARD, used_mib=used),))

    world.reader = ends
    await monitor.look()
    world.reader = None
    await monitor.look()
    assert world.told == [("gpu0", 1000)]


async def test_a_load_under_way_does_not_make_others_seem_gone() -> None:
    world = World({"gpu0": 3000})
    monitor = world.monitor()
    await monitor.look()
    world.own["gpu0"], world.moving = 5000, {"gpu0"}
    for world.used["gpu0"] in (3000, 5000, 8000):
        await monitor.look()
    world.moving = set()
    await monitor.look()
    assert world.told == [("gpu0", 3000)]


async def test_a_source_that_fails_keeps_its_last_figure_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    world = World(strangers=2000)
    monitor = world.monitor()
    await monitor.look()
    world.strangers = RuntimeError("connection refused")
    world.used["gpu0"] = 4000
    for _ in range(3):
        await monitor.look()
    assert world.told == [("gpu0", 2000), ("gpu0", 4000)]
    warnings = [record for record in caplog.records if "source_failed" in record.getMessage()]
    assert len(warnings) == 1
    assert "connection refused" in warnings[0].getMessage()


async def test_a_source_that_hangs_does_not_keep_the_others_waiting() -> None:
    world = World({"gpu0": 1200}, strangers=anyio.sleep_forever)
    await world.monitor(answer_within=0.3).look()
    assert world.told == [("gpu0", 1200)]


async def test_a_driver_that_hangs_leaves_its_last_figure_with_what_was_ours_then() -> None:
    world, gate = World({"gpu0": 3000}), threading.Event()
    monitor = world.monitor(answer_within=0.05)
    await monitor.look()
    world.reader = lambda: Found((), str(gate.wait(10)))
    world.own["gpu0"] = 5000
    for _ in range(2):
        await monitor.look()
    gate.set()
    assert world.told == [("gpu0", 3000)]


async def test_a_lost_card_has_no_budget_until_it_is_back() -> None:
    world = World({"gpu0": 1000})
    monitor = world.monitor()
    await monitor.look()
    world.problem = "it does not answer: GPU is lost"
    for _ in range(2):
        await monitor.look()
    world.problem = ""
    for _ in range(2):
        await monitor.look()
    assert world.limits == [("gpu0", 0), ("gpu0", 14767)]
    assert world.told == [("gpu0", 1000)]


async def test_a_card_that_cannot_be_measured_still_has_what_others_reserved() -> None:
    world = World({})
    world.reserved["gpu0"] = 3000
    await world.monitor().look()
    assert world.told == [("gpu0", 3000)]


async def test_an_unload_has_settled_when_the_device_shows_its_memory_free() -> None:
    world = World({"gpu0": 1000})
    monitor = world.monitor()
    await monitor.look()
    world.own["gpu0"] = 8000  # 5000 of it leave, 3000 stay
    figures = iter([9000, 9000, 7000, 4030])
    looked: list[int] = []

    def freeing() -> Found:
        looked.append(next(figures))
        return Found((replace(CARD, used_mib=looked[-1]),))

    world.used["gpu0"] = 9000
    await monitor.look()
    world.reader = freeing
    assert await monitor.settled("gpu0", 5000)
    assert looked == [9000, 9000, 7000, 4030]


async def test_an_unload_whose_memory_does_not_come_back_is_waited_for_only_so_long() -> None:
    world = World({"gpu0": 1000})
    monitor = world.monitor()
    await monitor.look()
    world.own["gpu0"], world.used["gpu0"] = 8000, 9000
    await monitor.look()
    assert not await monitor.settled("gpu0", 8000, within=0.05)
    world.own["gpu0"] = 0
    await monitor.look()
    assert world.told[-1] == ("gpu0", 9000)  # whoever has it now, it is not to be had


@pytest.mark.parametrize("device", ["cpu", "gpu7"])
async def test_where_nothing_can_be_seen_nothing_is_waited_for(device: str) -> None:
    monitor = World().monitor(["cpu"])
    await monitor.look()
    assert await monitor.settled(device, 5000, within=0)
