"""subscribe and unsubscribe: the topics of a dashboard."""

from handlers.commands.base import Ack, Bucket, Command, CommandServices
from realtime.engine.channel import Session
from realtime.errors import Code, RealtimeError
from realtime.settings import MAX_TOPIC


def _topics(payload: object) -> list[str]:
    """Return what a payload names: {channels: [...]}, [...], "name" or {channel}. Raises INVALID_PAYLOAD."""
    if isinstance(payload, dict):
        payload = payload.get("channels", payload.get("channel"))
    if isinstance(payload, str):
        payload = [payload]
    if not isinstance(payload, list) or not payload or not all(map(_is_name, payload)):
        raise RealtimeError(Code.INVALID_PAYLOAD, "Invalid channels format")
    return payload


def _is_name(name: object) -> bool:
    return isinstance(name, str) and 0 < len(name.strip()) <= MAX_TOPIC and name.isprintable()


def _subscribe(services: CommandServices, session: Session, payload: object) -> Ack:
    accepted, rejected = services.dashboards.subscribe(session, _topics(payload))
    ack: Ack = {"channels": accepted, "rejected": rejected}
    if accepted:
        return ack
    return {**RealtimeError(Code.ROOM_FORBIDDEN, "You may not subscribe to these channels").ack(), **ack}


def _unsubscribe(services: CommandServices, session: Session, payload: object) -> Ack:
    return {"channels": services.dashboards.unsubscribe(session, _topics(payload)), "rejected": []}


COMMANDS = {
    "subscribe": Command(_subscribe, Bucket.SIGNALS),
    "unsubscribe": Command(_unsubscribe, Bucket.SIGNALS),
}
