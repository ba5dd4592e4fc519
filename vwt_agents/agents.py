"""Agent: a named model, its instructions and the type of its answers. Owns prompt -> Request and text -> typed value.

An agent never picks a model and never waits for one: its route was decided before the run, and the caller it is given
queues, loads and answers. It holds no conversation: a prompt says all there is to know, and what is shared comes first.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, TypeVar, get_args, overload

import anyio

from vwt_agents.answers import AnswerShape, BadAnswer, shape_of
from vwt_agents.cancellation import told_to_stop
from vwt_agents.errors import AnswerInvalid, did_you_mean
from vwt_agents.messages import Caller, Message, Options, Priority, Request, Response
from vwt_agents.prefix import prefix_name
from vwt_agents.side_by_side import side_by_side
from vwt_agents.stage_scope import seed_from
from vwt_agents.types import parse_duration

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence

    from vwt_agents.config import AgentSettings
    from vwt_agents.routing import Route
    from vwt_agents.stage_scope import StageScope
    from vwt_agents.types import Seconds

__all__ = ["Agent"]

T = TypeVar("T")

_PRIORITIES: Final = get_args(Priority)


class _Terms(NamedTuple):
    """How a call is to be served: the class it waits in, and the seconds it has for its wait and its answer."""

    priority: Priority | None
    deadline: Seconds | None


class Agent:
    """A model with a name, instructions and typed answers; made by the runner, one for each stage that names it.

    `ask` waits for one typed answer, `stream` yields its text as it comes, `sample` draws several answers to one prompt,
    `map` answers several prompts side by side.
    """

    __vwt_role__: ClassVar[str] = "agent"
    __slots__ = ("_caller", "_labels", "_route", "_scope", "_sown", "settings")

    def __init__(self, settings: AgentSettings, route: Route, *, caller: Caller, scope: StageScope) -> None:
        self.settings = settings
        self._route = route
        self._caller = caller
        self._scope = scope
        self._sown = 0  # calls that were given a seed of their own
        self._labels: dict[str, str] = {}  # of the last call: most have the same, and hold them while they wait

    @property
    def name(self) -> str:
        """As in agents.toml."""
        return self.settings.name

    @property
    def route(self) -> Route:
        """Where its next call goes: its own route, or the large tier's once the stage has been escalated."""
        escalated = self._route.escalated
        return escalated if self._scope.escalated and escalated is not None else self._route

    @property
    def model(self) -> str:
        """The model its next call goes to."""
        return self.route.model

    @overload
    async def ask(
        self,
        prompt: str,
        *,
        given: Sequence[str] = ...,
        prefill: str = ...,
        priority: Priority | None = ...,
        deadline: str | Seconds | None = ...,
        **options: Any,
    ) -> str: ...
    @overload
    async def ask(
        self,
        prompt: str,
        returns: type[T],
        *,
        given: Sequence[str] = ...,
        prefill: str = ...,
        priority: Priority | None = ...,
        deadline: str | Seconds | None = ...,
        **options: Any,
    ) -> T: ...
    @overload
    async def ask(
        self,
        prompt: str,
        returns: Any,
        *,
        given: Sequence[str] = ...,
        prefill: str = ...,
        priority: Priority | None = ...,
        deadline: str | Seconds | None = ...,
        **options: Any,
    ) -> Any: ...
    async def ask(
        self,
        prompt: str,
        returns: Any = str,
        *,
        given: Sequence[str] = (),
        prefill: str = "",
        priority: Priority | None = None,
        deadline: str | Seconds | None = None,
        **options: Any,
    ) -> Any:
        """One answer of type `returns`: `str`, `Code`, or anything pydantic can describe, bound by its JSON schema.

        `given` is what other prompts share (a task, a plan): it is put before `prompt`, byte for byte the same, so that
        the engine reuses what it has already read. `prefill` is the text the answer is made to begin with. `options` are
        sampling options (`temperature`, `stop`, `num_predict`, ...) over the agent's own, within what agents.toml
        takes (else ValueError). An answer that does not fit is asked for once more with the reason; then AnswerInvalid.

        `priority` is the class the call waits in, `deadline` the time it has for its wait and its answer, such as
        `"30s"`, or seconds; both over the agent's own. Past the deadline the call ends with CallTimeout.
        """
        shape = shape_of(returns)
        request = self._request(prompt, shape, given, prefill, self._terms(priority, deadline), options)
        del prompt, given, options  # the request has it all: who waits holds nothing twice
        response = await self._caller.call(request)
        try:
            return shape.parse(response.text, prefill=prefill)
        except BadAnswer as fault:
            return await self._ask_again(shape, request, response, fault)

    async def _ask_again(self, shape: AnswerShape, request: Request, response: Response, fault: BadAnswer) -> Any:
        prefill = request.prefill
        asked = request.messages[:-1] if prefill else request.messages
        again = replace(
            request,
            messages=(*asked, Message("assistant", prefill + response.text), Message("user", str(fault))),
            # From the first one, not the next in line: answers come in any order, and a replay must ask the same again.
            options=replace(request.options, seed=seed_from(f"{request.options.seed}/again")),
        )
        second = await self._caller.call(again)
        try:
            return shape.parse(second.text)
        except BadAnswer as still:
            shown = second.text.strip()[:200] or "an empty answer"
            raise AnswerInvalid(
                f"agent {self.name!r} ({request.model}) did not answer in the form asked for, twice: {still}",
                hint=f"its last answer began: {shown!r}; a larger model, or a simpler type, may do",
            ) from still

    @asynccontextmanager
    async def stream(
        self,
        prompt: str,
        *,
        given: Sequence[str] = (),
        prefill: str = "",
        priority: Priority | None = None,
        deadline: str | Seconds | None = None,
        **options: Any,
    ) -> AsyncIterator[AsyncIterator[str]]:
        """`async with agent.stream(prompt) as pieces: async for piece in pieces: ...`; leaving early ends the call."""
        request = self._request(prompt, shape_of(str), given, prefill, self._terms(priority, deadline), options)
        send, receive = anyio.create_memory_object_stream[str](float("inf"))
        failures: list[BaseException] = []

        async def produce() -> None:
            with send:
                try:
                    await self._caller.call(request, lambda chunk: send.send_nowait(chunk.text))
                except (Exception, anyio.get_cancelled_exc_class()) as error:
                    if not isinstance(error, Exception) and told_to_stop():
                        raise
                    failures.append(error)  # raised where the pieces are awaited: they are not the whole answer

        async def pieces() -> AsyncGenerator[str, None]:
            async for piece in receive:
                yield piece
            if failures:
                raise failures.pop()

        left: Exception | None = None
        with send, receive:
            async with anyio.create_task_group() as tasks, aclosing(pieces()) as reading:
                tasks.start_soon(produce)
                try:
                    yield reading
                except Exception as error:  # noqa: BLE001 - raised below as itself, not as a group
                    left = error
                tasks.cancel_scope.cancel()
        if left is not None:
            raise left

    async def sample(
        self,
        prompt: str,
        returns: Any = str,
        *,
        n: int,
        given: Sequence[str] = (),
        prefill: str = "",
        priority: Priority | None = None,
        deadline: str | Seconds | None = None,
        **options: Any,
    ) -> list[Any]:
        """`n` answers to one prompt, from seeds that follow one another; those that do not fit the type are left out.

        They are asked for at once, and an engine that can, reads the prompt once for all of them.
        """
        if n < 1:
            return []
        shape = shape_of(returns)
        first = self._request(prompt, shape, given, prefill, self._terms(priority, deadline), options)
        first = replace(first, together=n)
        requests = [first.with_seed((first.options.seed or 0) + number) for number in range(n)]
        responses = await side_by_side(lambda index: self._caller.call(requests[index]), n)
        values: list[Any] = []
        for response in responses:
            try:
                values.append(shape.parse(response.text, prefill=prefill))
            except BadAnswer:
                continue
        return values

    async def map(
        self,
        prompts: Iterable[str],
        returns: Any = str,
        *,
        given: Sequence[str] = (),
        priority: Priority | None = None,
        deadline: str | Seconds | None = None,
        **options: Any,
    ) -> list[Any]:
        """One answer to each prompt, in order, asked side by side as slots allow; `deadline` is that of each."""
        asked = list(self._texts("prompts", prompts))
        how = {"given": given, "priority": priority, "deadline": deadline, **options}
        return await side_by_side(lambda index: self.ask(asked[index], returns, **how), len(asked))

    def _texts(self, name: str, texts: Iterable[str]) -> Iterable[str]:
        if isinstance(texts, str):  # also one of these is a sequence of texts, to a type checker: its characters
            raise TypeError(f"agent {self.name!r}: {name} are several texts: write [text] for one")
        return texts

    def _terms(self, priority: Priority | None, deadline: str | Seconds | None) -> _Terms:
        """What is said of one call, over the agent's own; ValueError where it is no class, or no time."""
        if priority is None:
            priority = self.settings.priority
        elif priority not in _PRIORITIES:
            near = did_you_mean(str(priority), _PRIORITIES)
            raise ValueError(f"agent {self.name!r}: {priority!r} is no priority; {near}")
        if deadline is None:
            return _Terms(priority, self.settings.deadline)
        return _Terms(priority, parse_duration(deadline))

    def _request(
        self,
        prompt: str,
        shape: AnswerShape,
        given: Sequence[str],
        prefill: str,
        terms: _Terms,
        options: dict[str, Any],
    ) -> Request:
        parts: list[Any] = [*self._texts("given", given), prompt]
        if wrong := [type(part).__name__ for part in (*parts, prefill) if not isinstance(part, str)]:
            raise TypeError(f"agent {self.name!r}: a prompt, what is given, and a prefill are text, not {wrong[0]}")
        if shape.instruction:
            parts.append(shape.instruction)
        messages = [Message("user", "\n\n".join(part.strip("\n") for part in parts))]
        if self.settings.system:
            messages.insert(0, _instructions(self.settings.system))
        if prefill:
            messages.append(Message("assistant", prefill))
        route = self.route
        return Request(
            endpoint=route.endpoint,
            model=route.model,
            messages=tuple(messages),
            num_ctx=route.num_ctx,
            options=self._options(options),
            format=shape.schema,
            timeout=self.settings.timeout,
            labels=self._labelled(route),
            deadline=terms.deadline,
            priority=terms.priority,
            prefix=prefix_name(self.settings.system, given),
        )

    def _labelled(self, route: Route) -> Mapping[str, str]:
        scope, labels = self._scope, self._labels
        attempt = str(scope.attempt) if scope.attempt else "0"
        if labels.get("attempt") != attempt or labels["tier"] != route.tier:
            labels = {
                "run": scope.run,
                "stage": scope.stage,
                "agent": self.name,
                "tier": route.tier,
                "attempt": attempt,
            }
            if scope.item:
                labels["item"] = scope.item
            self._labels = labels
        return labels

    def _options(self, given: dict[str, Any]) -> Options:
        unknown = set(given) - set(Options.__dataclass_fields__)
        if unknown:
            possible = [*Options.__dataclass_fields__, *_Terms._fields]
            known = ", ".join(sorted(possible))
            near = did_you_mean(min(unknown), possible)
            meant = f"; {near}" if near and near.startswith("did") else ""
            raise TypeError(f"agent {self.name!r}: no such option: {', '.join(sorted(unknown))}{meant}; known: {known}")
        if "stop" in given and isinstance(stop := given["stop"], str | Iterable | None):
            given = {**given, "stop": (stop,) if isinstance(stop, str) else tuple(stop or ())}
        if given:
            from vwt_agents.config.faults import option_faults  # pydantic, which who asks nothing can do without

            if faults := option_faults(given):  # a server says so late, or not at all
                raise ValueError(f"agent {self.name!r}: {'; '.join(faults)}")
        options = replace(self.settings.options, **given)
        if options.seed is not None:
            return options
        seed = self._scope.seed_of(self.name, self._sown)
        self._sown += 1
        return replace(options, seed=seed)


@functools.lru_cache(maxsize=64)
def _instructions(system: str) -> Message:
    """One message for all the calls of an agent that wait."""
    return Message("system", system)
