"""The root namespace: bookings and repair shop."""

from collections.abc import Mapping

from realtime import events
from tests.golden.shapes.samples import (
    ANN,
    AT,
    BARE,
    COUNTS,
    EVERYWHERE,
    INBOX,
    NOTE,
    OBJECT_ID,
    ROW,
    UNREAD,
    Golden,
    Shapes,
)

NEW_NOTIFICATION: Mapping[str, object] = {
    "_id": "string",
    "id": "number",
    "user": "number",
    "title": "string",
    "message": "string",
    "type": "string",
    "priority": "string",
    "read": "boolean",
    "archived": "boolean",
    "url": "string",
    "actionUrl": "string",
    "relatedEntity": "object",
    "metadata": "object",
    "createdAt": "timestamp",
    "updatedAt": "timestamp",
    "timestamp": "timestamp",
    # Of our own, beside what the applications read:
    "actions": "array",
    "groupCount": "number",
    "expiresAt": "timestamp",
}
RECEIVED: Mapping[str, object] = {
    "id": "number",
    "user_id": "number",
    "title": "string",
    "message": "string",
    "type": "string",
    "is_read": "boolean",
    "related_entity_type": "string",
    "related_entity_id": "number",
    "title_key": "string",
    "message_key": "string",
    "message_params": "object",
    "created_at": "timestamp",
    "updated_at": "timestamp",
    # Of our own:
    "priority": "string",
}
WHO = {"userId": "number"}
WHO_NAMED = {"userId": "number", "userName": "string", "timestamp": "timestamp"}
TYPING_STOP = {
    "userId": "number",
    "userName": "string",
    "roomName": "string",
    "workOrderId": "number",
    "timestamp": "timestamp",
}
WORK_ORDER = {
    "workOrderId": "number",
    "action": "string",
    "workOrder": {"id": "number", "status": "string"},
    "timestamp": "timestamp",
}
TICKET = {
    "ticketId": "number",
    "action": "string",
    "ticket": {"id": "number", "status": "string"},
    "timestamp": "timestamp",
}
TEST_NOTIFICATION = {"title": "string", "message": "string", "type": "string", "timestamp": "timestamp"}

