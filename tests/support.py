"""What tests share: tokens, a clock that they move, a running server and Socket.IO clients that record."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import socketio
from aiohttp import web
from aiohttp.test_utils import TestServer

from realtime import wire
from realtime.app import PARTS, Parts, create_app
from realtime.auth import mint
from realtime.engine.door import Doors
from realtime.models import JsonObject, WireId
from realtime.serving import doors_before
from realtime.settings import Settings

SECRET = "a-secret-for-tests-that-is-long-enough-0123456789"
PATIENCE = 10.0


class FakeClock:
    """Seconds that pass only when told."""

    def __init__(self, now: float | None = None) -> None:
        self.now = time.time() if now is None else now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


def token(id: WireId, role: str | None = None, *, name: str | None = None, lifetime: float = 3600, **more: Any) -> str:
    now = more.pop("now", time.time())
    return mint(SECRET, user_id=id, now=now, lifetime=lifetime, role=role, name=name, **more)


def bearer(id: WireId, role: str | None = None, **more: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(id, role, **more)}"}


def settings_for(path: Path, **more: Any) -> Settings:
    given: dict[str, Any] = {
        "jwt_secret": SECRET,
        "database_url": f"sqlite:///{path / 'realtime.db'}",
        "presence_grace": 0.0,
        **more,
    }
    return Settings(**given)


async def until(condition: Callable[[], object], *, what: str = "the condition") -> None:
    """Wait for something that other tasks bring about; fail after PATIENCE seconds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true in {PATIENCE:g} s")
        await asyncio.sleep(0.005)


@dataclass
class Client:
    """A Socket.IO client that keeps every event it hears, in order."""

    sio: socketio.AsyncClient
    heard: list[tuple[str, Any]] = field(default_factory=list)
    namespace: str = "/"

    def payloads(self, event: str) -> list[Any]:
        return [payload for name, payload in self.heard if name == event]

    async def hears(self, event: str, count: int = 1) -> Any:
        """Return the payload of the `count`-th event of that name, waiting for it."""
        await until(lambda: len(self.payloads(event)) >= count, what=f"{event} x {count} (heard {self.names()})")
        return self.payloads(event)[count - 1]

    def names(self) -> list[str]:
        return [name for name, _ in self.heard]

    async def ask(self, event: str, *args: Any) -> Any:
        """Send an event and return its acknowledgement."""
        data: Any = args if len(args) != 1 else args[0]
        return await self.sio.call(event, data if args else None, timeout=PATIENCE, namespace=self.namespace)

    async def settle(self) -> None:
        """Return when everything that the server sent before now has been heard (acks come in order)."""
        await self.ask("heartbeat")

    async def close(self) -> None:
        await self.sio.disconnect()


@dataclass
class Plain:
    """A plain WebSocket client that keeps every JSON message it hears, in order."""

    ws: aiohttp.ClientWebSocketResponse
    heard: list[Any] = field(default_factory=list)
    closed: tuple[int, str] | None = None
    reader: "asyncio.Task[None] | None" = None

    async def read(self) -> None:
        while True:
            message = await self.ws.receive()
            if message.type is aiohttp.WSMsgType.TEXT:
                self.heard.append(message.json())
            elif message.type is aiohttp.WSMsgType.CLOSE:
                self.closed = (message.data, message.extra or "")
            elif message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.ERROR):
                self.closed = self.closed or (self.ws.close_code or 1006, "")
                return

    def payloads(self, event: str) -> list[Any]:
        """Return the payloads of an event, whichever key its name is under."""
        return [frame.get("data") for frame in self.heard if event in (frame.get("event"), frame.get("type"))]

    def names(self) -> list[str]:
        return [frame.get("event") or frame.get("type") for frame in self.heard]

    async def hears(self, event: str, count: int = 1) -> Any:
        """Return the payload of the `count`-th event of that name, waiting for it."""
        await until(lambda: len(self.payloads(event)) >= count, what=f"{event} x {count} (heard {self.names()})")
        return self.payloads(event)[count - 1]

    async def send(self, message: object) -> None:
        """Send text as it is, anything else as JSON."""
        if isinstance(message, str):
            await self.ws.send_str(message)
        else:
            await self.ws.send_json(message)

    async def ask(self, event: str, data: object = None) -> Any:
        """Send an event and return the answer to it."""
        id = f"request-{len(self.heard)}-{event}"
        await self.send({"event": event, "data": data, "id": id})
        await until(lambda: any(frame.get("id") == id for frame in self.heard), what=f"the answer to {event}")
        return next(frame["data"] for frame in self.heard if frame.get("id") == id)

    async def settle(self) -> None:
        """Return when everything that the server sent before now has been heard."""
        await self.ask("heartbeat")

    async def ends(self) -> tuple[int, str]:
        """Return the close code and reason, waiting for them."""
        await until(lambda: self.closed is not None, what=f"the end of the socket (heard {self.names()})")
        assert self.closed is not None
        return self.closed

    async def close(self) -> None:
        await self.ws.close()
        if self.reader is not None:
            await self.reader


