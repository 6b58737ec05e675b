"""What is SQLite's own: group commit, the writer's failures, and what a full disk does."""

import asyncio
import resource
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from realtime.errors import RealtimeError, StoreUnavailable
from realtime.models import (
    Change,
    Content,
    InboxQuery,
    JsonObject,
    MembershipChange,
    NewMessage,
    Seen,
    Stored,
    Target,
)
from realtime.store import sqlite_file, sqlite_readers, sqlite_writer
from realtime.store.sqlite import SqliteStore

ANN = "user:1"
HELLO = Content("info", "Hello", "Hello there")
BIG = replace(HELLO, message="x" * 20_000)
TO_ANN = Target(recipient=ANN)
TO_ALL = Target(audience="all")


def add(store: SqliteStore, *targets: Target, content: Content = HELLO) -> asyncio.Task[list[Stored]]:
    return asyncio.ensure_future(store.add(targets or [TO_ANN], content, sender=None, now=1.0))


async def ids(store: SqliteStore) -> list[int]:
    rows, _ = await store.inbox(ANN, InboxQuery(limit=100_000), now=2.0)
    return sorted(row.id for row in rows)


@asynccontextmanager
async def held(store: SqliteStore) -> AsyncIterator[None]:
    """Keep the writer inside a transaction: what is submitted meanwhile becomes the next group."""
    busy, go = threading.Event(), threading.Event()

    def wait(_old: JsonObject | None) -> None:
        busy.set()
        assert go.wait(10)

    holding = asyncio.ensure_future(store.change_entity("held", "1", wait))
    assert await asyncio.to_thread(busy.wait, 10)
    try:
        yield
        await asyncio.sleep(0)  # tasks made in the block get to submit
    finally:
        go.set()
    await holding


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let the operating system refuse every write beyond `size` bytes of a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# --- Group commit


async def test_jobs_that_wait_share_one_commit(store: SqliteStore) -> None:
    async with held(store):
        commits, jobs = store.commits, store.jobs
        adding = [add(store) for _ in range(200)]
    await asyncio.gather(*adding)
    assert store.jobs - jobs == 201
    assert store.commits - commits == 2


async def test_a_failing_job_rolls_back_alone(store: SqliteStore) -> None:
    def fail(_old: JsonObject | None) -> JsonObject:
        raise LookupError("no")

    async with held(store):
        commits = store.commits
        before = [add(store) for _ in range(5)]
        failing = asyncio.ensure_future(store.change_entity("job", "1", fail))
        half = add(store, TO_ANN, Target())
        after = [add(store) for _ in range(5)]
    stored = [one.notification.id for row in await asyncio.gather(*before, *after) for one in row]
    with pytest.raises(LookupError):
        await failing
    with pytest.raises(ValueError, match="target"):
        await half
    assert await ids(store) == stored
    assert store.commits - commits == 2


@pytest.mark.parametrize("error", [StopIteration(), SystemExit(1), MemoryError(), sqlite3.Error("mine")])
async def test_nothing_that_a_job_raises_ends_the_writer(store: SqliteStore, error: BaseException) -> None:
    def fail(_old: JsonObject | None) -> JsonObject:
        raise error

    with pytest.raises(Exception) as caught:  # noqa: PT011
        await store.change_entity("job", "1", fail)
    assert caught.value is error or isinstance(caught.value, RuntimeError)
    assert len(await add(store)) == 1


async def test_a_full_queue_refuses_at_once(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_writer, "QUEUE_MAX", 3)
    async with held(store):
        adding = [add(store) for _ in range(5)]
        done, _ = await asyncio.wait(adding, return_when=asyncio.FIRST_COMPLETED)
        assert [type(task.exception()) for task in done] == [StoreUnavailable] * len(done)
    results = await asyncio.gather(*adding, return_exceptions=True)
    assert [isinstance(result, StoreUnavailable) for result in results] == [False] * 3 + [True] * 2
    assert len(await ids(store)) == 3


async def test_too_many_reads_are_refused(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_readers, "WAITING_MAX", 3)
    results = await asyncio.gather(*[store.user("1") for _ in range(5)], return_exceptions=True)
    assert [isinstance(result, StoreUnavailable) for result in results] == [False] * 3 + [True] * 2
    assert await store.user("1") is None


