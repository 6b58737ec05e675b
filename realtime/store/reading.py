"""What one reader sees of broadcasts, decided from plain values: no database, no clock, nothing stored.

For stores that keep what a reader has and did in one value (`Reader`) and the broadcasts in an ordered log.

Visible: the row is live, does not exclude the reader, is not hidden by them, and a membership of theirs was open at
its seq, or is open now and the row is `late_join`.

Read and seen: a mark says all about its row. Without one the cursors decide: a row is read since the smallest read
cursor that has passed it, and seen since the earlier of that and the smallest seen cursor. `late_join` rows ignore
cursors, as they may become visible long after these have passed.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from realtime.models import Counts, MarkFacts, Notification, Place, Principal, Shelf
from realtime.store.broadcasts import Broadcast, Log

UNMARKED = MarkFacts(None, None)


@dataclass(frozen=True, slots=True)
class Turn:
    """A change of a membership, with the number `rev`: rows of a seq > `above` may have come or gone by it.

    `above` is the head of the log as the writer knew it; the change may have been stored a few rows later.
    """

    rev: int
    above: int


TURNS_MAX = 4


@dataclass(frozen=True, slots=True)
class Interval:
    """A membership: open after `start`, until `end` or until now (None).

    `turns` are its changes, the last one last. A dropped one shows nothing, it only tells what the reader may have
    known.
    """

    audience: str
    start: int
    end: int | None = None
    dropped: bool = False
    turns: tuple[Turn, ...] = ()

    @property
    def open(self) -> bool:
        return self.end is None and not self.dropped

    @property
    def rev(self) -> int:
        return self.turns[-1].rev if self.turns else 0

    def covers(self, seq: int) -> bool:
        return not self.dropped and self.start < seq and (self.end is None or seq <= self.end)

    def turned_above(self, rev: int) -> int | None:
        """Return above which seq rows may have come or gone since a number; None: nowhere."""
        return min((turn.above for turn in self.turns if turn.rev > rev), default=None)

    def turned(self, rev: int, above: int, *, end: int | None) -> "Interval":
        """Return the interval after one more change. Of very many the second and the third become one."""
        turns = tuple(turn for turn in self.turns if turn.above < above)
        if len(turns) >= TURNS_MAX:
            turns = (turns[0], Turn(turns[2].rev, turns[1].above), *turns[3:])
        return replace(self, end=end, turns=(*turns, Turn(rev, above)))


@dataclass(frozen=True, slots=True)
class Cursor:
    """All up to `upto` was read, or seen, at the time `at`. `rev` is the number of that change."""

    upto: int
    at: float
    rev: int = 0


@dataclass(frozen=True, slots=True)
class Mark:
    """What a reader did with one row. `rev` is the number of the last change."""

    facts: MarkFacts
    rev: int = 0


@dataclass(frozen=True, slots=True)
class Reader:
    """All that decides which broadcasts one principal sees, and how. Cursors are in the order of `upto`.

    `rev` is the number of the last change of what they see; `version` that of the last change at all. `floor` is the
    greatest number of their own rows of which nothing is known any more.
    """

    principal: Principal
    intervals: tuple[Interval, ...] = ()
    read: tuple[Cursor, ...] = ()
    seen: tuple[Cursor, ...] = ()
    marks: Mapping[int, Mark] = field(default_factory=dict)
    delivered: frozenset[int] = frozenset()
    rev: int = 0
    version: int = 0
    floor: int = 0

    @property
    def open_audiences(self) -> list[str]:
        return sorted({one.audience for one in self.intervals if one.open})

    @property
    def read_upto(self) -> int:
        return self.read[-1].upto if self.read else 0

    def of(self, audience: str) -> list[Interval]:
        return [one for one in self.intervals if one.audience == audience]


def live(row: Notification, now: float) -> bool:
    return row.content.expires_at is None or row.content.expires_at > now


def shelf(row: Notification, now: float) -> Shelf:
    if row.archived_at is not None:
        return "archived"
    return "snoozed" if row.snoozed_until is not None and row.snoozed_until > now else "inbox"


def place_in_list(row: Notification) -> tuple[float, int]:
    return row.created_at, row.id


def between(time: float | None, one: float, other: float) -> bool:
    """Whether something that ends, or begins, at `time` did so between two times, whichever is the later."""
    return time is not None and min(one, other) < time <= max(one, other)


def facts(reader: Reader, broadcast: Broadcast) -> MarkFacts:
    """Return what the reader did with a broadcast."""
    mark = reader.marks.get(broadcast.seq)
    if mark is not None:
        return mark.facts
    if broadcast.notification.target.late_join:
        return UNMARKED
    read_at = _passed(reader.read, broadcast.seq)
    times = [time for time in (read_at, _passed(reader.seen, broadcast.seq)) if time is not None]
    return MarkFacts(read_at, min(times, default=None))


def _passed(cursors: tuple[Cursor, ...], seq: int) -> float | None:
    """Return the time of the smallest cursor that has passed a row."""
    index = bisect_left(cursors, seq, key=lambda cursor: cursor.upto)
    return cursors[index].at if index < len(cursors) else None


def as_seen(reader: Reader, broadcast: Broadcast) -> Notification:
    """Return the row as the reader sees it."""
    did = facts(reader, broadcast)
    return replace(
        broadcast.notification,
        read_at=did.read_at,
        seen_at=did.seen_at,
        archived_at=did.archived_at,
        snoozed_until=did.snoozed_until,
    )


def visible(reader: Reader, broadcast: Broadcast, *, now: float) -> bool:
    row = broadcast.notification
    mark = reader.marks.get(broadcast.seq)
    return (
        broadcast.ended_at is None
        and live(row, now)
        and reader.principal not in row.target.excluded
        and not (mark is not None and mark.facts.hidden)
        and any(
            one.covers(broadcast.seq) or (row.target.late_join and one.open)
            for one in reader.intervals
            if one.audience == row.target.audience
        )
    )


def one(reader: Reader, log: Log, id: int, *, now: float) -> tuple[Broadcast, Notification] | None:
    """Return a broadcast, and as the reader sees it, when they do."""
    found = log.by_id(id)
    if found is None or not visible(reader, found, now=now):
        return None
    return found, as_seen(reader, found)


def candidates(reader: Reader, log: Log, *, above: int = 0) -> Iterator[Broadcast]:
    """Yield what the reader may see of broadcasts with a seq > `above`, and late-join rows, in any order."""
    for audience in {one.audience for one in reader.intervals if not one.dropped}:
        low = min(one.start for one in reader.intervals if one.audience == audience and not one.dropped)
        yield from log.ordinary(audience, above=max(low, above))
        yield from log.late(audience)


def rows(reader: Reader, log: Log, *, now: float, shelf_: Shelf = "inbox") -> list[Notification]:
    """Return the broadcasts on one shelf, in any order."""
    seen = (as_seen(reader, found) for found in candidates(reader, log) if visible(reader, found, now=now))
    return [row for row in seen if shelf(row, now) == shelf_]


def unread(reader: Reader, log: Log, *, now: float) -> list[tuple[Broadcast, Notification]]:
    """Return the unread broadcasts of the inbox, in any order. What a cursor has passed is not looked at."""
    marked = (log.get(seq) for seq, mark in reader.marks.items() if mark.facts.read_at is None)
    suspects = {found.seq: found for found in marked if found is not None}
    suspects |= {found.seq: found for found in candidates(reader, log, above=reader.read_upto)}
    looked = ((found, as_seen(reader, found)) for found in suspects.values() if visible(reader, found, now=now))
    return [(found, row) for found, row in looked if not row.read and shelf(row, now) == "inbox"]


@dataclass(slots=True)
class Direct:
    """What a reader's own rows add to the counts: the unread ones by category, and how many of them are unseen."""

    categories: dict[str, int] = field(default_factory=dict)
    unseen: int = 0


