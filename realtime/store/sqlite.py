"""The default store: one SQLite file, one thread that writes, a few that read.

What each method does is in the sqlite_* modules, as functions of a connection; here and in the classes that
`SqliteStore` is made of is only who runs them.
"""

from collections.abc import Callable, Mapping, Sequence

from realtime.models import Change, EntityQuery, JsonObject, User
from realtime.store import sqlite_directory as directory
from realtime.store import sqlite_entities as rows
from realtime.store.sqlite_chat import SqliteChat
from realtime.store.sqlite_reading import SqliteReading
from realtime.store.sqlite_records import SqliteRecords
from realtime.store.sqlite_sending import SqliteSending


class SqliteStore(SqliteReading, SqliteSending, SqliteRecords, SqliteChat):
    """Implements `realtime.store.base.Store`."""

    async def entity(self, kind: str, id: str) -> JsonObject | None:
        return await self._read(lambda db: rows.entity(db, kind, id))

    async def entities(self, kind: str, query: EntityQuery) -> tuple[list[JsonObject], int]:
        return await self._read(lambda db: rows.entities(db, kind, query))

    async def change_entity(
        self,
        kind: str,
        id: str,
        change: Callable[[JsonObject | None], JsonObject | None],
        *,
        name_fields: Sequence[str] = (),
    ) -> Change:
        """`change` runs on the writer's thread."""
        return await self._write(lambda db: rows.change(db, kind, id, change, name_fields))

    async def create_entity(
        self, kind: str, build: Callable[[int], JsonObject], *, name_fields: Sequence[str] = ()
    ) -> JsonObject:
        """`build` runs on the writer's thread."""
        return await self._write(lambda db: rows.create(db, kind, build, name_fields))

    async def set_user(self, id: str, *, role: str | None, name: str | None, now: float) -> User:
        return await self._write(lambda db: directory.set_user(db, id, role=role, name=name, now=now))

    async def set_last_seen(self, seen: Mapping[str, tuple[str, float]]) -> None:
        await self._write(lambda db: directory.set_last_seen(db, seen))

    async def roles_set(self) -> dict[str, tuple[str, float]]:
        return await self._read(directory.roles_set)
