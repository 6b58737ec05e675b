"""The door of `/socket.io/`: limits per address before a session is made."""

from collections.abc import Sequence

from aiohttp import web

from handlers.http.base import Access, Route
from handlers.http.remote import AddressLimits, remote_address
from realtime.engine import RealtimeServer
from realtime.errors import Code, RealtimeError


class SocketGate:
    """Hands requests to Engine.IO. Origins were checked by the CORS middleware."""

    def __init__(self, server: RealtimeServer, limits: AddressLimits) -> None:
        self._server = server
        self._limits = limits

    def routes(self) -> Sequence[Route]:
        return [Route(verb, "/socket.io/", self.handle, Access.OPEN) for verb in ("GET", "POST")]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if "sid" not in request.query:
            self._limits.count_handshake(remote_address(request))
        session = self._server.eio.sockets.get(request.query.get("sid", ""))
        if session is not None and session.closed and request.method == "POST":
            raise RealtimeError(Code.INVALID_PAYLOAD, "The session is closed")
        response: web.StreamResponse = await self._server.eio.handle_request(request)
        return response