def counts(reader: Reader, log: Log, direct: Direct, *, revision: int, now: float) -> Counts:
    """Return the counts. What is unseen is unread: reading a row is seeing it."""
    categories = Counter(direct.categories)
    unseen = direct.unseen
    for _, row in unread(reader, log, now=now):
        categories[row.category] += 1
        unseen += row.seen_at is None
    return Counts(categories.total(), unseen, dict(categories), revision)


def undelivered(reader: Reader, log: Log, *, now: float) -> list[Notification]:
    return [row for found, row in unread(reader, log, now=now) if found.seq not in reader.delivered]


def missed(reader: Reader, log: Log, since: Place, *, now: float) -> list[Notification]:
    return [row for found, row in unread(reader, log, now=now) if found.seq > since.heard[1]]


def changed(reader: Reader, log: Log, since: Place, *, now: float) -> Iterator[Broadcast]:
    """Yield the broadcasts of which the reader may see something else than at a place, in any order."""
    audiences: dict[str, list[Interval]] = {}
    for held in reader.intervals:
        audiences.setdefault(held.audience, []).append(held)
    passed = _moved(reader, since)
    for audience, intervals in audiences.items():
        low = min(one.start for one in intervals)
        turned = [one for one in intervals if one.rev > since.marks]
        for found in (*log.ordinary(audience, above=low), *log.late(audience)):
            if reader.principal in found.notification.target.excluded:
                continue
            if found.rev > since.log_rev or (
                found.ended_at is None
                and (
                    _touched(reader, found, since, now=now)
                    or _turned(found, turned, since)
                    or _passed_by(reader, found, passed)
                )
            ):
                yield found


def _touched(reader: Reader, found: Broadcast, since: Place, *, now: float) -> bool:
    if between(found.notification.content.expires_at, since.at, now):
        return True
    mark = reader.marks.get(found.seq)
    return mark is not None and (mark.rev > since.marks or between(mark.facts.snoozed_until, since.at, now))


def _turned(found: Broadcast, intervals: Iterable[Interval], since: Place) -> bool:
    """Whether intervals that have changed since have shown or hidden a row."""
    if found.notification.target.late_join:
        return any(True for _ in intervals)
    lows = (one.start if one.dropped else one.turned_above(since.marks) for one in intervals)
    return any(low is not None and found.seq > low for low in lows)


def _moved(reader: Reader, since: Place) -> list[tuple[int, int]]:
    """Return (above, up to) of what the cursors have passed since. What was read was seen."""
    moved = []
    before = 0
    for cursors in (reader.read, reader.seen):
        before = max([before, *(one.upto for one in cursors if one.rev <= since.marks)])
        after = max((one.upto for one in cursors), default=0)
        if after > before:
            moved.append((before, after))
    return moved


def _passed_by(reader: Reader, found: Broadcast, ranges: Iterable[tuple[int, int]]) -> bool:
    decided = found.seq in reader.marks or found.notification.target.late_join
    return not decided and any(low < found.seq <= high for low, high in ranges)


def shown(reader: Reader, found: Broadcast, *, now: float) -> Notification | None:
    """Return a broadcast as it is in the reader's inbox, None when it is not there."""
    if not visible(reader, found, now=now):
        return None
    row = as_seen(reader, found)
    return row if shelf(row, now) == "inbox" else None
