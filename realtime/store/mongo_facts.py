"""What proves that counts are right: what is stored, nothing interpreted."""

from pymongo import ASCENDING

from realtime.models import LogFacts, Principal, ReaderFacts
from realtime.store import mongo_rows as rows
from realtime.store.marking import tidied
from realtime.store.mongo_drafts import MongoDrafts
from realtime.store.mongo_log import BY_ID

LOOKS = 5
"""How often facts are read again that change meanwhile."""

BY_OWNER = (("user", ASCENDING),)
SKIP_BATCH = 500


class MongoFacts(MongoDrafts):
    """The facts of `AuditStore` of `realtime.store.base`."""

    async def readers_after(self, reader: Principal, limit: int) -> list[Principal]:
        if limit <= 0:
            return []
        which = {"_id": {"$gt": reader}, "version": {"$exists": True}}
        found = await self.found("readers", which, ["_id"], order=BY_ID, limit=limit)
        names = {one["_id"] for one in found} | set(await self._owners_after(reader, limit))
        return sorted(names)[:limit]

    async def _owners_after(self, reader: Principal, limit: int) -> list[Principal]:
        """Return owners of direct rows in order; from one with many rows it goes straight to the next."""
        owners: list[Principal] = []
        while len(owners) < limit:
            which = {"user": {"$gt": owners[-1] if owners else reader}, "gone_at": None}
            found = await self.found("inbox", which, ["user"], order=BY_OWNER, limit=SKIP_BATCH)
            if not found:
                break
            owners += dict.fromkeys(one["user"] for one in found)
        return owners[:limit]

    async def reader_facts(self, reader: Principal, *, now: float) -> ReaderFacts:
        """Read until nothing has changed meanwhile."""
        for _ in range(LOOKS):
            before = await self.counts([reader], now=now)
            facts = await self._reader_facts(reader, before[reader].unread)
            if await self.counts([reader], now=now) == before:
                break
        return facts

    async def _reader_facts(self, reader: Principal, unread: int) -> ReaderFacts:
        found = await self.found("inbox", {"user": reader, "gone_at": None}, order=BY_ID)
        known, log = await self.seen_by(reader)
        known = tidied(known, log)
        return ReaderFacts(
            reader=reader,
            unread=unread,
            rows=tuple(map(rows.notification, found)),
            intervals=tuple(
                sorted(
                    ((one.audience, one.start, one.end) for one in known.intervals if not one.dropped),
                    key=lambda one: one[:2],
                )
            ),
            read_upto=known.read_upto,
            marks={seq: mark.facts for seq, mark in known.marks.items()},
        )

    async def log_facts(self) -> list[LogFacts]:
        return [
            LogFacts(one.seq, one.notification, one.retracted)
            for one in (await self.log()).all()
            if one.ended_at is None or (one.retracted and not one.stripped)
        ]
