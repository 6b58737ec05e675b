"""What memberships show and hide in every store (`realtime.store.base.InboxStore`)."""

from realtime.models import (
    Target,
)
from realtime.store.base import Store
from tests.conformance.people import ANN, BOB, GUEST, LATE, TO_ALL, TO_ANN, listed, send, unread


async def test_broadcasts_are_seen_from_opening_to_closing(store: Store) -> None:
    seen = []
    for round in range(3):
        await send(store, TO_ALL)
        await store.open_membership(ANN, "all", now=2.0)
        await store.open_membership(ANN, "all", now=2.0)
        seen += await send(store, TO_ALL, now=float(round))
        await store.close_membership(ANN, "all", now=3.0)
        await store.close_membership(ANN, "all", now=3.0)
    await send(store, TO_ALL)
    assert await listed(store, ANN) == seen[::-1]
    await store.mark_all_read(ANN, up_to=None, now=50.0)
    await store.open_membership(ANN, "all", now=51.0)
    fresh = await send(store, TO_ALL, now=52.0)
    assert await unread(store, ANN) == fresh
    await store.drop_membership(ANN, "all")
    assert await listed(store, ANN) == []
    await store.open_membership(ANN, "all", now=53.0)
    assert await listed(store, ANN) == []


async def test_late_join_is_for_members_of_now_and_ignores_the_cursor(store: Store) -> None:
    (late,) = await send(store, LATE)
    (plain,) = await send(store, TO_ANN)
    assert await store.mark_all_read(ANN, up_to=None, now=2.0) == 1
    assert await listed(store, ANN) == [plain]
    await store.open_membership(ANN, "all", now=3.0)
    assert await unread(store, ANN) == [late]
    await store.close_membership(ANN, "all", now=4.0)
    assert await listed(store, ANN) == [plain]
    await store.open_membership(ANN, "all", now=5.0)
    (row,) = [await store.set_read(ANN, late, True, now=6.0)]
    assert row is not None
    await store.close_membership(ANN, "all", now=7.0)
    await store.open_membership(ANN, "all", now=8.0)
    assert await unread(store, ANN) == []
    assert await listed(store, ANN) == [plain, late]


async def test_excluded_readers_never_see_a_row(store: Store) -> None:
    for reader in (ANN, BOB):
        await store.open_membership(reader, "all", now=1.0)
    for late_join in (False, True):
        (id,) = await send(store, Target(audience="all", excluded=frozenset({ANN}), late_join=late_join))
        assert await store.notification(ANN, id, now=2.0) is None
        assert id in await listed(store, BOB)
    assert await listed(store, ANN) == []


async def test_readers_are_those_who_hold_the_key_now(store: Store) -> None:
    for reader in (ANN, BOB, GUEST):
        await store.open_membership(reader, "room:a", now=1.0)
    await store.open_membership(ANN, "room:ab", now=1.0)
    await store.close_membership(BOB, "room:a", now=2.0)
    assert sorted(await store.readers("room:a")) == [GUEST, ANN]
    await store.drop_membership(ANN, "room:a")
    assert await store.readers("room:a") == [GUEST]
    assert await store.readers("room:ab") == [ANN]


async def test_audiences_of_a_reader_include_those_they_have_left(store: Store) -> None:
    for key in ("room:a", "room:b", "role:x", "all"):
        await store.open_membership(ANN, key, now=1.0)
    await store.open_membership(BOB, "room:c", now=1.0)
    await send(store, Target(audience="room:a"))
    await store.close_membership(ANN, "room:a", now=2.0)
    assert await store.audiences_of(ANN, "room:") == ["room:a", "room:b"]
    await store.drop_membership(ANN, "room:a")
    assert await store.audiences_of(ANN, "room:") == ["room:b"]


async def test_open_memberships_takes_a_prefix_literally(store: Store) -> None:
    keys = ["room:a", "room:b%", "room:b_", "room:bé", "role:admin", "all"]
    for key in keys:
        await store.open_membership(ANN, key, now=1.0)
        await store.open_membership(BOB, key, now=1.0)
    await store.close_membership(BOB, "room:b%", now=2.0)
    found = await store.open_memberships("room:b")
    assert sorted(found) == sorted([(ANN, "room:b%"), *((who, key) for who in (ANN, BOB) for key in keys[2:4])])
    assert len(await store.open_memberships("room:")) == 7
    assert await store.open_memberships("b") == []


async def test_opening_says_whether_earlier_rows_may_have_become_visible(store: Store) -> None:
    await send(store, Target(audience="room:a"))
    assert await store.open_membership(ANN, "room:a", now=1.0) is False
    await send(store, Target(audience="room:a", late_join=True))
    assert await store.open_membership(ANN, "room:a", now=2.0) is False  # it was open when the row came
    assert await store.open_membership(BOB, "room:a", now=3.0) is True
