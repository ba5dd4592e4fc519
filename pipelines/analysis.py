"""One deep analysis by one agent: a single stage of analysis goes to the large tier.

python -m vwt_agents run pipelines/analysis.py -i text=@notes.md -i question="What is missing?"
"""

from __future__ import annotations

from vwt_agents import Agent, Pipeline, Run

DEFAULT_TEXT = """\
A workstation has one GPU with 16 GiB of memory. Three agents use three 7B models of about 5 GiB each, a fourth uses a 13B model
of 10 GiB. Each request for a model that is not loaded evicts another one, and a load takes five to ten seconds.
"""

pipeline = Pipeline(
    "analysis",
    doc="Analyse a text in depth and answer a question about it.",
    defaults={"text": DEFAULT_TEXT, "question": "Where does the time go, and what should be changed first?"},
)


@pipeline.stage
async def analysis(analyst: Agent, run: Run, text: str, question: str) -> str:
    """Evidence first, then the answer."""
    prompt = f"{question}\n\nGive the evidence from the text first, then the answer, then what you are not sure of."
    answer = await analyst.ask(prompt, given=[text], num_predict=400)
    await run.deliver({"analysis.md": f"# {question}\n\n{answer}\n"})
    return answer
