"""Typical tests judge right code and wrong code rightly, apart from it wherever that can be done."""

from __future__ import annotations

import anyio
import pytest
from typical import TYPICAL, as_files

from vwt_agents.sandbox.base import Limits
from vwt_agents.sandbox.service import Sandbox

APART = {name: pair for name, pair in TYPICAL.items() if not pair.same_process}
TOGETHER = {name: pair for name, pair in TYPICAL.items() if pair.same_process}


@pytest.fixture
async def judged(best):
    return await Sandbox.open(best, limits=Limits(wall_s=120))


def _files(verdict):
    return {failure.test.partition(".py")[0].removeprefix("test_") for failure in verdict.failures}


async def test_right_code_passes_apart_from_its_tests(judged):
    verdict = await judged.test(*as_files(APART))
    assert verdict.failures == ()
    assert (verdict.passed, verdict.integrity) == (True, "isolated")


async def test_wrong_code_fails_apart_from_its_tests(judged):
    verdict = await judged.test(*as_files(APART, wrong=True))
    assert set(APART) - _files(verdict) == set()
    assert verdict.integrity == "isolated"


async def test_what_only_the_same_process_can_try_is_judged_there(judged):
    right, wrong = [await judged.test(*as_files(TOGETHER, wrong=one)) for one in (False, True)]
    assert (right.failures, right.passed, right.integrity) == ((), True, "same-process")
    assert _files(wrong) == set(TOGETHER)


@pytest.mark.slow
async def test_each_alone_is_judged_where_it_should_be_and_says_why(judged):
    found = {}

    async def one(name):
        found[name] = await judged.test({"m.py": TYPICAL[name].code}, {"test_m.py": TYPICAL[name].tests})

    async with anyio.create_task_group() as group:
        for name in TYPICAL:
            group.start_soon(one, name)
    assert [name for name, verdict in found.items() if not verdict.passed] == []
    for name, verdict in found.items():
        why = TYPICAL[name].same_process
        assert verdict.integrity == ("same-process" if why else "isolated"), name
        assert verdict.reason.endswith(why), name
