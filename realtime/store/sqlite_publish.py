"""How a notification comes into being."""

# ruff: noqa: S608 - SQL is put together from constants of this package, values are bound

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from realtime.models import Content, Notification, Principal, Stored, Target
from realtime.store import sqlite_keys as keys
from realtime.store import sqlite_rows as rows
from realtime.store.sqlite_heads import Heads, take
from realtime.store.sqlite_keys import Keys, Used
from realtime.store.sqlite_marks import bury
from realtime.store.sqlite_rows import DRAFT, ID_MAX, ContentColumns, head
from realtime.store.sqlite_view import DIRECT, LIVE, SENT

ANY_ROW = f"{DIRECT} WHERE id = :id UNION ALL {SENT} WHERE l.id = :id AND l.swept_at IS NULL"
SWEPT = "SELECT created_at FROM log WHERE id = ? AND swept_at IS NOT NULL"

# The + keeps SQLite from going through the whole inbox in this order instead of using the index of groups.
UNREAD_OF_GROUP = f"""SELECT id, group_count FROM inbox
    WHERE recipient = :recipient AND group_key = :group_key AND read_at IS NULL AND {LIVE}
    ORDER BY +created_at DESC, id DESC LIMIT 1"""

GROW_BELOW = "UPDATE inbox_size SET rows = rows + 1 WHERE recipient = ? AND rows < ?"
GROW = "INSERT INTO inbox_size VALUES (?, 1) ON CONFLICT (recipient) DO UPDATE SET rows = rows + 1"
SIZE = "SELECT rows FROM inbox_size WHERE recipient = ?"
OLDEST = "SELECT id FROM inbox WHERE recipient = ? ORDER BY created_at, id LIMIT ?"


@dataclass(frozen=True, slots=True)
class Encoded:
    """What is sent, encoded once for all of its rows; made outside the writer thread."""

    content: Content
    columns: ContentColumns
    sender: Principal | None

    @classmethod
    def encode(cls, content: Content, sender: Principal | None) -> "Encoded":
        """Raises INVALID_PAYLOAD."""
        return cls(content, rows.content_columns(content), sender)

    def counted(self, count: int) -> "Encoded":
        """Return what a row says that stands for `count` notifications."""
        if not self.content.stacks:
            return self
        return Encoded.encode(self.content.counted(count), self.sender)


@dataclass(slots=True)
class Publication:
    """What is published in one job. A recipient keeps at most `most` rows, 0 for any number."""

    heads: Heads
    message: Encoded
    now: float
    most: int

    def publish(self, target: Target, id: int | None) -> Notification:
        """Store one row, with a new id when `id` is None."""
        if (target.recipient is None) == (target.audience is None):
            raise ValueError("a target has a recipient or an audience")
        if target.recipient is None:
            return self._broadcast(target, id or self.heads.take("notification"))
        row = self._direct(target, target.recipient, id)
        if not self.heads.db.execute(GROW_BELOW, (target.recipient, self.most or ID_MAX)).rowcount:
            self._grow(target.recipient)
        return row

    def _direct(self, target: Target, recipient: Principal, id: int | None) -> Notification:
        """Insert a row, or put it in the place of the unread row of its group."""
        heads, count = self.heads, 1
        if self.message.content.group_key is not None:
            values = {"recipient": recipient, "group_key": self.message.content.group_key, "now": self.now}
            unread = heads.db.execute(UNREAD_OF_GROUP, values).fetchone()
            if unread is not None:
                id, count = self._replace(recipient, unread[0], id), unread[1] + 1
        said = self.message.counted(count)
        row = self._row(id or heads.take("notification"), target, said, count, heads.take("rev"))
        heads.db.execute(
            """INSERT INTO inbox (id, recipient, type, content, expires_at, group_key, category, sender, created_at,
                updated_at, group_count, came, rev) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
            (
                row.id, recipient, *said.columns, said.content.category or None, row.sender, self.now, self.now,
                count, row.rev, row.rev,
            ),
        )  # fmt: skip
        return row

    def _replace(self, recipient: Principal, old: int, id: int | None) -> int:
        """Remove the row whose place another takes, and return the id that this one has."""
        if id is None or id == old:
            self.heads.db.execute("DELETE FROM inbox WHERE id = ?", (old,))
            return old
        bury(self.heads, recipient, old, at=self.now)
        return id

    def _broadcast(self, target: Target, id: int) -> Notification:
        said = self.message.counted(1)
        row = self._row(id, target, said, 1, self.heads.take("log_rev"))
        _, audience, excluded, late_join = target_columns(target)
        self.heads.db.execute(
            """INSERT INTO log (seq, id, audience, excluded, late_join, type, content, expires_at, group_key, category,
                sender, created_at, updated_at, came, rev) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
            (
                self.heads.take("log"), id, audience, excluded, late_join, *said.columns, said.content.category or None,
                row.sender, self.now, self.now, row.rev, row.rev,
            ),
        )  # fmt: skip
        return row

    def _row(self, id: int, target: Target, said: Encoded, count: int, rev: int) -> Notification:
        return Notification(id, target, said.content, said.sender, self.now, self.now, group_count=count, rev=rev)

    def _grow(self, recipient: Principal) -> None:
        """Count the first row of somebody, or one too many, for which the oldest goes."""
        db = self.heads.db
        db.execute(GROW, (recipient,))
        (size,) = db.execute(SIZE, (recipient,)).fetchone()
        if 0 < self.most < size:
            for (old,) in db.execute(OLDEST, (recipient, size - self.most)).fetchall():
                bury(self.heads, recipient, old, at=self.now)


