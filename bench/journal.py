"""What the journal takes and how fast it is.

python bench/journal.py [--runs 10000] [--only size|append|list|files] [--json]

size    bytes of journal per stage beyond its value (1,000 stages that give a number), and the whole journal, log and files
        included, of a real run of 40 stages that give 200 kB in all: program text, and random letters. At its end, and at
        its largest while it runs.
append  entries a second, each awaited before the next, and 256 of them side by side; next to the same rows in a one-table
        SQLite file in WAL/NORMAL.
list    seconds of `runs list --limit N` as a process, next to a bare Python and to `--version`, and of its query alone, for so
        many runs with entries; then `runs gc --keep 100` and `runs check` over them.
files   ms to keep and to drop one value, as a blob in the database and as a file beside it, by size: why 64 KiB.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vwt_agents.board import Board
from vwt_agents.config import SchedulerSettings, Settings
from vwt_agents.entries import Entry, call_entry, fingerprint
from vwt_agents.graph import Graph, build_graph
from vwt_agents.journal import Journal, JournalReader
from vwt_agents.journal.contents import ContentFiles
from vwt_agents.journal.pruning import journal_bytes
from vwt_agents.messages import Message, Options, Request, Response, Usage
from vwt_agents.pipeline import Pipeline
from vwt_agents.routing import Plan
from vwt_agents.run import RunFolder
from vwt_agents.runner import Runner

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

STAGES = 40
OUTPUT = 5000  # bytes a stage
REQUEST = Request(
    "small",
    "qwen2.5-coder:7b",
    (Message("system", "You are a careful programmer."), Message("user", "Write add(a, b), with a docstring.")),
    num_ctx=4096,
    options=Options(seed=7, temperature=0.2),
    labels={"run": "r", "stage": "draft", "agent": "coder", "tier": "small", "attempt": "0"},
)
RESPONSE = Response("def add(a, b):\n    return a + b\n", "qwen2.5-coder:7b", "small", usage=Usage(31, 12))

Rows = list[dict[str, Any]]


def row(what: str, ours: float, unit: str, *, bare: float | None = None, aim: str = "") -> dict[str, Any]:
    """One figure."""
    return {"what": what, "ours": round(ours, 4), "unit": unit, "bare": bare and round(bare, 4), "aim": aim}


# -- size ---------------------------------------------------------------------------------------------------------------


def program_text() -> list[str]:
    """40 pieces of this package's own source, none like another."""
    source = "".join(path.read_text() for path in sorted(Path(__file__).parents[1].glob("vwt_agents/*.py")))
    return [source[start : start + OUTPUT] for start in range(0, STAGES * OUTPUT, OUTPUT)]


def random_letters() -> list[str]:
    """Text that hardly packs."""
    random_ = random.Random(1)
    return ["".join(random_.choices("abcdefghijklmnopqrstuvwxyz0123456789 \n", k=OUTPUT)) for _ in range(STAGES)]


def forty(outputs: list[str]) -> Graph:
    """A chain of stages that give these."""
    pipeline, made = Pipeline("forty"), {"outputs": outputs}
    for number in range(len(outputs)):
        before = f"s{number - 1}: str" if number else ""
        exec(f"async def s{number}({before}) -> str:\n    return outputs[{number}]", made)
        pipeline.stage(made[f"s{number}"])  # type: ignore[arg-type]
    return build_graph(pipeline, agents=[])


async def a_run(path: Path, outputs: list[str]) -> tuple[int, int]:
    """Bytes of a journal with one run of these: at its end, and the most there were."""
    settings = Settings(None, {}, {}, {}, scheduler=SchedulerSettings())
    plan = Plan(promoted=False, tier="small", reason="", routes={}, specs=())
    most = 0
    async with Journal.open(path) as journal:
        run = await journal.new_run("forty", inputs='{"values":{}}')
        made: dict[str, Any] = {"caller": None, "journal": journal, "folder": RunFolder(Path()), "services": {}}
        values = await Runner(forty(outputs), plan, settings, run_id=run, board=Board(), **made).run({})
        summary = json.dumps(
            {"outputs": {"last": values[f"s{STAGES - 1}"]}, "stages": [{"name": f"s{n}"} for n in range(40)]}
        )
        await journal.finish_run(run, "good", exit_code=0, summary=summary)
        most = journal_bytes(path)
    return journal_bytes(path), most


