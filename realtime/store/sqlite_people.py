"""All that is known of one user: to hand it out, and to forget it."""

# ruff: noqa: S608 - SQL is put together from constants of this package, values are bound

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from realtime.models import Draft, JsonObject, Notification, user_principal
from realtime.store import sqlite_directory as directory
from realtime.store import sqlite_rows as rows
from realtime.store import sqlite_view as view
from realtime.store.sqlite_keys import by
from realtime.store.sqlite_rows import DRAFT, dumps, excluded_column, loads
from realtime.store.sqlite_sync import forget_places

OF_USER: Mapping[str, tuple[str, str]] = {
    "users": ("user", "id = :id"),
    "notifications": ("inbox", "recipient = :principal"),
    "drafts": ("draft", "recipient = :principal"),
    "marks": ("broadcast_state", "reader = :principal"),
    "read_cursors": ("read_cursor", "reader = :principal"),
    "seen_cursors": ("seen_cursor", "reader = :principal"),
    "memberships": ("membership", "reader = :principal"),
    "former_memberships": ("stir", "reader = :principal"),
    "tombstones": ("tombstone", "reader = :principal"),
    "deliveries": ("delivery", "reader = :principal"),
    "receipts": ("receipt", "reader = :principal"),
    "messages": ("message", "sender = :id OR receiver = :id"),
    "conversations": ("conversation", "user = :id OR other = :id"),
    "devices": ("device", "owner = :principal"),
    "requests": ("request", "principal = :principal"),
    "dedup_keys": ("dedup", "target = 'to ' || :principal OR instr(key, :by) = 1"),
}
"""Rows that are about the user and nobody else: table and which."""

SHOWN = ("notifications", "marks", "read_cursors", "seen_cursors", "memberships", "former_memberships", "tombstones")
"""What decides what the user's clients show. It goes without a trace that would name the user, so afterwards
everybody's clients ask for their whole inbox, once."""

SENT: Mapping[str, tuple[str, str]] = {
    "sent_notifications": ("inbox", "sender = :principal AND recipient <> :principal"),
    "sent_broadcasts": ("log", "sender = :principal"),
    "sent_drafts": ("draft", "sender = :principal AND recipient IS NOT :principal"),
}
"""What the user sent others, who keep it. There is no index: it takes a second per million rows."""

NAMES_GUESTS = frozenset({"communication"})
"""Kinds of business rows that name guests, whose ids are not those of users."""

NAMING = """SELECT e.kind, e.id, e.row, n.fields FROM entity_name AS n
    JOIN entity AS e ON e.kind = n.kind AND e.id = n.id WHERE n.user = ?"""
POSTED = "SELECT kind, id, row FROM entity WHERE instr(row, ?)"


def export(db: sqlite3.Connection, id: str) -> dict[str, list[JsonObject]]:
    """Return notifications, drafts and the user as the services know them, other rows as their tables have them."""
    principal = user_principal(id)
    values = {"id": id, "principal": principal, "by": by(principal)}
    found = {kind: _rows(db, table, where, values) for kind, (table, where) in {**OF_USER, **SENT}.items()}
    user = directory.user(db, id)
    return {
        **found,
        "users": [asdict(user)] if user else [],
        "business_rows": [{"kind": kind, "row": row} for kind, _, row, _ in _naming(db, id)],
    }


def _rows(db: sqlite3.Connection, table: str, where: str, values: Mapping[str, object]) -> list[JsonObject]:
    if table == "inbox":
        return [_shown(rows.notification(row)) for row in db.execute(f"{view.DIRECT} WHERE {where}", values)]
    if table == "log":
        kept = f"{view.SENT} WHERE {where} AND l.swept_at IS NULL"
        return [_shown(rows.notification(row)) for row in db.execute(kept, values)]
    if table == "draft":
        return [_shown(rows.draft(row)) for row in db.execute(f"SELECT {DRAFT} FROM draft WHERE {where}", values)]
    found = db.execute(f"SELECT * FROM {table} WHERE {where}", values)
    names = [column[0] for column in found.description]
    return [dict(zip(names, map(_readable, row), strict=True)) for row in found]


def _shown(row: Notification | Draft) -> JsonObject:
    shown = asdict(row)
    shown["target"]["excluded"] = sorted(row.target.excluded)
    return shown


def _readable(value: object) -> object:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def delete(db: sqlite3.Connection, id: str) -> dict[str, int]:
    principal = user_principal(id)
    values = {"id": id, "principal": principal, "by": by(principal)}
    gone = {
        kind: db.execute(f"UPDATE {table} SET sender = NULL WHERE {where}", values).rowcount
        for kind, (table, where) in SENT.items()
    }
    gone["business_rows"] = _unname(db, id) + _unsign(db, principal)
    gone |= {
        kind: db.execute(f"DELETE FROM {table} WHERE {where}", values).rowcount
        for kind, (table, where) in OF_USER.items()
    }
    if any(gone[kind] for kind in SHOWN):
        forget_places(db)
    gone["exclusions"] = sum(_include(db, table, principal) for table in ("log", "draft"))
    return {kind: count for kind, count in gone.items() if count}


def _naming(db: sqlite3.Connection, id: str) -> list[tuple[str, str, JsonObject, Sequence[str]]]:
    """Return (kind, id, row, fields that name the user) of business rows.

    Which fields do is not known of rows from before schema 5; there it is those that have the user's id as value.
    """
    naming = []
    for kind, number, text, fields in db.execute(NAMING, (id,)):
        if kind in NAMES_GUESTS:
            continue
        row: JsonObject = loads(text)
        same = [name for name, value in row.items() if name != "id" and str(value) == id]
        naming.append((kind, number, row, same if fields is None else loads(fields)))
    return naming


def _unname(db: sqlite3.Connection, id: str) -> int:
    naming = _naming(db, id)
    for kind, number, row, fields in naming:
        _store(db, kind, number, {name: value for name, value in row.items() if name not in fields})
        db.execute("DELETE FROM entity_name WHERE kind = ? AND id = ? AND user = ?", (kind, number, id))
    return len(naming)


def _unsign(db: sqlite3.Connection, principal: str) -> int:
    """Take the user from fields that say who posted a row; they stay, as their services read them."""
    found = db.execute(POSTED, (dumps(principal),)).fetchall()
    signed = [(kind, number, row) for kind, number, text in found if principal in (row := loads(text)).values()]
    for kind, number, row in signed:
        _store(db, kind, number, {name: None if value == principal else value for name, value in row.items()})
    return len(signed)


def _store(db: sqlite3.Connection, kind: str, id: str, row: JsonObject) -> None:
    db.execute("UPDATE entity SET row = ? WHERE kind = ? AND id = ?", (dumps(row), kind, id))


def _include(db: sqlite3.Connection, table: str, principal: str) -> int:
    """Take the user from the lists of those who must not see a row."""
    found = db.execute(f"SELECT id, excluded FROM {table} WHERE instr(excluded, ?)", (dumps(principal),)).fetchall()
    for id, excluded in found:
        others = excluded_column(set(loads(excluded)) - {principal})
        db.execute(f"UPDATE {table} SET excluded = ? WHERE id = ?", (others, id))
    return len(found)
