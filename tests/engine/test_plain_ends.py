"""Every way in which a plain WebSocket ends: once, with what was said before, and with nothing left behind."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from realtime.engine.frames import Burst
from realtime.engine.plain import PlainSession
from tests.engine.plainly import Member, Plain, message, plain, served
from tests.engine.protocol import LIMIT, Endpoint, until
from tests.engine.protocol import Refused as NotOpened
from tests.engine.wires import CLOSE, PONG, masked, turns


@pytest.fixture
async def made() -> Plain:
    return plain()


@pytest.fixture
async def endpoint(made: Plain) -> AsyncIterator[Endpoint]:
    async with served(made) as endpoint:
        yield endpoint


def echo(session: PlainSession, text: Any) -> None:
    session.deliver(Burst.of(text if isinstance(text, bytes) else text.encode()))


def pong(number: object) -> bytes:
    return masked(str(number), PONG)


async def test_what_was_delivered_comes_before_the_close(made: Plain, endpoint: Endpoint) -> None:
    frames = await endpoint.frames()
    await until(lambda: made.seen.sessions)
    [session] = made.seen.sessions
    for number in range(10):
        session.deliver(message(f"{number}" + "x" * 50_000))
    session.end("done", code=4000, text="that was all")
    assert [str(frame)[0] for frame in await frames.until_closed()] == list("0123456789")
    assert frames._socket.close_code == 4000
    await until(lambda: not made.server.sockets)
    assert made.seen.ends == ["done"]


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (1000, "", ""),
        (4001, "short", "short"),
        (1008, "x" * 200, "x" * 123),
        (1008, "ü" * 100, "ü" * 61),
        (1008, "x" + "🙂" * 100, "x" + "🙂" * 30),
        (1008, "\ud800", "?"),
    ],
)
async def test_a_close_has_a_code_and_a_text_that_fits(made: Plain, code: int, text: str, expected: str) -> None:
    member = made.member()
    member.session.end("done", code=code, text=text)
    assert member.farewells == [(code, expected)]


async def test_a_session_ends_once_whatever_happens_then(made: Plain) -> None:
    made.seen.on_received = echo
    member = made.member()
    member.session.end("first", code=4000)
    member.session.end("second", code=4001)
    member.say("ignored")
    member.session.ping()
    assert not member.session.deliver(message("late"))
    member.wire.say(pong(1), masked((4000).to_bytes(2, "big"), CLOSE))
    await turns(5)
    member.wire.hang_up()
    await turns(5)
    assert (made.seen.log, made.seen.pongs, member.heard) == ([], [], [])
    assert member.farewells == [(4000, "")]
    assert made.seen.ends == ["first"]
    assert made.closes("first") == 1
    assert made.closes("second") == 0


async def test_at_the_end_what_waits_is_dropped_and_what_runs_goes_on(made: Plain) -> None:
    gate = asyncio.Event()
    done: list[Any] = []

    async def work(session: PlainSession, text: Any) -> None:
        await gate.wait()
        done.append(text)

    made.seen.on_received = work
    member = made.member()
    member.say("runs", "waits")
    member.session.end("done")
    await until(lambda: made.seen.ends)
    assert member.session.sid in made.server.sockets  # whoever runs may still ask for it
    gate.set()
    await until(lambda: not made.server.sockets)
    assert done == ["runs"]


async def test_an_endpoint_may_wait_while_it_cleans_up(made: Plain) -> None:
    gate = asyncio.Event()
    made.seen.on_ended = lambda session, reason: gate.wait()
    member = made.member()
    member.wire.hang_up()
    await until(lambda: made.seen.ends)
    assert member.session.sid in made.server.sockets
    gate.set()
    await until(lambda: not made.server.sockets)


async def test_an_endpoint_that_fails_to_clean_up_leaves_nothing_behind(made: Plain) -> None:
    def ended(session: PlainSession, reason: str) -> None:
        raise RuntimeError("on purpose")

    made.seen.on_ended = ended
    with capture_logs() as lines:
        members = [made.member() for _ in range(3)]
        for member in members:
            member.wire.hang_up()
        await until(lambda: len(made.seen.ends) == 3)
    assert made.server.sockets == {}
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (masked("x" * 101), 1009),
        (masked("x" * 60, fin=False) + masked("x" * 60, 0x0), 1009),
        (b"\x81\x01x", 1002),  # not masked
        (b"\xf1\x80" + bytes(4), 1002),
        (b"\x83\x80" + bytes(4), 1002),
        (masked("x", 0x0), 1002),
        (masked(b"\xff\xff"), 1007),
    ],
)
async def test_what_is_no_message_closes_with_its_code(data: bytes, code: int) -> None:
    made = plain(max_http_buffer_size=100)
    member = made.member()
    member.wire.say(masked("x" * 100))
    with capture_logs() as lines:
        member.wire.say(data)
        await until(lambda: made.seen.ends)
    assert member.farewells == [(code, "")]
    assert made.seen.log == ["x" * 100]
    assert made.seen.ends == ["transport error"]
    assert [line["log_level"] for line in lines] == ["warning"]


@pytest.mark.parametrize("code", [1000, 1001, 3000, 4999])
async def test_a_close_of_the_client_is_answered(made: Plain, code: int) -> None:
    member = made.member()
    member.wire.say(masked(code.to_bytes(2, "big") + b"bye", CLOSE))
    await until(lambda: made.seen.ends)
    assert member.farewells == [(code, "")]
    assert made.seen.ends == ["transport close"]


# --- the end of the server ---


async def test_at_shutdown_everybody_is_told_to_come_back(made: Plain, endpoint: Endpoint) -> None:
    clients = [await endpoint.frames() for _ in range(3)]
    await until(lambda: len(made.seen.sessions) == 3)
    stopping = asyncio.create_task(made.server.close_all(1001, grace=LIMIT, text="restart"))
    for frames in clients:
        assert await frames.until_closed() == []
        assert frames._socket.close_code == 1001
    await stopping
    assert made.seen.ends == ["server disconnect"] * 3
    assert made.server.sockets == {}
    with pytest.raises(NotOpened) as refused:
        await endpoint.frames()
    assert str(refused.value) == "503"


async def test_nothing_opens_any_more_when_the_other_half_of_the_server_stops(made: Plain, endpoint: Endpoint) -> None:
    await made.io.eio.close_all(1001, grace=0)
    with pytest.raises(NotOpened):
        await endpoint.frames()


async def test_who_does_not_leave_at_shutdown_is_aborted(made: Plain) -> None:
    polite, rude = made.member(), made.member()
    stopping = asyncio.create_task(made.server.close_all(1001, grace=0.05))
    await turns(2)
    polite.wire.say(masked((1001).to_bytes(2, "big"), CLOSE))
    await stopping
    assert (polite.wire.aborted, rude.wire.aborted) == (False, True)
    assert made.seen.ends == ["server disconnect"] * 2


@pytest.mark.parametrize("stubborn", [False, True])
async def test_who_still_opens_at_shutdown_ends_too(made: Plain, stubborn: bool) -> None:
    gate = asyncio.Event()

    async def opened(session: PlainSession) -> None:
        try:
            await gate.wait()
        except asyncio.CancelledError:
            if not stubborn:
                raise
            await gate.wait()

    made.seen.on_opened = opened
    made.member()
    await turns(2)
    await made.server.close_all(1001, grace=0.02)
    assert made.seen.ends == ["server disconnect"]
    assert made.server.sockets == {}
    gate.set()
    await turns(5)
    assert made.seen.ends == ["server disconnect"]


async def test_a_server_that_never_opened_anything_stops_at_once(made: Plain) -> None:
    await made.server.close_all(1001, grace=LIMIT)


async def test_after_a_shutdown_no_timer_is_left(made: Plain) -> None:
    for _ in range(3):
        made.member().session.ping()
    await made.server.close_all(1001, grace=0.01)
    await made.io.eio.shutdown()
    assert not made.server._beats._items
    assert not made.server._looks._items


# --- nothing stays ---


def leave(member: Member) -> None:
    member.wire.say(masked((1000).to_bytes(2, "big"), CLOSE))


def vanish(member: Member) -> None:
    member.wire.hang_up()


def break_protocol(member: Member) -> None:
    member.wire.say(b"\x81\x01x")


def be_ended(member: Member) -> None:
    member.session.end("done", code=4000)


def be_cut(member: Member) -> None:
    member.session.ws.cut("no progress")


WAYS: list[Callable[[Member], None]] = [leave, vanish, break_protocol, be_ended, be_cut]


@pytest.mark.parametrize("order", range(5))
async def test_whatever_happens_to_sessions_each_ends_once_and_none_is_left(made: Plain, order: int) -> None:
    chance = random.Random(order)
    ends: dict[str, int] = {}

    async def pause(session: PlainSession, *_: Any) -> None:
        await turns(chance.randrange(4))

    async def ended(session: PlainSession, reason: str) -> None:
        ends[session.sid] = ends.get(session.sid, 0) + 1
        await pause(session)

    made.seen.on_opened, made.seen.on_received, made.seen.on_ended = pause, pause, ended
    sids = []
    for _ in range(300):
        member = made.member()
        sids.append(member.session.sid)
        await turns(chance.randrange(2))
        if chance.random() < 0.5:
            member.say(*["x"] * chance.randrange(5))
        for way in chance.choices(WAYS, k=chance.randrange(1, 4)):
            if not member.wire._closing:
                way(member)
            await turns(chance.randrange(2))
        member.wire.abort()
    await until(lambda: not made.server.sockets)
    assert ends == dict.fromkeys(sids, 1)


async def test_sessions_have_no_dictionaries(made: Plain) -> None:
    member = made.member()
    assert not hasattr(member.session, "__dict__")
    assert not hasattr(member.session.ws, "__dict__")
