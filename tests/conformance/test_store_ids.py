"""Ids that are taken before there is a row (`take_id` of `realtime.store.base.InboxStore`)."""

import asyncio
from dataclasses import replace

import pytest

from realtime.models import Draft, Held, Notification, Stored, Target
from realtime.store.base import Store
from tests.conformance.conftest import Opener
from tests.conformance.people import ANN, BOB, HELLO, TO_ALL, TO_ANN, drafted, listed, send, unread

GROUPED = replace(HELLO, group_key="chat")


async def test_a_taken_id_is_nobody_elses(opener: Opener) -> None:
    store = await opener()
    first = await store.take_id()
    taken = await asyncio.gather(*(store.take_id() for _ in range(20)))
    used = await send(store, TO_ANN, TO_ALL)
    (draft,) = await drafted(store, TO_ANN, run_at=9.0)
    await store.close()
    store = await opener()
    everything = [first, *sorted(taken), *used, draft.id, await store.take_id(), *await send(store, TO_ANN)]
    assert everything == sorted(set(everything))


@pytest.mark.parametrize("target", [TO_ANN, TO_ALL])
async def test_a_row_is_stored_under_the_id_that_was_taken(store: Store, target: Target) -> None:
    await store.open_membership(ANN, "all", now=1.0)
    id = await store.take_id()
    assert await store.notification(ANN, id, now=1.0) is None
    (newer,) = await send(store, TO_ANN)
    stored = await store.add([target], HELLO, sender=BOB, now=2.0, id=id)
    assert stored == [Stored(Notification(id, target, HELLO, BOB, 2.0, 2.0))]
    assert await listed(store, ANN) == [id, newer]


@pytest.mark.parametrize("target", [TO_ANN, TO_ALL])
async def test_asked_again_with_an_id_the_row_that_is_there_returns(opener: Opener, target: Target) -> None:
    store = await opener()
    await store.open_membership(ANN, "all", now=1.0)
    id = await store.take_id()
    results = await asyncio.gather(*(store.add([target], HELLO, sender=BOB, now=2.0, id=id) for _ in range(5)))
    assert sorted(one.duplicate for (one,) in results) == [False, True, True, True, True]
    assert {one.notification.id for (one,) in results} == {id}
    await store.close()
    store = await opener()
    other = replace(HELLO, title="Other", group_key="g")
    (again,) = await store.add([target], other, sender=None, now=9.0, dedup_key="k", id=id)
    assert again == Stored(Notification(id, target, HELLO, BOB, 2.0, 2.0), duplicate=True)
    assert await listed(store, ANN) == [id]


async def test_the_row_that_is_there_may_have_been_read_or_replaced(store: Store) -> None:
    id = await store.take_id()
    await store.add([TO_ANN], GROUPED, sender=None, now=2.0, id=id)
    assert await send(store, TO_ANN, content=GROUPED, now=3.0) == [id]
    await store.set_read(ANN, id, True, now=4.0)
    (again,) = await store.add([TO_ANN], GROUPED, sender=None, now=5.0, id=id)
    assert again == Stored(
        Notification(id, TO_ANN, GROUPED, None, 3.0, 3.0, 4.0, group_count=2, seen_at=4.0), duplicate=True
    )
    assert await unread(store, ANN) == []


async def test_a_row_with_an_id_takes_the_place_of_its_groups_row(store: Store) -> None:
    (old,) = await send(store, TO_ANN, content=GROUPED, now=1.0)
    await store.set_delivered(ANN, [old], now=2.0)
    id = await store.take_id()
    (stored,) = await store.add([TO_ANN], GROUPED, sender=BOB, now=3.0, id=id)
    assert stored == Stored(Notification(id, TO_ANN, GROUPED, BOB, 3.0, 3.0, group_count=2))
    assert await listed(store, ANN) == [id]
    assert await store.notification(ANN, old, now=4.0) is None
    assert await store.undelivered(ANN, limit=10, now=4.0) == [stored.notification]
    (again,) = await store.add([TO_ANN], GROUPED, sender=BOB, now=5.0, id=id)
    assert again == Stored(stored.notification, duplicate=True)


async def test_a_used_dedup_key_comes_before_a_new_id(store: Store) -> None:
    (first,) = await store.add([TO_ANN], HELLO, sender=None, now=1.0, dedup_key="k")
    id = await store.take_id()
    for _ in range(2):
        (again,) = await store.add([TO_ANN], HELLO, sender=None, now=2.0, dedup_key="k", id=id)
        assert again == Stored(first.notification, duplicate=True)
    assert await listed(store, ANN) == [first.notification.id]
    with_key = await store.take_id()
    await store.add([TO_ANN], HELLO, sender=None, now=3.0, dedup_key="k2", id=with_key)
    (later,) = await store.add([TO_ANN], HELLO, sender=None, now=4.0, dedup_key="k2")
    assert (later.notification.id, later.duplicate) == (with_key, True)


async def test_an_id_is_for_a_single_target(store: Store) -> None:
    id = await store.take_id()
    with pytest.raises(ValueError, match="single"):
        await store.add([TO_ANN, TO_ALL], HELLO, sender=None, now=1.0, id=id)
    with pytest.raises(ValueError, match="single"):
        await store.add_drafts([TO_ANN, TO_ALL], HELLO, sender=None, run_at=5.0, now=1.0, id=id)
    assert await listed(store, ANN) == []
    assert await store.next_run() is None


async def test_a_draft_waits_under_the_id_that_was_taken(store: Store) -> None:
    id = await store.take_id()
    (held,) = await store.add_drafts([TO_ANN], HELLO, sender=BOB, run_at=50.0, now=1.0, dedup_key="k", id=id)
    draft = Draft(id, TO_ANN, HELLO, BOB, 50.0, 1.0, "k")
    assert held == Held(draft)
    assert await store.draft(id) == draft
    assert await store.publish_draft(id, now=51.0) == Stored(Notification(id, TO_ANN, HELLO, BOB, 51.0, 51.0))
    assert await store.publish_draft(id, now=52.0) is None
    (again,) = await store.add([TO_ANN], HELLO, sender=BOB, now=53.0, id=id)
    assert again == Stored(Notification(id, TO_ANN, HELLO, BOB, 51.0, 51.0), duplicate=True)
    assert await listed(store, ANN) == [id]


async def test_a_draft_that_is_asked_for_again_waits_once(store: Store) -> None:
    id = await store.take_id()
    asked = [store.add_drafts([TO_ANN], HELLO, sender=None, run_at=50.0, now=1.0, id=id) for _ in range(5)]
    held = [one.draft for (one,) in await asyncio.gather(*asked) if isinstance(one, Held)]
    assert held == [Draft(id, TO_ANN, HELLO, None, 50.0, 1.0)] * 5
    assert len(await store.due_drafts(now=60.0, limit=10)) == 1


@pytest.mark.parametrize("target", [TO_ANN, TO_ALL])
async def test_a_row_with_the_id_of_a_draft_is_the_only_one(store: Store, target: Target) -> None:
    await store.open_membership(ANN, "all", now=1.0)
    id = await store.take_id()
    (draft,) = await drafted(store, target, id=id)
    stored = [(await store.add([target], GROUPED, sender=None, now=2.0, id=id))[0] for _ in range(2)]
    assert [one.duplicate for one in stored] == [False, True]
    assert await store.draft(id) == draft
    assert await store.publish_draft(id, now=50.0) == Stored(stored[0].notification, duplicate=True)
    assert await store.draft(id) is None
    assert await listed(store, ANN) == [id]
