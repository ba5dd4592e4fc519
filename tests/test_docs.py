"""The docs say what is: links lead somewhere, the README's pipeline proves what it writes, the layers are those linted."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from vwt_agents.testing import VwtApp

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md")), ROOT / "compose" / "README.md"]


def anchors(page: Path) -> set[str]:
    """What the page's headings are called in links, as GitHub makes it of them."""
    heads = [line.lstrip("#").strip().lower() for line in page.read_text().splitlines() if line.startswith("#")]
    return {re.sub(r"[^\w\- ]", "", head).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_link_within_the_docs_leads_somewhere(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()) if "://" not in link]
    for link in links:
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


async def test_the_first_pipeline_of_the_readme_proves_what_it_writes(tmp_path: Path, vwt_app: VwtApp) -> None:
    code = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)[0]
    (tmp_path / "prove.py").write_text(code)
    for body, status in (("x + x", "good"), ("x", "bad")):
        result = await vwt_app.run(tmp_path / "prove.py", answers=f"def double(x: int) -> int:\n    return {body}\n")
        assert (result.status, result.promoted) == (status, True)


def test_the_layers_of_the_architecture_are_those_that_are_linted() -> None:
    linted = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]["layers"]
    told = re.findall(r"^\| (`.*?) \|", (ROOT / "ARCHITECTURE.md").read_text(), re.MULTILINE)
    assert [set(re.findall(r"\w+", row)) for row in told] == [set(re.findall(r"\w+", row)) for row in linted]
