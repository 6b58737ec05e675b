"""The Socket.IO server: python-socketio with the faults mended that would lose, leak or forge something.

What is overridden, and why: a client cannot fire `connect` or `disconnect` handlers; a failing handler leaves no
ghost; every event with an ack id is acked; one client's events run in order; a frame that breaks the protocol
closes its connection with one log line; events are encoded once and written directly (`deliver`).
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import engineio
import socketio
import structlog
from engineio import packet as eio_packet
from socketio import packet as sio_packet

from realtime.engine.frames import Burst, WirePacket
from realtime.engine.manager import RoomManager
from realtime.engine.socket import EngineSocket, WebSocketGate
from realtime.errors import Code, RealtimeError
from realtime.metrics import Metrics

log = structlog.get_logger(__name__)

CONNECT_SECONDS = 10.0
MAX_ROOMS = 500
MAX_NAMESPACE = 128
RESERVED_EVENTS = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener", "__disconnect_final"}
)
"""Names that mean something to the clients' libraries: nobody may send or publish them."""


class EngineServer(engineio.AsyncServer):  # type: ignore[misc]
    """Engine.IO sessions of our own class. WebSocket compression is off; the HTTP layer checks origins."""

    sockets: dict[str, EngineSocket]
    start_service_task: bool
    _async: dict[str, Any]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._async = {**self._async, "websocket": WebSocketGate}
        self._background: set[asyncio.Task[Any]] = set()
        self.metrics: Metrics | None = None

    async def _handle_connect(self, environ: dict[str, Any], transport: str, jsonp_index: int | None = None) -> Any:
        if self.start_service_task:
            self.start_service_task = False
            self.service_task_handle = self.start_background_task(self._service_task)
        if transport == "websocket" and not _is_upgrade(environ):
            return self._bad_request("Invalid websocket upgrade")
        sid = self.generate_id()
        session = EngineSocket(self, sid)
        self.sockets[sid] = session
        await session.send(eio_packet.Packet(eio_packet.OPEN, self._opening(sid, transport)))
        await self._trigger_event("connect", sid, environ, run_async=False)
        session.schedule_ping()
        if transport == "websocket":
            try:
                return await session.handle_get_request(environ)
            finally:
                # A failed upgrade never reaches the reading loop that ends sessions.
                await session.end(reason=self.reason.TRANSPORT_ERROR)
                self.sockets.pop(sid, None)
        session.connected = True
        return self._ok(await session.poll())

    def _opening(self, sid: str, transport: str) -> dict[str, Any]:
        return {
            "sid": sid,
            "upgrades": self._upgrades(sid, transport),
            "pingTimeout": int(self.ping_timeout * 1000),
            "pingInterval": int(self.ping_interval * 1000),
            "maxPayload": self.max_http_buffer_size,
        }

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run something in the background and keep it referenced until it is done."""
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def cut_slow(self, session: EngineSocket) -> None:
        """Abort a connection that does not read. No CLOSE packet: a healthy client comes back by itself."""
        if session.closed or session.closing:
            return
        if self.metrics is not None:
            self.metrics.slow_clients.inc()
        log.warning("websocket client cut: it does not read", eio_sid=session.sid)
        session.abort()
        self.spawn(session.end(reason=self.reason.TRANSPORT_ERROR))

    def protocol_error(self, session: EngineSocket) -> None:
        """End a session whose client sent something that is not Engine.IO or Socket.IO."""
        if session.closed or session.closing:
            return
        log.warning("websocket client broke the protocol", eio_sid=session.sid)
        session.broken = True
        self.spawn(session.end(reason=self.reason.TRANSPORT_ERROR, code=1008))

    async def close_all(self, code: int, *, grace: float) -> None:
        """Close every session with a WebSocket close code, and abort those that have not left after `grace` s.

        Sends no Engine.IO CLOSE and no Socket.IO DISCONNECT, so that clients come back by themselves.
        """
        sessions = list(self.sockets.values())
        await asyncio.gather(
            *(session.end(reason=self.reason.SERVER_DISCONNECT, code=code) for session in sessions),
            return_exceptions=True,
        )
        deadline = asyncio.get_running_loop().time() + grace
        # A polling session has no connection of its own to wait for.
        while any(session.upgraded for session in self.sockets.values()):
            if asyncio.get_running_loop().time() > deadline:
                break
            await asyncio.sleep(0.02)
        for session in list(self.sockets.values()):
            session.abort()
        self.sockets.clear()


class RealtimeServer(socketio.AsyncServer):  # type: ignore[misc]
    """python-socketio's AsyncServer over `EngineServer` and `RoomManager`."""

    manager: RoomManager
    eio: EngineServer
    on_unheard: Callable[[str, object, dict[str, object]], None] | None = None
    """Called with (sid, event, answer) when an event was refused and its sender asked for no acknowledgement."""

    def _engineio_server_class(self) -> type[EngineServer]:
        return EngineServer

    async def _handle_eio_connect(self, eio_sid: str, environ: dict[str, Any]) -> None:
        await super()._handle_eio_connect(eio_sid, environ)
        self._close_later_if_unused(eio_sid)

    def _close_later_if_unused(self, eio_sid: str) -> None:
        """A session that is in no namespace has a while to join one."""
        if eio_sid in self.eio.sockets:
            asyncio.get_running_loop().call_later(CONNECT_SECONDS, self._close_if_unused, eio_sid)

    def _close_if_unused(self, eio_sid: str) -> None:
        session = self.eio.sockets.get(eio_sid)
        if session is not None and not self.manager.sids_of(eio_sid):
            self.eio.spawn(session.end(reason=self.reason.SERVER_DISCONNECT, goodbye=True))

    async def _handle_eio_message(self, eio_sid: str, data: str | bytes) -> None:
        try:
            self._check_attachment(eio_sid, data)
            await super()._handle_eio_message(eio_sid, data)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  the top of the reading loop: whatever a frame does, it ends here
            session = self.eio.sockets.get(eio_sid)
            log.debug("websocket frame refused", eio_sid=eio_sid, error=type(error).__name__)
            self._binary_packet.pop(eio_sid, None)
            if session is not None:
                self.eio.protocol_error(session)

    def _check_attachment(self, eio_sid: str, data: str | bytes) -> None:
        """Between a binary event and its last attachment only attachments may come, of a bounded size together."""
        waiting = self._binary_packet.get(eio_sid)
        if waiting is None:
            return
        size = len(data) + sum(len(attachment) for attachment in waiting.attachments)
        if isinstance(data, str) or size > self.eio.max_http_buffer_size:
            raise ValueError("not an attachment, or too large")

    async def _handle_connect(self, eio_sid: str, namespace: str | None, data: Any) -> None:
        namespace = namespace or "/"
        if len(namespace) > MAX_NAMESPACE:
            raise ValueError("the namespace is too long")
        if namespace not in self.handlers:
            await self._refuse(eio_sid, namespace, {"message": "Invalid namespace"})
            return
        try:
            await super()._handle_connect(eio_sid, namespace, data)
        except Exception as error:  # noqa: BLE001  a failing connect handler must not leave a half-connected ghost
            log.error("websocket connect failed", eio_sid=eio_sid, error=type(error).__name__)
            await self._forget(eio_sid, namespace, self.reason.SERVER_DISCONNECT)
            message = {"message": "Internal server error", "data": {"code": Code.INTERNAL.value}}
            await self._refuse(eio_sid, namespace, message)
        if eio_sid not in self.environ:  # it left while it was being authenticated
            await self._forget(eio_sid, namespace, self.reason.TRANSPORT_CLOSE)

    async def _refuse(self, eio_sid: str, namespace: str, reason: dict[str, Any]) -> None:
        packet = self.packet_class(sio_packet.CONNECT_ERROR, data=reason, namespace=namespace)
        await self._send_packet(eio_sid, packet)

    async def _forget(self, eio_sid: str, namespace: str, reason: str) -> None:
        """Take a connection out of everything, whatever state it is in; its disconnect handler runs once."""
        sid = self.manager.sid_from_eio_sid(eio_sid, namespace)
        if sid is None:
            return
        connected = sid in self.manager.membership(namespace)
        self.manager.pre_disconnect(sid, namespace)
        try:
            if connected:
                await self._trigger_event("disconnect", namespace, sid, reason)
        except Exception as error:
            log.error("websocket disconnect handler failed", sid=sid, exc_info=error)
        finally:
            self.manager.basic_disconnect(sid, namespace)

    async def _handle_disconnect(self, eio_sid: str, namespace: str | None, reason: str | None = None) -> None:
        self._binary_packet.pop(eio_sid, None)
        sid = self.manager.sid_from_eio_sid(eio_sid, namespace or "/")
        if self.manager.is_connected(sid, namespace or "/"):
            await self._forget(eio_sid, namespace or "/", reason or self.reason.CLIENT_DISCONNECT)
            self._close_later_if_unused(eio_sid)

    async def _handle_event(self, eio_sid: str, namespace: str | None, id: int | None, data: Any) -> None:
        namespace = namespace or "/"
        sid = self.manager.sid_from_eio_sid(eio_sid, namespace)
        if not self.manager.is_connected(sid, namespace):
            session = self.eio.sockets.get(eio_sid)
            if sid is None and session is not None and not self.manager.sids_of(eio_sid):
                self.eio.protocol_error(session)  # an event before any CONNECT
            return
        answer: object
        if not isinstance(data, list) or not data or not isinstance(data[0], str):
            answer = RealtimeError(Code.INVALID_PAYLOAD, "An event needs a name").ack()
        elif data[0] in RESERVED_EVENTS:
            answer = RealtimeError(Code.UNKNOWN_EVENT, "That event name is reserved").ack()
        else:
            answer = await self._trigger_event(data[0], namespace, sid, *data[1:])
        if id is None and sid and self.on_unheard and isinstance(answer, dict) and answer.get("success") is False:
            self.on_unheard(sid, data[0] if isinstance(data, list) and data else None, answer)
        if id is not None:
            packet = self.packet_class(sio_packet.ACK, namespace=namespace, id=id, data=[answer])
            await self._send_packet(eio_sid, packet)

    async def _handle_ack(self, eio_sid: str, namespace: str | None, id: int | None, data: Any) -> None:
        sid = self.manager.sid_from_eio_sid(eio_sid, namespace or "/")
        # Id 0 is python-socketio's own counter: an ack of it would break every later call to this client.
        if id and sid and id in self.manager.callbacks.get(sid, {}):
            await super()._handle_ack(eio_sid, namespace, id, data)

    def deliver(self, sids: Iterable[str], burst: Burst) -> int:
        """Send encoded events to connections, one write each; return how many took them."""
        taken = 0
        for sid in sids:
            session = self.eio.sockets.get(self.manager.eio_sid(sid) or "")
            if session is not None and session.deliver(burst):
                taken += 1
        return taken

    async def dismiss(self, sid: str, namespace: str) -> None:
        """Send the DISCONNECT packet, after which socket.io-client stays away, and close an unused transport."""
        eio_sid = self.manager.eio_sid(sid)
        if eio_sid is None:
            return
        packet = self.packet_class(sio_packet.DISCONNECT, namespace=namespace)
        await self._send_packet(eio_sid, packet)
        await self._forget(eio_sid, namespace, self.reason.SERVER_DISCONNECT)
        session = self.eio.sockets.get(eio_sid)
        if session is not None and not self.manager.sids_of(eio_sid):
            await session.end(reason=self.reason.SERVER_DISCONNECT)


