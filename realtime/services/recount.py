"""Proof that counts are right: everybody's unread rows counted again, by the rules and nothing else.

The rules are those of docs/inbox.md. This shares no code with the stores, on purpose.
"""

from collections.abc import AsyncIterator, Iterable, Sequence

from realtime.clock import Clock
from realtime.models import LogFacts, Notification, Principal, ReaderFacts
from realtime.store.base import AuditStore

LOOKS = 3
"""How often a difference is looked at: what is read in several steps may change between them."""

READERS_AT_ONCE = 500


def naive_unread(facts: ReaderFacts, log: Sequence[LogFacts], now: float) -> int:
    """Return how many rows of the inbox a reader has not read, from what is stored."""
    count = 0
    for row in facts.rows:
        put_aside = row.archived_at is not None or (row.snoozed_until is not None and row.snoozed_until > now)
        if _is_alive(row, now) and row.read_at is None and not put_aside:
            count += 1
    for entry in log:
        if entry.retracted or not _is_alive(entry.notification, now):
            continue
        if _receives(facts, entry) and _is_unread(facts, entry, now):
            count += 1
    return count


def _is_alive(row: Notification, now: float) -> bool:
    return row.content.expires_at is None or row.content.expires_at > now


def _receives(facts: ReaderFacts, entry: LogFacts) -> bool:
    target = entry.notification.target
    if facts.reader in target.excluded:
        return False
    for audience, first, last in facts.intervals:
        if audience != target.audience:
            continue
        if last is None and target.late_join:
            return True
        if first < entry.seq and (last is None or entry.seq <= last):
            return True
    return False


def _is_unread(facts: ReaderFacts, entry: LogFacts, now: float) -> bool:
    """A mark is the whole truth; without one the cursor decides, but for rows that late comers see."""
    mark = facts.marks.get(entry.seq)
    if mark is not None:
        put_aside = mark.archived_at is not None or (mark.snoozed_until is not None and mark.snoozed_until > now)
        return mark.read_at is None and not mark.hidden and not put_aside
    return entry.notification.target.late_join or entry.seq > facts.read_upto


async def recount(
    store: AuditStore, clock: Clock, readers: Iterable[Principal] | None = None
) -> AsyncIterator[tuple[Principal, int, int]]:
    """Yield (reader, the store's count, the naive count) for some readers, or for everybody in order.

    A difference is one that was there each of LOOKS times.
    """
    log = await store.log_facts()
    async for reader in _each(store, readers):
        for look in range(LOOKS):
            if look:
                log = await store.log_facts()
            now = clock()
            facts = await store.reader_facts(reader, now=now)
            naive = naive_unread(facts, log, now)
            if naive == facts.unread:
                break
        yield reader, facts.unread, naive


async def _each(store: AuditStore, readers: Iterable[Principal] | None) -> AsyncIterator[Principal]:
    if readers is not None:
        for reader in readers:
            yield reader
        return
    after: Principal = ""
    while some := await store.readers_after(after, READERS_AT_ONCE):
        for reader in some:
            yield reader
        after = some[-1]
