"""How a model's text becomes a typed value. Owns the three answer shapes: text, one fenced code block, schema-bound JSON.

Pure: it builds the instruction and the JSON schema that go out, and parses what comes back. It never calls a model; the
re-ask after a bad answer is the agent's. Code is never asked for inside JSON: every model measured writes worse code there.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from vwt_agents.code import Code, NoCodeError, extract_code

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import TypeAdapter

__all__ = ["AnswerShape", "BadAnswer", "shape_of"]

_MOST_FAULTS = 8  # told to the model: the first ones cause the rest


class BadAnswer(ValueError):
    """The text does not fit the shape; the message is written for the model that is asked again."""


@dataclass(frozen=True)
class AnswerShape:
    """What an answer of one type looks like: the words that ask for it, the schema that binds it, the parser that reads it."""

    returns: Any

    @property
    def is_code(self) -> bool:
        """True when the answer is one fenced block."""
        return isinstance(self.returns, type) and issubclass(self.returns, Code)

    @property
    def is_json(self) -> bool:
        """True when the answer is JSON bound by a schema."""
        return self.returns is not str and not self.is_code

    @property
    def schema(self) -> Mapping[str, Any] | None:
        """The JSON schema the engine constrains the answer to; None for text and code."""
        return _binding(self.returns)[0] if self.is_json else None

    @property
    def instruction(self) -> str:
        """The sentence added to the prompt; the engine enforces the schema, the words help the model to fill it."""
        return _binding(self.returns)[1] if self.is_json else ""

    def parse(self, text: str, *, prefill: str = "") -> Any:
        """The value in `prefill + text`; BadAnswer says what is wrong in words a model can act on.

        Text after a prefill is given as it came, without the prefill: its first blank may be an indentation.
        """
        if self.is_code:
            return self._parse_code(prefill + text)
        if self.is_json:
            return self._parse_json(prefill + text)
        return text if prefill else text.strip()

    def _parse_code(self, text: str) -> Code:
        try:
            return extract_code(text)
        except NoCodeError as error:
            raise BadAnswer(f"{error} Answer with one fenced code block.") from error

    def _parse_json(self, text: str) -> Any:
        from pydantic import ValidationError

        try:
            return _adapter(self.returns).validate_json(_bare_json(text))
        except ValidationError as error:
            faults = [f"{_path(item['loc'])}{item['msg']}" for item in error.errors(include_url=False)]
            told = "; ".join(faults[:_MOST_FAULTS])
            more = f"; and {len(faults) - _MOST_FAULTS} more" if len(faults) > _MOST_FAULTS else ""
            raise BadAnswer(f"That does not fit the schema: {told}{more}. Answer again with JSON only.") from error


_TEXT: Final = AnswerShape(str)


def shape_of(returns: Any) -> AnswerShape:
    """The shape for an answer type; TypeError for a type that pydantic cannot describe by a JSON schema."""
    if returns is str:
        return _TEXT
    shape = AnswerShape(returns)
    if shape.is_json:
        _binding(returns)
    return shape


def _adapter(returns: Any) -> TypeAdapter[Any]:
    try:
        return _cached_adapter(returns)
    except TypeError:  # not hashable, as an Annotated may be
        return _cached_adapter.__wrapped__(returns)


@functools.lru_cache(maxsize=128)
def _cached_adapter(returns: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(returns)


def _binding(returns: Any) -> tuple[Mapping[str, Any], str]:
    """The schema and the words for it."""
    try:
        return _cached_binding(returns)
    except TypeError:
        return _cached_binding.__wrapped__(returns)


@functools.lru_cache(maxsize=128)
def _cached_binding(returns: Any) -> tuple[Mapping[str, Any], str]:
    from pydantic import PydanticUserError

    try:
        schema = _adapter(returns).json_schema()
    except PydanticUserError as error:
        why = str(error).partition("\n")[0]
        raise TypeError(
            f"a model cannot answer with {returns!r}: {why}; possible: str, Code, and what has a JSON schema "
            "(pydantic models, dataclasses, lists, Literal, ...)"
        ) from error
    return schema, "Answer with JSON that fits this schema:\n" + json.dumps(schema, separators=(",", ":"))


def _bare_json(text: str) -> str:
    """JSON without the fence that models like to put around it."""
    stripped = text.strip()
    if stripped.startswith("```"):
        stripped = stripped.partition("\n")[2].rpartition("```")[0].strip()
    return stripped


def _path(location: tuple[int | str, ...]) -> str:
    return f"{'.'.join(str(part) for part in location)}: " if location else ""
