"""What all connections of one server share: turns, batches of writes, deadlines and limits."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import structlog

from realtime.engine.timers import Deadlines
from realtime.metrics import Metrics

log = structlog.get_logger(__name__)

SlowClientPolicy = Literal["disconnect", "drop_oldest"]

WRITES_PER_TURN = 1000
"""Connections written to before others get their turn: about 7 ms."""

MAX_GROUP_BYTES = 16 * 1024
"""Bytes that many connections get in one turn as one piece."""

MESSAGES_PER_TURN = 256
"""Client messages handled in one turn of the loop, of all connections together: about 5 ms."""

DEPARTURES_PER_TURN = 200
BREATH_SECONDS = 0.002
CLOSE_SECONDS = 2.0
LINES = 20
LINES_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one connection. Bytes and seconds."""

    max_payload: int = 1_000_000
    soft_buffer: int = 64 * 1024
    hard_buffer: int = 1 << 20
    stall_seconds: float = 10.0
    policy: SlowClientPolicy = "disconnect"


class Connection(Protocol):
    """What the hub wants of a connection."""

    free: bool
    transport: asyncio.Transport | None

    def write(self, frames: bytes) -> bool: ...
    def write_out(self) -> None: ...
    def speak(self) -> None: ...
    def progresses(self, now: float, patience: float) -> bool: ...
    def cut(self, reason: str) -> None: ...
    def abort(self) -> None: ...


