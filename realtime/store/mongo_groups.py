"""Rows of one group: a new one takes the place of the unread one.

The row that was there keeps its id, and remembers the ids of those that it stands for (`parts`), by which a repetition
finds it. Two processes may each find no unread row and store one; whoever has the greater number sees both, and takes
the other one away. A row that was made unread again (`again`) is not taken for such a double: there may be several.
"""

from realtime.models import Principal
from realtime.store import mongo_rows as rows
from realtime.store.mongo_claims import MongoClaims
from realtime.store.mongo_database import Document
from realtime.store.mongo_inbox import NEWEST, RowChange

PARTS_MAX = 20
"""Ids that a grouped row remembers; more notifications do not come between an attempt and its repetition."""


class MongoGroups(MongoClaims):
    """Stores direct rows."""

    async def put_direct(
        self, user: Principal, message: rows.Message, *, id: int, keeps_id: bool
    ) -> tuple[Document, bool]:
        """Store a row. Returns (row, whether this did it): one with its id, or that stands for it, may be there.

        With `keeps_id` it takes the place of the unread row of its group under its own id.
        """
        if message.content.group_key is None:
            return await self.insert(self.fresh(user, message, id))
        while not keeps_id:
            unread = await self._unread_of_group(user, message)
            if unread is None:
                break
            if id in unread["parts"]:
                return unread, False
            if replaced := await self.change_row(user, _replacement(unread, message, id)):
                return await self.without_doubles(replaced, message), True
        document, new = await self.insert(self.fresh(user, message, id))
        if new and keeps_id and (older := await self._unread_of_group(user, message, than=document)):
            document = await self._absorb(document, older, now=message.now)
        return (await self.without_doubles(document, message) if new else document), new

    def fresh(self, user: Principal, message: rows.Message, id: int) -> Document:
        """Return a new row, but for its numbers."""
        return {"_id": id, "user": user, **message.said, **rows.UNTOUCHED, "count": 1, "parts": [id], "again": 0}

    async def part_of(self, user: Principal, message: rows.Message, id: int) -> Document | None:
        """Return the row, or tombstone, that a notification of an id has become a part of."""
        if message.content.group_key is None:
            return None
        documents = self.collection("inbox", latest=True)
        which = {"user": user, "group_key": message.content.group_key, "parts": id}
        return await self.attempt(lambda: documents.find_one(which))

    async def without_doubles(self, document: Document, message: rows.Message) -> Document:
        """Take away the unread rows of a row's group that others stored at the same time."""
        while older := await self._unread_of_group(document["user"], message, than=document, again=0):
            document = await self._absorb(document, older, now=message.now)
        return document

    async def _absorb(self, document: Document, older: Document, *, now: float) -> Document:
        """Let a row stand for an older one, too, unless somebody changes that one."""
        user = document["user"]
        if not await self.bury(user, [older], now=now):
            return document
        there: Document | None = document
        while there is not None and there["gone_at"] is None:
            parts = [*older["parts"], *there["parts"]][-PARTS_MAX:]
            grown = {"count": older["count"] + there["count"], "parts": parts}
            if changed := await self.change_row(user, RowChange(there["_id"], there["rev"], grown, comes=True)):
                return changed
            there = await self.stored(document["_id"])
        return there or document

    async def _unread_of_group(
        self, user: Principal, message: rows.Message, *, than: Document | None = None, **more: int
    ) -> Document | None:
        """Return the newest unread row of a group; with `than`, of those that came before a row."""
        which: Document = {
            "user": user, "group_key": message.content.group_key, "unread": 1, "gone_at": None,
            "expires_at": {"$gt": message.now}, **more,
        }  # fmt: skip
        if than is not None:
            which |= {"_id": {"$ne": than["_id"]}, "rev": {"$lt": than["rev"]}}
        found = await self.found("inbox", which, order=NEWEST, limit=1, latest=True)
        return found[0] if found else None


def _replacement(unread: Document, message: rows.Message, id: int) -> RowChange:
    parts = [*unread["parts"], id][-PARTS_MAX:]
    fields = {**message.said, **rows.UNTOUCHED, "count": unread["count"] + 1, "parts": parts}
    return RowChange(unread["_id"], unread["rev"], fields, comes=True)
