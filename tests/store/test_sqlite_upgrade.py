"""Databases that an earlier version of the program has written."""

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from realtime.models import Content, Counts, Held, InboxQuery, NewMessage, Target
from realtime.store import sqlite_schema
from realtime.store.sqlite import SqliteStore

ANN = "user:1"
HELLO = Content("info", "Hello", "Hello there", metadata={"n": 7}, group_key="g")
OLD_DOCUMENT = json.dumps(["Hello", "Hello there", "normal", None, {"n": 7}, []])
DETAILED = json.dumps(["Hello", "Hello there", "normal", None, {}, [], {"category": "billing"}])
OLD_ROWS = f"""
    INSERT INTO membership VALUES ('{ANN}', 'all', 0, NULL);
    INSERT INTO inbox VALUES (1, '{ANN}', 'info', '{OLD_DOCUMENT}', NULL, 1.0, 1.0, NULL, NULL, 'g', 1);
    INSERT INTO log VALUES (1, 2, 'all', NULL, 0, 'info', '{OLD_DOCUMENT}', NULL, 1.0, 1.0, NULL, 'g');
    INSERT INTO draft (id, recipient, late_join, type, content, run_at, created_at, group_key)
        VALUES (3, '{ANN}', 0, 'info', '{OLD_DOCUMENT}', 9.0, 1.0, 'g');
    UPDATE heads SET value = 3 WHERE name = 'notification';
    UPDATE heads SET value = 1 WHERE name = 'log';
"""
OLD_INBOX = f"""
    INSERT INTO membership VALUES ('{ANN}', 'all', 0, NULL), ('{ANN}', 'room:a', 0, 2), ('{ANN}', 'room:b', 2, 3);
    INSERT INTO inbox VALUES
        (1, '{ANN}', 'info', '{DETAILED}', NULL, 1.0, 1.0, NULL, NULL, NULL, 1),
        (2, '{ANN}', 'info', '{OLD_DOCUMENT}', NULL, 2.0, 2.0, 3.0, NULL, NULL, 1);
    INSERT INTO log VALUES
        (1, 3, 'all', NULL, 0, 'info', '{DETAILED}', NULL, 1.0, 1.0, NULL, NULL),
        (2, 4, 'room:a', '["user:9"]', 0, 'info', '{OLD_DOCUMENT}', NULL, 2.0, 2.0, NULL, NULL),
        (3, 5, 'all', NULL, 1, 'info', '{OLD_DOCUMENT}', NULL, 3.0, 3.0, NULL, NULL),
        (4, 6, 'all', NULL, 0, 'info', '{OLD_DOCUMENT}', NULL, 4.0, 4.0, NULL, NULL);
    INSERT INTO read_cursor VALUES ('{ANN}', 1, 5.0);
    INSERT INTO broadcast_state VALUES ('{ANN}', 3, 6.0, 0), ('{ANN}', 4, NULL, 0);
    INSERT INTO draft (id, recipient, late_join, type, content, run_at, created_at, dedup_key)
        VALUES (7, '{ANN}', 0, 'info', '{DETAILED}', 9.0, 1.0, 'k');
    INSERT INTO draft (id, audience, late_join, type, content, sender, run_at, created_at, dedup_key)
        VALUES (8, 'all', 0, 'info', '{DETAILED}', 'user:€ 9', 99.0, 1.0, 'k');
    UPDATE heads SET value = 8 WHERE name = 'notification';
    UPDATE heads SET value = 4 WHERE name = 'log';
"""


@pytest.fixture
async def upgraded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SqliteStore:
    """A store over a database of schema 2, from before content had details."""
    path = tmp_path / "test.db"
    with monkeypatch.context() as old:
        old.setattr(sqlite_schema, "VERSION", 2)
        store = SqliteStore(path)
        await store.open()
        await store.close()
    db = sqlite3.connect(path)
    db.executescript(OLD_ROWS)
    db.close()
    return SqliteStore(path)


async def test_content_without_details_is_still_read(upgraded: SqliteStore) -> None:
    await upgraded.open()
    rows, _ = await upgraded.inbox(ANN, InboxQuery(), now=2.0)
    assert [(row.id, row.content) for row in rows] == [(2, HELLO), (1, HELLO)]
    draft = await upgraded.draft(3)
    assert draft is not None
    assert draft.content == HELLO
    published = await upgraded.publish_draft(3, now=9.0)
    assert published is not None
    assert (published.notification.content, published.notification.group_count) == (HELLO, 2)
    detailed = replace(HELLO, details={"hotel_id": 7})
    (stored,) = await upgraded.add([Target(recipient=ANN)], detailed, sender=None, now=10.0)
    assert (stored.notification.id, stored.notification.group_count) == (3, 3)
    assert await upgraded.notification(ANN, 3, now=11.0) == stored.notification
    await upgraded.close()


