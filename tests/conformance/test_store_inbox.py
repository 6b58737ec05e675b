"""The inbox of every store: adding, listing, marking (`realtime.store.base.InboxStore`)."""

from dataclasses import replace
from typing import Any

import pytest

from realtime.errors import Code, RealtimeError
from realtime.models import (
    Content,
    InboxQuery,
    Notification,
    Stored,
    Target,
)
from realtime.store.base import DEDUP_SECONDS, Store
from tests.conformance.conftest import Opener
from tests.conformance.people import ANN, BOB, GUEST, HELLO, LATE, TO_ALL, TO_ANN, drafted, listed, send, swept, unread


async def test_rows_come_back_as_they_were_sent(store: Store) -> None:
    content = Content(
        type="work_order_assigned",
        title="Tïtle \N{PARTY POPPER} \0 end",
        message="'); DROP TABLE inbox; --",
        priority="critical",
        url="/jobs/7",
        metadata={"n": 7, "s": "7", "big": 2**80, "f": 1.5, "none": None, "nested": {"a": [1, "2", True]}},
        actions=[{"label": "Open", "url": "/jobs/7"}],
        expires_at=500.0,
        group_key="g",
        details={"hotel_id": 7, "tags": ["a", None], "language": "en\0"},
    )
    targets = [TO_ANN, Target(audience="all", excluded=frozenset({BOB, GUEST}), late_join=True)]
    await store.open_membership(ANN, "all", now=1.0)
    stored = await store.add(targets, content, sender="user:9", now=2.0)
    assert [one.notification.target for one in stored] == targets
    assert not any(one.duplicate for one in stored)
    rows, total = await store.inbox(ANN, InboxQuery(), now=3.0)
    assert rows == [one.notification for one in reversed(stored)]
    assert total == 2
    first = stored[0].notification
    assert first == Notification(first.id, TO_ANN, content, "user:9", 2.0, 2.0)
    assert [await store.notification(ANN, row.id, now=3.0) for row in rows] == rows


async def test_ids_grow_over_direct_rows_broadcasts_and_drafts(store: Store) -> None:
    ids = await send(store, TO_ANN, TO_ALL, TO_ANN)
    drafts = await drafted(store, TO_ANN, TO_ALL, run_at=9.0)
    ids += [draft.id for draft in drafts]
    ids += await send(store, TO_ALL)
    assert ids == sorted(set(ids))


async def test_ids_are_not_reused_after_delete_sweep_cancel_and_restart(opener: Opener) -> None:
    store = await opener()
    await store.open_membership(ANN, "all", now=1.0)
    used = await send(store, TO_ANN)
    await store.delete_notification(ANN, used[0], now=1.0)
    used += await send(store, TO_ANN, TO_ALL, content=replace(HELLO, expires_at=2.0))
    (draft,) = await drafted(store, TO_ANN, run_at=9.0)
    used.append(draft.id)
    await store.cancel_draft(draft.id)
    assert await swept(store, now=5.0) == 2
    await store.close()
    store = await opener()
    (new,) = await send(store, TO_ALL)
    assert new > max(used)
    assert await listed(store, ANN) == [new]


async def test_broken_text_is_refused_with_nothing_stored(store: Store) -> None:
    broken: list[dict[str, Any]] = [{"title": "\ud800"}, {"metadata": {"a": ["\udfff"]}}, {"details": {"\ud800": 1}}]
    for content in (replace(HELLO, **one) for one in broken):
        with pytest.raises(RealtimeError) as caught:
            await store.add([TO_ANN], content, sender=None, now=1.0)
        assert caught.value.code is Code.INVALID_PAYLOAD
    with pytest.raises(RealtimeError):
        await store.add([TO_ANN, Target(recipient="user:\ud800")], HELLO, sender=None, now=1.0)
    assert await listed(store, ANN) == []


async def test_dedup_key_returns_the_earlier_row_of_the_same_target(store: Store) -> None:
    await store.open_membership(ANN, "all", now=1.0)
    targets = [TO_ANN, TO_ALL, Target(recipient=GUEST)]
    first = await store.add(targets, HELLO, sender="user:8", now=1.0, dedup_key="k")
    again = await store.add([*targets, Target(recipient=BOB)], HELLO, sender="user:8", now=2.0, dedup_key="k")
    assert again[:3] == [Stored(one.notification, duplicate=True) for one in first]
    assert not again[3].duplicate
    assert not (await store.add([TO_ANN], HELLO, sender="user:8", now=2.0, dedup_key="other"))[0].duplicate
    assert len(await listed(store, ANN)) == 3


