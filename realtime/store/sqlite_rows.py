"""Values of `realtime.models` as SQLite columns."""

import json
import sqlite3
from collections.abc import Iterable
from typing import Any

import orjson

from realtime.errors import Code, RealtimeError
from realtime.models import Content, Draft, Notification, Principal, Target

ID_MAX = 2**63 - 1

TARGET = "recipient, audience, excluded, late_join"
CONTENT = "type, content, expires_at, group_key"
DRAFT = f"id, {TARGET}, {CONTENT}, sender, run_at, created_at, dedup_key"

ContentColumns = tuple[str, str, float | None, str | None]


def dumps(value: object) -> str:
    """Encode JSON. Raises INVALID_PAYLOAD for what no client can be sent (lone surrogates, NaN in a big document).

    orjson refuses integers over 64 bits and would read them back as floats. Those documents are written by `json`
    and begin with a space, which JSON allows and which tells `loads`.
    """
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        pass
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise RealtimeError(Code.INVALID_PAYLOAD, "The payload is not valid JSON text") from error
    return " " + text


def loads(text: str) -> Any:
    return json.loads(text) if text.startswith(" ") else orjson.loads(text)


def content_columns(content: Content) -> ContentColumns:
    """Encode a content once for all of its rows. Raises INVALID_PAYLOAD."""
    document = [
        content.title, content.message, content.priority, content.url, content.metadata, content.actions,
        content.details,
    ]  # fmt: skip
    dumps([content.type, content.group_key])
    return content.type, dumps(document), content.expires_at, content.group_key


def excluded_column(excluded: Iterable[Principal]) -> str | None:
    names = sorted(excluded)
    return dumps(names) if names else None


def notification(row: tuple[Any, ...]) -> Notification:
    """Decode the columns of a notification."""
    id, recipient, audience, excluded, late_join, type, content, expires_at, group_key, sender, *rest = row
    created_at, updated_at, read_at, group_count = rest
    return Notification(
        id=id,
        target=_target(recipient, audience, excluded, late_join),
        content=_content(type, content, expires_at, group_key),
        sender=sender,
        created_at=created_at,
        updated_at=updated_at,
        read_at=read_at,
        group_count=group_count,
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
    details = more[0] if more else {}  # documents of before schema 3 have none
    return Content(type, title, message, priority, url, metadata, actions, expires_at, group_key, details)


def head(db: sqlite3.Connection, name: str) -> int:
    """Return the last number given out under `name`."""
    row = db.execute("SELECT value FROM heads WHERE name = ?", (name,)).fetchone()
    return int(row[0]) if row else 0


def set_head(db: sqlite3.Connection, name: str, value: int) -> None:
    db.execute(
        "INSERT INTO heads VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2",
        (name, value),
    )
