"""The hotel's communications over REST: staff create and list them, guests read their own."""

from collections.abc import Sequence
from typing import Any

from aiohttp import web
from marshmallow import EXCLUDE, Schema, ValidationError, fields, pre_load, validate

from handlers.http.base import (
    Access,
    Id,
    PageQuery,
    Route,
    body,
    known_caller,
    pagination,
    query,
    reply,
    success,
    window,
)
from handlers.http.entities import RowId
from handlers.http.idempotency import Idempotency, anybody
from handlers.http.notifications import METADATA_BYTES, Moment
from realtime import wire
from realtime.auth import Identity
from realtime.errors import Code, RealtimeError
from realtime.models import PRIORITIES, Content, EntityQuery, InboxQuery, JsonObject
from realtime.services.communications import DETAILS, READ, RECIPIENT_TYPES, SENT, CommunicationService
from realtime.services.guests import GuestService

REQUIRED = ("hotel_id", "type", "title", "message", "sender_type")
MISSING = f"Missing required fields: {', '.join(REQUIRED)}"
PRIORITY_ALIASES = {"urgent": "critical"}
MAX_TAGS = 50
WORD = validate.Length(1, 40)
FILTER = validate.Length(1, 100)
PATH = "/api/communications"


def _given(data: Any) -> JsonObject:
    """Forms send every field they have: null and empty text mean that it is not there."""
    return {name: value for name, value in data.items() if value is not None and value != ""}


class Json(fields.Field[Any]):
    """A list or an object, or its JSON text, as form libraries send it."""

    def __init__(self, kind: type, *, limit: int, **more: Any) -> None:
        super().__init__(**more)
        self._kind = kind
        self._limit = limit

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        name = "an object" if self._kind is dict else "a list"
        try:
            parsed = wire.loads(value) if isinstance(value, str) else value
            size = len(wire.dumps(parsed))
        except wire.BadJson as error:
            raise ValidationError(f"Must be {name}, or one as JSON text.") from error
        if not isinstance(parsed, self._kind):
            raise ValidationError(f"Must be {name}, or one as JSON text.")
        if size > self._limit:
            raise ValidationError(f"Must be at most {self._limit} bytes of JSON.")
        return parsed


def _check_tags(value: list[object]) -> None:
    if len(value) > MAX_TAGS or not all(isinstance(tag, str) and len(tag) <= 100 for tag in value):
        raise ValidationError(f"Must be at most {MAX_TAGS} texts of at most 100 characters.")


class NewCommunication(Schema):
    class Meta:
        unknown = EXCLUDE

    @pre_load
    def _tidy(self, data: Any, **_: Any) -> Any:
        given = _given(data)
        blank = [name for name, value in given.items() if isinstance(value, str) and not value.strip()]
        if any(name not in given or name in blank for name in REQUIRED):
            raise ValidationError(MISSING)
        if isinstance(given.get("priority"), str):
            given["priority"] = PRIORITY_ALIASES.get(given["priority"], given["priority"])
        if "late_join" in given:
            given.setdefault("lateJoin", given["late_join"])
        return given

    hotel_id = RowId(required=True)
    type = fields.String(required=True, validate=WORD)
    title = fields.String(required=True, validate=validate.Length(1, 200))
    message = fields.String(required=True, validate=validate.Length(1, 5000))
    sender_type = fields.String(required=True, validate=WORD)
    category = fields.String(load_default="general", validate=WORD)
    priority = fields.String(load_default="normal", validate=validate.OneOf(PRIORITIES))
    recipient_type = fields.String(load_default="all", validate=validate.OneOf(RECIPIENT_TYPES))
    recipient_id = RowId(load_default=None)
    sender_id = RowId(load_default=None)
    sender_name = fields.String(load_default=None, validate=validate.Length(1, 200))
    metadata = Json(dict, limit=METADATA_BYTES, load_default=dict)
    tags = Json(list, limit=METADATA_BYTES, load_default=list, validate=_check_tags)
    language = fields.String(load_default=None, validate=WORD)
    scheduled_at = Moment(load_default=None)
    expires_at = Moment(load_default=None)
    lateJoin = fields.Boolean(load_default=False)


class ListQuery(PageQuery):
    limit = fields.Integer(load_default=10)
    hotel_id = fields.String(validate=FILTER)
    type = fields.String(validate=FILTER)
    category = fields.String(validate=FILTER)
    status = fields.String(validate=FILTER)
    priority = fields.String(validate=FILTER)
    recipient_type = fields.String(validate=FILTER)
    recipient_id = fields.String(validate=FILTER)
    guest_id = fields.String(validate=FILTER)
    guestId = fields.String(validate=FILTER)
    unread = fields.Boolean(load_default=None)


class ForGuest(Schema):
    class Meta:
        unknown = EXCLUDE

    @pre_load
    def _tidy(self, data: Any, **_: Any) -> Any:
        return _given(data)

    guestId = Id(load_default=None)


class GuestMessage(Schema):
    class Meta:
        unknown = EXCLUDE

    @pre_load
    def _tidy(self, data: Any, **_: Any) -> Any:
        given = _given(data)
        if "guestId" not in given or not str(given.get("message", "")).strip():
            raise ValidationError("guestId and message are required")
        return given

    guestId = RowId(required=True)
    message = fields.String(required=True, validate=validate.Length(1, 5000))


