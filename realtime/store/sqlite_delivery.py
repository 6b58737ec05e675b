"""Which notifications a client of their reader has taken. The schema's triggers forget them with the notification."""

# ruff: noqa: S608 - SQL is put together from constants of this package, values are bound

import sqlite3
from collections.abc import Sequence

from realtime.models import Notification, Principal
from realtime.store import sqlite_inbox as inbox
from realtime.store.sqlite_inbox import LIVE, UNREAD, VISIBLE
from realtime.store.sqlite_rows import ID_MAX, dumps

WAITING = f"""SELECT n.id FROM (
    SELECT id, created_at FROM inbox WHERE recipient = :reader AND read_at IS NULL AND {LIVE}
    UNION ALL SELECT id, created_at FROM ({UNREAD})) AS n
    WHERE NOT EXISTS (SELECT 1 FROM delivery AS d WHERE d.reader = :reader AND d.id = n.id)
    ORDER BY n.created_at, n.id LIMIT :limit"""

# CROSS JOIN fixes the order of the loops: each of these ids is looked up.
THESE = "json_each(:ids) AS these CROSS JOIN"
TAKE = f"""INSERT OR IGNORE INTO delivery (reader, id)
    SELECT :reader, i.id FROM {THESE} inbox AS i ON i.id = these.value WHERE i.recipient = :reader AND {LIVE}
    UNION ALL SELECT :reader, l.id FROM {THESE} log AS l ON l.id = these.value WHERE {VISIBLE}"""


def undelivered(db: sqlite3.Connection, reader: Principal, *, limit: int, now: float) -> list[Notification]:
    """Return what was not taken and is unread, oldest first."""
    found = db.execute(WAITING, {"reader": reader, "now": now, "limit": min(limit, ID_MAX)}).fetchall()
    waiting = [inbox.notification(db, reader, id, now=now) for (id,) in found]
    return [row for row in waiting if row is not None]


def set_delivered(db: sqlite3.Connection, reader: Principal, ids: Sequence[int], *, now: float) -> None:
    """Note what the reader can see of these, nothing else."""
    given = dumps([id for id in ids if 0 < id <= ID_MAX])
    db.execute(TAKE, {"reader": reader, "now": now, "ids": given})
