"""Readers, messages and questions that the suites share."""

from typing import Any

from realtime.models import Content, Draft, Held, InboxQuery, Target
from realtime.store.base import Store

ANN, BOB, CY, GUEST = "user:1", "user:2", "user:3", "guest:1"
HELLO = Content("info", "Hello", "Hello there")
TO_ANN = Target(recipient=ANN)
TO_ALL = Target(audience="all")
LATE = Target(audience="all", late_join=True)


async def send(store: Store, *targets: Target, content: Content = HELLO, now: float = 1.0) -> list[int]:
    return [one.notification.id for one in await store.add(targets, content, sender=None, now=now)]


async def drafted(
    store: Store, *targets: Target, content: Content = HELLO, run_at: float = 50.0, now: float = 1.0, **more: Any
) -> list[Draft]:
    """Store drafts that are no repetition of others, by nobody; return them."""
    held = await store.add_drafts(targets, content, sender=None, run_at=run_at, now=now, **more)
    assert not any(one.duplicate or one.repeated for one in held)
    return [one.draft for one in held if isinstance(one, Held)]


async def swept(store: Store, *, now: float) -> int:
    """Return how many rows of any kind a sweep has removed."""
    removed = await store.sweep(now=now)
    assert all(removed.values())
    return sum(removed.values())


async def listed(store: Store, reader: str, *, now: float = 100.0) -> list[int]:
    rows, total = await store.inbox(reader, InboxQuery(limit=1000), now=now)
    assert total == len(rows)
    unread = sum(not row.read for row in rows)
    assert await store.unread_count(reader, now=now) == unread
    return [row.id for row in rows]


async def unread(store: Store, reader: str, *, now: float = 100.0) -> list[int]:
    rows, _ = await store.inbox(reader, InboxQuery(limit=1000, read=False), now=now)
    return [row.id for row in rows]