@dataclass
class Stream:
    """A client of server-sent events: raw lines, and what they say."""

    response: aiohttp.ClientResponse
    text: str = ""
    ended: bool = False
    reader: "asyncio.Task[None] | None" = None

    async def read(self) -> None:
        async for chunk in self.response.content.iter_any():
            self.text += chunk.decode()
        self.ended = True

    def events(self) -> list[Any]:
        """Return the JSON of every whole event."""
        blocks = self.text.split("\n\n")[:-1]
        lines = [line for block in blocks for line in block.split("\n") if line.startswith("data: ")]
        return [wire.loads(line.removeprefix("data: ")) for line in lines]

    def ids(self) -> list[str]:
        return [line.removeprefix("id: ") for line in self.text.split("\n") if line.startswith("id: ")]

    def payloads(self, type: str) -> list[Any]:
        return [event["data"] for event in self.events() if event["type"] == type]

    async def hears(self, type: str, count: int = 1) -> Any:
        await until(lambda: len(self.payloads(type)) >= count, what=f"{type} x {count} (heard {self.text!r})")
        return self.payloads(type)[count - 1]

    async def close(self) -> None:
        self.response.close()
        if self.reader is not None:
            self.reader.cancel()
            await asyncio.gather(self.reader, return_exceptions=True)


