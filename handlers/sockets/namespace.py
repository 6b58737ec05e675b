"""A Socket.IO namespace: connect, events and disconnect of one channel."""

from collections.abc import Callable, Coroutine
from typing import Any

from socketio.exceptions import ConnectionRefusedError as Refused

from handlers.commands.base import Answer
from handlers.commands.dispatch import Dispatcher
from handlers.sockets.entrance import Entrance
from handlers.sockets.since import asked_since
from realtime.dialects.base import Dialect
from realtime.engine import RealtimeServer
from realtime.engine.channel import Channel, Session
from realtime.engine.handshake import Handshake
from realtime.errors import Code, RealtimeError

Greet = Callable[[Session, str | None], None]
"""What a new connection is told, and one that has come back (`asked_since`). It follows the answer to the CONNECT."""


def no_greeting(_session: Session, _since: str | None) -> None:
    """A namespace whose clients expect nothing at connecting."""


class Namespace:
    def __init__(
        self,
        *,
        channel: Channel,
        dialect: Dialect,
        entrance: Entrance,
        dispatcher: Dispatcher,
        greet: Greet = no_greeting,
    ) -> None:
        self._channel = channel
        self._dialect = dialect
        self._entrance = entrance
        self._dispatcher = dispatcher
        self._greet = greet

    def register(self, server: RealtimeServer) -> None:
        """Attach the handlers. The catch-all acks every event, unknown ones too."""
        server.on("connect", self._connect, namespace=self._channel.path)
        server.on("disconnect", self._disconnect, namespace=self._channel.path)
        server.on("*", self._event, namespace=self._channel.path)

    async def _connect(self, sid: str, environ: dict[str, Any], auth: object) -> None:
        request: Handshake = environ["roomcast.handshake"]
        try:
            session = await self._entrance.admit(self._channel, self._dialect, sid, request, auth)
        except RealtimeError as error:
            raise Refused(error.message, _details(error)) from error
        self._greet(session, asked_since(request.query, auth))

    def _event(self, event: str, sid: str, *args: object) -> Answer | Coroutine[Any, Any, Answer]:
        session = self._channel.session(sid)
        if session is None:
            return RealtimeError(Code.AUTH_REQUIRED, "The connection is closed").ack()
        return self._dispatcher.run(session, event, args)

    def unheard(self, sid: str, event: object, answer: dict[str, object]) -> bool:
        """Tell a client of its refused event, which wanted no acknowledgement; False when it is not one of ours."""
        session = self._channel.session(sid)
        if session is not None:
            self._dispatcher.report(session, event, answer)
        return session is not None

    def _disconnect(self, sid: str, reason: str) -> None:
        session = self._channel.session(sid)
        if session is not None:
            self._entrance.leave(session, reason)


def _details(error: RealtimeError) -> dict[str, object]:
    details: dict[str, object] = {"code": error.code.value}
    if error.retry_after is not None:
        details["retryAfter"] = error.retry_after
    return details
