"""What a client hears that was away (`place`, `changes`, `changed`, `missed` of `realtime.store.base.InboxStore`)."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from realtime.models import Changes, Place, Retention, Target
from realtime.store.base import Store
from tests.conformance.conftest import Opener
from tests.conformance.inbox_clients import Syncing
from tests.conformance.people import ANN, BOB, HELLO, LATE, TO_ALL, TO_ANN, drafted, listed, send

GROUPED = replace(HELLO, group_key="chat")
SOON = replace(HELLO, expires_at=20.0)
Told = dict[int, bool]


async def changes(store: Store, since: Place | None, *, now: float = 10.0, limit: int = 100, above: int = 0) -> Changes:
    return await store.changes(ANN, since, above=above, limit=limit, now=now)


async def told(store: Store, since: Place, *, now: float = 10.0) -> Told:
    """Return whether each changed row is in the inbox now; what is told is as the list shows it."""
    page = await changes(store, since, now=now)
    assert not page.reset
    assert not page.more
    assert await store.changed(ANN, since, now=now) or not page.changes
    for change in page.changes:
        if change.notification is not None:
            assert change.notification == await store.notification(ANN, change.id, now=now)
    return {change.id: change.notification is not None for change in page.changes}


async def place(store: Store, *, now: float = 5.0) -> Place:
    return await store.place(ANN, now=now)


def numbers(place: Place) -> tuple[int, int, int, int]:
    return place.epoch, place.rev, place.log_rev, place.marks


async def test_without_a_place_it_is_the_whole_inbox(store: Store) -> None:
    assert await changes(store, None) == Changes((), await place(store, now=10.0), reset=True, more=False)
    await store.open_membership(ANN, "all", now=1.0)
    ids = await send(store, TO_ANN, TO_ALL, LATE)
    archived, snoozed, deleted = await send(store, TO_ANN, TO_ALL, TO_ALL)
    await store.set_archived(ANN, archived, True, now=2.0)
    await store.snooze(ANN, snoozed, 50.0, now=2.0)
    await store.delete_notification(ANN, deleted, now=2.0)
    page = await changes(store, None)
    assert (page.reset, page.more) == (True, False)
    assert [change.id for change in page.changes] == ids
    for change in page.changes:
        assert change.notification == await store.notification(ANN, change.id, now=10.0)
    assert page.place == await place(store, now=10.0)
    assert await told(store, page.place) == {}


async def test_a_place_of_no_use_resets(store: Store) -> None:
    ids = await send(store, TO_ANN, TO_ANN)
    here = await place(store)
    assert await told(store, here) == {}
    old = Retention().tombstones + here.at + 1
    for since, now in (
        (replace(here, epoch=here.epoch + 1), 10.0),
        (replace(here, rev=here.rev + 1), 10.0),
        (replace(here, log_rev=here.log_rev + 1), 10.0),
        (replace(here, marks=here.marks + 1), 10.0),
        (replace(here, rev=2**62), 10.0),
        (here, old),
    ):
        assert await store.changed(ANN, since, now=now)
        page = await changes(store, since, now=now)
        assert page.reset
        assert [change.id for change in page.changes] == ids
        assert numbers(page.place) == numbers(here)


async def test_pages_are_in_the_order_of_ids(store: Store) -> None:
    await store.open_membership(ANN, "all", now=1.0)
    gone = await send(store, TO_ANN, TO_ALL)
    since = await place(store)
    ids = [id for n in range(6) for id in await send(store, TO_ALL if n % 2 else TO_ANN, now=9.0 - n)]
    for id in gone:
        await store.delete_notification(ANN, id, now=9.0)
    for start, expected in ((since, [*gone, *ids]), (None, ids)):
        for limit in (1, 3, 8):
            found, above, more = [], 0, True
            while more:
                page = await changes(store, start, limit=limit, above=above)
                assert page.reset == (start is None)
                found += [change.id for change in page.changes]
                assert len(page.changes) == limit or not page.more
                above, more = found[-1], page.more
            assert found == expected
    assert (await changes(store, since, above=ids[-1])).changes == ()


async def test_everything_that_a_reader_does_is_told(store: Store) -> None:
    await store.open_membership(ANN, "all", now=1.0)
    acts: list[tuple[Callable[[int], Awaitable[object]], bool]] = [
        (lambda id: store.set_seen(ANN, id, now=6.0), True),
        (lambda id: store.set_read(ANN, id, True, now=6.0), True),
        (lambda id: store.set_read(ANN, id, False, now=6.0), True),
        (lambda id: store.set_archived(ANN, id, True, now=6.0), False),
        (lambda id: store.set_archived(ANN, id, False, now=6.0), True),
        (lambda id: store.snooze(ANN, id, 99.0, now=6.0), False),
        (lambda id: store.snooze(ANN, id, None, now=6.0), True),
        (lambda id: store.mark_all_read(ANN, up_to=id, now=6.0), True),
        (lambda id: store.delete_notification(ANN, id, now=6.0), False),
    ]
    for target in (TO_ANN, TO_ALL, LATE):
        (id,) = await send(store, target)
        first = since = await place(store)
        for act, stays in acts:
            await act(id)
            assert await store.changed(ANN, since, now=10.0)
            assert await told(store, since) == {id: stays}
            since = await place(store)
        assert await told(store, first) == {id: False}


async def test_everything_that_a_mark_all_changes_is_told(store: Store) -> None:
    await store.open_membership(ANN, "all", now=1.0)
    await send(store, TO_ALL, TO_ANN, LATE)
    for now in (2.0, 3.0):
        await store.mark_all_read(ANN, up_to=None, now=now)
        ids = await send(store, TO_ALL, TO_ANN, LATE, now=now)
        since = await place(store)
        assert await store.mark_all_seen(ANN, up_to=None, now=6.0) == 3
        found = await told(store, since)
        assert set(found) >= set(ids)
        assert all(found.values())
        since = await place(store)
        assert await store.mark_all_read(ANN, up_to=ids[1], now=7.0) == 2
        found = await told(store, since)
        assert set(found) >= set(ids[:2])
        assert all(found.values())


async def test_what_changes_nothing_moves_no_place(store: Store) -> None:
    await store.open_membership(ANN, "all", now=1.0)
    ids = await send(store, TO_ANN, TO_ALL, LATE)
    await store.mark_all_read(ANN, up_to=None, now=2.0)
    kept, archived, snoozed = ids
    await store.set_archived(ANN, archived, True, now=2.0)
    await store.snooze(ANN, snoozed, 50.0, now=2.0)
    (dedup,) = await store.add([TO_ANN], HELLO, sender=None, now=2.0, dedup_key="k", request="r")
    await store.set_read(ANN, dedup.notification.id, True, now=3.0)
    await store.open_membership(ANN, "room:a", now=3.0)
    here = await place(store)
    acts: dict[str, Callable[[], Awaitable[object]]] = {
        "read": lambda: store.set_read(ANN, kept, True, now=6.0),
        "seen": lambda: store.set_seen(ANN, kept, now=6.0),
        "archived": lambda: store.set_archived(ANN, archived, True, now=6.0),
        "not archived": lambda: store.set_archived(ANN, kept, False, now=6.0),
        "snoozed": lambda: store.snooze(ANN, snoozed, 50.0, now=6.0),
        "not snoozed": lambda: store.snooze(ANN, kept, None, now=6.0),
        "all read": lambda: store.mark_all_read(ANN, up_to=None, now=6.0),
        "read up to": lambda: store.mark_all_read(ANN, up_to=kept, now=6.0),
        "all seen": lambda: store.mark_all_seen(ANN, up_to=None, now=6.0),
        "unknown": lambda: store.delete_notification(ANN, 999, now=6.0),
        "dedup": lambda: store.add([TO_ANN], HELLO, sender=None, now=6.0, dedup_key="k"),
        "request": lambda: store.add([TO_ANN], HELLO, sender=None, now=6.0, request="r"),
        "open": lambda: store.open_membership(ANN, "all", now=6.0),
        "never open": lambda: store.close_membership(ANN, "room:b", now=6.0),
        "never held": lambda: store.drop_membership(ANN, "room:b"),
        "retract": lambda: store.retract(kept, now=6.0),
        "sweep": lambda: store.sweep(now=6.0),
        "delivered": lambda: store.set_delivered(ANN, [kept], now=6.0),
    }
    for name, act in acts.items():
        await act()
        assert numbers(await place(store)) == numbers(here), name
        assert await told(store, here) == {}, name


async def test_what_is_new_and_what_its_group_replaces_is_told(store: Store) -> None:
    (row,) = await send(store, TO_ANN, content=GROUPED)
    since = await place(store)
    assert await send(store, TO_ANN, content=GROUPED, now=6.0) == [row]
    assert await told(store, since) == {row: True}
    since = await place(store)
    id = await store.take_id()
    await store.add([TO_ANN], GROUPED, sender=None, now=7.0, id=id)
    assert await told(store, since) == {row: False, id: True}


@pytest.mark.parametrize("shelf", ["archived", "snoozed"])
async def test_a_row_that_was_replaced_and_put_aside_is_told(store: Store, shelf: str) -> None:
    (row,) = await send(store, TO_ANN, content=GROUPED)
    since = await place(store)
    assert await send(store, TO_ANN, content=GROUPED, now=6.0) == [row]
    await (store.set_archived(ANN, row, True, now=7.0) if shelf == "archived" else store.snooze(ANN, row, 99, now=7.0))
    assert await told(store, since) == {row: False}


@pytest.mark.parametrize("target", [TO_ANN, TO_ALL, LATE])
@pytest.mark.parametrize("end", ["retract", "delete", "archive", "snooze", "drop", "expire"])
async def test_what_a_later_page_has_shown_is_taken_away_again(store: Store, target: Target, end: str) -> None:
    """The next time the client starts from the place of the first page."""
    await store.open_membership(ANN, "all", now=1.0)
    ids = await send(store, TO_ANN, TO_ALL)
    client = Syncing(ANN)
    await client.page(store, limit=1, now=5.0)
    (new,) = await send(store, target, content=SOON, now=6.0)
    await client.page(store, limit=100, now=7.0)
    assert sorted(client.rows) == [*ids, new]
    acts: dict[str, Callable[[], Awaitable[object]]] = {
        "retract": lambda: store.retract(new, now=8.0),
        "delete": lambda: store.delete_notification(ANN, new, now=8.0),
        "archive": lambda: store.set_archived(ANN, new, True, now=8.0),
        "snooze": lambda: store.snooze(ANN, new, 99.0, now=8.0),
        "drop": lambda: store.drop_membership(ANN, "all"),
        "expire": lambda: store.sweep(now=20.0),
    }
    await acts[end]()
    await client.follow(store, limit=1, now=21.0 if end == "expire" else 9.0)
    assert sorted(client.rows) == sorted(await listed(store, ANN, now=21.0 if end == "expire" else 9.0))


async def test_a_row_that_came_and_went_leaves_no_row(store: Store) -> None:
    await store.open_membership(ANN, "all", now=1.0)
    since = await place(store)
    direct, broadcast = await send(store, TO_ANN, TO_ALL, now=6.0)
    await store.delete_notification(ANN, direct, now=7.0)
    await store.retract(broadcast, now=7.0)
    assert not any((await told(store, since)).values())


async def test_what_others_do_is_not_told(store: Store) -> None:
    for reader in (ANN, BOB):
        await store.open_membership(reader, "all", now=1.0)
    (shared,) = await send(store, TO_ALL)
    since = await place(store)
    await send(store, Target(recipient=BOB), Target(audience="room:a"))
    (excluded,) = await send(store, replace(TO_ALL, excluded=frozenset({ANN})))
    await store.set_read(BOB, shared, True, now=6.0)
    await store.delete_notification(BOB, shared, now=6.0)
    await store.mark_all_read(BOB, up_to=None, now=6.0)
    await store.drop_membership(BOB, "all")
    assert await told(store, since) in ({}, {excluded: False})


async def test_a_retracted_broadcast_is_told_to_those_who_had_it(store: Store) -> None:
    await store.open_membership(ANN, "all", now=1.0)
    (row, late) = await send(store, TO_ALL, LATE)
    (other,) = await send(store, Target(audience="room:a"))
    since = await place(store)
    for id in (row, late, other):
        await store.retract(id, now=6.0)
    assert {id: here for id, here in (await told(store, since)).items() if id != other} == {row: False, late: False}


async def test_dropping_an_audience_removes_its_rows(store: Store) -> None:
    for key in ("all", "room:a"):
        await store.open_membership(ANN, key, now=1.0)
    ids = await send(store, TO_ALL, LATE)
    (kept,) = await send(store, Target(audience="room:a"))
    since = await place(store)
    await store.drop_membership(ANN, "all")
    assert await told(store, since) == dict.fromkeys(ids, False)
    assert await listed(store, ANN) == [kept]
    await store.open_membership(ANN, "all", now=7.0)
    assert await told(store, since) == {ids[0]: False, ids[1]: True}


async def test_a_change_of_role_is_told(store: Store) -> None:
    await store.set_user("1", role="admin", name=None, now=1.0)
    mine, other = await send(store, Target(audience="role:admin"), Target(audience="role:user", late_join=True))
    since = await place(store)
    await store.set_user("1", role="user", name=None, now=6.0)
    assert await told(store, since) == {mine: False, other: True}


async def test_late_rows_come_and_go_with_the_membership(store: Store) -> None:
    late, _ = await send(store, LATE, TO_ALL)
    since = await place(store)
    await store.open_membership(ANN, "all", now=6.0)
    assert await told(store, since) == {late: True}
    after = await place(store)
    await store.change_memberships([], now=6.0)
    await store.close_membership(ANN, "all", now=7.0)
    assert await told(store, after) == {late: False}
    assert not any((await told(store, since)).values())


@pytest.mark.parametrize("content", [SOON, HELLO])
async def test_what_time_alone_changes_is_told_in_both_directions(store: Store, content: object) -> None:
    await store.open_membership(ANN, "all", now=1.0)
    expires = content is SOON
    ids = await send(store, TO_ANN, TO_ALL, LATE, content=SOON if expires else HELLO)
    if not expires:
        for id in ids:
            await store.snooze(ANN, id, 20.0, now=2.0)
    before, after = await place(store, now=19.0), await place(store, now=20.0)
    assert numbers(before) == numbers(after)
    assert await told(store, before, now=19.5) == await told(store, after, now=25.0) == {}
    assert await told(store, before, now=20.0) == dict.fromkeys(ids, not expires)
    assert await told(store, after, now=19.0) == dict.fromkeys(ids, expires)


async def test_places_outlive_a_restart(opener: Opener) -> None:
    store = await opener()
    await send(store, TO_ANN)
    since = await place(store)
    await store.close()
    store = await opener()
    assert await place(store) == since
    (new,) = await send(store, TO_ANN)
    assert await told(store, since) == {new: True}


async def test_numbers_do_not_come_again_after_everything_was_swept(opener: Opener) -> None:
    store = await opener()
    await store.open_membership(ANN, "all", now=1.0)
    await send(store, TO_ANN, TO_ALL, content=SOON)
    since = await place(store)
    for now in (30.0, 30.0 + 2 * Retention().tombstones):
        await store.sweep(now=now)
    await store.close()
    store = await opener()
    assert numbers(await place(store)) >= numbers(since)
    ids = await send(store, TO_ANN, TO_ALL, now=6.0)
    client = Syncing(ANN, since)
    await client.follow(store, limit=1, now=10.0)
    assert sorted(client.rows) == ids


async def test_a_swept_tombstone_resets_those_who_need_it_whatever_the_clock_says(store: Store) -> None:
    gone, kept = await send(store, TO_ANN, TO_ANN, now=1000.0)
    client = Syncing(ANN)
    await client.follow(store, limit=10, now=1000.0)
    await store.delete_notification(ANN, gone, now=900.0)
    await store.sweep(now=950.0 + Retention().tombstones)
    await client.follow(store, limit=10, now=950.0 + Retention().tombstones)
    assert sorted(client.rows) == [kept]


async def test_missed_rows_come_once_and_oldest_first(store: Store) -> None:
    await store.open_membership(ANN, "all", now=1.0)
    await send(store, TO_ANN, TO_ALL)
    here = await place(store)
    assert await store.missed(ANN, here, limit=10, now=10.0) == []
    newer = await send(store, TO_ANN, TO_ALL, now=9.0)
    older = await send(store, TO_ALL, TO_ANN, now=8.0)
    read, gone = await send(store, TO_ANN, TO_ALL, now=8.5)
    await store.set_read(ANN, read, True, now=9.0)
    await store.delete_notification(ANN, gone, now=9.0)
    rows = await store.missed(ANN, here, limit=10, now=10.0)
    assert [row.id for row in rows] == [*older, *newer]
    assert [row.id for row in await store.missed(ANN, here, limit=2, now=10.0)] == newer
    assert await store.missed(ANN, replace(here, epoch=here.epoch + 1), limit=10, now=10.0) == []
    for row in rows:
        assert row == await store.notification(ANN, row.id, now=10.0)
        here = here.after(row)
    assert await store.missed(ANN, here, limit=10, now=10.0) == []
    (last,) = await send(store, TO_ALL, now=9.0)
    assert [row.id for row in await store.missed(ANN, here, limit=10, now=10.0)] == [last]


async def test_rows_that_were_shown_as_they_came_are_not_missed(store: Store) -> None:
    await store.open_membership(ANN, "all", now=1.0)
    here = await place(store)
    for stored in await store.add([TO_ANN, TO_ALL, LATE], GROUPED, sender=None, now=2.0):
        here = here.after(stored.notification)
    assert await store.missed(ANN, here, limit=10, now=10.0) == []
    (replaced,) = await send(store, TO_ANN, content=GROUPED, now=6.0)
    assert [row.id for row in await store.missed(ANN, here, limit=10, now=10.0)] == [replaced]
    (draft,) = await drafted(store, TO_ALL)
    published = await store.publish_draft(draft.id, now=7.0)
    assert published is not None
    rows = await store.missed(ANN, here, limit=10, now=10.0)
    assert [row.id for row in rows] == [replaced, published.notification.id]
    assert [row.rev for row in rows[1:]] == [published.notification.rev]
