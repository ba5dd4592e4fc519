"""Stage values and payloads as JSON text, for the journal and for people. Pure; pydantic does the walking."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

__all__ = ["encode", "jsonable"]


def jsonable(value: Any) -> Any:
    """The value as plain JSON data; what JSON cannot say (an open file, a socket) becomes its repr."""
    return json.loads(encode(value))


def encode(value: Any) -> str:
    """Compact JSON with the keys in their order; NaN and infinities become strings, bytes base64."""
    from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

    try:
        return to_json(value, fallback=_fallback, bytes_mode="base64", inf_nan_mode="strings").decode()
    except PydanticSerializationError:  # half a surrogate pair, which a model may well answer with
        plain = to_jsonable_python(value, fallback=_fallback, bytes_mode="base64", inf_nan_mode="strings")
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":"))


def _fallback(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return repr(value)
