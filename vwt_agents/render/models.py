"""The models as text: the matrix of all of them, and all that is known of one.

`width` is the terminal's, None where there is none: then nothing is wrapped and each row keeps a line of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vwt_agents.printable import printable
from vwt_agents.render.columns import columns, wrapped

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["beside_text", "fit_text", "matrix_text", "model_text"]

_HEAD = ("model", "endpoint", "tier", "ctx x slots", "MiB here", "fits", "beside", "size", "kind", "licence", "use")


def matrix_text(rows: Sequence[Mapping[str, Any]], *, width: int | None = None) -> str:
    """A row for each model, endpoint and way of serving it; what marks a footprint is explained below."""
    if not rows:
        return "no endpoint answers and no engine is installed: python -m vwt_agents doctor"
    text = columns(_HEAD, [_model_row(row) for row in rows], width=width)
    known = [row for row in rows if row["footprint_mib"] is not None]
    legend = "MiB here: estimated; * measured here" if any(row["measured"] for row in known) else "MiB here: estimated"
    return printable(f"{text}\n{wrapped(f'{legend}. models show NAME has the arithmetic', width)}")


def _model_row(row: Mapping[str, Any]) -> list[str]:
    known = row["footprint_mib"] is not None
    return [
        row["model"],
        row["endpoint"],
        "+".join(row["tiers"]) or "-",
        f"{row['num_ctx']} x {row['slots']}" if known else "-",
        (f"{row['footprint_mib']}{'*' if row['measured'] else ''}") if known else "?",
        fit_text(row),
        beside_text(row),
        f"{row['size_mb']} MB" if known else "?",
        " ".join(part for part in (row["parameters"], row["quantisation"]) if part) or "?",
        (row["licence"] or "unknown") + ("" if row["allowed"] else " (not allowed)"),
        ", ".join(row["tasks"]) or "general",
    ]


def fit_text(row: Mapping[str, Any]) -> str:
    """Whether it fits, or only without any of the tiers' other models; or that it has to be pulled first."""
    if row["fits"] is None:
        return "no: pull it"
    pull = "" if row["installed"] else " (pull it)"
    if row["spilled"]:
        return f"no: spilled on {row['spilled']}"
    if not row["fits"]:
        return f"no: budget {row['budget_mib']}"
    return ("alone" if row["alone"] else "yes") + pull


def beside_text(row: Mapping[str, Any]) -> str:
    """The tiers' other models that fit at the same time: all of them, or any one; `-` where there is none."""
    return (" and " if row["together"] else " or ").join(row["beside"]) or "-"


def model_text(rows: Sequence[Mapping[str, Any]], *, width: int | None = None) -> str:
    """All that is known of one model: what holds wherever it is served, then, for each endpoint and way of serving it there,
    the rest with the full arithmetic.
    """
    ways = [_known_of(row) for row in rows]
    alike = {name for name in _OF_THE_MODEL if len({way[name] for way in ways}) == 1} if len(ways) > 1 else set()
    shared = {name: said for name, said in ways[0].items() if name in alike}
    parts = [shared, *({name: said for name, said in way.items() if name not in alike} for way in ways)]
    blocks = [
        "\n".join(
            wrapped(f"{name:12} {said}", width, indent="  ", hang=" " * 13) for name, said in part.items() if said
        )
        for part in parts
    ]
    title = " = ".join(dict.fromkeys(row["model"] for row in rows))
    return printable("\n".join([title, "\n\n".join(block for block in blocks if block)]))


_OF_THE_MODEL = ("here", "weights", "digest", "licence", "use")
"""Of what is known, that which is as a rule the same on every endpoint."""


def _known_of(row: Mapping[str, Any]) -> dict[str, str]:
    budget = f"budget of {row['device']}: {row['budget_mib']} MiB"
    known = row["footprint_mib"] is not None
    allowed = row["licence"] or "unknown: let pass"
    if row["licence_url"]:
        allowed += f", {row['licence_url']}"
    if not row["allowed"]:
        allowed += f'; not allowed: runs pass over it; once you agree, [licences] accept = ["{row["model"]}"]'
    tier = f"tier {' and '.join(row['tiers'])}" if row["tiers"] else "in no tier"
    beside = "" if beside_text(row) == "-" else f", beside {beside_text(row)}"
    return {
        "on": f"{row['endpoint']}, device {row['device']}; {tier}",
        "here": "yes" if row["installed"] else f"no: python -m vwt_agents models pull {row['model']}",
        "weights": f"{row['size_mb']} MB, {row['parameters'] or '?'}, {row['quantisation'] or '?'}" if known else "",
        "digest": row["digest"],
        "licence": allowed,
        "use": ", ".join(row["tasks"]) or "general",
        "served with": f"num_ctx {row['num_ctx']} x {row['slots']} slots, KV cache {row['cache_type']}"
        if known
        else "",
        "takes": f"{row['footprint_mib']} MiB: {row['arithmetic']}" if known else "",
        "estimated": row["estimate"] if row["measured"] or row["spilled"] else "",
        "assumed": "; ".join(row["assumptions"]) if known else "",
        "fits": f"{fit_text(row)}{beside}; {budget}",
    }
