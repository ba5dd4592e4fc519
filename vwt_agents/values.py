"""Stage values and payloads as JSON text, for the journal and for people. Pure; pydantic does the walking."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any, cast

__all__ = ["decode", "encode", "jsonable"]


def jsonable(value: Any) -> Any:
    """The value as plain JSON data; what JSON cannot say (an open file, a socket) becomes its repr."""
    return decode(encode(value))


def decode(text: str) -> Any:
    """The data of a JSON text; whole numbers of more digits than Python reads (4300, as a rule) as their digits."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except ValueError:
        return json.loads(text, parse_int=_whole)


def _whole(digits: str) -> int | str:
    try:
        return int(digits)
    except ValueError:
        return digits


def encode(value: Any) -> str:
    """Compact JSON with the keys in their order; NaN and infinities become strings, bytes base64."""
    pydantic = _pydantic()
    try:
        return cast(
            "str", pydantic.to_json(value, fallback=_fallback, bytes_mode="base64", inf_nan_mode="strings").decode()
        )
    except pydantic.PydanticSerializationError:  # half a surrogate pair, which a model may well answer with
        plain = pydantic.to_jsonable_python(value, fallback=_fallback, bytes_mode="base64", inf_nan_mode="strings")
        return json.dumps(plain, ensure_ascii=False, separators=(",", ":"))


@functools.cache
def _pydantic() -> Any:
    """Imported with the first value, and once: to ask for names of a package again takes as long as to encode a short one."""
    import pydantic_core

    return pydantic_core


def _fallback(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - whatever a stranger's __repr__ does
        return f"<{type(value).__name__}>"
