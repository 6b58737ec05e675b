"""The inbox over REST, under /api/notifications and /notifications, in every spelling the clients use."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from marshmallow import RAISE, Schema, ValidationError, fields, pre_load, validate

from handlers.http import shapes
from handlers.http.base import (
    ROLE,
    Access,
    Id,
    PageQuery,
    Route,
    body,
    identity,
    member,
    pagination,
    query,
    reply,
    window,
)
from handlers.http.idempotency import Idempotency
from realtime import wire
from realtime.errors import Code, RealtimeError
from realtime.models import PRIORITIES, Content, Draft, InboxQuery, JsonObject, Target, user_principal
from realtime.services.notifications import NotificationService, Sent
from realtime.services.rooms import RoomService, audience_of
from rooms.policy import PUBLISHER_ROLES, Member

MAX_RECIPIENTS = 10_000
METADATA_BYTES = 8192
LAST_MOMENT = 253_402_300_799
"""The last second of the year 9999: later ones, which a zone can name, cannot be written as ISO-8601."""
PREFIXES = ("/api/notifications", "/notifications")


class Moment(fields.Field[float]):
    """ISO-8601 with or without a zone (then UTC), from 1970 to the end of 9999, as seconds."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> float:
        if not isinstance(value, str):
            raise ValidationError("Must be an ISO-8601 time.")
        try:
            moment = datetime.fromisoformat(value)
            seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError) as error:
            raise ValidationError("Must be an ISO-8601 time.") from error
        if not 0 <= seconds <= LAST_MOMENT:
            raise ValidationError("Must be a time from 1970 to 9999.")
        return seconds


def _safe_url(value: str) -> None:
    """A link that a page may put into an href: relative, or http(s). Never javascript:."""
    try:
        scheme = urlsplit(value).scheme
    except ValueError:
        scheme = "malformed"
    if any(ord(c) < 0x20 or c in "\\ " for c in value) or scheme not in ("", "http", "https"):
        raise ValidationError("Must be a relative link or an http(s) URL.")


def _small(limit: int) -> Any:
    def check(value: object) -> None:
        try:
            size = len(wire.dumps(value))
        except wire.BadJson as error:
            raise ValidationError("Must be JSON.") from error
        if size > limit:
            raise ValidationError(f"Must be at most {limit} bytes of JSON.")

    return check


class Action(Schema):
    label = fields.String(required=True, validate=validate.Length(1, 60))
    url = fields.String(validate=[validate.Length(1, 2048), _safe_url])
    action = fields.String(validate=validate.Length(1, 60))


class NewNotification(Schema):
    class Meta:
        unknown = RAISE

    @pre_load
    def _tidy(self, data: Any, **_: Any) -> Any:
        """null means the default; the snake_case spellings of times are welcome, too."""
        aliases = {"scheduled_at": "scheduledAt", "expires_at": "expiresAt"}
        return {aliases.get(name, name): value for name, value in data.items() if value is not None}

    userId = Id()
    userIds = fields.List(Id(), validate=validate.Length(1, MAX_RECIPIENTS))
    role = fields.String(validate=ROLE)
    room = fields.String(validate=validate.Length(1, 128))
    audience = fields.String(validate=validate.Equal("all"))
    type = fields.String(load_default="info", validate=validate.Length(1, 40))
    title = fields.String(required=True, validate=validate.Length(1, 200))
    message = fields.String(required=True, validate=validate.Length(1, 5000))
    priority = fields.String(load_default="normal", validate=validate.OneOf(PRIORITIES))
    url = fields.String(load_default=None, allow_none=True, validate=[validate.Length(1, 2048), _safe_url])
    metadata = fields.Dict(load_default=dict, validate=_small(METADATA_BYTES))
    actions = fields.List(fields.Nested(Action), load_default=list, validate=validate.Length(0, 5))
    expiresAt = Moment(load_default=None, allow_none=True)
    scheduledAt = Moment(load_default=None, allow_none=True)
    dedupKey = fields.String(load_default=None, allow_none=True, validate=validate.Length(1, 200))
    groupKey = fields.String(load_default=None, allow_none=True, validate=validate.Length(1, 200))
    excluded = fields.List(Id(), data_key="except", load_default=list, validate=validate.Length(0, 1000))
    lateJoin = fields.Boolean(load_default=False)


class ListQuery(PageQuery):
    type = fields.String(load_default=None, validate=validate.Length(1, 40))
    isRead = fields.Boolean(load_default=None)
    is_read = fields.Boolean(load_default=None)
    unreadOnly = fields.Boolean(load_default=False)


class UpTo(Schema):
    upTo = fields.Integer(load_default=None, allow_none=True, validate=validate.Range(1, 2**53))


