"""The whole application with two people who behave, and a way in for those who do not: users and guests with id 5."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import pytest

from realtime import serving
from realtime.app import PARTS, create_app
from realtime.engine.hub import Limits
from realtime.engine.outflow import Outflow
from realtime.engine.polling import PollingQueue
from realtime.engine.session import EngineSession
from realtime.events import Audience, Custom
from tests.engine.hostile.leftovers import busy, kept
from tests.engine.hostile.wire import (
    GOES_ON,
    SHORT,
    TEXT,
    UPGRADE,
    GuestSocket,
    PlainSocket,
    SocketIO,
    Stream,
    Wire,
    frame,
)
from tests.support import Client, FakeClock, Plain, Running, Serving, settings_for, token, until

POLLING = "/socket.io/?EIO=4&transport=polling"
WEBSOCKET = "/socket.io/?EIO=4&transport=websocket"
EVENTS = "/notifications/events"
GUESTS = "/ws/notifications"
BYSTANDERS = 2
YEAR = 365 * 86_400.0
LOAD = 60_000_000
"""Bytes sent to a client that reads nothing."""

W = TypeVar("W", bound=Wire)


@dataclass
class World:
    """The application, two who behave, over Socket.IO and over a plain socket, and everybody else."""

    running: Running
    bystander: Client
    neighbour: Plain
    clock: FakeClock
    patch: pytest.MonkeyPatch
    at_rest: Mapping[str, int] = field(default_factory=dict)
    wires: list[Wire] = field(default_factory=list)
    sockets: list[socket.socket] = field(default_factory=list)
    pollers: list["Poller"] = field(default_factory=list)

    # --- connections ---

    async def dial(self, kind: type[W]) -> W:
        wire = kind(*await asyncio.open_connection("127.0.0.1", self.running.server.port, limit=1 << 24))
        self.wires.append(wire)
        return wire

    async def wire(self) -> Wire:
        return await self.dial(Wire)

    async def refusal(self, method: str, path: str, head: str = "", body: str | bytes = b"") -> str:
        return await (await self.wire()).refusal(method, path, head, body)

    async def upgraded(self, kind: type[W], path: str, head: str = "") -> W:
        """Return a WebSocket on which nothing has been said."""
        wire = await self.dial(kind)
        await wire.request("GET", path, UPGRADE + head)
        assert await wire.status() == "101"
        return wire

    # --- Socket.IO ---

    async def opened(self, head: str = "", sid: str = "") -> SocketIO:
        """Return a WebSocket on which nothing has been said, or one that may replace polling."""
        wire = await self.upgraded(SocketIO, WEBSOCKET + (f"&sid={sid}" if sid else ""), head)
        if not sid:
            assert (await wire.hears()).startswith("0")
        return wire

    async def connected(self, head: str = "", role: str = "technician") -> SocketIO:
        wire = await self.opened(head)
        await wire.say("40" + json.dumps({"token": self.token(role=role)}))
        assert (await wire.hears()).startswith("40")
        return wire

    async def polling(self, *, connect: bool = True) -> "Poller":
        wire = await self.wire()
        await wire.request("GET", POLLING)
        poller = Poller(self, wire, json.loads((await wire.answer())[1][1:])["sid"])
        self.pollers.append(poller)
        if connect:
            assert await poller.post("40" + json.dumps({"token": self.token()})) == "200"
            await wire.request("GET", poller.path)
            assert (await wire.answer())[1].startswith("40")
        return poller

    def session(self) -> EngineSession:
        """Return the latest session."""
        return list(self.running.parts.server.eio.sockets.values())[-1]

    # --- plain connections ---

    def token(self, id: int = 5, role: str | None = "technician", **more: Any) -> str:
        return token(id, role, now=self.clock(), **more)

    def place(self, path: str, **more: Any) -> str:
        """Return a path with what lets somebody in: the token of a guest where guests are, else of a user."""
        if path == GUESTS:
            return f"{path}?guestId=5&token={self.token(role=None, guest=True, **more)}"
        return f"{path}?token={self.token(**more)}"

    async def plain(self, path: str = "/dashboard", head: str = "", **more: Any) -> PlainSocket:
        """Return a plain socket that has been greeted."""
        wire = await self.upgraded(PlainSocket, self.place(path, **more), head)
        await wire.hears()
        return wire

    async def guest(self, head: str = "") -> GuestSocket:
        wire = await self.upgraded(GuestSocket, self.place(GUESTS), head)
        assert json.loads(await wire.hears())["type"] == "connection"
        return wire

    async def stream(self, head: str = "", path: str = EVENTS) -> Stream:
        """Return a stream that has begun."""
        wire = await self.dial(Stream)
        await wire.request("GET", path, f"Authorization: Bearer {self.token()}\r\n{head}")
        assert await wire.status() == "200"
        assert (await wire.event())["type"] == "unread_count"
        return wire

    async def streams_on(self, wire: Stream) -> str:
        """Make sure that a stream lives on."""
        self.publish("still there?")
        while await wire.event() != {"type": "news", "data": "still there?"}:
            pass
        return GOES_ON

    # --- clients that hardly read ---

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
        """Return a client of `/` that takes hardly a byte."""
        deaf = await self.deaf(f"GET {WEBSOCKET} HTTP/1.1\r\nHost: localhost\r\n{UPGRADE}\r\n".encode())
        connect = frame(TEXT, ("40" + json.dumps({"token": self.token()})).encode())
        await asyncio.get_running_loop().sock_sendall(deaf, connect)
        await until(lambda: self.others() == 1, what="the connection")
        return deaf

    async def deaf_plain(self, path: str, head: str = "") -> socket.socket:
        """Return a plain socket or a stream that takes hardly a byte."""
        head += "" if path == EVENTS else UPGRADE
        deaf = await self.deaf(f"GET {self.place(path)} HTTP/1.1\r\nHost: localhost\r\n{head}\r\n".encode())
        await until(lambda: self.others() == 1, what="the connection")
        return deaf

    def narrow(self) -> None:
        """Let the kernel keep hardly anything for connections that come from now on."""
        server = self.running.server.runner
        assert server is not None
        for address in server.sites:
            listening = address._server
            assert isinstance(listening, asyncio.Server)
            for sock in listening.sockets:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)

    def plain_outflow(self) -> Outflow:
        """Return what the server writes to the latest plain connection."""
        return list(self.running.parts.connections.plain.sockets.values())[-1].ws

    def publish(self, data: object, to: Audience | None = None) -> int:
        return self.running.parts.publisher.publish(Custom(0.0, "news", data), to or Audience.user("5"))

    async def fill(self, ws: Outflow, to: Audience | None = None) -> None:
        """Send to a connection that reads nothing, 60 MB or until it is cut."""
        most = sent = 0
        while sent < LOAD and self.others():
            for _ in range(20):
                self.publish("x" * 10_000, to)
                sent += 10_000
            most = max(most, ws._buffered())
            await asyncio.sleep(0)
        await until(lambda: self.others() == 0, what="the end of the connection")
        assert 0 < most <= Limits().hard_buffer + Limits().soft_buffer

    async def others_go_on(self) -> None:
        """Make sure that those who behave are answered."""
        for _ in range(2):
            await self.bystander.settle()
            await self.neighbour.settle()

    # --- what is left ---

    def others(self) -> int:
        """Return how many connections there are beside those of the two who behave."""
        return len(self.running.parts.channels) - BYSTANDERS

    def kept(self) -> dict[str, int]:
        return kept(self.running)

    def busy(self) -> dict[str, int]:
        return busy(self.running)

    def surplus(self, found: Mapping[str, int]) -> dict[str, int]:
        """Return what there is more or less of than at rest. Some tasks may have ended since."""
        odd = {name: count - self.at_rest[name] for name, count in found.items() if count != self.at_rest[name]}
        return {name: count for name, count in odd.items() if name != "tasks" or count > 0}

    async def rest(self) -> None:
        """Remember how things are when only those who behave are here."""
        await until(lambda: self.busy()["requests"] == 0, what="a server at rest")
        self.at_rest = {**self.kept(), **self.busy()}

    async def forgotten(self) -> None:
        """Make sure that nothing is kept of anybody else."""
        await _true(lambda: not self.surplus(self.kept()), lambda: f"still kept: {self.surplus(self.kept())}")

    def drop(self) -> None:
        for wire in self.wires:
            wire.drop()
        for deaf in self.sockets:
            deaf.close()

    async def cleaned(self) -> None:
        """Everybody else goes; make sure that nothing of them is left, and that the others are well."""
        for poller in self.pollers:
            await poller.post("1")  # a session that polls has no connection that could be lost
        self.drop()
        await self.forgotten()
        await self.others_go_on()
        await _true(lambda: not self.surplus(self.busy()), lambda: f"still under way: {self.surplus(self.busy())}")

    async def emptied(self) -> None:
        """Those who behave go, too; make sure that nothing is left of anybody."""
        for well in (self.bystander, self.neighbour):
            await well.close()
        await _true(lambda: not any(self.kept().values()), lambda: f"still kept: {self.kept()}")


def hang_up(deaf: socket.socket, *, reset: bool = True) -> None:
    """Close a connection, or cut it without a word."""
    if reset:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    deaf.close()


async def _true(condition: Callable[[], bool], otherwise: Callable[[], str]) -> None:
    try:
        await until(condition)
    except AssertionError as error:
        raise AssertionError(otherwise()) from error


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


@asynccontextmanager
async def world_of(
    path: Path,
    patch: pytest.MonkeyPatch,
    *,
    shorten: Iterable[str] = (),
    stall: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> AsyncIterator[World]:
    """Start the application; `shorten` and `stall` name limits in seconds that are not waited for."""
    for name in shorten:
        patch.setattr(name, SHORT)
    clock = FakeClock()
    app = create_app(settings_for(path, **(settings or {})), clock=clock)
    engine = app[PARTS].server.eio
    if stall:
        engine.limits = replace(engine.limits, stall_seconds=SHORT)
    server = Serving(app, host="127.0.0.1")
    await server.start_server(
        logger=serving._one_line_logger(),
        access_log=None,
        keepalive_timeout=serving.HEADER_SECONDS,
        lingering_time=SHORT,
        shutdown_timeout=2.0,
    )
    running = Running(server, app, aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
    try:
        bystander = await running.connect(9, "technician", now=clock(), lifetime=YEAR)
        neighbour = await running.plain("/notifications", 8, "technician", now=clock(), lifetime=YEAR)
        world = World(running, bystander, neighbour, clock, patch)
        await neighbour.hears("unread_count")
        await world.rest()
        try:
            yield world
        finally:
            world.drop()
    finally:
        await running.stop()
