"""Broadcasts as their senders see them: `retract`, `broadcast`, `audience_size` of `InboxStore`."""

from dataclasses import replace

from realtime.models import Draft, Notification, Retention, Target
from realtime.store.base import Store
from tests.conformance.conftest import Opener
from tests.conformance.people import ANN, BOB, CY, GUEST, HELLO, LATE, TO_ALL, TO_ANN, drafted, listed, send, unread


async def test_a_retracted_broadcast_is_gone_for_everybody_at_once(store: Store) -> None:
    for reader in (ANN, BOB):
        await store.open_membership(reader, "all", now=1.0)
    (kept,) = await send(store, TO_ALL)
    for target in (TO_ALL, LATE):
        (id,) = await send(store, target, now=2.0)
        await store.set_read(ANN, id, True, now=3.0)
        assert await store.unread_count(BOB, now=4.0) == 2
        row = await store.retract(id, now=4.0)
        assert row == Notification(id, target, HELLO, None, 2.0, 2.0)
        assert await store.retract(id, now=5.0) is None
        for reader in (ANN, BOB):
            assert await listed(store, reader) == [kept]
            assert await store.notification(reader, id, now=5.0) is None
            assert await store.set_read(reader, id, False, now=5.0) is None
            assert [row.id for row in await store.undelivered(reader, limit=10, now=5.0)] == [kept]
        assert await store.broadcast(id) is None
        await store.open_membership(CY, "all", now=6.0)
        assert await listed(store, CY) == []


async def test_only_broadcasts_can_be_retracted(store: Store) -> None:
    (direct,) = await send(store, TO_ANN)
    (draft,) = await drafted(store, TO_ALL)
    for id in (direct, draft.id, 999, 0, -1, 2**70):
        assert await store.retract(id, now=2.0) is None
        assert await store.broadcast(id) is None
    assert await listed(store, ANN) == [direct]
    assert isinstance(await store.draft(draft.id), Draft)


async def test_a_retracted_broadcast_stays_retracted(opener: Opener) -> None:
    store = await opener()
    await store.open_membership(ANN, "all", now=1.0)
    id = await store.take_id()
    (first,) = await store.add([TO_ALL], HELLO, sender=None, now=2.0, dedup_key="k", id=id)
    await store.retract(first.notification.id, now=3.0)
    await store.sweep(now=4.0)
    for more in ({"id": id}, {"dedup_key": "k"}):
        (again,) = await store.add([TO_ALL], HELLO, sender=None, now=5.0, **more)
        assert (again.notification.id, again.duplicate) == (id, True)
    await store.close()
    store = await opener()
    await store.sweep(now=6.0 + Retention().tombstones)
    assert await store.retract(id, now=7.0) is None
    assert await store.broadcast(id) is None
    assert await listed(store, ANN) == []


async def test_retracting_does_not_touch_what_was_read_or_comes_later(store: Store) -> None:
    await store.open_membership(ANN, "all", now=1.0)
    first, second, third = await send(store, TO_ALL, TO_ALL, TO_ALL)
    await store.mark_all_read(ANN, up_to=second, now=2.0)
    await store.retract(second, now=3.0)
    (fourth,) = await send(store, TO_ALL, now=4.0)
    assert await unread(store, ANN) == [fourth, third]
    assert await listed(store, ANN) == [fourth, third, first]


async def test_senders_see_their_broadcasts(store: Store) -> None:
    target = Target(audience="room:a", excluded=frozenset({ANN}), late_join=True)
    (stored,) = await store.add([target], HELLO, sender=BOB, now=2.0)
    assert await store.broadcast(stored.notification.id) == Notification(
        stored.notification.id, target, HELLO, BOB, 2.0, 2.0
    )


async def test_a_swept_broadcast_is_nobodys(store: Store) -> None:
    (id,) = await send(store, TO_ALL, content=replace(HELLO, expires_at=20.0))
    assert await store.broadcast(id) is not None
    await store.sweep(now=21.0 + Retention().tombstones)
    assert await store.broadcast(id) is None
    assert await store.retract(id, now=22.0) is None


async def test_the_audience_is_who_holds_the_key_now(store: Store) -> None:
    for reader in (CY, ANN, BOB, GUEST):
        await store.open_membership(reader, "room:a", now=1.0)
    await store.open_membership("user:9", "room:ab", now=1.0)
    target = Target(audience="room:a")
    everybody = sorted([ANN, BOB, CY, GUEST])
    assert await store.audience_size(target, limit=10) == (4, everybody)
    assert await store.audience_size(target, limit=2) == (4, everybody[:2])
    assert await store.audience_size(target, limit=0) == (4, [])
    await store.close_membership(BOB, "room:a", now=2.0)
    await store.drop_membership(CY, "room:a")
    excluded = replace(target, excluded=frozenset({ANN, BOB, "user:77"}))
    assert await store.audience_size(excluded, limit=10) == (1, [GUEST])
    assert await store.audience_size(replace(target, late_join=True), limit=10) == (2, sorted([ANN, GUEST]))
    assert await store.audience_size(Target(audience="room:b"), limit=10) == (0, [])
    assert await store.audience_size(TO_ALL, limit=10) == (0, [])