class NotificationRoutes:
    """Sending is for staff; reading is everybody's, and everybody sees only their own."""

    def __init__(self, *, notifications: NotificationService, rooms: RoomService, idempotency: Idempotency) -> None:
        self._notifications = notifications
        self._rooms = rooms
        self._idempotency = idempotency

    def routes(self) -> Sequence[Route]:
        table = [
            ("GET", "", self.page),
            ("POST", "", self.send),
            ("GET", "/unread-count", self.count),
            ("GET", "/count", self.count),
            ("GET", "/count/unread", self.count),
            ("POST", "/mark-all-read", self.mark_all),
            ("PATCH", "/mark-all-read", self.mark_all),
            ("PATCH", "/read/all", self.mark_all),
            ("PUT", "/read-all", self.mark_all),
            ("GET", r"/{id:\d{1,16}}", self.one),
            ("PATCH", r"/{id:\d{1,16}}/read", self.mark_read),
            ("PUT", r"/{id:\d{1,16}}/read", self.mark_read),
            ("PATCH", r"/{id:\d{1,16}}/mark-read", self.mark_read),
            ("PATCH", r"/{id:\d{1,16}}/unread", self.mark_unread),
            ("DELETE", r"/{id:\d{1,16}}", self.delete),
        ]
        return [Route(verb, prefix + path, run, Access.ANY) for prefix in PREFIXES for verb, path, run in table]

    async def page(self, request: web.Request) -> web.Response:
        args = await query(request, ListQuery())
        limit, offset = window(args)
        read = args["isRead"] if args["isRead"] is not None else args["is_read"]
        if args["unreadOnly"]:
            read = False
        reader = identity(request)
        rows, total, unread = await self._notifications.inbox(
            reader.principal, InboxQuery(limit=limit, offset=offset, type=args["type"], read=read)
        )
        return reply(
            {
                "notifications": [shapes.notification(row, reader) for row in rows],
                "total": total,
                "unreadCount": unread,
                "pagination": pagination(limit=limit, offset=offset, total=total),
            }
        )

    async def one(self, request: web.Request) -> web.Response:
        row = await self._notifications.one(identity(request).principal, _id(request))
        return reply(shapes.notification(row, identity(request)))

    async def count(self, request: web.Request) -> web.Response:
        count = await self._notifications.unread_count(identity(request).principal)
        return reply({"count": count, "unreadCount": count})

    async def mark_read(self, request: web.Request) -> web.Response:
        return await self._mark(request, read=True)

    async def mark_unread(self, request: web.Request) -> web.Response:
        return await self._mark(request, read=False)

    async def _mark(self, request: web.Request, *, read: bool) -> web.Response:
        row = await self._notifications.set_read(identity(request).principal, _id(request), read)
        message = f"Notification marked as {'read' if read else 'unread'}"
        # The row has a `message` of its own: clients read this one as the answer, `body` stays the text.
        return reply({**shapes.notification(row, identity(request)), "message": message})

    async def mark_all(self, request: web.Request) -> web.Response:
        args = await body(request, UpTo(unknown="exclude"))
        count = await self._notifications.mark_all_read(identity(request).principal, args["upTo"])
        return reply({"message": "All notifications marked as read", "count": count, "updatedCount": count})

    async def delete(self, request: web.Request) -> web.Response:
        caller = identity(request)
        publisher = member(request).has(PUBLISHER_ROLES)

        def may_cancel(draft: Draft) -> bool:
            """A communication is taken back under its own path, where its row is."""
            return not draft.content.details and (publisher or draft.sender == caller.principal)

        await self._notifications.delete(caller.principal, _id(request), may_cancel=may_cancel)
        return reply({"message": "Notification deleted successfully"})

    async def send(self, request: web.Request) -> web.Response:
        return await self._idempotency.run(request, identity(request).principal, lambda: self._send(request))

    async def _send(self, request: web.Request) -> web.Response:
        args = await body(request, NewNotification())
        targets = await self._targets(member(request), args)
        content = Content(
            type=args["type"],
            title=args["title"],
            message=args["message"],
            priority=args["priority"],
            url=args["url"],
            metadata=args["metadata"],
            actions=args["actions"],
            expires_at=args["expiresAt"],
            group_key=args["groupKey"],
        )
        sent = await self._notifications.send(
            targets,
            content,
            sender=identity(request).principal,
            dedup_key=args["dedupKey"],
            run_at=args["scheduledAt"],
        )
        return _answer(sent, args)

    async def _targets(self, sender: Member, args: JsonObject) -> list[Target]:
        """Return whom a request names. Raises INVALID_PAYLOAD, FORBIDDEN, ROOM_FORBIDDEN."""
        given = [name for name in ("userId", "userIds", "role", "room", "audience") if name in args]
        if len(given) != 1:
            raise RealtimeError(Code.INVALID_PAYLOAD, "Give exactly one of userId, userIds, role, room, audience")
        excluded = frozenset(user_principal(id) for id in args["excluded"])
        if given[0] in ("userId", "userIds"):
            if not sender.staff:
                raise RealtimeError(Code.FORBIDDEN, "Forbidden: insufficient permissions")
            ids = [args["userId"]] if given[0] == "userId" else dict.fromkeys(args["userIds"])
            targets = [Target(recipient=user_principal(id)) for id in ids if user_principal(id) not in excluded]
            if not targets:
                raise RealtimeError(Code.INVALID_PAYLOAD, "Nobody is left to notify")
            return targets
        audience = "all"
        if given[0] == "room":
            audience = audience_of(await self._rooms.require(sender, args["room"]))
        elif given[0] == "role":
            audience = f"role:{args['role']}"
        allowed = sender.staff if given[0] == "room" else sender.has(PUBLISHER_ROLES)
        if not allowed:
            raise RealtimeError(Code.FORBIDDEN, "Forbidden: insufficient permissions")
        return [Target(audience=audience, excluded=excluded, late_join=args["lateJoin"])]


def _answer(sent: Sent, args: JsonObject) -> web.Response:
    """One row for one target, `{ids, count}` for `userIds`; 200 when a dedup key found the earlier row."""
    rows = [shapes.draft(row) for row in sent.drafts] or [shapes.notification(one.notification) for one in sent.stored]
    known = bool(sent.stored) and all(one.duplicate for one in sent.stored)
    status = 200 if known else 201
    if "userIds" in args:
        return reply(
            {"ids": [row["id"] for row in rows], "count": len(rows), "status": rows[0]["status"]}, status=status
        )
    return reply(rows[0], status=status)


def _id(request: web.Request) -> int:
    value = int(request.match_info["id"])
    return min(value, 2**53)  # beyond that no id exists
