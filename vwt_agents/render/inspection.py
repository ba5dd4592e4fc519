"""The environment an Ollama server should have, as lines to copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["environment_text"]


def environment_text(endpoint: str, wanted: Mapping[str, str], known: Mapping[str, str] | None) -> str:
    """What to set for the agents of agents.toml, for a shell and for a compose file; empty where the server has it all.

    `known` is the environment the server has, None where that can't be seen: then all of it is shown.
    """
    differing = {name: value for name, value in wanted.items() if known is None or known.get(name) != value}
    if not differing:
        return ""
    why = "these agents want" if known is None else "these agents want another value than it has"
    width = max(map(len, differing))
    lines = [f"environment of {endpoint}: {why}; set it and start the server again"]
    lines += [f"  export {name}={value}" for name, value in differing.items()]
    lines += ["or in a compose file", "  environment:"]
    lines += [f'    {name + ":":{width + 1}} "{value}"' for name, value in differing.items()]
    return "\n".join(lines)
