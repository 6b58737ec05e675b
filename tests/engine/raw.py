"""Engine.IO spoken by hand: what no library would send, and what it would answer."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from tests.support import PATIENCE, Running, token

POLLING = "/socket.io/?EIO=4&transport=polling"
WEBSOCKET = "/socket.io/?EIO=4&transport=websocket"
SEPARATOR = "\x1e"
ENDS = (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.ERROR)

Frames = aiohttp.ClientWebSocketResponse


class Polling:
    """A polling session of user 5, connected to ``/``."""

    def __init__(self, running: Running, sid: str) -> None:
        self._running = running
        self.sid = sid

    @classmethod
    async def open(cls, running: Running, **claims: Any) -> "Polling":
        async with running.http.get(running.url + POLLING) as opened:
            session = cls(running, json.loads((await opened.text())[1:])["sid"])
        assert await session.post("40" + json.dumps({"token": token(5, "technician", **claims)})) == 200
        assert (await session.poll())[0].startswith("40")
        return session

    async def post(self, data: Any) -> int:
        async with self._running.http.post(f"{self._running.url}{POLLING}&sid={self.sid}", data=data) as posted:
            await posted.read()
            return posted.status

    async def poll(self) -> list[str]:
        """Return the packets of one poll."""
        async with self._running.http.get(f"{self._running.url}{POLLING}&sid={self.sid}") as polled:
            assert polled.status == 200
            return (await polled.text()).split(SEPARATOR)

    async def acks(self, count: int) -> list[tuple[int, Any]]:
        """Return (id, answer) of the next acknowledgements, in the order in which they came."""
        found: list[tuple[int, Any]] = []
        while len(found) < count:
            for packet in await self.poll():
                if packet.startswith("43"):
                    start = packet.index("[")
                    found.append((int(packet[2:start]), json.loads(packet[start:])[0]))
        return found


@asynccontextmanager
async def websocket(running: Running) -> AsyncIterator[Frames]:
    """A WebSocket on which Engine.IO has been opened, and nothing more."""
    async with running.http.ws_connect(running.url + WEBSOCKET) as frames:
        assert (await frames.receive_str(timeout=PATIENCE)).startswith("0")
        yield frames


@asynccontextmanager
async def connected(running: Running) -> AsyncIterator[Frames]:
    """A WebSocket of user 5, connected to ``/``."""
    async with websocket(running) as frames:
        await frames.send_str("40" + json.dumps({"token": token(5, "technician")}))
        assert (await frames.receive_str(timeout=PATIENCE)).startswith("40")
        yield frames


async def until_closed(frames: Frames) -> tuple[list[Any], int | None]:
    """Return what still came, and the close code."""
    heard = []
    while (message := await frames.receive(timeout=PATIENCE)).type not in ENDS:
        heard.append(message.data)
    return heard, frames.close_code
