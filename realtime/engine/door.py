"""The first look at a new connection: a client that begins with a WebSocket is let in at once.

To such a client HTTP is one head to be answered. Making a request of it, with the tasks, the timers and the layers that
requests pass through, costs more than the answer. What anybody else sends goes to the HTTP server as if nobody had
looked.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, cast

import structlog
from aiohttp import web
from aiohttp.http import HttpRequestParser

from realtime.engine.timers import MAX_LATE_SECONDS

log = structlog.get_logger(__name__)

SILENT_SECONDS = 5.0
"""How long a connection may say nothing at all. The HTTP server's own limits begin with its first byte."""

MAX_HEAD = 8190
"""Bytes of a line, and of all lines together where this shortcut is taken."""

END = b"\r\n\r\n"

Admit = Callable[[web.Request], bool]
"""Opens a WebSocket for a request, or returns False and has done nothing."""


class Doors:
    """Makes the protocol of each new connection; give it to ``loop.create_server``.

    `http` makes those of an HTTP server. Requests for `path` (``/socket.io/``) that ask for a WebSocket are shown to
    `admit` first.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, http: Callable[[], asyncio.BaseProtocol], admit: Admit, *, path: str
    ) -> None:
        self._loop = loop
        self._http = http
        self._admit = admit
        self._begins = f"GET {path}?".encode()
        self._silent: OrderedDict[Door, float] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def __call__(self) -> "Door":
        return Door(self)

    def __len__(self) -> int:
        """How many connections have not said anything."""
        return len(self._silent)

    def __bool__(self) -> bool:
        return True

    def close(self) -> None:
        """End the connections that have not said anything."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for door in [*self._silent]:
            door.abort()

    def opened(self, door: "Door") -> None:
        if self._closed:
            door.abort()
            return
        self._silent[door] = due = self._loop.time() + SILENT_SECONDS
        if self._timer is None:
            self._timer = self._loop.call_at(due, self._end_silence)

    def heard(self, door: "Door") -> None:
        self._silent.pop(door, None)

    def _end_silence(self) -> None:
        now = self._loop.time()
        while self._silent:
            door, due = next(iter(self._silent.items()))
            if due > now:  # everybody may be silent equally long, so they are in order of time
                self._timer = self._loop.call_at(max(due, now + MAX_LATE_SECONDS), self._end_silence)
                return
            door.abort()
        self._timer = None

    def lets_in(self, door: "Door", data: bytes) -> bool:
        """Open a WebSocket for the head in `data`. False: it is none, or it must be refused, which others do."""
        if not data.startswith(self._begins) or len(data) > MAX_HEAD or data.find(END) != len(data) - len(END):
            return False
        parser = HttpRequestParser(
            None, self._loop, MAX_HEAD, max_line_size=MAX_HEAD, max_field_size=MAX_HEAD, max_headers=128
        )
        try:
            messages, upgraded, tail = parser.feed_data(data)
        except Exception:  # noqa: BLE001  it is not for us: the HTTP server knows what to say
            return False
        if not upgraded or tail or len(messages) != 1:
            return False
        message, payload = messages[0]
        if not payload.is_eof():
            return False
        transport, nobody = door.transport, cast(Any, None)  # neither writes a body nor waits
        request = web.Request(message, payload, cast(Any, door), nobody, nobody, self._loop)
        try:
            return self._admit(request)
        except Exception as error:
            log.error("websocket open failed", exc_info=error)
            if door.transport is None and transport is not None:  # it had been taken over, and is nobody's now
                transport.abort()
            return False

    def hand_on(self, transport: asyncio.Transport, data: bytes) -> None:
        """Let the HTTP server have a connection, with what has been read of it."""
        protocol = cast(asyncio.Protocol, self._http())
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(data)


class Door(asyncio.Protocol):
    """Stands in for the HTTP server's protocol until the first bytes have come; named as that is."""

    __slots__ = ("_doors", "_message_tail", "transport")

    def __init__(self, doors: Doors) -> None:
        self._doors = doors
        self._message_tail = b""
        self.transport: asyncio.Transport | None = None

    @property
    def peername(self) -> Any:
        return None if self.transport is None else self.transport.get_extra_info("peername")

    @property
    def sockname(self) -> Any:
        return None if self.transport is None else self.transport.get_extra_info("sockname")

    @property
    def ssl_context(self) -> Any:
        return None if self.transport is None else self.transport.get_extra_info("sslcontext")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._doors.opened(self)

    def data_received(self, data: bytes) -> None:
        transport = self.transport
        self._doors.heard(self)
        if transport is not None and not self._doors.lets_in(self, data) and not transport.is_closing():
            self._doors.hand_on(transport, data)

    def abort(self) -> None:
        self._doors.heard(self)
        if self.transport is not None:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._doors.heard(self)
