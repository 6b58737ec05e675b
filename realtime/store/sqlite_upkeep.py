"""Remembered requests, the removal of what has expired, and the proof that the database can commit."""

# ruff: noqa: S608 - SQL is put together from constants of this package, values are bound

import sqlite3

from realtime.models import Principal, Replay
from realtime.store.base import IDEMPOTENCY_SECONDS

SWEEP_ROWS = 500
"""Rows that one transaction of a sweep removes; a few milliseconds for the writer."""

PROBE_BYTES = 16 * 1024
"""More than a few pages, so that a check needs room that the file may not have."""

EXPIRED_LOG = "(SELECT seq, id FROM log WHERE expires_at <= :now ORDER BY expires_at, seq LIMIT :rows) AS l"
EXPIRED_OF_READERS = (
    f"""DELETE FROM broadcast_state WHERE (reader, seq) IN (
        SELECT s.reader, s.seq FROM {EXPIRED_LOG} CROSS JOIN broadcast_state AS s ON s.seq = l.seq LIMIT :rows)""",
    f"""DELETE FROM delivery WHERE (reader, id) IN (
        SELECT d.reader, d.id FROM {EXPIRED_LOG} CROSS JOIN delivery AS d ON d.id = l.id LIMIT :rows)""",
)

EXPIRED = (
    "DELETE FROM inbox WHERE id IN (SELECT id FROM inbox WHERE expires_at <= :now LIMIT :rows)",
    "DELETE FROM log WHERE seq IN (SELECT seq FROM log WHERE expires_at <= :now ORDER BY expires_at, seq LIMIT :rows)",
    """DELETE FROM dedup WHERE (target, key) IN (
        SELECT target, key FROM dedup WHERE expires_at <= :now LIMIT :rows)""",
    "DELETE FROM request WHERE rowid IN (SELECT rowid FROM request WHERE expires_at <= :now LIMIT :rows)",
)


def begin_request(
    db: sqlite3.Connection, principal: Principal, key: str, fingerprint: str, *, boot: str, now: float
) -> Replay | None:
    """A claim that is still running is free when another `boot` made it: that process has ended."""
    found = db.execute(
        """SELECT fingerprint, status, body FROM request WHERE principal = ? AND key = ? AND expires_at > ?
            AND (status IS NOT NULL OR boot = ?)""",
        (principal, key, now, boot),
    ).fetchone()
    if found is not None:
        return Replay(*found)
    db.execute(
        "REPLACE INTO request (principal, key, fingerprint, body, boot, expires_at) VALUES (?, ?, ?, x'', ?, ?)",
        (principal, key, fingerprint, boot, now + IDEMPOTENCY_SECONDS),
    )
    return None


def finish_request(db: sqlite3.Connection, principal: Principal, key: str, *, status: int, body: bytes) -> None:
    db.execute(
        "UPDATE request SET status = ?, body = ? WHERE principal = ? AND key = ?", (status, body, principal, key)
    )


def forget_request(db: sqlite3.Connection, principal: Principal, key: str) -> None:
    db.execute("DELETE FROM request WHERE principal = ? AND key = ?", (principal, key))


def sweep_some(db: sqlite3.Connection, *, now: float) -> tuple[int, bool]:
    """Remove up to SWEEP_ROWS of each kind; returns (rows that count, whether to go on).

    What readers did with an expired broadcast goes first, it can be a row for each of them.
    """
    values = {"now": now, "rows": SWEEP_ROWS}
    for statement in EXPIRED_OF_READERS:
        if db.execute(statement, values).rowcount:
            return 0, True
    removed = [db.execute(statement, values).rowcount for statement in EXPIRED]
    return sum(removed), SWEEP_ROWS in removed


def probe(db: sqlite3.Connection) -> None:
    """Take some pages, give them back, and leave something to commit."""
    db.execute("SAVEPOINT probe")
    db.execute("INSERT INTO request VALUES ('', '', '', 0, zeroblob(?), '', 0)", (PROBE_BYTES,))
    db.execute("ROLLBACK TO probe")
    db.execute("RELEASE probe")
    db.execute("UPDATE heads SET value = value + 1 WHERE name = 'check'")
