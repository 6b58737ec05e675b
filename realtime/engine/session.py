"""One Engine.IO session: polling, then a WebSocket, or a WebSocket from the start."""

from typing import Any, Protocol

from engineio import packet as eio_packet

from realtime.engine.frames import Burst, websocket_frame
from realtime.engine.handshake import Handshake
from realtime.engine.hub import Hub
from realtime.engine.ordered import Ordered
from realtime.engine.outflow import Outflow
from realtime.engine.packets import Assembly, Attachment
from realtime.engine.polling import PollingQueue, burst_of
from realtime.engine.timers import Deadlines
from realtime.engine.websocket import POLICY, WebSocketConnection

CLOSE_BURST, PING_BURST = Burst.of(b"1"), Burst.of(b"2")
PROBE, PROBED = "2probe", websocket_frame(b"3probe")


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


class EngineSession(Ordered):
    """Keeps the order: what comes in is handled one after the other, what goes out takes one way."""

    __slots__ = (
        "__weakref__",
        "_candidate",
        "_memory",
        "_probed",
        "_server",
        "assembling",
        "assembly",
        "attempts",
        "awaits_pong",
        "broken",
        "connections",
        "failures",
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
        super().__init__()
        self.sid = sid
        self.handshake = handshake
        self.ws: WebSocketConnection | None = None
        self.polling: PollingQueue | None = None
        self.posting = False
        self.broken = False  # the client broke the protocol
        self.assembly: Assembly | None = None
        self.assembling = False  # there is a deadline for attachments
        self.watched = True  # there is a deadline for joining a namespace,
        self.unused_since = 0.0  # which counts from here
        self.awaits_pong = False
        self.pings = 0
        self.connections = 0  # namespaces that the session is in, or is about to be
        self.attempts = 0  # CONNECTs
        self.failures = 0  # CONNECTs that were refused
        self._server = server
        self._candidate: WebSocketConnection | None = None
        self._probed = False
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

    async def drain(self) -> bool:
        """Wait until the client has taken everything that was sent: replays pace themselves by it.

        For a client that polls that means: a poll was answered with it. False when the client is gone.
        """
        while self.ws is None and self.polling is not None and len(self.polling) and not self.ending:
            await self.polling.fetched()
        if self.ending:
            return False
        return self.ws is None or await self.ws.drain()

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

    def ponged(self, payload: bytes) -> None:
        """Engine.IO has pings of its own."""

    def ping(self) -> None:
        self.awaits_pong = True
        self.pings += 1
        self.deliver(PING_BURST)

    # --- order ---

    @property
    def hub(self) -> Hub:
        return self._server.hub

    def go_on(self) -> None:
        if self.ws is not None:
            self.ws.go_on()

    def failed(self, error: BaseException | None) -> None:
        self._server.failed(self, error)

    def forget(self) -> None:
        self._server.forget(self)

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
                self.polling.release()
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

    def lost(self, connection: Outflow, reason: str) -> None:
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
        self.assembly = None
        self.drop_held()
        for connection in (self.ws, self._candidate):
            if connection is not None:
                connection.close(code)
                connection.go_on()  # to read the answer
        if self.polling is not None:
            if not goodbye and reason != self._server.reason.SERVER_DISCONNECT:
                self.polling.take()
            self.polling.wake()
            self.polling.release()
        self._server.ended(self, reason)


def opening(sid: str, *, may_upgrade: bool, ping_interval: float, ping_timeout: float, max_payload: int) -> bytes:
    """Return the packet that opens a session; times on the wire are in ms. An id needs no escaping."""
    upgrades = '["websocket"]' if may_upgrade else "[]"
    timeout, interval = round(ping_timeout * 1000), round(ping_interval * 1000)
    fields = f'"pingTimeout":{timeout},"pingInterval":{interval},"maxPayload":{max_payload}'
    return f'0{{"sid":"{sid}","upgrades":{upgrades},{fields}}}'.encode()
