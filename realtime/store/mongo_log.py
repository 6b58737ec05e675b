"""The log of broadcasts: documents are only added, each with the next number, until a sweep removes them for good.

A broadcast has its notification's id as `_id`, its end (retracted, or too old) has that id negated: of two that end a
broadcast one succeeds. Each takes `seq` from one space of numbers by inserting the next one, which a unique index lets
only one do. So a number is there only after all smaller ones, and whoever has read up to it has missed nothing.
Before a sweep removes documents it raises the persisted head to their numbers.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import DuplicateKeyError

from realtime.models import Notification, Target
from realtime.store import mongo_rows as rows
from realtime.store.broadcasts import Log
from realtime.store.mongo_database import INT_MAX, Document, MongoDatabase

BY_SEQ = (("seq", ASCENDING),)
BY_ID = (("_id", ASCENDING),)

Order = Sequence[tuple[str, int]]

LOG_BATCH = 1000
"""Documents that are read at once."""

RELOAD_SECONDS = 6 * 3600.0
"""After which a process reads its log anew, so that it forgets what others have removed."""

INDEXES = (
    ("log", IndexModel([("seq", ASCENDING)], unique=True)),
    ("log", IndexModel([("sender", ASCENDING)])),
)


class MongoLog(MongoDatabase):
    """Keeps the log that this process knows, and adds to it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._log = Log()
        self.log_floor = 0
        self._log_read = 0
        self._log_loaded_at: float | None = None
        self._log_reading = asyncio.Lock()
        self._log_adding = asyncio.Lock()
        self._written = 0

    async def log(self) -> Log:
        """Return the log as it is now, or later; it must not be kept over an await.

        One query serves all who have asked before it began.
        """
        wanted = self._log_read + 1
        async with self._log_reading:
            if self._log_read < wanted:
                self._log_read += 1
                await self._read_log()
        return self._log

    async def found(
        self,
        name: str,
        which: Document,
        fields: Sequence[str] | None = None,
        *,
        order: Order = (),
        skip: int = 0,
        limit: int = 0,
        latest: bool = False,
    ) -> list[Document]:
        """Return documents of a collection; `limit` 0: all of them. `fields` are what is wanted besides `_id`."""
        cursor = partial(self.collection(name, latest=latest).find, which, fields)

        async def find() -> list[Document]:
            sorted_ = cursor().sort(list(order)) if order else cursor()
            return await sorted_.skip(min(skip, INT_MAX)).limit(min(limit, INT_MAX)).to_list(None)

        return await self.attempt(find)

    def forget_log(self) -> None:
        """Let the log be read anew by whoever asks next."""
        self._log_loaded_at = None

    def writer(self) -> str:
        """Return what tells a write from all others, so that it is known again after its answer was lost."""
        self._written += 1
        return f"{self._node}:{self._written}"

    async def _read_log(self) -> None:
        time = asyncio.get_running_loop().time()
        log, heads = self._log, None
        if self._log_loaded_at is None or time - self._log_loaded_at > RELOAD_SECONDS:
            log, heads = Log(), await self._log_heads()
        while True:
            found = await self.found("log", {"seq": {"$gt": log.head}}, order=BY_SEQ, limit=LOG_BATCH)
            for document in found:
                _apply(log, document)
            if len(found) < LOG_BATCH:
                break
        if heads is not None:
            log.head = max(log.head, heads.get("value", 0))
            self.log_floor, self._log_loaded_at = heads.get("floor", 0), time
        self._log = log

    async def publish(self, id: int, target: Target, message: rows.Message) -> tuple[Notification, bool]:
        """Store a broadcast. Returns (row, whether this did it): one with its id may be there."""
        document = {"_id": id, "of": None, "stripped": False, **rows.target_fields(target), **message.said}
        seq, added = await self._append(document)
        if added:
            return message.row(id, target, rev=seq), True
        log = await self.log()
        there = log.by_id(id)
        if there is None or there.ended_at is not None:
            return message.row(id, target, rev=seq), False
        return there.notification, False

    async def end_broadcast(self, id: int, *, at: float, retracted: bool) -> bool:
        """Whether this ended it: somebody else may have."""
        return (await self._append({"_id": -id, "of": id, "at": at, "retracted": retracted}))[1]

    async def _append(self, document: Document) -> tuple[int, bool]:
        """Insert a document with the next number; returns the number, and False when its `_id` is there already.

        The log is read before, as a number that was removed could be taken again.
        """
        documents, document = self.collection("log", latest=True), {**document, "by": self.writer()}
        async with self._log_adding:
            head = (await self.log()).head
            while True:
                numbered = {**document, "seq": head + 1}
                try:
                    await self.attempt(partial(documents.insert_one, numbered))
                except DuplicateKeyError:
                    there = await self.attempt(lambda: documents.find_one({"_id": document["_id"]}))
                    if there is not None:
                        return there["seq"], there["by"] == document["by"]
                    head = await self._newest_seq()
                else:
                    return head + 1, True

    async def _newest_seq(self) -> int:
        found = await self.found("log", {}, ["seq"], order=[("seq", DESCENDING)], limit=1, latest=True)
        removed: int = (await self._log_heads()).get("value", 0)
        return max([removed, *(int(one["seq"]) for one in found)])

    async def _log_heads(self) -> Document:
        """Return the greatest number that was removed (`value`), and the greatest of an end (`floor`)."""
        heads = self.collection("heads", latest=True)
        return await self.attempt(lambda: heads.find_one({"_id": "log"})) or {}


def _apply(log: Log, document: Document) -> None:
    log.head = max(log.head, document["seq"])
    if document["of"] is not None:
        log.end(document["of"], rev=document["seq"], at=document["at"], retracted=document["retracted"])
    else:
        log.publish(rows.broadcast(document))
