"""Operators and other backends: connection statistics, emitting, publishing, announcements, test notifications."""

from collections.abc import Callable, Sequence

from aiohttp import web
from marshmallow import EXCLUDE, RAISE, Schema, fields, validate

from handlers.http.base import Access, Id, Route, body, identity, member, path_id, reply, success
from handlers.http.idempotency import REPLAYED, Idempotency, request_name
from realtime.clock import Clock, timestamp
from realtime.engine.channels import Channels
from realtime.errors import Code, RealtimeError
from realtime.events import Audience
from realtime.models import JsonObject, wire_id
from realtime.services.broadcasting import BroadcastService
from realtime.services.directory import Directory
from realtime.services.presence import PresenceService
from realtime.services.rooms import RoomService, audience_of, parse_room
from rooms import names

DATA = fields.Raw(load_default=None, allow_none=True)


class Emit(Schema):
    class Meta:
        unknown = EXCLUDE

    event = fields.String(load_default="")
    data = DATA


class Publish(Schema):
    class Meta:
        unknown = RAISE

    room = fields.String(validate=validate.Length(1, 128))
    userId = Id()
    role = fields.String(validate=validate.Length(1, 40))
    audience = fields.String(validate=validate.Equal("all"))
    event = fields.String(required=True, validate=validate.Length(1, 128))
    data = DATA


class Announcement(Schema):
    class Meta:
        unknown = RAISE

    title = fields.String(required=True, validate=validate.Length(1, 200))
    message = fields.String(validate=validate.Length(1, 5000))
    body = fields.String(validate=validate.Length(1, 5000))
    audience = fields.String(
        load_default="all", validate=validate.Regexp(r"\A(all|role:[A-Za-z0-9_.:-]{1,40}|room:.{1,128})\Z")
    )


class TestMessage(Schema):
    class Meta:
        unknown = EXCLUDE

    title = fields.String(load_default=None, allow_none=True, validate=validate.Length(0, 200))
    message = fields.String(load_default=None, allow_none=True, validate=validate.Length(0, 5000))
    type = fields.String(load_default=None, allow_none=True, validate=validate.Length(0, 40))

    __test__ = False


class WebsocketRoutes:
    """The repair shop's monitoring and emit routes."""

    def __init__(
        self,
        *,
        channels: Channels,
        rooms: RoomService,
        broadcasting: BroadcastService,
        presence: PresenceService,
        stopping: Callable[[], bool],
        clock: Clock,
        idempotency: Idempotency,
    ) -> None:
        self._channels = channels
        self._rooms = rooms
        self._broadcasting = broadcasting
        self._presence = presence
        self._stopping = stopping
        self._clock = clock
        self._idempotency = idempotency

    def routes(self) -> Sequence[Route]:
        base = "/api/websocket"
        return [
            Route("GET", f"{base}/health", self.health, Access.OPEN),
            Route("GET", f"{base}/stats", self.stats, Access.ADMIN),
            Route("GET", f"{base}/user/{{id}}/rooms", self.user_rooms, Access.ANY),
            Route("POST", f"{base}/emit/room/{{name}}", self.emit_room, Access.ADMIN),
            Route("POST", f"{base}/emit/role/{{role}}", self.emit_role, Access.ADMIN),
            Route("POST", rf"{base}/emit/{{id:(?!(?:room|role)/?$)[^{{}}/]+}}", self.emit_user, Access.ADMIN),
        ]

    async def health(self, request: web.Request) -> web.Response:
        return reply(
            {
                "service": "websocket",
                "status": "stopping" if self._stopping() else "active",
                "connectedUsers": len(self._channels.users()),
                "timestamp": timestamp(self._clock()),
            },
            status=503 if self._stopping() else 200,
        )

    async def stats(self, request: web.Request) -> web.Response:
        first: dict[str, JsonObject] = {}
        for session in self._channels.sessions():
            first.setdefault(
                session.identity.principal,
                {
                    "userId": session.identity.wire_id,
                    "userName": session.identity.display_name,
                    "userRole": session.member.audience,
                    "connectedAt": timestamp(session.connected_at),
                },
            )
        return success(
            {
                "connectedUsers": list(first.values()),
                "totalConnections": len(self._channels),
                "isServiceActive": True,
                "timestamp": timestamp(self._clock()),
            }
        )

    async def user_rooms(self, request: web.Request) -> web.Response:
        user = path_id(request)
        caller = member(request)
        if not caller.admin and (caller.guest or caller.id != user):
            raise RealtimeError(Code.FORBIDDEN, "Forbidden: insufficient permissions")
        sessions = self._channels.of_user(user)
        rooms = sorted({room for session in sessions for room in self._rooms.of(session)})
        return success({"userId": wire_id(user), "rooms": rooms, "isOnline": bool(sessions)})

    async def emit_user(self, request: web.Request) -> web.Response:
        id = path_id(request)
        return await self._emit(request, Audience.user(id), {"userId": wire_id(id)}, f"user {id}")

    async def emit_room(self, request: web.Request) -> web.Response:
        name = parse_room(request.match_info["name"]).name
        return await self._emit(request, Audience.room(name), {"roomName": name}, f"room '{name}'")

    async def emit_role(self, request: web.Request) -> web.Response:
        role = path_id(request, "role")
        return await self._emit(request, Audience.room(names.role(role)), {"role": role}, f"role '{role}'")

    async def _emit(self, request: web.Request, audience: Audience, target: JsonObject, label: str) -> web.Response:
        return await self._idempotency.run(
            request, identity(request).principal, lambda: self._emit_once(request, audience, target, label)
        )

    async def _emit_once(
        self, request: web.Request, audience: Audience, target: JsonObject, label: str
    ) -> web.Response:
        args = await body(request, Emit)
        if not args["event"].strip():
            raise RealtimeError(Code.INVALID_PAYLOAD, "Event name is required")
        self._broadcasting.custom(args["event"], args["data"], audience)
        data = {**target, "event": args["event"], "data": args["data"], "timestamp": timestamp(self._clock())}
        return success(data, message=f"Event '{args['event']}' emitted to {label}")


