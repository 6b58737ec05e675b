"""GCRA: a rate with a burst, in one number per key, the time at which its bucket will be full again."""

import math
from collections.abc import Hashable

from realtime.errors import Code, RealtimeError

_SWEEP_EVERY = 1024
_ROUNDING = 1e-3
"""Seconds. Times since 1970 are exact to 0.2 microseconds, and a burst adds up as many roundings as it has events."""


def exceeded(wait: float) -> RealtimeError:
    """Return the refusal of somebody who sends too much; `wait` is in seconds."""
    return RealtimeError(
        Code.RATE_LIMIT_EXCEEDED, f"Rate limit exceeded, try again in {wait:g} seconds", retry_after=wait
    )


class RateLimiter:
    """Allows `burst` events at once and `per_minute` events a minute after that, per key. 0 means no limit.

    A refused event does not use up the bucket. State is one float per key that was active in the last
    burst's time; idle keys are forgotten.
    """

    def __init__(self, *, per_minute: float, burst: int | None = None) -> None:
        self._interval = 60.0 / per_minute if per_minute > 0 else 0.0
        self._tolerance = self._interval * (burst if burst is not None else max(1, int(per_minute)))
        self._full_at: dict[Hashable, float] = {}
        self._uses = 0

    def __len__(self) -> int:
        return len(self._full_at)

    def wait(self, key: Hashable, now: float) -> float | None:
        """Return None when an event would be allowed now, else the seconds until it would."""
        if not self._interval:
            return None
        ahead = self._filled(key, now) + self._interval - now - self._tolerance
        return math.ceil(ahead * 1000) / 1000 if ahead > _ROUNDING else None

    def hit(self, key: Hashable, now: float) -> float | None:
        """Count one event. None when it is allowed, else the seconds until the next one would be."""
        wait = self.wait(key, now)
        if wait is None and self._interval:
            self._full_at[key] = self._filled(key, now) + self._interval
            self._uses += 1
            if self._uses % _SWEEP_EVERY == 0:
                self._sweep(now)
        return wait

    def _filled(self, key: Hashable, now: float) -> float:
        """When the bucket will be full. It is never emptier than empty, whatever the clock said before."""
        known = self._full_at.get(key, now)
        if known > now + self._tolerance:  # the clock was set back
            known = self._full_at[key] = now + self._tolerance
        return max(known, now)

    def _sweep(self, now: float) -> None:
        self._full_at = {key: at for key, at in self._full_at.items() if at > now}
