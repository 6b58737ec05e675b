"""What a reader does with a notification: of a direct row it is stored in the row, of a broadcast in a mark."""

# ruff: noqa: S608 - SQL is put together from constants of this package, values are bound

import sqlite3
from collections.abc import Callable
from dataclasses import replace

from realtime.models import Notification, Principal
from realtime.store import sqlite_inbox as inbox
from realtime.store.sqlite_heads import Heads, take

SET_DIRECT = "UPDATE inbox SET read_at = ?, seen_at = ?, archived_at = ?, snoozed_until = ?, rev = ? WHERE id = ?"

MARK_COLUMNS = "reader, seq, read_at, seen_at, archived_at, snoozed_until, rev, hidden"
SET_MARK = f"REPLACE INTO broadcast_state ({MARK_COLUMNS}) SELECT ?, seq, ?, ?, ?, ?, ?, ? FROM log WHERE id = ?"


def set_read(db: sqlite3.Connection, reader: Principal, id: int, read: bool, *, now: float) -> Notification | None:
    """A row that is read already keeps its `read_at`."""

    def change(row: Notification) -> Notification:
        return row if row.read == read else row.marked(now if read else None)

    return _change(db, reader, id, change, now=now)


def set_seen(db: sqlite3.Connection, reader: Principal, id: int, *, now: float) -> Notification | None:
    def change(row: Notification) -> Notification:
        return replace(row, seen_at=now) if row.seen_at is None else row

    return _change(db, reader, id, change, now=now)


def set_archived(
    db: sqlite3.Connection, reader: Principal, id: int, archived: bool, *, now: float
) -> Notification | None:
    """A row that is archived already keeps its `archived_at`."""

    def change(row: Notification) -> Notification:
        if archived == (row.archived_at is not None):
            return row
        return replace(row, archived_at=now, snoozed_until=None) if archived else replace(row, archived_at=None)

    return _change(db, reader, id, change, now=now)


def snooze(
    db: sqlite3.Connection, reader: Principal, id: int, until: float | None, *, now: float
) -> Notification | None:
    """Without `until` only a snooze ends."""

    def change(row: Notification) -> Notification:
        if until is None:
            return replace(row, snoozed_until=None)
        return replace(row, snoozed_until=until, read_at=None, archived_at=None)

    return _change(db, reader, id, change, now=now)


def delete(db: sqlite3.Connection, reader: Principal, id: int, *, now: float) -> bool:
    """Delete a direct row, hide a broadcast."""
    row = inbox.notification(db, reader, id, now=now)
    if row is None:
        return False
    if row.target.recipient is None:
        _mark(db, reader, row, hidden=True)
        db.execute("DELETE FROM delivery WHERE reader = ? AND id = ?", (reader, id))
    else:
        heads = Heads(db)
        bury(heads, reader, id, at=now)
        heads.save()
    return True


def bury(heads: Heads, reader: Principal, id: int, *, at: float) -> None:
    """Delete a direct row and remember that it is gone."""
    heads.db.execute("DELETE FROM inbox WHERE id = ?", (id,))
    heads.db.execute("INSERT INTO tombstone VALUES (?, ?, ?, ?)", (reader, heads.take("rev"), id, at))


def _change(
    db: sqlite3.Connection, reader: Principal, id: int, change: Callable[[Notification], Notification], *, now: float
) -> Notification | None:
    row = inbox.notification(db, reader, id, now=now)
    if row is None:
        return None
    new = change(row)
    if new == row:
        return row
    if new.target.recipient is None:
        _mark(db, reader, new)
    else:
        values = (new.read_at, new.seen_at, new.archived_at, new.snoozed_until, take(db, "rev"), id)
        db.execute(SET_DIRECT, values)
    return new


def _mark(db: sqlite3.Connection, reader: Principal, row: Notification, *, hidden: bool = False) -> None:
    """Write down all that a broadcast is for its reader."""
    states = (row.read_at, row.seen_at, row.archived_at, row.snoozed_until)
    db.execute(SET_MARK, (reader, *states, take(db, "rev"), int(hidden), row.id))
