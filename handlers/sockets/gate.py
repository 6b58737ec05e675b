"""The door of `/socket.io/`: limits per address before a session is made."""

from collections.abc import Sequence

from aiohttp import web

from handlers.http.base import Access, Route
from handlers.http.remote import AddressLimits, remember_remote, remote, remote_address
from realtime.engine import RealtimeServer
from realtime.engine.handshake import BadHandshake, accept
from realtime.errors import RealtimeError
from realtime.settings import Network

PATH = "/socket.io/"
VERBS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class SocketGate:
    """Hands requests to Engine.IO. Wrong methods get the protocol's own answer."""

    def __init__(self, server: RealtimeServer, limits: AddressLimits, *, trusted: Sequence[Network] = ()) -> None:
        self._server = server
        self._limits = limits
        self._trusted = trusted

    def admit(self, request: web.Request) -> bool:
        """Let a client in that begins with a WebSocket. False: it is another request, or one that must be refused."""
        remember_remote(request, self._trusted)
        if not self._server.eio.begins_with_websocket(request):
            return False
        try:
            accepted = accept(request)
            self._limits.count_handshake(remote_address(request))
        except (BadHandshake, RealtimeError):
            return False
        return self._server.eio.open_at_once(request, remote(request), accepted)

    def routes(self) -> Sequence[Route]:
        return [Route(verb, PATH, self.handle, Access.OPEN) for verb in VERBS]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if "sid" not in request.query:
            self._limits.count_handshake(remote_address(request))
        return await self._server.eio.handle_request(request)
