"""The page of a run: one HTML file that needs no network. Owns how data gets into it and what it may do.

Text of users and models goes in twice over as data, never as markup: as escaped HTML in the head, as JSON in the body, whose
script puts it into text nodes only. The page's policy allows its own script and style by their hashes, and nothing else:
no request, no other script, no handler in an attribute, no `javascript:` address.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from functools import cache
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any, Final

from vwt_agents.report.data import report_data
from vwt_agents.report.texts import Texts, pack

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from vwt_agents.entries import Entry, RunRecord
    from vwt_agents.report.origins import Others

__all__ = ["report_page"]

_PLAIN: Final = 200_000
"""Characters of texts that stand in the page as they are; more of them are deflated."""
_MOST: Final = 900_000
"""Characters the texts may take there; a run whose prompts are longer has them shortened."""


def report_page(
    record: RunRecord, entries: Sequence[Entry], now: datetime, *, others: Others | None = None, packed: bool = True
) -> str:
    """The page of a run in whatever state it is; `now` is when it is made, `others` are the runs that it has stages from.

    With `packed` False no text is deflated: a longer page, for browsers without DecompressionStream (before 2023).
    """
    texts = Texts()
    data = report_data(record, entries, texts, now, others)
    script, style = _part("page.js"), _part("page.css")
    body, deflated = pack(texts, plain=_PLAIN if packed else 1 << 40, most=_MOST if packed else 1 << 40)
    page = Template(_part("page.html")).substitute(
        script=script,
        script_hash=_hash(script),
        style=style,
        style_hash=_hash(style),
        title=html.escape(f"{record.pipeline}: {record.status} · {record.id}"),
        pipeline=html.escape(record.pipeline),
        status=html.escape(record.status),
        lead=html.escape(_lead(data)),
        run=html.escape(record.id),
        data=_inert(json.dumps(data, ensure_ascii=False, separators=(",", ":"))),
        packed="deflate" if deflated else "",
        texts=body if deflated else _inert(body),
    )
    return page.encode(
        "utf-8", "replace"
    ).decode()  # half a surrogate pair, which a model may answer with, has no UTF-8


def _lead(data: Mapping[str, Any]) -> str:
    """The page's first sentence: what it was, and how it is known."""
    run, verdict = data["run"], data["verdict"]
    if verdict is None:
        return run["error"] or run["doc"] or "No stage of this run gave a verdict."
    level = f"sandbox {verdict.get('backend', '?')}, level {verdict.get('level', '?')}"
    return f"{verdict['reason']} ({level}, integrity {verdict.get('integrity', '?')})"


def _inert(text: str) -> str:
    """JSON that means the same and can end no script element, begin no comment and break no line of an old parser."""
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


@cache
def _part(name: str) -> str:
    return files("vwt_agents.report").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
