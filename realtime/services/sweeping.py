"""Sweeping: what is old enough is removed from the database, unless the clock cannot be believed.

A clock that is wrong by a year makes everything old. So a clock that leaps ahead stops the sweeping for a while; when
it comes back in that time nothing was lost, and when it does not, it was right.
"""

import structlog

from realtime.clock import Clock
from realtime.services.counts import UnreadCounter
from realtime.store.base import Store

log = structlog.get_logger(__name__)

LEAP_SECONDS = 3600.0
"""How much further than the time that has passed a clock may go between two looks."""

DOUBT_SECONDS = 3600.0
"""How long nothing is swept after a leap."""

COUNTED = frozenset({"aged", "surplus", "broadcasts"})
"""What a sweep may remove although it was not read."""


class SweepService:
    """`clock` says what is old, `monotonic` how much time has really passed."""

    def __init__(self, *, store: Store, counter: UnreadCounter, clock: Clock, monotonic: Clock) -> None:
        self._store = store
        self._counter = counter
        self._clock = clock
        self._monotonic = monotonic
        self._looked = (clock(), monotonic())
        self._doubt_until = monotonic()

    async def sweep(self) -> None:
        """Remove what is old, and have counted what was removed unread."""
        now = self._clock()
        if self._is_doubtful(now):
            return
        removed = await self._store.sweep(now=now)
        if removed:
            log.info("database swept", **removed)
        if removed.keys() & COUNTED:
            self._counter.mark_everybody()

    def _is_doubtful(self, now: float) -> bool:
        """Compare the clocks, and whether they have agreed for long enough."""
        passed = self._monotonic()
        last, last_passed = self._looked
        self._looked = (now, passed)
        ahead = (now - last) - (passed - last_passed)
        if ahead > LEAP_SECONDS:
            self._doubt_until = passed + DOUBT_SECONDS
            log.warning("nothing is swept for a while: the clock has leapt ahead", seconds=round(ahead))
        return passed < self._doubt_until
