"""What clients say about their inbox: who wants to hear of it, what has changed in it, and what has arrived.

Connecting subscribes already.
"""

from handlers.commands.base import Ack, Bucket, Command, CommandServices
from realtime.engine.channel import Session
from realtime.errors import Code, RealtimeError
from realtime.models import JsonObject
from realtime.rows import sync_page
from realtime.services.inbox_pages import ALL, MAX_PAGE, PAGE
from realtime.services.receipts import MAX_ACKNOWLEDGED

MAX_ID_DIGITS = 16


def _follow(services: CommandServices, session: Session, payload: object) -> Ack:
    session.channel.muted.discard(session.sid)
    services.counter.greet(session)
    return {}


def _unfollow(services: CommandServices, session: Session, payload: object) -> Ack:
    """The connection stays and hears nothing of notifications until it follows again."""
    session.channel.muted.add(session.sid)
    services.counter.greet(session)
    return {}


def _given(payload: object) -> JsonObject:
    if payload is None:
        return {}
    if not isinstance(payload, dict):
        raise RealtimeError(Code.INVALID_PAYLOAD, "The payload must be an object")
    return payload


async def _sync(services: CommandServices, session: Session, payload: object) -> Ack:
    """{since?, limit?}: no token means the whole inbox. A page may have less than `limit`; `hasMore` counts."""
    data = _given(payload)
    since, limit = data.get("since"), data.get("limit")
    if since is not None and not isinstance(since, str):
        raise RealtimeError(Code.INVALID_PAYLOAD, "since is a token, or nothing for the whole inbox")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int)):
        raise RealtimeError(Code.INVALID_PAYLOAD, "limit must be a whole number")
    size = PAGE if limit is None else max(1, min(limit, MAX_PAGE))
    return sync_page(await services.pages.page(session, since or ALL, size))


async def _acknowledge(services: CommandServices, session: Session, payload: object) -> Ack:
    """{id} or {ids}, and which device it is. Ids that the person does not have are not counted."""
    data = _given(payload)
    device = data.get("device")
    if device is not None and not isinstance(device, str):
        raise RealtimeError(Code.INVALID_PAYLOAD, "device is text")
    return {"count": await services.receipts.acknowledge(session.identity.principal, _ids(data), device)}


def _ids(data: JsonObject) -> list[int]:
    given = data.get("ids", [data["id"]] if "id" in data else None)
    if not isinstance(given, list) or not 1 <= len(given) <= MAX_ACKNOWLEDGED:
        raise RealtimeError(Code.INVALID_PAYLOAD, f"id, or ids with 1 to {MAX_ACKNOWLEDGED} of them, is required")
    return [_id(value) for value in given]


def _id(value: object) -> int:
    """Return an id that came as a number, or as text where people's clients know it so."""
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if not text.isascii() or not text.isdigit() or len(text) > MAX_ID_DIGITS:
        raise RealtimeError(Code.INVALID_PAYLOAD, "An id is a whole number")
    return int(text)


COMMANDS = {
    "follow_notifications": Command(_follow, Bucket.SIGNALS),
    "unfollow_notifications": Command(_unfollow, Bucket.SIGNALS),
    "sync_notifications": Command(_sync, Bucket.MESSAGES),
    "acknowledge_notifications": Command(_acknowledge, Bucket.SIGNALS),
}
