"""Lists and counts: direct rows by index, joined with the broadcasts that `reading` finds in the log."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import islice

from realtime.models import Counts, InboxQuery, Notification, Place, Principal, Shelf
from realtime.store import marking, reading
from realtime.store import mongo_rows as rows
from realtime.store.broadcasts import Log
from realtime.store.mongo_crowds import MongoCrowds
from realtime.store.mongo_database import Document
from realtime.store.mongo_inbox import NEWEST
from realtime.store.mongo_readers import READERS_BATCH
from realtime.store.reading import Direct, Reader, place_in_list

AT_ONCE = 20
"""Queries for single readers that run at the same time."""


def on_shelf(user: Principal, shelf: Shelf, *, now: float) -> Document:
    """Return which direct rows are on a shelf."""
    which: Document = {"user": user, "gone_at": None, "expires_at": {"$gt": now}}
    if shelf == "archived":
        return {**which, "archived_at": {"$ne": None}}
    return {**which, "archived_at": None, "snoozed_until": {"$gt" if shelf == "snoozed" else "$lte": now}}


class MongoReading(MongoCrowds):
    """Answers what a reader sees."""

    async def inbox(self, reader: Principal, query: InboxQuery, *, now: float) -> tuple[list[Notification], int]:
        await self.settle_reader(reader)
        known, log = await self.seen_by(reader)
        broadcasts = [
            row
            for row in reading.rows(known, log, now=now, shelf_=query.shelf)
            if query.type in (None, row.content.type) and query.read in (None, row.read)
        ]
        which = on_shelf(reader, query.shelf, now=now)
        if query.type is not None:
            which["type"] = query.type
        if query.read is not None:
            which["unread"] = int(not query.read)
        documents = self.collection("inbox")
        total = await self.attempt(lambda: documents.count_documents(which))
        page = await self._page(which, broadcasts, query)
        return page, total + len(broadcasts)

    async def _page(self, which: Document, broadcasts: list[Notification], query: InboxQuery) -> list[Notification]:
        """A direct row is in the list at most as many places further down as there are broadcasts."""
        offset, limit = query.offset, query.limit
        if limit <= 0:
            return []
        skip = max(0, offset - len(broadcasts))
        found = await self.found("inbox", which, order=NEWEST, skip=skip, limit=offset + limit - skip)
        together = sorted([*map(rows.notification, found), *broadcasts], key=place_in_list, reverse=True)
        return together[offset - skip : offset - skip + limit]

    async def notification(self, reader: Principal, id: int, *, now: float) -> Notification | None:
        await self.settle_reader(reader)
        document = await self.direct(reader, id, now=now)
        if document is not None:
            return rows.notification(document)
        known, log = await self.seen_by(reader)
        found = reading.one(known, log, id, now=now)
        return None if found is None else found[1]

    async def visible(self, reader: Principal, ids: Sequence[int], *, now: float) -> list[int]:
        await self.settle_reader(reader)
        asked = [id for id in ids if 0 < id <= rows.ID_MAX]
        if not asked:
            return []
        which = {"_id": {"$in": asked}, "user": reader, "gone_at": None, "expires_at": {"$gt": now}}
        mine = {one["_id"] for one in await self.found("inbox", which, ["_id"], latest=True)}
        known, log = await self.seen_by(reader)
        return [id for id in asked if id in mine or reading.one(known, log, id, now=now) is not None]

    async def direct(self, reader: Principal, id: int, *, now: float) -> Document | None:
        """Return a direct row of the reader that is live."""
        there = await self.stored(id)
        if there is None or there["user"] != reader or there["gone_at"] is not None or there["expires_at"] <= now:
            return None
        return there

    async def unread_count(self, reader: Principal, *, now: float) -> int:
        await self.settle_reader(reader)
        documents, which = self.collection("inbox"), {**on_shelf(reader, "inbox", now=now), "unread": 1}
        count, (known, log) = await asyncio.gather(
            self.attempt(lambda: documents.count_documents(which)), self.seen_by(reader)
        )
        return count + len(reading.unread(known, log, now=now))

    async def counts(self, readers: Sequence[Principal], *, now: float) -> dict[Principal, Counts]:
        """The numbers are read before the rows: rows of a later state never count under an earlier number's."""
        wanted = list(dict.fromkeys(readers))
        await self.settle_reader(*wanted)
        revs = await self._newest_revs(wanted)
        direct = await self._direct_counts(wanted, now=now)
        known = await self.readers_of(wanted)
        log = await self.log()
        counted = {}
        for one in wanted:
            counted[one] = reading.counts(
                known[one],
                log,
                direct.get(one, Direct()),
                revision=max(revs[one], known[one].floor) + known[one].rev + log.head,
                now=now,
            )
        return counted

    async def _newest_revs(self, readers: Sequence[Principal]) -> dict[Principal, int]:
        found: dict[Principal, int] = {}
        left = iter(readers)
        while some := list(islice(left, AT_ONCE)):
            found |= zip(some, await asyncio.gather(*map(self.newest_rev, some)), strict=True)
        return found

    async def _direct_counts(self, readers: Sequence[Principal], *, now: float) -> Mapping[Principal, Direct]:
        """Return what the direct rows of each reader add to the counts."""
        found: dict[Principal, Direct] = defaultdict(Direct)
        for start in range(0, len(readers), READERS_BATCH):
            some = {"$in": list(readers[start : start + READERS_BATCH])}
            which: Document = {**on_shelf("", "inbox", now=now), "user": some}
            by_category = {"user": "$user", "category": "$category"}
            for one in await self._grouped_counts({**which, "unread": 1}, by_category):
                found[one["_id"]["user"]].categories[one["_id"]["category"]] = int(one["rows"])
            for one in await self._grouped_counts({**which, "unread": 1, "unseen": 1}, "$user"):
                found[one["_id"]].unseen = int(one["rows"])
        return found

    async def _grouped_counts(self, which: Document, by: str | Document) -> list[Document]:
        documents = self.collection("inbox")
        steps = [{"$match": which}, {"$group": {"_id": by, "rows": {"$sum": 1}}}]
        return await self.attempt(lambda: documents.aggregate(steps).to_list(None))

    async def undelivered(self, reader: Principal, *, limit: int, now: float) -> list[Notification]:
        await self.settle_reader(reader)
        if limit <= 0:
            return []
        which = {**on_shelf(reader, "inbox", now=now), "unread": 1, "delivered": 0}
        oldest = [(name, -way) for name, way in NEWEST]
        found = await self.found("inbox", which, order=oldest, limit=limit)
        known, log = await self.seen_by(reader)
        together = [*map(rows.notification, found), *reading.undelivered(known, log, now=now)]
        return sorted(together, key=place_in_list)[:limit]

    async def set_delivered(self, reader: Principal, ids: Sequence[int], *, now: float) -> None:
        await self.settle_reader(reader)
        wanted = [id for id in ids if 0 < id <= rows.ID_MAX]
        if not wanted:
            return
        documents = self.collection("inbox")
        which = {"_id": {"$in": wanted}, "user": reader, "gone_at": None, "expires_at": {"$gt": now}}
        await self.attempt(lambda: documents.update_many(which, {"$set": {"delivered": 1}}))

        def step(before: Reader, log: Log) -> tuple[Reader, None]:
            seen = (reading.one(before, log, id, now=now) for id in wanted)
            return marking.delivered(before, [one[0] for one in seen if one is not None]), None

        log = await self.log()
        if any(log.by_id(id) for id in wanted):
            await self.complete(self.change_reader(reader, step))

    async def missed(self, reader: Principal, since: Place, *, limit: int, now: float) -> list[Notification]:
        await self.settle_reader(reader)
        if since.epoch != self.epoch or limit <= 0:
            return []
        which = {**on_shelf(reader, "inbox", now=now), "unread": 1, "came": {"$gt": min(since.heard[0], rows.ID_MAX)}}
        found = await self.found("inbox", which, order=NEWEST, limit=limit)
        known, log = await self.seen_by(reader)
        together = [*map(rows.notification, found), *reading.missed(known, log, since, now=now)]
        return sorted(together, key=place_in_list)[-limit:]
