"""What has changed for a reader since a place, found by what changes are numbered with, and by the time.

Candidates come from indexes, too many rather than too few; each is then looked at as it is now. Those that are not
in the inbox are told as gone, also to a client that does not know them.
"""

# ruff: noqa: S608 - SQL is put together from constants of this package, values are bound

import sqlite3

from realtime.models import Changes, InboxChange, Moments, Notification, Place, Principal
from realtime.store import sqlite_inbox as inbox
from realtime.store import sqlite_view as view
from realtime.store.sqlite_heads import take
from realtime.store.sqlite_inbox import PAGE
from realtime.store.sqlite_rows import ID_MAX, head, set_head
from realtime.store.sqlite_view import (
    FOR_READER,
    HELD,
    IN_INBOX,
    LIVE,
    MARK,
    NOT_EXCLUDED,
    NOT_HIDDEN,
    ORDINARY,
    READ_AT,
    STANDS,
    bound,
)

GONE, GONE_BROADCASTS = "gone", "gone_log"
"""The heads that say up to which `rev` and `log_rev` it has been forgotten what is gone."""

OF_AUDIENCES = """(SELECT audience FROM membership WHERE reader = :reader
    UNION SELECT audience FROM stir WHERE reader = :reader) AS a CROSS JOIN log AS l ON l.audience = a.audience"""

BETWEEN = "{column} > :earlier AND {column} <= :later"
PASSED = """SELECT l.id FROM {rows} WHERE {stands} AND NOT {marked}
    AND l.seq <= (SELECT ifnull(max(upto), 0) FROM {table} WHERE reader = :reader AND rev > :rev)"""
BEFORE = "max(m.from_seq, (SELECT ifnull(max(upto), 0) FROM {table} WHERE reader = :reader AND rev <= :rev))"
DIRECT = "SELECT id FROM inbox WHERE recipient = :reader AND {which}"
MARKED = "SELECT l.id FROM broadcast_state AS s CROSS JOIN log AS l ON l.seq = s.seq"
STIRRED = """SELECT l.id FROM stir AS x CROSS JOIN log AS l {index} ON l.audience = x.audience
    AND {which} WHERE x.reader = :reader AND x.rev > :rev"""

# Who holds a row, or has had to do with it as long as that is remembered.
HAD = f"""{NOT_EXCLUDED} AND ({HELD} OR EXISTS (SELECT 1 FROM stir AS x WHERE x.reader = :reader
    AND x.audience = l.audience AND (l.late_join = 1 OR l.seq > x.low AND l.seq <= x.high)))"""

CANDIDATES = " UNION ALL ".join(
    (
        DIRECT.format(which="rev > :rev"),
        DIRECT.format(which=BETWEEN.format(column="expires_at")),
        DIRECT.format(which=BETWEEN.format(column="snoozed_until")),
        "SELECT id FROM tombstone WHERE reader = :reader AND rev > :rev",
        f"SELECT l.id FROM {OF_AUDIENCES} AND l.rev > :log_rev WHERE {HAD}",
        f"""SELECT l.id FROM {OF_AUDIENCES} AND {BETWEEN.format(column="l.expires_at")} AND l.swept_at IS NULL
            WHERE {HAD}""",
        f"{MARKED} WHERE s.reader = :reader AND s.rev > :rev",
        f"{MARKED} WHERE s.reader = :reader AND {BETWEEN.format(column='s.snoozed_until')}",
        *(
            PASSED.format(
                rows=ORDINARY.format(above=BEFORE.format(table=table)), stands=STANDS, marked=view.MARKED, table=table
            )
            for table in ("read_cursor", "seen_cursor")
        ),
        STIRRED.format(index="", which="l.seq > x.low AND l.seq <= x.high"),
        STIRRED.format(index="INDEXED BY log_late", which=f"l.late_join = 1 AND {STANDS}"),
    )
)

MISSED = f"""
    SELECT id, created_at FROM inbox
        WHERE recipient = :reader AND rev > :rev AND came > :rev AND read_at IS NULL AND {IN_INBOX} AND {LIVE}
    UNION ALL SELECT l.id, l.created_at FROM (SELECT DISTINCT audience FROM membership WHERE reader = :reader) AS a
        CROSS JOIN log AS l ON l.audience = a.audience AND l.rev > :log_rev AND l.came > :log_rev {MARK}
        WHERE {FOR_READER} AND {NOT_HIDDEN} AND {HELD} AND {IN_INBOX} AND {READ_AT} IS NULL
    ORDER BY created_at DESC, id DESC LIMIT :limit"""

