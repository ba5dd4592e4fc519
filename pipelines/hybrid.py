"""Small models draft side by side, the large one decides: quality of the large tier for one call of it.

python -m vwt_agents run pipelines/hybrid.py -i question="How should retries be spaced?"
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from vwt_agents import Agent, Pipeline, Run

pipeline = Pipeline(
    "hybrid",
    doc="Several drafts by small models, one decision by the large one.",
    defaults={
        "question": "In two sentences: why should a program that calls a model server retry with growing pauses?",
        "angles": ["Answer for a beginner.", "Answer with an example.", "Answer with the trade-off."],
    },
)


class Decision(BaseModel):
    """Which draft is best."""

    reason: str = Field(max_length=200)
    best: Literal[1, 2, 3]


@pipeline.stage(each={"angle": "angles"})
async def drafts(general: Agent, question: str, angle: str) -> str:
    """One draft for each angle; they share the question as a prefix and run side by side."""
    return await general.ask(angle, given=[question], num_predict=120)


@pipeline.stage(importance="high")
async def decision(judge: Agent, run: Run, question: str, drafts: list[str]) -> str:
    """The judge sees all drafts at once and names one."""
    listed = "\n\n".join(f"Draft {number}:\n{draft}" for number, draft in enumerate(drafts[:3], 1))
    choice = await judge.ask(
        f"{listed}\n\nWhich draft answers the question best?", Decision, given=[question], num_predict=150
    )
    best = drafts[min(choice.best, len(drafts)) - 1]
    await run.deliver({"answer.md": f"{best}\n\n---\nChosen: draft {choice.best} of {len(drafts)}. {choice.reason}\n"})
    return best
