"""Users in every store (`realtime.store.base.DirectoryStore`)."""

import asyncio
from dataclasses import replace

import pytest

from realtime.models import (
    Seen,
    Target,
)
from realtime.store.base import Store
from tests.conformance.conftest import Opener
from tests.conformance.people import ANN, LATE, TO_ALL, listed, send, unread

SEEN = Seen(id="1", wire_id=1, role="user", name="Ann", email="ann@example.org", issued_at=0)


async def test_touch_user_creates_and_refreshes(store: Store) -> None:
    assert await store.user("1") is None
    user = await store.touch_user(SEEN, now=5.0)
    assert (user.id, user.wire_id, user.role, user.name, user.email) == ("1", 1, "user", "Ann", "ann@example.org")
    assert (user.first_seen, user.last_seen, user.role_set_at) == (5.0, None, 0.0)
    assert await store.user("1") == user
    assert await store.touch_user(SEEN, now=6.0) == user
    changed = await store.touch_user(replace(SEEN, name="Anna", role="admin"), now=7.0)
    assert changed == replace(user, name="Anna", role="admin")
    assert await store.touch_user(replace(SEEN, name=None, email=None, role="admin"), now=8.0) == changed


async def test_wire_id_keeps_its_type(opener: Opener) -> None:
    store = await opener()
    for id, wire_id in (("7", 7), ("8", "8"), ("9" * 20, int("9" * 20))):
        await store.touch_user(replace(SEEN, id=id, wire_id=wire_id), now=1.0)
    await store.close()
    store = await opener()
    for id, wire_id in (("7", 7), ("8", "8"), ("9" * 20, int("9" * 20))):
        user = await store.user(id)
        assert user is not None
        assert (user.wire_id, type(user.wire_id)) == (wire_id, type(wire_id))
    assert type((await store.touch_user(replace(SEEN, id="7", wire_id="7"), now=1.0)).wire_id) is str


async def test_memberships_follow_the_role(store: Store) -> None:
    (late,) = await send(store, LATE)
    await send(store, TO_ALL, Target(audience="role:user"))
    await store.touch_user(SEEN, now=1.0)
    assert await unread(store, ANN) == [late]
    everyone, role = await send(store, TO_ALL, Target(audience="role:user"), now=2.0)
    await send(store, Target(audience="role:admin"), now=3.0)
    assert await listed(store, ANN) == [role, everyone, late]
    await store.touch_user(replace(SEEN, role="admin"), now=4.0)
    assert await listed(store, ANN) == [everyone, late]
    (seen,) = await send(store, Target(audience="role:admin"), now=5.0)
    assert await listed(store, ANN) == [seen, everyone, late]
    await store.set_user("1", role="user", name=None, now=6.0)
    assert await listed(store, ANN) == [everyone, late]
    assert await store.readers("role:admin") == []
    assert await store.readers("role:user") == await store.readers("all") == [ANN]


async def test_a_role_set_later_than_the_token_is_kept(store: Store) -> None:
    await store.touch_user(SEEN, now=1.0)
    user = await store.set_user("1", role="admin", name="Boss", now=50.0)
    assert (user.role, user.name, user.role_set_at) == ("admin", "Boss", 50.0)
    assert await store.user("1") == user
    assert (await store.touch_user(replace(SEEN, issued_at=49.0), now=51.0)).role == "admin"
    assert (await store.touch_user(replace(SEEN, issued_at=51.0), now=52.0)).role == "user"
    assert await store.roles_set() == {"1": ("user", 50.0)}


async def test_set_user_creates_whom_it_does_not_know(store: Store) -> None:
    named = await store.set_user("abc", role=None, name="New", now=5.0)
    assert (named.wire_id, named.role, named.name, named.first_seen, named.role_set_at) == (
        "abc",
        "user",
        "New",
        5.0,
        0,
    )
    admin = await store.set_user("12", role="admin", name=None, now=6.0)
    assert (admin.wire_id, admin.role, admin.role_set_at) == (12, "admin", 6.0)
    assert sorted(await store.readers("all")) == ["user:12", "user:abc"]
    assert await store.readers("role:admin") == ["user:12"]
    assert await store.roles_set() == {"12": ("admin", 6.0)}
    assert (await store.set_user("12", role=None, name="N", now=7.0)) == replace(admin, name="N")


async def test_last_seen_is_stored_for_known_users(store: Store) -> None:
    user = await store.touch_user(SEEN, now=1.0)
    await store.set_last_seen({"1": ("away", 9.0), "nobody": ("online", 9.0)})
    assert await store.user("1") == replace(user, status="away", last_seen=9.0)
    assert await store.user("nobody") is None
    await store.set_last_seen({})


async def test_many_connections_of_one_user_agree(store: Store) -> None:
    tokens = [replace(SEEN, role=role) for role in ("user", "admin", "manager")]
    await asyncio.gather(*[store.touch_user(token, now=1.0) for token in tokens * 10])
    user = await store.user("1")
    assert user is not None
    held = [role for role in ("user", "admin", "manager") if await store.readers(f"role:{role}")]
    assert held == [user.role]


