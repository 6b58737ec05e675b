"""The first look at a connection: who is let in at once, and that all others are answered as if nobody had looked."""

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from realtime.engine import door as module
from realtime.engine.door import Doors
from realtime.engine.handshake import detach
from tests.conftest import Starter
from tests.engine.wires import FakeLoop
from tests.support import Running, until

KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
UPGRADE = f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n{KEY}\r\n"
PATH = "/socket.io/?EIO=4&transport=websocket"
OPENING = f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\n{UPGRADE}\r\n".encode()


class Visits:
    """What the HTTP server was given."""

    def __init__(self) -> None:
        self.received: list[bytes] = []

    def __call__(self) -> "Visit":
        return Visit(self)


class Visit(asyncio.Protocol):
    def __init__(self, visits: Visits) -> None:
        self._visits = visits

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._visits.received.append(data)
        self._transport.close()


@asynccontextmanager
async def listening(admit: Callable[[web.Request], bool], visits: Visits) -> AsyncIterator[tuple[Doors, int]]:
    loop = asyncio.get_running_loop()
    doors = Doors(loop, visits, admit, path="/socket.io/")
    server = await loop.create_server(doors, "127.0.0.1", 0)
    try:
        yield doors, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        doors.close()


async def sent(port: int, *pieces: bytes) -> bytes:
    """Say something and return all of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer


class Host:
    """Lets people in, or not; keeps what was asked."""

    def __init__(self, *, lets_in: bool = True) -> None:
        self.asked: list[web.Request] = []
        self._lets_in = lets_in

    def __call__(self, request: web.Request) -> bool:
        self.asked.append(request)
        if self._lets_in:
            assert request.protocol.transport is not None
            request.protocol.transport.write(b"welcome")
            request.protocol.transport.close()
        return self._lets_in


async def test_an_opening_is_a_request_with_all_that_is_asked_of_one() -> None:
    host, visits = Host(), Visits()
    async with listening(host, visits) as (_, port):
        assert await sent(port, OPENING.replace(b"localhost", b"example.org")) == b"welcome"
    (request,) = host.asked
    assert (request.method, request.path, dict(request.query)) == (
        "GET",
        "/socket.io/",
        {"EIO": "4", "transport": "websocket"},
    )
    assert (request.host, request.remote, request.secure) == ("example.org", "127.0.0.1", False)
    assert request.headers["upgrade"] == "websocket"
    assert visits.received == []


@pytest.mark.parametrize(
    "data",
    [
        b"G",
        OPENING[:-1],
        OPENING + b"\x81\x80\0\0\0\0",
        OPENING.replace(b"GET", b"POST"),
        OPENING.replace(b"/socket.io/", b"/notifications"),
        OPENING.replace(b"/socket.io/?", b"/socket.io?"),
        OPENING.replace(b"Upgrade: websocket\r\n", b""),
        OPENING.replace(b"HTTP/1.1", b"HTTP/9"),
        OPENING.replace(b"Host: localhost", b"Host localhost"),
        OPENING.replace(b"Host: localhost", b"Host: " + b"x" * 9000),
        OPENING.replace(b"Host: localhost", b"Content-Length: 5"),
        OPENING + OPENING,
        OPENING.replace(b"Host: localhost", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
        OPENING.replace(b"Host: localhost", b"Content-Length: 4") + b"\r\n\r\n",
        OPENING.replace(UPGRADE.encode(), b"Transfer-Encoding: chunked\r\n") + b"0\r\n\r\n",
    ],
    ids=range(15),
)
async def test_what_is_no_plain_opening_goes_to_the_http_server(data: bytes) -> None:
    host, visits = Host(), Visits()
    async with listening(host, visits) as (_, port):
        await sent(port, data)
    assert b"".join(visits.received) == data
    assert host.asked == []


async def test_who_is_not_let_in_goes_to_the_http_server() -> None:
    host, visits = Host(lets_in=False), Visits()
    async with listening(host, visits) as (_, port):
        await sent(port, OPENING)
    assert len(host.asked) == 1
    assert visits.received == [OPENING]


async def test_a_host_that_fails_turns_nobody_away(caplog: pytest.LogCaptureFixture) -> None:
    def failing(_: web.Request) -> bool:
        raise RuntimeError("no")

    visits = Visits()
    async with listening(failing, visits) as (_, port):
        await sent(port, OPENING)
    assert visits.received == [OPENING]


async def test_a_host_that_fails_over_a_connection_that_it_took_ends_it() -> None:
    def failing(request: web.Request) -> bool:
        detach(request)
        raise RuntimeError("no")

    visits = Visits()
    async with listening(failing, visits) as (_, port):
        with contextlib.suppress(ConnectionResetError):
            assert await sent(port, OPENING) == b""
    assert visits.received == []


async def test_who_says_nothing_is_shown_out_at_the_end() -> None:
    async with listening(Host(), Visits()) as (doors, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await until(lambda: len(doors) == 1, what="a silent connection")
        doors.close()
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 10) == b""
        assert len(doors) == 0
        writer.close()


async def test_who_hangs_up_before_saying_anything_is_forgotten() -> None:
    async with listening(Host(), Visits()) as (doors, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        await until(lambda: len(doors) == 1, what="a silent connection")
        writer.close()
        await until(lambda: len(doors) == 0, what="its end")


# --- silence, with time under control ---


class Silent(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.aborted = False

    def abort(self) -> None:
        self.aborted = True

    def was_cut(self) -> bool:
        return self.aborted

    def is_closing(self) -> bool:
        return self.aborted

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        pass

    def close(self) -> None:
        self.aborted = True


def test_each_has_the_same_time_to_say_something() -> None:
    loop, visits = FakeLoop(), Visits()
    doors = Doors(loop, visits, Host(), path="/socket.io/")  # type: ignore[arg-type]
    silent = []
    for _ in range(3):
        door, transport = doors(), Silent()
        door.connection_made(transport)
        silent.append((door, transport))
        loop.advance(2.0)
    silent[1][0].data_received(b"GET / HTTP/1.1\r\n")
    assert [transport.aborted for _, transport in silent] == [True, True, False]  # the second has been answered
    assert visits.received == [b"GET / HTTP/1.1\r\n"]
    loop.advance(module.SILENT_SECONDS - 2.1)
    assert not silent[2][1].was_cut()
    loop.advance(0.2)
    assert silent[2][1].was_cut()
    assert len(doors) == 0


def test_nobody_comes_in_after_the_end() -> None:
    doors, transport = Doors(FakeLoop(), Visits(), Host(), path="/socket.io/"), Silent()  # type: ignore[arg-type]
    doors.close()
    doors().connection_made(transport)
    assert transport.aborted


# --- the whole application ---


async def answer(running: Running, head: bytes) -> bytes:
    """Return what is read first of the answer to a head."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
    writer.write(head)
    first = await asyncio.wait_for(reader.read(4096), 10)
    writer.close()
    return first


