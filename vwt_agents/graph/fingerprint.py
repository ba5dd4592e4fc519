"""The fingerprint of a function's code: the same in every process, another as soon as the function would do otherwise.

Owns what counts as otherwise: bytecode, constants and the names it uses. Comments, line numbers and the file's place do
not count, so a moved or reformatted stage still finds its entries in the journal. What the function calls is not followed.
"""

from __future__ import annotations

import hashlib
import inspect
from types import CodeType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["fingerprint"]

_KINDS: Final = (
    inspect.CO_VARARGS
    | inspect.CO_VARKEYWORDS
    | inspect.CO_GENERATOR
    | inspect.CO_COROUTINE
    | inspect.CO_ASYNC_GENERATOR
)
"""The flags that say what kind of function it is; a `from __future__` import of its file leaves it what it was."""


def fingerprint(func: Callable[..., Any], *more: str) -> str:
    """The sha256, in hex, of a function's code and of whatever else shapes what it does."""
    digest = hashlib.sha256()
    for piece in (*_pieces(inspect.unwrap(func).__code__), *(text.encode() for text in more)):
        digest.update(len(piece).to_bytes(8, "big"))
        digest.update(piece)
    return digest.hexdigest()


def _pieces(code: CodeType) -> Iterator[bytes]:
    yield code.co_code
    yield code.co_exceptiontable
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & _KINDS)
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    yield repr((counts, names)).encode()
    for constant in code.co_consts:
        yield from _constant(constant)


def _constant(value: object) -> Iterator[bytes]:
    yield type(value).__name__.encode()
    if isinstance(value, CodeType):
        yield from _pieces(value)
    elif isinstance(value, tuple):
        yield len(value).to_bytes(8, "big")
        for item in value:
            yield from _constant(item)
    elif isinstance(value, frozenset):  # its order differs from process to process
        for item in sorted(b"\0".join(_constant(item)) for item in value):
            yield item
    else:
        yield repr(value).encode()
