"""The plain twins of the namespaces: ``{"event", "data", "id"?}`` in, the same events and answers out."""

from collections.abc import Coroutine
from typing import Any

from handlers.commands.base import Answer
from handlers.commands.dispatch import Dispatcher
from handlers.sockets.entrance import Entrance
from handlers.sockets.namespace import Greet
from handlers.sockets.since import asked_since
from realtime import wire
from realtime.dialects.base import Dialect
from realtime.engine.channel import Channel, Session
from realtime.engine.codecs import JsonFrames
from realtime.engine.frames import Burst
from realtime.engine.plain import PlainSession
from realtime.errors import RENDERING, Code, RealtimeError

MAX_REQUEST_ID = 128

EVENTS = JsonFrames("event")


def turn_away(link: PlainSession, error: RealtimeError) -> None:
    """Close a socket whose owner may not connect: limits by their code, the rest in words."""
    close = RENDERING[error.code].close
    text = error.code.value if error.code in (Code.CONNECTION_LIMIT, Code.NAMESPACE_FULL) else error.message
    link.end("refused", code=close, text=text)


class RawEndpoint:
    """Runs the same commands as a namespace. Every event is answered, under its own name."""

    def __init__(
        self, *, channel: Channel, dialect: Dialect, entrance: Entrance, dispatcher: Dispatcher, greet: Greet
    ) -> None:
        self._channel = channel
        self._dialect = dialect
        self._entrance = entrance
        self._dispatcher = dispatcher
        self._greet = greet

    async def opened(self, link: PlainSession) -> None:
        try:
            session = await self._entrance.admit(self._channel, self._dialect, link.sid, link.handshake)
        except RealtimeError as error:
            turn_away(link, error)
        else:
            self._greet(session, asked_since(link.handshake.query))

    def received(self, link: PlainSession, message: str | bytes) -> Coroutine[Any, Any, None] | None:
        session = self._channel.session(link.sid)
        if session is None:
            return None
        try:
            name, data, id = _parse(message)
        except RealtimeError as error:
            self._dispatcher.refuse(session, error)
            return None
        answer = self._dispatcher.run(session, name, () if data is None else (data,))
        if isinstance(answer, dict):
            self._answer(link, session, name, id, answer)
            return None
        return self._answer_later(link, session, name, id, answer)

    async def _answer_later(
        self, link: PlainSession, session: Session, name: str, id: object, answer: Coroutine[Any, Any, Answer]
    ) -> None:
        self._answer(link, session, name, id, await answer)

    def _answer(self, link: PlainSession, session: Session, name: str, id: object, answer: Answer) -> None:
        more = {} if id is None else {"id": id}
        link.deliver(Burst.of(EVENTS.text(name, answer, **more)))
        if id is None and answer.get("success") is False:
            self._dispatcher.report(session, name, answer)

    def ponged(self, link: PlainSession, number: int) -> None:
        """The heartbeat has all it needs."""

    def ended(self, link: PlainSession, reason: str) -> None:
        session = self._channel.session(link.sid)
        if session is not None:
            self._entrance.leave(session, reason)


def _parse(message: str | bytes) -> tuple[str, object, object]:
    """Return (event, data, id). Raises INVALID_PAYLOAD."""
    if isinstance(message, bytes):
        raise RealtimeError(Code.INVALID_PAYLOAD, "Messages are text")
    try:
        frame = wire.loads(message)
    except wire.BadJson as error:
        raise RealtimeError(Code.INVALID_PAYLOAD, "The message is not valid JSON") from error
    if not isinstance(frame, dict):
        raise RealtimeError(Code.INVALID_PAYLOAD, 'A message is an object: {"event", "data"}')
    name, id = frame.get("event"), frame.get("id")
    if not isinstance(name, str) or not 0 < len(name) <= MAX_REQUEST_ID:
        raise RealtimeError(Code.INVALID_PAYLOAD, "An event needs a name")
    if isinstance(id, bool | dict | list) or (isinstance(id, str) and len(id) > MAX_REQUEST_ID):
        raise RealtimeError(Code.INVALID_PAYLOAD, "id is a text or a number")
    return name, frame.get("data"), id
