"""The inbox as each reader sees it: their direct rows, and the broadcasts that their memberships let them see.

Visible: the row is live (not past `expires_at`), does not exclude the reader, is not hidden by them, and a
membership of theirs was open at its seq, or is open now and the row is `late_join`.

Read: what `broadcast_state` says for the reader and the row; without that, whether the read cursor has passed the
row's seq. `late_join` rows ignore the cursor, as they may become visible long after it passed.

The cursor may pass rows that the reader cannot see, because such rows never become visible later: a membership
starts at the log's head, and everything under the cursor is at or below the head of its time.
"""

# ruff: noqa: S608 - SQL is put together from constants of this package, values are bound

import math
import sqlite3

from realtime.models import InboxQuery, Notification, Principal
from realtime.store import sqlite_rows as rows
from realtime.store.sqlite_rows import ID_MAX, head

LIVE = "(expires_at IS NULL OR expires_at > :now)"

DIRECT = (
    "SELECT id, recipient, NULL AS audience, NULL AS excluded, 0 AS late_join, "
    "type, content, expires_at, group_key, sender, created_at, updated_at, read_at, group_count FROM inbox"
)
MINE = f"{DIRECT} WHERE recipient = :reader AND {LIVE}"

CURSOR = "(SELECT ifnull(max(upto), 0) FROM read_cursor WHERE reader = :reader)"

STATE = "SELECT 1 FROM broadcast_state AS s WHERE s.reader = :reader AND s.seq = l.seq"

VISIBLE = f"""(l.expires_at IS NULL OR l.expires_at > :now)
    AND EXISTS (
        SELECT 1 FROM membership AS m WHERE m.reader = :reader AND m.audience = l.audience
        AND (l.seq > m.from_seq AND l.seq <= ifnull(m.to_seq, l.seq) OR l.late_join = 1 AND m.to_seq IS NULL))
    AND (l.excluded IS NULL OR NOT EXISTS (SELECT 1 FROM json_each(l.excluded) WHERE value = :reader))
    AND NOT EXISTS ({STATE} AND s.hidden = 1)"""

# The log rows that one reader may see, a superset found by index. CROSS JOIN fixes the order of the loops.
AUDIENCES = "(SELECT audience, min(from_seq) AS low FROM membership WHERE reader = :reader GROUP BY audience) AS a"
ORDINARY = f"{AUDIENCES} CROSS JOIN log AS l ON l.audience = a.audience AND l.seq > a.low AND l.late_join = 0"
LATE = f"{AUDIENCES} CROSS JOIN log AS l ON l.audience = a.audience AND l.late_join = 1"

# Time of the smallest cursor that has passed the row, unless there is an explicit state.
READ_AT = f"""CASE
    WHEN EXISTS ({STATE}) THEN (
        SELECT s.read_at FROM broadcast_state AS s WHERE s.reader = :reader AND s.seq = l.seq)
    WHEN l.late_join = 1 THEN NULL
    ELSE (SELECT c.read_at FROM read_cursor AS c WHERE c.reader = :reader AND c.upto >= l.seq ORDER BY c.upto LIMIT 1)
    END AS read_at"""

BROADCAST = f"""SELECT l.id, NULL AS recipient, l.audience, l.excluded, l.late_join,
    l.type, l.content, l.expires_at, l.group_key, l.sender, l.created_at, l.updated_at, {READ_AT}, 1 AS group_count"""

PAGE = f"""FROM ({MINE}
    UNION ALL {BROADCAST} FROM {ORDINARY} WHERE {VISIBLE}
    UNION ALL {BROADCAST} FROM {LATE} WHERE {VISIBLE})
    WHERE (:type IS NULL OR type = :type) AND (:read IS NULL OR (read_at IS NOT NULL) = :read)"""

UNREAD_KEYS = "SELECT l.seq, l.id, l.created_at"
UNREAD = f"""
    {UNREAD_KEYS}, 0 AS explicit FROM {ORDINARY} AND l.seq > {CURSOR} WHERE NOT EXISTS ({STATE}) AND {VISIBLE}
    UNION ALL {UNREAD_KEYS}, 1 FROM {LATE} WHERE NOT EXISTS ({STATE}) AND {VISIBLE}
    UNION ALL {UNREAD_KEYS}, 1 FROM broadcast_state AS u CROSS JOIN log AS l ON l.seq = u.seq
        WHERE u.reader = :reader AND u.read_at IS NULL AND u.hidden = 0 AND {VISIBLE}"""

SET_STATE = """INSERT INTO broadcast_state (reader, seq, read_at, hidden) VALUES (?, ?, ?, ?)
    ON CONFLICT (reader, seq) DO UPDATE SET read_at = excluded.read_at, hidden = excluded.hidden"""


