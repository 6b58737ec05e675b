"""What a client has not taken yet, in every store (`realtime.store.base.InboxStore`)."""

import asyncio
from dataclasses import replace

import pytest

from realtime.models import Target
from realtime.store.base import Store
from tests.conformance.conftest import Opener
from tests.conformance.people import ANN, BOB, GUEST, HELLO, LATE, TO_ALL, TO_ANN, drafted, listed, send, swept

GROUPED = replace(HELLO, group_key="chat")


async def waiting(store: Store, reader: str, *, now: float = 100.0, limit: int = 1000) -> list[int]:
    rows = await store.undelivered(reader, limit=limit, now=now)
    for row in rows:
        assert row == await store.notification(reader, row.id, now=now)
    return [row.id for row in rows]


async def test_what_nobody_took_comes_oldest_first(store: Store) -> None:
    await store.open_membership(ANN, "all", now=1.0)
    newer = await send(store, TO_ANN, TO_ALL, TO_ANN, now=9.0)
    older = await send(store, LATE, TO_ANN, now=5.0)
    assert await waiting(store, ANN) == [*older, *newer]
    for limit in (0, 1, 3, 5, 6):
        assert await waiting(store, ANN, limit=limit) == [*older, *newer][:limit]


async def test_what_was_taken_does_not_come_again(store: Store) -> None:
    for reader in (ANN, BOB):
        await store.open_membership(reader, "all", now=1.0)
    ids = await send(store, TO_ANN, TO_ALL, LATE, TO_ANN, TO_ALL)
    for _ in range(2):
        await store.set_delivered(ANN, [*ids[:3], *ids[:2]], now=2.0)
    assert await waiting(store, ANN) == ids[3:]
    assert await waiting(store, BOB) == [ids[1], ids[2], ids[4]]
    assert await listed(store, ANN) == ids[::-1]
    await store.set_delivered(ANN, [], now=3.0)
    assert await waiting(store, ANN) == ids[3:]


async def test_unknown_ids_are_ignored(store: Store) -> None:
    (mine,) = await send(store, TO_ANN)
    (draft,) = await drafted(store, TO_ANN, run_at=5.0)
    next_one = await store.take_id() + 1
    await store.set_delivered(ANN, [999, 0, -1, 2**63, 2**70, draft.id, next_one], now=2.0)
    await store.set_delivered(BOB, [mine], now=2.0)
    await store.set_delivered(GUEST, [mine], now=2.0)
    await store.publish_draft(draft.id, now=5.0)
    assert await send(store, TO_ANN, now=6.0) == [next_one]
    assert await waiting(store, ANN) == [mine, draft.id, next_one]


async def test_what_the_reader_cannot_see_yet_cannot_have_been_taken(store: Store) -> None:
    (late,) = await send(store, LATE)
    await store.set_delivered(ANN, [late], now=2.0)
    await store.open_membership(ANN, "all", now=3.0)
    assert await waiting(store, ANN) == [late]


async def test_what_was_read_does_not_come(store: Store) -> None:
    await store.open_membership(ANN, "all", now=1.0)
    ids = await send(store, TO_ANN, TO_ALL, LATE)
    for id in ids:
        await store.set_read(ANN, id, True, now=2.0)
    assert await waiting(store, ANN) == []
    for id in ids:
        await store.set_read(ANN, id, False, now=3.0)
    assert await waiting(store, ANN) == ids
    await store.set_delivered(ANN, ids, now=4.0)
    for read in (True, False):
        await store.set_read(ANN, ids[0], read, now=5.0)
    assert await waiting(store, ANN) == []


async def test_marking_all_read_leaves_nothing_to_come(store: Store) -> None:
    await store.open_membership(ANN, "all", now=1.0)
    ids = await send(store, TO_ALL, TO_ANN, LATE, now=1.0)
    (newer,) = await send(store, TO_ALL, now=5.0)
    await store.mark_all_read(ANN, up_to=ids[2], now=6.0)
    assert await waiting(store, ANN) == [newer]
    await store.mark_all_read(ANN, up_to=None, now=7.0)
    assert await waiting(store, ANN) == []


@pytest.mark.parametrize(
    ("reader", "audience"), [(ANN, "all"), (GUEST, "guests"), (ANN, "role:admin"), (GUEST, "room:a")]
)
async def test_guests_and_users_receive_what_their_memberships_show(store: Store, reader: str, audience: str) -> None:
    target = Target(audience=audience)
    await send(store, target)
    await store.open_membership(reader, audience, now=2.0)
    heard = await send(store, target, replace(target, excluded=frozenset({BOB})), Target(recipient=reader))
    await send(store, replace(target, excluded=frozenset({reader})), Target(recipient=BOB), Target(audience="room:b"))
    await store.close_membership(reader, audience, now=3.0)
    late, _missed = await send(store, replace(target, late_join=True), target)
    assert await waiting(store, reader) == heard
    await store.open_membership(reader, audience, now=4.0)
    assert await waiting(store, reader) == [*heard, late]
    await store.set_delivered(reader, [heard[0], late], now=5.0)
    assert await waiting(store, reader) == heard[1:]
    await store.drop_membership(reader, audience)
    assert await waiting(store, reader) == [heard[2]]
    await store.open_membership(reader, audience, now=6.0)
    assert late not in await waiting(store, reader)


