"""Who runs what brings notifications into being, at once or later, and takes broadcasts back."""

from collections.abc import Sequence

from realtime.models import Content, Draft, Held, Notification, Principal, Stored, Target
from realtime.store import sqlite_broadcasts as broadcasts
from realtime.store import sqlite_drafts as drafts
from realtime.store import sqlite_publish as publish
from realtime.store.sqlite_members import SqliteMembers
from realtime.store.sqlite_publish import Encoded


class SqliteSending(SqliteMembers):
    """`realtime.store.base.ScheduleStore`, and what `InboxStore` does for senders."""

    async def add(
        self,
        targets: Sequence[Target],
        content: Content,
        *,
        sender: Principal | None,
        now: float,
        dedup_key: str | None = None,
        request: str | None = None,
        id: int | None = None,
    ) -> list[Stored]:
        message, most = Encoded.encode(content, sender), self._retention.max_rows
        await self._about_to_publish(targets)
        return await self._write(
            lambda db: publish.add(
                db, targets, message, now=now, dedup_key=dedup_key, request=request, id=id, most=most
            )
        )

    async def take_id(self) -> int:
        return await self._write(publish.take_id)

    async def broadcast(self, id: int) -> Notification | None:
        return await self._read(lambda db: broadcasts.broadcast(db, id))

    async def retract(self, id: int, *, now: float) -> Notification | None:
        return await self._write(lambda db: broadcasts.retract(db, id, now=now))

    async def audience_size(self, target: Target, *, limit: int) -> tuple[int, list[Principal]]:
        if target.audience is not None:
            await self._settle_audience(target.audience)
        return await self._read(lambda db: broadcasts.audience_size(db, target, limit=limit))

    async def add_drafts(
        self,
        targets: Sequence[Target],
        content: Content,
        *,
        sender: Principal | None,
        run_at: float,
        now: float,
        dedup_key: str | None = None,
        request: str | None = None,
        id: int | None = None,
    ) -> list[Held | Stored]:
        message = Encoded.encode(content, sender)
        return await self._write(
            lambda db: drafts.add(
                db, targets, message, run_at=run_at, now=now, dedup_key=dedup_key, request=request, id=id
            )
        )

    async def draft(self, id: int) -> Draft | None:
        return await self._read(lambda db: drafts.draft(db, id))

    async def next_run(self) -> float | None:
        return await self._read(drafts.next_run)

    async def due_drafts(self, *, now: float, limit: int) -> list[Draft]:
        return await self._read(lambda db: drafts.due(db, now=now, limit=limit))

    async def publish_draft(self, id: int, *, now: float) -> Stored | None:
        most = self._retention.max_rows
        waiting = await self.draft(id)
        if waiting is not None:
            await self._about_to_publish([waiting.target])
        return await self._write(lambda db: drafts.publish_draft(db, id, now=now, most=most))

    async def cancel_draft(self, id: int) -> bool:
        return await self._write(lambda db: drafts.cancel(db, id))
