"""Notifications: stored first, shown live to whoever is connected, counted exactly.

Counts are never computed from what was sent: after each change the people concerned are marked, and a worker reads
their true count from the store and pushes it to all of their connections.
"""

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from realtime.clock import Clock
from realtime.engine.channel import Session
from realtime.engine.channels import Channels
from realtime.errors import Code, RealtimeError, StoreUnavailable
from realtime.events import AnnouncementCreated, Audience, NotificationCreated, UnreadChanged
from realtime.metrics import Metrics
from realtime.models import (
    Content,
    Draft,
    InboxQuery,
    Notification,
    Principal,
    Stored,
    Target,
    WireId,
    user_principal,
)
from realtime.publisher import Publisher
from realtime.services.directory import Directory
from realtime.services.replays import Drain, Replays
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

    def __init__(
        self, *, store: Store, channels: Channels, publisher: Publisher, clock: Clock, metrics: Metrics
    ) -> None:
        self._store = store
        self._channels = channels
        self._publisher = publisher
        self._clock = clock
        self._metrics = metrics
        self._marked: dict[Principal, None] = {}
        self._newcomers: dict[str, tuple[Session, int | None]] = {}
        self._wake = asyncio.Event()

    def mark(self, *principals: Principal) -> None:
        """Note that somebody's count may have changed. People without a connection are not counted."""
        for principal in principals:
            if self._channels.is_connected(principal):
                self._marked[principal] = None
        if self._marked:
            self._wake.set()

    def greet(self, session: Session, *, told: int | None = None) -> None:
        """Tell one connection its owner's count soon, unless it is the one that it was `told` already.

        Through the same worker as every change, so that no older count comes after a newer one.
        """
        self._newcomers[session.sid] = (session, told)
        self._wake.set()

    async def run(self) -> None:
        """Push counts until cancelled."""
        while True:
            await self._wake.wait()
            while self._newcomers or self._marked:
                if self._newcomers:
                    session, told = self._newcomers.pop(next(iter(self._newcomers)))
                    await self._guarded(self._push_to(session, told))
                else:
                    principal = next(iter(self._marked))
                    del self._marked[principal]
                    await self._guarded(self._push(principal))
            self._wake.clear()

    async def _guarded(self, push: Coroutine[Any, Any, None]) -> None:
        try:
            await push
        except StoreUnavailable:
            self._metrics.loop_failures.labels("unread_counts").inc()
            log.warning("unread count not pushed: the database is not available")
        except Exception as error:
            self._metrics.loop_failures.labels("unread_counts").inc()
            log.error("unread count not pushed", exc_info=error)

    async def _push_to(self, session: Session, told: int | None) -> None:
        identity = session.identity
        count = await self._store.unread_count(identity.principal, now=self._clock())
        if count != told:
            self._publisher.publish_to_connection(UnreadChanged(self._clock(), identity.wire_id, count), session)

    async def _push(self, principal: Principal) -> None:
        sessions = self._channels.of(principal)
        if not sessions:
            return
        count = await self._store.unread_count(principal, now=self._clock())
        event = UnreadChanged(self._clock(), sessions[0].identity.wire_id, count)
        self._publisher.publish(event, Audience.principal(principal, skip=self._channels.muted()))


class Watcher(Protocol):
    """Told of every notification that was shown."""

    def shown(self, notification: Notification, rooms: Collection[str], skip: frozenset[str]) -> None:
        """It went to its readers' personal rooms, except the connections of `skip`."""

    def shown_to(self, notification: Notification, session: Session) -> None:
        """It went to one connection that had missed it."""


