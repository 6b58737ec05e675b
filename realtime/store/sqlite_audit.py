"""What proves that counts are right and what sweeps have removed: the rows as they are stored."""

# ruff: noqa: S608 - SQL is put together from constants of this package, values are bound

import sqlite3
from collections.abc import Mapping

from realtime.models import LogFacts, MarkFacts, Principal, ReaderFacts, Sweep
from realtime.store import sqlite_inbox as inbox
from realtime.store import sqlite_rows as rows
from realtime.store import sqlite_view as view
from realtime.store.sqlite_rows import ID_MAX, dumps, loads

SWEEPS_KEPT = 10_000
"""Notes of sweeps; the oldest are forgotten. One a minute at most: a week."""

# Each part reads as many as are wanted, in the order of an index.
READERS = " UNION ".join(
    f"SELECT * FROM (SELECT DISTINCT {column} FROM {table} WHERE {column} > :after ORDER BY 1 LIMIT :limit)"
    for table, column in (
        ("inbox", "recipient"),
        ("membership", "reader"),
        ("read_cursor", "reader"),
        ("broadcast_state", "reader"),
    )
)


def note_sweep(db: sqlite3.Connection, note: int | None, removed: Mapping[str, int], *, at: float) -> int | None:
    """Write down what one more portion of a sweep removed; returns the note to add the next one to."""
    some = {kind: count for kind, count in removed.items() if count}
    if not some:
        return note
    if note is not None:
        (before,) = db.execute("SELECT removed FROM sweep WHERE num = ?", (note,)).fetchone()
        for kind, count in loads(before).items():
            some[kind] = some.get(kind, 0) + count
    written = db.execute("REPLACE INTO sweep VALUES (?, ?, ?)", (note, at, dumps(some))).lastrowid
    db.execute("DELETE FROM sweep WHERE num <= ?", ((written or 0) - SWEEPS_KEPT,))
    return written


def sweeps(db: sqlite3.Connection, limit: int) -> list[Sweep]:
    found = db.execute("SELECT at, removed FROM sweep ORDER BY num DESC LIMIT ?", (min(limit, ID_MAX),))
    return [Sweep(at, loads(removed)) for at, removed in found]


def readers_after(db: sqlite3.Connection, reader: Principal, limit: int) -> list[Principal]:
    found = db.execute(f"{READERS} ORDER BY 1 LIMIT :limit", {"after": reader, "limit": min(limit, ID_MAX)})
    return [principal for (principal,) in found]


def reader_facts(db: sqlite3.Connection, reader: Principal, *, now: float) -> ReaderFacts:
    """The count and the rows are of one transaction."""
    (read_upto,) = db.execute("SELECT ifnull(max(upto), 0) FROM read_cursor WHERE reader = ?", (reader,)).fetchone()
    direct = db.execute(f"{view.DIRECT} WHERE recipient = ? ORDER BY id", (reader,))
    intervals = db.execute(
        "SELECT audience, from_seq, to_seq FROM membership WHERE reader = ? ORDER BY 1, 2", (reader,)
    )
    marks = db.execute(
        "SELECT seq, read_at, seen_at, hidden, archived_at, snoozed_until FROM broadcast_state WHERE reader = ?",
        (reader,),
    )
    return ReaderFacts(
        reader=reader,
        unread=inbox.unread_count(db, reader, now=now),
        rows=tuple(map(rows.notification, direct)),
        intervals=tuple(intervals),
        read_upto=read_upto,
        marks={
            seq: MarkFacts(read_at, seen_at, bool(hidden), *shelf) for seq, read_at, seen_at, hidden, *shelf in marks
        },
    )


def log_facts(db: sqlite3.Connection) -> list[LogFacts]:
    found = db.execute(f"{view.SENT} WHERE l.swept_at IS NULL ORDER BY l.seq")
    places = db.execute("SELECT seq, retracted_at FROM log WHERE swept_at IS NULL ORDER BY seq")
    return [
        LogFacts(seq, rows.notification(row), retracted_at is not None)
        for (seq, retracted_at), row in zip(places, found, strict=True)
    ]
