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
    from vwt_agents.candidates import Candidate, Candidates
    from vwt_agents.code import Code, extract_code
    from vwt_agents.code_profiles import PLAIN, CodeProfile, code_profile, module_source, stub_of
    from vwt_agents.errors import VwtError
    from vwt_agents.examples import Example, find_examples, find_signature, find_stub, function_name, function_names
    from vwt_agents.pipeline import Pipeline
    from vwt_agents.result import RunResult
    from vwt_agents.run import Attempt, Run
    from vwt_agents.sandbox.judge import Verdict
    from vwt_agents.sandbox.service import Sandbox
    from vwt_agents.suites import TestCase, TestSuite

__version__ = "0.1.0"

_HOMES = {
    "Agent": "agents",
    "App": "app",
    "Attempt": "run",
    "Candidate": "candidates",
    "Candidates": "candidates",
    "Code": "code",
    "CodeProfile": "code_profiles",
    "Example": "examples",
    "PLAIN": "code_profiles",
    "Pipeline": "pipeline",
    "Run": "run",
    "RunResult": "result",
    "Sandbox": "sandbox.service",
    "TestCase": "suites",
    "TestSuite": "suites",
    "Verdict": "sandbox.judge",
    "VwtError": "errors",
    "code_profile": "code_profiles",
    "extract_code": "code",
    "find_examples": "examples",
    "find_signature": "examples",
    "find_stub": "examples",
    "function_name": "examples",
    "function_names": "examples",
    "module_source": "code_profiles",
    "stub_of": "code_profiles",
}

__all__ = [
    "PLAIN",
    "Agent",
    "App",
    "Attempt",
    "Candidate",
    "Candidates",
    "Code",
    "CodeProfile",
    "Example",
    "Pipeline",
    "Run",
    "RunResult",
    "Sandbox",
    "TestCase",
    "TestSuite",
    "Verdict",
    "VwtError",
    "__version__",
    "code_profile",
    "extract_code",
    "find_examples",
    "find_signature",
    "find_stub",
    "function_name",
    "function_names",
    "module_source",
    "stub_of",
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
