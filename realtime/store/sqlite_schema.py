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
    (
        # `rev` numbers what changes in readers' own rows, marks, cursors and memberships, `log_rev` what changes in
        # the log. `epoch` tells this database from every other one.
        "INSERT INTO heads VALUES ('rev', 0), ('log_rev', 0), ('epoch', 1 + (random() & 9007199254740990))",
        # `came` is the revision at which the row came into being, `rev` that of its last change. A category of NULL
        # is the type.
        "ALTER TABLE inbox ADD COLUMN category TEXT",
        "ALTER TABLE inbox ADD COLUMN seen_at REAL",
        "ALTER TABLE inbox ADD COLUMN archived_at REAL",
        "ALTER TABLE inbox ADD COLUMN snoozed_until REAL",
        "ALTER TABLE inbox ADD COLUMN came INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE inbox ADD COLUMN rev INTEGER NOT NULL DEFAULT 0",
        "UPDATE inbox SET seen_at = read_at WHERE read_at IS NOT NULL",
        # Communications said their category where only their application looked.
        "UPDATE inbox SET category = nullif(json_extract(content, '$[6].category'), '')"
        " WHERE json_type(content, '$[6].category') = 'text'",
        # Lists and counts look at these indexes alone; that is why they end with what their conditions are about.
        "DROP INDEX inbox_newest",
        """CREATE INDEX inbox_newest ON inbox (
            recipient, created_at DESC, id DESC, expires_at, type, read_at, archived_at, snoozed_until)""",
        "DROP INDEX inbox_unread",
        """CREATE INDEX inbox_unread ON inbox (
            recipient, category, type, expires_at, snoozed_until, seen_at, read_at, archived_at)
            WHERE read_at IS NULL AND archived_at IS NULL""",
        "CREATE INDEX inbox_changed ON inbox (recipient, rev)",
        "CREATE INDEX inbox_expiring ON inbox (recipient, expires_at) WHERE expires_at IS NOT NULL",
        "CREATE INDEX inbox_waking ON inbox (recipient, snoozed_until) WHERE snoozed_until IS NOT NULL",
        "CREATE INDEX inbox_snoozed ON inbox (snoozed_until) WHERE snoozed_until IS NOT NULL",
        "CREATE INDEX inbox_archived ON inbox (archived_at) WHERE archived_at IS NOT NULL",
        "CREATE INDEX inbox_age ON inbox (created_at)",
        # How many rows each recipient has, of which there is a most. Whoever adds one counts it.
        "CREATE TABLE inbox_size (recipient TEXT PRIMARY KEY, rows INTEGER NOT NULL) WITHOUT ROWID",
        "INSERT INTO inbox_size SELECT recipient, count(*) FROM inbox GROUP BY recipient",
        """CREATE TRIGGER inbox_shrinks AFTER DELETE ON inbox BEGIN
            UPDATE inbox_size SET rows = rows - 1 WHERE recipient = old.recipient;
            DELETE FROM inbox_size WHERE recipient = old.recipient AND rows = 0;
            END""",
        # Direct rows that are gone; `rev` is that of their going.
        """CREATE TABLE tombstone (
            reader TEXT NOT NULL, rev INTEGER NOT NULL, id INTEGER NOT NULL, at REAL NOT NULL,
            PRIMARY KEY (reader, rev)) WITHOUT ROWID""",
        "CREATE INDEX tombstone_age ON tombstone (at)",
        # `came` and `rev` are of the log. What was swept is kept as a tombstone, its content and its readers' marks
        # are taken away in portions.
        "ALTER TABLE log ADD COLUMN category TEXT",
        "ALTER TABLE log ADD COLUMN retracted_at REAL",
        "ALTER TABLE log ADD COLUMN swept_at REAL",
        "ALTER TABLE log ADD COLUMN came INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE log ADD COLUMN rev INTEGER NOT NULL DEFAULT 0",
        "UPDATE log SET category = nullif(json_extract(content, '$[6].category'), '')"
        " WHERE json_type(content, '$[6].category') = 'text'",
        "DROP INDEX log_expiry",
        """CREATE INDEX log_standing ON log (
            audience, seq, expires_at, category, type, excluded, late_join, retracted_at, swept_at)
            WHERE late_join = 0 AND retracted_at IS NULL AND swept_at IS NULL""",
        "CREATE INDEX log_expiry ON log (expires_at) WHERE expires_at IS NOT NULL AND swept_at IS NULL",
        "CREATE INDEX log_expiring ON log (audience, expires_at) WHERE expires_at IS NOT NULL AND swept_at IS NULL",
        "CREATE INDEX log_changed ON log (audience, rev)",
        "CREATE INDEX log_age ON log (created_at) WHERE expires_at IS NULL AND swept_at IS NULL",
        "CREATE INDEX log_retracted ON log (retracted_at) WHERE retracted_at IS NOT NULL AND swept_at IS NULL",
        "CREATE INDEX log_swept ON log (swept_at) WHERE swept_at IS NOT NULL",
        "CREATE INDEX log_unstripped ON log (seq) WHERE swept_at IS NOT NULL AND content <> ''",
        "CREATE INDEX log_kept ON log (seq) WHERE swept_at IS NULL",
        # The mark of a reader is all that counts for a broadcast that has one.
        "ALTER TABLE broadcast_state ADD COLUMN seen_at REAL",
        "ALTER TABLE broadcast_state ADD COLUMN archived_at REAL",
        "ALTER TABLE broadcast_state ADD COLUMN snoozed_until REAL",
        "ALTER TABLE broadcast_state ADD COLUMN rev INTEGER NOT NULL DEFAULT 0",
        "UPDATE broadcast_state SET seen_at = read_at WHERE read_at IS NOT NULL",
        "DROP INDEX state_unread",
        """CREATE INDEX state_unread ON broadcast_state (
            reader, seq, snoozed_until, seen_at, read_at, hidden, archived_at)
            WHERE read_at IS NULL AND hidden = 0 AND archived_at IS NULL""",
        "CREATE INDEX state_changed ON broadcast_state (reader, rev)",
        "CREATE INDEX state_waking ON broadcast_state (reader, snoozed_until) WHERE snoozed_until IS NOT NULL",
        "CREATE INDEX state_snoozed ON broadcast_state (snoozed_until) WHERE snoozed_until IS NOT NULL",
        # As the read cursor, for what was seen.
        "ALTER TABLE read_cursor ADD COLUMN rev INTEGER NOT NULL DEFAULT 0",
        "CREATE INDEX read_cursor_upto ON read_cursor (upto)",
        """CREATE TABLE seen_cursor (
            reader TEXT NOT NULL, upto INTEGER NOT NULL, seen_at REAL NOT NULL, rev INTEGER NOT NULL,
            PRIMARY KEY (reader, upto)) WITHOUT ROWID""",
        "CREATE INDEX seen_cursor_upto ON seen_cursor (upto)",
        """DELETE FROM membership WHERE to_seq IS NOT NULL AND NOT EXISTS (SELECT 1 FROM log
            WHERE log.audience = membership.audience AND log.seq > from_seq AND log.seq <= to_seq)""",
        "DROP INDEX membership_audience",
        "CREATE INDEX membership_open ON membership (audience, reader, to_seq) WHERE to_seq IS NULL",
        "CREATE INDEX membership_closed ON membership (audience, to_seq) WHERE to_seq IS NOT NULL",
        # A reader's coming or going that changed which broadcasts of before they see: of low < seq <= high, and those
        # of late_join. `at` is when a sweep first met it, NULL until then.
        """CREATE TABLE stir (
            reader TEXT NOT NULL, audience TEXT NOT NULL, rev INTEGER NOT NULL, low INTEGER NOT NULL,
            high INTEGER NOT NULL, at REAL, PRIMARY KEY (reader, audience)) WITHOUT ROWID""",
        "CREATE INDEX stir_age ON stir (at)",
        # A draft takes its dedup key when it is made, and gives it back when it is cancelled.
        "CREATE INDEX dedup_id ON dedup (id)",
        """INSERT OR IGNORE INTO dedup SELECT
            CASE WHEN recipient IS NULL THEN 'at ' || audience ELSE 'to ' || recipient END,
            'by ' || length(ifnull(sender, '')) || ' ' || ifnull(sender, '') || ' ' || dedup_key,
            id, created_at, created_at + 86400 FROM draft WHERE dedup_key IS NOT NULL""",
    ),
    (
        # How people are told things: BCP 47 and IANA names, as their tokens or an import gave them.
        "ALTER TABLE user ADD COLUMN locale TEXT",
        "ALTER TABLE user ADD COLUMN tz TEXT",
        # A request that has no status yet runs until then, in whatever process.
        "ALTER TABLE request ADD COLUMN claimed_until REAL",
        "ALTER TABLE request DROP COLUMN boot",
        # Of one stage at one device the first; without a device they are all of one.
        """CREATE TABLE receipt (
            num INTEGER PRIMARY KEY, notification INTEGER NOT NULL, stage TEXT NOT NULL, reader TEXT NOT NULL,
            at REAL NOT NULL, device TEXT, detail TEXT)""",
        "CREATE UNIQUE INDEX receipt_first ON receipt (reader, notification, stage, ifnull(device, ''))",
        "CREATE INDEX receipt_oldest ON receipt (notification, at)",
        "CREATE INDEX receipt_age ON receipt (at)",
        # `removed` is JSON: {kind: how many}.
        "CREATE TABLE sweep (num INTEGER PRIMARY KEY, at REAL NOT NULL, removed TEXT NOT NULL)",
        # Which fields of the row name the user, as JSON; NULL: written before anybody asked.
        "ALTER TABLE entity_name ADD COLUMN fields TEXT",
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


def is_current(db: sqlite3.Connection) -> bool:
    """Whether `migrate` has nothing to do."""
    return _pragma(db, "user_version") == VERSION


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
