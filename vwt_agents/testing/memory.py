"""The memory of a test server: which models are in it, with which options, who is loaded next and who leaves for it.

As Ollama's scheduler: cold loads one at a time in the order in which they came; a resident model is loaded again for another
`num_ctx`, `num_batch` or `shift`; the first model may spill, a further one makes others leave, idle ones first; a busy one is
waited for without a limit. A call that says `keep_alive` revives such a victim, and then no cold load ever ends
(ollama#17408) until a model leaves.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from vwt_agents.testing.replies import FOREVER, ServedModel, expiry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from datetime import datetime

    from vwt_agents.types import Mib, Seconds

__all__ = ["Busy", "Memory", "Runner", "RunnerOptions"]

_KEEP_ALIVE: Seconds = 300.0


class Busy(Exception):
    """Too many cold loads wait already."""


class RunnerOptions(NamedTuple):
    """What a runner is started with: None is Ollama's own choice, which agrees with another such.

    `num_gpu` -1 leaves it to Ollama, which is content with what there is; 0 keeps the model off the GPU.
    """

    num_ctx: int | None = None
    num_batch: int | None = None
    shift: bool = True
    num_gpu: int = -1

    def same(self, other: RunnerOptions) -> bool:
        """Whether a request with the other options can be served without a reload; an unsaid num_ctx counts as 4096."""
        if other.num_gpu not in {-1, self.num_gpu}:
            return False
        return (self.num_ctx or 4096, self.num_batch or 512, self.shift) == (
            other.num_ctx or 4096,
            other.num_batch or 512,
            other.shift,
        )

    def capped(self, trained: int | None) -> RunnerOptions:
        """The same with no more context than the model was trained for."""
        fits = trained is None or self.num_ctx is None or self.num_ctx <= trained
        return self if fits else self._replace(num_ctx=trained)


@dataclass(slots=True)
class Runner:
    """A model in memory, with `num_ctx` tokens a slot. `leaving`: told to go once it is idle. `dead`: its process has ended.

    /api/ps lists a dead one until the next request for it. `expires` is what it shows: as Ollama's it is set when the model
    becomes idle, and lies in the past for one that is leaving.
    """

    options: RunnerOptions
    num_ctx: int
    size: Mib
    vram: Mib
    slots: asyncio.Semaphore
    keep_alive: Seconds = _KEEP_ALIVE
    users: int = 0
    leaving: bool = False
    dead: bool = False
    expires: datetime = field(default_factory=lambda: expiry(_KEEP_ALIVE))
    expiry: asyncio.TimerHandle | None = field(default=None, repr=False)

    def serves(self, options: RunnerOptions) -> bool:
        """Whether it answers a request with these options as it is."""
        return not self.dead and self.options.same(options)


class Memory:
    """What is loaded; `pause(place)` is where a test may hold a load or an unload."""

    def __init__(self, vram_mib: Mib, parallel: int, pause: Callable[[str], Awaitable[None]]) -> None:
        self.vram_mib = vram_mib
        self.parallel = parallel
        self.max_queue = 512
        self.max_loaded: int | None = None
        self.load_s: Seconds = 0.0
        self.runners: dict[str, Runner] = {}
        self.loads: list[tuple[str, int]] = []
        self.unloads: list[str] = []
        self.peak: Mib = 0
        self._pause = pause
        self._cold = asyncio.Lock()
        self._queued = 0
        self._left = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._locked = False

    @property
    def free(self) -> Mib:
        """What nobody takes."""
        return max(0, self.vram_mib - sum(runner.vram for runner in self.runners.values()))

    def lock_up(self) -> None:
        """No cold load ends any more until a model leaves."""
        self._locked = True

    async def runner(self, name: str, model: ServedModel, options: RunnerOptions) -> Runner:
        """The model with these options, loaded for them where it has to be; cancelling aborts the load. Busy."""
        options = options.capped(model.trained)
        there = self.runners.get(name)
        if there is not None and there.serves(options):
            return there
        if self._queued >= self.max_queue:
            raise Busy
        self._queued += 1
        try:
            async with self._cold:
                return await self._load(name, model, options)
        finally:
            self._queued -= 1

    async def _load(self, name: str, model: ServedModel, options: RunnerOptions) -> Runner:
        there = self.runners.get(name)
        if there is not None and there.serves(options):
            return there
        while self._locked:
            await self._someone_leaves()
        await self._pause("load")
        if name in self.runners:
            await self._make_leave(name)
        need = 0 if options.num_gpu == 0 else model.footprint
        while self.runners and (self.free < need or len(self.runners) >= (self.max_loaded or 99)):
            await self._make_leave(self._victim())
        if self.load_s:
            await asyncio.sleep(self.load_s)
        vram = min(need, self.free)
        slots = asyncio.Semaphore(self.parallel)
        runner = self.runners[name] = Runner(options, options.num_ctx or 4096, model.footprint, vram, slots)
        self.peak = max(self.peak, self.vram_mib - self.free)
        self.loads.append((name, runner.num_ctx))
        self._rest(name, runner)
        return runner

    def _victim(self) -> str:
        """Ollama's choice: an idle one, that with the shortest keep_alive, then by name."""
        return min(self.runners, key=lambda name: (self.runners[name].users > 0, self.runners[name].keep_alive, name))

    async def _make_leave(self, name: str) -> None:
        runner = self.runners[name]
        if not runner.users:
            self._drop(name)
            return
        runner.leaving = True
        runner.expires = expiry(-1.0)
        while self.runners.get(name) is runner:
            await self._someone_leaves()

    async def _someone_leaves(self) -> None:
        self._left.clear()
        await self._left.wait()

    @asynccontextmanager
    async def use(self, name: str, runner: Runner, keep_alive: Seconds | None) -> AsyncIterator[None]:
        """The runner in use for the length of the block; a keep_alive of the call's own revives one that was to leave."""
        runner.users += 1
        self._awake(runner)
        if keep_alive is not None:
            runner.keep_alive = keep_alive
            if keep_alive:
                runner.leaving = False
        try:
            yield
        finally:
            runner.users -= 1
            self._rest(name, runner)

    def told_to_leave(self, name: str) -> None:
        """An unload by a request: at once where the model is idle, else after its last call. It is answered before."""
        if (runner := self.runners.get(name)) is not None:
            runner.leaving = True
            runner.expires = expiry(-1.0)
            self._rest(name, runner)

    def keep(self, name: str, keep_alive: Seconds | None) -> None:
        """A preload says how long the model stays."""
        runner = self.runners.get(name)
        if runner is not None and keep_alive is not None:
            runner.keep_alive = keep_alive
            runner.leaving = False
            self._rest(name, runner)

    def _rest(self, name: str, runner: Runner) -> None:
        """What happens to a runner that may have become idle."""
        if runner.users or self.runners.get(name) is not runner:
            return
        self._awake(runner)
        if not runner.leaving:
            runner.expires = expiry(runner.keep_alive)
        if runner.leaving or runner.keep_alive == 0:
            task = asyncio.ensure_future(self._gone(name, runner))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        elif runner.keep_alive != FOREVER:
            later = asyncio.get_running_loop().call_later
            runner.expiry = later(runner.keep_alive, self._drop, name, runner)

    @staticmethod
    def _awake(runner: Runner) -> None:
        if runner.expiry is not None:
            runner.expiry.cancel()
            runner.expiry = None

    async def _gone(self, name: str, runner: Runner) -> None:
        await self._pause("unload")
        if not runner.users and (runner.leaving or runner.keep_alive == 0):
            self._drop(name, runner)

    def _drop(self, name: str, runner: Runner | None = None) -> None:
        there = self.runners.get(name)
        if there is not None and (runner is None or runner is there) and not there.users:
            self._awake(self.runners.pop(name))
            self.unloads.append(name)
            self._freed()

    def kill(self, name: str) -> None:
        """The process of a model ends, whoever uses it."""
        if (runner := self.runners.get(name)) is not None:
            runner.dead = True

    def lose(self, name: str | None = None) -> None:
        """A runner is gone, whoever uses it; None: all of them."""
        for gone in [name] if name is not None else list(self.runners):
            if (runner := self.runners.pop(gone, None)) is not None:
                self._awake(runner)
        self._freed()

    def _freed(self) -> None:
        self._locked = False
        self._left.set()

    async def close(self) -> None:
        """End what is under way and forget everything."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.lose()
