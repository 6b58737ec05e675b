"""Server-sent events: the inbox for clients that cannot use WebSockets."""

from collections.abc import Sequence
from email.utils import formatdate

from aiohttp import web

from handlers.http.base import Access, Route, identity
from handlers.http.notifications import PREFIXES
from handlers.http.origin import OriginPolicy
from handlers.http.remote import AddressLimits, remote_address
from handlers.sockets.entrance import Entrance
from realtime.auth import Identity, require_same_user
from realtime.engine.channel import Session
from realtime.engine.codecs import EventStream, id_line
from realtime.engine.handshake import BadHandshake
from realtime.engine.plain import PlainServer, PlainSession
from realtime.engine.plain_channel import StreamChannel
from realtime.errors import Code, RealtimeError
from realtime.services.counts import UnreadCounter
from realtime.services.errands import Errands
from realtime.services.following import Follower, Following
from realtime.services.notifications import NotificationService

STREAM = EventStream()
IDLE = b'data: {"type":"ping"}\n\n'
RETRY_MILLISECONDS = 3000


class EventStreams:
    """GET .../events. The token is checked as for any route, and may be in the query."""

    def __init__(
        self,
        *,
        server: PlainServer,
        channel: StreamChannel,
        entrance: Entrance,
        following: Following,
        notifications: NotificationService,
        counter: UnreadCounter,
        errands: Errands,
        origins: OriginPolicy,
        limits: AddressLimits,
    ) -> None:
        self._server = server
        self.channel = channel
        self.entrance = entrance
        self.following = following
        self.notifications = notifications
        self.counter = counter
        self.errands = errands
        self._origins = origins
        self._limits = limits

    def routes(self) -> Sequence[Route]:
        return [Route("GET", f"{prefix}/events", self.open, Access.STREAM) for prefix in PREFIXES]

    async def open(self, request: web.Request) -> web.StreamResponse:
        if not self._origins.allows(request) or _hides_its_origin(request):
            raise RealtimeError(Code.FORBIDDEN, "Origin not allowed")
        if request.method == "HEAD":
            return web.Response(content_type="text/event-stream", headers={"Cache-Control": "no-cache"})
        address = remote_address(request)
        self._limits.count_handshake(address)
        self._limits.check_connections(address)  # a stream can be refused only before it has begun
        caller = identity(request)
        require_same_user(caller, request.query.get("userId"), request.query.get("guestId"))
        follower = await self.following.begin(caller.principal, _last_id(request))
        endpoint = _Stream(self, caller, address, follower)
        try:
            _, response = self._server.open_stream(request, endpoint, head=self._head(request), idle=IDLE)
        except BadHandshake as error:  # the client has gone, or the server is going
            return error.answer()
        return response

    def _head(self, request: web.Request) -> bytes:
        """The end of the connection is the end of the body, so that HTTP/1.0 proxies can pass it on."""
        lines = [
            "HTTP/1.1 200 OK",
            "Content-Type: text/event-stream",
            "Cache-Control: no-cache",
            "Connection: keep-alive",
            "X-Accel-Buffering: no",
            "X-Content-Type-Options: nosniff",
            "Referrer-Policy: no-referrer",
            "Server: roomcast",
            f"Date: {formatdate(usegmt=True)}",
            "Vary: Origin",
        ]
        origin = request.headers.get("Origin")
        if origin is not None:
            lines += [f"Access-Control-Allow-Origin: {origin}", "Access-Control-Allow-Credentials: true"]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + b"retry: %d\n\n" % RETRY_MILLISECONDS


class _Stream:
    """One stream: what is known of it before it is open."""

    def __init__(self, routes: EventStreams, caller: Identity, address: str, follower: Follower) -> None:
        self._routes = routes
        self._caller = caller
        self._address = address
        self._follower = follower

    async def opened(self, link: PlainSession) -> None:
        routes, follower = self._routes, self._follower
        try:
            session = await routes.entrance.open(routes.channel, link.sid, self._caller, self._address)
        except RealtimeError:
            link.end("refused")
            return
        routes.channel.count(link.sid, follower.shown)
        link.deliver(id_line(follower.id))
        routes.following.greet(session, follower.counts)
        routes.errands.run(session, self._tell_missed(session, link))

    async def _tell_missed(self, session: Session, link: PlainSession) -> None:
        routes, follower = self._routes, self._follower
        await routes.notifications.tell_missed(session, lambda: routes.following.missed(follower), link.drain)
        routes.counter.greet(session, told=follower.counts)

    def received(self, link: PlainSession, message: str | bytes) -> None:
        """A stream goes one way."""

    def ponged(self, link: PlainSession, number: int) -> None:
        """A stream is not pinged."""

    def ended(self, link: PlainSession, reason: str) -> None:
        session = self._routes.channel.session(link.sid)
        if session is not None:
            self._routes.entrance.leave(session, reason)


def _hides_its_origin(request: web.Request) -> bool:
    """Whether a strange page has its visitor's browser ask: images and links bring cookies, but no `Origin`."""
    strange = request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site")
    return strange and "Origin" not in request.headers


def _last_id(request: web.Request) -> str:
    """Return how far a client has got. What a browser says when it comes back counts more than its old address."""
    query = request.query
    return request.headers.get("Last-Event-ID") or query.get("lastEventId") or query.get("since", "")
