"""Rows: packets of Engine.IO and of Socket.IO."""

import asyncio
import json
import zlib

from realtime.engine.hub import Limits
from realtime.engine.server import RESERVED_EVENTS
from tests.engine.hostile.table import ATTACHMENT, CONNECT, Group
from tests.engine.hostile.wire import BINARY, TEXT
from tests.engine.hostile.world import World
from tests.support import until

ENGINEIO = Group("Engine.IO packets")
SOCKETIO = Group("Socket.IO packets")


def says(group: Group, name: str, *packets: str | bytes) -> None:
    """A row about a connection that has joined and sends these packets."""

    @group.row(name)
    async def _(world: World) -> str:
        wire = await world.connected()
        for packet in packets:
            await wire.frame(*((BINARY, packet) if isinstance(packet, bytes) else (TEXT, packet.encode())))
        return await wire.over()


says(ENGINEIO, "an unknown packet type", "9")
says(ENGINEIO, "an empty packet", "")
says(ENGINEIO, "OPEN from a client", "0{}")
says(ENGINEIO, "PING from a client", "2")
says(ENGINEIO, "a pong with junk", "3probe")
says(ENGINEIO, "UPGRADE on a WebSocket", "5")
says(ENGINEIO, "a binary packet without an event", b"binary")
says(ENGINEIO, "CLOSE", "1")


@ENGINEIO.row("a pong that nobody asked for")
async def _(world: World) -> str:
    wire = await world.connected()
    await wire.say("3", "3", "6")
    return await wire.goes_on()


def posts(name: str, body: str | bytes, head: str = "") -> None:
    """A row about a polling session that posts this."""

    @ENGINEIO.row(name)
    async def _(world: World) -> str:
        poller = await world.polling()
        refused = await poller.post(body, head)
        assert await world.refusal("GET", poller.path) == "400"
        return f"{refused}, session over"


posts("more than 1000 packets in a POST", "\x1e".join(["3"] * 1001))
posts("a POST of 1.1 MB", b"4" + b"x" * 1_100_000)
posts(
    "a compressed POST that grows beyond 1 MB", zlib.compress(b"4" + b"x" * 50_000_000), "Content-Encoding: deflate\r\n"
)
posts("a compressed POST that is none", b"abcde", "Content-Encoding: deflate\r\n")
posts("an empty POST", b"")
posts("a POST with an unknown packet", "9")
posts("a POST that is not UTF-8", b"4\xff")
posts("a POST of bad base64", "b!!!!")


@ENGINEIO.row("two polls at once")
async def _(world: World) -> str:
    poller = await world.polling()
    first = await poller.poll()
    second = await world.refusal("GET", poller.path)
    assert (await first.answer())[1] == "1"
    return f"{second}, session over"


@ENGINEIO.row("two POSTs at once")
async def _(world: World) -> str:
    poller, first = await world.polling(), await world.wire()
    session = world.running.parts.server.eio.sockets[poller.sid]
    await first.request("POST", poller.path, "Content-Length: 5\r\n")
    await until(lambda: session.posting, what="the first POST")
    second = await poller.post("3")
    assert await world.refusal("GET", poller.path) == "400"
    await first.send("33333")
    return f"{second}, session over"


@ENGINEIO.row("polls that are given up again and again")
async def _(world: World) -> str:
    poller = await world.polling()
    most = 0
    for n in range(20):
        (await poller.poll()).drop()
        await until(lambda: not poller.queue.polled, what="the end of the poll")
        most = most if n else len(asyncio.all_tasks())
    await until(lambda: len(asyncio.all_tasks()) <= most + 5, what="the end of the requests")
    return await poller.goes_on()


@ENGINEIO.row("a session that never polls")
async def _(world: World) -> str:
    poller = await world.polling()
    queue = poller.queue
    while world.publish("x" * 100_000):
        assert queue.size <= Limits().hard_buffer
    assert await world.refusal("GET", poller.path) == "400"
    return "400, session over"


# --- Socket.IO packets ---


def refused(name: str, packet: str, code: str, *, attachments: int = 0) -> None:
    """A row about an event that is answered under the acknowledgement id 7."""

    @SOCKETIO.row(name)
    async def _(world: World) -> str:
        wire = await world.connected()
        await wire.say(packet)
        for _ in range(attachments):
            await wire.frame(BINARY, b"binary")
        answer = await wire.acknowledged(7)
        assert answer["success"] is False
        assert answer["code"] == code
        await wire.goes_on()
        return f"ack {answer['code']}"


@SOCKETIO.row("reserved event names")
async def _(world: World) -> str:
    wire = await world.connected()
    for id, name in enumerate(sorted(RESERVED_EVENTS)):
        assert (await wire.ask(id, name, "transport close"))["code"] == "UNKNOWN_EVENT"
    await wire.goes_on()
    return "ack UNKNOWN_EVENT"


@SOCKETIO.row("an event named `*`")
async def _(world: World) -> str:
    wire, victim = await world.connected(), world.bystander.sio.get_sid()
    for id, arguments in enumerate(([], [victim], [victim, {"text": "x"}], [[]])):
        assert (await wire.ask(id, "*", *arguments))["code"] == "UNKNOWN_EVENT"
    await world.bystander.settle()
    assert "error" not in world.bystander.names()
    await wire.goes_on()
    return "ack UNKNOWN_EVENT"


