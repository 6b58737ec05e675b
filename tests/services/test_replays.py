"""Connections that catch up while new notifications go on coming."""

import asyncio
from collections.abc import Sequence

import pytest

from realtime.auth import Identity
from realtime.engine.channel import Channel, Session
from realtime.models import Content, Notification, Target
from realtime.services.replays import MAX_HELD, STILL_SHOWN_SECONDS, FellBehind, Replays
from rooms.membership import Membership
from rooms.policy import Member
from tests.support import FakeClock, until

GUEST = "guest:7"
NOW = 100.0


def session(sid: str = "a", id: str = "7") -> Session:
    identity = Identity(id, int(id), True, "guest", None, None, frozenset(), 0.0, None)
    member = Member(id=id, guest=True, roles=frozenset({"guest"}), audience="guest")
    channel = Channel("/somewhere", Membership(max_rooms=10))
    session = Session(sid, identity, member, 0.0, "127.0.0.1", channel)
    channel.admit(session, [])
    return session


def row(id: int, *, at: float = 0.0) -> Notification:
    content = Content(type="info", title="t", message="m")
    return Notification(id, Target(recipient=GUEST), content, None, at or id, at or id)


class Replay:
    """One connection that catches up, and what it was shown."""

    def __init__(self, replays: Replays, missed: Sequence[Notification]) -> None:
        self.replays = replays
        self.missed = missed
        self.shown: list[int] = []
        self.fetched = asyncio.Event()
        self.read = asyncio.Event()
        self.read.set()
        self.gone = False

    async def fetch(self) -> Sequence[Notification]:
        await self.fetched.wait()
        return self.missed

    def show(self, notification: Notification) -> None:
        self.shown.append(notification.id)

    async def drain(self) -> bool:
        await self.read.wait()
        return not self.gone

    async def run(self, session: Session) -> None:
        await self.replays.run(session, self.fetch, self.show, self.drain)

    def start(self, session: Session) -> "asyncio.Task[None]":
        return asyncio.create_task(self.run(session))


async def test_what_was_missed_comes_before_what_comes_meanwhile() -> None:
    replays = Replays(lambda: NOW)
    replay = Replay(replays, [row(1), row(2)])
    task = replay.start(session())
    await asyncio.sleep(0)
    assert replays.hold_back(row(3), [GUEST]) == {"a"}
    replay.fetched.set()
    await task
    assert replay.shown == [1, 2, 3]
    assert replays.hold_back(row(4), [GUEST]) == frozenset()


async def test_a_row_that_is_missed_and_new_comes_once() -> None:
    replays = Replays(lambda: NOW)
    replay = Replay(replays, [row(1), row(2)])
    task = replay.start(session())
    await asyncio.sleep(0)
    replays.hold_back(row(2), [GUEST])
    replay.fetched.set()
    await task
    assert replay.shown == [1, 2]


async def test_a_row_that_its_group_replaced_meanwhile_comes_again() -> None:
    replays = Replays(lambda: NOW)
    replay = Replay(replays, [row(1)])
    task = replay.start(session())
    await asyncio.sleep(0)
    replays.hold_back(row(1, at=50.0), [GUEST])
    replay.fetched.set()
    await task
    assert replay.shown == [1, 1]


async def test_the_next_row_waits_until_the_client_has_read() -> None:
    replays = Replays(lambda: NOW)
    replay = Replay(replays, [row(1), row(2)])
    replay.fetched.set()
    replay.read.clear()
    task = replay.start(session())
    for _ in range(5):
        await asyncio.sleep(0)
    assert replay.shown == [1]
    replays.hold_back(row(3), [GUEST])
    replay.read.set()
    await task
    assert replay.shown == [1, 2, 3]


async def test_others_are_not_held_back() -> None:
    replays = Replays(lambda: NOW)
    replay = Replay(replays, [])
    task = replay.start(session())
    await asyncio.sleep(0)
    assert replays.hold_back(row(3), ["guest:8", "user:7"]) == frozenset()
    replay.fetched.set()
    await task
    assert replay.shown == []


