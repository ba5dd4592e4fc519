"""A prompt that was cut is told from its counts, and a prompt that was not never is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from vwt_agents.endpoints.truncation import Window, runs

WORDS = st.lists(
    st.sampled_from(["def", "word", "x86_64", "naïve", "長い文字列", "==", "a.b.c", "\n\n", "1234567"]), max_size=600
)


def taught(times: int = 3, density: float = 2.0) -> Window:
    window, text = Window(), "word " * 40
    for _ in range(times):
        assert window.judge((text,), 4096, int(40 * density)) is None
    return window


def test_a_run_of_letters_or_digits_is_at_least_one_token_and_signs_are_none() -> None:
    assert runs(["def f(x1): return x1 + 22"]) == 8
    assert runs(["a" * 300]) == 3
    assert runs([" -- == \n"]) == 0


def test_fewer_tokens_than_the_text_can_have_are_a_cut_with_the_numbers() -> None:
    assert Window().judge(("word " * 3000,), 2048, 1026) == "it read 1026 tokens of a prompt that has at least 3000"


def test_a_context_that_is_full_before_the_answer_begins_is_refused() -> None:
    assert "filled the whole context" in (Window().judge(("a.b " * 900,), 2048, 2048) or "")


def test_the_half_that_ollama_keeps_gives_away_a_text_that_by_all_that_was_seen_overflows() -> None:
    text = ("word " * 1200,)
    assert Window().judge(text, 2048, 1230) is None
    assert taught(2).judge(text, 2048, 1026) is not None  # fewer than its words: certain in any case
    thin = ("word " * 1000,)
    assert taught(2, density=2.4).judge(thin, 2048, 1026) is None
    assert "some 2400" in (taught(3, density=2.4).judge(thin, 2048, 1026) or "")


def test_a_server_that_does_not_count_is_not_judged() -> None:
    assert Window().judge(("word " * 9000,), 2048, 0) is None


def test_a_model_whose_tokens_reach_over_words_teaches_so() -> None:
    window = taught(1, density=0.5)
    assert window.judge(("word " * 3000,), 4096, 1600) is None
    assert window.judge(("word " * 3000,), 4096, 1400) is not None


@given(WORDS, st.floats(1.0, 4.0), st.lists(st.tuples(WORDS, st.floats(1.0, 1.9)), max_size=6), st.integers(256, 8192))
def test_a_prompt_that_was_read_whole_is_never_refused(words, thinnest, lessons, num_ctx) -> None:
    """For every tokenizer that gives a word a token, as long as texts are at least half as dense as the thinnest before."""
    window = Window()
    for told, more in lessons:
        text = " ".join(told)
        window.judge((text,), 8 * len(text.encode()) + 2000, int(runs([text]) * thinnest * more) + 1)
    text = " ".join(words)
    counted = int(runs([text]) * thinnest) + 1
    if counted < num_ctx - 1:
        assert window.judge((text,), num_ctx, counted) is None


@given(st.integers(40, 4000), st.integers(128, 4096))
def test_a_prompt_of_twice_its_window_is_always_caught(words: int, num_ctx: int) -> None:
    if words >= num_ctx:
        kept = num_ctx - max((num_ctx - 4) // 2, 1)
        assert (Window().judge(("word " * words,), num_ctx, kept) is None) == (kept + 16 >= words)
