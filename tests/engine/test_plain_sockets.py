"""Plain WebSockets: what opens one, the order of its messages, its pings, and every way in which it ends."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from realtime.engine.frames import COMPRESS_ABOVE, Burst
from realtime.engine.hub import MESSAGES_PER_TURN
from realtime.engine.ordered import MAX_HELD
from realtime.engine.plain import PlainSession
from realtime.engine.websocket import SLICE
from tests.engine.plainly import Plain, dial, message, plain, served, upgrade
from tests.engine.protocol import LIMIT, Endpoint, Frames, until
from tests.engine.wires import BINARY, CLOSE, Parser, TcpClient, held_for, masked, turns

MEGABYTE = 1 << 20
BIG = 100_000


@pytest.fixture
async def made() -> Plain:
    return plain()


@pytest.fixture
async def endpoint(made: Plain) -> AsyncIterator[Endpoint]:
    async with served(made) as endpoint:
        yield endpoint


def echo(session: PlainSession, text: Any) -> None:
    session.deliver(Burst.of(text if isinstance(text, bytes) else text.encode()))


# --- opening ---


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        (upgrade(Upgrade=None), 426),
        (upgrade(Upgrade=None, Connection=None), 426),
        (upgrade(Upgrade="h2c"), 426),
        (upgrade(Sec_WebSocket_Version="8"), 426),
        (upgrade(Sec_WebSocket_Version=None), 426),
        (upgrade(Connection="close"), 400),
        (upgrade(version="1.0"), 400),
        (upgrade(Sec_WebSocket_Key=None), 400),
        (upgrade(Sec_WebSocket_Key="c2hvcnQ="), 400),
        (upgrade(Sec_WebSocket_Key="!"), 400),
    ],
)
async def test_what_is_no_upgrade_opens_nothing(
    made: Plain, endpoint: Endpoint, request_text: str, status: int
) -> None:
    reader, writer = await dial(endpoint, request_text)
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    assert head.split()[1] == str(status)
    assert ("sec-websocket-version: 13" in head.lower()) is (status == 426)
    assert made.seen.sessions == []
    assert made.server.sockets == {}
    writer.close()


async def test_an_endpoint_sees_who_asks(made: Plain, endpoint: Endpoint) -> None:
    def opened(session: PlainSession) -> None:
        shake = session.handshake
        made.seen.log.append(
            (shake.query["token"], shake.headers["X-Tenant"], dict(shake.cookies), shake.remote.address)
        )

    made.seen.on_opened = opened
    headers = {"X-Tenant": "seven", "Cookie": "a=1; b=2"}
    async with endpoint.http.ws_connect(endpoint.url + "?token=t", headers=headers):
        await until(lambda: made.seen.log)
    assert made.seen.log == [("t", "seven", {"a": "1", "b": "2"}, "127.0.0.1")]


async def test_messages_go_both_ways(made: Plain, endpoint: Endpoint) -> None:
    made.seen.on_received = echo
    frames = await endpoint.frames()
    await frames.send("hello", "ünïcödé", "x" * 100_000)
    assert await frames.take(3) == ["hello", "ünïcödé", "x" * 100_000]
    assert [session.sid for session in made.seen.sessions] == list(made.server.sockets)
    await frames.leave()
    await until(lambda: made.seen.ends)
    assert made.seen.ends == ["transport close"]
    assert made.server.sockets == {}


async def test_what_came_behind_the_upgrade_is_heard(made: Plain, endpoint: Endpoint) -> None:
    _, writer = await dial(endpoint, upgrade(), masked("at once"))
    await until(lambda: made.seen.log)
    assert made.seen.log == ["at once"]
    writer.close()


async def test_bytes_stay_bytes(made: Plain) -> None:
    member = made.member()
    member.wire.say(masked(b"\x00\xff", BINARY), masked("text"))
    assert made.seen.log == [b"\x00\xff", "text"]


async def test_what_comes_while_it_opens_waits(made: Plain) -> None:
    gate = asyncio.Event()

    async def opened(session: PlainSession) -> None:
        made.seen.log.append("opening")
        await gate.wait()
        echo(session, "welcome")
        made.seen.log.append("open")

    made.seen.on_opened = opened
    made.seen.on_received = echo
    member = made.member()
    member.say("1", "2")
    await turns(3)
    assert made.seen.log == ["opening"]
    gate.set()
    await until(lambda: len(made.seen.log) == 4)
    assert made.seen.log == ["opening", "open", "1", "2"]
    await turns(2)
    assert member.heard == ["welcome", "1", "2"]


async def test_who_is_refused_while_it_opens_hears_why(made: Plain) -> None:
    async def opened(session: PlainSession) -> None:
        await asyncio.sleep(0)
        echo(session, "you are not welcome")
        session.end("refused", code=1008, text="Authentication required")

    made.seen.on_opened = opened
    member = made.member()
    member.say("too", "early")
    await until(lambda: made.seen.ends)
    assert member.heard == ["you are not welcome"]
    assert member.farewells == [(1008, "Authentication required")]
    assert made.seen.log == []
    assert made.seen.ends == ["refused"]
    assert made.server.sockets == {}


async def test_who_takes_too_long_to_open_is_told_to_try_again() -> None:
    made = plain(opening_seconds=0.01)

    async def opened(session: PlainSession) -> None:
        await asyncio.Event().wait()

    made.seen.on_opened = opened
    member = made.member()
    member.say("early")
    await until(lambda: made.seen.ends)
    assert member.farewells == [(1013, "timeout")]
    assert made.seen.ends == ["timeout"]
    assert made.seen.log == []


@pytest.mark.parametrize("late", [False, True])
async def test_one_that_fails_to_open_does_not_stay_half_open(made: Plain, late: bool) -> None:
    async def opened(session: PlainSession) -> None:
        if late:
            await asyncio.sleep(0)
        raise RuntimeError("on purpose")

    made.seen.on_opened = opened
    with capture_logs() as lines:
        member = made.member()
        member.say("early")
        await until(lambda: made.seen.ends)
    assert [line["event"] for line in lines] == ["plain handler failed"]
    assert member.farewells == [(1011, "")]
    assert made.server.sockets == {}


@pytest.mark.parametrize("checks", [False, True])
async def test_who_vanishes_while_it_opens_ends_once_and_not_before_it_was_open(made: Plain, checks: bool) -> None:
    gate = asyncio.Event()

    async def opened(session: PlainSession) -> None:
        await gate.wait()
        if checks and session.ending:
            session.end("checked")
        made.seen.log.append("opened")

    made.seen.on_opened = opened
    made.seen.on_ended = lambda session, reason: made.seen.log.append("ended")
    member = made.member()
    member.wire.hang_up()
    await turns(5)
    assert made.seen.ends == []
    assert not member.session.deliver(message("x"))
    gate.set()
    await until(lambda: not made.server.sockets)
    assert made.seen.log == ["opened", "ended"]
    assert made.seen.ends == ["transport close"]
    assert made.closes("transport close") == 1


async def test_plain_and_socketio_connections_live_side_by_side(made: Plain, endpoint: Endpoint) -> None:
    made.seen.on_received = echo
    frames = await endpoint.frames()
    url = endpoint.url.replace("/plain/", "/socket.io/")
    async with endpoint.http.ws_connect(f"{url}?EIO=4&transport=websocket") as socket:
        other = Frames(socket)
        assert (await other.text()).startswith("0")
        await frames.send("hello")
        assert await frames.text() == "hello"
        assert len(made.io.eio.sockets) == len(made.server.sockets) == 1


# --- order ---


async def test_messages_are_handled_one_at_a_time(made: Plain) -> None:
    gates = {name: asyncio.Event() for name in "ab"}

    async def work(session: PlainSession, name: Any) -> None:
        if name in gates:
            await gates[name].wait()
        echo(session, name)

    made.seen.on_received = work
    member = made.member()
    member.say("a", "quick", "b", "last")
    await turns(3)
    assert made.seen.log == ["a"]
    gates["a"].set()
    await until(lambda: "b" in made.seen.log)
    assert made.seen.log == ["a", "quick", "b"]
    gates["b"].set()
    await until(lambda: "last" in member.heard)
    assert member.heard == ["a", "quick", "b", "last"]


async def test_a_client_with_too_much_waiting_is_not_read_until_it_is_done(made: Plain) -> None:
    gate = asyncio.Event()
    made.seen.on_received = lambda session, text: gate.wait() if text == "wait" else None
    member = made.member()
    member.say("wait")
    for number in range(MAX_HELD):
        assert member.wire.reading
        member.say(str(number))
    assert not member.wire.reading
    gate.set()
    await until(lambda: member.wire.reading)
    assert made.seen.log == ["wait", *map(str, range(MAX_HELD))]


async def test_of_a_flood_little_is_held(made: Plain) -> None:
    gate = asyncio.Event()
    made.seen.on_received = lambda session, text: gate.wait() if text == "wait" else None
    member = made.member()
    frame = masked("flood")
    member.wire.say(masked("wait"), *[frame] * 20_000)
    await turns(20)
    assert len(member.session._held or ()) <= MAX_HELD + SLICE // len(frame) + 1
    gate.set()
    await until(lambda: len(made.seen.log) == 20_001)


async def test_a_flood_of_one_does_not_stop_another(made: Plain) -> None:
    made.seen.on_received = lambda session, text: echo(session, text) if text != "flood" else None
    flooder, other = made.member(), made.member()
    total = 30_000
    flooder.wire.say(*[masked("flood")] * total)
    for number in range(5):
        before = len(made.seen.log)
        other.say(str(number))
        await turns(3)
        assert str(number) in other.heard
        assert before < len(made.seen.log) < total
    await until(lambda: len(made.seen.log) == total + 5)


async def test_messages_of_many_at_once_take_turns_with_everybody_elses(made: Plain) -> None:
    members = [made.member() for _ in range(3 * MESSAGES_PER_TURN)]
    await turns(3)
    for member in members:
        member.say("x")
    assert len(made.seen.log) <= MESSAGES_PER_TURN
    await until(lambda: len(made.seen.log) == len(members))


@pytest.mark.parametrize("late", [False, True])
async def test_a_handler_that_fails_ends_nothing(made: Plain, late: bool) -> None:
    async def work(session: PlainSession, text: Any) -> None:
        if late:
            await asyncio.sleep(0)
        if text == "bad":
            raise RuntimeError("on purpose")
        echo(session, text)

    made.seen.on_received = work
    member = made.member()
    with capture_logs() as lines:
        member.say("bad", "good")
        await until(lambda: member.heard)
    assert member.heard == ["good"]
    assert [(line["event"], line["sid"]) for line in lines] == [("plain handler failed", member.session.sid)]
    assert "bad" not in str(lines[0]["exc_info"])


# --- sending ---


async def test_a_burst_reaches_those_who_are_there(made: Plain) -> None:
    members = [made.member(deflate=bool(number % 2)) for number in range(4)]
    await turns(3)
    members[0].session.end("gone")
    sids = [member.session.sid for member in members]
    assert made.server.deliver([*sids, "unknown"], message("news")) == 3
    assert made.server.deliver([], message("news")) == 0
    await turns(2)
    assert [member.heard for member in members] == [[], ["news"], ["news"], ["news"]]


async def test_what_is_sent_in_one_turn_is_one_write_in_order(made: Plain) -> None:
    member = made.member()
    await turns(2)
    member.wire.writes.clear()
    for number in range(10):
        made.server.deliver([member.session.sid], message(f"a{number}"))
        member.session.deliver(message(f"b{number}"))
    await turns(2)
    assert len(member.wire.writes) == 1
    assert member.heard == [f"{kind}{number}" for number in range(10) for kind in "ab"]


@pytest.mark.parametrize(("size", "packed"), [(COMPRESS_ABOVE - 10, False), (COMPRESS_ABOVE + 1, True)])
async def test_large_messages_are_compressed_once_for_all_who_agreed(made: Plain, size: int, packed: bool) -> None:
    one, two, other = made.member(deflate=True), made.member(deflate=True), made.member()
    await turns(3)
    burst = message("x" * size)
    made.server.deliver([member.session.sid for member in (one, two, other)], burst)
    made.server.hub.ungroup()
    written = [member.session.ws.pending for member in (one, two, other)]
    assert written[0] is written[1]
    assert (written[0] is burst.deflated is not burst.frames) is packed
    assert written[2] is burst.frames
    await turns(2)
    (head, _) = Parser().feed(one.wire.written)[-1]
    assert bool(head & 0x40) is packed


async def test_a_client_that_offers_compression_reads_what_it_gets(made: Plain, endpoint: Endpoint) -> None:
    made.seen.on_received = echo
    async with endpoint.http.ws_connect(endpoint.url, compress=15) as socket:
        assert socket.compress == 15
        for text in ("small", "large " * 1000):
            await socket.send_str(text)
            assert await socket.receive_str(timeout=LIMIT) == text


async def test_drain_returns_when_everything_was_taken_or_the_peer_is_gone(made: Plain) -> None:
    member, other = made.member(), made.member()
    await turns(2)
    await member.session.drain()
    for one in (member, other):
        one.wire.stuck = True
        one.session.deliver(message("x" * BIG))
    draining = [asyncio.create_task(one.session.drain()) for one in (member, member, other)]
    await turns(3)
    member.wire.take(10)
    await turns(3)
    assert not any(task.done() for task in draining)
    member.wire.take()
    other.wire.hang_up()
    await asyncio.gather(*draining)
    await other.session.drain()


# --- slow readers ---


@pytest.mark.parametrize("size", [1, 4096, 60_000])
async def test_who_reads_nothing_is_cut_once_and_costs_little(made: Plain, size: int) -> None:
    member, healthy = made.member(), made.member()
    await turns(2)
    member.wire.stuck = True
    burst = message("x" * size)
    sids = [member.session.sid, healthy.session.sid]
    most = sent = 0
    while sent < 60 * MEGABYTE // (1 if size > 1000 else 1000):
        made.server.deliver(sids, burst)
        sent += len(burst.frames)
        most = max(most, held_for(member.session.ws))
        if sent % 50 == 0:
            healthy.wire.writes.clear()
            await turns(1)
    if size == 1:
        member.session.ws.cut("no progress")
    await until(lambda: made.seen.ends)
    assert most <= 2 * MEGABYTE
    assert made.seen.ends == ["transport error"]
    assert made.cuts("buffer full") + made.cuts("no progress") == 1
    assert member.wire.aborted
    assert member.farewells == []
    assert list(made.server.sockets) == [healthy.session.sid]


async def test_on_the_network_a_slow_reader_is_cut_and_another_gets_everything(made: Plain, endpoint: Endpoint) -> None:
    healthy = await endpoint.frames()
    async with await TcpClient.open(endpoint) as slow:
        await until(lambda: len(made.server.sockets) == 2)
        fast, lazy = made.seen.sessions
        count = 60 * MEGABYTE // 60_000
        hearing = asyncio.create_task(healthy.take(count))
        most = 0
        for number in range(count):
            made.server.deliver([fast.sid, lazy.sid], message(f"{number:06}" + "x" * 60_000))
            most = max(most, held_for(lazy.ws))
            await fast.drain()
        assert [int(str(frame)[:6]) for frame in await hearing] == list(range(count))
        await until(lambda: made.seen.ends)
        assert most <= 2 * MEGABYTE
        assert made.seen.ends == ["transport error"]
        assert made.cuts("buffer full") == 1
        await slow.until_gone()
        assert [head for head, _ in slow.frames if head & 0xF == CLOSE] == []
