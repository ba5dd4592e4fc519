"""What differs between what is asked now and what was recorded, for people: the nearest recorded call and a diff. Pure."""

from __future__ import annotations

import json
from difflib import SequenceMatcher, unified_diff
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from vwt_agents.messages import Message
    from vwt_agents.testing.recording import RecordedCall

__all__ = ["drift", "shown", "unused"]

_LINES: Final = 60
_COMPARED: Final = 20_000  # characters of a prompt: enough to find the nearest


def shown(call: RecordedCall) -> str:
    """Who asks, in a few words."""
    item = f" (item {call.item})" if call.item else ""
    return f"agent {call.agent!r} of stage {call.stage!r}{item}"


def drift(asked: RecordedCall, recorded: Sequence[RecordedCall], left: Sequence[RecordedCall]) -> str:
    """Why there is no answer to what is asked: `recorded` are all calls, `left` those whose answers nobody has had yet."""
    same = sum(call.question == asked.question for call in recorded)
    if same:
        times = "once" if same == 1 else f"{same} times"
        return f"{shown(asked)} asks once more what was recorded {times}:\n{_indented(_last(asked))}"
    nearest = _nearest(asked, left) or _nearest(asked, recorded)
    if nearest is None:
        known = ", ".join(dict.fromkeys(shown(call) for call in recorded)) or "nobody"
        return f"{shown(asked)} asks something, and nothing of it was recorded; recorded were {known}"
    lines = "\n".join(_differences(nearest, asked))
    return f"{shown(asked)} asks something else than was recorded:\n{_indented(lines)}"


def unused(left: Sequence[RecordedCall]) -> str:
    """What was recorded and not asked this time."""
    lines = [f"{shown(call)}: {_first_line(_last(call))}" for call in left]
    more = [f"and {len(lines) - 10} more"] if len(lines) > 10 else []
    calls = "1 call was" if len(left) == 1 else f"{len(left)} calls were"
    return f"{calls} recorded and not made this time:\n{_indented(chr(10).join([*lines[:10], *more]))}"


def _nearest(asked: RecordedCall, calls: Iterable[RecordedCall]) -> RecordedCall | None:
    """Of the same stage and agent if there is one, else of the same stage; the one whose prompt is most alike."""
    of_stage = [call for call in calls if call.stage == asked.stage]
    of_agent = [call for call in of_stage if (call.agent, call.item) == (asked.agent, asked.item)]
    text = _prompt(asked)
    return max(
        of_agent or of_stage,
        key=lambda call: SequenceMatcher(None, _prompt(call), text, autojunk=False).quick_ratio(),
        default=None,
    )


def _differences(recorded: RecordedCall, asked: RecordedCall) -> Iterator[str]:
    for what in ("agent", "item", "model"):
        before, now = getattr(recorded, what), getattr(asked, what)
        if before != now:
            yield f"{what}: {before!r} was recorded, now {now!r}"
    before, now = recorded.options.as_ollama(), asked.options.as_ollama()
    for name in sorted({*before, *now} - {"seed"}):
        if before.get(name) != now.get(name):
            yield f"option {name}: {_said(before, name)} was recorded, now {_said(now, name)}"
    pairs = enumerate(zip_longest(recorded.messages, asked.messages), 1)
    number, (old, new) = next(((number, pair) for number, pair in pairs if pair[0] != pair[1]), (0, (None, None)))
    if number:
        yield f"message {number} ({' was recorded, now '.join(dict.fromkeys((_role(old), _role(new))))}):"
        yield from _diff(_text(old), _text(new))
    if recorded.format != asked.format:
        yield "the form of the answer:"
        yield from _diff(_json(recorded.format), _json(asked.format))


def _role(message: Message | None) -> str:
    return message.role if message is not None else "none"


def _text(message: Message | None) -> str:
    return message.content if message is not None else ""


def _said(options: dict[str, Any], name: str) -> str:
    return repr(options[name]) if name in options else "none"


def _diff(before: str, now: str) -> list[str]:
    lines = list(unified_diff(before.splitlines(), now.splitlines(), "recorded", "asked now", lineterm="", n=2))
    if not lines:  # all of a difference in how lines end
        lines = [f"-{before!r}", f"+{now!r}"]
    return lines if len(lines) <= _LINES else [*lines[:_LINES], f"... and {len(lines) - _LINES} more lines"]


def _json(value: Any) -> str:
    return "free text" if value is None else json.dumps(value, indent=2, sort_keys=True)


def _prompt(call: RecordedCall) -> str:
    return "\n".join(message.content for message in call.messages)[-_COMPARED:]


def _last(call: RecordedCall) -> str:
    """The last thing a person or a program said: not what the answer is made to begin with."""
    said = [message.content for message in call.messages if message.role == "user"]
    return said[-1][:2000] if said else ""


def _first_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 100 else f"{line[:97]}..."


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
