"""Licences by id. Owns the recognition of well-known licence texts; never decides whether one is allowed."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["licence_id"]

# A model with two licences is bound by both, and restrictive texts quote open ones: so look for these first, anywhere.
_RESTRICTIVE: Final[tuple[tuple[str, str], ...]] = (
    (r"llama[ -]*4 community licen[cs]e|\bllama-?4\b", "llama4"),
    (r"llama[ -]*3\.3 community licen[cs]e|\bllama-?3\.3\b", "llama3.3"),
    (r"llama[ -]*3\.2 community licen[cs]e|\bllama-?3\.2\b", "llama3.2"),
    (r"llama[ -]*3\.1 community licen[cs]e|\bllama-?3\.1\b", "llama3.1"),
    (r"llama[ -]*3 community licen[cs]e|\bllama-?3\b", "llama3"),
    (r"llama[ -]*2 community licen[cs]e|\bllama-?2\b", "llama2"),
    (r"qwen research licen[cs]e|\bqwen-research\b", "qwen-research"),
    (r"qianwen licen[cs]e|\bqwen licen[cs]e|\btongyi-qianwen\b", "qwen"),
    (r"gemma terms of use|\bgemma\b", "gemma"),
    (r"mistral ai (research|non-production) licen[cs]e|\b(mrl|mnpl)\b", "mistral-research"),
    (r"deepseek (model )?licen[cs]e", "deepseek"),
    (r"openrail", "openrail"),
    (r"\bcc[ -]by[ -]nc\b|attribution-?non-?commercial", "cc-by-nc"),
)
_OPEN: Final[tuple[tuple[str, str], ...]] = (
    (r"\bapache[- ]?(licen[cs]e)?[, ]*(version |v)?2(\.0)?\b", "apache-2.0"),
    (r"^mit$|\bmit licen[cs]e\b|permission is hereby granted, free of charge", "mit"),
    (r"redistribution and use in source and binary forms|\bbsd-[23]-clause\b", "bsd"),
)
_TITLE: Final = 300  # a custom licence may name an open one further down: only one named at the top counts


def licence_id(text: str) -> str:
    """A short id such as `apache-2.0`, `mit`, `llama2` or `gemma` for a licence's id, name or full text.

    `unknown` for a text that is none of the well-known ones, and empty where there is no text at all.
    """
    flat = " ".join(text.split()).lower()
    for pattern, name in _RESTRICTIVE:
        if re.search(pattern, flat):
            return name
    for pattern, name in _OPEN:
        if re.search(pattern, flat[:_TITLE]):
            return name
    return flat if not flat or re.fullmatch(r"[a-z0-9][a-z0-9.+-]{0,39}", flat) else "unknown"
