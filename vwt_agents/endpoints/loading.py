"""A load that is watched while it is under way. Owns the two tasks that takes; what it means is lockup's to say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio

from vwt_agents.errors import WorldError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from vwt_agents.endpoints.base import Residence
    from vwt_agents.endpoints.lockup import LoadWatch
    from vwt_agents.types import Seconds

__all__ = ["watched"]

_LOOK_EVERY_S: Final[Seconds] = 5.0
_LOOK_S: Final[Seconds] = 5.0


async def watched(
    load: Callable[[], Awaitable[None]], look: Callable[[], Awaitable[tuple[Residence, ...]]], watch: LoadWatch
) -> str | None:
    """Load, looking at what is resident every few seconds; why the load was given up, in words, or None once it is done."""
    verdict: str | None = None
    failed: WorldError | None = None
    began = anyio.current_time()

    async def watching() -> None:
        nonlocal verdict
        while verdict is None:
            await anyio.sleep(_LOOK_EVERY_S)
            with anyio.move_on_after(_LOOK_S):
                try:
                    watch.look(await look())
                except WorldError:
                    continue  # a server that shows nothing explains nothing: the load's own limit holds
                verdict = watch.verdict(anyio.current_time() - began)
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watching)
        try:
            await load()
        except WorldError as error:  # raised below as itself, not as a group
            failed = error
        tasks.cancel_scope.cancel()
    if failed is not None:
        raise failed
    return verdict
