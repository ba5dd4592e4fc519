"""How large report.html is and how fast it opens in a real browser.

python bench/report.py [--calls 500] [--words 300] [--rounds 9] [--pictures FOLDER] [--json]

The page is of a run of so many calls, each with a prompt and an answer of its own of `--words` random words, which deflate
badly: real prompts repeat one another. Opened is from navigation until the page's script is done and a frame was shown, in a
fresh context of headless Chromium, which is started once; next to a page of one paragraph. --pictures keeps screenshots:
light, dark, phone. Needs Chromium and `pip install -e '.[browser]'`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from made_run import BEGAN, many_calls, random_words, record_of

from vwt_agents.report import report_page

if TYPE_CHECKING:
    from collections.abc import Sequence

BARE = "<!doctype html><meta charset=utf-8><title>bare</title><p>A paragraph."
SCREENS = {"light": (1200, "light"), "dark": (1200, "dark"), "phone": (390, "light")}


def open_in(
    browser: Any,
    file: Path,
    *,
    ready: bool = True,
    width: int = 1200,
    scheme: str = "light",
    picture: Path | None = None,
) -> float:
    """Milliseconds from navigation until the page says that it is `ready` and a frame of it was shown."""
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    try:
        page = context.new_page()
        page.goto(file.absolute().as_uri())
        if ready:
            page.wait_for_selector("html[data-ready]", state="attached")
        took = page.evaluate(
            "new Promise(seen => requestAnimationFrame(() => setTimeout(() => seen(performance.now()))))"
        )
        if picture is not None:
            page.screenshot(path=str(picture))
        return float(took)
    finally:
        context.close()


def measure(file: Path, rounds: int, pictures: Path | None) -> dict[str, float]:
    """Medians in ms of the page and of a bare one, opened in turn."""
    from playwright.sync_api import sync_playwright

    bare = file.with_name("bare.html")
    bare.write_text(BARE, encoding="utf-8")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as started:
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium's own refuses to work for root
        browser = started.chromium.launch(executable_path=chromium, args=[*sandbox, "--disable-gpu"])
        open_in(browser, bare, ready=False)
        taken = [(open_in(browser, file), open_in(browser, bare, ready=False)) for _ in range(rounds)]
        if pictures is not None:
            pictures.mkdir(parents=True, exist_ok=True)
            for name, (width, scheme) in SCREENS.items():
                open_in(browser, file, width=width, scheme=scheme, picture=pictures / f"{name}.png")
        browser.close()
    ours, theirs = zip(*taken, strict=True)
    return {"open_ms": statistics.median(ours), "slowest_ms": max(ours), "bare_ms": statistics.median(theirs)}


def main(words: Sequence[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--words", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--pictures", type=Path, metavar="FOLDER")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "report.html")
        ended = BEGAN + timedelta(seconds=given.calls / 10 + 1)
        calls = many_calls(given.calls, words=random_words(), each=given.words)
        page = report_page(record_of(ended_at=ended), calls, ended)
        file.write_text(page, encoding="utf-8")
        found = {"calls": given.calls, "mb": file.stat().st_size / 1e6, **measure(file, given.rounds, given.pictures)}
    if given.json:
        print(json.dumps(found))
        return 0
    print(f"{found['calls']} calls: {found['mb']:.2f} MB")
    print(
        f"opens in {found['open_ms']:.0f} ms (slowest {found['slowest_ms']:.0f}); a bare page in {found['bare_ms']:.0f} ms"
    )
    print(
        f"load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, {platform.system()} {platform.release()}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
