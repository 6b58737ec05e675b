"""Connections whose every byte the test sees: transports in memory, and TCP clients that read only when told."""

import asyncio
import json
import socket
import zlib
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from aiohttp.test_utils import make_mocked_request

from realtime.engine.handshake import Handshake
from realtime.engine.outflow import Outflow
from realtime.engine.server import RealtimeServer
from realtime.engine.session import EngineSession
from realtime.engine.websocket import WebSocketConnection
from realtime.metrics import Metrics
from realtime.remote import Remote
from tests.engine.protocol import LIMIT, Endpoint

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
FIN, COMPRESSED, MASKED = 0x80, 0x40, 0x80
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def masked(payload: str | bytes, opcode: int = TEXT, *, fin: bool = True, compressed: bool = False) -> bytes:
    """Return one frame as a client sends it. The mask is zero, so that the payload can be read in a failure."""
    data = payload.encode() if isinstance(payload, str) else payload
    head = bytes([(FIN if fin else 0) | (COMPRESSED if compressed else 0) | opcode])
    if len(data) < 126:
        head += bytes([MASKED | len(data)])
    elif len(data) < 1 << 16:
        head += bytes([MASKED | 126]) + len(data).to_bytes(2, "big")
    else:
        head += bytes([MASKED | 127]) + len(data).to_bytes(8, "big")
    return head + bytes(4) + data


def deflated(payload: str | bytes) -> bytes:
    """Return a payload compressed as RFC 7692 has it, without context takeover."""
    deflate = zlib.compressobj(wbits=-15)
    data = deflate.compress(payload.encode() if isinstance(payload, str) else payload)
    return (data + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]


class Parser:
    """Takes apart what a server wrote: (first byte, payload) of every whole frame."""

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        data = self.rest + data
        found: list[tuple[int, bytes]] = []
        at = 0
        while len(data) - at >= 2:
            size, start = data[at + 1], at + 2
            if size >= 126:
                start += 2 if size == 126 else 8
                size = int.from_bytes(data[at + 2 : start], "big")
            if len(data) < start + size:
                break
            found.append((data[at], data[start : start + size]))
            at = start + size
        self.rest = data[at:]
        return found


def texts(data: bytes) -> list[str]:
    """Return the text messages in what a server wrote."""
    return [payload.decode() for head, payload in Parser().feed(data) if head & 0xF == TEXT]


def closes(data: bytes) -> list[int]:
    """Return the codes of the Close frames in what a server wrote."""
    return [int.from_bytes(payload[:2], "big") for head, payload in Parser().feed(data) if head & 0xF == CLOSE]


class _Timer:
    """What FakeLoop returns for a callback that waits."""

    def __init__(self, when: float, callback: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.when = when
        self.callback = callback
        self.args = args
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeLoop:
    """As much of an event loop as the engine's timers want; time passes only when told."""

    def __init__(self) -> None:
        self.now = 1000.0
        self._ready: list[_Timer] = []
        self._timers: list[_Timer] = []

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Callable[..., Any], *args: Any) -> _Timer:
        self._ready.append(_Timer(self.now, callback, args))
        return self._ready[-1]

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any) -> _Timer:
        self._timers.append(_Timer(when, callback, args))
        return self._timers[-1]

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any) -> _Timer:
        return self.call_at(self.now + delay, callback, *args)

    @property
    def timers(self) -> int:
        """How many timers wait."""
        return sum(not timer.cancelled for timer in self._timers)

    def turn(self) -> int:
        """Turn once, as asyncio does; return how many callbacks were called."""
        due = sorted((t for t in self._timers if t.when <= self.now), key=lambda timer: timer.when)
        self._timers = [t for t in self._timers if t.when > self.now]
        ready, self._ready = [*self._ready, *due], []
        called = [timer for timer in ready if not timer.cancelled]
        for timer in called:
            timer.callback(*timer.args)
        return len(called)

    def advance(self, seconds: float) -> None:
        """Let time pass, and everything happen that is due meanwhile, at its time."""
        end = self.now + seconds
        while True:
            while self.turn():
                pass
            due = [timer.when for timer in self._timers if timer.when <= end and not timer.cancelled]
            if not due:
                break
            self.now = max(min(due), self.now)
        self.now = end


class Wire(asyncio.Transport):
    """A transport in memory. While `stuck`, it keeps what is written until `take`."""

    def __init__(self, loop: Any = None) -> None:
        super().__init__()
        self._loop = loop or asyncio.get_running_loop()
        self.writes: list[bytes] = []
        self.stuck = False
        self.reading = False
        self.aborted = False
        self._kept = 0
        self._high: int | None = None
        self._choked = False
        self._closing = False
        self._protocol: Any = None

    # --- what the server calls ---

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol  # type: ignore[no-any-return]

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = high

    def get_write_buffer_size(self) -> int:
        return self._kept

    def write(self, data: Any) -> None:
        assert not self.aborted
        self.writes.append(bytes(data))
        if self.stuck:
            self._kept += len(data)
            if self._kept > (self._high or 0) and not self._choked:
                self._choked = True
                self._protocol.pause_writing()

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return self.reading

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            if not self._kept:
                self._lose()

    def abort(self) -> None:
        if not self.aborted:
            self.aborted = self._closing = True
            self._lose()

    def _lose(self) -> None:
        self._loop.call_soon(self._protocol.connection_lost, None)

    # --- what the test calls ---

    @property
    def written(self) -> bytes:
        return b"".join(self.writes)

    def take(self, size: int | None = None) -> None:
        """The peer takes that much of what waits, or everything."""
        self._kept -= self._kept if size is None else min(size, self._kept)
        if not self._kept:
            if self._choked:
                self._choked = False
                self._protocol.resume_writing()
            if self._closing and not self.aborted:
                self._lose()

    def say(self, *frames: bytes) -> None:
        """The peer sends that, in one segment."""
        self._protocol.data_received(b"".join(frames))

    def hang_up(self) -> None:
        self._closing = True
        self._protocol.connection_lost(None)


