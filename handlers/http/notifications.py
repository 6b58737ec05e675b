"""Sending notifications over REST, taking them back, and asking what became of them."""

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
    Query,
    Route,
    body,
    identity,
    member,
    query,
    reply,
)
from handlers.http.idempotency import REPLAYED, Idempotency, request_name
from realtime import wire
from realtime.clock import LAST_MOMENT
from realtime.errors import Code, RealtimeError
from realtime.models import (
    PRIORITIES,
    Content,
    Held,
    JsonObject,
    Principal,
    Stored,
    Target,
    user_principal,
)
from realtime.services.notifications import NotificationService, Sent
from realtime.services.recipients import RecipientService
from realtime.services.rooms import RoomService, audience_of
from realtime.services.traces import TraceService
from rooms.policy import PUBLISHER_ROLES, Member

MAX_RECIPIENTS = 10_000
METADATA_BYTES = 8192
PREFIXES = ("/api/notifications", "/notifications")
ID = r"/{id:\d{1,16}}"


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
    groupMode = fields.String(load_default="replace", validate=validate.OneOf(("replace", "stack")))
    category = fields.String(load_default=None, allow_none=True, validate=validate.Length(1, 40))
    excluded = fields.List(Id(), data_key="except", load_default=list, validate=validate.Length(0, 1000))
    lateJoin = fields.Boolean(load_default=False)


class SendQuery(Query):
    dry_run = fields.Boolean(load_default=False)


class NotificationRoutes:
    """Sending is for staff."""

    def __init__(
        self,
        *,
        notifications: NotificationService,
        recipients: RecipientService,
        traces: TraceService,
        rooms: RoomService,
        idempotency: Idempotency,
    ) -> None:
        self._notifications = notifications
        self._recipients = recipients
        self._traces = traces
        self._rooms = rooms
        self._idempotency = idempotency

    def routes(self) -> Sequence[Route]:
        table = [
            ("POST", "", self.send),
            ("DELETE", f"/broadcasts{ID}", self.retract),
            ("GET", f"{ID}/trace", self.trace),
        ]
        return [Route(verb, prefix + path, run, Access.ANY) for prefix in PREFIXES for verb, path, run in table]

    async def send(self, request: web.Request) -> web.Response:
        if request.query_string and (await query(request, SendQuery))["dry_run"]:
            return await self._preview(request)
        return await self._idempotency.run(request, identity(request).principal, lambda: self._send(request))

    async def _preview(self, request: web.Request) -> web.Response:
        """Say whom it would reach. Nothing is stored, a key is not used up."""
        args = await body(request, NewNotification)
        targets = await self._targets(member(request), args)
        found = await self._recipients.of(targets, field=_kind(args), excluded=_excluded(args))
        return reply({"recipients": list(found.ids), "count": found.count, "reasons": found.reasons})

    async def _send(self, request: web.Request) -> web.Response:
        args = await body(request, NewNotification)
        sender = identity(request).principal
        sent = await self._notifications.send(
            await self._targets(member(request), args),
            _content(args),
            sender=sender,
            dedup_key=args["dedupKey"],
            run_at=args["scheduledAt"],
            request=request_name(request, sender),
        )
        return _answer(sent, args)

    async def _targets(self, sender: Member, args: JsonObject) -> list[Target]:
        """Return whom a request names. Raises INVALID_PAYLOAD, FORBIDDEN, ROOM_FORBIDDEN."""
        kind, excluded = _kind(args), _excluded(args)
        if kind in ("userId", "userIds"):
            if not sender.staff:
                raise RealtimeError(Code.FORBIDDEN, "Forbidden: insufficient permissions")
            ids = [args["userId"]] if kind == "userId" else dict.fromkeys(args["userIds"])
            targets = [Target(recipient=user_principal(id)) for id in ids if user_principal(id) not in excluded]
            if not targets:
                raise RealtimeError(Code.INVALID_PAYLOAD, "Nobody is left to notify")
            return targets
        audience = "all"
        if kind == "room":
            audience = audience_of(await self._rooms.require(sender, args["room"]))
        elif kind == "role":
            audience = f"role:{args['role']}"
        allowed = sender.staff if kind == "room" else sender.has(PUBLISHER_ROLES)
        if not allowed:
            raise RealtimeError(Code.FORBIDDEN, "Forbidden: insufficient permissions")
        return [Target(audience=audience, excluded=excluded, late_join=args["lateJoin"])]

    async def retract(self, request: web.Request) -> web.Response:
        id = row_id(request)
        await self._notifications.retract(id, caller=identity(request).principal, may_all=member(request).admin)
        return reply({"message": "Notification retracted", "id": id})

    async def trace(self, request: web.Request) -> web.Response:
        found, steps = await self._traces.of(
            row_id(request), caller=identity(request).principal, admin=member(request).admin
        )
        return reply(
            {
                "id": found.notification.id,
                "stages": [shapes.step(step) for step in steps],
                "recipients": {"count": found.recipients, "sent": found.sent, "read": found.read},
            }
        )


def _kind(args: JsonObject) -> str:
    """Return which field says whom it is for. Raises INVALID_PAYLOAD."""
    given = [name for name in ("userId", "userIds", "role", "room", "audience") if name in args]
    if len(given) != 1:
        raise RealtimeError(Code.INVALID_PAYLOAD, "Give exactly one of userId, userIds, role, room, audience")
    return given[0]


def _excluded(args: JsonObject) -> frozenset[Principal]:
    return frozenset(user_principal(id) for id in args["excluded"])


def _content(args: JsonObject) -> Content:
    return Content(
        type=args["type"],
        title=args["title"],
        message=args["message"],
        priority=args["priority"],
        url=args["url"],
        metadata=args["metadata"],
        actions=args["actions"],
        expires_at=args["expiresAt"],
        group_key=args["groupKey"],
        category=args["category"],
        stacks=args["groupMode"] == "stack",
    )


def _answer(sent: Sent, args: JsonObject) -> web.Response:
    """One row for one target, `{ids, count}` for `userIds`; 200 when a dedup key found the earlier row.

    What an earlier attempt of the same request has stored is answered as that attempt should have been.
    """
    rows = [_made(one) for one in sent.made]
    status = 200 if sent.duplicate and not sent.repeated else 201
    headers = REPLAYED if sent.repeated else None
    if "userIds" in args:
        some = {"ids": [row["id"] for row in rows], "count": len(rows), "status": rows[0]["status"]}
        return reply(some, status=status, headers=headers)
    return reply(rows[0], status=status, headers=headers)


def _made(one: Held | Stored) -> JsonObject:
    return shapes.draft(one.draft) if isinstance(one, Held) else shapes.notification(one.notification)


def row_id(request: web.Request) -> int:
    value = int(request.match_info["id"])
    return min(value, 2**53)  # beyond that no id exists
