"""A run to measure and test its page with: as many calls as one likes, each with a prompt and an answer of its own."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from vwt_agents.entries import Entry, RunRecord, call_entry
from vwt_agents.messages import Message, Options, Request, Response, Usage

if TYPE_CHECKING:
    from collections.abc import Sequence

BEGAN = datetime(2026, 11, 24, 4, 15, tzinfo=UTC)


def record_of(**more: Any) -> RunRecord:
    """A run of a minute."""
    made = RunRecord(
        id="20261124-041500-many-1234",
        pipeline="many",
        file="/there/many.py",
        started_at=BEGAN,
        ended_at=BEGAN + timedelta(minutes=1),
        status="good",
        promoted=False,
        tier="small",
        inputs=json.dumps({"values": {"task": "do it"}, "seed": 0}),
        settings="",
        out_dir="/there",
        exit_code=0,
        summary=None,
        parent=None,
        parent_seq=None,
        pid=1,
    )
    return replace(made, **more)


def random_words() -> list[str]:
    """4,000 words that deflate badly, always the same: real prompts repeat one another."""
    chosen = random.Random(6)
    return ["".join(chosen.choices("abcdefghijklmnopqrstuvwxyz", k=chosen.randint(2, 9))) for _ in range(4000)]


def many_calls(count: int, *, words: Sequence[str], each: int = 300) -> tuple[Entry, ...]:
    """So many calls of one stage, a tenth of a second apart, each with a prompt and an answer of its own of `each` words."""
    entries = []
    for number in range(count):
        chosen = random.Random(number)
        said = [" ".join(chosen.choices(words, k=each)) for _ in range(2)]
        request = Request(
            endpoint="here",
            model="coder:7b",
            messages=(Message("system", "You are careful. " * 40), Message("user", f"{number}: {said[0]}")),
            num_ctx=4096,
            options=Options(temperature=0.2, seed=number),
            labels={"run": "r", "stage": "many", "agent": "coder", "tier": "small", "item": str(number)},
        )
        answer = Response(said[1], "coder:7b", "here", usage=Usage(each, each, 5, wait_s=0.05, load_s=0.0))
        began = BEGAN + timedelta(seconds=number / 10)
        entry = call_entry("r", request, answer, name="many", key=str(number), started_at=began, seconds=0.5)
        entries.append(entry._replace(seq=number + 1))
    return tuple(entries)
