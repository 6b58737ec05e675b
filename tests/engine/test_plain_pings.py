"""Pings of plain WebSockets: their numbers, what an answer tells, and who is gone because there is none."""

import asyncio
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from realtime.engine.frames import Burst
from realtime.engine.ordered import MAX_HELD
from realtime.engine.plain import PlainSession
from tests.engine.plainly import Plain, message, plain, served, timed
from tests.engine.protocol import LIMIT, until
from tests.engine.wires import PONG, Parser, masked, turns

INTERVAL, PATIENCE = 30.0, 20.0


@pytest.fixture
async def made() -> Plain:
    return plain()


def echo(session: PlainSession, text: Any) -> None:
    session.deliver(Burst.of(text if isinstance(text, bytes) else text.encode()))


def pong(number: object) -> bytes:
    return masked(str(number), PONG)


async def test_pings_are_numbered_and_an_answer_tells_what_was_read(made: Plain) -> None:
    member = made.member()
    member.session.deliver(message("news"))
    assert [member.session.ping() for _ in range(3)] == [1, 2, 3]
    await turns(2)
    assert [head & 0xF for head, _ in Parser().feed(member.wire.written)] == [0x1, 0x9, 0x9, 0x9]
    assert member.pings == [b"1", b"2", b"3"]
    member.wire.say(pong(1))
    assert made.seen.pongs == [1]
    member.wire.say(pong(3))
    assert made.seen.pongs == [1, 3]


@pytest.mark.parametrize("payload", ["", "0", "2", "-1", "1 ", "+1", "one", "¹", "9" * 125, "1" * 20])
async def test_a_pong_that_answers_no_ping_tells_nothing(made: Plain, payload: str) -> None:
    member = made.member()
    member.session.ping()
    member.wire.say(pong(payload))
    assert made.seen.pongs == []
    member.wire.say(pong(1), pong(1))
    assert made.seen.pongs == [1]
    assert not member.session.ending


async def test_a_pong_does_not_wait_for_messages_before_it(made: Plain) -> None:
    gate = asyncio.Event()
    made.seen.on_received = lambda session, text: gate.wait()
    member = made.member()
    member.session.ping()
    member.wire.say(masked("wait"), pong(1))
    assert made.seen.pongs == [1]
    gate.set()


async def test_an_endpoint_that_fails_at_a_pong_ends_nothing(made: Plain) -> None:
    def ponged(session: PlainSession, number: int) -> None:
        raise RuntimeError("on purpose")

    made.seen.on_ponged = ponged
    made.seen.on_received = echo
    member = made.member()
    member.session.ping()
    with capture_logs() as lines:
        member.wire.say(pong(1), masked("still here"))
        await turns(2)
    assert member.heard == ["still here"]
    assert [line["event"] for line in lines] == ["plain handler failed"]


async def test_a_ping_of_the_client_is_answered(made: Plain) -> None:
    member = made.member()
    member.wire.say(masked("are you there", 0x9))
    await turns(2)
    assert Parser().feed(member.wire.written) == [(0x8A, b"are you there")]


def test_a_ping_goes_out_each_interval_and_who_answers_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    made, loop = timed(monkeypatch, ping_interval=INTERVAL, ping_timeout=PATIENCE)
    member = made.member(loop=loop)
    for number in range(1, 20):
        loop.advance(INTERVAL)
        assert member.pings == [str(n).encode() for n in range(1, number + 1)]
        member.wire.say(pong(number))
    assert not member.session.ending
    assert made.seen.pongs == list(range(1, 20))


def test_who_does_not_answer_in_time_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    made, loop = timed(monkeypatch, ping_interval=INTERVAL, ping_timeout=PATIENCE)
    member, healthy = made.member(loop=loop), made.member(loop=loop)
    loop.advance(INTERVAL)
    healthy.wire.say(pong(1))
    loop.advance(PATIENCE - 1)
    assert not member.session.ending
    loop.advance(2)
    assert made.seen.ends == ["ping timeout"]
    assert made.closes("ping timeout") == 1
    assert not healthy.session.ending
    loop.advance(1000 * INTERVAL)
    assert made.server.sockets == {}
    assert loop.timers == 0


def test_a_ping_of_the_endpoints_own_has_to_be_answered_too(monkeypatch: pytest.MonkeyPatch) -> None:
    made, loop = timed(monkeypatch, ping_interval=1000.0, ping_timeout=PATIENCE)
    member = made.member(loop=loop)
    for number in range(1, 6):
        assert member.session.ping() == number
        loop.advance(0.4 * PATIENCE)
        member.wire.say(pong(number))
    member.session.ping()
    member.session.ping()
    loop.advance(0.9 * PATIENCE)
    assert not member.session.ending
    member.wire.say(pong(6))  # a sign of life, but the last ping is still not answered
    loop.advance(0.9 * PATIENCE)
    assert not member.session.ending
    loop.advance(0.5 * PATIENCE)
    assert made.seen.ends == ["ping timeout"]


def test_many_pings_cost_no_more_deadlines_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    made, loop = timed(monkeypatch, ping_interval=INTERVAL, ping_timeout=PATIENCE)
    member = made.member(loop=loop)
    for number in range(1, 1001):
        member.session.ping()
        if number % 2:
            member.wire.say(pong(number))
    assert len(made.server._looks._items) == 1


def test_who_is_not_read_is_not_to_blame_for_an_unread_pong(monkeypatch: pytest.MonkeyPatch) -> None:
    made, loop = timed(monkeypatch, ping_interval=INTERVAL, ping_timeout=PATIENCE)
    member = made.member(loop=loop)
    blocker: Any = object()
    member.session._task = blocker  # as if a handler waited
    member.say(*map(str, range(MAX_HELD)))
    assert member.session.full
    loop.advance(INTERVAL + 5 * PATIENCE)
    assert not member.session.ending
    member.session._task = None
    member.session._turn()
    loop.advance(0.9 * PATIENCE)
    assert not member.session.ending
    loop.advance(INTERVAL)
    assert made.seen.ends == ["ping timeout"]


async def test_on_the_network_a_client_that_answers_no_ping_is_closed() -> None:
    made = plain(ping_interval=0.05, ping_timeout=0.05)
    async with served(made) as endpoint:
        async with endpoint.http.ws_connect(endpoint.url, autoping=False) as dead:
            living = await endpoint.frames()
            answering = asyncio.create_task(living.until_closed())
            await until(lambda: made.seen.ends)
            assert made.seen.ends == ["ping timeout"]
            assert (await dead.receive(timeout=LIMIT)).type is aiohttp.WSMsgType.PING
            assert len(made.server.sockets) == 1
        made.seen.sessions[1].end("done")
        await answering
