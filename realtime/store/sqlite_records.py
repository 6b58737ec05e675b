"""Who runs what is known of people and requests, what happened to notifications, and copies of the whole database."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from realtime.errors import StoreRefused, StoreUnavailable
from realtime.models import JsonObject, LogFacts, Principal, ReaderFacts, Receipt, Replay, Seen, Sweep, Trace
from realtime.store import sqlite_audit as audit
from realtime.store import sqlite_backup as backup
from realtime.store import sqlite_directory as directory
from realtime.store import sqlite_people as people
from realtime.store import sqlite_receipts as receipts
from realtime.store import sqlite_requests as requests
from realtime.store.sqlite_database import SqliteDatabase


class SqliteRecords(SqliteDatabase):
    """Implements `PeopleStore`, `ReceiptStore`, `AuditStore` and `IdempotencyStore` of `realtime.store.base`, and of
    `Store` what concerns all users or the whole file."""

    async def import_users(
        self, seen: Sequence[Seen], *, audiences: Mapping[str, Sequence[str]], now: float
    ) -> tuple[int, int]:
        return await self._write(lambda db: directory.import_users(db, seen, audiences, now=now))

    async def export_user(self, id: str) -> dict[str, list[JsonObject]]:
        await self._settle(lambda change: change.reader == f"user:{id}")
        return await self._read(lambda db: people.export(db, id))

    async def delete_user(self, id: str) -> dict[str, int]:
        return await self._write(lambda db: people.delete(db, id))

    async def add_receipts(self, given: Sequence[Receipt]) -> None:
        await self._write(lambda db: receipts.add(db, given))

    async def trace(self, id: int, *, limit: int, now: float) -> Trace | None:
        await self._settle(lambda change: True)
        return await self._read(lambda db: receipts.trace(db, id, limit=limit))

    async def sweeps(self, limit: int) -> list[Sweep]:
        return await self._read(lambda db: audit.sweeps(db, limit))

    async def readers_after(self, reader: Principal, limit: int) -> list[Principal]:
        await self._settle(lambda change: change.reader > reader)
        return await self._read(lambda db: audit.readers_after(db, reader, limit))

    async def reader_facts(self, reader: Principal, *, now: float) -> ReaderFacts:
        await self._settle(lambda change: change.reader == reader)
        return await self._read(lambda db: audit.reader_facts(db, reader, now=now))

    async def log_facts(self) -> list[LogFacts]:
        return await self._read(audit.log_facts)

    async def begin_request(self, principal: Principal, key: str, fingerprint: str, *, now: float) -> Replay | None:
        return await self._write(lambda db: requests.begin_request(db, principal, key, fingerprint, now=now))

    async def finish_request(self, principal: Principal, key: str, *, status: int, body: bytes) -> None:
        await self._write(lambda db: requests.finish_request(db, principal, key, status=status, body=body))

    async def forget_request(self, principal: Principal, key: str) -> None:
        await self._write(lambda db: requests.forget_request(db, principal, key))

    async def backup(self, path: Path) -> None:
        """In steps, beside the writer; a copy of one moment all the same."""
        if self._file.in_memory:
            raise StoreRefused("A database in memory has no backup")
        if self._writer is None:
            raise StoreUnavailable("The database is not open")
        await self._settle(lambda change: True)
        await asyncio.to_thread(backup.write, self._file.connect_reader, path)

    async def restore(self, path: Path, *, replace: bool) -> None:
        if self._writer is not None:
            raise RuntimeError("the store has been opened before")
        await asyncio.to_thread(backup.restore, self._file, path, replace=replace)
