"""How plain connections spell an event: JSON with two fields, or lines of an event stream."""

from typing import Protocol

from realtime import wire
from realtime.engine.frames import Burst, Template


class Codec(Protocol):
    """`mark` names the place that a client has reached with an event; codecs without such a thing leave it out."""

    def encode(self, name: str, payload: object, mark: str | None) -> Burst:
        """Raises wire.BadJson."""
        ...

    def template(self, name: str, payload: object, mark: str | None) -> Template: ...


class JsonFrames:
    """WebSocket text messages: the event's name under one key, its payload under another."""

    def __init__(self, name_key: str, data_key: str = "data") -> None:
        self._name_key = name_key
        self._data_key = data_key

    def text(self, name: str, payload: object, **more: object) -> bytes:
        return wire.dumps({self._name_key: name, self._data_key: payload, **more})

    def encode(self, name: str, payload: object, mark: str | None = None) -> Burst:
        return Burst.of(self.text(name, payload))

    def template(self, name: str, payload: object, mark: str | None = None) -> Template:
        return Template(self.text(name, payload))


class EventStream:
    """Server-sent events without a name, as `onmessage` of an EventSource hears them: ``{"type", "data"}``."""

    def encode(self, name: str, payload: object, mark: str | None = None) -> Burst:
        return _unframed(self._text(name, payload, mark))

    def template(self, name: str, payload: object, mark: str | None = None) -> Template:
        return Template(self._text(name, payload, mark), _unframed)

    @staticmethod
    def _text(name: str, payload: object, mark: str | None) -> bytes:
        """JSON holds no line breaks, so one `data` line is enough."""
        line = b"data: " + wire.dumps({"type": name, "data": payload}) + b"\n\n"
        return line if mark is None else b"id: " + mark.encode() + b"\n" + line


def _unframed(text: bytes) -> Burst:
    return Burst(text, (text,))
