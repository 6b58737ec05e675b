"""Direct rows, and the numbers that their changes take.

A number (`rev`) is the time of the write in microseconds, or one more than the last if that is greater: nobody has to
be asked for it. Whoever has written looks whether the owner has a greater one that is not theirs; then a client may
know that one already, and the rows take new numbers above it. So a row's number is at last greater than any that was
there before the row, and whoever has read up to it has missed nothing.

A row that is gone stays as a tombstone with a number of its own. Before that is removed for good its number becomes the
floor of its owner: numbers are never reused, wherever the clock goes.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pymongo import ASCENDING, DESCENDING, IndexModel, UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

from realtime.clock import Clock
from realtime.models import Principal
from realtime.store.mongo_database import Document
from realtime.store.mongo_membership import MongoMembership
from realtime.store.mongo_readers import BULK_SECONDS
from realtime.store.mongo_rows import GONE, ID_MAX

WRITES_MAX = 500
"""Rows that one command changes."""

MICROSECONDS = 1_000_000

NEWEST = [("created_at", DESCENDING), ("_id", DESCENDING)]

INDEXES = (
    ("inbox", IndexModel([("user", ASCENDING), ("rev", ASCENDING)], unique=True)),
    ("inbox", IndexModel([("user", ASCENDING), ("gone_at", ASCENDING), *NEWEST])),
    ("inbox", IndexModel([("user", ASCENDING), ("unread", ASCENDING)])),
    ("inbox", IndexModel([("user", ASCENDING), ("group_key", ASCENDING)])),
    ("inbox", IndexModel([("gone_at", ASCENDING), ("archived_at", ASCENDING)])),
    ("inbox", IndexModel([("expires_at", ASCENDING)])),
    ("inbox", IndexModel([("snoozed_until", ASCENDING)])),
    ("inbox", IndexModel([("sender", ASCENDING)])),
)


@dataclass(frozen=True, slots=True)
class RowChange:
    """What is to be set in a row that still has the number `rev`. `comes`: it is a new row to its reader."""

    id: int
    rev: int
    fields: Mapping[str, Any]
    comes: bool = False


class Numbers:
    """Numbers that rise in this process, also when the clock does not."""

    def __init__(self, clock: Clock = time.time) -> None:
        self._clock = clock
        self._last = 0

    def take(self, count: int = 1, *, above: int = 0) -> int:
        """Return the first of `count` numbers."""
        first = max(int(self._clock() * MICROSECONDS), self._last + 1, above + 1)
        self._last = first + count - 1
        return first


class MongoInbox(MongoMembership):
    """Writes direct rows."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.numbers = Numbers()

    async def open(self) -> None:
        await super().open()
        heads = self.collection("heads", latest=True)
        forgotten = await self.attempt(lambda: heads.find_one({"_id": "rev"}))
        if forgotten is not None:
            self.numbers.take(above=forgotten["value"])

    async def keep_above(self, rev: int) -> None:
        """Note the greatest number of rows of which nothing will be known: whoever opens the database goes on above."""
        heads = self.collection("heads")
        await self.attempt(lambda: heads.update_one({"_id": "rev"}, {"$max": {"value": rev}}, upsert=True))

    async def newest_rev(self, user: Principal, *, latest: bool = False) -> int:
        """Return the greatest number of an owner's rows, 0 when there is none."""
        newest = [("rev", DESCENDING)]
        found = await self.found("inbox", {"user": user}, ["rev"], order=newest, limit=1, latest=latest)
        return found[0]["rev"] if found else 0

    async def stored(self, id: int, *, latest: bool = True) -> Document | None:
        """Return a direct row or its tombstone."""
        if not 0 < id <= ID_MAX:
            return None
        documents = self.collection("inbox", latest=latest)
        return await self.attempt(lambda: documents.find_one({"_id": id}))

    async def insert(self, document: Document) -> tuple[Document, bool]:
        """Insert a row, without its numbers. Returns (row, whether this did it): one with its id may be there."""
        documents = self.collection("inbox", latest=True)
        document = {"by": self.writer(), **document}
        above = 0
        while True:
            rev = self.numbers.take(above=above)
            numbered = {**document, "rev": rev, "came": rev}
            try:
                await self.attempt(partial(documents.insert_one, numbered))
            except DuplicateKeyError:
                there = await self.stored(document["_id"])
                if there is None:
                    above = await self.newest_rev(document["user"], latest=True)
                    continue
                if there["by"] != document["by"]:
                    return there, False
                rev = there["rev"]
            return {**numbered, "rev": rev, "came": await self.outrun(document["user"], document["_id"], rev)}, True

    async def change_row(self, user: Principal, change: RowChange) -> Document | None:
        """Change one row; returns it, or None when it has another number: somebody else was faster."""
        documents, was = self.collection("inbox", latest=True), {"_id": change.id, "rev": change.rev}
        above = 0
        while True:
            rev = self.numbers.take(above=above)
            fields = _numbered(change, rev)
            try:
                done = await self.attempt(partial(documents.update_one, was, {"$set": fields}))
            except DuplicateKeyError:
                above = await self.newest_rev(user, latest=True)
                continue
            there = await self.stored(change.id)
            if there is None or not (done.matched_count or there["rev"] == rev):
                return None
            rev = await self.outrun(user, change.id, rev)
            return {**there, **fields, "rev": rev, **({"came": rev} if change.comes else {})}

    async def change_rows(self, user: Principal, changes: Sequence[RowChange]) -> int:
        """Change rows of one owner, in order; returns how many: those that others have changed meanwhile stay."""
        done = 0
        for start in range(0, len(changes), WRITES_MAX):
            done += await self._change_some(user, changes[start : start + WRITES_MAX])
        return done

    async def _change_some(self, user: Principal, changes: Sequence[RowChange]) -> int:
        documents = self.collection("inbox", latest=True)
        above, left, done = 0, list(changes), 0
        written: list[tuple[int, int]] = []
        while left:
            first = self.numbers.take(len(left), above=above)
            writes = [
                UpdateOne({"_id": one.id, "rev": one.rev}, {"$set": _numbered(one, first + index)})
                for index, one in enumerate(left)
            ]
            try:
                result = await self.attempt(partial(documents.bulk_write, writes, ordered=True), within=BULK_SECONDS)
                matched, count = result.matched_count, len(left)
            except BulkWriteError as error:
                matched, count = error.details["nMatched"], error.details["writeErrors"][0]["index"]
                above = await self.newest_rev(user, latest=True)
            written += [(one.id, first + index) for index, one in enumerate(left[:count])]
            left, done = left[count:], done + matched
        await self._outrun_many(user, written, done)
        return done

    async def outrun(self, user: Principal, id: int, rev: int) -> int:
        """Give a row a greater number than any that was there when it came; returns its number."""
        documents = self.collection("inbox", latest=True)
        while (newest := await self.newest_rev(user, latest=True)) > rev:
            number = self.numbers.take(above=newest)
            change = {"$set": {"rev": number}}
            try:
                there = await self.attempt(partial(documents.find_one_and_update, {"_id": id, "rev": rev}, change))
            except DuplicateKeyError:
                continue
            if not there:  # somebody has changed it since, and looks themselves
                break
            if there["came"] == rev:
                came = {"$set": {"came": number}}
                await self.attempt(partial(documents.update_one, {"_id": id, "came": rev}, came))
            rev = number
        return rev

    async def _outrun_many(self, user: Principal, written: Sequence[tuple[int, int]], done: int) -> None:
        """As `outrun`, for rows with numbers one after the other, of which `done` were changed."""
        if not written:
            return
        documents = self.collection("inbox", latest=True)
        which = {"user": user, "rev": {"$gte": written[0][1]}}
        count = await self.attempt(lambda: documents.count_documents(which))
        if count > done:
            for id, rev in written:
                await self.outrun(user, id, rev)

    async def insert_many(self, fresh: Sequence[Document]) -> list[Document]:
        """Insert rows of many owners, in order, without their numbers; returns those that this inserted."""
        documents, by = self.collection("inbox", latest=True), self.writer()
        first = self.numbers.take(len(fresh))
        numbered = [{**one, "by": by, "rev": first + n, "came": first + n} for n, one in enumerate(fresh)]
        try:
            await self.attempt(lambda: documents.insert_many(numbered, ordered=True), within=BULK_SECONDS)
        except BulkWriteError:
            one_by_one = [await self.insert(one) for one in numbered]
            return [document for document, new in one_by_one if new]
        owners = {"$in": list({one["user"] for one in fresh})}
        count = await self.attempt(lambda: documents.count_documents({"user": owners, "rev": {"$gte": first}}))
        if count > len(numbered):
            for one in numbered:
                one["rev"] = one["came"] = await self.outrun(one["user"], one["_id"], one["rev"])
        return numbered

    async def bury(self, user: Principal, rows: Sequence[Document], *, now: float) -> int:
        """Leave tombstones of rows; returns how many."""
        return await self.change_rows(
            user, [RowChange(one["_id"], one["rev"], {**GONE, "gone_at": now}) for one in rows]
        )


def _numbered(change: RowChange, rev: int) -> Document:
    return {**change.fields, "rev": rev, **({"came": rev} if change.comes else {})}
