"""Connections without Engine.IO: plain WebSockets, and streams such as server-sent events.

They share everything with the connections of the Socket.IO server whose `EngineServer` they are given: turns, bounds
of what is sent and of what waits, deadlines, log lines. What is said on them is the business of an `Endpoint`.
"""

import asyncio
import functools
import time
from collections.abc import Iterable
from typing import Protocol

import structlog
from aiohttp import web

from realtime.engine.eager import within
from realtime.engine.engineio import EngineServer
from realtime.engine.frames import Burst
from realtime.engine.handshake import Answered, BadHandshake, Handshake, detach
from realtime.engine.hub import Hub
from realtime.engine.ordered import Maybe, Ordered
from realtime.engine.outflow import Outflow, deliver_to_all
from realtime.engine.stream import StreamConnection
from realtime.engine.timers import Deadlines
from realtime.engine.websocket import GOING_AWAY, INTERNAL, NOBODY, TRY_LATER, WebSocketConnection

log = structlog.get_logger(__name__)

LOOKS = 4
"""How often in `ping_timeout` it is looked whether pongs are missing: one deadline for all pings of a session."""

EARLY_SECONDS = 0.001
"""How much too early a timer may be."""


class Endpoint(Protocol):
    """What is served over plain connections of one kind.

    `opened` and `received` run one after the other for each session, and what they raise ends nothing, but for
    `opened`. A handler that runs when the session ends is left to finish.
    """

    def opened(self, session: "PlainSession") -> Maybe:
        """Begin; messages that come meanwhile wait. May end the session. One that raises ends it with 1011."""

    def received(self, session: "PlainSession", message: str | bytes) -> Maybe:
        """Handle one message of a WebSocket."""

    def ponged(self, session: "PlainSession", number: int) -> None:
        """The peer has answered ping `number`, and so has read everything that was sent before that."""

    def ended(self, session: "PlainSession", reason: str) -> Maybe:
        """Clean up, once for each session that was opened, and not before `opened` is done."""


class PlainSession(Ordered):
    """One plain connection. What comes in is handled one after the other."""

    __slots__ = (
        "_server",
        "asked_at",
        "connected_at",
        "endpoint",
        "handshake",
        "opening",
        "pings",
        "pongs",
        "reason",
        "sid",
        "watched",
        "ws",
    )

    ws: WebSocketConnection | StreamConnection

    def __init__(self, server: "PlainServer", sid: str, endpoint: Endpoint, handshake: Handshake) -> None:
        super().__init__()
        self.sid = sid
        self.endpoint = endpoint
        self.handshake = handshake
        self.connected_at = time.time()
        self.opening = True  # `opened` is not done
        self.reason = ""  # of the end
        self.pings = 0  # number of the last one sent,
        self.pongs = 0  # and of the last one answered
        self.asked_at = 0.0  # since when the peer owes a pong
        self.watched = False  # there is a deadline for pongs
        self._server = server

    # --- out ---

    def deliver(self, burst: Burst) -> bool:
        """Send a burst; False when it could not be taken. To a stream its frames go as they are."""
        return not self.ending and self.ws.write_burst(burst)

    def ping(self) -> int:
        """Send a WebSocket ping and return its number; a peer that does not answer in time is gone.

        Raises TypeError for a stream.
        """
        ws = self.ws
        if not isinstance(ws, WebSocketConnection):
            raise TypeError("a stream cannot be pinged")
        if self.pongs == self.pings:
            self.asked_at = self.hub.loop.time()
        self.pings += 1
        ws.ping(str(self.pings).encode())
        self._server.watch(self)
        return self.pings

    def beat(self) -> None:
        """Show that the server is there, and ask whether the peer is."""
        if isinstance(self.ws, StreamConnection):
            self.ws.write(self.ws.idle)
        else:
            self.ping()

    async def drain(self) -> bool:
        """Wait until the peer has taken everything that was sent; False when it is gone.

        Replays pace themselves by it: what they go on with, they believe to be taken.
        """
        return await self.ws.drain() and not self.ending

    # --- in ---

    def received(self, message: str | bytes) -> bool:
        if not self.ending:
            self.submit(_receive, message)
        return not self.full

    def ponged(self, payload: bytes) -> None:
        number = int(payload) if payload.isdigit() else 0
        if self.ending or not self.pongs < number <= self.pings:
            return
        self.pongs = number
        self.asked_at = self.hub.loop.time()
        try:
            self.endpoint.ponged(self, number)
        except Exception as error:  # noqa: BLE001  the application's
            self.failed(error)

    # --- order ---

    @property
    def hub(self) -> Hub:
        return self._server.hub

    def go_on(self) -> None:
        self.ws.go_on()

    def failed(self, error: BaseException | None) -> None:
        """Log what a handler raised; the session goes on."""
        log.error("plain handler failed", kind=self.ws.kind, sid=self.sid, exc_info=error)

    def forget(self) -> None:
        self._server.forget(self)

    # --- the end ---

    def lost(self, connection: Outflow, reason: str) -> None:
        self.end(reason)

    def end(self, reason: str, *, code: int = 1000, text: str = "") -> None:
        """End the session, once. What was delivered is still sent, then a Close frame; a stream just ends.

        Messages that wait are dropped.
        """
        if self.ending:
            return
        self.ending = True
        self.reason = reason
        self.drop_held()
        self.ws.close(code, text)
        self.ws.go_on()  # to read the answer
        self._server.ended(self)

    def give_up_opening(self) -> asyncio.Task[object] | None:
        """Stop `opened` if it still runs; return what has to be awaited then."""
        task = self._task if self.opening else None
        if task is not None:
            task.cancel()
        return task


