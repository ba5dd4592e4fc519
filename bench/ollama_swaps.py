"""Two models that do not fit together on an Ollama of yours: agents as a pipeline here, and as they are usually written.

python bench/ollama_swaps.py CODER REVIEWER --budget "800 MiB" [--url URL] [--parallel 4] [--rounds 3] [--json]

Start the server with OLLAMA_MAX_LOADED_MODELS=1, so that it holds one of the two, and give a budget that holds one: `plan`
shows what each takes. Four tasks, each a chain of four calls to CODER and REVIEWER in turn. Two tasks begin with the one, two
with the other, and their answers have 16, 32, 48 and 64 tokens: so they are out of phase.

- `naive`: four coroutines under one `asyncio.gather`, with the `ollama` package's client, each asking its next question
  once the last one is answered. They all say the same `num_ctx`, so nothing is loaded again for that.
- `ours`: a pipeline of sixteen stages, run as `python -m vwt_agents run` does: probe, plan, journal and report are in the time.

Both ask the same 16 prompts, greedy, and the script fails where the tokens read or written differ. Each begins with nothing in
the server's memory; the order alternates from round to round; figures are medians. Loads are counted by looking at /api/ps
twenty times a second: a model that was not there, or left, has been loaded when it is seen. One round of ours comes first and
is not counted: from it the pipeline's habits are known, as in any second run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import ollama

from vwt_agents.app import App, Job
from vwt_agents.endpoints.address import canonical, server_url

NUM_CTX = 2048
TASKS = {  # the task, and how many tokens its answers may have
    "a queue with a limit": 16,
    "a cache that forgets": 32,
    "a retry with pauses": 48,
    "a log that only grows": 64,
}
STEPS = ("Write {task}.", "What may go wrong with {task}?", "Write {task}, with a test.", "How is {task} tested?")

AGENTS_TOML = """
[budget]
cpu = "{budget}"
gpu0 = "{budget}"
[endpoints.here]
kind = "ollama"
url = "{url}"
parallel = {parallel}
[tiers.small]
endpoint = "here"
models = ["{coder}", "{reviewer}"]
num_ctx = {num_ctx}
[routing]
substitute = false
[licences]
accept = ["{coder}", "{reviewer}"]
"""
AGENT = """
[agents.{name}]
model = "{model}"
options = {{ temperature = 0.0 }}
"""
PIPELINE = """
from vwt_agents import Agent, Pipeline
pipeline = Pipeline("ollama_swaps")
"""
STAGE = """
@pipeline.stage
async def {name}({agent}: Agent{after}) -> str:
    return await {agent}.ask({prompt!r}, num_predict={tokens})
"""


@dataclass(frozen=True, slots=True)
class Round:
    """What one way took: seconds, loads, and the tokens that were read and written, by which the two are known to be equal."""

    seconds: float
    loads: int
    read: int
    written: int


class Watch:
    """Counts the loads on a server by what its /api/ps shows, for the length of the block."""

    def __init__(self, url: str) -> None:
        self.loads = 0
        self._url = url
        self._there: set[str] = set()

    async def __aenter__(self) -> Watch:
        self._task = asyncio.ensure_future(self._looking())
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _looking(self) -> None:
        async with httpx.AsyncClient(base_url=self._url, timeout=60, trust_env=False) as http:
            while True:
                now = await names(http)
                self.loads += len(now - self._there)
                self._there = now
                await asyncio.sleep(0.05)


async def names(http: httpx.AsyncClient) -> set[str]:
    """The models in the server's memory."""
    return {one["name"] for one in (await http.get("/api/ps")).json()["models"]}


async def empty(url: str) -> None:
    """Have every model leave the server's memory."""
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as http:
        while there := await names(http):
            for model in there:
                await http.post("/api/generate", json={"model": model, "keep_alive": 0})
            await asyncio.sleep(0.1)


def chains() -> list[tuple[int, list[tuple[int, str]]]]:
    """Each task's tokens, and its calls in their order: which of the two models, and the prompt."""
    return [
        (tokens, [((index + step) % 2, words.format(task=task)) for step, words in enumerate(STEPS)])
        for index, (task, tokens) in enumerate(TASKS.items())
    ]


