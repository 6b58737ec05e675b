"""What readers do with rows: a direct row is changed by compare-and-set of its number, a broadcast by a mark."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from realtime.models import Notification, Principal
from realtime.store import marking, reading
from realtime.store import mongo_rows as rows
from realtime.store.broadcasts import Log
from realtime.store.mongo_database import Document
from realtime.store.mongo_inbox import RowChange
from realtime.store.mongo_readers import Step
from realtime.store.mongo_reading import MongoReading, on_shelf
from realtime.store.reading import Reader, place_in_list

R = TypeVar("R")

Touch = Callable[[Notification], Notification]
"""Returns the row as it is to be; the same object: unchanged."""

Advance = Callable[[Reader, Log, tuple[float, float]], tuple[Reader, int]]


class MongoMarks(MongoReading):
    """Marks, puts aside and deletes."""

    async def set_read(self, reader: Principal, id: int, read: bool, *, now: float) -> Notification | None:
        return await self._touch(reader, id, lambda row: marking.read(row, read, now=now), now=now)

    async def set_seen(self, reader: Principal, id: int, *, now: float) -> Notification | None:
        return await self._touch(reader, id, lambda row: marking.seen(row, now=now), now=now)

    async def set_archived(self, reader: Principal, id: int, archived: bool, *, now: float) -> Notification | None:
        return await self._touch(reader, id, lambda row: marking.archived(row, archived, now=now), now=now)

    async def snooze(self, reader: Principal, id: int, until: float | None, *, now: float) -> Notification | None:
        return await self._touch(reader, id, lambda row: marking.snoozed(row, until), now=now)

    async def mark_all_read(self, reader: Principal, *, up_to: int | None, now: float) -> int:
        fields = {"unread": 0, "unseen": 0, "read_at": now}
        return await self._mark_all(reader, up_to, fields, partial(marking.all_read, now=now), now=now)

    async def mark_all_seen(self, reader: Principal, *, up_to: int | None, now: float) -> int:
        fields = {"unseen": 0, "seen_at": now}
        return await self._mark_all(reader, up_to, fields, partial(marking.all_seen, now=now), now=now)

    async def delete_notification(self, reader: Principal, id: int, *, now: float) -> bool:
        await self.settle_reader(reader)
        return await self.complete(self._delete(reader, id, now=now))

    async def broadcast(self, id: int) -> Notification | None:
        found = (await self.log()).by_id(id)
        return None if found is None or found.ended_at is not None else found.notification

    async def retract(self, id: int, *, now: float) -> Notification | None:
        found = (await self.log()).by_id(id)
        if found is None or found.ended_at is not None:
            return None
        return found.notification if await self.end_broadcast(id, at=now, retracted=True) else None

    async def _touch(self, reader: Principal, id: int, touch: Touch, *, now: float) -> Notification | None:
        await self.settle_reader(reader)
        return await self.complete(self._touch_any(reader, id, touch, now=now))

    async def _touch_any(self, reader: Principal, id: int, touch: Touch, *, now: float) -> Notification | None:
        async with self.lock(f"inbox {reader}"):
            while document := await self.direct(reader, id, now=now):
                row = rows.notification(document)
                after = touch(row)
                if after is row:
                    return row
                if changed := await self.change_row(reader, RowChange(id, document["rev"], _fields(row, after))):
                    return rows.notification(changed)

        def step(before: Reader, log: Log) -> tuple[Reader, Notification | None]:
            seen = reading.one(before, log, id, now=now)
            if seen is None:
                return before, None
            after = touch(seen[1])
            return (before, after) if after is seen[1] else (marking.marked(before, seen[0], after), after)

        return await self._of_broadcast(reader, id, step, None)

    async def _delete(self, reader: Principal, id: int, *, now: float) -> bool:
        async with self.lock(f"inbox {reader}"):
            while document := await self.direct(reader, id, now=now):
                if await self.bury(reader, [document], now=now):
                    return True

        def step(before: Reader, log: Log) -> tuple[Reader, bool]:
            seen = reading.one(before, log, id, now=now)
            return (before, False) if seen is None else (marking.marked(before, *seen, hidden=True), True)

        return await self._of_broadcast(reader, id, step, False)

    async def _of_broadcast(self, reader: Principal, id: int, step: Step[R], otherwise: R) -> R:
        """Do a step of a reader when `id` is that of a broadcast."""
        known = (await self.log()).by_id(id)
        return otherwise if known is None else await self.change_reader(reader, step)

    async def _mark_all(
        self, reader: Principal, up_to: int | None, fields: Document, advance: Advance, *, now: float
    ) -> int:
        await self.settle_reader(reader)
        place = marking.EVERYTHING
        if up_to is not None:
            row = await self.notification(reader, up_to, now=now)
            if row is None:
                return 0
            place = place_in_list(row)
        return await self.complete(self._mark_all_below(reader, place, fields, advance, now=now))

    async def _mark_all_below(
        self, reader: Principal, place: tuple[float, float], fields: Document, advance: Advance, *, now: float
    ) -> int:
        documents = self.collection("inbox", latest=True)
        waiting = "unread" if "unread" in fields else "unseen"
        which = {**on_shelf(reader, "inbox", now=now), waiting: 1}
        async with self.lock(f"inbox {reader}"):
            found = await self.attempt(
                lambda: documents.find(which, {"rev": 1, "created_at": 1, "unseen": 1, "seen_at": 1}).to_list(None)
            )
            due = [one for one in found if (one["created_at"], one["_id"]) <= place]
            changes = [
                RowChange(one["_id"], one["rev"], {"seen_at": now, **fields} if one["unseen"] else fields)
                for one in due
            ]
            count = await self.change_rows(reader, changes)
        return count + await self.change_reader(reader, lambda before, log: advance(before, log, place))


def _fields(before: Notification, after: Notification) -> Document:
    again = {"again": 1} if before.read and not after.read else {}
    return {**rows.touched(after), **again}