@dataclass
class Running:
    """A server under test."""

    server: "Serving"
    app: web.Application
    http: aiohttp.ClientSession
    clients: list[Client] = field(default_factory=list)
    jars: list[aiohttp.ClientSession] = field(default_factory=list)
    plains: list[Plain | Stream] = field(default_factory=list)

    @property
    def parts(self) -> Parts:
        return self.app[PARTS]

    @property
    def url(self) -> str:
        return str(self.server.make_url("/")).rstrip("/")

    async def connect(
        self,
        id: WireId | None = None,
        role: str | None = None,
        *,
        auth: JsonObject | None = None,
        transports: list[str] | None = None,
        query: str = "",
        headers: dict[str, str] | None = None,
        namespace: str = "/",
        **claims: Any,
    ) -> Client:
        """Connect to a namespace; raises socketio.exceptions.ConnectionError when refused."""
        sio = socketio.AsyncClient(reconnection=False, http_session=self._session_for(headers))
        client = Client(sio, namespace=namespace)

        async def hear(event: str, *args: Any) -> None:
            client.heard.append((event, args[0] if args else None))

        client.sio.on("*", hear, namespace=namespace)
        given = {"token": token(id, role, **claims)} if id is not None and auth is None else auth
        await client.sio.connect(
            self.url + query,
            auth=given,
            transports=transports or ["websocket"],
            headers=headers or {},
            namespaces=[namespace],
            wait_timeout=PATIENCE,
        )
        self.clients.append(client)
        return client

    async def write_down(self, *rooms: str) -> None:
        """Have rooms of which it is stored at once who comes and who goes: an administrator is in them."""
        admin = await self.connect(1, "admin")
        await admin.ask("join_room", {"rooms": list(rooms)})
        for room in rooms:
            assert "user:1" in await self.parts.store.readers(f"room:{room}")

    async def plain(
        self,
        path: str,
        id: WireId | None = None,
        role: str | None = None,
        *,
        query: str = "",
        headers: dict[str, str] | None = None,
        **claims: Any,
    ) -> Plain:
        """Open a plain WebSocket; the token travels in the query, as clients of this kind do it."""
        given = f"token={token(id, role, **claims)}" if id is not None else ""
        url = f"{self.url}{path}?{'&'.join(part for part in (given, query) if part)}"
        client = Plain(await self.http.ws_connect(url, headers=headers or {}))
        client.reader = asyncio.create_task(client.read())
        self.plains.append(client)
        return client

    async def stream(
        self,
        id: WireId,
        role: str | None = None,
        *,
        path: str = "/notifications/events",
        headers: dict[str, str] | None = None,
        **claims: Any,
    ) -> Stream:
        """Open a stream of server-sent events, with the token in a header."""
        headers = {"Authorization": f"Bearer {token(id, role, **claims)}", **(headers or {})}
        response = await self.http.get(self.url + path, headers=headers, timeout=aiohttp.ClientTimeout())
        assert response.status == 200, await response.text()
        stream = Stream(response)
        stream.reader = asyncio.create_task(stream.read())
        self.plains.append(stream)
        return stream

    def _session_for(self, headers: dict[str, str] | None) -> aiohttp.ClientSession:
        """Cookies need a jar of their own: the shared session keeps none, so that no test leaks into the next call."""
        if not headers or "Cookie" not in headers:
            return self.http
        self.jars.append(aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)))
        return self.jars[-1]

    async def call(self, method: str, path: str, *, by: dict[str, str] | None = None, **more: Any) -> tuple[int, Any]:
        """Return (status, decoded body) of one request; `by` is a header such as `bearer(1, "admin")`."""
        headers = {**(by or {}), **more.pop("headers", {})}
        async with self.http.request(method, self.url + path, headers=headers, **more) as response:
            text = await response.text()
            is_json = response.content_type == "application/json"
            return response.status, (await response.json() if is_json else text)

    async def stop(self) -> None:
        for client in (*self.clients, *self.plains):
            await client.close()
        for session in (self.http, *self.jars):
            await session.close()
        await self.server.close()


class _Runner(web.AppRunner):
    """What listens, listens through the doors, as in production."""

    doors: Doors

    async def setup(self) -> None:
        await super().setup()
        self.doors = doors_before(self._server, self.app)

    @property
    def server(self) -> Any:
        return self.doors

    async def cleanup(self) -> None:
        self.doors.close()
        await super().cleanup()


class Serving(TestServer):
    """As in production, a request that has begun is not cancelled when its client goes."""

    async def _make_runner(self, **options: Any) -> web.AppRunner:
        return _Runner(self.app, **{**options, "handler_cancellation": False})

    @property
    def doors(self) -> Doors:
        assert isinstance(self.runner, _Runner)
        return self.runner.doors

    @property
    def handler(self) -> web.Server:
        assert self.runner is not None
        assert self.runner._server is not None
        return self.runner._server

    @property
    def unanswered(self) -> int:
        """How many connections are the HTTP server's, or nobody's yet."""
        return len(self.handler.connections) + len(self.doors)


async def start(settings: Settings, *, dev: bool = False, **more: Any) -> Running:
    """Start the whole application on a free port of loopback."""
    app = create_app(settings, dev=dev, **more)
    server = Serving(app, host="127.0.0.1", shutdown_timeout=2.0)
    await server.start_server()
    return Running(server, app, aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
