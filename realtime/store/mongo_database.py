"""One MongoDB database: the connection, what its errors mean, numbers, indexes, and who serves it.

Nothing here or above needs transactions, change streams, or TTL, partial and sparse indexes. A change that must be
whole is one write of one document; what belongs to several documents is written in such an order that another
attempt, or whoever reads, finishes it.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, ClassVar, TypeVar
from weakref import WeakValueDictionary

import structlog
from bson.errors import BSONError
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorCollection, AsyncIOMotorDatabase
from pymongo import IndexModel, ReadPreference, ReturnDocument, WriteConcern
from pymongo.errors import DuplicateKeyError, OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern

from realtime.clock import LAST_MOMENT
from realtime.errors import Code, RealtimeError, StoreRefused, StoreUnavailable
from realtime.models import Retention
from realtime.places import new_epoch
from realtime.store.mongo_errors import described, invalid, passing, refused, visible

log = structlog.get_logger(__name__)

PROGRAM = "roomcast"
VERSION = 1
DEFAULT_DATABASE = "roomcast"
RETENTION = Retention()

PATIENCE = 5.0
"""Seconds in which an operation is tried again and again. An election that takes longer is an outage."""

CHECK_SECONDS = 2.0
PAUSE = 0.1
"""Seconds before the second attempt; each further pause is twice as long, up to PAUSE_MAX."""

PAUSE_MAX = 1.0
SOCKET_SECONDS = 10.0
"""How long one command may keep a thread of the driver; imports and restores send their rows in pieces."""

INDEX_SECONDS = 10.0
"""How long `open` waits for one index before it says so, and asks again; the server goes on meanwhile."""

COMPLAIN_SECONDS = 30.0
"""How often `open` says that it is still waiting."""

DRAIN_SECONDS = 10.0
SERVING_SECONDS = 10.0
"""How often a process that serves the database says so; after three times that it is taken for dead."""

BLOCK = 64
"""Numbers that a process takes at once for `take_number`."""

INT_MAX = 2**31 - 1

OPTIONS: dict[str, Any] = {
    "appname": PROGRAM,
    "connectTimeoutMS": 2000,
    "serverSelectionTimeoutMS": 2000,
    "waitQueueTimeoutMS": 2000,
    "socketTimeoutMS": int(SOCKET_SECONDS * 1000),
    "heartbeatFrequencyMS": 2000,
    "retryWrites": True,
    "retryReads": True,
    "tz_aware": False,
}

Document = dict[str, Any]
Collection = AsyncIOMotorCollection[Document]
T = TypeVar("T")


class MongoDatabase:
    """A database that others may serve at the same time.

    All methods belong to the event loop that called `open`. A method that ends in StoreUnavailable after its only
    write was sent may have stored it; each caller says what another attempt then finds.
    """

    INDEXES: ClassVar[Sequence[tuple[str, IndexModel]]] = ()
    """(collection, index) of everything that the store keeps."""

    BOUND: ClassVar[float] = PATIENCE
    """Seconds that an operation has when nothing else is said."""

    epoch: int = 0
    """Names this database; made with it, and anew by `restore`."""

    def __init__(self, url: str, *, retention: Retention = RETENTION, patience: float | None = None) -> None:
        self._url = url
        self._retention = retention
        self._patience = patience
        self._node = secrets.token_hex(8)
        self._client: AsyncIOMotorClient[Document] | None = None
        self._database: AsyncIOMotorDatabase[Document] | None = None
        self._opened = False
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._completing: set[asyncio.Task[Any]] = set()
        self._announcing: asyncio.Task[None] | None = None
        self._blocks: dict[str, tuple[int, int]] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def open(self) -> None:
        """Reach the server, and make what is missing. Raises StoreRefused and StoreUnavailable."""
        if self._opened:
            raise RuntimeError("the store has been opened before")
        self._opened = True
        try:
            self._connect()
            await self._patiently(self._prepare)
            await self._announce()
        except BaseException:
            await self.close()
            raise
        self._announcing = asyncio.create_task(self._keep_announcing())

    async def close(self) -> None:
        """Let what runs end, within DRAIN_SECONDS. Idempotent."""
        if self._client is None:
            return
        if self._announcing is not None:
            self._announcing.cancel()
            await asyncio.gather(self._announcing, return_exceptions=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                await self._drain()
        client, self._client, self._database = self._client, None, None
        if client is not None:
            await asyncio.to_thread(client.close)  # it says goodbye to the server

    async def check(self) -> None:
        checks = self.collection("meta")
        change = {"$inc": {"value": 1}}
        await self.attempt(lambda: checks.update_one({"_id": "check"}, change, upsert=True), within=CHECK_SECONDS)

    def collection(self, name: str, *, latest: bool = False) -> Collection:
        """Return a collection of which every write waits for a majority, and reads see only what a majority has.

        `latest`: reads see what the primary has, for whoever writes only if it is still so (compare and set).
        """
        if self._database is None:
            raise StoreUnavailable("The database is not open")
        return self._database.get_collection(
            name,
            read_preference=ReadPreference.PRIMARY,
            write_concern=WriteConcern("majority", wtimeout=int(PATIENCE * 1000)),
            read_concern=ReadConcern("local" if latest else "majority"),
        )

    async def attempt(
        self, work: Callable[[], Awaitable[T]], *, repeatable: bool = True, within: float | None = None
    ) -> T:
        """Run `work`, when the server fails over again and again until `within` seconds are over.

        `work` may have taken effect each time it failed. DuplicateKeyError, and a BulkWriteError of nothing else,
        reach the caller. Raises StoreUnavailable, and INVALID_PAYLOAD for what MongoDB cannot store.
        """
        if self._database is None:
            raise StoreUnavailable("The database is not open")
        self._running += 1
        self._idle.clear()
        try:
            async with asyncio.timeout(self.BOUND if within is None else within):
                return await self._repeatedly(work, repeatable=repeatable)
        except TimeoutError as error:
            raise StoreUnavailable from error
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()

    async def complete(self, work: Coroutine[Any, Any, T]) -> T:
        """Run several writes that belong together to their end, even when the caller goes away."""
        task = asyncio.ensure_future(work)
        self._completing.add(task)
        task.add_done_callback(self._completing.discard)
        return await asyncio.shield(task)

    def lock(self, key: str) -> asyncio.Lock:
        """Return the lock of a key in this process, so that those who compare and set the same need not try often."""
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        return lock

    async def take_numbers(self, head: str, count: int = 1) -> int:
        """Return the first of `count` numbers that nobody else gets. Those of an attempt that failed are lost."""
        heads = self.collection("heads", latest=True)
        found = await self.attempt(
            lambda: heads.find_one_and_update(
                {"_id": head}, {"$inc": {"value": count}}, upsert=True, return_document=ReturnDocument.AFTER
            )
        )
        return int(found["value"]) - count + 1

    async def take_number(self, head: str) -> int:
        """Return a number that nobody else gets. They rise in each process, which takes BLOCK of them at once."""
        async with self.lock(f"head {head}"):
            number, end = self._blocks.get(head, (0, 0))
            if number >= end:
                number = await self.take_numbers(head, BLOCK)
                end = number + BLOCK
            self._blocks[head] = number + 1, end
            return number

    async def _repeatedly(self, work: Callable[[], Awaitable[T]], *, repeatable: bool) -> T:
        pause = PAUSE
        while True:
            try:
                return await work()
            except (PyMongoError, BSONError, OverflowError, UnicodeError) as error:
                if visible(error):
                    raise
                if invalid(error):
                    raise RealtimeError(Code.INVALID_PAYLOAD, "The payload cannot be stored") from error
                if not (repeatable and passing(error)):
                    log.warning("database refused an operation", error=described(error))
                    raise StoreUnavailable from error
            await asyncio.sleep(pause)
            pause = min(2 * pause, PAUSE_MAX)

    def _connect(self) -> None:
        """Make a client; it connects by itself. Raises StoreRefused for a URL that is none."""
        try:
            self._client = AsyncIOMotorClient(self._url, **OPTIONS)
            self._database = self._client.get_default_database(DEFAULT_DATABASE)
        except (PyMongoError, ValueError, TypeError) as error:
            raise StoreRefused(f"DATABASE_URL is no MongoDB URL: {type(error).__name__}") from None

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run `work` until the database answers, or the patience of this store is over."""
        start = complained = time.monotonic()
        pause = PAUSE
        while True:
            try:
                return await work()
            except StoreUnavailable as error:
                now = time.monotonic()
                if refused(error.__cause__):
                    raise StoreRefused("The database does not let the user of DATABASE_URL in") from error
                if self._patience is not None and now - start >= self._patience:
                    raise
                if complained == start or now - complained >= COMPLAIN_SECONDS:
                    log.warning("waiting for the database", seconds=round(now - start))
                    complained = now
            await asyncio.sleep(pause)
            pause = min(2 * pause, PAUSE_MAX)

    async def _prepare(self) -> None:
        self.epoch = await self._schema()
        await self.make_indexes()

    async def _schema(self) -> int:
        """Return the epoch of this database, which is made when there is none. Raises StoreRefused."""
        meta = self.collection("meta", latest=True)
        found = await self.attempt(lambda: meta.find_one({"_id": "schema"}))
        if found is None and await self._collection_names() - {"meta"}:
            found = await self.attempt(lambda: meta.find_one({"_id": "schema"}))
            if found is None:
                raise StoreRefused("This is the database of another program. Choose another DATABASE_URL")
        if found is None:
            await self._make_schema(meta)
            found = await self.attempt(lambda: meta.find_one({"_id": "schema"})) or {}
        return require_ours(found)

    async def _make_schema(self, meta: Collection) -> None:
        document = {"_id": "schema", "program": PROGRAM, "version": VERSION, "epoch": new_epoch()}
        with suppress(DuplicateKeyError):  # another process was faster
            await self.attempt(lambda: meta.insert_one(document))

    async def _collection_names(self) -> set[str]:
        """Return the names of all collections but the server's own."""
        database = self._database
        if database is None:
            raise StoreUnavailable("The database is not open")
        names = await self.attempt(lambda: database.list_collection_names())
        return {name for name in names if not name.startswith("system.")}

    async def make_indexes(self) -> None:
        """Make those indexes that are missing. A TTL index that the server refuses is done without."""
        present = {name: await self._index_names(name) for name in {name for name, _ in self.INDEXES}}
        for name, index in self.INDEXES:
            if index.document["name"] not in present[name]:
                await self._make_index(self.collection(name), index)

    async def _index_names(self, name: str) -> set[str]:
        collection = self.collection(name)
        return {one["name"] for one in await self.attempt(lambda: collection.list_indexes().to_list(None))}

    async def _make_index(self, collection: Collection, index: IndexModel) -> None:
        async def make() -> None:
            try:
                await collection.create_indexes([index])
            except OperationFailure as error:
                if passing(error) or "expireAfterSeconds" not in index.document:
                    raise
                log.info("the server has no TTL indexes, only sweeps remove what expires", collection=collection.name)

        await self.attempt(make, within=INDEX_SECONDS)

    async def _announce(self) -> None:
        """Say that this process serves the database."""
        nodes, change = self.collection("nodes"), {"$currentDate": {"at": True}}
        with suppress(StoreUnavailable, DuplicateKeyError):
            await self.attempt(lambda: nodes.update_one({"_id": self._node}, change, upsert=True))

    async def _keep_announcing(self) -> None:
        while True:
            await asyncio.sleep(SERVING_SECONDS)
            await self._announce()

    async def others_serve(self) -> bool:
        """Whether a process has said lately that it serves the database. The server's clock decides."""
        database = self._database
        if database is None:
            raise StoreUnavailable("The database is not open")
        hello = await self.attempt(lambda: database.command("hello"))
        now: datetime = hello["localTime"]
        nodes = self.collection("nodes", latest=True)
        found = await self.attempt(lambda: nodes.find({"_id": {"$ne": self._node}}).to_list(None))
        return any((now - node["at"]).total_seconds() < 3 * SERVING_SECONDS for node in found)

    async def _drain(self) -> None:
        """Return when nothing runs; what a running method asks next is part of it."""
        while self._running or self._completing:
            await asyncio.gather(self._idle.wait(), *self._completing, return_exceptions=True)
            await asyncio.sleep(0)
        nodes = self.collection("nodes")
        with suppress(StoreUnavailable):
            await self.attempt(lambda: nodes.delete_one({"_id": self._node}), within=CHECK_SECONDS)


def moment(at: float) -> datetime:
    """Return a time as the server has it, for its own removal of what has expired; at most the year 9999."""
    return datetime(1970, 1, 1) + timedelta(seconds=max(0.0, min(at, LAST_MOMENT)))  # noqa: DTZ001 - always UTC


def require_ours(schema: Document) -> int:
    """Return the epoch of a schema document. Raises StoreRefused for a newer one and for another program's."""
    version, epoch = schema.get("version"), schema.get("epoch")
    if schema.get("program") != PROGRAM or not isinstance(version, int) or not isinstance(epoch, int):
        raise StoreRefused("This is the database of another program. Choose another DATABASE_URL")
    if schema.get("restoring"):
        raise StoreRefused("A restore of this database was broken off: restore it again")
    if version > VERSION:
        raise StoreRefused(
            f"The database was written by a newer Roomcast: its schema has version {version}, this program knows "
            f"{VERSION}. Run the newer program, or restore the backup from before the upgrade"
        )
    return epoch
