"""Plain WebSocket clients: the `ws` package in Node."""

import base64
from dataclasses import dataclass
from typing import Any, Self

from tests.e2e.node import Heard, Script


@dataclass(frozen=True)
class PlainSocket(Heard):
    """One WebSocket. An event is what its messages have under `event` or `type`, its argument what is under `data`."""

    def opened(self) -> Self:
        self.hears("$open")
        return self

    def send(self, message: object) -> None:
        """Send text as it is, anything else as JSON."""
        self.script.call("send", name=self.name, message=message)

    def send_bytes(self, data: bytes) -> None:
        self.script.call("sendBytes", name=self.name, base64=base64.b64encode(data).decode())

    def ping(self, data: str) -> None:
        self.script.call("ping", name=self.name, data=data)

    def ask(self, event: str, data: object = None) -> Any:
        """Send an event with an id and return the answer to it."""
        return self.script.call("ask", name=self.name, event=event, data=data)

    def settle(self) -> None:
        """Return when all that the server sent before now has been heard: answers come in order."""
        assert self.ask("heartbeat")["success"]

    def names(self) -> list[str]:
        """Return the names of all messages heard until now, in order."""
        return [name for name, _ in self.everything() if not name.startswith("$")]

    def closed(self, *, seconds: float = 10.0) -> tuple[int, str]:
        """Return (close code, reason), waiting for the end."""
        end = self.hears("$close", seconds=seconds)
        return end["code"], end["reason"]

    def pause(self) -> None:
        """Read nothing any more, not even pings."""
        self.script.call("pause", name=self.name)

    def vanish(self) -> None:
        """Be gone without a word, as a phone in a tunnel."""
        self.script.call("vanish", name=self.name)

    def close(self, code: int = 1000, reason: str = "") -> None:
        self.script.call("close", name=self.name, code=code, reason=reason)


class PlainClients(Script):
    """The driver of `ws`."""

    def __init__(self) -> None:
        super().__init__("plain.mjs")
        self._named = 0

    def open(self, url: str, **options: Any) -> PlainSocket:
        """Begin to connect as ``new WebSocket(url, options)`` does; an http URL is taken for its ws URL."""
        self._named += 1
        socket = PlainSocket(self, f"socket {self._named}")
        self.call("open", name=socket.name, url=url.replace("http", "ws", 1), options=options)
        return socket
