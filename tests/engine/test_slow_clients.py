"""Clients that do not take what they are sent: what they cost, when they are cut, and that nobody else suffers."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from realtime.engine import RealtimeServer
from realtime.engine.frames import Burst
from realtime.engine.hub import Hub, Limits, SlowClientPolicy
from realtime.engine.outflow import MAX_LATEST
from realtime.engine.polling import MAX_PACKETS_QUEUED
from realtime.engine.websocket import Readers, WebSocketConnection
from realtime.metrics import Metrics
from tests.engine.protocol import LIMIT, Endpoint, Frames, build, socketio_server, until
from tests.engine.wires import (
    FakeLoop,
    Member,
    TcpClient,
    Wire,
    closes,
    counted,
    held_for,
    masked,
    session_of,
    texts,
    turns,
)

ROOM = "crowd"
MEGABYTE = 1 << 20
SOFT = Limits().soft_buffer
STALL = 0.2


@dataclass
class Served:
    """A server whose every connection is in one room."""

    server: RealtimeServer
    metrics: Metrics
    left: list[tuple[str, str]] = field(default_factory=list)

    def room(self) -> list[str]:
        return list(self.server.manager.membership("/").members(ROOM))

    def cuts(self, reason: str) -> float:
        return counted(self.metrics, "roomcast_slow_clients_total", reason=reason)

    def dropped(self) -> float:
        return counted(self.metrics, "roomcast_dropped_frames_total")


def serve(**options: Any) -> Served:
    metrics = Metrics()
    server: RealtimeServer = build(metrics=metrics, **options)
    served = Served(server, metrics)

    async def connect(sid: str, environ: object) -> None:
        server.manager.admit(sid, "/").enter(sid, ROOM)

    async def disconnect(sid: str, reason: str) -> None:
        served.left.append((sid, reason))

    async def ask(sid: str) -> str:
        return "answer"

    server.on("connect", connect)
    server.on("disconnect", disconnect)
    server.on("ask", ask)
    return served


@pytest.fixture
async def served() -> Served:
    return serve()


def news(number: int, size: int) -> Burst:
    return Burst.encode("/", "news", [number, "x" * size])


# --- on the network ---


@pytest.fixture
async def stalling() -> AsyncIterator[tuple[Served, Endpoint]]:
    """A server that soon loses patience."""
    served = serve(limits=Limits(stall_seconds=STALL))
    async with socketio_server(served.server) as endpoint:
        yield served, endpoint


async def hear(frames: Frames, count: int) -> list[int]:
    """Return the numbers of the next events."""
    return [json.loads((await frames.text())[2:])[1][0] for _ in range(count)]


@pytest.mark.parametrize("pongs", [False, True], ids=["silent", "ponging"])
async def test_who_reads_nothing_is_cut_and_costs_little(served: Served, pongs: bool) -> None:
    sizes = [4096, 16_384, 65_000]
    count = 60 * MEGABYTE * len(sizes) // sum(sizes)
    async with socketio_server(served.server) as endpoint:
        other = await endpoint.joined()
        async with await TcpClient.open(endpoint) as slow:
            sid = await slow.connect()
            connection = session_of(served.server, sid).ws
            assert connection is not None
            healthy = session_of(served.server, other.sid)
            hearing = asyncio.create_task(hear(other, count))
            most = 0
            for number in range(count):
                served.server.deliver(served.room(), news(number, sizes[number % len(sizes)]))
                most = max(most, held_for(connection))
                if pongs and not slow.gone and number % 50 == 0 and not connection.closing:
                    await slow.send(masked("3"))
                await healthy.drain()
            assert await hearing == list(range(count))
            await until(lambda: connection.gone)
            assert SOFT < most <= 2 * MEGABYTE
            assert served.cuts("buffer full") == 1
            assert served.left == [(sid, "transport error")]
            assert served.room() == [other.sid]
            await slow.until_gone()
            assert not {"1", "41"} & set(slow.texts())


async def choke(served: Served, connection: WebSocketConnection) -> None:
    """Send to a connection until the network takes no more, and little waits."""
    number = 0
    while not connection.choked:
        assert number < 10_000
        served.server.deliver(served.room(), news(number, 4096))
        await turns(2)
        number += 1


@pytest.mark.parametrize("pongs", [False, True], ids=["silent", "ponging"])
async def test_who_takes_nothing_for_a_while_is_cut(stalling: tuple[Served, Endpoint], pongs: bool) -> None:
    served, endpoint = stalling
    async with await TcpClient.open(endpoint) as slow:
        sid = await slow.connect()
        connection = session_of(served.server, sid).ws
        assert connection is not None
        await choke(served, connection)
        assert 0 < held_for(connection) <= SOFT
        async with asyncio.timeout(LIMIT):
            while not connection.closing:
                if pongs:
                    await slow.send(masked("3"))
                await asyncio.sleep(STALL / 20)
        await until(lambda: served.left)
        assert served.cuts("no progress") == 1
        assert served.left == [(sid, "transport error")]
        await slow.until_gone()


async def test_who_takes_everything_late_is_kept_after_all(served: Served) -> None:
    async with socketio_server(served.server) as endpoint, await TcpClient.open(endpoint, buffer=1 << 18) as slow:
        sid = await slow.connect()
        session = session_of(served.server, sid)
        assert session.ws is not None
        await choke(served, session.ws)
        served.server.deliver([sid], Burst.encode("/", "last", None))
        draining = asyncio.create_task(session.drain())
        await turns(3)
        assert not draining.done()
        await slow.until(lambda: ["last", None] in slow.events())
        await draining
        numbers = [event[1][0] for event in slow.events() if event[0] == "news"]
        assert numbers == list(range(len(numbers)))
        assert served.left == []


# --- progress, with time under control ---


class Owner:
    """What a WebSocket tells whom it belongs to."""

    full = False

    def __init__(self) -> None:
        self.ends: list[str] = []

    def received(self, message: str | bytes) -> bool:
        return True

    def lost(self, connection: WebSocketConnection, reason: str) -> None:
        self.ends.append(reason)

    def ponged(self, payload: bytes) -> None:
        pass


@dataclass
class Lone:
    """One connection in a loop whose time the test controls."""

    loop: FakeLoop
    wire: Wire
    connection: WebSocketConnection
    owner: Owner
    metrics: Metrics


def lone(**limits: Any) -> Lone:
    loop, owner, metrics = FakeLoop(), Owner(), Metrics()
    hub = Hub(loop, Limits(**limits), metrics)  # type: ignore[arg-type]
    connection = WebSocketConnection(hub, Readers(loop, 1_000_000), owner, deflate=False)  # type: ignore[arg-type]
    wire = Wire(loop)
    connection.attach(wire, b"", b"")
    loop.turn()
    wire.stuck = True
    return Lone(loop, wire, connection, owner, metrics)


def test_a_small_buffer_that_does_not_move_is_cut() -> None:
    one = lone(stall_seconds=10.0)
    one.connection.write(b"x" * 100)
    one.loop.advance(9.9)
    assert not one.connection.closing
    one.loop.advance(3.0)
    assert one.wire.aborted
    assert one.owner.ends[0] == "transport error"
    assert counted(one.metrics, "roomcast_slow_clients_total", reason="no progress") == 1
    assert one.loop.timers == 0


def test_one_byte_in_time_is_progress() -> None:
    one = lone(stall_seconds=10.0)
    one.connection.write(b"x" * 100)
    for _ in range(50):
        one.loop.advance(7.0)
        one.wire.take(1)
    assert not one.connection.closing
    assert one.connection.choked
    one.loop.advance(13.0)
    assert one.connection.closing


def test_who_takes_less_than_is_written_makes_progress() -> None:
    one = lone(stall_seconds=10.0)
    for _ in range(50):
        one.connection.write(b"x" * 100)
        one.loop.advance(7.0)
        one.wire.take(10)
    assert not one.connection.closing


def test_what_is_written_meanwhile_is_no_progress() -> None:
    one = lone(stall_seconds=10.0)
    for _ in range(13):
        one.connection.write(b"x" * 100)
        one.loop.advance(1.0)
    assert one.connection.closing


def test_who_has_taken_everything_may_be_silent() -> None:
    one = lone(stall_seconds=10.0)
    one.connection.write(b"x" * 100)
    one.loop.advance(5.0)
    one.wire.take()
    assert not one.connection.choked
    one.loop.advance(100.0)
    assert not one.connection.closing
    assert one.loop.timers == 0


def test_patience_begins_anew_with_every_stall() -> None:
    one = lone(stall_seconds=10.0)
    for _ in range(5):
        one.connection.write(b"x" * 100)
        one.loop.advance(7.0)
        one.wire.take()
    assert not one.connection.closing


# --- the bound ---


@pytest.mark.parametrize("size", [1, 200, 4096, 65_536, 300_000])
async def test_the_bytes_kept_are_bounded_whatever_the_events_size(served: Served, size: int) -> None:
    member = Member(served.server).join()
    await turns(2)
    member.wire.stuck = True
    burst = news(0, size)
    sent = looked = 0
    while not member.session.ending:
        member.session.deliver(burst)
        sent += len(burst.frames)
        if sent - looked >= SOFT:
            looked = sent
            assert held_for(member.connection) <= 2 * MEGABYTE
    await until(lambda: served.left)
    assert served.left == [(member.sid, "transport error")]
    assert served.cuts("buffer full") == 1
    assert held_for(member.connection) == 0


async def test_who_is_cut_hears_no_farewell(served: Served) -> None:
    member = Member(served.server).join()
    await turns(2)
    member.wire.stuck = True
    for _ in range(100):
        member.session.deliver(news(0, 60_000))
    await until(lambda: served.left)
    assert member.wire.aborted
    assert closes(member.wire.written) == []
    assert not {"1", "41"} & set(member.heard)


async def test_a_cut_connection_takes_nothing_more(served: Served) -> None:
    member = Member(served.server).join()
    member.wire.stuck = True
    member.connection.cut("no progress")
    writes = len(member.wire.writes)
    assert served.server.deliver([member.sid], news(0, 10)) == 0
    member.connection.cut("no progress")
    await until(lambda: served.left)
    assert served.cuts("no progress") == 1
    assert len(member.wire.writes) == writes


# --- volatile events ---


def position(key: str, number: int) -> Burst:
    return Burst.encode("/", "position", [key, number]).volatile(key)


async def full(served: Served) -> Member:
    """Return a member that reads nothing any more, with more than the soft limit waiting for it."""
    member = Member(served.server).join()
    await turns(3)
    member.wire.stuck = True
    member.session.deliver(news(0, SOFT + 1000))
    await turns(2)
    assert held_for(member.connection) > SOFT
    return member


def positions(member: Member) -> list[Any]:
    return [args[0] for name, *args in member.events() if name == "position"]


async def test_of_volatile_events_a_slow_client_gets_the_latest_of_each_key(served: Served) -> None:
    member = await full(served)
    before = held_for(member.connection)
    for number in range(1000):
        for key in "abc":
            assert member.session.deliver(position(key, number))
    await turns(2)
    assert held_for(member.connection) == before
    member.wire.stuck = False
    member.wire.take()
    await turns(2)
    assert sorted(positions(member)) == [["a", 999], ["b", 999], ["c", 999]]


async def test_a_client_that_reads_gets_every_volatile_event(served: Served) -> None:
    member = Member(served.server).join()
    await turns(3)
    for number in range(50):
        member.session.deliver(position("a", number))
        await turns(1)
    await until(lambda: len(positions(member)) == 50)
    assert positions(member) == [["a", number] for number in range(50)]


async def test_below_the_soft_limit_volatile_events_wait_like_any_other(served: Served) -> None:
    member = Member(served.server).join()
    await turns(3)
    member.wire.stuck = True
    for number in range(3):
        member.session.deliver(position("a", number))
        await turns(2)
    member.wire.take()
    await until(lambda: len(positions(member)) == 3)


async def test_volatile_events_come_in_the_order_in_which_they_last_changed(served: Served) -> None:
    member = await full(served)
    for key, number in [("a", 1), ("b", 1), ("a", 2), ("c", 1), ("b", 2)]:
        member.session.deliver(position(key, number))
    member.wire.stuck = False
    member.wire.take()
    await turns(2)
    assert positions(member) == [["a", 2], ["c", 1], ["b", 2]]


async def test_an_old_volatile_event_never_follows_a_newer_one(served: Served) -> None:
    member = await full(served)
    member.session.deliver(position("a", 1))
    member.wire.take(held_for(member.connection) - 100)  # below the soft limit, and not yet empty
    member.session.deliver(position("a", 2))
    await turns(2)
    member.wire.stuck = False
    member.wire.take()
    await turns(2)
    assert positions(member)[-1] == ["a", 2]


async def test_a_burst_of_several_volatile_events_is_coalesced_by_each_key(served: Served) -> None:
    member = await full(served)
    member.session.deliver(Burst.join([position("a", 1), position("b", 1)]))
    member.session.deliver(Burst.join([position("b", 2), position("c", 2)]))
    member.wire.stuck = False
    member.wire.take()
    await turns(2)
    assert sorted(positions(member)) == [["a", 1], ["b", 2], ["c", 2]]


async def test_a_burst_with_an_event_that_must_arrive_is_never_coalesced(served: Served) -> None:
    member = await full(served)
    for number in range(3):
        member.session.deliver(Burst.join([position("a", number), Burst.encode("/", "must", number)]))
    member.wire.stuck = False
    member.wire.take()
    await turns(2)
    assert [event[1] for event in member.events() if event[0] == "must"] == [0, 1, 2]


async def test_the_keys_kept_are_bounded(served: Served) -> None:
    member = await full(served)
    for number in range(MAX_LATEST + 100):
        member.session.deliver(position(str(number), number))
    member.wire.stuck = False
    member.wire.take()
    await turns(2)
    assert len(positions(member)) == MAX_LATEST


# --- drop_oldest ---

DROP: SlowClientPolicy = "drop_oldest"


async def test_the_oldest_are_dropped_and_the_newest_arrive() -> None:
    served = serve(limits=Limits(policy=DROP))
    member = Member(served.server).join()
    await turns(3)
    member.wire.stuck = True
    total = 400
    for number in range(total):
        assert member.session.deliver(news(number, 16_000))
        assert held_for(member.connection) <= 2 * MEGABYTE
        await turns(1)
    assert not member.session.ending
    assert served.cuts("buffer full") == 0
    member.wire.stuck = False
    member.wire.take()
    await turns(3)
    numbers = [event[1][0] for event in member.events()]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == total - 1
    kept = len(numbers) * 16_000
    assert MEGABYTE // 2 < kept <= 2 * MEGABYTE
    assert numbers[-30:] == list(range(total - 30, total))
    assert served.dropped() == total - len(numbers) > 0
    assert served.left == []


async def test_after_a_drop_the_connection_goes_on() -> None:
    served = serve(limits=Limits(policy=DROP))
    member = Member(served.server).join()
    await turns(3)
    member.wire.stuck = True
    member.session.deliver(news(0, 3 * MEGABYTE))  # more than may wait, in one event
    for number in range(1, 100):
        member.session.deliver(news(number, 60_000))
    member.wire.stuck = False
    member.wire.take()
    await turns(2)
    member.say('421["ask"]')
    await until(lambda: '431["answer"]' in member.heard)


async def test_nothing_is_counted_when_nothing_is_dropped() -> None:
    served = serve(limits=Limits(policy=DROP))
    member = Member(served.server).join()
    member.wire.stuck = True
    for number in range(10):
        member.session.deliver(news(number, 60_000))
    assert served.dropped() == 0


# --- polling ---


@pytest.mark.parametrize("size", [1, 100_000])
async def test_who_does_not_poll_is_cut(served: Served, size: int) -> None:
    async with socketio_server(served.server) as endpoint:
        poller = await endpoint.poller()
        await poller.send("40")
        sid = json.loads((await poller.receive(1))[0][2:])["sid"]
        session = session_of(served.server, sid)
        assert session.polling is not None
        while served.server.deliver([sid], news(0, size)):
            assert session.polling.size <= MEGABYTE
            assert len(session.polling) <= MAX_PACKETS_QUEUED
        await until(lambda: served.left)
        assert served.left == [(sid, "transport error")]
        assert served.cuts("does not poll") == 1
        assert served.server.deliver([sid], news(0, size)) == 0
        assert await poller.refused() == 400
        assert served.server.eio.sockets == {}


# --- drain ---


async def test_drain_returns_at_once_when_nothing_waits(served: Served) -> None:
    member = Member(served.server).join()
    member.session.deliver(news(0, 100))
    draining = member.session.drain()
    with pytest.raises(StopIteration):  # it never waits
        draining.send(None)
    assert "news" in [event[0] for event in member.events()]  # it has been written


async def test_drain_returns_when_everything_was_taken(served: Served) -> None:
    member = await full(served)
    member.session.deliver(news(1, 100_000))
    waiting = [asyncio.create_task(member.session.drain()) for _ in range(2)]
    await turns(3)
    member.wire.take(10_000)
    await turns(3)
    assert not any(task.done() for task in waiting)
    while held_for(member.connection):
        assert not any(task.done() for task in waiting)
        member.wire.take()
        await turns(2)
    await asyncio.gather(*waiting)
    assert [event[1][0] for event in member.events()] == [0, 1]


async def test_drain_waits_for_the_poll_of_a_client_that_polls(served: Served) -> None:
    async with socketio_server(served.server) as endpoint:
        poller = await endpoint.poller()
        await poller.send("40")
        sid = json.loads((await poller.receive(1))[0][2:])["sid"]
        session = session_of(served.server, sid)
        assert served.server.deliver([sid], news(0, 1000)) == 1
        draining = asyncio.create_task(session.drain())
        await turns(3)
        assert not draining.done()
        assert "news" in (await poller.receive(1))[0]
        await draining
        assert served.server.deliver([sid], news(1, 1000)) == 1
        draining = asyncio.create_task(session.drain())
        await turns(3)
        session.end("transport close")
        await draining


async def test_drain_returns_when_the_client_is_gone(served: Served) -> None:
    member = await full(served)
    waiting = asyncio.create_task(member.session.drain())
    await turns(2)
    member.wire.hang_up()
    await waiting
    await member.session.drain()


async def test_drain_returns_when_the_client_is_cut(served: Served) -> None:
    member = await full(served)
    waiting = asyncio.create_task(member.session.drain())
    await turns(2)
    member.connection.cut("no progress")
    await waiting


async def test_a_drain_that_is_cancelled_harms_nobody(served: Served) -> None:
    member = await full(served)
    first, second = (asyncio.create_task(member.session.drain()) for _ in range(2))
    await turns(2)
    first.cancel()
    await turns(2)
    member.wire.take()
    await second
    assert first.cancelled()


def test_texts_are_read_from_many_writes() -> None:
    assert texts(Burst.of(b"4a", b"4" + b"b" * 70_000).frames) == ["4a", "4" + "b" * 70_000]
