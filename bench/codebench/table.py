"""The report: what the records say, as Markdown. Pure; only tasks that every contender has answered are compared."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from codebench.statistics import bootstrap_mean, mcnemar, wilson

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from codebench.records import Record

__all__ = ["report"]

SINGLE: Final = ("greedy", "chat")
HEAD: Final = (
    "contender",
    "pass@1 (95 %)",
    "calls",
    "prompt tokens (evaluated)",
    "output tokens",
    "all tokens",
    "tokens x",
    "seconds",
    "difference (95 %)",
    "p",
)


def report(records: Iterable[Record], *, against: str | None = None) -> str:
    """One section for each set, model and seed. `against` is who the others are compared with: by default the best single
    call, the cheaper of equals.
    """
    groups: dict[tuple[str, str, int], list[Record]] = defaultdict(list)
    for record in records:
        groups[record.set, record.model, record.seed].append(record)
    sections = [_section(key, found, against) for key, found in sorted(groups.items())]
    return "\n\n".join(sections) if sections else "nothing measured yet"


def _section(key: tuple[str, str, int], records: Sequence[Record], against: str | None) -> str:
    by: dict[str, dict[str, Record]] = defaultdict(dict)
    for record in records:
        by[record.contender][record.task] = record
    common = set.intersection(*(set(found) for found in by.values()))
    name, model, seed = key
    title = f"### {name}, {model}, seed {seed}: {len(common)} tasks"
    left_out = {contender: len(found) - len(common) for contender, found in by.items() if len(found) > len(common)}
    note = "".join(
        f"\n\n{count} more of {contender}, which not all have answered, are left out."
        for contender, count in left_out.items()
    )
    if not common:
        return f"{title}{note}"
    rows = {contender: [found[task] for task in sorted(common)] for contender, found in by.items()}
    base = against if against in rows else _best_single(rows)
    table = "\n".join(_line(cells) for cells in _cells(rows, base))
    trust = "".join(_trust(contender, found) for contender, found in rows.items())
    legend = f"Tokens and seconds are means a task; tokens x, difference and p are against {base}."
    return f"{title}\n\n{table}\n\n{legend}{trust}{note}"


def _best_single(rows: Mapping[str, Sequence[Record]]) -> str:
    single = [contender for contender in rows if contender in SINGLE] or list(rows)
    return max(single, key=lambda contender: (_passed(rows[contender]), -_mean(r.tokens for r in rows[contender])))


def _cells(rows: Mapping[str, Sequence[Record]], base: str) -> Iterable[Sequence[str]]:
    yield HEAD
    yield ["---"] * len(HEAD)
    for contender, found in rows.items():
        yield _row(contender, found, rows[base], is_base=contender == base)


def _row(contender: str, found: Sequence[Record], base: Sequence[Record], *, is_base: bool) -> Sequence[str]:
    count, passed = len(found), _passed(found)
    low, high = wilson(passed, count)
    tokens, of_base = _mean(record.tokens for record in found), _mean(record.tokens for record in base)
    evaluated = [record.evaluated_tokens for record in found]
    known = [each for each in evaluated if each is not None]
    cells = [
        contender,
        f"{_percent(passed / count)} ({_percent(low)} to {_percent(high)})",
        f"{_mean(record.calls for record in found):.1f}",
        f"{_mean(record.prompt_tokens for record in found):.0f} ({_mean(known):.0f})"
        if len(known) == count
        else f"{_mean(record.prompt_tokens for record in found):.0f}",
        f"{_mean(record.output_tokens for record in found):.0f}",
        f"{tokens:.0f}",
        f"{tokens / of_base:.2f}" if of_base else "",
        f"{_mean(record.seconds for record in found):.1f}",
    ]
    return [*cells, "", ""] if is_base else [*cells, *_difference(found, base)]


def _difference(found: Sequence[Record], base: Sequence[Record]) -> tuple[str, str]:
    pairs = [(mine.hidden, other.hidden) for mine, other in zip(found, base, strict=True)]
    values = [float(mine) - float(other) for mine, other in pairs]
    low, high = bootstrap_mean(values)
    p = mcnemar(sum(mine and not other for mine, other in pairs), sum(other and not mine for mine, other in pairs))
    return f"{_points(_mean(values))} ({_points(low)} to {_points(high)})", f"{p:.3f}" if p >= 0.001 else "< 0.001"


def _trust(contender: str, found: Sequence[Record]) -> str:
    judged = [record for record in found if record.verdict is not None]
    if not judged:
        return ""
    proven = [record for record in judged if record.verdict]
    not_proven = len(judged) - len(proven)
    right, missed = _passed(proven), _passed(judged) - _passed(proven)
    low, high = wilson(right, len(proven))
    share = f"{_percent(right / len(proven))}, 95 %: {_percent(low)} to {_percent(high)}" if proven else "none"
    return (
        f"\n\n{contender} called {len(proven)} of {len(judged)} proven: {right} pass the hidden tests ({share}), "
        f"{len(proven) - right} do not. Of the {not_proven} it did not call proven, {missed} pass."
    )


def _passed(found: Iterable[Record]) -> int:
    return sum(record.hidden for record in found)


def _mean(values: Iterable[float]) -> float:
    listed = list(values)
    return sum(listed) / len(listed) if listed else 0.0


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
