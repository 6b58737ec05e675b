"""What a sweep removes and what is kept of it (`sweep`, `sweeps`, `Retention`)."""

from dataclasses import replace

import pytest

from realtime.models import InboxQuery, LogFacts, MarkFacts, Retention, Sweep, Target
from realtime.services.recount import naive_unread
from realtime.store.base import Store
from tests.conformance.conftest import Opener
from tests.conformance.people import ANN, BOB, HELLO, LATE, TO_ALL, TO_ANN, listed, send, swept

DAY = 86400.0
GROUPED = replace(HELLO, group_key="chat")
FOR_EVER = Retention(archived=0, rows=0, broadcasts=0, receipts=0, tombstones=0)


async def test_archived_rows_go_after_a_while(store: Store) -> None:
    ids = await send(store, TO_ANN, TO_ANN, TO_ANN)
    await store.set_archived(ANN, ids[0], True, now=1.0 * DAY)
    await store.set_archived(ANN, ids[1], True, now=2.0 * DAY)
    assert await store.sweep(now=90.9 * DAY) == {}
    assert await store.sweep(now=91.1 * DAY) == {"archived": 1}
    rows, _ = await store.inbox(ANN, InboxQuery(shelf="archived"), now=91.1 * DAY)
    assert [row.id for row in rows] == [ids[1]]
    assert await listed(store, ANN) == [ids[2]]


async def test_rows_and_broadcasts_go_when_they_are_old(opener: Opener) -> None:
    store = await opener(retention=Retention(rows=100.5, broadcasts=200.5))
    await store.open_membership(ANN, "all", now=1.0)
    await send(store, TO_ANN, TO_ALL, LATE, now=10.0)
    lasting = await send(store, TO_ALL, content=replace(HELLO, expires_at=900.0), now=10.0)
    (kept,) = await send(store, TO_ANN, now=150.0)
    assert await store.sweep(now=110.0) == {}
    assert await store.sweep(now=111.0) == {"aged": 1}
    assert await store.sweep(now=211.0) == {"broadcasts": 2}
    assert await listed(store, ANN, now=211.0) == [kept, *lasting]


async def test_nothing_is_old_where_everything_is_kept(opener: Opener) -> None:
    store = await opener(retention=FOR_EVER)
    await store.open_membership(ANN, "all", now=1.0)
    ids = await send(store, TO_ANN, TO_ALL)
    here = await store.place(ANN, now=1.0)
    await store.delete_notification(ANN, *await send(store, TO_ANN), now=2.0)
    await store.set_archived(ANN, ids[0], True, now=2.0)
    assert await store.sweep(now=9000 * DAY) == {}
    page = await store.changes(ANN, here, limit=10, now=9000 * DAY)
    assert not page.reset
    assert ids[0] in [change.id for change in page.changes]


async def test_tombstones_are_forgotten(store: Store) -> None:
    ids = await send(store, TO_ANN, TO_ANN)
    await store.delete_notification(ANN, ids[0], now=2.0)
    assert await store.sweep(now=29 * DAY) == {}
    assert await store.sweep(now=31 * DAY) == {"tombstones": 1}
    assert await listed(store, ANN) == ids[1:]


async def test_what_has_ended_leaves_nothing_in_the_end(store: Store) -> None:
    await store.open_membership(ANN, "all", now=1.0)
    await send(store, TO_ANN, TO_ALL, LATE, content=replace(HELLO, expires_at=20.0))
    gone, hidden = await send(store, TO_ALL, TO_ALL)
    await store.delete_notification(ANN, hidden, now=2.0)
    await store.retract(gone, now=3.0)
    await store.close_membership(ANN, "all", now=4.0)
    await store.drop_membership(ANN, "all")
    assert await swept(store, now=30.0) >= 3
    for now in (40 * DAY, 400 * DAY, 440 * DAY):
        await store.sweep(now=now)
    assert await store.sweep(now=480 * DAY) == {}
    assert await store.log_facts() == []
    facts = await store.reader_facts(ANN, now=500 * DAY)
    assert (facts.rows, facts.marks) == ((), {})


async def test_sweeps_are_remembered_if_they_removed_something(opener: Opener) -> None:
    store = await opener()
    assert await store.sweeps(10) == []
    found = []
    for now in (10.0, 20.0, 30.0):
        await send(store, TO_ANN, content=replace(HELLO, expires_at=now))
        found.append(Sweep(now, await store.sweep(now=now)))
        assert found[-1].removed == {"expired": 1}
        assert await store.sweep(now=now) == {}
    await store.close()
    store = await opener()
    assert await store.sweeps(10) == found[::-1]
    assert await store.sweeps(2) == found[:0:-1]
    assert await store.sweeps(0) == []


