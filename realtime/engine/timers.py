"""Deadlines for many things that all wait equally long: one timer for each kind, none for each connection."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

import structlog

log = structlog.get_logger(__name__)

T = TypeVar("T")
BATCH = 200
"""Deadlines met in one turn of the loop, so that a crowd that came together does not stop everybody else."""

MAX_LATE_SECONDS = 0.05
"""How much later than it is due a deadline may be met, so that those of a crowd do not wake the loop one by one."""

MIN_LATE_SECONDS = 0.001


class Deadlines(Generic[T]):
    """Calls back with each item, `seconds` after it was added or a little later (a tenth, MAX_LATE_SECONDS at most).

    Nothing is cancelled: whoever is called back looks whether the deadline still matters. Adding costs O(1),
    because all items wait equally long and so are met in the order in which they came.
    """

    __slots__ = ("_handle", "_items", "_loop", "_meet", "_pause", "seconds")

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, meet: Callable[[T], None]) -> None:
        self.seconds = seconds
        self._loop = loop
        self._meet = meet
        self._pause = min(max(seconds / 10, MIN_LATE_SECONDS), MAX_LATE_SECONDS)
        self._items: deque[tuple[float, T]] = deque()
        self._handle: asyncio.TimerHandle | None = None

    def add(self, item: T) -> None:
        due = self._loop.time() + self.seconds
        self._items.append((due, item))
        if self._handle is None:
            self._handle = self._loop.call_at(due, self._run)

    def _run(self) -> None:
        now = self._loop.time()
        for _ in range(BATCH):
            if not self._items or self._items[0][0] > now:
                break
            item = self._items.popleft()[1]
            try:
                self._meet(item)
            except Exception as error:
                log.error("deadline failed", exc_info=error)
        if not self._items:
            self._handle = None
            return
        due = self._items[0][0]
        self._handle = self._loop.call_at(due if due <= now else max(due, now + self._pause), self._run)

    def stop(self) -> None:
        self._items.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
