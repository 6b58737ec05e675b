"""How SQLite finds things: with a million rows nothing may look at all of them."""

import sqlite3
from collections.abc import Callable, Iterator

import pytest

from realtime.models import Content, Device, InboxQuery, NewMessage, Place, Receipt, Retention, Target
from realtime.store import sqlite_broadcasts as broadcasts
from realtime.store import sqlite_cursors as cursors
from realtime.store import sqlite_delivery as delivery
from realtime.store import sqlite_devices as devices
from realtime.store import sqlite_inbox as inbox
from realtime.store import sqlite_marks as marks
from realtime.store import sqlite_messages as messages
from realtime.store import sqlite_publish as publish
from realtime.store import sqlite_receipts as receipts
from realtime.store import sqlite_sync as sync
from realtime.store import sqlite_upkeep as upkeep
from realtime.store.sqlite_schema import migrate

Work = Callable[[sqlite3.Connection], object]

KEY = "INTEGER PRIMARY KEY (rowid=?)"
DELIVERED = "PRIMARY KEY (reader=? AND id=?)"
MARK = "PRIMARY KEY (reader=? AND seq=?)"
LOG_ID = "sqlite_autoindex_log_1 (id=?)"
STANDING = "log_standing (audience=? AND seq>? AND seq<?)"
KEPT = "log_kept (seq>? AND seq<?)"
BEFORE = Place(0, 0, 0, 0, 1.0)
CHANGED = {
    "inbox": {
        "inbox_changed (recipient=? AND rev>?)",
        "inbox_expiring (recipient=? AND expires_at>? AND expires_at<?)",
        "inbox_waking (recipient=? AND snoozed_until>? AND snoozed_until<?)",
    },
    "tombstone": {"PRIMARY KEY (reader=? AND rev>?)"},
    "l": {
        "log_changed (audience=? AND rev>?)",
        "log_expiring (audience=? AND expires_at>? AND expires_at<?)",
        "log_audience (audience=? AND seq>? AND seq<?)",
        "log_late (audience=?)",
        STANDING,
        KEY,
    },
    "x": {"PRIMARY KEY (reader=?)", "PRIMARY KEY (reader=? AND audience=?)"},
}
"""What sync looks at when a reader comes back."""

ROW = publish.Encoded.encode(Content("info", "Hello", "Hello there"), None)
SENT = publish.Encoded.encode(Content("info", "Hello", "Hello there", group_key="g"), None)


def _one_too_many(db: sqlite3.Connection) -> None:
    for _ in range(2):
        publish.add(db, [Target(recipient="user:1")], ROW, now=1.0, most=1)


