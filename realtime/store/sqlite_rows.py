"""Values of `realtime.models` as SQLite columns."""

import sqlite3
from collections.abc import Iterable
from typing import Any

from realtime.models import Content, Draft, JsonObject, Notification, Principal, Target
from realtime.store.documents import dumps as dumps
from realtime.store.documents import loads as loads

ID_MAX = 2**63 - 1

TARGET = "recipient, audience, excluded, late_join"
CONTENT = "type, content, expires_at, group_key"
DRAFT = f"id, {TARGET}, {CONTENT}, sender, run_at, created_at, dedup_key"

ContentColumns = tuple[str, str, float | None, str | None]


def content_columns(content: Content) -> ContentColumns:
    """Encode a content once for all of its rows. Raises INVALID_PAYLOAD."""
    document = [
        content.title, content.message, content.priority, content.url, content.metadata, content.actions,
        content.details, content.category, content.stacks,
    ]  # fmt: skip
    dumps([content.type, content.group_key])
    return content.type, dumps(document), content.expires_at, content.group_key


def excluded_column(excluded: Iterable[Principal]) -> str | None:
    names = sorted(excluded)
    return dumps(names) if names else None


def notification(row: tuple[Any, ...]) -> Notification:
    """Decode the columns of a notification."""
    id, recipient, audience, excluded, late_join, type, content, expires_at, group_key, sender, *rest = row
    created_at, updated_at, read_at, group_count, seen_at, archived_at, snoozed_until, came = rest
    return Notification(
        id=id,
        target=_target(recipient, audience, excluded, late_join),
        content=_content(type, content, expires_at, group_key),
        sender=sender,
        created_at=created_at,
        updated_at=updated_at,
        read_at=read_at,
        group_count=group_count,
        seen_at=seen_at,
        archived_at=archived_at,
        snoozed_until=snoozed_until,
        rev=came,
    )


def draft(row: tuple[Any, ...]) -> Draft:
    """Decode the columns of DRAFT."""
    id, recipient, audience, excluded, late_join, type, content, expires_at, group_key, sender, *rest = row
    run_at, created_at, dedup_key = rest
    return Draft(
        id=id,
        target=_target(recipient, audience, excluded, late_join),
        content=_content(type, content, expires_at, group_key),
        sender=sender,
        run_at=run_at,
        created_at=created_at,
        dedup_key=dedup_key,
    )


def _target(recipient: str | None, audience: str | None, excluded: str | None, late_join: int) -> Target:
    return Target(recipient, audience, frozenset(loads(excluded)) if excluded else frozenset(), bool(late_join))


def _content(type: str, document: str, expires_at: float | None, group_key: str | None) -> Content:
    title, message, priority, url, metadata, actions, *more = loads(document)
    details, *more = more or [{}]  # documents of before schema 3 have none
    category, stacks = more or (_told_category(details), False)  # nor have those of before schema 4
    return Content(
        type, title, message, priority, url, metadata, actions, expires_at, group_key, details, category, stacks
    )


def _told_category(details: JsonObject) -> str | None:
    """Return the category of a communication of before categories."""
    category = details.get("category")
    return category if isinstance(category, str) and category else None


def head(db: sqlite3.Connection, name: str) -> int:
    """Return the last number given out under `name`."""
    row = db.execute("SELECT value FROM heads WHERE name = ?", (name,)).fetchone()
    return int(row[0]) if row else 0


def set_head(db: sqlite3.Connection, name: str, value: int) -> None:
    db.execute(
        "INSERT INTO heads VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2",
        (name, value),
    )
