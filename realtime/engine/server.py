"""The Socket.IO server: python-socketio's names and promises over an engine of our own.

What differs, and why: a client cannot fire `connect` or `disconnect` handlers; a failing handler leaves no ghost;
every event with an ack id is acked; one client's events run in order; a packet that breaks the protocol closes its
connection with one log line; events are encoded once and written directly (`deliver`).
"""

import asyncio
import dataclasses
import functools
import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import socketio
import structlog
from socketio.exceptions import ConnectionRefusedError as Refused

from realtime import wire
from realtime.engine import packets
from realtime.engine.eager import within
from realtime.engine.engineio import EngineServer, coroutine
from realtime.engine.frames import Burst
from realtime.engine.hub import Limits
from realtime.engine.lookup import Handler, Lookup
from realtime.engine.manager import RoomManager
from realtime.engine.ordered import Maybe
from realtime.engine.origins import AllowedOrigins, Rule
from realtime.engine.outflow import deliver_to_all
from realtime.engine.packets import Assembly, BadPacket, Packet
from realtime.engine.session import EngineSession
from realtime.engine.timers import Deadlines
from realtime.errors import Code, RealtimeError
from realtime.metrics import Metrics
from realtime.settings import Network

log = structlog.get_logger(__name__)

CONNECT_SECONDS = 10.0
ATTACHMENT_SECONDS = 10.0
MAX_ROOMS = 500
MAX_FAILED_CONNECTS = 10
MAX_CONNECTS = 100
"""CONNECTs of one session, accepted or not; a new session costs a handshake, which is limited."""

RESERVED_EVENTS = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener", "__disconnect_final"}
)
"""Names that mean something to the clients' libraries: nobody may send or publish them."""

CATCH_ALL = "*"
"""What python-socketio registers handlers of any event under: no name that a client may send."""


