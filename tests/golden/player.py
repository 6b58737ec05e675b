"""Plays a scene of a transcript against a running server."""

import asyncio
import difflib
from dataclasses import dataclass, field

import aiohttp

from realtime import wire
from realtime.clock import timestamp
from realtime.events import Audience
from tests.golden.transcripts import Answer, Call, Hear, Memory, Open, Pause, Say, Scene, Step, Stop
from tests.support import PATIENCE, FakeClock, Running, token

CAST = {
    "admin": {"id": 1, "role": "admin", "name": "Ada"},
    "ann": {"id": 7, "role": "technician", "name": "Ann", "email": "ann@example.com"},
    "bob": {"id": "b0b", "role": "user", "name": "Bob"},
    "gina": {"id": 123, "guest": True},
    "gus": {"id": 124, "guest": True},
}
"""Whose tokens there are. Ann's id is a number in her token, Bob's is text."""

LIFETIMES = {"token": 3600.0, "short token": 60.0, "old token": -3600.0}
THE_END = "the end of the scene"
NOTHING = "(nothing)"
HEAD = "<head>"


def tokens(now: float) -> dict[str, str]:
    return {
        f"{kind} of {name}": token(now=now, lifetime=lifetime, **person)  # type: ignore[arg-type]
        for kind, lifetime in LIFETIMES.items()
        for name, person in CAST.items()
    }


