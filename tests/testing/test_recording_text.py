"""Promises of a recording's file: what was said comes back letter for letter, and no editor can spoil it unseen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vwt_agents.endpoints.base import ModelInfo
from vwt_agents.errors import UsageError
from vwt_agents.messages import Message, Options
from vwt_agents.testing.recording import RecordedCall, RecordedDevice, RecordedEndpoint, RecordedModel, Recording
from vwt_agents.testing.recording_text import dumps, load, loads, save

if TYPE_CHECKING:
    from pathlib import Path

# Letters that TOML, editors or line ends treat in a way of their own, and any other; a lone surrogate is no text.
awkward = st.text(
    st.sampled_from("a '\"\\\n\r\t\x00\x1b\x7f\x85\u2028é漢🙂") | st.characters(exclude_categories=["Cs"])
)
options = st.builds(
    Options, temperature=st.none() | st.floats(0, 2), seed=st.none() | st.integers(0), stop=st.tuples(awkward)
)
calls = st.builds(
    RecordedCall,
    stage=awkward,
    item=awkward,
    agent=awkward,
    model=awkward,
    messages=st.lists(st.builds(Message, st.sampled_from(["system", "user", "assistant"]), awkward)).map(tuple),
    options=options,
    format=st.none() | st.dictionaries(awkward, st.integers() | awkward | st.booleans()),
    answer=awkward,
    left=st.booleans(),
)


@settings(max_examples=50)
@given(calls)
def test_every_call_comes_back_as_it_was(call: RecordedCall) -> None:
    recording = Recording("p", (call,))
    assert loads(dumps(recording)) == recording


@settings(max_examples=50)
@given(calls)
def test_no_line_of_the_file_ends_in_a_space_unless_a_string_ends_there_and_no_file_needs_a_carriage_return(
    call: RecordedCall,
) -> None:
    text = dumps(Recording("p", (call,)))
    assert not [line for line in text.split("\n") if line != line.rstrip(" \t\r")]


def test_models_and_devices_come_back_without_what_nothing_depends_on(tmp_path: Path) -> None:
    metadata = {
        "general.architecture": "x",
        "x.block_count": 3,
        "tokenizer.ggml.tokens": ["a"] * 9,
        "x.list": [1] * 600,
    }
    info = ModelInfo("m:1b", 5, "d1", metadata, "Q4_0", "1B", "mit", tasks=("code",))
    endpoint = RecordedEndpoint("here", "1.0", {"m:1b": RecordedModel(info, 7)})
    save(Recording("p", (), (endpoint,), (RecordedDevice("gpu0:1", 10, 2),)), tmp_path / "sub" / "r.toml")
    found = load(tmp_path / "sub" / "r.toml")
    (model,) = found.endpoints[0].models.values()
    assert model.info.metadata == {"general.architecture": "x", "x.block_count": 3, "x.vocab_size": 9}
    assert (model.info.digest, model.info.tasks, model.memory) == ("d1", ("code",), 7)
    assert found.devices == (RecordedDevice("gpu0:1", 10, 2),)
    assert [path.name for path in (tmp_path / "sub").iterdir()] == ["r.toml"]


def test_a_prompt_reads_in_the_file_as_it_was_written() -> None:
    prompt = 'Write it.\n\n```python\ndef f():\n    """Doc."""\n    return "\\n"\n```\n'
    assert prompt in dumps(Recording("p", (RecordedCall("s", "a", "m", (Message("user", prompt),)),)))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("version = 1\n", "it has no 'pipeline'"),
        ("version = 2\npipeline = 'p'\n", "its version is 2, and this program reads version 1"),
        ("version = ", "Invalid value"),
        ("version = 1\npipeline = 'p'\n[[call]]\nmodel = 'm'\n", "it has no 'answer'"),
        ("version = 1\npipeline = 'p'\ncall = [1]\n", "is no recording"),
        ("version = 1\npipeline = 'p'\n[[call]]\nmodel = 'm'\noptions.heat = 1\nanswer.text = ''\n", "heat"),
    ],
)
def test_a_broken_file_is_told_with_its_name(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "r.toml"
    file.write_text(text)
    with pytest.raises(UsageError) as raised:
        load(file)
    assert "r.toml" in str(raised.value)
    assert why in str(raised.value)
