"""What readers do with what they see: pure changes of a row, and of what is known of a reader (`reading.Reader`).

A change that changes nothing returns the same object. Each other change of a reader takes the next `rev`.
"""

import math
from dataclasses import replace

from realtime.models import MarkFacts, Notification
from realtime.store.broadcasts import Broadcast, Log
from realtime.store.reading import Cursor, Interval, Mark, Reader, place_in_list, unread

EVERYTHING = (math.inf, math.inf)
"""A place in the list before all rows."""


def read(row: Notification, yes: bool, *, now: float) -> Notification:
    """A row that is read already keeps its `read_at`."""
    return row if row.read == yes else row.marked(now if yes else None)


def seen(row: Notification, *, now: float) -> Notification:
    return row if row.seen_at is not None else replace(row, seen_at=now)


def archived(row: Notification, yes: bool, *, now: float) -> Notification:
    if (row.archived_at is not None) == yes:
        return row
    return replace(row, archived_at=now, snoozed_until=None) if yes else replace(row, archived_at=None)


def snoozed(row: Notification, until: float | None) -> Notification:
    if until is None:
        after = replace(row, snoozed_until=None)
    else:
        after = replace(row, snoozed_until=until, read_at=None, archived_at=None)
    return row if after == row else after


def marked(reader: Reader, found: Broadcast, row: Notification, *, hidden: bool = False) -> Reader:
    """Return the reader with a mark that says what `row` says."""
    rev = reader.rev + 1
    return replace(reader, marks={**reader.marks, found.seq: Mark(_facts(row, hidden=hidden), rev)}, rev=rev)


def _facts(row: Notification, *, hidden: bool = False) -> MarkFacts:
    return MarkFacts(row.read_at, row.seen_at, hidden, row.archived_at, row.snoozed_until)


def all_read(reader: Reader, log: Log, up_to: tuple[float, float], *, now: float) -> tuple[Reader, int]:
    """Mark what is not above a place in the list read; returns how many rows that changed."""
    waiting = unread(reader, log, now=now)
    return _advanced(reader, log, waiting, up_to, of_read=True, now=now)


def all_seen(reader: Reader, log: Log, up_to: tuple[float, float], *, now: float) -> tuple[Reader, int]:
    waiting = [(found, row) for found, row in unread(reader, log, now=now) if row.seen_at is None]
    return _advanced(reader, log, waiting, up_to, of_read=False, now=now)


def _advanced(
    reader: Reader,
    log: Log,
    waiting: list[tuple[Broadcast, Notification]],
    up_to: tuple[float, float],
    *,
    of_read: bool,
    now: float,
) -> tuple[Reader, int]:
    """Move a cursor to just below the first row that must stay as it is; list order and seq order can differ.

    Rows that the cursor does not decide, or does not reach, get marks. The cursor may pass rows that the reader
    cannot see: such rows never become visible later, as a membership starts at the log's head.
    """
    due = [(found, row) for found, row in waiting if place_in_list(row) <= up_to]
    left = [found.seq for found, row in waiting if place_in_list(row) > up_to and not _explicit(reader, found)]
    upto = min([log.head, *(seq - 1 for seq in left)])
    if not due:
        return reader, 0
    rev = reader.rev + 1
    marks = dict(reader.marks)
    cursors = reader.read if of_read else reader.seen
    for found, row in due:
        if _explicit(reader, found) or found.seq > upto:
            after = row.marked(now) if of_read else replace(row, seen_at=now)
            marks[found.seq] = Mark(_facts(after), rev)
        elif not cursors or cursors[-1].upto < upto:
            cursors = (*cursors, Cursor(upto, now, rev))
    if of_read:
        return replace(reader, marks=marks, read=cursors, rev=rev), len(due)
    return replace(reader, marks=marks, seen=cursors, rev=rev), len(due)


def _explicit(reader: Reader, found: Broadcast) -> bool:
    return found.seq in reader.marks or found.notification.target.late_join


def delivered(reader: Reader, found: list[Broadcast]) -> Reader:
    """What was delivered is no change of what the reader sees."""
    taken = reader.delivered | {one.seq for one in found}
    return reader if taken == reader.delivered else replace(reader, delivered=taken)


def tidied(reader: Reader, log: Log) -> Reader:
    """Return the reader without what is known of rows that are in the log no more. `log` is not older than they."""
    keep = {seq: mark for seq, mark in reader.marks.items() if log.get(seq) is not None}
    return replace(
        reader,
        intervals=_telling(reader, log),
        read=_needed(reader.read, log),
        seen=_needed(reader.seen, log),
        marks=keep if len(keep) < len(reader.marks) else reader.marks,
        delivered=frozenset(seq for seq in reader.delivered if log.get(seq) is not None),
    )


def _telling(reader: Reader, log: Log) -> tuple[Interval, ...]:
    """Return the intervals that are open, received something, or are the last of those that showed late-join rows."""
    kept = {one for one in reader.intervals if one.open or log.any_of(one.audience, above=one.start, until=one.end)}
    for audience in {one.audience for one in reader.intervals if one not in kept}:
        silent = [one for one in reader.of(audience) if one not in kept]
        kept |= {one for one in silent if one.dropped and log.heard(audience, above=one.start)}
        if log.late(audience):
            kept.add(max(silent, key=lambda one: one.rev))
    return tuple(one for one in reader.intervals if one in kept)


def _needed(cursors: tuple[Cursor, ...], log: Log) -> tuple[Cursor, ...]:
    """Return the cursors that are the smallest ones above some row, and the last one."""
    before = (0, *(one.upto for one in cursors))
    return tuple(
        one for low, one in zip(before, cursors, strict=False) if one is cursors[-1] or log.any_between(low, one.upto)
    )
