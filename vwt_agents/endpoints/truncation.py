"""Was the whole prompt read? An Ollama that cuts a prompt does not say so; only `prompt_eval_count` gives it away. Pure.

No tokenizer is at hand, so the text gives a lower bound: in the vocabularies of today no token reaches over two words, or over
a word and a number, so a text has at least as many tokens as it has such runs. Answers whose prompt was certainly whole (so
short that it fits at a token a byte) correct the bound for a model that does otherwise, and teach how dense its tokens are.

A cut is certain where fewer tokens were read than the text can have. It is also told by its place: the window full to the
last token, or full to the half that Ollama keeps, for a text that by all that was seen of this model overflows the window.
There is no alarm for a text at least half as dense as the thinnest seen of its model.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Window", "runs"]

_RUN: Final = re.compile(r"[^\W\d_]+|\d+")
_LONGEST_TOKEN: Final = 128  # bytes
_TEMPLATE: Final = 512  # more than a chat template and a default system prompt add, in tokens
_TEMPLATE_EACH: Final = 16
_ROUNDING: Final = 16
_KEPT: Final = 12  # tokens kept at the front beside half of the window: num_keep, a beginning-of-text, rounding
_LESSONS: Final = 3
_LEAST_LESSON: Final = 32
_OVERFLOW: Final = 1.1


def runs(texts: Iterable[str]) -> int:
    """The fewest tokens these texts can have: one for each word and each number, more for those longer than any token."""
    return sum(-(-len(run.encode(errors="replace")) // _LONGEST_TOKEN) for text in texts for run in _RUN.findall(text))


@dataclass(slots=True)
class Window:
    """What was learned of one model's tokens: the fewest tokens a run of its text took (`thinnest`), in how many answers."""

    thinnest: float = 1.0
    lessons: int = 0
    seen: float = field(default=float("inf"))

    def judge(self, texts: tuple[str, ...], num_ctx: int, counted: int) -> str | None:
        """How it is known that the prompt was cut, in words; None where nothing says so. Learns from those surely whole.

        `counted` is the server's `prompt_eval_count`; 0 stands for one that does not say.
        """
        if counted <= 0:
            return None
        least, size = runs(texts), sum(len(text.encode(errors="replace")) for text in texts)
        if size + _TEMPLATE + _TEMPLATE_EACH * len(texts) < num_ctx:
            self._learn(least, counted)
            return None
        surely = int(least * self.thinnest)
        if counted + _ROUNDING < surely:
            return f"it read {counted} tokens of a prompt that has at least {surely}"
        if counted >= num_ctx - 1:
            return f"it read {counted} tokens, so the prompt filled the whole context and left no room for an answer"
        believed = least * self.seen
        half = num_ctx // 2
        if self.lessons >= _LESSONS and half - 1 <= counted <= half + _KEPT and believed >= _OVERFLOW * num_ctx:
            return (
                f"it read {counted} tokens, just what Ollama keeps of a longer prompt; this one has some {believed:.0f}"
            )
        return None

    def _learn(self, least: int, counted: int) -> None:
        if least < _LEAST_LESSON:
            return
        self.lessons += 1
        self.seen = min(self.seen, counted / least)
        self.thinnest = min(self.thinnest, self.seen)
