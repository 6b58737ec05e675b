"""The default store: one SQLite file, one thread that writes, a few that read.

What each method does is in the sqlite_* modules, as functions of a connection; here and in the classes that
`SqliteStore` is made of is only who runs them.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from realtime.models import Change, EntityQuery, JsonObject, Retention, Seen, User
from realtime.store import sqlite_directory as directory
from realtime.store import sqlite_entities as rows
from realtime.store.gathering import Gathering
from realtime.store.sqlite_chat import SqliteChat
from realtime.store.sqlite_database import KEPT_BY_DEFAULT
from realtime.store.sqlite_reading import SqliteReading
from realtime.store.sqlite_records import SqliteRecords
from realtime.store.sqlite_sending import SqliteSending
from realtime.store.users import seen_again


class SqliteStore(SqliteReading, SqliteSending, SqliteRecords, SqliteChat):
    """Implements `realtime.store.base.Store`."""

    def __init__(self, path: Path | str, *, exclusive: bool = True, retention: Retention = KEPT_BY_DEFAULT) -> None:
        super().__init__(path, exclusive=exclusive, retention=retention)
        self._tokens = Gathering(self._touch_users)

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

    async def touch_user(self, seen: Seen, *, now: float) -> User:
        return await self._tokens.add((seen, now))

    def _touch_users(self, tokens: Sequence[tuple[Seen, float]]) -> asyncio.Future[Sequence[User]]:
        return asyncio.ensure_future(self._touch(tokens))

    async def _touch(self, tokens: Sequence[tuple[Seen, float]]) -> Sequence[User]:
        """Reads first: almost every connection brings a token that says nothing new."""
        found = await self._read(lambda db: directory.users(db, [seen.id for seen, _ in tokens]))
        known = {user.id: user for user in found}
        for seen, now in tokens:
            old = known.get(seen.id)
            if old is None or not directory.same(old, seen_again(old, seen, now=now)):
                return await self._write(lambda db: directory.touch(db, tokens))
        return [known[seen.id] for seen, _ in tokens]

    async def user(self, id: str) -> User | None:
        return await self._read(lambda db: directory.user(db, id))

    async def set_user(self, id: str, *, role: str | None, name: str | None, now: float) -> User:
        return await self._write(lambda db: directory.set_user(db, id, role=role, name=name, now=now))

    async def set_last_seen(self, seen: Mapping[str, tuple[str, float]]) -> None:
        await self._write(lambda db: directory.set_last_seen(db, seen))

    async def roles_set(self) -> dict[str, tuple[str, float]]:
        return await self._read(directory.roles_set)
