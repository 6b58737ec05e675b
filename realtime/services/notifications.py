"""Notifications: stored first, shown live to whoever is connected, counted exactly.

Counts are never computed from what was sent: after each change the people concerned are marked, and a worker reads
their true count from the store and pushes it to all of their connections.
"""

import asyncio
import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from realtime.clock import Clock
from realtime.engine.channel import Channel
from realtime.errors import Code, RealtimeError, StoreUnavailable
from realtime.events import Audience, NotificationCreated, UnreadChanged
from realtime.metrics import Metrics
from realtime.models import Content, Draft, InboxQuery, Notification, Principal, Stored, Target, WireId, user_principal
from realtime.publisher import Publisher
from realtime.services.directory import Directory
from realtime.store.base import Store
from rooms import names

log = structlog.get_logger(__name__)

DUE_PER_ROUND = 500


@dataclass(frozen=True, slots=True)
class Sent:
    """What a request to notify made: rows that are live, or drafts that wait for their time."""

    stored: tuple[Stored, ...] = ()
    drafts: tuple[Draft, ...] = ()


class UnreadCounter:
    """Pushes the exact count of people who were marked; marks of one person that wait are one push."""

    def __init__(self, *, store: Store, channel: Channel, publisher: Publisher, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._channel = channel
        self._publisher = publisher
        self._clock = clock
        self._metrics = metrics
        self._marked: dict[str, None] = {}
        self._wake = asyncio.Event()

    def mark(self, *users: str) -> None:
        """Note that somebody's count may have changed. People without a connection are not counted."""
        for user in users:
            if self._channel.membership.members(names.user(user)):
                self._marked[user] = None
        if self._marked:
            self._wake.set()

    async def run(self) -> None:
        """Push counts until cancelled."""
        while True:
            await self._wake.wait()
            while self._marked:
                user = next(iter(self._marked))
                del self._marked[user]
                try:
                    await self._push(user)
                except StoreUnavailable:
                    self._metrics.loop_failures.labels("unread_counts").inc()
                    log.warning("unread count not pushed: the database is not available", user=user)
                except Exception as error:
                    self._metrics.loop_failures.labels("unread_counts").inc()
                    log.error("unread count not pushed", user=user, exc_info=error)
            self._wake.clear()

    async def _push(self, user: str) -> None:
        sessions = self._channel.of_user(user)
        if not sessions:
            return
        count = await self._store.unread_count(user_principal(user), now=self._clock())
        event = UnreadChanged(self._clock(), sessions[0].identity.wire_id, count)
        self._publisher.publish(event, Audience.user(user))


class NotificationService:
    """Sends, schedules, lists and marks notifications."""

    def __init__(
        self,
        *,
        store: Store,
        publisher: Publisher,
        channel: Channel,
        directory: Directory,
        counter: UnreadCounter,
        clock: Clock,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._channel = channel
        self._directory = directory
        self._counter = counter
        self._clock = clock
        self._next_run: float | None = None
        self._ends: list[tuple[float, int, Target]] = []

    async def start(self) -> None:
        self._next_run = await self._store.next_run()

    async def send(
        self,
        targets: Sequence[Target],
        content: Content,
        *,
        sender: Principal | None,
        dedup_key: str | None = None,
        run_at: float | None = None,
    ) -> Sent:
        """Store one row per target, then show it; with a `run_at` in the future, store drafts instead."""
        now = self._clock()
        if run_at is not None and run_at > now:
            drafts = await self._store.add_drafts(
                targets, content, sender=sender, run_at=run_at, now=now, dedup_key=dedup_key
            )
            self._note_run(run_at)
            return Sent(drafts=tuple(drafts))
        stored = await self._store.add(targets, content, sender=sender, now=now, dedup_key=dedup_key)
        await self._show_all(stored)
        return Sent(stored=tuple(stored))

    async def notify(self, content: Content, *recipients: str, sender: Principal | None) -> None:
        """Tell single users about something, once each."""
        targets = [Target(recipient=user_principal(user)) for user in dict.fromkeys(recipients)]
        if targets:
            await self.send(targets, content, sender=sender)

    async def _show_all(self, stored: Sequence[Stored]) -> None:
        """Show what is new. It is committed: a database that fails now must not make the sender try again."""
        for one in stored:
            if one.duplicate:
                continue
            try:
                await self._show(one.notification)
            except StoreUnavailable:
                log.warning("stored notification not shown: the database is not available", id=one.notification.id)

    async def _show(self, notification: Notification) -> None:
        """Send a stored notification to those of its readers who are connected. One that has expired is not shown."""
        target, expires_at = notification.target, notification.content.expires_at
        if expires_at is not None:
            if expires_at <= self._clock():
                return
            heapq.heappush(self._ends, (expires_at, notification.id, target))
        if target.recipient is not None:
            kind, _, id = target.recipient.partition(":")
            audience = Audience.room(names.guest(id)) if kind == "guest" else Audience.user(id)
            reader = await self._directory.wire_id(id)
            self._publisher.publish(NotificationCreated(self._clock(), notification, reader), audience)
            if kind == "user":
                self._counter.mark(id)
            return
        readers = await self._online_readers(target)
        self._publisher.publish_personally(
            lambda reader: NotificationCreated(self._clock(), notification, reader), readers
        )
        self._counter.mark(*readers)

    async def _online_readers(self, target: Target) -> dict[str, WireId]:
        """Return the users with a connection who can see a broadcast, and their ids on the wire."""
        online = {s.identity.id: s for s in self._channel.sessions() if not s.identity.guest}
        audience = target.audience or ""
        if audience == "all":
            users = set(online)
        elif audience.startswith("role:"):
            users = {user for user, session in online.items() if f"role:{session.member.audience}" == audience}
        else:
            holders = await self._store.readers(audience)
            users = {reader.removeprefix("user:") for reader in holders} & set(online)
        users -= {who.removeprefix("user:") for who in target.excluded}
        return {user: online[user].identity.wire_id for user in sorted(users)}

    async def end_expired(self) -> None:
        """Push the counts of people who see one row less because it has expired."""
        now = self._clock()
        while self._ends and self._ends[0][0] <= now:
            target = heapq.heappop(self._ends)[2]
            if target.recipient is not None:
                self._changed(target.recipient)
            elif (target.audience or "").startswith("room:"):
                self._counter.mark(*self._channel.users())  # those who have left the room had received it, too
            else:
                self._counter.mark(*await self._online_readers(target))

    async def run_due(self) -> int:
        """Publish the drafts whose time has come; returns how many."""
        now = self._clock()
        if self._next_run is None or self._next_run > now:
            return 0
        self._next_run = None  # drafts that are added while we work note their time here
        try:
            published = await self._publish_due(now)
            upcoming = await self._store.next_run()
        except Exception:
            self._note_run(now)
            raise
        if upcoming is not None:
            self._note_run(upcoming)
        return published

    async def _publish_due(self, now: float) -> int:
        due = await self._store.due_drafts(now=now, limit=DUE_PER_ROUND)
        published = 0
        for draft in due:
            stored = await self._store.publish_draft(draft.id, now=self._clock())
            if stored is not None and not stored.duplicate:
                await self._show_all([stored])
                published += 1
        return published

    def _note_run(self, run_at: float) -> None:
        self._next_run = run_at if self._next_run is None else min(self._next_run, run_at)

    async def inbox(self, reader: Principal, query: InboxQuery) -> tuple[list[Notification], int, int]:
        """Return (page, rows that match, unread count)."""
        now = self._clock()
        rows, total = await self._store.inbox(reader, query, now=now)
        return rows, total, await self._store.unread_count(reader, now=now)

    async def unread_count(self, reader: Principal) -> int:
        return await self._store.unread_count(reader, now=self._clock())

    async def one(self, reader: Principal, id: int) -> Notification:
        return _found(await self._store.notification(reader, id, now=self._clock()))

    async def set_read(self, reader: Principal, id: int, read: bool) -> Notification:
        """Raises NOT_FOUND, also for a row of somebody else."""
        row = _found(await self._store.set_read(reader, id, read, now=self._clock()))
        self._changed(reader)
        return row

    async def mark_all_read(self, reader: Principal, up_to: int | None) -> int:
        count = await self._store.mark_all_read(reader, up_to=up_to, now=self._clock())
        self._changed(reader)
        return count

    async def delete(self, reader: Principal, id: int, *, may_cancel: Callable[[Draft], bool]) -> None:
        """Delete a row for this reader, or cancel a draft that they may cancel. Raises NOT_FOUND."""
        if await self._store.delete_notification(reader, id, now=self._clock()):
            self._changed(reader)
            return
        draft = await self._store.draft(id)
        if draft is None or not may_cancel(draft) or not await self._store.cancel_draft(id):
            raise RealtimeError(Code.NOT_FOUND, "Notification not found")

    def _changed(self, reader: Principal) -> None:
        kind, _, id = reader.partition(":")
        if kind == "user":
            self._counter.mark(id)


def _found(row: Notification | None) -> Notification:
    if row is None:
        raise RealtimeError(Code.NOT_FOUND, "Notification not found")
    return row