class NotificationService:
    """Sends, schedules, lists and marks notifications."""

    def __init__(
        self,
        *,
        store: Store,
        publisher: Publisher,
        channels: Channels,
        directory: Directory,
        counter: UnreadCounter,
        replays: Replays,
        clock: Clock,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._channels = channels
        self._directory = directory
        self._counter = counter
        self._replays = replays
        self._watchers: list[Watcher] = []
        self._clock = clock
        self._next_run: float | None = None
        self._ends: list[tuple[float, int, Target]] = []

    async def start(self) -> None:
        self._next_run = await self._store.next_run()

    def watch(self, watcher: Watcher) -> None:
        self._watchers.append(watcher)

    async def send(
        self,
        targets: Sequence[Target],
        content: Content,
        *,
        sender: Principal | None,
        dedup_key: str | None = None,
        run_at: float | None = None,
        id: int | None = None,
    ) -> Sent:
        """Store one row per target, then show it; with a `run_at` in the future, store drafts instead.

        `id` is for a single target, and makes a repetition harmless (`Store.take_id`).
        """
        now = self._clock()
        if run_at is not None and run_at > now:
            drafts = await self._store.add_drafts(
                targets, content, sender=sender, run_at=run_at, now=now, dedup_key=dedup_key, id=id
            )
            self._note_run(run_at)
            return Sent(drafts=tuple(drafts))
        stored = await self._store.add(targets, content, sender=sender, now=now, dedup_key=dedup_key, id=id)
        await self._show_all(stored)
        return Sent(stored=tuple(stored))

    async def notify(self, content: Content, *recipients: str, sender: Principal | None) -> tuple[Stored, ...]:
        """Tell single users about something, once each."""
        targets = [Target(recipient=user_principal(user)) for user in dict.fromkeys(recipients)]
        return (await self.send(targets, content, sender=sender)).stored if targets else ()

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
        event = AnnouncementCreated if notification.content.type == "announcement" else NotificationCreated
        readers = await self._online_readers(target)
        skip = self._replays.hold_back(notification, readers) | self._channels.muted()
        rooms = {names.personal(principal): id for principal, id in readers.items()}
        if target.recipient is not None:
            for reader in readers.values():
                self._publisher.publish(
                    event(self._clock(), notification, reader), Audience.principal(target.recipient, skip=skip)
                )
        else:
            self._publisher.publish_personally(
                lambda reader: event(self._clock(), notification, reader), rooms, skip=skip
            )
        for watcher in self._watchers:
            watcher.shown(notification, rooms, skip)
        self._counter.mark(*readers)

    async def _online_readers(self, target: Target) -> dict[Principal, WireId]:
        """Return who is connected and can see a notification, and their ids on the wire."""
        if target.recipient is not None:
            if not self._channels.is_connected(target.recipient):
                return {}
            sessions = self._channels.of(target.recipient)
            if sessions:
                return {target.recipient: sessions[0].identity.wire_id}
            return {target.recipient: await self._directory.wire_id(target.recipient.partition(":")[2])}
        audience = target.audience or ""
        guests = audience == "guests"
        online = {s.identity.principal: s for s in self._channels.sessions() if s.identity.guest == guests}
        if audience in ("all", "guests"):
            readers = set(online)
        elif audience.startswith("role:"):
            readers = {who for who, session in online.items() if f"role:{session.member.audience}" == audience}
        else:
            readers = set(await self._store.readers(audience)) & set(online)
        return {who: online[who].identity.wire_id for who in sorted(readers - target.excluded)}

    async def end_expired(self) -> None:
        """Push the counts of people who see one row less because it has expired."""
        now = self._clock()
        while self._ends and self._ends[0][0] <= now:
            target = heapq.heappop(self._ends)[2]
            if target.recipient is not None:
                self._counter.mark(target.recipient)
            elif (target.audience or "").startswith("room:"):
                # Those who have left the room had received it, too.
                self._counter.mark(*map(user_principal, self._channels.users()))
            else:
                self._counter.mark(*await self._online_readers(target))

    async def tell_missed(
        self, session: Session, fetch: Callable[[], Awaitable[Sequence[Notification]]], drain: Drain
    ) -> None:
        """Show one connection what it has missed, then what comes meanwhile, in order and at its own pace.

        Call it before anything is awaited after the connection was admitted; `drain` returns when its client has
        read what was sent.
        """
        await self._replays.run(session, fetch, lambda row: self._show_to(session, row), drain)

    def _show_to(self, session: Session, notification: Notification) -> None:
        event = AnnouncementCreated if notification.content.type == "announcement" else NotificationCreated
        self._publisher.publish_to_connection(event(self._clock(), notification, session.identity.wire_id), session)
        for watcher in self._watchers:
            watcher.shown_to(notification, session)

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

    async def newest(self, reader: Principal, limit: int) -> list[Notification]:
        """Return what was received last, newest first."""
        rows, _ = await self._store.inbox(reader, InboxQuery(limit=limit), now=self._clock())
        return rows

    async def one(self, reader: Principal, id: int) -> Notification:
        return _found(await self._store.notification(reader, id, now=self._clock()))

    async def set_read(self, reader: Principal, id: int, read: bool) -> Notification:
        """Raises NOT_FOUND, also for a row of somebody else."""
        row = _found(await self._store.set_read(reader, id, read, now=self._clock()))
        self._counter.mark(reader)
        return row

    async def mark_all_read(self, reader: Principal, up_to: int | None) -> int:
        count = await self._store.mark_all_read(reader, up_to=up_to, now=self._clock())
        self._counter.mark(reader)
        return count

    async def delete(self, reader: Principal, id: int, *, may_cancel: Callable[[Draft], bool]) -> None:
        """Delete a row for this reader, or cancel a draft that they may cancel. Raises NOT_FOUND."""
        if await self._store.delete_notification(reader, id, now=self._clock()):
            self._counter.mark(reader)
            return
        draft = await self._store.draft(id)
        if draft is None or not may_cancel(draft) or not await self._store.cancel_draft(id):
            raise RealtimeError(Code.NOT_FOUND, "Notification not found")


def _found(row: Notification | None) -> Notification:
    if row is None:
        raise RealtimeError(Code.NOT_FOUND, "Notification not found")
    return row
