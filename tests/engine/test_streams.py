"""Streams: the answer to a GET that does not end, for server-sent events."""

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from realtime.engine.frames import Burst
from realtime.engine.handshake import BadHandshake
from realtime.engine.hub import Limits
from realtime.engine.plain import PlainSession
from realtime.engine.stream import MAX_HEARD
from tests.engine.plainly import HEAD, IDLE, Plain, dial, plain, served, timed
from tests.engine.protocol import LIMIT, Endpoint, mounted, until
from tests.engine.wires import TcpClient, held_for, turns

MEGABYTE = 1 << 20


@pytest.fixture
async def made() -> Plain:
    return plain()


@pytest.fixture
async def endpoint(made: Plain) -> AsyncIterator[Endpoint]:
    async with served(made) as endpoint:
        yield endpoint


def lines(text: str) -> Burst:
    data = f"data: {text}\n\n".encode()
    return Burst(data, (data,))


def get(*, version: str = "1.1", more: str = "") -> str:
    return f"GET /plain/stream HTTP/{version}\r\nHost: x\r\n{more}\r\n"


async def only(made: Plain) -> PlainSession:
    await until(lambda: made.seen.sessions)
    [session] = made.seen.sessions
    return session


# --- what is written ---


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_stream_is_the_head_and_what_is_delivered_as_it_is(
    made: Plain, endpoint: Endpoint, version: str
) -> None:
    reader, writer = await dial(endpoint, get(version=version))
    session = await only(made)
    assert await reader.readexactly(len(HEAD)) == HEAD
    assert session.deliver(lines("one"))
    assert made.server.deliver([session.sid], lines("two")) == 1
    assert await reader.readexactly(22) == b"data: one\n\ndata: two\n\n"
    writer.close()


async def test_what_is_delivered_while_it_opens_follows_the_head(made: Plain) -> None:
    def opened(session: PlainSession) -> None:
        session.deliver(lines("first"))

    made.seen.on_opened = opened
    member = made.stream()
    await turns(2)
    assert member.wire.writes == [HEAD + b"data: first\n\n"]


async def test_an_http_client_reads_a_stream_to_its_end(made: Plain, endpoint: Endpoint) -> None:
    async with endpoint.http.get(endpoint.url + "stream") as response:
        assert response.headers["Content-Type"] == "text/event-stream"
        session = await only(made)
        for number in range(3):
            session.deliver(lines(str(number)))
        session.end("done", code=1008, text="not for streams")
        assert await response.text() == "data: 0\n\ndata: 1\n\ndata: 2\n\n"
    await until(lambda: not made.server.sockets)
    assert made.seen.ends == ["done"]


async def test_large_events_are_not_compressed(made: Plain, endpoint: Endpoint) -> None:
    headers = {"Accept-Encoding": "gzip", "Sec-WebSocket-Extensions": "permessage-deflate"}
    async with endpoint.http.get(endpoint.url + "stream", headers=headers) as response:
        session = await only(made)
        session.deliver(lines("x" * 100_000))
        assert await response.content.readuntil(b"\n\n") == b"data: " + b"x" * 100_000 + b"\n\n"


async def test_everything_is_flushed_before_the_end(made: Plain, endpoint: Endpoint) -> None:
    reader, writer = await dial(endpoint, get())
    session = await only(made)
    for number in range(15):
        session.deliver(lines(f"{number:02}" + "x" * 60_000))
    session.end("done")
    data = await asyncio.wait_for(reader.read(), LIMIT)
    found = [event[6:8] for event in data.removeprefix(HEAD).split(b"\n\n")[:-1]]
    assert found == [b"%02d" % number for number in range(15)]
    writer.close()


