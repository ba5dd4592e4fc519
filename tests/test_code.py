"""Promises of reading code from a model's text."""

from __future__ import annotations

import pytest

from vwt_agents.code import Code, NoCodeError, extract_code


def test_code_is_the_one_fenced_block() -> None:
    code = extract_code("Here it is:\n\n```python\nx = 1\n\ny = 2\n```\nHave fun.")
    assert code == Code("x = 1\n\ny = 2\n", "python")
    assert f"{code}" == "x = 1\n\ny = 2\n"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("```\nx\n```", Code("x\n")),
        ("~~~ Python title=a\nx\n~~~~", Code("x\n", "python")),
        ("```python\r\nx\r\n```\r\n", Code("x\n", "python")),
        ("````md\n```\ninner\n```\n````", Code("```\ninner\n```\n", "md")),
        (
            '```py\ndef f():\n    """\n    ```\n    x\n    ```\n    """\n```',
            Code('def f():\n    """\n    ```\n    x\n    ```\n    """\n', "py"),
        ),
        ("```python\ncut = off", Code("cut = off\n", "python")),
    ],
)
def test_fences_are_read_as_commonmark_has_them(text: str, code: Code) -> None:
    assert extract_code(text) == code


def test_of_several_blocks_the_longest_is_meant() -> None:
    text = "```sh\npip install x\n```\n```python\ndef f():\n    return 1\n```\nUse it:\n```python\nf()\n```\n```\n```\n"
    assert extract_code(text) == Code("def f():\n    return 1\n", "python")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "There is no fenced code block."),
        ("Use ```x``` inline", "There is no fenced code block."),
        ("", "There is no fenced code block."),
        ("```python\n\n```", "The fenced code block is empty."),
    ],
)
def test_no_code_is_told_in_a_sentence(text: str, message: str) -> None:
    with pytest.raises(NoCodeError) as caught:
        extract_code(text)
    assert str(caught.value) == message
