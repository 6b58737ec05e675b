"""Notifications to be sent later.

Whoever publishes a draft puts it off for CLAIM_SECONDS first, so that nobody else does; then stores the row under the
draft's id, then removes the draft. Another attempt after a crash finds the row and only removes the draft.
"""

from collections.abc import Sequence

from pymongo import ASCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from realtime.models import Content, Draft, Held, Principal, Stored, Target
from realtime.store import mongo_rows as rows
from realtime.store.base import CLAIM_SECONDS
from realtime.store.mongo_claims import Keys, turns
from realtime.store.mongo_database import Document
from realtime.store.mongo_rows import ID_MAX, NEVER
from realtime.store.mongo_sync import MongoSync

EARLIEST = [("run_at", ASCENDING), ("_id", ASCENDING)]

INDEXES = (
    ("drafts", IndexModel(EARLIEST)),
    ("drafts", IndexModel([("user", ASCENDING)])),
    ("drafts", IndexModel([("sender", ASCENDING)])),
)


class MongoDrafts(MongoSync):
    """Implements `ScheduleStore` of `realtime.store.base`."""

    async def add_drafts(
        self,
        targets: Sequence[Target],
        content: Content,
        *,
        sender: Principal | None,
        run_at: float,
        now: float,
        dedup_key: str | None = None,
        request: str | None = None,
        id: int | None = None,
    ) -> list[Held | Stored]:
        """Raises ValueError as `add` does."""
        message = rows.Message(content, sender, now)
        keys = Keys(dedup_key, request, sender)
        await self.require(targets, message, keys, id)
        return await self.complete(self._add_drafts(targets, message, keys, run_at=run_at, id=id))

    async def draft(self, id: int) -> Draft | None:
        found = await self.waiting(id)
        return None if found is None else rows.draft(found)

    async def next_run(self) -> float | None:
        found = await self.found("drafts", {}, ["run_at"], order=EARLIEST, limit=1)
        return found[0]["run_at"] if found else None

    async def due_drafts(self, *, now: float, limit: int) -> list[Draft]:
        """Earliest first."""
        if limit <= 0:
            return []
        found = await self.found("drafts", {"run_at": {"$lte": now}}, order=EARLIEST, limit=limit)
        return [rows.draft(one) for one in found]

    async def publish_draft(self, id: int, *, now: float) -> Stored | None:
        """The row keeps the draft's id, so a grouped one takes the place of the earlier row instead of its id."""
        waiting = await self.waiting(id)
        if waiting is None:
            return None
        await self.settle_audiences([rows.target(waiting)])
        return await self.complete(self._publish_draft(waiting, now=now))

    async def cancel_draft(self, id: int) -> bool:
        """The dedup key is free again. A draft whose publication has begun is there no more."""
        if not 0 < id <= ID_MAX:
            return False
        documents = self.collection("drafts")
        done = await self.attempt(lambda: documents.delete_one({"_id": id, "claimed_until": NEVER}))
        if done.deleted_count:
            await self.release(id)
        return bool(done.deleted_count)

    async def _add_drafts(
        self, targets: Sequence[Target], message: rows.Message, keys: Keys, *, run_at: float, id: int | None
    ) -> list[Held | Stored]:
        return [
            await self._add_draft(target, message, keys, turn=turn, run_at=run_at, id=id)
            for target, turn in turns(targets)
        ]

    async def _add_draft(
        self, target: Target, message: rows.Message, keys: Keys, *, turn: int, run_at: float, id: int | None
    ) -> Held | Stored:
        begun = await self.begin(target, message, keys.names(target, turn), id=id or await self.take_id())
        if begun.earlier is None:
            held, new = await self._hold(begun.id, target, message, keys, run_at=run_at)
            again = not new and begun.name is not None
            return Held(rows.draft(held), duplicate=again, repeated=again and begun.of_request)
        if begun.earlier.draft is not None:
            return Held(rows.draft(begun.earlier.draft), duplicate=True, repeated=begun.of_request)
        return self.told(begun, begun.earlier, target, message)

    async def _hold(
        self, id: int, target: Target, message: rows.Message, keys: Keys, *, run_at: float
    ) -> tuple[Document, bool]:
        """Store a draft. Returns (draft, whether this did it): it may be there."""
        documents = self.collection("drafts", latest=True)
        document = {
            "_id": id, **rows.target_fields(target), **message.said, "dedup_key": keys.dedup_key,
            "due_at": run_at, "run_at": run_at, "claimed_until": NEVER, "by": self.writer(),
        }  # fmt: skip
        try:
            await self.attempt(lambda: documents.insert_one(document))
        except DuplicateKeyError:
            there = await self.waiting(id) or document
            return there, there["by"] == document["by"]
        return document, True

    async def _publish_draft(self, waiting: Document, *, now: float) -> Stored | None:
        if not await self._take_draft(waiting, now=now):
            return None
        one = rows.draft(waiting)
        message = rows.Message(one.content, one.sender, now)
        names = Keys(one.dedup_key, sender=one.sender).names(one.target)
        stored = await self.put(one.target, message, names, id=one.id, keeps_id=True)
        documents = self.collection("drafts")
        await self.attempt(lambda: documents.delete_one({"_id": one.id}))
        return stored

    async def _take_draft(self, waiting: Document, *, now: float) -> bool:
        """Put a draft off, so that nobody else publishes it now."""
        if waiting["claimed_until"] > now:
            return False
        documents, by = self.collection("drafts", latest=True), self.writer()
        which = {"_id": waiting["_id"], "claimed_until": waiting["claimed_until"]}
        until = now + CLAIM_SECONDS
        change = {"$set": {"claimed_until": until, "run_at": until, "by": by}}
        done = await self.attempt(lambda: documents.update_one(which, change))
        if done.matched_count:
            return True
        there = await self.waiting(waiting["_id"])
        return there is not None and there.get("by") == by