async def size(_runs: int) -> Rows:
    """Bytes."""
    rows: Rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stages.db"
        async with Journal.open(path) as journal:
            run = await journal.new_run("p")
        empty = journal_bytes(path)
        payload = 0
        async with Journal.open(path) as journal:
            for number in range(1000):
                value = json.dumps({"n": number})
                payload += len(value)
                await journal.append(
                    Entry(run, "stage", "draft", fingerprint=fingerprint(number), seconds=0.1, payload=value),
                    at_once=True,
                )
        rows.append(
            row("a stage, beyond its value", (journal_bytes(path) - empty - payload) / 1000, "bytes", aim="<= 400")
        )
        for what, outputs in (("program text", program_text()), ("random letters", random_letters())):
            end, most = await a_run(Path(folder) / f"{what}.db", outputs)
            rows.append(row(f"run of 40 stages, 200 kB of {what}", end / 1e6, "MB", aim="< 0.4"))
            rows.append(row("  with its log, before it is closed", most / 1e6, "MB"))
    return rows


# -- append -------------------------------------------------------------------------------------------------------------


async def rate(work: Callable[[], Awaitable[object]], count: int) -> float:
    """Entries a second, each awaited."""
    began = time.perf_counter()
    for _ in range(count):
        await work()
    return count / (time.perf_counter() - began)


async def append(_runs: int) -> Rows:
    """Rates, interleaved with the bare ones."""
    taken: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        bare = sqlite3.connect(Path(folder) / "bare.db", isolation_level=None)
        bare.execute("PRAGMA journal_mode = WAL")
        bare.execute("PRAGMA synchronous = NORMAL")
        bare.execute("CREATE TABLE done (id INTEGER PRIMARY KEY, run TEXT, value BLOB)")
        async with Journal.open(Path(folder) / "journal.db") as journal:
            run = await journal.new_run("p")
            stage = Entry(run, "stage", "draft", fingerprint="ab" * 32, seconds=0.1, payload="12")
            long = "".join(program_text())[:20_000]

            async def one(entry: Entry) -> None:
                await journal.append(entry, at_once=True)

            async def call() -> None:
                await journal.append(call_entry(run, REQUEST, RESPONSE, name="draft", seconds=0.1), at_once=True)

            async def by_sqlite(value: bytes) -> None:
                bare.execute("INSERT INTO done (run, value) VALUES (?, ?)", (run, value))

            async def many() -> None:
                await asyncio.gather(*(journal.append(stage) for _ in range(256)))

            def different() -> Entry:
                return Entry(run, "stage", "draft", payload=f"{random.random()}{long}")

            for turn in range(6):
                for what, work, count in (
                    ("stage", partial(one, stage), 500),
                    ("call", call, 500),
                    ("20 kB", lambda: one(different()), 30),
                    ("bare stage", partial(by_sqlite, b"12"), 500),
                    ("bare 20 kB", partial(by_sqlite, long.encode()), 30),
                ):
                    taken.setdefault(what, []).append(await rate(work, count))
                taken.setdefault("many", []).append(256 * await rate(many, 4))
                if not turn:
                    taken.clear()
        bare.close()
    median = {what: statistics.median(times) for what, times in taken.items()}
    return [
        row("stages, one after the other", median["stage"], "a second", bare=median["bare stage"]),
        row("calls with short texts, one after the other", median["call"], "a second", bare=median["bare stage"]),
        row("stages, 256 side by side", median["many"], "a second"),
        row("stages that give 20 kB of program text", median["20 kB"], "a second", bare=median["bare 20 kB"]),
    ]


# -- list ---------------------------------------------------------------------------------------------------------------


async def fill(path: Path, runs: int) -> None:
    """So many runs, each with entries and values of its own."""
    async with Journal.open(path) as journal:

        async def one(number: int) -> None:
            run = await journal.new_run(
                "codegen", inputs=json.dumps({"task": f"task {number} " * 50}), out_dir=f"/runs/{number}"
            )
            await journal.append(Entry(run, "stage", "draft", payload=f"value {number} " * 300))
            await journal.finish_run(
                run, "good", exit_code=0, summary=json.dumps({"outputs": f"output {number} " * 300})
            )

        for start in range(0, runs, 250):
            await asyncio.gather(*(one(number) for number in range(start, min(runs, start + 250))))


