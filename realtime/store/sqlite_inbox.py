"""The inbox as each reader sees it: pages, single rows, counts."""

# ruff: noqa: S608 - SQL is put together from constants of this package, values are bound

import sqlite3
from collections.abc import Sequence

from realtime.models import Counts, InboxQuery, Notification, Principal
from realtime.store import sqlite_rows as rows
from realtime.store import sqlite_view as view
from realtime.store.sqlite_rows import ID_MAX, dumps, head
from realtime.store.sqlite_view import (
    BROADCAST,
    DIRECT,
    FOR_READER,
    HELD,
    IN_INBOX,
    LATE,
    LIVE,
    MARK,
    NOT_HIDDEN,
    ORDINARY,
    READ_AT,
    SEEN_UPTO,
    SHELF,
    UNREAD,
    VISIBLE,
    bound,
)

LISTED = f"SELECT l.id, l.created_at, l.type, {READ_AT} AS read_at, archived_at, snoozed_until"
PAGE = f"""FROM (
    SELECT id, created_at, type, read_at, archived_at, snoozed_until FROM inbox INDEXED BY inbox_newest
        WHERE recipient = :reader AND {LIVE}
    UNION ALL {LISTED} FROM {ORDINARY.format(above="m.from_seq")} {MARK} WHERE {FOR_READER} AND {NOT_HIDDEN}
    UNION ALL {LISTED} FROM {LATE} {MARK} WHERE {FOR_READER} AND {NOT_HIDDEN} AND {HELD})
    WHERE {SHELF} = :shelf AND (:type IS NULL OR type = :type) AND (:read IS NULL OR (read_at IS NOT NULL) = :read)"""

ASKED = "IN (SELECT value FROM json_each(:ids))"
VISIBLE_IDS = f"""SELECT id FROM inbox WHERE id {ASKED} AND +recipient = :reader AND {LIVE}
    UNION ALL SELECT l.id FROM log AS l {MARK} WHERE l.id {ASKED} AND {VISIBLE}"""

# In the order of the index, so that nothing is sorted.
UNREAD_DIRECT = f"""SELECT ifnull(category, type), count(*), sum(seen_at IS NULL) FROM inbox INDEXED BY inbox_unread
    WHERE recipient = :reader AND read_at IS NULL AND {IN_INBOX} AND {LIVE} GROUP BY category, type"""
UNREAD_BROADCASTS = UNREAD.format(
    columns="ifnull(l.category, l.type)", ordinary=f"l.seq > {SEEN_UPTO}", late="1", marked="s.seen_at IS NULL"
)


def page(db: sqlite3.Connection, reader: Principal, query: InboxQuery, *, now: float) -> tuple[list[Notification], int]:
    """Return the rows of the page and how many match without paging."""
    values = bound(
        reader,
        now,
        shelf=query.shelf,
        type=query.type,
        read=None if query.read is None else int(query.read),
        limit=min(query.limit, ID_MAX),
        offset=min(query.offset, ID_MAX),
    )
    total: int = db.execute(f"SELECT count(*) {PAGE}", values).fetchone()[0]
    found = db.execute(f"SELECT id {PAGE} ORDER BY created_at DESC, id DESC LIMIT :limit OFFSET :offset", values)
    return in_order(db, reader, [id for (id,) in found], now=now), total


def in_order(db: sqlite3.Connection, reader: Principal, ids: Sequence[int], *, now: float) -> list[Notification]:
    """Return those of these rows that the reader can see."""
    found = view.these(db, reader, ids, now=now)
    return [found[id] for id in ids if id in found]


def direct(db: sqlite3.Connection, reader: Principal, id: int, *, now: float) -> Notification | None:
    found = db.execute(
        f"{DIRECT} WHERE id = :id AND +recipient = :reader AND {LIVE}", {"reader": reader, "id": id, "now": now}
    ).fetchone()
    return rows.notification(found) if found else None


def broadcast(db: sqlite3.Connection, reader: Principal, id: int, *, now: float) -> Notification | None:
    found = db.execute(f"{BROADCAST} WHERE l.id = :id AND {VISIBLE}", bound(reader, now, id=id)).fetchone()
    return rows.notification(found) if found else None


def notification(db: sqlite3.Connection, reader: Principal, id: int, *, now: float) -> Notification | None:
    """Return the row if the reader can see it, on whatever shelf."""
    if not 0 < id <= ID_MAX:
        return None
    return direct(db, reader, id, now=now) or broadcast(db, reader, id, now=now)


def visible(db: sqlite3.Connection, reader: Principal, ids: Sequence[int], *, now: float) -> list[int]:
    """Return those of the ids that the reader can see, on whatever shelf, in the given order."""
    asked = [id for id in ids if 0 < id <= ID_MAX]
    found = {id for (id,) in db.execute(VISIBLE_IDS, bound(reader, now, ids=dumps(asked)))} if asked else set()
    return [id for id in asked if id in found]


def unread_count(db: sqlite3.Connection, reader: Principal, *, now: float) -> int:
    return counts(db, reader, now=now).unread


def counts(db: sqlite3.Connection, reader: Principal, *, now: float) -> Counts:
    """What is unseen is unread: reading makes seen, and nothing makes it unseen again."""
    values = bound(reader, now)
    categories: dict[str, int] = {}
    unseen = 0
    for category, count, new in db.execute(UNREAD_DIRECT, values):
        categories[category] = categories.get(category, 0) + count
        unseen += new
    for category, new in db.execute(UNREAD_BROADCASTS, values):
        categories[category] = categories.get(category, 0) + 1
        unseen += new
    return Counts(sum(categories.values()), unseen, categories, head(db, "rev") + head(db, "log_rev"))
