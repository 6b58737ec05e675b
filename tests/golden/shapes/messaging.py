"""The namespace ``/ws``: every event under the names of three generations of clients."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from realtime import events
from tests.golden.shapes.samples import (
    ANN,
    AT,
    CUSTOM,
    ENDINGS,
    ERROR,
    ERROR_OF_AN_EVENT,
    MESSAGE,
    RECEIVER,
    SENDER,
    Golden,
    Shapes,
)

CORRESPONDENT = {"id": "string", "name": "string", "email": "string"}
RECEIVED: Mapping[str, object] = {
    "id": "string",
    "messageId": "string",
    "uniqueId": "string",
    "senderId": "string",
    "receiverId": "string",
    "content": "string",
    "status": "string",
    "isRead": "boolean",
    "createdAt": "timestamp",
    "timestamp": "timestamp",
    "sender": CORRESPONDENT,
    "receiver": {**CORRESPONDENT, "email": "null"},
}
SENT: Mapping[str, object] = {**RECEIVED, "dbMessageId": "string", "tempId": "string", "confirmation": "boolean"}
READ = {
    "messageId": "string",
    "userId": "string",
    "readBy": "string",
    "readAt": "timestamp",
    "timestamp": "timestamp",
}
DELIVERED = {
    "messageId": "string",
    "userId": "string",
    "status": "string",
    "deliveredAt": "timestamp",
    "timestamp": "timestamp",
}
TYPING = {
    "userId": "string",
    "senderId": "string",
    "receiverId": "string",
    "isTyping": "boolean",
    "timestamp": "timestamp",
}
WHO = {"userId": "string", "timestamp": "timestamp"}
STATUS = {"userId": "string", "status": "string", "timestamp": "timestamp"}
LAST_SEEN = {"userId": "string", "status": "string", "lastSeen": "timestamp"}
SUCCESS = {"userId": "string", "userEmail": "string", "connectedUsers": "number", "timestamp": "timestamp"}
RATE = {
    "error": "string",
    "message": "string",
    "code": "string",
    "retryAfter": "number",
    "timestamp": "timestamp",
}

CONNECTED = {"userId": "string", "timestamp": "timestamp", "message": "string"}
LATER = replace(MESSAGE, delivered_at=AT + 1, read_at=AT + 2)
ANONYMOUS = replace(MESSAGE, client_id=None)


def alike(shape: object, *names: str) -> Sequence[tuple[str, object]]:
    """Return frames that differ only in their name."""
    return [(name, shape) for name in names]


def _presence(word: str) -> Sequence[tuple[str, object]]:
    return [
        (f"presence:{word}", STATUS),
        (f"USER_{word.upper()}", WHO),
        ("USER_STATUS_CHANGE", STATUS),
        ("USER_PRESENCE_UPDATE", LAST_SEEN),
    ]


SHAPES: Shapes = {
    "connected": Golden(
        events.Connected(AT, ANN, "ann@example.com", 3), [("CONNECTION_SUCCESS", SUCCESS), ("connected", CONNECTED)]
    ),
    "connected without an address": Golden(
        events.Connected(AT, ANN, None, 3),
        [("CONNECTION_SUCCESS", {**SUCCESS, "userEmail": "null"}), ("connected", CONNECTED)],
    ),
    "online": Golden(events.CameOnline(AT, ANN), _presence("online")),
    "offline": Golden(events.WentOffline(AT, ANN), _presence("offline")),
    "message received": Golden(
        events.MessageReceived(AT, MESSAGE, SENDER, RECEIVER),
        alike(RECEIVED, "message:new", "MESSAGE_BROADCAST", "NEW_MESSAGE"),
    ),
    "message sent": Golden(
        events.MessageSent(AT, MESSAGE, SENDER, RECEIVER), alike(SENT, "message:sent", "MESSAGE_SENT")
    ),
    "message sent without an id of its own": Golden(
        events.MessageSent(AT, ANONYMOUS, SENDER, RECEIVER),
        alike({**SENT, "tempId": "null"}, "message:sent", "MESSAGE_SENT"),
    ),
    "message delivered": Golden(
        events.MessageDelivered(AT, LATER), alike(DELIVERED, "message:delivered", "MESSAGE_DELIVERED")
    ),
    "message read": Golden(
        events.MessageRead(AT, LATER), alike(READ, "message:read", "MESSAGE_READ_UPDATE", "MESSAGE_READ_RECEIPT")
    ),
    "typing": Golden(
        events.MessageTyping(AT, "5", "64b7f0", True),
        alike(TYPING, "TYPING_INDICATOR", "typing:start", "USER_TYPING"),
    ),
    "typing stopped": Golden(
        events.MessageTyping(AT, "5", "64b7f0", False),
        alike(TYPING, "TYPING_INDICATOR", "typing:stop", "USER_TYPING"),
    ),
    "pong": Golden(events.Ponged(AT), [("PONG", {"timestamp": "timestamp"})]),
    "who is online": Golden(
        events.OnlineListed(AT, ["5", "64b7f0"]),
        [("ONLINE_USERS", {"users": "array", "count": "number", "timestamp": "timestamp"})],
    ),
    "forced out": Golden(
        events.ForcedOut(AT, "Too many connections"),
        [("FORCE_DISCONNECT", {"reason": "string", "timestamp": "timestamp"})],
    ),
    "error": Golden(events.ErrorRaised(AT, "INTERNAL", "No"), alike(ERROR, "error", "ERROR", "MESSAGE_ERROR")),
    "rate limit": Golden(
        events.RateExceeded(AT, "RATE_LIMIT_EXCEEDED", "Slow down", "sendMessage", 0.6),
        [*alike(ERROR_OF_AN_EVENT, "error", "ERROR", "MESSAGE_ERROR"), ("RATE_LIMIT_EXCEEDED", RATE)],
    ),
    **CUSTOM,
    **ENDINGS,
}
