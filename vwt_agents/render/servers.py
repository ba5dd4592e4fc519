"""How endpoints' servers stand, as text. Owns no fact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vwt_agents.printable import printable
from vwt_agents.render.columns import columns

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["servers_text"]


def servers_text(found: Sequence[Any], *, width: int | None = None) -> str:
    """A line for each endpoint (an `app.servers.ServerStatus`), and below them what is out of the ordinary."""
    head = ["endpoint", "url", "answers", "version", "started by us", "users", "idle", "resident"]
    lines = [columns(head, [_row(one) for one in found], width=width)]
    for one in found:
        if one.started_by_us and not one.kept:
            fix = f"python -m vwt_agents endpoints up {one.endpoint}"
            lines.append(f"note: {one.endpoint} runs without its keeper, so nothing stops it when idle: {fix}")
        if not one.answers:
            lines.append(f"note: {one.endpoint}: {printable(one.detail)}")
        if one.last:
            lines.append(f"note: {one.endpoint}, the last time: {printable(one.last)}")
    return "\n".join(lines)


def _row(one: Any) -> list[str]:
    resident = ", ".join(f"{model['model']} ({model['mib']} MiB)" for model in one.resident)
    idle = "-" if one.idle is None else f"{one.idle:.0f} of {one.idle_stop:g} s"
    yes = {True: "yes", False: "no"}
    return [
        one.endpoint,
        one.url or "-",
        yes[one.answers],
        one.version or "-",
        yes[one.started_by_us],
        ", ".join(str(pid) for pid in dict.fromkeys(one.users)) or "-",
        idle,
        resident or "-",
    ]
