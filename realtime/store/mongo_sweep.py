"""The removal of what has expired and of what is kept long enough, in portions.

A direct row becomes a tombstone; a broadcast ends, then loses its content. When nobody needs to be told of it any
more it goes for good, after the numbers were noted that are known to nobody then: older places are of no use.
"""

from collections import Counter
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from pymongo import DESCENDING, UpdateOne

from realtime.models import Content, Principal, Sweep
from realtime.store import mongo_rows as rows
from realtime.store.base import DEDUP_SECONDS
from realtime.store.broadcasts import Broadcast, Log
from realtime.store.marking import tidied
from realtime.store.mongo_database import Document
from realtime.store.mongo_facts import MongoFacts
from realtime.store.mongo_log import BY_ID
from realtime.store.mongo_readers import BULK_SECONDS
from realtime.store.reading import Reader

SWEEP_ROWS = 100
"""Rows that one command of a sweep removes."""

SWEEPS_KEPT = 10_000
"""Notes of sweeps; the oldest are forgotten. One a minute at most: a week."""


class MongoSweep(MongoFacts):
    """Sweeps the inbox; `sweep_more` is for what else a store keeps."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._limited = False

    async def sweep(self, *, now: float) -> dict[str, int]:
        removed: Counter[str] = Counter()
        removed["expired"] += await self._bury_expired(now)
        removed["archived"] += await self._bury_old("archived_at", self._retention.archived, now=now)
        removed["aged"] += await self._bury_old("created_at", self._retention.rows, now=now)
        removed["surplus"] += await self._bury_surplus(now)
        removed += await self._end_broadcasts(now)
        removed["broadcasts"] += await self._strip_broadcasts()
        if self._retention.tombstones:
            until = now - max(self._retention.tombstones, DEDUP_SECONDS)
            removed["tombstones"] += await self._forget_rows(until) + await self._forget_broadcasts(until)
            removed["memberships"] += await self._tidy_readers()
        removed["dedup_keys"] += await self.sweep_claims(now=now)
        removed += Counter(await self.sweep_more(now=now))
        some = {kind: count for kind, count in removed.items() if count}
        if some:
            await self._note(Sweep(now, some))
        return some

    async def sweep_more(self, *, now: float) -> dict[str, int]:
        return {}

    async def sweeps(self, limit: int) -> list[Sweep]:
        if limit <= 0:
            return []
        found = await self.found("sweeps", {}, order=[("_id", DESCENDING)], limit=limit)
        return [Sweep(one["at"], one["removed"]) for one in found]

    async def _note(self, sweep: Sweep) -> None:
        notes, number = self.collection("sweeps"), await self.take_numbers("sweep")
        note = {"_id": number, "at": sweep.at, "removed": sweep.removed}
        await self.attempt(lambda: notes.replace_one({"_id": number}, note, upsert=True))
        await self.attempt(lambda: notes.delete_many({"_id": {"$lte": number - SWEEPS_KEPT}}))

    async def _bury_expired(self, now: float) -> int:
        """Time alone has taken these away, so it needs no numbers."""
        documents, count = self.collection("inbox"), 0
        which = {"gone_at": None, "expires_at": {"$lte": now}}
        change = {"$set": {**rows.GONE, "gone_at": now}}
        while True:
            found = await self.found("inbox", which, ["_id"], limit=SWEEP_ROWS, latest=True)
            some = {"_id": {"$in": [one["_id"] for one in found]}, **which}
            await self.attempt(partial(documents.update_many, some, change), within=BULK_SECONDS)
            count += len(found)
            if len(found) < SWEEP_ROWS:
                return count

    async def _bury_old(self, since: str, kept: float, *, now: float) -> int:
        if not kept:
            return 0
        count, which = 0, {"gone_at": None, since: {"$lte": now - kept}}
        while True:
            found = await self.found("inbox", which, ["user", "rev"], limit=SWEEP_ROWS, latest=True)
            by_owner: dict[Principal, list[Document]] = {}
            for one in found:
                by_owner.setdefault(one["user"], []).append(one)
            for owner, some in by_owner.items():
                async with self.lock(f"inbox {owner}"):
                    count += await self.bury(owner, some, now=now)
            if len(found) < SWEEP_ROWS:
                return count

    async def _bury_surplus(self, now: float) -> int:
        """Adding keeps everybody to the limit, so that it is looked for only once, as it may have changed."""
        most, count = self._retention.max_rows, 0
        if self._limited or most <= 0:
            return 0
        documents = self.collection("inbox", latest=True)
        steps: list[Document] = [
            {"$match": {"gone_at": None}},
            {"$group": {"_id": "$user", "rows": {"$sum": 1}}},
            {"$match": {"rows": {"$gt": most}}},
        ]
        for one in await self.attempt(lambda: documents.aggregate(steps).to_list(None)):
            count += await self.trim(one["_id"], now=now)
        self._limited = True
        return count

    async def _end_broadcasts(self, now: float) -> Counter[str]:
        """From now on nobody sees them, also when the clock is set back."""
        ended: Counter[str] = Counter()
        for one in (await self.log()).all():
            kind = self._over(one, now)
            if kind and await self.end_broadcast(one.notification.id, at=now, retracted=False):
                ended[kind] += 1
        return ended

    def _over(self, one: Broadcast, now: float) -> str | None:
        row, kept = one.notification, self._retention.broadcasts
        if one.ended_at is not None:
            return None
        if row.content.expires_at is not None:
            return "expired" if row.content.expires_at <= now else None
        return "broadcasts" if kept and row.created_at <= now - kept else None

    async def _strip_broadcasts(self) -> int:
        """Take the contents of what has ended away; returns how many of these were retracted."""
        documents, count = self.collection("log"), 0
        for one in (await self.log()).all():
            if one.ended_at is None or one.stripped:
                continue
            id, content = one.notification.id, Content("", "", "", expires_at=one.notification.content.expires_at)
            change = {"$set": {"content": rows.content_text(content), "sender": None, "stripped": True}}
            done = await self.attempt(partial(documents.update_one, {"_id": id}, change))
            count += one.retracted and bool(done.modified_count)
            self._log.strip(id)
        return count

    async def _forget_rows(self, until: float) -> int:
        """Remove tombstones for good, each owner's greatest number noted before."""
        documents, readers, count = self.collection("inbox", latest=True), self.collection("readers"), 0
        which = {"gone_at": {"$lt": until}}
        while True:
            found = await self.found("inbox", which, ["user", "rev"], limit=SWEEP_ROWS, latest=True)
            floors: dict[Principal, int] = {}
            for one in found:
                floors[one["user"]] = max(floors.get(one["user"], 0), one["rev"])
            raised = [UpdateOne({"_id": user}, {"$max": {"floor": rev}}, upsert=True) for user, rev in floors.items()]
            if raised:
                await self.keep_above(max(floors.values()))
                await self.attempt(partial(readers.bulk_write, raised, ordered=False))
            gone = {"_id": {"$in": [one["_id"] for one in found]}, "gone_at": {"$lt": until}}
            count += (await self.attempt(partial(documents.delete_many, gone))).deleted_count
            if len(found) < SWEEP_ROWS:
                return count

    async def _forget_broadcasts(self, until: float) -> int:
        """Remove broadcasts and their ends for good, the greatest numbers noted before."""
        over = [
            one
            for one in (await self.log()).all()
            if one.stripped and one.ended_at is not None and one.ended_at < until
        ]
        if not over:
            return 0
        heads, documents = self.collection("heads"), self.collection("log")
        newest = max(one.rev for one in over)
        raised = {"$max": {"value": newest, "floor": newest}}
        await self.attempt(lambda: heads.update_one({"_id": "log"}, raised, upsert=True))
        ids = [id for one in over for id in (one.notification.id, -one.notification.id)]
        for start in range(0, len(ids), SWEEP_ROWS):
            some = ids[start : start + SWEEP_ROWS]
            await self.attempt(partial(documents.delete_many, {"_id": {"$in": some}}))
        for one in over:
            self._log.forget(one.notification.id)
        self.log_floor = max(self.log_floor, newest)
        return len(over)

    async def _tidy_readers(self) -> int:
        """Take away what readers knew of broadcasts that are no more; returns how many memberships that were."""
        count = 0
        async for name in self._outdated():
            count += await self.change_reader(name, _tidying)
        return count

    async def _outdated(self) -> AsyncIterator[Principal]:
        log, after = await self.log(), ""
        oldest = min((one.seq for one in log.all()), default=log.head + 1)
        while True:
            which = {"oldest": {"$lt": oldest}, "_id": {"$gt": after}}
            found = await self.found("readers", which, ["_id"], order=BY_ID, limit=SWEEP_ROWS)
            for one in found:
                yield one["_id"]
            if len(found) < SWEEP_ROWS:
                return
            after = found[-1]["_id"]


def _tidying(before: Reader, log: Log) -> tuple[Reader, int]:
    after = tidied(before, log)
    return (before if after == before else after), len(before.intervals) - len(after.intervals)
