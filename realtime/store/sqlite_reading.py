"""Who runs what readers ask of their inboxes and do with them."""

import sqlite3
from collections.abc import Sequence

from realtime.models import Changes, Counts, InboxQuery, Moments, Notification, Place, Principal
from realtime.store import sqlite_cursors as cursors
from realtime.store import sqlite_delivery as delivery
from realtime.store import sqlite_inbox as inbox
from realtime.store import sqlite_marks as marks
from realtime.store import sqlite_sync as sync
from realtime.store.sqlite_members import SqliteMembers


class SqliteReading(SqliteMembers):
    """What `realtime.store.base.InboxStore` does for readers."""

    async def undelivered(self, reader: Principal, *, limit: int, now: float) -> list[Notification]:
        return await self._read_for(reader, lambda db: delivery.undelivered(db, reader, limit=limit, now=now))

    async def set_delivered(self, reader: Principal, ids: Sequence[int], *, now: float) -> None:
        await self._write(lambda db: delivery.set_delivered(db, reader, ids, now=now))

    async def missed(self, reader: Principal, since: Place, *, limit: int, now: float) -> list[Notification]:
        return await self._read_for(reader, lambda db: sync.missed(db, reader, since, limit=limit, now=now))

    async def inbox(self, reader: Principal, query: InboxQuery, *, now: float) -> tuple[list[Notification], int]:
        return await self._read_for(reader, lambda db: inbox.page(db, reader, query, now=now))

    async def notification(self, reader: Principal, id: int, *, now: float) -> Notification | None:
        return await self._read_for(reader, lambda db: inbox.notification(db, reader, id, now=now))

    async def visible(self, reader: Principal, ids: Sequence[int], *, now: float) -> list[int]:
        return await self._read_for(reader, lambda db: inbox.visible(db, reader, ids, now=now))

    async def unread_count(self, reader: Principal, *, now: float) -> int:
        return await self._read_for(reader, lambda db: inbox.unread_count(db, reader, now=now))

    async def counts(self, readers: Sequence[Principal], *, now: float) -> dict[Principal, Counts]:
        """All of them at the same moment."""

        def count(db: sqlite3.Connection) -> dict[Principal, Counts]:
            return {reader: inbox.counts(db, reader, now=now) for reader in readers}

        asked = frozenset(readers)
        await self._settle(lambda change: change.reader in asked)
        return await self._read(count)

    async def place(self, reader: Principal, *, now: float) -> Place:
        return await self._read_for(reader, lambda db: sync.place(db, now=now))

    async def changed(self, reader: Principal, since: Place, *, now: float) -> bool:
        remembered = self._retention.tombstones
        return await self._read_for(reader, lambda db: sync.changed(db, reader, since, remembered=remembered, now=now))

    async def changes(
        self, reader: Principal, since: Place | None, *, above: int = 0, limit: int, now: float
    ) -> Changes:
        remembered = self._retention.tombstones
        return await self._read_for(
            reader,
            lambda db: sync.changes(db, reader, since, above=above, limit=limit, remembered=remembered, now=now),
        )

    async def moments(self, after: float, until: float) -> Moments:
        return await self._read(lambda db: sync.moments(db, after, until))

    async def set_read(self, reader: Principal, id: int, read: bool, *, now: float) -> Notification | None:
        return await self._write(lambda db: marks.set_read(db, reader, id, read, now=now))

    async def set_seen(self, reader: Principal, id: int, *, now: float) -> Notification | None:
        return await self._write(lambda db: marks.set_seen(db, reader, id, now=now))

    async def set_archived(self, reader: Principal, id: int, archived: bool, *, now: float) -> Notification | None:
        return await self._write(lambda db: marks.set_archived(db, reader, id, archived, now=now))

    async def snooze(self, reader: Principal, id: int, until: float | None, *, now: float) -> Notification | None:
        return await self._write(lambda db: marks.snooze(db, reader, id, until, now=now))

    async def mark_all_read(self, reader: Principal, *, up_to: int | None, now: float) -> int:
        return await self._write(lambda db: cursors.mark_all(db, reader, up_to, cursors.READ, now=now))

    async def mark_all_seen(self, reader: Principal, *, up_to: int | None, now: float) -> int:
        return await self._write(lambda db: cursors.mark_all(db, reader, up_to, cursors.SEEN, now=now))

    async def delete_notification(self, reader: Principal, id: int, *, now: float) -> bool:
        return await self._write(lambda db: marks.delete(db, reader, id, now=now))
