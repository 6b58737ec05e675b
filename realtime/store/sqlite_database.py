"""One SQLite file with its threads: who runs what the sqlite_* modules do with a connection."""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from realtime.errors import StoreUnavailable
from realtime.models import MembershipChange, Retention
from realtime.store import sqlite_audit as audit
from realtime.store import sqlite_upkeep as upkeep
from realtime.store.sqlite_file import DatabaseFile
from realtime.store.sqlite_readers import Readers
from realtime.store.sqlite_writer import Work, Writer

PAGES_MAX = 2**30 - 1
"""SQLite's own limit: 4 TB at 4 KB a page."""

KEPT_BY_DEFAULT = Retention()

T = TypeVar("T")


class SqliteDatabase:
    """One thread that writes, a few that read.

    A path of `:memory:` keeps nothing and reads on the writer's thread. Without `exclusive` another process may
    write too (a tool beside the server). All methods belong to the event loop that called `open`.
    """

    def __init__(self, path: Path | str, *, exclusive: bool = True, retention: Retention = KEPT_BY_DEFAULT) -> None:
        self._file = DatabaseFile(path, exclusive=exclusive)
        self._retention = retention
        self._writer: Writer | None = None
        self._readers: Readers | None = None

    @property
    def commits(self) -> int:
        """Transactions committed since `open`."""
        return self._writer.commits if self._writer else 0

    @property
    def jobs(self) -> int:
        """Writes committed since `open`; over `commits`, the size of a group."""
        return self._writer.jobs if self._writer else 0

    async def open(self) -> None:
        """Open or create the database. Raises StoreRefused and StoreUnavailable, and then holds nothing."""
        if self._writer is not None:
            raise RuntimeError("the store has been opened before")
        writer = Writer(self._file.connect_writer, self._file.disconnect_writer)
        await writer.start()
        self._readers = None if self._file.in_memory else Readers(self._file.connect_reader)
        self._writer = writer

    async def close(self) -> None:
        if self._readers is not None:
            await self._readers.stop()
        if self._writer is not None:
            await self._writer.stop()

    async def check(self) -> None:
        await self._write(upkeep.probe)

    async def sweep(self, *, now: float) -> dict[str, int]:
        """In portions, each a transaction that also writes down what it removed."""
        removed: Counter[str] = Counter()
        note, more = None, True
        while more:
            sweep = self._sweep_some(note, now)
            some, note, more = await self._write(sweep)
            removed.update(some)
        return dict(+removed)

    def _sweep_some(self, note: int | None, now: float) -> Work[tuple[dict[str, int], int | None, bool]]:
        def sweep(db: sqlite3.Connection) -> tuple[dict[str, int], int | None, bool]:
            some, more = upkeep.sweep_some(db, self._retention, now=now)
            return some, audit.note_sweep(db, note, some, at=now), more

        return sweep

    async def limit_pages(self, pages: int | None) -> None:
        """Keep the file from growing beyond `pages` (as a full disk would); None lifts the limit.

        Lasts until `close`. A limit below the present size is the present size.
        """
        await self._write(lambda db: db.execute(f"PRAGMA max_page_count = {int(pages or PAGES_MAX)}").fetchone())

    async def _settle(self, concerns: Callable[[MembershipChange], bool], *, every_token: bool = False) -> None:
        """Let what is read now come after the changes of memberships that it depends on."""

    async def _write(self, work: Work[T]) -> T:
        return await self._submit(work)

    def _submit(self, work: Work[T]) -> asyncio.Future[T]:
        if self._writer is None:
            raise StoreUnavailable("The database is not open")
        return self._writer.submit(work)

    async def _read(self, work: Work[T]) -> T:
        if self._readers is None:
            return await self._write(work)
        return await self._readers.run(work)
