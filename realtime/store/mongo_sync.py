"""What has become of an inbox since a place, and whose inbox time alone changes.

The numbers of the place that an answer leads to are read before the rows: what is newer than they is told again.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing

from realtime.models import Changes, InboxChange, Moments, Notification, Place, Principal
from realtime.store import mongo_rows as rows
from realtime.store import reading
from realtime.store.broadcasts import Log
from realtime.store.mongo_database import Document
from realtime.store.mongo_log import BY_ID
from realtime.store.mongo_marks import MongoMarks
from realtime.store.mongo_reading import on_shelf
from realtime.store.reading import Reader

CHANGES_BATCH = 200
"""Direct rows that are read at once."""


class MongoSync(MongoMarks):
    """Places and changes."""

    async def place(self, reader: Principal, *, now: float) -> Place:
        return (await self._known(reader, now=now))[0]

    async def changed(self, reader: Principal, since: Place, *, now: float) -> bool:
        place, known, log = await self._known(reader, now=now)
        if self._useless(since, place, known):
            return True
        if any(True for _ in reading.changed(known, log, since, now=now)):
            return True
        documents = self.collection("inbox")
        which = _stirred(reader, since, place)
        return await self.attempt(lambda: documents.find_one(which, {"_id": 1})) is not None

    async def changes(
        self, reader: Principal, since: Place | None, *, above: int = 0, limit: int, now: float
    ) -> Changes:
        place, known, log = await self._known(reader, now=now)
        if since is None or self._useless(since, place, known):
            which = on_shelf(reader, "inbox", now=now)
            broadcasts = reading.rows(known, log, now=now)
            found = {row.id: InboxChange(row.id, row) for row in broadcasts}
            reset = True
        else:
            which = _stirred(reader, since, place)
            found = dict(_told(known, log, since, now=now))
            reset = False
        together = []
        async with aclosing(self._direct_changes(which, min(above, rows.ID_MAX), now=now)) as direct:
            async for change in _merged(direct, [found[id] for id in sorted(found) if id > above]):
                together.append(change)
                if len(together) > max(limit, 0):
                    break
        return Changes(tuple(together[: max(limit, 0)]), place, reset, len(together) > max(limit, 0))

    async def moments(self, after: float, until: float) -> Moments:
        between = {"$gt": after, "$lte": until}
        readers: set[Principal] = set()
        for name in ("expires_at", "snoozed_until"):
            # Not `distinct`: its answer is one document, which has its limit.
            readers |= {one["user"] for one in await self.found("inbox", {name: between, "gone_at": None}, ["user"])}
        waking = await self.found("readers", {"wakes": between}, ["wakes"])
        readers |= {one["_id"] for one in waking if any(after < time <= until for time in one["wakes"])}
        audiences = (
            one.notification.target.audience
            for one in (await self.log()).all()
            if one.ended_at is None and reading.between(one.notification.content.expires_at, after, until)
        )
        return Moments(frozenset(readers), frozenset(audience for audience in audiences if audience is not None))

    async def _known(self, reader: Principal, *, now: float) -> tuple[Place, Reader, Log]:
        await self.settle_reader(reader)
        rev = await self.newest_rev(reader)
        known, log = await self.seen_by(reader)
        return Place(self.epoch, max(rev, known.floor), log.head, known.rev, now), known, log

    def _useless(self, since: Place, place: Place, known: Reader) -> bool:
        """Whether a place says nothing about this database, or too much, or less than is still remembered."""
        kept = self._retention.tombstones
        return (
            since.epoch != place.epoch
            or since.rev > place.rev
            or since.log_rev > place.log_rev
            or since.marks > place.marks
            or since.rev < known.floor
            or since.log_rev < self.log_floor
            or (kept > 0 and since.at < place.at - kept)
        )

    async def _direct_changes(self, which: Document, above: int, *, now: float) -> AsyncGenerator[InboxChange, None]:
        """Yield what has become of direct rows, in the order of ids."""
        while True:
            some = {**which, "_id": {"$gt": above}}
            found = await self.found("inbox", some, order=BY_ID, limit=CHANGES_BATCH)
            for document in found:
                yield InboxChange(document["_id"], _inbox_row(document, now))
            if len(found) < CHANGES_BATCH:
                return
            above = found[-1]["_id"]


def _stirred(reader: Principal, since: Place, place: Place) -> Document:
    """Return which direct rows and tombstones may look different than at a place."""
    between = {"$gt": min(since.at, place.at), "$lte": max(since.at, place.at)}
    return {"user": reader, "$or": [{"rev": {"$gt": since.rev}}, {"expires_at": between}, {"snoozed_until": between}]}


def _inbox_row(document: Document, now: float) -> Notification | None:
    if document["gone_at"] is not None:
        return None
    row = rows.notification(document)
    return row if reading.live(row, now) and reading.shelf(row, now) == "inbox" else None


def _told(known: Reader, log: Log, since: Place, *, now: float) -> Iterator[tuple[int, InboxChange]]:
    for found in reading.changed(known, log, since, now=now):
        id = found.notification.id
        yield id, InboxChange(id, reading.shown(known, found, now=now))


async def _merged(direct: AsyncIterator[InboxChange], broadcasts: list[InboxChange]) -> AsyncIterator[InboxChange]:
    """Yield both in the order of ids."""
    waiting = iter(broadcasts)
    following = next(waiting, None)
    async for change in direct:
        while following is not None and following.id < change.id:
            yield following
            following = next(waiting, None)
        yield change
    while following is not None:
        yield following
        following = next(waiting, None)
