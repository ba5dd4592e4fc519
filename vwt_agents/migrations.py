"""The journal's tables, as ordered steps from an empty file to today's. Owns the schema; never reads a run.

Steps are only ever added: a journal written by any earlier version is brought to this one by the steps it lacks, each
in one transaction. A journal of a later version is refused, because a guess could lose entries.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Final

from vwt_agents.errors import JournalError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["APPLICATION_ID", "MIGRATIONS", "NEEDED_SQLITE", "migrate", "version_of"]

APPLICATION_ID: Final = 0x56575441  # "VWTA": tells a journal from any other SQLite file
NEEDED_SQLITE: Final = (3, 37, 0)  # STRICT tables

# Times are microseconds since 1970 UTC. Runs and contents are referenced by small numbers, because every entry
# repeats them.
_FIRST: Final = (
    """
    CREATE TABLE contents (      -- every long text once, by the sha256 of its bytes
        n      INTEGER PRIMARY KEY,
        digest BLOB NOT NULL UNIQUE,
        size   INTEGER NOT NULL, -- bytes before packing
        packed INTEGER NOT NULL, -- 1: zlib
        data   BLOB NOT NULL
    ) STRICT""",
    """
    CREATE TABLE runs (
        n           INTEGER PRIMARY KEY,
        id          TEXT NOT NULL UNIQUE,
        pipeline    TEXT NOT NULL,
        file        TEXT NOT NULL,
        started_at  INTEGER NOT NULL,
        ended_at    INTEGER,
        status      TEXT NOT NULL,
        promoted    INTEGER NOT NULL,
        tier        TEXT NOT NULL,
        inputs      INTEGER NOT NULL REFERENCES contents (n),
        settings    TEXT NOT NULL,
        out_dir     TEXT NOT NULL,
        exit_code   INTEGER,
        summary     INTEGER REFERENCES contents (n),
        parent      INTEGER REFERENCES runs (n), -- a fork: the parent's entries up to parent_seq count as its own
        parent_seq  INTEGER,
        pid         INTEGER NOT NULL,            -- these four: the process that is running it
        pid_started INTEGER NOT NULL,
        boot        TEXT NOT NULL,
        host        TEXT NOT NULL
    ) STRICT""",
    "CREATE INDEX runs_by_pipeline ON runs (pipeline)",
    """
    CREATE TABLE entries (
        run         INTEGER NOT NULL REFERENCES runs (n),
        seq         INTEGER NOT NULL,
        kind        TEXT NOT NULL,
        name        TEXT NOT NULL,
        key         TEXT NOT NULL,
        fingerprint BLOB,
        status      TEXT NOT NULL,
        started_at  INTEGER NOT NULL,
        seconds     REAL,
        PRIMARY KEY (run, seq)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX entries_by_fingerprint ON entries (run, fingerprint) WHERE fingerprint IS NOT NULL",
    """
    CREATE TABLE parts (           -- what an entry carries: short values here, long ones in contents
        run      INTEGER NOT NULL,
        seq      INTEGER NOT NULL,
        position INTEGER NOT NULL, -- 0 is the payload, from 1 on its texts
        is_text  INTEGER NOT NULL, -- 1: str as UTF-8, 0: bytes
        data     BLOB,
        content  INTEGER REFERENCES contents (n),
        PRIMARY KEY (run, seq, position),
        FOREIGN KEY (run, seq) REFERENCES entries (run, seq)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX parts_by_content ON parts (content) WHERE content IS NOT NULL",
)

# A finished stage dirties one page instead of three: its value stands in its entry (is_text NULL: it is too long, or of
# the first version, and stands in parts), and a run's entries are few enough to be walked for a fingerprint.
_SHORT_PAYLOADS: Final = (
    "ALTER TABLE entries ADD COLUMN is_text INTEGER",
    "ALTER TABLE entries ADD COLUMN payload BLOB",
    "DROP INDEX entries_by_fingerprint",
)

# What models really took here: one row for all that a model's memory depends on. It belongs to no run.
_MEASUREMENTS: Final = (
    """
    CREATE TABLE measurements (
        digest      TEXT NOT NULL,    -- sha256 of the weights
        num_ctx     INTEGER NOT NULL,
        slots       INTEGER NOT NULL, -- as allotted by the server
        cache_type  TEXT NOT NULL,
        engine      TEXT NOT NULL,    -- with its version
        device_kind TEXT NOT NULL,
        model       TEXT NOT NULL,
        mib         INTEGER NOT NULL,
        fitted      INTEGER,          -- MiB on the device, where it spilled
        at          INTEGER NOT NULL,
        PRIMARY KEY (digest, num_ctx, slots, cache_type, engine, device_kind)
    ) STRICT, WITHOUT ROWID""",
)

# A call is one statement too: its short texts stand in its entry. A table with a rowid holds four times as long a row
# within its page, so run and number are one integer; what was in parts stays there. A sum tells a damaged row.
_SHORT_TEXTS: Final = (
    "ALTER TABLE runs ADD COLUMN sum INTEGER",  # crc32 of what never changes of it; NULL: of an earlier version
    "ALTER TABLE runs ADD COLUMN entries INTEGER",  # how many it had when it ended last, at least
    "ALTER TABLE contents ADD COLUMN file INTEGER NOT NULL DEFAULT 0",  # 1: its data is a file beside the journal
    """
    CREATE TABLE entries4 (
        id          INTEGER PRIMARY KEY, -- run << 32 | seq
        kind        TEXT NOT NULL,
        name        TEXT NOT NULL,
        key         TEXT NOT NULL,
        fingerprint BLOB,
        status      TEXT NOT NULL,
        started_at  INTEGER NOT NULL,
        seconds     REAL,
        is_text     INTEGER,             -- of the payload; NULL: there is none, or it is in parts
        payload     BLOB,
        texts       BLOB,                -- the texts, one after the other; those that are long are in parts
        sum         INTEGER,             -- see journal/sums.py; NULL: of an earlier version
        run         INTEGER GENERATED ALWAYS AS (id >> 32) VIRTUAL REFERENCES runs (n),
        seq         INTEGER GENERATED ALWAYS AS (id & 4294967295) VIRTUAL
    ) STRICT""",
    """
    INSERT INTO entries4 SELECT run << 32 | seq, kind, name, key, fingerprint, status, started_at, seconds, is_text,
                                payload, NULL, NULL FROM entries""",
    """
    CREATE TABLE parts4 (          -- what an entry carries and is long, in contents
        entry    INTEGER NOT NULL REFERENCES entries4 (id),
        position INTEGER NOT NULL, -- 0 is the payload, from 1 on its texts
        is_text  INTEGER NOT NULL, -- 1: str as UTF-8, 0: bytes
        data     BLOB,             -- a short value of an earlier version
        content  INTEGER REFERENCES contents (n),
        PRIMARY KEY (entry, position)
    ) STRICT, WITHOUT ROWID""",
    "INSERT INTO parts4 SELECT run << 32 | seq, position, is_text, data, content FROM parts",
    "DROP TABLE parts",
    "DROP TABLE entries",
    "ALTER TABLE entries4 RENAME TO entries",
    "ALTER TABLE parts4 RENAME TO parts",
    "CREATE INDEX parts_by_content ON parts (content) WHERE content IS NOT NULL",
)

# A result that other runs may use is found by its key; the entries of all other stages have none.
_CACHED_STAGES: Final = ("CREATE INDEX stages_by_key ON entries (key) WHERE kind = 'stage' AND key <> ''",)

# Entries are summed as bytes from here on. Old sums stay and count; an older vwt_agents would take the new ones for damage.
_SUMS_OF_BYTES: Final = ()

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    _FIRST,
    _SHORT_PAYLOADS,
    _MEASUREMENTS,
    _SHORT_TEXTS,
    _CACHED_STAGES,
    _SUMS_OF_BYTES,
)


def version_of(connection: sqlite3.Connection, path: Path, *, newest: int = len(MIGRATIONS)) -> int:
    """The version of the journal's tables, 0 for an empty file; JournalError for another program's file or a later
    version.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application not in {0, APPLICATION_ID}:
        raise JournalError(
            f"{path} is not a journal: its application id is {application:#x}",
            hint="choose another folder with VWT_STATE",
        )
    if version > newest:
        raise JournalError(
            f"the journal {path} has version {version}, this vwt_agents reads up to version {newest}",
            hint="a newer vwt_agents wrote it: upgrade, or choose another folder with VWT_STATE",
        )
    return int(version)


def migrate(connection: sqlite3.Connection, path: Path, *, steps: tuple[tuple[str, ...], ...] = MIGRATIONS) -> None:
    """Bring the tables to the newest version, one transaction per step; safe beside another process doing the same."""
    if sqlite3.sqlite_version_info < NEEDED_SQLITE:
        raise JournalError(
            f"SQLite {sqlite3.sqlite_version} is too old for the journal {path}, which needs 3.37",
            hint="use a Python that brings a newer SQLite, such as one installed by uv",
        )
    while version_of(connection, path, newest=len(steps)) < len(steps):
        connection.execute("BEGIN IMMEDIATE")
        try:
            # asked again inside: another process may have done this step while this one waited for the lock
            version = version_of(connection, path, newest=len(steps))
            if version < len(steps):
                for statement in steps[version]:
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {version + 1}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
