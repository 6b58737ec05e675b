"""Outgoing events, encoded once per publish however many connections get them."""

from collections.abc import Iterable
from typing import Any

from engineio import packet as eio_packet
from socketio import packet as sio_packet

from realtime import wire

MAX_ATTACHMENTS = 10


class _Json:
    """The two functions that python-socketio's packets call, on our JSON."""

    JSONDecodeError = wire.BadJson

    @staticmethod
    def dumps(value: object, **_: object) -> str:
        return wire.dumps(value).decode()

    @staticmethod
    def loads(text: str, **_: object) -> Any:
        return wire.loads(text)


class WirePacket(sio_packet.Packet):  # type: ignore[misc]
    """A Socket.IO packet with strict JSON and at most 10 binary attachments."""

    json = _Json

    def decode(self, encoded_packet: str) -> int:
        attachments = super().decode(encoded_packet) or 0
        if attachments > MAX_ATTACHMENTS:
            raise ValueError("too many attachments")
        return int(attachments)


def websocket_frame(payload: bytes, opcode: int = 0x1) -> bytes:
    """Return one unmasked, unfragmented WebSocket frame (RFC 6455, 5.2), as a server sends it."""
    size = len(payload)
    head = bytes([0x80 | opcode])
    if size < 126:
        return head + bytes([size]) + payload
    if size < 1 << 16:
        return head + b"\x7e" + size.to_bytes(2, "big") + payload
    return head + b"\x7f" + size.to_bytes(8, "big") + payload


def _event_text(namespace: str, event: str, payload: object) -> str:
    prefix = "2" if namespace == "/" else f"2{namespace},"
    return prefix + wire.dumps([event, payload]).decode()


class Burst:
    """Some Socket.IO events, in order, for one namespace, encoded for every transport.

    `frames` are WebSocket frames, ready to be written; `packets` are what a polling connection queues.
    """

    __slots__ = ("frames", "packets")

    def __init__(self, frames: bytes, packets: tuple[eio_packet.Packet, ...]) -> None:
        self.frames = frames
        self.packets = packets

    @classmethod
    def encode(cls, namespace: str, event: str, payload: object) -> "Burst":
        """Encode one event. Raises wire.BadJson when the payload is not JSON."""
        return cls._of_text(_event_text(namespace, event, payload))

    @classmethod
    def _of_text(cls, text: str) -> "Burst":
        return cls(websocket_frame(b"4" + text.encode()), (eio_packet.Packet(eio_packet.MESSAGE, text),))

    @classmethod
    def join(cls, bursts: Iterable["Burst"]) -> "Burst":
        """Return one burst with all of them: one write for a WebSocket connection."""
        parts = list(bursts)
        if len(parts) == 1:
            return parts[0]
        return cls(b"".join(part.frames for part in parts), tuple(p for part in parts for p in part.packets))


class Template:
    """One event for many, encoded once but for a value that differs: put PLACEHOLDER where it belongs."""

    PLACEHOLDER = "\ue000roomcast\ue000"
    """Private-use characters around a word: no id, and hardly anything else, looks like this."""

    __slots__ = ("_parts",)

    def __init__(self, namespace: str, event: str, payload: object) -> None:
        self._parts = _event_text(namespace, event, payload).split(f'"{self.PLACEHOLDER}"')

    def fill(self, value: str | int) -> Burst:
        return Burst._of_text(wire.dumps(value).decode().join(self._parts))
