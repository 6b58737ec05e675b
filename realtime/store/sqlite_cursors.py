"""Everything read, everything seen: a cursor passes all broadcasts at once, direct rows are marked one by one."""

# ruff: noqa: S608 - SQL is put together from constants of this package, values are bound

import math
import sqlite3
from dataclasses import dataclass

from realtime.models import Principal
from realtime.store import sqlite_inbox as inbox
from realtime.store.sqlite_rows import ID_MAX, head, set_head
from realtime.store.sqlite_view import IN_INBOX, LIVE, SEEN_BY_CURSOR, UNREAD, bound

WAITING = UNREAD.format(
    columns="l.seq, l.id, l.created_at",
    ordinary=f"{SEEN_BY_CURSOR}, 0, NULL",
    late="NULL, 1, NULL",
    marked="s.seen_at, 1, s.snoozed_until",
)

SET_MARK = """INSERT INTO broadcast_state (reader, seq, read_at, seen_at, snoozed_until, rev, hidden)
    VALUES (?, ?, ?, ?, ?, ?, 0)
    ON CONFLICT (reader, seq)
    DO UPDATE SET read_at = excluded.read_at, seen_at = excluded.seen_at, rev = excluded.rev"""

# A cursor is of use while a broadcast that is not swept lies between it and the one before it.
FORGET = """DELETE FROM {table} WHERE reader = :reader AND upto < :upto AND NOT EXISTS (
    SELECT 1 FROM log AS l WHERE l.swept_at IS NULL AND l.seq <= {table}.upto AND l.seq > ifnull(
        (SELECT max(p.upto) FROM {table} AS p WHERE p.reader = :reader AND p.upto < {table}.upto), 0))"""


@dataclass(frozen=True, slots=True)
class Kind:
    """What is noted of a row, where, and of which unread ones."""

    table: str
    set_direct: str
    due_direct: str
    reads: bool


READ = Kind("read_cursor", "read_at = :now, seen_at = ifnull(seen_at, :now)", "read_at IS NULL", reads=True)
SEEN = Kind("seen_cursor", "seen_at = :now", "read_at IS NULL AND seen_at IS NULL", reads=False)


def mark_all(db: sqlite3.Connection, reader: Principal, up_to: int | None, kind: Kind, *, now: float) -> int:
    """All that one call changes has one revision."""
    newest = (math.inf, ID_MAX)
    if up_to is not None:
        row = inbox.notification(db, reader, up_to, now=now)
        if row is None:
            return 0
        newest = (row.created_at, row.id)
    rev = head(db, "rev") + 1
    marked = db.execute(
        f"""UPDATE inbox INDEXED BY inbox_unread SET {kind.set_direct}, rev = :rev
            WHERE recipient = :reader AND {kind.due_direct} AND {IN_INBOX} AND {LIVE}
            AND (created_at, id) <= (:created_at, :id)""",
        {"reader": reader, "now": now, "rev": rev, "created_at": newest[0], "id": newest[1]},
    ).rowcount
    marked += _mark_broadcasts(db, reader, newest, kind, rev=rev, now=now)
    if marked:
        set_head(db, "rev", rev)
    return marked


def _mark_broadcasts(
    db: sqlite3.Connection, reader: Principal, newest: tuple[float, int], kind: Kind, *, rev: int, now: float
) -> int:
    """The cursor goes to just below the first row that must stay as it is; list order and seq order can differ."""
    due: list[tuple[int, float | None, bool, float | None]] = []
    cursor = head(db, "log")
    for seq, id, created_at, seen_at, own, snoozed_until in db.execute(WAITING, bound(reader, now)).fetchall():
        if not kind.reads and seen_at is not None:
            continue
        if (created_at, id) <= newest:
            due.append((seq, seen_at, bool(own), snoozed_until))
        elif not own:
            cursor = min(cursor, seq - 1)
    if any(not own and seq <= cursor for seq, _, own, _ in due):
        db.execute(f"INSERT INTO {kind.table} VALUES (?, ?, ?, ?)", (reader, cursor, now, rev))
        db.execute(FORGET.format(table=kind.table), {"reader": reader, "upto": cursor})
    marks = [
        (reader, seq, now if kind.reads else None, now if seen_at is None else seen_at, snoozed_until, rev)
        for seq, seen_at, own, snoozed_until in due
        if own or seq > cursor
    ]
    db.executemany(SET_MARK, marks)
    return len(due)
