"""Chat messages. `repeats` is unique: of two that repeat each other the server stores one.

Each conversation has a document per user that names its newest message, written after that message. A process that
dies in between leaves that to the repetition that its client sends, or to the next start.
"""

import asyncio
import secrets
from collections.abc import Sequence
from typing import Any, Literal

from pymongo import ASCENDING, DESCENDING, IndexModel, UpdateOne
from pymongo.errors import DuplicateKeyError

from realtime.models import Message, NewMessage, StoredMessage
from realtime.store.base import MESSAGE_DEDUP_SECONDS, MESSAGE_REPEAT_SECONDS
from realtime.store.documents import dumps, key
from realtime.store.mongo_database import INT_MAX, Collection, Document, MongoDatabase

ID_MAX = 2**63 - 1
HEAD = "message"
FORGOTTEN = "messages forgotten"
"""The head that counts messages that were stored and are no more."""

RELISTED = 1000
"""Newest messages whose conversations a start writes again: more than were ever stored at the same time."""

BY_ID = ("_id", DESCENDING)
INDEXES = (
    ("messages", IndexModel([("repeats", ASCENDING)], unique=True)),
    ("messages", IndexModel([("pair", ASCENDING), BY_ID])),
    ("messages", IndexModel([("people", ASCENDING), BY_ID])),
    ("messages", IndexModel([("receiver", ASCENDING), ("read_at", ASCENDING), ("sender", ASCENDING), BY_ID])),
    ("messages", IndexModel([("receiver", ASCENDING), ("delivered_at", ASCENDING), BY_ID])),
    ("conversations", IndexModel([("user", ASCENDING), ("last", DESCENDING)])),
    ("conversations", IndexModel([("other", ASCENDING)])),
)


