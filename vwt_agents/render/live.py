"""The view of a run that is going on. On a terminal: finished lines scroll by, a live part is redrawn. Elsewhere: plain lines.

Everything goes to stderr. Nothing is drawn faster than four times a second, and no control code leaves for what is no terminal.
"""

from __future__ import annotations

import os
import sys
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from vwt_agents.board import ENDED_WELL
from vwt_agents.printable import printable
from vwt_agents.render.tables import counted

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from vwt_agents.board import Board, CallLine, ModelLine, StageLine

__all__ = ["LiveView", "PlainView", "View", "open_view"]


class View(Protocol):
    """Shows a board for the length of a block."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: object) -> None: ...


def open_view(board: Board, *, quiet: bool = False, stream: TextIO | None = None) -> View:
    """The live view on a terminal that can be redrawn, else plain lines; nothing when quiet."""
    out = stream if stream is not None else sys.stderr
    if quiet:
        return PlainView(board, None)
    plain = not out.isatty() or os.environ.get("TERM") == "dumb" or bool(os.environ.get("CI"))
    return PlainView(board, out) if plain else LiveView(board)


class _Follower:
    """Turns what changed on the board into lines: each stage's end, each load and unload, each remark, once."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self._status: dict[str, str] = {}
        self._swaps = 0

    def lines(self) -> list[str]:
        lines: list[str] = []
        for swap in self.board.swaps[self._swaps :]:
            what = f"{swap.kind} {swap.model} on {swap.endpoint}, {swap.seconds:.1f} s"
            mib = f", {swap.mib} MiB" if swap.mib else ""
            lines.append(f"  {what}{mib}" if swap.ok else f"  ! {what}: {swap.why}")
        self._swaps = len(self.board.swaps)
        for name, line in self.board.stages.items():
            if self._status.get(name) != line.status:
                self._status[name] = line.status
                lines.extend(_stage_lines(line))
        return lines


_MARKS = {
    "done": "+",
    "kept": "=",
    "cached": "=",
    "fallback": "~",
    "partial": "~",
    "skipped": "-",
    "failed": "x",
    "stopped": "-",
}


def _stage_lines(line: StageLine) -> list[str]:
    if line.status == "running":
        return [f"> {line.name}" + (f" ({', '.join(line.agents)})" if line.agents else "")]
    mark = _MARKS.get(line.status)
    return [f"{mark} {line.name} {summary(line)}"] if mark is not None else []


def summary(line: StageLine) -> str:
    """One stage in a few words: seconds, models, calls, tokens, attempts."""
    if line.status == "kept":
        return f"kept: {line.note or 'done before'}"
    if line.status in ("cached", "skipped", "fallback", "partial"):
        return f"{line.status}: {line.note}"
    parts, tally = [f"{line.seconds(time.monotonic()):.1f} s"], line.tally
    if tally.models:
        parts.append(" + ".join(tally.models))
    if tally.calls:
        parts.append(f"{counted(tally.calls, 'call')}, {counted(tally.output_tokens, 'token')}")
    if tally.output_s > 0:
        parts.append(f"{tally.output_tokens / tally.output_s:.0f} tok/s")
    if line.attempts:
        parts.append(counted(line.attempts, "attempt"))
    if line.retries:
        parts.append(f"{line.retries + 1} tries")
    if tally.replayed:
        parts.append(f"{tally.replayed} from the journal")
    return "  ".join(parts)