MOMENTS = """
    SELECT recipient, NULL FROM inbox WHERE expires_at > :after AND expires_at <= :until
    UNION SELECT recipient, NULL FROM inbox WHERE snoozed_until > :after AND snoozed_until <= :until
    UNION SELECT reader, NULL FROM broadcast_state WHERE snoozed_until > :after AND snoozed_until <= :until
    UNION SELECT NULL, audience FROM log WHERE expires_at > :after AND expires_at <= :until
        AND swept_at IS NULL AND retracted_at IS NULL"""


def place(db: sqlite3.Connection, *, now: float) -> Place:
    """All readers are at the same place: what concerns nobody else has a number of the same heads."""
    return Place(head(db, "epoch"), head(db, "rev"), head(db, "log_rev"), 0, now)


def changed(db: sqlite3.Connection, reader: Principal, since: Place, *, remembered: float, now: float) -> bool:
    """`remembered` is how long what is gone is remembered, 0 for ever."""
    if _is_useless(db, since, place(db, now=now), remembered):
        return True
    found: int = db.execute(f"SELECT EXISTS ({CANDIDATES})", _bound(reader, since, now)).fetchone()[0]
    return bool(found)


def changes(
    db: sqlite3.Connection,
    reader: Principal,
    since: Place | None,
    *,
    above: int,
    limit: int,
    remembered: float,
    now: float,
) -> Changes:
    here = place(db, now=now)
    if since is None or _is_useless(db, since, here, remembered):
        found = _everything(db, reader, above=above, limit=limit + 1, now=now)
    else:
        found = _since(db, reader, since, above=above, limit=limit + 1, now=now)
        return Changes(tuple(found[:limit]), here, reset=False, more=len(found) > limit)
    return Changes(tuple(found[:limit]), here, reset=True, more=len(found) > limit)


def _is_useless(db: sqlite3.Connection, since: Place, here: Place, remembered: float) -> bool:
    if since.epoch != here.epoch:
        return True
    if since.rev > here.rev or since.log_rev > here.log_rev or since.marks > here.marks:
        return True
    if since.rev < head(db, GONE) or since.log_rev < head(db, GONE_BROADCASTS):
        return True
    return remembered > 0 and since.at < here.at - remembered


def forget_places(db: sqlite3.Connection) -> None:
    """Let everybody ask for the whole inbox who knows one as of now; for what leaves no trace of itself."""
    set_head(db, GONE, take(db, "rev"))


def _everything(db: sqlite3.Connection, reader: Principal, *, above: int, limit: int, now: float) -> list[InboxChange]:
    values = bound(reader, now, shelf="inbox", type=None, read=None, above=min(above, ID_MAX), limit=min(limit, ID_MAX))
    found = db.execute(f"SELECT id {PAGE} AND id > :above ORDER BY id LIMIT :limit", values)
    rows = inbox.in_order(db, reader, [id for (id,) in found], now=now)
    return [InboxChange(row.id, row) for row in rows]


def _since(
    db: sqlite3.Connection, reader: Principal, since: Place, *, above: int, limit: int, now: float
) -> list[InboxChange]:
    """A row that is not in the inbox is told although it came after the place: a later page may have shown it."""
    candidates = {id for (id,) in db.execute(CANDIDATES, _bound(reader, since, now)) if id > above}
    ids = sorted(candidates)[:limit]
    rows = view.these(db, reader, ids, now=now)
    shown = {id: row for id, row in rows.items() if _in_inbox(row, now)}
    return [InboxChange(id, shown.get(id)) for id in ids]


def _in_inbox(row: Notification, now: float) -> bool:
    return row.archived_at is None and (row.snoozed_until is None or row.snoozed_until <= now)


def _bound(reader: Principal, since: Place, now: float) -> dict[str, object]:
    earlier, later = min(since.at, now), max(since.at, now)
    return bound(reader, now, rev=since.rev, log_rev=since.log_rev, earlier=earlier, later=later)


def missed(db: sqlite3.Connection, reader: Principal, since: Place, *, limit: int, now: float) -> list[Notification]:
    if since.epoch != head(db, "epoch"):
        return []
    rev, log_rev = (min(number, ID_MAX) for number in since.heard)
    values = bound(reader, now, rev=rev, log_rev=log_rev, limit=min(limit, ID_MAX))
    found = db.execute(MISSED, values).fetchall()
    return inbox.in_order(db, reader, [id for id, _ in found[::-1]], now=now)


def moments(db: sqlite3.Connection, after: float, until: float) -> Moments:
    found = db.execute(MOMENTS, {"after": after, "until": until}).fetchall()
    return Moments(
        frozenset(reader for reader, _ in found if reader is not None),
        frozenset(audience for _, audience in found if audience is not None),
    )
