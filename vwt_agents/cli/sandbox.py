"""`sandbox check | run | test`: what protects this machine, one program under it, one verdict. Owns exit codes and printing.

Never lets a program's control characters reach a terminal: output goes through untouched only when stdout is no terminal.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from vwt_agents.cli.options import Group, duration, run_async
from vwt_agents.printable import printable

if TYPE_CHECKING:
    from vwt_agents.sandbox.base import Limits, SandboxResult
    from vwt_agents.sandbox.detect import Finding
    from vwt_agents.sandbox.judge import Choice, Verdict
    from vwt_agents.sandbox.pytest_inside import PytestFound
    from vwt_agents.types import Seconds

__all__ = ["sandbox"]

_STOPPED = 124
_Command = TypeVar("_Command", bound=Callable[..., Any])


@click.group(cls=Group)
def sandbox() -> None:
    """Run programs, and judge code by its tests, apart from this machine."""


def _options(command: _Command) -> _Command:
    add = (
        click.option(
            "--backend",
            default="auto",
            show_default=True,
            help="auto, bubblewrap, namespaces, docker, podman, landlock (less), or unsafe (no sandbox).",
        ),
        click.option(
            "--allow-reduced", is_flag=True, help="Take the landlock backend (level reduced) when nothing better works."
        ),
        click.option("--timeout", type=duration, metavar="TIME", help="Wall clock limit, such as 30s or 2m."),
        click.option("--memory", default=None, metavar="SIZE", help="Memory of all its processes, such as '1 GiB'."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
    )
    for option in reversed(add):
        command = option(command)
    return command


@sandbox.command()
@click.option("--allow-reduced", is_flag=True, help="Count the landlock backend (level reduced) as good enough.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(allow_reduced: bool, as_json: bool) -> None:
    """Attack each backend from inside and say what each holds; exit 3 when none does. Says too when pytest is missing there."""
    from dataclasses import asdict

    from vwt_agents.sandbox.detect import ALL, ORDER, probe
    from vwt_agents.sandbox.service import Sandbox

    async def probe_all() -> tuple[list[Finding], Finding | None, PytestFound | None]:
        findings = [await probe(name) for name in ALL]
        order = (*ORDER, "landlock") if allow_reduced else ORDER
        best = next((one for one in findings if one.works and one.name in order), None)
        sandbox = await Sandbox.open(best.name, allow_reduced=allow_reduced) if best else None
        return findings, best, await sandbox.find_pytest() if sandbox else None

    findings, best, tests = run_async(probe_all)
    if as_json:
        chosen = {"backend": best.name if best else None, "level": best.level if best else None}
        inside = asdict(tests) if tests else None
        click.echo(json.dumps({**chosen, "pytest": inside, "findings": [_finding_as_json(one) for one in findings]}))
    else:
        for one in findings:
            _print_finding(one)
        used = f"runs use: {best.name} (level {best.level})" if best else "no sandbox works here, so code is not run"
        click.echo(used, err=best is None)
        if tests:
            click.echo(
                f"tests are run by {tests.reason}" if tests.works else f"no tests can be run: {printable(tests.reason)}"
            )
        if tests and tests.fix:
            click.echo(f"       fix: {tests.fix}")
    sys.exit(0 if best else 3)


def _finding_as_json(one: Finding) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(one), "missing": list(one.missing), "when": one.when}


def _print_finding(one: Finding) -> None:
    click.echo(f"{'works' if one.works else 'no':5}  {one.name} (level {one.level}): {printable(one.reason)}")
    if one.works:
        click.echo(f"       enforced: {', '.join(one.enforced)}")
    if one.missing:
        click.echo(f"       not enforced: {', '.join(one.missing)}")
    if one.works and one.when:
        click.echo(f"       {one.when}")
    if one.fix:
        click.echo(f"       fix: {one.fix}")


@sandbox.command()
@click.argument("workdir", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("file")
@click.option("--stdin", "feed", is_flag=True, help="Pass standard input on to the program.")
@_options
def run(
    workdir: Path,
    file: str,
    feed: bool,
    backend: str,
    allow_reduced: bool,
    timeout: Seconds | None,
    memory: str | None,
    as_json: bool,
) -> None:
    """Run FILE, a Python file of WORKDIR, in a copy of it; its output and exit code pass through, 124 = stopped by a limit."""
    if not (workdir / file).is_file():
        raise click.UsageError(f"{workdir} has no file {file!r}")
    data = sys.stdin.buffer.read() if feed else b""
    limits = _limits(timeout or 10, memory, keep_all=True)

    async def go() -> SandboxResult:
        from vwt_agents.sandbox.service import Sandbox

        opened = await Sandbox.open(backend, allow_reduced=allow_reduced, allow_unsafe=backend == "unsafe")
        return await opened.run(workdir, file, stdin=data, limits=limits)

    result = run_async(go)
    if as_json:
        click.echo(json.dumps(_result_as_json(result)))
    else:
        _pass_through(sys.stdout, result.stdout)
        _pass_through(sys.stderr, result.stderr)
    for note in (*result.notes, *_stop_note(result)):
        click.echo(printable(note), err=True)
    sys.exit(_STOPPED if result.stopped else _exit_code(result))


@sandbox.command()
@click.argument("code_dir", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("tests_dir", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--integrity",
    type=click.Choice(["auto", "isolated", "same-process"]),
    default="auto",
    show_default=True,
    help="Whether code and tests are kept in sandboxes of their own.",
)
@click.option(
    "--accept",
    multiple=True,
    metavar="SUSPICION",
    help="A suspicion, word for word as a verdict gives it, that does not count. May be given more than once.",
)
@_options
def test(
    code_dir: Path,
    tests_dir: Path,
    integrity: Choice,
    accept: tuple[str, ...],
    backend: str,
    allow_reduced: bool,
    timeout: Seconds | None,
    memory: str | None,
    as_json: bool,
) -> None:
    """Judge the code in CODE_DIR by the tests in TESTS_DIR: exit 0 when every test truly passed, 1 when not."""
    from vwt_agents.sandbox.judge import declared_tests

    code, tests = _read_folder(code_dir), _read_folder(tests_dir)
    if not declared_tests(tests):
        raise click.UsageError(f"{tests_dir} has no tests: no test function in a file named test_*.py or *_test.py")
    limits = _limits(timeout or 30, memory)

    async def go() -> Verdict:
        from vwt_agents.sandbox.service import Sandbox

        opened = await Sandbox.open(backend, allow_reduced=allow_reduced, allow_unsafe=backend == "unsafe")
        return await opened.test(code, tests, limits=limits, integrity=integrity, accepted=accept)

    verdict = run_async(go)
    if as_json:
        from dataclasses import asdict

        click.echo(json.dumps(asdict(verdict)))
    else:
        _print_verdict(verdict)
    sys.exit(0 if verdict.passed else 1)


def _limits(wall: Seconds, memory: str | None, *, keep_all: bool = False) -> Limits:
    from vwt_agents.sandbox.base import Limits
    from vwt_agents.types import parse_size

    try:
        most = parse_size(memory) if memory else Limits().memory_mib
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    output = Limits().output_mib
    space = max(most, Limits().address_space_mib or 0)
    keep = 2 * output * 1024 if keep_all else Limits().keep_kib
    return Limits(wall_s=wall, cpu_s=max(1, round(wall + 1)), memory_mib=most, address_space_mib=space, keep_kib=keep)


def _read_folder(folder: Path) -> dict[str, str]:
    skip = {".git", "__pycache__", ".venv", ".pytest_cache"}
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_file() or skip & set(path.relative_to(folder).parts):
            continue
        try:
            found[str(path.relative_to(folder))] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            click.echo(f"left out, because it is no text: {path}", err=True)
    return found


def _result_as_json(result: SandboxResult) -> dict[str, Any]:
    from dataclasses import fields

    row = {one.name: getattr(result, one.name) for one in fields(result) if one.name != "artifacts"}
    texts = {name: row[name].decode(errors="backslashreplace") for name in ("stdout", "stderr")}
    return {**row, **texts, "enforced": sorted(result.enforced)}


def _exit_code(result: SandboxResult) -> int:
    return result.exit_code if result.exit_code is not None else 128 + (result.signal or 0)


def _stop_note(result: SandboxResult) -> tuple[str, ...]:
    if result.stopped:
        return (f"stopped by the {result.stopped} limit after {result.wall_s:.1f} s",)
    if result.exit_code is None and result.signal:
        return (f"ended by {signal.Signals(result.signal).name}",)
    return ()


def _pass_through(stream: Any, data: bytes) -> None:
    if stream.isatty():
        stream.write(printable(data.decode(errors="backslashreplace")))
    else:
        stream.buffer.write(data)
    stream.flush()


def _print_verdict(verdict: Verdict) -> None:
    click.echo(f"{'passed' if verdict.passed else 'failed'}: {printable(verdict.reason)}")
    for failure in verdict.failures:
        click.echo(f"\n{printable(failure.test)}  {printable(failure.kind)}")
        click.echo("\n".join(f"  {line}" for line in printable(failure.message).splitlines()))
    for suspicion in verdict.suspicions:
        click.echo(f"suspicious: the code {printable(suspicion)}", err=True)
    known = f"{verdict.integrity}, level {verdict.level}, {verdict.backend}, {verdict.seconds:.2f} s"
    click.echo(f"{verdict.tests_passed} of {verdict.tests_run} tests passed ({known})", err=True)
