"""What models and their programs wrote is shown by no command in a way that a terminal obeys."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from vwt_agents.cli import run_cli, run_pages
from vwt_agents.cli.options import emit_json
from vwt_agents.printable import printable

OBEYED = "a\x1b]0;t\x07\x9b\u202e\n\t"


def test_a_terminal_is_never_obeyed() -> None:
    assert printable(OBEYED) == "a\\x1b]0;t\\x07\\x9b\\x202e\n\t"


def test_json_means_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    emit_json({"text": OBEYED})
    out = capsys.readouterr().out
    assert json.loads(out) == {"text": OBEYED}
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(out)


def test_an_error_is_told_in_plain_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["run", "\x9b2J.py"]) == 2
    assert "\x9b" not in capsys.readouterr().err


def test_a_report_commands_no_terminal_and_is_whole_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "report.md").write_text(OBEYED, encoding="utf-8")
    record = SimpleNamespace(id="r1", out_dir=str(tmp_path))
    monkeypatch.setattr(run_pages, "run_async", lambda _: record)
    said = []
    for width in (None, 80):
        monkeypatch.setattr(run_pages, "terminal_width", lambda width=width: width)
        run_pages._print_report("r1")
        said.append(capsys.readouterr().out)
    assert said == [OBEYED, printable(OBEYED)]
