"""`runs top`: runs of any process on this machine, watched through the journal."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click

from vwt_agents.cli.options import emit_json, run_async, terminal_width

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vwt_agents.entries import Entry, RunRecord
    from vwt_agents.journal import JournalReader
    from vwt_agents.report import Present
    from vwt_agents.types import Seconds

__all__ = ["top"]

_LOOK: Final[Seconds] = 0.25
_PAINT: Final[Seconds] = 1.0
_LEARNED: Final = 3


@click.command()
@click.argument("run", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print how they stand now as one JSON array, and leave.")
def top(run: str | None, as_json: bool) -> int:
    """Watch RUN, or all runs that are going on: stages, calls that run and wait and why, models and memory, time to go.

    Leaves on q or Ctrl-C, and when they have ended. Where stdout is no terminal, it prints how they stand now.
    """
    from vwt_agents.journal import JournalReader

    runs = _Runs(JournalReader(), run)
    if as_json:
        emit_json(run_async(runs.now))
    elif terminal_width() is None:
        _print(run_async(runs.now))
    else:
        try:
            run_async(lambda: _watch(runs))
        except KeyboardInterrupt:  # how one leaves it
            return 0
        _print(run_async(runs.now))
    return 0


class _Runs:
    """The present of one run, or of all that are going on when it is asked for."""

    def __init__(self, reader: JournalReader, run: str | None) -> None:
        self.reader = reader
        self._run = run
        self._usual: dict[str, dict[str, Seconds]] = {}
        self._read: list[tuple[RunRecord, list[Entry]]] = []

    async def now(self) -> list[Present]:
        """As the journal has it."""
        await self.read()
        return self.seen()

    async def read(self) -> None:
        """Read the journal anew."""
        if self._run is not None:
            ids = [(await self.reader.run(self._run)).id]
            self._run = ids[0]  # `last` is another one later
        else:
            ids = [one.id for one in await self.reader.list_runs(200) if one.status == "running"]
        self._read = []
        for run in reversed(ids):
            record = await self.reader.run(run)
            self._read.append((record, list(await self.reader.entries(run, kind="event"))))
            if record.pipeline not in self._usual:
                self._usual[record.pipeline] = await self._learned(record.pipeline)

    async def _learned(self, pipeline: str) -> dict[str, Seconds]:
        from vwt_agents.report import usual_seconds

        past = [one.id for one in await self.reader.list_runs(20, pipeline=pipeline) if one.status in {"good", "bad"}]
        return usual_seconds([await self.reader.entries(run, kind="stage") for run in past[:_LEARNED]])

    def seen(self) -> list[Present]:
        """What was read last, at this moment."""
        from vwt_agents.report import present

        now = datetime.now(UTC)
        return [present(record, entries, now, self._usual[record.pipeline]) for record, entries in self._read]


def _print(runs: list[Present]) -> None:
    """How they stand, as text; nothing of it is wrapped where stdout is no terminal."""
    if not runs:
        click.echo("no run is going on; `runs list` has those that have ended")
        return
    from rich.console import Console

    from vwt_agents.report.screen import screen

    Console(file=sys.stdout, highlight=False, width=terminal_width() or 200).print(screen(runs))


async def _watch(runs: _Runs) -> None:
    """Repaint when the journal has changed, and each second, until they have ended or q is pressed."""
    import anyio
    from rich.console import Console
    from rich.live import Live

    from vwt_agents.journal.watch import Watch
    from vwt_agents.report.screen import screen

    console = Console(file=sys.__stdout__, highlight=False)
    with (
        Watch(runs.reader.path) as watch,
        _keys() as pressed,
        Live(console=console, screen=True, auto_refresh=False) as live,
    ):
        painted = -_PAINT
        while not pressed("q"):
            if watch.changed():
                await runs.read()
                painted = -_PAINT
            if anyio.current_time() - painted >= _PAINT:
                seen = runs.seen()
                live.update(screen(seen), refresh=True)
                painted = anyio.current_time()
                if not any(one.status == "running" for one in seen):
                    return
            await anyio.sleep(_LOOK)


@contextmanager
def _keys() -> Iterator[Callable[[str], bool]]:
    """Whether a key has been pressed since the last time; never where stdin is no terminal. Ctrl-C stays what it is."""
    if not sys.stdin.isatty():
        yield lambda _key: False
        return
    import select
    import termios
    import tty

    stdin = sys.stdin.fileno()
    before = termios.tcgetattr(stdin)

    def pressed(key: str) -> bool:
        import os

        found = False
        while select.select([stdin], [], [], 0)[0]:
            read = os.read(stdin, 64)
            if not read:
                break
            found = found or key.encode() in read.lower()
        return found

    try:
        tty.setcbreak(stdin)
        yield pressed
    finally:
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)
