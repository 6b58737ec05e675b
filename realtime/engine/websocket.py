"""One WebSocket, from bytes to messages and back.

After the handshake the transport belongs to `WebSocketConnection` alone: no request, parser, task or queue of the
HTTP server stays behind. Frames are parsed by aiohttp's reader; `outflow` is the way back.
"""

import asyncio
from typing import Protocol

from aiohttp import WebSocketError, WSMessage, WSMsgType
from aiohttp._websocket.reader import WebSocketDataQueue, WebSocketReader

from realtime.engine.frames import PING, PONG, websocket_frame
from realtime.engine.hub import Hub
from realtime.engine.outflow import Outflow
from realtime.engine.timers import Deadlines

MESSAGE_SECONDS = 15.0
"""How long one message, in as many frames as it likes, may take to come."""

SLICE = 8192
"""Bytes parsed at a time: at most about a thousand messages."""

DEFLATED_SLICE = 512
"""The same for a client that may compress: a byte of it may be a thousand."""

_DATA = (WSMsgType.TEXT, WSMsgType.BINARY)
_MASKED = _FINAL = 0x80
GOING_AWAY, PROTOCOL_ERROR, POLICY, TOO_BIG, INTERNAL, TRY_LATER = 1001, 1002, 1008, 1009, 1011, 1013


class Receiver(Protocol):
    """What a WebSocket tells its owner."""

    @property
    def full(self) -> bool:
        """Whether no more messages should come for now."""

    def received(self, message: str | bytes) -> bool:
        """Take a message; False when no more should come for now (`WebSocketConnection.go_on` says when)."""

    def ponged(self, payload: bytes) -> None:
        """The peer has answered a ping, or says so."""

    def lost(self, connection: "WebSocketConnection", reason: str) -> None:
        """The connection is gone or about to go; may be called twice."""


class _Nobody:
    """The owner of a connection whose session is forgotten while its farewell is still under way."""

    full = False

    def received(self, message: str | bytes) -> bool:
        return True

    def ponged(self, payload: bytes) -> None:
        pass

    def lost(self, connection: object, reason: str) -> None:
        pass


NOBODY = _Nobody()


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
    """aiohttp's frame readers. A connection needs one of its own only while a frame or a message is incomplete."""

    def __init__(self, loop: asyncio.AbstractEventLoop, max_payload: int) -> None:
        self.unfinished = Deadlines(loop, MESSAGE_SECONDS, WebSocketConnection.check_message)
        self.queue = _Messages(loop)
        self._max_payload = max_payload + 1  # aiohttp refuses what is as long as its limit
        self.shared = self.make(deflate=False)

    def make(self, *, deflate: bool) -> WebSocketReader:
        return WebSocketReader(self.queue, self._max_payload, deflate, True)

    def feed(self, data: bytes, reader: WebSocketReader | None) -> tuple[list[WSMessage], WebSocketError | None]:
        """Return the messages that `data` completes and the error in it; without a reader it is one whole frame."""
        broken, _ = (reader or self.shared).feed_data(data)
        messages = self.queue.take()
        if not broken:
            return messages, None
        if reader is None:
            self.shared = self.make(deflate=False)
        error = self.queue.exception()
        return messages, error if isinstance(error, WebSocketError) else WebSocketError(PROTOCOL_ERROR, "malformed")


