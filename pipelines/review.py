"""Review the Python files of a folder, each by a linter and a reviewer side by side on the small tier.

python -m vwt_agents run pipelines/review.py -i folder=src -i limit=8
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

from vwt_agents import Agent, Pipeline, Run

pipeline = Pipeline(
    "review",
    doc="Lint and review the files of a folder, several agents side by side.",
    defaults={"folder": Path(__file__).parent, "limit": 4},
)


@dataclass(frozen=True)
class SourceFile:
    """One file, cut to what fits a small model's context, and what its syntax tree says without any model."""

    name: str
    text: str
    facts: tuple[str, ...]


@dataclass(frozen=True)
class Remarks:
    """What one agent says of one file."""

    file: str
    text: str


@pipeline.stage
async def files(folder: Path, limit: int) -> list[SourceFile]:
    """The folder's Python files, largest first, at most `limit` of them."""
    return [read(path, folder) for path in largest(folder, limit)]


@pipeline.stage(each={"file": "files"})
async def lint(linter: Agent, file: SourceFile) -> Remarks:
    """Slips: names, unused things, errors swallowed."""
    prompt = "Name at most three slips in this file (naming, dead code, swallowed errors), one short line each."
    return Remarks(file.name, await linter.ask(prompt, given=[shown(file)], num_predict=120))


@pipeline.stage(each={"file": "files"})
async def critique(reviewer: Agent, file: SourceFile) -> Remarks:
    """Faults: what could go wrong when it runs."""
    prompt = "Name at most three things that could go wrong when this file runs, one short line each."
    return Remarks(file.name, await reviewer.ask(prompt, given=[shown(file)], num_predict=120))


@pipeline.stage
async def summary(run: Run, files: list[SourceFile], lint: list[Remarks], critique: list[Remarks]) -> str:
    """All of it as one page, in the order of the files."""
    parts = [f"# Review of {len(files)} files"]
    for file, slips, faults in zip(files, lint, critique, strict=True):
        facts = "".join(f"\n- {fact}" for fact in file.facts)
        parts.append(f"## {file.name}{facts}\n\n### Slips\n\n{slips.text}\n\n### Risks\n\n{faults.text}")
    page = "\n\n".join(parts) + "\n"
    await run.deliver({"review.md": page})
    return page


def largest(folder: Path, limit: int) -> list[Path]:
    """The Python files below a folder that have most to say."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; give one with -i folder=PATH")
    return sorted(folder.rglob("*.py"), key=lambda path: (-path.stat().st_size, path))[:limit]


def read(path: Path, folder: Path, limit: int = 3000) -> SourceFile:
    """A file as the agents see it."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return SourceFile(str(path.relative_to(folder)), text[:limit], tuple(facts_of(text)))


def facts_of(text: str) -> list[str]:
    """What needs no model: does it parse, bare excepts, functions that are long."""
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        return [f"does not parse: {error.msg} (line {error.lineno})"]
    found = [
        f"line {node.lineno}: bare except"
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (node.end_lineno or 0) - node.lineno > 60:
            found.append(f"line {node.lineno}: {node.name} has {(node.end_lineno or 0) - node.lineno + 1} lines")
    return found


def shown(file: SourceFile) -> str:
    """The part of the prompt that both agents share, byte for byte: it is read by the engine once."""
    return f"File `{file.name}`:\n\n```python\n{file.text}\n```"
