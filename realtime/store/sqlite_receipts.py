"""What happened to notifications at their readers', and what is known of one notification."""

# ruff: noqa: S608 - SQL is put together from constants of this package, values are bound

import sqlite3
from collections.abc import Sequence

from realtime.models import Receipt, Trace
from realtime.store import sqlite_rows as rows
from realtime.store import sqlite_view as view
from realtime.store.base import RECEIPT_DEVICES
from realtime.store.sqlite_rows import ID_MAX

RECEIPT = "notification, stage, reader, at, device, detail"
ADD = f"""INSERT OR IGNORE INTO receipt ({RECEIPT})
    SELECT ?1, ?2, ?3, ?4, ?5, ?6 WHERE {RECEIPT_DEVICES} > (
        SELECT count(*) FROM receipt WHERE notification = ?1 AND stage = ?2 AND reader = ?3)"""
SENT_TO = "SELECT count(DISTINCT reader) FROM receipt WHERE notification = ? AND stage = 'sent'"

# Whose membership holds the row: open ones of any time when it is late_join, else those of its time. Nobody is there
# twice, as the intervals of one reader and key never overlap.
HOLDERS = """
    SELECT m.reader, l.* FROM row AS l CROSS JOIN membership AS m
        ON m.audience = l.audience AND m.to_seq IS NULL AND (m.from_seq < l.seq OR l.late_join)
    UNION ALL SELECT m.reader, l.* FROM row AS l CROSS JOIN membership AS m
        ON m.audience = l.audience AND m.to_seq IS NOT NULL AND m.to_seq >= l.seq AND m.from_seq < l.seq
        WHERE NOT (l.late_join AND EXISTS (SELECT 1 FROM membership AS o
            WHERE o.reader = m.reader AND o.audience = l.audience AND o.to_seq IS NULL))"""

# A mark says whether its reader has read the row; else, but for late_join, a cursor that has passed it does.
RECIPIENTS = f"""WITH
    row AS (SELECT seq, audience, late_join, excluded FROM log WHERE id = :id),
    holder AS ({HOLDERS})
    SELECT count(*), count(CASE
        WHEN s.seq IS NOT NULL THEN s.read_at
        WHEN h.late_join = 0 THEN (
            SELECT c.read_at FROM read_cursor AS c WHERE c.reader = h.reader AND c.upto >= h.seq LIMIT 1) END)
    FROM holder AS h LEFT JOIN broadcast_state AS s ON s.reader = h.reader AND s.seq = h.seq
    WHERE h.reader NOT IN (SELECT value FROM json_each((SELECT excluded FROM row)))"""


def add(db: sqlite3.Connection, receipts: Sequence[Receipt]) -> None:
    """The index lets the first of one stage at one device stay."""
    db.executemany(ADD, [(one.notification, one.stage, one.reader, one.at, one.device, one.detail) for one in receipts])


def trace(db: sqlite3.Connection, id: int, *, limit: int) -> Trace | None:
    """Recipients and readers of a broadcast are counted, at about a microsecond each."""
    if not 0 < id <= ID_MAX:
        return None
    sent: int = db.execute(SENT_TO, (id,)).fetchone()[0]
    direct = db.execute(f"{view.DIRECT} WHERE id = ?", (id,)).fetchone()
    if direct is not None:
        row = rows.notification(direct)
        return Trace(row, None, 1, sent, int(row.read), _oldest(db, id, limit))
    broadcast = db.execute(f"{view.SENT} WHERE l.id = ? AND l.swept_at IS NULL", (id,)).fetchone()
    if broadcast is None:
        return None
    row = rows.notification(broadcast)
    (retracted_at,) = db.execute("SELECT retracted_at FROM log WHERE id = ?", (id,)).fetchone()
    recipients, read = db.execute(RECIPIENTS, {"id": id}).fetchone()
    return Trace(row, retracted_at, recipients, sent, read, _oldest(db, id, limit))


def _oldest(db: sqlite3.Connection, id: int, limit: int) -> tuple[Receipt, ...]:
    found = db.execute(
        f"SELECT {RECEIPT} FROM receipt WHERE notification = ? ORDER BY at, num LIMIT ?", (id, min(limit, ID_MAX))
    )
    return tuple(Receipt(*row) for row in found)
