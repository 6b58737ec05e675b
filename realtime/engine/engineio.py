"""The Engine.IO server: sessions, their HTTP requests, their heartbeats and their end."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import engineio
import structlog
from aiohttp import web
from prometheus_client import Counter

from realtime.engine.frames import Burst
from realtime.engine.handshake import Accepted, Answered, BadHandshake, Handshake, accept, detach, is_upgrade
from realtime.engine.hub import Hub, Limits
from realtime.engine.ids import Ids
from realtime.engine.origins import AllowedOrigins
from realtime.engine.polling import MAX_PACKETS_QUEUED, NOOP, BadPost, PollingQueue, read_packets
from realtime.engine.session import EngineSession, opening
from realtime.engine.timers import Deadlines
from realtime.engine.websocket import GOING_AWAY, NOBODY, POLICY, Readers, Receiver, WebSocketConnection
from realtime.metrics import Metrics
from realtime.remote import Remote, remote_of
from realtime.settings import Network

log = structlog.get_logger(__name__)

UPGRADE_SECONDS = 10.0
STOP_SECONDS = 2.0
ERRORS = {
    "Transport unknown": 0,
    "Session ID unknown": 1,
    "Bad handshake method": 2,
    "Bad request": 3,
    "Forbidden": 4,
    "Unsupported protocol version": 5,
}
"""Messages and their codes, as Engine.IO servers on Node answer them."""

Opened = Callable[[EngineSession], None]
Received = Callable[[EngineSession, str | bytes], None]
Ended = Callable[[EngineSession, str], None]


class Refused(Exception):
    """A request that the protocol does not allow; the message is one of ERRORS."""


class EngineServer(engineio.AsyncServer):  # type: ignore[misc]
    """python-engineio's server over `EngineSession`. Bound to the event loop of its first request."""

    sockets: dict[str, EngineSession]
    handlers: dict[str, Callable[..., Any]]
    hub: Hub
    readers: Readers
    pings: Deadlines[str]
    _pongs: Deadlines[tuple[str, int]]
    _upgrades_end: Deadlines[tuple[str, WebSocketConnection]]
    _leftovers: Deadlines[str]
    _all_deadlines: list[Deadlines[Any]]

    def __init__(
        self,
        *,
        limits: Limits,
        origins: AllowedOrigins,
        trusted_proxies: Sequence[Network] = (),
        metrics: Metrics | None = None,
        **options: Any,
    ) -> None:
        super().__init__(max_http_buffer_size=limits.max_payload, cors_allowed_origins=[], **options)
        self.limits = limits
        self.metrics = metrics
        self.max_queued = MAX_PACKETS_QUEUED
        self._opened: Opened = self._plain_opened
        self._received: Received = self._plain_received
        self._ended: Ended = self._plain_ended
        self._origins = origins
        self._trusted = tuple(trusted_proxies)
        self._ids = Ids()
        self._closes: dict[str, Counter] = {}
        self.started = self.stopping = False

    def attach(self, app: web.Application, engineio_path: str = "engine.io") -> None:
        """Serve under a path; every method, so that the wrong ones get the protocol's own answer."""
        app.router.add_route("*", f"/{engineio_path.strip('/')}/", self.handle_request)
        app.on_shutdown.append(self._stop_with)

    async def _stop_with(self, _app: web.Application) -> None:
        """The HTTP server does not know WebSockets any more, so it cannot close them."""
        await self.close_all(GOING_AWAY, grace=STOP_SECONDS)
        await self.shutdown()

    def on(self, event: str, handler: Callable[..., Any] | None = None) -> Any:
        """Set the handler of connect(sid, environ), message(sid, data) or disconnect(sid, reason)."""
        if event == "connect":
            self._opened = self._plain_opened
        elif event == "message":
            self._received = self._plain_received
        elif event == "disconnect":
            self._ended = self._plain_ended
        return super().on(event, handler)

    def listen(self, *, opened: Opened, received: Received, ended: Ended) -> None:
        """Hand sessions and messages straight on, in place of the three handlers until `on` sets new ones."""
        self._opened, self._received, self._ended = opened, received, ended

    def generate_id(self) -> str:
        return self._ids.next()

    def start(self) -> None:
        """Bind to the running event loop. Idempotent."""
        if self.started:
            return
        self.started = True
        loop = asyncio.get_running_loop()
        self.hub = Hub(loop, self.limits, self.metrics)
        self.readers = Readers(loop, self.limits.max_payload)
        self.pings = Deadlines(loop, self.ping_interval, self._ping)
        self._pongs = Deadlines(loop, self.ping_timeout, self._check_pong)
        self._upgrades_end = Deadlines(loop, UPGRADE_SECONDS, self._check_upgrade)
        self._leftovers = Deadlines(loop, self.ping_timeout, self._drop)
        self._all_deadlines = [self.pings, self._pongs, self._upgrades_end, self._leftovers, self.readers.unfinished]

    def deadlines(self, seconds: float, meet: Callable[[str], None]) -> Deadlines[str]:
        """Return deadlines for sessions, by sid, that end with the server."""
        made = Deadlines(self.hub.loop, seconds, meet)
        self._all_deadlines.append(made)
        return made

    # --- requests ---

    async def handle_request(self, request: web.Request) -> web.StreamResponse:
        """Answer one request of a client."""
        self.start()
        origin = request.headers.get("Origin")
        headers = self._origins.headers(origin, request)
        try:
            if origin is not None and headers is None:
                raise Refused("Forbidden")
            response = await self._route(request, headers or {})
        except Refused as error:
            response = _refusal(str(error))
        except BadHandshake:
            response = _refusal("Bad request")
        if headers and not response.prepared:
            response.headers.update(headers)
        return response

    async def _route(self, request: web.Request, headers: Mapping[str, str]) -> web.StreamResponse:
        if request.method == "OPTIONS":
            return web.Response(status=204)
        sid = request.query.get("sid")
        transport = request.query.get("transport")
        if transport not in ("polling", "websocket"):
            raise Refused("Transport unknown")
        if sid is None:
            return await self._open(request, transport, headers)
        session = self.sockets.get(sid)
        if session is None or (session.ending and not session.owes_packets):
            raise Refused("Session ID unknown")
        if transport == "websocket" or is_upgrade(request):
            return self._propose(request, session)
        if session.polling is None:
            raise Refused("Bad request")
        if request.method == "GET":
            return await self._poll(request, session, session.polling, headers)
        if request.method == "POST":
            return await self._post(request, session)
        raise Refused("Bad handshake method")

    def begins_with_websocket(self, request: web.Request) -> bool:
        """Whether a request opens a session over a WebSocket, as most clients do, and may."""
        self.start()
        query, origin = request.query, request.headers.get("Origin")
        return (
            query.get("EIO") == "4"
            and query.get("transport") == "websocket"
            and "sid" not in query
            and not self.stopping
            and (origin is None or self._origins.headers(origin, request) is not None)
        )

    def open_at_once(self, request: web.Request, remote: Remote, accepted: Accepted) -> bool:
        """Open the session of a request that `begins_with_websocket`. False: the client has gone."""
        session = EngineSession(self, self.generate_id(), self.handshake(request, remote))
        try:
            self._open_websocket(request, session, accepted)
        except BadHandshake:
            return False
        return True

    async def _open(self, request: web.Request, transport: str, headers: Mapping[str, str]) -> web.StreamResponse:
        if request.query.get("EIO") != "4":
            raise Refused("Unsupported protocol version")
        if request.method != "GET":
            raise Refused("Bad handshake method")
        if self.stopping:
            raise Refused("Bad request")
        sid: str = self.generate_id()
        session = EngineSession(self, sid, self.handshake(request))
        if transport == "websocket":
            return self._open_websocket(request, session)
        if is_upgrade(request):
            raise Refused("Bad request")
        queue = session.polling = PollingQueue()
        self._begin(session, may_upgrade=True)
        return await queue.answer(request, idle=NOOP, headers=headers)

    def handshake(self, request: web.Request, remote: Remote | None = None) -> Handshake:
        """Return what is kept of a request that opens a connection; `remote` is where it came from, if known."""
        known = remote or remote_of(request, self._trusted)
        return Handshake(request, known, trusted=self._origins.trusts(request))

    def _open_websocket(
        self, request: web.Request, session: EngineSession, accepted: Accepted | None = None
    ) -> web.StreamResponse:
        session.ws = self.take_over(request, session, accepted)
        self._begin(session, may_upgrade=False)
        return Answered()

    def take_over(self, request: web.Request, owner: Receiver, accepted: Accepted | None = None) -> WebSocketConnection:
        """Accept a WebSocket for `owner`, unless it has been `accepted`. Raises BadHandshake."""
        response, deflate = accepted or accept(request)
        transport, already_read = detach(request)
        connection = WebSocketConnection(self.hub, self.readers, owner, deflate=deflate)
        try:
            connection.attach(transport, response, already_read)
        except BaseException:
            transport.abort()  # it is nobody's any more
            raise
        return connection

    def _begin(self, session: EngineSession, *, may_upgrade: bool) -> None:
        self.sockets[session.sid] = session
        session.deliver(
            Burst.of(
                opening(
                    session.sid,
                    may_upgrade=may_upgrade,
                    ping_interval=self.ping_interval,
                    ping_timeout=self.ping_timeout,
                    max_payload=self.limits.max_payload,
                )
            )
        )
        self.pings.add(session.sid)
        self._opened(session)

    def _propose(self, request: web.Request, session: EngineSession) -> web.StreamResponse:
        """Accept a WebSocket for a session that polls. A second one is closed at once, and changes nothing."""
        candidate = self.take_over(request, session)
        if session.propose(candidate):
            self._upgrades_end.add((session.sid, candidate))
        else:
            candidate.close(POLICY)
        return Answered()

    def _check_upgrade(self, item: tuple[str, WebSocketConnection]) -> None:
        sid, candidate = item
        session = self.sockets.get(sid)
        if session is not None:
            session.give_up(candidate)

    async def _poll(
        self, request: web.Request, session: EngineSession, queue: PollingQueue, headers: Mapping[str, str]
    ) -> web.StreamResponse:
        if queue.polled:
            # Two polls at once: nobody could say which got what. The first ends with CLOSE.
            session.end(self.reason.TRANSPORT_ERROR, goodbye=True)
            raise Refused("Bad request")
        if not session.probed and not session.ending:
            await queue.wait(request)
        response = await queue.answer(request, idle=NOOP, headers=headers)
        self.forget(session)
        return response

    async def _post(self, request: web.Request, session: EngineSession) -> web.StreamResponse:
        if session.posting:
            session.end(self.reason.TRANSPORT_ERROR)
            raise Refused("Bad request")
        session.posting = True
        try:
            for packet in await read_packets(request, self.limits.max_payload):
                if not session.take(packet):
                    raise Refused("Bad request")
            await session.room()
        except BadPost as error:
            self.protocol_error(session, str(error))
            raise Refused("Bad request") from error
        finally:
            session.posting = False
        return web.Response(text="ok")

    # --- messages ---

    def message(self, session: EngineSession, data: str | bytes) -> None:
        """Hand on one message; whatever a handler does with it, the connection goes on or ends in order."""
        try:
            self._received(session, data)
        except Exception as error:  # noqa: BLE001  the top of the reading loop
            self.failed(session, error)

    def _plain_opened(self, session: EngineSession) -> None:
        self._call("connect", session, session.sid, session.handshake.environ())

    def _plain_received(self, session: EngineSession, data: str | bytes) -> None:
        session.submit(self._plain_message, data)

    def _plain_message(self, session: EngineSession, data: str | bytes) -> Coroutine[Any, Any, Any] | None:
        handler = self.handlers.get("message")
        return None if handler is None else coroutine(handler(session.sid, data))

    def _plain_ended(self, session: EngineSession, reason: str) -> None:
        self._call("disconnect", session, session.sid, reason)

    def _call(self, event: str, session: EngineSession, *args: Any) -> None:
        handler = self.handlers.get(event)
        if handler is not None:
            session.run(lambda: coroutine(handler(*args)))

    def failed(self, session: EngineSession, error: BaseException | None) -> None:
        """Log what a handler raised; the session goes on."""
        log.error("websocket handler failed", eio_sid=session.sid, exc_info=error)

    def protocol_error(self, session: EngineSession, what: str) -> None:
        """End a session whose client sent something that is not Engine.IO or Socket.IO; one log line."""
        if not session.ending:
            self.hub.warn("websocket client broke the protocol", eio_sid=session.sid, reason=what)
            session.broken = True
            session.end(self.reason.TRANSPORT_ERROR, code=POLICY)

    # --- heartbeats ---

    def _ping(self, sid: str) -> None:
        session = self.sockets.get(sid)
        if session is not None and not session.ending:
            session.ping()
            self._pongs.add((sid, session.pings))

    def _check_pong(self, item: tuple[str, int]) -> None:
        sid, ping = item
        session = self.sockets.get(sid)
        if session is None or session.ending or not session.awaits_pong or session.pings != ping:
            return
        if session.full:
            self._pongs.add(item)  # its answer may wait behind what we do not read
        else:
            session.end(self.reason.PING_TIMEOUT)

    # --- the end ---

    def ended(self, session: EngineSession, reason: str) -> None:
        """A session is over: tell the handlers, in a turn of their own, then forget it."""
        if self.metrics is not None:
            if reason not in self._closes:  # looking a counter up costs more than counting; there are few reasons
                self._closes[reason] = self.metrics.closes.labels(reason)
            self._closes[reason].inc()
        self.hub.later(lambda: self._finish(session, reason))

    def _finish(self, session: EngineSession, reason: str) -> None:
        self._ended(session, reason)
        session.closed = True
        self.forget(session)

    def forget(self, session: EngineSession) -> None:
        """Forget a session when its disconnect handlers are done, which may still ask for it."""
        if not session.closed or session.busy:
            return
        if session.owes_packets:  # for one more poll
            self._leftovers.add(session.sid)
        else:
            self._drop(session.sid)

    def _drop(self, sid: str) -> None:
        session = self.sockets.pop(sid, None)
        if session is not None and session.ws is not None:
            session.ws.owner = NOBODY  # they would keep each other until the garbage collector comes

    def is_open(self, sid: str) -> bool:
        """Whether a session is there and has not begun to end."""
        session = self.sockets.get(sid)
        return session is not None and not session.ending

    def _get_socket(self, sid: str) -> EngineSession:
        session = self.sockets.get(sid)
        if session is None:
            raise KeyError("Session not found")
        return session

    async def close_all(self, code: int, *, grace: float) -> None:
        """Close every session with a WebSocket close code, and abort those that have not left after `grace` s.

        Sends no Engine.IO CLOSE and no Socket.IO DISCONNECT, so that clients come back by themselves. Returns when
        every disconnect handler has begun. No session opens afterwards.
        """
        self.stopping = True
        if not self.started:
            return
        sessions = list(self.sockets.values())
        for session in sessions:
            session.end(self.reason.SERVER_DISCONNECT, code=code)
        closing = frozenset(self.hub.closing)
        aborted = await self.hub.see_off(closing, grace)
        while not all(session.closed for session in sessions):  # noqa: ASYNC110  they take turns
            await asyncio.sleep(0)
        self.sockets.clear()
        log.info("websocket connections closed", closed=len(closing) - aborted, aborted=aborted)

    async def shutdown(self) -> None:
        """Stop heartbeats and background work."""
        if self.started:
            for deadlines in self._all_deadlines:
                deadlines.stop()
            await self.hub.stop()


def coroutine(result: Any) -> Coroutine[Any, Any, Any] | None:
    """Return what a handler returned if it has still to be run."""
    return result if asyncio.iscoroutine(result) else None


def _refusal(message: str) -> web.Response:
    status = 403 if message == "Forbidden" else 400
    return web.json_response({"code": ERRORS[message], "message": message}, status=status)
