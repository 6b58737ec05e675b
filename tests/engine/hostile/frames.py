"""Rows: WebSocket frames."""

import json

from tests.engine.hostile.table import CONNECT, FAREWELL, MESSAGE, PROBE, Group
from tests.engine.hostile.wire import (
    CLOSE,
    CLOSED,
    DEFLATE,
    PING,
    PONG,
    TEXT,
    deflated,
    dripping,
    flooding,
    frame,
)
from tests.engine.hostile.world import World
from tests.support import until

FRAMES = Group("WebSocket frames")


def frames(name: str, *sent: bytes, head: str = "") -> None:
    """A row about a connection that has joined, sends these bytes and nothing else."""

    @FRAMES.row(name)
    async def _(world: World) -> str:
        wire = await world.connected(head)
        for data in sent:
            await wire.send(data)
        return await wire.over()


@FRAMES.row("a first frame without a mask")
async def _(world: World) -> str:
    wire = await world.opened()
    await wire.send(frame(TEXT, b"40", masked=False))
    return await wire.over()


@FRAMES.row("a first byte that comes alone")
async def _(world: World) -> str:
    wire = await world.opened()
    ws = world.session().ws
    assert ws is not None
    whole = frame(TEXT, b"40" + json.dumps({"token": world.token()}).encode())
    ws.data_received(whole[:1])  # TCP would put what is sent in two writes together
    await wire.send(whole[1:])
    assert (await wire.hears()).startswith("40")
    return await wire.goes_on()


frames("a reserved bit", frame(TEXT, b"42", rsv=1))
frames("an unknown opcode", frame(0x3, b"42"))
frames("a control frame in fragments", frame(PING, b"x", fin=False))
frames("a control frame of 126 bytes", frame(PING, b"x" * 126))
frames("a continuation of nothing", frame(0x0, b"x"))
frames("a message inside of another", frame(TEXT, b"42", fin=False) + frame(TEXT, b"42"))
frames("text that is not UTF-8", frame(TEXT, b'42["\xff"]'))
frames("a frame of more than 1 MB", frame(TEXT, b"x" * 1_000_001)[:14])
frames("fragments of more than 1 MB", *(frame(TEXT if n == 0 else 0, b"x" * 250_001, fin=False) for n in range(4)))
frames("a compressed frame that grows beyond 1 MB", frame(TEXT, deflated(b"x" * 1_000_002), rsv=4), head=DEFLATE)
frames("a compressed frame that is none", frame(TEXT, b"\xff\xff\xff", rsv=4), head=DEFLATE)
frames("a Close frame of one byte", frame(CLOSE, b"x"))
frames("a Close frame with a forbidden code", frame(CLOSE, (999).to_bytes(2, "big")))


@FRAMES.row("a frame that is never finished", MESSAGE)
async def _(world: World) -> str:
    wire = await world.connected()
    await wire.send(frame(TEXT, b"x" * 900_000)[:-1])
    return await wire.over()


@FRAMES.row("a frame that is never finished, before CONNECT", CONNECT)
async def _(world: World) -> str:
    wire = await world.opened()
    await wire.send(frame(TEXT, b"x" * 900_000)[:-1])
    return await wire.over()


@FRAMES.row("a ping flood")
async def _(world: World) -> str:
    wire = await world.connected()
    await wire.send(frame(PING, b"p" * 125) * 2000)
    pongs = 0
    while pongs < 2000:
        pongs += await wire.next() == (PONG, b"p" * 125)
    return await wire.goes_on()


@FRAMES.row("a ping flood whose pongs nobody reads", stall=True)
async def _(world: World) -> str:
    deaf = await world.deaf_socket()
    async with flooding(deaf, frame(PING, b"p" * 125) * 500):
        await until(lambda: world.others() == 0, what="the end of the connection")
    return CLOSED


@FRAMES.row("an upgrade that is never probed", PROBE)
async def _(world: World) -> str:
    poller = await world.polling()
    candidate = await world.opened(sid=poller.sid)
    return f"{await candidate.over()}, polling {await poller.goes_on()}"


@FRAMES.row("an upgrade that is probed and never finished", PROBE)
async def _(world: World) -> str:
    poller = await world.polling()
    candidate = await world.opened(sid=poller.sid)
    await candidate.say("2probe")
    assert await candidate.hears() == "3probe"
    return f"{await candidate.over()}, polling {await poller.goes_on()}"


@FRAMES.row("an upgrade that begins with something else")
async def _(world: World) -> str:
    poller = await world.polling()
    candidate = await world.opened(sid=poller.sid)
    await candidate.say('42["heartbeat"]')
    return f"{await candidate.over()}, polling {await poller.goes_on()}"


@FRAMES.row("a second upgrade")
async def _(world: World) -> str:
    poller = await world.polling()
    first = await world.opened(sid=poller.sid)
    await first.say("2probe")
    assert await first.hears() == "3probe"
    refused = await (await world.opened(sid=poller.sid)).over()
    await first.say("5")
    return f"{refused}, the first {await first.goes_on()}"


@FRAMES.row("a WebSocket for a session that has one")
async def _(world: World) -> str:
    wire = await world.connected()
    second = await world.opened(sid=world.session().sid)
    return f"{await second.over()}, the first {await wire.goes_on()}"


@FRAMES.row("a client that never answers Close", FAREWELL)
async def _(world: World) -> str:
    wire = await world.connected()
    await wire.say("9")
    return f"{await wire.over()}, then {await wire.end()}"


@FRAMES.row("a client that goes on talking after Close", FAREWELL)
async def _(world: World) -> str:
    wire = await world.connected()
    await wire.say("9")
    code = await wire.over()
    async with dripping(wire):
        return f"{code}, then {await wire.end()}"
