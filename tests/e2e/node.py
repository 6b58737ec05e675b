"""Node processes that Python tests drive: one JSON line asks, one answers."""

import json
import os
import selectors
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest

HERE = Path(__file__).parent
MODULES = ("playwright-core", "socket.io-client", "ws", "wscat")
ANSWER_SECONDS = 60.0
"""Longer than any deadline inside the scripts, which say what they waited for."""


def skip(reason: str) -> None:
    """Skip the test, with a reason; where CI is set, nothing may be missing."""
    if os.environ.get("CI", "").lower() in ("", "0", "false"):
        pytest.skip(reason)
    pytest.fail(f"{reason} (CI is set, so nothing is skipped)")


def require_program(name: str) -> str:
    """Return the path of a program, or skip."""
    path = shutil.which(name)
    if path is None:
        skip(f"{name} is not installed")
    return str(path)


def require_modules() -> None:
    if not all((HERE / "node_modules" / name).is_dir() for name in MODULES):
        skip("the Node modules are not installed: run `npm ci` in tests/e2e")


class ScriptError(AssertionError):
    """A command failed in the script; the message is the script's."""


class Script:
    """One Node process that answers commands."""

    def __init__(self, file: str, **settings: str) -> None:
        node = require_program("node")
        require_modules()
        self._process = subprocess.Popen(
            [node, str(HERE / file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=HERE,
            env={**os.environ, **settings},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin = self._process.stdin
        self._stdout = self._process.stdout
        self._ready = selectors.DefaultSelector()
        self._ready.register(self._stdout, selectors.EVENT_READ)
        self._buffer = b""
        self._asked = 0

    def call(self, do: str, **fields: Any) -> Any:
        """Return the answer of one command. Raises ScriptError."""
        self._asked += 1
        self._stdin.write(json.dumps({"id": self._asked, "do": do, **fields}).encode() + b"\n")
        self._stdin.flush()
        answer = json.loads(self._line(do))
        assert answer["id"] == self._asked
        if "error" in answer:
            raise ScriptError(answer["error"])
        return answer["value"]

    def _line(self, do: str) -> bytes:
        deadline = time.monotonic() + ANSWER_SECONDS
        while b"\n" not in self._buffer:
            if not self._ready.select(max(0.0, deadline - time.monotonic())):
                raise ScriptError(f"no answer to {do} in {ANSWER_SECONDS:g} s")
            chunk = os.read(self._stdout.fileno(), 1 << 16)
            if not chunk:
                raise ScriptError(f"the script ended with {self._process.wait()} at {do}")
            self._buffer += chunk
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        """Close its input, at which it disconnects everything and ends."""
        self._stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stdout.close()
        self._ready.close()


@dataclass(frozen=True)
class Heard:
    """What one client in a script has heard."""

    script: Script
    name: str

    def hears(self, event: str, *, count: int = 1, seconds: float = 10.0, **fields: Any) -> Any:
        """Return the first argument of the `count`-th such event with these fields, waiting for it."""
        return self.script.call(
            "hears", name=self.name, event=event, count=count, fields=fields, ms=round(seconds * 1000)
        )

    def shows(self, event: str, **fields: Any) -> None:
        """Return when the latest such event has these fields."""
        self.script.call("shows", name=self.name, event=event, fields=fields)

    def heard(self, event: str) -> list[Any]:
        """Return the first arguments of all such events heard until now."""
        return [args[0] if args else None for name, args in self.everything() if name == event]

    def everything(self) -> list[tuple[str, list[Any]]]:
        """Return (event, arguments) of all that was heard until now, in order."""
        return [(one["event"], one["args"]) for one in self.script.call("heard", name=self.name)]


@dataclass(frozen=True)
class Socket(Heard):
    """One socket.io-client socket in the driver."""

    def connected(self, *, count: int = 1, seconds: float = 10.0) -> Self:
        """Return when it has connected that many times."""
        self.hears("$connect", count=count, seconds=seconds)
        return self

    def ask(self, event: str, *args: Any) -> Any:
        """Emit with an acknowledgement and return it."""
        return self.script.call("ask", name=self.name, event=event, args=args)

    def ask_all(self, event: str, *calls: Any) -> list[Any]:
        """Emit once with each of these arguments, all at once, and return the acknowledgements."""
        answers: list[Any] = self.script.call("askAll", name=self.name, event=event, calls=[[call] for call in calls])
        return answers

    def emit(self, event: str, *args: Any) -> None:
        self.script.call("emit", name=self.name, event=event, args=args)

    def settle(self) -> None:
        """Return when all that the server sent before now has been heard: acknowledgements come in order."""
        assert self.ask("heartbeat")["success"]

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = self.script.call("state", name=self.name)
        return state

    def disconnect(self) -> None:
        self.script.call("disconnect", name=self.name)

    def vanish(self) -> None:
        """Lose the connection without a word. The client comes back by itself."""
        self.script.call("vanish", name=self.name)


class Clients(Script):
    """The driver of socket.io-client."""

    def __init__(self) -> None:
        super().__init__("driver.mjs")
        self._named = 0

    def open(self, url: str, **options: Any) -> Socket:
        """Begin to connect as ``io(url, options)`` does."""
        self._named += 1
        socket = Socket(self, f"socket {self._named}")
        self.call("open", name=socket.name, url=url, options=options)
        return socket

    def connect(self, url: str, token: str, **options: Any) -> Socket:
        """Connect as ``io(url, {auth: {token}})`` does, and return the connected socket."""
        return self.open(url, auth={"token": token}, **options).connected()
