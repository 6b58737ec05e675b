"""typing (to everybody, a person or a room) and typing_start / typing_stop (in a room)."""

from handlers.commands.base import Ack, Bucket, Command, CommandServices, entity_id, relayed
from handlers.commands.rooms import room_name
from realtime.engine.channel import Session
from realtime.errors import Code, RealtimeError
from realtime.events import Audience
from rooms import names

MAX_MESSAGE = 500


def _typing(services: CommandServices, session: Session, payload: object) -> Ack:
    """No payload, or one without `isTyping`, means that the person types."""
    _require_user(session)
    data = relayed(payload)
    active = data.get("isTyping", True)
    if not isinstance(active, bool):
        raise RealtimeError(Code.INVALID_PAYLOAD, "isTyping must be true or false")
    target, audience = _audience(services, session, data)
    services.typing.type_to(session, target, audience, active, data)
    return {"isTyping": active}


def _audience(services: CommandServices, session: Session, data: dict[str, object]) -> tuple[str, Audience]:
    me = session.identity.id
    room = data.get("room", data.get("roomName"))
    if room is not None:
        name = services.rooms.require_inside(session, room).name
        return name, Audience.room(name, without=me)
    receiver = data.get("receiverId", data.get("to"))
    if receiver is not None:
        name = names.user(entity_id(receiver, "receiverId"))
        return name, Audience.room(name, without=me)
    return "", Audience.all_users(without=me)


def _require_user(session: Session) -> None:
    """A guest's id may be a user's, too: the others would take one for the other."""
    if session.identity.guest:
        raise RealtimeError(Code.FORBIDDEN, "Guests do not show that they type")


def _start(services: CommandServices, session: Session, payload: object) -> Ack:
    _require_user(session)
    message = payload.get("message") if isinstance(payload, dict) else None
    if message is not None and (not isinstance(message, str) or len(message) > MAX_MESSAGE):
        raise RealtimeError(Code.INVALID_PAYLOAD, f"message is text of at most {MAX_MESSAGE} characters")
    room = services.rooms.require_inside(session, room_name(payload)).name
    services.typing.type_in_room(session, room, True, message)
    return {"room": room}


def _stop(services: CommandServices, session: Session, payload: object) -> Ack:
    _require_user(session)
    room = services.rooms.require_inside(session, room_name(payload)).name
    services.typing.type_in_room(session, room, False, None)
    return {"room": room}


COMMANDS = {
    "typing": Command(_typing, Bucket.SIGNALS),
    "start_typing": Command(_start, Bucket.SIGNALS),
    "stop_typing": Command(_stop, Bucket.SIGNALS),
}
