"""HTTP long-polling of one Engine.IO session: one GET that waits, POSTs that bring packets."""

import asyncio
import base64
import binascii
from collections import deque
from collections.abc import Mapping

from aiohttp import web

from realtime.engine.frames import COMPRESS_ABOVE, Burst, polling_payload
from realtime.engine.packets import SEPARATOR

MAX_PACKETS_QUEUED = 2000
MAX_PACKETS_PER_POST = 1000
BODY_SECONDS = 10.0
ANSWER_SECONDS = 10.0
NOOP = b"6"
CONTENT_TYPE = "text/plain"


class BadPost(ValueError):
    """The body of a POST is too large, too slow or not made of Engine.IO packets."""


class PollingQueue:
    """What waits for the next poll. A packet leaves it only when it was written to a connection that is open."""

    __slots__ = ("_packets", "_poll", "_waiting", "_wake", "size")

    def __init__(self) -> None:
        self._packets: deque[bytes] = deque()
        self._poll: web.Request | None = None
        self._wake: asyncio.Future[None] | None = None
        self._waiting: list[asyncio.Future[None]] | None = None
        self.size = 0

    def __len__(self) -> int:
        return len(self._packets)

    def put(self, *packets: bytes) -> None:
        self._packets.extend(packets)
        self.size += sum(map(len, packets))
        self.wake()

    def wake(self) -> None:
        """Answer the poll that waits."""
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def fetched(self) -> None:
        """Wait until a poll has taken what waits, or nobody will any more (`release`)."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting = [*(self._waiting or ()), waiter]
        await waiter

    def release(self) -> None:
        """Go on with those who wait for what was sent to be fetched."""
        waiting, self._waiting = self._waiting, None
        for waiter in waiting or ():
            if not waiter.done():
                waiter.set_result(None)

    def take(self) -> tuple[bytes, ...]:
        packets = tuple(self._packets)
        self._packets.clear()
        self.size = 0
        return packets

    @property
    def polled(self) -> bool:
        """Whether a poll waits whose client is still there."""
        return self._poll is not None and self._poll.transport is not None

    async def wait(self, request: web.Request) -> None:
        """Wait until there is something to send, or `wake`. A poll that waited before ends: its client has gone."""
        self.wake()
        self._poll = request
        if self._packets:
            return
        wake = self._wake = asyncio.get_running_loop().create_future()
        try:
            await wake
        finally:
            if self._wake is wake:
                self._wake = None

    async def answer(self, request: web.Request, *, idle: bytes, headers: Mapping[str, str]) -> web.StreamResponse:
        """Write everything that waits, or `idle`. What cannot be written stays, for the next poll."""
        transport = request.transport
        if self._poll is request:
            self._poll = None
        if transport is None or transport.is_closing():
            return web.Response()
        packets = self.take()
        body = polling_payload(packets) if packets else idle
        response = web.Response(body=body, content_type=CONTENT_TYPE, charset="utf-8", headers=headers)
        if len(body) > COMPRESS_ABOVE:
            response.enable_compression()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await response.prepare(request)
                await response.write_eof()
        except (ConnectionError, TimeoutError):
            transport.abort()
            self._packets.extendleft(reversed(packets))
            self.size += sum(map(len, packets))
        else:
            self.release()
        return response


async def read_packets(request: web.Request, limit: int) -> list[str | bytes]:
    """Return the packets of a POST, chunked or not: text with its type in front, or binary. Raises BadPost."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.content.iter_any():
                body += piece
                if len(body) > limit:
                    raise BadPost("the body is too large")
        pieces = body.split(SEPARATOR)
        if len(pieces) > MAX_PACKETS_PER_POST:
            raise BadPost(f"at most {MAX_PACKETS_PER_POST} packets in one body")
        return [_packet(bytes(piece)) for piece in pieces]
    except TimeoutError as error:
        raise BadPost("the body came too slowly") from error
    except (UnicodeDecodeError, binascii.Error, web.HTTPException, web.RequestPayloadError) as error:
        raise BadPost("the body is not made of packets") from error


def _packet(piece: bytes) -> str | bytes:
    if piece[:1] == b"b":
        return base64.b64decode(piece[1:], validate=True)
    if not b"0" <= piece[:1] <= b"6":
        raise BadPost("unknown packet type")
    return piece.decode()


def burst_of(queue: PollingQueue) -> Burst | None:
    """Take what waits as frames, for the WebSocket that replaces polling."""
    packets = tuple(packet for packet in queue.take() if packet != NOOP)
    return Burst.of(*packets) if packets else None