async def test_the_audience_of_users_and_the_audience_of_guests_are_two(store: Store) -> None:
    await store.open_membership(ANN, "all", now=1.0)
    await store.open_membership(GUEST, "guests", now=1.0)
    users, guests = await send(store, TO_ALL, Target(audience="guests"))
    assert await waiting(store, ANN) == await listed(store, ANN) == [users]
    assert await waiting(store, GUEST) == await listed(store, GUEST) == [guests]
    assert await store.readers("guests") == [GUEST]
    assert await store.mark_all_read(GUEST, up_to=None, now=2.0) == 1


async def test_what_was_deleted_or_hidden_does_not_come(store: Store) -> None:
    for reader in (ANN, BOB):
        await store.open_membership(reader, "all", now=1.0)
    direct, broadcast, late, kept = await send(store, TO_ANN, TO_ALL, LATE, TO_ANN)
    await store.set_delivered(ANN, [broadcast], now=2.0)
    for id in (direct, broadcast, late):
        assert await store.delete_notification(ANN, id, now=3.0)
    assert await waiting(store, ANN) == [kept]
    assert await waiting(store, BOB) == [broadcast, late]


async def test_what_has_expired_does_not_come(store: Store) -> None:
    await store.open_membership(ANN, "all", now=1.0)
    ids = await send(store, TO_ANN, TO_ALL, LATE, content=replace(HELLO, expires_at=10.0))
    assert await waiting(store, ANN, now=9.9) == ids
    await store.set_delivered(ANN, ids, now=10.0)
    assert await waiting(store, ANN, now=10.0) == []
    assert await waiting(store, ANN, now=9.9) == ids


async def test_what_its_group_has_replaced_comes_again(store: Store) -> None:
    (first,) = await send(store, TO_ANN, content=GROUPED, now=1.0)
    (other,) = await send(store, TO_ANN, now=2.0)
    await store.set_delivered(ANN, [first, other], now=3.0)
    assert await send(store, TO_ANN, content=GROUPED, now=4.0) == [first]
    (row,) = await store.undelivered(ANN, limit=10, now=5.0)
    assert (row.id, row.group_count, row.created_at) == (first, 2, 4.0)
    (newer,) = await send(store, TO_ANN, now=4.5)
    assert await waiting(store, ANN) == [first, newer]
    await store.set_delivered(ANN, [first, newer], now=5.0)
    assert await waiting(store, ANN) == []


async def test_a_published_draft_comes(store: Store) -> None:
    await store.open_membership(ANN, "all", now=1.0)
    drafts = await drafted(store, TO_ANN, TO_ALL, run_at=5.0)
    assert await waiting(store, ANN) == []
    for draft in drafts:
        await store.publish_draft(draft.id, now=5.0)
    assert await waiting(store, ANN) == [draft.id for draft in drafts]


async def test_a_repetition_of_what_was_taken_does_not_come(store: Store) -> None:
    for _ in range(2):
        (stored,) = await store.add([TO_ANN], HELLO, sender=None, now=1.0, dedup_key="k")
        await store.set_delivered(ANN, [stored.notification.id], now=2.0)
    assert stored.duplicate
    assert await waiting(store, ANN) == []


async def test_deliveries_are_remembered_by_the_database(opener: Opener) -> None:
    store = await opener()
    await store.open_membership(ANN, "all", now=1.0)
    ids = await send(store, TO_ANN, TO_ALL, TO_ANN, TO_ALL)
    await store.set_delivered(ANN, ids[:2], now=2.0)
    await store.close()
    store = await opener()
    assert await waiting(store, ANN) == ids[2:]


async def test_a_sweep_does_not_count_deliveries_and_leaves_those_of_live_rows(store: Store, crowd: int) -> None:
    readers = [f"user:{number}" for number in range(1, crowd // 2)]
    await asyncio.gather(*(store.open_membership(reader, "all", now=1.0) for reader in readers))
    gone = await send(store, TO_ANN, TO_ALL, TO_ALL, content=replace(HELLO, expires_at=10.0))
    kept = await send(store, TO_ANN, TO_ALL)
    await asyncio.gather(*(store.set_delivered(reader, [*gone, *kept], now=2.0) for reader in readers))
    assert await swept(store, now=10.0) == 3
    assert await store.sweep(now=10.0) == {}
    (fresh,) = await send(store, TO_ALL, now=11.0)
    for reader in (ANN, readers[-1]):
        assert await waiting(store, reader, now=5.0) == [fresh]
