"""The door of `/socket.io/`: limits per address before a session is made."""

from collections.abc import Sequence

from aiohttp import web

from handlers.http.base import Access, Route
from handlers.http.remote import AddressLimits, remote_address
from realtime.engine import RealtimeServer

VERBS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class SocketGate:
    """Hands requests to Engine.IO. Wrong methods get the protocol's own answer."""

    def __init__(self, server: RealtimeServer, limits: AddressLimits) -> None:
        self._server = server
        self._limits = limits

    def routes(self) -> Sequence[Route]:
        return [Route(verb, "/socket.io/", self.handle, Access.OPEN) for verb in VERBS]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if "sid" not in request.query:
            self._limits.count_handshake(remote_address(request))
        return await self._server.eio.handle_request(request)
