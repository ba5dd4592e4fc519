"""The embedded engine: llama.cpp in worker processes, its models pinned by their sha256 and pulled on request.

The names are loaded when they are asked for: a worker is a module of this package and needs none of what its parent needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vwt_agents.endpoints.embedded.endpoint import EmbeddedEndpoint as EmbeddedEndpoint
    from vwt_agents.endpoints.embedded.endpoint import import_file as import_file

__all__ = ["EmbeddedEndpoint", "import_file"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from vwt_agents.endpoints.embedded import endpoint

    return getattr(endpoint, name)
