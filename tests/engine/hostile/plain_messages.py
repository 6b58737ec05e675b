"""Rows: messages on a plain WebSocket of a user."""

import json
from collections.abc import Sequence

from realtime.engine.server import RESERVED_EVENTS
from tests.engine.hostile.table import Group
from tests.engine.hostile.wire import BINARY, DEFLATE, TEXT, PlainSocket, deflated, flooding, frame
from tests.engine.hostile.world import World

MESSAGES = Group("Messages on a plain WebSocket")
USERS_PATHS = ("/notifications", "/dashboard", "/ws")
CHEAP = 100
"""Messages that a person may send at once."""


def no_event(name: str, *texts: str | bytes) -> None:
    """A row about messages that are no events, each alone on a path; `error` events tell so."""

    @MESSAGES.row(name)
    async def _(world: World) -> str:
        codes = set()
        for path in USERS_PATHS:
            wire = await world.plain(path)
            for text in texts:
                await wire.frame(*((BINARY, text) if isinstance(text, bytes) else (TEXT, text.encode())))
                codes.add((await wire.told("error"))["code"])
            await wire.goes_on()
        return f"`error` {codes.pop()}".replace("`", "") if len(codes) == 1 else str(codes)


def refused(name: str, *events: tuple[str, object], path: str = "/dashboard") -> None:
    """A row about events that are answered with a refusal."""

    @MESSAGES.row(name)
    async def _(world: World) -> str:
        wire = await world.plain(path)
        codes = set()
        for id, (event, data) in enumerate(events):
            answer = await wire.ask(id, event, data)
            assert answer["success"] is False
            codes.add(answer["code"])
        await wire.goes_on()
        return f"answer {codes.pop()}" if len(codes) == 1 else str(codes)


no_event("malformed JSON", "{", '{"event":"heartbeat",}', "{'event':'heartbeat'}", "event", "\x00")
no_event("a truncated message", '{"event":"heartbeat","data":{"x":"')
no_event("an empty message", "")
no_event("JSON nested deeper than 64 levels", '{"event":"heartbeat","data":' + "[" * 64 + "]" * 64 + "}")
no_event("a million brackets", "[" * 900_000, '{"event":"heartbeat","data":[' + "[]," * 300_000 + "1]}")
no_event(
    "NaN, Infinity, 1e400", *(f'{{"event":"heartbeat","id":{number}}}' for number in ("NaN", "-Infinity", "1e400"))
)
no_event("a lone surrogate", '{"event":"\\ud800"}', '{"event":"heartbeat","id":"\\udfff"}')
no_event("a message that is no object", '"heartbeat"', '["heartbeat"]', "7", "null", "true", '[{"event":"heartbeat"}]')
no_event("an object without an event", "{}", '{"data":{}}', '{"type":"heartbeat"}', '{"Event":"heartbeat"}')
no_event(
    "an event whose name is no text", *(f'{{"event":{name}}}' for name in ("null", "7", "[]", "{}", "true", '[["x"]]'))
)
no_event(
    "an event whose name is empty, or longer than 128 characters", '{"event":""}', json.dumps({"event": "x" * 129})
)
no_event("an event whose name has 900 KB", json.dumps({"event": "x" * 900_000}))
no_event(
    "an `id` that is no text and no number",
    *(f'{{"event":"heartbeat","id":{id}}}' for id in ("{}", "[]", "true", "false", '{"a":[1]}')),
)
no_event("an `id` of more than 128 characters", json.dumps({"event": "heartbeat", "id": "x" * 129}))
no_event("a binary message", b'{"event":"heartbeat"}', b"", b"\x00\xff")
refused("reserved event names", *((name, {}) for name in sorted(RESERVED_EVENTS)))
refused("an event named `*`", ("*", None), ("*", ["x"]))
refused(
    "an unknown event",
    *(
        (name, {})
        for name in ("nothing", "__class__", "connected", "notification", "join_room", " heartbeat", "\u202e", "\x00")
    ),
)
refused("an event of another path", ("sendMessage", {}), ("subscribe_notifications", {}), ("updateStatus", "online"))
refused(
    "topics in no form that is known", *(("subscribe", data) for data in ({}, [], 7, True, [[]], {"channels": {}}, [7]))
)
refused(
    "the name of a topic that is empty or has control characters",
    *(("subscribe", [name]) for name in ("", " ", "\x00", "a\nb")),
)
refused("the name of a topic of more than 100 characters", ("subscribe", "x" * 101), ("unsubscribe", ["x" * 101]))
refused(
    "the name of a topic that is too long as the name of a room",
    ("subscribe", "\U0001f300" * 100),
    ("subscribe", "/" * 100),
)
refused(
    "101 topics", ("subscribe", [f"topic-{n}" for n in range(101)]), ("unsubscribe", [f"topic-{n}" for n in range(101)])
)
refused(
    "a message to nobody, or with nothing in it",
    *(
        ("sendMessage", {"receiverId": to, "content": content})
        for to, content in (("", "x"), ([], "x"), ("9", " "), ("9", {}), ("9", "x" * 5001))
    ),
    path="/ws",
)


