"""Sandbox, the service a pipeline's stages hold: run files, or judge code by its tests, in a sandbox that was proven here.

Never runs anything outside a sandbox unless the user allowed it, and never replaces a backend the user chose.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from vwt_agents.sandbox.base import Backend, Limits, SandboxResult, python

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import anyio

    from vwt_agents.sandbox.detect import Finding
    from vwt_agents.sandbox.judge import Choice, Verdict
    from vwt_agents.sandbox.outputs import OutputCase
    from vwt_agents.sandbox.pytest_inside import PytestFound

__all__ = ["Sandbox"]


class Sandbox:
    """Runs code apart from this machine, at most as many programs at a time as there are cores."""

    __vwt_role__: ClassVar[str] = "service"

    def __init__(self, backend: Backend, *, limits: Limits | None = None, accepted: Collection[str] = ()) -> None:
        self.backend = backend
        self.limits = limits or Limits()
        self.accepted = frozenset(accepted)
        self._turns: anyio.CapacityLimiter | None = None

    def accepting(self, suspicions: Collection[str]) -> Sandbox:
        """This sandbox, in which these suspicions count for nothing: words of `Verdict.suspicions`, as the user named them."""
        made = Sandbox(self.backend, limits=self.limits, accepted=self.accepted | frozenset(suspicions))
        vars(made)["_turns"] = self._limiter()  # they take turns with each other
        return made

    @classmethod
    async def open(
        cls,
        backend: str = "auto",
        *,
        allow_reduced: bool = False,
        allow_unsafe: bool = False,
        limits: Limits | None = None,
    ) -> Sandbox:
        """A sandbox on the backend asked for, or the best that works here; SandboxUnavailable with reasons and fixes.

        `backend` is `auto`, `bubblewrap`, `namespaces`, `docker` or `podman`; `landlock` (level `reduced`) needs
        `allow_reduced`, and `unsafe` (no sandbox at all) `allow_unsafe` too.
        """
        from vwt_agents.sandbox.detect import choose

        return cls(await choose(backend, allow_reduced=allow_reduced, allow_unsafe=allow_unsafe), limits=limits)

    async def check(self) -> tuple[Finding, ...]:
        """What works here: one finding per backend, each proven by a self-test."""
        from vwt_agents.sandbox.detect import ALL, probe

        return tuple([await probe(name) for name in ALL])

    async def find_pytest(self) -> PytestFound:
        """Whether tests can be judged here: pytest, as programs in this sandbox import it, or why they cannot and the cure."""
        from vwt_agents.sandbox.pytest_inside import look_for_pytest

        return await look_for_pytest(self.backend)

    async def test(
        self,
        code: Mapping[str, str] | str,
        tests: Mapping[str, str] | str,
        *,
        limits: Limits | None = None,
        integrity: Choice = "auto",
        accepted: Collection[str] = (),
        paths: Sequence[str] = (),
    ) -> Verdict:
        """Whether the tests truly pass on the code: file name -> text, or one text (`solution.py`, `test_solution.py`).

        `integrity`: `auto` keeps code and tests apart where the tests allow it; `isolated` and `same-process` insist.
        `accepted` are suspicions that do not count. `paths` are folders of tests and code that are imported from beside
        their tops, such as `src`. What a verdict proves is in docs/verdicts.md.
        """
        from vwt_agents.sandbox.judge import judge

        async with self._limiter():
            return await judge(
                self.backend,
                _files(code, "solution.py"),
                _files(tests, "test_solution.py"),
                limits=limits or self.limits,
                integrity=integrity,
                accepted={*accepted, *self.accepted},
                paths=paths,
            )

    async def green(
        self, stub: Mapping[str, str] | str, tests: Mapping[str, str] | str, *, limits: Limits | None = None
    ) -> tuple[str, ...]:
        """The ids of tests that pass against a stub: whatever the code does, they prove nothing."""
        from vwt_agents.sandbox.judge import green

        async with self._limiter():
            return await green(
                self.backend,
                _files(stub, "solution.py"),
                _files(tests, "test_solution.py"),
                limits=limits or self.limits,
            )

    async def test_output(
        self, files: Mapping[str, str], entry: str, cases: Sequence[OutputCase], *, limits: Limits | None = None
    ) -> Verdict:
        """Whether a program that reads stdin prints what it must, case by case; each is compared out of the program's reach."""
        from vwt_agents.sandbox.outputs import judge_outputs

        return await judge_outputs(self, files, entry, cases, limits=limits)

    async def run(
        self,
        files: Mapping[str, str] | Path,
        entry: str | Sequence[str],
        *,
        stdin: bytes = b"",
        limits: Limits | None = None,
        collect: Sequence[str] = (),
    ) -> SandboxResult:
        """Run a Python file of `files` (or, given a sequence, that command) in a copy of them.

        `files` is file name -> text, or a folder; `collect` are patterns of produced files to keep. Snippets get 10 s unless `limits` says otherwise.
        """  # noqa: E501
        from vwt_agents.sandbox.folders import stage_folder, write_files
        from vwt_agents.sandbox.judge import checked_files

        argv = (python(), "-B", entry) if isinstance(entry, str) else tuple(entry)
        limits = limits or replace(self.limits, wall_s=min(10.0, self.limits.wall_s))
        async with self._limiter():
            if isinstance(files, Path):
                return await self.backend.run(argv, workdir=files, limits=limits, stdin=stdin, collect=collect)
            with stage_folder() as stage:
                work = write_files(Path(stage), checked_files(files))
                return await self.backend.run(argv, workdir=work, limits=limits, stdin=stdin, collect=collect)

    def _limiter(self) -> anyio.CapacityLimiter:
        import anyio

        if self._turns is None:
            self._turns = anyio.CapacityLimiter(os.cpu_count() or 1)
        return self._turns


def _files(given: Mapping[str, str] | str, name: str) -> Mapping[str, str]:
    return {name: str(given)} if isinstance(given, str) else given
