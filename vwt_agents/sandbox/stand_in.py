"""Stands in for the code in the sandbox of its tests: the tests import it as ever, and every call goes to another sandbox.

What comes back is plain data of exact types, an exception, or an object that stays there and is asked. What the code answers is
never a reason to run the tests in its own process: only what the tests themselves do is.
"""

# No pathlib: its import would be a good part of this program's start-up. Paths are those of the sandbox.
# ruff: noqa: PTH118, PTH120, PTH123

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

from vwt_agents.sandbox.asking import Link, connect
from vwt_agents.sandbox.code_modules import Finder
from vwt_agents.sandbox.counting import teach
from vwt_agents.sandbox.driver import drive
from vwt_agents.sandbox.exchange import Exchange

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["install", "main"]


def install(fd: int, names: str, tests: str, tell: Callable[..., None]) -> None:
    """Make the code's modules, which the file `names` lists, importable here; requests go out on `fd`.

    The file also lists lines of the tests, which are in the folder `tests`: `made`, `worked` and `guarded` of `made_lines`.
    """
    with open(names, encoding="utf-8") as file:
        said = json.load(file)
    os.set_inheritable(fd, False)  # noqa: FBT003
    link = Link(fd, said["modules"], tell, Exchange)
    for kind in ("made", "worked", "guarded"):
        setattr(link, kind, {os.path.join(tests, name): lines for name, lines in said[kind].items()})
    connect(link)
    teach()
    sys.meta_path.append(Finder(said["modules"], said["packages"]))


def main(records: str, sentinel: str, tests: str, link: str) -> None:
    """Run the tests with the code elsewhere."""
    names = os.path.join(os.path.dirname(sentinel), "code.json")
    drive(int(records), sentinel, tests, lambda tell, _paths: install(int(link), names, tests, tell))
