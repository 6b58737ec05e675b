"""What the database remembers of deliveries, and of ids that were taken, and for how long."""

import sqlite3
from dataclasses import replace

import pytest

from realtime.models import Content, Target
from realtime.store.sqlite import SqliteStore
from realtime.store.sqlite_upkeep import SWEEP_ROWS

ANN, BOB = "user:1", "user:2"
HELLO = Content("info", "Hello", "Hello there")
TO_ANN = Target(recipient=ANN)
TO_ALL = Target(audience="all")


@pytest.fixture
async def store(store: SqliteStore) -> SqliteStore:
    """With two people who receive what is for everybody."""
    for reader in (ANN, BOB):
        await store.open_membership(reader, "all", now=0.0)
    return store


async def taken(store: SqliteStore, *targets: Target, content: Content = HELLO) -> list[int]:
    """Store rows that each of their readers has taken."""
    ids = [one.notification.id for one in await store.add(targets, content, sender=None, now=1.0)]
    for reader in (ANN, BOB):
        await store.set_delivered(reader, ids, now=2.0)
    return ids


def remembered(db: sqlite3.Connection) -> list[tuple[str, int]]:
    return db.execute("SELECT reader, id FROM delivery ORDER BY id, reader").fetchall()


async def test_deliveries_go_with_what_is_deleted_or_hidden(store: SqliteStore, outside: sqlite3.Connection) -> None:
    direct, broadcast, kept = await taken(store, TO_ANN, TO_ALL, TO_ANN)
    assert remembered(outside) == [(ANN, direct), (ANN, broadcast), (BOB, broadcast), (ANN, kept)]
    for id in (direct, broadcast):
        await store.delete_notification(ANN, id, now=3.0)
    assert remembered(outside) == [(BOB, broadcast), (ANN, kept)]


async def test_deliveries_go_with_what_its_group_replaces(store: SqliteStore, outside: sqlite3.Connection) -> None:
    grouped = replace(HELLO, group_key="g")
    (first,) = await taken(store, TO_ANN, content=grouped)
    await store.add([TO_ANN], grouped, sender=None, now=3.0)
    assert remembered(outside) == []
    await store.set_delivered(ANN, [first], now=4.0)
    await store.add([TO_ANN], grouped, sender=None, now=5.0, id=await store.take_id())
    assert remembered(outside) == []


async def test_deliveries_go_with_what_is_swept(store: SqliteStore, outside: sqlite3.Connection) -> None:
    await taken(store, *[TO_ANN, TO_ALL] * SWEEP_ROWS, content=replace(HELLO, expires_at=10.0))
    (kept,) = await taken(store, TO_ALL)
    assert len(remembered(outside)) == 3 * SWEEP_ROWS + 2
    assert await store.sweep(now=10.0) == {"expired": 2 * SWEEP_ROWS}
    assert remembered(outside) == [(ANN, kept), (BOB, kept)]


async def test_deliveries_go_with_a_broadcast_whoever_removes_it(
    store: SqliteStore, outside: sqlite3.Connection
) -> None:
    gone, kept = await taken(store, TO_ALL, TO_ALL)
    outside.execute("DELETE FROM log WHERE id = ?", (gone,))
    assert remembered(outside) == [(ANN, kept), (BOB, kept)]


async def test_an_id_that_was_never_taken_is_refused(store: SqliteStore) -> None:
    id = await store.take_id()
    for never in (id + 1, 0, -1, 2**70):
        with pytest.raises(ValueError, match="take_id"):
            await store.add([TO_ANN], HELLO, sender=None, now=1.0, id=never)
        with pytest.raises(ValueError, match="take_id"):
            await store.add_drafts([TO_ANN], HELLO, sender=None, run_at=5.0, now=1.0, id=never)
    assert await store.unread_count(ANN, now=2.0) == 0
    (stored,) = await store.add([TO_ANN], HELLO, sender=None, now=1.0)
    assert stored.notification.id == id + 1
