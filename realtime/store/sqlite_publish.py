"""How a notification comes into being: at once, or as a draft that is published later."""

# ruff: noqa: S608 - SQL is put together from constants of this package, values are bound

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field

from realtime.models import Content, Draft, Notification, Principal, Stored, Target
from realtime.store import sqlite_rows as rows
from realtime.store.base import DEDUP_SECONDS
from realtime.store.sqlite_inbox import DIRECT, LIVE
from realtime.store.sqlite_rows import DRAFT, ID_MAX, ContentColumns, head, set_head

ANY_ROW = f"""{DIRECT} WHERE id = :id UNION ALL
    SELECT id, NULL, audience, excluded, late_join, type, content, expires_at, group_key, sender,
    created_at, updated_at, NULL, 1 FROM log WHERE id = :id"""

# The + keeps SQLite from going through the whole inbox in this order instead of using the index of groups.
UNREAD_OF_GROUP = f"""SELECT id, group_count FROM inbox
    WHERE recipient = :recipient AND group_key = :group_key AND read_at IS NULL AND {LIVE}
    ORDER BY +created_at DESC, id DESC LIMIT 1"""


@dataclass(slots=True)
class Heads:
    """Numbers taken in one transaction: each head is read once and written once."""

    db: sqlite3.Connection
    _taken: dict[str, int] = field(default_factory=dict)

    def take(self, name: str) -> int:
        last = self._taken.get(name)
        self._taken[name] = value = (head(self.db, name) if last is None else last) + 1
        return value

    def save(self) -> None:
        for name, value in self._taken.items():
            set_head(self.db, name, value)


@dataclass(frozen=True, slots=True)
class Encoded:
    """What is sent, encoded once for all of its rows; made outside the writer thread."""

    content: Content
    columns: ContentColumns
    sender: Principal | None
    dedup_key: str | None

    @classmethod
    def encode(cls, content: Content, sender: Principal | None, dedup_key: str | None) -> "Encoded":
        """Raises INVALID_PAYLOAD."""
        return cls(content, rows.content_columns(content), sender, dedup_key)


def take_id(db: sqlite3.Connection) -> int:
    heads = Heads(db)
    id = heads.take("notification")
    heads.save()
    return id


def add(
    db: sqlite3.Connection, targets: Sequence[Target], message: Encoded, *, id: int | None, now: float
) -> list[Stored]:
    """Raises ValueError for an `id` that was never taken, and for one for several targets."""
    _require_taken(db, id, targets)
    heads = Heads(db)
    stored = [_publish(heads, target, message, id=id, now=now) for target in targets]
    heads.save()
    return stored


def add_drafts(
    db: sqlite3.Connection, targets: Sequence[Target], message: Encoded, *, id: int | None, run_at: float, now: float
) -> list[Draft]:
    """The dedup key is looked up at publication. Asked again with an `id`, returns the draft that waits.

    Raises ValueError as `add` does.
    """
    _require_taken(db, id, targets)
    if id is not None and (waiting := draft(db, id)):
        return [waiting]
    heads = Heads(db)
    drafts = [
        Draft(id or heads.take("notification"), target, message.content, message.sender, run_at, now, message.dedup_key)
        for target in targets
    ]
    db.executemany(
        f"INSERT INTO draft ({DRAFT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (draft.id, *_target_columns(draft.target), *message.columns, message.sender, run_at, now, message.dedup_key)
            for draft in drafts
        ],
    )
    heads.save()
    return drafts


def draft(db: sqlite3.Connection, id: int) -> Draft | None:
    if not 0 < id <= ID_MAX:
        return None
    found = db.execute(f"SELECT {DRAFT} FROM draft WHERE id = ?", (id,)).fetchone()
    return rows.draft(found) if found else None


def next_run(db: sqlite3.Connection) -> float | None:
    value: float | None = db.execute("SELECT min(run_at) FROM draft").fetchone()[0]
    return value


def due_drafts(db: sqlite3.Connection, *, now: float, limit: int) -> list[Draft]:
    """Earliest first."""
    found = db.execute(
        f"SELECT {DRAFT} FROM draft WHERE run_at <= ? ORDER BY run_at, id LIMIT ?", (now, min(limit, ID_MAX))
    )
    return [rows.draft(row) for row in found]