def page(db: sqlite3.Connection, reader: Principal, query: InboxQuery, *, now: float) -> tuple[list[Notification], int]:
    """Return the rows of the page and how many match without paging."""
    values = {
        "reader": reader,
        "now": now,
        "type": query.type,
        "read": None if query.read is None else int(query.read),
        "limit": min(query.limit, ID_MAX),
        "offset": min(query.offset, ID_MAX),
    }
    total: int = db.execute(f"SELECT count(*) {PAGE}", values).fetchone()[0]
    found = db.execute(f"SELECT * {PAGE} ORDER BY created_at DESC, id DESC LIMIT :limit OFFSET :offset", values)
    return [rows.notification(row) for row in found], total


def direct(db: sqlite3.Connection, reader: Principal, id: int, *, now: float) -> Notification | None:
    found = db.execute(f"{MINE} AND id = :id", {"reader": reader, "id": id, "now": now}).fetchone()
    return rows.notification(found) if found else None


def broadcast(db: sqlite3.Connection, reader: Principal, id: int, *, now: float) -> tuple[int, Notification] | None:
    """Return (seq, row) when the reader can see it."""
    found = db.execute(
        f"{BROADCAST}, l.seq FROM log AS l WHERE l.id = :id AND {VISIBLE}", {"reader": reader, "id": id, "now": now}
    ).fetchone()
    return (found[-1], rows.notification(found[:-1])) if found else None


def notification(db: sqlite3.Connection, reader: Principal, id: int, *, now: float) -> Notification | None:
    if not 0 < id <= ID_MAX:
        return None
    row = direct(db, reader, id, now=now)
    if row is None and (found := broadcast(db, reader, id, now=now)):
        row = found[1]
    return row


def unread_count(db: sqlite3.Connection, reader: Principal, *, now: float) -> int:
    count: int = db.execute(
        f"""SELECT (SELECT count(*) FROM inbox WHERE recipient = :reader AND read_at IS NULL AND {LIVE})
            + (SELECT count(*) FROM ({UNREAD}))""",
        {"reader": reader, "now": now},
    ).fetchone()[0]
    return count


def set_read(db: sqlite3.Connection, reader: Principal, id: int, read: bool, *, now: float) -> Notification | None:
    """A row that is read already keeps its `read_at`."""
    if not 0 < id <= ID_MAX:
        return None
    read_at = now if read else None
    row = direct(db, reader, id, now=now)
    if row is not None:
        if row.read != read:
            db.execute("UPDATE inbox SET read_at = ? WHERE id = ?", (read_at, id))
            row = row.marked(read_at)
        return row
    found = broadcast(db, reader, id, now=now)
    if found is None:
        return None
    seq, row = found
    if row.read != read:
        db.execute(SET_STATE, (reader, seq, read_at, 0))
        row = row.marked(read_at)
    return row


def mark_all_read(db: sqlite3.Connection, reader: Principal, up_to: int | None, *, now: float) -> int:
    """Mark direct rows one by one and broadcasts by the cursor, with explicit states where it cannot say it."""
    newest = (math.inf, ID_MAX)
    if up_to is not None:
        row = notification(db, reader, up_to, now=now)
        if row is None:
            return 0
        newest = (row.created_at, row.id)
    values = {"reader": reader, "now": now, "created_at": newest[0], "id": newest[1]}
    marked = db.execute(
        f"""UPDATE inbox SET read_at = :now WHERE recipient = :reader AND read_at IS NULL AND {LIVE}
            AND (created_at, id) <= (:created_at, :id)""",
        values,
    ).rowcount
    return marked + _mark_broadcasts(db, reader, newest, now=now)


def _mark_broadcasts(db: sqlite3.Connection, reader: Principal, newest: tuple[float, int], *, now: float) -> int:
    """The cursor goes to just below the first row that must stay unread; list order and seq order can differ."""
    due: list[tuple[int, bool]] = []
    cursor = head(db, "log")
    for seq, id, created_at, explicit in db.execute(UNREAD, {"reader": reader, "now": now}):
        if (created_at, id) <= newest:
            due.append((seq, bool(explicit)))
        elif not explicit:
            cursor = min(cursor, seq - 1)
    if any(not explicit and seq <= cursor for seq, explicit in due):
        db.execute("INSERT INTO read_cursor (reader, upto, read_at) VALUES (?, ?, ?)", (reader, cursor, now))
    states = [(reader, seq, now, 0) for seq, explicit in due if explicit or seq > cursor]
    db.executemany(SET_STATE, states)
    return len(due)


def delete(db: sqlite3.Connection, reader: Principal, id: int, *, now: float) -> bool:
    """Delete a direct row, hide a broadcast."""
    if not 0 < id <= ID_MAX:
        return False
    if direct(db, reader, id, now=now) is not None:
        db.execute("DELETE FROM inbox WHERE id = ?", (id,))
        return True
    found = broadcast(db, reader, id, now=now)
    if found is None:
        return False
    db.execute(SET_STATE, (reader, found[0], None, 1))
    db.execute("DELETE FROM delivery WHERE reader = ? AND id = ?", (reader, id))
    return True
