"""Seen, archived and snoozed rows, and what counts (`realtime.store.base.InboxStore`)."""

from dataclasses import replace

import pytest

from realtime.models import Counts, InboxQuery, Moments, Notification, Shelf, Target
from realtime.store.base import Store
from tests.conformance.people import ANN, BOB, GUEST, HELLO, LATE, TO_ALL, TO_ANN, listed, send, unread

GROUPED = replace(HELLO, group_key="chat")
ALL_KINDS = pytest.mark.parametrize("target", [TO_ANN, TO_ALL, LATE])


async def on(store: Store, shelf: Shelf, *, now: float = 10.0, read: bool | None = None) -> list[int]:
    rows, total = await store.inbox(ANN, InboxQuery(shelf=shelf, read=read), now=now)
    assert total == len(rows)
    return [row.id for row in rows]


async def one(store: Store, target: Target) -> int:
    await store.open_membership(ANN, "all", now=1.0)
    (id,) = await send(store, target)
    return id


def state(row: Notification | None) -> tuple[float | None, ...]:
    assert row is not None
    return row.read_at, row.seen_at, row.archived_at, row.snoozed_until


@ALL_KINDS
async def test_a_row_that_was_read_has_been_seen_and_stays_seen(store: Store, target: Target) -> None:
    id = await one(store, target)
    assert state(await store.notification(ANN, id, now=2.0)) == (None, None, None, None)
    assert state(await store.set_read(ANN, id, True, now=3.0)) == (3.0, 3.0, None, None)
    assert state(await store.set_read(ANN, id, False, now=4.0)) == (None, 3.0, None, None)
    assert state(await store.set_seen(ANN, id, now=5.0)) == (None, 3.0, None, None)
    assert state(await store.set_read(ANN, id, True, now=6.0)) == (6.0, 3.0, None, None)
    assert state(await store.notification(ANN, id, now=7.0)) == (6.0, 3.0, None, None)


@ALL_KINDS
async def test_a_row_is_seen_once(store: Store, target: Target) -> None:
    id = await one(store, target)
    for now in (3.0, 4.0):
        assert state(await store.set_seen(ANN, id, now=now)) == (None, 3.0, None, None)
    assert await unread(store, ANN) == [id]
    assert await store.mark_all_seen(ANN, up_to=None, now=5.0) == 0
    assert await store.mark_all_read(ANN, up_to=None, now=6.0) == 1
    assert state(await store.notification(ANN, id, now=7.0)) == (6.0, 3.0, None, None)


@ALL_KINDS
async def test_an_archived_row_is_on_another_shelf_and_comes_back(store: Store, target: Target) -> None:
    id = await one(store, target)
    for now in (3.0, 4.0):
        assert state(await store.set_archived(ANN, id, True, now=now)) == (None, None, 3.0, None)
    assert (await on(store, "inbox"), await on(store, "archived"), await on(store, "snoozed")) == ([], [id], [])
    assert await store.unread_count(ANN, now=5.0) == 0
    assert await store.undelivered(ANN, limit=10, now=5.0) == []
    assert state(await store.notification(ANN, id, now=5.0)) == (None, None, 3.0, None)
    assert await store.mark_all_read(ANN, up_to=None, now=6.0) == 0
    assert await store.mark_all_seen(ANN, up_to=None, now=6.0) == 0
    assert state(await store.set_read(ANN, id, True, now=7.0)) == (7.0, 7.0, 3.0, None)
    assert await on(store, "archived", read=True) == [id]
    for _ in range(2):
        assert state(await store.set_archived(ANN, id, False, now=8.0)) == (7.0, 7.0, None, None)
    assert await listed(store, ANN) == [id]


@ALL_KINDS
async def test_a_snoozed_row_is_unread_and_comes_back_by_itself(store: Store, target: Target) -> None:
    id = await one(store, target)
    await store.set_read(ANN, id, True, now=2.0)
    assert state(await store.snooze(ANN, id, 20.0, now=3.0)) == (None, 2.0, None, 20.0)
    for now, shelf in ((3.0, "snoozed"), (19.9, "snoozed"), (20.0, "inbox"), (5.0, "snoozed"), (30.0, "inbox")):
        found = {name: await on(store, name, now=now) for name in ("inbox", "archived", "snoozed")}
        assert found == {"inbox": [], "archived": [], "snoozed": []} | {shelf: [id]}
        counts = (await store.counts([ANN], now=now))[ANN]
        assert (counts.unread, counts.unseen) == (int(shelf == "inbox"), 0)
        waiting = await store.undelivered(ANN, limit=10, now=now)
        assert [row.id for row in waiting] == found["inbox"]
    assert await store.mark_all_read(ANN, up_to=None, now=19.0) == 0
    assert state(await store.snooze(ANN, id, None, now=19.0)) == (None, 2.0, None, None)
    assert await on(store, "inbox", now=19.0) == [id]


