"""Engine.IO and Socket.IO spoken by hand: raw clients of both transports, and echo servers for them to speak to."""

import asyncio
import json
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from realtime.engine import create_server

LIMIT = 20.0
"""Seconds after which something that has not come never will."""

SEPARATOR = "\x1e"
CALM: dict[str, Any] = {"ping_interval": 25.0, "ping_timeout": 20.0, "max_http_buffer_size": 1_000_000}
"""Options of a server that sends no ping while a test lasts."""

Frame = str | bytes
Body = str | bytes | AsyncIterable[bytes]
Query = dict[str, str | None]


class Gone(Exception):
    """The other side has closed the WebSocket."""


class Refused(Exception):
    """The server did not open the WebSocket."""


@dataclass
class Endpoint:
    """Where a server listens, and the raw clients that it can have."""

    http: aiohttp.ClientSession
    url: str

    def query(self, given: Query) -> str:
        """Return a query string; `None` leaves a parameter out."""
        query = {"EIO": "4", "transport": "polling", **given}
        return "?" + urlencode({name: value for name, value in query.items() if value is not None})

    async def request(self, method: str, *, data: Any = None, **query: str | None) -> tuple[int, str]:
        """Return the status and the body of one HTTP request."""
        headers = {} if data is None else {"Content-Type": "text/plain;charset=UTF-8"}
        async with self._send(method, data=data, headers=headers, query=query) as response:
            return response.status, await response.text()

    async def headers(self, *, origin: str) -> tuple[int, str | None]:
        """Return what a handshake from another origin gets: the status, and the origin that may read the answer."""
        async with self._send("GET", headers={"Origin": origin}, query={}) as response:
            await response.read()
            return response.status, response.headers.get("Access-Control-Allow-Origin")

    def _send(self, method: str, *, data: Any = None, headers: dict[str, str] | None = None, query: Query) -> Any:
        return self.http.request(method, self.url + self.query(query), data=data, headers=headers)

    async def poller(self) -> "Polling":
        status, text = await self.request("GET")
        assert status == 200, text
        return Polling(self, json.loads(text.removeprefix("0")))

    async def frames(self, **query: str | None) -> "Frames":
        """Open a WebSocket and read nothing from it. Raises Refused."""
        query = {"transport": "websocket", **query}
        try:
            url = "ws" + self.url.removeprefix("http") + self.query(query)
            return Frames(await self.http.ws_connect(url, max_msg_size=0))
        except aiohttp.WSServerHandshakeError as error:
            raise Refused(error.status) from None

    async def websocket(self, **query: str | None) -> "Frames":
        """Open a session over WebSocket."""
        frames = await self.frames(**query)
        frames.opening = json.loads((await frames.text()).removeprefix("0"))
        return frames

    async def joined(self, namespace: str = "/", auth: object = None) -> "Frames":
        """Open a session over WebSocket, and connect to one namespace."""
        frames = await self.websocket()
        await frames.join(namespace, auth)
        return frames

    async def greeted(self, namespace: str = "/") -> "Frames":
        """Open a session with the Socket.IO echo server, which says something first."""
        frames = await self.joined(namespace)
        assert "auth" in await frames.text()
        return frames

    async def settle(self) -> None:
        """Return when the server has long handled what it was sent before: another client's exchanges later."""
        for _ in range(3):
            other = await self.poller()
            assert (await other.post("1"))[0] == 200

    async def raw(self, method: str, *, head: str = "", body: str = "", **query: str | None) -> "RawRequest":
        """Send a request on a connection of its own; `head` and `body` are sent as they are."""
        where = urlsplit(self.url)
        assert where.hostname is not None
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        request = f"{method} {where.path}{self.query(query)} HTTP/1.1\r\nHost: {where.netloc}\r\n{head}\r\n{body}"
        writer.write(request.encode())
        await writer.drain()
        return RawRequest(reader, writer)


