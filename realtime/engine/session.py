"""One Engine.IO session: polling, then a WebSocket, or a WebSocket from the start."""

import asyncio
import json
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from engineio import packet as eio_packet

from realtime.engine import eager
from realtime.engine.frames import Burst, websocket_frame
from realtime.engine.handshake import Handshake
from realtime.engine.hub import BREATH_SECONDS, Hub
from realtime.engine.packets import Assembly, Attachment
from realtime.engine.polling import PollingQueue, burst_of
from realtime.engine.timers import Deadlines
from realtime.engine.websocket import POLICY, WebSocketConnection

OPEN = b"0"
CLOSE_BURST, PING_BURST = Burst.of(b"1"), Burst.of(b"2")
PROBE, PROBED = "2probe", websocket_frame(b"3probe")

MAX_HELD = 64
"""Events of one client that may wait for the one that runs; then its connection is not read any more."""

Work = Callable[["EngineSession", Any], Coroutine[Any, Any, Any] | None]


class Host(Protocol):
    """What a session wants of its server."""

    hub: Hub
    pings: Deadlines[str]
    max_queued: int
    reason: Any

    def message(self, session: "EngineSession", data: str | bytes) -> None: ...
    def failed(self, session: "EngineSession", error: BaseException | None) -> None: ...
    def protocol_error(self, session: "EngineSession", what: str) -> None: ...
    def ended(self, session: "EngineSession", reason: str) -> None: ...
    def forget(self, session: "EngineSession") -> None: ...