def _receive(session: PlainSession, message: str | bytes) -> Maybe:
    return session.endpoint.received(session, message)


class PlainServer:
    """Opens plain connections, keeps their heartbeats, and ends them."""

    _beats: Deadlines[str]
    _looks: Deadlines[str]

    def __init__(self, engine: EngineServer, *, opening_seconds: float = 10.0) -> None:
        self.sockets: dict[str, PlainSession] = {}
        """Every session until its `ended` is done."""
        self._engine = engine
        self._opening_seconds = opening_seconds
        self._started = self._stopping = False

    @property
    def hub(self) -> Hub:
        return self._engine.hub

    def _start(self) -> None:
        if not self._started:
            self._started = True
            self._engine.start()
            self._beats = self._engine.deadlines(self._engine.ping_interval, self._beat)
            self._looks = self._engine.deadlines(self._engine.ping_timeout / LOOKS, self._look)

    # --- the beginning ---

    def open_websocket(self, request: web.Request, endpoint: Endpoint) -> web.StreamResponse:
        """Upgrade a request; a request that is no proper upgrade gets 400 or 426, at shutdown 503."""
        try:
            session = self._session(request, endpoint)
            session.ws = self._engine.take_over(request, session)
        except BadHandshake as error:
            return error.answer()
        self._begin(session)
        return Answered()

    def open_stream(
        self, request: web.Request, endpoint: Endpoint, *, head: bytes, idle: bytes
    ) -> tuple[PlainSession, web.StreamResponse]:
        """Answer an authenticated GET with `head`, and with what is delivered from then on.

        `head` is a status line and headers, without Content-Length and Transfer-Encoding; `idle` is sent every
        `ping_interval` s. Raises BadHandshake when the client has gone (status 400) or the server stops (503).
        """
        session = self._session(request, endpoint)
        transport, already_read = detach(request)
        connection = session.ws = StreamConnection(self.hub, session, idle=idle)
        patience = self._engine.ping_interval + self._engine.ping_timeout
        try:
            connection.attach(transport, head, already_read, patience=patience)
        except BaseException:
            transport.abort()  # it is nobody's any more
            raise
        self._begin(session)
        return session, Answered(200)

    def _session(self, request: web.Request, endpoint: Endpoint) -> PlainSession:
        if self._stopping or self._engine.stopping:
            raise BadHandshake("the server stops", 503)
        self._start()
        return PlainSession(self, self._engine.generate_id(), endpoint, self._engine.handshake(request))

    def _begin(self, session: PlainSession) -> None:
        self.sockets[session.sid] = session
        self._beats.add(session.sid)
        session.submit(self._open, None)

    async def _open(self, session: PlainSession, _: None) -> None:
        reason = self._engine.reason
        try:
            work = session.endpoint.opened(session)
            if work is not None:
                await within(self._opening_seconds, work)
        except TimeoutError:
            session.end("timeout", code=TRY_LATER, text="timeout")
        except Exception as error:  # noqa: BLE001  one that is half open must not stay
            session.failed(error)
            session.end(reason.SERVER_DISCONNECT, code=INTERNAL)
        except asyncio.CancelledError:
            session.end(reason.SERVER_DISCONNECT, code=GOING_AWAY)
            raise
        finally:
            session.opening = False
            session.handshake.shrink()
            if session.ending:
                self._finish_later(session)

    # --- messages ---

    def deliver(self, sids: Iterable[str], burst: Burst) -> int:
        """Send a burst to sessions; return how many took it."""
        sockets = self.sockets
        found = [session for sid in sids if (session := sockets.get(sid)) is not None]
        return deliver_to_all(self.hub, found, burst) if found else 0

    # --- heartbeats ---

    def _beat(self, sid: str) -> None:
        session = self.sockets.get(sid)
        if session is not None and not session.ending:
            self._beats.add(sid)
            session.beat()

    def watch(self, session: PlainSession) -> None:
        """A session owes a pong."""
        if not session.watched:
            session.watched = True
            self._looks.add(session.sid)

    def _look(self, sid: str) -> None:
        session = self.sockets.get(sid)
        if session is None or session.ending:
            return
        session.watched = session.pongs < session.pings
        if not session.watched:
            return
        now = self.hub.loop.time()
        if session.full:
            session.asked_at = now  # its answer may wait behind what we do not read
        if now - session.asked_at >= self._engine.ping_timeout - EARLY_SECONDS:
            session.end(self._engine.reason.PING_TIMEOUT)
        else:
            self._looks.add(sid)

    # --- the end ---

    def ended(self, session: PlainSession) -> None:
        """A session is over: tell its endpoint, in a turn of its own, when it is open."""
        if self._engine.metrics is not None:
            self._engine.metrics.closes.labels(session.reason).inc()
        self._finish_later(session)

    def _finish_later(self, session: PlainSession) -> None:
        self.hub.later(functools.partial(self._finish, session))

    def _finish(self, session: PlainSession) -> None:
        if session.opening or session.closed:
            return
        session.closed = True
        session.run(lambda: session.endpoint.ended(session, session.reason))
        self.forget(session)

    def forget(self, session: PlainSession) -> None:
        """Forget a session when its handlers are done, which may still ask for it."""
        if session.closed and not session.busy and self.sockets.pop(session.sid, None) is not None:
            session.ws.owner = NOBODY  # they would keep each other until the garbage collector comes

    async def close_all(self, code: int, *, grace: float, text: str = "") -> None:
        """Close every session with a Close frame, and abort those that have not left after `grace` s.

        Returns when every `ended` has begun; an `opened` that still runs is cancelled. No session opens afterwards.
        """
        self._stopping = True
        if not self._started:
            return
        sessions = list(self.sockets.values())
        for session in sessions:
            session.end(self._engine.reason.SERVER_DISCONNECT, code=code, text=text)
        closing = frozenset(session.ws for session in sessions if session.ws in self.hub.closing)
        aborted = await self.hub.see_off(closing, grace)
        openings = [task for session in sessions if (task := session.give_up_opening()) is not None]
        if openings:
            await asyncio.wait(openings, timeout=grace)
        for session in sessions:
            if session.opening:  # it does not let itself be cancelled
                session.opening = False
                self._finish_later(session)
        while not all(session.closed for session in sessions):  # noqa: ASYNC110  they take turns
            await asyncio.sleep(0)
        self.sockets.clear()
        log.info("plain connections closed", closed=len(closing) - aborted, aborted=aborted)
