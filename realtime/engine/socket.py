"""One Engine.IO connection. After the WebSocket is up, everything is written straight to its transport.

The transport's buffer is the only queue, so a client that does not read costs a bounded amount of memory: above
`MAX_BUFFER` its connection is aborted, and a healthy client simply comes back.
"""

import asyncio
from typing import Any

from aiohttp import WSMsgType, web
from engineio import packet
from engineio.async_socket import AsyncSocket
from engineio.exceptions import ContentTooLongError, EngineIOError

from realtime.engine.frames import Burst, websocket_frame
from realtime.wire import BadJson

MAX_BUFFER = 1 << 20
MAX_POLLING_QUEUE = 2000
MAX_PACKETS_PER_POST = 1000
SEPARATOR = "\x1e"
UPGRADE_SECONDS = 10.0
CLOSE_SECONDS = 2.0


class SocketGone(OSError):
    """The peer has closed its end."""


class WebSocketGate:
    """Upgrades a request and hands the socket to the Engine.IO handler (engineio's driver interface)."""

    def __init__(self, handler: Any, server: Any) -> None:
        self._handler = handler
        self._server = server

    async def __call__(self, environ: dict[str, Any]) -> web.WebSocketResponse:
        request: web.Request = environ["aiohttp.request"]
        # Compression costs 100 KB a connection, and frames are small.
        self.response = web.WebSocketResponse(
            max_msg_size=self._server.max_http_buffer_size, compress=False, autoclose=False
        )
        await self.response.prepare(request)
        self.transport = request.transport
        await self._handler(self)
        return self.response

    async def wait(self) -> str | bytes:
        """Return the next message. Raises SocketGone."""
        message = await self.response.receive()
        if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
            return message.data  # type: ignore[no-any-return]
        raise SocketGone


class EngineSocket(AsyncSocket):  # type: ignore[misc]
    """An Engine.IO session over polling, then WebSocket, or WebSocket from the start."""

    connected: bool
    closing: bool
    closed: bool

    def __init__(self, server: Any, sid: str) -> None:
        super().__init__(server, sid)
        self._transport: asyncio.Transport | None = None
        self._close_sent = False
        self._queued = 0
        self.broken = False

    def deliver(self, burst: Burst) -> bool:
        """Write encoded events; False when they could not be taken."""
        if self.closed or self.closing:
            return False
        if self._transport is not None:
            return self._write(burst.frames)
        return all(self._enqueue(item) for item in burst.packets)

    async def send(self, pkt: packet.Packet) -> None:
        if self.closed:
            return
        if self._transport is None:
            self._enqueue(pkt)
        else:
            self._write_packet(pkt)

    def _enqueue(self, pkt: packet.Packet) -> bool:
        """Keep a packet for the next poll. A client that does not poll is cut, as one that does not read."""
        if self.queue.empty():
            self._queued = 0
        self._queued += len(pkt.data) if isinstance(pkt.data, str | bytes) else 0
        if self._queued > MAX_BUFFER or self.queue.qsize() >= MAX_POLLING_QUEUE:
            self.server.cut_slow(self)
            return False
        self.queue.put_nowait(pkt)
        return True

    async def handle_post_request(self, environ: dict[str, Any]) -> None:
        """Read the whole body, chunked or not, and handle its packets in order.

        Raises EngineIOError (answered 400) for a body that is too large or not made of Engine.IO packets.
        """
        request: web.Request = environ["aiohttp.request"]
        try:
            packets = (await request.read()).decode().split(SEPARATOR)
            if len(packets) > MAX_PACKETS_PER_POST or any(len(p) > self.server.max_http_buffer_size for p in packets):
                raise ContentTooLongError
            decoded = [packet.Packet(encoded_packet=p) for p in packets]
        except (web.HTTPRequestEntityTooLarge, ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
            raise EngineIOError from error
        for pkt in decoded:
            if not 0 <= pkt.packet_type < len(packet.packet_names):
                raise EngineIOError
            await self.receive(pkt)
            if self.broken:
                raise EngineIOError

    def _write_packet(self, pkt: packet.Packet) -> None:
        encoded = pkt.encode()
        if isinstance(encoded, bytes):
            self._write(websocket_frame(encoded, 0x2))
        else:
            self._write(websocket_frame(encoded.encode()))

    def _write(self, data: bytes) -> bool:
        transport = self._transport
        if transport is None or transport.is_closing() or self._close_sent:
            return False
        transport.write(data)
        if transport.get_write_buffer_size() > MAX_BUFFER:
            self.server.cut_slow(self)
            return False
        return True

    def abort(self) -> None:
        """Drop the connection at once; the reader notices and ends the session."""
        if self._transport is not None:
            self._transport.abort()

    async def close(self, wait: bool = True, abort: bool = False, reason: str | None = None) -> None:
        """End the session, once. `abort` sends no CLOSE packet. The disconnect event always fires."""
        await self.end(reason=reason, goodbye=not abort)

    async def end(self, *, reason: str | None = None, goodbye: bool = False, code: int = 1000) -> None:
        """End the session with a WebSocket close code; `goodbye` adds Engine.IO's CLOSE packet."""
        if self.closed or self.closing:
            return
        self.closing = True
        try:
            await self.server._trigger_event(
                "disconnect", self.sid, reason or self.server.reason.SERVER_DISCONNECT, run_async=False
            )
        finally:
            if goodbye:
                if self._transport is None:
                    self.queue.put_nowait(packet.Packet(packet.CLOSE))
                else:
                    self._write_packet(packet.Packet(packet.CLOSE))
            self.closed = True
            self.queue.put_nowait(None)
            self._close_websocket(code)

    def _close_websocket(self, code: int) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if not self._close_sent:
            transport.write(websocket_frame(code.to_bytes(2, "big"), 0x8))
            self._close_sent = True
        asyncio.get_running_loop().call_later(CLOSE_SECONDS, transport.abort)

    async def _websocket_handler(self, ws: WebSocketGate) -> None:
        if self.connected:
            try:
                upgraded = await asyncio.wait_for(self._probe(ws), UPGRADE_SECONDS)
            except (SocketGone, TimeoutError):
                upgraded = False
            self.upgrading = False
            if not upgraded:
                return
        self.connected = self.upgraded = True
        self._go_direct(ws)
        try:
            await self._read(ws)
        finally:
            self._close_websocket(1000)
            if self._transport is not None:
                # A Close frame was sent, so aiohttp must not add its own when the handler returns.
                self._transport.close()
            await self.close(wait=False, abort=True, reason=self.server.reason.TRANSPORT_CLOSE)
            self._transport = None

    async def _probe(self, ws: WebSocketGate) -> bool:
        self.upgrading = True
        if await ws.wait() != "2probe":
            return False
        await ws.response.send_str("3probe")
        await self.queue.put(packet.Packet(packet.NOOP))  # ends the pending poll
        return await ws.wait() == "5"

    def _go_direct(self, ws: WebSocketGate) -> None:
        """Move what is queued to the WebSocket; from here on every packet is written directly, in order."""
        self._transport = ws.transport
        while not self.queue.empty():
            item = self.queue.get_nowait()
            self.queue.task_done()
            if item is not None and item.packet_type != packet.NOOP:
                self._write_packet(item)

    async def _read(self, ws: WebSocketGate) -> None:
        """Handle one message after the other until the connection ends or breaks the protocol."""
        while not self.closed:
            try:
                await self.receive(packet.Packet(encoded_packet=await ws.wait()))
            except SocketGone:
                return
            except (EngineIOError, BadJson, ValueError, KeyError, IndexError, TypeError, RecursionError):
                self.server.protocol_error(self)
                return
