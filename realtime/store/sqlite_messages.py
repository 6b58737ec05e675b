"""Chat messages. Each conversation has a row per user that names its newest message, written with that message."""

# ruff: noqa: S608 - SQL is put together from constants of this package, values are bound

import sqlite3
from collections.abc import Sequence
from typing import Any

from realtime.models import Conversation, Message, NewMessage, StoredMessage
from realtime.store.base import MESSAGE_DEDUP_SECONDS, MESSAGE_REPEAT_SECONDS
from realtime.store.sqlite_rows import ID_MAX, dumps, head, set_head

HEAD = "message"
MESSAGE = "id, sender, receiver, content, client_id, created_at, delivered_at, read_at, notification"

EARLIER = f"""SELECT {MESSAGE} FROM message
    WHERE sender = :sender AND receiver = :receiver AND client_id IS :client_id AND created_at >= :since
    AND created_at <= :until AND (:client_id IS NOT NULL OR content = :content) ORDER BY created_at DESC LIMIT 1"""

UNREAD = "FROM message AS u WHERE u.receiver = {user} AND u.read_at IS NULL"

CONVERSATIONS = f"""SELECT {MESSAGE}, c.other, (SELECT count(*) {UNREAD.format(user="c.user")} AND u.sender = c.other)
    FROM conversation AS c CROSS JOIN message AS m ON m.id = c.last
    WHERE c.user = :user ORDER BY c.last DESC LIMIT :limit OFFSET :offset"""

# What was written and what was received, both newest first, merged as far as the rows are wanted.
# Whoever writes to themselves has written it.
BOTH_WAYS = f"""SELECT {MESSAGE} FROM message WHERE sender = :user AND id <= :last {{written}}
    UNION ALL SELECT {MESSAGE} FROM message WHERE receiver = :user AND sender <> receiver AND id <= :last {{received}}
    ORDER BY id DESC"""
WITH_OTHER = {"written": "AND receiver = :other", "received": "AND sender = :other"}

# These two functions know no special characters and do not stop at a zero byte, as LIKE does. Only ASCII is folded.
CONTAINS = "AND instr(lower(content), lower(:text))"

UNREAD_OF_OTHER = """SELECT id FROM message WHERE sender = :other AND receiver = :reader AND read_at IS NULL
    AND id <= :last ORDER BY id LIMIT :limit"""

MARK_READ = f"""UPDATE message SET read_at = :now, delivered_at = ifnull(delivered_at, :now)
    WHERE {{which}} RETURNING {MESSAGE}"""


def add(db: sqlite3.Connection, new: NewMessage, *, now: float) -> StoredMessage:
    window = MESSAGE_REPEAT_SECONDS if new.client_id is None else MESSAGE_DEDUP_SECONDS
    values = {
        "sender": new.sender,
        "receiver": new.receiver,
        "client_id": new.client_id,
        "content": new.content,
        "since": now - window,
        "until": now + MESSAGE_REPEAT_SECONDS,  # a clock that was set back must not swallow what is said again
    }
    earlier = db.execute(EARLIER, values).fetchone()
    if earlier is not None:
        return StoredMessage(Message(*earlier), duplicate=True)
    row = Message(head(db, HEAD) + 1, new.sender, new.receiver, new.content, new.client_id, now)
    db.execute(
        "INSERT INTO message (id, sender, receiver, content, client_id, created_at) VALUES (?, ?, ?, ?, ?, ?)",
        (row.id, row.sender, row.receiver, row.content, row.client_id, row.created_at),
    )
    set_head(db, HEAD, row.id)
    db.executemany(
        "INSERT INTO conversation VALUES (?1, ?2, ?3) ON CONFLICT (user, other) DO UPDATE SET last = ?3",
        [(row.sender, row.receiver, row.id), (row.receiver, row.sender, row.id)],
    )
    return StoredMessage(row)


def message(db: sqlite3.Connection, id: int) -> Message | None:
    if not 0 < id <= ID_MAX:
        return None
    found = db.execute(f"SELECT {MESSAGE} FROM message WHERE id = ?", (id,)).fetchone()
    return Message(*found) if found else None


