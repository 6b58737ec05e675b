"""Time as an argument: the server passes `time.time`, tests pass a clock that they move themselves."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], float]


def timestamp(seconds: float) -> str:
    """Return ISO-8601 UTC with milliseconds and ``Z``, as every client of the contract parses it."""
    whole, milliseconds = divmod(int(seconds * 1000), 1000)
    return datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{milliseconds:03d}Z"


def optional_timestamp(seconds: float | None) -> str | None:
    return None if seconds is None else timestamp(seconds)
