"""The root namespace ``/``."""

from collections.abc import Coroutine
from typing import Any

import structlog
from socketio.exceptions import ConnectionRefusedError as Refused

from handlers.commands.base import Answer
from handlers.commands.dispatch import Dispatcher
from handlers.http.remote import AddressLimits, remote_address
from handlers.sockets.connect import ConnectMiddleware
from realtime.auth import Identity
from realtime.engine import RealtimeServer
from realtime.engine.channel import Channel
from realtime.engine.eager import within
from realtime.engine.handshake import Handshake
from realtime.errors import Code, RealtimeError
from realtime.metrics import Metrics
from realtime.services.sessions import SessionService

log = structlog.get_logger(__name__)

CONNECT_SECONDS = 10.0


class RootNamespace:
    """Connect, events and disconnect of ``/``."""

    def __init__(
        self,
        *,
        channel: Channel,
        middleware: ConnectMiddleware,
        sessions: SessionService,
        dispatcher: Dispatcher,
        limits: AddressLimits,
        metrics: Metrics,
    ) -> None:
        self._channel = channel
        self._middleware = middleware
        self._sessions = sessions
        self._dispatcher = dispatcher
        self._limits = limits
        self._metrics = metrics

    def register(self, server: RealtimeServer) -> None:
        """Attach the handlers. The catch-all acks every event, unknown ones too."""
        server.on("connect", self._connect, namespace=self._channel.namespace)
        server.on("disconnect", self._disconnect, namespace=self._channel.namespace)
        server.on("*", self._event, namespace=self._channel.namespace)
        server.on_unheard = self._unheard

    async def _connect(self, sid: str, environ: dict[str, Any], auth: object) -> None:
        request: Handshake = environ["roomcast.handshake"]
        address = remote_address(request)
        try:
            identity = await self._admit(sid, request, auth, address)
        except RealtimeError as error:
            self._metrics.connects.labels(error.code.value).inc()
            log.info("websocket connect refused", code=error.code.value, address=address)
            raise Refused(error.message, _details(error)) from error
        log.info("websocket connected", sid=sid, user=identity.id, guest=identity.guest, address=address)

    async def _admit(self, sid: str, request: Handshake, auth: object, address: str) -> Identity:
        try:
            return await within(CONNECT_SECONDS, self._authenticate(sid, request, auth, address))
        except TimeoutError as error:
            raise RealtimeError(Code.UNAVAILABLE, "Authentication took too long, try again") from error

    async def _authenticate(self, sid: str, request: Handshake, auth: object, address: str) -> Identity:
        identity = await self._middleware(request, auth)
        await self._open(sid, identity, address)
        return identity

    async def _open(self, sid: str, identity: Identity, address: str) -> None:
        self._limits.connect(address)
        try:
            await self._sessions.open(sid, identity, address)
        except BaseException:
            if self._channel.session(sid) is None:  # else the disconnect handler counts it down
                self._limits.disconnect(address)
            raise

    def _event(self, event: str, sid: str, *args: object) -> Answer | Coroutine[Any, Any, Answer]:
        session = self._channel.session(sid)
        if session is None:
            return RealtimeError(Code.AUTH_REQUIRED, "The connection is closed").ack()
        return self._dispatcher.run(session, event, args)

    def _unheard(self, sid: str, event: object, answer: dict[str, object]) -> None:
        session = self._channel.session(sid)
        if session is not None:
            self._dispatcher.report(session, event, answer)

    async def _disconnect(self, sid: str, reason: str) -> None:
        session = self._channel.session(sid)
        if session is not None:
            self._limits.disconnect(session.address)
            log.info("websocket disconnected", sid=sid, user=session.identity.id, reason=reason)
        await self._sessions.close(sid, reason)


def _details(error: RealtimeError) -> dict[str, object]:
    details: dict[str, object] = {"code": error.code.value}
    if error.retry_after is not None:
        details["retryAfter"] = error.retry_after
    return details
