"""A network between a store and its server that can be cut, and that can lose an answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit, urlunsplit


def command(name: str, collection: str) -> bytes:
    """Return how a command of MongoDB on a collection begins on the wire."""
    text = collection.encode() + b"\0"
    return b"\x02" + name.encode() + b"\0" + len(text).to_bytes(4, "little") + text


class Relay:
    """Passes bytes on between clients and one server."""

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._port = 0
        self._losing: bytes | None = None
        self.lost = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """End all connections and accept none."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def lose(self, marker: bytes) -> None:
        """Pass the next message with a marker on, and end its connection instead of passing the answer on."""
        self._losing = marker

    def url(self, url: str) -> str:
        """Return the URL of a database as it is seen through this relay."""
        parts = urlsplit(url)
        credentials, at, _ = parts.netloc.rpartition("@")
        netloc = f"{credentials}{at}127.0.0.1:{self._port}"
        query = "&".join(filter(None, [parts.query, "directConnection=true"]))
        return urlunsplit((parts.scheme, netloc, parts.path, query, ""))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            with suppress(OSError):
                await self._pass_on(reader, writer)
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, onward = await asyncio.open_connection(*self._upstream)
        self._writers.add(onward)
        answering = asyncio.create_task(_copy(there, writer))
        try:
            while data := await reader.read(1 << 20):
                if self._losing is not None and self._losing in data:
                    self._losing = None
                    answering.cancel()
                    await asyncio.gather(answering, return_exceptions=True)
                    onward.write(data)
                    await there.read(1)
                    self.lost += 1
                    return
                onward.write(data)
                await onward.drain()
        finally:
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)
            self._writers.discard(onward)
            onward.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 20):
        writer.write(data)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def relay_to(uri: str) -> AsyncIterator[Relay]:
    """Give a relay to the server of a URI."""
    parts = urlsplit(uri)
    relay = Relay(parts.hostname or "127.0.0.1", parts.port or 27017)
    await relay.start()
    try:
        yield relay
    finally:
        await relay.cut()
