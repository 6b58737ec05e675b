"""join_room, leave_room and the forms in which deployed clients name a room."""

from collections.abc import Coroutine, Sequence
from typing import Any

from handlers.commands.base import Ack, Bucket, Command, CommandServices, entity_id
from realtime.engine.channel import Session
from realtime.errors import Code, RealtimeError
from rooms import names

_NAME_FIELDS = ("room", "roomName", "roomId")
_ID_FIELDS = {"workOrderId": names.work_order, "ticketId": names.ticket, "bookingId": names.booking}


def room_names(payload: object) -> list[object]:
    """Return the rooms that a payload names: "room", {room}, {roomName}, {roomId}, {workOrderId}, {ticketId},
    {bookingId}, a list of names, or {rooms: [...]}. Raises INVALID_PAYLOAD."""
    if isinstance(payload, str):
        return [payload]
    if isinstance(payload, dict):
        for field in _NAME_FIELDS:
            if payload.get(field) is not None:
                return [payload[field]]
        for field, build in _ID_FIELDS.items():
            if payload.get(field) is not None:
                return [build(entity_id(payload[field], field))]
        payload = payload.get("rooms")
    if isinstance(payload, list) and payload:
        return payload
    raise RealtimeError(Code.INVALID_PAYLOAD, "Room name is required")


def room_name(payload: object) -> object:
    """Return the one room that a payload names."""
    return room_names(payload)[0]


def _join(services: CommandServices, session: Session, payload: object) -> Ack | Coroutine[Any, Any, Ack]:
    wanted = room_names(payload)
    joined = services.rooms.join_at_once(session, wanted)
    return _join_asking(services, session, wanted) if joined is None else _joined(services, session, joined)


async def _join_asking(services: CommandServices, session: Session, wanted: Sequence[object]) -> Ack:
    return _joined(services, session, await services.rooms.join(session, wanted))


def _joined(services: CommandServices, session: Session, joined: Sequence[str]) -> Ack:
    services.presence.joined(session, joined)
    return {"room": joined[0], "rooms": services.rooms.of(session)}


async def _leave(services: CommandServices, session: Session, payload: object) -> Ack:
    left = await services.rooms.leave(session, room_names(payload))
    return {"room": left[0], "rooms": services.rooms.of(session)}


COMMANDS = {
    "join_room": Command(_join, Bucket.SIGNALS),
    "leave_room": Command(_leave, Bucket.SIGNALS),
}
