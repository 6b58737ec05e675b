"""Which notifications a client of their reader has taken. The schema's triggers forget them with the notification."""

# ruff: noqa: S608 - SQL is put together from constants of this package, values are bound

import sqlite3
from collections.abc import Sequence

from realtime.models import Notification, Principal
from realtime.store import sqlite_inbox as inbox
from realtime.store.sqlite_rows import ID_MAX, dumps
from realtime.store.sqlite_view import IN_INBOX, LIVE, MARK, UNREAD, VISIBLE, bound

UNREAD_BROADCASTS = UNREAD.format(columns="l.id", ordinary="l.created_at", late="l.created_at", marked="l.created_at")
WAITING = f"""SELECT n.id FROM (
    SELECT id, created_at FROM inbox INDEXED BY inbox_unread
        WHERE recipient = :reader AND read_at IS NULL AND {IN_INBOX} AND {LIVE}
    UNION ALL {UNREAD_BROADCASTS}) AS n
    WHERE NOT EXISTS (SELECT 1 FROM delivery AS d WHERE d.reader = :reader AND d.id = n.id)
    ORDER BY n.created_at, n.id LIMIT :limit"""

# CROSS JOIN fixes the order of the loops: each of these ids is looked up.
THESE = "json_each(:ids) AS these CROSS JOIN"
TAKE = f"""INSERT OR IGNORE INTO delivery (reader, id)
    SELECT :reader, i.id FROM {THESE} inbox AS i ON i.id = these.value WHERE i.recipient = :reader AND {LIVE}
    UNION ALL SELECT :reader, l.id FROM {THESE} log AS l ON l.id = these.value {MARK} WHERE {VISIBLE}"""


def undelivered(db: sqlite3.Connection, reader: Principal, *, limit: int, now: float) -> list[Notification]:
    """Return what was not taken and is unread, oldest first."""
    found = db.execute(WAITING, bound(reader, now, limit=min(limit, ID_MAX))).fetchall()
    return inbox.in_order(db, reader, [id for (id,) in found], now=now)


def set_delivered(db: sqlite3.Connection, reader: Principal, ids: Sequence[int], *, now: float) -> None:
    """Note what the reader can see of these, nothing else."""
    given = dumps([id for id in ids if 0 < id <= ID_MAX])
    db.execute(TAKE, bound(reader, now, ids=given))
