"""The life of a connection, from its token to the end of its token."""

import asyncio
import functools
import heapq
from collections.abc import Awaitable, Callable

import structlog
from prometheus_client import Counter

from realtime.auth import Identity
from realtime.clock import Clock
from realtime.engine.channel import Channel, Session
from realtime.engine.channels import Channels
from realtime.errors import Code, RealtimeError
from realtime.events import TokenExpired
from realtime.metrics import Metrics
from realtime.models import Principal
from realtime.publisher import Publisher
from realtime.services.capacity import Capacity
from realtime.services.directory import Directory
from realtime.services.errands import Errands
from realtime.services.presence import PresenceService
from realtime.services.rooms import RoomService
from realtime.services.typing import TypingService
from rooms.policy import auto_rooms

log = structlog.get_logger(__name__)

SPARE_EXPIRIES = 1000


class SessionService:
    """Admits authenticated connections, ends them with their token, and undoes everything when they go."""

    def __init__(
        self,
        *,
        channels: Channels,
        directory: Directory,
        rooms: RoomService,
        presence: PresenceService,
        typing: TypingService,
        errands: Errands,
        capacity: Capacity,
        publisher: Publisher,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._channels = channels
        self._directory = directory
        self._rooms = rooms
        self._presence = presence
        self._typing = typing
        self._errands = errands
        self._capacity = capacity
        self._publisher = publisher
        self._clock = clock
        self._metrics = metrics
        self._accepted = metrics.connects.labels("accepted")
        self._ended: dict[str, Counter] = {}
        for path in {channel.path for channel in channels}:
            metrics.connections.labels(path).set_function(functools.partial(self._count, path))
        self._expiries: list[tuple[float, str]] = []
        self._most_expiries = SPARE_EXPIRIES
        self._note_guest: Callable[[Principal], Awaitable[None]] | None = None
        self._farewells: list[Callable[[Session], None]] = []

    def note_guests(self, note: Callable[[Principal], Awaitable[None]]) -> None:
        """Have guests noted before they are connected, so that they are among those who are sent to all of them."""
        self._note_guest = note

    def when_closed(self, farewell: Callable[[Session], None]) -> None:
        """Have something done for every connection that is gone, while it is still in its rooms."""
        self._farewells.append(farewell)

    def _count(self, path: str) -> int:
        return sum(len(channel) for channel in self._channels if channel.path == path)

    async def open(self, channel: Channel, sid: str, identity: Identity, address: str) -> Session:
        """Make an authenticated connection reachable in its rooms and its owner present.

        Raises CONNECTION_LIMIT and NAMESPACE_FULL.
        """
        await self._directory.see_connecting(identity)
        if identity.guest and self._note_guest is not None:
            await self._note_guest(identity.principal)
        member = self._directory.member(identity)
        session = Session(sid, identity, member, self._clock(), address, channel)
        self._capacity.take(session)
        channel.admit(session, auto_rooms(member))
        self._watch_expiry(session)
        self._presence.connected(session)
        self._accepted.inc()
        return session

    def close(self, session: Session, reason: str) -> None:
        """Undo `open`, without ever waiting. The connection is still in its rooms, so that they can be told."""
        channel, sid = session.channel, session.sid
        if channel.session(sid) is not session:
            return
        self._errands.end(session)
        self._typing.disconnected(session)
        for say_goodbye in self._farewells:
            say_goodbye(session)
        rooms = channel.membership.remove(sid)
        channel.release(sid)
        self._capacity.free(session)
        self._presence.disconnected(session, rooms)
        self._rooms.disconnected(session, rooms)
        if reason not in self._ended:  # looking a counter up costs more than counting; there are few reasons
            self._ended[reason] = self._metrics.disconnects.labels(reason)
        self._ended[reason].inc()

    async def refresh(self, session: Session, identity: Identity) -> None:
        """Take over a new token of the same principal. Raises USER_MISMATCH."""
        if identity.principal != session.identity.principal:
            raise RealtimeError(Code.USER_MISMATCH, "Authentication error: The token belongs to another user")
        session.identity = identity
        self._watch_expiry(session)
        await self._directory.see(identity)
        await self._rooms.reauthorise(session)

    def _watch_expiry(self, session: Session) -> None:
        if session.identity.expires_at is not None:
            heapq.heappush(self._expiries, (session.identity.expires_at, session.sid))
        if len(self._expiries) > self._most_expiries:
            # Tokens outlive their connections; without this every reconnect would leave an entry for hours.
            ends = ((s.identity.expires_at, s.sid) for s in self._channels.sessions())
            self._expiries = [(at, sid) for at, sid in ends if at is not None]
            heapq.heapify(self._expiries)
            self._most_expiries = 2 * len(self._expiries) + SPARE_EXPIRIES

    async def tick(self) -> None:
        """Disconnect everybody whose token has ended, for good: their client must get a new token."""
        now = self._clock()
        ended = []
        while self._expiries and self._expiries[0][0] <= now:
            at, sid = heapq.heappop(self._expiries)
            session = self._channels.session(sid)
            if session is not None and session.identity.expires_at == at:
                log.info("websocket token expired", sid=sid, user=session.identity.id)
                self._publisher.publish_to_connection(TokenExpired(now), session)
                ended.append(session.channel.dismiss(sid))
        await asyncio.gather(*ended)