class MongoMessages(MongoDatabase):
    """Implements `MessageStore` of `realtime.store.base`."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._awaiting_ids: list[asyncio.Future[int]] = []

    async def _prepare(self) -> None:
        await super()._prepare()
        await self._relist()

    async def add_message(self, new: NewMessage, *, now: float) -> StoredMessage:
        repeats = repetition(new)
        return await self.complete(self._add_message(new, repeats, now=float(now)))

    async def message(self, id: int) -> Message | None:
        if not 0 < id <= ID_MAX:
            return None
        messages = self.collection("messages")
        found = await self.attempt(lambda: messages.find_one({"_id": id}))
        return None if found is None else decoded(found)

    async def read_message(self, id: int, reader: str, *, now: float) -> tuple[Message, bool] | None:
        if not 0 < id <= ID_MAX:
            return None
        changed = await self._mark_messages([id], "read", {"receiver": reader}, now=now)
        if changed:
            return changed[0], True
        row = await self.message(id)
        return None if row is None or row.receiver != reader else (row, False)

    async def read_conversation(
        self, reader: str, other: str, *, up_to: int | None, now: float, limit: int = 500
    ) -> list[Message]:
        if limit <= 0:
            return []
        messages = self.collection("messages")
        last = ID_MAX if up_to is None else max(0, min(up_to, ID_MAX))
        unread = {"receiver": reader, "read_at": None, "sender": other, "_id": {"$lte": last}}
        found = await self.attempt(
            lambda: messages.find(unread, {"_id": 1}).sort("_id", ASCENDING).limit(min(limit, INT_MAX)).to_list(None)
        )
        return await self._mark_messages([one["_id"] for one in found], "read", {"receiver": reader}, now=now)

    async def set_messages_delivered(self, ids: Sequence[int], *, now: float) -> list[Message]:
        """Returns the oldest first."""
        some = [id for id in ids if 0 < id <= ID_MAX]
        return await self._mark_messages(some, "delivered", {}, now=now)

    async def set_message_notification(self, id: int, notification: int) -> None:
        if not 0 < id <= ID_MAX:
            return
        messages = self.collection("messages")
        await self.attempt(lambda: messages.update_one({"_id": id}, {"$set": {"notification": notification}}))

    async def undelivered_messages(self, receiver: str, *, limit: int) -> list[Message]:
        """What was read was delivered."""
        if limit <= 0:
            return []
        messages, waiting = self.collection("messages"), {"receiver": receiver, "delivered_at": None}
        found = await self.attempt(
            lambda: messages.find(waiting).sort("_id", ASCENDING).limit(min(limit, INT_MAX)).to_list(None)
        )
        return [decoded(one) for one in found]

    async def unread_messages(self, user: str) -> int:
        messages = self.collection("messages")
        return await self.attempt(lambda: messages.count_documents({"receiver": user, "read_at": None}))

    async def message_count(self) -> int:
        messages, heads = self.collection("messages"), self.collection("heads")
        stored = await self.attempt(lambda: messages.estimated_document_count())
        forgotten = await self.attempt(lambda: heads.find_one({"_id": FORGOTTEN}))
        return int(stored) + int(forgotten["value"] if forgotten else 0)

    async def _add_message(self, new: NewMessage, repeats: str, *, now: float) -> StoredMessage:
        row = Message(await self._next_message_id(), new.sender, new.receiver, new.content, new.client_id, now)
        stored = await self._store_message(row, repeats)
        await self._list_messages([stored])
        return StoredMessage(stored, duplicate=stored.id != row.id)

    async def _next_message_id(self) -> int:
        """Return ids in the order of calls; those who wait at the same time are served by one write."""
        mine: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._awaiting_ids.append(mine)
        async with self.lock(f"head {HEAD}"):
            if not mine.done():
                waiting, self._awaiting_ids = self._awaiting_ids, []
                first = await self.take_numbers(HEAD, len(waiting))
                for number, one in enumerate(waiting, first):
                    one.set_result(number)
        return await mine

    async def _store_message(self, row: Message, repeats: str) -> Message:
        """Store a message, and return it or the one that it repeats."""
        messages = self.collection("messages", latest=True)
        document = encoded(row, repeats)
        while True:
            try:
                await self.attempt(lambda: messages.insert_one(document))
            except DuplicateKeyError:
                found = await self.attempt(lambda: messages.find_one({"repeats": repeats}))
            else:
                return row
            if found is not None and (found["_id"] == row.id or within_window(row, found["created_at"])):
                return decoded(found)
            if found is not None:
                await self._release_words(messages, found)

    async def _release_words(self, messages: Collection, old: Document) -> None:
        """Let what an old message said be said again."""
        was = {"_id": old["_id"], "repeats": old["repeats"]}
        await self.attempt(lambda: messages.update_one(was, {"$set": {"repeats": f"{old['_id']}"}}))

    async def _list_messages(self, stored: Sequence[Message]) -> None:
        """Make messages the newest of their conversations, if they are."""
        conversations = self.collection("conversations")
        writes = [
            UpdateOne(
                {"_id": key(user, other)},
                {"$max": {"last": row.id}, "$setOnInsert": {"user": user, "other": other}},
                upsert=True,
            )
            for row in stored
            for user, other in {(row.sender, row.receiver), (row.receiver, row.sender)}
        ]
        while writes:
            try:
                await self.attempt(lambda: conversations.bulk_write(writes, ordered=False))
            except DuplicateKeyError:
                continue
            return

    async def _relist(self) -> None:
        messages = self.collection("messages")
        found = await self.attempt(lambda: messages.find().sort([BY_ID]).limit(RELISTED).to_list(None))
        newest: dict[str, Document] = {}
        for one in found:
            newest.setdefault(one["pair"], one)
        await self._list_messages([decoded(one) for one in newest.values()])

    async def _mark_messages(
        self, ids: Sequence[int], stage: Literal["read", "delivered"], which: Document, *, now: float
    ) -> list[Message]:
        """Note a stage of those messages that have not reached it; return them, oldest first.

        They carry the name of this call, so that an attempt whose answer was lost has not changed nothing.
        """
        if not ids:
            return []
        messages, call = self.collection("messages", latest=True), secrets.token_hex(8)
        some, at, by = {"_id": {"$in": [*ids]}, **which}, f"{stage}_at", f"{stage}_by"
        change = {at: float(now), by: call}
        if stage == "read":
            both = {"$set": {**change, "delivered_at": float(now)}}
            await self.attempt(lambda: messages.update_many({**some, at: None, "delivered_at": None}, both))
        await self.attempt(lambda: messages.update_many({**some, at: None}, {"$set": change}))
        found = await self.attempt(lambda: messages.find({**some, by: call}).sort("_id", ASCENDING).to_list(None))
        return [decoded(one) for one in found]


def encoded(row: Message, repeats: str) -> Document:
    return {
        "_id": row.id, "sender": row.sender, "receiver": row.receiver, "content": row.content,
        "client_id": row.client_id, "created_at": row.created_at, "delivered_at": None, "read_at": None,
        "notification": None, "delivered_by": None, "read_by": None, "repeats": repeats,
        "pair": pair(row.sender, row.receiver), "people": sorted({row.sender, row.receiver}),
    }  # fmt: skip


def decoded(one: Document) -> Message:
    return Message(
        int(one["_id"]), one["sender"], one["receiver"], one["content"], one["client_id"], one["created_at"],
        one["delivered_at"], one["read_at"], one["notification"],
    )  # fmt: skip


def pair(user: str, other: str) -> str:
    return key(*sorted((user, other)))


def within_window(row: Message, earlier: float) -> bool:
    """Whether a message repeats one of that time; a clock that was set back must not swallow what is said again."""
    window = MESSAGE_REPEAT_SECONDS if row.client_id is None else MESSAGE_DEDUP_SECONDS
    return row.created_at - window <= earlier <= row.created_at + MESSAGE_REPEAT_SECONDS


def repetition(new: NewMessage) -> str:
    """Return what is the same for messages that repeat each other. Raises INVALID_PAYLOAD for what is no text."""
    dumps(new.content)
    said = ["words", new.content] if new.client_id is None else ["id", new.client_id]
    return key(new.sender, new.receiver, *said)
