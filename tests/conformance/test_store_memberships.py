"""What memberships show and hide in every store (`realtime.store.base.InboxStore`)."""

from collections.abc import Awaitable, Callable

import pytest

from realtime.errors import StoreUnavailable
from realtime.models import InboxQuery, MembershipChange, Target
from realtime.store.base import Store
from tests.conformance.conftest import Opener
from tests.conformance.people import ANN, BOB, GUEST, LATE, TO_ALL, TO_ANN, listed, send, unread


def opening(reader: str, audience: str) -> MembershipChange:
    return MembershipChange(reader, audience, open=True)


def closing(reader: str, audience: str, unless_named: tuple[str, str] | None = None) -> MembershipChange:
    return MembershipChange(reader, audience, open=False, unless_named=unless_named)


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


async def test_changes_come_before_what_is_asked_later_whether_awaited_or_not(store: Store) -> None:
    store.change_memberships([opening(ANN, "all")], now=1.0)
    store.change_memberships([opening(BOB, "all")], now=1.0)
    (first,) = await send(store, TO_ALL)
    store.change_memberships([closing(ANN, "all")], now=2.0)
    (second,) = await send(store, TO_ALL)
    store.change_memberships([opening(ANN, "all")], now=3.0)
    await store.drop_membership(ANN, "all")
    assert await listed(store, ANN) == []
    assert await listed(store, BOB) == [second, first]


async def test_what_is_read_later_comes_after_the_changes(store: Store) -> None:
    (late,) = await send(store, LATE)
    reads: dict[str, Callable[[str], Awaitable[object]]] = {
        "inbox": lambda reader: store.inbox(reader, InboxQuery(), now=2.0),
        "notification": lambda reader: store.notification(reader, late, now=2.0),
        "unread_count": lambda reader: store.unread_count(reader, now=2.0),
        "undelivered": lambda reader: store.undelivered(reader, limit=10, now=2.0),
        "readers": lambda _: store.readers("all"),
        "audiences_of": lambda reader: store.audiences_of(reader, "al"),
        "open_memberships": lambda _: store.open_memberships("al"),
    }
    for name, read in reads.items():
        before = await read(name)
        store.change_memberships([opening(name, "all")], now=1.0)
        assert await read(name) != before, name


async def test_changes_of_one_key_happen_in_their_order(store: Store) -> None:
    await store.change_memberships([opening(ANN, "room:a"), closing(ANN, "room:a")], now=1.0)
    await store.change_memberships(
        [closing(BOB, "room:a"), opening(BOB, "room:a"), closing(BOB, "room:b"), opening(BOB, "room:b")], now=1.0
    )
    await store.change_memberships([closing(BOB, "room:b"), opening(BOB, "room:b")], now=1.0)
    assert await store.open_memberships("room:") == [(BOB, "room:a"), (BOB, "room:b")]
    await store.change_memberships([], now=1.0)
    (a,) = await send(store, Target(audience="room:a"))
    await store.change_memberships([closing(BOB, "room:a"), opening(BOB, "room:a"), closing(BOB, "room:a")], now=2.0)
    await send(store, Target(audience="room:a"))
    assert await listed(store, BOB) == [a]


async def test_a_membership_is_not_closed_while_a_row_names_the_reader(store: Store) -> None:
    row = {"id": 7, "customer_id": 1, "created_by": "2"}
    await store.change_entity("job", "7", lambda _: row, name_fields=("customer_id", "created_by"))
    readers = [ANN, BOB, "user:3", GUEST]
    await store.change_memberships([opening(reader, "room:a") for reader in readers], now=1.0)
    await store.change_memberships([closing(reader, "room:a", ("job", "7")) for reader in readers], now=2.0)
    assert await store.readers("room:a") == [ANN, BOB]
    await store.change_memberships([closing(ANN, "room:a", ("job", "8")), closing(BOB, "room:a")], now=3.0)
    assert await store.readers("room:a") == []
    await store.change_memberships([opening(ANN, "room:a"), closing(ANN, "room:a", ("job", "7"))], now=4.0)
    assert await store.readers("room:a") == [ANN]


async def test_changes_say_for_whom_late_rows_came_or_went(store: Store) -> None:
    await send(store, Target(audience="room:a", late_join=True), Target(audience="room:b"))
    both = [opening(ANN, "room:b"), opening(BOB, "room:a")]
    assert await store.change_memberships(both, now=1.0) == {BOB}
    assert await store.change_memberships(both, now=2.0) == frozenset()
    ends = [closing(ANN, "room:b"), closing(BOB, "room:a"), closing(GUEST, "room:a")]
    assert await store.change_memberships(ends, now=3.0) == {BOB}
    assert await store.change_memberships(ends, now=4.0) == frozenset()


async def test_each_caller_hears_of_their_own_changes(store: Store) -> None:
    await send(store, Target(audience="room:a", late_join=True))
    asked = [store.change_memberships([opening(reader, "room:a")], now=1.0) for reader in (ANN, BOB)]
    assert [await one for one in asked] == [{ANN}, {BOB}]


async def test_more_changes_than_one_statement_takes(store: Store, crowd: int) -> None:
    readers = [f"user:{number}" for number in range(crowd)]
    await store.change_memberships([opening(reader, "room:a") for reader in readers], now=1.0)
    assert sorted(await store.readers("room:a")) == sorted(readers)
    (heard,) = await send(store, Target(audience="room:a"))
    await store.change_memberships([closing(reader, "room:a", ("job", "1")) for reader in readers], now=2.0)
    assert await store.readers("room:a") == []
    assert await listed(store, readers[-1]) == [heard]


async def test_changes_of_a_closed_store_fail_in_their_future(store: Store) -> None:
    await store.close()
    asked = store.change_memberships([opening(ANN, "all")], now=1.0)
    with pytest.raises(StoreUnavailable):
        await asked


async def test_changes_that_nobody_waits_for_outlive_the_store(opener: Opener) -> None:
    store = await opener()
    store.change_memberships([opening(ANN, "all")], now=1.0)
    await store.close()
    assert await (await opener()).readers("all") == [ANN]
