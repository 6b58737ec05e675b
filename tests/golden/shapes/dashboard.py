"""The namespace ``/dashboard``."""

from collections.abc import Mapping
from dataclasses import replace

from realtime import events
from realtime.models import Content
from tests.golden.shapes.samples import (
    ANN,
    AT,
    BARE,
    COUNTS,
    EVERYWHERE,
    INBOX,
    NOTE,
    OBJECT_ID,
    UNREAD,
    Golden,
    Shapes,
)

NOTIFICATION: Mapping[str, object] = {
    "id": "string",
    "title": "string",
    "body": "string",
    "message": "string",
    "type": "string",
    "priority": "string",
    "data": "object",
    "icon": "null",
    "badge": "null",
    "clickAction": "string",
    "timestamp": "timestamp",
}
PICTURES = Content(type="MESSAGE", title="Hi", message="There", metadata={"icon": "/a.png", "badge": "/b.png"})
STATUS = {"userId": "string", "status": "string", "timestamp": "timestamp"}
TOPICS = {"channels": "array", "timestamp": "timestamp"}

SHAPES: Shapes = {
    "connected": Golden(
        events.Connected(AT, ANN, None, 3),
        [("connected", {"userId": "string", "timestamp": "timestamp", "message": "string"})],
    ),
    "notification": Golden(events.NotificationCreated(AT, NOTE, 5), [("notification", NOTIFICATION)]),
    "notification with pictures": Golden(
        events.NotificationCreated(AT, replace(NOTE, content=PICTURES), 5),
        [("notification", {**NOTIFICATION, "icon": "string", "badge": "string", "clickAction": "null"})],
    ),
    "announcement": Golden(
        events.AnnouncementCreated(AT, BARE, 5),
        [("announcement", {"title": "string", "body": "string", "message": "string", "timestamp": "timestamp"})],
    ),
    "unread": Golden(UNREAD, [("unread_count", {**COUNTS, "unreadCount": "number", "timestamp": "timestamp"})]),
    "online": Golden(events.CameOnline(AT, ANN), [("user_status", STATUS)]),
    "offline": Golden(events.WentOffline(AT, OBJECT_ID), [("user_status", STATUS)]),
    "activity": Golden(
        events.ActivityReported(AT, 5, "connection_request", "Bob wants to connect"),
        [("activity", {"type": "string", "userId": "string", "message": "string", "timestamp": "timestamp"})],
    ),
    "figures": Golden(
        events.StatsReported(AT, 150, 1250, 89),
        [
            (
                "stats_update",
                {"connections": "number", "messages": "number", "posts": "number", "timestamp": "timestamp"},
            )
        ],
    ),
    "subscribed": Golden(events.TopicsChanged(AT, ["referrals"], True), [("subscribed", TOPICS)]),
    "unsubscribed": Golden(events.TopicsChanged(AT, ["referrals"], False), [("unsubscribed", TOPICS)]),
    **INBOX,
    **EVERYWHERE,
}
