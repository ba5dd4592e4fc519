"""Several of the same, run together. Owns how they end: all of them well, or the first failure as itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import anyio

from vwt_agents.cancellation import told_to_stop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["side_by_side"]

T = TypeVar("T")


async def side_by_side(one: Callable[[int], Awaitable[T]], count: int) -> list[T]:
    """The results of `one(0)` ... `one(count - 1)`, run together; the first error comes out as itself, not as a group."""
    results: dict[int, T] = {}
    failures: list[BaseException] = []

    async def guarded(index: int) -> None:
        try:
            results[index] = await one(index)
        except (Exception, anyio.get_cancelled_exc_class()) as error:
            if not isinstance(error, Exception) and told_to_stop():
                raise
            failures.append(error)  # handed on as it is
            tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        for index in range(count):
            tasks.start_soon(guarded, index)
    if failures:
        raise failures[0]
    return [results[index] for index in range(count)]
