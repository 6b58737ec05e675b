"""register, statuses, presence notes and heartbeats."""

from handlers.commands.base import Ack, Bucket, Command, CommandServices, entity_id, relayed
from realtime.auth import require_same_user
from realtime.engine.channel import Session
from realtime.errors import Code, RealtimeError
from realtime.models import wire_id
from rooms import names


def _register(services: CommandServices, session: Session, payload: object) -> Ack:
    """Connecting registers already; the event only confirms whose connection this is."""
    claimed = payload.get("userId") if isinstance(payload, dict) else payload
    if isinstance(claimed, bool) or (claimed is not None and not isinstance(claimed, str | int)):
        raise RealtimeError(Code.INVALID_PAYLOAD, "register takes a user id")
    require_same_user(session.identity, claimed)
    return {"userId": session.identity.wire_id}


def _with_status(payload: object) -> dict[str, object]:
    """Return the payload as an object with a status: {status, ...} or "status"."""
    data = relayed({"status": payload} if isinstance(payload, str) else payload)
    if "status" not in data:
        raise RealtimeError(Code.INVALID_PAYLOAD, "status is required")
    return data


def _update_status(services: CommandServices, session: Session, payload: object) -> Ack:
    data = _with_status(payload)
    services.presence.set_status(session, data["status"], data)  # type: ignore[arg-type]
    return {"status": data["status"]}


def _touch_status(services: CommandServices, session: Session, payload: object) -> Ack:
    """The quiet form: nothing is relayed but what administrators see."""
    if payload is not None:
        services.presence.set_status(session, _with_status(payload)["status"], None)  # type: ignore[arg-type]
    return {}


def _note(services: CommandServices, session: Session, payload: object) -> Ack:
    data = _with_status(payload)
    order = data.get("workOrderId")
    if order is None:
        services.presence.note(session, data["status"], work_order=None, data=data)  # type: ignore[arg-type]
        return {"status": data["status"]}
    id = entity_id(order, "workOrderId")
    services.rooms.require_inside(session, names.work_order(id))
    services.presence.note(session, data["status"], work_order=wire_id(id), data=data)  # type: ignore[arg-type]
    return {"status": data["status"], "workOrderId": wire_id(id)}


def _heartbeat(services: CommandServices, session: Session, payload: object) -> Ack:
    services.presence.beat(session)
    return {}


COMMANDS = {
    "register": Command(_register, Bucket.MESSAGES),
    "update_status": Command(_update_status, Bucket.SIGNALS),
    "touch_status": Command(_touch_status, Bucket.SIGNALS),
    "note_presence": Command(_note, Bucket.SIGNALS),
    "heartbeat": Command(_heartbeat, Bucket.EXEMPT),
}
