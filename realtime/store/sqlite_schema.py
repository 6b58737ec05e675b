"""The SQLite schema as numbered steps; `PRAGMA user_version` says how many a database has had.

A step that has been released is never edited: a change is a new step at the end.
"""

import sqlite3
from contextlib import suppress

from realtime.errors import StoreRefused

APPLICATION_ID = 0x526F6F6D
"""`Room`: tells our files from other programs' (bytes 68 to 71 of the file)."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # Last number given out. Persisted, so that deleting the newest row never frees its number.
        "CREATE TABLE heads (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
        "INSERT INTO heads VALUES ('notification', 0), ('log', 0), ('check', 0)",
        # Direct notifications. `content` is the JSON of what no query looks into.
        """CREATE TABLE inbox (
            id INTEGER PRIMARY KEY, recipient TEXT NOT NULL, type TEXT NOT NULL, content TEXT NOT NULL, sender TEXT,
            created_at REAL NOT NULL, updated_at REAL NOT NULL, read_at REAL, expires_at REAL,
            group_key TEXT, group_count INTEGER NOT NULL)""",
        "CREATE INDEX inbox_newest ON inbox (recipient, created_at DESC, id DESC, expires_at)",
        "CREATE INDEX inbox_unread ON inbox (recipient, expires_at) WHERE read_at IS NULL",
        "CREATE INDEX inbox_group ON inbox (recipient, group_key) WHERE read_at IS NULL AND group_key IS NOT NULL",
        "CREATE INDEX inbox_expiry ON inbox (expires_at) WHERE expires_at IS NOT NULL",
        # Broadcasts in the order of publication. `excluded` is a JSON list of principals, or NULL.
        """CREATE TABLE log (
            seq INTEGER PRIMARY KEY, id INTEGER NOT NULL UNIQUE, audience TEXT NOT NULL, excluded TEXT,
            late_join INTEGER NOT NULL, type TEXT NOT NULL, content TEXT NOT NULL, sender TEXT,
            created_at REAL NOT NULL, updated_at REAL NOT NULL, expires_at REAL, group_key TEXT)""",
        "CREATE INDEX log_audience ON log (audience, seq)",
        "CREATE INDEX log_late ON log (audience, seq) WHERE late_join = 1",
        "CREATE INDEX log_expiry ON log (expires_at) WHERE expires_at IS NOT NULL",
        # Held from_seq < seq <= to_seq; open while to_seq is NULL. The intervals of one key never overlap.
        """CREATE TABLE membership (
            reader TEXT NOT NULL, audience TEXT NOT NULL, from_seq INTEGER NOT NULL, to_seq INTEGER,
            PRIMARY KEY (reader, audience, from_seq)) WITHOUT ROWID""",
        "CREATE INDEX membership_audience ON membership (audience, reader)",
        # One row per effective mark-all-read. A broadcast without an explicit state was read at the smallest
        # `upto` >= its seq; it is unread when there is none.
        """CREATE TABLE read_cursor (
            reader TEXT NOT NULL, upto INTEGER NOT NULL, read_at REAL NOT NULL,
            PRIMARY KEY (reader, upto)) WITHOUT ROWID""",
        # What the cursor cannot say: hidden, read (read_at), or unread (NULL) whatever the cursor says.
        """CREATE TABLE broadcast_state (
            reader TEXT NOT NULL, seq INTEGER NOT NULL, read_at REAL, hidden INTEGER NOT NULL,
            PRIMARY KEY (reader, seq)) WITHOUT ROWID""",
        "CREATE INDEX state_unread ON broadcast_state (reader, seq) WHERE read_at IS NULL AND hidden = 0",
        "CREATE INDEX state_seq ON broadcast_state (seq)",
        """CREATE TABLE dedup (
            target TEXT NOT NULL, key TEXT NOT NULL, id INTEGER NOT NULL, created_at REAL NOT NULL,
            expires_at REAL NOT NULL, PRIMARY KEY (target, key)) WITHOUT ROWID""",
        "CREATE INDEX dedup_expiry ON dedup (expires_at)",
        """CREATE TABLE draft (
            id INTEGER PRIMARY KEY, recipient TEXT, audience TEXT, excluded TEXT, late_join INTEGER NOT NULL,
            type TEXT NOT NULL, content TEXT NOT NULL, sender TEXT, run_at REAL NOT NULL, created_at REAL NOT NULL,
            expires_at REAL, group_key TEXT, dedup_key TEXT)""",
        "CREATE INDEX draft_due ON draft (run_at, id)",
    ),
    (
        # `num` is the id as a number, NULL when it is not one; NULLs sort last in descending order.
        """CREATE TABLE entity (
            kind TEXT NOT NULL, id TEXT NOT NULL, num INTEGER, row TEXT NOT NULL, UNIQUE (kind, id))""",
        "CREATE INDEX entity_newest ON entity (kind, num DESC, id DESC)",
        """CREATE TABLE entity_name (
            kind TEXT NOT NULL, id TEXT NOT NULL, user TEXT NOT NULL, PRIMARY KEY (kind, id, user)) WITHOUT ROWID""",
        "CREATE INDEX entity_named ON entity_name (kind, user, id)",
        # Numbers above the kind's head that an upsert took and a deletion freed: they are not given out either.
        "CREATE TABLE entity_gone (kind TEXT NOT NULL, num INTEGER NOT NULL, PRIMARY KEY (kind, num)) WITHOUT ROWID",
        # `wire_id` is JSON: 7 and "7" are different.
        """CREATE TABLE user (
            id TEXT PRIMARY KEY, wire_id TEXT NOT NULL, role TEXT NOT NULL, name TEXT, email TEXT,
            status TEXT NOT NULL, first_seen REAL NOT NULL, last_seen REAL, role_set_at REAL NOT NULL) WITHOUT ROWID""",
        "CREATE INDEX user_role_set ON user (id) WHERE role_set_at > 0",
        # `status` is NULL while the request runs in the process that opened the store as `boot`.
        """CREATE TABLE request (
            principal TEXT NOT NULL, key TEXT NOT NULL, fingerprint TEXT NOT NULL, status INTEGER, body BLOB NOT NULL,
            boot TEXT NOT NULL, expires_at REAL NOT NULL, UNIQUE (principal, key))""",
        "CREATE INDEX request_expiry ON request (expires_at)",
    ),
    (
        # Notifications that a client of the reader has taken. They are forgotten with the notification, also when
        # its group puts a new row in its place; a sweep removes those of a broadcast before, in portions.
        "CREATE TABLE delivery (reader TEXT NOT NULL, id INTEGER NOT NULL, PRIMARY KEY (reader, id)) WITHOUT ROWID",
        "CREATE INDEX delivery_id ON delivery (id)",
        "CREATE TRIGGER inbox_gone AFTER DELETE ON inbox BEGIN DELETE FROM delivery WHERE id = old.id; END",
        "CREATE TRIGGER log_gone AFTER DELETE ON log BEGIN DELETE FROM delivery WHERE id = old.id; END",
        "INSERT INTO heads VALUES ('message', 0)",
        # `content` is last, so that what is asked of a long message is on its first page. Indexes end with the id.
        """CREATE TABLE message (
            id INTEGER PRIMARY KEY, sender TEXT NOT NULL, receiver TEXT NOT NULL, client_id TEXT,
            created_at REAL NOT NULL, delivered_at REAL, read_at REAL, notification INTEGER, content TEXT NOT NULL)""",
        "CREATE INDEX message_sent ON message (sender)",
        "CREATE INDEX message_received ON message (receiver)",
        "CREATE INDEX message_between ON message (sender, receiver)",
        "CREATE INDEX message_repeated ON message (sender, receiver, client_id, created_at)",
        "CREATE INDEX message_unread ON message (receiver, sender, read_at) WHERE read_at IS NULL",
        "CREATE INDEX message_undelivered ON message (receiver) WHERE delivered_at IS NULL",
        # `last` is the newest message of the two.
        """CREATE TABLE conversation (
            user TEXT NOT NULL, other TEXT NOT NULL, last INTEGER NOT NULL, PRIMARY KEY (user, other)) WITHOUT ROWID""",
        "CREATE INDEX conversation_newest ON conversation (user, last DESC)",
        """CREATE TABLE device (
            num INTEGER PRIMARY KEY, token TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, platform TEXT,
            registered_at REAL NOT NULL)""",
        "CREATE INDEX device_owner ON device (owner)",
    ),
)

VERSION = len(MIGRATIONS)


def require_ours(db: sqlite3.Connection, name: str) -> None:
    """Raise StoreRefused for a newer database and for one of another program. Writes nothing.

    `name` is for the message.
    """
    version = _pragma(db, "user_version")
    application = _pragma(db, "application_id")
    if application == APPLICATION_ID:
        if version > VERSION:
            raise StoreRefused(
                f"{name} was written by a newer Roomcast: its schema has version {version}, this program knows "
                f"{VERSION}. Run the newer program, or restore the backup from before the upgrade"
            )
        return
    tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application or version or tables:
        raise StoreRefused(f"{name} is the database of another program. Choose another DATABASE_URL")


def migrate(db: sqlite3.Connection) -> None:
    """Bring a database that `require_ours` let pass to VERSION, one transaction per step."""
    while (version := _pragma(db, "user_version")) < VERSION:
        db.execute("BEGIN IMMEDIATE")
        try:
            if _pragma(db, "user_version") == version:
                _apply(db, version)
            db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                db.rollback()
            raise


def _apply(db: sqlite3.Connection, version: int) -> None:
    for statement in MIGRATIONS[version]:
        db.execute(statement)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {version + 1}")


def _pragma(db: sqlite3.Connection, name: str) -> int:
    value: int = db.execute(f"PRAGMA {name}").fetchone()[0]
    return value