@dataclass
class Connection:
    """One client's connection: what has come is in `lines`, in order."""

    name: str
    ws: aiohttp.ClientWebSocketResponse | None = None
    writer: asyncio.StreamWriter | None = None
    lines: "asyncio.Queue[str]" = field(default_factory=asyncio.Queue)
    over: bool = False
    reader: "asyncio.Task[None] | None" = None

    async def read_socket(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        while not ws.closed:
            message = await ws.receive()
            if message.type is aiohttp.WSMsgType.TEXT:
                self.lines.put_nowait(message.data)
            elif message.type is aiohttp.WSMsgType.CLOSE:
                self.lines.put_nowait(f"close {message.data} {message.extra or ''}".strip())

    async def read_stream(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            self.lines.put_nowait(line.decode().rstrip("\r\n"))
        self.lines.put_nowait("end")

    async def next(self) -> str:
        try:
            return await asyncio.wait_for(self.lines.get(), PATIENCE)
        except TimeoutError:
            return NOTHING

    async def close(self) -> None:
        self.over = True
        if self.ws is not None:
            await self.ws.close()
        if self.writer is not None:
            self.writer.close()
        if self.reader is not None:
            self.reader.cancel()
            await asyncio.gather(self.reader, return_exceptions=True)


class Player:
    def __init__(self, scene: Scene, running: Running, clock: FakeClock) -> None:
        self._scene = scene
        self._running = running
        self._clock = clock
        words = tokens(clock()) | {"in a minute": timestamp(clock() + 60)}
        self._memory = Memory(words)
        self._answer: tuple[int, str] = (0, "")
        self._connections: dict[str, Connection] = {}
        self._opened: list[Connection] = []
        self._stopping: asyncio.Task[None] | None = None

    async def play(self) -> None:
        """Raises AssertionError with a diff at the first line that is not as it should be."""
        try:
            for number, step in self._scene.steps:
                await self._step(number, step)
            await self._end()
        finally:
            await asyncio.gather(*(connection.close() for connection in self._opened))
            if self._stopping is not None:
                await self._stopping

    async def _step(self, number: int, step: Step) -> None:
        if self._answer[0] >= 400 and not isinstance(step, Answer):
            raise AssertionError(self._differs(number - 1, "", f"{self._answer[0]} {self._answer[1]}"))
        match step:
            case Open():
                await self._open(step)
            case Say():
                await self._say(step)
            case Hear():
                await self._hear(number, step)
            case Call():
                await self._call(step)
            case Answer():
                self._check_answer(number, step)
            case Pause():
                self._clock.advance(step.seconds)
            case Stop():
                self._stopping = asyncio.create_task(self._running.server.close())

    # --- clients ---

    async def _open(self, step: Open) -> None:
        self._running.parts.fanout.flush()  # who comes now has not missed whoever came before
        connection = self._connections[step.who] = Connection(step.who or "the client")
        self._opened.append(connection)
        path = self._memory.filled(step.path)
        headers = {name: self._memory.filled(value) for name, value in step.headers.items()}
        if step.method == "WS":
            await self._open_socket(connection, path, headers)
        else:
            await self._open_stream(connection, f"{step.method} {path}", headers)

    async def _open_socket(self, connection: Connection, path: str, headers: dict[str, str]) -> None:
        try:
            connection.ws = ws = await self._running.http.ws_connect(
                self._running.url + path, headers=headers, autoclose=False
            )
        except aiohttp.WSServerHandshakeError as error:
            connection.lines.put_nowait(f"refused {error.status}")
        else:
            connection.reader = asyncio.create_task(connection.read_socket(ws))

    async def _open_stream(self, connection: Connection, request: str, headers: dict[str, str]) -> None:
        host, port = self._running.server.host, self._running.server.port
        reader, connection.writer = await asyncio.open_connection(host, port)
        lines = [f"{request} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers.items())]
        connection.writer.write("\r\n".join([*lines, "", ""]).encode())
        connection.reader = asyncio.create_task(connection.read_stream(reader))

    async def _say(self, step: Say) -> None:
        connection = self._connections[step.who]
        if step.text == "close":
            await connection.close()
        elif connection.ws is not None:
            await connection.ws.send_str(self._memory.filled(step.text))

    async def _hear(self, number: int, step: Hear) -> None:
        connection = self._connections[step.who]
        heard = await connection.next()
        if step.text == HEAD and heard.startswith("HTTP/1.1 200 "):
            while heard and heard != NOTHING:
                heard = await connection.next()
            return
        if not self._memory.matches(step.text, heard):
            raise AssertionError(self._differs(number, step.text, heard))
        if heard == "end" or heard.split(" ")[0] in ("close", "refused"):
            await connection.close()

    # --- the rest of the world ---

    async def _call(self, step: Call) -> None:
        given = step.body and wire.loads(self._memory.filled(step.body))
        path = self._memory.filled(step.path)
        credential = self._memory.filled(f"Bearer <token of {step.who}>") if step.who != "nobody" else ""
        headers = {"Authorization": credential} if credential else {}
        async with self._running.http.request(
            step.method, self._running.url + path, json=given, headers=headers
        ) as response:
            self._answer = response.status, await response.text()

    def _check_answer(self, number: int, step: Answer) -> None:
        status, body = self._answer
        if status != step.status or (step.body is not None and not self._memory.matches(step.body, body)):
            raise AssertionError(self._differs(number, f"{step.status} {step.body or ''}", f"{status} {body}"))
        self._answer = (0, "")

    async def _end(self) -> None:
        """Nothing else may have been sent. What counts in the background has two round trips for it."""
        still_open = [connection for connection in self._opened if not connection.over]
        parts = self._running.parts
        for _ in range(2 if still_open else 0):
            await self._running.call("GET", "/readyz")
        parts.fanout.flush()
        parts.services.broadcasting.custom(THE_END, None, Audience.all())
        for connection in still_open:
            await self._hear_the_end(connection)

    async def _hear_the_end(self, connection: Connection) -> None:
        heard = [await connection.next()]
        while THE_END not in heard[-1] and heard[-1] != NOTHING:
            heard.append(await connection.next())
        more = [line for line in heard[:-1] if line]  # between events of a stream
        if more or heard[-1] == NOTHING:
            raise AssertionError(f"{self._scene}: {connection.name} heard more than the transcript says: {heard}")

    def _differs(self, number: int, expected: str, heard: str) -> str:
        diff = "\n".join(line.rstrip("\n") for line in difflib.ndiff([expected], [heard]))
        return f"{self._scene}, line {number}: the transcript (-) and what was heard (+)\n{diff}"
