"""The writing half of a connection: one write a turn, and a bound on what a client that does not read may cost.

Frames wait in `pending` until the end of the turn, then go to the transport in one write. The transport's buffer is
the only queue of bytes: above the soft limit volatile events are replaced by later ones and frames stay in `pending`,
where all receivers share them; above the hard limit, or without progress, the connection is cut.
"""

import asyncio
from collections.abc import Hashable, Iterable
from typing import Protocol

from realtime.engine.frames import COMPRESS_ABOVE, Burst, close_frame
from realtime.engine.hub import BREATH_SECONDS, MAX_GROUP_BYTES, Hub

FLUSH_ABOVE = 64 * 1024
"""Bytes that may wait for the end of the turn."""

MAX_LATEST = 1000
"""Volatile events of different keys kept for a slow connection; further keys are dropped."""


class Outflow:
    """Writes frames to a transport that belongs to nobody else: here of a WebSocket, in subclasses also others."""

    kind = "websocket"

    __slots__ = (
        "_added",
        "_hub",
        "_latest",
        "_mark",
        "_quiet",
        "_since",
        "_size",
        "_waiting",
        "choked",
        "closing",
        "deflate",
        "free",
        "pending",
        "transport",
    )

    def __init__(self, hub: Hub, *, deflate: bool) -> None:
        self.deflate = deflate
        self.closing = False
        self.choked = False  # the transport has bytes that the peer did not take yet
        self.free = True  # nothing waits and nothing is in the way: `pending` may be set
        self.pending: bytes | list[bytes] | None = None
        self._hub = hub
        self.transport: asyncio.Transport | None = None
        self._size = 0  # of `pending`, when it is a list
        self._latest: dict[Hashable, Burst] | None = None
        self._waiting: list[asyncio.Future[None]] | None = None
        self._quiet = False
        self._added = self._mark = 0
        self._since = 0.0

    @property
    def gone(self) -> bool:
        return self.transport is None

    def lost(self, reason: str) -> None:
        """Tell the owner that the connection is gone, or about to go."""
        raise NotImplementedError

    def go_on(self) -> None:
        """Read again, after the owner had enough for a while."""

    def _take_over(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        transport.set_protocol(self)  # type: ignore[arg-type]  # subclasses are protocols
        transport.set_write_buffer_limits(high=1)  # asyncio's TLS takes 0 for always full

    def write(self, frames: bytes) -> bool:
        """Write frames at the end of this turn; False when the connection takes none any more."""
        if self.closing:
            return False
        if self._hub.grouped:
            self._hub.ungroup()
        if self.free:
            self.free = False
            self.pending = frames
            self._hub.written(self)
            return len(frames) <= FLUSH_ABOVE or self._write_much()
        if self.pending is None:
            self.pending, self._size = [frames], len(frames)
            if not self._quiet:
                self._hub.written(self)
        elif isinstance(self.pending, bytes):
            self._size = len(self.pending) + len(frames)
            self.pending = [self.pending, frames]
        else:
            self.pending.append(frames)
            self._size += len(frames)
        return self._size <= FLUSH_ABOVE or self._write_much()

    def write_burst(self, burst: Burst) -> bool:
        """Write a burst. A slow connection gets of volatile ones only the latest of each key, when it reads again."""
        if burst.latest and (self._latest or (self.choked and self._buffered() > self._hub.limits.soft_buffer)):
            return self._keep_latest(burst)
        return self.write(burst.deflated if self.deflate else burst.frames)

    def _keep_latest(self, burst: Burst) -> bool:
        if self._latest is None:
            self._latest = {}
        for key, single in burst.latest:
            self._latest.pop(key, None)
            if len(self._latest) < MAX_LATEST:
                self._latest[key] = single
        return not self.closing

    def breathe(self) -> None:
        """Write what waits now, and nothing more for 2 ms: some clients begin to listen only when they have read it,
        and would miss what comes in the same read."""
        self.flush()
        if not self.closing and not self._quiet:
            self._quiet, self.free = True, False
            self._hub.breaths.add(self)

    def speak(self) -> None:
        """The breath is over."""
        self._quiet = False
        if self.pending is not None:
            self._hub.written(self)
        else:
            self.free = not (self.closing or self.choked)

    def flush(self) -> None:
        """Hand what waits to the transport, in one write."""
        if self._hub.grouped:
            self._hub.ungroup()
        self.write_out()

    def write_out(self) -> None:
        """As `flush`, at the end of the turn: who has something pending is in no group."""
        pending, transport = self.pending, self.transport
        if pending is None or transport is None or self._quiet:
            return
        if self.choked and transport.get_write_buffer_size() > self._hub.limits.soft_buffer:
            return  # until the peer reads
        self.pending = None
        self._size = 0
        self.free = not self.choked
        data = pending if isinstance(pending, bytes) else b"".join(pending)
        if self.choked:
            self._added += len(data)
        transport.write(data)

    # --- clients that do not read ---

    def _buffered(self) -> int:
        waiting = len(self.pending) if isinstance(self.pending, bytes) else self._size
        return waiting + (self.transport.get_write_buffer_size() if self.transport is not None else 0)

    def _write_much(self) -> bool:
        self.flush()
        if self._buffered() <= self._hub.limits.hard_buffer or self.pending is None:
            return not self.closing
        if self._hub.limits.policy == "drop_oldest":
            self._drop_oldest()
            return True
        self.cut("buffer full")
        return False

    def _drop_oldest(self) -> None:
        """Keep the newest frames that fit. What the transport already has cannot be taken back."""
        pending = self.pending if isinstance(self.pending, list) else [self.pending or b""]
        room = self._hub.limits.hard_buffer - self._buffered() + self._size
        kept = len(pending) - 1
        size = len(pending[kept])
        while kept > 0 and size + len(pending[kept - 1]) <= room:
            kept -= 1
            size += len(pending[kept])
        self.pending, self._size = pending[kept:], size
        self._hub.counted_drop(kept)

    def pause_writing(self) -> None:
        """The transport could not write everything at once."""
        self.choked, self.free = True, False
        self._mark, self._added, self._since = self._left(), 0, self._hub.loop.time()
        self._hub.stalled(self)

    def resume_writing(self) -> None:
        """The peer has taken everything."""
        self.choked = False
        self._hub.flows(self)
        if self.pending is None:
            self.free = not (self.closing or self._quiet)
        self.flush()
        if self._latest and not self.choked:
            latest, self._latest = Burst.join(self._latest.values()), None
            self.write_burst(latest)
        if not self.choked:
            self._drained()

    async def drain(self) -> bool:
        """Wait until the peer has taken everything that was written: replays pace themselves by it.

        False when it is gone, or going, and may not have taken it.
        """
        self.flush()
        while self.pending is not None and not self.choked and not self.closing:  # it holds its breath
            await asyncio.sleep(BREATH_SECONDS)
            self.flush()
        if not self.closing and self.choked:
            waiter = self._hub.loop.create_future()
            self._waiting = [*(self._waiting or ()), waiter]
            await waiter
        return not self.closing

    def _drained(self) -> None:
        waiting, self._waiting = self._waiting, None
        for waiter in waiting or ():
            if not waiter.done():
                waiter.set_result(None)

    def _left(self) -> int:
        return self.transport.get_write_buffer_size() if self.transport is not None else 0

    def progresses(self, now: float, patience: float) -> bool:
        """Whether the peer has taken anything within `patience` seconds."""
        left = self._left()
        if left < self._mark + self._added:
            self._since = now
        self._mark, self._added = left, 0
        return now - self._since < patience

    def cut(self, reason: str) -> None:
        """Abort a client that does not read. No CLOSE packet: a healthy client comes back by itself."""
        if self.closing:
            return
        self.closing, self.free = True, False
        self._hub.counted_cut(reason)
        self._hub.warn(f"{self.kind} client cut: it does not read", reason=reason)
        self.lost("transport error")
        self.abort()

    # --- the end ---

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Write what waits and a farewell; the peer has two seconds to take it, and to answer."""
        if self.closing:
            return
        self.flush()
        rest = b"".join(self.pending) if isinstance(self.pending, list) else self.pending or b""
        self.closing, self.free, self.pending = True, False, None
        self._drained()
        if self.transport is not None:
            self._part(self.transport, rest, code, reason)
            self._hub.closes(self)

    def _part(self, transport: asyncio.Transport, rest: bytes, code: int, reason: str) -> None:
        """Write `rest` and say goodbye."""
        transport.write(rest + close_frame(code, reason))

    def abort(self) -> None:
        """Drop the connection at once. Idempotent."""
        self._stop()
        if self.transport is not None:
            self.transport.abort()

    def _stop(self) -> None:
        self.closing, self.free = True, False
        self.pending = self._latest = None
        self._hub.flows(self)
        self._drained()

    def eof_received(self) -> bool:
        """Keep a socket for a moment whose peer has gone: when thousands go at once, closing them takes turns."""
        transport = self.transport
        if transport is None or transport.get_extra_info("sslcontext") is not None:
            return False
        self._hub.later(transport.close)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        self.transport = None
        self._hub.closing.discard(self)
        self.lost("transport close")


class Reached(Protocol):
    """A session, for those who write to many."""

    @property
    def ws(self) -> Outflow | None: ...

    def deliver(self, burst: Burst) -> bool: ...


def deliver_to_all(hub: Hub, sessions: Iterable[Reached], burst: Burst) -> int:
    """Deliver a burst; return how many sessions took it. Those with nothing to wait for are written to as a group."""
    frames = burst.frames
    small, never_packed = len(frames) <= MAX_GROUP_BYTES, len(frames) <= COMPRESS_ABOVE
    group: list[Outflow] = []
    others: list[Reached] = []
    for session in sessions:
        ws = session.ws
        if ws is not None and ws.free and small and (never_packed or not ws.deflate):
            group.append(ws)
        else:
            others.append(session)
    may_group = len(group) > 1 and not (others and hub.grouped)  # who is told alone, ends what was grouped before
    taken = sum(session.deliver(burst) for session in others)
    if may_group and hub.write_to_all(group, frames):
        return taken + len(group)
    return taken + sum(connection.write(frames) for connection in group)