def _is_upgrade(environ: dict[str, Any]) -> bool:
    connection = [word.strip() for word in environ.get("HTTP_CONNECTION", "").lower().split(",")]
    return "upgrade" in connection and "HTTP_SEC_WEBSOCKET_KEY" in environ


def _silent_logger() -> logging.Logger:
    """The libraries log what clients send, tokens included, and many lines per bad frame; we log ourselves."""
    logger = logging.getLogger("roomcast.libraries")
    logger.setLevel(logging.CRITICAL + 1)
    return logger


def create_server(
    *,
    ping_interval: float = 30.0,
    ping_timeout: float = 20.0,
    max_http_buffer_size: int = 1_000_000,
    max_rooms: int = MAX_ROOMS,
    metrics: Metrics | None = None,
) -> RealtimeServer:
    """Return the Socket.IO server; attach it with ``server.attach(app)``. Times are in seconds."""
    server = RealtimeServer(
        async_mode="aiohttp",
        client_manager=RoomManager(max_rooms=max_rooms),
        serializer=WirePacket,
        async_handlers=False,
        ping_interval=ping_interval,
        ping_timeout=ping_timeout,
        max_http_buffer_size=max_http_buffer_size,
        cors_allowed_origins=[],
        http_compression=True,
        compression_threshold=1024,
        logger=_silent_logger(),
        engineio_logger=_silent_logger(),
    )
    server.eio.metrics = metrics
    return server
