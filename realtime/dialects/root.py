"""The vocabulary of the root namespace ``/``: booking and repair-shop frontends (docs/contract.md, "Root namespace").

A notification goes out under both of its names, because each frontend listens to one. Ids are numbers where the
stored id is one, and people's ids have the JSON type of their token.
"""

from typing import Any

from realtime import events as e
from realtime.clock import optional_timestamp, timestamp
from realtime.dialects.base import EVERYWHERE, INBOX_COMMANDS, NOT_SENT, SYNCED, Dialect, Row, counts
from realtime.events import Audience
from realtime.models import JsonObject, Notification
from rooms import names

NAMESPACE = "/"


def new_notification(event: e.NotificationCreated) -> JsonObject:
    row = event.notification
    content = row.content
    return {
        "_id": str(row.id),
        "id": row.id,
        "user": event.reader,
        "title": content.title,
        "message": content.message,
        "type": content.type,
        "priority": content.priority,
        "read": False,
        "archived": False,
        "url": content.url,
        "actionUrl": content.url,
        "relatedEntity": related_entity(row),
        "metadata": content.metadata,
        "actions": content.actions,
        "groupCount": row.group_count,
        "createdAt": timestamp(row.created_at),
        "updatedAt": timestamp(row.updated_at),
        "expiresAt": optional_timestamp(content.expires_at),
        "timestamp": timestamp(event.at),
    }


def notification_received(event: e.NotificationCreated) -> JsonObject:
    row = event.notification
    content = row.content
    related = related_entity(row) or {}
    return {
        "notification": {
            "id": row.id,
            "user_id": event.reader,
            "title": content.title,
            "message": content.message,
            "type": "system" if content.type == "announcement" else content.type,
            "priority": content.priority,
            "is_read": False,
            "related_entity_type": related.get("type"),
            "related_entity_id": related.get("id"),
            "title_key": content.metadata.get("title_key"),
            "message_key": content.metadata.get("message_key"),
            "message_params": content.metadata.get("message_params") or {},
            "created_at": timestamp(row.created_at),
            "updated_at": timestamp(row.updated_at),
        },
        "timestamp": timestamp(event.at),
    }


def related_entity(row: Notification) -> JsonObject | None:
    """Return ``{type, id}`` of the business row that a notification is about, when its metadata says."""
    related = row.content.metadata.get("relatedEntity")
    return related if isinstance(related, dict) else None


def _count(event: e.UnreadChanged) -> JsonObject:
    return {
        "userId": event.user,
        "count": event.count,
        "unreadCount": event.count,
        **counts(event),
        "timestamp": timestamp(event.at),
    }


def _who(event: Any) -> JsonObject:
    return {"userId": event.person.wire_id}


def _who_named(event: Any) -> JsonObject:
    person: e.Person = event.person
    return {"userId": person.wire_id, "userName": person.name, "timestamp": timestamp(event.at)}


def _colleagues(event: Any, audience: Audience) -> Audience:
    """People of the same role and administrators. An audience that is already narrower stays as it is."""
    if not audience.everyone:
        return audience
    return Audience.room(names.role(event.person.role), names.ADMIN_ROOM, without=audience.without)


def _administrators(_event: Any, audience: Audience) -> Audience:
    return Audience.room(names.ADMIN_ROOM, without=audience.without)


def _activity(event: e.ActivityChanged) -> JsonObject:
    return {
        "userId": event.person.wire_id,
        "userName": event.person.name,
        "userRole": event.person.role,
        "status": event.status,
        "actionsCount": event.actions,
        "timestamp": timestamp(event.at),
    }


def _status(event: e.StatusChanged) -> JsonObject:
    return {**event.data, "userId": event.person.wire_id, "timestamp": timestamp(event.at)}


def _presence_note(event: e.PresenceNoted) -> JsonObject:
    return {
        **event.data,
        "userId": event.person.wire_id,
        "userName": event.person.name,
        "status": event.status,
        "workOrderId": event.work_order,
        "timestamp": timestamp(event.at),
    }


