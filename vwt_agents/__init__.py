"""vwt_agents: teams of coding agents on the one GPU you own.

    from vwt_agents import Agent, Pipeline

    pipeline = Pipeline("hello")

    @pipeline.stage
    async def greet(greeter: Agent, name: str = "world") -> str:
        return await greeter.ask(f"Say hello to {name}.")

Names are imported when they are first used, so that `import vwt_agents` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vwt_agents.agents import Agent
    from vwt_agents.app import App
    from vwt_agents.approval import Approval
    from vwt_agents.code import Code
    from vwt_agents.errors import VwtError
    from vwt_agents.examples import Example, find_examples, find_signature, function_name
    from vwt_agents.pipeline import Fallback, Pipeline
    from vwt_agents.result import RunResult
    from vwt_agents.run import Attempt, Run
    from vwt_agents.sandbox.judge import Verdict
    from vwt_agents.sandbox.service import Sandbox
    from vwt_agents.suites import TestCase, TestSuite

__version__ = "0.1.0"

_HOMES = {
    "Agent": "agents",
    "App": "app",
    "Approval": "approval",
    "Attempt": "run",
    "Code": "code",
    "Example": "examples",
    "Fallback": "pipeline",
    "Pipeline": "pipeline",
    "Run": "run",
    "RunResult": "result",
    "Sandbox": "sandbox.service",
    "TestCase": "suites",
    "TestSuite": "suites",
    "Verdict": "sandbox.judge",
    "VwtError": "errors",
    "find_examples": "examples",
    "find_signature": "examples",
    "function_name": "examples",
}

__all__ = [
    "Agent",
    "App",
    "Approval",
    "Attempt",
    "Code",
    "Example",
    "Fallback",
    "Pipeline",
    "Run",
    "RunResult",
    "Sandbox",
    "TestCase",
    "TestSuite",
    "Verdict",
    "VwtError",
    "__version__",
    "find_examples",
    "find_signature",
    "function_name",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'vwt_agents' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"vwt_agents.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
