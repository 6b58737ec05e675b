"""One TCP connection of a client that may send anything, and how each kind of server answers on it."""

import asyncio
import json
import re
import socket
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from tests.support import PATIENCE

KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
UPGRADE = f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n{KEY}"
DEFLATE = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
FOREIGN = "Origin: https://elsewhere.example\r\n"
TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
CLOSED, GOES_ON = "closed", "goes on"
SHORT = 0.2
"""Seconds that stand for the ten of the real limits."""


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True) -> bytes:
    """Return a frame as a client sends it, or as none should."""
    size = len(payload)
    head = bytes([fin << 7 | rsv << 4 | opcode])
    mark = 0x80 if masked else 0
    if size < 126:
        head += bytes([mark | size])
    elif size < 1 << 16:
        head += bytes([mark | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([mark | 127]) + size.to_bytes(8, "big")
    return head + (bytes(4) if masked else b"") + payload


def deflated(payload: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return (deflate.compress(payload) + deflate.flush(zlib.Z_SYNC_FLUSH))[:-4]


class Over(Exception):
    """The server has ended the connection; the text says how."""


class Wire:
    """A connection on which requests and frames are written by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    # --- HTTP ---

    async def send(self, data: str | bytes) -> None:
        self.writer.write(data.encode("latin-1") if isinstance(data, str) else data)
        with suppress(ConnectionError):
            await self.writer.drain()

    async def request(
        self, method: str, path: str, head: str = "", body: str | bytes = b"", *, version: str = "1.1"
    ) -> None:
        """Send a request; with a body, the right length goes before it."""
        data = body.encode() if isinstance(body, str) else body
        length = f"Content-Length: {len(data)}\r\n" if data else ""
        await self.send(f"{method} {path} HTTP/{version}\r\nHost: localhost\r\n{head}{length}\r\n".encode() + data)

    async def answer(self) -> tuple[int, str]:
        """Return the status and the body of the next response. Raises Over."""
        try:
            async with asyncio.timeout(PATIENCE):
                head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                found = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
                body = await self.reader.readexactly(int(found[1])) if found else b""
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Over(CLOSED) from error
        return int(head.split()[1]), body.decode()

    async def status(self) -> str:
        return str((await self.answer())[0])

    async def end(self) -> str:
        """Wait until the server closes the connection."""
        with suppress(ConnectionError):
            async with asyncio.timeout(PATIENCE):
                while await self.reader.read(1 << 16):
                    pass
        return CLOSED

    async def refusal(self, method: str, path: str, head: str = "", body: str | bytes = b"") -> str:
        """Send a request and return the status."""
        await self.request(method, path, head, body)
        return await self.status()

    # --- WebSocket ---

    async def frame(self, opcode: int, payload: bytes = b"", **more: Any) -> None:
        await self.send(frame(opcode, payload, **more))

    async def say(self, *texts: str) -> None:
        await self.send(b"".join(frame(TEXT, text.encode()) for text in texts))

    async def next(self) -> tuple[int, bytes]:
        """Return the next frame. Raises Over, with the code of a Close frame."""
        try:
            async with asyncio.timeout(PATIENCE):
                first, size = await self.reader.readexactly(2)
                if size >= 126:
                    size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8), "big")
                payload = await self.reader.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Over(CLOSED) from error
        if first & 0xF == CLOSE:
            raise Over(str(int.from_bytes(payload[:2], "big")))
        return first & 0xF, payload

    async def hears(self) -> str:
        """Return the next text, answering no ping. Raises Over."""
        while True:
            opcode, payload = await self.next()
            if opcode == TEXT:
                return payload.decode()

    async def over(self) -> str:
        """Return how the server ends the WebSocket, whatever else it says before."""
        try:
            while True:
                await self.next()
        except Over as over:
            return str(over)

    async def goes_on(self) -> str:
        """Make sure that a connection lives on."""
        raise NotImplementedError

    def drop(self) -> None:
        self.writer.transport.abort()


class SocketIO(Wire):
    """Speaks Socket.IO over a WebSocket."""

    async def ask(self, id: int, *event: Any) -> Any:
        """Send an event and return what is acknowledged. Raises Over."""
        await self.say(f"42{id}{json.dumps(event)}")
        return await self.acknowledged(id)

    async def acknowledged(self, id: int) -> Any:
        while not (packet := await self.hears()).startswith(f"43{id}["):
            assert not packet.startswith("41")
        return json.loads(packet.removeprefix(f"43{id}"))[0]

    async def goes_on(self) -> str:
        assert await self.ask(99, "heartbeat") == {"success": True}
        return GOES_ON


class PlainSocket(Wire):
    """Speaks ``{"event", "data", "id"?}``."""

    async def ask(self, id: object, event: str, data: object = None) -> Any:
        """Send an event and return the answer to it. Raises Over."""
        await self.say(json.dumps({"event": event, "data": data, "id": id}))
        return await self.answered(id)

    async def answered(self, id: object) -> Any:
        while (message := json.loads(await self.hears())).get("id") != id:
            pass
        return message["data"]

    async def told(self, event: str) -> Any:
        """Return the payload of the next event of a name. Raises Over."""
        while (message := json.loads(await self.hears()))["event"] != event:
            pass
        return message["data"]

    async def goes_on(self) -> str:
        assert await self.ask("still there?", "heartbeat") == {"success": True}
        return GOES_ON


class GuestSocket(Wire):
    """Speaks ``{"type", "data"}``."""

    async def goes_on(self) -> str:
        await self.say('{"type":"ping"}')
        assert await self.hears() == '{"type":"pong"}'
        return GOES_ON


class Stream(Wire):
    """Hears server-sent events."""

    async def event(self) -> Any:
        """Return the JSON of the next event. Raises Over."""
        while True:
            try:
                async with asyncio.timeout(PATIENCE):
                    block = (await self.reader.readuntil(b"\n\n")).decode()
            except (asyncio.IncompleteReadError, ConnectionError) as error:
                raise Over(CLOSED) from error
            for line in block.splitlines():
                if line.startswith("data: "):
                    return json.loads(line.removeprefix("data: "))


# --- what a client does while it waits ---


async def _dripped(wire: Wire, piece: str | bytes) -> None:
    """Send a piece now and then until the server has had enough."""
    while not wire.writer.is_closing():
        await wire.send(piece)
        await asyncio.sleep(SHORT / 20)


async def _flooded(to: Wire | socket.socket, data: bytes) -> None:
    if isinstance(to, Wire):
        while not to.writer.is_closing():
            await to.send(data)
            await asyncio.sleep(0)
        return
    with suppress(ConnectionError):
        while True:
            await asyncio.get_running_loop().sock_sendall(to, data)


@asynccontextmanager
async def dripping(wire: Wire, piece: str | bytes = "x") -> AsyncIterator[None]:
    async with _meanwhile(asyncio.create_task(_dripped(wire, piece))):
        yield


@asynccontextmanager
async def flooding(to: Wire | socket.socket, data: bytes) -> AsyncIterator[None]:
    """Send the same again and again, as fast as the server takes it."""
    async with _meanwhile(asyncio.create_task(_flooded(to, data))):
        yield


@asynccontextmanager
async def _meanwhile(task: asyncio.Task[None]) -> AsyncIterator[None]:
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