refused("an unknown event", '427["nothing"]', "UNKNOWN_EVENT")
refused("an event whose name is a number", "427[7]", "INVALID_PAYLOAD")
refused("a payload of the wrong type", '427["join_room",{"room":[]}]', "INVALID_PAYLOAD")
refused("relayed data over 2 KB or 4 levels", f'427["bookingUpdate",{{"x":"{"x" * 2100}"}}]', "INVALID_PAYLOAD")
says(SOCKETIO, "an event without a name", "42[]")
says(SOCKETIO, "an event that is no list", '42{"0":"heartbeat"}')
says(SOCKETIO, "malformed JSON", '42["heartbeat",}]')
says(SOCKETIO, "a truncated packet", '42["heartb')
says(SOCKETIO, "JSON nested deeper than 64 levels", '42["heartbeat",' + "[" * 64 + "]" * 64 + "]")
says(SOCKETIO, "a million brackets", '42["heartbeat",' + "[" * 900_000)
says(SOCKETIO, "NaN, Infinity, 1e400", '42["heartbeat",NaN]')
says(SOCKETIO, "a lone surrogate", '42["heartbeat","\\ud800"]')
says(SOCKETIO, "CONNECT_ERROR from a client", '44{"message":"x"}')
says(SOCKETIO, "an acknowledgement id of more than 16 digits", "42" + "1" * 17 + '["heartbeat"]')


@SOCKETIO.row("an acknowledgement id of 0")
async def _(world: World) -> str:
    wire = await world.connected()
    assert await wire.ask(0, "heartbeat") == {"success": True}
    return await wire.goes_on()


@SOCKETIO.row("an acknowledgement that nobody waits for")
async def _(world: World) -> str:
    wire = await world.connected()
    await wire.say("430[]", "439999999999999999[1]", "43[]")
    return await wire.goes_on()


NOTE = '["note",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]'
says(SOCKETIO, "more than 10 attachments", "4511-" + NOTE)
says(SOCKETIO, "text between an event and its attachments", "452-" + NOTE, b"one", '42["heartbeat"]')
says(SOCKETIO, "attachments of more than 1 MB together", "452-" + NOTE, b"x" * 500_001, b"x" * 500_001)
says(SOCKETIO, "a placeholder without its attachment", '451-["note",{"_placeholder":true,"num":1}]', b"one")
says(SOCKETIO, "a placeholder below zero", '451-["note",{"_placeholder":true,"num":-1}]', b"one")
says(SOCKETIO, "a placeholder that is no number", '451-["note",{"_placeholder":true,"num":"0"}]', b"one")
refused(
    "one attachment in a thousand places",
    '451-7["note",' + ",".join(['{"_placeholder":true,"num":0}'] * 1000) + "]",
    "UNKNOWN_EVENT",
    attachments=1,
)
refused(
    "attachments where none may be",
    '451-7["join_room",{"_placeholder":true,"num":0}]',
    "INVALID_PAYLOAD",
    attachments=1,
)


@SOCKETIO.row("attachments that never come", ATTACHMENT)
async def _(world: World) -> str:
    wire = await world.connected()
    await wire.say("452-" + NOTE)
    await wire.frame(BINARY, b"one")
    return await wire.over()


@SOCKETIO.row("an event before CONNECT")
async def _(world: World) -> str:
    wire = await world.opened()
    await wire.say('421["heartbeat"]')
    return await wire.over()


@SOCKETIO.row("an event in a namespace that was not joined")
async def _(world: World) -> str:
    wire = await world.connected()
    await wire.say('42/other,1["heartbeat"]', "41/other,")
    return await wire.goes_on()


@SOCKETIO.row("a CONNECT whose auth is no object")
async def _(world: World) -> str:
    wire = await world.opened()
    await wire.say('40"token"')
    return await wire.over()


@SOCKETIO.row("a repeated CONNECT")
async def _(world: World) -> str:
    wire = await world.connected()
    await wire.say("40" + json.dumps({"token": world.token(6)}))
    assert await wire.hears() == '44{"message":"Already connected"}'
    return f"CONNECT_ERROR, {await wire.goes_on()}"


@SOCKETIO.row("ten refused CONNECTs")
async def _(world: World) -> str:
    wire = await world.opened()
    await wire.say(*['40{"token":"wrong"}'] * 11)
    for _ in range(10):
        assert (await wire.hears()).startswith("44{")
    return f"CONNECT_ERROR, {await wire.over()}"


@SOCKETIO.row("a CONNECT to an unknown namespace")
async def _(world: World) -> str:
    wire = await world.connected()
    await wire.say("40/nowhere,")
    assert await wire.hears() == '44/nowhere,{"message":"Invalid namespace"}'
    return f"CONNECT_ERROR, {await wire.goes_on()}"


@SOCKETIO.row("a namespace of more than 128 characters")
async def _(world: World) -> str:
    wire = await world.opened()
    await wire.say("40/" + "n" * 128 + ",")
    return await wire.over()


@SOCKETIO.row("no CONNECT", CONNECT)
async def _(world: World) -> str:
    wire = await world.opened()
    assert await wire.hears() == "1"
    return await wire.over()


@SOCKETIO.row("no CONNECT over polling", CONNECT)
async def _(world: World) -> str:
    poller = await world.polling(connect=False)
    await poller.wire.request("GET", poller.path)
    assert (await poller.wire.answer())[1] == "1"
    assert await world.refusal("GET", poller.path) == "400"
    return "CLOSE packet, session over"


@SOCKETIO.row("only CONNECTs that are refused", CONNECT)
async def _(world: World) -> str:
    wire = await world.opened()
    await wire.say('40{"token":"wrong"}', "40/nowhere,")
    assert [(await wire.hears())[:2] for _ in range(3)] == ["44", "44", "1"]
    return await wire.over()


@SOCKETIO.row("CONNECT, then DISCONNECT, and nothing more", CONNECT)
async def _(world: World) -> str:
    wire = await world.connected()
    await wire.say("41")
    assert await wire.hears() == "1"
    return await wire.over()
