"""One document per reader: memberships, cursors and marks, changed as a whole by compare-and-set."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import TypeVar

from pymongo import ASCENDING, IndexModel, InsertOne, UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

from realtime.models import Principal
from realtime.store import mongo_rows as rows
from realtime.store.broadcasts import Log
from realtime.store.marking import tidied
from realtime.store.mongo_database import Document
from realtime.store.mongo_log import MongoLog
from realtime.store.reading import Reader

READERS_BATCH = 200
"""Readers that are read with one command."""

WRITTEN_BATCH = 50
"""Readers that are written with one command: fewer, as a slow server must answer within SOCKET_SECONDS."""

BULK_SECONDS = 30.0

INDEXES = (
    ("readers", IndexModel([("open", ASCENDING)])),
    ("readers", IndexModel([("wakes", ASCENDING)])),
    ("readers", IndexModel([("oldest", ASCENDING)])),
)

R = TypeVar("R")
Step = Callable[[Reader, Log], tuple[Reader, R]]
"""Returns the reader as it is to be (the same object: unchanged), and an answer. It may run more than once."""


class MongoReaders(MongoLog):
    """Reads and changes what is known of readers."""

    async def reader(self, principal: Principal) -> Reader:
        readers = self.collection("readers")
        return rows.reader(principal, await self.attempt(lambda: readers.find_one({"_id": principal})))

    async def seen_by(self, principal: Principal) -> tuple[Reader, Log]:
        """Return a reader and the log; the log is not older than the reader."""
        reader = await self.reader(principal)
        return reader, await self.log()

    async def readers_of(self, principals: Collection[Principal], *, latest: bool = False) -> dict[Principal, Reader]:
        """Return readers by name, also those of whom nothing is known."""
        names, found = list(principals), dict[Principal, Document]()
        for start in range(0, len(names), READERS_BATCH):
            some = {"_id": {"$in": names[start : start + READERS_BATCH]}}
            found |= {one["_id"]: one for one in await self.found("readers", some, latest=latest)}
        return {name: rows.reader(name, found.get(name)) for name in names}

    async def change_reader(self, principal: Principal, step: Step[R]) -> R:
        """Do a step until nobody else was faster.

        The log is read after the reader: what the step takes from it is not older than what the reader says.
        """
        readers = self.collection("readers", latest=True)
        async with self.lock(f"reader {principal}"):
            while True:
                found = await self.attempt(lambda: readers.find_one({"_id": principal}))
                reader = rows.reader(principal, found)
                log = await self.log()
                after, answer = step(reader, log)
                if after is reader or await self._put(reader, _next(after, log)):
                    return answer

    async def change_readers(self, steps: Mapping[Principal, Step[R]]) -> dict[Principal, R]:
        """Do steps of many readers, with few commands."""
        answers: dict[Principal, R] = {}
        names = list(steps)
        for start in range(0, len(names), WRITTEN_BATCH):
            some = names[start : start + WRITTEN_BATCH]
            readers = await self.readers_of(some, latest=True)
            log = await self.log()
            done = {name: steps[name](readers[name], log) for name in some}
            changed = {name: _next(after, log) for name, (after, _) in done.items() if after is not readers[name]}
            slow = await self._put_many({name: (readers[name], after) for name, after in changed.items()})
            answers |= {name: answer for name, (_, answer) in done.items() if name not in slow}
            for name in slow:
                answers[name] = await self.change_reader(name, steps[name])
        return answers

    async def _put(self, before: Reader, after: Reader) -> bool:
        """Store a reader who is still as before."""
        readers, by, name = self.collection("readers", latest=True), self.writer(), before.principal
        which, change = _update(before, after, by)
        if before.version == 0:
            try:
                await self.attempt(lambda: readers.insert_one({"_id": name, **change["$set"]}))
            except DuplicateKeyError:
                if await self._wrote(name, by):
                    return True
            else:
                return True
        done = await self.attempt(lambda: readers.update_one(which, change))
        return bool(done.matched_count) or await self._wrote(name, by)

    async def _wrote(self, principal: Principal, by: str) -> bool:
        """Whether a write whose answer was lost was done, and is the last one."""
        readers = self.collection("readers", latest=True)
        found = await self.attempt(lambda: readers.find_one({"_id": principal}))
        return found is not None and found.get("by") == by

    async def _put_many(self, changes: Mapping[Principal, tuple[Reader, Reader]]) -> set[Principal]:
        """Store readers who are still as before; returns those who are not."""
        if not changes:
            return set()
        readers, by = self.collection("readers", latest=True), self.writer()
        writes = [
            UpdateOne(*_update(before, after, by))
            if before.version
            else InsertOne({"_id": name, **rows.reader_document(after), "by": by})
            for name, (before, after) in changes.items()
        ]
        try:
            done = await self.attempt(lambda: readers.bulk_write(writes, ordered=False), within=BULK_SECONDS)
            if done.matched_count + done.inserted_count == len(writes):
                return set()
        except BulkWriteError:
            pass
        found = await self.found("readers", {"_id": {"$in": list(changes)}, "by": by}, ["_id"], latest=True)
        return changes.keys() - {one["_id"] for one in found}


def _next(reader: Reader, log: Log) -> Reader:
    return replace(tidied(reader, log), version=reader.version + 1)


def _update(before: Reader, after: Reader, by: str) -> tuple[Document, Document]:
    """Return the update of one that is still as before. Of whom nothing is known there may be a floor."""
    if before.version == 0:
        document = rows.reader_document(after)
        return {"_id": before.principal, "version": {"$exists": False}}, {"$set": {**document, "by": by}}
    change = rows.reader_changes(before, after)
    change["$set"]["by"] = by
    return {"_id": before.principal, "version": before.version}, change
