"""Stage values and payloads as JSON text, for the journal and for people. Pure; pydantic does the walking."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["encode", "jsonable"]


def jsonable(value: Any) -> Any:
    """The value as plain JSON data; what JSON cannot say (an open file, a socket) becomes its repr."""
    from pydantic_core import to_jsonable_python

    return to_jsonable_python(value, fallback=_fallback, bytes_mode="base64", inf_nan_mode="strings")


def encode(value: Any) -> str:
    """Compact JSON with the keys in their order."""
    return json.dumps(jsonable(value), ensure_ascii=False, separators=(",", ":"))


def _fallback(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return repr(value)