def process(path: Path, *arguments: str) -> float:
    """Wall seconds, the median of five."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        environment = {**os.environ, "VWT_STATE": str(path.parent)}
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=environment)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


async def listing(runs: int) -> Rows:
    """Seconds."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.db"
        await fill(path, runs)
        command = ["-m", "vwt_agents"]
        times = []
        for _ in range(5):
            began = time.perf_counter()
            assert len(await JournalReader(path).list_runs(runs)) == runs
            times.append(time.perf_counter() - began)
        size = journal_bytes(path) / 1e6
        bare, version = process(path, "-c", "pass"), process(path, *command, "--version")
        rows = [
            row(
                f"runs list --limit {runs}, of {size:.0f} MB",
                process(path, *command, "runs", "list", "--limit", str(runs)),
                "s",
                bare=bare,
                aim="< 0.3",
            ),
            row("runs list (the newest 20)", process(path, *command, "runs", "list"), "s", bare=bare),
            row("--version", version, "s", bare=bare),
            row(f"list_runs({runs}) alone", statistics.median(times), "s"),
        ]
        for words in (["check"], ["gc", "--keep", "100"]):
            began = time.perf_counter()
            process_once(path, *command, "runs", *words)
            rows.append(row(f"runs {' '.join(words)}, of {runs} runs", time.perf_counter() - began, "s"))
        rows.append(row("the journal after gc", journal_bytes(path) / 1e6, "MB"))
        return rows


def process_once(path: Path, *arguments: str) -> None:
    """Run it."""
    environment = {**os.environ, "VWT_STATE": str(path.parent)}
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=environment)


# -- files --------------------------------------------------------------------------------------------------------------


async def files(_runs: int) -> Rows:
    """ms a value; a blob is ours, bare is a file, so that a ratio above 1 speaks for files."""
    rows: Rows = []
    for kib in (4, 16, 64, 256, 1024, 4096):
        count = max(8, min(100, 16_384 // kib))
        with tempfile.TemporaryDirectory() as folder:
            keep = {kind: _kept(Path(folder), kind, kib * 1024, count) for kind in ("blob", "file")}
        for what, index in (("keep", 0), ("drop and give back", 1)):
            rows.append(row(f"{kib} KiB: {what}, blob over file", keep["blob"][index], "ms", bare=keep["file"][index]))
    return rows


def _kept(folder: Path, kind: str, size: int, count: int) -> tuple[float, float]:
    connection = sqlite3.connect(folder / f"{kind}.db", isolation_level=None)
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("CREATE TABLE kept (n INTEGER PRIMARY KEY, digest BLOB UNIQUE, data BLOB)")
    beside = ContentFiles(folder / f"{kind}.db")
    values = [os.urandom(size) for _ in range(count)]
    began = time.perf_counter()
    for value in values:
        digest = sha256(value).digest()
        if kind == "file":
            beside.write(digest, value)
        connection.execute("INSERT INTO kept (digest, data) VALUES (?, ?)", (digest, value if kind == "blob" else b""))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    kept = time.perf_counter() - began
    began = time.perf_counter()
    for (digest,) in connection.execute("SELECT digest FROM kept WHERE n % 2").fetchall():
        connection.execute("DELETE FROM kept WHERE digest = ?", (digest,))
        if kind == "file":
            beside.path(digest).unlink()
    connection.execute("PRAGMA incremental_vacuum").fetchall()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    dropped = time.perf_counter() - began
    connection.close()
    return kept / count * 1e3, dropped / (count // 2) * 1e3


PARTS = {"size": size, "append": append, "list": listing, "files": files}


def main() -> None:
    """Measure, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--only", choices=PARTS)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows: Rows = []
    for name, part in PARTS.items():
        if given.only in {None, name}:
            rows += asyncio.run(part(given.runs))
    if given.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{'':52} {'ours':>10} {'bare':>10} {'ratio':>7} {'aim':>8}")
    for one in rows:
        bare = f"{one['bare']:10.3f} {one['ours'] / one['bare']:6.2f}x" if one["bare"] else " " * 18
        print(f"{one['what']:52} {one['ours']:10.3f} {bare} {one['aim']:>8} {one['unit']}")


if __name__ == "__main__":
    main()
