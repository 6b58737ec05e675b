"""Events to show vocabularies with, and how a payload is described."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from realtime import events, wire
from realtime.dialects.base import Dialect
from realtime.events import Correspondent, Event, Person
from realtime.models import Content, Message, Notification, Target

AT = 1_700_000_000.123
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")

ANN = Person(id="5", wire_id=5, name="Ann", role="technician")
OBJECT_ID = Person(id="64b7f0", wire_id="64b7f0", name="Bob", role="user")
GUEST = Person(id="123", wire_id=123, name="Gina", role="guest")

NOTE = Notification(
    id=12,
    target=Target(recipient="user:5"),
    content=Content(
        type="work_order",
        title="Assigned",
        message="Work order 7 is yours",
        priority="high",
        url="/work-orders/7",
        metadata={"relatedEntity": {"type": "work_order", "id": 7}, "title_key": "wo.title", "message_key": "wo.text"},
        expires_at=AT + 60,
    ),
    sender="user:1",
    created_at=AT,
    updated_at=AT,
)
BARE = replace(NOTE, content=Content(type="announcement", title="Hello", message="All"), sender=None)
ROW = {"id": 7, "status": "open"}
MESSAGE = Message(id=31, sender="5", receiver="64b7f0", content="Hi", client_id="tmp-1", created_at=AT)
SENDER = Correspondent(id="5", name="Ann", email="ann@example.com")
RECEIVER = Correspondent(id="64b7f0", name="Bob", email=None)

UNREAD = events.UnreadChanged(AT, 5, 3, unseen=1, categories={"work_order": 2, "info": 1}, revision=17)
COUNTS: Mapping[str, object] = {
    "count": "number",
    "unseenCount": "number",
    "categories": {"work_order": "number", "info": "number"},
    "revision": "number",
}
"""What every badge needs."""

SYNC: Mapping[str, object] = {
    "token": "string",
    "changes": "array",
    "unreadCount": "number",
    "reset": "boolean",
    "hasMore": "boolean",
    "timestamp": "timestamp",
}

ERROR = {"message": "string", "error": "string", "code": "string", "timestamp": "timestamp"}
ERROR_OF_AN_EVENT = {**ERROR, "event": "string", "retryAfter": "number"}


@dataclass(frozen=True)
class Golden:
    """What one event looks like on the wire: (name, shape) of each frame, in order."""

    event: Event
    frames: Sequence[tuple[str, object]]


Shapes = Mapping[str, Golden]

CUSTOM: Shapes = {
    "custom object": Golden(events.Custom(AT, "price", {"eur": 1}), [("price", {"eur": "number"})]),
    "custom scalar": Golden(events.Custom(AT, "price", None), [("price", "null")]),
}
ENDINGS: Shapes = {
    "token expired": Golden(
        events.TokenExpired(AT), [("token_expired", {"message": "string", "code": "string", "timestamp": "timestamp"})]
    ),
    "stopping": Golden(
        events.ServerStopping(AT, 2.5),
        [("server_shutdown", {"message": "string", "retryAfter": "number", "timestamp": "timestamp"})],
    ),
}
ERRORS: Shapes = {
    "error": Golden(events.ErrorRaised(AT, "INTERNAL", "No"), [("error", ERROR)]),
    "error of an event": Golden(
        events.ErrorRaised(AT, "INVALID_PAYLOAD", "No", "typing"), [("error", {**ERROR, "event": "string"})]
    ),
    "rate limit": Golden(
        events.RateExceeded(AT, "RATE_LIMIT_EXCEEDED", "Slow down", "typing", 0.6), [("error", ERROR_OF_AN_EVENT)]
    ),
}
INBOX: Shapes = {
    "changes": Golden(
        events.InboxSynced(AT, 5, "1.2.3.0.5", ((11, None), (12, NOTE)), unread=1, reset=False, more=True),
        [("notifications_sync", SYNC)],
    ),
    "the whole of an empty inbox": Golden(
        events.InboxSynced(AT, "64b7f0", "1.2.3.0.5", (), unread=0, reset=True, more=False),
        [("notifications_sync", SYNC)],
    ),
}
"""What all vocabularies that show an inbox say alike."""

EVERYWHERE: Shapes = {**CUSTOM, **ENDINGS, **ERRORS}
"""What all vocabularies say alike."""


def frames(dialect: Dialect, event: Event) -> list[tuple[str, Any]]:
    """Return (name, payload) of an event as a client reads them."""
    return [(row.wire_name(event), wire.loads(wire.dumps(row.shape(event)))) for row in dialect.rows(event)]


def json_type(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "timestamp" if TIMESTAMP.fullmatch(value) else "string"
        case list():
            return "array"
        case _:
            return "object"


def described(payload: Any, shape: object) -> object:
    """Describe a payload in the words of `shape`: nested only where `shape` is."""
    if isinstance(payload, dict) and isinstance(shape, dict):
        return {key: described(value, shape.get(key)) for key, value in payload.items()}
    return json_type(payload)
