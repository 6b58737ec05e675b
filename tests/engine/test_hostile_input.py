"""Every row of docs/hostile-input.md, done to the whole application, with the outcome that the row promises."""

import asyncio
import importlib
import ipaddress
import json
import logging
import re
import socket
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from aiohttp.web import AppRunner
from structlog.testing import capture_logs

from realtime import serving
from realtime.app import PARTS, create_app
from realtime.engine.hub import Limits
from realtime.engine.polling import PollingQueue
from realtime.engine.server import RESERVED_EVENTS
from realtime.engine.session import EngineSession
from realtime.events import Audience, Custom
from tests.support import PATIENCE, Client, FakeClock, Running, settings_for, token, until

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "hostile-input.md"
POLLING = "/socket.io/?EIO=4&transport=polling"
WEBSOCKET = "/socket.io/?EIO=4&transport=websocket"
KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
UPGRADE = f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n{KEY}"
LONG_HEADER = f"X: {'x' * 9000}\r\n"
MANY_HEADERS = "X: x\r\n" * 500
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
CLOSED, GOES_ON = "closed", "goes on"
LONGEST = 15.0
SHORT = 0.2
"""Seconds that stand for the ten of the real limits."""

FAULTS: Mapping[str, str] = {}
"""Rows that the server does not keep yet, and why not."""


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True) -> bytes:
    """Return a frame as a client sends it, or as none should."""
    size = len(payload)
    head = bytes([fin << 7 | rsv << 4 | opcode])
    mark = 0x80 if masked else 0
    if size < 126:
        head += bytes([mark | size])
    elif size < 1 << 16:
        head += bytes([mark | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([mark | 127]) + size.to_bytes(8, "big")
    return head + (bytes(4) if masked else b"") + payload


def deflated(payload: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return (deflate.compress(payload) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]


class Over(Exception):
    """The server has ended the connection; the text says how."""


class Wire:
    """One TCP connection of a client that may send anything."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    # --- HTTP ---

    async def send(self, data: str | bytes) -> None:
        self.writer.write(data.encode("latin-1") if isinstance(data, str) else data)
        with suppress(ConnectionError):
            await self.writer.drain()

    async def request(self, method: str, path: str, head: str = "", body: str | bytes = b"") -> None:
        """Send a request; with a body, the right length goes before it."""
        data = body.encode() if isinstance(body, str) else body
        length = f"Content-Length: {len(data)}\r\n" if data else ""
        await self.send(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{head}{length}\r\n".encode() + data)

    async def answer(self) -> tuple[int, str]:
        """Return the status and the body of the next response. Raises Over."""
        try:
            async with asyncio.timeout(PATIENCE):
                head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                found = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
                body = await self.reader.readexactly(int(found[1])) if found else b""
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Over(CLOSED) from error
        return int(head.split()[1]), body.decode()

    async def status(self) -> str:
        return str((await self.answer())[0])

    async def end(self) -> str:
        """Wait until the server closes the connection."""
        with suppress(ConnectionError):
            async with asyncio.timeout(PATIENCE):
                while await self.reader.read(1 << 16):
                    pass
        return CLOSED

    async def refusal(self, method: str, path: str, head: str = "", body: str | bytes = b"") -> str:
        """Send a request and return the status."""
        await self.request(method, path, head, body)
        return await self.status()

    # --- WebSocket ---

    async def frame(self, opcode: int, payload: bytes = b"", **more: Any) -> None:
        await self.send(frame(opcode, payload, **more))

    async def say(self, *texts: str) -> None:
        await self.send(b"".join(frame(TEXT, text.encode()) for text in texts))

    async def next(self) -> tuple[int, bytes]:
        """Return the next frame. Raises Over, with the code of a Close frame."""
        try:
            async with asyncio.timeout(PATIENCE):
                first, size = await self.reader.readexactly(2)
                if size >= 126:
                    size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8), "big")
                payload = await self.reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Over(CLOSED) from error
        if first & 0xF == CLOSE:
            raise Over(str(int.from_bytes(payload[:2], "big")))
        return first & 0xF, payload

    async def hears(self) -> str:
        """Return the next packet, answering no ping. Raises Over."""
        while True:
            opcode, payload = await self.next()
            if opcode == TEXT:
                return payload.decode()

    async def over(self) -> str:
        """Return how the server ends the WebSocket, whatever else it says before."""
        try:
            while True:
                await self.next()
        except Over as over:
            return str(over)

    async def ask(self, id: int, *event: Any) -> Any:
        """Send an event and return what is acknowledged. Raises Over."""
        await self.say(f"42{id}{json.dumps(event)}")
        return await self.acknowledged(id)

    async def acknowledged(self, id: int) -> Any:
        while not (packet := await self.hears()).startswith(f"43{id}["):
            assert not packet.startswith("41")
        return json.loads(packet.removeprefix(f"43{id}"))[0]

    async def goes_on(self) -> str:
        """Make sure that a connection lives on."""
        assert await self.ask(99, "heartbeat") == {"success": True}
        return GOES_ON

    def drop(self) -> None:
        self.writer.transport.abort()


class _Server(TestServer):
    """As in production, a request that has begun is not cancelled when its client goes."""

    async def _make_runner(self, **options: Any) -> AppRunner:
        return AppRunner(self.app, **{**options, "handler_cancellation": False})


@dataclass
class World:
    """The application, somebody who behaves, and everybody else."""

    running: Running
    bystander: Client
    clock: FakeClock
    tasks: int = 0
    wires: list[Wire] = field(default_factory=list)
    sockets: list[socket.socket] = field(default_factory=list)
    pollers: list["Poller"] = field(default_factory=list)

    async def wire(self) -> Wire:
        wire = Wire(*await asyncio.open_connection("127.0.0.1", self.running.server.port, limit=1 << 24))
        self.wires.append(wire)
        return wire

    async def refusal(self, method: str, path: str, head: str = "", body: str | bytes = b"") -> str:
        return await (await self.wire()).refusal(method, path, head, body)

    async def opened(self, head: str = "", sid: str = "") -> Wire:
        """Return a WebSocket on which nothing has been said, or one that may replace polling."""
        wire = await self.wire()
        await wire.request("GET", WEBSOCKET + (f"&sid={sid}" if sid else ""), UPGRADE + head)
        assert await wire.status() == "101"
        if not sid:
            assert (await wire.hears()).startswith("0")
        return wire

    async def connected(self, head: str = "", role: str = "technician") -> Wire:
        wire = await self.opened(head)
        await wire.say("40" + json.dumps({"token": token(5, role, now=self.clock())}))
        assert (await wire.hears()).startswith("40")
        return wire

    async def polling(self, *, connect: bool = True) -> "Poller":
        wire = await self.wire()
        await wire.request("GET", POLLING)
        poller = Poller(self, wire, json.loads((await wire.answer())[1][1:])["sid"])
        self.pollers.append(poller)
        if connect:
            assert await poller.post("40" + json.dumps({"token": token(5, "technician", now=self.clock())})) == "200"
            await wire.request("GET", poller.path)
            assert (await wire.answer())[1].startswith("40")
        return poller

    async def deaf(self, data: bytes = b"") -> socket.socket:
        """Return a TCP connection whose client takes hardly a byte."""
        deaf = socket.socket()
        self.sockets.append(deaf)
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(deaf, ("127.0.0.1", self.running.server.port))
        await loop.sock_sendall(deaf, data)
        return deaf

    async def deaf_socket(self) -> socket.socket:
        """Return a connected WebSocket that takes hardly a byte."""
        deaf = await self.deaf(f"GET {WEBSOCKET} HTTP/1.1\r\nHost: localhost\r\n{UPGRADE}\r\n".encode())
        connect = "40" + json.dumps({"token": token(5, "technician", now=self.clock())})
        await asyncio.get_running_loop().sock_sendall(deaf, frame(TEXT, connect.encode()))
        await until(lambda: self.others() == 1, what="the connection")
        return deaf

    def publish(self, data: object) -> int:
        return self.running.parts.publisher.publish(Custom(0.0, "news", data), Audience.user("5"))

    def session(self) -> EngineSession:
        """Return the latest session."""
        return list(self.running.parts.server.eio.sockets.values())[-1]

    def others(self) -> int:
        """Return how many connections there are beside the bystander's."""
        return len(self.running.parts.channel) - 1

    def http_connections(self) -> int:
        return len(self.running.server.handler.connections)

    def drop(self) -> None:
        for wire in self.wires:
            wire.drop()
        for deaf in self.sockets:
            deaf.close()

    async def cleaned(self) -> None:
        """Everybody else goes; make sure that nothing of them is left, and that the bystander is well."""
        for poller in self.pollers:
            await poller.post("1")  # a session that polls has no connection that could be lost
        self.drop()
        parts = self.running.parts
        await until(lambda: len(parts.channel) == 1, what="the end of every other connection")
        await until(lambda: len(parts.channel.membership.all()) == 1, what="the end of every other membership")
        await until(lambda: len(parts.server.eio.sockets) == 1, what="the end of every other session")
        await until(lambda: self.http_connections() == 0, what="the end of every request")
        await self.bystander.settle()
        await until(lambda: len(asyncio.all_tasks()) <= self.tasks, what="the end of every task")
        await self.bystander.close()
        await until(lambda: not parts.server.eio.sockets, what="the end of the last session")
        assert not len(parts.channel)
        assert not parts.channel.membership.all()
        assert not parts.server.manager.eio_of


@dataclass
class Poller:
    """A polling session; each request uses a connection of its own."""

    world: World
    wire: Wire
    sid: str

    @property
    def path(self) -> str:
        return f"{POLLING}&sid={self.sid}"

    async def post(self, body: str | bytes, head: str = "") -> str:
        return await self.world.refusal("POST", self.path, head, body)

    async def poll(self) -> Wire:
        """Return a poll that the server has begun to keep waiting."""
        while True:
            wire = await self.world.wire()
            await wire.request("GET", self.path)
            answered = asyncio.create_task(wire.answer())
            await self._waits_or(answered)
            if not answered.done():
                answered.cancel()
                return wire

    async def _waits_or(self, answered: asyncio.Task[Any]) -> None:
        await until(lambda: self.queue.polled or answered.done(), what="the poll")

    @property
    def queue(self) -> PollingQueue:
        queue = self.world.running.parts.server.eio.sockets[self.sid].polling
        assert queue is not None
        return queue

    async def goes_on(self) -> str:
        assert await self.post('4277["heartbeat"]') == "200"
        await self.wire.request("GET", self.path)
        assert '4377[{"success":true}]' in (await self.wire.answer())[1]
        return GOES_ON


# --- the table ---


@dataclass(frozen=True)
class Row:
    """What the document promises."""

    outcome: str
    within: str
    lines: int


def rows() -> dict[str, Row]:
    found: dict[str, Row] = {}
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        if not line.startswith("| ") or line.startswith(("| **", "| hostile input")):
            continue
        name, outcome, within, lines, _kept = (cell.strip() for cell in line.strip("|").split(" | "))
        assert name not in found, name
        found[name] = Row(outcome.replace("`", ""), within, int(lines))
    return found


Do = Callable[[World], Awaitable[str]]


@dataclass(frozen=True)
class Case:
    """What is done, and the limits in seconds that are shortened for it."""

    do: Do
    shorten: tuple[str, ...]
    stall: bool
    settings: Mapping[str, Any]


CASES: dict[str, Case] = {}
HEADERS = "realtime.serving.HEADER_SECONDS"
CONNECT = "realtime.engine.server.CONNECT_SECONDS"
ATTACHMENT = "realtime.engine.server.ATTACHMENT_SECONDS"
PROBE = "realtime.engine.engineio.UPGRADE_SECONDS"
MESSAGE = "realtime.engine.websocket.MESSAGE_SECONDS"
POST = "realtime.engine.polling.BODY_SECONDS"
API = "handlers.http.middleware.BODY_SECONDS"
FAREWELL = "realtime.engine.hub.CLOSE_SECONDS"


def case(name: str, *shorten: str, stall: bool = False, **options: Any) -> Callable[[Do], Do]:
    """Make a function the test of a row: it does what the row says and returns the outcome as the row spells it."""

    def register(do: Do) -> Do:
        assert name not in CASES
        CASES[name] = Case(do, shorten, stall, options)
        return do

    return register


def limit(path: str) -> float:
    module, _, name = path.rpartition(".")
    return float(getattr(importlib.import_module(module), name))


def test_every_row_has_a_case_and_every_case_a_row() -> None:
    assert list(rows()) == list(CASES)


def test_every_limit_in_seconds_is_the_real_one_and_at_most_fifteen() -> None:
    for name, row in rows().items():
        seconds = re.match(r"([0-9.]+) s", row.within)
        made = CASES[name]
        if made.shorten or made.stall:
            assert seconds, name
            assert float(seconds[1]) == (Limits().stall_seconds if made.stall else limit(made.shorten[0])), name
        if seconds:
            assert float(seconds[1]) <= LONGEST, name


@asynccontextmanager
async def world_of(path: Path, patch: pytest.MonkeyPatch, made: Case) -> AsyncIterator[World]:
    for name in made.shorten:
        patch.setattr(name, SHORT)
    clock = FakeClock()
    app = create_app(settings_for(path, **made.settings), clock=clock)
    engine = app[PARTS].server.eio
    if made.stall:
        engine.limits = replace(engine.limits, stall_seconds=SHORT)
    server = _Server(app, host="127.0.0.1")
    await server.start_server(
        logger=serving._one_line_logger(),
        access_log=None,
        keepalive_timeout=serving.HEADER_SECONDS,
        lingering_time=SHORT,
        shutdown_timeout=2.0,
    )
    running = Running(server, app, aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
    try:
        world = World(running, await running.connect(9, "technician", now=clock()), clock)
        await until(lambda: world.http_connections() == 0, what="a server at rest")
        world.tasks = len(asyncio.all_tasks())
        try:
            yield world
        finally:
            world.drop()
    finally:
        await running.stop()


@contextmanager
def warnings(caplog: pytest.LogCaptureFixture) -> Iterator[list[object]]:
    """Collect every log line of level warning or above, the libraries' and asyncio's own too."""
    found: list[object] = []
    with capture_logs() as lines, caplog.at_level(logging.WARNING):
        yield found
    found += [line for line in lines if line["log_level"] in ("warning", "error", "critical")]
    found += [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def _param(name: str) -> Any:
    faulty = FAULTS.get(name)
    return pytest.param(name, id=name, marks=[pytest.mark.xfail(strict=True, reason=faulty)] if faulty else [])


@pytest.mark.parametrize("name", [_param(name) for name in rows()])
async def test_hostile_input(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    row, made = rows()[name], CASES[name]
    with warnings(caplog) as lines:
        async with world_of(tmp_path, monkeypatch, made) as world:
            assert await made.do(world) == row.outcome
            await world.cleaned()
    assert len(lines) == row.lines, lines
    assert row.lines <= 1


# --- HTTP before a connection ---


async def dripped(wire: Wire, piece: str = "x") -> None:
    """Send a byte now and then until the server has had enough."""
    while not wire.writer.is_closing():
        await wire.send(piece)
        await asyncio.sleep(SHORT / 20)


@asynccontextmanager
async def dripping(wire: Wire) -> AsyncIterator[None]:
    task = asyncio.create_task(dripped(wire))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@case("a connection on which nothing is sent", HEADERS)
async def _(world: World) -> str:
    return await (await world.wire()).end()


@case("headers that come byte by byte", HEADERS)
async def _(world: World) -> str:
    wire = await world.wire()
    await wire.send("GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
    async with dripping(wire):
        return await wire.end()


@case("half of a request", HEADERS)
async def _(world: World) -> str:
    wire = await world.wire()
    await wire.send("GET / HTTP/1.1\r\nHo")
    return await wire.end()


@case("half of a second request", HEADERS)
async def _(world: World) -> str:
    wire = await world.wire()
    answered = await wire.refusal("GET", "/healthz")
    await wire.send("GET / HTTP/1.1\r\nHo")
    return f"{answered}, then {await wire.end()}"


@case("a POST to `/socket.io/` whose body comes byte by byte", POST)
async def _(world: World) -> str:
    poller, wire = await world.polling(), await world.wire()
    await wire.request("POST", poller.path, "Content-Length: 1000\r\n")
    async with dripping(wire):
        return f"{await wire.status()}, then {await wire.end()}"


@case("a chunked POST to `/socket.io/` that comes byte by byte", POST)
async def _(world: World) -> str:
    poller, wire = await world.polling(), await world.wire()
    await wire.request("POST", poller.path, "Transfer-Encoding: chunked\r\n")
    await wire.send("3e8\r\n")
    async with dripping(wire):
        return f"{await wire.status()}, then {await wire.end()}"


@case("a POST to `/api/` whose body comes byte by byte", API)
async def _(world: World) -> str:
    wire = await world.wire()
    await wire.request("POST", "/api/publish", "Content-Length: 1000\r\n")
    async with dripping(wire):
        return f"{await wire.status()}, then {await wire.end()}"


@case("a POST of 1.1 MB to `/api/`")
async def _(world: World) -> str:
    return await world.refusal("POST", "/api/publish", body=b" " * 1_100_000)


@case("no HTTP at all")
async def _(world: World) -> str:
    wire = await world.wire()
    await wire.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n")
    return f"{await wire.status()}, then {await wire.end()}"


@case("garbage behind a request")
async def _(world: World) -> str:
    wire = await world.wire()
    answered = await wire.refusal("GET", "/healthz")
    await wire.send("GARBAGE\r\n\r\n")
    return f"{answered}, {await wire.status()}, then {await wire.end()}"


@case("a header of 9 KB")
async def _(world: World) -> str:
    wire = await world.wire()
    return f"{await wire.refusal('GET', '/', LONG_HEADER)}, then {await wire.end()}"


@case("500 headers")
async def _(world: World) -> str:
    wire = await world.wire()
    return f"{await wire.refusal('GET', '/', MANY_HEADERS)}, then {await wire.end()}"


@case("two lengths that contradict each other")
async def _(world: World) -> str:
    wire = await world.wire()
    head = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"
    return f"{await wire.refusal('POST', '/api/publish', head)}, then {await wire.end()}"


@case("answers that nobody reads", "handlers.http.middleware.ANSWER_SECONDS")
async def _(world: World) -> str:
    server = world.running.server.handler
    before = server.requests_count
    await world.deaf(b"GET /socket.io/socket.io.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 300)
    await until(lambda: server.requests_count > before, what="the first request")
    await until(lambda: world.http_connections() == 0, what="the end of the connection")
    return CLOSED


@case(
    "too many sessions from one address",
    handshakes_per_minute_per_ip=2,
    trusted_proxies=(ipaddress.ip_network("127.0.0.1/32"),),
)
async def _(world: World) -> str:
    address = "X-Forwarded-For: 203.0.113.9\r\n"
    for _ in range(2):
        poller = await world.wire()
        await poller.request("GET", POLLING, address)
        opened = json.loads((await poller.answer())[1][1:])
        assert await world.refusal("POST", f"{POLLING}&sid={opened['sid']}", body="1") == "200"
    return await world.refusal("GET", POLLING, address)


@case("another method than GET and POST")
async def _(world: World) -> str:
    return await world.refusal("PUT", POLLING)


@case("an unknown transport")
async def _(world: World) -> str:
    return await world.refusal("GET", POLLING.replace("polling", "carrier"))


@case("another protocol version than `EIO=4`")
async def _(world: World) -> str:
    return await world.refusal("GET", POLLING.replace("4", "3"))


@case("an unknown `sid`")
async def _(world: World) -> str:
    return await world.refusal("GET", POLLING + "&sid=nobody")


@case("a foreign `Origin`")
async def _(world: World) -> str:
    return await world.refusal("GET", POLLING, "Origin: https://elsewhere.example\r\n")


# --- the WebSocket handshake ---


def handshake(name: str, head: str, *, method: str = "GET", path: str = WEBSOCKET) -> None:
    @case(name)
    async def _(world: World) -> str:
        return await world.refusal(method, path, head)


handshake("a handshake without a key", UPGRADE.replace(KEY, ""))
handshake("a key that is not 16 bytes in base64", UPGRADE.replace("dGhlIHNh", "dGhl"))
handshake("another WebSocket version than 13", UPGRADE.replace("13", "12"))
handshake("a handshake without `Connection: Upgrade`", UPGRADE.replace("Connection: Upgrade\r\n", ""))
handshake("a handshake by POST", UPGRADE, method="POST")
handshake("a handshake from a foreign `Origin`", UPGRADE + "Origin: https://elsewhere.example\r\n")
handshake("a handshake for `transport=polling`", UPGRADE, path=POLLING)
handshake("a handshake for an unknown `sid`", UPGRADE, path=WEBSOCKET + "&sid=nobody")


@case("a handshake with a body")
async def _(world: World) -> str:
    wire = await world.wire()
    await wire.request("GET", WEBSOCKET, UPGRADE, "a body")
    assert await wire.status() == "101"
    await wire.say("40" + json.dumps({"token": token(5)}))
    return await wire.goes_on()


# --- WebSocket frames ---


def frames(name: str, *sent: bytes, head: str = "") -> None:
    """A row about a connection that has joined, sends these bytes and nothing else."""

    @case(name)
    async def _(world: World) -> str:
        wire = await world.connected(head)
        for data in sent:
            await wire.send(data)
        return await wire.over()


@case("a first frame without a mask")
async def _(world: World) -> str:
    wire = await world.opened()
    await wire.send(frame(TEXT, b"40", masked=False))
    return await wire.over()


@case("a first byte that comes alone")
async def _(world: World) -> str:
    wire = await world.opened()
    ws = world.session().ws
    assert ws is not None
    whole = frame(TEXT, b"40" + json.dumps({"token": token(5)}).encode())
    ws.data_received(whole[:1])  # TCP would put what is sent in two writes together
    await wire.send(whole[1:])
    assert (await wire.hears()).startswith("40")
    return await wire.goes_on()


frames("a reserved bit", frame(TEXT, b"42", rsv=1))
frames("an unknown opcode", frame(0x3, b"42"))
frames("a control frame in fragments", frame(PING, b"x", fin=False))
frames("a control frame of 126 bytes", frame(PING, b"x" * 126))
frames("a continuation of nothing", frame(0x0, b"x"))
frames("a message inside of another", frame(TEXT, b"42", fin=False) + frame(TEXT, b"42"))
frames("text that is not UTF-8", frame(TEXT, b'42["\xff"]'))
frames("a frame of more than 1 MB", frame(TEXT, b"x" * 1_000_001)[:14])
frames("fragments of more than 1 MB", *(frame(TEXT if n == 0 else 0, b"x" * 250_001, fin=False) for n in range(4)))
frames("a compressed frame that grows beyond 1 MB", frame(TEXT, deflated(b"x" * 1_000_002), rsv=4), head=DEFLATE)
frames("a compressed frame that is none", frame(TEXT, b"\xff\xff\xff", rsv=4), head=DEFLATE)
frames("a Close frame of one byte", frame(CLOSE, b"x"))
frames("a Close frame with a forbidden code", frame(CLOSE, (999).to_bytes(2, "big")))


@case("a frame that is never finished", MESSAGE)
async def _(world: World) -> str:
    wire = await world.connected()
    await wire.send(frame(TEXT, b"x" * 900_000)[:-1])
    return await wire.over()


@case("a frame that is never finished, before CONNECT", CONNECT)
async def _(world: World) -> str:
    wire = await world.opened()
    await wire.send(frame(TEXT, b"x" * 900_000)[:-1])
    return await wire.over()


@case("a ping flood")
async def _(world: World) -> str:
    wire = await world.connected()
    await wire.send(frame(PING, b"p" * 125) * 2000)
    pongs = 0
    while pongs < 2000:
        pongs += await wire.next() == (PONG, b"p" * 125)
    return await wire.goes_on()


@case("a ping flood whose pongs nobody reads", stall=True)
async def _(world: World) -> str:
    deaf = await world.deaf_socket()
    flood = asyncio.create_task(flooded(deaf, frame(PING, b"p" * 125) * 500))
    await until(lambda: world.others() == 0, what="the end of the connection")
    flood.cancel()
    return CLOSED


async def flooded(deaf: socket.socket, data: bytes) -> None:
    with suppress(ConnectionError):
        while True:
            await asyncio.get_running_loop().sock_sendall(deaf, data)


@case("an upgrade that is never probed", PROBE)
async def _(world: World) -> str:
    poller = await world.polling()
    candidate = await world.opened(sid=poller.sid)
    return f"{await candidate.over()}, polling {await poller.goes_on()}"


@case("an upgrade that is probed and never finished", PROBE)
async def _(world: World) -> str:
    poller = await world.polling()
    candidate = await world.opened(sid=poller.sid)
    await candidate.say("2probe")
    assert await candidate.hears() == "3probe"
    return f"{await candidate.over()}, polling {await poller.goes_on()}"


@case("an upgrade that begins with something else")
async def _(world: World) -> str:
    poller = await world.polling()
    candidate = await world.opened(sid=poller.sid)
    await candidate.say('42["heartbeat"]')
    return f"{await candidate.over()}, polling {await poller.goes_on()}"


@case("a second upgrade")
async def _(world: World) -> str:
    poller = await world.polling()
    first = await world.opened(sid=poller.sid)
    await first.say("2probe")
    assert await first.hears() == "3probe"
    refused = await (await world.opened(sid=poller.sid)).over()
    await first.say("5")
    return f"{refused}, the first {await first.goes_on()}"


@case("a WebSocket for a session that has one")
async def _(world: World) -> str:
    wire = await world.connected()
    second = await world.opened(sid=world.session().sid)
    return f"{await second.over()}, the first {await wire.goes_on()}"


@case("a client that never answers Close", FAREWELL)
async def _(world: World) -> str:
    wire = await world.connected()
    await wire.say("9")
    return f"{await wire.over()}, then {await wire.end()}"


@case("a client that goes on talking after Close", FAREWELL)
async def _(world: World) -> str:
    wire = await world.connected()
    await wire.say("9")
    code = await wire.over()
    async with dripping(wire):
        return f"{code}, then {await wire.end()}"


# --- Engine.IO packets ---


def says(name: str, *packets: str | bytes) -> None:
    """A row about a connection that has joined and sends these packets."""
    frames(name, *(frame(BINARY, p) if isinstance(p, bytes) else frame(TEXT, p.encode()) for p in packets))


says("an unknown packet type", "9")
says("an empty packet", "")
says("OPEN from a client", "0{}")
says("PING from a client", "2")
says("a pong with junk", "3probe")
says("UPGRADE on a WebSocket", "5")
says("a binary packet without an event", b"binary")
says("CLOSE", "1")


@case("a pong that nobody asked for")
async def _(world: World) -> str:
    wire = await world.connected()
    await wire.say("3", "3", "6")
    return await wire.goes_on()


def posts(name: str, body: str | bytes, head: str = "") -> None:
    """A row about a polling session that posts this."""

    @case(name)
    async def _(world: World) -> str:
        poller = await world.polling()
        refused = await poller.post(body, head)
        assert await world.refusal("GET", poller.path) == "400"
        return f"{refused}, session over"


posts("more than 1000 packets in a POST", "\x1e".join(["3"] * 1001))
posts("a POST of 1.1 MB", b"4" + b"x" * 1_100_000)
posts(
    "a compressed POST that grows beyond 1 MB", zlib.compress(b"4" + b"x" * 50_000_000), "Content-Encoding: deflate\r\n"
)
posts("a compressed POST that is none", b"abcde", "Content-Encoding: deflate\r\n")
posts("an empty POST", b"")
posts("a POST with an unknown packet", "9")
posts("a POST that is not UTF-8", b"4\xff")
posts("a POST of bad base64", "b!!!!")


@case("two polls at once")
async def _(world: World) -> str:
    poller = await world.polling()
    first = await poller.poll()
    second = await world.refusal("GET", poller.path)
    assert (await first.answer())[1] == "1"
    return f"{second}, session over"


@case("two POSTs at once")
async def _(world: World) -> str:
    poller, first = await world.polling(), await world.wire()
    session = world.running.parts.server.eio.sockets[poller.sid]
    await first.request("POST", poller.path, "Content-Length: 5\r\n")
    await until(lambda: session.posting, what="the first POST")
    second = await poller.post("3")
    assert await world.refusal("GET", poller.path) == "400"
    await first.send("33333")
    return f"{second}, session over"


@case("polls that are given up again and again")
async def _(world: World) -> str:
    poller = await world.polling()
    most = 0
    for n in range(20):
        (await poller.poll()).drop()
        await until(lambda: not poller.queue.polled, what="the end of the poll")
        most = most if n else len(asyncio.all_tasks())
    await until(lambda: len(asyncio.all_tasks()) <= most + 5, what="the end of the requests")
    return await poller.goes_on()


@case("a session that never polls")
async def _(world: World) -> str:
    poller = await world.polling()
    queue = poller.queue
    while world.publish("x" * 100_000):
        assert queue.size <= Limits().hard_buffer
    assert await world.refusal("GET", poller.path) == "400"
    return "400, session over"


# --- Socket.IO packets ---


def refused(name: str, packet: str, code: str, *, attachments: int = 0) -> None:
    """A row about an event that is answered under the acknowledgement id 7."""

    @case(name)
    async def _(world: World) -> str:
        wire = await world.connected()
        await wire.say(packet)
        for _ in range(attachments):
            await wire.frame(BINARY, b"binary")
        answer = await wire.acknowledged(7)
        assert answer["success"] is False
        assert answer["code"] == code
        await wire.goes_on()
        return f"ack {answer['code']}"


@case("reserved event names")
async def _(world: World) -> str:
    wire = await world.connected()
    for id, name in enumerate(sorted(RESERVED_EVENTS)):
        assert (await wire.ask(id, name, "transport close"))["code"] == "UNKNOWN_EVENT"
    await wire.goes_on()
    return "ack UNKNOWN_EVENT"


@case("an event named `*`")
async def _(world: World) -> str:
    wire, victim = await world.connected(), world.bystander.sio.get_sid()
    for id, arguments in enumerate(([], [victim], [victim, {"text": "x"}], [[]])):
        assert (await wire.ask(id, "*", *arguments))["code"] == "UNKNOWN_EVENT"
    await world.bystander.settle()
    assert "error" not in world.bystander.names()
    await wire.goes_on()
    return "ack UNKNOWN_EVENT"


refused("an unknown event", '427["nothing"]', "UNKNOWN_EVENT")
refused("an event whose name is a number", "427[7]", "INVALID_PAYLOAD")
refused("a payload of the wrong type", '427["join_room",{"room":[]}]', "INVALID_PAYLOAD")
refused("relayed data over 2 KB or 4 levels", f'427["bookingUpdate",{{"x":"{"x" * 2100}"}}]', "INVALID_PAYLOAD")
says("an event without a name", "42[]")
says("an event that is no list", '42{"0":"heartbeat"}')
says("malformed JSON", '42["heartbeat",}]')
says("a truncated packet", '42["heartb')
says("JSON nested deeper than 64 levels", '42["heartbeat",' + "[" * 64 + "]" * 64 + "]")
says("a million brackets", '42["heartbeat",' + "[" * 900_000)
says("NaN, Infinity, 1e400", '42["heartbeat",NaN]')
says("a lone surrogate", '42["heartbeat","\\ud800"]')
says("CONNECT_ERROR from a client", '44{"message":"x"}')
says("an acknowledgement id of more than 16 digits", "42" + "1" * 17 + '["heartbeat"]')


@case("an acknowledgement id of 0")
async def _(world: World) -> str:
    wire = await world.connected()
    assert await wire.ask(0, "heartbeat") == {"success": True}
    return await wire.goes_on()


@case("an acknowledgement that nobody waits for")
async def _(world: World) -> str:
    wire = await world.connected()
    await wire.say("430[]", "439999999999999999[1]", "43[]")
    return await wire.goes_on()


NOTE = '["note",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]'
says("more than 10 attachments", "4511-" + NOTE)
says("text between an event and its attachments", "452-" + NOTE, b"one", '42["heartbeat"]')
says("attachments of more than 1 MB together", "452-" + NOTE, b"x" * 500_001, b"x" * 500_001)
says("a placeholder without its attachment", '451-["note",{"_placeholder":true,"num":1}]', b"one")
says("a placeholder below zero", '451-["note",{"_placeholder":true,"num":-1}]', b"one")
says("a placeholder that is no number", '451-["note",{"_placeholder":true,"num":"0"}]', b"one")
refused(
    "one attachment in a thousand places",
    '451-7["note",' + ",".join(['{"_placeholder":true,"num":0}'] * 1000) + "]",
    "UNKNOWN_EVENT",
    attachments=1,
)
refused(
    "attachments where none may be",
    '451-7["join_room",{"_placeholder":true,"num":0}]',
    "INVALID_PAYLOAD",
    attachments=1,
)


@case("attachments that never come", ATTACHMENT)
async def _(world: World) -> str:
    wire = await world.connected()
    await wire.say("452-" + NOTE)
    await wire.frame(BINARY, b"one")
    return await wire.over()


@case("an event before CONNECT")
async def _(world: World) -> str:
    wire = await world.opened()
    await wire.say('421["heartbeat"]')
    return await wire.over()


@case("an event in a namespace that was not joined")
async def _(world: World) -> str:
    wire = await world.connected()
    await wire.say('42/other,1["heartbeat"]', "41/other,")
    return await wire.goes_on()


@case("a CONNECT whose auth is no object")
async def _(world: World) -> str:
    wire = await world.opened()
    await wire.say('40"token"')
    return await wire.over()


@case("a repeated CONNECT")
async def _(world: World) -> str:
    wire = await world.connected()
    await wire.say("40" + json.dumps({"token": token(6)}))
    assert await wire.hears() == '44{"message":"Already connected"}'
    return f"CONNECT_ERROR, {await wire.goes_on()}"


@case("ten refused CONNECTs")
async def _(world: World) -> str:
    wire = await world.opened()
    await wire.say(*['40{"token":"wrong"}'] * 11)
    for _ in range(10):
        assert (await wire.hears()).startswith("44{")
    return f"CONNECT_ERROR, {await wire.over()}"


@case("a CONNECT to an unknown namespace")
async def _(world: World) -> str:
    wire = await world.connected()
    await wire.say("40/nowhere,")
    assert await wire.hears() == '44/nowhere,{"message":"Invalid namespace"}'
    return f"CONNECT_ERROR, {await wire.goes_on()}"


@case("a namespace of more than 128 characters")
async def _(world: World) -> str:
    wire = await world.opened()
    await wire.say("40/" + "n" * 128 + ",")
    return await wire.over()


@case("no CONNECT", CONNECT)
async def _(world: World) -> str:
    wire = await world.opened()
    assert await wire.hears() == "1"
    return await wire.over()


@case("no CONNECT over polling", CONNECT)
async def _(world: World) -> str:
    poller = await world.polling(connect=False)
    await poller.wire.request("GET", poller.path)
    assert (await poller.wire.answer())[1] == "1"
    assert await world.refusal("GET", poller.path) == "400"
    return "CLOSE packet, session over"


@case("only CONNECTs that are refused", CONNECT)
async def _(world: World) -> str:
    wire = await world.opened()
    await wire.say('40{"token":"wrong"}', "40/nowhere,")
    assert [(await wire.hears())[:2] for _ in range(3)] == ["44", "44", "1"]
    return await wire.over()


@case("CONNECT, then DISCONNECT, and nothing more", CONNECT)
async def _(world: World) -> str:
    wire = await world.connected()
    await wire.say("41")
    assert await wire.hears() == "1"
    return await wire.over()


# --- behaviour ---


@case("a flood of small events")
async def _(world: World) -> str:
    wire = await world.connected()
    await wire.say(*(f'42{id}["typing",{{}}]' for id in range(5000)))
    codes = [(await wire.acknowledged(id)).get("code") for id in range(5000)]
    assert codes.index("RATE_LIMIT_EXCEEDED") == 200
    await wire.goes_on()
    return f"ack {codes[-1]}"


@case("a client that reads nothing", stall=True)
async def _(world: World) -> str:
    await world.deaf_socket()
    await fill(world)
    return CLOSED


@case("a client that reads nothing and answers pings", stall=True, ping_interval=0.1)
async def _(world: World) -> str:
    deaf = await world.deaf_socket()
    flood = asyncio.create_task(flooded(deaf, frame(TEXT, b"3")))
    await fill(world)
    flood.cancel()
    return CLOSED


@case("a client that never answers pings", ping_interval=0.1, ping_timeout=0.1)
async def _(world: World) -> str:
    return await (await world.connected()).over()


@case("a polling client that never answers pings", ping_interval=0.1, ping_timeout=0.1)
async def _(world: World) -> str:
    poller = await world.polling()
    eio = world.running.parts.server.eio
    await until(lambda: poller.sid not in eio.sockets, what="the end of the session")
    return f"{await world.refusal('GET', poller.path)}, session over"


@case("clients that connect and reset")
async def _(world: World) -> str:
    request = f"GET {WEBSOCKET} HTTP/1.1\r\nHost: localhost\r\n{UPGRADE}\r\n".encode()
    connect = frame(TEXT, ("40" + json.dumps({"token": token(5)})).encode())
    gone = (await world.polling()).path
    posts = [
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n4" for path in ("/api/publish", gone)
    ]
    for data in (b"", request[:20], request, request + connect[:9], request + connect, *map(str.encode, posts)) * 4:
        deaf = await world.deaf(data)
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        deaf.close()
    return "nothing"


@case("thousands of rooms")
async def _(world: World) -> str:
    wire = await world.connected(role="admin")
    codes = []
    for number in range(60):
        world.clock.advance(1.0)
        rooms = [f"work_order_{number}_{n}" for n in range(10)]
        codes.append((await wire.ask(number, "join_room", rooms)).get("code"))
    assert set(codes[:49]) == {None}
    assert set(codes[50:]) == {"ROOM_LIMIT"}
    await wire.goes_on()
    return "ack ROOM_LIMIT"


async def fill(world: World) -> None:
    """Send to user 5, who reads nothing, until the connection is cut."""
    ws = world.session().ws
    assert ws is not None
    most = 0
    while world.others():
        for _ in range(20):
            world.publish("x" * 10_000)
        most = max(most, ws._buffered())
        await asyncio.sleep(0)
    assert 0 < most <= Limits().hard_buffer + Limits().soft_buffer