async def test_senders_do_not_share_dedup_keys(store: Store) -> None:
    ids = []
    asked = [("user:8", "k"), ("user:9", "k"), (None, "k"), ("user:8", "9 k"), ("user:8 9", "k"), (None, "user:8 k")]
    for sender, key in asked:
        (stored,) = await store.add([TO_ANN], HELLO, sender=sender, now=1.0, dedup_key=key)
        assert not stored.duplicate
        ids.append(stored.notification.id)
    for id, (sender, key) in zip(ids, asked, strict=True):
        (again,) = await store.add([TO_ANN], HELLO, sender=sender, now=2.0, dedup_key=key)
        assert (again.notification.id, again.notification.sender, again.duplicate) == (id, sender, True)


async def test_many_rows_of_a_dedup_key_are_those_of_its_sender(store: Store) -> None:
    targets = [Target(recipient=f"user:{n}") for n in range(10)]
    first = await store.add(targets, HELLO, sender=ANN, now=1.0, dedup_key="k")
    other = await store.add(targets, HELLO, sender=BOB, now=2.0, dedup_key="k")
    assert not any(one.duplicate for one in (*first, *other))
    assert await store.add(targets, HELLO, sender=ANN, now=3.0, dedup_key="k") == [
        replace(one, duplicate=True) for one in first
    ]


async def test_dedup_key_lives_a_day(store: Store) -> None:
    (first,) = await store.add([TO_ANN], HELLO, sender=None, now=1000.0, dedup_key="k")
    (late,) = await store.add([TO_ANN], HELLO, sender=None, now=999.0 + DEDUP_SECONDS, dedup_key="k")
    assert late == Stored(first.notification, duplicate=True)
    (free,) = await store.add([TO_ANN], HELLO, sender=None, now=1001.0 + DEDUP_SECONDS, dedup_key="k")
    assert not free.duplicate
    (again,) = await store.add([TO_ANN], HELLO, sender=None, now=1002.0 + DEDUP_SECONDS, dedup_key="k")
    assert again == Stored(free.notification, duplicate=True)


async def test_dedup_key_holds_when_the_row_was_deleted(store: Store) -> None:
    (first,) = await store.add([TO_ANN], HELLO, sender=None, now=1.0, dedup_key="k")
    await store.delete_notification(ANN, first.notification.id, now=2.0)
    (again,) = await store.add([TO_ANN], HELLO, sender=None, now=3.0, dedup_key="k")
    assert again == Stored(first.notification, duplicate=True)
    assert await listed(store, ANN) == []


async def test_group_key_replaces_the_unread_row_and_moves_it_up(store: Store) -> None:
    grouped = replace(HELLO, group_key="chat")
    (first,) = await send(store, TO_ANN, content=grouped, now=1.0)
    (other,) = await send(store, TO_ANN, now=2.0)
    (stored,) = await store.add([TO_ANN], replace(grouped, title="Two"), sender=BOB, now=3.0)
    assert stored.notification == Notification(
        first, TO_ANN, replace(grouped, title="Two"), BOB, 3.0, 3.0, group_count=2
    )
    assert await listed(store, ANN) == [first, other]
    assert await store.notification(ANN, first, now=4.0) == stored.notification
    await store.set_read(ANN, first, True, now=4.0)
    (fresh,) = await store.add([TO_ANN], grouped, sender=None, now=5.0)
    assert fresh.notification.id not in (first, other)
    assert fresh.notification.group_count == 1
    assert await send(store, Target(recipient=BOB), content=grouped) != [fresh.notification.id]


async def test_group_key_does_not_group_broadcasts(store: Store) -> None:
    await store.open_membership(ANN, "all", now=1.0)
    ids = await send(store, TO_ALL, TO_ALL, content=replace(HELLO, group_key="g"))
    assert await listed(store, ANN) == ids[::-1]


