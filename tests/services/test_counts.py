"""Counts that are pushed to everybody whom they concern, when they have changed."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from typing import Any, cast

import pytest

from realtime.auth import Identity
from realtime.dialects.root import ROOT
from realtime.engine.channel import Session
from realtime.engine.channels import Channels
from realtime.errors import StoreUnavailable
from realtime.metrics import Metrics
from realtime.models import Counts, Moments, Principal
from realtime.publisher import Outlet, Publisher
from realtime.services import counts
from realtime.services.audiences import Audiences
from realtime.services.counts import TOGETHER, UnreadCounter
from realtime.services.directory import Directory
from realtime.store.base import Store
from rooms.policy import Member, auto_rooms
from tests.services.hotel import RecordingChannel
from tests.support import FakeClock, until

EVENT = "notification_count_updated"


class Inbox:
    """Counts that tests set, and the questions that were asked."""

    def __init__(self) -> None:
        self.unread: dict[Principal, int] = {}
        self.revision = 0
        self.asked: list[list[Principal]] = []
        self.spans: list[tuple[float, float]] = []
        self.passing = Moments()
        self.failing = False
        self.open = asyncio.Event()
        self.open.set()

    def of(self, reader: Principal) -> Counts:
        unread = self.unread.get(reader, 0)
        return Counts(unread, unread + 1, {"info": unread}, self.revision)

    async def counts(self, readers: Sequence[Principal], *, now: float) -> dict[Principal, Counts]:
        self.asked.append(list(readers))
        found = {reader: self.of(reader) for reader in readers}
        await self.open.wait()
        if self.failing:
            raise StoreUnavailable
        return found

    async def moments(self, after: float, until: float) -> Moments:
        self.spans.append((after, until))
        if self.failing:
            raise StoreUnavailable
        return self.passing


class World:
    def __init__(self, clock: FakeClock) -> None:
        self.clock, self.inbox = clock, Inbox()
        self.channel = RecordingChannel("/")
        self.channels = Channels([self.channel])
        store = cast(Store, self.inbox)
        metrics = Metrics()
        self.counter = UnreadCounter(
            store=store,
            channels=self.channels,
            audiences=Audiences(store=store, channels=self.channels, directory=Directory(store, clock)),
            publisher=Publisher([Outlet(self.channel, ROOT)], metrics),
            clock=clock,
            metrics=metrics,
        )

    def connect(self, id: str, role: str = "user", sid: str | None = None, *, guest: bool = False) -> Session:
        identity = Identity(id, id, guest, role, None, None, frozenset(), issued_at=0.0, expires_at=None)
        member = Member(id=id, guest=guest, roles=frozenset({role}), audience=role)
        session = Session(sid or f"sid-{id}", identity, member, 0.0, "127.0.0.1", self.channel)
        self.channel.admit(session, auto_rooms(member))
        return session

    def heard(self, sid: str) -> list[Any]:
        return [frame["data"] for frame in self.channel.frames.get(sid, []) if frame["type"] == EVENT]

    def told(self, sid: str) -> list[int]:
        return [frame["count"] for frame in self.heard(sid)]

    async def hears(self, sid: str, *expected: int) -> None:
        await until(lambda: len(self.told(sid)) >= len(expected), what=f"{expected} (heard {self.told(sid)})")
        assert self.told(sid) == list(expected)

    async def idle(self) -> None:
        """Return when the worker has nothing left to do: whoever is counted last has been told."""
        self.connect("last")
        before = len(self.told("sid-last"))
        self.counter.mark("user:last")
        await until(lambda: len(self.told("sid-last")) > before)


@pytest.fixture
async def world(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(counts, "RETRY_SECONDS", 0.0)
    world = World(clock)
    task = asyncio.create_task(world.counter.run())
    yield world
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_all_connections_of_a_person_are_told_everything_that_badges_show(world: World) -> None:
    for sid in ("a", "b"):
        world.connect("5", sid=sid)
    world.connect("6")
    world.inbox.unread["user:5"], world.inbox.revision = 3, 9
    world.counter.mark("user:5")
    for sid in ("a", "b"):
        await world.hears(sid, 3)
        [frame] = world.heard(sid)
        assert (frame["unseenCount"], frame["categories"], frame["revision"]) == (4, {"info": 3}, 9)
    await world.idle()
    assert world.told("sid-6") == []


async def test_marks_that_wait_are_one_push_and_a_later_mark_is_another(world: World) -> None:
    world.connect("5")
    world.inbox.open.clear()
    world.counter.mark("user:5")
    await until(lambda: world.inbox.asked)
    for count in (1, 2, 3):
        world.inbox.unread["user:5"] = count
        world.counter.mark("user:5")
    world.inbox.open.set()
    await world.hears("sid-5", 0, 3)


async def test_many_people_are_counted_together(world: World) -> None:
    people = [f"user:{id}" for id in range(2 * TOGETHER + 1)]
    for person in people:
        world.connect(person.removeprefix("user:"))
    world.counter.mark(*people)
    await until(lambda: all(world.told(f"sid-{id}") for id in range(len(people))))
    assert [len(asked) for asked in world.inbox.asked] == [TOGETHER, TOGETHER, 1]
    assert {who for asked in world.inbox.asked for who in asked} == set(people)


async def test_nobody_is_counted_who_is_not_connected(world: World) -> None:
    world.counter.mark("user:5", "guest:5")
    await world.idle()
    assert world.inbox.asked == [["user:last"]]


async def test_newcomers_are_told_unless_they_know(world: World) -> None:
    world.inbox.unread["user:5"] = 2
    known = world.inbox.of("user:5")
    for sid, told in {"new": None, "knows": known, "knows-the-number": 2, "knew": 1}.items():
        world.counter.greet(world.connect("5", sid=sid), told=told)
    await world.hears("new", 2)
    await world.hears("knew", 2)
    await world.idle()
    assert world.told("knows") == world.told("knows-the-number") == []


async def test_a_database_that_is_away_delays_counts_and_loses_none(world: World) -> None:
    world.connect("5")
    greeted = world.connect("6")
    world.inbox.failing = True
    world.counter.mark("user:5")
    world.counter.greet(greeted)
    await until(lambda: len(world.inbox.asked) > 3)
    assert world.told("sid-5") == world.told("sid-6") == []
    world.inbox.failing = False
    await world.hears("sid-5", 0)
    await world.hears("sid-6", 0)


async def test_passing_time_is_asked_about_once(world: World, clock: FakeClock) -> None:
    world.connect("5")
    begun = clock.now
    await world.counter.tick()
    assert world.inbox.spans == []
    for later in (1.0, 2.0):
        clock.now = begun + later
        await world.counter.tick()
    assert world.inbox.spans == [(begun, begun + 1), (begun + 1, begun + 2)]


async def test_whose_rows_expire_or_come_back_is_told(world: World, clock: FakeClock) -> None:
    for id, role in (("5", "user"), ("6", "user"), ("7", "technician"), ("8", "user")):
        world.connect(id, role)
    world.connect("9", "guest", guest=True)
    world.inbox.passing = Moments(frozenset({"user:5"}), frozenset({"role:technician"}))
    clock.advance(1)
    await world.counter.tick()
    await world.hears("sid-5", 0)
    await world.hears("sid-7", 0)
    await world.idle()
    assert world.told("sid-6") == world.told("sid-8") == []
    world.inbox.passing = Moments(frozenset(), frozenset({"room:work_order_7"}))
    clock.advance(1)
    await world.counter.tick()
    await world.hears("sid-6", 0)  # who has left the room keeps what came before
    await world.idle()
    assert world.told("sid-9") == []


async def test_however_many_audiences_are_concerned_connections_are_gone_through_once(
    world: World, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    for id, role in (("5", "user"), ("6", "technician"), ("7", "manager")):
        world.connect(id, role)
    walks: list[None] = []
    sessions = world.channels.sessions

    def counted() -> Iterator[Session]:
        walks.append(None)
        return sessions()

    monkeypatch.setattr(world.channels, "sessions", counted)
    roles = [f"role:{number}" for number in range(50)]
    world.inbox.passing = Moments(frozenset(), frozenset({"role:user", "role:technician", "guests", *roles}))
    clock.advance(1)
    await world.counter.tick()
    assert len(walks) == 1
    await world.hears("sid-5", 0)
    await world.hears("sid-6", 0)
    await world.idle()
    assert world.told("sid-7") == []


async def test_a_clock_that_was_set_back_brings_rows_back(world: World, clock: FakeClock) -> None:
    world.connect("5")
    world.inbox.passing = Moments(frozenset({"user:5"}))
    begun = clock.now
    clock.now = begun - 60
    await world.counter.tick()
    assert world.inbox.spans == [(begun - 60, begun)]
    await world.hears("sid-5", 0)


async def test_nothing_is_asked_while_nobody_is_there(world: World, clock: FakeClock) -> None:
    clock.advance(1)
    await world.counter.tick()
    assert world.inbox.spans == []
    world.connect("5")
    clock.advance(1)
    await world.counter.tick()
    assert world.inbox.spans == [(clock.now - 1, clock.now)]


async def test_a_time_that_could_not_be_asked_about_is_asked_about_again(world: World, clock: FakeClock) -> None:
    world.connect("5")
    begun = clock.now
    clock.advance(1)
    world.inbox.failing = True
    with pytest.raises(StoreUnavailable):
        await world.counter.tick()
    world.inbox.failing = False
    clock.advance(1)
    await world.counter.tick()
    assert world.inbox.spans[-1] == (begun, begun + 2)
