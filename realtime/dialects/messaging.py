"""The vocabulary of ``/ws``: chat between two people, in the names of three generations of clients.

Each client listens to one name of an event, so all of them go out, once each. Ids are text.
docs/contract.md, "Messaging".
"""

from collections.abc import Callable
from typing import Any

from realtime import events as e
from realtime.clock import optional_timestamp, timestamp
from realtime.dialects.base import (
    AUTHENTICATION,
    EVERYWHERE,
    NOT_SENT,
    Dialect,
    Row,
    error,
    everybody_else,
)
from realtime.models import JsonObject

NAMESPACE = "/ws"


def _success(event: e.Connected) -> JsonObject:
    return {
        "userId": event.person.id,
        "userEmail": event.email,
        "connectedUsers": event.online,
        "timestamp": timestamp(event.at),
    }


def _connected(event: e.Connected) -> JsonObject:
    return {
        "userId": event.person.id,
        "timestamp": timestamp(event.at),
        "message": "Messaging connection established",
    }


def _presence(status: str) -> Callable[[Any], JsonObject]:
    def shape(event: Any) -> JsonObject:
        return {"userId": event.person.id, "status": status, "timestamp": timestamp(event.at)}

    return shape


def _presence_alias(event: Any) -> JsonObject:
    return {"userId": event.person.id, "timestamp": timestamp(event.at)}


def _last_seen(status: str) -> Callable[[Any], JsonObject]:
    def shape(event: Any) -> JsonObject:
        return {"userId": event.person.id, "status": status, "lastSeen": timestamp(event.at)}

    return shape


def _online_rows(status: str) -> list[Row]:
    loud = status.upper()
    return [
        Row(f"presence:{status}", _presence(status), everybody_else),
        Row(f"USER_{loud}", _presence_alias, everybody_else),
        Row("USER_STATUS_CHANGE", _presence(loud), everybody_else),
        Row("USER_PRESENCE_UPDATE", _last_seen(status), everybody_else),
    ]


def _correspondent(person: e.Correspondent) -> JsonObject:
    return {"id": person.id, "name": person.name, "email": person.email}


def _message(event: Any) -> JsonObject:
    message = event.message
    return {
        "id": str(message.id),
        "messageId": str(message.id),
        "uniqueId": message.client_id or str(message.id),
        "senderId": message.sender,
        "receiverId": message.receiver,
        "content": message.content,
        "status": "delivered",
        "isRead": message.read_at is not None,
        "createdAt": timestamp(message.created_at),
        "timestamp": timestamp(message.created_at),
        "sender": _correspondent(event.sender),
        "receiver": _correspondent(event.receiver),
    }


def _sent(event: e.MessageSent) -> JsonObject:
    message = event.message
    return {
        **_message(event),
        "dbMessageId": str(message.id),
        "tempId": message.client_id,
        "confirmation": True,
        "status": "sent" if message.delivered_at is None else "delivered",
    }


def _delivered(event: e.MessageDelivered) -> JsonObject:
    message = event.message
    return {
        "messageId": str(message.id),
        "userId": message.receiver,
        "status": "delivered",
        "deliveredAt": optional_timestamp(message.delivered_at),
        "timestamp": timestamp(event.at),
    }


def _read(event: e.MessageRead) -> JsonObject:
    message = event.message
    return {
        "messageId": str(message.id),
        "userId": message.receiver,
        "readBy": message.receiver,
        "readAt": optional_timestamp(message.read_at),
        "timestamp": timestamp(event.at),
    }


def _typing(event: e.MessageTyping) -> JsonObject:
    return {
        "userId": event.sender,
        "senderId": event.sender,
        "receiverId": event.receiver,
        "isTyping": event.active,
        "timestamp": timestamp(event.at),
    }


def _typing_name(event: e.MessageTyping) -> str:
    return "typing:start" if event.active else "typing:stop"


def _pong(event: e.Ponged) -> JsonObject:
    return {"timestamp": timestamp(event.at)}


def _online_users(event: e.OnlineListed) -> JsonObject:
    return {"users": event.users, "count": len(event.users), "timestamp": timestamp(event.at)}


def _forced(event: e.ForcedOut) -> JsonObject:
    return {"reason": event.reason, "timestamp": timestamp(event.at)}


def _rate(event: e.RateExceeded) -> JsonObject:
    return {
        "error": event.message,
        "message": event.message,
        "code": event.code,
        "retryAfter": event.retry_after,
        "timestamp": timestamp(event.at),
    }


_ERRORS = [Row("error", error), Row("ERROR", error), Row("MESSAGE_ERROR", error)]

MESSAGING = Dialect(
    name="messaging",
    namespace=NAMESPACE,
    outbound={
        e.NotificationCreated: NOT_SENT,
        e.AnnouncementCreated: NOT_SENT,
        e.NoticeGiven: NOT_SENT,
        e.UnreadChanged: NOT_SENT,
        e.InboxSynced: NOT_SENT,
        e.Connected: [Row("CONNECTION_SUCCESS", _success), Row("connected", _connected)],
        e.CameOnline: _online_rows("online"),
        e.WentOffline: _online_rows("offline"),
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
        e.MessageReceived: [
            Row("message:new", _message),
            Row("MESSAGE_BROADCAST", _message),
            Row("NEW_MESSAGE", _message),
        ],
        e.MessageSent: [Row("message:sent", _sent), Row("MESSAGE_SENT", _sent)],
        e.MessageDelivered: [Row("message:delivered", _delivered), Row("MESSAGE_DELIVERED", _delivered)],
        e.MessageRead: [
            Row("message:read", _read),
            Row("MESSAGE_READ_UPDATE", _read),
            Row("MESSAGE_READ_RECEIPT", _read),
        ],
        e.MessageTyping: [
            Row("TYPING_INDICATOR", _typing),
            Row(_typing_name, _typing),
            Row("USER_TYPING", _typing),
        ],
        e.Ponged: [Row("PONG", _pong)],
        e.OnlineListed: [Row("ONLINE_USERS", _online_users)],
        e.ForcedOut: [Row("FORCE_DISCONNECT", _forced)],
        e.TestNotification: NOT_SENT,
        e.GuestTest: NOT_SENT,
        **EVERYWHERE,
        e.ErrorRaised: _ERRORS,
        e.RateExceeded: [*_ERRORS, Row("RATE_LIMIT_EXCEEDED", _rate)],
    },
    inbound={
        "sendMessage": "send_message",
        "NEW_MESSAGE": "send_message",
        "message:send": "send_message",
        "typing": "message_typing",
        "typing:start": "start_message_typing",
        "TYPING_START": "start_message_typing",
        "typing:stop": "stop_message_typing",
        "TYPING_STOP": "stop_message_typing",
        "markAsRead": "read_message",
        "MESSAGE_READ": "read_message",
        "message:read": "read_message",
        "PING": "ping",
        "GET_ONLINE_USERS": "list_online",
        "heartbeat": "heartbeat",
        "refresh_token": "refresh_token",
    },
    text_ids=True,
    speakers="users",
    refusals=AUTHENTICATION,
)