def read(db: sqlite3.Connection, id: int, reader: str, *, now: float) -> tuple[Message, bool] | None:
    row = message(db, id)
    if row is None or row.receiver != reader:
        return None
    changed = db.execute(MARK_READ.format(which="id = :id AND read_at IS NULL"), {"id": id, "now": now}).fetchall()
    return (Message(*changed[0]), True) if changed else (row, False)


def read_conversation(
    db: sqlite3.Connection, reader: str, other: str, *, up_to: int | None, now: float, limit: int
) -> list[Message]:
    values = {
        "reader": reader,
        "other": other,
        "last": _id_or_less(up_to),
        "now": now,
        "limit": min(limit, ID_MAX),
    }
    return _oldest_first(db.execute(MARK_READ.format(which=f"id IN ({UNREAD_OF_OTHER})"), values))


def set_delivered(db: sqlite3.Connection, ids: Sequence[int], *, now: float) -> list[Message]:
    """Returns the oldest first."""
    changed = db.execute(
        f"""UPDATE message SET delivered_at = :now
            WHERE id IN (SELECT value FROM json_each(:ids)) AND delivered_at IS NULL RETURNING {MESSAGE}""",
        {"now": now, "ids": dumps([id for id in ids if 0 < id <= ID_MAX])},
    )
    return _oldest_first(changed)


def set_notification(db: sqlite3.Connection, id: int, notification: int) -> None:
    db.execute("UPDATE message SET notification = ? WHERE id = ?", (notification, id))


def undelivered(db: sqlite3.Connection, receiver: str, *, limit: int) -> list[Message]:
    """What was read was delivered."""
    found = db.execute(
        f"SELECT {MESSAGE} FROM message WHERE receiver = ? AND delivered_at IS NULL ORDER BY id LIMIT ?",
        (receiver, min(limit, ID_MAX)),
    )
    return [Message(*row) for row in found]


def conversations(db: sqlite3.Connection, user: str, *, limit: int, offset: int) -> tuple[list[Conversation], int]:
    total: int = db.execute("SELECT count(*) FROM conversation WHERE user = ?", (user,)).fetchone()[0]
    values = {"user": user, "limit": min(limit, ID_MAX), "offset": min(offset, ID_MAX)}
    found = db.execute(CONVERSATIONS, values)
    return [Conversation(other, Message(*last), unread) for *last, other, unread in found], total


def history(db: sqlite3.Connection, user: str, other: str, *, before: int | None, limit: int) -> list[Message]:
    values = {"user": user, "other": other, "last": _before(before), "limit": min(limit, ID_MAX)}
    return [Message(*row) for row in db.execute(f"{BOTH_WAYS.format(**WITH_OTHER)} LIMIT :limit", values)]


def search(
    db: sqlite3.Connection, user: str, text: str, *, other: str | None, before: int | None, limit: int
) -> list[Message]:
    """Costs about 4 microseconds per message of the user, or of the two, until `limit` are found."""
    values = {"user": user, "other": other, "last": _before(before), "text": text, "limit": min(limit, ID_MAX)}
    who = WITH_OTHER if other is not None else dict.fromkeys(WITH_OTHER, "")
    query = BOTH_WAYS.format(**{way: f"{pair} {CONTAINS}" for way, pair in who.items()})
    return [Message(*row) for row in db.execute(f"{query} LIMIT :limit", values)]


def unread(db: sqlite3.Connection, user: str) -> int:
    total: int = db.execute(f"SELECT count(*) {UNREAD.format(user='?')}", (user,)).fetchone()[0]
    return total


def count(db: sqlite3.Connection) -> int:
    """Every number given out is a stored message: one whose transaction fails does not take it."""
    return head(db, HEAD)


def _oldest_first(found: sqlite3.Cursor) -> list[Message]:
    rows: list[tuple[Any, ...]] = sorted(found)
    return [Message(*row) for row in rows]


def _before(id: int | None) -> int:
    return _id_or_less(None if id is None else id - 1)


def _id_or_less(id: int | None) -> int:
    return ID_MAX if id is None else max(0, min(id, ID_MAX))
