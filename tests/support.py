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

from realtime.app import PARTS, Parts, create_app
from realtime.auth import mint
from realtime.models import JsonObject, WireId
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
        return await self.sio.call(event, data if args else None, timeout=PATIENCE)

    async def settle(self) -> None:
        """Return when everything that the server sent before now has been heard (acks come in order)."""
        await self.ask("heartbeat")

    async def close(self) -> None:
        await self.sio.disconnect()


@dataclass
class Running:
    """A server under test."""

    server: TestServer
    app: web.Application
    http: aiohttp.ClientSession
    clients: list[Client] = field(default_factory=list)
    jars: list[aiohttp.ClientSession] = field(default_factory=list)

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
        **claims: Any,
    ) -> Client:
        """Connect to ``/``; raises socketio.exceptions.ConnectionError when refused."""
        client = Client(socketio.AsyncClient(reconnection=False, http_session=self._session_for(headers)))

        async def hear(event: str, *args: Any) -> None:
            client.heard.append((event, args[0] if args else None))

        client.sio.on("*", hear)
        given = {"token": token(id, role, **claims)} if id is not None and auth is None else auth
        await client.sio.connect(
            self.url + query,
            auth=given,
            transports=transports or ["websocket"],
            headers=headers or {},
            wait_timeout=PATIENCE,
        )
        self.clients.append(client)
        return client

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
        for client in self.clients:
            await client.close()
        for session in (self.http, *self.jars):
            await session.close()
        await self.server.close()


async def start(settings: Settings, *, dev: bool = False, **more: Any) -> Running:
    """Start the whole application on a free port of loopback."""
    app = create_app(settings, dev=dev, **more)
    server = TestServer(app, host="127.0.0.1", shutdown_timeout=2.0)
    await server.start_server()
    return Running(server, app, aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
