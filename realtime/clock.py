"""Time as an argument: the server passes `time.time`, tests pass a clock that they move themselves."""

import functools
from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], float]

LAST_MOMENT = 253_402_300_799.0
"""The last second of the year 9999: later ones, which a zone can name, cannot be written as ISO-8601."""


def timestamp(seconds: float) -> str:
    """Return ISO-8601 UTC with milliseconds and ``Z``, as every client of the contract parses it."""
    return _millisecond(int(seconds * 1000))


@functools.lru_cache(maxsize=256)
def _millisecond(number: int) -> str:
    """A notification's frames and rows, and the log lines of a crowd, say the same moment many times."""
    whole, milliseconds = divmod(number, 1000)
    return f"{_second(whole)}.{milliseconds:03d}Z"


@functools.lru_cache(maxsize=256)
def _second(whole: int) -> str:
    return datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def optional_timestamp(seconds: float | None) -> str | None:
    return None if seconds is None else timestamp(seconds)