HANDSHAKE = Handshake(
    make_mocked_request("GET", "/socket.io/?EIO=4&transport=websocket"), Remote("127.0.0.1", None, "test")
)


class Member:
    """One session of a server, over a transport in memory."""

    def __init__(self, server: RealtimeServer, *, deflate: bool = False) -> None:
        eio = server.eio
        eio.start()
        self.wire = Wire()
        self.server = server
        self.session = EngineSession(eio, eio.generate_id(), HANDSHAKE)
        self.connection = WebSocketConnection(eio.hub, eio.readers, self.session, deflate=deflate)
        self.session.ws = self.connection
        self.connection.attach(self.wire, b"", b"")
        eio._begin(self.session, may_upgrade=False)
        self.sid = ""

    def join(self, namespace: str = "/") -> "Member":
        """Connect to a namespace whose connect handler does not wait; the breath after the answer is left out."""
        self.say("40" if namespace == "/" else f"40{namespace},")
        self.connection.speak()
        sid = self.server.manager.sid_from_eio_sid(self.session.sid, namespace)
        assert sid is not None
        self.sid = sid
        return self

    def say(self, *packets: str) -> None:
        self.wire.say(*map(masked, packets))

    @property
    def heard(self) -> list[str]:
        """The messages that were handed to the transport."""
        return texts(self.wire.written)

    def events(self) -> list[Any]:
        """The arguments of the events that were handed to the transport: [name, argument, ...]."""
        return [json.loads(text[2:]) for text in self.heard if text.startswith("42[")]


class TcpClient:
    """A WebSocket client on a TCP socket with small buffers, which reads only when told."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._parser = Parser()
        self.frames: list[tuple[int, bytes]] = []
        self.gone = False

    @classmethod
    async def open(cls, endpoint: Endpoint, *, buffer: int = 4096, headers: str = "") -> "TcpClient":
        """Open a WebSocket and an Engine.IO session, and read nothing of it."""
        where = urlsplit(endpoint.url)
        assert where.hostname is not None
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, (where.hostname, where.port))
        request = (
            f"GET {where.path}?EIO=4&transport=websocket HTTP/1.1\r\nHost: {where.netloc}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{headers}\r\n"
        )
        await loop.sock_sendall(sock, request.encode())
        client = cls(sock)
        head = b""
        while b"\r\n\r\n" not in head:
            head += await client._receive(1024)
        _, _, rest = head.partition(b"\r\n\r\n")
        client.frames += client._parser.feed(rest)
        return client

    async def connect(self) -> str:
        """Connect to `/`; return the sid."""
        await self.send(masked("40"))
        await self.until(lambda: any(text.startswith("40") for text in self.texts()))
        sid: str = json.loads(next(text for text in self.texts() if text.startswith("40"))[2:])["sid"]
        return sid

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._sock, data)

    async def _receive(self, size: int) -> bytes:
        async with asyncio.timeout(LIMIT):
            return await asyncio.get_running_loop().sock_recv(self._sock, size)

    async def read(self, size: int = 65536) -> int:
        """Read once, waiting for something; 0 when the server has hung up."""
        try:
            data = await self._receive(size)
        except ConnectionError:
            data = b""
        self.gone = not data
        self.frames += self._parser.feed(data)
        return len(data)

    async def until(self, condition: Callable[[], object]) -> None:
        """Read until something is true."""
        while not condition():
            assert await self.read(), "the server has hung up"

    async def until_gone(self) -> None:
        while await self.read():
            pass

    def texts(self) -> list[str]:
        return [payload.decode() for head, payload in self.frames if head & 0xF == TEXT]

    def events(self) -> list[Any]:
        return [json.loads(text[2:]) for text in self.texts() if text.startswith("42[")]

    async def __aenter__(self) -> "TcpClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        self._sock.close()
        await turns(5)  # the server notices


def session_of(server: RealtimeServer, sid: str) -> EngineSession:
    """Return the session of a connection of `/`."""
    return server.eio.sockets[server.manager.eio_of[sid]]


def held_for(connection: Outflow) -> int:
    """Return how many bytes the engine keeps for a connection."""
    pending = connection.pending or b""
    waiting = len(pending) if isinstance(pending, bytes) else sum(map(len, pending))
    transport = connection.transport
    return waiting + (transport.get_write_buffer_size() if transport is not None else 0)


def counted(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics.registry.get_sample_value(name, labels) or 0.0


async def turns(count: int = 1) -> None:
    """Let the loop turn a few times."""
    for _ in range(count):
        await asyncio.sleep(0)
