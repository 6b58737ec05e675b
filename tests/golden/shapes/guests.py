"""Hotel guests' sockets: ids are numbers."""

from collections.abc import Mapping
from dataclasses import replace

from realtime import events
from realtime.models import Content, Target
from tests.golden.shapes.samples import AT, BARE, EVERYWHERE, GUEST, NOTE, Golden, Shapes

COMMUNICATION: Mapping[str, object] = {
    "id": "number",
    "hotel_id": "number",
    "type": "string",
    "category": "string",
    "title": "string",
    "message": "string",
    "priority": "string",
    "sender_type": "string",
    "sender_id": "number",
    "sender_name": "string",
    "recipient_type": "string",
    "recipient_id": "number",
    "status": "string",
    "metadata": "object",
    "tags": "array",
    "language": "string",
    "expires_at": "timestamp",
    "read_at": "null",
    "created_at": "timestamp",
    "updated_at": "timestamp",
}
UNKNOWN = ("hotel_id", "sender_id", "sender_name", "recipient_id", "language", "expires_at", "read_at")
NOTHING_KNOWN = dict.fromkeys(UNKNOWN, "null")
ROW = replace(
    NOTE,
    target=Target(recipient="guest:123"),
    content=Content(
        type="notification",
        title="Pool",
        message="The pool is open",
        metadata={"floor": 2},
        expires_at=AT + 60,
        details={
            "hotel_id": 1,
            "type": "notification",
            "category": "amenity",
            "sender_type": "staff",
            "sender_id": 9,
            "sender_name": "Reception",
            "recipient_type": "guest",
            "tags": ["pool"],
            "language": "en",
        },
    ),
)
TO_ALL = replace(NOTE, target=Target(audience="guests"), content=Content(type="info", title="Hi", message="All"))

SHAPES: Shapes = {
    "connected": Golden(
        events.Connected(AT, GUEST, None, 1),
        [("connection", {"status": "string", "guestId": "number", "timestamp": "timestamp"})],
    ),
    "notification": Golden(events.NotificationCreated(AT, ROW, 123), [("notification", COMMUNICATION)]),
    "notification that is read": Golden(
        events.NotificationCreated(AT, ROW.marked(AT), 123),
        [("notification", {**COMMUNICATION, "read_at": "timestamp"})],
    ),
    "notification of another application": Golden(
        events.NotificationCreated(AT, TO_ALL, 123), [("notification", {**COMMUNICATION, **NOTHING_KNOWN})]
    ),
    "announcement": Golden(
        events.AnnouncementCreated(AT, BARE, 123),
        [("notification", {**COMMUNICATION, **NOTHING_KNOWN, "recipient_id": "number"})],
    ),
    "notice": Golden(
        events.NoticeGiven(AT, "Fire drill at noon"), [("system", {"message": "string", "timestamp": "timestamp"})]
    ),
    "test": Golden(
        events.GuestTest(AT, 13, 123, "Hello"),
        [("notification", {**COMMUNICATION, **NOTHING_KNOWN, "recipient_id": "number"})],
    ),
    **EVERYWHERE,
}
