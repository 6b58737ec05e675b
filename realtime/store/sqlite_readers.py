"""Threads that read. In WAL mode a reader never waits for the writer and sees all that was committed before."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from realtime.errors import StoreUnavailable
from realtime.store.sqlite_writer import Work, failure

READERS = 2
"""Threads, each with a connection. More do not help: a query holds the interpreter for much of its time."""

WAITING_MAX = 10_000
"""Reads that may wait. Policy when full: refuse at once with StoreUnavailable."""

T = TypeVar("T")


class Readers:
    """Runs each read in one transaction, so that its statements see one state."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="sqlite-reader")
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._waiting = 0
        self._stopping = False

    async def run(self, work: Work[T]) -> T:
        """Raises StoreUnavailable when stopped, full, or when the database does not answer."""
        if self._stopping:
            raise StoreUnavailable("The database is closed")
        if self._waiting >= WAITING_MAX:
            raise StoreUnavailable("Too many reads are waiting, try again later")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._run, work)
        finally:
            self._waiting -= 1

    async def stop(self) -> None:
        """Finish what waits and disconnect. Idempotent."""
        self._stopping = True
        await asyncio.to_thread(self._pool.shutdown)
        while self._connections:
            self._connections.pop().close()

    def _run(self, work: Work[T]) -> T:
        try:
            db = self._connection()
            db.execute("BEGIN")
            try:
                return work(db)
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")
        except Exception as error:
            translated = failure(error)
            if translated is error:
                raise
            raise translated from translated.__cause__

    def _connection(self) -> sqlite3.Connection:
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is None:
            db = self._connect()
            self._connections.append(db)
            self._local.db = db
        return db
