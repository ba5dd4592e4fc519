"""`python -m vwt_agents`: the command line, its exit codes and the shape of its error messages."""

from __future__ import annotations

import io
import sys


def main() -> None:
    """Run the command line and exit with its code."""
    from vwt_agents.cli import run_cli

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # half a surrogate pair in an answer must not end the command
    sys.exit(run_cli(sys.argv[1:]))


if __name__ == "__main__":
    main()
