"""What happened to notifications at their readers', and what is known of one notification."""

from collections import Counter
from collections.abc import Mapping, Sequence

from pymongo import ASCENDING, IndexModel
from pymongo.errors import BulkWriteError

from realtime.models import Principal, Receipt, Trace
from realtime.store import mongo_rows as rows
from realtime.store import reading
from realtime.store.base import RECEIPT_DEVICES
from realtime.store.broadcasts import Broadcast
from realtime.store.documents import key
from realtime.store.mongo_database import INT_MAX, Document
from realtime.store.mongo_inbox import MongoInbox

BATCH = 1000
"""Receipts that are stored with one command."""

COUNT_SECONDS = 60.0
"""How long the readers of one broadcast may be counted."""

HEAD = "receipt"

INDEXES = (
    ("receipts", IndexModel([("notification", ASCENDING), ("at", ASCENDING), ("num", ASCENDING)])),
    ("receipts", IndexModel([("reader", ASCENDING), ("notification", ASCENDING), ("stage", ASCENDING)])),
    ("receipts", IndexModel([("at", ASCENDING)])),
    ("readers", IndexModel([("held.audience", ASCENDING)])),
)


class MongoReceipts(MongoInbox):
    """Implements `ReceiptStore` of `realtime.store.base`."""

    async def add_receipts(self, receipts: Sequence[Receipt]) -> None:
        """The key of a receipt is all of it that has to differ, so the first one stays.

        Processes that store receipts of the same stage at the same moment may each find room for RECEIPT_DEVICES.
        """
        for start in range(0, len(receipts), BATCH):
            async with self.lock("receipts"):
                new = await self._new_receipts(receipts[start : start + BATCH])
                for document in new:
                    document["num"] = await self.take_number(HEAD)
                if new:
                    await self._insert_receipts(new)

    async def _new_receipts(self, receipts: Sequence[Receipt]) -> list[Document]:
        """Return documents of those receipts that are not there, and for whose device there is room."""
        asked: dict[str, set[object]] = {
            "reader": {one.reader for one in receipts},
            "notification": {one.notification for one in receipts},
            "stage": {one.stage for one in receipts},
        }
        which = {name: {"$in": list(values)} for name, values in asked.items()}
        found = await self.found("receipts", which, list(asked), latest=True)
        known = {one["_id"] for one in found}
        devices = Counter((one["notification"], one["reader"], one["stage"]) for one in found)
        new = []
        for one in receipts:
            id, about = key(one.notification, one.reader, one.stage, one.device), _about(one)
            if id not in known and devices[about] < RECEIPT_DEVICES:
                known.add(id)
                devices[about] += 1
                new.append({"_id": id, **_fields(one)})
        return new

    async def trace(self, id: int, *, limit: int, now: float) -> Trace | None:
        """The recipients and readers of a broadcast are counted one by one."""
        if not 0 < id <= rows.ID_MAX:
            return None
        direct = await self.stored(id, latest=False)
        if direct is not None:
            if direct["gone_at"] is not None:
                return None
            row = rows.notification(direct)
            return Trace(row, None, 1, await self._sent(id), int(row.read), await self._oldest_receipts(id, limit))
        found = (await self.log()).by_id(id)
        if found is None or found.stripped or (found.ended_at is not None and not found.retracted):
            return None
        recipients, read = await self._recipients(found)
        sent, receipts = await self._sent(id), await self._oldest_receipts(id, limit)
        return Trace(found.notification, found.ended_at, recipients, sent, read, receipts)

    async def sweep_receipts(self, *, now: float) -> int:
        """Remove what is kept long enough; returns how many."""
        kept, receipts = self._retention.receipts, self.collection("receipts")
        if not kept:
            return 0
        done = await self.attempt(lambda: receipts.delete_many({"at": {"$lte": now - kept}}), within=COUNT_SECONDS)
        return int(done.deleted_count)

    async def _insert_receipts(self, new: Sequence[Mapping[str, object]]) -> None:
        receipts = self.collection("receipts")
        try:
            await self.attempt(lambda: receipts.insert_many([dict(one) for one in new], ordered=False))
        except BulkWriteError:
            return  # earlier ones, which count

    async def _oldest_receipts(self, id: int, limit: int) -> tuple[Receipt, ...]:
        if limit <= 0:
            return ()
        receipts, order = self.collection("receipts"), [("at", ASCENDING), ("num", ASCENDING)]
        found = await self.attempt(
            lambda: receipts.find({"notification": id}).sort(order).limit(min(limit, INT_MAX)).to_list(None)
        )
        return tuple(Receipt(id, one["stage"], one["reader"], one["at"], one["device"], one["detail"]) for one in found)

    async def _sent(self, id: int) -> int:
        """Return to how many readers a notification was sent."""
        receipts = self.collection("receipts")
        steps: list[Document] = [
            {"$match": {"notification": id, "stage": "sent"}},
            {"$group": {"_id": "$reader"}},
            {"$count": "readers"},
        ]
        found = await self.attempt(lambda: receipts.aggregate(steps).to_list(None))
        return int(found[0]["readers"]) if found else 0

    async def _recipients(self, found: Broadcast) -> tuple[int, int]:
        """Return how many readers have a broadcast, and how many have read it."""
        return await self.attempt(lambda: self._count_recipients(found), within=COUNT_SECONDS)

    async def _count_recipients(self, found: Broadcast) -> tuple[int, int]:
        readers, target = self.collection("readers"), found.notification.target
        recipients = read = 0
        async for document in readers.find({"held.audience": target.audience}):
            reader = rows.reader(document["_id"], document)
            if reader.principal in target.excluded or not _holds(reader, found):
                continue
            recipients += 1
            read += reading.facts(reader, found).read_at is not None
        return recipients, read


def _holds(reader: reading.Reader, found: Broadcast) -> bool:
    target = found.notification.target
    return any(one.covers(found.seq) or (target.late_join and one.open) for one in reader.of(target.audience or ""))


def _about(receipt: Receipt) -> tuple[int, Principal, str]:
    return receipt.notification, receipt.reader, receipt.stage


def _fields(receipt: Receipt) -> Document:
    return {
        "notification": receipt.notification, "stage": receipt.stage, "reader": receipt.reader, "at": receipt.at,
        "device": receipt.device, "detail": receipt.detail,
    }  # fmt: skip
