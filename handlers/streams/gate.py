"""The door of plain WebSockets: which path is which endpoint, and who may knock."""

from collections.abc import Mapping, Sequence

from aiohttp import web
from aiohttp.typedefs import Middleware

from handlers.http.base import Access, Handler, Route, reply
from handlers.http.origin import OriginPolicy
from handlers.http.remote import AddressLimits, remote_address
from realtime.engine.handshake import is_upgrade
from realtime.engine.plain import Endpoint, PlainServer
from realtime.errors import Code, RealtimeError

TO_UPGRADE = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
"""What an answer with status 426 must say (RFC 9110, 15.5.22)."""


class PlainGate:
    """Takes upgrades on its paths before any route sees them: some are pages or lists without one."""

    def __init__(
        self,
        *,
        server: PlainServer,
        endpoints: Mapping[str, Endpoint],
        origins: OriginPolicy,
        limits: AddressLimits,
    ) -> None:
        self._server = server
        self._endpoints = endpoints
        self._origins = origins
        self._limits = limits

    def middleware(self) -> Middleware:
        @web.middleware
        async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
            endpoint = self._endpoints.get(request.path.rstrip("/")) if is_upgrade(request) else None
            return await handler(request) if endpoint is None else self._open(request, endpoint)

        return middleware

    def _open(self, request: web.Request, endpoint: Endpoint) -> web.StreamResponse:
        if not self._origins.allows(request):
            raise RealtimeError(Code.FORBIDDEN, "Origin not allowed")
        self._limits.count_handshake(remote_address(request))
        return self._server.open_websocket(request, endpoint)

    def routes(self) -> Sequence[Route]:
        """Paths that are nothing but sockets say so."""
        paths = [path for path in self._endpoints if path != "/notifications"]
        return [Route("GET", path, self.upgrade_required, Access.OPEN) for path in paths]

    async def upgrade_required(self, request: web.Request) -> web.Response:
        error = RealtimeError(Code.INVALID_PAYLOAD, "Connect with a WebSocket", status=426)
        return reply(error.body(), status=error.status, headers=TO_UPGRADE)