async def test_nobody_has_taken_what_is_unread_in_an_older_database(upgraded: SqliteStore) -> None:
    await upgraded.open()
    assert [row.id for row in await upgraded.undelivered(ANN, limit=10, now=2.0)] == [1, 2]
    await upgraded.set_delivered(ANN, [1], now=3.0)
    assert [row.id for row in await upgraded.undelivered(ANN, limit=10, now=4.0)] == [2]
    assert await upgraded.take_id() == 4
    await upgraded.close()


async def test_an_older_database_learns_to_chat(upgraded: SqliteStore) -> None:
    await upgraded.open()
    assert await upgraded.message_count() == 0
    stored = await upgraded.add_message(NewMessage("1", "2", "Hi"), now=1.0)
    assert await upgraded.history("2", "1", before=None, limit=10) == [stored.message]
    await upgraded.register_device(ANN, "phone", platform=None, now=2.0)
    assert [device.token for device in await upgraded.devices(ANN)] == ["phone"]
    await upgraded.close()


@pytest.fixture
async def before_shelves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SqliteStore:
    """A store over a database of schema 3, from before rows could be seen, put away or counted by category."""
    path = tmp_path / "test.db"
    with monkeypatch.context() as old:
        old.setattr(sqlite_schema, "VERSION", 3)
        store = SqliteStore(path)
        await store.open()
        await store.close()
    db = sqlite3.connect(path)
    db.executescript(OLD_INBOX)
    db.close()
    return SqliteStore(path)


async def test_an_older_inbox_keeps_everything_and_what_was_read_was_seen(before_shelves: SqliteStore) -> None:
    store = before_shelves
    await store.open()
    rows, _ = await store.inbox(ANN, InboxQuery(), now=7.0)
    assert [(row.id, row.read_at, row.seen_at) for row in rows] == [
        (6, None, None), (5, 6.0, 6.0), (4, None, None), (2, 3.0, 3.0), (3, 5.0, 5.0), (1, None, None),
    ]  # fmt: skip
    assert await store.counts([ANN], now=7.0) == {ANN: Counts(3, 3, {"billing": 1, "info": 2}, 0)}
    assert {row.id: row.category for row in rows if row.category != "info"} == {1: "billing", 3: "billing"}
    page = await store.changes(ANN, None, limit=10, now=7.0)
    assert (page.reset, [change.id for change in page.changes]) == (True, [1, 2, 3, 4, 5, 6])
    assert page.place.epoch > 0
    assert await store.audiences_of(ANN, "") == ["all", "room:a"]  # nothing was heard in the other room
    await store.close()


async def test_a_draft_of_an_older_database_has_taken_its_dedup_key(before_shelves: SqliteStore) -> None:
    store = before_shelves
    await store.open()
    (held,) = await store.add_drafts([Target(recipient=ANN)], HELLO, sender=None, run_at=9.0, now=7.0, dedup_key="k")
    assert isinstance(held, Held)
    assert (held.draft.id, held.duplicate) == (7, True)
    everybody, sender = [Target(audience="all")], "user:€ 9"
    (held,) = await store.add_drafts(everybody, HELLO, sender=sender, run_at=9.0, now=7.0, dedup_key="k")
    assert isinstance(held, Held)
    assert (held.draft.id, held.duplicate) == (8, True)
    published = await store.publish_draft(7, now=9.0)
    assert published is not None
    assert (published.duplicate, published.notification.category) == (False, "billing")
    assert (await store.counts([ANN], now=9.0))[ANN].categories == {"billing": 2, "info": 2}
    await store.close()


async def test_each_database_has_an_epoch_of_its_own(tmp_path: Path) -> None:
    epochs = set()
    for name in ("a.db", "b.db"):
        store = SqliteStore(tmp_path / name)
        await store.open()
        epochs.add((await store.place(ANN, now=1.0)).epoch)
        await store.close()
    assert len(epochs) == 2
    assert all(0 < epoch < 2**53 for epoch in epochs)
