"""The store alone, without a server: prepares inboxes for the other phases, and times what the inbox asks of it.

`python bench/store.py fill|time DATABASE_URL`; the answer is one line of JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable

from realtime.models import Content, InboxQuery, Principal, Target
from realtime.settings import Settings
from realtime.store.base import Store
from realtime.wiring.stores import open_store

FULL = 100
"""Unread rows of each user with a full inbox: all that a client shows, five pages."""

UNREAD = 1000
BROADCASTS = 500
CHANGES = 10
TIMES = 200
ROW = Content("parts", "Part 7 has arrived", "It is on the shelf behind the counter.", metadata={"part": 7})
READER = "user:1"


async def fill(store: Store, users: int) -> dict[str, float]:
    """Give users 1 to `users` full inboxes."""
    rows = [Target(recipient=f"user:{number}") for number in range(1, users + 1) for _ in range(FULL)]
    for start in range(0, len(rows), 5000):
        await store.add(rows[start : start + 5000], ROW, sender=None, now=time.time())
    return {"rows": len(rows)}


async def timed(store: Store, _users: int) -> dict[str, float]:
    await store.add([Target(recipient=READER)] * UNREAD, ROW, sender=None, now=time.time())
    await store.open_membership(READER, "all", now=time.time())
    everybody = [Target(audience="all")]
    broadcasts = await _median_ms(lambda: store.add(everybody, ROW, sender=None, now=time.time()), BROADCASTS)
    unread = await store.unread_count(READER, now=time.time())
    if unread < UNREAD + BROADCASTS:
        raise RuntimeError(f"{unread} unread")
    return {
        "broadcast_store_ms": broadcasts,
        "unread_ms": await _median_ms(lambda: store.unread_count(READER, now=time.time())),
        "counts_ms": await _median_ms(lambda: store.counts([READER], now=time.time())),
        "page_ms": await _median_ms(lambda: store.inbox(READER, InboxQuery(), now=time.time())),
        "changes_ms": await _changes_ms(store, READER),
        "mark_all_ms": await _median_ms(lambda: store.mark_all_read(READER, up_to=None, now=time.time()), 1),
    }


async def _changes_ms(store: Store, reader: Principal) -> float:
    spent = []
    for _ in range(TIMES // CHANGES):
        since = await store.place(reader, now=time.time())
        rows, _ = await store.inbox(reader, InboxQuery(limit=CHANGES - 1), now=time.time())
        for row in rows:
            await store.set_read(reader, row.id, not row.read, now=time.time())
        await store.add([Target(recipient=reader)], ROW, sender=None, now=time.time())
        started = time.perf_counter()
        found = await store.changes(reader, since, limit=100, now=time.time())
        spent.append((time.perf_counter() - started) * 1000)
        if len(found.changes) != CHANGES:
            raise RuntimeError(f"{len(found.changes)} changes")
    return statistics.median(spent)


async def _median_ms(work: Callable[[], Awaitable[object]], times: int = TIMES) -> float:
    spent = []
    for _ in range(times):
        started = time.perf_counter()
        await work()
        spent.append((time.perf_counter() - started) * 1000)
    return statistics.median(spent)


async def run(command: Callable[[Store, int], Awaitable[dict[str, float]]], url: str, users: int) -> None:
    store = open_store(Settings(database_url=url))
    await store.open()
    try:
        print(json.dumps(await command(store, users)))
    finally:
        await store.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=("fill", "time"))
    parser.add_argument("url")
    parser.add_argument("--users", type=int, default=0)
    options = parser.parse_args()
    asyncio.run(run({"fill": fill, "time": timed}[options.command], options.url, options.users))


if __name__ == "__main__":
    main()
