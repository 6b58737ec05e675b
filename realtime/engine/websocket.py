"""One WebSocket, from bytes to messages and back.

After the handshake the transport belongs to `WebSocketConnection` alone: no request, parser, task or queue of the
HTTP server stays behind. Frames are parsed by aiohttp's reader; `outflow` is the way back.
"""

import asyncio
from typing import Protocol

from aiohttp import WebSocketError, WSMessage, WSMsgType
from aiohttp._websocket.reader import WebSocketDataQueue, WebSocketReader

from realtime.engine.frames import PONG, websocket_frame
from realtime.engine.hub import Hub
from realtime.engine.outflow import Outflow

SLICE = 8192
"""Bytes parsed at a time: at most about a thousand messages."""

_DATA = (WSMsgType.TEXT, WSMsgType.BINARY)
_MASKED = 0x80
_COMPRESSED = 0x40
GOING_AWAY, PROTOCOL_ERROR, POLICY, TOO_BIG = 1001, 1002, 1008, 1009


class Receiver(Protocol):
    """What a WebSocket tells its owner."""

    def received(self, message: str | bytes) -> bool:
        """Take a message; False when no more should come for now (`WebSocketConnection.go_on` says when)."""

    def lost(self, connection: "WebSocketConnection", reason: str) -> None:
        """The connection is gone or about to go; may be called twice."""

    def drained(self) -> None:
        """The peer has taken everything that was written."""


class _Messages(WebSocketDataQueue):
    """Where aiohttp's reader puts whole messages. One for all connections: each takes its own out at once."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(None, 1 << 16, loop=loop)  # type: ignore[arg-type]  # never asked to pause anybody
        self.messages: list[WSMessage] = []

    def feed_data(self, data: WSMessage, size: int) -> None:  # type: ignore[override]
        self.messages.append(data)

    def take(self) -> list[WSMessage]:
        messages, self.messages = self.messages, []
        return messages


class Readers:
    """Makes frame readers that share one queue of messages."""

    def __init__(self, loop: asyncio.AbstractEventLoop, max_payload: int) -> None:
        self.queue = _Messages(loop)
        self._max_payload = max_payload + 1  # aiohttp refuses what is as long as its limit

    def make(self, *, deflate: bool) -> WebSocketReader:
        return WebSocketReader(self.queue, self._max_payload, deflate, True)


class WebSocketConnection(Outflow, asyncio.Protocol):
    """Reads and writes one WebSocket for a `Receiver`."""

    __slots__ = ("_backlog", "_close_code", "_fresh", "_queue", "_reader", "_readers", "_whole", "owner")

    def __init__(self, hub: Hub, readers: Readers, owner: Receiver, *, deflate: bool) -> None:
        super().__init__(hub, deflate=deflate)
        self.owner = owner
        self._readers = readers
        self._queue = readers.queue
        self._reader = readers.make(deflate=deflate)
        self._backlog = b""
        self._fresh = self._whole = True
        self._close_code = 0

    def attach(self, transport: asyncio.Transport, response: bytes, already_read: bytes) -> None:
        """Take over the transport of an upgraded request; `already_read` came behind the request's headers."""
        self._transport = transport
        transport.set_protocol(self)
        transport.set_write_buffer_limits(high=0)
        self.write(response)
        if already_read:
            self._backlog = already_read
            self._hub.later(self._read_backlog)
        else:
            transport.resume_reading()

    @property
    def close_code(self) -> int:
        """The code of the peer's Close frame; 0 when it sent none."""
        return self._close_code

    # --- reading ---

    def data_received(self, data: bytes) -> None:
        if self.closing and self._transport is None:
            return
        if self._backlog or len(data) > SLICE:
            self._backlog += data
            self._pause()
            self._read_backlog()
        elif not self._hub.may_handle():
            self._backlog = data
            self._pause()
            self._hub.later(self._read_backlog)
        elif not self._read(data):
            self._pause()

    def _read_backlog(self) -> None:
        """Read one slice of what waits; the rest in later turns."""
        piece, self._backlog = self._backlog[:SLICE], self._backlog[SLICE:]
        if piece and not self._read(piece):
            return
        if self._backlog:
            self._hub.later(self._read_backlog)
        elif self._transport is not None:
            self._transport.resume_reading()

    def go_on(self) -> None:
        """Read again, after the owner had enough for a while."""
        if self._transport is not None:
            self._read_backlog()

    def _pause(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def _read(self, data: bytes) -> bool:
        """Handle what is whole in `data`; False when the owner wants no more for now."""
        if self._fresh and len(data) > 1:
            self._fresh = False
            if not data[1] & _MASKED:  # RFC 6455, 5.1: a server must not go on with such a client
                self.fail(PROTOCOL_ERROR, "unmasked frame")
                return True
        broken, _ = self._reader.feed_data(data)
        wanted = True
        for message in self._queue.take():
            if message.type in _DATA:
                wanted = self.closing or self.owner.received(message.data)
            elif message.type is WSMsgType.PING:
                self.write(websocket_frame(bytes(message.data), PONG))
            elif message.type is WSMsgType.CLOSE:
                self._peer_closes(message.data)
        if broken and not self.closing:
            error = self._queue.exception()
            code = int(error.code) if isinstance(error, WebSocketError) else PROTOCOL_ERROR
            self.fail(code, "oversized frame" if code == TOO_BIG else "malformed frame")
        elif self.deflate and self._whole:
            self._forget_inflater(data)
        return wanted

    def _forget_inflater(self, data: bytes) -> None:
        """A message that was compressed leaves 40 KB in the reader, and nothing that the next message needs.

        A new reader takes over, as long as it is sure that no frame is half read.
        """
        at, compressed = 0, 0
        while 0 <= at < len(data):
            compressed |= data[at] & _COMPRESSED
            at = _end_of_frame(data, at)
        self._whole = at == len(data)
        if compressed and self._whole:
            self._reader = self._readers.make(deflate=True)

    def fail(self, code: int, reason: str) -> None:
        """Close because of what the peer sent; one log line."""
        self._hub.warn("websocket client broke the protocol", reason=reason)
        self.close(code)
        self.lost("transport error")

    def _peer_closes(self, code: int) -> None:
        self._close_code = code or 1005
        self.close(code if code and code != 1006 else 1000)
        if self._transport is not None:
            self._transport.close()

    # --- the end ---

    def lost(self, reason: str) -> None:
        self.owner.lost(self, reason)

    def drained(self) -> None:
        self.owner.drained()

    def eof_received(self) -> bool:
        """Keep a socket for a moment whose peer has gone: when thousands go at once, closing them takes turns."""
        transport = self._transport
        if transport is None or transport.get_extra_info("sslcontext") is not None:
            return False
        self._hub.later(transport.close)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        self._transport = None
        self._backlog = b""
        self.lost("transport close")


def _end_of_frame(data: bytes, at: int) -> int:
    """Return where the masked frame that begins at `at` ends, -1 when it says that too late."""
    size = data[at + 1] & 0x7F if len(data) > at + 1 else -1
    if size < 126:
        return at + 6 + size if size >= 0 else -1
    length = 2 if size == 126 else 8
    head = data[at + 2 : at + 2 + length]
    return at + 6 + length + int.from_bytes(head, "big") if len(head) == length else -1
