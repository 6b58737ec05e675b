"""The log of broadcasts as one process knows it: every row that is not swept, brought up to date by its numbers.

A row takes a number, its seq, when it is published, and its end another one. Numbers are taken in the order in which
they become visible, so whoever has read up to one has missed none.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from realtime.models import Content, Notification


@dataclass(frozen=True, slots=True)
class Broadcast:
    """A row of the log. `rev` is its seq, or the number of its end: it was retracted or swept. A stripped one has
    no content any more."""

    seq: int
    notification: Notification
    rev: int
    ended_at: float | None = None
    retracted: bool = False
    stripped: bool = False


@dataclass(slots=True)
class Log:
    """Broadcasts in the order of seq, by audience. `head` is the greatest number that is known."""

    head: int = 0
    _rows: dict[int, Broadcast] = field(default_factory=dict)
    _order: list[int] = field(default_factory=list)
    _seqs: dict[int, int] = field(default_factory=dict)
    _ordinary: dict[str, list[int]] = field(default_factory=dict)
    _late: dict[str, list[int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, seq: int) -> Broadcast | None:
        return self._rows.get(seq)

    def by_id(self, id: int) -> Broadcast | None:
        seq = self._seqs.get(id)
        return None if seq is None else self._rows[seq]

    def all(self) -> list[Broadcast]:
        return [self._rows[seq] for seq in self._order]

    def ordinary(self, audience: str, *, above: int) -> Sequence[Broadcast]:
        """Return the rows of an audience that are not late-join and have a seq > `above`."""
        seqs = self._ordinary.get(audience, [])
        return [self._rows[seq] for seq in seqs[bisect_right(seqs, above) :]]

    def late(self, audience: str) -> Sequence[Broadcast]:
        return [self._rows[seq] for seq in self._late.get(audience, [])]

    def waits_late(self, audience: str) -> bool:
        """Whether an audience has late-join rows that have not ended."""
        return any(row.ended_at is None for row in self.late(audience))

    def last(self, audience: str) -> int:
        """Return the seq of the newest row of an audience, 0 when there is none."""
        return max((seqs[-1] for kind in (self._ordinary, self._late) if (seqs := kind.get(audience))), default=0)

    def heard(self, audience: str, *, above: int) -> bool:
        """Whether whoever held an audience from `above` on may know rows of it."""
        seqs = self._ordinary.get(audience)
        return audience in self._late or (seqs is not None and seqs[-1] > above)

    def any_of(self, audience: str, *, above: int, until: int | None) -> bool:
        """Whether an audience has rows with above < seq <= until."""
        return any(
            index < len(seqs) and (until is None or seqs[index] <= until)
            for kind in (self._ordinary, self._late)
            if (seqs := kind.get(audience)) and (index := bisect_right(seqs, above)) >= 0
        )

    def any_between(self, low: int, high: int) -> bool:
        """Whether there is a row with low < seq <= high."""
        index = bisect_right(self._order, low)
        return index < len(self._order) and self._order[index] <= high

    def publish(self, row: Broadcast) -> None:
        self.head = max(self.head, row.seq)
        if row.seq in self._rows:
            return
        self._rows[row.seq] = row
        self._seqs[row.notification.id] = row.seq
        insort(self._order, row.seq)
        insort(self._kind(row).setdefault(row.notification.target.audience or "", []), row.seq)

    def end(self, id: int, *, rev: int, at: float, retracted: bool) -> None:
        self.head = max(self.head, rev)
        row = self.by_id(id)
        if row is not None:
            self._rows[row.seq] = replace(row, rev=rev, ended_at=at, retracted=retracted)

    def strip(self, id: int) -> None:
        row = self.by_id(id)
        if row is not None:
            content = Content("", "", "", expires_at=row.notification.content.expires_at)
            bare = replace(row.notification, content=content, sender=None)
            self._rows[row.seq] = replace(row, notification=bare, stripped=True)

    def forget(self, id: int) -> None:
        """Forget a row that a sweep has removed."""
        seq = self._seqs.pop(id, None)
        if seq is None:
            return
        row = self._rows.pop(seq)
        del self._order[bisect_left(self._order, seq)]
        kind, audience = self._kind(row), row.notification.target.audience or ""
        seqs = kind[audience]
        del seqs[bisect_left(seqs, seq)]
        if not seqs:
            del kind[audience]

    def _kind(self, row: Broadcast) -> dict[str, list[int]]:
        return self._late if row.notification.target.late_join else self._ordinary
