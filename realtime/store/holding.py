"""Memberships of one reader: pure changes of the intervals in which they received what was sent to an audience.

Each opens and closes at the head of the log. A change that changes nothing returns the same object. What is over and
says nothing, because the log has no such row, goes when a reader is tidied (`marking.tidied`).
"""

from dataclasses import replace

from realtime.models import MembershipChange
from realtime.store.broadcasts import Log
from realtime.store.reading import Interval, Reader, Turn


def opened(reader: Reader, audience: str, log: Log) -> Reader:
    """An interval that ended at the log's head goes on."""
    mine = [one for one in reader.of(audience) if not one.dropped]
    if any(one.open for one in mine):
        return reader
    rev = reader.rev + 1
    ended = next((one for one in mine if one.end == log.head), None)
    if ended is not None:
        again = ended.turned(rev, log.head, end=None)
        return replace(reader, intervals=tuple(again if one is ended else one for one in reader.intervals), rev=rev)
    fresh = Interval(audience, log.head, turns=(Turn(rev, log.head),))
    return replace(reader, intervals=(*reader.intervals, fresh), rev=rev)


def closed(reader: Reader, audience: str, log: Log) -> Reader:
    mine = next((one for one in reader.of(audience) if one.open), None)
    if mine is None:
        return reader
    rev = reader.rev + 1
    ended = mine.turned(rev, log.head, end=max(log.head, mine.start))
    return replace(reader, intervals=tuple(ended if one is mine else one for one in reader.intervals), rev=rev)


def dropped(reader: Reader, audience: str) -> Reader:
    """All that is left of the intervals is what the reader may have known."""
    mine = reader.of(audience)
    if all(one.dropped for one in mine):
        return reader
    rev = reader.rev + 1
    low = min(one.start for one in mine)
    others = tuple(one for one in reader.intervals if one.audience != audience)
    return replace(
        reader, intervals=(*others, Interval(audience, low, low, dropped=True, turns=(Turn(rev, low),))), rev=rev
    )


def changed(reader: Reader, change: MembershipChange, log: Log) -> Reader:
    return (opened if change.open else closed)(reader, change.audience, log)


def prolonged(reader: Reader, ended: Interval, seq: int) -> Reader:
    """Return the reader with an interval that ends with a row which was published while it was closed.

    Of a dropped one this says that the reader may have known that row.
    """
    mine = [one for one in reader.of(ended.audience) if one.start == ended.start]
    if any(one.open or one.dropped for one in mine):
        return reader
    rev = reader.rev + 1
    others = tuple(one for one in reader.intervals if one not in mine)
    longer = ended.turned(rev, ended.turns[-1].above, end=ended.end if ended.dropped else seq)
    return replace(reader, intervals=(*others, longer), rev=rev)
