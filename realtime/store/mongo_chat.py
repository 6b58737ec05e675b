"""What users see of chat: conversations, history and search."""

import re
import string
from collections.abc import Sequence

from pymongo import DESCENDING

from realtime.models import Conversation, Message
from realtime.store.documents import dumps
from realtime.store.mongo_database import INT_MAX, Document
from realtime.store.mongo_devices import MongoDevices
from realtime.store.mongo_messages import BY_ID, ID_MAX, MongoMessages, decoded, pair

PATTERN_MAX = 200
"""Characters of a search that the server compares; the rest is compared here."""

LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


class MongoChat(MongoMessages, MongoDevices):
    """Implements `MessageStore` and `DeviceStore` of `realtime.store.base`."""

    async def conversations(self, user: str, *, limit: int, offset: int) -> tuple[list[Conversation], int]:
        rows = self.collection("conversations")
        total = await self.attempt(lambda: rows.count_documents({"user": user}))
        if limit <= 0:
            return [], total
        skip, most = min(offset, INT_MAX), min(limit, INT_MAX)
        found = await self.attempt(
            lambda: rows.find({"user": user}).sort("last", DESCENDING).skip(skip).limit(most).to_list(None)
        )
        others = {one["last"]: one["other"] for one in found}
        last = await self._messages_of([*others])
        unread = await self._unread_by_sender(user, [*others.values()])
        return [
            Conversation(other, last[id], unread.get(other, 0)) for id, other in others.items() if id in last
        ], total

    async def history(self, user: str, other: str, *, before: int | None, limit: int) -> list[Message]:
        if limit <= 0:
            return []
        messages, which = self.collection("messages"), {"pair": pair(user, other), **_before(before)}
        found = await self.attempt(lambda: messages.find(which).sort([BY_ID]).limit(min(limit, INT_MAX)).to_list(None))
        return [decoded(one) for one in found]

    async def search_messages(
        self, user: str, text: str, *, other: str | None, before: int | None, limit: int
    ) -> list[Message]:
        """Costs a look at each message of the user, or of the two, until `limit` are found."""
        dumps(text)
        which: Document = {"people": user} if other is None else {"pair": pair(user, other)}
        which |= _before(before)
        if text:
            which["content"] = {"$regex": _pattern(text[:PATTERN_MAX])}
        return await self.attempt(lambda: self._search_some(which, text.translate(LOWER), limit))

    async def _search_some(self, which: Document, text: str, limit: int) -> list[Message]:
        found: list[Message] = []
        if limit <= 0:
            return found
        cursor = self.collection("messages").find(which).sort([BY_ID])
        try:
            async for one in cursor:
                if text in one["content"].translate(LOWER):
                    found.append(decoded(one))
                    if len(found) >= limit:
                        break
        finally:
            await cursor.close()
        return found

    async def _messages_of(self, ids: Sequence[int]) -> dict[int, Message]:
        messages = self.collection("messages")
        found = await self.attempt(lambda: messages.find({"_id": {"$in": [*ids]}}).to_list(None))
        return {int(one["_id"]): decoded(one) for one in found}

    async def _unread_by_sender(self, user: str, others: Sequence[str]) -> dict[str, int]:
        """Return how much a user has not read of each of these others, where there is any."""
        messages = self.collection("messages")
        steps: list[Document] = [
            {"$match": {"receiver": user, "read_at": None, "sender": {"$in": [*others]}}},
            {"$group": {"_id": "$sender", "unread": {"$sum": 1}}},
        ]
        found = await self.attempt(lambda: messages.aggregate(steps).to_list(None))
        return {one["_id"]: int(one["unread"]) for one in found}


def _before(id: int | None) -> Document:
    return {} if id is None else {"_id": {"$lt": max(0, min(id, ID_MAX))}}


def _pattern(text: str) -> str:
    """Return a pattern for a text whose letters of ASCII are in either case. Patterns must not hold zero bytes."""
    return "".join(
        f"[{letter.lower()}{letter.upper()}]"
        if letter in string.ascii_letters
        else "\\x00"
        if letter == "\0"
        else re.escape(letter)
        for letter in text
    )
