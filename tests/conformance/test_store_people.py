"""Everything about one user (`realtime.store.base.PeopleStore`), and many users at once (`import_users`)."""

from dataclasses import replace

from realtime.models import Held, InboxQuery, NewMessage, Receipt, Seen, Target
from realtime.store.base import Store
from tests.conformance.conftest import Opener
from tests.conformance.people import ANN, BOB, HELLO, TO_ALL, TO_ANN, drafted, listed, send

ANNS = Seen("1", 1, "admin", "Ann Anders", "ann@example.org", 0, locale="de", tz="Europe/Berlin")
BOBS = Seen("2", 2, "user", "Bob Bright", "bob@example.org", 0)
SECRET = replace(HELLO, message="only Ann may know")
TO_BOB = Target(recipient=BOB)


async def live(store: Store) -> dict[str, int]:
    """Let Ann and Bob do everything that leaves a trace; return ids by name."""
    for seen in (ANNS, BOBS):
        await store.touch_user(seen, now=1.0)
    mine, shared = await send(store, TO_ANN, TO_ALL, content=SECRET, now=2.0)
    (bobs,) = await store.add([TO_BOB], HELLO, sender=ANN, now=2.0, dedup_key="k")
    (sent,) = await store.add([TO_ALL], HELLO, sender=ANN, now=2.0)
    (held,) = await store.add_drafts([TO_BOB], HELLO, sender=ANN, run_at=60.0, now=2.0)
    assert isinstance(held, Held)
    (draft,) = await drafted(store, TO_ANN, content=SECRET, dedup_key="k")
    for reader in (ANN, BOB):
        await store.set_read(reader, shared, True, now=3.0)
        await store.set_delivered(reader, [shared, mine, bobs.notification.id], now=3.0)
        await store.mark_all_seen(reader, up_to=None, now=3.0)
        await store.open_membership(reader, "room:a", now=3.0)
        await store.register_device(reader, f"token of {reader}", platform=None, now=3.0)
        await store.begin_request(reader, "k", "f", now=3.0)
        await store.add_receipts([Receipt(shared, "read", reader, 3.0, f"phone of {reader}")])
    for sender, receiver in (("1", "2"), ("2", "1"), ("2", "3")):
        await store.add_message(NewMessage(sender, receiver, f"from {sender} to {receiver}"), now=4.0)
    row = {"id": 7, "customer_id": "1", "worker_id": 2, "title": "Tap"}
    await store.change_entity("job", "7", lambda _: row, name_fields=("customer_id", "worker_id"))
    return {
        "mine": mine, "shared": shared, "bobs": bobs.notification.id, "sent": sent.notification.id,
        "draft": draft.id, "sent_draft": held.draft.id,
    }  # fmt: skip


async def test_an_export_has_everything_about_one_person(store: Store) -> None:
    await live(store)
    export = await store.export_user("1")
    assert all(isinstance(row, dict) for rows in export.values() for row in rows)
    everything = str(export)
    for part in (
        "Ann Anders", "ann@example.org", "Europe/Berlin", "only Ann may know", "room:a", "token of user:1",
        "phone of user:1", "from 1 to 2", "from 2 to 1", "Tap",
    ):  # fmt: skip
        assert part in everything, part
    for part in ("Bob Bright", "bob@example.org", "token of user:2", "phone of user:2", "from 2 to 3"):
        assert part not in everything, part


async def test_an_export_of_nobody_is_empty(store: Store) -> None:
    await live(store)
    assert not any((await store.export_user("99")).values())


async def test_a_deleted_user_has_left_nothing(opener: Opener) -> None:
    store = await opener()
    ids = await live(store)
    removed = await store.delete_user("1")
    assert removed
    assert all(removed.values())
    assert not any((await store.export_user("1")).values())
    assert await store.delete_user("1") == {}
    await store.close()
    store = await opener()
    assert await store.user("1") is None
    assert await listed(store, ANN) == []
    assert await store.inbox(ANN, InboxQuery(shelf="archived"), now=9.0) == ([], 0)
    assert await store.undelivered(ANN, limit=10, now=9.0) == []
    assert await store.audiences_of(ANN, "") == []
    assert await store.readers("all") == await store.readers("room:a") == [BOB]
    assert await store.devices(ANN) == []
    assert await store.draft(ids["draft"]) is None
    assert await store.conversations("1", limit=10, offset=0) == ([], 0)
    assert await store.begin_request(ANN, "k", "f2", now=5.0) is None
    assert not (await store.add([TO_BOB], HELLO, sender=ANN, now=5.0, dedup_key="k"))[0].duplicate
    assert ANN not in await store.readers_after("", 100)
    facts = await store.reader_facts(ANN, now=9.0)
    assert (facts.rows, facts.intervals, facts.marks) == ((), (), {})


