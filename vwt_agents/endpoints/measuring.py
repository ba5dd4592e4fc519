"""An endpoint whose loads are measured: what each model really took is remembered, and told as its residence.

Wraps any Endpoint. What is remembered where, and what was expected, is its maker's word; what a report is worth is
`footprint.measured`'s. A measurement that can't be kept is no reason to fail a load.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from vwt_agents.endpoints.around import EndpointAround
from vwt_agents.errors import Spilled, VwtError
from vwt_agents.eventlog import get_logger
from vwt_agents.footprint import Conditions, Footprint, Measurement, believed, from_delta, spilled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from vwt_agents.endpoints.base import Endpoint, Residence
    from vwt_agents.types import Mib, Seconds

__all__ = ["Believed", "Expects", "MeasuringEndpoint"]

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Believed:
    """What a load is believed to take: estimated for these conditions, and planned with (which may have been measured)."""

    conditions: Conditions
    footprint: Footprint
    planned: Mib


class Expects(Protocol):
    """What is believed of a load before it; None for a model nothing is known of."""

    def __call__(self, model: str, *, num_ctx: int, slots: int) -> Believed | None:
        """For `slots` asked for; the conditions have those that are allotted."""
        ...


class MeasuringEndpoint(EndpointAround):
    """`inner`, with its loads measured. `used` reads the device's used MiB from a driver, where there is one."""

    def __init__(
        self,
        inner: Endpoint,
        expects: Expects,
        remember: Callable[[Measurement], Awaitable[object]],
        *,
        used: Callable[[], Awaitable[Mib | None]] | None = None,
    ) -> None:
        super().__init__(inner)
        self._expects = expects
        self._remember = remember
        self._used = used
        self._loaded: dict[str, Believed] = {}

    async def load(self, model: str, *, num_ctx: int, slots: int, timeout: Seconds) -> Residence:  # noqa: ASYNC109
        """Load, and remember what it took; the residence has that, or what was planned where the report can't be true."""
        expected = self._expects(model, num_ctx=num_ctx, slots=slots)
        before = await self._used() if self._used is not None else None
        try:
            residence = await self.inner.load(model, num_ctx=num_ctx, slots=slots, timeout=timeout)
        except Spilled as error:
            if expected is not None:
                mib = spilled(expected.footprint, error.size_mib)
                await self._keep(expected, model, mib, fitted=error.device_mib)
            raise
        if expected is None:
            return residence
        self._loaded[model] = expected
        after = await self._used() if self._used is not None else None
        delta = None if before is None or after is None else from_delta(before, after, residence.device_mib)
        measured = await self._measured(model, expected, residence, delta)
        if measured is None or expected.conditions.device_kind == "cpu":
            # host memory is taken page by page, as it is used
            measured = max(measured or 0, expected.planned)
        return replace(residence, device_mib=measured)

    async def unload(self, model: str) -> None:
        """Unload; what a worker has grown to is measured before it goes."""
        expected = self._loaded.pop(model, None)
        if expected is not None and self.kind == "embedded":
            try:
                there = next((one for one in await self.inner.resident() if one.model == model), None)
            except VwtError:
                there = None
            if there is not None:
                await self._measured(model, expected, there, None)
        await self.inner.unload(model)

    async def _measured(self, model: str, expected: Believed, there: Residence, delta: Mib | None) -> Mib | None:
        """What it takes by this report, kept; None where that can't be."""
        mib = believed(expected.footprint, there.device_mib, whole=self.kind == "embedded", delta=delta)
        if mib is None:
            least = expected.footprint.least
            log.info("footprint.not_believed", endpoint=self.name, model=model, mib=there.device_mib, least=least)
            return None
        await self._keep(expected, model, mib, fitted=None)
        return mib

    async def _keep(self, expected: Believed, model: str, mib: Mib, *, fitted: Mib | None) -> None:
        log.info("footprint.measured", endpoint=self.name, model=model, mib=mib, estimated=expected.footprint.total)
        try:
            await self._remember(Measurement(expected.conditions, model, mib, datetime.now(UTC), fitted))
        except VwtError as error:
            log.warning("footprint.not_kept", endpoint=self.name, model=model, error=error.message)
