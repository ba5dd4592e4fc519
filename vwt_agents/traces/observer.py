"""Observer: what a run is watched through, and the wrappers that a watched run gets. Owns no span."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import anyio

from vwt_agents.sandbox.service import Sandbox

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vwt_agents.messages import Caller, OnChunk, Request, Response
    from vwt_agents.result import RunResult
    from vwt_agents.sandbox.judge import Verdict
    from vwt_agents.types import Seconds

__all__ = ["Listener", "ObservedCaller", "ObservedSandbox", "Observer", "Unobserved"]


class Observer(Protocol):
    """What a run is watched by: `Traces`, or nobody."""

    def caller(self, inner: Caller) -> Caller:
        """The caller, with its calls watched."""
        ...

    def sandbox(self, inner: Sandbox) -> Sandbox:
        """The sandbox, with what is run in it watched."""
        ...

    async def ended(self, result: RunResult) -> None:
        """The run is over. Never raises, and takes a few seconds at most."""
        ...


class Unobserved:
    """Nobody watches: nothing is wrapped."""

    def caller(self, inner: Caller) -> Caller:
        """As it is."""
        return inner

    def sandbox(self, inner: Sandbox) -> Sandbox:
        """As it is."""
        return inner

    async def ended(self, result: RunResult) -> None:
        """Nothing to do."""


class Listener(Protocol):
    """Who is told by the wrappers."""

    def called(self, request: Request, began: Seconds, response: Response | None, error: BaseException | None) -> None:
        """One call is over: with an answer, or with an error."""
        ...

    def ran(self, what: str, began: Seconds, attributes: Mapping[str, Any], error: BaseException | None = None) -> None:
        """One program in the sandbox is over."""
        ...


class ObservedCaller:
    """Tells of each call of the inner one."""

    __slots__ = ("_inner", "_listener")

    def __init__(self, inner: Caller, listener: Listener) -> None:
        self._inner = inner
        self._listener = listener

    async def call(self, request: Request, on_chunk: OnChunk | None = None) -> Response:
        """As the inner one."""
        began = anyio.current_time()
        try:
            response = await self._inner.call(request, on_chunk)
        except BaseException as error:
            self._listener.called(request, began, None, error)
            raise
        self._listener.called(request, began, response, None)
        return response


class ObservedSandbox(Sandbox):
    """Tells of each program the inner one runs."""

    def __init__(self, inner: Sandbox, listener: Listener) -> None:
        super().__init__(inner.backend, limits=inner.limits)
        self._listener = listener

    async def test(self, *args: Any, **how: Any) -> Verdict:
        """As the inner one."""
        began = anyio.current_time()
        try:
            verdict = await super().test(*args, **how)
        except BaseException as error:
            self._listener.ran("test", began, self._about(), error)
            raise
        said = {
            "vwt.verdict.passed": verdict.passed,
            "vwt.verdict.reason": verdict.reason,
            "vwt.verdict.integrity": verdict.integrity,
            "vwt.tests.passed": verdict.tests_passed,
            "vwt.tests.failed": verdict.tests_failed,
        }
        self._listener.ran("test", began, {**self._about(), **said})
        return verdict

    async def run(self, *args: Any, **how: Any) -> Any:
        """As the inner one."""
        began = anyio.current_time()
        try:
            result = await super().run(*args, **how)
        except BaseException as error:
            self._listener.ran("run", began, self._about(), error)
            raise
        ended = {"vwt.stopped": result.stopped, "process.exit.code": result.exit_code}
        said = {name: value for name, value in ended.items() if value is not None}
        self._listener.ran("run", began, {**self._about(), **said})
        return result

    def _about(self) -> dict[str, Any]:
        return {"vwt.sandbox.backend": self.backend.name, "vwt.sandbox.level": self.backend.level}
