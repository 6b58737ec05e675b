"""What a sweep leaves of broadcasts, and what it takes from the tables of their readers."""

import sqlite3
from dataclasses import replace

import pytest

from realtime.models import Content, Notification, Principal, Retention, Stored, Target
from realtime.store.sqlite import SqliteStore
from realtime.store.sqlite_upkeep import SWEEP_ROWS

ANN, BOB = "user:1", "user:2"
HELLO = Content("info", "Hello", "Hello there")
SOON = replace(HELLO, expires_at=10.0)
TO_ALL = Target(audience="all")
REMEMBERED = Retention().tombstones


@pytest.fixture
async def store(store: SqliteStore) -> SqliteStore:
    """With two people who receive what is for everybody."""
    for reader in (ANN, BOB):
        await store.open_membership(reader, "all", now=0.0)
    return store


def count(db: sqlite3.Connection, table: str) -> int:
    found: int = db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    return found


async def broadcast(store: SqliteStore, content: Content = HELLO, times: int = 1) -> list[int]:
    stored = await store.add([TO_ALL] * times, content, sender=None, now=1.0)
    return [one.notification.id for one in stored]


async def test_a_swept_broadcast_keeps_no_content_and_is_forgotten_in_the_end(
    store: SqliteStore, outside: sqlite3.Connection
) -> None:
    await broadcast(store, SOON)
    assert await store.sweep(now=10.0) == {"expired": 1}
    assert outside.execute("SELECT content, sender, excluded FROM log").fetchall() == [("", None, None)]
    assert await store.sweep(now=10.0 + REMEMBERED) == {}
    assert await store.sweep(now=11.0 + REMEMBERED) == {"tombstones": 1}
    assert count(outside, "log") == 0


async def test_marks_go_in_portions_before_the_content(store: SqliteStore, outside: sqlite3.Connection) -> None:
    ids = await broadcast(store, SOON, times=SWEEP_ROWS + 100)
    for id in ids[::3]:
        await store.set_archived(ANN, id, True, now=2.0)
        await store.set_read(BOB, id, True, now=2.0)
    (kept,) = await broadcast(store)
    await store.set_read(ANN, kept, True, now=2.0)
    assert await store.sweep(now=10.0) == {"expired": len(ids)}
    assert outside.execute("SELECT reader FROM broadcast_state").fetchall() == [(ANN,)]
    assert outside.execute("SELECT id FROM log WHERE content <> ''").fetchall() == [(kept,)]


async def test_cursors_go_that_no_broadcast_needs(store: SqliteStore, outside: sqlite3.Connection) -> None:
    for _ in range(3):
        await broadcast(store, SOON)
        await store.mark_all_seen(ANN, up_to=None, now=2.0)
        await store.mark_all_read(ANN, up_to=None, now=2.0)
    assert (count(outside, "read_cursor"), count(outside, "seen_cursor")) == (3, 3)
    (kept,) = await broadcast(store)
    await store.mark_all_read(ANN, up_to=None, now=3.0)
    await store.sweep(now=10.0)
    assert (count(outside, "read_cursor"), count(outside, "seen_cursor")) == (1, 0)
    row = await store.notification(ANN, kept, now=11.0)
    assert row is not None
    assert (row.read_at, row.seen_at) == (3.0, 3.0)


async def test_cursors_between_broadcasts_that_stay_go_with_the_next(
    store: SqliteStore, outside: sqlite3.Connection
) -> None:
    (first,) = await broadcast(store)
    await store.mark_all_read(ANN, up_to=None, now=2.0)
    for _ in range(5):
        await broadcast(store, SOON)
        await store.mark_all_read(ANN, up_to=None, now=3.0)
    await store.sweep(now=10.0)
    (second,) = await broadcast(store)
    await store.mark_all_read(ANN, up_to=None, now=11.0)
    assert count(outside, "read_cursor") == 2
    rows = [await store.notification(ANN, id, now=12.0) for id in (first, second)]
    assert [row.read_at if row else None for row in rows] == [2.0, 11.0]


async def test_closed_memberships_go_with_the_last_broadcast_in_them(
    store: SqliteStore, outside: sqlite3.Connection
) -> None:
    await broadcast(store)
    await store.open_membership("guest:1", "all", now=1.0)
    await broadcast(store, SOON)
    await store.close_membership("guest:1", "all", now=2.0)
    await store.open_membership("guest:2", "all", now=2.0)
    await broadcast(store)
    await store.close_membership("guest:2", "all", now=2.0)
    await store.sweep(now=10.0)
    assert await store.sweep(now=11.0 + REMEMBERED) == {"memberships": 1, "tombstones": 1}
    found = outside.execute("SELECT reader FROM membership ORDER BY reader").fetchall()
    assert found == [("guest:2",), (ANN,), (BOB,)]


async def test_an_audience_of_many_costs_one_row(store: SqliteStore, outside: sqlite3.Connection) -> None:
    target = Target(audience="all", excluded=frozenset({BOB}))
    before = outside.execute("SELECT sum(rows) FROM inbox_size").fetchone()
    await store.add([target], HELLO, sender=None, now=1.0)
    assert [count(outside, table) for table in ("log", "inbox", "broadcast_state", "delivery")] == [1, 0, 0, 0]
    assert outside.execute("SELECT sum(rows) FROM inbox_size").fetchone() == before


async def test_rows_are_counted_however_they_come_and_go(store: SqliteStore, outside: sqlite3.Connection) -> None:
    grouped = replace(HELLO, group_key="g")
    mine = Target(recipient=ANN)
    first, second, _ = await store.add([mine] * 3, HELLO, sender=None, now=1.0)
    for content in (grouped, grouped, SOON):
        await store.add([mine], content, sender=None, now=2.0)
    await store.add([mine], grouped, sender=None, now=2.0, id=await store.take_id())
    await store.delete_notification(ANN, first.notification.id, now=3.0)
    await store.sweep(now=10.0)
    size = outside.execute("SELECT rows FROM inbox_size WHERE recipient = ?", (ANN,)).fetchone()
    assert size == (count(outside, "inbox"),) == (3,)
    assert second.notification.id in {id for (id,) in outside.execute("SELECT id FROM inbox")}


@pytest.mark.parametrize(
    ("excluded", "reader"),
    [("user:a\0b", "user:a\0b"), ("user:a\0b", "user:a"), ('user:x"user:1', ANN), ("user:x\\", "user:x"), (ANN, ANN)],
)
async def test_only_who_is_excluded_is_excluded(store: SqliteStore, excluded: Principal, reader: Principal) -> None:
    await store.open_membership(reader, "all", now=0.0)
    target = Target(audience="all", excluded=frozenset({excluded, "user:zoe"}))
    (stored,) = await store.add([target], HELLO, sender=None, now=1.0)
    seen = await store.notification(reader, stored.notification.id, now=2.0)
    assert seen == (None if reader == excluded else stored.notification)
    assert await store.unread_count(reader, now=2.0) == int(reader != excluded)


async def test_a_request_may_name_a_target_twice(store: SqliteStore) -> None:
    targets = [Target(recipient=ANN)] * 2
    first = await store.add(targets, HELLO, sender=None, now=1.0, request="r")
    again = await store.add(targets, HELLO, sender=None, now=2.0, request="r")
    ids = [one.notification.id for one in first]
    assert len(set(ids)) == 2
    told = [Stored(Notification(id, targets[0], HELLO, None, 1.0, 1.0), duplicate=True, repeated=True) for id in ids]
    assert again == told
