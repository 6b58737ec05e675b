"""How stored values look in REST answers."""

from dataclasses import replace

from realtime.auth import Identity
from realtime.clock import optional_timestamp, timestamp
from realtime.models import Counts, Draft, JsonObject, Notification, Target, wire_id
from realtime.rows import list_row
from realtime.services.presence import PresenceView
from realtime.services.traces import Step


def notification(row: Notification, reader: Identity | None = None) -> JsonObject:
    """Return a notification as its reader sees it; without one, as its sender does, who is not told what was done
    with it."""
    if reader is not None:
        return list_row(row, reader.wire_id)
    sent = replace(row, read_at=None, seen_at=None, archived_at=None, snoozed_until=None)
    return list_row(sent, _recipient(row.target))


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


def counts(counts: Counts) -> JsonObject:
    return {
        "unreadCount": counts.unread,
        "unseenCount": counts.unseen,
        "categories": counts.categories,
        "revision": counts.revision,
    }


def step(step: Step) -> JsonObject:
    """Return a stage of a notification's way; what is not known of it is left out."""
    shown: JsonObject = {"stage": step.stage, "at": timestamp(step.at)}
    if step.who is not None:
        kind, _, id = step.who.partition(":")
        shown[f"{kind}Id"] = wire_id(id)
    more = {"device": step.device, "detail": step.detail}
    return {**shown, **{name: value for name, value in more.items() if value is not None}}


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
