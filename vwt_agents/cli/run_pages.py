"""`runs report`, `runs trace`, `runs top`: a run as a page, as a trace, and while it goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vwt_agents.cli.options import emit_json, run_async, terminal_width
from vwt_agents.printable import printable

if TYPE_CHECKING:
    from vwt_agents.entries import RunRecord

__all__ = ["report", "trace", "write"]


@click.command()
@click.argument("run")
@click.option(
    "--html", "page", type=click.Path(path_type=Path), metavar="FILE", help="Write the page there; - for stdout."
)
@click.option("--open", "show", is_flag=True, help="Write report.html into the run's folder, and open it in a browser.")
@click.option("--unpacked", is_flag=True, help="A longer page, for browsers older than 2023.")
def report(run: str, page: Path | None, show: bool, unpacked: bool) -> int:
    """Print a run's report, or make its page anew from the journal, also while it is running or after it was killed."""
    if page is None and not show:
        return _print_report(run)
    from vwt_agents.app.pages import page_of
    from vwt_agents.journal import JournalReader

    async def work() -> tuple[RunRecord, str]:
        record = await JournalReader().run(run)
        return record, await page_of(JournalReader(), record.id, packed=not unpacked)

    record, text = run_async(work)
    target = page if page is not None else Path(record.out_dir) / "report.html"
    if str(target) == "-":
        click.echo(text, nl=False)
    else:
        click.echo(write(target, text))
    if show:
        click.launch(target.absolute().as_uri())
    return 0


def _print_report(run: str) -> int:
    from vwt_agents.errors import UsageError
    from vwt_agents.journal import JournalReader

    async def work() -> RunRecord:
        return await JournalReader().run(run)

    record = run_async(work)
    path = Path(record.out_dir) / "report.md"
    if not path.exists():
        raise UsageError(
            f"run {record.id} has no report at {path}: its folder was moved or deleted, or it never ended",
            hint=f"`runs report {record.id} --html report.html` makes a page from the journal",
        )
    text = path.read_text(encoding="utf-8")
    click.echo(text if terminal_width() is None else printable(text), nl=False)
    return 0


def write(path: Path, text: str) -> Path:
    """Write a file, whole or not at all, where a link leads if it is one; folders that are not there are made. UsageError
    where it can't be.

    What is there and is no file, a device or a pipe, is written to: a whole file takes the place of what was there, which
    root may do to /dev/null.
    """
    from vwt_agents.errors import UsageError
    from vwt_agents.run import RunFolder

    target = path.resolve() if path.exists() else path.absolute()
    if not target.exists() or target.is_file() or target.is_dir():
        RunFolder(target.parent).write(target.name, text)
        target.touch()  # also where it had this text: who watches a file sees by its time that it is of now
        return target
    try:
        target.write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror}", hint="name a file") from error
    return target


@click.command()
@click.argument("run")
@click.option(
    "--out", type=click.Path(path_type=Path), default="-", metavar="FILE", help="Where to; stdout when left out."
)
def trace(run: str, out: Path) -> int:
    """Write a run as a trace for https://ui.perfetto.dev (or chrome://tracing): stages, slots, loads, memory, queues."""
    from datetime import UTC, datetime

    from vwt_agents.journal import JournalReader
    from vwt_agents.report import trace_of

    async def work() -> dict[str, object]:
        record = await JournalReader().run(run)
        return trace_of(record, await JournalReader().entries(record.id), datetime.now(UTC))

    made = run_async(work)
    if str(out) == "-":
        emit_json(made)
    else:
        click.echo(write(out, json.dumps(made, separators=(",", ":")) + "\n"))
    return 0
