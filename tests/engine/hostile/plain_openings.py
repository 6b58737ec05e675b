"""Rows: how a plain WebSocket is opened, up to the moment when it is known who is there."""

import asyncio
import ipaddress
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from realtime.auth import Identity
from tests.engine.hostile.table import FAREWELL, HEADERS, OPENING, Group
from tests.engine.hostile.wire import CLOSE, FOREIGN, KEY, TEXT, UPGRADE, Over, PlainSocket, Wire, dripping, frame
from tests.engine.hostile.world import GUESTS, World, hang_up
from tests.support import token, until

OPENINGS = Group("Opening a plain WebSocket")
PLAIN_PATHS = ("/notifications", "/dashboard", "/ws", GUESTS)
SOMEWHERE = "X-Forwarded-For: 203.0.113.9\r\n"
PROXIED: dict[str, Any] = {"trusted_proxies": (ipaddress.ip_network("127.0.0.1/32"),)}
COOKIE = "Cookie: access_token={}\r\n"


async def everywhere(world: World, head: str, method: str = "GET") -> str:
    """Return what a handshake gets, which is the same on every path."""
    found = {await world.refusal(method, world.place(path), head) for path in PLAIN_PATHS}
    return " ".join(found)


def handshake(name: str, head: str, method: str = "GET") -> None:
    @OPENINGS.row(name)
    async def _(world: World) -> str:
        return await everywhere(world, head, method)


handshake("a handshake without a key", UPGRADE.replace(KEY, ""))
handshake("a key that is not 16 bytes in base64", UPGRADE.replace("dGhlIHNh", "dGhl"))
handshake("another WebSocket version than 13", UPGRADE.replace("13", "12"))
handshake("a handshake without `Connection: Upgrade`", UPGRADE.replace("Connection: Upgrade\r\n", ""))
handshake("a handshake by POST", UPGRADE, method="POST")
handshake("a handshake from a foreign `Origin`", UPGRADE + FOREIGN)
handshake("a handshake from the `Origin` null", UPGRADE + "Origin: null\r\n")


@OPENINGS.row("a GET without an upgrade")
async def _(world: World) -> str:
    found = {await world.refusal("GET", world.place(path)) for path in PLAIN_PATHS[1:]}
    assert await world.refusal("GET", world.place("/notifications")) == "401", "the list takes no token in the query"
    return " ".join(found)


@OPENINGS.row("an upgrade to something else than WebSocket")
async def _(world: World) -> str:
    found = {await world.refusal("GET", path, UPGRADE.replace("websocket", "h2c")) for path in PLAIN_PATHS[1:]}
    return " ".join(found)


@OPENINGS.row("a handshake over HTTP/1.0")
async def _(world: World) -> str:
    wire = await world.wire()
    await wire.request("GET", world.place("/dashboard"), UPGRADE, version="1.0")
    return await wire.status()


@OPENINGS.row("a handshake with a body")
async def _(world: World) -> str:
    wire = await world.dial(PlainSocket)
    await wire.request("GET", world.place("/dashboard"), UPGRADE, "a body")
    assert await wire.status() == "101"
    return await wire.goes_on()


@OPENINGS.row("half of a handshake", HEADERS)
async def _(world: World) -> str:
    wire = await world.wire()
    await wire.send(f"GET {world.place('/ws')} HTTP/1.1\r\nHost: localhost\r\nUpgrade: webs")
    return await wire.end()


