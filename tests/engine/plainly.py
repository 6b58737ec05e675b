"""Plain connections for tests: an endpoint that keeps what it is told, members in memory, and servers to call."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from realtime.engine import RealtimeServer
from realtime.engine.frames import Burst
from realtime.engine.ordered import Maybe
from realtime.engine.plain import PlainServer, PlainSession
from realtime.engine.stream import StreamConnection
from realtime.engine.websocket import WebSocketConnection
from realtime.metrics import Metrics
from tests.engine.protocol import LIMIT, Endpoint, build, mounted
from tests.engine.wires import HANDSHAKE, KEY, PING, FakeLoop, Parser, Wire, counted, masked, texts

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
IDLE = b": idle\n\n"


@dataclass
class Seen:
    """An endpoint that keeps what it is told; `on_*` say what else it does."""

    log: list[Any] = field(default_factory=list)
    sessions: list[PlainSession] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    pongs: list[int] = field(default_factory=list)
    on_opened: Callable[[PlainSession], Maybe] = lambda session: None
    on_received: Callable[[PlainSession, Any], Maybe] = lambda session, message: None
    on_ponged: Callable[[PlainSession, int], None] = lambda session, number: None
    on_ended: Callable[[PlainSession, str], Maybe] = lambda session, reason: None

    def opened(self, session: PlainSession) -> Maybe:
        self.sessions.append(session)
        return self.on_opened(session)

    def received(self, session: PlainSession, message: str | bytes) -> Maybe:
        self.log.append(message)
        return self.on_received(session, message)

    def ponged(self, session: PlainSession, number: int) -> None:
        self.pongs.append(number)
        self.on_ponged(session, number)

    def ended(self, session: PlainSession, reason: str) -> Maybe:
        self.ends.append(reason)
        return self.on_ended(session, reason)


@dataclass
class Plain:
    """A server of plain connections with one endpoint, and what it counts."""

    io: RealtimeServer
    server: PlainServer
    seen: Seen
    metrics: Metrics

    def member(self, *, deflate: bool = False, loop: FakeLoop | None = None) -> "Member":
        """Return one WebSocket over a transport in memory."""
        session = self._session()
        connection = WebSocketConnection(self.server.hub, self.io.eio.readers, session, deflate=deflate)
        session.ws = connection
        member = Member(session, Wire(loop))
        connection.attach(member.wire, b"", b"")
        self.server._begin(session)
        return member

    def stream(self, *, loop: FakeLoop | None = None) -> "Member":
        """Return one stream over a transport in memory."""
        session = self._session()
        connection = StreamConnection(self.server.hub, session, idle=IDLE)
        session.ws = connection
        member = Member(session, Wire(loop))
        connection.attach(member.wire, HEAD, b"", patience=LIMIT)
        self.server._begin(session)
        return member

    def _session(self) -> PlainSession:
        self.server._start()
        return PlainSession(self.server, self.io.eio.generate_id(), self.seen, HANDSHAKE)

    def closes(self, reason: str) -> float:
        return counted(self.metrics, "roomcast_engine_closes_total", reason=reason)

    def cuts(self, reason: str) -> float:
        return counted(self.metrics, "roomcast_slow_clients_total", reason=reason)


@dataclass
class Member:
    session: PlainSession
    wire: Wire

    def say(self, *messages: str) -> None:
        self.wire.say(*map(masked, messages))

    @property
    def heard(self) -> list[str]:
        return texts(self.wire.written)

    @property
    def pings(self) -> list[bytes]:
        return [payload for head, payload in Parser().feed(self.wire.written) if head & 0xF == PING]

    @property
    def farewells(self) -> list[tuple[int, str]]:
        return farewells(self.wire.written)


def farewells(data: bytes) -> list[tuple[int, str]]:
    """Return (code, text) of the Close frames in what a server wrote."""
    return [
        (int.from_bytes(payload[:2], "big"), payload[2:].decode())
        for head, payload in Parser().feed(data)
        if head & 0xF == 0x8
    ]


def message(text: str) -> Burst:
    return Burst.of(text.encode())


def plain(*, opening_seconds: float = LIMIT, **options: Any) -> Plain:
    metrics = Metrics()
    io: RealtimeServer = build(metrics=metrics, **options)
    return Plain(io, PlainServer(io.eio, opening_seconds=opening_seconds), Seen(), metrics)


def timed(monkeypatch: pytest.MonkeyPatch, **options: Any) -> tuple[Plain, FakeLoop]:
    """Return a server whose time the test controls; its handlers must not wait."""
    loop = FakeLoop()
    made = plain(**options)
    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "get_running_loop", lambda: loop)
        made.server._start()
    return made, loop


@asynccontextmanager
async def served(made: Plain) -> AsyncIterator[Endpoint]:
    """Serve WebSockets on `/plain/` and streams on `/plain/stream`."""

    async def websocket(request: web.Request) -> web.StreamResponse:
        return made.server.open_websocket(request, made.seen)

    async def stream(request: web.Request) -> web.StreamResponse:
        return made.server.open_stream(request, made.seen, head=HEAD, idle=IDLE)[1]

    async def stop(app: web.Application) -> None:
        await made.server.close_all(1001, grace=0.05)

    def attach(app: web.Application) -> None:
        app.router.add_get("/plain/", websocket)
        app.router.add_get("/plain/stream", stream)
        app.on_shutdown.append(stop)
        made.io.attach(app)

    async with mounted(attach, "plain") as endpoint:
        yield endpoint


async def dial(
    endpoint: Endpoint, request: str, behind: bytes = b""
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send a request on a connection of its own, as it is, and something behind it in the same segment."""
    where = urlsplit(endpoint.url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port, limit=1 << 24)
    writer.write(request.encode() + behind)
    return reader, writer


UPGRADE = {
    "Host": "x",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}


def upgrade(*, version: str = "1.1", **changed: str | None) -> str:
    """Return the request that opens a WebSocket; `changed` replaces headers (`_` stands for `-`), None drops one."""
    headers = {**UPGRADE, **{name.replace("_", "-"): value for name, value in changed.items()}}
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([f"GET /plain/ HTTP/{version}", *lines, "", ""])
