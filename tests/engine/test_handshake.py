"""Handshakes that come to nothing leave nothing."""

import asyncio
from typing import Any

import pytest

from realtime.engine import engineio
from realtime.engine.websocket import WebSocketConnection
from tests.engine.raw import POLLING, WEBSOCKET, websocket
from tests.support import Running, until

KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
VERSION = "Sec-WebSocket-Version: 13"
GOOD = ("Connection: Upgrade", "Upgrade: websocket", VERSION, KEY)


async def status_of(running: Running, *headers: str, path: str = WEBSOCKET) -> int:
    """Return the status of a GET with exactly these headers; 0 when the connection ends without an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
    writer.write("\r\n".join([f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *headers, "", ""]).encode())
    line = await reader.readline()
    status = int(line.split()[1]) if line else 0
    writer.close()
    await writer.wait_closed()
    return status


def assert_nothing_is_left(running: Running) -> None:
    server = running.parts.server
    assert server.eio.sockets == {}
    assert len(running.parts.channel) == 0


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(("Connection: Upgrade", "Upgrade: websocket", VERSION), id="no key"),
        pytest.param(("Upgrade: websocket", VERSION, KEY), id="no connection header"),
        pytest.param(("Connection: keep-alive", "Upgrade: websocket", VERSION, KEY), id="no upgrade asked for"),
        pytest.param(("Connection: Upgrade", VERSION, KEY), id="no protocol"),
        pytest.param(("Connection: Upgrade", "Upgrade: websocket", KEY), id="no version"),
        pytest.param(("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 5", KEY), id="old version"),
        pytest.param(
            ("Connection: Upgrade", "Upgrade: websocket", VERSION, "Sec-WebSocket-Key: short"), id="a key that is none"
        ),
    ],
)
async def test_a_failed_websocket_handshake_leaves_nothing(running: Running, headers: tuple[str, ...]) -> None:
    assert await status_of(running, *headers) == 400
    assert_nothing_is_left(running)


async def test_a_good_handshake_is_answered(running: Running) -> None:
    assert await status_of(running, *GOOD) == 101
    await until(lambda: not running.parts.server.eio.sockets, what="the end of the socket")


async def test_a_connection_header_may_say_more_than_upgrade(running: Running) -> None:
    assert await status_of(running, "Connection: keep-alive, Upgrade", *GOOD[1:]) == 101


@pytest.mark.parametrize("where", [(engineio, "detach"), (WebSocketConnection, "attach")])
async def test_a_handshake_that_breaks_later_leaves_nothing(
    running: Running, monkeypatch: pytest.MonkeyPatch, where: tuple[Any, str]
) -> None:
    def broken(*_: Any) -> None:
        raise ConnectionResetError

    with monkeypatch.context() as patched:
        patched.setattr(*where, broken)
        await status_of(running, *GOOD)
        await until(lambda: not running.parts.server.eio.sockets, what="the end of the socket")
    assert_nothing_is_left(running)
    async with websocket(running):
        assert len(running.parts.server.eio.sockets) == 1


async def test_a_failed_upgrade_leaves_the_polling_session_as_it_was(running: Running) -> None:
    client = await running.connect(5, transports=["polling"])
    path = f"{POLLING.replace('polling', 'websocket')}&sid={client.sio.eio.sid}"
    assert await status_of(running, *GOOD[:3], path=path) == 400
    assert (await client.ask("register"))["userId"] == 5