@MESSAGES.row("ids that may be")
async def _(world: World) -> str:
    wire = await world.plain()
    for id in (0, -1, 1.5, "", "x" * 128, "\U0001f300", 2**53, "\x00"):
        assert await wire.ask(id, "heartbeat") == {"success": True}
    await wire.say('{"event":"heartbeat","id":1' + "0" * 300 + "}")
    assert await wire.answered(1e300) == {"success": True}
    return await wire.goes_on()


@MESSAGES.row("100 topics, again and again")
async def _(world: World) -> str:
    wire = await world.plain()
    topics = [f"topic-{n}" for n in range(100)]
    for n in range(20):
        answer = await wire.ask(n, "subscribe", {"channels": topics * (n == 0) or topics[::-1]})
        assert sorted(answer["channels"]) == sorted(topics)
    assert len((await wire.ask("last", "unsubscribe", topics))["channels"]) == 100
    return await wire.goes_on()


@MESSAGES.row("topics with odd names")
async def _(world: World) -> str:
    wire = await world.plain()
    names = [
        "a b",
        "a/b",
        "%2F",
        "%",
        "channel:x",
        "admin_room",
        "user_9",
        "role_admin",
        "*",
        "' OR 1=1",
        "ä",
        "\U0001f300",
        ".",
    ]
    assert (await wire.ask(1, "subscribe", names))["channels"] == names
    await world.bystander.settle()
    rooms = world.running.parts.connections.twins["/dashboard"].membership.room_names()
    assert all(room.startswith("channel:") for room in rooms if room not in ("user_5", "role_technician"))
    return await wire.goes_on()


@MESSAGES.row("thousands of topics")
async def _(world: World) -> str:
    wire = await world.plain()
    codes = []
    for n in range(10):
        answer = await wire.ask(n, "subscribe", [f"topic-{n}-{m}" for m in range(100)])
        codes.append(answer.get("code"))
    assert codes == [None] * 4 + ["ROOM_LIMIT"] * 6
    await wire.goes_on()
    return f"answer {codes[-1]}"


@MESSAGES.row("events with 900 KB of payload")
async def _(world: World) -> str:
    wire = await world.plain(head=DEFLATE)
    text = json.dumps({"event": "nothing", "data": ["x" * 900_000], "id": 7}).encode()
    for sent in (frame(TEXT, text), frame(TEXT, deflated(text), rsv=4)):
        await wire.send(sent)
        assert (await wire.answered(7))["code"] == "UNKNOWN_EVENT"
    await wire.goes_on()
    return "answer UNKNOWN_EVENT"


# --- floods ---


async def the_others_go_on(world: World, wires: Sequence[PlainSocket], data: bytes) -> None:
    """Nobody waits while some are flooding the server; their own sockets live on."""
    for wire in wires:
        async with flooding(wire, data):
            for _ in range(20):
                await wire.hears()
                await world.bystander.settle()
                await world.neighbour.settle()


@MESSAGES.row("a flood of malformed JSON")
async def _(world: World) -> str:
    wire = await world.plain("/notifications")
    await wire.send(frame(TEXT, b"{") * 5000)
    await wire.say('{"event":"heartbeat","id":"end"}')
    codes = []
    while (message := json.loads(await wire.hears())).get("id") != "end":
        codes.append(message["data"]["code"])
    assert codes == ["INVALID_PAYLOAD"] * CHEAP + ["RATE_LIMIT_EXCEEDED"]
    async with flooding(wire, frame(TEXT, b"{") * 500):
        for _ in range(20):
            await world.bystander.settle()
            await world.neighbour.settle()
    return f"error {codes[0]}, then {codes[-1]}, then nothing"


def flood(name: str, path: str, event: str, data: object, burst: int) -> None:
    """A row about more events than a person may send at once, over several of their sockets."""

    @MESSAGES.row(name)
    async def _(world: World) -> str:
        wires = [await world.plain(path) for _ in range(3)]
        codes = []
        for wire in wires:
            text = json.dumps({"event": event, "data": data, "id": 7}).encode()
            await wire.send(frame(TEXT, text) * 1000)
            codes += [(await wire.answered(7)).get("code") for _ in range(1000)]
        assert codes.index("RATE_LIMIT_EXCEEDED") == burst
        assert set(codes[burst:]) == {"RATE_LIMIT_EXCEEDED"}
        await the_others_go_on(world, wires, frame(TEXT, text) * 100)
        return f"answer {codes[-1]}"


flood("a flood of events", "/dashboard", "subscribe", "news", 200)
flood("a flood of typing", "/ws", "typing", {"receiverId": "9"}, 200)
flood("a flood of messages", "/ws", "markAsRead", {"messageId": "7"}, CHEAP)
flood("a flood of unknown events", "/notifications", "nothing", {}, CHEAP)
flood("a flood of reserved names", "/notifications", "disconnect", {}, CHEAP)


@MESSAGES.row("a flood of heartbeats")
async def _(world: World) -> str:
    wire = await world.plain("/ws")
    await the_others_go_on(world, [wire], frame(TEXT, b'{"event":"PING","id":1}') * 100)
    return "goes on"