async def test_each_tab_catches_up_by_itself() -> None:
    replays = Replays(lambda: NOW)
    one, two = Replay(replays, [row(1)]), Replay(replays, [row(1)])
    tasks = [one.start(session("a")), two.start(session("b"))]
    await asyncio.sleep(0)
    one.fetched.set()
    await tasks[0]
    assert replays.hold_back(row(2), [GUEST]) == {"b"}
    two.fetched.set()
    await tasks[1]
    assert (one.shown, two.shown) == ([1], [1, 2])


async def test_a_connection_that_falls_too_far_behind_ends() -> None:
    replays = Replays(lambda: NOW)
    replay = Replay(replays, [])
    task = replay.start(session())
    await asyncio.sleep(0)
    for id in range(1, MAX_HELD + 2):
        replays.hold_back(row(id), [GUEST])
    replay.fetched.set()
    with pytest.raises(FellBehind):
        await task
    assert replay.shown == list(range(1, MAX_HELD + 1))


async def test_a_connection_that_goes_leaves_nothing_behind() -> None:
    replays = Replays(lambda: NOW)
    replay = Replay(replays, [])
    task = replay.start(session())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert replays.hold_back(row(1), [GUEST]) == frozenset()


async def caught_up(replays: Replays, *missed: Notification) -> Session:
    replay = Replay(replays, missed)
    replay.fetched.set()
    connection = session()
    await replay.run(connection)
    return connection


async def test_a_row_that_is_shown_after_it_was_told_as_missed_does_not_come_twice() -> None:
    replays = Replays(lambda: NOW)
    await caught_up(replays, row(1, at=NOW - 5))
    assert replays.hold_back(row(1, at=NOW - 5), [GUEST]) == {"a"}
    assert replays.hold_back(row(1, at=NOW), [GUEST]) == frozenset()  # its group has replaced it
    assert replays.hold_back(row(2, at=NOW), [GUEST]) == frozenset()


async def test_old_rows_are_not_remembered() -> None:
    replays = Replays(lambda: NOW)
    await caught_up(replays, row(1, at=NOW - 3600))
    assert replays.hold_back(row(1, at=NOW - 3600), [GUEST]) == frozenset()


async def test_what_was_told_is_forgotten_when_it_can_be_shown_no_more() -> None:
    clock = FakeClock(NOW)
    replays = Replays(clock)
    await caught_up(replays, row(1, at=NOW))
    clock.advance(STILL_SHOWN_SECONDS - 1)
    assert replays.hold_back(row(1, at=NOW), [GUEST]) == {"a"}
    clock.advance(1)
    assert replays.hold_back(row(1, at=NOW), [GUEST]) == frozenset()


async def test_only_those_of_the_readers_are_looked_at_among_many() -> None:
    replays = Replays(lambda: NOW)
    told = [Replay(replays, [row(1, at=NOW)]) for _ in range(3)]
    for number, replay in enumerate(told):
        replay.fetched.set()
        await replay.run(session(f"s{number}", str(number)))
    many = {f"guest:{number}": number for number in range(1, 10)}
    assert replays.hold_back(row(1, at=NOW), many) == {"s1", "s2"}
    assert replays.hold_back(row(1, at=NOW), ["guest:0"]) == {"s0"}
    assert replays.hold_back(row(1, at=NOW), []) == frozenset()


async def test_what_was_told_is_forgotten_with_the_connection() -> None:
    replays = Replays(lambda: NOW)
    replays.forget(await caught_up(replays, row(1, at=NOW)))
    assert replays.hold_back(row(1, at=NOW), [GUEST]) == frozenset()


async def test_nothing_more_is_shown_to_a_client_that_is_gone() -> None:
    replays = Replays(lambda: NOW)
    replay = Replay(replays, [row(1), row(2)])
    replay.fetched.set()
    replay.gone = True
    await replay.run(session())
    assert replay.shown == [1]
    assert replays.hold_back(row(3, at=NOW), [GUEST]) == frozenset()


async def test_a_row_that_is_taken_back_meanwhile_is_not_shown() -> None:
    replays = Replays(lambda: NOW)
    replay = Replay(replays, [row(1), row(2), row(3)])
    replay.read.clear()
    task = replay.start(session())
    replay.fetched.set()
    await until(lambda: replay.shown == [1])
    replays.hold_back(row(4), [GUEST])
    replays.hold_back(row(5), [GUEST])
    for id in (2, 4):
        replays.withdraw(id)
    replay.read.set()
    await task
    assert replay.shown == [1, 3, 5]
