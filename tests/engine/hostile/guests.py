"""Rows: hotel guests' sockets, where a client says nothing but pings."""

import json

from tests.engine.hostile.table import Group
from tests.engine.hostile.wire import BINARY, CLOSED, GOES_ON, PONG, TEXT, Wire, flooding, frame
from tests.engine.hostile.world import GUESTS as PATH
from tests.engine.hostile.world import World
from tests.support import bearer, token, until

GUESTS = Group("Hotel guests")


def stranger(name: str, query: str) -> None:
    @GUESTS.row(name)
    async def _(world: World) -> str:
        now = world.clock()
        tokens = {
            "guest": token(5, guest=True, now=now),
            "user": token(5, "admin", now=now),
            "ended": token(5, guest=True, now=now, lifetime=-60),
        }
        return await (await world.upgraded(Wire, PATH + query.format(**tokens))).over()


stranger("no token", "?guestId=5")
stranger("no `guestId`", "?token={guest}")
stranger("a token that is none", "?guestId=5&token=wrong")
stranger("a token that has ended", "?guestId=5&token={ended}")
stranger("another guest's `guestId`", "?guestId=6&token={guest}")
stranger("two `guestId`s", "?guestId=5&guestId=6&token={guest}&userId=6")
stranger("a user's token, an administrator's too", "?guestId=5&token={user}")


def ignored(name: str, *messages: str | bytes) -> None:
    """A row about messages that are not answered at all."""

    @GUESTS.row(name)
    async def _(world: World) -> str:
        wire = await world.guest()
        for message in messages:
            await wire.frame(*((BINARY, message) if isinstance(message, bytes) else (TEXT, message.encode())))
        return await wire.goes_on()


ignored("malformed JSON", "{", "", "ping", '{"type":"ping",}', "\x00", '{"type":"\\ud800"}')
ignored(
    "messages of another kind", '{"type":"pong"}', '{"event":"ping"}', '{"event":"heartbeat","id":1}', "[]", "7", "null"
)
ignored("a `type` that is no text", '{"type":["ping"]}', '{"type":{"ping":1}}', '{"type":null}', '{"type":true}')
ignored("a ping of more than 1024 characters", json.dumps({"type": "ping", "data": "x" * 1024}))
ignored("900 KB of brackets", "[" * 900_000, '{"type":"ping","data":' + "[" * 900 + "]" * 900 + "}")
ignored("a binary message", b'{"type":"ping"}', b"", b"\xff")
ignored(
    "a guest who plays the server",
    '{"type":"notification","data":{"id":1}}',
    '{"type":"system","data":{"message":"x"}}',
)


@GUESTS.row("a flood of garbage")
async def _(world: World) -> str:
    wire = await world.guest()
    async with flooding(wire, frame(TEXT, b"{") * 500 + frame(BINARY, b"x") * 500):
        await world.others_go_on()
    await wire.send(frame(TEXT, b'{"type":"ping"}'))
    assert await wire.hears() == '{"type":"pong"}'
    return GOES_ON


@GUESTS.row('a flood of `{"type":"ping"}`')
async def _(world: World) -> str:
    wire = await world.guest()
    async with flooding(wire, frame(TEXT, b'{"type":"ping"}') * 100):
        assert await wire.hears() == '{"type":"pong"}'
        await world.others_go_on()
    return GOES_ON


async def write(world: World, count: int, **more: object) -> None:
    """Have the hotel write to guest 5."""
    by = {**bearer(1, "admin", now=world.clock()), "Connection": "close"}
    row = {"hotel_id": 1, "type": "notification", "title": "Tea", "message": "It is ready", "sender_type": "staff"}
    for _ in range(count):
        status, body = await world.running.call(
            "POST",
            "/api/communications",
            by=by,
            json={**row, "recipient_type": "guest", "recipient_id": 5, **more},
        )
        assert status == 201, body


@GUESTS.row("pongs to pings that were not sent yet")
async def _(world: World) -> str:
    wire = await world.guest()
    for number in range(20):
        await wire.frame(PONG, str(number).encode())
    await wire.goes_on()
    await write(world, 1)
    assert json.loads(await wire.hears())["data"]["title"] == "Tea"
    wire.drop()
    await world.forgotten()
    wire = await world.guest()
    assert json.loads(await wire.hears())["data"]["title"] == "Tea"
    return "what it did not confirm comes again"


@GUESTS.row("a guest who reads nothing of what was missed", stall=True)
async def _(world: World) -> str:
    await write(world, 30, message="x" * 5000, metadata={"x": "x" * 8000})
    world.narrow()
    await world.deaf_plain(PATH)
    await until(lambda: world.others() == 0, what="the end of the connection")
    return CLOSED
