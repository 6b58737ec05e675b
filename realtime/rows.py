"""What REST and sockets show alike: a notification as lists have it, and a page of what has changed."""

from realtime.clock import optional_timestamp, timestamp
from realtime.events import InboxSynced
from realtime.models import JsonObject, Notification


def list_row(row: Notification, owner: object) -> JsonObject:
    """Return a notification as one reader sees it, in every spelling that a deployed client reads.

    `owner` is whose it is: an id, or None for a broadcast as its sender sees it.
    """
    content = row.content
    return {
        "id": row.id,
        "_id": str(row.id),
        "userId": owner,
        "user_id": owner,
        "user": owner,
        "audience": row.target.audience,
        "type": content.type,
        "category": row.category,
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
        "seen": row.seen_at is not None,
        "seenAt": optional_timestamp(row.seen_at),
        "archived": row.archived_at is not None,
        "archivedAt": optional_timestamp(row.archived_at),
        "snoozedUntil": optional_timestamp(row.snoozed_until),
        "createdAt": timestamp(row.created_at),
        "created_at": timestamp(row.created_at),
        "updatedAt": timestamp(row.updated_at),
        "updated_at": timestamp(row.updated_at),
        "expiresAt": optional_timestamp(content.expires_at),
        "expires_at": optional_timestamp(content.expires_at),
        "status": "sent",
    }


def sync_page(event: InboxSynced) -> JsonObject:
    """Return a page of changes. What `remove` names may be unknown to the client, and then is nothing to it."""
    return {
        "token": event.token,
        "changes": [_change(id, row, event.reader) for id, row in event.rows],
        "unreadCount": event.unread,
        "reset": event.reset,
        "hasMore": event.more,
        "timestamp": timestamp(event.at),
    }


def _change(id: int, row: Notification | None, owner: object) -> JsonObject:
    if row is None:
        return {"op": "remove", "id": id}
    return {"op": "upsert", "id": id, "notification": list_row(row, owner)}
