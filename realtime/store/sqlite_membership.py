"""Who holds an audience key, and since and until which broadcast.

An interval without a broadcast in it says nothing, so closing it removes it: the table grows with what was
received and not with every join and leave.

Opening and closing change what a reader sees of earlier broadcasts only where there are late-join rows; dropping
does where the reader has received something. Then it is a numbered change, remembered in `stir`.
"""

# ruff: noqa: S608 - SQL is put together from constants of this package, values are bound

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TypeVar

from realtime.models import MembershipChange, Principal
from realtime.store.sqlite_crowds import padded, rows
from realtime.store.sqlite_heads import take
from realtime.store.sqlite_rows import ID_MAX, head

HEARD_SINCE = "EXISTS (SELECT 1 FROM log WHERE log.audience = m.audience AND log.seq > m.from_seq)"
HEARD_EVER = "SELECT 1 FROM log WHERE audience = ? LIMIT 1"

CHANGES_MAX = 1000
"""Changes in one statement: five values each, and SQLite binds 32,766 at most."""

# The interval of each change that is open now. CROSS JOIN keeps the order: the changes first, each found by its key.
STILL_OPEN = """FROM change CROSS JOIN membership AS m
    ON m.reader = change.reader AND m.audience = change.audience AND m.to_seq IS NULL"""

LATE_MAX = 10_000
"""Audiences that are known to have late-join rows; if there are more, any audience may have some."""

# Late-join rows: those that can be seen, and those that a reader has to be told of when they leave.
WAITING = """SELECT 1 FROM log
    WHERE audience = ? AND late_join = 1 AND retracted_at IS NULL AND swept_at IS NULL LIMIT 1"""
KNOWN = "SELECT 1 FROM log WHERE audience = ? AND late_join = 1 LIMIT 1"

STIR = """INSERT INTO stir (reader, audience, rev, low, high) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (reader, audience) DO UPDATE SET rev = excluded.rev, low = min(low, excluded.low),
    high = max(high, excluded.high), at = NULL"""

IS_NAMED = """EXISTS (SELECT 1 FROM entity_name AS n
    WHERE n.kind = change.kind AND n.id = change.id AND 'user:' || n.user = change.reader)"""

Key = tuple[Principal, str]
T = TypeVar("T")


def readers(db: sqlite3.Connection, audience: str) -> list[Principal]:
    found = db.execute(
        "SELECT reader FROM membership WHERE audience = ? AND to_seq IS NULL ORDER BY reader", (audience,)
    )
    return [reader for (reader,) in found]


def open_(db: sqlite3.Connection, reader: Principal, audience: str) -> bool:
    """Start at the log's head; an interval that ended there goes on instead. True when late-join rows wait."""
    last = db.execute(
        "SELECT from_seq, to_seq FROM membership WHERE reader = ? AND audience = ? ORDER BY from_seq DESC LIMIT 1",
        (reader, audience),
    ).fetchone()
    if last is not None and last[1] is None:
        return False
    start = head(db, "log")
    if last is not None and last[1] == start:
        db.execute(
            "UPDATE membership SET to_seq = NULL WHERE reader = ? AND audience = ? AND from_seq = ?",
            (reader, audience, last[0]),
        )
    else:
        db.execute("INSERT INTO membership VALUES (?, ?, ?, NULL)", (reader, audience, start))
    late = db.execute(WAITING, (audience,)).fetchone() is not None
    if late:
        _stir(db, [(reader, audience)])
    return late


def close(db: sqlite3.Connection, reader: Principal, audience: str) -> None:
    values = {"reader": reader, "audience": audience, "head": head(db, "log")}
    mine = "reader = :reader AND audience = :audience AND to_seq IS NULL"
    gone = db.execute(f"DELETE FROM membership AS m WHERE {mine} AND NOT {HEARD_SINCE}", values).rowcount
    ended = db.execute(f"UPDATE membership SET to_seq = :head WHERE {mine}", values).rowcount
    if gone + ended and db.execute(KNOWN, (audience,)).fetchone():
        _stir(db, [(reader, audience)])


def change(db: sqlite3.Connection, calls: Sequence[Sequence[MembershipChange]]) -> list[frozenset[Principal]]:
    """Do what all calls want, in order, in few statements. Returns for each whose late-join rows came or went.

    Nothing is published in between, so of several changes of one key the last one counts, and an opening before it.
    """
    last = {(one.reader, one.audience): one for call in calls for one in call}
    opened = dict.fromkeys((one.reader, one.audience) for call in calls for one in call if one.open)
    closed = [one for one in last.values() if not one.open]
    late = _late(db, {audience for _, audience in last})
    waiting = {audience for audience in late if db.execute(WAITING, (audience,)).fetchone()}
    stirred: set[Key] = set()
    for some in _pieces(list(opened)):
        stirred |= _open_some(db, some, waiting)
    for some_changes in _pieces(closed):
        stirred |= _close_some(db, some_changes, late)
    _stir(db, stirred)
    told = {key for key in stirred if key[1] in waiting}
    return [frozenset(one.reader for one in call if (one.reader, one.audience) in told) for call in calls]


