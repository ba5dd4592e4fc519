"""The verdict that a run stands by, among those its stages came to, and the stages that owe one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, get_args

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from vwt_agents.graph import Graph, Stage
    from vwt_agents.sandbox.judge import Verdict

__all__ = ["find_verdict", "unproven"]

_IF_FINE: Final = "where that is fine, let it return `Verdict | None`"


def find_verdict(values: Mapping[str, Any], graph: Graph) -> Verdict | None:
    """The verdict a run stands by: of those that count the first that is bad, else the last; None where there is none.

    A stage has a verdict where its value is one or carries one as `.verdict`; of a list, a tuple or a dict each one may,
    however deep it lies.
    A stage's verdicts count unless a later one, of a stage that stands on it, has taken their place.
    """
    found = {name: verdicts for name in values if (verdicts := list(_verdicts(values[name])))}
    replaced = _replaced(graph, found)
    counting = [verdict for name, verdicts in found.items() if name not in replaced for verdict in verdicts]
    return next((verdict for verdict in counting if not verdict.passed), counting[-1] if counting else None)


def unproven(graph: Graph, statuses: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, str]:
    """The stages that would have had a verdict, or one for each item, and have not all of them, each with why: nobody may
    take the run for good without. `statuses` has what became of each stage, `values` what it returned.

    A stage that had no items has verified nothing, which one that stands on it may make good by a verdict of its own.
    """
    found = {}
    for stage in graph.stages:
        if not _has_verdict(stage.returns):
            continue
        if statuses[stage.name] == "skipped":
            found[stage.name] = "was skipped"
        elif stage.policy.on_error == "skip" and statuses[stage.name] == "partial":
            found[stage.name] = "left some of its items out"
        elif _owes_verdict(stage) and stage.name in values:
            given = values[stage.name] if stage.each is not None else [values[stage.name]]
            if not given and stage.name not in _replaced(
                graph, [name for name in values if any(_verdicts(values[name]))]
            ):
                found[stage.name] = f"had no items, so it verified nothing ({_IF_FINE})"
            elif not all(_is_verdict(one) for one in given):
                found[stage.name] = "gave none"
    return found


def _replaced(graph: Graph, judged: Collection[str]) -> set[str]:
    """The stages that one of those stands on which came to a verdict: it counts in their place."""
    replaced: set[str] = set()
    if not judged:
        return replaced
    before: dict[str, set[str]] = {}
    for stage in graph.stages:
        before[stage.name] = set(stage.needs).union(*(before[need] for need in stage.needs))
        if stage.name in judged:
            replaced |= before[stage.name]
    return replaced


def _has_verdict(annotation: Any) -> bool:
    """Whether values of this type are verdicts, or have one as `.verdict`; also each of several."""
    from vwt_agents.sandbox.judge import Verdict

    parts = get_args(annotation)
    if parts:
        return any(_has_verdict(part) for part in parts)
    if not isinstance(annotation, type):
        return False
    return issubclass(annotation, Verdict) or "verdict" in getattr(annotation, "__annotations__", {})


def _owes_verdict(stage: Stage) -> bool:
    """Whether the stage is to return a Verdict, no less: `Verdict | None` says that there may be nothing to judge."""
    from vwt_agents.sandbox.judge import Verdict

    return isinstance(stage.returns, type) and issubclass(stage.returns, Verdict)


def _is_verdict(value: Any) -> bool:
    from vwt_agents.sandbox.judge import Verdict

    return isinstance(value, Verdict)


def _verdicts(value: Any) -> Iterator[Verdict]:
    from vwt_agents.sandbox.judge import Verdict

    carried = value if isinstance(value, Verdict) else getattr(value, "verdict", None)
    if isinstance(carried, Verdict):
        yield carried
    elif isinstance(value, list | tuple | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _verdicts(one)