class CommunicationRoutes:
    """A guest's token shows that guest's rows, whatever else is open."""

    def __init__(self, *, communications: CommunicationService, guests: GuestService, idempotency: Idempotency) -> None:
        self._communications = communications
        self._guests = guests
        self._idempotency = idempotency

    def routes(self) -> Sequence[Route]:
        one = rf"{PATH}/{{id:\d{{1,16}}}}"
        staff, reader = Access.COMMUNICATIONS, Access.COMMUNICATIONS_READER
        return [
            Route("POST", PATH, self.create, staff),
            Route("GET", PATH, self.page, reader),
            Route("GET", f"{PATH}/websocket/stats", self.stats, staff),
            Route("POST", f"{PATH}/websocket/test", self.test, staff),
            Route("GET", one, self.one, reader),
            Route("DELETE", one, self.cancel, staff),
            Route("PUT", f"{one}/mark-read", self.mark_read, reader),
            Route("PATCH", f"{one}/mark-read", self.mark_read, reader),
        ]

    async def create(self, request: web.Request) -> web.Response:
        caller = known_caller(request)
        principal = anybody(request) if caller is None else caller.principal
        return await self._idempotency.run(request, principal, lambda: self._create(request, caller))

    async def _create(self, request: web.Request, caller: Identity | None) -> web.Response:
        args = await body(request, NewCommunication)
        content = Content(
            type=args["type"],
            title=args["title"],
            message=args["message"],
            priority=args["priority"],
            metadata=args["metadata"],
            expires_at=args["expires_at"],
            details={name: args[name] for name in DETAILS},
        )
        row = await self._communications.create(
            content,
            recipient=args["recipient_id"],
            late_join=args["lateJoin"],
            run_at=args["scheduled_at"],
            sender=caller.principal if caller else None,
        )
        return success(row, status=201)

    async def page(self, request: web.Request) -> web.Response:
        args = await query(request, ListQuery)
        limit, offset = window(args)
        guest = _guest(request)
        if guest is None:
            rows, total = await self._communications.page(_staff_query(args, limit, offset))
        else:
            _require_own(guest, args)
            rows, total = await self._guest_page(guest, args, limit, offset)
        return success(rows, pagination=pagination(limit=limit, offset=offset, total=total))

    async def _guest_page(
        self, guest: Identity, args: JsonObject, limit: int, offset: int
    ) -> tuple[list[JsonObject], int]:
        states = {None: None, SENT: False, READ: True}
        if args.get("status") not in states:
            return [], 0
        read = states[args.get("status")] if args["unread"] is None else not args["unread"]
        wanted = InboxQuery(limit=limit, offset=offset, type=args.get("type"), read=read)
        equals = _equals(args, "hotel_id", "category", "priority", "recipient_type")
        return await self._communications.inbox(guest.principal, wanted, equals)

    async def one(self, request: web.Request) -> web.Response:
        guest = _guest(request)
        if guest is None:
            return success(await self._communications.one(_id(request)))
        return success(await self._communications.received(guest.principal, _id(request)))

    async def mark_read(self, request: web.Request) -> web.Response:
        guest = _guest(request)
        if guest is not None:
            return success(await self._communications.mark_read(_id(request), guest.principal))
        args = await body(request, ForGuest)
        reader = args["guestId"] or (await query(request, ForGuest))["guestId"]
        return success(await self._communications.mark_read_for(_id(request), reader))

    async def cancel(self, request: web.Request) -> web.Response:
        await self._communications.cancel(_id(request))
        return success({"id": _id(request)})

    async def stats(self, request: web.Request) -> web.Response:
        return success(self._guests.stats())

    async def test(self, request: web.Request) -> web.Response:
        args = await body(request, GuestMessage)
        await self._guests.test(args["guestId"], args["message"])
        return reply({"status": "success", "message": f"Test notification sent to guest {args['guestId']}"})


def _guest(request: web.Request) -> Identity | None:
    """Return the guest who calls; None for staff, and for callers without a token where that is allowed."""
    caller = known_caller(request)
    return caller if caller is not None and caller.guest else None


def _require_own(guest: Identity, args: JsonObject) -> None:
    asked = {args[name] for name in ("recipient_id", "guest_id", "guestId") if name in args}
    if asked - {guest.id}:
        raise RealtimeError(Code.FORBIDDEN, "Forbidden: insufficient permissions")


def _staff_query(args: JsonObject, limit: int, offset: int) -> EntityQuery:
    equals = _equals(args, "hotel_id", "type", "category", "status", "priority", "recipient_type")
    if args["unread"] is not None:
        equals.setdefault("status", SENT if args["unread"] else READ)
    recipient = args.get("recipient_id") or args.get("guest_id") or args.get("guestId")
    return EntityQuery(limit=limit, offset=offset, equals=equals, named=recipient)


def _equals(args: JsonObject, *names: str) -> dict[str, str]:
    equals = {name: args[name] for name in names if name in args}
    if "priority" in equals:
        equals["priority"] = PRIORITY_ALIASES.get(equals["priority"], equals["priority"])
    return equals


def _id(request: web.Request) -> int:
    return min(int(request.match_info["id"]), 2**53)  # beyond that no id exists
