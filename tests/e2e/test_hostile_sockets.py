"""Raw connections that no honest client would make."""

import asyncio
import io
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tests.e2e.people import shop_user
from tests.e2e.process import Server

POLL = "/socket.io/?EIO=4&transport=polling"
UPGRADE = "/socket.io/?EIO=4&transport=websocket"
FOREIGN = "https://elsewhere.example"
ANSWER_SECONDS = 5.0
IDLE_SECONDS = 10.0
Frames = aiohttp.ClientWebSocketResponse


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield session


@asynccontextmanager
async def websocket(server: Server, http: aiohttp.ClientSession, **headers: str) -> AsyncIterator[Frames]:
    """A WebSocket on which Engine.IO has been opened, and nothing more."""
    async with http.ws_connect(server.url + UPGRADE, headers=headers) as frames:
        assert (await frames.receive_str(timeout=ANSWER_SECONDS)).startswith("0")
        yield frames


async def connect(frames: Frames, token: str) -> None:
    await frames.send_str("40" + json.dumps({"token": token}))
    assert (await frames.receive_str(timeout=ANSWER_SECONDS)).startswith("40")


async def ask(frames: Frames, id: int, event: Any) -> Any:
    """Send an event with an acknowledgement id and return what is acknowledged."""
    await frames.send_str(f"42{id}{json.dumps(event)}")
    while not (answer := await frames.receive_str(timeout=ANSWER_SECONDS)).startswith(f"43{id}["):
        assert not answer.startswith("41"), "disconnected"
    (acknowledged,) = json.loads(answer.removeprefix(f"43{id}"))
    return acknowledged


async def closes(frames: Frames, *, within: float = ANSWER_SECONDS) -> int | None:
    """Return the close code, once the server has closed."""
    async with asyncio.timeout(within):
        while (await frames.receive()).type not in (
            aiohttp.WSMsgType.CLOSE,
            aiohttp.WSMsgType.CLOSED,
            aiohttp.WSMsgType.CLOSING,
            aiohttp.WSMsgType.ERROR,
        ):
            pass
    return frames.close_code


async def test_client_that_never_connects_is_closed(server: Server, http: aiohttp.ClientSession) -> None:
    """Over both transports at once, because it takes ten seconds."""

    async def idle_websocket() -> None:
        async with websocket(server, http) as frames:
            await closes(frames, within=IDLE_SECONDS + ANSWER_SECONDS)

    async def idle_poll() -> str:
        async with http.get(server.url + POLL) as opened:
            sid = json.loads((await opened.text())[1:])["sid"]
        async with asyncio.timeout(IDLE_SECONDS + ANSWER_SECONDS), http.get(f"{server.url}{POLL}&sid={sid}") as poll:
            return await poll.text()

    began = asyncio.get_running_loop().time()
    _, polled = await asyncio.gather(idle_websocket(), idle_poll())
    assert polled == "1", "Engine.IO's CLOSE packet"
    assert asyncio.get_running_loop().time() - began > IDLE_SECONDS / 2


async def polled_answer(server: Server, http: aiohttp.ClientSession, headers: dict[str, str]) -> str:
    """Connect by polling without a token of one's own and return what the server says to it."""
    async with http.get(server.url + POLL, headers=headers) as opened:
        if opened.status != 200:
            return f"HTTP {opened.status}"
        sid = json.loads((await opened.text())[1:])["sid"]
    async with http.post(f"{server.url}{POLL}&sid={sid}", data="40", headers=headers) as posted:
        assert posted.status == 200
    async with http.get(f"{server.url}{POLL}&sid={sid}", headers=headers) as polled:
        return await polled.text()


async def test_cookie_counts_only_with_an_origin_that_is_allowed(server: Server, http: aiohttp.ClientSession) -> None:
    cookie = f"access_token={shop_user()[1]}"
    refused = await polled_answer(server, http, {"Cookie": cookie})
    assert refused.startswith("44")
    assert json.loads(refused[2:])["data"] == {"code": "FORBIDDEN"}
    assert await polled_answer(server, http, {"Cookie": cookie, "Origin": FOREIGN}) == "HTTP 403"
    assert (await polled_answer(server, http, {"Cookie": cookie, "Origin": server.url})).startswith("40")
    async with websocket(server, http, Cookie=cookie) as frames:
        await frames.send_str("40")
        assert (await frames.receive_str(timeout=ANSWER_SECONDS)).startswith("44")


@pytest.mark.parametrize("origin", [FOREIGN, "null", "http://127.0.0.1:1", "http://localhost"])
async def test_upgrade_from_a_foreign_page_is_refused(server: Server, http: aiohttp.ClientSession, origin: str) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await http.ws_connect(server.url + UPGRADE, headers={"Origin": origin})
    assert refused.value.status == 403


