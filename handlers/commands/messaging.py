"""Chat: sending, reading, typing, and what clients ask to keep their picture fresh."""

from handlers.commands.base import Ack, Bucket, Command, CommandServices, entity_id
from realtime.clock import optional_timestamp, timestamp
from realtime.engine.channel import Session
from realtime.errors import Code, RealtimeError
from realtime.events import Correspondent
from realtime.models import JsonObject
from realtime.services.messaging import Receipt

CLIENT_ID_FIELDS = ("clientMessageId", "tempId", "uniqueId", "messageId")
MAX_CLIENT_ID = 128
MAX_ID_DIGITS = 16


def client_id(value: object) -> str | None:
    """Return the id that a client gave its message, as text; empty text is none. Raises INVALID_PAYLOAD."""
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float) or len(str(value)) > MAX_CLIENT_ID:
        raise RealtimeError(
            Code.INVALID_PAYLOAD, f"The message's own id is text of at most {MAX_CLIENT_ID} characters, or a number"
        )
    return str(value)


def acknowledged(receipt: Receipt) -> Ack:
    """Return what a sender is answered; `message` is what their connections hear as `message:sent`."""
    message = receipt.message
    status = "sent" if message.delivered_at is None else "delivered"
    ack: Ack = {
        "messageId": str(message.id),
        "dbMessageId": str(message.id),
        "timestamp": timestamp(message.created_at),
        "message": _sent(receipt, status),
        "status": status,
    }
    return {**ack, "duplicate": True, "status": "already_sent"} if receipt.duplicate else ack


def _sent(receipt: Receipt, status: str) -> JsonObject:
    message = receipt.message
    return {
        "id": str(message.id),
        "messageId": str(message.id),
        "dbMessageId": str(message.id),
        "uniqueId": message.client_id or str(message.id),
        "tempId": message.client_id,
        "senderId": message.sender,
        "receiverId": message.receiver,
        "content": message.content,
        "status": status,
        "isRead": message.read_at is not None,
        "confirmation": True,
        "createdAt": timestamp(message.created_at),
        "timestamp": timestamp(message.created_at),
        "sender": _correspondent(receipt.event.sender),
        "receiver": _correspondent(receipt.event.receiver),
    }


def _correspondent(person: Correspondent) -> JsonObject:
    return {"id": person.id, "name": person.name, "email": person.email}


def _require_user(session: Session) -> None:
    """A guest's id may be a user's, too: the others would take one for the other."""
    if session.identity.guest:
        raise RealtimeError(Code.FORBIDDEN, "Guests cannot use the chat")


def _given(payload: object) -> JsonObject:
    if not isinstance(payload, dict):
        raise RealtimeError(Code.INVALID_PAYLOAD, "The payload must be an object")
    return payload


async def _send(services: CommandServices, session: Session, payload: object) -> Ack:
    data = _given(payload)
    receiver = entity_id(data.get("receiverId"), "receiverId")
    content = data.get("content")
    if not isinstance(content, str):
        raise RealtimeError(Code.INVALID_PAYLOAD, "content must be text")
    given = next((data[name] for name in CLIENT_ID_FIELDS if data.get(name) not in (None, "")), None)
    return acknowledged(await services.messaging.send(session.identity, receiver, content, client_id(given)))


async def _read(services: CommandServices, session: Session, payload: object) -> Ack:
    """{messageId}, "id" or a number. Whose message it is the store knows, whatever `senderId` says."""
    _require_user(session)
    given = entity_id(payload.get("messageId") if isinstance(payload, dict) else payload, "messageId")
    if not given.isascii() or not given.isdigit() or len(given) > MAX_ID_DIGITS:
        raise RealtimeError(Code.NOT_FOUND, "Message not found")
    message = await services.messaging.read(session.identity.id, int(given))
    return {"messageId": str(message.id), "readAt": optional_timestamp(message.read_at)}


def _typing(services: CommandServices, session: Session, payload: object) -> Ack:
    """Without `isTyping` it means that the person types."""
    active = _given(payload).get("isTyping", True)
    if not isinstance(active, bool):
        raise RealtimeError(Code.INVALID_PAYLOAD, "isTyping must be true or false")
    return _type(services, session, payload, active=active)


def _start(services: CommandServices, session: Session, payload: object) -> Ack:
    return _type(services, session, payload, active=True)


def _stop(services: CommandServices, session: Session, payload: object) -> Ack:
    return _type(services, session, payload, active=False)


def _type(services: CommandServices, session: Session, payload: object, *, active: bool) -> Ack:
    _require_user(session)
    receiver = entity_id(_given(payload).get("receiverId"), "receiverId")
    services.messaging.type_to(session, receiver, active=active)
    return {"receiverId": receiver, "isTyping": active}


def _ping(services: CommandServices, session: Session, payload: object) -> Ack:
    return {"timestamp": timestamp(services.messaging.ping(session))}


def _list_online(services: CommandServices, session: Session, payload: object) -> Ack:
    _require_user(session)
    listed = services.messaging.list_online(session)
    return {"users": listed.users, "count": len(listed.users), "timestamp": timestamp(listed.at)}


COMMANDS = {
    "send_message": Command(_send, Bucket.MESSAGES),
    "message_typing": Command(_typing, Bucket.SIGNALS),
    "start_message_typing": Command(_start, Bucket.SIGNALS),
    "stop_message_typing": Command(_stop, Bucket.SIGNALS),
    "read_message": Command(_read, Bucket.MESSAGES),
    "ping": Command(_ping, Bucket.EXEMPT),
    "list_online": Command(_list_online, Bucket.MESSAGES),
}