SHAPES: Shapes = {
    "notification": Golden(
        events.NotificationCreated(AT, NOTE, 5),
        [
            ("newNotification", NEW_NOTIFICATION),
            ("notification_received", {"notification": RECEIVED, "timestamp": "timestamp"}),
        ],
    ),
    "notification of an ObjectId user": Golden(
        events.NotificationCreated(AT, NOTE, "64b7f0"),
        [
            ("newNotification", {**NEW_NOTIFICATION, "user": "string"}),
            ("notification_received", {"notification": {**RECEIVED, "user_id": "string"}, "timestamp": "timestamp"}),
        ],
    ),
    "announcement": Golden(
        events.AnnouncementCreated(AT, BARE, 7),
        [
            (
                "newNotification",
                {
                    **NEW_NOTIFICATION,
                    "user": "number",
                    "url": "null",
                    "actionUrl": "null",
                    "relatedEntity": "null",
                    "expiresAt": "null",
                },
            ),
            (
                "notification_received",
                {
                    "notification": {
                        **RECEIVED,
                        "user_id": "number",
                        "related_entity_type": "null",
                        "related_entity_id": "null",
                        "title_key": "null",
                        "message_key": "null",
                    },
                    "timestamp": "timestamp",
                },
            ),
        ],
    ),
    "unread": Golden(
        UNREAD,
        [
            (
                "notification_count_updated",
                {"userId": "number", **COUNTS, "unreadCount": "number", "timestamp": "timestamp"},
            )
        ],
    ),
    "online": Golden(events.CameOnline(AT, ANN), [("userOnline", WHO), ("user_online", WHO_NAMED)]),
    "online, ObjectId": Golden(
        events.CameOnline(AT, OBJECT_ID),
        [("userOnline", {"userId": "string"}), ("user_online", {**WHO_NAMED, "userId": "string"})],
    ),
    "seen in a room": Golden(events.JoinedRoom(AT, ANN), [("userOnline", WHO), ("user_online", WHO_NAMED)]),
    "offline": Golden(events.WentOffline(AT, ANN), [("userOffline", WHO), ("user_offline", WHO_NAMED)]),
    "activity": Golden(
        events.ActivityChanged(AT, ANN, "online", 4),
        [
            (
                "user_activity_update",
                {**WHO_NAMED, "userRole": "string", "status": "string", "actionsCount": "number"},
            )
        ],
    ),
    "status": Golden(
        events.StatusChanged(AT, ANN, {"status": "busy", "note": "lunch"}),
        [("statusUpdated", {"status": "string", "note": "string", "userId": "number", "timestamp": "timestamp"})],
    ),
    "presence in a room": Golden(
        events.PresenceNoted(AT, ANN, "viewing", 7, {}),
        [("user_presence_update", {**WHO_NAMED, "status": "string", "workOrderId": "number"})],
    ),
    "presence in general": Golden(
        events.PresenceNoted(AT, ANN, "away", None, {"mood": 1}),
        [("user_presence_update", {**WHO_NAMED, "status": "string", "workOrderId": "null", "mood": "number"})],
    ),
    "typing": Golden(
        events.TypingNoted(AT, ANN, True, {"receiverId": "9"}),
        [("userTyping", {"receiverId": "string", "userId": "number", "isTyping": "boolean"})],
    ),
    "typing starts in a room": Golden(
        events.RoomTypingNoted(AT, ANN, True, "work_order_7", 7, "hm"),
        [("user_typing_start", {**TYPING_STOP, "message": "string"})],
    ),
    "typing starts in another room": Golden(
        events.RoomTypingNoted(AT, ANN, True, "lobby", None, None),
        [("user_typing_start", {**TYPING_STOP, "workOrderId": "null", "message": "null"})],
    ),
    "typing stops in a room": Golden(
        events.RoomTypingNoted(AT, ANN, False, "work_order_7", 7, None), [("user_typing_stop", TYPING_STOP)]
    ),
    "work order": Golden(
        events.WorkOrderChanged(AT, 7, "status_changed", ROW, {"oldStatus": "new"}),
        [("work_order_updated", {**WORK_ORDER, "data": "object"})],
    ),
    "work order deleted": Golden(
        events.WorkOrderChanged(AT, 7, "deleted", ROW, {}),
        [("work_order_updated", {**WORK_ORDER, "data": "object"})],
    ),
    "assignment": Golden(
        events.WorkOrderAssignment(AT, 7, "assigned", ROW), [("work_order_assignment_update", WORK_ORDER)]
    ),
    "ticket": Golden(
        events.TicketChanged(AT, 7, "updated", ROW, {}),
        [("repair_ticket_updated", {**TICKET, "data": "object"}), ("repair_ticket_update", TICKET)],
    ),
    "booking": Golden(
        events.BookingChanged(AT, 7, "confirmed", 5, {"from": "2026-01-01"}),
        [("bookingUpdated", {"from": "string", "bookingId": "number", "status": "string", "userId": "number"})],
    ),
    "booking without ids": Golden(
        events.BookingChanged(AT, None, None, None, {}),
        [("bookingUpdated", {"bookingId": "null", "status": "null", "userId": "null"})],
    ),
    "test notification": Golden(
        events.TestNotification(AT, "Hi", "There", "info", None), [("newNotification", TEST_NOTIFICATION)]
    ),
    "test notification to one": Golden(
        events.TestNotification(AT, "Hi", "There", "info", 5),
        [("newNotification", {**TEST_NOTIFICATION, "userId": "number"})],
    ),
    **INBOX,
    **EVERYWHERE,
}
