"""The vocabulary of ``/notifications`` and of its event stream: the inbox and nothing else.

Deployed clients read either the envelope (``event.data.title``) or a flat object (``notification.title``), so a frame
is both. Ids are text. docs/contract.md, "Notifications namespace".
"""

from realtime import events as e
from realtime.clock import timestamp
from realtime.dialects.base import AUTHENTICATION, EVERYWHERE, NOT_SENT, Dialect, Row
from realtime.models import JsonObject

NAMESPACE = "/notifications"
ANNOUNCEMENT = "SYSTEM_ANNOUNCEMENT"


def _fields(event: e.NotificationCreated) -> JsonObject:
    row, content = event.notification, event.notification.content
    return {
        "id": str(row.id),
        "userId": str(event.reader),
        "type": content.type,
        "title": content.title,
        "message": content.message,
        "actionUrl": content.url,
        "metadata": content.metadata,
        "priority": content.priority,
        "isRead": False,
        "isNew": True,
        "createdAt": timestamp(row.created_at),
        "updatedAt": timestamp(row.updated_at),
    }


def _announced(event: e.NotificationCreated) -> JsonObject:
    return {**_fields(event), "type": ANNOUNCEMENT}


def _enveloped(fields: JsonObject, at: float) -> JsonObject:
    """The outer `type` must stay "notification", so the notification's own is `notificationType` there."""
    flat = {name: value for name, value in fields.items() if name not in ("type", "updatedAt")}
    return {
        "type": "notification",
        "data": fields,
        **flat,
        "notificationType": fields["type"],
        "timestamp": timestamp(at),
    }


def _notification(event: e.NotificationCreated) -> JsonObject:
    return _enveloped(_fields(event), event.at)


def _announcement(event: e.NotificationCreated) -> JsonObject:
    return _enveloped(_announced(event), event.at)


def _count(event: e.UnreadChanged) -> JsonObject:
    return {
        "type": "unread_count",
        "data": {"count": event.count},
        "count": event.count,
        "timestamp": timestamp(event.at),
    }


def _bare_count(event: e.UnreadChanged) -> JsonObject:
    return {"count": event.count}


def place(event: e.NotificationCreated) -> str:
    """Return where a stream has got to with a notification: its time in microseconds and its id."""
    row = event.notification
    return f"{round(row.created_at * 1_000_000)}-{row.id}"


_OTHERS = {
    e.NoticeGiven: NOT_SENT,
    e.Connected: NOT_SENT,
    e.CameOnline: NOT_SENT,
    e.WentOffline: NOT_SENT,
    e.JoinedRoom: NOT_SENT,
    e.ActivityChanged: NOT_SENT,
    e.StatusChanged: NOT_SENT,
    e.PresenceNoted: NOT_SENT,
    e.TypingNoted: NOT_SENT,
    e.RoomTypingNoted: NOT_SENT,
    e.WorkOrderChanged: NOT_SENT,
    e.WorkOrderAssignment: NOT_SENT,
    e.TicketChanged: NOT_SENT,
    e.BookingChanged: NOT_SENT,
    e.ActivityReported: NOT_SENT,
    e.StatsReported: NOT_SENT,
    e.TopicsChanged: NOT_SENT,
    e.MessageReceived: NOT_SENT,
    e.MessageSent: NOT_SENT,
    e.MessageDelivered: NOT_SENT,
    e.MessageRead: NOT_SENT,
    e.MessageTyping: NOT_SENT,
    e.Ponged: NOT_SENT,
    e.OnlineListed: NOT_SENT,
    e.ForcedOut: NOT_SENT,
    e.TestNotification: NOT_SENT,
    e.GuestTest: NOT_SENT,
    **EVERYWHERE,
}

NOTIFICATIONS = Dialect(
    name="notifications",
    namespace=NAMESPACE,
    outbound={
        **_OTHERS,
        e.NotificationCreated: [Row("notification", _notification)],
        e.AnnouncementCreated: [Row("notification", _announcement)],
        e.UnreadChanged: [Row("unread_count", _count)],
    },
    inbound={
        "subscribe_notifications": "follow_notifications",
        "unsubscribe_notifications": "unfollow_notifications",
        "heartbeat": "heartbeat",
        "refresh_token": "refresh_token",
    },
    text_ids=True,
    refusals=AUTHENTICATION,
)

STREAM = Dialect(
    name="stream",
    namespace=NAMESPACE,
    outbound={
        **_OTHERS,
        e.NotificationCreated: [Row("notification", _fields, mark=place)],
        e.AnnouncementCreated: [Row("notification", _announced, mark=place)],
        e.UnreadChanged: [Row("unread_count", _bare_count)],
    },
    inbound={},
    text_ids=True,
    refusals=AUTHENTICATION,
)
