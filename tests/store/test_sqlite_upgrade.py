"""Databases that an earlier version of the program has written."""

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from realtime.models import Content, InboxQuery, NewMessage, Target
from realtime.store import sqlite_schema
from realtime.store.sqlite import SqliteStore

ANN = "user:1"
HELLO = Content("info", "Hello", "Hello there", metadata={"n": 7}, group_key="g")
OLD_DOCUMENT = json.dumps(["Hello", "Hello there", "normal", None, {"n": 7}, []])
OLD_ROWS = f"""
    INSERT INTO membership VALUES ('{ANN}', 'all', 0, NULL);
    INSERT INTO inbox VALUES (1, '{ANN}', 'info', '{OLD_DOCUMENT}', NULL, 1.0, 1.0, NULL, NULL, 'g', 1);
    INSERT INTO log VALUES (1, 2, 'all', NULL, 0, 'info', '{OLD_DOCUMENT}', NULL, 1.0, 1.0, NULL, 'g');
    INSERT INTO draft (id, recipient, late_join, type, content, run_at, created_at, group_key)
        VALUES (3, '{ANN}', 0, 'info', '{OLD_DOCUMENT}', 9.0, 1.0, 'g');
    UPDATE heads SET value = 3 WHERE name = 'notification';
    UPDATE heads SET value = 1 WHERE name = 'log';
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
