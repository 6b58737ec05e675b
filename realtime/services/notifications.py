"""Notifications: stored first, shown live to whoever is connected, in the order of storing."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import structlog

from realtime.clock import Clock
from realtime.engine.channel import Session
from realtime.engine.channels import Channels
from realtime.errors import Code, RealtimeError, StoreUnavailable
from realtime.events import AnnouncementCreated, Audience, NotificationCreated
from realtime.metrics import Metrics
from realtime.models import Content, Draft, Held, Notification, Principal, Stored, Target, user_principal
from realtime.publisher import Publisher
from realtime.services.audiences import Audiences
from realtime.services.counts import UnreadCounter
from realtime.services.inbox import InboxService, not_found
from realtime.services.receipts import ReceiptService
from realtime.services.replays import Drain, Replays
from realtime.services.turns import Turns
from realtime.store.base import Store
from rooms import names

log = structlog.get_logger(__name__)

DUE_PER_ROUND = 500
SHOWN_TOGETHER = 50
"""Notifications of one request that are shown before others have their turn."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sent:
    """What a request to notify made, one for each target: rows that are live, drafts that wait for their time, or
    what an earlier request with the same key made."""

    made: tuple[Held | Stored, ...] = ()

    @property
    def stored(self) -> tuple[Stored, ...]:
        return tuple(one for one in self.made if isinstance(one, Stored))

    @property
    def drafts(self) -> tuple[Draft, ...]:
        return tuple(one.draft for one in self.made if isinstance(one, Held))

    @property
    def duplicate(self) -> bool:
        """Whether nothing of it is new."""
        return bool(self.made) and all(one.duplicate for one in self.made)

    @property
    def repeated(self) -> bool:
        """Whether an earlier attempt of this very request made all of it."""
        return bool(self.made) and all(one.repeated for one in self.made)


class Watcher(Protocol):
    """Told of every notification that was shown."""

    def shown(self, notification: Notification, rooms: Collection[str], skip: frozenset[str]) -> None:
        """It went to its readers' personal rooms, except the connections of `skip`."""

    def shown_to(self, notification: Notification, session: Session) -> None:
        """It went to one connection that had missed it."""


