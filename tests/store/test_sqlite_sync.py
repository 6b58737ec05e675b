"""What sync must find although little is left of it."""

from collections.abc import Awaitable, Callable

import pytest

from realtime.models import Content, InboxChange, MembershipChange, Target
from realtime.store.sqlite import SqliteStore

ANN = "user:1"
HELLO = Content("info", "Hello", "Hello there")
LEAVING: dict[str, Callable[[SqliteStore], Awaitable[object]]] = {
    "close": lambda store: store.close_membership(ANN, "room:a", now=4.0),
    "crowd": lambda store: store.change_memberships([MembershipChange(ANN, "room:a", open=False)], now=4.0),
    "drop": lambda store: store.drop_membership(ANN, "room:a"),
}


@pytest.mark.parametrize("how", LEAVING)
async def test_a_retracted_row_is_told_to_who_has_left_since(store: SqliteStore, how: str) -> None:
    """The membership began after the row, so leaving removes all that says that the reader knew it."""
    target = Target(audience="room:a", late_join=True)
    (stored,) = await store.add([target], HELLO, sender=None, now=1.0)
    assert await store.open_membership(ANN, "room:a", now=2.0)
    since = await store.place(ANN, now=2.0)
    await store.retract(stored.notification.id, now=3.0)
    await LEAVING[how](store)
    page = await store.changes(ANN, since, limit=10, now=5.0)
    assert page.changes == (InboxChange(stored.notification.id, None),)


async def test_coming_and_going_where_nothing_is_said_moves_no_place(store: SqliteStore) -> None:
    since = await store.place(ANN, now=1.0)
    for _ in range(2):
        await store.open_membership(ANN, "room:a", now=1.0)
        await store.close_membership(ANN, "room:a", now=1.0)
        await store.change_memberships([MembershipChange(ANN, "room:a", open=True)], now=1.0)
        await store.drop_membership(ANN, "room:a")
    assert await store.place(ANN, now=1.0) == since
    assert not await store.changed(ANN, since, now=1.0)
