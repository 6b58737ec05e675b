"""Outgoing packets, encoded once per publish however many connections get them, and in whatever way."""

import base64
import zlib
from collections.abc import Callable, Hashable, Iterable

from realtime import wire
from realtime.engine import packets
from realtime.engine.packets import Attachment

COMPRESS_ABOVE = 1024
"""Bytes of a message above which it is compressed for connections that agreed to permessage-deflate."""

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
_COMPRESSED = 0x40
MAX_REASON = 123
"""Bytes of text in a Close frame (RFC 6455, 5.5: 125 with its code)."""


def websocket_frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """Return one unmasked, unfragmented WebSocket frame (RFC 6455, 5.2), as a server sends it."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 1 << 16:
        return bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big") + payload
    return bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big") + payload


def compressed_frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """Return one frame compressed on its own (RFC 7692 without context takeover), so that anybody can read it."""
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    data = deflate.compress(payload) + deflate.flush(zlib.Z_SYNC_FLUSH)
    return websocket_frame(data[:-4], opcode | _COMPRESSED)


def close_frame(code: int, reason: str = "") -> bytes:
    """`code` 0 means a Close frame that says nothing. Of a long reason the first 123 bytes are sent."""
    if not code:
        return websocket_frame(b"", CLOSE)
    text = reason.encode(errors="replace")
    if len(text) > MAX_REASON:
        text = text[:MAX_REASON].decode(errors="ignore").encode()  # no half character
    return websocket_frame(code.to_bytes(2, "big") + text, CLOSE)


def _frame(packet: bytes) -> bytes:
    return websocket_frame(packet, BINARY if type(packet) is Attachment else TEXT)


def _compressed(packet: bytes) -> bytes:
    if len(packet) <= COMPRESS_ABOVE:
        return _frame(packet)
    return compressed_frame(packet, BINARY if type(packet) is Attachment else TEXT)


class Burst:
    """Some Engine.IO packets, in order, encoded for every transport.

    `frames` are WebSocket frames, ready to be written; `packets` are what a polling connection queues. A volatile
    burst has `latest`: pairs (key, burst) of which a slow connection gets only the last of each key. `marks` are
    pairs (where in `frames`, what a client has come to with the frame that begins there).
    """

    __slots__ = ("_deflated", "frames", "latest", "marks", "packets")

    def __init__(
        self,
        frames: bytes,
        packets: tuple[bytes, ...],
        latest: "tuple[tuple[Hashable, Burst], ...]" = (),
        marks: tuple[tuple[int, object], ...] = (),
    ) -> None:
        self.frames = frames
        self.packets = packets
        self.latest = latest
        self.marks = marks
        self._deflated: bytes | None = None

    @classmethod
    def of(cls, *packets: bytes) -> "Burst":
        """Frame Engine.IO packets: UTF-8 text, or `Attachment`."""
        return cls(b"".join(map(_frame, packets)) if len(packets) > 1 else _frame(packets[0]), packets)

    @classmethod
    def encode(cls, namespace: str, event: str, payload: object) -> "Burst":
        """Encode one event with one argument. Raises wire.BadJson when the payload is not JSON."""
        return cls.of(packets.event_text(namespace, [event, payload]))

    @classmethod
    def join(cls, bursts: Iterable["Burst"]) -> "Burst":
        """Return one burst with all of them: one write for a WebSocket connection. Volatile when all are."""
        parts = list(bursts)
        if len(parts) == 1:
            return parts[0]
        latest = tuple(pair for part in parts for pair in part.latest) if all(part.latest for part in parts) else ()
        frames = b"".join(part.frames for part in parts)
        return cls(frames, tuple(p for part in parts for p in part.packets), latest, _joined_marks(parts))

    def volatile(self, key: Hashable) -> "Burst":
        """Return the same packets, to be replaced by later ones of the same key when a connection is slow."""
        return Burst(self.frames, self.packets, ((key, self),), self.marks)

    @property
    def deflated(self) -> bytes:
        """The frames for connections with permessage-deflate: compressed once, where it pays."""
        if self._deflated is None:
            large = len(self.frames) > COMPRESS_ABOVE
            self._deflated = b"".join(map(_compressed, self.packets)) if large else self.frames
        return self._deflated


def _joined_marks(parts: Iterable[Burst]) -> tuple[tuple[int, object], ...]:
    marks: list[tuple[int, object]] = []
    begin = 0
    for part in parts:
        marks += [(begin + offset, mark) for offset, mark in part.marks]
        begin += len(part.frames)
    return tuple(marks)


def polling_payload(queued: Iterable[bytes]) -> bytes:
    """Return the body of a poll: packets between record separators, binary ones in base64."""
    return packets.SEPARATOR.join(
        b"b" + base64.b64encode(packet) if type(packet) is Attachment else packet for packet in queued
    )


class Template:
    """One event for many, encoded once but for a value that differs: put PLACEHOLDER where it belongs."""

    PLACEHOLDER = "\ue000roomcast\ue000"
    """Private-use characters around a word: no id, and hardly anything else, looks like this."""

    __slots__ = ("_make", "_parts")

    def __init__(self, text: bytes, make: Callable[[bytes], Burst] = Burst.of) -> None:
        """`text` is the encoded packet, `make` frames it."""
        # What orjson cannot write comes from the standard library, which escapes everything beyond ASCII.
        spellings = (wire.dumps(self.PLACEHOLDER), b'"\\ue000roomcast\\ue000"')
        self._parts = next((text.split(s) for s in spellings if s in text), [text])
        self._make = make

    def fill(self, value: str | int) -> Burst:
        return self._make(wire.dumps(value).join(self._parts))
