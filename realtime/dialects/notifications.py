"""The vocabulary of ``/notifications`` and of its event stream: the inbox and nothing else.

Deployed clients read either the envelope (``event.data.title``) or a flat object (``notification.title``), so a frame
is both. Ids are text. docs/contract.md, "Notifications namespace".
"""

from realtime import events as e
from realtime.clock import timestamp
from realtime.dialects.base import (
    AUTHENTICATION,
    EVERYWHERE,
    INBOX_COMMANDS,
    NOT_SENT,
    SYNCED,
    Dialect,
    Row,
    counts,
)
from realtime.models import JsonObject, Notification

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
    bare = _bare_count(event)
    return {"type": "unread_count", "data": bare, **bare, "timestamp": timestamp(event.at)}


def _bare_count(event: e.UnreadChanged) -> JsonObject:
    return {"count": event.count, **counts(event)}


def _shown(event: e.NotificationCreated) -> Notification:
    """A stream has got to a notification when it has shown it."""
    return event.notification


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
        e.InboxSynced: SYNCED,
    },
    inbound={
        "subscribe_notifications": "follow_notifications",
        "unsubscribe_notifications": "unfollow_notifications",
        "heartbeat": "heartbeat",
        "refresh_token": "refresh_token",
        **INBOX_COMMANDS,
    },
    text_ids=True,
    refusals=AUTHENTICATION,
)

STREAM = Dialect(
    name="stream",
    namespace=NAMESPACE,
    outbound={
        **_OTHERS,
        e.NotificationCreated: [Row("notification", _fields, mark=_shown)],
        e.AnnouncementCreated: [Row("notification", _announced, mark=_shown)],
        e.UnreadChanged: [Row("unread_count", _bare_count)],
        e.InboxSynced: NOT_SENT,
    },
    inbound={},
    text_ids=True,
    refusals=AUTHENTICATION,
)
