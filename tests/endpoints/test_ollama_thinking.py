"""A model that can think before it answers is told whether to; what it thinks is no part of its answer."""

from __future__ import annotations

import pytest

from vwt_agents.endpoints.ollama import OllamaEndpoint
from vwt_agents.errors import CallFailed
from vwt_agents.messages import Message, Options, Request
from vwt_agents.testing import OllamaServer, ServedModel

THINKER, PLAIN = "qwen3:8b", "mistral:latest"
MODELS = {THINKER: ServedModel(4000, capabilities=("completion", "thinking")), PLAIN: ServedModel(4000)}


@pytest.fixture
async def server():
    async with OllamaServer(MODELS, "an answer") as serving:
        yield serving


@pytest.fixture
async def endpoint(server):
    async with OllamaEndpoint("small", server.url) as opened:
        for model in MODELS:
            await opened.load(model, num_ctx=4096, slots=1, timeout=5)
        yield opened


def asking(model: str, **options) -> Request:
    return Request("small", model, (Message("user", "hi"),), 4096, Options(**options))


async def test_a_model_that_can_think_does_not_unless_it_is_told_to(server, endpoint):
    """Ollama has it think when nobody says anything, and then a small `num_predict` ends before the answer begins."""
    assert (await endpoint.call(asking(THINKER, num_predict=2))).text == "an answer"
    assert server.calls[-1]["think"] is False
    assert (await endpoint.call(asking(THINKER, think=True))).text == "an answer"
    assert server.calls[-1]["think"] is True
    await endpoint.call(asking(THINKER, think="low"))
    assert server.calls[-1]["think"] == "low"
    assert "think" not in server.calls[-1]["options"]


async def test_a_model_that_cannot_is_told_nothing_because_it_would_refuse(server, endpoint):
    assert (await endpoint.call(asking(PLAIN, think=True))).text == "an answer"
    assert "think" not in server.calls[-1]


async def test_one_that_thought_until_its_tokens_were_spent_failed_and_did_not_answer_with_nothing(endpoint):
    with pytest.raises(CallFailed, match="thought for all of its 2 tokens") as caught:
        await endpoint.call(asking(THINKER, think=True, num_predict=2))
    assert "num_predict" in (caught.value.hint or "")


async def test_it_is_seen_also_by_an_endpoint_that_has_only_listed_its_models(server):
    async with OllamaEndpoint("small", server.url) as endpoint:
        assert {info.name: info.thinks for info in await endpoint.models()} == {THINKER: True, PLAIN: False}
        await endpoint.call(asking(THINKER))
    assert server.calls[-1]["think"] is False
