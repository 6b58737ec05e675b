"""Places in an inbox as text: the token of sync, of event streams and of entity tags. Opaque to clients.

A page of changes that has more after it also says where the next page goes on: from which place the whole answer
started, which place it leads to, and after which id.
"""

import math
import re
import secrets
from dataclasses import dataclass

from realtime.clock import LAST_MOMENT
from realtime.models import Place

_NUMBER = r"(\d{1,19})"
_PLACE = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:\.{_NUMBER}\.{_NUMBER})?", re.ASCII)
_MICROSECONDS = 1_000_000
_ROUNDING = 0.25
"""Of a microsecond: what a float cannot tell apart in this century, so that a place that was read is written alike."""


EPOCH_MAX = 2**53 - 1
"""JavaScript holds it exactly."""


def new_epoch() -> int:
    """Return the name of a database, from 1 to EPOCH_MAX; no other one has it."""
    return 1 + secrets.randbelow(EPOCH_MAX)


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a client goes on. `since` is None for the whole inbox; `target` is None for the first page."""

    since: Place | None
    target: Place | None = None
    above: int = 0


def encode(cursor: Cursor) -> str:
    """Return the token of a cursor: at most 400 characters of digits, dots and tildes."""
    since = "" if cursor.since is None else _encode(cursor.since)
    return since if cursor.target is None else f"{since}~{_encode(cursor.target)}~{cursor.above}"


def decode(token: str) -> Cursor | None:
    """Return the cursor of a token, or None for anything else."""
    if len(token) > 400:
        return None
    since, *rest = token.split("~")
    place = _decode(since)
    if not rest:
        return None if place is None else Cursor(place)
    if len(rest) != 2 or (since and place is None):
        return None
    target = _decode(rest[0])
    if target is None or not re.fullmatch(_NUMBER, rest[1], re.ASCII):
        return None
    return Cursor(place, target, int(rest[1]))


def _encode(place: Place) -> str:
    numbers = [place.epoch, place.rev, place.log_rev, place.marks, math.floor(place.at * _MICROSECONDS + _ROUNDING)]
    return ".".join(map(str, [*numbers, *(place.shown or ())]))


def _decode(text: str) -> Place | None:
    found = _PLACE.fullmatch(text)
    if found is None:
        return None
    epoch, rev, log_rev, marks, at, *shown = (None if number is None else int(number) for number in found.groups())
    moment = (at or 0) / _MICROSECONDS
    if moment > LAST_MOMENT:
        return None
    heard = None if shown[0] is None or shown[1] is None else (shown[0], shown[1])
    return Place(epoch or 0, rev or 0, log_rev or 0, marks or 0, moment, heard)
