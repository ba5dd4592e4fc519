"""How a model's text becomes a typed value. Owns the three answer shapes: text, one fenced code block, schema-bound JSON.

Pure: it builds the instruction and the JSON schema that go out, and parses what comes back. It never calls a model; the
re-ask after a bad answer is the agent's. Code is never asked for inside JSON: every model measured writes worse code there.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vwt_agents.code import Code, NoCodeError, extract_code

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import TypeAdapter

__all__ = ["AnswerShape", "BadAnswer", "shape_of"]


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
        return _adapter(self.returns).json_schema() if self.is_json else None

    @property
    def instruction(self) -> str:
        """The sentence added to the prompt; the engine enforces the schema, the words help the model to fill it."""
        if self.is_json:
            return "Answer with JSON that fits this schema:\n" + json.dumps(self.schema, separators=(",", ":"))
        return ""

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
            faults = "; ".join(f"{_path(item['loc'])}{item['msg']}" for item in error.errors(include_url=False))
            raise BadAnswer(f"That does not fit the schema: {faults}. Answer again with JSON only.") from error


def shape_of(returns: Any) -> AnswerShape:
    """The shape for an answer type; any type pydantic can describe will do."""
    return AnswerShape(returns)


@functools.lru_cache(maxsize=128)
def _adapter(returns: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(returns)


def _bare_json(text: str) -> str:
    """JSON without the fence that models like to put around it."""
    stripped = text.strip()
    if stripped.startswith("```"):
        stripped = stripped.partition("\n")[2].rpartition("```")[0].strip()
    return stripped


def _path(location: tuple[int | str, ...]) -> str:
    return f"{'.'.join(str(part) for part in location)}: " if location else ""