async def naive(url: str, models: tuple[str, str]) -> Round:
    """The tasks as coroutines that know nothing of one another."""
    client = ollama.AsyncClient(url)
    read = written = 0

    async def chain(tokens: int, calls: list[tuple[int, str]]) -> None:
        nonlocal read, written
        for which, prompt in calls:
            options = {"num_ctx": NUM_CTX, "temperature": 0.0, "num_predict": tokens}
            answer = await client.chat(models[which], [{"role": "user", "content": prompt}], options=options)
            read += answer.prompt_eval_count or 0
            written += answer.eval_count or 0

    async with Watch(url) as watch:
        began = time.perf_counter()
        await asyncio.gather(*(chain(*each) for each in chains()))
        seconds = time.perf_counter() - began
    return Round(seconds, watch.loads, read, written)


async def ours(url: str, folder: Path) -> Round:
    """The same tasks as a pipeline."""
    async with Watch(url) as watch:
        began = time.perf_counter()
        result = await App().run(Job(folder / "pipeline.py", config=folder / "agents.toml", out=folder / "out"))
        seconds = time.perf_counter() - began
    if result.status != "good":
        raise SystemExit(f"our run was {result.status}: {result.error}")
    if watch.loads != result.loads:
        raise SystemExit(
            f"{watch.loads} loads were seen, the run counted {result.loads}: somebody else uses that server"
        )
    return Round(
        seconds,
        watch.loads,
        sum(stage.prompt_tokens for stage in result.stages),
        sum(stage.output_tokens for stage in result.stages),
    )


def write_pipeline(folder: Path, url: str, models: tuple[str, str], *, budget: str, parallel: int) -> None:
    """The pipeline and its agents.toml."""
    coder, reviewer = models
    text = AGENTS_TOML.format(
        budget=budget, url=url, parallel=parallel, coder=coder, reviewer=reviewer, num_ctx=NUM_CTX
    )
    text += AGENT.format(name="coder", model=coder) + AGENT.format(name="reviewer", model=reviewer)
    stages = PIPELINE
    for task, (tokens, calls) in enumerate(chains()):
        for number, (which, prompt) in enumerate(calls):
            agent, after = ("coder", "reviewer")[which], f", step_{task}_{number - 1}: str" if number else ""
            stages += STAGE.format(name=f"step_{task}_{number}", agent=agent, after=after, prompt=prompt, tokens=tokens)
    (folder / "agents.toml").write_text(text)
    (folder / "pipeline.py").write_text(stages)


async def compare(url: str, models: tuple[str, str], folder: Path, rounds: int) -> dict[str, list[Round]]:
    """The rounds of both, in alternating order."""
    await empty(url)
    await ours(url, folder)
    found: dict[str, list[Round]] = {"naive": [], "ours": []}
    for number in range(rounds):
        for way in ("naive", "ours") if number % 2 == 0 else ("ours", "naive"):
            await empty(url)
            found[way].append(await (naive(url, models) if way == "naive" else ours(url, folder)))
    await empty(url)
    spent = {(one.read, one.written) for each in found.values() for one in each}
    if len(spent) > 1:
        raise SystemExit(f"the two were not the same work: tokens read and written {sorted(spent)}")
    return found


async def main() -> None:
    """Print the medians, and what they are medians of."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs=2)
    parser.add_argument("--budget", required=True)
    parser.add_argument("--url")
    parser.add_argument("--parallel", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    url, models = server_url(args.url), (canonical(args.models[0]), canonical(args.models[1]))
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        os.environ["VWT_STATE"] = name
        os.environ["VWT_LEDGER"] = "off"
        write_pipeline(Path(name), url, models, budget=args.budget, parallel=args.parallel)
        found = await compare(url, models, Path(name), args.rounds)
    if args.json:
        print(json.dumps({way: [asdict(one) for one in each] for way, each in found.items()}, indent=1))
        return
    print(f"{'':6} {'seconds':>8} {'loads':>6}   each round: seconds (loads)")
    for way, each in found.items():
        seconds, loads = statistics.median(one.seconds for one in each), statistics.median(one.loads for one in each)
        print(f"{way:6} {seconds:8.1f} {loads:6.0f}   {', '.join(f'{one.seconds:.1f} ({one.loads})' for one in each)}")
    one = found["ours"][0]
    print(f"{one.read} tokens read and {one.written} written in each round")


if __name__ == "__main__":
    asyncio.run(main())
