"""The inbox of two processes on one MongoDB database: nothing is lost, doubled or counted wrong."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorDatabase

from realtime.errors import StoreUnavailable
from realtime.models import (
    Content,
    InboxQuery,
    MembershipChange,
    Notification,
    Place,
    Principal,
    Retention,
    Stored,
    Target,
)
from realtime.store import (
    mongo_crowds,
    mongo_facts,
    mongo_inbox,
    mongo_log,
    mongo_readers,
    mongo_reading,
    mongo_sweep,
    mongo_sync,
)
from realtime.store.mongo import MongoStore
from realtime.store.mongo_database import Document
from realtime.store.mongo_inbox import Numbers
from tests.conformance.people import ANN, BOB, HELLO, TO_ALL, TO_ANN, drafted, listed, send
from tests.mongo import fresh_database
from tests.store.relay import command, relay_to

GROUPED = replace(HELLO, group_key="chat")
Opening = Callable[..., Awaitable[MongoStore]]


@pytest.fixture
def url(mongo_uri: str) -> str:
    return fresh_database(mongo_uri)


@pytest.fixture
async def opening(url: str) -> AsyncIterator[Opening]:
    async with AsyncExitStack() as stack:

        async def opened(through: str = url, **options: Retention) -> MongoStore:
            store = MongoStore(through, **options)
            stack.push_async_callback(store.close)
            await store.open()
            return store

        yield opened


@pytest.fixture
async def one(opening: Opening) -> MongoStore:
    return await opening()


@pytest.fixture
async def other(opening: Opening) -> MongoStore:
    return await opening()


@pytest.fixture
async def database(url: str) -> AsyncIterator[AsyncIOMotorDatabase[Document]]:
    client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(url)
    yield client.get_default_database()
    client.close()


class Follower:
    """A client that asks again and again what has changed."""

    def __init__(self, store: MongoStore) -> None:
        self.store = store
        self.place: Place | None = None
        self.rows: dict[int, Notification] = {}

    async def ask(self) -> None:
        page = await self.store.changes(ANN, self.place, limit=1000, now=10.0)
        assert page.reset == (self.place is None)
        for change in page.changes:
            if change.notification is None:
                self.rows.pop(change.id, None)
            else:
                self.rows[change.id] = change.notification
        self.place = page.place

    async def during(self, *work: Awaitable[object]) -> None:
        """Ask until the work is done, and once more; then know what a list shows."""
        await self.ask()
        running = asyncio.gather(*work)
        while not running.done():
            await self.ask()
        await running
        await self.ask()
        rows, total = await self.store.inbox(ANN, InboxQuery(limit=1000), now=10.0)
        assert self.rows == {row.id: row for row in rows}
        counts = (await self.store.counts([ANN], now=10.0))[ANN]
        assert total == len(rows)
        assert counts.unread == await self.store.unread_count(ANN, now=10.0) == sum(not row.read for row in rows)
        assert counts.unseen == sum(row.seen_at is None for row in rows)


async def sending(store: MongoStore, target: Target, times: int, *, content: Content = HELLO) -> list[int]:
    return [(await send(store, target, content=content, now=2.0))[0] for _ in range(times)]


async def test_rows_that_two_processes_add_for_one_reader_are_all_told(one: MongoStore, other: MongoStore) -> None:
    follower = Follower(one)
    await follower.during(*(sending(store, TO_ANN, 8) for store in (one, other, one, other)))
    assert len(follower.rows) == 32


async def test_broadcasts_of_two_processes_are_all_told(one: MongoStore, other: MongoStore) -> None:
    await one.open_membership(ANN, "all", now=1.0)
    follower = Follower(other)
    await follower.during(*(sending(store, TO_ALL, 8) for store in (one, other, one, other)))
    assert len(follower.rows) == 32


async def test_marking_all_while_rows_come_loses_and_doubles_nothing(one: MongoStore, other: MongoStore) -> None:
    await one.open_membership(ANN, "all", now=1.0)
    marked: list[int] = []

    async def marking(store: MongoStore) -> None:
        marked.extend([await store.mark_all_read(ANN, up_to=None, now=3.0) for _ in range(8)])

    follower = Follower(other)
    both = (sending(store, target, 8) for store in (one, other) for target in (TO_ANN, TO_ALL))
    await follower.during(*both, marking(one))
    assert len(follower.rows) == 32
    assert sum(marked) + await one.unread_count(ANN, now=9.0) == 32


async def test_what_two_processes_do_to_the_same_rows_is_all_told(one: MongoStore, other: MongoStore) -> None:
    await one.open_membership(ANN, "all", now=1.0)
    ids = [*await sending(one, TO_ANN, 5), *await sending(one, TO_ALL, 5)]

    async def acting(store: MongoStore) -> None:
        for id in ids:
            await store.set_read(ANN, id, True, now=3.0)
            await store.set_read(ANN, id, False, now=4.0)
            await store.set_archived(ANN, id, True, now=4.0)
            await store.set_archived(ANN, id, False, now=4.0)
            await store.mark_all_seen(ANN, up_to=id, now=5.0)

    await Follower(one).during(acting(one), acting(other))


async def test_memberships_that_change_while_rows_come_are_told(one: MongoStore, other: MongoStore) -> None:
    async def changing(store: MongoStore) -> None:
        for n in range(12):
            await store.change_memberships([MembershipChange(ANN, "all", open=n % 2 == 0)], now=2.0)

    late = replace(TO_ALL, late_join=True)
    follower = Follower(one)
    await follower.during(changing(one), changing(other), sending(one, TO_ALL, 10), sending(other, late, 5))


async def test_a_group_that_grows_in_two_processes_is_one_row(one: MongoStore, other: MongoStore) -> None:
    follower = Follower(one)
    await follower.during(*(sending(store, TO_ANN, 5, content=GROUPED) for store in (one, other, one, other)))
    (row,) = follower.rows.values()
    assert row.group_count == 20


async def test_one_of_many_that_ask_at_once_stores(one: MongoStore, other: MongoStore) -> None:
    for target in (TO_ANN, TO_ALL):
        for key, request in (("k", None), (None, "r")):
            asked = [
                store.add([target], HELLO, sender=None, now=1.0, dedup_key=key, request=request)
                for store in (one, other) * 3
            ]
            stored = [row for (row,) in await asyncio.gather(*asked)]
            assert len({row.notification.id for row in stored}) == 1
            assert [row.duplicate for row in stored].count(False) == 1
    assert len(await listed(one, ANN)) == 2


async def test_a_broadcast_is_retracted_once(one: MongoStore, other: MongoStore) -> None:
    (id,) = await send(one, TO_ALL)
    retracted = await asyncio.gather(*(store.retract(id, now=2.0) for store in (one, other) * 3))
    assert [row is None for row in retracted].count(False) == 1


async def test_a_draft_is_published_by_one_process(one: MongoStore, other: MongoStore) -> None:
    (draft,) = await drafted(one, TO_ANN)
    published = await asyncio.gather(*(store.publish_draft(draft.id, now=51.0) for store in (one, other) * 3))
    assert [row for row in published if row] == [Stored(Notification(draft.id, TO_ANN, HELLO, None, 51.0, 51.0))]


async def test_a_process_whose_clock_is_late_takes_greater_numbers(one: MongoStore, other: MongoStore) -> None:
    other.numbers = Numbers(lambda: time.time() + 3600)
    await send(other, TO_ANN)
    follower = Follower(one)
    await follower.ask()
    ids = [*await send(one, TO_ANN, now=2.0), *await send(one, *[TO_ANN] * 5, now=2.0)]
    await follower.ask()
    assert {*ids} <= follower.rows.keys()
    (oldest, *_) = ids
    for act in (one.set_read(ANN, oldest, True, now=3.0), one.mark_all_read(ANN, up_to=None, now=4.0)):
        await act
        before = follower.place
        await follower.ask()
        assert follower.place != before
    assert all(row.read for row in follower.rows.values())


async def test_numbers_go_on_above_what_was_forgotten(opening: Opening) -> None:
    ahead = await opening()
    ahead.numbers = Numbers(lambda: time.time() + 3600)
    await send(ahead, TO_ANN, content=replace(HELLO, expires_at=2.0))
    here = await ahead.place(ANN, now=1.0)
    for now in (3.0, 4.0 + 2 * Retention().tombstones):
        await ahead.sweep(now=now)
    await ahead.close()
    store = await opening()
    await send(store, TO_ANN, now=3.0)
    assert (await store.place(ANN, now=1.0)).rev > here.rev


async def test_numbers_of_broadcasts_that_were_removed_are_not_taken_again(opening: Opening) -> None:
    store = await opening()
    await store.open_membership(ANN, "all", now=1.0)
    await send(store, TO_ALL, content=replace(HELLO, expires_at=2.0))
    here = await store.place(ANN, now=1.0)
    for now in (3.0, 4.0 + 2 * Retention().tombstones):
        await store.sweep(now=now)
    await store.close()
    store = await opening()
    (stored,) = await store.add([TO_ALL], HELLO, sender=None, now=3.0)
    assert stored.notification.rev > here.log_rev
    assert await listed(store, ANN) == [stored.notification.id]


class Failing(MongoStore):
    """A store whose server goes away when a direct row has been stored."""

    async def outrun(self, user: Principal, id: int, rev: int) -> int:
        raise StoreUnavailable


async def test_what_was_stored_before_a_failure_is_taken_back(url: str, one: MongoStore) -> None:
    store = Failing(url)
    await store.open()
    await one.open_membership(ANN, "all", now=1.0)
    with pytest.raises(StoreUnavailable):
        await store.add([TO_ALL, TO_ANN, Target(recipient=BOB)], HELLO, sender=None, now=2.0)
    assert await listed(one, ANN) == []
    assert await listed(one, BOB) == []
    await store.close()


async def test_what_was_claimed_and_not_stored_is_stored_under_the_same_id(
    one: MongoStore, other: MongoStore, database: AsyncIOMotorDatabase[Document]
) -> None:
    await one.open_membership(ANN, "all", now=1.0)
    for target, name in ((TO_ANN, "inbox"), (TO_ALL, "log")):
        (lost,) = await one.add([target], HELLO, sender=None, now=1.0, dedup_key="k", request="r")
        await database[name].delete_one({"_id": lost.notification.id})
        fresh = other if target is TO_ANN else one
        fresh.forget_log()
        again = await fresh.add([target], HELLO, sender=None, now=2.0, dedup_key="k", request="r")
        assert again == [Stored(replace(lost.notification, created_at=2.0, updated_at=2.0))]
        repeated = await other.add([target], HELLO, sender=None, now=3.0, dedup_key="k", request="r")
        assert repeated == [replace(again[0], duplicate=True, repeated=True)]


async def test_a_request_that_was_broken_off_is_finished_by_its_repetition(
    one: MongoStore, other: MongoStore, database: AsyncIOMotorDatabase[Document]
) -> None:
    """One of its rows was stored, one was put in the place of another, the others were not stored."""
    targets = [Target(recipient=f"user:{n}") for n in range(1, 11)]
    (old,) = await one.add([TO_ANN], GROUPED, sender=None, now=1.0)
    stored = await one.add(targets, GROUPED, sender=None, now=2.0, request="r")
    assert stored[0].notification.id == old.notification.id
    lost = [row.notification.id for row in stored[5:]]
    await database.inbox.delete_many({"_id": {"$in": lost}})
    again = await other.add(targets, GROUPED, sender=None, now=3.0, request="r")
    assert [row.notification.id for row in again] == [row.notification.id for row in stored]
    assert [row.repeated for row in again] == [True] * 5 + [False] * 5
    (row,) = [(await other.inbox(ANN, InboxQuery(), now=4.0))[0]]
    assert [one.group_count for one in row] == [2]


async def test_a_draft_whose_row_was_stored_only_goes(
    one: MongoStore, other: MongoStore, database: AsyncIOMotorDatabase[Document]
) -> None:
    (draft,) = await drafted(one, TO_ANN)
    document = await database.drafts.find_one({"_id": draft.id})
    assert document is not None
    stored = await one.publish_draft(draft.id, now=51.0)
    assert stored is not None
    await database.drafts.insert_one(document)
    assert await other.publish_draft(draft.id, now=90.0) == replace(stored, duplicate=True)
    assert await other.next_run() is None
    assert await listed(other, ANN) == [draft.id]


async def test_a_notification_for_many_reaches_each_once(one: MongoStore, other: MongoStore) -> None:
    targets = [Target(recipient=f"user:{n}") for n in range(60)]
    mixed = [*targets[:30], TO_ALL, *targets[30:], targets[0]]
    await one.add([targets[7]], HELLO, sender=None, now=1.0, dedup_key="k")
    stored, again = await asyncio.gather(
        *(store.add(mixed, HELLO, sender=None, now=2.0, dedup_key="k") for store in (one, other))
    )
    assert [row.notification.id for row in stored] == [row.notification.id for row in again]
    assert [row.notification.target for row in stored] == mixed
    fresh = [not first.duplicate or not second.duplicate for first, second in zip(stored, again, strict=True)]
    assert [n for n, one in enumerate(fresh) if not one] == [7, 61]
    for target in targets:
        assert len(await listed(one, target.recipient or "")) == 1


async def test_what_is_more_than_a_portion_is_whole(
    one: MongoStore, other: MongoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    portions = {
        mongo_crowds: "PIECE", mongo_facts: "SKIP_BATCH", mongo_inbox: "WRITES_MAX", mongo_log: "LOG_BATCH",
        mongo_readers: "READERS_BATCH", mongo_reading: "READERS_BATCH", mongo_sweep: "SWEEP_ROWS",
        mongo_sync: "CHANGES_BATCH",
    }  # fmt: skip
    for module, name in portions.items():
        monkeypatch.setattr(module, name, 7)
    people = sorted(f"user:{n}" for n in range(20))
    await one.change_memberships([MembershipChange(reader, "all", open=True) for reader in people], now=1.0)
    assert await other.readers("all") == people
    soon = replace(HELLO, expires_at=20.0)
    ids = await send(
        one, *[Target(recipient=reader) for reader in people], *[TO_ANN] * 20, *[TO_ALL] * 20, content=soon
    )
    follower = Follower(other)
    await follower.ask()
    assert len(follower.rows) == 41
    counts = await other.counts(people, now=10.0)
    assert [counts[reader].unread for reader in people] == [41 if reader == ANN else 21 for reader in people]
    assert await other.readers_after("", 100) == people
    assert await one.mark_all_read(ANN, up_to=None, now=5.0) == 41
    await follower.ask()
    assert all(row.read for row in follower.rows.values())
    await send(one, *[TO_ANN] * 20, now=6.0)
    for row in (await one.inbox(ANN, InboxQuery(limit=20), now=7.0))[0]:
        await one.set_archived(ANN, row.id, True, now=7.0)
    late = 30.0 + Retention().archived
    assert await other.sweep(now=late) == {"expired": 60, "archived": 20}
    swept = await one.sweep(now=late + 2 * Retention().tombstones)
    assert swept == {"tombstones": 80}
    assert (await one.place(ANN, now=5.0)).rev > ids[-1]
    assert await one.changed(ANN, follower.place or await one.place(ANN, now=5.0), now=10.0)


async def test_a_lost_answer_doubles_nothing(url: str, opening: Opening) -> None:
    async with relay_to(url) as relay:
        store = await opening(relay.url(url))
        await store.open_membership(ANN, "all", now=1.0)
        _, shared = await send(store, TO_ANN, TO_ALL)
        for (name, collection), act in _acts(store, shared).items():
            before = relay.lost
            relay.lose(command(name, collection))
            await act()
            assert relay.lost == before + 1, (name, collection)
        rows, _ = await store.inbox(ANN, InboxQuery(), now=9.0)
        assert len(rows) == 5
        assert sorted(row.group_count for row in rows) == [1, 1, 1, 1, 2]
        await store.close()


def _acts(store: MongoStore, shared: int) -> dict[tuple[str, str], Callable[[], Awaitable[object]]]:
    """Return what to do while the answer to a command is lost."""

    async def add(target: Target, content: Content = HELLO, dedup_key: str | None = None) -> None:
        (stored,) = await store.add([target], content, sender=None, now=2.0, dedup_key=dedup_key)
        assert not stored.duplicate

    async def read(id: int) -> None:
        row = await store.set_read(ANN, id, True, now=3.0)
        assert row is not None
        assert row.read

    async def group() -> None:
        await add(TO_ANN, GROUPED)
        await add(TO_ANN, GROUPED)

    return {
        ("insert", "inbox"): lambda: add(TO_ANN),
        ("insert", "log"): lambda: add(TO_ALL),
        ("update", "inbox"): group,
        ("update", "readers"): lambda: read(shared),
        ("insert", "readers"): lambda: store.open_membership(BOB, "all", now=1.0),
        ("insert", "dedup"): lambda: add(Target(recipient=BOB), dedup_key="k"),
    }