@dataclass
class RawRequest:
    """A request that can be cut off in the middle."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def drop(self) -> None:
        self.writer.transport.abort()


class Polling:
    """A session over HTTP long-polling."""

    def __init__(self, endpoint: Endpoint, opening: dict[str, Any]) -> None:
        self.endpoint = endpoint
        self.opening = opening
        self.sid: str = opening["sid"]

    async def get(self) -> tuple[int, str]:
        return await self.endpoint.request("GET", sid=self.sid)

    async def post(self, data: Body) -> tuple[int, str]:
        return await self.endpoint.request("POST", sid=self.sid, data=data.encode() if isinstance(data, str) else data)

    async def send(self, *packets: str) -> None:
        """Send packets in one request, which has to succeed."""
        assert await self.post(SEPARATOR.join(packets)) == (200, "ok")

    async def poll(self) -> list[str]:
        """Return the packets of one poll, which has to succeed."""
        status, text = await self.get()
        assert status == 200, text
        return text.split(SEPARATOR)

    async def receive(self, count: int) -> list[str]:
        """Return the next messages, however many polls they take; leave out what ends a poll and says nothing."""
        found: list[str] = []
        async with asyncio.timeout(LIMIT):
            while len(found) < count:
                found += [packet for packet in await self.poll() if packet != "6"]
        return found

    async def waiting_poll(self) -> "asyncio.Task[tuple[int, str]]":
        """Return a poll that the server has and does not answer."""
        task = asyncio.create_task(self.get())
        await self.endpoint.settle()
        return task

    async def refused(self) -> int:
        """Poll until the session is gone; return the status that says so."""
        async with asyncio.timeout(LIMIT):
            while (status := (await self.get())[0]) == 200:
                pass
        return status

    async def upgrade(self) -> "Frames":
        """Go over to a WebSocket as a client does that has nothing to wait for."""
        frames = await self.probed()
        await frames.send("5")
        return frames

    async def probed(self) -> "Frames":
        frames = await self.endpoint.frames(sid=self.sid)
        await frames.send("2probe")
        assert await frames.next() == "3probe"
        return frames


class Frames:
    """A WebSocket, frame by frame."""

    opening: dict[str, Any]
    sid: str
    """The Socket.IO id that the last CONNECT was answered with."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def send(self, *frames: Frame) -> None:
        for frame in frames:
            await (self._socket.send_str(frame) if isinstance(frame, str) else self._socket.send_bytes(frame))

    async def next(self) -> Frame:
        """Return the next frame. Raises Gone when there will be none."""
        message = await self._socket.receive(timeout=LIMIT)
        if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            data: Frame = message.data
            return data
        raise Gone

    async def text(self) -> str:
        frame = await self.next()
        assert isinstance(frame, str)
        return frame

    async def take(self, count: int) -> list[Frame]:
        return [await self.next() for _ in range(count)]

    async def until_closed(self) -> list[Frame]:
        """Return what still comes before the server closes."""
        heard: list[Frame] = []
        with suppress(Gone):
            while True:
                heard.append(await self.next())
        return heard

    async def join(self, namespace: str = "/", auth: object = None) -> str:
        """Connect to a namespace and return the id that the server gave."""
        prefix = "" if namespace == "/" else f"{namespace},"
        await self.send(f"40{prefix}" + ("" if auth is None else json.dumps(auth)))
        answer = await self.text()
        assert answer.startswith(f"40{prefix}{{")
        self.sid = json.loads(answer.removeprefix(f"40{prefix}"))["sid"]
        return self.sid

    async def leave(self) -> None:
        """Close the WebSocket as the standard demands."""
        await self._socket.close()

    def drop(self) -> None:
        """Lose the connection, if there still is one, without a word."""
        connection = self._socket._response.connection
        if connection is not None and connection.transport is not None:
            connection.transport.abort()


def build(**options: Any) -> Any:
    return create_server(**{**CALM, **options})


@asynccontextmanager
async def mounted(attach: Callable[[web.Application], object], path: str) -> AsyncIterator[Endpoint]:
    """Serve what `attach` puts into an application, on a free port of loopback."""
    app = web.Application()
    attach(app)
    async with (
        TestServer(app, host="127.0.0.1", shutdown_timeout=0.1) as server,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=LIMIT)) as http,
    ):
        yield Endpoint(http, str(server.make_url(f"/{path}/")))


@dataclass
class Heard:
    """What the handlers of a plain Engine.IO server have seen."""

    opened: list[str] = field(default_factory=list)
    messages: list[Frame] = field(default_factory=list)
    closed: list[tuple[str, str]] = field(default_factory=list)
    environs: list[dict[str, Any]] = field(default_factory=list)


@asynccontextmanager
async def engineio_server(server: Any, heard: Heard) -> AsyncIterator[Endpoint]:
    """A plain Engine.IO server that sends every message back."""

    async def connect(sid: str, environ: dict[str, Any]) -> None:
        heard.opened.append(sid)
        heard.environs.append(environ)

    async def message(sid: str, data: Frame) -> None:
        heard.messages.append(data)
        await server.eio.send(sid, data)

    async def disconnect(sid: str, reason: str) -> None:
        heard.closed.append((sid, reason))

    server.eio.on("connect", connect)
    server.eio.on("message", message)
    server.eio.on("disconnect", disconnect)
    async with mounted(lambda app: server.eio.attach(app, "engine.io"), "engine.io") as endpoint:
        yield endpoint


@asynccontextmanager
async def engineio_echo(**options: Any) -> AsyncIterator[Endpoint]:
    """An Engine.IO server that sends every message back, and nothing else about which a test could ask."""
    async with engineio_server(build(**options), Heard()) as endpoint:
        yield endpoint


@asynccontextmanager
async def socketio_server(server: Any) -> AsyncIterator[Endpoint]:
    async with mounted(server.attach, "socket.io") as endpoint:
        yield endpoint


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that the server does and no frame tells."""
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.005)


def _echo(server: Any, namespace: str, greetings: set["asyncio.Task[None]"]) -> None:
    async def greet(sid: str, auth: object) -> None:
        await until(lambda: server.manager.is_connected(sid, namespace))
        await server.emit("auth", auth or {}, to=sid, namespace=namespace)

    async def connect(sid: str, environ: dict[str, Any], auth: object) -> None:
        greeting = asyncio.create_task(greet(sid, auth))
        greetings.add(greeting)
        greeting.add_done_callback(greetings.discard)

    async def message(sid: str, *args: Any) -> None:
        await server.emit("message-back", args, to=sid, namespace=namespace)

    async def message_with_ack(sid: str, *args: Any) -> tuple[Any, ...]:
        return args

    server.on("connect", connect, namespace=namespace)
    server.on("message", message, namespace=namespace)
    server.on("message-with-ack", message_with_ack, namespace=namespace)


@asynccontextmanager
async def socketio_echo(**options: Any) -> AsyncIterator[Endpoint]:
    """A Socket.IO server whose `/` and `/custom` greet with the auth payload and send back what they get."""
    server = build(**options)
    greetings: set[asyncio.Task[None]] = set()
    for namespace in ("/", "/custom"):
        _echo(server, namespace, greetings)
    async with socketio_server(server) as endpoint:
        yield endpoint
