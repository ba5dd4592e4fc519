"""An endpoint that is lost in mid-run: the calls that are left go on elsewhere, and the board says so in one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from two_models import CONFIG, MODELS
from virtual_time import run

from vwt_agents.app import App, Job
from vwt_agents.board import Board
from vwt_agents.errors import CallFailed, EndpointUnavailable, LoadsHang, Rejected
from vwt_agents.failover import FailoverCaller
from vwt_agents.messages import Chunk, Message, Request, Response
from vwt_agents.routing import ModelPlan, Plan, Route
from vwt_agents.testing import OllamaServer

TWO = """
from vwt_agents import Agent, Pipeline

pipeline = Pipeline("two", defaults={"task": "do it"})


@pipeline.stage
async def first(reviewer: Agent, task: str) -> str:
    return await reviewer.ask("first", given=[task])


@pipeline.stage
async def second(reviewer: Agent, first: str) -> str:
    return await reviewer.ask("second", given=[first])
"""


async def test_a_run_whose_server_dies_ends_well_on_the_other_one(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("vwt_agents.endpoints.circuit._GRACE_S", 0.0)  # nobody starts it again
    lines: list[str] = []
    async with OllamaServer(MODELS, "the first") as first, OllamaServer(MODELS, "the other") as other:
        (tmp_path / "pipeline.py").write_text(TWO)
        spare = f'[endpoints.spare]\nkind = "ollama"\nurl = "{other.url}"\ndevice = "cpu"\n[tiers.small]'
        config = CONFIG.format(url=first.url, budget="100000 MiB").replace("[tiers.small]", spare)
        (tmp_path / "agents.toml").write_text(config)
        board = Board()
        board.on_line.append(lines.append)
        done = anyio.Event()
        board.watch(lambda: done.set() if board.stages and board.stages["first"].status == "done" else None)

        async def kill() -> None:
            await done.wait()
            await first.refuse()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(kill)
            result = await App(board).run(Job(tmp_path / "pipeline.py", config=tmp_path / "agents.toml", out=tmp_path))
    assert (result.status, result.outputs) == ("good", {"second": "the other"})
    assert board.stages["second"].tally.endpoints == ("spare",)
    said = [line for line in lines if "is lost" in line]
    assert len(said) == 1
    assert "endpoint here is lost" in said[0]
    assert said[0].endswith("the run goes on with small:1b on spare")
    assert json.loads((tmp_path / "result.json").read_text())["exit_code"] == 0


def route(endpoint: str, model: str = "a", **more) -> Route:
    return Route("s", "coder", more.pop("tier", "small"), endpoint, model, "gpu0", 2048, 1, 100, "", "", **more)


def request(endpoint: str = "here", **labels: str) -> Request:
    said = {"stage": "s", "agent": "coder", "tier": "small", **labels}
    return Request(endpoint, "a", (Message("user", "hi"),), 4096, labels=said, deadline=60.0)


class Caller:
    """Answers everywhere but at `down`."""

    def __init__(self, error: Exception | None = None) -> None:
        self.down = {"here"}
        self.asked: list[Request] = []
        self.error = error or EndpointUnavailable("nobody there")
        if isinstance(self.error, EndpointUnavailable):
            self.error.refused = True

    async def call(self, request, on_chunk=None) -> Response:
        self.asked.append(request)
        if on_chunk is not None:
            on_chunk(Chunk("some"))
        if request.endpoint in self.down:
            raise self.error
        return Response("some", request.model, request.endpoint)


def failover(caller: Caller, *plans: Plan | Exception, served=None):
    left, known, wanted = list(plans), [], []

    async def replan(lost: frozenset[str]) -> Plan:
        wanted.append(lost)
        plan = left.pop(0)
        if isinstance(plan, Exception):
            raise plan
        return plan

    return FailoverCaller(caller, replan, known.append, served=served or {}, board=Board()), known, wanted


def plan(*routes: Route) -> Plan:
    specs = tuple(ModelPlan(each.endpoint, each.model, "gpu0", 100, "", 2048, 1, ("small",)) for each in routes)
    return Plan(False, "small", "", {(each.stage, each.agent): each for each in routes}, specs)


@pytest.mark.parametrize("error", [None, LoadsHang("it is stuck")], ids=["gone", "locked up"])
async def test_a_call_is_answered_where_the_new_plan_puts_it_and_so_are_those_that_follow(error) -> None:
    caller = Caller(error)
    over, known, wanted = failover(caller, plan(route("there", "b")))
    first, second = await over.call(request()), await over.call(request())
    assert {(answer.endpoint, answer.model) for answer in (first, second)} == {("there", "b")}
    assert [asked.endpoint for asked in caller.asked] == ["here", "there", "there"]
    assert ([spec.model for spec in known], wanted) == (["b"], [{"here"}])
    assert caller.asked[1].num_ctx == 2048
    assert (caller.asked[1].deadline or 0) <= 60.0


async def test_a_model_that_is_served_already_keeps_its_context() -> None:
    caller = Caller()
    over, known, _ = failover(caller, plan(route("there")), served={("there", "a"): 8192})
    await over.call(request())
    assert (caller.asked[1].num_ctx, known) == (8192, [])


async def test_many_calls_that_lose_an_endpoint_together_make_one_plan() -> None:
    over, _, wanted = failover(Caller(), plan(route("there")))
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(over.call, request())
    assert wanted == [{"here"}]


async def test_the_second_place_may_be_lost_too() -> None:
    caller = Caller()
    caller.down = {"here", "there"}
    over, _, wanted = failover(caller, plan(route("there")), plan(route("last")))
    assert (await over.call(request())).endpoint == "last"
    assert wanted == [{"here"}, {"here", "there"}]


async def test_an_escalated_call_goes_on_with_the_escalated_route() -> None:
    over, _, _ = failover(Caller(), plan(route("there", escalated=route("there", "big", tier="large"))))
    assert (await over.call(request(tier="large"))).model == "big"


async def test_without_another_place_the_error_is_the_endpoints_own_and_nobody_plans_twice() -> None:
    over, _, wanted = failover(Caller(), Rejected("does not fit"))
    for _ in range(2):
        with pytest.raises(EndpointUnavailable, match="nobody there"):
            await over.call(request())
    assert len(wanted) == 1


def test_a_plan_that_takes_longer_than_the_call_has_left_is_not_waited_for() -> None:
    async def main() -> None:
        async def replan(lost: frozenset[str]) -> Plan:
            await anyio.sleep_forever()
            raise AssertionError(lost)

        over = FailoverCaller(Caller(), replan, lambda _spec: None, served={}, board=Board())
        for deadline, ends in ((5.0, 5.0), (None, 30.0)):
            began = anyio.current_time()
            with pytest.raises(EndpointUnavailable):
                await over.call(replace(request(), deadline=deadline))
            assert anyio.current_time() - began == pytest.approx(ends)

    run(main())


async def test_what_somebody_has_heard_is_not_said_again_elsewhere() -> None:
    over, _, wanted = failover(Caller(), plan(route("there")))
    with pytest.raises(EndpointUnavailable):
        await over.call(request(), lambda _chunk: None)
    assert wanted == []


@pytest.mark.parametrize("error", [CallFailed("broke"), EndpointUnavailable("refused access")])
async def test_other_faults_are_no_reason_to_leave(error) -> None:
    caller = Caller(error)
    if isinstance(error, EndpointUnavailable):
        error.refused = False
    over, _, wanted = failover(caller)
    with pytest.raises(type(error)):
        await over.call(request())
    assert wanted == []


async def test_a_call_the_new_plan_does_not_know_stays_where_it_was() -> None:
    over, _, _ = failover(Caller(), plan(route("there")), plan(route("here")))
    with pytest.raises(EndpointUnavailable):
        await over.call(request(agent="unknown"))