async def test_the_oldest_rows_of_too_many_go_at_once(opener: Opener) -> None:
    store = await opener(retention=Retention(max_rows=3))
    await store.open_membership(ANN, "all", now=1.0)
    (shared,) = await send(store, TO_ALL, now=1.0)
    (grouped,) = await send(store, TO_ANN, content=GROUPED, now=2.0)
    (first,) = await send(store, TO_ANN, now=3.0)
    here = await store.place(ANN, now=3.0)
    (second,) = await send(store, TO_ANN, now=4.0)
    assert await send(store, TO_ANN, content=GROUPED, now=5.0) == [grouped]
    assert await listed(store, ANN) == [grouped, second, first, shared]
    (third,) = await send(store, TO_ANN, now=6.0)
    assert await listed(store, ANN) == [third, grouped, second, shared]
    more = await send(store, *[TO_ANN] * 2, Target(recipient=BOB), now=7.0)
    assert await listed(store, ANN) == [more[1], more[0], third, shared]
    assert len(await listed(store, BOB)) == 1
    page = await store.changes(ANN, here, limit=100, now=8.0)
    told = {change.id for change in page.changes if change.notification is None}
    assert {first, grouped} <= told


async def test_a_sweep_takes_what_a_lower_limit_leaves_over(opener: Opener) -> None:
    store = await opener()
    ids = [id for now in range(5) for id in await send(store, TO_ANN, now=float(now))]
    await store.close()
    store = await opener(retention=Retention(max_rows=3))
    removed = await store.sweep(now=6.0)
    assert removed == {"surplus": 2}
    assert await listed(store, ANN) == ids[:1:-1]


async def test_facts_are_what_is_stored(store: Store) -> None:
    for reader in (ANN, BOB):
        await store.open_membership(reader, "all", now=1.0)
    mine, shared, late = await send(store, TO_ANN, TO_ALL, LATE)
    (expired,) = await send(store, TO_ALL, content=replace(HELLO, expires_at=5.0))
    (gone,) = await send(store, TO_ALL)
    await store.retract(gone, now=2.0)
    await store.mark_all_read(ANN, up_to=shared, now=3.0)
    await store.set_archived(ANN, late, True, now=3.0)
    (hidden, again) = await send(store, TO_ALL, TO_ALL, now=4.0)
    await store.delete_notification(ANN, hidden, now=4.0)
    await store.close_membership(ANN, "all", now=4.0)
    log = await store.log_facts()
    assert [fact.notification.id for fact in log if not fact.retracted] == [shared, late, expired, hidden, again]
    assert [fact.seq for fact in log] == sorted({fact.seq for fact in log})
    assert all(isinstance(fact, LogFacts) for fact in log)
    for reader in (ANN, BOB):
        facts = await store.reader_facts(reader, now=6.0)
        unread = await store.unread_count(reader, now=6.0)
        assert facts.reader == reader
        assert facts.unread == naive_unread(facts, log, 6.0) == unread
    facts = await store.reader_facts(ANN, now=6.0)
    assert facts.rows == (await store.notification(ANN, mine, now=6.0),)
    assert [(key, end is None) for key, _, end in facts.intervals] == [("all", False)]
    seqs = {fact.notification.id: fact.seq for fact in log}
    assert facts.marks[seqs[late]] == MarkFacts(None, None, archived_at=3.0)
    assert facts.marks[seqs[hidden]].hidden


async def test_readers_come_in_order_after_one(store: Store) -> None:
    await store.open_membership("user:2", "room:a", now=1.0)
    await send(store, Target(recipient="user:10"), TO_ALL)
    await store.open_membership("guest:5", "guests", now=1.0)
    await store.open_membership("user:2", "all", now=1.0)
    everybody = ["guest:5", "user:10", "user:2"]
    assert await store.readers_after("", 10) == everybody
    assert await store.readers_after("", 2) == everybody[:2]
    assert await store.readers_after("guest:5", 10) == everybody[1:]
    assert await store.readers_after("user:2", 10) == []


@pytest.mark.parametrize("target", [TO_ANN, TO_ALL])
async def test_a_swept_row_is_told_to_those_who_were_away(store: Store, target: Target) -> None:
    await store.open_membership(ANN, "all", now=1.0)
    (id,) = await send(store, target, content=replace(HELLO, expires_at=20.0))
    here = await store.place(ANN, now=5.0)
    await store.sweep(now=21.0)
    page = await store.changes(ANN, here, limit=10, now=22.0)
    assert [(change.id, change.notification) for change in page.changes] == [(id, None)]
    back = await store.changes(ANN, page.place, limit=10, now=5.0)
    assert [change for change in back.changes if change.notification is not None] == []