def publish_draft(db: sqlite3.Connection, id: int, *, now: float) -> Stored | None:
    """The row keeps the draft's id, so a grouped one takes the place of the earlier row instead of its id.

    When a row has been added with that id it is the notification, and nothing is stored.
    """
    waiting = draft(db, id)
    if waiting is None or not cancel_draft(db, id):
        return None
    heads = Heads(db)
    message = Encoded.encode(waiting.content, waiting.sender, waiting.dedup_key)
    stored = _publish(heads, waiting.target, message, id=id, now=now)
    heads.save()
    return stored


def cancel_draft(db: sqlite3.Connection, id: int) -> bool:
    return 0 < id <= ID_MAX and db.execute("DELETE FROM draft WHERE id = ?", (id,)).rowcount == 1


def _publish(heads: Heads, target: Target, message: Encoded, *, id: int | None, now: float) -> Stored:
    """Store one row, with a new id when `id` is None. A row with that id, or of a live dedup key, is returned."""
    if (target.recipient is None) == (target.audience is None):
        raise ValueError("a target has a recipient or an audience")
    if id is not None and (there := _row(heads.db, id)):
        return Stored(there, duplicate=True)
    if message.dedup_key is not None and (earlier := _earlier(heads.db, target, message, now=now)):
        return Stored(earlier, duplicate=True)
    if target.recipient is not None:
        stored = _direct(heads, target, message, id=id, now=now)
    else:
        stored = _broadcast(heads, target, message, id=id or heads.take("notification"), now=now)
    if message.dedup_key is not None:
        heads.db.execute(
            "REPLACE INTO dedup VALUES (?, ?, ?, ?, ?)",
            (_dedup_target(target), message.dedup_key, stored.id, now, now + DEDUP_SECONDS),
        )
    return Stored(stored)


def _direct(heads: Heads, target: Target, message: Encoded, *, id: int | None, now: float) -> Notification:
    """Insert a row, or put it in the place of the unread row of its group."""
    count = 1
    if message.content.group_key is not None:
        values = {"recipient": target.recipient, "group_key": message.content.group_key, "now": now}
        unread = heads.db.execute(UNREAD_OF_GROUP, values).fetchone()
        if unread is not None:
            heads.db.execute("DELETE FROM inbox WHERE id = ?", (unread[0],))
            id, count = id or unread[0], unread[1] + 1
    row = Notification(
        id or heads.take("notification"), target, message.content, message.sender, now, now, group_count=count
    )
    heads.db.execute(
        """INSERT INTO inbox (id, recipient, type, content, expires_at, group_key, sender, created_at, updated_at,
            group_count) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (row.id, target.recipient, *message.columns, message.sender, now, now, count),
    )
    return row


def _broadcast(heads: Heads, target: Target, message: Encoded, *, id: int, now: float) -> Notification:
    _, audience, excluded, late_join = _target_columns(target)
    heads.db.execute(
        """INSERT INTO log (seq, id, audience, excluded, late_join, type, content, expires_at, group_key, sender,
            created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (heads.take("log"), id, audience, excluded, late_join, *message.columns, message.sender, now, now),
    )
    return Notification(id, target, message.content, message.sender, now, now)


def _earlier(db: sqlite3.Connection, target: Target, message: Encoded, *, now: float) -> Notification | None:
    """Return the row that used the dedup key. A row deleted since is told again from the repeated request."""
    used = db.execute(
        "SELECT id, created_at FROM dedup WHERE target = ? AND key = ? AND expires_at > ?",
        (_dedup_target(target), message.dedup_key, now),
    ).fetchone()
    if used is None:
        return None
    id, created_at = used
    deleted = Notification(id, target, message.content, message.sender, created_at, created_at)
    return _row(db, id) or deleted


def _row(db: sqlite3.Connection, id: int) -> Notification | None:
    """Return a row whoever it is for, also one that has expired and is not swept yet."""
    found = db.execute(ANY_ROW, {"id": id}).fetchone()
    return rows.notification(found) if found else None


def _require_taken(db: sqlite3.Connection, id: int | None, targets: Sequence[Target]) -> None:
    """An id that is given out later would belong to two notifications."""
    if id is None:
        return
    if len(targets) != 1:
        raise ValueError("an id is for a single target")
    if not 0 < id <= head(db, "notification"):
        raise ValueError("an id is one that take_id gave")


def _dedup_target(target: Target) -> str:
    return f"to {target.recipient}" if target.audience is None else f"at {target.audience}"


def _target_columns(target: Target) -> tuple[str | None, str | None, str | None, int]:
    return target.recipient, target.audience, rows.excluded_column(target.excluded), int(target.late_join)
