"""Connections that are told what they missed, each row once and in order, while new rows go on coming.

Such a connection is left out when a new notification is shown (`hold_back`); the notification waits here and follows
what was missed. What was committed before the missed rows were read is among them, and what is held back as well is
recognised; what was committed later is held back. A row may be committed, told as missed, and shown only when its
connection has caught up: for that, rows that were new when they were told are remembered. So nothing is lost and
nothing comes twice.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence

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

    __slots__ = ("held", "overflown", "principal")

    def __init__(self, principal: Principal) -> None:
        self.principal = principal
        self.held: deque[Notification] = deque()
        self.overflown = False


def _key(notification: Notification) -> Key:
    return notification.id, notification.updated_at


class Replays:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._behind: dict[str, _Behind] = {}
        self._told: dict[str, tuple[Principal, frozenset[Key]]] = {}

    def hold_back(self, notification: Notification, readers: Collection[Principal]) -> frozenset[str]:
        """Return the connections of its readers that must not be shown a notification now.

        It is kept for those that still catch up; others were told of it already.
        """
        skip = set()
        for sid, behind in self._behind.items():
            if behind.principal in readers:
                skip.add(sid)
                if len(behind.held) < MAX_HELD:
                    behind.held.append(notification)
                else:
                    behind.overflown = True
        key = _key(notification)
        skip.update(sid for sid, (principal, keys) in self._told.items() if principal in readers and key in keys)
        return frozenset(skip)

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
        behind = self._behind[session.sid] = _Behind(principal)
        shown: set[Key] = set()
        try:
            for row in await fetch():
                shown.add(_key(row))
                show(row)
                if not await drain():
                    return
            while behind.held:
                row = behind.held.popleft()
                if _key(row) not in shown:
                    show(row)
                    if not await drain():
                        return
            if behind.overflown:
                raise FellBehind
        finally:
            del self._behind[session.sid]
        new = frozenset(key for key in shown if key[1] > self._clock() - STILL_SHOWN_SECONDS)
        if new and session.channel.session(session.sid) is session:
            self._told[session.sid] = principal, new

    def forget(self, session: Session) -> None:
        """The connection is gone."""
        self._told.pop(session.sid, None)