def open_all(db: sqlite3.Connection, audience: str, readers: Sequence[Principal]) -> frozenset[Principal]:
    """As `open_`, for many readers. Returns those for whom late-join rows have become visible."""
    late = {audience} if db.execute(WAITING, (audience,)).fetchone() else set()
    stirred: set[Key] = set()
    for some in _pieces(readers):
        stirred |= _open_some(db, [(reader, audience) for reader in some], late)
    _stir(db, stirred)
    return frozenset(reader for reader, _ in stirred)


def _pieces(everything: Sequence[T]) -> Iterator[Sequence[T]]:
    return (everything[start : start + CHANGES_MAX] for start in range(0, len(everything), CHANGES_MAX))


def late_audiences(db: sqlite3.Connection) -> set[str]:
    """Return audiences that have late-join rows: all, or more than LATE_MAX."""
    found = db.execute("SELECT DISTINCT audience FROM log WHERE late_join = 1 LIMIT ?", (LATE_MAX + 1,))
    return {audience for (audience,) in found}


def _late(db: sqlite3.Connection, audiences: Iterable[str]) -> set[str]:
    """Return those audiences that have late-join rows. Mostly there are none at all."""
    if db.execute("SELECT 1 FROM log WHERE late_join = 1 LIMIT 1").fetchone() is None:
        return set()
    return {audience for audience in audiences if db.execute(KNOWN, (audience,)).fetchone()}


def _stir(db: sqlite3.Connection, keys: Collection[Key], *, low: int = ID_MAX, high: int = 0) -> None:
    """Note that these readers see other broadcasts than before: of low < seq <= high, and those of late_join."""
    if keys:
        rev = take(db, "rev")
        db.executemany(STIR, [(*key, rev, low, high) for key in keys])


def _open_some(db: sqlite3.Connection, keys: Sequence[Key], late: set[str]) -> set[Key]:
    """As `open_`, for many keys."""
    change = f"WITH change (reader, audience) AS (VALUES {rows(2, len(keys))})"
    values = padded((value for key in keys for value in key), 2, len(keys))
    start = head(db, "log")
    waiting = {key for key in keys if key[1] in late}
    if waiting:
        waiting -= set(db.execute(f"{change} SELECT m.reader, m.audience {STILL_OPEN}", values))
    db.execute(
        f"""{change} UPDATE membership SET to_seq = NULL WHERE (reader, audience, from_seq) IN (
            SELECT m.reader, m.audience, m.from_seq FROM change CROSS JOIN membership AS m
            ON m.reader = change.reader AND m.audience = change.audience AND m.to_seq = ?)""",
        (*values, start),
    )
    db.execute(
        f"""{change} INSERT INTO membership SELECT reader, audience, ?, NULL FROM change
            WHERE reader IS NOT NULL AND NOT EXISTS (SELECT 1 FROM membership AS m
            WHERE m.reader = change.reader AND m.audience = change.audience AND m.to_seq IS NULL)""",
        (*values, start),
    )
    return waiting


def _close_some(db: sqlite3.Connection, changes: Sequence[MembershipChange], late: set[str]) -> set[Key]:
    """As `close`, for many keys."""
    change = f"WITH change (reader, audience, kind, id) AS (VALUES {rows(4, len(changes))})"
    closing = ((one.reader, one.audience, *(one.unless_named or (None, None))) for one in changes)
    values = padded((value for row in closing for value in row), 4, len(changes))
    ending = f"SELECT m.reader, m.audience, m.from_seq {STILL_OPEN} WHERE NOT {IS_NAMED}"
    vanishing: set[Key] = set()
    if late:
        found = db.execute(f"{change} {ending}", values)
        vanishing = {(reader, audience) for reader, audience, _ in found if audience in late}
    if any(db.execute(HEARD_EVER, (audience,)).fetchone() for audience in {one.audience for one in changes}):
        db.execute(
            f"""{change} UPDATE membership SET to_seq = ?
                WHERE (reader, audience, from_seq) IN ({ending} AND {HEARD_SINCE})""",
            (*values, head(db, "log")),
        )
    db.execute(f"{change} DELETE FROM membership WHERE (reader, audience, from_seq) IN ({ending})", values)
    return vanishing


def open_ones(db: sqlite3.Connection, prefix: str) -> list[tuple[Principal, str]]:
    found = db.execute(
        "SELECT reader, audience FROM membership WHERE audience >= ? AND audience < ? AND to_seq IS NULL",
        (prefix, prefix + "\U0010ffff"),
    )
    return found.fetchall()


def drop(db: sqlite3.Connection, reader: Principal, audience: str) -> None:
    key = (reader, audience)
    (low,) = db.execute("SELECT min(from_seq) FROM membership WHERE reader = ? AND audience = ?", key).fetchone()
    if low is None:
        return
    db.execute("DELETE FROM membership WHERE reader = ? AND audience = ?", key)
    received = db.execute("SELECT 1 FROM log WHERE audience = ? AND seq > ? LIMIT 1", (audience, low)).fetchone()
    if received or db.execute(KNOWN, (audience,)).fetchone():
        _stir(db, [key], low=low, high=head(db, "log"))


def audiences_of(db: sqlite3.Connection, reader: Principal, prefix: str) -> list[str]:
    found = db.execute(
        "SELECT DISTINCT audience FROM membership WHERE reader = ? AND audience >= ? AND audience < ? ORDER BY 1",
        (reader, prefix, prefix + "\U0010ffff"),
    )
    return [audience for (audience,) in found]
