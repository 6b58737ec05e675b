"""The answer to one GET that does not end: server-sent events, or anything else that only goes one way.

Like a WebSocket it has its transport for itself. The end of the connection is the end of the body.
"""

import asyncio
import socket
from contextlib import suppress
from typing import Protocol

from realtime.engine.hub import Hub
from realtime.engine.outflow import Outflow

MAX_HEARD = 64 * 1024
"""Bytes that a client may send after its request; they are dropped."""


class Streamer(Protocol):
    """What a stream tells its owner."""

    def lost(self, connection: "StreamConnection", reason: str) -> None:
        """The connection is gone or about to go; may be called twice."""


class StreamConnection(Outflow, asyncio.Protocol):
    """Writes one stream for a `Streamer`, and reads only to notice when the client goes."""

    __slots__ = ("_heard", "idle", "owner")

    kind = "stream"

    def __init__(self, hub: Hub, owner: Streamer, *, idle: bytes) -> None:
        """`idle` is written now and then, so that nobody on the way takes the connection for dead."""
        super().__init__(hub, deflate=False)
        self.owner = owner
        self.idle = idle
        self._heard = 0

    def attach(self, transport: asyncio.Transport, head: bytes, already_read: bytes, *, patience: float) -> None:
        """Take over the transport of a request and answer it; a peer that confirms nothing for `patience` s is gone."""
        self._heard = len(already_read)
        self._take_over(transport)
        give_up_after(transport, patience)
        self.write(head)
        transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        self._heard += len(data)
        if self._heard > MAX_HEARD and not self.closing:
            self._hub.warn("stream client sends what nobody asked for")
            self.close()
            self.lost("transport error")

    def lost(self, reason: str) -> None:
        self.owner.lost(self, reason)

    def _part(self, transport: asyncio.Transport, rest: bytes, code: int, reason: str) -> None:
        transport.write(rest)
        transport.close()


def give_up_after(transport: asyncio.Transport, seconds: float) -> None:
    """Let the kernel end a connection whose peer is silently gone: a stream has no pongs that could be missed."""
    option = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux
    sock = transport.get_extra_info("socket")
    if option is not None and sock is not None:
        with suppress(OSError):  # no TCP, or gone already
            sock.setsockopt(socket.IPPROTO_TCP, option, round(seconds * 1000))