async def test_page_filters_and_counts_what_matches(store: Store) -> None:
    await store.open_membership(ANN, "all", now=1.0)
    ids = []
    for n in range(6):
        kind = replace(HELLO, type="even" if n % 2 == 0 else "odd")
        ids += await send(store, TO_ALL if n % 3 == 0 else TO_ANN, content=kind, now=float(n))
    await store.set_read(ANN, ids[0], True, now=9.0)
    await store.set_read(ANN, ids[1], True, now=9.0)
    expected = {
        InboxQuery(): ids[::-1],
        InboxQuery(type="even"): [ids[4], ids[2], ids[0]],
        InboxQuery(read=True): [ids[1], ids[0]],
        InboxQuery(read=False, type="odd"): [ids[5], ids[3]],
        InboxQuery(type="none"): [],
    }
    for query, matching in expected.items():
        for limit, offset in ((20, 0), (2, 1), (1, 10), (0, 0)):
            rows, total = await store.inbox(ANN, replace(query, limit=limit, offset=offset), now=9.0)
            assert [row.id for row in rows] == matching[offset : offset + limit]
            assert total == len(matching)


async def test_newest_first_and_the_greater_id_of_one_moment(store: Store) -> None:
    ids = await send(store, TO_ANN, TO_ANN, now=5.0)
    (older,) = await send(store, TO_ANN, now=4.0)
    assert await listed(store, ANN) == [ids[1], ids[0], older]


async def test_nobody_sees_or_touches_the_rows_of_others(store: Store) -> None:
    (id,) = await send(store, TO_ANN)
    (secret,) = await send(store, Target(audience="role:admin"))
    for reader in (BOB, GUEST):
        for row in (id, secret, 999, 0, -1, 2**70):
            assert await store.notification(reader, row, now=2.0) is None
            assert await store.set_read(reader, row, True, now=2.0) is None
            assert await store.mark_all_read(reader, up_to=row, now=2.0) == 0
            assert not await store.delete_notification(reader, row, now=2.0)
        assert await listed(store, reader) == []
    assert await unread(store, ANN) == [id]


async def test_what_a_reader_can_see_of_many_ids(store: Store) -> None:
    for reader in (ANN, BOB):
        await store.open_membership(reader, "all", now=1.0)
    mine, shared, late, gone, hidden, archived, snoozed, put_away = await send(
        store, TO_ANN, TO_ALL, LATE, TO_ANN, TO_ALL, TO_ANN, TO_ANN, TO_ALL
    )
    soon = await send(store, TO_ANN, TO_ALL, content=replace(HELLO, expires_at=10.0))
    (bobs,) = await send(store, Target(recipient=BOB))
    (others,) = await send(store, replace(TO_ALL, excluded=frozenset({ANN})))
    (secret,) = await send(store, Target(audience="role:admin"))
    (taken,) = await send(store, TO_ALL)
    (draft,) = await drafted(store, TO_ANN)
    await store.retract(taken, now=2.0)
    for id in (gone, hidden):
        await store.delete_notification(ANN, id, now=2.0)
    for id in (archived, put_away):
        await store.set_archived(ANN, id, True, now=2.0)
    await store.snooze(ANN, snoozed, 50.0, now=2.0)
    seen = [put_away, mine, *soon, snoozed, late, archived, shared]
    unseen = [bobs, others, secret, taken, gone, hidden, draft.id, 999, 0, -1, 2**70]
    assert await store.visible(ANN, [*seen, *unseen], now=9.0) == seen
    assert await store.visible(ANN, [*unseen, *seen[::-1]], now=9.0) == seen[::-1]
    assert await store.visible(ANN, [*seen, *unseen], now=10.0) == [id for id in seen if id not in soon]
    both = [put_away, soon[1], late, shared]
    assert await store.visible(BOB, [*seen, *unseen], now=9.0) == [*both, bobs, others, hidden]
    assert await store.visible(GUEST, [*seen, *unseen], now=9.0) == []
    assert await store.visible(ANN, [], now=9.0) == await store.visible(ANN, unseen, now=9.0) == []