def take_id(db: sqlite3.Connection) -> int:
    return take(db, "notification")


def add(
    db: sqlite3.Connection,
    targets: Sequence[Target],
    message: Encoded,
    *,
    now: float,
    dedup_key: str | None = None,
    request: str | None = None,
    id: int | None = None,
    most: int = 0,
) -> list[Stored]:
    """Raises ValueError for an `id` that was never taken, and for one for several targets."""
    require_taken(db, id, targets)
    if id is not None and (there := under(db, id, targets[0], message)):
        return [Stored(there, duplicate=True)]
    work = Publication(Heads(db), message, now, most)
    asked = keys.named(targets, dedup_key, request, sender=message.sender)
    stored = [_add(work, target, names, id) for target, names in asked]
    work.heads.save()
    return stored


def _add(work: Publication, target: Target, names: Keys, id: int | None) -> Stored:
    db = work.heads.db
    earlier = keys.used(db, names, now=work.now)
    if earlier is not None:
        found = row(db, earlier.id) or told(db, earlier, target, work.message)
        return Stored(found, duplicate=True, repeated=earlier.repeated)
    new = work.publish(target, id)
    keys.remember(db, names, new.id, now=work.now)
    return Stored(new)


def told(db: sqlite3.Connection, earlier: Used, target: Target, message: Encoded) -> Notification:
    """Tell of a row that is gone, or is still a draft, from the draft or the repeated request."""
    content, sender = message.content, message.sender
    found = db.execute(f"SELECT {DRAFT} FROM draft WHERE id = ?", (earlier.id,)).fetchone()
    if found is not None:
        waiting = rows.draft(found)
        target, content, sender = waiting.target, waiting.content, waiting.sender
    return Notification(earlier.id, target, content.counted(1), sender, earlier.at, earlier.at)


def under(db: sqlite3.Connection, id: int, target: Target, message: Encoded) -> Notification | None:
    """Return what has been stored under an id; what a sweep has left of a broadcast cannot tell it itself."""
    found = row(db, id)
    if found is None and (swept := db.execute(SWEPT, (id,)).fetchone()):
        return told(db, Used(id, swept[0], repeated=False), target, message)
    return found


def row(db: sqlite3.Connection, id: int) -> Notification | None:
    """Return a row whoever it is for, also one that has expired and is not swept yet."""
    found = db.execute(ANY_ROW, {"id": id}).fetchone()
    return rows.notification(found) if found else None


def require_taken(db: sqlite3.Connection, id: int | None, targets: Sequence[Target]) -> None:
    """An id that is given out later would belong to two notifications."""
    if id is None:
        return
    if len(targets) != 1:
        raise ValueError("an id is for a single target")
    if not 0 < id <= min(head(db, "notification"), ID_MAX):
        raise ValueError("an id is one that take_id gave")


def target_columns(target: Target) -> tuple[str | None, str | None, str | None, int]:
    return target.recipient, target.audience, rows.excluded_column(target.excluded), int(target.late_join)
