"""The sandbox that agents.toml asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vwt_agents.config import SandboxSettings
    from vwt_agents.sandbox.service import Sandbox

__all__ = ["open_sandbox"]


async def open_sandbox(settings: SandboxSettings) -> Sandbox:
    """The sandbox agents.toml asks for; only the word `unsafe` there goes without one."""
    from vwt_agents.sandbox.base import Limits
    from vwt_agents.sandbox.service import Sandbox

    limits = Limits(wall_s=settings.timeout, memory_mib=settings.memory)
    unsafe = settings.backend == "unsafe"
    return await Sandbox.open(
        settings.backend, allow_reduced=settings.allow_reduced, allow_unsafe=unsafe, limits=limits
    )