async def test_reads_do_not_wait_for_the_writer(store: SqliteStore) -> None:
    await add(store)
    async with held(store):
        adding = add(store)
        await asyncio.sleep(0)
        assert await asyncio.wait_for(store.unread_count(ANN, now=2.0), 5) == 1
    await adding
    assert await store.unread_count(ANN, now=2.0) == 2


async def test_a_token_that_says_nothing_new_does_not_wait_for_the_writer(store: SqliteStore) -> None:
    seen = Seen(id="1", wire_id=1, role="user", name="Ann", email=None, issued_at=5.0)
    known = await store.touch_user(seen, now=1.0)
    async with held(store):
        assert await asyncio.wait_for(store.touch_user(seen, now=2.0), 5) == known


async def changes_of(store: SqliteStore) -> int:
    """Return how many rows the store has written since it was opened."""
    return await store._write(lambda db: db.total_changes)


async def test_a_token_that_says_nothing_new_is_not_written(store: SqliteStore) -> None:
    seen = Seen(id="1", wire_id=1, role="user", name="Ann", email=None, issued_at=5.0)
    await store.touch_user(seen, now=1.0)
    written = await changes_of(store)
    for issued_at in (5.0, 6.0):
        await store.touch_user(replace(seen, issued_at=issued_at), now=2.0)
    assert await changes_of(store) == written
    await store.touch_user(replace(seen, wire_id="1"), now=3.0)
    assert await changes_of(store) > written


def opening(reader: str) -> MembershipChange:
    return MembershipChange(reader, "room:a", open=True)


async def test_a_crowd_shares_one_job(store: SqliteStore) -> None:
    jobs = store.jobs
    tokens = [Seen(str(n), n, "user", None, None, 0.0) for n in range(100)]
    await asyncio.gather(*(store.touch_user(seen, now=1.0) for seen in tokens))
    await asyncio.gather(*(store.change_memberships([opening(f"user:{n}")], now=1.0) for n in range(100)))
    assert store.jobs == jobs + 2


async def test_who_cannot_be_stored_does_not_harm_the_crowd(store: SqliteStore) -> None:
    broken = "user:\ud800"
    results = await asyncio.gather(
        *(store.change_memberships([opening(reader)], now=1.0) for reader in (ANN, broken, "user:2")),
        return_exceptions=True,
    )
    assert [isinstance(result, RealtimeError) for result in results] == [False, True, False]
    assert await store.readers("room:a") == [ANN, "user:2"]


async def test_who_stops_waiting_does_not_stop_the_crowd(store: SqliteStore) -> None:
    asked = [store.change_memberships([opening(reader)], now=1.0) for reader in (ANN, "user:2")]
    asked[0].cancel()
    await asked[1]
    assert await store.readers("room:a") == [ANN, "user:2"]


# --- Failures of the disk


async def test_a_full_disk_fails_the_whole_crowd_and_nobody_after_it(store: SqliteStore) -> None:
    await store.limit_pages(1)
    crowd = [[opening(f"user:{number}-{'x' * 200}") for number in range(start, 1000, 4)] for start in range(4)]
    results = await asyncio.gather(
        *(store.change_memberships(changes, now=1.0) for changes in crowd), return_exceptions=True
    )
    assert [type(result) for result in results] == [StoreUnavailable] * 4
    assert await store.readers("room:a") == []
    await store.limit_pages(None)
    await asyncio.gather(*(store.change_memberships(changes, now=1.0) for changes in crowd))
    assert len(await store.readers("room:a")) == 1000


async def test_a_full_database_stores_nothing_and_recovers(store: SqliteStore) -> None:
    (first,) = await add(store)
    await store.limit_pages(1)
    with pytest.raises(StoreUnavailable) as caught:
        await add(store, *[TO_ANN] * 1000)
    assert isinstance(caught.value.__cause__, sqlite3.Error)
    with pytest.raises(StoreUnavailable):
        await store.check()
    assert await ids(store) == [first.notification.id]
    assert await store.set_read(ANN, first.notification.id, True, now=2.0) is not None
    await store.limit_pages(None)
    await store.check()
    stored = await add(store, *[TO_ANN] * 1000)
    assert len(await ids(store)) == 1001
    assert stored[0].notification.id == first.notification.id + 1