def _typing(event: e.TypingNoted) -> JsonObject:
    return {**event.data, "userId": event.person.wire_id, "isTyping": event.active}


def _room_typing(event: e.RoomTypingNoted) -> JsonObject:
    body = {
        "userId": event.person.wire_id,
        "userName": event.person.name,
        "message": event.message,
        "roomName": event.room,
        "workOrderId": event.work_order,
        "timestamp": timestamp(event.at),
    }
    if not event.active:
        del body["message"]
    return body


def _room_typing_name(event: e.RoomTypingNoted) -> str:
    return "user_typing_start" if event.active else "user_typing_stop"


def _work_order(event: e.WorkOrderChanged) -> JsonObject:
    return {**_assignment(event), "data": event.data}


def _assignment(event: Any) -> JsonObject:
    return {
        "workOrderId": event.id,
        "action": event.action,
        "workOrder": event.row,
        "timestamp": timestamp(event.at),
    }


def _ticket(event: e.TicketChanged) -> JsonObject:
    return {**_ticket_for_admins(event), "data": event.data}


def _ticket_for_admins(event: e.TicketChanged) -> JsonObject:
    return {"ticketId": event.id, "action": event.action, "ticket": event.row, "timestamp": timestamp(event.at)}


def _booking(event: e.BookingChanged) -> JsonObject:
    return {**event.data, "bookingId": event.id, "status": event.status, "userId": event.user}


def _test_notification(event: e.TestNotification) -> JsonObject:
    body: JsonObject = {
        "title": event.title,
        "message": event.message,
        "type": event.type,
        "timestamp": timestamp(event.at),
    }
    return body if event.user is None else {**body, "userId": event.user}


_NOTIFICATION = [Row("newNotification", new_notification), Row("notification_received", notification_received)]

ROOT = Dialect(
    name="root",
    namespace=NAMESPACE,
    outbound={
        e.NotificationCreated: _NOTIFICATION,
        e.AnnouncementCreated: _NOTIFICATION,
        e.NoticeGiven: NOT_SENT,
        e.UnreadChanged: [Row("notification_count_updated", _count)],
        e.InboxSynced: SYNCED,
        e.Connected: NOT_SENT,
        e.JoinedRoom: [Row("userOnline", _who), Row("user_online", _who_named)],
        e.CameOnline: [
            Row("userOnline", _who),
            Row("user_online", _who_named, _colleagues),
        ],
        e.WentOffline: [
            Row("userOffline", _who),
            Row("user_offline", _who_named, _colleagues),
        ],
        e.ActivityChanged: [Row("user_activity_update", _activity, _administrators)],
        e.StatusChanged: [Row("statusUpdated", _status)],
        e.PresenceNoted: [Row("user_presence_update", _presence_note)],
        e.TypingNoted: [Row("userTyping", _typing)],
        e.RoomTypingNoted: [Row(_room_typing_name, _room_typing)],
        e.WorkOrderChanged: [Row("work_order_updated", _work_order)],
        e.WorkOrderAssignment: [Row("work_order_assignment_update", _assignment)],
        e.TicketChanged: [
            Row("repair_ticket_updated", _ticket),
            Row("repair_ticket_update", _ticket_for_admins, _administrators),
        ],
        e.BookingChanged: [Row("bookingUpdated", _booking)],
        e.TestNotification: [Row("newNotification", _test_notification)],
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
        e.GuestTest: NOT_SENT,
        **EVERYWHERE,
    },
    inbound={
        "register": "register",
        "updateStatus": "update_status",
        "user_status_update": "touch_status",
        "user_presence": "note_presence",
        "heartbeat": "heartbeat",
        "typing": "typing",
        "typing_start": "start_typing",
        "typing_stop": "stop_typing",
        "bookingUpdate": "relay_booking",
        "join_room": "join_room",
        "leave_room": "leave_room",
        "refresh_token": "refresh_token",
        **INBOX_COMMANDS,
    },
)
