"""`runs gc`, `runs check` and `runs repair`: looking after the journal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from vwt_agents.cli.options import duration, emit_json, run_async

if TYPE_CHECKING:
    from vwt_agents.journal.checking import Report
    from vwt_agents.journal.pruning import Pruned
    from vwt_agents.journal.repair import Repaired

__all__ = ["check", "gc", "repair"]

_SHOWN = 20


def _ago(text: str) -> datetime:
    """When it was so long ago."""
    try:
        return datetime.now(UTC) - timedelta(seconds=duration(text, zero=True))
    except OverflowError as error:
        raise click.BadParameter(f"{text} ago there was no calendar") from error


@click.command("gc")
@click.option("--keep", type=click.IntRange(min=0), metavar="N", help="Never prune the newest N runs.")
@click.option(
    "--older-than",
    "before",
    type=_ago,
    metavar="TIME",
    help="Prune only what ended that long ago, such as 30d.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def gc(keep: int | None, before: datetime | None, dry_run: bool, as_json: bool) -> int:
    """Prune old runs from the journal and give their space back.

    Without --keep and --older-than no run goes, only what no run refers to. A running run always stays, and one that a
    run that stays was forked from. What runs have delivered is left alone.
    """
    from anyio import to_thread

    from vwt_agents.journal import default_path
    from vwt_agents.journal.pruning import prune

    async def work() -> Pruned:
        return await to_thread.run_sync(lambda: prune(default_path(), keep=keep, before=before, dry_run=dry_run))

    pruned = run_async(work)
    if as_json:
        emit_json(pruned)
        return 0
    word = "would prune" if dry_run else "pruned"
    what = _counted(run=len(pruned.runs), entry=pruned.entries, value=pruned.contents, file=pruned.files)
    click.echo(f"{word} {what}: {pruned.freed_bytes / 1e6:.1f} MB")
    for run, why in pruned.kept.items():
        click.echo(f"kept {run}: {why}")
    if pruned.note:
        click.echo(f"note: {pruned.note}", err=True)
    return 0


@click.command("check")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(as_json: bool) -> int:
    """Say whether the journal is sound: its pages, its log, every entry and every value. Exit code 1 where it is not."""
    from anyio import to_thread

    from vwt_agents.journal import default_path
    from vwt_agents.journal.checking import check as check_journal

    async def work() -> Report:
        return await to_thread.run_sync(check_journal, default_path())

    report = run_async(work)
    if as_json:
        emit_json({"sound": report.sound, **_fields(report)})
    else:
        what = _counted(run=report.runs, entry=report.entries, value=report.contents)
        click.echo(f"{report.path}: {'sound' if report.sound else 'DAMAGED'} ({what})")
        _tell("", [(one.where, one.what) for one in report.damage])
        if report.unused:
            click.echo(
                f"used by no run: {_counted(value=report.unused)}; give the space back: python -m vwt_agents runs gc"
            )
        if not report.sound:
            click.echo("save the rest of it: python -m vwt_agents runs repair")
    return 0 if report.sound else 1


@click.command("repair")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def repair(as_json: bool) -> int:
    """Make a damaged journal anew from all that can be read of it; the damaged file is kept beside it.

    Exit code 1 where something was lost; what, is said for each run.
    """
    from anyio import to_thread

    from vwt_agents.journal import default_path
    from vwt_agents.journal.repair import repair as repair_journal

    async def work() -> Repaired:
        return await to_thread.run_sync(repair_journal, default_path(), datetime.now(UTC))

    repaired = run_async(work)
    if as_json:
        emit_json(repaired)
    elif repaired.kept_as is None:
        click.echo(f"{repaired.path}: sound, nothing to repair")
    else:
        click.echo(f"{repaired.path}: saved {_counted(run=repaired.runs, entry=repaired.entries)}")
        _tell("lost: ", [(one.where, one.what) for one in repaired.lost])
        click.echo(f"the damaged file is kept: {repaired.kept_as}")
    return 1 if repaired.lost else 0


def _counted(**numbers: int) -> str:
    from vwt_agents.render.tables import counted

    return ", ".join(counted(number, noun) for noun, number in numbers.items())


def _fields(report: Report) -> dict[str, object]:
    from dataclasses import asdict

    return asdict(report)


def _tell(word: str, faults: list[tuple[str, str]]) -> None:
    for where, what in faults[:_SHOWN]:
        click.echo(f"  {word}{where}: {what}")
    if len(faults) > _SHOWN:
        click.echo(f"  and {len(faults) - _SHOWN} more: --json shows them all")
