"""Who holds an audience key, and since and until which broadcast.

An interval without a broadcast in it says nothing, so closing it removes it: the table grows with what was
received and not with every join and leave.
"""

# ruff: noqa: S608 - SQL is put together from constants of this package, values are bound

import sqlite3

from realtime.models import Principal
from realtime.store.sqlite_rows import head

HEARD_NOTHING = """NOT EXISTS (
    SELECT 1 FROM log WHERE log.audience = membership.audience AND log.seq > membership.from_seq)"""


def readers(db: sqlite3.Connection, audience: str) -> list[Principal]:
    found = db.execute(
        "SELECT reader FROM membership WHERE audience = ? AND to_seq IS NULL ORDER BY reader", (audience,)
    )
    return [reader for (reader,) in found]


def open_(db: sqlite3.Connection, reader: Principal, audience: str) -> bool:
    """Start at the log's head; an interval that ended there goes on instead. True when late-join rows wait."""
    last = db.execute(
        "SELECT from_seq, to_seq FROM membership WHERE reader = ? AND audience = ? ORDER BY from_seq DESC LIMIT 1",
        (reader, audience),
    ).fetchone()
    if last is not None and last[1] is None:
        return False
    start = head(db, "log")
    if last is not None and last[1] == start:
        db.execute(
            "UPDATE membership SET to_seq = NULL WHERE reader = ? AND audience = ? AND from_seq = ?",
            (reader, audience, last[0]),
        )
    else:
        db.execute("INSERT INTO membership VALUES (?, ?, ?, NULL)", (reader, audience, start))
    late = db.execute("SELECT 1 FROM log WHERE audience = ? AND late_join = 1 LIMIT 1", (audience,)).fetchone()
    return late is not None


def close(db: sqlite3.Connection, reader: Principal, audience: str) -> None:
    values = {"reader": reader, "audience": audience, "head": head(db, "log")}
    mine = "reader = :reader AND audience = :audience AND to_seq IS NULL"
    db.execute(f"DELETE FROM membership WHERE {mine} AND {HEARD_NOTHING}", values)
    db.execute(f"UPDATE membership SET to_seq = :head WHERE {mine}", values)


def open_ones(db: sqlite3.Connection, prefix: str) -> list[tuple[Principal, str]]:
    found = db.execute(
        "SELECT reader, audience FROM membership WHERE audience >= ? AND audience < ? AND to_seq IS NULL",
        (prefix, prefix + "\U0010ffff"),
    )
    return found.fetchall()


def drop(db: sqlite3.Connection, reader: Principal, audience: str) -> None:
    db.execute("DELETE FROM membership WHERE reader = ? AND audience = ?", (reader, audience))


def audiences_of(db: sqlite3.Connection, reader: Principal, prefix: str) -> list[str]:
    found = db.execute(
        "SELECT DISTINCT audience FROM membership WHERE reader = ? AND audience >= ? AND audience < ? ORDER BY 1",
        (reader, prefix, prefix + "\U0010ffff"),
    )
    return [audience for (audience,) in found]