async def test_what_others_have_of_a_deleted_user_stays_without_the_name(store: Store) -> None:
    ids = await live(store)
    before = await listed(store, BOB)
    await store.delete_user("1")
    assert await listed(store, BOB) == before
    for id in (ids["bobs"], ids["sent"]):
        row = await store.notification(BOB, id, now=9.0)
        assert row is not None
        assert row.sender is None
    draft = await store.draft(ids["sent_draft"])
    assert draft is not None
    assert draft.sender is None
    assert await store.entity("job", "7") == {"id": 7, "worker_id": 2, "title": "Tap"}
    assert await store.user("2") is not None
    assert [one.other for one in (await store.conversations("2", limit=10, offset=0))[0]] == ["3"]
    assert len(await store.devices(BOB)) == 1
    assert [one.reader for one in await receipts(store, ids["shared"])] == [BOB]
    shared = await store.notification(BOB, ids["shared"], now=9.0)
    assert shared is not None
    assert shared.read_at == 3.0


async def receipts(store: Store, id: int) -> tuple[Receipt, ...]:
    trace = await store.trace(id, limit=10, now=9.0)
    assert trace is not None
    return trace.receipts


async def test_ids_of_a_deleted_user_are_not_used_again(opener: Opener) -> None:
    store = await opener()
    await store.touch_user(ANNS, now=1.0)
    old = await send(store, TO_ANN, TO_ANN)
    here = await store.place(ANN, now=2.0)
    await store.delete_user("1")
    await store.close()
    store = await opener()
    await store.touch_user(ANNS, now=3.0)
    new = await send(store, TO_ANN, now=4.0)
    assert min(new) > max(old)
    assert await listed(store, ANN) == new
    page = await store.changes(ANN, here, limit=10, now=5.0)
    told = {change.id: change.notification is not None for change in page.changes}
    assert told == ({new[0]: True} if page.reset else {**dict.fromkeys(old, False), new[0]: True})


async def test_users_are_imported_as_their_tokens_would_have_them(store: Store) -> None:
    kept = await store.touch_user(BOBS, now=1.0)
    assert await store.import_users([ANNS, BOBS], audiences={}, now=5.0) == (1, 0)
    user = await store.user("1")
    assert user is not None
    assert (user.wire_id, user.role, user.name, user.email, user.locale, user.tz, user.first_seen) == (
        1, "admin", "Ann Anders", "ann@example.org", "de", "Europe/Berlin", 5.0,
    )  # fmt: skip
    assert await store.user("2") == kept
    assert sorted(await store.readers("all")) == [ANN, BOB]
    assert await store.readers("role:admin") == [ANN]
    changed = replace(BOBS, name="Bobby", role="admin")
    assert await store.import_users([ANNS, changed], audiences={}, now=6.0) == (0, 1)
    assert await store.user("2") == replace(kept, name="Bobby", role="admin")
    assert (await store.readers("role:admin"), await store.readers("role:user")) == ([ANN, BOB], [])
    assert await store.import_users([], audiences={}, now=7.0) == (0, 0)


async def test_imported_roles_hold_their_audiences(store: Store) -> None:
    audiences = {"admin": ["room:admin_room", "room:desk"], "user": []}
    await store.import_users([ANNS, BOBS], audiences=audiences, now=1.0)
    assert await store.readers("room:admin_room") == await store.readers("room:desk") == [ANN]
    (seen,) = await send(store, Target(audience="room:desk"))
    assert await listed(store, ANN) == [seen]
    await store.open_membership(ANN, "room:private", now=2.0)
    await store.import_users([replace(ANNS, role="user"), replace(BOBS, role="admin")], audiences=audiences, now=2.0)
    assert await store.readers("room:admin_room") == await store.readers("room:desk") == [BOB]
    assert await store.readers("room:private") == [ANN]
    assert (await store.readers("role:user"), await store.readers("role:admin")) == ([ANN], [BOB])


async def test_an_import_keeps_the_role_that_an_administrator_set(store: Store) -> None:
    await store.set_user("1", role="manager", name=None, now=50.0)
    audiences = {"admin": ["room:admin_room"], "manager": ["room:desk"]}
    await store.import_users([replace(ANNS, issued_at=49.0)], audiences=audiences, now=51.0)
    user = await store.user("1")
    assert user is not None
    assert (user.role, user.name) == ("manager", "Ann Anders")
    assert (await store.readers("room:admin_room"), await store.readers("room:desk")) == ([], [ANN])


async def test_many_users_are_imported_at_once(store: Store, crowd: int) -> None:
    people = [replace(ANNS, id=str(n), wire_id=n, name=f"N{n}", role="user") for n in range(crowd)]
    assert await store.import_users(people, audiences={"user": ["room:a"]}, now=1.0) == (crowd, 0)
    assert len(await store.readers("all")) == len(await store.readers("room:a")) == crowd
    assert await store.import_users(people, audiences={"user": ["room:a"]}, now=2.0) == (0, 0)


async def test_a_user_keeps_their_language_and_time_zone(opener: Opener) -> None:
    store = await opener()
    user = await store.touch_user(ANNS, now=1.0)
    assert (user.locale, user.tz) == ("de", "Europe/Berlin")
    assert await store.touch_user(replace(ANNS, locale=None, tz=None), now=2.0) == user
    moved = await store.touch_user(replace(ANNS, tz="Asia/Tokyo"), now=3.0)
    assert moved == replace(user, tz="Asia/Tokyo")
    await store.close()
    assert await (await opener()).user("1") == moved
