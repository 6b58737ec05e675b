"""How far a stream's client has got in its owner's inbox, and what it missed while it was away.

A stream counts by a place: where its client began, and the newest rows that it was shown since. So the id of the last
event that a client has says what it has not been shown, and what it knows.
"""

import heapq
from collections.abc import Iterable

from realtime.clock import Clock
from realtime.engine.channel import Session
from realtime.models import Counts, Notification, Place, Principal
from realtime.places import Cursor, decode, encode
from realtime.publisher import Publisher
from realtime.services.counts import unread_changed
from realtime.store.base import Store

MAX_MISSED = 100
"""Missed notifications that a stream is told when it resumes; a client that missed more lists them."""


class Follower:
    """One stream's place."""

    def __init__(self, reader: Principal, place: Place, counts: Counts) -> None:
        """`counts` are those of the moment when it began."""
        self.reader = reader
        self.place = place
        self.counts = counts

    @property
    def id(self) -> str:
        return encode(Cursor(self.place))

    def shown(self, row: object) -> str:
        """Return the id of the event that shows a row."""
        if isinstance(row, Notification):
            self.place = self.place.after(row)
        return self.id


class Following:
    def __init__(self, *, store: Store, publisher: Publisher, clock: Clock) -> None:
        self._store = store
        self._publisher = publisher
        self._clock = clock

    async def begin(self, reader: Principal, id: str) -> Follower:
        """Return where a stream begins: after the event of that id, or now when it is of no use."""
        now = await self._store.place(reader, now=self._clock())
        counts = await self._store.counts([reader], now=self._clock())
        known = decode(id)
        place = known.since if known is not None else None
        return Follower(reader, place if place is not None and _is_behind(place, now) else now, counts[reader])

    def greet(self, session: Session, counts: Counts) -> None:
        """Tell one stream the counts that it begins with."""
        event = unread_changed(counts, session.identity.wire_id, self._clock())
        self._publisher.publish_to_connection(event, session)

    async def missed(self, follower: Follower) -> list[Notification]:
        """Return what a stream has not shown and is unread, in the order in which it came."""
        rows = await self._store.missed(follower.reader, follower.place, limit=MAX_MISSED, now=self._clock())
        return list(_as_they_came(rows))


def _is_behind(place: Place, now: Place) -> bool:
    """Whether a place is one that the reader's inbox has been at."""
    heard, newest = place.heard, (now.rev, now.log_rev)
    return place.epoch == now.epoch and all(mine <= theirs for mine, theirs in zip(heard, newest, strict=True))


def _as_they_came(rows: Iterable[Notification]) -> Iterable[Notification]:
    """Order rows so that wherever a stream breaks, what it was not shown came after what it was.

    By their times, too, as far as the clock was not set back.
    """
    in_order = sorted(rows, key=lambda row: row.rev)
    direct = [row for row in in_order if row.target.recipient is not None]
    broadcasts = [row for row in in_order if row.target.recipient is None]
    return heapq.merge(direct, broadcasts, key=lambda row: (row.created_at, row.id))