class RealtimeServer(socketio.AsyncServer):  # type: ignore[misc]
    """python-socketio's AsyncServer over `EngineServer` and `RoomManager`."""

    manager: RoomManager
    eio: EngineServer
    on_unheard: Callable[[str, object, dict[str, object]], None] | None = None
    """Called with (sid, event, answer) when an event was refused and its sender asked for no acknowledgement."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.eio.listen(opened=self._opened, received=self._received, ended=self._ended)
        self._unused: Deadlines[str] | None = None
        self._unassembled: Deadlines[str] | None = None
        self._lookup = Lookup(self)
        self._leaving: set[str] = set()

    def _engineio_server_class(self) -> type[EngineServer]:
        return EngineServer

    # --- sessions ---

    def _opened(self, session: EngineSession) -> None:
        if self._unused is None:
            self._unused = self.eio.deadlines(CONNECT_SECONDS, self._check_unused)
            self._unassembled = self.eio.deadlines(ATTACHMENT_SECONDS, self._check_assembly)
        self._unused.add(session.sid)

    def _check_unused(self, eio_sid: str) -> None:
        """A session that is in no namespace had a while to join one. Each session has one deadline at most."""
        session = self.eio.sockets.get(eio_sid)
        if session is None or session.ending or self._unused is None:
            return
        session.watched = session.connections == 0
        if session.connections == 0 and self.eio.hub.loop.time() >= session.unused_since + CONNECT_SECONDS:
            session.end(self.reason.SERVER_DISCONNECT, goodbye=True)
        elif session.watched:
            self._unused.add(eio_sid)

    def _left(self, session: EngineSession) -> None:
        session.connections -= 1
        if session.connections or session.ending or self._unused is None:
            return
        session.unused_since = self.eio.hub.loop.time()
        if not session.watched:
            session.watched = True
            self._unused.add(session.sid)

    def _check_assembly(self, eio_sid: str) -> None:
        session = self.eio.sockets.get(eio_sid)
        if session is None or session.ending or self._unassembled is None:
            return
        session.assembling = session.assembly is not None
        if session.assembly is None:
            return
        if session.assembly.late(self.eio.hub.loop.time()):
            self.eio.protocol_error(session, "attachments did not come")
        else:
            self._unassembled.add(eio_sid)

    def _ended(self, session: EngineSession, reason: str) -> None:
        if session.connections == 0:
            return
        for namespace, sid in self.manager.sids_of(session.sid):
            if self.manager.is_pre_connected(sid, namespace):
                continue  # its connect or disconnect handler still runs, and whoever runs it cleans up
            session.run(functools.partial(self._forget, sid, namespace, reason))

    # --- packets in ---

    def _received(self, session: EngineSession, data: str | bytes) -> None:
        try:
            packet = self._packet(session, data)
            if packet is None:
                return
            if packet.type in (packets.ACK, packets.BINARY_ACK):
                self._acknowledged(session, packet)
            else:
                session.submit(self._handle, packet)
        except BadPacket as error:
            self.eio.protocol_error(session, str(error))

    def _packet(self, session: EngineSession, data: str | bytes) -> Packet | None:
        """Return the packet that `data` completes. Raises BadPacket."""
        assembly = session.assembly
        if isinstance(data, bytes):
            if assembly is None or assembly.size + len(data) > self.eio.limits.max_payload:
                raise BadPacket("not an attachment, or too large")
            packet = assembly.add(data)
            if packet is not None:
                session.assembly = None
            return packet
        if assembly is not None:
            raise BadPacket("an attachment was due")
        packet, attachments = packets.decode(data)
        if packet.type != packets.CONNECT and session.connections == 0:
            raise BadPacket("not connected to any namespace")
        if not attachments:
            return Assembly(packet, 0).whole() if packet.type >= packets.BINARY_EVENT else packet
        session.assembly = Assembly(packet, attachments, self.eio.hub.loop.time() + ATTACHMENT_SECONDS)
        if self._unassembled is not None and not session.assembling:
            session.assembling = True
            self._unassembled.add(session.sid)
        return None

    def _handle(self, session: EngineSession, packet: Packet) -> Maybe:
        if packet.type == packets.CONNECT:
            return self._connect(session, packet.namespace, packet.data)
        sid = self.manager.sid_from_eio_sid(session.sid, packet.namespace)
        if sid is None or not self.manager.is_connected(sid, packet.namespace):
            return None
        if packet.type == packets.DISCONNECT:
            return self._forget(sid, packet.namespace, self.reason.CLIENT_DISCONNECT)
        return self._event(session, sid, packet)

    # --- connect ---

    def _is_namespace(self, namespace: str) -> bool:
        return (
            namespace in self.handlers
            or namespace in self.namespace_handlers
            or self.namespaces == "*"
            or namespace in self.namespaces
        )

    async def _connect(self, session: EngineSession, namespace: str, auth: Any) -> None:
        session.attempts += 1
        if session.attempts > MAX_CONNECTS:
            self.eio.protocol_error(session, "too many CONNECTs")
            return
        if not self._is_namespace(namespace):
            self._refuse(session, namespace, {"message": "Invalid namespace"})
            return
        sid = self.manager.begin(session.sid, namespace)
        if sid is None:
            self._refuse(session, namespace, {"message": "Already connected"})
            return
        session.connections += 1
        try:
            refusal = await self._ask(session, sid, namespace, auth)
        except BaseException:
            await self._forget_now(sid, namespace, self.reason.SERVER_DISCONNECT)
            raise
        if refusal is not None:
            await self._forget_now(sid, namespace, self.reason.SERVER_DISCONNECT)
            self._refuse(session, namespace, refusal)
        elif session.ending:  # it left while it was being authenticated
            await self._forget_now(sid, namespace, self.reason.TRANSPORT_CLOSE)
        else:
            self.manager.accept(sid, namespace)
            self._send(session, packets.CONNECT, namespace, {"sid": sid})
            session.breathe()
            for burst in self.manager.take_early(sid):
                session.deliver(burst)
            session.handshake.shrink()

    async def _ask(self, session: EngineSession, sid: str, namespace: str, auth: Any) -> dict[str, Any] | None:
        """Run the connect handler; return what to refuse with, or None."""
        try:
            accepted = await within(CONNECT_SECONDS, self._call_connect(session, sid, namespace, auth))
        except Refused as error:
            given = error.error_args
            return given if isinstance(given, dict) else {"message": str(given)}
        except ConnectionRefusedError:
            return {"message": "Connection refused by server"}
        except TimeoutError:
            return _connect_error(Code.UNAVAILABLE, "Authentication took too long, try again")
        except Exception as error:  # noqa: BLE001  a failing connect handler must not leave a half-connected ghost
            log.error("websocket connect failed", eio_sid=session.sid, error=type(error).__name__)
            return _connect_error(Code.INTERNAL, "Internal server error")
        return {"message": "Connection rejected by server"} if accepted is False else None

    async def _call_connect(self, session: EngineSession, sid: str, namespace: str, auth: Any) -> Any:
        handler, given = self._lookup.find("connect", namespace, (sid, session.handshake.environ(), auth))
        if handler is None:
            return True
        result = handler(*self._lookup.wanted(handler, given))
        return await result if inspect.isawaitable(result) else result

    def _refuse(self, session: EngineSession, namespace: str, reason: dict[str, Any]) -> None:
        self._send(session, packets.CONNECT_ERROR, namespace, reason)
        session.failures += 1
        if session.failures >= MAX_FAILED_CONNECTS:
            self.eio.protocol_error(session, "too many refused CONNECTs")

    # --- events ---

    def _event(self, session: EngineSession, sid: str, packet: Packet) -> Maybe:
        name, *args = packet.data
        if not isinstance(name, str):
            result: Any = _refusal(Code.INVALID_PAYLOAD, "An event needs a name")
        elif name in RESERVED_EVENTS or name == CATCH_ALL:
            result = _refusal(Code.UNKNOWN_EVENT, "That event name is reserved")
        else:
            result = self._result(session, packet.namespace, name, (sid, *args))
        if type(result) is not dict and asyncio.iscoroutine(result):
            return self._await_event(session, sid, packet, result)
        self._answer(session, sid, packet, result)
        return None

    def _result(self, session: EngineSession, namespace: str, name: str, args: tuple[Any, ...]) -> Any:
        """Return what the event's handler returns, or a coroutine that will."""
        handler, given = self._lookup.find(name, namespace, args)
        if handler is None:
            return _refusal(Code.UNKNOWN_EVENT, "Unknown event")
        try:
            return handler(*given)
        except Exception as error:  # noqa: BLE001  a handler of the application
            return self._failure(session, error)

    async def _await_event(self, session: EngineSession, sid: str, packet: Packet, result: Any) -> None:
        try:
            answer = await result
        except Exception as error:  # noqa: BLE001  a handler of the application
            answer = self._failure(session, error)
        self._answer(session, sid, packet, answer)

    def _failure(self, session: EngineSession, error: Exception) -> dict[str, Any]:
        self.eio.failed(session, error)
        return _refusal(Code.INTERNAL, "Internal server error")

    def _answer(self, session: EngineSession, sid: str, packet: Packet, answer: Any) -> None:
        """Acknowledge an event: a tuple becomes several arguments, None none."""
        if packet.id is not None:
            values = [answer] if type(answer) is dict else _arguments(answer)
            try:
                self._send(session, packets.ACK, packet.namespace, values, id=packet.id)
            except wire.BadJson as error:
                self._send(session, packets.ACK, packet.namespace, [self._failure(session, error)], id=packet.id)
        elif self.on_unheard and isinstance(answer, dict) and answer.get("success") is False:
            self.on_unheard(sid, packet.data[0], answer)

    def _acknowledged(self, session: EngineSession, packet: Packet) -> None:
        """A client acknowledges. This does not wait for earlier events: one of them may wait for it in `call`."""
        sid = self.manager.sid_from_eio_sid(session.sid, packet.namespace)
        callback = self.manager.take_callback(sid, packet.id) if sid and packet.id is not None else None
        if callback is not None:
            session.run(lambda: coroutine(callback(*packet.data)))

    # --- packets out ---

    def _send(
        self, session: EngineSession, kind: int, namespace: str, data: Any = None, *, id: int | None = None
    ) -> None:
        session.deliver(Burst.of(*packets.encode(kind, namespace, data, id=id)))

    def deliver(self, sids: Iterable[str], burst: Burst) -> int:
        """Send encoded events to connections; return how many took them.

        What comes before the answer to a CONNECT follows it.
        """
        kept = 0
        if self.manager.early:
            sids, kept = self._keep_early(sids, burst)
        session_of = self.manager.session_of
        found = [session for sid in sids if (session := session_of.get(sid)) is not None]
        return kept + (deliver_to_all(self.eio.hub, found, burst) if found else 0)

    def _keep_early(self, sids: Iterable[str], burst: Burst) -> tuple[list[str], int]:
        """Return who can be written to now, and for how many others the burst was kept."""
        others, kept = [], 0
        for sid in sids:
            early = self.manager.early.get(sid)
            if early is None:
                others.append(sid)
            elif self.eio.is_open(self.manager.eio_of[sid]):
                kept += early.keep(burst, self.eio.limits.hard_buffer // 2)
        return others, kept

    async def emit(
        self,
        event: str,
        data: Any = None,
        to: Any = None,
        room: Any = None,
        skip_sid: Any = None,
        namespace: str | None = None,
        callback: Handler | None = None,
        ignore_queue: bool = False,
    ) -> None:
        """Send an event; to everybody only when neither `to` nor `room` is given.

        Encoded once, unless each client has to acknowledge under an id of its own. Raises ValueError for an empty
        target, wire.BadJson for data that cannot be sent.
        """
        namespace = namespace or "/"
        sids = self.manager.targets(namespace, room if to is None else to, skip_sid)
        values = [event, *_arguments(data)]
        if callback is None:
            self.deliver(sids, Burst.of(*packets.encode(packets.EVENT, namespace, values)))
        else:
            for sid in sids:
                id = self.manager.remember_callback(sid, callback)
                self.deliver([sid], Burst.of(*packets.encode(packets.EVENT, namespace, values, id=id)))
        if self.eio.started and self.eio.hub.emitted(1 + len(sids)):
            await asyncio.sleep(0)

    async def call(
        self,
        event: str,
        data: Any = None,
        to: str | None = None,
        sid: str | None = None,
        namespace: str | None = None,
        timeout: float = 60,  # noqa: ASYNC109  python-socketio's parameter
        ignore_queue: bool = False,
    ) -> Any:
        """Emit an event to one client and return its acknowledgement. Raises TimeoutError, ValueError."""
        target = to or sid
        if not target:
            raise ValueError("call needs the sid of one client")
        answered: asyncio.Future[tuple[Any, ...]] = asyncio.get_running_loop().create_future()

        def answer(*args: Any) -> None:
            if not answered.done():
                answered.set_result(args)

        try:
            await self.emit(event, data, to=target, namespace=namespace, callback=answer)
            async with asyncio.timeout(timeout):
                args = await answered
        except TimeoutError:
            raise socketio.exceptions.TimeoutError from None
        finally:
            self.manager.forget_callback(answer, target)
        return args if len(args) > 1 else args[0] if args else None

    # --- disconnect ---

    def _forget(self, sid: str, namespace: str, reason: str) -> Maybe:
        """Take a connection out of everything, whatever state it is in; its disconnect handler runs once.

        Returns what has still to be run when the handler has to wait.
        """
        eio_sid = self.manager.eio_sid(sid)
        if eio_sid is None or sid in self._leaving:
            return None
        connected = self.manager.is_in(sid, namespace)
        self._leaving.add(sid)
        self.manager.pre_disconnect(sid, namespace)
        waits = None
        try:
            waits = self._call_disconnect(sid, namespace, reason) if connected else None
        except Exception as error:
            log.error("websocket disconnect handler failed", sid=sid, exc_info=error)
        finally:
            if waits is None:
                self._forgotten(sid, namespace, eio_sid)
        return None if waits is None else self._forget_later(waits, sid, namespace, eio_sid)

    def _call_disconnect(self, sid: str, namespace: str, reason: str) -> Awaitable[Any] | None:
        """Run the handler; return what it waits for."""
        handler, given = self._lookup.find("disconnect", namespace, (sid, reason))
        result = None if handler is None else handler(*self._lookup.wanted(handler, given))
        return result if result is not None and inspect.isawaitable(result) else None

    async def _forget_later(self, waits: Awaitable[Any], sid: str, namespace: str, eio_sid: str) -> None:
        try:
            await waits
        except Exception as error:
            log.error("websocket disconnect handler failed", sid=sid, exc_info=error)
        finally:
            self._forgotten(sid, namespace, eio_sid)

    def _forgotten(self, sid: str, namespace: str, eio_sid: str) -> None:
        self._leaving.discard(sid)
        self.manager.basic_disconnect(sid, namespace)
        session = self.eio.sockets.get(eio_sid)
        if session is not None:
            self._left(session)

    async def _forget_now(self, sid: str, namespace: str, reason: str) -> None:
        """Forget a connection and wait for its handler."""
        waits = self._forget(sid, namespace, reason)
        if waits is not None:
            await waits

    async def disconnect(self, sid: str, namespace: str | None = None, ignore_queue: bool = False) -> None:
        """Disconnect for good: socket.io-client does not come back by itself. An unused transport is closed."""
        namespace = namespace or "/"
        eio_sid = self.manager.eio_sid(sid)
        session = self.eio.sockets.get(eio_sid or "")
        if session is None or not self.manager.is_connected(sid, namespace):
            return
        self._send(session, packets.DISCONNECT, namespace)
        await self._forget_now(sid, namespace, self.reason.SERVER_DISCONNECT)
        if session.connections == 0:
            session.end(self.reason.SERVER_DISCONNECT)

    # --- python-socketio's other names ---

    def get_environ(self, sid: str, namespace: str | None = None) -> dict[str, Any] | None:
        """Return the WSGI environment of the request that opened the connection; of its headers only those that
        may still matter (`handshake.KEPT`)."""
        session = self.eio.sockets.get(self.manager.eio_sid(sid) or "")
        return None if session is None else session.handshake.environ()


def _refusal(code: Code, message: str) -> dict[str, Any]:
    return RealtimeError(code, message).ack()


def _connect_error(code: Code, message: str) -> dict[str, Any]:
    return {"message": message, "data": {"code": code.value}}


def _arguments(data: Any) -> list[Any]:
    """Return what a handler or an emit means: a tuple is several arguments, None is none."""
    return list(data) if isinstance(data, tuple) else [] if data is None else [data]


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
    cors_allowed_origins: Rule = None,
    namespaces: Sequence[str] | str | None = None,
    max_rooms: int = MAX_ROOMS,
    limits: Limits | None = None,
    trusted_proxies: Sequence[Network] = (),
    metrics: Metrics | None = None,
) -> RealtimeServer:
    """Return the Socket.IO server; attach it with ``server.attach(app)``.

    Times are in seconds, sizes in bytes. `namespaces` lists those that are accepted without a handler ("*": all); the
    default is `/`. `cors_allowed_origins` is what `AllowedOrigins` takes.
    """
    bounds = dataclasses.replace(limits or Limits(), max_payload=max_http_buffer_size)
    return RealtimeServer(
        async_mode="aiohttp",
        client_manager=RoomManager(max_rooms=max_rooms),
        namespaces=[namespaces] if isinstance(namespaces, str) and namespaces != "*" else namespaces,
        ping_interval=ping_interval,
        ping_timeout=ping_timeout,
        limits=bounds,
        origins=AllowedOrigins(cors_allowed_origins, trusted_proxies),
        trusted_proxies=trusted_proxies,
        metrics=metrics,
        logger=_silent_logger(),
        engineio_logger=_silent_logger(),
    )