# What is done, and by which key or index each table in question is searched.
WORK: dict[str, tuple[Work, dict[str, set[str]]]] = {
    "add": (
        lambda db: messages.add(db, NewMessage("1", "2", "Hi"), now=1.0),
        {"message": {"message_repeated (sender=? AND receiver=? AND client_id=? AND created_at>? AND created_at<?)"}},
    ),
    "add with an id": (
        lambda db: messages.add(db, NewMessage("1", "2", "Hi", "c1"), now=1.0),
        {"message": {"message_repeated (sender=? AND receiver=? AND client_id=? AND created_at>? AND created_at<?)"}},
    ),
    "message": (lambda db: messages.message(db, 1), {"message": {KEY}}),
    "read": (lambda db: messages.read(db, 1, "2", now=2.0), {"message": {KEY}}),
    "read a conversation": (
        lambda db: messages.read_conversation(db, "2", "1", up_to=5, now=2.0, limit=9),
        {"message": {KEY, "message_unread (receiver=? AND sender=? AND read_at=? AND rowid<?)"}},
    ),
    "deliver": (lambda db: messages.set_delivered(db, [1, 2], now=2.0), {"message": {KEY}}),
    "notify": (lambda db: messages.set_notification(db, 1, 7), {"message": {KEY}}),
    "undelivered": (
        lambda db: messages.undelivered(db, "2", limit=10),
        {"message": {"message_undelivered (receiver=?)"}},
    ),
    "conversations": (
        lambda db: messages.conversations(db, "1", limit=10, offset=10),
        {
            "conversation": {"conversation_newest (user=?)"},
            "c": {"conversation_newest (user=?)"},
            "m": {KEY},
            "u": {"message_unread (receiver=? AND sender=? AND read_at=?)"},
        },
    ),
    "history": (
        lambda db: messages.history(db, "1", "2", before=9, limit=10),
        {"message": {"message_between (sender=? AND receiver=? AND rowid<?)"}},
    ),
    "search": (
        lambda db: messages.search(db, "1", "hi", other=None, before=9, limit=10),
        {"message": {"message_sent (sender=? AND rowid<?)", "message_received (receiver=? AND rowid<?)"}},
    ),
    "search of one": (
        lambda db: messages.search(db, "1", "hi", other="2", before=9, limit=10),
        {"message": {"message_between (sender=? AND receiver=? AND rowid<?)"}},
    ),
    "unread": (lambda db: messages.unread(db, "1"), {"u": {"message_unread (receiver=?)"}}),
    "count": (messages.count, {"heads": {"PRIMARY KEY (name=?)"}}),
    "register": (
        lambda db: devices.register(db, Device("t", "user:1", None, 1.0)),
        {"device": {"sqlite_autoindex_device_1 (token=?)", "device_owner (owner=?)", KEY}},
    ),
    "unregister": (lambda db: devices.unregister(db, "user:1", "t"), {"device": {"device_owner (owner=?)"}}),
    "devices": (lambda db: devices.of(db, "user:1"), {"device": {"device_owner (owner=?)"}}),
    "notifications undelivered": (
        lambda db: delivery.undelivered(db, "user:1", limit=10, now=2.0),
        {"inbox": {"inbox_unread (recipient=?)", KEY}, "d": {DELIVERED}},
    ),
    "notifications delivered": (
        lambda db: delivery.set_delivered(db, "user:1", [1, 2], now=2.0),
        {"i": {KEY}, "l": {"sqlite_autoindex_log_1 (id=?)"}},
    ),
    "notification with an id": (
        lambda db: publish.add(db, [Target(recipient="user:1")], SENT, id=1, now=1.0),
        {
            "inbox": {KEY, "inbox_group (recipient=? AND group_key=?)"},
            "log": {"sqlite_autoindex_log_1 (id=?)"},
            "l": {"sqlite_autoindex_log_1 (id=?)"},
        },
    ),
    "notification with keys": (
        lambda db: publish.add(db, [Target(recipient="user:1")], SENT, dedup_key="k", request="r", now=1.0),
        {"dedup": {"PRIMARY KEY (target=? AND key=?)"}},
    ),
    "one too many": (_one_too_many, {"inbox": {KEY, "inbox_newest (recipient=?)"}}),
    "counts": (
        lambda db: inbox.counts(db, "user:1", now=2.0),
        {
            "inbox": {"inbox_unread (recipient=?)"},
            "m": {"PRIMARY KEY (reader=?)", "PRIMARY KEY (reader=? AND audience=?)"},
            "l": {STANDING, "log_late (audience=?)", KEY},
            "s": {MARK, "state_unread (reader=?)"},
        },
    ),
    "a page": (
        lambda db: inbox.page(db, "user:1", InboxQuery(), now=2.0),
        {
            "inbox": {"inbox_newest (recipient=?)", KEY},
            "l": {STANDING, "log_late (audience=?)", LOG_ID},
            "s": {f"{MARK} LEFT-JOIN"},
        },
    ),
    "everything read": (
        lambda db: cursors.mark_all(db, "user:1", None, cursors.READ, now=2.0),
        {"inbox": {"inbox_unread (recipient=?)"}, "l": {STANDING, "log_late (audience=?)", KEY, KEPT}},
    ),
    "changed": (lambda db: sync.changed(db, "user:1", BEFORE, remembered=0, now=2.0), CHANGED),
    "changes": (
        lambda db: sync.changes(db, "user:1", BEFORE, above=0, limit=9, remembered=0, now=2.0),
        {**CHANGED, "inbox": {*CHANGED["inbox"], KEY}, "l": {*CHANGED["l"], LOG_ID}},
    ),
    "missed": (
        lambda db: sync.missed(db, "user:1", BEFORE, limit=9, now=2.0),
        {
            "inbox": {"inbox_changed (recipient=? AND rev>?)", KEY},
            "l": {"log_changed (audience=? AND rev>?)", LOG_ID},
            "s": {f"{MARK} LEFT-JOIN"},
        },
    ),
    "visible": (
        lambda db: inbox.visible(db, "user:1", [2, 3], now=2.0),
        {"inbox": {KEY}, "l": {LOG_ID}, "s": {f"{MARK} LEFT-JOIN"}},
    ),
    "receipts": (
        lambda db: receipts.add(db, [Receipt(3, "read", "user:1", 2.0, "phone")]),
        {"receipt": {"receipt_first (reader=? AND notification=? AND stage=?)"}},
    ),
    "moments": (
        lambda db: sync.moments(db, 1.0, 2.0),
        {
            "inbox": {
                "inbox_expiry (expires_at>? AND expires_at<?)",
                "inbox_snoozed (snoozed_until>? AND snoozed_until<?)",
            },
            "broadcast_state": {"state_snoozed (snoozed_until>? AND snoozed_until<?)"},
            "log": {"log_expiry (expires_at>? AND expires_at<?)"},
        },
    ),
    "place": (lambda db: sync.place(db, now=2.0), {"heads": {"PRIMARY KEY (name=?)"}}),
    "an audience": (
        lambda db: broadcasts.audience_size(db, Target(audience="all", excluded=frozenset({"user:2"})), limit=9),
        {"membership": {"membership_open (audience=?)", "membership_open (audience=? AND reader=? AND to_seq=?)"}},
    ),
    "retract": (lambda db: broadcasts.retract(db, 3, now=2.0), {"l": {LOG_ID}, "log": {LOG_ID}}),
    "snooze": (lambda db: marks.snooze(db, "user:1", 2, 9.0, now=2.0), {"inbox": {KEY}}),
    "archive": (lambda db: marks.set_archived(db, "user:1", 3, True, now=2.0), {"l": {LOG_ID}, "log": {LOG_ID}}),
    "sweep": (
        lambda db: upkeep.sweep_some(db, Retention(max_rows=0, rows=1.0), now=5.0),
        {
            "inbox": {"inbox_expiry (expires_at<?)", "inbox_archived (archived_at<?)", "inbox_age (created_at<?)", KEY},
            "log": {
                "log_expiry (expires_at<?)",
                "log_retracted (retracted_at<?)",
                "log_age (created_at<?)",
                "log_swept (swept_at<?)",
                "log_kept (seq>?)",
                "log_unstripped (seq>?)",
                KEY,
            },
            "tombstone": {"tombstone_age (at<?)", "PRIMARY KEY (reader=? AND rev=?)"},
            "read_cursor": {"read_cursor_upto (upto<?)", "read_cursor_upto (upto=? AND reader=?)"},
            "seen_cursor": {"seen_cursor_upto (upto<?)", "seen_cursor_upto (upto=? AND reader=?)"},
            "stir": {"stir_age (at=?)", "stir_age (at<?)", "PRIMARY KEY (reader=? AND audience=?)"},
        },
    ),
}

