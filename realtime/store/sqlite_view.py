"""What one reader sees, as SQL: their direct rows, and the broadcasts that their memberships let them see.

Visible: the row is live (not past `expires_at`, not retracted, not swept), does not exclude the reader, is not hidden
by them, and a membership of theirs was open at its seq, or is open now and the row is `late_join`.

Read, seen, on which shelf: where the reader has a mark for the row (`broadcast_state`), it says all of that. Without
one the row is in the inbox, and read and seen as far as the cursors have passed its seq. `late_join` rows ignore the
cursors, as they may become visible long after these passed.

A cursor may pass rows that the reader cannot see, because such rows never become visible later: a membership starts
at the log's head, and everything under a cursor is at or below the head of its time. Only a clock that is set back
can let a row come back that had expired then.

The statements bind what `bound` returns. In them `l` is the log, `s` the reader's mark, `m` a membership.
"""

# ruff: noqa: S608 - SQL is put together from constants of this package, values are bound

import sqlite3
from collections.abc import Collection, Iterable
from typing import Any

from realtime.models import Notification, Principal
from realtime.store import sqlite_rows as rows
from realtime.store.sqlite_rows import ID_MAX, dumps

LIVE = "(expires_at IS NULL OR expires_at > :now)"
IN_INBOX = "archived_at IS NULL AND (snoozed_until IS NULL OR snoozed_until <= :now)"
SHELF = "CASE WHEN archived_at IS NOT NULL THEN 'archived' WHEN snoozed_until > :now THEN 'snoozed' ELSE 'inbox' END"

DIRECT = (
    "SELECT id, recipient, NULL AS audience, NULL AS excluded, 0 AS late_join, type, content, expires_at, group_key, "
    "sender, created_at, updated_at, read_at, group_count, seen_at, archived_at, snoozed_until, came FROM inbox"
)

# As its sender sees it.
SENT = (
    "SELECT l.id, NULL, l.audience, l.excluded, l.late_join, l.type, l.content, l.expires_at, l.group_key, "
    "l.sender, l.created_at, l.updated_at, NULL, 1, NULL, NULL, NULL, l.came FROM log AS l"
)

STANDS = "l.retracted_at IS NULL AND l.swept_at IS NULL"

# `excluded` is a list as JSON, `:quoted` a comma and the reader as JSON. json_each would stop at a zero byte.
NOT_EXCLUDED = "(l.excluded IS NULL OR instr(',' || substr(l.excluded, 2), :quoted) = 0)"
FOR_READER = f"{STANDS} AND {LIVE} AND {NOT_EXCLUDED}"

HELD = """EXISTS (SELECT 1 FROM membership AS m WHERE m.reader = :reader AND m.audience = l.audience
    AND (l.seq > m.from_seq AND l.seq <= ifnull(m.to_seq, l.seq) OR l.late_join = 1 AND m.to_seq IS NULL))"""

MARK = "LEFT JOIN broadcast_state AS s ON s.reader = :reader AND s.seq = l.seq"
MARKED = "EXISTS (SELECT 1 FROM broadcast_state AS s WHERE s.reader = :reader AND s.seq = l.seq)"
NOT_HIDDEN = "ifnull(s.hidden, 0) = 0"
VISIBLE = f"{FOR_READER} AND {NOT_HIDDEN} AND {HELD}"

READ_UPTO = "(SELECT ifnull(max(upto), 0) FROM read_cursor WHERE reader = :reader)"
SEEN_UPTO = "(SELECT ifnull(max(upto), 0) FROM seen_cursor WHERE reader = :reader)"

# The time of the smallest cursor that has passed the row.
READ_BY_CURSOR = """(SELECT c.read_at FROM read_cursor AS c
    WHERE c.reader = :reader AND c.upto >= l.seq ORDER BY c.upto LIMIT 1)"""
SEEN_BY_CURSOR = """(SELECT c.seen_at FROM seen_cursor AS c
    WHERE c.reader = :reader AND c.upto >= l.seq ORDER BY c.upto LIMIT 1)"""

READ_AT = f"CASE WHEN s.seq IS NOT NULL THEN s.read_at WHEN l.late_join = 0 THEN {READ_BY_CURSOR} END"
SEEN_AT = f"""CASE WHEN s.seq IS NOT NULL THEN s.seen_at WHEN l.late_join = 0 THEN
    (SELECT min(at) FROM (SELECT {READ_BY_CURSOR} AS at UNION ALL SELECT {SEEN_BY_CURSOR})) END"""

BROADCAST = f"""SELECT l.id, NULL AS recipient, l.audience, l.excluded, l.late_join, l.type, l.content, l.expires_at,
    l.group_key, l.sender, l.created_at, l.updated_at, {READ_AT} AS read_at, 1 AS group_count,
    {SEEN_AT} AS seen_at, s.archived_at, s.snoozed_until, l.came FROM log AS l {MARK}"""

# The broadcasts that one reader holds. CROSS JOIN fixes the order of the loops, and INDEXED BY
# the index where SQLite would guess, as it has no statistics; of the rows of one key at most one
# interval has each. `{above}` is where they begin.
ORDINARY = f"""membership AS m CROSS JOIN log AS l ON m.reader = :reader AND l.audience = m.audience
    AND l.seq > {{above}} AND l.seq <= ifnull(m.to_seq, {ID_MAX}) AND l.late_join = 0"""
LATE = """(SELECT DISTINCT audience FROM membership WHERE reader = :reader) AS a
    CROSS JOIN log AS l INDEXED BY log_late ON l.audience = a.audience AND l.late_join = 1"""

# Unread in the inbox. `{columns}` are of the log; `{seen}` stands for what tells whether and when it was seen.
UNREAD = f"""
    SELECT {{columns}}, {{ordinary}} FROM {ORDINARY.format(above=f"max(m.from_seq, {READ_UPTO})")}
        WHERE {FOR_READER} AND NOT {MARKED}
    UNION ALL SELECT {{columns}}, {{late}} FROM {LATE} WHERE {FOR_READER} AND {HELD} AND NOT {MARKED}
    UNION ALL SELECT {{columns}}, {{marked}}
        FROM broadcast_state AS s INDEXED BY state_unread CROSS JOIN log AS l ON l.seq = s.seq
        WHERE s.reader = :reader AND s.read_at IS NULL AND s.hidden = 0 AND {IN_INBOX} AND {FOR_READER} AND {HELD}"""

THESE = f"{DIRECT} WHERE id IN (SELECT value FROM json_each(:ids)) AND +recipient = :reader AND {LIVE}"
THESE_BROADCASTS = f"{BROADCAST} WHERE l.id IN (SELECT value FROM json_each(:ids)) AND {VISIBLE}"


def bound(reader: Principal, now: float, **more: object) -> dict[str, object]:
    return {"reader": reader, "quoted": f",{dumps(reader)}", "now": now, **more}


def these(db: sqlite3.Connection, reader: Principal, ids: Collection[int], *, now: float) -> dict[int, Notification]:
    """Return those rows that the reader can see, on whatever shelf, by id."""
    if not ids:
        return {}
    values = bound(reader, now, ids=dumps(list(ids)))
    found: Iterable[tuple[Any, ...]] = [*db.execute(THESE, values), *db.execute(THESE_BROADCASTS, values)]
    return {row.id: row for row in map(rows.notification, found)}