@pytest.mark.parametrize("cut", [0, 1, 40], ids=["whole", "cut early", "cut late"])
async def test_it_makes_no_difference_how_a_head_comes(running: Running, cut: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
    writer.write(OPENING[:cut])
    await writer.drain()
    if cut:
        await until(lambda: running.server.handler.connections, what="the first piece")
    writer.write(OPENING[cut:])
    got = await asyncio.wait_for(reader.readuntil(b'"maxPayload":1000000}'), 10)
    assert got.startswith(b"HTTP/1.1 101 ")
    assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in got
    writer.close()
    await until(lambda: not running.parts.server.eio.sockets, what="the end of the session")


async def test_a_socket_let_in_at_once_is_no_http_connection(running: Running) -> None:
    await answer(running, OPENING)
    assert running.server.handler.requests_count == 0


@pytest.mark.parametrize(
    ("line", "other", "status"),
    [
        (b"Host: localhost", b"Host: localhost\r\nOrigin: https://stranger.example", b"403"),
        (b"Version: 13", b"Version: 12", b"400"),
    ],
)
async def test_a_refusal_is_that_of_the_http_server(running: Running, line: bytes, other: bytes, status: bytes) -> None:
    assert (await answer(running, OPENING.replace(line, other))).startswith(b"HTTP/1.1 " + status)
    assert running.server.handler.requests_count == 1


@pytest.mark.parametrize("query", ["EIO=3&transport=websocket", "EIO=4&transport=websocket&sid=nobody", "EIO=4"])
async def test_another_question_is_answered_by_the_protocol(running: Running, query: str) -> None:
    head = OPENING.replace(PATH.encode(), f"/socket.io/?{query}".encode())
    assert (await answer(running, head)).startswith(b"HTTP/1.1 400 ")


async def test_the_servers_own_page_is_let_in(running: Running) -> None:
    port = running.server.port
    own = f"Host: localhost:{port}\r\nOrigin: http://localhost:{port}".encode()
    assert (await answer(running, OPENING.replace(b"Host: localhost", own))).startswith(b"HTTP/1.1 101 ")
    assert running.server.handler.requests_count == 0


async def test_handshakes_are_counted_by_address(starter: Starter) -> None:
    running = await starter(handshakes_per_minute_per_ip=2, trusted_proxies=(ipaddress.ip_network("127.0.0.0/8"),))
    head = OPENING.replace(b"Host:", b"X-Forwarded-For: 203.0.113.9\r\nHost:")
    answers = [(await answer(running, head))[:12] for _ in range(3)]
    assert answers == [b"HTTP/1.1 101", b"HTTP/1.1 101", b"HTTP/1.1 429"]
    other = OPENING.replace(b"Host:", b"X-Forwarded-For: 203.0.113.10\r\nHost:")
    assert (await answer(running, other))[:12] == b"HTTP/1.1 101"


async def test_a_handshake_that_is_refused_counts_once(starter: Starter) -> None:
    running = await starter(handshakes_per_minute_per_ip=2, trusted_proxies=(ipaddress.ip_network("127.0.0.0/8"),))
    head = OPENING.replace(b"Host:", b"X-Forwarded-For: 203.0.113.9\r\nHost:").replace(b"Version: 13", b"Version: 12")
    answers = [(await answer(running, head))[:12] for _ in range(3)]
    assert answers == [b"HTTP/1.1 400", b"HTTP/1.1 400", b"HTTP/1.1 429"]


async def test_a_server_that_stops_lets_nobody_in(running: Running) -> None:
    running.parts.server.eio.start()
    running.parts.server.eio.stopping = True
    assert (await answer(running, OPENING)).startswith(b"HTTP/1.1 400 ")
