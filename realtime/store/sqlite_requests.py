"""Requests that clients repeat until they are answered, and what they were answered."""

import sqlite3

from realtime.models import Principal, Replay
from realtime.store.base import CLAIM_SECONDS, IDEMPOTENCY_SECONDS


def begin_request(
    db: sqlite3.Connection, principal: Principal, key: str, fingerprint: str, *, now: float
) -> Replay | None:
    """A claim of any process holds for CLAIM_SECONDS, also when the process ends; against others until it expires."""
    found = db.execute(
        """SELECT fingerprint, status, body FROM request WHERE principal = ? AND key = ? AND expires_at > ?
            AND (status IS NOT NULL OR claimed_until > ? OR fingerprint <> ?)""",
        (principal, key, now, now, fingerprint),
    ).fetchone()
    if found is not None:
        return Replay(*found)
    db.execute(
        """REPLACE INTO request (principal, key, fingerprint, body, expires_at, claimed_until)
            VALUES (?, ?, ?, x'', ?, ?)""",
        (principal, key, fingerprint, now + IDEMPOTENCY_SECONDS, now + CLAIM_SECONDS),
    )
    return None


def finish_request(db: sqlite3.Connection, principal: Principal, key: str, *, status: int, body: bytes) -> None:
    db.execute(
        "UPDATE request SET status = ?, body = ? WHERE principal = ? AND key = ?", (status, body, principal, key)
    )


def forget_request(db: sqlite3.Connection, principal: Principal, key: str) -> None:
    """An answer stays: who was slower than CLAIM_SECONDS may find that another has given it."""
    db.execute("DELETE FROM request WHERE principal = ? AND key = ? AND status IS NULL", (principal, key))


def free_claims(db: sqlite3.Connection) -> None:
    """Let every request that was not answered be asked again, as it was; nobody else answers one now."""
    if db.execute("SELECT 1 FROM pragma_table_info('request') WHERE name = 'claimed_until'").fetchone():
        db.execute("UPDATE request SET claimed_until = NULL WHERE status IS NULL")
