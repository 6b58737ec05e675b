"""The `wscat` program, typed into line by line."""

import json
import os
import selectors
import subprocess
import time
from typing import Any, Self

from tests.e2e.node import ANSWER_SECONDS, HERE, require_modules, require_program

PROGRAM = HERE / "node_modules" / ".bin" / "wscat"


class Wscat:
    """``wscat -c URL``. What the server says is read from its output."""

    def __init__(self, url: str) -> None:
        require_modules()
        self._process = subprocess.Popen(
            [require_program("node"), str(PROGRAM), "-c", url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin = self._process.stdin
        self._stdout = self._process.stdout
        self._ready = selectors.DefaultSelector()
        self._ready.register(self._stdout, selectors.EVENT_READ)
        self._rest = b""
        self.heard: list[Any] = []

    def type(self, line: str) -> None:
        """Type a line, as the documents show it: with the prompt that wscat prints itself."""
        self._stdin.write(line.removeprefix("> ").encode() + b"\n")
        self._stdin.flush()

    def hears(self, event: str, **fields: Any) -> Any:
        """Return the data of the first message with this event and these fields, waiting for it."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while (found := self._find(event, fields)) is None:
            assert self._ready.select(max(0.0, deadline - time.monotonic())), f"{event} not heard, but {self.heard}"
            chunk = os.read(self._stdout.fileno(), 1 << 16)
            assert chunk, f"wscat has ended; it heard {self.heard} and {self._rest!r}"
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            self.heard += [json.loads(line.lstrip(b"> ")) for line in lines]
        return found["data"]

    def _find(self, event: str, fields: dict[str, Any]) -> Any:
        return next(
            (
                frame
                for frame in self.heard
                if frame["event"] == event and all(frame["data"].get(name) == value for name, value in fields.items())
            ),
            None,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        """Press Ctrl+D."""
        self._stdin.close()
        self._process.wait(ANSWER_SECONDS)
        self._stdout.close()
        self._ready.close()
