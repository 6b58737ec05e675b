"""The one door of every connection, whatever it comes by: who it is, whether there is room, and its way out."""

import structlog

from handlers.http.remote import AddressLimits, remote_address
from handlers.sockets.connect import ConnectMiddleware
from realtime.auth import Identity
from realtime.dialects.base import Dialect
from realtime.engine.channel import Channel, Session
from realtime.engine.eager import within
from realtime.engine.handshake import Handshake
from realtime.errors import Code, RealtimeError
from realtime.metrics import Metrics
from realtime.services.sessions import SessionService

log = structlog.get_logger(__name__)

CONNECT_SECONDS = 10.0


class Entrance:
    def __init__(
        self,
        *,
        middleware: ConnectMiddleware,
        sessions: SessionService,
        limits: AddressLimits,
        metrics: Metrics,
    ) -> None:
        self._middleware = middleware
        self._sessions = sessions
        self._limits = limits
        self._metrics = metrics

    async def admit(
        self, channel: Channel, dialect: Dialect, sid: str, request: Handshake, auth: object = None
    ) -> Session:
        """Authenticate a connection and make it reachable. Raises RealtimeError in the vocabulary's own words."""
        address = remote_address(request)
        try:
            session = await within(CONNECT_SECONDS, self._authenticate(channel, dialect, sid, request, auth))
        except TimeoutError as error:
            raise self._refusal(Code.UNAVAILABLE, address, "Authentication took too long, try again") from error
        except RealtimeError as error:
            words = dialect.refusals.get(error.code, error.message)
            raise self._refusal(error.code, address, words, retry_after=error.retry_after) from error
        return session

    async def _authenticate(
        self, channel: Channel, dialect: Dialect, sid: str, request: Handshake, auth: object
    ) -> Session:
        identity = await self._middleware(request, auth)
        if dialect.speakers != "anybody" and identity.guest != (dialect.speakers == "guests"):
            raise RealtimeError(Code.FORBIDDEN, "Forbidden: insufficient permissions")
        return await self.open(channel, sid, identity, remote_address(request))

    async def open(self, channel: Channel, sid: str, identity: Identity, address: str) -> Session:
        """Make an authenticated connection reachable. Raises CONNECTION_LIMIT, NAMESPACE_FULL."""
        self._limits.connect(address)
        try:
            session = await self._sessions.open(channel, sid, identity, address)
        except BaseException:
            if channel.session(sid) is None:  # else `leave` counts it down
                self._limits.disconnect(address)
            raise
        log.info(
            "websocket connected",
            sid=sid,
            path=channel.path,
            user=identity.id,
            guest=identity.guest,
            address=address,
        )
        return session

    def _refusal(self, code: Code, address: str, words: str, *, retry_after: float | None = None) -> RealtimeError:
        self._metrics.connects.labels(code.value).inc()
        log.info("websocket connect refused", code=code.value, address=address)
        return RealtimeError(code, words, retry_after=retry_after)

    def leave(self, session: Session, reason: str) -> None:
        """A connection is gone. Never waits."""
        self._limits.disconnect(session.address)
        log.info("websocket disconnected", sid=session.sid, user=session.identity.id, reason=reason)
        self._sessions.close(session, reason)