@ALL_KINDS
async def test_archive_and_snooze_end_each_other(store: Store, target: Target) -> None:
    id = await one(store, target)
    await store.snooze(ANN, id, 20.0, now=3.0)
    assert state(await store.set_archived(ANN, id, True, now=4.0)) == (None, None, 4.0, None)
    assert state(await store.snooze(ANN, id, 30.0, now=5.0)) == (None, None, None, 30.0)
    assert await on(store, "snoozed") == [id]


@ALL_KINDS
async def test_a_row_on_a_shelf_can_be_deleted(store: Store, target: Target) -> None:
    for shelf in ("archived", "snoozed"):
        id = await one(store, target)
        await (
            store.set_archived(ANN, id, True, now=3.0) if shelf == "archived" else store.snooze(ANN, id, 50, now=3.0)
        )
        assert await store.delete_notification(ANN, id, now=4.0)
        assert await store.notification(ANN, id, now=4.0) is None
        assert await on(store, "archived") == await on(store, "snoozed") == []


async def test_nobody_shelves_the_rows_of_others(store: Store) -> None:
    (id,) = await send(store, TO_ANN)
    for reader, row in ((BOB, id), (GUEST, id), (ANN, 999), (ANN, -1), (ANN, 2**70)):
        assert await store.set_seen(reader, row, now=2.0) is None
        assert await store.set_archived(reader, row, True, now=2.0) is None
        assert await store.snooze(reader, row, 9.0, now=2.0) is None
        assert await store.mark_all_seen(reader, up_to=row, now=2.0) == 0
    assert state(await store.notification(ANN, id, now=3.0)) == (None, None, None, None)


async def test_what_one_reader_shelves_others_keep(store: Store) -> None:
    await store.open_membership(BOB, "all", now=1.0)
    id = await one(store, TO_ALL)
    await store.set_archived(ANN, id, True, now=2.0)
    await store.set_seen(BOB, id, now=3.0)
    assert state(await store.notification(BOB, id, now=4.0)) == (None, 3.0, None, None)
    assert await listed(store, BOB) == [id]


@pytest.mark.parametrize("shelf", ["inbox", "archived", "snoozed"])
async def test_a_group_takes_its_unread_row_from_any_shelf(store: Store, shelf: Shelf) -> None:
    (id,) = await send(store, TO_ANN, content=GROUPED)
    await store.set_seen(ANN, id, now=2.0)
    if shelf == "archived":
        await store.set_archived(ANN, id, True, now=2.0)
    elif shelf == "snoozed":
        await store.snooze(ANN, id, 50.0, now=2.0)
    assert await send(store, TO_ANN, content=GROUPED, now=3.0) == [id]
    row = await store.notification(ANN, id, now=4.0)
    assert row == Notification(id, TO_ANN, GROUPED, None, 3.0, 3.0, group_count=2)
    assert await listed(store, ANN, now=4.0) == [id]


async def test_a_stack_says_how_many_it_stands_for(store: Store) -> None:
    stack = replace(HELLO, title="{count} new", message="{count}, {count} and {other}", group_key="g", stacks=True)
    for number in range(1, 4):
        (stored,) = await store.add([TO_ANN], stack, sender=None, now=float(number))
        content = stored.notification.content
        assert (content.title, content.message) == (f"{number} new", f"{number}, {number} and {{other}}")
        rows, _ = await store.inbox(ANN, InboxQuery(), now=9.0)
        assert rows == [stored.notification]
    await store.open_membership(ANN, "all", now=5.0)
    plain = replace(stack, stacks=False)
    assert (await store.add([TO_ALL], stack, sender=None, now=6.0))[0].notification.content.title == "1 new"
    assert (await store.add([TO_ALL], plain, sender=None, now=6.0))[0].notification.content.title == "{count} new"


async def test_mark_all_seen_is_of_the_inbox_and_leaves_rows_unread(store: Store) -> None:
    await store.open_membership(ANN, "all", now=1.0)
    ids = await send(store, TO_ANN, TO_ALL, LATE, TO_ANN, TO_ALL, LATE)
    await store.set_archived(ANN, ids[0], True, now=2.0)
    await store.snooze(ANN, ids[1], 50.0, now=2.0)
    await store.set_read(ANN, ids[2], True, now=2.0)
    assert await store.mark_all_seen(ANN, up_to=ids[4], now=3.0) == 2
    assert await store.mark_all_seen(ANN, up_to=None, now=4.0) == 1
    assert await store.mark_all_seen(ANN, up_to=None, now=5.0) == 0
    seen = [state(await store.notification(ANN, id, now=6.0))[1] for id in ids]
    assert seen == [None, None, 2.0, 3.0, 3.0, 4.0]
    assert await unread(store, ANN, now=6.0) == ids[:2:-1]
    (fresh,) = await send(store, TO_ALL, now=7.0)
    assert (await store.counts([ANN], now=8.0))[ANN].unseen == 1
    assert state(await store.notification(ANN, fresh, now=8.0)) == (None, None, None, None)


