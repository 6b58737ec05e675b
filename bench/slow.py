"""A client that completes its handshake, joins a room and never reads again."""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from driver import ROOM
from peers import HOST, BenchError, Server

HANDSHAKE_SECONDS = 10.0
ESTABLISHED = "01"


class SlowReader:
    """A raw WebSocket client, so that nothing reads behind our back."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._socket = socket.create_connection((HOST, server.port), timeout=HANDSHAKE_SECONDS)

    def close(self) -> None:
        self._socket.close()

    def join(self) -> None:
        """Handshake, connect and join, reading every answer; from here on nothing is read."""
        self._socket.sendall(self._upgrade())
        self._wait_for(b"\r\n\r\n")
        self._send("40" + json.dumps({"token": self._server.token("slow", role="technician")}))
        self._wait_for(b'40{"sid"')
        self._send(f"421{json.dumps(['join_room', ROOM])}")
        self._wait_for(b"431[")

    def connected(self) -> bool:
        """Whether the server still holds its end: a client that does not read is not told."""
        mine = (self._socket.getsockname()[1], self._server.port)
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            local, remote, state = line.split()[1:4]
            if (_port(remote), _port(local)) == mine:
                return state == ESTABLISHED
        return False

    def _upgrade(self) -> bytes:
        lines = [
            "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1",
            f"Host: {HOST}:{self._server.port}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {base64.b64encode(secrets.token_bytes(16)).decode()}",
        ]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def _send(self, text: str) -> None:
        """One masked text frame; a mask of zeros leaves the text as it is."""
        data = text.encode()
        head = bytes([0x81, 0x80 | len(data)]) if len(data) < 126 else struct.pack("!BBH", 0x81, 0x80 | 126, len(data))
        self._socket.sendall(head + bytes(4) + data)

    def _wait_for(self, mark: bytes) -> None:
        deadline = time.monotonic() + HANDSHAKE_SECONDS
        seen = b""
        while mark not in seen:
            part = self._socket.recv(4096) if time.monotonic() < deadline else b""
            if not part:
                raise BenchError(f"the slow reader's handshake failed: {seen[-200:]!r}")
            seen += part


def _port(address: str) -> int:
    return int(address.partition(":")[2], 16)


@contextlib.contextmanager
def slow_reader(server: Server) -> Iterator[SlowReader]:
    reader = SlowReader(server)
    try:
        reader.join()
        yield reader
    except OSError as error:
        raise BenchError(f"the slow reader failed: {error}") from error
    finally:
        reader.close()