async def test_at_the_end_a_slow_client_is_not_waited_for_without_end(made: Plain) -> None:
    member = made.stream()
    await turns(2)
    member.wire.stuck = True
    member.session.deliver(lines("x" * 1000))
    member.session.end("done")
    assert member.wire.is_closing()
    assert not member.wire.aborted
    assert member.session.ws in made.server.hub.closing
    for connection in list(made.server.hub.closing):
        connection.abort()  # as two seconds later
    await turns(2)
    assert made.seen.ends == ["done"]
    assert not made.server.hub.closing


def test_something_is_said_each_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    made, loop = timed(monkeypatch, ping_interval=30.0, ping_timeout=20.0)
    member = made.stream(loop=loop)
    for number in range(1, 6):
        loop.advance(30.0)
        assert member.wire.written == HEAD + IDLE * number
    assert not member.session.ending
    member.wire.hang_up()
    loop.advance(1000.0)
    assert member.wire.written == HEAD + IDLE * 5
    assert loop.timers == 0


async def test_a_stream_cannot_be_pinged(made: Plain) -> None:
    member = made.stream()
    with pytest.raises(TypeError):
        member.session.ping()


async def test_drain_waits_for_the_client(made: Plain) -> None:
    member = made.stream()
    await turns(2)
    member.wire.stuck = True
    member.session.deliver(lines("x" * 100_000))
    draining = asyncio.create_task(member.session.drain())
    await turns(3)
    assert not draining.done()
    member.wire.take()
    await draining


async def test_volatile_events_of_a_slow_stream_are_replaced(made: Plain) -> None:
    member = made.stream()
    await turns(2)
    member.wire.stuck = True
    member.session.deliver(lines("x" * 70_000))
    await turns(2)
    for number in range(1000):
        member.session.deliver(lines(f"at {number}").volatile("place"))
    member.wire.stuck = False
    member.wire.take()
    await turns(2)
    assert member.wire.written.count(b"data: at") == 1
    assert member.wire.written.endswith(b"data: at 999\n\n")


# --- clients that do not read, or do more than that ---


async def test_sixty_megabytes_past_a_silent_stream_cost_little(made: Plain, endpoint: Endpoint) -> None:
    async with endpoint.http.get(endpoint.url + "stream") as response:
        fast = await only(made)
        async with await _silent(endpoint) as slow:
            await until(lambda: len(made.seen.sessions) == 2)
            lazy = made.seen.sessions[1]
            count = 60 * MEGABYTE // 60_000
            reading = asyncio.create_task(_read(response, count))
            most = 0
            for number in range(count):
                made.server.deliver([fast.sid, lazy.sid], lines(f"{number:06}" + "x" * 60_000))
                most = max(most, held_for(lazy.ws))
                await fast.drain()
            assert await reading == list(range(count))
            await until(lambda: made.seen.ends)
            assert most <= 2 * MEGABYTE
            assert made.seen.ends == ["transport error"]
            assert made.cuts("buffer full") == 1
            await slow.until_gone()


async def _silent(endpoint: Endpoint) -> TcpClient:
    return await TcpClient.open(Endpoint(endpoint.http, endpoint.url + "stream"))


async def _read(response: Any, count: int) -> list[int]:
    return [int((await response.content.readuntil(b"\n\n"))[6:12]) for _ in range(count)]


async def test_a_stream_that_takes_nothing_for_a_while_is_cut() -> None:
    made = plain(limits=Limits(stall_seconds=0.05))
    member = made.stream()
    await turns(2)
    member.wire.stuck = True
    member.session.deliver(lines("x"))
    await until(lambda: made.seen.ends)
    assert made.cuts("no progress") == 1
    assert member.wire.aborted
    assert made.server.sockets == {}