class PublishRoutes:
    """Any custom event, and announcements."""

    def __init__(
        self, *, broadcasting: BroadcastService, rooms: RoomService, clock: Clock, idempotency: Idempotency
    ) -> None:
        self._broadcasting = broadcasting
        self._rooms = rooms
        self._clock = clock
        self._idempotency = idempotency

    def routes(self) -> Sequence[Route]:
        return [
            Route("POST", "/api/publish", self.publish, Access.PUBLISHER),
            Route("POST", "/api/announcements", self.announce, Access.PUBLISHER),
        ]

    async def publish(self, request: web.Request) -> web.Response:
        return await self._idempotency.run(request, identity(request).principal, lambda: self._publish(request))

    async def _publish(self, request: web.Request) -> web.Response:
        args = await body(request, Publish)
        given = [name for name in ("room", "userId", "role", "audience") if name in args]
        if len(given) != 1:
            raise RealtimeError(Code.INVALID_PAYLOAD, "Give exactly one of room, userId, role, audience")
        audience = _publish_audience(given[0], args)
        delivered = self._broadcasting.custom(args["event"], args["data"], audience)
        return success(
            {
                given[0]: wire_id(args["userId"]) if given[0] == "userId" else args[given[0]],
                "event": args["event"],
                "delivered": delivered,
                "timestamp": timestamp(self._clock()),
            },
            status=202,
        )

    async def announce(self, request: web.Request) -> web.Response:
        return await self._idempotency.run(request, identity(request).principal, lambda: self._announce(request))

    async def _announce(self, request: web.Request) -> web.Response:
        args = await body(request, Announcement)
        text = args.get("message") or args.get("body")
        if not text:
            raise RealtimeError(Code.INVALID_PAYLOAD, "message: Missing data for required field.")
        audience = args["audience"]
        if audience.startswith("room:"):
            audience = audience_of(await self._rooms.require(member(request), audience[5:]))
        sender = identity(request).principal
        stored = await self._broadcasting.announce(
            args["title"], text, audience=audience, sender=sender, request=request_name(request, sender)
        )
        row = stored.notification
        data = {
            "id": row.id,
            "title": args["title"],
            "message": text,
            "body": text,
            "audience": audience,
            "timestamp": timestamp(row.created_at),
        }
        response = success(data, status=201)
        response.headers.update(REPLAYED if stored.repeated else {})
        return response


def _publish_audience(kind: str, args: JsonObject) -> Audience:
    match kind:
        case "room":
            return Audience.room(parse_room(args["room"]).name)
        case "userId":
            return Audience.user(args["userId"])
        case "role":
            return Audience.room(names.role(args["role"]))
        case _:
            return Audience.all()


class SocketTestRoutes:
    """The bookings application's test routes: shown once, stored nowhere."""

    def __init__(
        self,
        *,
        broadcasting: BroadcastService,
        directory: Directory,
        presence: PresenceService,
        channels: Channels,
    ) -> None:
        self._broadcasting = broadcasting
        self._directory = directory
        self._presence = presence
        self._channels = channels

    def routes(self) -> Sequence[Route]:
        return [
            Route("POST", "/api/socket-test/broadcast", self.broadcast, Access.TESTER),
            Route("POST", "/api/socket-test/send/{userId}", self.send, Access.TESTER),
            Route("GET", "/api/socket-test/stats", self.stats, Access.ANY),
        ]

    async def broadcast(self, request: web.Request) -> web.Response:
        args = await body(request, TestMessage)
        shown = self._broadcasting.test(
            args["title"] or "Test Broadcast",
            args["message"] or "This is a test broadcast message",
            args["type"] or "info",
            user=None,
        )
        return reply({"message": "Broadcast sent successfully", "notification": _stamped(shown)})

    async def send(self, request: web.Request) -> web.Response:
        args = await body(request, TestMessage)
        user = await self._directory.wire_id(path_id(request, "userId"))
        shown = self._broadcasting.test(
            args["title"] or "Direct Message",
            args["message"] or "This is a direct message",
            args["type"] or "info",
            user=user,
        )
        notification = {**_stamped(shown), "userId": user}
        return reply({"message": "Direct message sent successfully", "notification": notification})

    async def stats(self, request: web.Request) -> web.Response:
        """The backend counts people, the frontend's type wants connections, rooms and users: send all."""
        users = list(self._channels.users().values())
        return reply(
            {
                "connectedUsers": len(users),
                "userIds": users,
                "connections": len(self._channels),
                "rooms": len(self._channels.room_names()),
                "users": users,
            }
        )


def _stamped(shown: JsonObject) -> JsonObject:
    at = shown.pop("at")
    return {**shown, "timestamp": timestamp(at)}
