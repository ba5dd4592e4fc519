"""The recorded run of pipelines/codegen.py: what a model answered once, and all else as in a real run, the sandbox included.

A test to copy for a pipeline of your own. To record it anew, where the model is installed (docs/testing.md):

    python -m pytest tests/pipelines/test_codegen_replay.py --vwt-record
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vwt_agents.testing import VwtApp

TASK = """\
Write `is_leap(year: int) -> bool`, which says whether a year of the Gregorian calendar is a leap year.

is_leap(2024) => True
is_leap(1900) => False
is_leap(2000) => True
is_leap(2023) => False
"""


async def test_a_module_is_written_proven_and_delivered(vwt_app: VwtApp) -> None:
    inputs = {"task": TASK, "write_tests": "always"}
    result = await vwt_app.run("pipelines/codegen.py", inputs=inputs, recording="codegen")
    assert (result.status, result.exit_code, result.error) == ("good", 0, None)
    assert result.verdict is not None
    assert result.verdict["passed"]
    assert "def is_leap(year: int) -> bool:" in (vwt_app.out / "is_leap.py").read_text()
    assert (vwt_app.out / "notes.md").read_text().startswith("# is_leap: proven")