class WebSocketConnection(Outflow, asyncio.Protocol):
    """Reads and writes one WebSocket for a `Receiver`."""

    __slots__ = ("_backlog", "_bounds", "_close_code", "_reader", "_readers", "_watched", "owner")

    def __init__(self, hub: Hub, readers: Readers, owner: Receiver, *, deflate: bool) -> None:
        super().__init__(hub, deflate=deflate)
        self.owner = owner
        self._readers = readers
        self._reader: WebSocketReader | None = None
        self._bounds: Bounds | None = None
        self._watched = False  # whether there is a deadline for unfinished messages
        self._backlog = b""
        self._close_code = 0

    def attach(self, transport: asyncio.Transport, response: bytes, already_read: bytes) -> None:
        """Take over the transport of an upgraded request; `already_read` came behind the request's headers."""
        self._take_over(transport)
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

    @property
    def _slice(self) -> int:
        return DEFLATED_SLICE if self.deflate else SLICE

    def data_received(self, data: bytes) -> None:
        if self.closing and self.transport is None:
            return
        if self._backlog or len(data) > self._slice:
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
        if self.owner.full and not self.closing:
            return  # `go_on` comes when it is not
        piece, self._backlog = self._backlog[: self._slice], self._backlog[self._slice :]
        if piece and not self._read(piece):
            return
        if self._backlog:
            self._hub.later(self._read_backlog)
        elif self.transport is not None:
            self.transport.resume_reading()

    def go_on(self) -> None:
        if self.transport is not None:
            self._read_backlog()

    def _pause(self) -> None:
        if self.transport is not None:
            self.transport.pause_reading()

    def _read(self, data: bytes) -> bool:
        """Handle what is whole in `data`; False when the owner wants no more for now."""
        if self._reader is None and not _is_one_small_frame(data):
            if len(data) > 1 and not data[1] & _MASKED:  # RFC 6455, 5.1: a server must not go on with such a client
                self.fail(PROTOCOL_ERROR, "unmasked frame")
                return True
            self._reader, self._bounds = self._readers.make(deflate=self.deflate), Bounds()
        messages, error = self._readers.feed(data, self._reader)
        wanted = True
        for message in messages:
            if message.type in _DATA:
                wanted = self.closing or self.owner.received(message.data)
            elif message.type is WSMsgType.PING:
                self.write(websocket_frame(bytes(message.data), PONG))
            elif message.type is WSMsgType.PONG:
                self.owner.ponged(bytes(message.data))
            elif message.type is WSMsgType.CLOSE:
                self._peer_closes(message.data)
        if error is not None and not self.closing:
            self.fail(int(error.code), "oversized frame" if error.code == TOO_BIG else "malformed frame")
        elif self._bounds is not None:
            self._bounds.messages += sum(message.type in _DATA for message in messages)
            if self._bounds.are_met(data):
                self._reader = self._bounds = None  # a reader costs 450 bytes, and 40 KB once it has inflated
            elif not self._watched:
                self._watched = True
                self._readers.unfinished.add((self, self._bounds, self._bounds.messages))
        return wanted

    @staticmethod
    def check_message(begun: "tuple[WebSocketConnection, Bounds, int]") -> None:
        """Close a connection whose client has begun a message and does not end it."""
        connection, bounds, messages = begun
        now = connection._bounds
        connection._watched = now is not None and not connection.closing
        if now is None or connection.closing:
            return
        if now is bounds and now.messages == messages and not connection.owner.full:
            connection.fail(POLICY, "unfinished message")
        else:
            connection._readers.unfinished.add((connection, now, now.messages))

    def fail(self, code: int, reason: str) -> None:
        """Close because of what the peer sent; one log line."""
        if self.closing:
            return
        self._hub.warn("websocket client broke the protocol", reason=reason)
        self.close(code)
        self.lost("transport error")

    def _peer_closes(self, code: int) -> None:
        self._close_code = code or 1005
        self.close(code if code and code != 1006 else 1000)
        if self.transport is not None:
            self.transport.close()

    # --- the rest ---

    def ping(self, payload: bytes) -> None:
        """Write a ping; the peer's answer comes as `Receiver.ponged`."""
        self.write(websocket_frame(payload, PING))

    def lost(self, reason: str) -> None:
        self.owner.lost(self, reason)

    def connection_lost(self, exc: Exception | None) -> None:
        self._backlog = b""
        self._reader = self._bounds = None  # the deadline of an unfinished message keeps the connection for a while
        super().connection_lost(exc)


def _is_one_small_frame(data: bytes) -> bool:
    """Whether `data` is exactly one masked, final, uncompressed frame of less than 126 bytes, as most reads are."""
    return len(data) > 5 and data[0] & 0xF0 == _FINAL and len(data) == data[1] - _MASKED + 6 and data[1] < _MASKED + 126


class Bounds:
    """Follows where frames end, from read to read, so that a reader with nothing left to do can go."""

    __slots__ = ("_fragments", "_head", "_missing", "messages")

    def __init__(self) -> None:
        self.messages = 0  # that have come whole
        self._missing = 0  # bytes of the last frame that are still to come
        self._head = b""  # of a frame whose head was cut in two
        self._fragments = False  # a message has begun and its last frame has not come

    def are_met(self, data: bytes) -> bool:
        """Whether a message ends with the last byte of `data`."""
        at, data = self._missing, self._head + data
        self._head = b""
        while at < len(data):
            size = self._frame_size(data[at : at + 10])
            if size == 0:
                self._head, at = data[at:], len(data)
            at += size
        self._missing = at - len(data)
        return self._missing == 0 and not self._fragments and not self._head

    def _frame_size(self, head: bytes) -> int:
        """Return the size of a masked frame, head and mask included; 0 when its head is not whole."""
        size = head[1] & 0x7F if len(head) > 1 else 0
        wide = {126: 2, 127: 8}.get(size, 0)
        if len(head) < 2 + wide:
            return 0
        if head[0] & 0x0F < 8:  # no control frame
            self._fragments = not head[0] & _FINAL
        return 6 + wide + (int.from_bytes(head[2 : 2 + wide], "big") if wide else size)
