"""Device tokens, under both prefixes of the notifications routes."""

from collections.abc import Sequence

from aiohttp import web
from marshmallow import EXCLUDE, Schema, fields, validate

from handlers.http.base import Access, Route, body, identity, reply
from handlers.http.notifications import PREFIXES
from realtime.errors import Code, RealtimeError
from realtime.services.devices import DeviceService

MAX_TOKEN = 4096


class DeviceToken(Schema):
    class Meta:
        unknown = EXCLUDE

    token = fields.String(load_default=None, allow_none=True, validate=validate.Length(0, MAX_TOKEN))
    platform = fields.String(load_default=None, allow_none=True, validate=validate.Length(1, 40))


class DeviceRoutes:
    def __init__(self, devices: DeviceService) -> None:
        self._devices = devices

    def routes(self) -> Sequence[Route]:
        paths = [f"{prefix}/device-token" for prefix in PREFIXES]
        return [
            *(Route("POST", path, self.register, Access.ANY) for path in paths),
            *(Route("DELETE", path, self.unregister, Access.ANY) for path in paths),
        ]

    async def register(self, request: web.Request) -> web.Response:
        args = await body(request, DeviceToken)
        token = (args["token"] or "").strip()
        if not token or not token.isprintable():
            raise RealtimeError(Code.INVALID_PAYLOAD, "token is required")
        await self._devices.register(identity(request).principal, token, args["platform"])
        return reply({"message": "Device token registered successfully"})

    async def unregister(self, request: web.Request) -> web.Response:
        """Without a token, all of the person's devices: a client that signs out does not always know its own."""
        args = await body(request, DeviceToken)
        token = args["token"]
        if token is not None and not token.strip():
            raise RealtimeError(Code.INVALID_PAYLOAD, "token is empty: leave it out to unregister all devices")
        await self._devices.unregister(identity(request).principal, token and token.strip())
        return reply({"message": "Device token unregistered successfully"})
