"""The removal of what has expired and of what is kept long enough, and the proof that the database can commit.

A sweep works in portions, so that the writer has time for others between them. A broadcast goes in three steps: it is
swept, and nobody sees it any more; what readers did with it is taken away, then its content; when nobody can be told
of it any more, the row goes, with the memberships that it alone made worth remembering.
"""

# ruff: noqa: S608 - SQL is put together from constants of this package, values are bound

import sqlite3
from collections import Counter
from collections.abc import Iterator

from realtime.models import Retention
from realtime.store.sqlite_heads import Heads
from realtime.store.sqlite_marks import bury
from realtime.store.sqlite_rows import ID_MAX, head, set_head
from realtime.store.sqlite_sync import GONE, GONE_BROADCASTS

SWEEP_ROWS = 500
"""Rows of one kind that one transaction of a sweep removes; a few milliseconds for the writer."""

PROBE_BYTES = 16 * 1024
"""More than a few pages, so that a check needs room that the file may not have."""

LIMITED = "max_rows"
"""The head that says to how many rows a sweep has found every recipient limited."""

SURPLUS = "SELECT recipient, rows - ? FROM inbox_size WHERE rows > ? LIMIT ?"
OLDEST = "SELECT id, recipient FROM inbox WHERE recipient = ? ORDER BY created_at, id LIMIT ?"

UNSTRIPPED = """SELECT seq, id FROM log INDEXED BY log_unstripped
    WHERE swept_at IS NOT NULL AND content <> '' AND seq > 0 ORDER BY seq LIMIT :rows"""
OF_READERS = (
    f"""DELETE FROM broadcast_state WHERE (reader, seq) IN (
        SELECT s.reader, s.seq FROM ({UNSTRIPPED}) AS l CROSS JOIN broadcast_state AS s ON s.seq = l.seq
        LIMIT :rows)""",
    f"""DELETE FROM delivery WHERE (reader, id) IN (
        SELECT d.reader, d.id FROM ({UNSTRIPPED}) AS l CROSS JOIN delivery AS d ON d.id = l.id LIMIT :rows)""",
)
STRIP = f"""UPDATE log SET type = '', category = NULL, content = '', sender = NULL, excluded = NULL, group_key = NULL
    WHERE seq IN (SELECT seq FROM ({UNSTRIPPED}))"""

OLDEST_BROADCAST = """SELECT seq FROM log INDEXED BY log_kept
    WHERE swept_at IS NULL AND seq > 0 ORDER BY seq LIMIT 1"""
PASSED = """DELETE FROM {table} WHERE (reader, upto) IN (
    SELECT reader, upto FROM {table} WHERE upto < :oldest LIMIT :rows)"""

# Closed between the broadcasts before and after this one: it is the only one that they let anybody see.
FOR_ONE = """DELETE FROM membership WHERE (reader, audience, from_seq) IN (
    SELECT reader, audience, from_seq FROM membership WHERE audience = :audience AND to_seq >= :seq
    AND to_seq < (SELECT ifnull(min(seq), :last) FROM log WHERE audience = :audience AND seq > :seq)
    AND from_seq >= (SELECT ifnull(max(seq), 0) FROM log WHERE audience = :audience AND seq < :seq) LIMIT :rows)"""

GONE_BEFORE = """DELETE FROM {table} WHERE ({key}) IN (
    SELECT {key} FROM {table} WHERE at < :until LIMIT :rows) RETURNING rev"""
FORGOTTEN = "DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} WHERE {column} <= :until LIMIT :rows)"


