"""Promises of what a recording never holds, as far as patterns can know it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vwt_agents.testing.redaction import redacted, redactor

SECRETS = {
    "key sk-proj-abcDEF0123456789abcDEF0123 used": "key <key> used",
    "sk-ant-api03-AAAAaaaa0000AAAAaaaa0000": "<key>",
    "ghp_" + "a1B2" * 9: "<token>",
    "github_pat_" + "a1B2_" * 8: "<token>",
    "hf_" + "abCD" * 9: "<token>",
    "xoxb-123456789012-abcdef": "<token>",
    "AKIAIOSFODNN7EXAMPLE": "<key>",
    "AIza" + "a" * 35: "<key>",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmN": "<token>",
    "Authorization: Bearer abcdefghijklmnop1234": "Authorization: Bearer <token>",
    'api_key = "q9w8e7r6t5y4"': 'api_key = "<secret>"',
    "DB_PASSWORD=hunter22hunter": "DB_PASSWORD=<secret>",
    '{"access_token": "abc123def456"}': '{"access_token": "<secret>"}',
    "postgres://bob:s3cret@db/x": "postgres://bob:<password>@db/x",
    "mail ada.l+x@example.co.uk now": "mail <email> now",
    "/home/ada/src/a.py and /Users/ada/x": "/home/<user>/src/a.py and /Users/<user>/x",
    r"C:\Users\Ada\x": r"C:\Users\<user>\x",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\n": "<private key>\n",
}
HARMLESS = [
    "def token(text: str) -> str: ...",
    "tokens = tokenize(source)",
    "password: str = ''",
    "secret = secrets.token_hex(16)",
    "x @ y",
    "@pytest.mark.asyncio",
    "is_leap(2024) => True",
    "risk-based approach to task-scheduling-with-deadlines",
    "basic arithmetic, sk-learn",
]


@pytest.mark.parametrize(("text", "clean"), SECRETS.items())
def test_what_looks_like_a_secret_is_replaced(text: str, clean: str) -> None:
    assert redacted(text) == clean


@pytest.mark.parametrize("text", HARMLESS)
def test_code_that_only_talks_of_secrets_is_left_as_it_is(text: str) -> None:
    assert redacted(text) == text


@settings(max_examples=30)
@given(st.lists(st.sampled_from([*SECRETS, *HARMLESS]) | st.text()).map(" ".join))
def test_a_clean_text_stays_as_it_is(text: str) -> None:
    once = redacted(text)
    assert redacted(once) == once


def test_the_users_own_function_comes_after_the_patterns() -> None:
    clean = redactor(lambda text: text.replace("Acme", "<customer>"))
    assert clean("Acme pays ada@acme.com") == "<customer> pays <email>"
