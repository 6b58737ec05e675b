"""What badges show: counts of the store, pushed after each change and when time alone has changed them.

Counts are never computed from what was sent: the people concerned are marked, and a worker reads their true counts
and pushes them to all of their connections.
"""

import asyncio
import itertools
from typing import TypeVar

import structlog

from realtime.clock import Clock
from realtime.engine.channel import Session
from realtime.engine.channels import Channels
from realtime.errors import StoreUnavailable
from realtime.events import Audience, UnreadChanged
from realtime.metrics import Metrics
from realtime.models import Counts, Principal, WireId
from realtime.publisher import Publisher
from realtime.services.audiences import Audiences
from realtime.store.base import InboxStore

log = structlog.get_logger(__name__)

TOGETHER = 50
"""People counted at once."""

RETRY_SECONDS = 1.0
"""How long a database that cannot answer is left alone."""

Newcomer = tuple[Session, Counts | int | None]
K = TypeVar("K")
V = TypeVar("V")


class UnreadCounter:
    """Pushes the exact counts of people who were marked; marks of one person that wait are one push."""

    def __init__(
        self,
        *,
        store: InboxStore,
        channels: Channels,
        audiences: Audiences,
        publisher: Publisher,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._channels = channels
        self._audiences = audiences
        self._publisher = publisher
        self._clock = clock
        self._metrics = metrics
        self._marked: dict[Principal, None] = {}
        self._newcomers: dict[str, Newcomer] = {}
        self._wake = asyncio.Event()
        self._last_tick = clock()

    def mark(self, *principals: Principal) -> None:
        """Note that somebody's count may have changed. People without a connection are not counted."""
        for principal in principals:
            if self._channels.is_connected(principal):
                self._marked[principal] = None
        if self._marked:
            self._wake.set()

    def mark_audiences(self, *audiences: str) -> None:
        """Note that broadcasts to audience keys have come, are gone, or are back."""
        if audiences:
            self.mark(*self._audiences.may_have_received(audiences))

    def mark_everybody(self) -> None:
        self.mark(*self._audiences.everybody())

    def greet(self, session: Session, *, told: Counts | int | None = None) -> None:
        """Tell one connection its owner's counts soon, unless they are what it was `told` already.

        Through the same worker as every change, so that no older count comes after a newer one.
        """
        self._newcomers[session.sid] = (session, told)
        self._wake.set()

    async def tick(self) -> None:
        """Mark whose rows have expired, or have come back from a snooze, since the last tick.

        When the clock was set back, those between are alive, or snoozed, again.
        """
        now, last = self._clock(), self._last_tick
        self._last_tick = now
        if now == last or not len(self._channels):
            return
        try:
            moments = await self._store.moments(min(last, now), max(last, now))
        except BaseException:
            self._last_tick = last
            raise
        self.mark(*moments.readers)
        self.mark_audiences(*moments.audiences)

    async def run(self) -> None:
        """Push counts until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._newcomers or self._marked:
                newcomers = _taken(self._newcomers, TOGETHER)
                marked = _taken(self._marked, TOGETHER - len(newcomers))
                await self._try(newcomers, marked)
                del newcomers, marked  # while nothing happens, nobody is kept who may have gone

    async def _try(self, newcomers: dict[str, Newcomer], marked: dict[Principal, None]) -> None:
        try:
            await self._push(newcomers, marked)
        except StoreUnavailable:
            self._metrics.loop_failures.labels("unread_counts").inc()
            log.warning("unread counts wait: the database is not available", people=len(newcomers) + len(marked))
            await asyncio.sleep(RETRY_SECONDS)
            self._put_back(newcomers, marked)
        except Exception as error:
            self._metrics.loop_failures.labels("unread_counts").inc()
            log.error("unread counts not pushed", exc_info=error)

    def _put_back(self, newcomers: dict[str, Newcomer], marked: dict[Principal, None]) -> None:
        for sid, newcomer in newcomers.items():
            if self._channels.session(sid) is newcomer[0]:
                self._newcomers.setdefault(sid, newcomer)
        self.mark(*marked)

    async def _push(self, newcomers: dict[str, Newcomer], marked: dict[Principal, None]) -> None:
        asked = {session.identity.principal for session, _ in newcomers.values()} | set(marked)
        counts = await self._store.counts(sorted(asked), now=self._clock())
        for session, told in newcomers.values():
            count = counts[session.identity.principal]
            if told not in (count, count.unread):
                event = unread_changed(count, session.identity.wire_id, self._clock())
                self._publisher.publish_to_connection(event, session)
        muted = self._channels.muted()
        for principal in marked:
            sessions = self._channels.of(principal)
            if sessions:
                event = unread_changed(counts[principal], sessions[0].identity.wire_id, self._clock())
                self._publisher.publish(event, Audience.principal(principal, skip=muted))


def unread_changed(counts: Counts, user: WireId, at: float) -> UnreadChanged:
    """Return what tells a person's connections their counts."""
    return UnreadChanged(
        at, user, counts.unread, unseen=counts.unseen, categories=counts.categories, revision=counts.revision
    )


def _taken(waiting: dict[K, V], number: int) -> dict[K, V]:
    """Take the first few entries out."""
    return {key: waiting.pop(key) for key in list(itertools.islice(waiting, number))}