@OPENINGS.row("a handshake that comes byte by byte", HEADERS)
async def _(world: World) -> str:
    wire = await world.wire()
    await wire.send(f"GET {world.place('/ws')} HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
    async with dripping(wire):
        return await wire.end()


# --- who may come in ---


def stranger(name: str, path: str, query: str, head: str = "") -> None:
    """A row about somebody who is let into the WebSocket, but not to the people."""

    @OPENINGS.row(name)
    async def _(world: World) -> str:
        now = world.clock()
        tokens = {
            "user": token(5, now=now),
            "guest": token(5, guest=True, now=now),
            "ended": token(5, now=now, lifetime=-60),
        }
        wire = await world.upgraded(Wire, path + query.format(**tokens), head.format(**tokens))
        return await wire.over()


stranger("no token", "/notifications", "")
stranger("a token that is none", "/ws", "?token=wrong")
stranger("a token that has ended", "/dashboard", "?token={ended}")
stranger("somebody else's `userId`", "/notifications", "?token={user}&userId=6")
stranger("a guest on `/ws`", "/ws", "?token={guest}")
stranger("a cookie without an `Origin`", "/dashboard", "", COOKIE.format("{user}"))
stranger(
    "a cookie and `Sec-Fetch-Site: same-origin`", "/ws", "", COOKIE.format("{user}") + "Sec-Fetch-Site: same-origin\r\n"
)


@OPENINGS.row("a cookie from a strange page")
async def _(world: World) -> str:
    cookie = COOKIE.format(world.token())
    assert await world.refusal("GET", GUESTS, UPGRADE + cookie + FOREIGN) == "403"
    return await world.refusal("GET", "/ws", UPGRADE + cookie + FOREIGN)


@OPENINGS.row("too many plain sockets from one address", handshakes_per_minute_per_ip=2, **PROXIED)
async def _(world: World) -> str:
    for path in PLAIN_PATHS[:2]:
        (await world.upgraded(Wire, world.place(path), SOMEWHERE)).drop()
    return await world.refusal("GET", world.place("/ws"), UPGRADE + SOMEWHERE)


@OPENINGS.row("too many refused tokens from one address", failed_logins_per_minute_per_ip=2, **PROXIED)
async def _(world: World) -> str:
    for path in PLAIN_PATHS[:2]:
        assert await (await world.upgraded(Wire, f"{path}?token=wrong", SOMEWHERE)).over() == "1008"
    return await (await world.upgraded(Wire, world.place("/ws"), SOMEWHERE)).over()


@OPENINGS.row("more connections than an address may have", connections_per_ip=2, **PROXIED)
async def _(world: World) -> str:
    first, second = [await world.plain(path, SOMEWHERE) for path in ("/dashboard", "/ws")]
    refused = {await (await world.upgraded(Wire, world.place(path), SOMEWHERE)).over() for path in PLAIN_PATHS}
    await second.goes_on()
    first.drop()
    await until(lambda: world.others() == 1, what="the end of one connection")
    await (await world.plain("/notifications", SOMEWHERE)).goes_on()
    return f"{' '.join(refused)}, the others go on"


@OPENINGS.row("a sixth connection of one user to `/dashboard` or `/ws`")
async def _(world: World) -> str:
    refused = set()
    for path in ("/dashboard", "/ws"):
        mine = [await world.plain(path) for _ in range(5)]
        refused |= {await (await world.upgraded(Wire, world.place(path))).over() for _ in range(3)}
        for wire in mine:
            await wire.goes_on()
        mine[0].drop()
        await until(lambda: world.others() % 5 == 4, what="the end of one connection")
        await (await world.plain(path)).goes_on()
    return f"{' '.join(refused)}, the others go on"


@OPENINGS.row("more connections than `/dashboard` or `/ws` may have", max_connections_per_namespace=2)
async def _(world: World) -> str:
    first, second = [await world.plain("/ws", id=id) for id in (5, 6)]
    refused = await (await world.upgraded(Wire, world.place("/ws", id=7))).over()
    await first.goes_on()
    await second.goes_on()
    return f"{refused}, the others go on"


@OPENINGS.row("connections without end, each in place of an older one", connection_limit_policy="evict")
async def _(world: World) -> str:
    wires = [await world.plain("/dashboard") for _ in range(40)]
    ends = {await wire.over() for wire in wires[:35]}
    for wire in wires[35:]:
        await wire.goes_on()
    return f"{' '.join(ends)}, the last five go on"


# --- while it is not known yet ---


class Door:
    """Where everybody waits whose token is good, until they are let in."""

    def __init__(self) -> None:
        self.waiting = 0
        self.let_in = asyncio.Event()

    async def knocked(self, count: int) -> None:
        """Return when so many have come."""
        await until(lambda: self.waiting >= count, what=f"{count} at the door")


@asynccontextmanager
async def slow_door(world: World) -> AsyncIterator[Door]:
    door, directory = Door(), world.running.parts.services.directory
    see = directory.see_connecting

    async def wait(identity: Identity) -> None:
        door.waiting += 1
        await door.let_in.wait()
        await see(identity)

    with world.patch.context() as patch:
        patch.setattr(directory, "see_connecting", wait)
        yield door
        door.let_in.set()


def event(name: str, id: int) -> bytes:
    return frame(TEXT, json.dumps({"event": name, "id": id}).encode())


@OPENINGS.row("events before the token was looked at")
async def _(world: World) -> str:
    async with slow_door(world) as door:
        wire = await world.upgraded(PlainSocket, world.place("/dashboard"))
        await wire.send(b"".join(event("heartbeat", n) for n in range(1, 5001)))
        await door.knocked(1)
        door.let_in.set()
        assert json.loads(await wire.hears())["event"] == "connected"
        heard: list[int] = []
        while len(heard) < 5000:
            heard += filter(None, [json.loads(await wire.hears()).get("id")])
        assert heard == list(range(1, 5001))
    return await wire.goes_on()


@OPENINGS.row("events behind a token that is refused")
async def _(world: World) -> str:
    wire = await world.wire()
    await wire.request("GET", "/ws?token=wrong", UPGRADE)
    await wire.send(event("GET_ONLINE_USERS", 1) * 1000)
    assert await wire.status() == "101"
    with pytest.raises(Over) as over:
        await wire.next()
    return str(over.value)


@OPENINGS.row("a frame without a mask before the token was looked at")
async def _(world: World) -> str:
    async with slow_door(world):
        wire = await world.upgraded(PlainSocket, world.place("/ws"))
        await wire.frame(TEXT, b"{}", masked=False)
        return await wire.over()


@OPENINGS.row("a Close frame before the token was looked at")
async def _(world: World) -> str:
    async with slow_door(world) as door:
        wire = await world.upgraded(PlainSocket, world.place("/ws"))
        await door.knocked(1)
        await wire.frame(CLOSE, (1001).to_bytes(2, "big"))
        return await wire.over()


@OPENINGS.row("an answer about a token that takes too long", OPENING)
async def _(world: World) -> str:
    async with slow_door(world):
        found = {await (await world.upgraded(Wire, world.place(path))).over() for path in PLAIN_PATHS}
    return " ".join(found)


@OPENINGS.row("connections that are cut in the middle of opening")
async def _(world: World) -> str:
    async with slow_door(world) as door:
        for n, path in enumerate(PLAIN_PATHS * 3):
            deaf = await world.deaf(f"GET {world.place(path)} HTTP/1.1\r\nHost: localhost\r\n{UPGRADE}\r\n".encode())
            await door.knocked(n + 1)
            hang_up(deaf, reset=n % 3 > 0)
        ended = world.running.parts.connections.plain.sockets.values()
        await until(lambda: sum(s.ending for s in list(ended)) == 12, what="the end of every connection")
    return "nothing"


@OPENINGS.row("connections that are reset before they are answered")
async def _(world: World) -> str:
    for path in PLAIN_PATHS * 5:
        request = f"GET {world.place(path)} HTTP/1.1\r\nHost: localhost\r\n{UPGRADE}\r\n".encode()
        deaf = await world.deaf(request + event("heartbeat", 1))
        hang_up(deaf)
    return "nothing"


@OPENINGS.row("somebody refused who never answers Close", FAREWELL)
async def _(world: World) -> str:
    wire = await world.upgraded(Wire, "/ws")
    return f"{await wire.over()}, then {await wire.end()}"
