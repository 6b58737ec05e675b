"""The vocabulary of ``/dashboard``: notifications, activity, who is online, announcements, figures.

Ids are text. docs/contract.md, "Dashboard".
"""

from typing import Any

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
    everybody_else,
)
from realtime.models import JsonObject

NAMESPACE = "/dashboard"


def _connected(event: e.Connected) -> JsonObject:
    return {
        "userId": event.person.id,
        "timestamp": timestamp(event.at),
        "message": "Dashboard connection established",
    }


def _notification(event: e.NotificationCreated) -> JsonObject:
    """`icon` and `badge` are pictures of a browser's notification; the metadata may name them."""
    row, content = event.notification, event.notification.content
    return {
        "id": str(row.id),
        "title": content.title,
        "body": content.message,
        "message": content.message,
        "type": content.type,
        "priority": content.priority,
        "data": content.metadata,
        "icon": content.metadata.get("icon"),
        "badge": content.metadata.get("badge"),
        "clickAction": content.url,
        "timestamp": timestamp(row.created_at),
    }


def _announcement(event: e.AnnouncementCreated) -> JsonObject:
    content = event.notification.content
    return {
        "title": content.title,
        "body": content.message,
        "message": content.message,
        "timestamp": timestamp(event.notification.created_at),
    }


def _count(event: e.UnreadChanged) -> JsonObject:
    return {
        "count": event.count,
        "unreadCount": event.count,
        **counts(event),
        "timestamp": timestamp(event.at),
    }


def _status(status: str) -> Any:
    def shape(event: e.CameOnline | e.WentOffline) -> JsonObject:
        return {"userId": event.person.id, "status": status, "timestamp": timestamp(event.at)}

    return shape


def _activity(event: e.ActivityReported) -> JsonObject:
    return {
        "type": event.type,
        "userId": str(event.user),
        "message": event.message,
        "timestamp": timestamp(event.at),
    }


def _stats(event: e.StatsReported) -> JsonObject:
    return {
        "connections": event.connections,
        "messages": event.messages,
        "posts": event.posts,
        "timestamp": timestamp(event.at),
    }


def _topics_name(event: e.TopicsChanged) -> str:
    return "subscribed" if event.subscribed else "unsubscribed"


def _topics(event: e.TopicsChanged) -> JsonObject:
    return {"channels": event.topics, "timestamp": timestamp(event.at)}


DASHBOARD = Dialect(
    name="dashboard",
    namespace=NAMESPACE,
    outbound={
        e.NotificationCreated: [Row("notification", _notification)],
        e.AnnouncementCreated: [Row("announcement", _announcement)],
        e.NoticeGiven: NOT_SENT,
        e.UnreadChanged: [Row("unread_count", _count)],
        e.InboxSynced: SYNCED,
        e.Connected: [Row("connected", _connected)],
        e.CameOnline: [Row("user_status", _status("online"), everybody_else)],
        e.WentOffline: [Row("user_status", _status("offline"), everybody_else)],
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
        e.ActivityReported: [Row("activity", _activity)],
        e.StatsReported: [Row("stats_update", _stats)],
        e.TopicsChanged: [Row(_topics_name, _topics)],
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
    },
    inbound={
        "subscribe": "subscribe",
        "unsubscribe": "unsubscribe",
        "heartbeat": "heartbeat",
        "refresh_token": "refresh_token",
        **INBOX_COMMANDS,
    },
    text_ids=True,
    refusals=AUTHENTICATION,
)
