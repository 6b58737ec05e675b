"""Presence, the directory of users, and the session cookie."""

from collections.abc import Sequence

from aiohttp import web
from marshmallow import RAISE, Schema, fields, validate

from handlers.http import shapes
from handlers.http.base import ROLE, Access, Route, body, identity, member, path_id, reply, success
from handlers.http.remote import remote
from realtime.auth import find_credential
from realtime.clock import Clock, optional_timestamp
from realtime.errors import Code, RealtimeError
from realtime.services.directory import Directory
from realtime.services.presence import PresenceService
from realtime.services.rooms import RoomService, parse_room
from rooms import names

COOKIE = "access_token"


class UserPatch(Schema):
    class Meta:
        unknown = RAISE

    role = fields.String(validate=ROLE)
    name = fields.String(validate=validate.Length(1, 200))


class PresenceRoutes:
    def __init__(self, *, presence: PresenceService, rooms: RoomService) -> None:
        self._presence = presence
        self._rooms = rooms

    def routes(self) -> Sequence[Route]:
        return [
            Route("GET", "/api/presence", self.everybody, Access.USER),
            Route("GET", "/api/presence/{id}", self.one, Access.USER),
            Route("GET", "/api/rooms/{room}/presence", self.room, Access.ANY),
        ]

    async def everybody(self, request: web.Request) -> web.Response:
        online = [shapes.presence(view) for view in self._presence.online()]
        return reply({"online": online, "count": len(online)})

    async def one(self, request: web.Request) -> web.Response:
        return reply(shapes.presence(await self._presence.of(path_id(request))))

    async def room(self, request: web.Request) -> web.Response:
        room = await self._rooms.require(member(request), request.match_info["room"])
        online = [shapes.presence(view) for view in self._presence.in_room(room.name)]
        return reply({"room": room.name, "online": online, "count": len(online)})


class UserRoutes:
    def __init__(self, *, directory: Directory, rooms: RoomService, presence: PresenceService) -> None:
        self._directory = directory
        self._rooms = rooms
        self._presence = presence

    def routes(self) -> Sequence[Route]:
        return [
            Route("GET", "/api/users/{id}", self.one, Access.USER),
            Route("PATCH", "/api/users/{id}", self.patch, Access.ADMIN),
        ]

    async def one(self, request: web.Request) -> web.Response:
        id = path_id(request)
        caller = member(request)
        if not caller.staff and caller.id != id:
            raise RealtimeError(Code.FORBIDDEN, "Forbidden: insufficient permissions")
        user = await self._directory.user(id)
        if user is None:
            raise RealtimeError(Code.NOT_FOUND, "User not found")
        live = await self._presence.of(id)
        return success(
            {
                "id": user.wire_id,
                "role": user.role,
                "name": user.name,
                "email": user.email,
                "online": live.online,
                "status": live.status,
                "lastSeen": optional_timestamp(live.last_seen),
            }
        )

    async def patch(self, request: web.Request) -> web.Response:
        """Set a role or a name. Live connections leave at once what the new role may not be in."""
        args = await body(request, UserPatch)
        if not args:
            raise RealtimeError(Code.INVALID_PAYLOAD, "Give a role or a name")
        id = path_id(request)
        parse_room(names.user(id))
        user = await self._directory.set_user(id, role=args.get("role"), name=args.get("name"))
        if "role" in args:
            await self._rooms.role_changed(id)
        self._presence.renamed(id, role=user.role, name=args.get("name"))
        return success({"id": user.wire_id, "role": user.role, "name": user.name})


class CookieRoutes:
    """A cookie for browser clients that cannot send headers with a WebSocket."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock

    def routes(self) -> Sequence[Route]:
        return [
            Route("POST", "/api/auth/cookie", self.set, Access.ANY),
            Route("DELETE", "/api/auth/cookie", self.clear, Access.OPEN),
        ]

    async def set(self, request: web.Request) -> web.Response:
        credential = find_credential(query={}, headers=request.headers, cookies={})
        if credential is None:
            raise RealtimeError(Code.AUTH_REQUIRED, "Authentication required")
        expires_at = identity(request).expires_at
        response = success({"expiresAt": optional_timestamp(expires_at)})
        response.set_cookie(
            COOKIE,
            credential.token,
            httponly=True,
            samesite="Lax",
            secure=remote(request).scheme == "https",
            path="/",
            max_age=None if expires_at is None else max(0, int(expires_at - self._clock())),
        )
        return response

    async def clear(self, request: web.Request) -> web.Response:
        response = success({})
        response.del_cookie(COOKIE, path="/")
        return response