class _Sweeping:
    """One portion of each kind."""

    def __init__(self, db: sqlite3.Connection, retention: Retention, now: float) -> None:
        self.db = db
        self.retention = retention
        self.now = now
        self.heads = Heads(db)
        self.removed: Counter[str] = Counter()
        self.more = False

    def run(self) -> None:
        for kind, column, until in self._direct_kinds():
            self._bury(kind, f"SELECT id, recipient FROM inbox WHERE {column} <= ? LIMIT ?", (until, SWEEP_ROWS))
        self._bury_surplus()
        self._end_broadcasts()
        self._strip_broadcasts()
        self._forget_cursors()
        if self.retention.tombstones:
            self._forget_the_gone(self.now - self.retention.tombstones)
        self._forget("dedup_keys", "dedup", "target, key", "expires_at", self.now)
        self._forget("responses", "request", "principal, key", "expires_at", self.now)
        if self.retention.receipts:
            self._forget("receipts", "receipt", "num", "at", self.now - self.retention.receipts)
        self.heads.save()

    def _direct_kinds(self) -> Iterator[tuple[str, str, float]]:
        yield "expired", "expires_at", self.now
        if self.retention.archived:
            yield "archived", "archived_at", self.now - self.retention.archived
        if self.retention.rows:
            yield "aged", "created_at", self.now - self.retention.rows

    def _bury(self, kind: str, which: str, values: tuple[object, ...]) -> int:
        found = self.db.execute(which, values).fetchall()
        for id, recipient in found:
            bury(self.heads, recipient, id, at=self.now)
        self._count(kind, len(found))
        return len(found)

    def _bury_surplus(self) -> None:
        """Adding keeps everybody to the limit, so that it is looked for only after the limit has changed."""
        most = self.retention.max_rows
        if most == head(self.db, LIMITED):
            return
        left = SWEEP_ROWS
        for recipient, count in self.db.execute(SURPLUS, (most, most or ID_MAX, SWEEP_ROWS)).fetchall():
            left -= self._bury("surplus", OLDEST, (recipient, min(count, left)))
            if left <= 0:
                self.more = True
                return
        set_head(self.db, LIMITED, most)

    def _end_broadcasts(self) -> None:
        """From now on nobody sees them, also when the clock is set back."""
        ended = [("expired", "expires_at <= ?", self.now), ("broadcasts", "retracted_at <= ?", self.now)]
        if self.retention.broadcasts:
            ended.append(("broadcasts", "expires_at IS NULL AND created_at <= ?", self.now - self.retention.broadcasts))
        for kind, which, until in ended:
            found = self.db.execute(
                f"SELECT seq FROM log WHERE {which} AND swept_at IS NULL LIMIT ?", (until, SWEEP_ROWS)
            ).fetchall()
            swept = [(self.now, self.heads.take("log_rev"), seq) for (seq,) in found]
            self.db.executemany("UPDATE log SET swept_at = ?, rev = ? WHERE seq = ?", swept)
            self._count(kind, len(found))

    def _strip_broadcasts(self) -> None:
        """There can be a mark and a delivery for each reader; they go first."""
        for statement in OF_READERS:
            if self.db.execute(statement, {"rows": SWEEP_ROWS}).rowcount:
                self.more = True
                return
        self.more |= self.db.execute(STRIP, {"rows": SWEEP_ROWS}).rowcount == SWEEP_ROWS

    def _forget_cursors(self) -> None:
        """A cursor below the oldest broadcast says nothing."""
        oldest = self.db.execute(OLDEST_BROADCAST).fetchone()
        values = {"oldest": oldest[0] if oldest else ID_MAX, "rows": SWEEP_ROWS}
        for table in ("read_cursor", "seen_cursor"):
            self.more |= self.db.execute(PASSED.format(table=table), values).rowcount == SWEEP_ROWS

    def _forget_the_gone(self, until: float) -> None:
        """Whoever knows an inbox as of before what is forgotten has to ask for all of it from now on."""
        self.db.execute("UPDATE stir SET at = ? WHERE at IS NULL", (self.now,))
        for table, key in (("stir", "reader, audience"), ("tombstone", "reader, rev")):
            statement = GONE_BEFORE.format(table=table, key=key)
            gone = self.db.execute(statement, {"until": until, "rows": SWEEP_ROWS}).fetchall()
            self._count("tombstones", len(gone))
            self._raise(GONE, [rev for (rev,) in gone])
        found = self.db.execute(
            "SELECT seq, audience, rev FROM log WHERE swept_at < ? AND content = '' LIMIT ?", (until, SWEEP_ROWS)
        ).fetchall()
        self.more |= len(found) == SWEEP_ROWS
        self._raise(GONE_BROADCASTS, [rev for seq, audience, rev in found if self._forget_broadcast(seq, audience)])

    def _raise(self, name: str, revs: list[int]) -> None:
        if revs:
            set_head(self.db, name, max(head(self.db, name), *revs))

    def _forget_broadcast(self, seq: int, audience: str) -> bool:
        """Return whether it is gone, and not only some of the memberships that nobody needs without it."""
        left = SWEEP_ROWS - self.removed["memberships"]
        values = {"seq": seq, "audience": audience, "last": ID_MAX, "rows": left}
        count = self.db.execute(FOR_ONE, values).rowcount
        self.removed["memberships"] += count
        if count == left:
            self.more = True
            return False
        self.db.execute("DELETE FROM log WHERE seq = ?", (seq,))
        self.removed["tombstones"] += 1
        return True

    def _forget(self, kind: str, table: str, key: str, column: str, until: float) -> None:
        statement = FORGOTTEN.format(table=table, key=key, column=column)
        self._count(kind, self.db.execute(statement, {"until": until, "rows": SWEEP_ROWS}).rowcount)

    def _count(self, kind: str, count: int) -> None:
        self.removed[kind] += count
        self.more |= count == SWEEP_ROWS


def sweep_some(db: sqlite3.Connection, retention: Retention, *, now: float) -> tuple[dict[str, int], bool]:
    """Remove up to SWEEP_ROWS of each kind; returns (how many of each, whether to go on)."""
    work = _Sweeping(db, retention, now)
    work.run()
    return {kind: count for kind, count in work.removed.items() if count}, work.more


def probe(db: sqlite3.Connection) -> None:
    """Take some pages, give them back, and leave something to commit."""
    db.execute("SAVEPOINT probe")
    db.execute(
        "INSERT INTO request (principal, key, fingerprint, body, expires_at) VALUES ('', '', '', zeroblob(?), 0)",
        (PROBE_BYTES,),
    )
    db.execute("ROLLBACK TO probe")
    db.execute("RELEASE probe")
    db.execute("UPDATE heads SET value = value + 1 WHERE name = 'check'")
