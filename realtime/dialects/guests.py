"""The vocabulary of ``/ws/notifications``: hotel guests over plain WebSockets, ``{"type", "data"}``.

Ids are numbers, because the clients compare them strictly. docs/contract.md, "Hotel guests".
"""

from realtime import events as e
from realtime.clock import optional_timestamp, timestamp
from realtime.dialects.base import EVERYWHERE, NOT_SENT, Dialect, Row
from realtime.errors import Code
from realtime.models import JsonObject, Notification, wire_id

PATH = "/ws/notifications"
KIND = "notification"


def communication(row: Notification) -> JsonObject:
    """Return a notification as the hotel's applications know it: one row of their communications table."""
    content, details = row.content, row.content.details
    recipient = row.target.recipient
    return {
        "id": row.id,
        "hotel_id": details.get("hotel_id"),
        "type": details.get("type", KIND),
        "category": details.get("category", "general"),
        "title": content.title,
        "message": content.message,
        "priority": content.priority,
        "sender_type": details.get("sender_type", "system"),
        "sender_id": details.get("sender_id"),
        "sender_name": details.get("sender_name"),
        "recipient_type": details.get("recipient_type", "guest" if recipient else "all"),
        "recipient_id": wire_id(recipient.partition(":")[2]) if recipient else None,
        "status": "read" if row.read else "sent",
        "metadata": content.metadata,
        "tags": details.get("tags", []),
        "language": details.get("language"),
        "expires_at": optional_timestamp(content.expires_at),
        "read_at": optional_timestamp(row.read_at),
        "created_at": timestamp(row.created_at),
        "updated_at": timestamp(row.updated_at),
    }


def _notification(event: e.NotificationCreated) -> JsonObject:
    return communication(event.notification)


def _notice(event: e.NoticeGiven) -> JsonObject:
    return {"message": event.message, "timestamp": timestamp(event.at)}


def _connected(event: e.Connected) -> JsonObject:
    return {"status": "connected", "guestId": wire_id(event.person.id), "timestamp": timestamp(event.at)}


def _test(event: e.GuestTest) -> JsonObject:
    at = timestamp(event.at)
    return {
        "id": event.id,
        "hotel_id": None,
        "type": KIND,
        "category": "test",
        "title": "Test Notification",
        "message": event.message,
        "priority": "normal",
        "sender_type": "system",
        "sender_id": None,
        "sender_name": None,
        "recipient_type": "guest",
        "recipient_id": event.guest,
        "status": "sent",
        "metadata": {},
        "tags": [],
        "language": None,
        "expires_at": None,
        "read_at": None,
        "created_at": at,
        "updated_at": at,
    }


GUESTS = Dialect(
    name="guests",
    namespace=PATH,
    outbound={
        e.NotificationCreated: [Row("notification", _notification)],
        e.AnnouncementCreated: [Row("notification", _notification)],
        e.NoticeGiven: [Row("system", _notice)],
        e.UnreadChanged: NOT_SENT,
        e.InboxSynced: NOT_SENT,
        e.Connected: [Row("connection", _connected)],
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
        e.GuestTest: [Row("notification", _test)],
        **EVERYWHERE,
    },
    inbound={},
    speakers="guests",
    refusals={
        Code.AUTH_REQUIRED: "Missing token or guestId",
        Code.AUTH_INVALID: "Invalid token",
        Code.TOKEN_EXPIRED: "Invalid token",
        Code.USER_MISMATCH: "Authentication failed",
        Code.FORBIDDEN: "Authentication failed",
    },
)
