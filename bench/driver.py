"""The load process (bench/load/load.mjs) as seen from Python: commands in, figures out."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from peers import HOST, BenchError, Server, stopping

LOAD = Path(__file__).resolve().parent / "load" / "load.mjs"
ROOM = "work_order_1"
COMMAND_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Load:
    process: subprocess.Popen[str]

    def ask(self, command: str, **options: Any) -> dict[str, Any]:
        """One command, one answer; the load itself ends a command that takes longer than COMMAND_SECONDS."""
        self.tell(command, **options)
        return self.answer()

    def tell(self, command: str, **options: Any) -> None:
        """Starts a command. Its answer has to be read before the next one."""
        stdin = self.process.stdin
        if stdin is None:
            raise BenchError("the load has no pipes")
        with contextlib.suppress(BrokenPipeError):  # answer() says so
            print(json.dumps({"command": command, "limit": COMMAND_SECONDS, **options}), file=stdin, flush=True)

    def ready(self, seconds: float) -> bool:
        """Waits for the answer of the running command, no longer than `seconds`."""
        return bool(select.select([self._answers()], [], [], seconds)[0])

    def _answers(self) -> IO[str]:
        if self.process.stdout is None:
            raise BenchError("the load has no pipes")
        return self.process.stdout

    def answer(self) -> dict[str, Any]:
        line = self._answers().readline()
        if not line:
            raise BenchError("the load process ended; is bench/load installed (make bench does it)?")
        answer: dict[str, Any] = json.loads(line)
        if not answer.pop("ok"):
            raise BenchError(f"load: {answer['error']}")
        return answer

    def connect(self, server: Server, count: int, *, first: int = 1, deflate: bool = False) -> dict[str, Any]:
        """Connects clients with tokens of their own, which join ROOM."""
        tokens = [server.token(str(number), role="technician") for number in range(first, first + count)]
        return self.ask("connect", url=server.url, tokens=tokens, room=ROOM, deflate=deflate)

    def read(self, server: Server, count: int) -> dict[str, Any]:
        """Connects bare TCP readers, for the floor."""
        return self.ask("read", host=HOST, port=server.port, count=count)


def publishing(server: Server) -> dict[str, str]:
    """What a broadcast command needs to know about where and as whom to publish."""
    return {"url": server.url, "token": server.token("publisher", role="service"), "room": ROOM}


@contextlib.contextmanager
def loading() -> Iterator[Load]:
    """A load process, on the cores of its parent."""
    process = subprocess.Popen(["node", str(LOAD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with stopping(process):
        yield Load(process)