ORDERED = ("undelivered", "conversations", "history", "search", "search of one", "devices")
"""Those whose rows an index already has in order, so that a page costs no more than its rows."""


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    db = sqlite3.connect(":memory:", isolation_level=None)
    migrate(db)
    publish.take_id(db)
    publish.add(db, [Target(recipient="user:1"), Target(audience="all")], ROW, now=1.0)  # 2 and 3
    db.execute("INSERT INTO membership VALUES ('user:1', 'all', 0, NULL)")
    db.execute("UPDATE heads SET value = 0 WHERE name = 'epoch'")
    yield db
    db.close()


def plan(db: sqlite3.Connection, work: Work) -> list[str]:
    """Return the steps of SQLite's plans of all statements that the work runs."""
    statements: list[str] = []
    db.set_trace_callback(statements.append)
    work(db)
    db.set_trace_callback(None)
    # Triggers are remarks, and infinity is not written as it is read.
    asked = [statement.replace("Inf", "9e999") for statement in statements if not statement.startswith("--")]
    return [step for statement in asked for *_, step in db.execute(f"EXPLAIN QUERY PLAN {statement}")]


def paths(steps: list[str], table: str) -> set[str]:
    """Return by what a table, or its alias, is gone through."""
    found = [step.split(" ", 2) for step in steps]
    ways = {rest[0].removeprefix("USING ") for verb, name, *rest in filter(_three, found) if name == table}
    return {way.removeprefix("COVERING ").removeprefix("INDEX ") for way in ways}


def _three(step: list[str]) -> bool:
    return len(step) == 3 and step[0] in ("SCAN", "SEARCH")


@pytest.mark.parametrize("name", WORK)
def test_everything_is_found_by_a_key_or_an_index(db: sqlite3.Connection, name: str) -> None:
    work, expected = WORK[name]
    steps = plan(db, work)
    tables = {row for (row,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert {table: paths(steps, table) for table in expected} == expected
    assert [step for step in steps if step.startswith("SCAN") and step.split()[1] in tables | set(expected)] == []


@pytest.mark.parametrize("name", ORDERED)
def test_a_page_is_read_in_the_order_of_an_index(db: sqlite3.Connection, name: str) -> None:
    assert [step for step in plan(db, WORK[name][0]) if "TEMP B-TREE" in step] == []


@pytest.mark.parametrize("name", ["unread", "conversations"])
def test_what_is_unread_is_counted_in_the_index_alone(db: sqlite3.Connection, name: str) -> None:
    assert any(step.startswith("SEARCH u USING COVERING INDEX") for step in plan(db, WORK[name][0]))