async def test_a_crowd_is_recorded_as_if_one_came_after_the_other(store: Store, crowd: int) -> None:
    tokens = [replace(SEEN, id=str(number), wire_id=number, name=f"N\0{number}") for number in range(crowd // 3)]
    users = await asyncio.gather(*(store.touch_user(seen, now=1.0) for seen in tokens))
    assert [user.name for user in users] == [seen.name for seen in tokens]
    assert [await store.user(seen.id) for seen in tokens] == users
    assert len(await store.readers("all")) == len(await store.readers("role:user")) == crowd // 3
    changes = [replace(SEEN, role="admin"), replace(SEEN, role="manager", name="B"), replace(SEEN, id="new")]
    users = await asyncio.gather(*(store.touch_user(seen, now=2.0) for seen in changes))
    assert [(user.role, user.name) for user in users] == [("admin", "Ann"), ("manager", "B"), ("user", "Ann")]
    assert [await store.readers(f"role:{role}") for role in ("admin", "manager")] == [[], [ANN]]
    assert "user:new" in await store.readers("all")
    assert len(await store.readers("role:user")) == crowd // 3


# --- tokens that nobody waits for ---


async def test_what_is_asked_after_noting_a_user_comes_after_it(store: Store) -> None:
    noted = store.note_user(SEEN, now=5.0)
    assert not noted.done()
    known = await store.user("1")
    assert known is not None
    assert (known.wire_id, known.role, known.first_seen) == (1, "user", 5.0)
    assert await noted == known


@pytest.mark.parametrize("target", [TO_ALL, Target(audience="role:user")], ids=["everybody", "a role"])
async def test_who_was_noted_receives_what_is_sent_from_then_on(store: Store, target: Target) -> None:
    await send(store, target)
    noted = store.note_user(SEEN, now=1.0)
    (sent,) = await send(store, target, now=2.0)
    assert await listed(store, ANN) == [sent]
    assert noted.done()


async def test_reads_about_a_noted_user_come_after_it(store: Store) -> None:
    (late,) = await send(store, LATE)
    store.note_user(SEEN, now=1.0)
    assert await listed(store, ANN) == [late]
    store.note_user(replace(SEEN, id="2", wire_id=2), now=1.0)
    assert await store.readers("all") == [ANN, "user:2"]
    store.note_user(replace(SEEN, id="3", wire_id=3), now=1.0)
    assert (await store.audience_size(TO_ALL, limit=0))[0] == 3
    store.note_user(replace(SEEN, id="4", wire_id=4), now=1.0)
    assert (await store.counts(["user:4"], now=1.0))["user:4"].unread == 1


async def test_what_an_administrator_sets_comes_after_what_was_noted(store: Store) -> None:
    noted = store.note_user(SEEN, now=1.0)
    set_ = await store.set_user("1", role="admin", name=None, now=2.0)
    assert (await noted).role == "user"
    assert (set_.name, set_.role) == ("Ann", "admin")
    assert await store.readers("role:user") == []


async def test_who_is_deleted_after_being_noted_is_gone(store: Store) -> None:
    noted = store.note_user(SEEN, now=1.0)
    await store.delete_user("1")
    await noted
    assert await store.user("1") is None
    assert await store.readers("all") == []


async def test_closing_the_store_keeps_what_was_noted(opener: Opener) -> None:
    store = await opener()
    store.note_user(SEEN, now=1.0)
    await store.close()
    store = await opener()
    assert await store.user("1") is not None


async def test_many_are_noted_together(store: Store) -> None:
    noted = [store.note_user(replace(SEEN, id=str(id), wire_id=id), now=1.0) for id in range(1, 31)]
    assert [user.wire_id for user in await asyncio.gather(*noted)] == [*range(1, 31)]


async def test_who_was_noted_with_another_role_is_no_longer_among_those_of_the_former_one(store: Store) -> None:
    target = Target(audience="role:user")
    await store.touch_user(SEEN, now=1.0)
    store.note_user(replace(SEEN, role="manager"), now=2.0)
    assert await store.readers("role:user") == []
    store.note_user(SEEN, now=3.0)
    assert (await store.audience_size(Target(audience="role:manager"), limit=0))[0] == 0
    noted = store.note_user(replace(SEEN, role="manager"), now=4.0)
    await send(store, target, now=5.0)
    assert noted.done()
    assert await listed(store, ANN) == []


async def test_when_somebody_was_last_seen_comes_after_what_was_noted(store: Store) -> None:
    noted = store.note_user(SEEN, now=1.0)
    await store.set_last_seen({"1": ("away", 7.0)})
    await noted
    known = await store.user("1")
    assert known is not None
    assert (known.status, known.last_seen) == ("away", 7.0)
