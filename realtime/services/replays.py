"""Connections that are told what they missed, each row once and in order, while new rows go on coming.

Such a connection is left out when a new notification is shown (`hold_back`); the notification waits here and follows
what was missed. What was committed before the missed rows were read is among them, and what is held back as well is
recognised; what was committed later is held back. A row may be committed, told as missed, and shown only when its
connection has caught up: for that, rows that were new when they were told are remembered. So nothing is lost and
nothing comes twice.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

import structlog

from realtime.clock import Clock
from realtime.engine.channel import Session
from realtime.models import Notification, Principal

log = structlog.get_logger(__name__)

MAX_HELD = 1000
"""New notifications that wait for one connection; beyond it the connection ends, and catches up when it comes back."""

STILL_SHOWN_SECONDS = 60.0
"""From the commit of a notification, how long it may take until it is shown; requests have 10 s."""

Key = tuple[int, float]
"""A row and its version: one that its group has replaced has the same id."""

Drain = Callable[[], Awaitable[bool]]
"""Waits until a client has taken what was sent; False when it is gone."""


class FellBehind(Exception):
    """More has come than the client takes."""


class _Behind:
    """What waits for one connection."""

    __slots__ = ("gone", "held", "overflown")

    def __init__(self) -> None:
        self.held: deque[Notification] = deque()
        self.overflown = False
        self.gone: set[int] = set()


def _key(notification: Notification) -> Key:
    return notification.id, notification.updated_at


class _Told:
    """What connections were told as missed while it was new, for as long as it may still be shown."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[Principal, frozenset[Key], float]] = {}
        self._of: dict[Principal, set[str]] = {}

    def remember(self, sid: str, principal: Principal, keys: frozenset[Key], *, now: float) -> None:
        self.forget(sid)
        self._told[sid] = principal, keys, now
        self._of.setdefault(principal, set()).add(sid)

    def of(self, readers: Collection[Principal], key: Key, *, now: float) -> set[str]:
        """Return the connections of some readers that were told of a row."""
        self._let_go(now)
        told = (sid for principal in _both(self._of, readers) for sid in self._of[principal])
        return {sid for sid in told if key in self._told[sid][1]}

    def _let_go(self, now: float) -> None:
        """Forget the oldest, which are the first."""
        while self._told:
            sid, (_, _, at) = next(iter(self._told.items()))
            if now - at < STILL_SHOWN_SECONDS:
                return
            self.forget(sid)

    def forget(self, sid: str) -> None:
        if sid in self._told:
            principal, _, _ = self._told.pop(sid)
            _drop(self._of, principal, sid)


def _both(index: Mapping[Principal, set[str]], readers: Collection[Principal]) -> list[Principal]:
    """Return who is in both; the smaller one is walked. `readers` is a mapping when there may be many."""
    if len(index) < len(readers):
        return [principal for principal in index if principal in readers]
    return [principal for principal in readers if principal in index]


def _drop(index: dict[Principal, set[str]], principal: Principal, sid: str) -> None:
    index[principal].discard(sid)
    if not index[principal]:
        del index[principal]


class Replays:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._behind: dict[str, _Behind] = {}
        self._behind_of: dict[Principal, set[str]] = {}
        self._told = _Told()

    def hold_back(self, notification: Notification, readers: Collection[Principal]) -> frozenset[str]:
        """Return the connections of its readers that must not be shown a notification now.

        It is kept for those that still catch up; others were told of it already.
        """
        if not readers:
            return frozenset()
        catching_up = {sid for principal in _both(self._behind_of, readers) for sid in self._behind_of[principal]}
        for sid in catching_up:
            behind = self._behind[sid]
            if len(behind.held) < MAX_HELD:
                behind.held.append(notification)
            else:
                behind.overflown = True
        return frozenset(catching_up | self._told.of(readers, _key(notification), now=self._clock()))

    async def run(
        self,
        session: Session,
        fetch: Callable[[], Awaitable[Sequence[Notification]]],
        show: Callable[[Notification], None],
        drain: Drain,
    ) -> None:
        """Show what `fetch` returns, oldest first, then what was held back. Raises FellBehind, and what `fetch` does.

        The client has read each row, or has room for the next, before the next is sent.
        """
        principal = session.identity.principal
        behind = self._behind[session.sid] = _Behind()
        self._behind_of.setdefault(principal, set()).add(session.sid)
        shown: set[Key] = set()
        try:
            for row in await fetch():
                if row.id in behind.gone:
                    continue
                shown.add(_key(row))
                show(row)
                if not await drain():
                    return
            while behind.held:
                row = behind.held.popleft()
                if _key(row) not in shown and row.id not in behind.gone:
                    show(row)
                    if not await drain():
                        return
            if behind.overflown:
                raise FellBehind
        finally:
            del self._behind[session.sid]
            _drop(self._behind_of, principal, session.sid)
        new = frozenset(key for key in shown if key[1] > self._clock() - STILL_SHOWN_SECONDS)
        if new and session.channel.session(session.sid) is session:
            self._told.remember(session.sid, principal, new, now=self._clock())

    def withdraw(self, id: int) -> None:
        """A row is gone: connections that catch up are not shown it any more."""
        for behind in self._behind.values():
            behind.gone.add(id)

    def forget(self, session: Session) -> None:
        """The connection is gone."""
        self._told.forget(session.sid)
