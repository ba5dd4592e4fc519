"""The verdict that a run stands by, among those its stages came to, and the stages that owe one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from vwt_agents.graph import Graph, Stage
    from vwt_agents.sandbox.judge import Verdict

__all__ = ["find_verdict", "unproven"]


def find_verdict(values: Mapping[str, Any], graph: Graph) -> Verdict | None:
    """The verdict a run stands by: of those that count the first that is bad, else the last; None where there is none.

    A stage has a verdict where its value is one or carries one as `.verdict`; of a list, a tuple or a dict each one may,
    however deep it lies.
    A stage's verdicts count unless a later one, of a stage that stands on it, has taken their place.
    """
    found = {name: verdicts for name in values if (verdicts := list(_verdicts(values[name])))}
    replaced: set[str] = set()
    before: dict[str, set[str]] = {}
    for stage in graph.stages:
        before[stage.name] = set(stage.needs).union(*(before[need] for need in stage.needs))
        if stage.name in found:
            replaced |= before[stage.name]
    counting = [verdict for name, verdicts in found.items() if name not in replaced for verdict in verdicts]
    return next((verdict for verdict in counting if not verdict.passed), counting[-1] if counting else None)


def unproven(graph: Graph, statuses: Mapping[str, str], values: Mapping[str, Any]) -> list[str]:
    """The stages that would have had a verdict and were skipped, or one for each item, of which some were left out, or
    that are to return a Verdict and did not: nobody may take the run for good without. `statuses` has what became of each
    stage, `values` what it returned.
    """
    proving = [stage for stage in graph.stages if _has_verdict(stage.returns)]
    left_out = [stage for stage in proving if stage.policy.on_error == "skip" and statuses[stage.name] == "partial"]
    return [
        stage.name
        for stage in proving
        if statuses[stage.name] == "skipped" or stage in left_out or _lacks_verdict(stage, values)
    ]


def _has_verdict(annotation: Any) -> bool:
    """Whether values of this type are verdicts, or have one as `.verdict`; also each of several."""
    from vwt_agents.sandbox.judge import Verdict

    parts = get_args(annotation)
    if parts:
        return any(_has_verdict(part) for part in parts)
    if not isinstance(annotation, type):
        return False
    return issubclass(annotation, Verdict) or "verdict" in getattr(annotation, "__annotations__", {})


def _lacks_verdict(stage: Stage, values: Mapping[str, Any]) -> bool:
    """Whether a stage that is to return a Verdict, no less, returned something else: a body without `return`, say."""
    from vwt_agents.sandbox.judge import Verdict

    if stage.name not in values or not isinstance(stage.returns, type) or not issubclass(stage.returns, Verdict):
        return False
    given = values[stage.name] if stage.each is not None else [values[stage.name]]
    return not all(isinstance(one, Verdict) for one in given)


def _verdicts(value: Any) -> Iterator[Verdict]:
    from vwt_agents.sandbox.judge import Verdict

    carried = value if isinstance(value, Verdict) else getattr(value, "verdict", None)
    if isinstance(carried, Verdict):
        yield carried
    elif isinstance(value, list | tuple | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _verdicts(one)
