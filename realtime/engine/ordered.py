"""What one client asks for, one thing after the other: the order and the bound that every kind of session shares."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Self

from realtime.engine import eager
from realtime.engine.hub import Hub

MAX_HELD = 64
"""Pieces of work of one client that may wait for the one that runs; then its connection is not read any more."""

Maybe = Coroutine[Any, Any, Any] | None


class Ordered:
    """Runs work in the order in which it was submitted. What fails ends neither the session nor what comes after it."""

    __slots__ = ("_held", "_room", "_task", "closed", "ending", "handlers")

    def __init__(self) -> None:
        self.ending = False  # nothing is sent any more
        self.closed = False  # the handlers of the end have begun
        self.handlers = 0  # in the background, outside the order
        self._task: asyncio.Task[Any] | None = None
        self._held: deque[tuple[Callable[..., Maybe], Any]] | None = None
        self._room: asyncio.Future[None] | None = None

    # --- what a session says ---

    @property
    def hub(self) -> Hub:
        raise NotImplementedError

    def go_on(self) -> None:
        """Nothing waits any more: the client may be read again."""
        raise NotImplementedError

    def failed(self, error: BaseException | None) -> None:
        """A handler has raised."""
        raise NotImplementedError

    def forget(self) -> None:
        """A handler is done, after the end: there may be nothing left to do."""
        raise NotImplementedError

    # --- in order ---

    @property
    def full(self) -> bool:
        return self._held is not None and len(self._held) >= MAX_HELD

    @property
    def busy(self) -> bool:
        """Whether a handler still runs."""
        return self.handlers > 0 or self._task is not None

    def submit(self, work: Callable[[Self, Any], Maybe], item: Any) -> None:
        """Run `work(self, item)` when everything submitted before is done; at once when nothing is."""
        if self._task is None and not self._held:
            self._run(work, item)
            return
        if self._held is None:
            self._held = deque()
        self._held.append((work, item))

    def _run(self, work: Callable[..., Maybe], item: Any) -> None:
        started = self._start(work, self, item)
        if started is not None:
            self._task = started
            started.add_done_callback(self._next)

    def _start(self, work: Callable[..., Maybe], *args: Any) -> asyncio.Task[Any] | None:
        """Run a handler until it waits; return the Task that goes on."""
        try:
            coroutine = work(*args)
            if coroutine is None:
                return None
            started = eager.start(self.hub.loop, coroutine)
        except Exception as error:  # noqa: BLE001  a handler of the application
            self.failed(error)
            return None
        if not isinstance(started, asyncio.Task):
            return None
        self.hub.hold(started)
        return started

    def _next(self, done: asyncio.Task[Any]) -> None:
        self._task = None
        self._look_at(done)
        if self.closed:
            self.forget()
        self._turn()

    def _turn(self) -> None:
        """Run what was held, some at a time; the client may send again when nothing is."""
        for _ in range(MAX_HELD):
            if not self._held or self._task is not None:
                break
            self._run(*self._held.popleft())
        if self._held:
            if self._task is None:
                self.hub.later(self._turn)
            return
        self._held = None
        self.go_on()
        self._make_room()

    async def room(self) -> None:
        """Wait until the client may send more."""
        while self.full and not self.ending:
            self._room = self.hub.loop.create_future()
            await self._room

    def _make_room(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def drop_held(self) -> None:
        """The session is over: what waits is not run, what runs goes on."""
        self._held = None
        self._make_room()

    # --- outside the order ---

    def run(self, work: Callable[[], Maybe]) -> None:
        """Run a handler now, and in the background when it waits."""
        started = self._start(work)
        if started is not None:
            self.handlers += 1
            started.add_done_callback(self._ran)

    def _ran(self, done: asyncio.Task[Any]) -> None:
        self._look_at(done)
        self.handlers -= 1
        self.forget()

    def _look_at(self, done: asyncio.Task[Any]) -> None:
        if not done.cancelled() and done.exception() is not None:
            self.failed(done.exception())
