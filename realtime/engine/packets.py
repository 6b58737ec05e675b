"""Socket.IO packets (protocol version 5) and what they may contain, without any I/O.

Whatever is not exactly a packet raises BadPacket, which ends the connection.
"""

import re
from dataclasses import dataclass
from typing import Any

from realtime import wire

CONNECT, DISCONNECT, EVENT, ACK, CONNECT_ERROR, BINARY_EVENT, BINARY_ACK = range(7)
SEPARATOR = b"\x1e"
_TYPES = tuple(b"4%d" % kind for kind in range(7))
MAX_ATTACHMENTS = 10
MAX_NAMESPACE = 128
MAX_ID_DIGITS = 16
"""JavaScript counts exactly to 2**53, which has 16 digits."""


class Attachment(bytes):
    """A binary Engine.IO packet; every other packet is UTF-8 text."""


class BadPacket(ValueError):
    """Not a Socket.IO packet, or not one that a client may send now."""


@dataclass(slots=True)
class Packet:
    """One packet from a client. `data` is a list for events and acks, the auth object or None for CONNECT."""

    type: int
    namespace: str = "/"
    id: int | None = None
    data: Any = None


_HEAD = re.compile(r"([0-6])(?:([0-9]{1,2})-)?(?:(/[^,]*),?)?([0-9]*)")
"""Type, number of attachments, namespace, id; the data follows."""


def decode(text: str) -> tuple[Packet, int]:
    """Return a packet and how many binary attachments follow it. Raises BadPacket."""
    packet = _usual(text)
    return decode_any(text) if packet is None else (packet, 0)


def _usual(text: str) -> Packet | None:
    """Decode what most packets are, an event or a goodbye in the default namespace; None when it is anything else."""
    if text == "1":
        return Packet(DISCONNECT)
    start = text.find("[")
    id = text[1:start]
    if start < 1 or text[0] != "2" or (id and not (id.isascii() and id.isdigit() and len(id) <= MAX_ID_DIGITS)):
        return None
    data = _json(text[start:])
    return Packet(EVENT, "/", int(id) if id else None, data) if data and type(data[0]) is str else None


def decode_any(text: str) -> tuple[Packet, int]:
    """As `decode`, of every packet."""
    head = _HEAD.match(text)
    if head is None:
        raise BadPacket("unknown packet type")
    kind, attachments, namespace, id = head.groups()
    rest = text[head.end() :]
    packet = Packet(
        int(kind), _namespace(namespace) if namespace else "/", _id(id) if id else None, _json(rest) if rest else None
    )
    if (attachments is not None) != (packet.type in (BINARY_EVENT, BINARY_ACK)):
        raise BadPacket("a binary packet says how many attachments it has, and no other does")
    if attachments is None:
        return _checked(packet), 0
    if int(attachments) > MAX_ATTACHMENTS:
        raise BadPacket(f"at most {MAX_ATTACHMENTS} attachments")
    return _checked(packet), int(attachments)


def _namespace(text: str) -> str:
    name = text.partition("?")[0]
    if len(name) > MAX_NAMESPACE:
        raise BadPacket("the namespace is too long")
    return name


def _id(digits: str) -> int:
    if len(digits) > MAX_ID_DIGITS:
        raise BadPacket("the id is too large")
    return int(digits)


def _json(text: str) -> Any:
    try:
        return wire.loads(text)
    except wire.BadJson as error:
        raise BadPacket(str(error)) from error


def _checked(packet: Packet) -> Packet:
    """Check that the data has the form that its type demands."""
    kind, data = packet.type, packet.data
    if kind in (EVENT, BINARY_EVENT):
        good = isinstance(data, list) and len(data) > 0 and isinstance(data[0], (str, int))
    elif kind in (ACK, BINARY_ACK):
        good = isinstance(data, list)
    elif kind == CONNECT:
        good = data is None or isinstance(data, dict)
    else:
        good = kind == DISCONNECT and data is None
    if not good:
        raise BadPacket("the data does not fit the packet's type")
    return packet


class Assembly:
    """A binary packet whose attachments are still to come."""

    __slots__ = ("_attachments", "_missing", "_packet", "due", "size")

    def __init__(self, packet: Packet, attachments: int, due: float = 0.0) -> None:
        self.due = due
        self._packet = packet
        self._missing = attachments
        self._attachments: list[bytes] = []
        self.size = 0

    def add(self, attachment: bytes) -> Packet | None:
        """Take an attachment; return the whole packet when it was the last one. Raises BadPacket."""
        self._attachments.append(attachment)
        self.size += len(attachment)
        if len(self._attachments) < self._missing:
            return None
        return self.whole()

    def late(self, now: float) -> bool:
        """Whether the attachments are overdue."""
        return now >= self.due

    def whole(self) -> Packet:
        """Return the packet with its attachments put in their places. Raises BadPacket."""
        self._packet.data = self._fill(self._packet.data)
        return self._packet

    def _fill(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._fill(item) for item in value]
        if not isinstance(value, dict):
            return value
        if value.get("_placeholder") is not True:
            return {key: self._fill(item) for key, item in value.items()}
        number = value.get("num")
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < len(self._attachments):
            raise BadPacket("a placeholder without its attachment")
        return self._attachments[number]


def event_text(namespace: str, arguments: list[Any]) -> bytes:
    """Return an event without binary values as an Engine.IO message. Raises wire.BadJson."""
    return _head(EVENT, namespace) + wire.dumps(arguments)


def encode(kind: int, namespace: str, data: Any = None, *, id: int | None = None) -> list[bytes]:
    """Return a packet as an Engine.IO message, and the values that are bytes as attachments after it.

    Raises wire.BadJson for what JSON cannot say.
    """
    number = b"" if id is None else b"%d" % id
    if data is None:
        return [_head(kind, namespace) + number]
    try:
        return [_head(kind, namespace) + number + wire.dumps(data)]
    except wire.BadJson:
        attachments: list[Attachment] = []
        data = _taken_out(data, attachments)
        if not attachments:
            raise
    kind = BINARY_ACK if kind == ACK else BINARY_EVENT
    text = _head(kind, namespace, b"%d-" % len(attachments)) + number + wire.dumps(data)
    return [text, *attachments]


def _taken_out(value: Any, attachments: list[Attachment]) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        attachments.append(Attachment(value))
        return {"_placeholder": True, "num": len(attachments) - 1}
    if isinstance(value, list | tuple):
        return [_taken_out(item, attachments) for item in value]
    if isinstance(value, dict):
        return {key: _taken_out(item, attachments) for key, item in value.items()}
    return value


def _head(kind: int, namespace: str, attachments: bytes = b"") -> bytes:
    head = _TYPES[kind] + attachments
    return head if namespace == "/" else head + namespace.encode() + b","
