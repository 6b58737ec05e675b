"""Typing indicators. They end after 5 s without a renewal, on leaving the room and on disconnecting."""

from dataclasses import dataclass, replace

from realtime.clock import Clock
from realtime.engine.channel import Session
from realtime.events import Audience, Event, RoomTypingNoted, TypingNoted
from realtime.models import JsonObject, WireId, wire_id
from realtime.publisher import Publisher
from rooms import names
from rooms.typing_state import Typing, TypingDiff, TypingState


@dataclass(frozen=True, slots=True)
class _Open:
    """What to send when an indicator ends."""

    stop: Event
    audience: Audience


class TypingService:
    """Relays typing to a room, to a person or to everybody, always in the name of the authenticated sender."""

    def __init__(self, *, state: TypingState, publisher: Publisher, clock: Clock) -> None:
        self._state = state
        self._publisher = publisher
        self._clock = clock
        self._open: dict[Typing, _Open] = {}

    def type_in_room(self, session: Session, room: str, active: bool, message: str | None) -> None:
        """The caller has checked that the connection is in `room`."""
        now = self._clock()
        order = _work_order(room)
        audience = Audience.room(room, without=session.identity.id)
        stop = RoomTypingNoted(now, session.person, False, room, order, None)
        event = RoomTypingNoted(now, session.person, True, room, order, message) if active else stop
        self._note(Typing(session.sid, room), active, _Open(stop, audience))
        self._publisher.publish(event, audience)

    def type_to(self, session: Session, target: str, audience: Audience, active: bool, data: JsonObject) -> None:
        """`target` identifies the audience: a room, a user's room, or "" for everybody."""
        now = self._clock()
        stop = TypingNoted(now, session.person, False, data)
        self._note(Typing(session.sid, f"to:{target}"), active, _Open(stop, audience))
        self._publisher.publish(TypingNoted(now, session.person, active, data), audience)

    def _note(self, typing: Typing, active: bool, open_: _Open) -> None:
        if active:
            self._state.start(typing, self._clock())
            self._open[typing] = open_
        else:
            self._state.stop(typing)
            self._open.pop(typing, None)

    def left_room(self, sid: str, room: str) -> None:
        self._end(self._state.leave(sid, room))
        self._end(self._state.leave(sid, f"to:{room}"))

    def disconnected(self, session: Session) -> None:
        self._end(self._state.leave(session.sid))

    def tick(self) -> None:
        self._end(self._state.expire(self._clock()))

    def _end(self, diff: TypingDiff) -> None:
        for typing in diff.stopped:
            ended = self._open.pop(typing)
            self._publisher.publish(replace(ended.stop, at=self._clock()), ended.audience)


def _work_order(room: str) -> WireId | None:
    parsed = names.parse(room)
    return wire_id(parsed.id) if parsed.prefix == "work_order_" else None
