"""The namespace ``/notifications`` and its event stream."""

from collections.abc import Mapping

from realtime import events
from tests.golden.shapes.samples import AT, BARE, COUNTS, EVERYWHERE, INBOX, NOTE, UNREAD, Golden, Shapes

FIELDS: Mapping[str, object] = {
    "id": "string",
    "userId": "string",
    "type": "string",
    "title": "string",
    "message": "string",
    "actionUrl": "string",
    "metadata": "object",
    "isRead": "boolean",
    "isNew": "boolean",
    "createdAt": "timestamp",
    "updatedAt": "timestamp",
    # Of our own, beside what the applications read:
    "priority": "string",
}
FLAT: Mapping[str, object] = {
    "id": "string",
    "userId": "string",
    "title": "string",
    "message": "string",
    "actionUrl": "string",
    "metadata": "object",
    "isRead": "boolean",
    "isNew": "boolean",
    "createdAt": "timestamp",
    "notificationType": "string",
    # Of our own:
    "priority": "string",
}
ENVELOPE: Mapping[str, object] = {"type": "string", "data": FIELDS, **FLAT, "timestamp": "timestamp"}
NO_LINK = {"actionUrl": "null"}

NOTIFICATION = events.NotificationCreated(AT, NOTE, 5)
ANNOUNCEMENT = events.AnnouncementCreated(AT, BARE, "64b7f0")

SHAPES: Shapes = {
    "notification": Golden(NOTIFICATION, [("notification", ENVELOPE)]),
    "announcement": Golden(ANNOUNCEMENT, [("notification", {**ENVELOPE, **NO_LINK, "data": {**FIELDS, **NO_LINK}})]),
    "unread": Golden(
        UNREAD, [("unread_count", {"type": "string", "data": COUNTS, **COUNTS, "timestamp": "timestamp"})]
    ),
    **INBOX,
    **EVERYWHERE,
}

STREAM_SHAPES: Shapes = {
    "notification": Golden(NOTIFICATION, [("notification", FIELDS)]),
    "announcement": Golden(ANNOUNCEMENT, [("notification", {**FIELDS, **NO_LINK})]),
    "unread": Golden(UNREAD, [("unread_count", COUNTS)]),
    **EVERYWHERE,
}
