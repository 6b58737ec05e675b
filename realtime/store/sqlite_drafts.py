"""Notifications that wait for their time."""

# ruff: noqa: S608 - SQL is put together from constants of this package, values are bound

import sqlite3
from collections.abc import Sequence

from realtime.models import Draft, Held, Stored, Target
from realtime.store import sqlite_keys as keys
from realtime.store import sqlite_publish as publish
from realtime.store import sqlite_rows as rows
from realtime.store.sqlite_heads import Heads
from realtime.store.sqlite_keys import Keys
from realtime.store.sqlite_publish import Encoded, Publication, require_taken, target_columns
from realtime.store.sqlite_rows import DRAFT, ID_MAX


def add(
    db: sqlite3.Connection,
    targets: Sequence[Target],
    message: Encoded,
    *,
    run_at: float,
    now: float,
    dedup_key: str | None = None,
    request: str | None = None,
    id: int | None = None,
) -> list[Held | Stored]:
    """Asked again with an `id`, returns the draft that waits. Raises ValueError as `sqlite_publish.add` does."""
    require_taken(db, id, targets)
    if id is not None and (waiting := draft(db, id)):
        return [Held(waiting)]
    heads = Heads(db)
    added: list[Held | Stored] = []
    for target, names in keys.named(targets, dedup_key, request, sender=message.sender):
        earlier = _earlier(db, target, message, names, now=now)
        if earlier is None:
            taken = id or heads.take("notification")
            new = Draft(taken, target, message.content, message.sender, run_at, now, dedup_key)
            _insert(db, new, message)
            keys.remember(db, names, new.id, now=now)
        added.append(earlier or Held(new))
    heads.save()
    return added


def _earlier(
    db: sqlite3.Connection, target: Target, message: Encoded, names: Keys, *, now: float
) -> Held | Stored | None:
    """Return the draft that has used a key, or the notification that it has become or was from the start."""
    used = keys.used(db, names, now=now)
    if used is None:
        return None
    if waiting := draft(db, used.id):
        return Held(waiting, duplicate=True, repeated=used.repeated)
    found = publish.row(db, used.id) or publish.told(db, used, target, message)
    return Stored(found, duplicate=True, repeated=used.repeated)


def _insert(db: sqlite3.Connection, new: Draft, message: Encoded) -> None:
    if (new.target.recipient is None) == (new.target.audience is None):
        raise ValueError("a target has a recipient or an audience")
    db.execute(
        f"INSERT INTO draft ({DRAFT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            new.id, *target_columns(new.target), *message.columns, new.sender, new.run_at, new.created_at,
            new.dedup_key,
        ),
    )  # fmt: skip


def draft(db: sqlite3.Connection, id: int) -> Draft | None:
    if not 0 < id <= ID_MAX:
        return None
    found = db.execute(f"SELECT {DRAFT} FROM draft WHERE id = ?", (id,)).fetchone()
    return rows.draft(found) if found else None


def next_run(db: sqlite3.Connection) -> float | None:
    value: float | None = db.execute("SELECT min(run_at) FROM draft").fetchone()[0]
    return value


def due(db: sqlite3.Connection, *, now: float, limit: int) -> list[Draft]:
    """Earliest first."""
    found = db.execute(
        f"SELECT {DRAFT} FROM draft WHERE run_at <= ? ORDER BY run_at, id LIMIT ?", (now, min(limit, ID_MAX))
    )
    return [rows.draft(row) for row in found]


def publish_draft(db: sqlite3.Connection, id: int, *, now: float, most: int = 0) -> Stored | None:
    """The row keeps the draft's id, so a grouped one takes the place of the earlier row instead of its id.

    When a row has been added with that id it is the notification, and nothing is stored. The dedup key was taken
    when the draft was made.
    """
    waiting = draft(db, id)
    if waiting is None:
        return None
    _remove(db, id)
    message = Encoded.encode(waiting.content, waiting.sender)
    if there := publish.under(db, id, waiting.target, message):
        return Stored(there, duplicate=True)
    work = Publication(Heads(db), message, now, most)
    row = work.publish(waiting.target, id)
    work.heads.save()
    return Stored(row)


def cancel(db: sqlite3.Connection, id: int) -> bool:
    """The dedup key is free again."""
    gone = 0 < id <= ID_MAX and _remove(db, id)
    if gone:
        keys.forget(db, id)
    return gone


def _remove(db: sqlite3.Connection, id: int) -> bool:
    return db.execute("DELETE FROM draft WHERE id = ?", (id,)).rowcount == 1
