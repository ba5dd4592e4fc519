"""The forms of a single call: what is asked, and which code an answer stands for."""

from __future__ import annotations

from codebench.forms import chat, prefilled
from codebench.tasks import Task

STUB = 'from math import sqrt\n\n\ndef helper(x):\n    return x\n\n\ndef f(x):\n    """Double x."""\n'
STUBBED = Task(0, "T/0", STUB, "solution", ("f",), STUB)
FREE = Task(1, "two", "Write `a()` and `b()`.\n", "two", ("a", "b"))


def test_the_prefilled_form_ends_in_a_newline_and_three_spaces() -> None:
    form = prefilled(STUBBED)
    assert [message.role for message in form.messages] == ["user", "assistant"]
    assert form.messages[0].content == "Complete this function. Answer with one Python code block."
    assert form.messages[1].content == form.prefill == f"```python\n{STUB.rstrip()}\n   "


def test_its_code_is_the_stub_and_what_the_model_went_on_with() -> None:
    assert prefilled(STUBBED).code(" return 2 * x") == f"{STUB.rstrip()}\n    return 2 * x\n"
    assert prefilled(STUBBED).code(" return 2 * x\n```\nThis doubles x.") == f"{STUB.rstrip()}\n    return 2 * x\n"


def test_without_a_stub_the_answer_begins_with_the_fence() -> None:
    form = prefilled(FREE)
    assert form.prefill == "```python\n"
    assert FREE.text in form.messages[0].content
    assert "`two.py`" in form.messages[0].content
    assert form.code("def a(): pass\n```") == "def a(): pass\n"


def test_the_chat_form_shows_the_stub_in_a_fence() -> None:
    (message,) = chat(STUBBED).messages
    assert f"```python\n{STUB}```" in message.content


def test_the_block_with_the_wanted_function_is_taken() -> None:
    other = "```bash\npip install everything, and more than that\n```\n"
    text = f"Install:\n{other}Then:\n```python\ndef f(x):\n    return 1\n```\n```\nf(1)\n```"
    assert chat(STUBBED).code(text).endswith("\n\ndef f(x):\n    return 1\n\n")


def test_imports_and_helpers_of_the_stub_need_not_be_repeated() -> None:
    code = chat(STUBBED).code("```python\ndef f(x):\n    return sqrt(helper(x))\n```")
    names: dict[str, object] = {}
    exec(code, names)
    assert names["f"](9) == 3  # type: ignore[operator]


def test_a_block_that_was_cut_off_runs_to_the_end() -> None:
    assert chat(FREE).code("Here:\n```python\ndef a():\n    return 1\n") == "def a():\n    return 1\n\n"


def test_of_several_blocks_the_one_that_defines_most_wins() -> None:
    text = "```\ndef a(): ...\n```\n```\ndef a(): ...\ndef b(): ...\n```\n"
    assert chat(FREE).code(text) == "def a(): ...\ndef b(): ...\n\n"


def test_an_answer_without_a_fence_is_the_code() -> None:
    assert chat(FREE).code("def a(): ...") == "def a(): ...\n"


def test_code_can_always_be_written_to_a_file() -> None:
    assert prefilled(FREE).code("x = '\ud800'").encode() == b"x = '?'\n"
