"""What SQLite knows of one user: all of it is given out, and nothing of it is left."""

import sqlite3
from pathlib import Path

from realtime.models import Content, EntityQuery, JsonObject, NewMessage, Principal, Receipt, Seen, Target
from realtime.store.sqlite import SqliteStore

ANN, BOB, CAT = "user:1", "user:2", "user:3"
HELLO = Content("info", "Hello", "Hello there")
TO_ALL = Target(audience="all")


async def add(store: SqliteStore, target: Target, *, sender: Principal | None = None) -> int:
    (stored,) = await store.add([target], HELLO, sender=sender, now=1.0)
    return stored.notification.id


async def fill(store: SqliteStore) -> dict[str, int]:
    """Give Ann one of everything, and things that name her to others."""
    await store.touch_user(Seen("1", "1", "technician", None, None, 1.0), now=1.0)
    ids = {
        "hers": await add(store, Target(recipient=ANN), sender=BOB),
        "seen": await add(store, TO_ALL),
        "gone": await add(store, Target(recipient=ANN)),
        "to_bob": await add(store, Target(recipient=BOB), sender=ANN),
        "to_all": await add(store, Target(audience="all", excluded=frozenset({ANN, CAT})), sender=ANN),
    }
    drafts = [Target(recipient=ANN), TO_ALL]
    await store.add_drafts(drafts, HELLO, sender=ANN, run_at=99.0, now=1.0, dedup_key="k")
    await store.set_read(ANN, ids["seen"], True, now=2.0)
    await add(store, TO_ALL)
    await store.mark_all_seen(ANN, up_to=None, now=2.0)
    await store.mark_all_read(ANN, up_to=None, now=2.0)
    await store.delete_notification(ANN, ids["gone"], now=2.0)
    await store.set_delivered(ANN, [ids["hers"]], now=2.0)
    await store.open_membership(ANN, "room:a", now=2.0)
    await add(store, Target(audience="room:a"))
    await store.drop_membership(ANN, "room:a")
    await store.add_receipts([Receipt(ids["hers"], "sent", ANN, 2.0), Receipt(ids["seen"], "sent", BOB, 2.0)])
    for message in (NewMessage("1", "2", "to Bob"), NewMessage("2", "1", "to Ann"), NewMessage("2", "3", "to Cat")):
        await store.add_message(message, now=1.0)
    await store.register_device(ANN, "phone", platform=None, now=1.0)
    await store.begin_request(ANN, "key", "f", now=1.0)
    await store.change_entity(
        "ticket", "5", lambda _: {"id": 5, "technician_id": 1, "customer_id": 2, "floor": 1, "posted_by": ANN},
        name_fields=("technician_id", "customer_id"),
    )  # fmt: skip
    await store.change_entity("communication", "6", lambda _: {"recipient_id": 1}, name_fields=("recipient_id",))
    return ids


async def test_everything_about_a_user_is_given_out(store: SqliteStore) -> None:
    ids = await fill(store)
    found = await store.export_user("1")
    assert [user["role"] for user in found["users"]] == ["technician"]
    assert [row["id"] for row in found["notifications"]] == [ids["hers"]]
    assert [row["content"]["title"] for row in found["sent_notifications"]] == ["Hello"]
    assert [row["target"]["excluded"] for row in found["sent_broadcasts"]] == [[ANN, CAT]]
    assert sorted(row["content"] for row in found["messages"]) == ["to Ann", "to Bob"]
    assert [row["row"]["id"] for row in found["business_rows"]] == [5]
    assert all(found.values())
    stranger: dict[str, list[JsonObject]] = await store.export_user("nobody")
    assert stranger.keys() == found.keys()
    assert not any(stranger.values())


async def test_nothing_about_a_user_is_left_in_the_file(
    store: SqliteStore, outside: sqlite3.Connection, tmp_path: Path
) -> None:
    ids = await fill(store)
    gone = await store.delete_user("1")
    assert gone["notifications"] == 1
    assert gone["messages"] == 2
    assert not any((await store.export_user("1")).values())
    assert await store.delete_user("1") == {}
    tables = [name for (name,) in outside.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    left = [(table, row) for table in tables for row in outside.execute(f'SELECT * FROM "{table}"') if ANN in str(row)]
    assert left == []
    assert await add(store, Target(recipient=ANN)) > max(ids.values())


async def test_others_keep_what_a_user_who_is_gone_has_sent(store: SqliteStore) -> None:
    ids = await fill(store)
    await store.open_membership(BOB, "all", now=1.0)
    await store.delete_user("1")
    row = await store.notification(BOB, ids["to_bob"], now=3.0)
    assert row is not None
    assert (row.sender, row.content) == (None, HELLO)
    sent = await store.broadcast(ids["to_all"])
    assert sent is not None
    assert (sent.sender, sent.target.excluded) == (None, frozenset({CAT}))
    assert [(draft.sender, draft.target) for draft in await store.due_drafts(now=99.0, limit=9)] == [(None, TO_ALL)]
    assert [message.content for message in await store.history("2", "3", before=None, limit=9)] == ["to Cat"]
    assert await store.history("2", "1", before=None, limit=9) == []


async def test_business_rows_lose_the_fields_that_name_a_user_and_no_others(store: SqliteStore) -> None:
    await fill(store)
    await store.delete_user("1")
    assert await store.entity("ticket", "5") == {"id": 5, "customer_id": 2, "floor": 1, "posted_by": None}
    assert (await store.entities("ticket", EntityQuery(named="1")))[1] == 0
    assert (await store.entities("ticket", EntityQuery(named="2")))[1] == 1
    assert await store.entity("communication", "6") == {"recipient_id": 1}


async def test_in_rows_of_before_a_field_names_a_user_by_its_value(
    store: SqliteStore, outside: sqlite3.Connection
) -> None:
    await fill(store)
    outside.execute("UPDATE entity_name SET fields = NULL")
    await store.delete_user("1")
    assert await store.entity("ticket", "5") == {"id": 5, "customer_id": 2, "posted_by": None}


async def test_a_row_that_names_somebody_in_another_field_says_so(store: SqliteStore) -> None:
    both = ("technician_id", "customer_id")
    await store.change_entity("ticket", "5", lambda _: {"id": 5, "technician_id": 1}, name_fields=both)
    await store.change_entity("ticket", "5", lambda _: {"id": 5, "customer_id": 1}, name_fields=both)
    await store.delete_user("1")
    assert await store.entity("ticket", "5") == {"id": 5}


async def test_clients_of_a_user_who_is_gone_begin_anew(store: SqliteStore) -> None:
    await fill(store)
    place = await store.place(ANN, now=3.0)
    await store.delete_user("1")
    changes = await store.changes(ANN, place, limit=100, now=4.0)
    assert (changes.reset, changes.changes) == (True, ())
    again = await store.changes(ANN, changes.place, limit=100, now=5.0)
    assert (again.reset, again.changes) == (False, ())
