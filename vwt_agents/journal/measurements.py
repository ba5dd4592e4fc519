"""Measured footprints in the journal's database. Owns their rows; which of two counts is `footprint.better`'s word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vwt_agents.footprint import Conditions, Measurement, better
from vwt_agents.journal.rows import micros, moment

if TYPE_CHECKING:
    import sqlite3

__all__ = ["all_measurements", "forget", "remember"]

_SELECT = "SELECT digest, num_ctx, slots, cache_type, engine, device_kind, model, mib, fitted, at FROM measurements"


def all_measurements(connection: sqlite3.Connection) -> tuple[Measurement, ...]:
    """Every measurement there is."""
    return tuple(_measurement(row) for row in connection.execute(_SELECT))


def remember(connection: sqlite3.Connection, new: Measurement) -> Measurement:
    """Keep a measurement where it counts more than the one that is there; the one that counts now."""
    row = connection.execute(
        f"{_SELECT} WHERE digest = ? AND num_ctx = ? AND slots = ? AND cache_type = ? AND engine = ? AND device_kind = ?",
        new.conditions,
    ).fetchone()
    kept = better(None if row is None else _measurement(row), new)
    if kept is new:
        connection.execute(
            "INSERT OR REPLACE INTO measurements VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*new.conditions, new.model, new.mib, new.fitted, micros(new.at)),
        )
    return kept


def forget(connection: sqlite3.Connection, digest: str) -> int:
    """Drop what was measured of these weights; how many measurements that were."""
    return connection.execute("DELETE FROM measurements WHERE digest = ?", (digest,)).rowcount


def _measurement(row: tuple[Any, ...]) -> Measurement:
    *conditions, model, mib, fitted, at = row
    return Measurement(Conditions(*conditions), model, mib, moment(at), fitted)
