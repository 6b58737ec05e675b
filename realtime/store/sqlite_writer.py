"""The thread that writes: jobs that wait while a commit runs share the next one (group commit)."""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from realtime.errors import Code, RealtimeError, StoreUnavailable

log = structlog.get_logger(__name__)

QUEUE_MAX = 10_000
"""Jobs that may wait. Policy when full: refuse at once with StoreUnavailable."""

BATCH_MAX = 500
"""Jobs in one transaction."""

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]


class CallerError(Exception):
    """Carries what a caller's own function raised through the store, untranslated."""

    def __init__(self, original: Exception) -> None:
        super().__init__()
        self.original = original


def failure(error: BaseException) -> Exception:
    """Return what the caller gets for an error of a job: sqlite's own errors become StoreUnavailable."""
    if isinstance(error, CallerError) and not isinstance(error.original, StopIteration):
        return error.original
    if isinstance(error, sqlite3.Error):
        unavailable = StoreUnavailable()
        unavailable.__cause__ = error
        return unavailable
    if isinstance(error, UnicodeEncodeError | OverflowError):
        invalid = RealtimeError(Code.INVALID_PAYLOAD, "A value cannot be stored: broken text or a number too large")
        invalid.__cause__ = error
        return invalid
    if isinstance(error, Exception) and not isinstance(error, CallerError | StopIteration):
        return error
    # Futures refuse StopIteration, and SystemExit would end the loop of the caller.
    unusual = RuntimeError("a job raised what cannot be passed on")
    unusual.__cause__ = error
    return unusual


@dataclass(slots=True)
class _Job:
    work: Work[Any]
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None


class _TransactionLost(Exception):
    """SQLite rolled the whole transaction back, as it may when the disk is full."""


class Writer:
    """Runs jobs in order on one connection in one thread.

    Each job is a savepoint: what fails rolls back alone. Futures are resolved after COMMIT, i.e. after the fsync;
    when that fails every job of the transaction gets StoreUnavailable. A job whose caller was cancelled still runs.
    When a job makes SQLite drop the transaction, the jobs of that batch run once more, one transaction each, so
    a job may run twice but is committed at most once.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection], disconnect: Callable[[sqlite3.Connection], None]):
        self._connect = connect
        self._disconnect = disconnect
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._stopping = False
        self._stopped = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name="sqlite-writer", daemon=True)
        self.commits = 0
        self.jobs = 0

    async def start(self) -> None:
        """Connect. Raises what `connect` raises, and then the thread has ended."""
        ready: asyncio.Future[None] = self._loop.create_future()
        job = _Job(lambda db: None, ready)
        self._queue.put(job)
        self._thread.start()
        try:
            await ready
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Run what is queued, then disconnect. Idempotent."""
        if not self._stopping:
            self._stopping = True
            self._queue.put(None)
        await asyncio.shield(self._stopped)

    def submit(self, work: Work[T]) -> asyncio.Future[T]:
        """Queue a job. Raises StoreUnavailable when stopped or full. Call it on the loop of the constructor."""
        if self._stopping:
            raise StoreUnavailable("The database is closed")
        if self._queue.qsize() >= QUEUE_MAX:
            raise StoreUnavailable("Too many writes are waiting, try again later")
        future: asyncio.Future[T] = self._loop.create_future()
        self._queue.put(_Job(work, future))
        return future

    def _run(self) -> None:
        db = None
        try:
            db = self._connect()
        except BaseException as error:  # noqa: BLE001 - travels to the caller of start()
            first = self._queue.get()
            assert first is not None
            first.error = error
            self._deliver([first])
        if db is not None:
            self._serve(db)
            with suppress(Exception):
                self._disconnect(db)
        self._call(_resolve_stop, self._stopped)

    def _serve(self, db: sqlite3.Connection) -> None:
        more = True
        while more:
            batch, more = self._next_batch()
            try:
                self._run_batch(db, batch)
            except BaseException as error:  # noqa: BLE001 - nothing may end this thread
                log.error("database writer failed", error=repr(error))
                for job in batch:
                    job.error = job.error or failure(error)
            self._deliver(batch)

    def _next_batch(self) -> tuple[list[_Job], bool]:
        batch: list[_Job] = []
        try:
            job = self._queue.get()
            while job is not None:
                batch.append(job)
                if len(batch) == BATCH_MAX:
                    return batch, True
                job = self._queue.get_nowait()
        except queue.Empty:
            return batch, True
        return batch, False

    def _run_batch(self, db: sqlite3.Connection, batch: list[_Job]) -> None:
        try:
            self._transaction(db, batch)
        except _TransactionLost:
            for job in batch:
                job.error = None
                try:
                    self._transaction(db, [job])
                except _TransactionLost as lost:
                    job.error = failure(lost.__cause__ or lost)

    def _transaction(self, db: sqlite3.Connection, batch: list[_Job]) -> None:
        try:
            if db.in_transaction:
                db.execute("ROLLBACK")
            db.execute("BEGIN IMMEDIATE")
            for job in batch:
                self._run_job(db, job)
            db.execute("COMMIT")
        except sqlite3.Error as error:
            log.warning("database transaction failed", error=str(error), jobs=len(batch))
            with suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            for job in batch:
                job.error = failure(error)
            return
        self.commits += 1
        self.jobs += len(batch)

    def _run_job(self, db: sqlite3.Connection, job: _Job) -> None:
        db.execute("SAVEPOINT job")
        try:
            job.result = job.work(db)
        except BaseException as error:
            if not db.in_transaction:
                raise _TransactionLost from error
            db.execute("ROLLBACK TO job")
            job.error = failure(error)
        db.execute("RELEASE job")

    def _deliver(self, batch: list[_Job]) -> None:
        self._call(_resolve, batch)

    def _call(self, function: Callable[[Any], None], argument: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(function, argument)


def _resolve(batch: list[_Job]) -> None:
    for job in batch:
        if job.future.done():
            continue
        if job.error is None:
            job.future.set_result(job.result)
        else:
            job.future.set_exception(job.error)


def _resolve_stop(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