async def test_upgrade_without_a_key_is_refused(server: Server, http: aiohttp.ClientSession) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "websocket"}
    async with http.get(server.url + UPGRADE, headers=headers) as answer:
        assert answer.status == 400


async def test_client_that_is_gone_before_the_answer_is_no_failure(server: Server, http: aiohttp.ClientSession) -> None:
    """The search of the log at the end of the module would find a traceback."""
    request = (
        f"GET {UPGRADE} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    reset_at_close = struct.pack("ii", 1, 0)
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", server.port)) as gone:
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset_at_close)
            gone.sendall(request.encode())
    async with websocket(server, http) as frames:
        await connect(frames, shop_user()[1])


@pytest.mark.parametrize("frame", ['42["join_room","work_order_1"]', '421["heartbeat"]', '42/admin,["heartbeat"]'])
async def test_event_before_connect_reaches_nothing(server: Server, http: aiohttp.ClientSession, frame: str) -> None:
    async with websocket(server, http) as frames:
        await frames.send_str(frame)
        await frames.send_str(frame)
        await closes(frames)


BROKEN = ("", "4", "9", "42", "49", "4x", "42[]", "42{", '42{"0":"heartbeat"}', '42["heartbeat"', "\x00", "40{")
BROKEN_TOO = ("4599-[]", '44{"message":"x"}', '42abc["heartbeat"]', "43{}")


@pytest.mark.parametrize("frame", [*BROKEN, *BROKEN_TOO])
async def test_broken_frame_closes_only_its_connection(server: Server, http: aiohttp.ClientSession, frame: str) -> None:
    async with websocket(server, http) as bystander, websocket(server, http) as frames:
        for each in (bystander, frames):
            await connect(each, shop_user()[1])
        await frames.send_str(frame)
        await closes(frames)
        assert await ask(bystander, 1, ["heartbeat"]) == {"success": True}


@pytest.mark.parametrize("frame", ["42[7]", "43[]", "439[1]", "41/nowhere,", '42/nowhere,["heartbeat"]'])
async def test_meaningless_frame_does_nothing(server: Server, http: aiohttp.ClientSession, frame: str) -> None:
    user, token = shop_user()
    async with websocket(server, http) as frames:
        await connect(frames, token)
        await frames.send_str(frame)
        assert await ask(frames, 1, ["register"]) == {"success": True, "userId": user}


async def test_reserved_event_names_fire_no_handlers(server: Server, http: aiohttp.ClientSession) -> None:
    user, token = shop_user()
    async with websocket(server, http) as frames:
        await connect(frames, token)
        for id, name in enumerate(("disconnect", "connect", "connect_error", "disconnecting", "__disconnect_final"), 1):
            answer = await ask(frames, id, [name, "transport close"])
            assert (answer["success"], answer["code"]) == (False, "UNKNOWN_EVENT"), name
        assert await ask(frames, 9, ["register"]) == {"success": True, "userId": user}
        assert f'"user": "{user}", "reason"' not in server.log, "a disconnect handler has run"


async def test_unknown_namespace_is_refused(server: Server, http: aiohttp.ClientSession) -> None:
    async with websocket(server, http) as frames:
        await frames.send_str("40/nowhere,")
        assert json.loads((await frames.receive_str(timeout=ANSWER_SECONDS)).removeprefix("44/nowhere,")) == {
            "message": "Invalid namespace"
        }


async def test_frame_of_more_than_a_megabyte_closes(server: Server, http: aiohttp.ClientSession) -> None:
    async with websocket(server, http) as frames:
        await connect(frames, shop_user()[1])
        await frames.send_str('42["typing",{"text":"' + "x" * 1_000_001 + '"}]')
        assert await closes(frames) in (1009, 1000, 1006)


async def test_post_of_more_than_a_megabyte_is_refused(server: Server, http: aiohttp.ClientSession) -> None:
    async with http.get(server.url + POLL) as opened:
        sid = json.loads((await opened.text())[1:])["sid"]
    async with http.post(f"{server.url}{POLL}&sid={sid}", data=io.BytesIO(b"4" + b"x" * 1_100_000)) as posted:
        assert posted.status in (400, 413)


async def test_old_protocol_and_unknown_sessions_are_refused(server: Server, http: aiohttp.ClientSession) -> None:
    for path in ("/socket.io/?EIO=3&transport=polling", f"{POLL}&sid=nobody", "/socket.io/?EIO=4&transport=carrier"):
        async with http.get(server.url + path) as answer:
            assert answer.status == 400, path