class Hub:
    """Takes turns: nothing that many connections do at once may stop the loop for long."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits, metrics: Metrics | None) -> None:
        self.loop = loop
        self.limits = limits
        self.metrics = metrics
        self._dirty: list[Connection] = []
        self.grouped: Sequence[Connection] = ()
        """Connections that nothing waits for but `_frames`, which all of them get at the end of the turn."""

        self._frames = b""
        self._flushing = False
        self._work: deque[Callable[[], None]] = deque()
        self._working = False
        self._handled = self._emitted = 0
        self._stalled: set[Connection] = set()
        self._watch: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._lines: dict[str, tuple[float, int]] = {}
        self.breaths: Deadlines[Connection] = Deadlines(loop, BREATH_SECONDS, lambda connection: connection.speak())
        self.closing: set[Connection] = set()
        """Connections whose Close frame was written and whose peer has not answered it."""
        self._aborts: Deadlines[Connection] = Deadlines(loop, CLOSE_SECONDS, lambda connection: connection.abort())

    # --- writes ---

    def written(self, connection: Connection) -> None:
        """Remember a connection that has frames to write; they go out together at the end of this turn."""
        self._dirty.append(connection)
        self._flush_soon()

    def write_to_all(self, connections: Sequence[Connection], frames: bytes) -> bool:
        """Write the same frames to connections that are free. False when the turn has had frames for others already:
        then they are not written."""
        if not self.grouped:
            self.grouped, self._frames = connections, frames
            self._flush_soon()
            return True
        if connections == self.grouped and len(self._frames) + len(frames) <= MAX_GROUP_BYTES:
            self._frames += frames
            return True
        self.ungroup()
        return False

    def ungroup(self) -> None:
        """Let each connection know what waits for it, because something else is about to be written, or to happen.

        Most turns of most servers have one broadcast and nothing else. Then its receivers are not touched until the
        frames go out.
        """
        connections, self.grouped = self.grouped, ()
        for connection in connections:
            connection.write(self._frames)

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self.grouped:
            group, self.grouped = self.grouped[:WRITES_PER_TURN], self.grouped[WRITES_PER_TURN:]
            self._write_group(group)
        dirty, self._dirty = self._dirty[:WRITES_PER_TURN], self._dirty[WRITES_PER_TURN:]
        if self.grouped or self._dirty:
            self.loop.call_soon(self._flush)
        else:
            self._flushing = False
        for connection in dirty:
            try:
                connection.write_out()
            except Exception as error:
                log.error("websocket write failed", exc_info=error)

    def _write_group(self, group: Sequence[Connection]) -> None:
        frames = self._frames
        for connection in group:
            try:
                if connection.free and connection.transport is not None:
                    connection.transport.write(frames)
                else:  # it has become slow, or has ended
                    connection.write(frames)
            except Exception as error:
                log.error("websocket write failed", exc_info=error)

    def emitted(self, frames: int) -> bool:
        """Count what was emitted; True when it is time to let the loop go on before more is."""
        self._emitted += frames
        if self._emitted < WRITES_PER_TURN:
            return False
        self._emitted = 0
        return True

    # --- turns ---

    def may_handle(self) -> bool:
        """Count one message that is about to be handled; False when this turn has had enough of them."""
        if self._handled == 0:
            self.loop.call_soon(self._new_turn)
        self._handled += 1
        return self._handled <= MESSAGES_PER_TURN

    def _new_turn(self) -> None:
        self._handled = 0

    def later(self, work: Callable[[], None]) -> None:
        """Do something in a later turn, in order, a bounded number of things in each."""
        self._work.append(work)
        if not self._working:
            self._working = True
            self.loop.call_soon(self._do_work)

    def _do_work(self) -> None:
        for _ in range(min(len(self._work), DEPARTURES_PER_TURN)):
            try:
                self._work.popleft()()
            except Exception as error:
                log.error("websocket work failed", exc_info=error)
        if self._work:
            self.loop.call_soon(self._do_work)
        else:
            self._working = False

    # --- connections that end ---

    def closes(self, connection: Connection) -> None:
        """A Close frame was written: the peer has two seconds to answer."""
        self.closing.add(connection)
        self._aborts.add(connection)

    async def see_off(self, closing: Set[Connection], grace: float) -> int:
        """Let connections that were closed leave, and abort those that have not within `grace` s; return how many."""
        deadline = self.loop.time() + grace
        while not self.closing.isdisjoint(closing) and self.loop.time() < deadline:  # noqa: ASYNC110  no event in every connection
            await asyncio.sleep(0.02)
        late = [connection for connection in closing if connection in self.closing]
        for connection in late:
            connection.abort()
        return len(late)

    # --- clients that do not read ---

    def stalled(self, connection: Connection) -> None:
        self._stalled.add(connection)
        if self._watch is None:
            self._watch = self.loop.call_later(self.limits.stall_seconds / 5, self._look)

    def flows(self, connection: Connection) -> None:
        self._stalled.discard(connection)

    def _look(self) -> None:
        self._watch = None
        now = self.loop.time()
        for connection in [c for c in self._stalled if not c.progresses(now, self.limits.stall_seconds)]:
            connection.cut("no progress")
        if self._stalled:
            self._watch = self.loop.call_later(self.limits.stall_seconds / 5, self._look)

    def counted_cut(self, reason: str) -> None:
        if self.metrics is not None:
            self.metrics.slow_clients.labels(reason).inc()

    def counted_drop(self, frames: int) -> None:
        if self.metrics is not None:
            self.metrics.dropped_frames.inc(frames)

    # --- the rest ---

    def hold(self, task: asyncio.Task[Any]) -> None:
        """Keep a background task referenced until it is done."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def warn(self, event: str, **more: object) -> None:
        """Log one line, of each kind at most 20 in 10 s: whoever misbehaves must not fill the disk."""
        now = self.loop.time()
        since, count = self._lines.get(event, (now, 0))
        if now - since >= LINES_SECONDS:
            if count > LINES:
                log.warning("websocket warnings left out", kind=event, times=count - LINES)
            since, count = now, 0
        self._lines[event] = (since, count + 1)
        if count < LINES:
            log.warning(event, **more)

    async def stop(self) -> None:
        self.breaths.stop()
        self._aborts.stop()
        if self._watch is not None:
            self._watch.cancel()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
