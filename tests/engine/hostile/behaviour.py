"""Rows: clients whose every packet is right."""

import asyncio
import json

from realtime.engine.outflow import Outflow
from tests.engine.hostile import letters
from tests.engine.hostile.table import Group
from tests.engine.hostile.wire import CLOSED, TEXT, UPGRADE, flooding, frame
from tests.engine.hostile.world import WEBSOCKET, World, hang_up
from tests.support import until

BEHAVIOUR = Group("Behaviour")


def engine_outflow(world: World) -> Outflow:
    ws = world.session().ws
    assert ws is not None
    return ws


@BEHAVIOUR.row("a flood of small events")
async def _(world: World) -> str:
    wire = await world.connected()
    await wire.say(*(f'42{id}["typing",{{}}]' for id in range(5000)))
    codes = [(await wire.acknowledged(id)).get("code") for id in range(5000)]
    assert codes.index("RATE_LIMIT_EXCEEDED") == 200
    await wire.goes_on()
    return f"ack {codes[-1]}"


@BEHAVIOUR.row("a client that reads nothing", stall=True)
async def _(world: World) -> str:
    await world.deaf_socket()
    await world.fill(engine_outflow(world))
    return CLOSED


@BEHAVIOUR.row("a client that reads nothing and answers pings", stall=True, ping_interval=0.1)
async def _(world: World) -> str:
    deaf = await world.deaf_socket()
    async with flooding(deaf, frame(TEXT, b"3")):
        await world.fill(engine_outflow(world))
    return CLOSED


@BEHAVIOUR.row("a client that never answers pings", ping_interval=0.1, ping_timeout=0.1)
async def _(world: World) -> str:
    return await (await world.connected()).over()


@BEHAVIOUR.row("a polling client that never answers pings", ping_interval=0.1, ping_timeout=0.1)
async def _(world: World) -> str:
    poller = await world.polling()
    eio = world.running.parts.server.eio
    await until(lambda: poller.sid not in eio.sockets, what="the end of the session")
    return f"{await world.refusal('GET', poller.path)}, session over"


@BEHAVIOUR.row("clients that connect and reset")
async def _(world: World) -> str:
    request = f"GET {WEBSOCKET} HTTP/1.1\r\nHost: localhost\r\n{UPGRADE}\r\n".encode()
    connect = frame(TEXT, ("40" + json.dumps({"token": world.token()})).encode())
    gone = (await world.polling()).path
    posts = [
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n4" for path in ("/api/publish", gone)
    ]
    for data in (b"", request[:20], request, request + connect[:9], request + connect, *map(str.encode, posts)) * 4:
        deaf = await world.deaf(data)
        hang_up(deaf)
    return "nothing"


@BEHAVIOUR.row("thousands of rooms")
async def _(world: World) -> str:
    wire = await world.connected(role="admin")
    codes = []
    for number in range(60):
        world.clock.advance(1.0)
        rooms = [f"work_order_{number}_{n}" for n in range(10)]
        codes.append((await wire.ask(number, "join_room", rooms)).get("code"))
    assert set(codes[:49]) == {None}
    assert set(codes[50:]) == {"ROOM_LIMIT"}
    await wire.goes_on()
    return "ack ROOM_LIMIT"


@BEHAVIOUR.row("a client of `/ws` that is cut while it is told what waited")
async def _(world: World) -> str:
    await letters.write(world)
    world.narrow()
    connect = frame(TEXT, ("40/ws," + json.dumps({"token": world.token()})).encode())
    deaf = await world.deaf(f"GET {WEBSOCKET} HTTP/1.1\r\nHost: localhost\r\n{UPGRADE}\r\n".encode())
    await asyncio.get_running_loop().sock_sendall(deaf, connect)
    await until(lambda: world.others() == 1, what="the connection")
    await until(lambda: engine_outflow(world).choked, what="a message that is not taken")
    hang_up(deaf)
    await world.forgotten()
    assert await letters.read(world) == list(range(letters.COUNT))
    return "all comes again"