async def test_what_a_client_says_is_dropped_until_it_is_too_much(made: Plain, endpoint: Endpoint) -> None:
    reader, writer = await dial(endpoint, get(more="Content-Length: 1000000\r\n"))
    session = await only(made)
    writer.write(b"x" * (MAX_HEARD // 2))
    session.deliver(lines("still here"))
    assert await reader.readuntil(b"still here\n\n")
    assert not session.ending
    writer.write(b"x" * MAX_HEARD)
    await until(lambda: made.seen.ends)
    assert made.seen.ends == ["transport error"]
    assert made.seen.log == []
    assert made.server.sockets == {}
    writer.close()


async def test_a_second_request_behind_the_first_is_not_answered(made: Plain, endpoint: Endpoint) -> None:
    reader, writer = await dial(endpoint, get() + get())
    session = await only(made)
    session.deliver(lines("one"))
    session.end("done")
    assert await asyncio.wait_for(reader.read(), LIMIT) == HEAD + b"data: one\n\n"
    assert len(made.seen.sessions) == 1
    writer.close()


@pytest.mark.parametrize("way", ["close", "abort", "half"])
async def test_a_client_that_goes_ends_its_session_once(made: Plain, endpoint: Endpoint, way: str) -> None:
    reader, writer = await dial(endpoint, get())
    await reader.readexactly(len(HEAD))
    session = await only(made)
    if way == "half":
        writer.write_eof()
    else:
        getattr(writer.transport, way)()
    await until(lambda: made.seen.ends)
    assert made.seen.ends == ["transport close"]
    assert made.server.deliver([session.sid], lines("late")) == 0
    assert made.server.sockets == {}
    writer.close()


async def test_who_vanishes_while_it_opens_ends_once(made: Plain) -> None:
    gate = asyncio.Event()
    made.seen.on_opened = lambda session: gate.wait()
    member = made.stream()
    member.wire.hang_up()
    await turns(5)
    assert made.seen.ends == []
    gate.set()
    await until(lambda: not made.server.sockets)
    assert made.seen.ends == ["transport close"]


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the platform does not have it")
async def test_the_kernel_notices_a_peer_that_is_silently_gone() -> None:
    made = plain(ping_interval=30, ping_timeout=20)
    async with served(made) as endpoint, await _silent(endpoint):
        session = await only(made)
        transport: Any = session.ws.transport
        sock = transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 50_000


# --- the beginning and the end of the server ---


async def test_at_shutdown_streams_end_and_none_opens(made: Plain) -> None:
    refused: list[int] = []

    async def stream(request: web.Request) -> web.StreamResponse:
        try:
            return made.server.open_stream(request, made.seen, head=HEAD, idle=IDLE)[1]
        except BadHandshake as error:
            refused.append(error.status)
            return error.answer()

    async with (
        mounted(lambda app: app.router.add_get("/stream", stream), "stream") as endpoint,
        endpoint.http.get(endpoint.url.rstrip("/")) as response,
    ):
        session = await only(made)
        session.deliver(lines("last"))
        await made.server.close_all(1001, grace=LIMIT)
        assert await response.read() == b"data: last\n\n"
        assert made.seen.ends == ["server disconnect"]
        async with endpoint.http.get(endpoint.url.rstrip("/")) as late:
            assert late.status == 503
    assert refused == [503]


async def test_a_client_that_has_gone_gets_no_stream(made: Plain) -> None:
    refused: list[int] = []

    async def stream(request: web.Request) -> web.StreamResponse:
        transport = request.transport
        assert transport is not None
        transport.abort()
        try:
            return made.server.open_stream(request, made.seen, head=HEAD, idle=IDLE)[1]
        except BadHandshake as error:
            refused.append(error.status)
            return error.answer()

    async with mounted(lambda app: app.router.add_get("/plain/stream", stream), "plain") as endpoint:
        _, writer = await dial(endpoint, get())
        await until(lambda: refused)
        writer.close()
    assert refused == [400]
    assert made.seen.sessions == []
    assert made.server.sockets == {}


async def test_sessions_have_no_dictionaries(made: Plain) -> None:
    member = made.stream()
    assert not hasattr(member.session, "__dict__")
    assert not hasattr(member.session.ws, "__dict__")
