"""Ollama's API in front of the engine: what is translated, what is refused, and that a client that leaves ends its call."""

from __future__ import annotations

import json
import socket

import pytest

from vwt_agents.endpoints.embedded.ollama_api import _hung_up_with
from vwt_agents.endpoints.embedded.translation import Refused, end_of, events_of, reason_of, text_of, to_native

MESSAGES = [{"role": "user", "content": "Hi"}]


def test_options_keep_their_names_and_num_predict_is_the_limit():
    options = {"temperature": 0.2, "seed": 7, "stop": ["\n"], "num_predict": 9, "num_ctx": 512, "mirostat": 1}
    native = to_native({"options": options}, MESSAGES, 512)
    assert (native["temperature"], native["seed"], native["stop"], native["max_tokens"]) == (0.2, 7, ["\n"], 9)
    assert native["stream"] is True
    assert "num_ctx" not in native
    assert "mirostat" not in native


def test_a_negative_num_predict_is_no_limit():
    assert "max_tokens" not in to_native({"options": {"num_predict": -1}}, MESSAGES, 512)


def test_a_format_becomes_the_engines_constraint():
    schema = {"type": "object"}
    assert to_native({"format": "json"}, MESSAGES, 512)["response_format"] == {"type": "json_object"}
    assert to_native({"format": schema}, MESSAGES, 512)["response_format"]["json_schema"]["schema"] == schema


def test_a_context_larger_than_the_slots_is_refused():
    with pytest.raises(Refused, match="num_ctx 1024 is more than the 512 tokens each slot was loaded with"):
        to_native({"options": {"num_ctx": 1024}}, MESSAGES, 512)


def test_a_stream_gives_its_texts_and_its_end():
    first = {"choices": [{"delta": {"content": "Hel"}, "finish_reason": None}]}
    last = {"choices": [{"delta": {}, "finish_reason": "length"}], "timings": {"predicted_n": 1}}
    lines = [b"data: " + json.dumps(event).encode() + b"\n" for event in (first, last)]
    events = list(events_of([*lines, b"\n", b": ping\n", b"data: [DONE]\n"]))
    assert [text_of(event) for event in events] == ["Hel", ""]
    assert end_of(events[0]) == {}
    assert end_of(events[1]) == {"finish_reason": "length", "timings": {"predicted_n": 1}}


def test_an_error_in_the_stream_is_not_an_answer():
    line = b'data: {"error": {"code": 500, "message": "out of slots"}}\n'
    with pytest.raises(Refused, match="out of slots"):
        list(events_of([line]))


def test_a_prompt_that_is_too_long_is_refused_with_its_numbers():
    error = {"type": "exceed_context_size_error", "n_prompt_tokens": 900, "n_ctx": 512, "message": "too long"}
    assert "the prompt has 900 tokens and a slot holds 512" in reason_of(json.dumps({"error": error}).encode())
    assert reason_of(b"<html>") == "<html>"


def test_a_client_that_leaves_takes_the_engines_connection_with_it():
    """The engine stops at the end of its connection, also when it has not said anything yet."""
    client, person = socket.socketpair()
    upstream, engine = socket.socketpair()
    with client, upstream, engine, _hung_up_with(client, upstream):
        engine.settimeout(10)
        person.close()
        assert engine.recv(1) == b""


def test_a_client_that_stays_keeps_it():
    client, person = socket.socketpair()
    upstream, engine = socket.socketpair()
    with client, person, upstream, engine:
        with _hung_up_with(client, upstream):
            pass
        engine.setblocking(False)
        with pytest.raises(BlockingIOError):
            engine.recv(1)
