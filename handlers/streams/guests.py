"""Hotel guests' sockets at ``/ws/notifications``: ``{"type", "data"}`` out, pings in, anything else ignored."""

from handlers.sockets.entrance import Entrance
from handlers.streams.raw import turn_away
from realtime import wire
from realtime.dialects.base import Dialect
from realtime.engine.channel import Channel
from realtime.engine.codecs import JsonFrames
from realtime.engine.frames import Burst
from realtime.engine.plain import PlainSession
from realtime.errors import Code, RealtimeError
from realtime.services.guests import GuestService

TYPES = JsonFrames("type")
PONG = Burst.of(b'{"type":"pong"}')


class GuestEndpoint:
    def __init__(self, *, channel: Channel, dialect: Dialect, entrance: Entrance, guests: GuestService) -> None:
        self._channel = channel
        self._dialect = dialect
        self._entrance = entrance
        self._guests = guests

    async def opened(self, link: PlainSession) -> None:
        try:
            if not link.handshake.query.get("guestId"):
                raise RealtimeError(Code.AUTH_REQUIRED, self._dialect.refusals[Code.AUTH_REQUIRED])
            session = await self._entrance.admit(self._channel, self._dialect, link.sid, link.handshake)
        except RealtimeError as error:
            turn_away(link, error)
        else:
            self._guests.connected(session, link.ping, link.drain)

    def received(self, link: PlainSession, message: str | bytes) -> None:
        """Clients send pings; whatever else they say is not for us and does no harm."""
        if isinstance(message, str) and len(message) <= 1024 and _is_ping(message):
            link.deliver(PONG)

    def ponged(self, link: PlainSession, number: int) -> None:
        session = self._channel.session(link.sid)
        if session is not None:
            self._guests.ponged(session, number)

    def ended(self, link: PlainSession, reason: str) -> None:
        session = self._channel.session(link.sid)
        if session is not None:
            self._guests.disconnected(session)
            self._entrance.leave(session, reason)


def _is_ping(message: str) -> bool:
    try:
        frame = wire.loads(message)
    except wire.BadJson:
        return False
    return isinstance(frame, dict) and frame.get("type") == "ping"
