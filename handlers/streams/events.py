"""Server-sent events: the inbox for clients that cannot use WebSockets."""

import re
from collections.abc import Sequence
from email.utils import formatdate

from aiohttp import web

from handlers.http.base import Access, Route, identity
from handlers.http.notifications import PREFIXES
from handlers.http.origin import OriginPolicy
from handlers.http.remote import AddressLimits, remote_address
from handlers.sockets.entrance import Entrance
from realtime.auth import Identity, require_same_user
from realtime.clock import Clock
from realtime.engine.channel import Channel, Session
from realtime.engine.codecs import EventStream
from realtime.engine.handshake import BadHandshake
from realtime.engine.plain import PlainServer, PlainSession
from realtime.errors import Code, RealtimeError
from realtime.models import Notification
from realtime.services.errands import Errands
from realtime.services.notifications import NotificationService, UnreadCounter

STREAM = EventStream()
IDLE = b'data: {"type":"ping"}\n\n'
RETRY_MILLISECONDS = 3000
MAX_MISSED = 100
"""Missed notifications that a stream is told when it resumes; a client that missed more lists them."""

SKEW = 1_000_000
"""Microseconds by which times and the order of storing may differ."""

STEP = 60_000_000
"""Microseconds: a place so far in the future is from before the clock was set back."""

_PLACE = re.compile(r"([0-9]{1,20})-([0-9]{1,16})\Z")
Place = tuple[int, int]
"""Where a client has got to: microseconds and id of the last notification it was told (the id of its event)."""


class EventStreams:
    """GET .../events. The token is checked as for any route, and may be in the query."""

    def __init__(
        self,
        *,
        server: PlainServer,
        channel: Channel,
        entrance: Entrance,
        notifications: NotificationService,
        counter: UnreadCounter,
        errands: Errands,
        origins: OriginPolicy,
        limits: AddressLimits,
        clock: Clock,
    ) -> None:
        self._server = server
        self._channel = channel
        self.entrance = entrance
        self.notifications = notifications
        self.counter = counter
        self.errands = errands
        self.clock = clock
        self._origins = origins
        self._limits = limits

    @property
    def channel(self) -> Channel:
        return self._channel

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
        given = request.headers.get("Last-Event-ID") or request.query.get("lastEventId", "")
        endpoint = _Stream(self, caller, address, await self._place(caller, given))
        endpoint.count = await self.notifications.unread_count(caller.principal)
        try:
            _, response = self._server.open_stream(request, endpoint, head=self._head(request), idle=IDLE)
        except BadHandshake as error:  # the client has gone, or the server is going
            return error.answer()
        return response

    async def _place(self, caller: Identity, given: str) -> Place:
        found = _PLACE.match(given)
        if found is not None:
            return int(found[1]), int(found[2])
        newest = await self.notifications.newest(caller.principal, 1)
        return place_of(newest[0]) if newest else (0, 0)

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

    def __init__(self, routes: EventStreams, caller: Identity, address: str, place: Place) -> None:
        self._routes = routes
        self._caller = caller
        self._address = address
        self._place = place
        self.count = 0

    async def opened(self, link: PlainSession) -> None:
        routes = self._routes
        try:
            session = await routes.entrance.open(routes.channel, link.sid, self._caller, self._address)
        except RealtimeError:
            link.end("refused")
            return
        mark = f"{self._place[0]}-{self._place[1]}"
        link.deliver(STREAM.encode("unread_count", {"count": self.count}, mark))
        routes.errands.run(session, self._tell_missed(session, link))

    async def _tell_missed(self, session: Session, link: PlainSession) -> None:
        await self._routes.notifications.tell_missed(session, self._missed, link.drain)
        self._routes.counter.greet(session, told=self.count)

    async def _missed(self) -> list[Notification]:
        newest = await self._routes.notifications.newest(self._caller.principal, MAX_MISSED)
        now = round(self._routes.clock() * 1_000_000)
        return [row for row in reversed(newest) if _is_after(row, self._place, now=now) and not row.read]

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


def _is_after(row: Notification, place: Place, *, now: int) -> bool:
    """Whether a client that got to `place` has not been told a row. `now` is in microseconds.

    Ids rise as rows are stored, but for drafts. Times are taken before that, so of two rows that come at once the
    later one may have the earlier time; and a clock may have been set back.
    """
    at, id = place_of(row)
    set_back = place[0] > now + STEP
    return (at, id) > place or (id > place[1] and (set_back or at > place[0] - SKEW))


def place_of(row: Notification) -> Place:
    return round(row.created_at * 1_000_000), row.id