class _Watching(ABC):
    """A view that says each new line of a board for the length of a block; `_say` is its own."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._follower = _Follower(board)

    def __enter__(self) -> Self:
        self._board.watch(self._look)
        self._board.on_line.append(self._say)
        return self

    def __exit__(self, *exc: object) -> None:
        self._board.unwatch(self._look)
        self._board.on_line.remove(self._say)

    def _look(self) -> None:
        for line in self._follower.lines():
            self._say(line)

    @abstractmethod
    def _say(self, line: str) -> None:
        """Show one line."""


class PlainView(_Watching):
    """Plain lines, as things happen; for logs, CI and pipes."""

    def __init__(self, board: Board, stream: TextIO | None) -> None:
        super().__init__(board)
        self._stream = stream

    def __exit__(self, *exc: object) -> None:
        self._look()
        super().__exit__(*exc)

    def _say(self, line: str) -> None:
        if self._stream is None:
            return
        try:
            print(printable(line), file=self._stream, flush=True)
        except OSError:  # whoever read it has left; the run goes on
            self._stream = None


class LiveView(_Watching):
    """The live part at the foot of a terminal: stages, who waits for what and why, the budget bar, tokens a second."""

    def __init__(self, board: Board, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.live import Live

        super().__init__(board)
        self._painted: RenderableType = ""
        self._console = console if console is not None else Console(stderr=True, highlight=False)
        self._live = Live(console=self._console, refresh_per_second=4, transient=True, get_renderable=self._paint)

    def __enter__(self) -> Self:
        super().__enter__()
        self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._look()
        self._live.stop()
        super().__exit__(*exc)

    def _look(self) -> None:
        super()._look()
        if self._board.prompting and self._live.is_started:
            self._live.stop()
        elif not self._board.prompting and not self._live.is_started:
            self._live.start()

    def _say(self, line: str) -> None:
        from rich.text import Text

        style = {"+": "green", "x": "red", ">": "dim", "!": "red"}.get(
            line.lstrip()[:1], "dim" if line.startswith("  ") else ""
        )
        self._live.console.print(Text(printable(line), style=style))

    def _paint(self) -> RenderableType:
        """The live part; called by the display's own thread, beside the loop that writes the board."""
        try:
            self._painted = self._picture()
        except RuntimeError:  # the board changed under it: what was painted last stands for another quarter second
            return self._painted
        return self._painted

    def _picture(self) -> RenderableType:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        now = time.monotonic()
        table = Table.grid(padding=(0, 2))
        for line in self._board.stages.values():
            if line.status == "running":
                table.add_row(
                    Text(line.name, style="bold"), f"{line.seconds(now):5.1f} s", Text(_doing(self._board, line, now))
                )
            elif line.status == "waiting":
                table.add_row(
                    Text(line.name, style="dim"), "", Text(f"after {', '.join(self._open(line))}", style="dim")
                )
        devices = sorted({line.device for line in self._board.models.values()})
        return Group(table, *(_budget_bar(self._board, device) for device in devices if device in self._board.budgets))

    def _open(self, line: StageLine) -> list[str]:
        return [need for need in line.needs if self._board.stages[need].status not in ENDED_WELL]


def _doing(board: Board, line: StageLine, now: float) -> str:
    queued = [board.waits(request) for request, stage in board.queue.items() if stage == line.name]
    running = [_call_text(call, now) for call in line.in_flight if call.first is not None]
    reading = len(line.in_flight) - len(queued) - len(running)
    texts = running + ([f"{reading} reading the prompt"] if reading > 0 else []) + [why for why in queued if why]
    return printable("; ".join(texts[:3]) or line.note)


def _call_text(call: CallLine, now: float) -> str:
    took = max(now - (call.first or now), 0.001)
    return f"{call.agent} on {call.model}: {call.pieces} tokens, {call.pieces / took:.0f} tok/s"


def _budget_bar(board: Board, device: str) -> RenderableType:
    from rich.text import Text

    budget = board.budgets[device]
    held: list[ModelLine] = [line for line in board.models.values() if line.device == device and line.phase != "out"]
    used = sum(line.footprint for line in held)
    width = 30
    full = 0 if budget <= 0 else min(width, round(width * used / budget))
    names = ", ".join(f"{line.model} {line.phase} {line.leases}/{line.slots}" for line in held) or "nothing loaded"
    return Text.assemble(
        (f"{device} ", "bold"), ("█" * full, "cyan"), ("░" * (width - full), "dim"), f" {used}/{budget} MiB  {names}"
    )
