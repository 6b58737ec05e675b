"""How stored values look in REST answers. List rows carry every spelling that a deployed client reads."""

from realtime.auth import Identity
from realtime.clock import optional_timestamp, timestamp
from realtime.models import Draft, JsonObject, Notification, Target, wire_id
from realtime.services.presence import PresenceView


def notification(row: Notification, reader: Identity | None = None) -> JsonObject:
    """Return a notification as its reader sees it; without one, as its sender does."""
    content = row.content
    owner = reader.wire_id if reader else _recipient(row.target)
    return {
        "id": row.id,
        "_id": str(row.id),
        "userId": owner,
        "user_id": owner,
        "user": owner,
        "audience": row.target.audience,
        "type": content.type,
        "title": content.title,
        "message": content.message,
        "body": content.message,
        "priority": content.priority,
        "url": content.url,
        "actionUrl": content.url,
        "metadata": content.metadata,
        "actions": content.actions,
        "groupKey": content.group_key,
        "groupCount": row.group_count,
        "read": row.read,
        "isRead": row.read,
        "is_read": row.read,
        "readAt": optional_timestamp(row.read_at),
        "read_at": optional_timestamp(row.read_at),
        "archived": False,
        "createdAt": timestamp(row.created_at),
        "created_at": timestamp(row.created_at),
        "updatedAt": timestamp(row.updated_at),
        "updated_at": timestamp(row.updated_at),
        "expiresAt": optional_timestamp(content.expires_at),
        "expires_at": optional_timestamp(content.expires_at),
        "status": "sent",
    }


def draft(row: Draft) -> JsonObject:
    shown = notification(
        Notification(
            id=row.id,
            target=row.target,
            content=row.content,
            sender=row.sender,
            created_at=row.created_at,
            updated_at=row.created_at,
        )
    )
    return {**shown, "status": "draft", "scheduledAt": timestamp(row.run_at), "scheduled_at": timestamp(row.run_at)}


def _recipient(target: Target) -> object:
    return None if target.recipient is None else wire_id(target.recipient.partition(":")[2])


def presence(view: PresenceView) -> JsonObject:
    return {
        "userId": view.user,
        "userName": view.name,
        "userRole": view.role,
        "online": view.online,
        "status": view.status,
        "lastSeen": optional_timestamp(view.last_seen),
        "connections": view.connections,
    }
