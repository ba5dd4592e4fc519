"""A model goes on with the text it was given, also where its chat template would close that and begin another message."""

from __future__ import annotations

import pytest

from vwt_agents.endpoints.ollama import OllamaEndpoint
from vwt_agents.messages import Message, Options, Request
from vwt_agents.testing import OllamaServer, ServedModel

OPENS, CLOSES = "qwen2.5-coder:7b", "mistral:latest"
MODELS = {OPENS: ServedModel(4000), CLOSES: ServedModel(4000, closes=True)}
SAID = (Message("system", "Be brief."), Message("user", "write f"))
PREFILL = Message("assistant", "```python\n")


@pytest.fixture
async def served():
    """A server, and an endpoint that has loaded both of its models."""
    server = OllamaServer(MODELS, ["def f():", " pass"])
    async with server, OllamaEndpoint("small", server.url) as endpoint:
        for model in MODELS:
            await endpoint.load(model, num_ctx=4096, slots=1, timeout=5)
        yield server, endpoint


def asking(model: str, *messages: Message) -> Request:
    return Request("small", model, messages, 4096, Options(stop=("\n```",)))


def prompts(server: OllamaServer) -> list[dict]:
    return [body for path, body in server.requests if path == "/api/generate" and body["prompt"]]


async def test_where_the_template_leaves_it_open_the_server_is_left_to_it(served):
    server, endpoint = served
    assert (await endpoint.call(asking(OPENS, *SAID, PREFILL))).text == "def f(): pass"
    assert [message["role"] for message in server.calls[-1]["messages"]] == ["system", "user", "assistant"]
    assert prompts(server) == []


async def test_where_the_template_closes_it_the_prompt_is_made_by_the_server_and_ended_by_us(served):
    server, endpoint = served
    response = await endpoint.call(asking(CLOSES, *SAID, PREFILL))
    assert (response.text, response.done_reason) == ("def f(): pass", "stop")
    assert response.usage.prompt_tokens > 0
    (asked,) = prompts(server)
    assert asked["prompt"] == "<system>Be brief.</s><user>write f</s><assistant>```python\n"
    assert (asked["raw"], asked["truncate"], asked["shift"]) == (True, False, False)
    assert asked["options"] == {"stop": ["\n```"], "num_ctx": 4096, "num_batch": 512}
    assert (server.calls, server.loads) == ([], [(OPENS, 4096), (CLOSES, 4096)])


async def test_a_template_is_looked_at_once(served):
    server, endpoint = served
    for _ in range(3):
        await endpoint.call(asking(CLOSES, *SAID, PREFILL))
    looks = [body for _, body in server.requests if body.get("_debug_render_only")]
    assert len(looks) == 4  # its template, and each of the prompts
    await endpoint.call(asking(CLOSES, *SAID))
    assert len(server.calls) == 1


async def test_a_server_that_does_not_show_its_prompts_is_taken_at_its_word(served, monkeypatch):
    server, endpoint = served
    """Before 0.11.5 the question is answered, with one token."""
    rendered = endpoint._client.rendered

    async def deaf(request):
        await rendered(request)

    monkeypatch.setattr(endpoint._client, "rendered", deaf)
    assert (await endpoint.call(asking(CLOSES, *SAID, PREFILL))).text == "def f(): pass"
    assert len(server.calls) == 1
