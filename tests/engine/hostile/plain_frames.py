"""Rows: frames on a plain WebSocket that is open. Each is done to a user's socket and to a guest's."""

from collections.abc import Awaitable, Callable

from realtime.events import Audience
from tests.engine.hostile.table import FAREWELL, MESSAGE, Group
from tests.engine.hostile.wire import (
    CLOSE,
    CLOSED,
    DEFLATE,
    GOES_ON,
    PING,
    PONG,
    TEXT,
    GuestSocket,
    Over,
    PlainSocket,
    deflated,
    dripping,
    flooding,
    frame,
)
from tests.engine.hostile.world import GUESTS, World
from tests.support import until

FRAMES = Group("Frames on a plain WebSocket")
PATHS = {"/ws": Audience.user("5"), GUESTS: Audience.principal("guest:5")}

Socket = PlainSocket | GuestSocket


def on_both(
    name: str, *shorten: str, head: str = "", stall: bool = False, **settings: float
) -> Callable[[Callable[[World, Socket], Awaitable[str]]], None]:
    """A row about a socket, whoever it belongs to."""

    def register(do: Callable[[World, Socket], Awaitable[str]]) -> None:
        @FRAMES.row(name, *shorten, stall=stall, senders=len(PATHS), **settings)
        async def _(world: World) -> str:
            users = await do(world, await world.plain("/ws", head))
            world.drop()
            await until(lambda: world.others() == 0, what="the end of the user's socket")
            assert await do(world, await world.guest(head)) == users
            return users

    return register


def sends(name: str, *sent: bytes, head: str = "", shorten: str = "") -> None:
    """A row about a socket that sends these bytes and nothing else."""

    @on_both(name, *filter(None, [shorten]), head=head)
    async def _(world: World, wire: Socket) -> str:
        for data in sent:
            await wire.send(data)
        return await wire.over()


sends("a frame without a mask", frame(TEXT, b"{}", masked=False))
sends("a reserved bit", frame(TEXT, b"{}", rsv=1))
sends("a compressed frame that was not agreed to", frame(TEXT, deflated(b"{}"), rsv=4))
sends("an unknown opcode", frame(0x3, b"{}"))
sends("a control frame in fragments", frame(PING, b"x", fin=False))
sends("a control frame of 126 bytes", frame(PING, b"x" * 126))
sends("a continuation of nothing", frame(0x0, b"x"))
sends("a message inside of another", frame(TEXT, b"{", fin=False) + frame(TEXT, b"{}"))
sends("text that is not UTF-8", frame(TEXT, b'{"event":"\xff"}'))
sends("a frame of more than 1 MB", frame(TEXT, b"x" * 1_000_001)[:14])
sends("a frame of 2^63 bytes", b"\x81\xff" + b"\xff" * 8 + bytes(4))
sends("fragments of more than 1 MB", *(frame(TEXT if n == 0 else 0, b"x" * 250_001, fin=False) for n in range(4)))
sends("a compressed frame that grows beyond 1 MB", frame(TEXT, deflated(b"x" * 1_000_002), rsv=4), head=DEFLATE)
sends("a compressed frame of 50 MB", frame(TEXT, deflated(bytes(50_000_000)), rsv=4), head=DEFLATE)
sends("a compressed frame that is none", frame(TEXT, b"\xff\xff\xff", rsv=4), head=DEFLATE)
sends("half a frame", frame(TEXT, b"x" * 900_000)[:-1], shorten=MESSAGE)
sends("half the head of a frame", b"\x81", shorten=MESSAGE)
sends("a first fragment and no other", frame(TEXT, b"{", fin=False), shorten=MESSAGE)
sends("a Close frame of one byte", frame(CLOSE, b"x"))
sends("a Close frame with a forbidden code", frame(CLOSE, (999).to_bytes(2, "big")))
sends("a Close frame without a code", frame(CLOSE))


@on_both("fragments without end", MESSAGE)
async def _(world: World, wire: Socket) -> str:
    await wire.frame(TEXT, b"{", fin=False)
    async with dripping(wire, frame(0x0, b" ", fin=False)):
        return await wire.over()


@on_both("fragments without end, and pings between them", MESSAGE)
async def _(world: World, wire: Socket) -> str:
    await wire.frame(TEXT, b"{", fin=False)
    async with dripping(wire, frame(0x0, b" ", fin=False) + frame(PING)):
        pongs = 0
        while pongs < 60:  # three times as long as a message may take
            try:
                pongs += (await wire.next())[0] == PONG
            except Over as over:
                return str(over)
    return GOES_ON


@on_both("pongs that nobody asked for")
async def _(world: World, wire: Socket) -> str:
    for payload in (b"", b"1", b"0", b"-1", b"99999999", b"9" * 125, b"\xff", "٣".encode()):
        await wire.frame(PONG, payload)
    return await wire.goes_on()


@on_both("a flood of pings")
async def _(world: World, wire: Socket) -> str:
    await wire.send(frame(PING, b"p" * 125) * 2000)
    pongs = 0
    while pongs < 2000:
        pongs += await wire.next() == (PONG, b"p" * 125)
    return await wire.goes_on()


@on_both("pings without end")
async def _(world: World, wire: Socket) -> str:
    async with flooding(wire, frame(PING) * 1000):
        while (await wire.next())[0] != PONG:
            pass
        await world.others_go_on()
    return GOES_ON


@on_both("a client that never answers Close", FAREWELL)
async def _(world: World, wire: Socket) -> str:
    await wire.frame(0x3)
    return f"{await wire.over()}, then {await wire.end()}"


@on_both("a client that goes on talking after Close", FAREWELL)
async def _(world: World, wire: Socket) -> str:
    await wire.frame(0x3)
    code = await wire.over()
    async with dripping(wire):
        return f"{code}, then {await wire.end()}"


@on_both("a client that never answers pings", ping_interval=0.1, ping_timeout=0.1)
async def _(world: World, wire: Socket) -> str:
    return await wire.over()


@on_both("a client that stays when its token has ended")
async def _(world: World, wire: Socket) -> str:
    world.clock.advance(4000.0)
    return await wire.over()


# --- clients that hardly read ---


def deaf(name: str, data: bytes, **settings: float) -> None:
    """A row about a client that reads nothing, sends this all the time, and is sent 60 MB."""

    @FRAMES.row(name, stall=True, senders=len(PATHS), **settings)
    async def _(world: World) -> str:
        for path, audience in PATHS.items():
            deaf = await world.deaf_plain(path)
            ws = world.plain_outflow()
            if data:
                async with flooding(deaf, data):
                    await world.fill(ws, audience)
            else:
                await world.fill(ws, audience)
        return CLOSED


deaf("a client that reads nothing of 60 MB", b"")
deaf("a client that reads nothing of 60 MB and answers pings", frame(PONG, b"1"), ping_interval=0.1)


@FRAMES.row("a flood of pings whose pongs nobody reads", stall=True, senders=len(PATHS))
async def _(world: World) -> str:
    for path in PATHS:
        async with flooding(await world.deaf_plain(path), frame(PING, b"p" * 125) * 500):
            await until(lambda: world.others() == 0, what="the end of the connection")
    return CLOSED


@FRAMES.row("answers that nobody reads", stall=True, senders=len(PATHS))
async def _(world: World) -> str:
    for path, text in (("/ws", b'{"event":"heartbeat","id":"' + b"x" * 128 + b'"}'), (GUESTS, b'{"type":"ping"}')):
        async with flooding(await world.deaf_plain(path), frame(TEXT, text) * 500):
            await until(lambda: world.others() == 0, what="the end of the connection")
    return CLOSED
