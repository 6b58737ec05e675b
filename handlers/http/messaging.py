"""Chat over REST: conversations, their messages, and what has been read."""

import asyncio
from collections.abc import Sequence
from typing import Any

from aiohttp import web
from marshmallow import RAISE, Schema, ValidationError, fields, post_load, validate

from handlers.commands.messaging import acknowledged, client_id
from handlers.http.base import (
    MAX_PAGE,
    Access,
    Id,
    PageQuery,
    Query,
    Route,
    body,
    identity,
    pagination,
    path_id,
    query,
    reply,
    window,
)
from handlers.http.idempotency import Idempotency
from realtime.clock import Clock, optional_timestamp, timestamp
from realtime.errors import RealtimeError
from realtime.models import JsonObject, Message
from realtime.ratelimit import RateLimiter, exceeded
from realtime.services.messaging import MessagingService, Talk
from realtime.services.presence import PresenceService

MAX_SEARCH = 200
MAX_ID_DIGITS = 16
MESSAGE = rf"/api/messages/{{id:\d{{1,{MAX_ID_DIGITS}}}}}"


class MessageId(fields.Field[int]):
    """A message's id: text, as everywhere on the wire, or a whole number."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        text = str(value)
        known = isinstance(value, str | int) and text.isascii() and text.isdigit() and len(text) <= MAX_ID_DIGITS
        if not known:
            raise ValidationError("Must be the id of a message.")
        return int(text)


class ClientId(fields.Field[str]):
    """The id that a client gave its message, kept as text."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        try:
            return client_id(value) or ""
        except RealtimeError as error:
            raise ValidationError(error.message) from error


class NewMessage(Schema):
    class Meta:
        unknown = RAISE

    content = fields.String(required=True)
    clientMessageId = ClientId(load_default=None, allow_none=True)


class UpTo(Schema):
    class Meta:
        unknown = RAISE

    upTo = MessageId(load_default=None, allow_none=True)


class HistoryQuery(Query):
    """As of pages: sizes are clamped."""

    before = MessageId(load_default=None)
    limit = fields.Integer(load_default=50)

    @post_load
    def _clamp(self, args: JsonObject, **_: Any) -> JsonObject:
        args["limit"] = min(max(args["limit"], 1), MAX_PAGE)
        return args


class SearchQuery(HistoryQuery):
    q = fields.String(required=True, validate=validate.Length(1, MAX_SEARCH))
    userId = Id(load_default=None)


class MessagingRoutes:
    """Everybody's own conversations. `limiter` is that of messages sent over sockets: they count together."""

    def __init__(
        self,
        *,
        messaging: MessagingService,
        presence: PresenceService,
        limiter: RateLimiter,
        idempotency: Idempotency,
        clock: Clock,
    ) -> None:
        self._messaging = messaging
        self._presence = presence
        self._limiter = limiter
        self._idempotency = idempotency
        self._clock = clock

    def routes(self) -> Sequence[Route]:
        conversation = "/api/conversations/{id}"
        table = [
            ("GET", "/api/conversations", self.conversations),
            ("GET", f"{conversation}/messages", self.history),
            ("POST", f"{conversation}/messages", self.send),
            *((verb, f"{conversation}/read", self.read_conversation) for verb in ("POST", "PATCH", "PUT")),
            ("GET", "/api/messages/search", self.search),
            ("GET", "/api/messages/unread-count", self.count),
            *((verb, f"{MESSAGE}/read", self.read) for verb in ("PATCH", "PUT", "POST")),
        ]
        return [Route(verb, path, run, Access.USER) for verb, path, run in table]

    async def conversations(self, request: web.Request) -> web.Response:
        limit, offset = window(await query(request, PageQuery))
        talks, total, unread = await self._messaging.conversations(identity(request).id, limit=limit, offset=offset)
        return reply(
            {
                "conversations": await asyncio.gather(*map(self._shown, talks)),
                "total": total,
                "unreadCount": unread,
                "pagination": pagination(limit=limit, offset=offset, total=total),
            }
        )

    async def _shown(self, talk: Talk) -> JsonObject:
        conversation, other = talk.conversation, talk.other
        online = (await self._presence.of(other.id)).online
        return {
            "id": other.id,
            "userId": other.id,
            "user": {"id": other.id, "name": other.name, "email": other.email, "online": online},
            "lastMessage": row(conversation.last),
            "unreadCount": conversation.unread,
            "updatedAt": timestamp(conversation.last.created_at),
        }

    async def history(self, request: web.Request) -> web.Response:
        args = await query(request, HistoryQuery)
        found = await self._messaging.history(
            identity(request).id, path_id(request), before=args["before"], limit=args["limit"] + 1
        )
        return _page(found, args["limit"])

    def _count(self, request: web.Request) -> None:
        """Count against the caller's rate of messages. Raises RATE_LIMIT_EXCEEDED."""
        wait = self._limiter.hit(identity(request).principal, self._clock())
        if wait is not None:
            raise exceeded(wait)

    async def search(self, request: web.Request) -> web.Response:
        self._count(request)
        args = await query(request, SearchQuery)
        found = await self._messaging.search(
            identity(request).id, args["q"], other=args["userId"], before=args["before"], limit=args["limit"] + 1
        )
        return _page(found, args["limit"])

    async def send(self, request: web.Request) -> web.Response:
        return await self._idempotency.run(request, identity(request).principal, lambda: self._send(request))

    async def _send(self, request: web.Request) -> web.Response:
        self._count(request)
        args = await body(request, NewMessage)
        sent_as = args["clientMessageId"] or None
        receipt = await self._messaging.send(identity(request), path_id(request), args["content"], sent_as)
        return reply({"success": True, **acknowledged(receipt)}, status=200 if receipt.duplicate else 201)

    async def read_conversation(self, request: web.Request) -> web.Response:
        args = await body(request, UpTo)
        count = await self._messaging.read_conversation(identity(request).id, path_id(request), up_to=args["upTo"])
        return reply({"message": "Messages marked as read", "count": count, "updatedCount": count})

    async def read(self, request: web.Request) -> web.Response:
        message = await self._messaging.read(identity(request).id, int(request.match_info["id"]))
        return reply({**row(message), "message": "Message marked as read"})

    async def count(self, request: web.Request) -> web.Response:
        count = await self._messaging.unread_count(identity(request).id)
        return reply({"count": count, "unreadCount": count})


def row(message: Message) -> JsonObject:
    """Return a message as both of its people may read it."""
    status = "read" if message.read_at is not None else "sent" if message.delivered_at is None else "delivered"
    return {
        "id": str(message.id),
        "messageId": str(message.id),
        "senderId": message.sender,
        "receiverId": message.receiver,
        "content": message.content,
        "status": status,
        "isRead": message.read_at is not None,
        "readAt": optional_timestamp(message.read_at),
        "deliveredAt": optional_timestamp(message.delivered_at),
        "createdAt": timestamp(message.created_at),
        "timestamp": timestamp(message.created_at),
        "tempId": message.client_id,
    }


def _page(found: Sequence[Message], limit: int) -> web.Response:
    """`found` is one more than was asked for when there is a next page."""
    shown, more = found[:limit], len(found) > limit
    return reply(
        {"messages": [row(one) for one in shown], "nextCursor": str(shown[-1].id) if more else None, "hasMore": more}
    )