async def test_a_full_database_takes_no_message_and_no_number(store: SqliteStore) -> None:
    first = await store.add_message(NewMessage("1", "2", "Hi"), now=1.0)
    await store.limit_pages(1)
    crowd = [NewMessage("1", f"other{number}", "x" * 5000) for number in range(50)]
    results = await asyncio.gather(*(store.add_message(new, now=1.0) for new in crowd), return_exceptions=True)
    assert StoreUnavailable in {type(result) for result in results}
    await store.limit_pages(None)
    stored = [one.message.id for one in results if not isinstance(one, BaseException)]
    assert stored == [first.message.id + 1 + number for number in range(len(stored))]
    assert await store.message_count() == 1 + len(stored)
    _, total = await store.conversations("1", limit=0, offset=0)
    assert total == 1 + len(stored)


async def test_who_fills_the_disk_fails_and_the_rest_of_the_group_does_not(
    store: SqliteStore, outside: sqlite3.Connection
) -> None:
    await store.limit_pages(outside.execute("PRAGMA page_count").fetchone()[0] + 10)
    async with held(store):
        small = [add(store) for _ in range(3)]
        large = add(store, *[TO_ANN] * 100, content=BIG)
        small += [add(store) for _ in range(3)]
    with pytest.raises(StoreUnavailable):
        await large
    stored = [one.notification.id for row in await asyncio.gather(*small) for one in row]
    assert await ids(store) == stored
    assert len(set(stored)) == 6


async def test_a_commit_that_fails_reaches_every_job_of_the_group(store: SqliteStore, tmp_path: Path) -> None:
    (first,) = await add(store)
    commits = store.commits
    with largest_file((tmp_path / "test.db-wal").stat().st_size):
        async with held(store):
            adding = [add(store) for _ in range(20)]
        results = await asyncio.gather(*adding, return_exceptions=True)
        assert [type(result) for result in results] == [StoreUnavailable] * 20
        with pytest.raises(StoreUnavailable):
            await store.check()
        assert await ids(store) == [first.notification.id]
    assert store.commits == commits + 1  # the holder's, which wrote nothing
    await store.check()
    (again,) = await add(store)
    assert await ids(store) == [first.notification.id, again.notification.id]


async def test_a_lock_of_another_process_is_unavailable_until_it_is_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "BUSY_SECONDS", 0.05)
    store = SqliteStore(tmp_path / "test.db")
    await store.open()
    other = sqlite3.connect(tmp_path / "test.db", isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable):
            await add(store)
        assert await ids(store) == []
        other.execute("ROLLBACK")
        await add(store)
        assert len(await ids(store)) == 1
    finally:
        other.close()
        await store.close()


# --- Costs


async def test_marking_all_read_writes_one_row_for_all_broadcasts(
    store: SqliteStore, outside: sqlite3.Connection
) -> None:
    await store.open_membership(ANN, "all", now=1.0)
    await add(store, *[TO_ALL] * 300)
    assert await store.mark_all_read(ANN, up_to=None, now=2.0) == 300
    assert outside.execute("SELECT count(*) FROM read_cursor").fetchone()[0] == 1
    assert outside.execute("SELECT count(*) FROM broadcast_state").fetchone()[0] == 0
    await store.mark_all_read(ANN, up_to=None, now=3.0)
    assert outside.execute("SELECT count(*) FROM read_cursor").fetchone()[0] == 1


async def test_joining_and_leaving_a_silent_room_leaves_nothing_behind(
    store: SqliteStore, outside: sqlite3.Connection
) -> None:
    for _ in range(5):
        await store.open_membership(ANN, "room:a", now=1.0)
        await add(store, TO_ALL)
        await store.close_membership(ANN, "room:a", now=2.0)
    assert outside.execute("SELECT count(*) FROM membership").fetchone()[0] == 0


async def test_a_hundred_changes_at_once_lose_nothing(store: SqliteStore) -> None:
    def increment(old: JsonObject | None) -> JsonObject:
        return {"n": (old or {"n": 0})["n"] + 1}

    changes: list[Change] = await asyncio.gather(*[store.change_entity("job", "1", increment) for _ in range(100)])
    assert [change.new["n"] for change in changes if change.new] == list(range(1, 101))
    assert store.commits < 50


async def test_a_database_in_memory_keeps_the_same_promises() -> None:
    store = SqliteStore(":memory:")
    await store.open()
    await asyncio.gather(*[add(store) for _ in range(10)])
    assert len(await ids(store)) == 10
    said = await store.add_message(NewMessage("1", "2", "Hi"), now=1.0)
    assert await store.history("2", "1", before=None, limit=10) == [said.message]
    await store.check()
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.user("1")
