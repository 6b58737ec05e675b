"""Rows: HTTP before there is a connection, and the handshake of WebSockets."""

import ipaddress
import json

from tests.engine.hostile.table import ANSWER, BODY, HEADERS, POST, SILENCE, Group
from tests.engine.hostile.wire import FOREIGN, KEY, UPGRADE, SocketIO, dripping
from tests.engine.hostile.world import POLLING, WEBSOCKET, World
from tests.support import until

REQUESTS = Group("HTTP before a connection")
HANDSHAKES = Group("WebSocket handshake")
LONG_HEADER = f"X: {'x' * 9000}\r\n"
MANY_HEADERS = "X: x\r\n" * 500


@REQUESTS.row("a connection on which nothing is sent", SILENCE)
async def _(world: World) -> str:
    return await (await world.wire()).end()


@REQUESTS.row("headers that come byte by byte", HEADERS)
async def _(world: World) -> str:
    wire = await world.wire()
    await wire.send("GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
    async with dripping(wire):
        return await wire.end()


@REQUESTS.row("half of a request", HEADERS)
async def _(world: World) -> str:
    wire = await world.wire()
    await wire.send("GET / HTTP/1.1\r\nHo")
    return await wire.end()


@REQUESTS.row("half of a second request", HEADERS)
async def _(world: World) -> str:
    wire = await world.wire()
    answered = await wire.refusal("GET", "/healthz")
    await wire.send("GET / HTTP/1.1\r\nHo")
    return f"{answered}, then {await wire.end()}"


@REQUESTS.row("a POST to `/socket.io/` whose body comes byte by byte", POST)
async def _(world: World) -> str:
    poller, wire = await world.polling(), await world.wire()
    await wire.request("POST", poller.path, "Content-Length: 1000\r\n")
    async with dripping(wire):
        return f"{await wire.status()}, then {await wire.end()}"


@REQUESTS.row("a chunked POST to `/socket.io/` that comes byte by byte", POST)
async def _(world: World) -> str:
    poller, wire = await world.polling(), await world.wire()
    await wire.request("POST", poller.path, "Transfer-Encoding: chunked\r\n")
    await wire.send("3e8\r\n")
    async with dripping(wire):
        return f"{await wire.status()}, then {await wire.end()}"


@REQUESTS.row("a POST to `/api/` whose body comes byte by byte", BODY)
async def _(world: World) -> str:
    wire = await world.wire()
    await wire.request("POST", "/api/publish", "Content-Length: 1000\r\n")
    async with dripping(wire):
        return f"{await wire.status()}, then {await wire.end()}"


@REQUESTS.row("a POST of 1.1 MB to `/api/`")
async def _(world: World) -> str:
    return await world.refusal("POST", "/api/publish", body=b" " * 1_100_000)


@REQUESTS.row("no HTTP at all")
async def _(world: World) -> str:
    wire = await world.wire()
    await wire.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n")
    return f"{await wire.status()}, then {await wire.end()}"


@REQUESTS.row("garbage behind a request")
async def _(world: World) -> str:
    wire = await world.wire()
    answered = await wire.refusal("GET", "/healthz")
    await wire.send("GARBAGE\r\n\r\n")
    return f"{answered}, {await wire.status()}, then {await wire.end()}"


@REQUESTS.row("a header of 9 KB")
async def _(world: World) -> str:
    wire = await world.wire()
    return f"{await wire.refusal('GET', '/', LONG_HEADER)}, then {await wire.end()}"


@REQUESTS.row("500 headers")
async def _(world: World) -> str:
    wire = await world.wire()
    return f"{await wire.refusal('GET', '/', MANY_HEADERS)}, then {await wire.end()}"


@REQUESTS.row("two lengths that contradict each other")
async def _(world: World) -> str:
    wire = await world.wire()
    head = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"
    return f"{await wire.refusal('POST', '/api/publish', head)}, then {await wire.end()}"


@REQUESTS.row("answers that nobody reads", ANSWER)
async def _(world: World) -> str:
    server = world.running.server.handler
    before = server.requests_count
    await world.deaf(b"GET /socket.io/socket.io.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 300)
    await until(lambda: server.requests_count > before, what="the first request")
    await until(lambda: world.busy()["requests"] == 0, what="the end of the connection")
    return "closed"


@REQUESTS.row(
    "too many sessions from one address",
    handshakes_per_minute_per_ip=2,
    trusted_proxies=(ipaddress.ip_network("127.0.0.1/32"),),
)
async def _(world: World) -> str:
    address = "X-Forwarded-For: 203.0.113.9\r\n"
    for _ in range(2):
        poller = await world.wire()
        await poller.request("GET", POLLING, address)
        opened = json.loads((await poller.answer())[1][1:])
        assert await world.refusal("POST", f"{POLLING}&sid={opened['sid']}", body="1") == "200"
    return await world.refusal("GET", POLLING, address)


@REQUESTS.row("another method than GET and POST")
async def _(world: World) -> str:
    return await world.refusal("PUT", POLLING)


@REQUESTS.row("an unknown transport")
async def _(world: World) -> str:
    return await world.refusal("GET", POLLING.replace("polling", "carrier"))


@REQUESTS.row("another protocol version than `EIO=4`")
async def _(world: World) -> str:
    return await world.refusal("GET", POLLING.replace("4", "3"))


@REQUESTS.row("an unknown `sid`")
async def _(world: World) -> str:
    return await world.refusal("GET", POLLING + "&sid=nobody")


@REQUESTS.row("a foreign `Origin`")
async def _(world: World) -> str:
    return await world.refusal("GET", POLLING, FOREIGN)


# --- the WebSocket handshake ---


def handshake(name: str, head: str, *, method: str = "GET", path: str = WEBSOCKET) -> None:
    @HANDSHAKES.row(name)
    async def _(world: World) -> str:
        return await world.refusal(method, path, head)


handshake("a handshake without a key", UPGRADE.replace(KEY, ""))
handshake("a key that is not 16 bytes in base64", UPGRADE.replace("dGhlIHNh", "dGhl"))
handshake("another WebSocket version than 13", UPGRADE.replace("13", "12"))
handshake("a handshake without `Connection: Upgrade`", UPGRADE.replace("Connection: Upgrade\r\n", ""))
handshake("a handshake by POST", UPGRADE, method="POST")
handshake("a handshake from a foreign `Origin`", UPGRADE + FOREIGN)
handshake("a handshake for `transport=polling`", UPGRADE, path=POLLING)
handshake("a handshake for an unknown `sid`", UPGRADE, path=WEBSOCKET + "&sid=nobody")


@HANDSHAKES.row("a handshake with a body")
async def _(world: World) -> str:
    wire = await world.dial(SocketIO)
    await wire.request("GET", WEBSOCKET, UPGRADE, "a body")
    assert await wire.status() == "101"
    await wire.say("40" + json.dumps({"token": world.token()}))
    return await wire.goes_on()
