"""Drafts in every store (`realtime.store.base.ScheduleStore`)."""

import asyncio
from dataclasses import replace

from realtime.models import (
    Held,
    Notification,
    Stored,
    Target,
)
from realtime.store.base import Store
from tests.conformance.people import ANN, BOB, HELLO, TO_ALL, TO_ANN, drafted, listed, send, unread


async def test_drafts_wait_and_are_nobodys_notification(store: Store) -> None:
    targets = [TO_ANN, Target(audience="all", excluded=frozenset({BOB}), late_join=True)]
    content = replace(HELLO, details={"hotel_id": 7})
    held = await store.add_drafts(targets, content, sender=BOB, run_at=50.0, now=1.0, dedup_key="k")
    drafts = [one.draft for one in held if isinstance(one, Held)]
    (sooner,) = await drafted(store, TO_ANN, run_at=40.0, now=2.0)
    assert [(d.target, d.content, d.sender, d.run_at, d.created_at, d.dedup_key) for d in drafts] == [
        (target, content, BOB, 50.0, 1.0, "k") for target in targets
    ]
    for draft in (*drafts, sooner):
        assert await store.draft(draft.id) == draft
        assert await store.notification(ANN, draft.id, now=60.0) is None
    assert await listed(store, ANN) == []
    assert await store.next_run() == 40.0
    assert await store.due_drafts(now=39.9, limit=10) == []
    assert await store.due_drafts(now=40.0, limit=10) == [sooner]
    assert await store.due_drafts(now=50.0, limit=2) == [sooner, drafts[0]]
    assert await store.draft(999) is None


async def test_a_draft_is_published_once_with_its_id(store: Store) -> None:
    (draft,) = await drafted(store, TO_ANN)
    (later,) = await send(store, TO_ANN, now=2.0)
    results = await asyncio.gather(*[store.publish_draft(draft.id, now=51.0) for _ in range(5)])
    (stored,) = [one for one in results if one is not None]
    assert stored == Stored(Notification(draft.id, TO_ANN, HELLO, None, 51.0, 51.0))
    assert await listed(store, ANN) == [draft.id, later]
    assert await store.draft(draft.id) is None
    assert await store.next_run() is None


async def test_a_broadcast_draft_reaches_those_who_are_there_at_publication(store: Store) -> None:
    await store.open_membership(ANN, "all", now=1.0)
    (draft,) = await drafted(store, TO_ALL)
    await send(store, TO_ALL, now=2.0)
    await store.mark_all_read(ANN, up_to=None, now=3.0)
    await store.open_membership(BOB, "all", now=4.0)
    await store.publish_draft(draft.id, now=51.0)
    assert await unread(store, ANN) == [draft.id]
    assert await unread(store, BOB) == [draft.id]


async def test_a_cancelled_draft_is_gone(store: Store) -> None:
    (draft,) = await drafted(store, TO_ANN)
    assert await store.cancel_draft(draft.id)
    assert not await store.cancel_draft(draft.id)
    assert await store.publish_draft(draft.id, now=51.0) is None
    (published,) = await drafted(store, TO_ANN)
    await store.publish_draft(published.id, now=51.0)
    assert not await store.cancel_draft(published.id)


async def test_the_dedup_key_of_a_draft_is_taken_when_it_is_made(store: Store) -> None:
    (first,) = await drafted(store, TO_ANN, dedup_key="k")
    for now in (2.0, 60.0):
        again = await store.add_drafts([TO_ANN], HELLO, sender=None, run_at=70.0, now=now, dedup_key="k")
        assert again == [Held(first, duplicate=True)]
    published = await store.publish_draft(first.id, now=61.0)
    assert published is not None
    assert not published.duplicate
    earlier = Stored(published.notification, duplicate=True)
    assert await store.add_drafts([TO_ANN], HELLO, sender=None, run_at=70.0, now=62.0, dedup_key="k") == [earlier]
    assert await store.add([TO_ANN], HELLO, sender=None, now=63.0, dedup_key="k") == [earlier]
    assert await listed(store, ANN) == [first.id]
    assert await store.next_run() is None


async def test_senders_do_not_share_the_dedup_keys_of_drafts(store: Store) -> None:
    (draft,) = await drafted(store, TO_ANN, dedup_key="k")
    (mine,) = await store.add_drafts([TO_ANN], HELLO, sender=BOB, run_at=70.0, now=2.0, dedup_key="k")
    assert isinstance(mine, Held)
    assert (mine.draft.id != draft.id, mine.duplicate) == (True, False)
    assert await store.publish_draft(mine.draft.id, now=70.0) is not None
    for sender, id in ((None, draft.id), (BOB, mine.draft.id)):
        (again,) = await store.add([TO_ANN], HELLO, sender=sender, now=71.0, dedup_key="k")
        assert (again.notification.id, again.duplicate) == (id, True)


async def test_a_notification_of_the_same_dedup_key_comes_before_a_draft(store: Store) -> None:
    (first,) = await store.add([TO_ANN], HELLO, sender=None, now=1.0, dedup_key="k")
    mixed = await store.add_drafts([TO_ANN, TO_ALL], HELLO, sender=None, run_at=50.0, now=2.0, dedup_key="k")
    assert mixed[0] == Stored(first.notification, duplicate=True)
    assert isinstance(mixed[1], Held)
    assert not mixed[1].duplicate
    assert await store.due_drafts(now=50.0, limit=10) == [mixed[1].draft]