class NotificationService(InboxService):
    """Sends, schedules, shows and takes back notifications; what readers do with them is the inbox."""

    def __init__(
        self,
        *,
        store: Store,
        publisher: Publisher,
        channels: Channels,
        audiences: Audiences,
        counter: UnreadCounter,
        receipts: ReceiptService,
        replays: Replays,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        super().__init__(store=store, counter=counter, receipts=receipts, clock=clock)
        self._metrics = metrics
        self._publisher = publisher
        self._channels = channels
        self._audiences = audiences
        self._replays = replays
        self._turns = Turns()
        self._watchers: list[Watcher] = []
        self._next_run: float | None = None

    async def start(self) -> None:
        self._next_run = await self._store.next_run()

    def watch(self, watcher: Watcher) -> None:
        self._watchers.append(watcher)

    # --- sending ---

    async def send(
        self,
        targets: Sequence[Target],
        content: Content,
        *,
        sender: Principal | None,
        dedup_key: str | None = None,
        run_at: float | None = None,
        id: int | None = None,
        request: str | None = None,
    ) -> Sent:
        """Store one row per target, then show it; with a `run_at` in the future, store drafts instead.

        `id`, which is for a single target, and `request` make a repetition harmless (`Store.take_id`, `Store.add`).
        """
        now = self._clock()
        if run_at is not None and run_at > now:
            held = await self._store.add_drafts(
                targets, content, sender=sender, run_at=run_at, now=now, dedup_key=dedup_key, id=id, request=request
            )
            self._note_run(run_at)
            return Sent(tuple(held))
        with self._turns.take() as turn:
            adding = self._store.add(
                targets, content, sender=sender, now=now, dedup_key=dedup_key, id=id, request=request
            )
            stored = await self._committed(adding, targets)
            with self._counted(targets):
                await turn.comes()
                await self._show_all(stored)
        return Sent(tuple(stored))

    async def _committed(self, storing: Coroutine[Any, Any, T], targets: Sequence[Target]) -> T:
        """Wait for the store. What it commits when nobody waits any more is not shown, but counted."""
        task = asyncio.create_task(storing)

        def count(done: "asyncio.Task[T]") -> None:
            if not done.cancelled() and done.exception() is None:
                self._mark_readers(targets)

        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(count)
            raise

    @contextmanager
    def _counted(self, targets: Sequence[Target]) -> Iterator[None]:
        """Whatever keeps what was stored from being shown, its readers' counts say that it is there."""
        try:
            yield
        except BaseException:
            self._mark_readers(targets)
            raise

    async def notify(self, content: Content, *recipients: str, sender: Principal | None) -> tuple[Stored, ...]:
        """Tell single users about something, once each."""
        targets = [Target(recipient=user_principal(user)) for user in dict.fromkeys(recipients)]
        return (await self.send(targets, content, sender=sender)).stored if targets else ()

    async def retract(self, id: int, *, caller: Principal, may_all: bool) -> None:
        """Take a broadcast away from everybody. Raises NOT_FOUND, and FORBIDDEN for what the caller received.

        A communication is taken back under its own path, where its row is.
        """
        row = await self._store.broadcast(id)
        if row is None or row.content.details:
            raise not_found()
        if not may_all and row.sender != caller:
            if await self._store.notification(caller, id, now=self._clock()) is None:
                raise not_found()
            raise RealtimeError(Code.FORBIDDEN, "Forbidden: only its sender can take it back")
        if await self._store.retract(id, now=self._clock()) is None:
            raise not_found()
        self._replays.withdraw(id)
        self._counter.mark_audiences(row.target.audience or "")

    # --- showing ---

    async def _show_all(self, stored: Sequence[Stored]) -> None:
        """Show what is new. It is committed: what fails now must not make the sender try again, nor keep the rest
        from being shown."""
        new = [one.notification for one in stored if not one.duplicate]
        for number, notification in enumerate(new, start=1):
            try:
                await self._show(notification)
            except StoreUnavailable:
                log.warning("stored notification not shown: the database is not available", id=notification.id)
                self._mark_readers([notification.target])
            except Exception as error:
                self._metrics.loop_failures.labels("showing").inc()
                log.error("stored notification not shown", id=notification.id, exc_info=error)
                self._mark_readers([notification.target])
            if number % SHOWN_TOGETHER == 0:
                await asyncio.sleep(0)

    async def _show(self, notification: Notification) -> None:
        """Send a stored notification to those of its readers who are connected. One that has expired is not shown."""
        target, expires_at = notification.target, notification.content.expires_at
        if expires_at is not None and expires_at <= self._clock():
            return
        readers = await self._audiences.readers(target)
        skip = self._replays.hold_back(notification, readers) | self._channels.muted()
        rooms = {names.personal(principal): id for principal, id in readers.items()}
        event = _event_of(notification)
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

    def _mark_readers(self, targets: Iterable[Target]) -> None:
        for target in targets:
            if target.recipient is not None:
                self._counter.mark(target.recipient)
            else:
                self._counter.mark_audiences(target.audience or "")

    async def tell_missed(
        self, session: Session, fetch: Callable[[], Awaitable[Sequence[Notification]]], drain: Drain
    ) -> None:
        """Show one connection what it has missed, then what comes meanwhile, in order and at its own pace.

        Call it before anything is awaited after the connection was admitted; `drain` returns when its client has
        read what was sent.
        """
        await self._replays.run(session, fetch, lambda row: self._show_to(session, row), drain)

    def _show_to(self, session: Session, notification: Notification) -> None:
        event = _event_of(notification)
        self._publisher.publish_to_connection(event(self._clock(), notification, session.identity.wire_id), session)
        for watcher in self._watchers:
            watcher.shown_to(notification, session)

    # --- what was scheduled ---

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
            with self._turns.take() as turn:
                publishing = self._store.publish_draft(draft.id, now=self._clock())
                stored = await self._committed(publishing, [draft.target])
                if stored is not None and not stored.duplicate:
                    with self._counted([draft.target]):
                        await turn.comes()
                        await self._show_all([stored])
                    published += 1
        return published

    def _note_run(self, run_at: float) -> None:
        self._next_run = run_at if self._next_run is None else min(self._next_run, run_at)


def _event_of(notification: Notification) -> type[NotificationCreated]:
    return AnnouncementCreated if notification.content.type == "announcement" else NotificationCreated
