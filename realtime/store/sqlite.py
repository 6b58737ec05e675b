"""The default store: one SQLite file, one thread that writes, a few that read.

What each method does is in the sqlite_* modules, as functions of a connection; here and in sqlite_chat is only who
runs them.
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from realtime.models import (
    Change,
    Content,
    Draft,
    EntityQuery,
    InboxQuery,
    JsonObject,
    MembershipChange,
    Notification,
    Principal,
    Replay,
    Seen,
    Stored,
    Target,
    User,
)
from realtime.store import sqlite_delivery as delivery
from realtime.store import sqlite_directory as directory
from realtime.store import sqlite_entities as rows
from realtime.store import sqlite_inbox as inbox
from realtime.store import sqlite_membership as membership
from realtime.store import sqlite_publish as publish
from realtime.store import sqlite_upkeep as upkeep
from realtime.store.sqlite_chat import SqliteChat
from realtime.store.sqlite_gathering import Gathering
from realtime.store.sqlite_writer import Work

T = TypeVar("T")


class SqliteStore(SqliteChat):
    """Implements `realtime.store.base.Store`."""

    def __init__(self, path: Path | str, *, exclusive: bool = True) -> None:
        super().__init__(path, exclusive=exclusive)
        self._boot = secrets.token_hex(8)
        self._changes = Gathering(self._change_memberships)
        self._tokens = Gathering(self._touch_users)

    async def close(self) -> None:
        self._changes.hand_over()
        await super().close()

    async def add(
        self,
        targets: Sequence[Target],
        content: Content,
        *,
        sender: Principal | None,
        now: float,
        dedup_key: str | None = None,
        id: int | None = None,
    ) -> list[Stored]:
        message = publish.Encoded.encode(content, sender, dedup_key)
        return await self._write(lambda db: publish.add(db, targets, message, id=id, now=now))

    async def take_id(self) -> int:
        return await self._write(publish.take_id)

    async def undelivered(self, reader: Principal, *, limit: int, now: float) -> list[Notification]:
        await self._settle(lambda change: change.reader == reader)
        return await self._read(lambda db: delivery.undelivered(db, reader, limit=limit, now=now))

    async def set_delivered(self, reader: Principal, ids: Sequence[int], *, now: float) -> None:
        await self._write(lambda db: delivery.set_delivered(db, reader, ids, now=now))

    async def inbox(self, reader: Principal, query: InboxQuery, *, now: float) -> tuple[list[Notification], int]:
        await self._settle(lambda change: change.reader == reader)
        return await self._read(lambda db: inbox.page(db, reader, query, now=now))

    async def notification(self, reader: Principal, id: int, *, now: float) -> Notification | None:
        await self._settle(lambda change: change.reader == reader)
        return await self._read(lambda db: inbox.notification(db, reader, id, now=now))

    async def unread_count(self, reader: Principal, *, now: float) -> int:
        await self._settle(lambda change: change.reader == reader)
        return await self._read(lambda db: inbox.unread_count(db, reader, now=now))

    async def set_read(self, reader: Principal, id: int, read: bool, *, now: float) -> Notification | None:
        return await self._write(lambda db: inbox.set_read(db, reader, id, read, now=now))

    async def mark_all_read(self, reader: Principal, *, up_to: int | None, now: float) -> int:
        return await self._write(lambda db: inbox.mark_all_read(db, reader, up_to, now=now))

    async def delete_notification(self, reader: Principal, id: int, *, now: float) -> bool:
        return await self._write(lambda db: inbox.delete(db, reader, id, now=now))

    async def readers(self, audience: str) -> list[Principal]:
        await self._settle(lambda change: change.audience == audience)
        return await self._read(lambda db: membership.readers(db, audience))

    async def open_membership(self, reader: Principal, audience: str, *, now: float) -> bool:
        return await self._write(lambda db: membership.open_(db, reader, audience))

    async def close_membership(self, reader: Principal, audience: str, *, now: float) -> None:
        await self._write(lambda db: membership.close(db, reader, audience))

    def change_memberships(
        self, changes: Sequence[MembershipChange], *, now: float
    ) -> asyncio.Future[frozenset[Principal]]:
        return self._changes.add(changes)

    def _change_memberships(
        self, calls: Sequence[Sequence[MembershipChange]]
    ) -> asyncio.Future[Sequence[frozenset[Principal]]]:
        return self._submit(lambda db: membership.change(db, calls))

    async def drop_membership(self, reader: Principal, audience: str) -> None:
        await self._write(lambda db: membership.drop(db, reader, audience))

    async def audiences_of(self, reader: Principal, prefix: str) -> list[str]:
        await self._settle(lambda change: change.reader == reader)
        return await self._read(lambda db: membership.audiences_of(db, reader, prefix))

    async def open_memberships(self, prefix: str) -> list[tuple[Principal, str]]:
        await self._settle(lambda change: change.audience.startswith(prefix))
        return await self._read(lambda db: membership.open_ones(db, prefix))

    async def add_drafts(
        self,
        targets: Sequence[Target],
        content: Content,
        *,
        sender: Principal | None,
        run_at: float,
        now: float,
        dedup_key: str | None = None,
        id: int | None = None,
    ) -> list[Draft]:
        message = publish.Encoded.encode(content, sender, dedup_key)
        return await self._write(lambda db: publish.add_drafts(db, targets, message, id=id, run_at=run_at, now=now))

    async def draft(self, id: int) -> Draft | None:
        return await self._read(lambda db: publish.draft(db, id))

    async def next_run(self) -> float | None:
        return await self._read(publish.next_run)

    async def due_drafts(self, *, now: float, limit: int) -> list[Draft]:
        return await self._read(lambda db: publish.due_drafts(db, now=now, limit=limit))

    async def publish_draft(self, id: int, *, now: float) -> Stored | None:
        return await self._write(lambda db: publish.publish_draft(db, id, now=now))

    async def cancel_draft(self, id: int) -> bool:
        return await self._write(lambda db: publish.cancel_draft(db, id))

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
            if old is None or not directory.same(old, directory.seen_again(old, seen, now=now)):
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

    async def begin_request(self, principal: Principal, key: str, fingerprint: str, *, now: float) -> Replay | None:
        boot = self._boot
        return await self._write(lambda db: upkeep.begin_request(db, principal, key, fingerprint, boot=boot, now=now))

    async def finish_request(self, principal: Principal, key: str, *, status: int, body: bytes) -> None:
        await self._write(lambda db: upkeep.finish_request(db, principal, key, status=status, body=body))

    async def forget_request(self, principal: Principal, key: str) -> None:
        await self._write(lambda db: upkeep.forget_request(db, principal, key))

    async def _settle(self, concerns: Callable[[MembershipChange], bool]) -> None:
        """Let what is read now come after the changes of memberships that it depends on."""
        await self._changes.settle(lambda changes: any(map(concerns, changes)))

    async def _write(self, work: Work[T]) -> T:
        self._changes.hand_over()  # whoever asks now comes after them
        return await super()._write(work)
