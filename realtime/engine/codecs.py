"""How plain connections spell an event: JSON with two fields, or lines of an event stream."""

import functools
from collections.abc import Callable
from typing import Protocol

from realtime import wire
from realtime.engine.frames import Burst, Template


class Codec(Protocol):
    """`mark` is what a client has come to with an event; codecs of connections that do not count leave it out."""

    def encode(self, name: str, payload: object, mark: object = None) -> Burst:
        """Raises wire.BadJson."""
        ...

    def template(self, name: str, payload: object, mark: object = None) -> Template: ...


class JsonFrames:
    """WebSocket text messages: the event's name under one key, its payload under another."""

    def __init__(self, name_key: str, data_key: str = "data") -> None:
        self._name_key = name_key
        self._data_key = data_key

    def text(self, name: str, payload: object, **more: object) -> bytes:
        return wire.dumps({self._name_key: name, self._data_key: payload, **more})

    def encode(self, name: str, payload: object, mark: object = None) -> Burst:
        return Burst.of(self.text(name, payload))

    def template(self, name: str, payload: object, mark: object = None) -> Template:
        return Template(self.text(name, payload))


class EventStream:
    """Server-sent events without a name, as `onmessage` of an EventSource hears them: ``{"type", "data"}``.

    The same text for all streams; what they count by (`numbered`) is each one's own.
    """

    def encode(self, name: str, payload: object, mark: object = None) -> Burst:
        return _unframed(mark, self._text(name, payload))

    def template(self, name: str, payload: object, mark: object = None) -> Template:
        return Template(self._text(name, payload), functools.partial(_unframed, mark))

    @staticmethod
    def _text(name: str, payload: object) -> bytes:
        """JSON holds no line breaks, so one `data` line is enough."""
        return b"data: " + wire.dumps({"type": name, "data": payload}) + b"\n\n"


def _unframed(mark: object, text: bytes) -> Burst:
    return Burst(text, (text,), marks=() if mark is None else ((0, mark),))


def id_line(id: str) -> Burst:
    """Return the line that gives the event that follows, or nothing yet, an id."""
    line = b"id: " + id.encode() + b"\n"
    return Burst(line, (line,))


def numbered(burst: Burst, id_of: Callable[[object], str]) -> Burst:
    """Return the frames of an event stream with an id before each that has a mark, in order."""
    text, parts, begin = burst.frames, [], 0
    for offset, mark in burst.marks:
        parts += [text[begin:offset], id_line(id_of(mark)).frames]
        begin = offset
    frames = b"".join([*parts, text[begin:]])
    return Burst(frames, (frames,))
