"""Loads and unloads of the models that are served: each a task, whose end is an event for the core.

Owns how an endpoint is asked for them and what went wrong last; which of them happen, and when, is the core's word. A load
belongs to nobody who waits for it, so it survives one who leaves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import anyio

from vwt_agents.board import Swap
from vwt_agents.core import Event, LoadDeferred, Loaded, ModelKey, ModelSpec, Unloaded, Vanished
from vwt_agents.core import LoadFailed as LoadFailedEvent
from vwt_agents.core import UnloadFailed as UnloadFailedEvent
from vwt_agents.errors import EndpointUnavailable, LoadFailed, MemoryTaken, UnloadFailed, VwtError
from vwt_agents.eventlog import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from anyio.abc import TaskGroup

    from vwt_agents.board import Board
    from vwt_agents.endpoints.base import Endpoint
    from vwt_agents.types import Mib, Seconds

__all__ = ["Serving", "Swaps"]

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Serving:
    """How one model is to be served for as long as this process lives: constant, because a change would reload it.

    `tags` are other names of the same weights: requests for them are served by the same residency, as themselves.
    """

    spec: ModelSpec
    num_ctx: int
    load_timeout: Seconds = 300.0
    tags: tuple[str, ...] = ()


class Swaps:
    """`serving` are the models there are; `tasks` is where loads and unloads are done, None once none is begun any more.

    `post` brings an event to the core; `changed` is called when an unload was cancelled before its end, which `resume`
    begins again. `failures` are those of the last load of each model whose last load failed.
    """

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        board: Board,
        *,
        clock: Callable[[], Seconds],
        post: Callable[[Event], None],
        changed: Callable[[], None],
    ) -> None:
        self.serving: dict[ModelKey, Serving] = {}
        self.tasks: TaskGroup | None = None
        self.failures: dict[ModelKey, VwtError] = {}
        self._endpoints = endpoints
        self._board = board
        self._clock = clock
        self._post = post
        self._changed = changed
        self._cut_off: list[tuple[ModelKey, str]] = []  # unloads that were cancelled, and their reasons
        self._load_ended: dict[ModelKey, tuple[Seconds, Seconds]] = {}

    def load(self, key: ModelKey) -> None:
        """Begin to load a model: Loaded, LoadDeferred or LoadFailed says how it ended."""
        if self.tasks is not None:
            self.tasks.start_soon(self._load, key)

    def unload(self, key: ModelKey, why: str) -> None:
        """Begin to unload a model: Unloaded, or UnloadFailed (and Vanished, where nobody is there to hold it)."""
        if self.tasks is not None:
            self.tasks.start_soon(self._unload, key, why)

    def resume(self) -> None:
        """Begin again the unloads that were cancelled."""
        while self._cut_off:
            self.unload(*self._cut_off.pop())

    def load_share(self, key: ModelKey, since: Seconds, now: Seconds) -> Seconds:
        """How much of the time since then the last load of a model took."""
        began, ended = self._load_ended.get(key, (0.0, 0.0))
        return max(0.0, min(ended, now) - max(began, since))

    async def _load(self, key: ModelKey) -> None:
        serving = self.serving[key]
        began = self._clock()
        log.info("model.loading", endpoint=key.endpoint, model=key.model, mib=serving.spec.footprint)
        try:
            residence = await self._endpoints[key.endpoint].load(
                key.model, num_ctx=serving.num_ctx, slots=serving.spec.slots, timeout=serving.load_timeout
            )
        except anyio.get_cancelled_exc_class():
            self._post(LoadFailedEvent(key, "cancelled"))  # the endpoint has undone what it had begun
            raise
        except MemoryTaken as taken:
            log.debug("model.load_deferred", endpoint=key.endpoint, model=key.model, why=taken.message)
            self._post(LoadDeferred(key, taken.message))
            return
        except Exception as fault:  # noqa: BLE001 - a fault of an endpoint ends those who wait for it, not the dispatcher
            error = _ours(fault, LoadFailed, f"{key} could not be loaded")
            self.failures[key] = error
            self._swapped("load", key, began, 0, why=error.message, ok=False)
            log.warning("model.load_failed", endpoint=key.endpoint, model=key.model, error=error.message)
            self._post(LoadFailedEvent(key, error.message))
            return
        self.failures.pop(key, None)
        took = residence.device_mib or residence.size_mib
        self._load_ended[key] = (began, self._clock())
        self._swapped("load", key, began, took, ok=True)
        log.info("model.loaded", endpoint=key.endpoint, model=key.model, mib=took, seconds=self._clock() - began)
        self._post(Loaded(key, took or None))

    async def _unload(self, key: ModelKey, why: str) -> None:
        began = self._clock()
        try:
            await self._endpoints[key.endpoint].unload(key.model)
        except anyio.get_cancelled_exc_class():
            self._cut_off.append((key, why))
            self._changed()
            raise
        except Exception as fault:  # noqa: BLE001 - as above
            error = _ours(fault, UnloadFailed, f"{key} could not be unloaded")
            self._swapped("unload", key, began, 0, why=error.message, ok=False)
            log.warning("model.unload_failed", endpoint=key.endpoint, model=key.model, error=error.message)
            self._post(UnloadFailedEvent(key, error.message))
            if isinstance(error, EndpointUnavailable) and error.refused:
                # Nobody is there to hold it; what is taken all the same, devices see.
                self._post(Vanished(key, error.message))
            return
        self._swapped("unload", key, began, 0, why=why, ok=True)
        log.info("model.unloaded", endpoint=key.endpoint, model=key.model, why=why)
        self._post(Unloaded(key))

    def _swapped(
        self,
        kind: Literal["load", "unload"],
        key: ModelKey,
        began: Seconds,
        mib: Mib,
        *,
        ok: bool,
        why: str = "",
    ) -> None:
        spec = self.serving[key].spec
        now = self._clock()
        self._board.swaps.append(Swap(kind, key.endpoint, key.model, spec.device, now, now - began, mib, ok, why))


def _ours(fault: Exception, kind: type[VwtError], what: str) -> VwtError:
    return fault if isinstance(fault, VwtError) else kind(f"{what}: {type(fault).__name__}: {fault}")
