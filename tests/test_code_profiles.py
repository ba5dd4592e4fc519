"""A model answers with code in the form that suits its family, and code is read from whatever it says."""

from __future__ import annotations

import ast

from hypothesis import given
from hypothesis import strategies as st

from vwt_agents.code_profiles import PLAIN, CodeProfile, code_profile, module_source, stub_of
from vwt_agents.examples import find_stub

STUB = 'def f(x: int) -> int:\n    """Twice x."""'


def test_a_profile_belongs_to_a_family_and_every_model_has_one() -> None:
    assert code_profile("qwen2.5-coder:0.5b-instruct-q4_K_M").enough == 1
    assert code_profile("hf.co/Qwen/Qwen2.5-Coder:7b").completes
    assert code_profile("never-heard-of:7b") == CodeProfile()


def test_a_known_head_is_put_into_the_answer_with_less_than_an_indentation_after_it() -> None:
    profile = code_profile("qwen2.5-coder:7b")
    assert profile.opening(STUB) == f"```python\n{STUB}\n   "
    assert "\ndef " in profile.stops(STUB)
    assert profile.without_head().opening(STUB) == "```python\n"
    assert profile.opening(None) == "```python\n"
    assert profile.stops(None) == ("\n```",)


def test_the_plain_form_prefills_nothing() -> None:
    assert (PLAIN.opening(STUB), PLAIN.stops(STUB)) == ("", ())


def test_a_stub_is_the_task_s_own_or_made_from_its_signature_and_words() -> None:
    assert stub_of(STUB, "def f(x: int) -> int:", find_stub(STUB)) == STUB
    made = stub_of('Write `g(a)` """now"""\nquick.\n\nMore.', "def g(a):", None)
    assert made is not None
    ast.parse(made)
    assert "now'" in made
    assert "More" not in made
    assert stub_of("Write something.", None, None) is None


def test_a_module_keeps_definitions_and_loses_what_would_run_or_was_cut_off() -> None:
    said = "import re\n\nLIMIT = 3\n\n\n@once\ndef f(x):\n    return x\n\nprint(f(1))\n\ndef g(y):\n    return (y"
    assert module_source(said) == "import re\n\nLIMIT = 3\n\n@once\ndef f(x):\n    return x\n"
    assert module_source("no code at all!") == "no code at all!\n"


def test_what_stands_above_a_stub_is_put_back_where_the_answer_left_it_out() -> None:
    stub = 'import math\nfrom typing import List\n\n\ndef helper(a):\n    return a\n\n\ndef f(b):\n    """Do."""'
    answer = "import math\n\n\ndef f(b):\n    return helper(b)\n"
    assert module_source(answer, stub=stub) == (
        "from typing import List\n\ndef helper(a):\n    return a\n\nimport math\n\ndef f(b):\n    return helper(b)\n"
    )
    assert module_source(answer, stub="def f(:") == "import math\n\ndef f(b):\n    return helper(b)\n"


@given(st.text(alphabet="def f(x):\n    return 1'\"#@=[]", max_size=60))
def test_whatever_a_model_says_gives_a_text_with_an_end(text: str) -> None:
    assert module_source(text).endswith("\n")
