"""Values of `realtime.models` as documents: direct rows, broadcasts, drafts, and what is known of a reader.

Absent times are numbers where a query compares them: FOREVER for one that never comes, NEVER for one that never was.
Contents are JSON text, as MongoDB stores less than JSON: no keys with dots, no integers over 64 bits.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from realtime.models import Content, Draft, MarkFacts, Notification, Principal, Target
from realtime.store.broadcasts import Broadcast
from realtime.store.documents import dumps, loads
from realtime.store.mongo_database import Document
from realtime.store.reading import Cursor, Interval, Mark, Reader, Turn

FOREVER = 1e15
NEVER = -1.0

ID_MAX = INT64_MAX = 2**63 - 1

GONE: Document = {"unread": 0, "unseen": 0, "content": None, "sender": None, "archived_at": None}
"""What a tombstone says no more. It keeps its owner, group, times and numbers."""

UNTOUCHED: Document = {
    "unread": 1, "unseen": 1, "read_at": None, "seen_at": None, "archived_at": None, "snoozed_until": NEVER,
    "delivered": 0, "gone_at": None,
}  # fmt: skip
"""A direct row of which its reader knows nothing yet."""


@dataclass(frozen=True)
class Message:
    """What is sent, encoded once for all of its rows."""

    content: Content
    sender: Principal | None
    now: float

    @cached_property
    def said(self) -> Document:
        """The part of a document that all rows share. Raises INVALID_PAYLOAD."""
        return {
            "type": self.content.type,
            "category": self.content.category or self.content.type,
            "content": content_text(self.content),
            "group_key": self.content.group_key,
            "expires_at": FOREVER if self.content.expires_at is None else self.content.expires_at,
            "sender": self.sender,
            "created_at": self.now,
            "updated_at": self.now,
        }

    def row(self, id: int, target: Target, *, count: int = 1, rev: int = 0) -> Notification:
        content = self.content.counted(count)
        return Notification(id, target, content, self.sender, self.now, self.now, group_count=count, rev=rev)


_CONTENT = [one.name for one in fields(Content)]


def content_text(content: Content) -> str:
    return dumps({name: getattr(content, name) for name in _CONTENT})


def content(text: str) -> Content:
    known: dict[str, Any] = loads(text)
    return Content(**{name: value for name, value in known.items() if name in _CONTENT})


def notification(document: Document) -> Notification:
    """Decode a direct row that is not gone."""
    return Notification(
        id=document["_id"],
        target=Target(recipient=document["user"]),
        content=content(document["content"]).counted(document["count"]),
        sender=document["sender"],
        created_at=document["created_at"],
        updated_at=document["updated_at"],
        read_at=document["read_at"],
        group_count=document["count"],
        seen_at=document["seen_at"],
        archived_at=document["archived_at"],
        snoozed_until=None if document["snoozed_until"] == NEVER else document["snoozed_until"],
        rev=document["came"],
    )


def touched(row: Notification) -> Document:
    """Return what a document says of what its reader did."""
    return {
        "unread": int(not row.read),
        "unseen": int(row.seen_at is None),
        "read_at": row.read_at,
        "seen_at": row.seen_at,
        "archived_at": row.archived_at,
        "snoozed_until": NEVER if row.snoozed_until is None else row.snoozed_until,
    }


def target_fields(target: Target) -> Document:
    return {
        "user": target.recipient,
        "audience": target.audience,
        "excluded": sorted(target.excluded),
        "late_join": target.late_join,
    }


def target(document: Document) -> Target:
    return Target(document["user"], document["audience"], frozenset(document["excluded"]), document["late_join"])


def broadcast(document: Document) -> Broadcast:
    """Decode a row of the log whose content is still there."""
    row = Notification(
        id=document["_id"],
        target=target(document),
        content=content(document["content"]).counted(1),
        sender=document["sender"],
        created_at=document["created_at"],
        updated_at=document["updated_at"],
        rev=document["seq"],
    )
    return Broadcast(document["seq"], row, document["seq"], stripped=document["stripped"])


def draft(document: Document) -> Draft:
    return Draft(
        id=document["_id"],
        target=target(document),
        content=content(document["content"]),
        sender=document["sender"],
        run_at=document["due_at"],
        created_at=document["created_at"],
        dedup_key=document["dedup_key"],
    )


def reader(principal: Principal, document: Document | None) -> Reader:
    if document is None or "version" not in document:
        return Reader(principal, floor=0 if document is None else document.get("floor", 0))
    return Reader(
        principal=principal,
        intervals=tuple(_interval(one) for one in document["held"]),
        read=tuple(Cursor(**one) for one in document["read"]),
        seen=tuple(Cursor(**one) for one in document["seen"]),
        marks={int(seq): _mark(one) for seq, one in document["marks"].items()},
        delivered=frozenset(document["delivered"]),
        rev=document["rev"],
        version=document["version"],
        floor=document.get("floor", 0),
    )


def _interval(one: Mapping[str, Any]) -> Interval:
    return Interval(**{**one, "turns": tuple(Turn(**turn) for turn in one["turns"])})


def _mark(one: Mapping[str, Any]) -> Mark:
    facts = {name: value for name, value in one.items() if name != "rev"}
    return Mark(MarkFacts(**facts), one["rev"])


def reader_document(reader: Reader) -> Document:
    """Encode a reader, but for the floor.

    `open`, `wakes` and `oldest` are what is asked of all: who holds a key, whose snooze ends, who knows of old rows.
    """
    marks = {str(seq): _values(mark.facts) | {"rev": mark.rev} for seq, mark in reader.marks.items()}
    return {
        "held": [_values(one) | {"turns": [_values(turn) for turn in one.turns]} for one in reader.intervals],
        "read": [_values(one) for one in reader.read],
        "seen": [_values(one) for one in reader.seen],
        "marks": marks,
        "delivered": sorted(reader.delivered),
        "rev": reader.rev,
        "version": reader.version,
        "open": reader.open_audiences,
        "oldest": _oldest(reader),
        "wakes": sorted({until for mark in reader.marks.values() if (until := mark.facts.snoozed_until) is not None}),
    }


def _oldest(reader: Reader) -> int:
    """Return the smallest seq below which nothing that is known of the reader says anything."""
    ends = (one.start if one.end is None else one.end for one in reader.intervals if not one.open)
    return min([*reader.marks, *reader.delivered, *ends], default=INT64_MAX)


def _values(value: object) -> Document:
    return {one.name: getattr(value, one.name) for one in fields(value)}  # type: ignore[arg-type]


def reader_changes(before: Reader, after: Reader) -> Document:
    """Return the update that makes one document of the other; marks are set one by one."""
    old, new = reader_document(before), reader_document(after)
    marks, kept = new.pop("marks"), old.pop("marks")
    assign = {name: value for name, value in new.items() if value != old[name]}
    assign |= {f"marks.{seq}": mark for seq, mark in marks.items() if mark != kept.get(seq)}
    gone = {f"marks.{seq}": "" for seq in kept if seq not in marks}
    return {"$set": assign, "$unset": gone} if gone else {"$set": assign}
