"""What is stored reaches its readers, or their counts at least, whatever happens to the request that stored it."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from realtime.auth import Identity
from realtime.dialects.root import ROOT
from realtime.engine.channel import Session
from realtime.engine.channels import Channels
from realtime.errors import RealtimeError
from realtime.metrics import Metrics
from realtime.models import Content, Notification, Principal, Stored, Target
from realtime.publisher import Outlet, Publisher
from realtime.services.audiences import Audiences
from realtime.services.counts import UnreadCounter
from realtime.services.directory import Directory
from realtime.services.notifications import SHOWN_TOGETHER, NotificationService
from realtime.services.receipts import ReceiptService
from realtime.services.replays import Replays
from realtime.store.sqlite import SqliteStore
from rooms.policy import Member, auto_rooms
from tests.services.hotel import RecordingChannel
from tests.support import FakeClock, until

NEWS, COUNTED = "newNotification", "notification_count_updated"
TO_5, TO_6 = Target(recipient="user:5"), Target(recipient="user:6")
NOTE = Content(type="info", title="t", message="m")


class SlowStore(SqliteStore):
    """Commits, and then answers when `answering` says so."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.answering = asyncio.Event()
        self.answering.set()
        self.committed = 0

    async def add(self, *args: Any, **more: Any) -> list[Stored]:
        stored = await super().add(*args, **more)
        await self._answer()
        return stored

    async def publish_draft(self, id: int, *, now: float) -> Stored | None:
        stored = await super().publish_draft(id, now=now)
        await self._answer()
        return stored

    async def _answer(self) -> None:
        answering = self.answering
        self.committed += 1
        await answering.wait()


class Stumbling:
    """A watcher that fails for one reader's notifications."""

    def __init__(self, room: str) -> None:
        self._room = room

    def shown(self, notification: Notification, rooms: Collection[str], skip: frozenset[str]) -> None:
        if self._room in rooms:
            raise LookupError

    def shown_to(self, notification: Notification, session: Session) -> None: ...


class World:
    def __init__(self, store: SlowStore, clock: FakeClock) -> None:
        self.store, self.clock, self.metrics = store, clock, Metrics()
        self.channel = RecordingChannel("/")
        channels = Channels([self.channel])
        publisher = Publisher([Outlet(self.channel, ROOT)], self.metrics)
        audiences = Audiences(store=store, channels=channels, directory=Directory(store, clock))
        self.counter = UnreadCounter(
            store=store, channels=channels, audiences=audiences, publisher=publisher, clock=clock, metrics=self.metrics
        )
        self.notifications = NotificationService(
            store=store,
            publisher=publisher,
            channels=channels,
            audiences=audiences,
            counter=self.counter,
            receipts=ReceiptService(store=store, clock=clock, metrics=self.metrics),
            replays=Replays(clock),
            clock=clock,
            metrics=self.metrics,
        )

    def connect(self, *people: str) -> None:
        for id in people:
            identity = Identity(id, id, False, "user", None, None, frozenset(), issued_at=0.0, expires_at=None)
            member = Member(id=id, guest=False, roles=frozenset({"user"}), audience="user")
            session = Session(f"sid-{id}", identity, member, 0.0, "127.0.0.1", self.channel)
            self.channel.admit(session, auto_rooms(member))

    def heard(self, id: str, event: str) -> list[Any]:
        return [frame["data"] for frame in self.channel.frames.get(f"sid-{id}", []) if frame["type"] == event]

    async def counts(self, id: str, expected: int) -> None:
        await until(lambda: [frame["count"] for frame in self.heard(id, COUNTED)][-1:] == [expected])

    def send(self, *targets: Target) -> "asyncio.Task[Any]":
        return asyncio.create_task(self.notifications.send(targets, NOTE, sender=None))

    async def commits(self, number: int) -> None:
        await until(lambda: self.store.committed == number, what=f"commit {number}")


@pytest.fixture
async def world(tmp_path: Path, clock: FakeClock) -> AsyncIterator[World]:
    store = SlowStore(tmp_path / "test.db")
    await store.open()
    world = World(store, clock)
    world.connect("5", "6")
    counting = asyncio.create_task(world.counter.run())
    yield world
    counting.cancel()
    with suppress(asyncio.CancelledError):
        await counting
    await store.close()


async def give_up(task: "asyncio.Task[Any]") -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_who_was_sent_something_by_a_request_that_was_given_up_is_counted(world: World) -> None:
    world.store.answering.clear()
    sending = world.send(TO_5, TO_6)
    await world.commits(1)
    await give_up(sending)
    world.store.answering.set()
    await world.counts("5", 1)
    await world.counts("6", 1)


async def test_a_request_given_up_before_the_database_has_stored_it_is_counted_too(world: World) -> None:
    sending = world.send(TO_5)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await give_up(sending)
    await world.counts("5", 1)


async def test_a_request_given_up_while_it_waits_for_its_turn_is_counted(world: World) -> None:
    world.store.answering.clear()
    first = world.send(TO_5)
    await world.commits(1)
    slow, world.store.answering = world.store.answering, asyncio.Event()
    world.store.answering.set()
    second = world.send(TO_6)
    await world.commits(2)
    for _ in range(3):
        await asyncio.sleep(0)
    assert not second.done()
    await give_up(second)
    await world.counts("6", 1)
    slow.set()
    await first
    await world.counts("5", 1)


async def test_a_draft_whose_publication_was_cut_short_is_counted(world: World) -> None:
    await world.notifications.send([TO_5], NOTE, sender=None, run_at=world.clock.now + 10)
    world.clock.advance(10)
    world.store.answering.clear()
    publishing = asyncio.create_task(world.notifications.run_due())
    await world.commits(1)
    await give_up(publishing)
    world.store.answering.set()
    await world.counts("5", 1)


async def test_one_that_cannot_be_shown_keeps_no_other_from_it(world: World) -> None:
    world.notifications.watch(Stumbling("user_5"))
    sent = await world.send(TO_5, TO_6)
    assert len(sent.stored) == 2
    assert [row["id"] for row in world.heard("6", NEWS)] == [sent.stored[1].notification.id]
    await world.counts("5", 1)
    await world.counts("6", 1)
    failures = world.metrics.registry.get_sample_value("roomcast_background_failures_total", {"task": "showing"})
    assert failures == 1


async def test_others_have_their_turn_while_many_are_told(world: World) -> None:
    people = [str(1000 + number) for number in range(3 * SHOWN_TOGETHER)]
    world.connect(*people)
    sending = world.send(*(Target(recipient=f"user:{id}") for id in people))
    partly: list[int] = []
    while not sending.done():
        told = sum(len(world.heard(id, NEWS)) for id in people)
        if 0 < told < len(people):
            partly.append(told)
        await asyncio.sleep(0)
    assert partly


@pytest.mark.parametrize(("caller", "code"), [("user:5", "FORBIDDEN"), ("user:8", "NOT_FOUND")])
async def test_only_who_received_a_broadcast_learns_that_it_is_somebody_elses(
    world: World, caller: Principal, code: str
) -> None:
    await world.store.open_membership("user:5", "room:x", now=world.clock.now)
    sent = await world.send(Target(audience="room:x"))
    id = sent.stored[0].notification.id
    with pytest.raises(RealtimeError) as refusal:
        await world.notifications.retract(id, caller=caller, may_all=False)
    assert refusal.value.code == code
    await world.notifications.retract(id, caller=caller, may_all=True)
