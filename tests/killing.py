"""Runs that are killed at random moments and gone on with until they end, and what has to be true of them each time."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serving_in_a_thread import in_a_thread

from vwt_agents.entries import RunRecord, read_call
from vwt_agents.errors import UsageError
from vwt_agents.journal import JournalReader
from vwt_agents.testing import OllamaServer, ServedModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Asked = Counter[str]

CONFIG = """
[budget]
cpu = "4 GiB"
[endpoints.here]
kind = "ollama"
url = "{url}"
device = "cpu"
parallel = 4
[tiers.small]
endpoint = "here"
models = ["small:1b", "other:1b"]
num_ctx = 4096
[tiers.large]
endpoint = "here"
models = ["large:2b"]
num_ctx = 4096
[agents.coder]
task = "code"
[agents.tester]
model = "other:1b"
[agents.reviewer]
"""
MODELS = {"small:1b": ServedModel(300), "other:1b": ServedModel(300), "large:2b": ServedModel(600)}

TRIMMED = '''
"""What codegen does, less the sandbox: parts side by side, samples, a loop of attempts, files."""

from dataclasses import dataclass

from vwt_agents import Agent, Pipeline, Run

pipeline = Pipeline("trimmed", doc="Codegen without a sandbox.", defaults={"task": "add two numbers"})


@dataclass(frozen=True)
class Judged:
    passed: bool
    tests_passed: int


@pipeline.stage
async def brief(task: str) -> list[str]:
    return [f"{task}, part {number}" for number in range(3)]


@pipeline.stage(each={"part": "brief"})
async def drafts(coder: Agent, part: str) -> str:
    return await coder.ask(f"Write it: {part}.")


@pipeline.stage
async def tests(tester: Agent, task: str) -> list[str]:
    return await tester.sample(f"Write a test for: {task}.", n=2)


@pipeline.stage
async def proven(coder: Agent, run: Run, drafts: list[str], tests: list[str]) -> str:
    best = drafts[0]
    async for attempt in run.attempts(3):
        best = await coder.ask(f"Repair it, attempt {attempt.number}.", given=[best[:300], *(t[:100] for t in tests)])
        await attempt.record(Judged(attempt.number == 3, attempt.number))
    return best


@pipeline.stage
async def review(reviewer: Agent, proven: str) -> str:
    return await reviewer.ask("Name its faults.", given=[proven[:500]])


@pipeline.stage
async def deliver(run: Run, proven: str, review: str) -> list[str]:
    files = {"module.py": proven * 40, "parts/notes.md": review * 40}
    return [path.name for path in await run.deliver(files)]
'''

ROMAN = """ values = [(1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"), (40, "XL"),
              (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")]
    if not 1 <= number <= 3999:
        raise ValueError(number)
    out = ""
    for value, sign in values:
        while number >= value:
            out, number = out + sign, number - value
    return out
"""
WRONG = " return 'I' * number\n"
TESTS = "".join(
    f'{name}() -> None:\n    assert to_roman({number}) == "{roman}"\n\n\ndef test_'
    for name, number, roman in (("one", 1, "I"), ("six", 6, "VI"), ("forty", 40, "XL"), ("year", 2024, "MMXXIV"))
)


def words(body: dict[str, Any]) -> list[str]:
    """A long answer that only depends on what was asked, in pieces."""
    seed = hashlib.sha256(asked_of_body(body).encode()).hexdigest()
    return [f"{seed[:6]} line {number} of the answer\n" for number in range(60)]


def roman(body: dict[str, Any]) -> list[str]:
    """What codegen needs: a draft that is wrong, tests, the right code once it is asked for with other words."""
    said = json.dumps(body["messages"])
    if "six short pytest tests" in said:
        return [TESTS]
    if "Name at most three faults" in said:
        return ["None ", "found."]
    code = WRONG if body["options"].get("temperature") == 0.0 else ROMAN
    whole = body["messages"][-1]["content"] == "```python\n"
    return [f"def to_roman(number: int) -> str:\n   {code}" if whole else code]


def asked_of_body(body: dict[str, Any]) -> str:
    """What tells one request from another, as the server sees it."""
    texts = [message["content"] for message in body["messages"]]
    return json.dumps([body["model"], texts, body["options"].get("seed"), body["options"].get("temperature")])


def asked_of_entry(entry: Any) -> str:
    """The same, as the journal has it."""
    request, _ = read_call(entry)
    texts = [message.content for message in request.messages]
    return json.dumps([request.model, texts, request.options.seed, request.options.temperature])


@dataclass
class Place:
    """A folder with a pipeline, agents.toml, a state of its own, and the server that answers."""

    folder: Path
    pipeline: str
    server: OllamaServer
    outputs: Any = None
    files: dict[str, bytes] = field(default_factory=dict)
    all_asked: Asked = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def reader(self) -> JournalReader:
        return JournalReader(self.folder / "state" / "journal.db")

    def environment(self) -> dict[str, str]:
        own = {"VWT_STATE": str(self.folder / "state"), "VWT_LEDGER": str(self.folder / "ledger")}
        return {**os.environ, **own, "PYTHONDONTWRITEBYTECODE": "1"}

    def clear(self) -> None:
        """As if nothing had ever run here."""
        subprocess.run(["rm", "-rf", "state", "ledger", "made"], cwd=self.folder, check=True)

    def start(self, *, resume: bool, wrapped: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """The command that begins the run, or goes on with it."""
        words = ["runs", "resume", "last"] if resume else ["run", self.pipeline, "--out", "made"]
        return subprocess.Popen(
            [*wrapped, sys.executable, "-m", "vwt_agents", *words, "--json", "--quiet"],
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def undisturbed(self) -> None:
        """Run once, and remember what came of it."""
        for _ in range(10):  # a machine with much else to do may let the server seem dead: exit code 3
            self.clear()
            self.server.calls.clear()
            began = time.monotonic()
            out, err = (process := self.start(resume=False)).communicate()
            self.seconds = time.monotonic() - began
            if process.returncode != 3:
                break
        assert process.returncode == 0, err + out
        self.outputs = json.loads(out)["outputs"]
        self.files = self.delivered()
        self.all_asked = Counter(map(asked_of_body, self.server.calls))

    def delivered(self) -> dict[str, bytes]:
        """The files that the run has delivered so far."""
        names = {"log.jsonl", "report.md", "result.json"}
        made = self.folder / "made"
        return {
            str(path.relative_to(made)): path.read_bytes()
            for path in sorted(made.rglob("*"))
            if path.is_file() and not path.name.startswith(".") and path.name not in names and path.suffix != ".html"
        }

    def ended(self) -> dict[str, Any] | None:
        """The result of the run that ended well last; None where none has."""

        async def read() -> RunRecord:
            return await self.reader.run("last")

        try:
            record = asyncio.run(read())
        except UsageError:
            return None
        return json.loads(record.summary) if record.status == "good" and record.summary else None

    def journaled(self) -> Asked | None:
        """The calls whose answers are in the journal; None where no run has been begun."""

        async def read() -> Asked | None:
            try:
                entries = await self.reader.entries("last", kind="call")
            except UsageError:
                return None
            return Counter(asked_of_entry(entry) for entry in entries if entry.status == "done")

        return asyncio.run(read())

    def holds(self, *, before: Asked | None, known: Asked | None) -> None:
        """What has to be true after each end: nothing journaled was asked again, no file is half there."""
        asked = Counter(map(asked_of_body, self.server.calls))
        left = self.all_asked - (before or Counter())
        assert not asked - left, f"asked again, though journaled: {asked - left}"
        assert known is None or known >= (before or Counter()), "the journal has lost an answer"
        for name, data in self.delivered().items():
            assert data == self.files[name], f"{name} is half written"

    def ended_well(self, result: dict[str, Any]) -> None:
        """The same as an undisturbed run."""
        assert result["outputs"] == self.outputs
        assert self.delivered() == self.files


def killed_until_it_ends(place: Place, random_: random.Random, most: int) -> int:
    """Begin a run, kill it at random moments at most so often, and let it end; how often it was killed."""
    place.clear()
    kills, slow, known = 0, 0, None
    while True:
        place.server.calls.clear()
        process = place.start(resume=known is not None)
        wait = moment(place, random_, process) if kills < most else None
        before = known
        if wait is not None:
            wait()
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        died = process.returncode == -signal.SIGKILL
        known = place.journaled()
        place.holds(before=before, known=known)
        kills += died
        if not died:  # a machine with much else to do may let the server seem dead: that run is gone on with, too
            assert process.returncode in {0, 3}, err + out
            slow += process.returncode == 3
            assert slow < 10, err + out
        if (result := place.ended()) is not None:  # also where it was killed after its last word
            place.ended_well(result)
            return kills


def full_until_it_ends(place: Place, random_: random.Random, most: int) -> int:
    """Begin a run on a disk that is nearly full, go on with it there so often, then with room; how often it was full.

    The place is to be a small file system of its own. Each time the command says so with exit code 3 (2, where it is a
    file of the pipeline's that had no room), without a traceback, and what the journal had is still there.
    """
    place.clear()
    filler = place.folder / "filler"
    times, known = 0, None
    while True:
        if times < most:
            free = os.statvfs(place.folder)
            left = random_.randrange(0, 700_000)
            with filler.open("wb") as file:
                file.write(b"\0" * max(0, free.f_bavail * free.f_frsize - left))
        place.server.calls.clear()
        process = place.start(resume=known is not None)
        before = known
        out, err = process.communicate()
        filler.unlink(missing_ok=True)
        assert "Traceback" not in err + out, err
        assert process.returncode in {0, 3}, (process.returncode, err + out)
        known = place.journaled()
        place.holds(before=before, known=known)
        if process.returncode == 0:
            result = place.ended()
            assert result is not None
            place.ended_well(result)
            return times
        said = err + out
        assert any(word in said for word in ("full", "No space left", "room", "disk I/O")), said
        times += 1


def moment(place: Place, random_: random.Random, process: subprocess.Popen[str]) -> Callable[[], None]:
    """A wait until some moment of the run: after a part of its time, or a little after some call has been asked for."""
    if random_.random() < 0.3:
        return lambda: time.sleep(random_.uniform(0.0, 1.2) * place.seconds)
    calls, more = random_.randrange(0, place.all_asked.total() + 1), random_.expovariate(1 / 0.02)

    def wait() -> None:
        until = time.monotonic() + 3 * place.seconds
        while len(place.server.calls) < calls and process.poll() is None and time.monotonic() < until:
            time.sleep(0.002)
        time.sleep(more)

    return wait


@contextmanager
def a_place(folder: Path, pipeline: str = "trimmed.py", *, piece_s: float = 0.0002) -> Iterator[Place]:
    """A folder where a pipeline has run once, undisturbed."""
    folder.mkdir(parents=True, exist_ok=True)
    trimmed = pipeline == "trimmed.py"
    text = TRIMMED if trimmed else Path(__file__).parent.with_name("pipelines").joinpath(pipeline).read_text()
    (folder / pipeline).write_text(text)
    with in_a_thread(lambda: OllamaServer(MODELS, words if trimmed else roman, parallel=4)) as server:
        server.piece_s = piece_s
        (folder / "agents.toml").write_text(CONFIG.format(url=server.url))
        place = Place(folder, pipeline, server)
        place.undisturbed()
        yield place


def main(folder: str, seed: str, times: str) -> None:
    """In a file system of its own: disks that are full, so many times; prints how often that was."""
    random_, full = random.Random(seed), 0
    with a_place(Path(folder) / "place") as place:
        while full < int(times):
            full += full_until_it_ends(place, random_, 4)
    sys.stdout.write(f"{full}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