class EngineSession:
    """Keeps the order: what comes in is handled one after the other, what goes out takes one way."""

    __slots__ = (
        "__weakref__",
        "_candidate",
        "_held",
        "_memory",
        "_probed",
        "_room",
        "_server",
        "_task",
        "_waiting",
        "assembling",
        "assembly",
        "attempts",
        "awaits_pong",
        "broken",
        "closed",
        "connections",
        "ending",
        "failures",
        "handlers",
        "handshake",
        "pings",
        "polling",
        "posting",
        "sid",
        "unused_since",
        "watched",
        "ws",
    )

    def __init__(self, server: Host, sid: str, handshake: Handshake) -> None:
        self.sid = sid
        self.handshake = handshake
        self.ws: WebSocketConnection | None = None
        self.polling: PollingQueue | None = None
        self.posting = False
        self.broken = False  # the client broke the protocol
        self.ending = False  # nothing is sent any more
        self.closed = False  # the disconnect handlers have begun
        self.assembly: Assembly | None = None
        self.assembling = False  # there is a deadline for attachments
        self.watched = True  # there is a deadline for joining a namespace,
        self.unused_since = 0.0  # which counts from here
        self.awaits_pong = False
        self.pings = 0
        self.connections = 0  # namespaces that the session is in, or is about to be
        self.attempts = 0  # CONNECTs
        self.failures = 0  # CONNECTs that were refused
        self.handlers = 0  # in the background
        self._server = server
        self._candidate: WebSocketConnection | None = None
        self._probed = False
        self._task: asyncio.Task[Any] | None = None
        self._held: deque[tuple[Work, Any]] | None = None
        self._room: asyncio.Future[None] | None = None
        self._waiting: list[asyncio.Future[None]] | None = None
        self._memory: dict[str, Any] | None = None

    # --- python-engineio's names ---

    @property
    def upgraded(self) -> bool:
        return self.ws is not None

    @property
    def connected(self) -> bool:
        return not self.ending

    @property
    def owes_packets(self) -> bool:
        """Whether one more poll has something to fetch."""
        return self.polling is not None and len(self.polling) > 0

    @property
    def busy(self) -> bool:
        """Whether a handler still runs."""
        return self.handlers > 0 or self._task is not None

    @property
    def session(self) -> dict[str, Any]:
        """What `save_session` keeps."""
        if self._memory is None:
            self._memory = {}
        return self._memory

    @session.setter
    def session(self, value: dict[str, Any]) -> None:
        self._memory = value

    async def send(self, packet: eio_packet.Packet) -> None:
        """Send one of python-engineio's packets."""
        if packet.binary:
            self.deliver(Burst.of(Attachment(packet.data)))
        else:
            self.deliver(Burst.of(packet.encode().encode()))

    async def close(self, wait: bool = True, abort: bool = False, reason: str | None = None) -> None:
        """End the session, once. `abort` sends no CLOSE packet."""
        self.end(reason or self._server.reason.SERVER_DISCONNECT, goodbye=not abort)

    # --- out ---

    def deliver(self, burst: Burst) -> bool:
        """Send packets; False when they could not be taken."""
        if self.ending:
            return False
        if self.ws is not None:
            return self.ws.write_burst(burst)
        queue = self.polling
        if queue is None:
            return False
        queue.put(*burst.packets)
        if queue.size > self._server.hub.limits.hard_buffer or len(queue) > self._server.max_queued:
            self._server.hub.counted_cut("does not poll")
            self._server.hub.warn("polling client cut: it does not poll", eio_sid=self.sid)
            self.end(self._server.reason.TRANSPORT_ERROR)
            return False
        return True

    def breathe(self) -> None:
        """Let the client read what was sent before more comes."""
        if self.ws is not None:
            self.ws.breathe()

    async def drain(self) -> None:
        """Wait until the client has taken everything that was sent, or is gone: replays pace themselves by it."""
        ws = self.ws
        if self.ending or ws is None:
            return
        ws.flush()
        while ws.pending is not None and not ws.choked and not self.ending:  # it holds its breath
            await asyncio.sleep(BREATH_SECONDS)
            ws.flush()
        if self.ending or not ws.choked:
            return
        waiter = asyncio.get_running_loop().create_future()
        self._waiting = [*(self._waiting or ()), waiter]
        await waiter

    def drained(self) -> None:
        waiting, self._waiting = self._waiting, None
        for waiter in waiting or ():
            if not waiter.done():
                waiter.set_result(None)

    # --- in ---

    def received(self, message: str | bytes) -> bool:
        """Take one message of the WebSocket; False when the client has to wait until earlier ones are done."""
        if self._candidate is not None and self.ws is None:
            self._upgrade(message)
        else:
            self.take(message)
        return not self.full

    def take(self, packet: str | bytes) -> bool:
        """Handle one Engine.IO packet; False when it broke the protocol and the session is over."""
        if self.ending:
            return not self.broken
        if type(packet) is bytes:
            self._server.message(self, packet)
        elif packet[:1] == "4":
            self._server.message(self, packet[1:])
        elif packet == "3":
            self._pong()
        elif packet == "1":
            self._leave()
        elif packet != "6":
            self._server.protocol_error(self, "unknown Engine.IO packet")
        return not self.broken

    def _pong(self) -> None:
        if self.awaits_pong:
            self.awaits_pong = False
            self._server.pings.add(self.sid)

    def _leave(self) -> None:
        """The client says that it goes."""
        self.end(self._server.reason.TRANSPORT_CLOSE)

    def ping(self) -> None:
        self.awaits_pong = True
        self.pings += 1
        self.deliver(PING_BURST)

    # --- order ---

    @property
    def full(self) -> bool:
        return self._held is not None and len(self._held) >= MAX_HELD

    def submit(self, work: Work, item: Any) -> None:
        """Run `work(self, item)` when everything submitted before is done; at once when nothing is."""
        if self._task is None and not self._held:
            self._run(work, item)
            return
        if self._held is None:
            self._held = deque()
        self._held.append((work, item))

    def _run(self, work: Work, item: Any) -> None:
        """Run one piece of work; what it raises ends neither the connection nor what comes after it."""
        try:
            coroutine = work(self, item)
            if coroutine is None:
                return
            started = eager.start(self._server.hub.loop, coroutine)
        except Exception as error:  # noqa: BLE001  a handler of the application
            self._server.failed(self, error)
            return
        if isinstance(started, asyncio.Task):
            self._task = started
            self._server.hub.hold(started)
            started.add_done_callback(self._go_on)

    def _go_on(self, done: asyncio.Task[Any]) -> None:
        self._task = None
        if not done.cancelled() and done.exception() is not None:
            self._server.failed(self, done.exception())
        if self.closed:
            self._server.forget(self)
        self._turn()

    def _turn(self) -> None:
        """Run what was held, some at a time; the client may send again when nothing is."""
        for _ in range(MAX_HELD):
            if not self._held or self._task is not None:
                break
            self._run(*self._held.popleft())
        if self._held:
            if self._task is None:
                self._server.hub.later(self._turn)
            return
        self._held = None
        if self.ws is not None:
            self.ws.go_on()
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    async def room(self) -> None:
        """Wait until the client may send more."""
        while self.full and not self.ending:
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    # --- upgrade ---

    def propose(self, candidate: WebSocketConnection) -> bool:
        """Take a WebSocket that may replace polling; False when there is one already."""
        if self._candidate is not None or self.ws is not None or self.ending:
            return False
        self._candidate = candidate
        self._probed = False
        return True

    def _upgrade(self, message: str | bytes) -> None:
        candidate = self._candidate
        if candidate is None or self.ending:
            return
        if message == PROBE and not self._probed:
            self._probed = True
            candidate.write(PROBED)
            if self.polling is not None:
                self.polling.wake()
        elif message == "5" and self._probed:
            self.ws, self._candidate = candidate, None
            if self.polling is not None:
                self.polling.wake()
                waiting = burst_of(self.polling)
                if waiting is not None:
                    self.ws.write_burst(waiting)
                self.polling = None
        else:
            self.give_up(candidate)

    @property
    def probed(self) -> bool:
        """Whether a WebSocket has been probed, so that a poll must not wait any more."""
        return self._candidate is not None and self._probed

    def give_up(self, candidate: WebSocketConnection) -> None:
        """Go on polling: the WebSocket that was to replace it came to nothing."""
        if self._candidate is candidate:
            self._candidate = None
            self._probed = False
            candidate.close(POLICY)

    # --- the end ---

    def lost(self, connection: WebSocketConnection, reason: str) -> None:
        """One of the session's WebSockets is gone."""
        if connection is self.ws:
            self.end(reason)
        elif connection is self._candidate:
            self._candidate = None
            self._probed = False

    def end(self, reason: str, *, goodbye: bool = False, code: int = 1000) -> None:
        """End the session, once: what is queued is dropped, what runs goes on, the disconnect handler runs.

        The WebSocket is closed with `code`; `goodbye` says so in an Engine.IO CLOSE packet, too, after which
        clients do not come back by themselves.
        """
        if self.ending:
            return
        if goodbye and not self.deliver(CLOSE_BURST) and not self.connected:
            return  # it could not take that, and so has ended
        self.ending = True
        self._held = self.assembly = None
        for connection in (self.ws, self._candidate):
            if connection is not None:
                connection.close(code)
                connection.go_on()  # to read the answer
        if self.polling is not None:
            if not goodbye and reason != self._server.reason.SERVER_DISCONNECT:
                self.polling.take()
            self.polling.wake()
        self.drained()
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._server.ended(self, reason)


def opening(sid: str, upgrades: list[str], *, ping_interval: float, ping_timeout: float, max_payload: int) -> bytes:
    """Return the packet that opens a session; times on the wire are in ms."""
    fields = {
        "sid": sid,
        "upgrades": upgrades,
        "pingTimeout": round(ping_timeout * 1000),
        "pingInterval": round(ping_interval * 1000),
        "maxPayload": max_payload,
    }
    return OPEN + json.dumps(fields, separators=(",", ":")).encode()