async def test_mark_all_goes_by_the_place_of_a_row_on_another_shelf(store: Store) -> None:
    await store.open_membership(ANN, "all", now=1.0)
    for shelf in ("archived", "snoozed"):
        older = await send(store, TO_ALL, TO_ANN, LATE, now=2.0)
        (limit,) = await send(store, TO_ALL, now=3.0)
        newer = await send(store, TO_ALL, TO_ANN, LATE, now=4.0)
        if shelf == "archived":
            await store.set_archived(ANN, limit, True, now=5.0)
        else:
            await store.snooze(ANN, limit, 50.0, now=5.0)
        assert await store.mark_all_read(ANN, up_to=limit, now=6.0) == 3
        assert await unread(store, ANN, now=7.0) == newer[::-1]
        assert state(await store.notification(ANN, limit, now=7.0))[0] is None
        assert older[0] not in await unread(store, ANN, now=7.0)
        assert await store.mark_all_read(ANN, up_to=None, now=8.0) == 3


async def test_counts_are_of_the_inbox_by_category(store: Store) -> None:
    for reader in (ANN, BOB):
        await store.open_membership(reader, "all", now=1.0)
    chat, alert = replace(HELLO, category="chat"), replace(HELLO, type="alert")
    chats = await send(store, TO_ANN, TO_ALL, LATE, TO_ANN, TO_ALL, content=chat)
    alerts = await send(store, TO_ANN, TO_ALL, content=alert)
    await store.set_read(ANN, alerts[0], True, now=2.0)
    await store.set_seen(ANN, chats[1], now=2.0)
    await store.set_archived(ANN, chats[0], True, now=2.0)
    await store.snooze(ANN, chats[4], 50.0, now=2.0)
    found = await store.counts([ANN, BOB, GUEST], now=3.0)
    assert found[ANN] == Counts(4, 3, {"chat": 3, "alert": 1}, found[ANN].revision)
    assert found[BOB] == Counts(4, 4, {"chat": 3, "alert": 1}, found[BOB].revision)
    assert found[GUEST] == Counts(0, 0, {}, found[GUEST].revision)
    assert (await store.counts([ANN], now=50.0))[ANN] == Counts(5, 4, {"chat": 4, "alert": 1}, found[ANN].revision)
    assert await store.counts([], now=3.0) == {}


async def test_every_change_raises_the_revision_and_time_does_not(store: Store) -> None:
    await store.open_membership(ANN, "all", now=1.0)

    async def revision(now: float = 10.0) -> int:
        return (await store.counts([ANN], now=now))[ANN].revision

    known = [await revision()]
    for target in (TO_ANN, TO_ALL, LATE):
        (id,) = await send(store, target, content=replace(HELLO, expires_at=40.0))
        known.append(await revision())
        for act in (
            store.set_seen(ANN, id, now=2.0),
            store.set_read(ANN, id, True, now=2.0),
            store.snooze(ANN, id, 20.0, now=2.0),
            store.set_archived(ANN, id, True, now=2.0),
            store.set_archived(ANN, id, False, now=2.0),
            store.mark_all_read(ANN, up_to=None, now=2.0),
        ):
            await act
            known.append(await revision())
            assert await revision(now=30.0) == await revision(now=50.0) == known[-1]
    await store.retract(id, now=3.0)
    known.append(await revision())
    await store.drop_membership(ANN, "all")
    known.append(await revision())
    assert known == sorted(set(known))


async def test_moments_name_whom_time_alone_concerns(store: Store) -> None:
    for reader in (ANN, BOB):
        await store.open_membership(reader, "all", now=1.0)
    assert await store.moments(0.0, 100.0) == Moments()
    await send(store, TO_ANN, content=replace(HELLO, expires_at=20.0))
    await send(store, Target(audience="room:a"), content=replace(HELLO, expires_at=30.0))
    direct, shared = await send(store, Target(recipient=BOB), TO_ALL)
    await store.snooze(BOB, direct, 40.0, now=2.0)
    await store.snooze(ANN, shared, 50.0, now=2.0)
    nobody, ann, bob = frozenset[str](), frozenset({ANN}), frozenset({BOB})
    room = frozenset({"room:a"})
    for after, until, expected in (
        (19.0, 19.9, Moments()),
        (19.9, 20.0, Moments(ann, nobody)),
        (20.0, 29.9, Moments()),
        (20.0, 30.0, Moments(nobody, room)),
        (30.0, 40.0, Moments(bob, nobody)),
        (40.0, 50.0, Moments(ann, nobody)),
        (50.0, 99.0, Moments()),
        (10.0, 99.0, Moments(ann | bob, room)),
    ):
        assert await store.moments(after, until) == expected
