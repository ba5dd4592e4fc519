"""A page is one file that asks for nothing and obeys no text of a model: what is in it is data."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from datetime import timedelta
from html.parser import HTMLParser
from importlib import resources
from typing import Any, get_args

import pytest
from made_run import BEGAN, many_calls, random_words, record_of
from report_runs import EVIL, Ran

from vwt_agents.board import StageStatus
from vwt_agents.report import report_page

LATER = BEGAN + timedelta(days=400)


class Parsed(HTMLParser):
    """The elements of a page with their attributes, and the text in each script and style."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.raw: list[tuple[str, dict[str, str | None], str]] = []
        self._in_raw = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in {"script", "style"}:
            self.raw.append((tag, dict(attrs), ""))
            self._in_raw = True

    def handle_endtag(self, tag: str) -> None:
        self._in_raw = False

    def handle_data(self, data: str) -> None:
        if self._in_raw:
            tag, attributes, before = self.raw[-1]
            self.raw[-1] = (tag, attributes, before + data)


def data_of(page: str) -> Any:
    return next(json.loads(text) for tag, attributes, text in Parsed(page).raw if attributes.get("id") == "data")


def test_hostile_text_adds_no_element_and_comes_back_as_it_was(ran: Ran) -> None:
    page = ran.page
    parsed = Parsed(page)
    tags = [tag for tag, _ in parsed.elements]
    assert (tags.count("script"), tags.count("img"), tags.count("b")) == (3, 0, 0)
    texts = next(json.loads(text) for _, attributes, text in parsed.raw if attributes.get("id") == "texts")
    evil = EVIL.replace("\udc80", "")
    assert evil in texts
    assert not [attributes for _, attributes in parsed.elements if any(name.startswith("on") for name in attributes)]


def test_hostile_names_and_half_surrogate_pairs_are_no_markup_either() -> None:
    evil = record_of(pipeline=f"p{EVIL}", id='r"><script>', file=EVIL, out_dir=EVIL, status="failed")
    page = report_page(evil, many_calls(1, words=[EVIL]), LATER)
    page.encode("utf-8")
    assert [tag for tag, _ in Parsed(page).elements].count("script") == 3
    assert data_of(page)["run"]["id"] == 'r"><script>'


def test_the_policy_allows_this_script_and_this_style_and_nothing_else(ran: Ran) -> None:
    parsed = Parsed(ran.page)
    policy = next(one["content"] for tag, one in parsed.elements if tag == "meta" and "http-equiv" in one)
    rules = dict(rule.strip().split(" ", 1) for rule in (policy or "").split(";"))
    assert rules["default-src"] == "'none'"
    for name, tag in (("script-src", "script"), ("style-src", "style")):
        (text,) = [text for found, attributes, text in parsed.raw if found == tag and not attributes]
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[name] == f"'sha256-{digest}'"
    assert set(rules) == {"default-src", "script-src", "style-src", "base-uri", "form-action"}


def test_the_page_names_no_address_of_any_network(ran: Ran) -> None:
    parsed = Parsed(ran.page)
    script = "".join(text for tag, attributes, text in parsed.raw if tag in {"script", "style"} and not attributes)
    assert set(re.findall(r"https?://[^\s\"']+", script)) == {"http://www.w3.org/2000/svg"}  # a name, never fetched
    assert "url(" not in script.replace("url(#tip)", "")
    assert not [one for _, one in parsed.elements if set(one) & {"src", "srcset", "data", "action"}]
    assert [one["href"] for _, one in parsed.elements if "href" in one] == ["#main"]


def test_without_javascript_the_page_says_how_the_run_ended_and_where_to_read_on(ran: Ran) -> None:
    head = ran.page.partition("<script")[0]
    assert "3 of 3 tests passed" in head
    assert f"runs show {ran.record.id}" in head


def test_five_hundred_calls_take_less_than_a_megabyte_and_a_half() -> None:
    entries = many_calls(500, words=random_words())
    page = report_page(record_of(), entries, LATER)
    assert sum(len(str(text)) for entry in entries for text in entry.texts) > 1_500_000
    assert len(page.encode()) < 1_500_000
    assert len(data_of(page)["calls"]) == 500


def test_an_unpacked_page_holds_its_texts_as_they_are() -> None:
    entries = many_calls(200, words=["some", "words", "and", "more"])
    packed, plain = (report_page(record_of(), entries, LATER, packed=packed) for packed in (True, False))
    assert 'data-packed="deflate"' in packed
    assert 'data-packed=""' in plain
    assert "You are careful." in plain


@pytest.mark.parametrize("status", get_args(StageStatus))
def test_every_status_of_a_stage_has_a_colour_in_the_graph(status: str) -> None:
    style = resources.files("vwt_agents.report").joinpath("page.css").read_text(encoding="utf-8")
    assert re.search(rf"svg \.node [^{{}}]*\.s-{status}\b", style)