async def test_set_read_is_idempotent_and_per_reader(store: Store) -> None:
    for reader in (ANN, BOB):
        await store.open_membership(reader, "all", now=1.0)
    direct, broadcast = await send(store, TO_ANN, TO_ALL)
    for id in (direct, broadcast):
        row = await store.set_read(ANN, id, True, now=5.0)
        assert row is not None
        assert row.read_at == 5.0
        assert await store.set_read(ANN, id, True, now=6.0) == row
        assert await store.notification(ANN, id, now=6.0) == row
    assert await unread(store, ANN) == []
    assert await unread(store, BOB) == [broadcast]
    for id in (direct, broadcast):
        for _ in range(2):
            row = await store.set_read(ANN, id, False, now=7.0)
            assert row is not None
            assert not row.read
    assert sorted(await unread(store, ANN)) == [direct, broadcast]


async def test_mark_all_read_says_how_many_changed(store: Store) -> None:
    await store.open_membership(ANN, "all", now=1.0)
    ids = await send(store, TO_ANN, TO_ALL, LATE, TO_ANN, TO_ALL)
    await store.set_read(ANN, ids[0], True, now=2.0)
    await store.set_read(ANN, ids[1], True, now=2.0)
    assert await store.mark_all_read(ANN, up_to=None, now=3.0) == 3
    assert await store.mark_all_read(ANN, up_to=None, now=4.0) == 0
    rows, _ = await store.inbox(ANN, InboxQuery(), now=5.0)
    assert [row.read_at for row in rows] == [3.0, 3.0, 3.0, 2.0, 2.0]
    (fresh,) = await send(store, TO_ALL, now=6.0)
    assert await unread(store, ANN) == [fresh]
    await store.set_read(ANN, ids[4], False, now=7.0)
    assert await unread(store, ANN) == [fresh, ids[4]]
    assert await store.mark_all_read(ANN, up_to=None, now=8.0) == 2


async def test_mark_all_read_up_to_leaves_newer_rows_unread(store: Store) -> None:
    await store.open_membership(ANN, "all", now=1.0)
    newer = await send(store, TO_ALL, TO_ANN, LATE, now=9.0)
    older = await send(store, TO_ALL, TO_ANN, LATE, now=5.0)
    oldest = await send(store, TO_ALL, now=4.0)
    assert await store.mark_all_read(ANN, up_to=older[1], now=20.0) == 3
    assert await unread(store, ANN) == [newer[2], newer[1], newer[0], older[2]]
    assert await store.mark_all_read(ANN, up_to=oldest[0], now=21.0) == 0
    assert await store.mark_all_read(ANN, up_to=12345, now=21.0) == 0
    assert await store.mark_all_read(ANN, up_to=newer[2], now=22.0) == 4


async def test_delete_removes_a_direct_row_and_hides_a_broadcast_from_one_reader(store: Store) -> None:
    for reader in (ANN, BOB):
        await store.open_membership(reader, "all", now=1.0)
    direct, broadcast = await send(store, TO_ANN, TO_ALL)
    for id in (direct, broadcast):
        assert await store.delete_notification(ANN, id, now=2.0)
        assert not await store.delete_notification(ANN, id, now=2.0)
        assert await store.notification(ANN, id, now=2.0) is None
        assert await store.set_read(ANN, id, False, now=2.0) is None
    assert await listed(store, ANN) == []
    assert await listed(store, BOB) == [broadcast]


async def test_expired_rows_are_as_if_they_did_not_exist(store: Store) -> None:
    await store.open_membership(ANN, "all", now=1.0)
    soon = replace(HELLO, expires_at=10.0, group_key="g")
    ids = await send(store, TO_ANN, TO_ALL, content=soon)
    assert await listed(store, ANN, now=9.9) == ids[::-1]
    assert await listed(store, ANN, now=10.0) == []
    for id in ids:
        assert await store.notification(ANN, id, now=10.0) is None
        assert await store.set_read(ANN, id, True, now=10.0) is None
        assert await store.mark_all_read(ANN, up_to=id, now=10.0) == 0
        assert not await store.delete_notification(ANN, id, now=10.0)
    assert await store.mark_all_read(ANN, up_to=None, now=10.0) == 0
    (fresh,) = await store.add([TO_ANN], replace(soon, expires_at=None), sender=None, now=10.0)
    assert fresh.notification.id not in ids
