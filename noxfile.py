"""Plain `nox` runs what CI runs, in the environment it is called from."""

import nox

nox.options.sessions = ["lint", "types", "tests"]
nox.options.default_venv_backend = "none"


@nox.session
def lint(session: nox.Session) -> None:
    """Format, lint and layers."""
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """Types, strictly."""
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """The README's test command, with coverage by branch."""
    session.run("python", "-m", "pytest", "--cov", *session.posargs)
