"""Copies of a database as one compressed file: a line that says what it is, a line per document, a last line.

A line is a document in extended JSON under the name of its collection. Numbers that were given out are written last,
so that they are not smaller than those in use.
"""

import asyncio
import gzip
import json
import os
import secrets
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import IO, Any

import structlog
from bson import json_util
from bson.errors import BSONError
from motor.motor_asyncio import AsyncIOMotorClientSession
from pymongo.errors import BulkWriteError, PyMongoError
from pymongo.read_concern import ReadConcern

from realtime.errors import StoreRefused, StoreUnavailable
from realtime.places import new_epoch
from realtime.store.mongo_database import PROGRAM, VERSION, Document, MongoDatabase

log = structlog.get_logger(__name__)

KIND = "mongodb"
BATCH = 1000
"""Documents that are read, or stored, together."""

BATCH_SECONDS = 60.0
NOT_COPIED = frozenset({"meta", "nodes"})
FIRST = ("users", "readers", "messages")
LAST = ("dedup", "heads")
"""A claim, or a number, of what is not in the copy does no harm; what is there without its claim would."""

Line = tuple[str, Document]


class MongoBackup(MongoDatabase):
    """The methods `backup` and `restore` of `realtime.store.base.Store`."""

    async def backup(self, path: Path) -> None:
        """Of one moment where the server is a replica set or sharded; elsewhere writers must pause for that."""
        if await asyncio.to_thread(path.exists):
            raise StoreRefused(f"{path} exists: a backup is a new file")
        names = _in_order(await self._collection_names())
        async with self._moment() as session:
            with _explained(path):
                await self._write_copy(path, names, session)

    async def restore(self, path: Path, *, replace: bool) -> None:
        """A restore that was broken off leaves a database that nothing opens but another restore."""
        await asyncio.to_thread(examine, path)
        if self._client is not None:
            raise RuntimeError("the store is open")
        try:
            self._connect()
            await self._patiently(lambda: self._require_free(replace=replace))
            await self._take_copy(path)
        finally:
            await self.close()

    @asynccontextmanager
    async def _moment(self) -> AsyncIterator[AsyncIOMotorClientSession | None]:
        """Give a session whose reads are all of one moment, or None where the server has no such."""
        client, database = self._client, self._database
        if client is None or database is None:
            raise StoreUnavailable("The database is not open")
        hello = await self.attempt(lambda: database.command("hello"))
        if "setName" not in hello and hello.get("msg") != "isdbgrid":
            log.warning("the server is no replica set: what is written meanwhile may be in the copy in part")
            yield None
            return
        session = await self.attempt(lambda: client.start_session(snapshot=True))
        async with session:
            yield session

    async def _write_copy(self, path: Path, names: Sequence[str], session: AsyncIOMotorClientSession | None) -> None:
        part, count = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part"), 0
        try:
            with _new_file(part) as file:
                await asyncio.to_thread(_write_lines, file, [_header()])
                for name in names:
                    async for lines in self._lines(name, session):
                        await asyncio.to_thread(_write_lines, file, lines)
                        count += len(lines)
                await asyncio.to_thread(_write_lines, file, [json.dumps({"documents": count})])
            await asyncio.to_thread(_give_name, part, path)
        finally:
            with suppress(OSError):
                await asyncio.to_thread(part.unlink)

    async def _lines(self, name: str, session: AsyncIOMotorClientSession | None) -> AsyncIterator[list[str]]:
        """Yield the documents of a collection in portions. A cursor that is lost is not opened again."""
        documents = self.collection(name)
        if session is not None:
            documents = documents.with_options(read_concern=ReadConcern())
        cursor = documents.find({}, session=session, batch_size=BATCH)
        try:
            while found := await self.attempt(lambda: cursor.to_list(BATCH), repeatable=False, within=BATCH_SECONDS):
                yield [_line(name, one) for one in found]
        finally:
            with suppress(PyMongoError):
                await cursor.close()

    async def _require_free(self, *, replace: bool) -> None:
        """Raise StoreRefused when somebody serves the database, and when it has something that is to be kept."""
        names = await self._collection_names()
        meta = self.collection("meta", latest=True)
        schema = await self.attempt(lambda: meta.find_one({"_id": "schema"}))
        if names - {"meta"} and (schema is None or schema.get("program") != PROGRAM):
            raise StoreRefused("This is the database of another program. Choose another DATABASE_URL")
        if await self.others_serve():
            raise StoreRefused("The database is served. Stop the processes that do, and wait half a minute")
        unfinished = schema is not None and schema.get("restoring", False)
        if not replace and not unfinished and await self._has_content(names):
            raise StoreRefused(
                "The database is not empty. Restoring deletes what is in it: say that it may be replaced"
            )

    async def _has_content(self, names: Iterable[str]) -> bool:
        kept = sorted({*names} - NOT_COPIED - {"heads"})
        return any([await self._has_documents(name) for name in kept])

    async def _has_documents(self, name: str) -> bool:
        documents = self.collection(name, latest=True)
        return await self.attempt(lambda: documents.find_one({}, {"_id": 1})) is not None

    async def _take_copy(self, path: Path) -> None:
        await self._mark_schema({"program": PROGRAM, "version": VERSION, "epoch": new_epoch(), "restoring": True})
        for name in await self._collection_names() - {"meta"}:
            await self._drop_collection(name)
        lines = read_copy(path)
        while some := await asyncio.to_thread(lambda: list(islice(lines, BATCH))):
            await self._insert_lines(some)
        requests = self.collection("requests")
        await self.attempt(lambda: requests.delete_many({"status": None}), within=BATCH_SECONDS)
        await self.make_indexes()
        await self._mark_schema({"program": PROGRAM, "version": VERSION, "epoch": new_epoch()})

    async def _mark_schema(self, schema: Document) -> None:
        meta = self.collection("meta")
        await self.attempt(lambda: meta.replace_one({"_id": "schema"}, schema, upsert=True))

    async def _drop_collection(self, name: str) -> None:
        documents = self.collection(name)
        await self.attempt(documents.drop, within=BATCH_SECONDS)

    async def _insert_lines(self, lines: Sequence[Line]) -> None:
        wanted: dict[str, list[Document]] = {}
        for name, document in lines:
            wanted.setdefault(name, []).append(document)
        for name, documents in wanted.items():
            with suppress(BulkWriteError):  # of an attempt whose answer was lost
                await self._insert_documents(name, documents)

    async def _insert_documents(self, name: str, documents: Sequence[Document]) -> None:
        collection = self.collection(name)
        await self.attempt(lambda: collection.insert_many(documents, ordered=False), within=BATCH_SECONDS)


