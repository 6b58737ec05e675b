"""Who types a message to whom. It ends after 5 s without a renewal, with the connection, and with the message."""

from realtime.clock import Clock
from realtime.engine.channel import Session
from realtime.events import Audience, MessageTyping
from realtime.publisher import Publisher
from rooms.typing_state import Typing, TypingDiff, TypingState


class MessageTypingService:
    """Shows the receiver that somebody types to them, for as long as they do on any of their connections."""

    def __init__(self, *, state: TypingState, publisher: Publisher, clock: Clock) -> None:
        self._state = state
        self._publisher = publisher
        self._clock = clock
        self._typers: dict[Typing, str] = {}
        self._sids: dict[tuple[str, str], set[str]] = {}

    def started(self, session: Session, receiver: str) -> None:
        """Start, or go on."""
        sender, typing = session.identity.id, Typing(session.sid, receiver)
        self._state.start(typing, self._clock())
        self._typers[typing] = sender
        self._sids.setdefault((sender, receiver), set()).add(session.sid)
        self._show(sender, receiver, active=True)

    def stopped(self, session: Session, receiver: str) -> None:
        """Shown even when nothing was open: the receiver's client may have missed that it ended."""
        typing = Typing(session.sid, receiver)
        if self._state.stop(typing):
            self._forget(typing)
        self._end(session.identity.id, receiver)

    def sent(self, sender: str, receiver: str) -> None:
        """The message is written: nobody types it any more, on whatever connection they began."""
        sids = list(self._sids.get((sender, receiver), ()))
        for sid in sids:
            self._state.stop(Typing(sid, receiver))
            self._forget(Typing(sid, receiver))
        if sids:
            self._end(sender, receiver)

    def disconnected(self, session: Session) -> None:
        self._end_all(self._state.leave(session.sid))

    def tick(self) -> None:
        self._end_all(self._state.expire(self._clock()))

    def _end_all(self, diff: TypingDiff) -> None:
        for typing in diff.stopped:
            self._end(self._forget(typing), typing.target)

    def _forget(self, typing: Typing) -> str:
        """Return who typed."""
        sender = self._typers.pop(typing)
        pair = (sender, typing.target)
        self._sids[pair].discard(typing.sid)
        if not self._sids[pair]:
            del self._sids[pair]
        return sender

    def _end(self, sender: str, receiver: str) -> None:
        if (sender, receiver) not in self._sids:
            self._show(sender, receiver, active=False)

    def _show(self, sender: str, receiver: str, *, active: bool) -> None:
        self._publisher.publish(MessageTyping(self._clock(), sender, receiver, active), Audience.user(receiver))
