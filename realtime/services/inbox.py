"""What a person does with their notifications: lists, marks, shelves."""

from collections.abc import Callable, Sequence

from realtime.clock import Clock
from realtime.errors import Code, RealtimeError
from realtime.models import Counts, Draft, InboxQuery, Notification, Principal, Stage
from realtime.services.counts import UnreadCounter
from realtime.services.receipts import ReceiptService
from realtime.store.base import Store

NOTED_AT_ONCE = 200
"""Rows of which it is noted that they were read, or seen, when all are; beyond that only the counts say so."""

MAX_SNOOZE = 366 * 86400.0


class InboxService:
    """Everybody's own rows: those of somebody else do not exist."""

    def __init__(self, *, store: Store, counter: UnreadCounter, receipts: ReceiptService, clock: Clock) -> None:
        self._store = store
        self._counter = counter
        self._receipts = receipts
        self._clock = clock

    # --- looking ---

    async def inbox(self, reader: Principal, query: InboxQuery) -> tuple[list[Notification], int, Counts]:
        """Return (page, rows that match, counts)."""
        rows, total = await self._store.inbox(reader, query, now=self._clock())
        return rows, total, await self.counts(reader)

    async def counts(self, reader: Principal) -> Counts:
        return (await self._store.counts([reader], now=self._clock()))[reader]

    async def one(self, reader: Principal, id: int) -> Notification:
        """Raises NOT_FOUND, also for a row of somebody else."""
        return _found(await self._store.notification(reader, id, now=self._clock()))

    # --- marking one; each raises NOT_FOUND ---

    async def set_read(self, reader: Principal, id: int, read: bool) -> Notification:
        now = self._clock()
        row = _found(await self._store.set_read(reader, id, read, now=now))
        if row.read_at == now:
            self._receipts.note("read", id, reader)
        return self._changed(reader, row)

    async def set_seen(self, reader: Principal, id: int) -> Notification:
        now = self._clock()
        row = _found(await self._store.set_seen(reader, id, now=now))
        if row.seen_at == now:
            self._receipts.note("seen", id, reader)
        return self._changed(reader, row)

    async def set_archived(self, reader: Principal, id: int, archived: bool) -> Notification:
        return self._changed(reader, await self._store.set_archived(reader, id, archived, now=self._clock()))

    async def snooze(self, reader: Principal, id: int, until: float | None) -> Notification:
        """Put a row aside until a time, or take that back with None. Raises INVALID_PAYLOAD, too."""
        now = self._clock()
        if until is not None and not now < until <= now + MAX_SNOOZE:
            raise RealtimeError(Code.INVALID_PAYLOAD, "until: Must be in the future, and within a year.")
        return self._changed(reader, await self._store.snooze(reader, id, until, now=now))

    def _changed(self, reader: Principal, row: Notification | None) -> Notification:
        found = _found(row)
        self._counter.mark(reader)
        return found

    async def delete(self, reader: Principal, id: int, *, may_cancel: Callable[[Draft], bool]) -> None:
        """Delete a row for this reader, or cancel a draft that they may cancel. Raises NOT_FOUND."""
        if await self._store.delete_notification(reader, id, now=self._clock()):
            self._counter.mark(reader)
            return
        draft = await self._store.draft(id)
        if draft is None or not may_cancel(draft) or not await self._store.cancel_draft(id):
            raise not_found()

    # --- marking all ---

    async def mark_all_read(self, reader: Principal, up_to: int | None) -> int:
        """Mark everything in the inbox read, or with `up_to` that row and those after it in the list."""
        due = await self._concerned(reader, up_to, read=False)
        count = await self._store.mark_all_read(reader, up_to=up_to, now=self._clock())
        return self._all_changed("read", reader, due, count)

    async def mark_all_seen(self, reader: Principal, up_to: int | None) -> int:
        due = [row for row in await self._concerned(reader, up_to, read=None) if row.seen_at is None]
        count = await self._store.mark_all_seen(reader, up_to=up_to, now=self._clock())
        return self._all_changed("seen", reader, due, count)

    async def _concerned(self, reader: Principal, up_to: int | None, *, read: bool | None) -> list[Notification]:
        """Return the newest rows that a mark on everything is about, for their receipts."""
        query = InboxQuery(limit=NOTED_AT_ONCE, read=read)
        rows, _ = await self._store.inbox(reader, query, now=self._clock())
        if up_to is None:
            return rows
        first = await self._store.notification(reader, up_to, now=self._clock())
        return [] if first is None else [row for row in rows if _order(row) <= _order(first)]

    def _all_changed(self, stage: Stage, reader: Principal, due: Sequence[Notification], count: int) -> int:
        for row in due if count else ():
            self._receipts.note(stage, row.id, reader)
        self._counter.mark(reader)
        return count


def _order(row: Notification) -> tuple[float, int]:
    return row.created_at, row.id


def not_found() -> RealtimeError:
    return RealtimeError(Code.NOT_FOUND, "Notification not found")


def _found(row: Notification | None) -> Notification:
    if row is None:
        raise not_found()
    return row