def examine(path: Path) -> None:
    """Raise StoreRefused for a file that is no whole backup."""
    for _ in read_copy(path):
        pass


def read_copy(path: Path) -> Iterator[Line]:
    """Yield the documents of a backup. Raises StoreRefused for what is none, is newer, or has no end."""
    refusal = StoreRefused(f"{path} is no backup of a Roomcast database on MongoDB, or is damaged")
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            _require_backup(json.loads(next(file, "null")), path)
            count, end = 0, None
            for text in file:
                line = json_util.loads(text)
                if "collection" not in line:
                    end = line["documents"]
                    break
                count += 1
                yield line["collection"], line["document"]
            if end != count:
                raise refusal
    except FileNotFoundError:
        raise StoreRefused(f"There is no file {path}") from None
    except (OSError, EOFError, ValueError, TypeError, KeyError, BSONError) as error:
        raise refusal from error


def _require_backup(header: Any, path: Path) -> None:
    if not isinstance(header, dict) or (header.get("program"), header.get("kind")) != (PROGRAM, KIND):
        raise StoreRefused(f"{path} is no backup of a Roomcast database on MongoDB")
    if not isinstance(header.get("version"), int) or header["version"] > VERSION:
        raise StoreRefused(f"{path} was written by a newer Roomcast. Run the newer program")


def _header() -> str:
    return json.dumps({"program": PROGRAM, "kind": KIND, "version": VERSION, "at": time.time()})


def _line(name: str, document: Document) -> str:
    options = json_util.CANONICAL_JSON_OPTIONS
    return json_util.dumps({"collection": name, "document": document}, json_options=options)


def _in_order(names: Iterable[str]) -> list[str]:
    left = {*names} - NOT_COPIED
    between = sorted(left - {*FIRST, *LAST})
    return [name for name in (*FIRST, *between, *LAST) if name in left]


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreUnavailable(f"{path} cannot be written: {error.strerror}") from error


@contextmanager
def _new_file(path: Path) -> Iterator[IO[str]]:
    """Give a new file that only we can read, compressed, and on the disk when it is closed."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as raw:
        with gzip.open(raw, "wt", encoding="utf-8") as file:
            yield file
        raw.flush()
        os.fsync(raw.fileno())


def _write_lines(file: IO[str], lines: Sequence[str]) -> None:
    file.writelines(f"{line}\n" for line in lines)


def _give_name(part: Path, path: Path) -> None:
    """Name a file without replacing what has come to be there meanwhile."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise StoreRefused(f"{path} exists: a backup is a new file") from None
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
