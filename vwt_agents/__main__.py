"""`python -m vwt_agents`: the command line, its exit codes and the shape of its error messages."""

from __future__ import annotations

import atexit
import os
import sys

INTERRUPTED = 130


def main() -> None:
    """Run the command line and exit with its code."""
    _open_closed()
    try:
        import io

        from vwt_agents.cli import run_cli

        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(
                    errors="backslashreplace"
                )  # half a surrogate pair in an answer must not end the command
        code = run_cli(sys.argv[1:])
    except KeyboardInterrupt:  # before there was anybody to handle it
        sys.stderr.write("\ninterrupted\n")
        code = INTERRUPTED
    if code == INTERRUPTED:
        # Python ends itself by SIGINT where an interrupt once came up through exec() of a text, as in the making of a
        # dataclass, however it was handled then. All is closed by now: leave with the code that was promised.
        atexit._run_exitfuncs()  # noqa: SLF001 - what was to be done at the end is: os._exit leaves it out
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _open_closed() -> None:
    """Streams this was started without (`>&-`) lead nowhere, and no file that is opened later takes their place."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):  # in this order: each gets the lowest number
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - pathlib takes time


if __name__ == "__main__":
    main()
