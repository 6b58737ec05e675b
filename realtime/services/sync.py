"""What has become of somebody's inbox since a place that their client knows, page by page.

A token is a place as text (`realtime.places`). The first page fixes the place that the whole answer leads to, and the
tokens between pages remember it: what happens while a client reads pages is told again in its next question.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from realtime import places, wire
from realtime.clock import Clock
from realtime.errors import Code, RealtimeError
from realtime.models import Changes, Counts, InboxChange, Place, Principal
from realtime.places import Cursor
from realtime.rows import list_row
from realtime.store.base import InboxStore

DEFAULT_LIMIT = 100
MAX_LIMIT = 500
"""Changes of one page."""

MAX_BYTES = 1 << 20
"""About how large a page may be, unless a single change is larger."""


@dataclass(frozen=True, slots=True)
class SyncPage:
    """`token` is where the client goes on. `reset`: it forgets what it has before it takes these changes; `more`:
    there is a next page now."""

    token: str
    changes: tuple[InboxChange, ...]
    counts: Counts
    reset: bool
    more: bool


class SyncService:
    def __init__(self, *, store: InboxStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def page(self, reader: Principal, token: str | None, *, limit: int, size: int = MAX_BYTES) -> SyncPage:
        """Return what has changed since a token; without one the whole inbox. Raises INVALID_PAYLOAD.

        It has at most `limit` changes, and fewer when they would be more than about `size` bytes.
        """
        cursor = self.check(token)
        found = await self._changes(reader, cursor, limit)
        if cursor.target is not None and _lost(cursor, cursor.target, found):
            cursor = Cursor(None)
            found = await self._changes(reader, cursor, limit)
        target = cursor.target or found.place
        changes = found.changes[: max(1, _fitting(found.changes, size))]
        more = found.more or len(changes) < len(found.changes)
        end = Cursor(target)
        if more:
            # After a reset `since` is of no use, also when it would be again: the clock may be set back meanwhile.
            end = Cursor(None if found.reset else cursor.since, target, changes[-1].id)
        counts = await self.counts(reader)
        reset = found.reset and cursor.target is None
        return SyncPage(places.encode(end), changes, counts, reset, more)

    def check(self, token: str | None) -> Cursor:
        """Return where a token goes on; without one at the beginning. Raises INVALID_PAYLOAD."""
        cursor = Cursor(None) if token is None else places.decode(token)
        if cursor is None:
            raise RealtimeError(Code.INVALID_PAYLOAD, "This is no token of a place in the inbox")
        return cursor

    async def _changes(self, reader: Principal, cursor: Cursor, limit: int) -> Changes:
        return await self._store.changes(reader, cursor.since, above=cursor.above, limit=limit, now=self._clock())

    async def counts(self, reader: Principal) -> Counts:
        return (await self._store.counts([reader], now=self._clock()))[reader]

    async def place(self, reader: Principal) -> Place:
        """Return where the reader's inbox is now. What is read after that is at least as new."""
        return await self._store.place(reader, now=self._clock())

    async def token(self, reader: Principal) -> str:
        """Return `place` as a token."""
        return places.encode(Cursor(await self.place(reader)))

    async def unchanged(self, reader: Principal, token: str) -> bool:
        """Whether nothing has changed since a token; False for what is none, and for those between pages."""
        cursor = places.decode(token)
        if cursor is None or cursor.since is None or cursor.target is not None:
            return False
        return not await self._store.changed(reader, cursor.since, now=self._clock())

    async def unchanged_since_any(self, reader: Principal, tokens: Sequence[str]) -> str | None:
        """Return the first of some tokens since which nothing has changed."""
        for token in tokens:
            if await self.unchanged(reader, token):
                return token
        return None


def _fitting(changes: Sequence[InboxChange], size: int) -> int:
    """Return how many changes are within a number of bytes."""
    for number, change in enumerate(changes):
        if change.notification is not None:
            size -= len(wire.dumps(list_row(change.notification, None)))
        if size < 0:
            return number
    return len(changes)


def _lost(cursor: Cursor, target: Place, found: Changes) -> bool:
    """Whether a next page cannot go on: the database is another one, or it has forgotten what the first page knew."""
    return found.place.epoch != target.epoch or (found.reset and cursor.since is not None)
