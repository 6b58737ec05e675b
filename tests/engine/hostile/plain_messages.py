"""Rows: messages on a plain WebSocket of a user."""

import json

from realtime.engine.server import RESERVED_EVENTS
from tests.engine.hostile import letters
from tests.engine.hostile.table import Group
from tests.engine.hostile.wire import BINARY, DEFLATE, GOES_ON, TEXT, PlainSocket, deflated, flooding, frame
from tests.engine.hostile.world import World, hang_up
from tests.support import token, until

MESSAGES = Group("Messages on a plain WebSocket")
USERS_PATHS = ("/notifications", "/dashboard", "/ws")
MESSAGES_BURST, SIGNALS_BURST = 100, 200
"""What a person may send at once, of each kind."""

NOBODY: tuple[object, ...] = ("", [], {}, None)
NOTHING: tuple[object, ...] = ("", " ", [], {}, "x" * 5001)
EMOJI = "\U0001f300"
TOPICS = [f"topic-{n}" for n in range(101)]
ODD_TOPICS = ["a b", "a/b", "%2F", "%", "channel:x", "admin_room", "user_9", "role_admin", "*", "' OR 1=1", "ä", EMOJI]


def no_event(name: str, *texts: str | bytes) -> None:
    """A row about messages that are no events; an `error` event says so of each, on each path."""

    @MESSAGES.row(name)
    async def _(world: World) -> str:
        codes = set()
        for path in USERS_PATHS:
            wire = await world.plain(path)
            for text in texts:
                await wire.frame(*((BINARY, text) if isinstance(text, bytes) else (TEXT, text.encode())))
                codes.add((await wire.told("error"))["code"])
            await wire.goes_on()
        return f"error {' '.join(codes)}"


def refused(name: str, event: str, *payloads: object, path: str = "/dashboard") -> None:
    """A row about payloads of an event, each of which is refused."""
    answered(name, *((event, payload) for payload in payloads), path=path)


def unknown(name: str, *events: str) -> None:
    answered(name, *((event, {}) for event in events))


def answered(name: str, *events: tuple[str, object], path: str = "/dashboard") -> None:
    """A row about events that are answered with a refusal."""

    @MESSAGES.row(name)
    async def _(world: World) -> str:
        wire = await world.plain(path)
        codes = set()
        for id, (event, payload) in enumerate(events):
            answer = await wire.ask(id, event, payload)
            assert answer["success"] is False
            codes.add(answer["code"])
        await wire.goes_on()
        return f"answer {' '.join(codes)}"


def heartbeats(*ids: str) -> list[str]:
    """Return events with these ids, as they are spelt."""
    return [f'{{"event":"heartbeat","id":{id}}}' for id in ids]


no_event("malformed JSON", "{", '{"event":"heartbeat",}', "{'event':'heartbeat'}", "heartbeat", "\x00", "\ufeff{}")
no_event("a truncated message", '{"event":"heartbeat","data":{"x":"')
no_event("an empty message", "")
no_event("JSON nested deeper than 64 levels", '{"event":"heartbeat","data":' + "[" * 64 + "]" * 64 + "}")
no_event("a million brackets", "[" * 900_000, '{"event":"heartbeat","data":[' + "[]," * 300_000 + "1]}")
no_event("NaN, Infinity, 1e400", *heartbeats("NaN", "Infinity", "-Infinity", "1e400"))
no_event("a lone surrogate", '{"event":"\\ud800"}', *heartbeats('"\\udfff"'))
no_event("a message that is no object", '"heartbeat"', '["heartbeat"]', "7", "null", "true", '[{"event":"heartbeat"}]')
no_event("an object without an event", "{}", '{"data":{}}', '{"type":"heartbeat"}', '{"Event":"heartbeat"}')
no_event("an event whose name is no text", '{"event":null}', '{"event":7}', '{"event":["heartbeat"]}', '{"event":{}}')
no_event("an event without a name", '{"event":""}')
no_event("an event whose name is longer than 128 characters", *(f'{{"event":"{"x" * n}"}}' for n in (129, 900_000)))
no_event("an `id` that is no text and no number", *heartbeats("{}", "[]", '{"a":[1]}', "true", "false"))
no_event("an `id` of more than 128 characters", *heartbeats(f'"{"x" * 129}"', f'"{"x" * 900_000}"'))
no_event("a binary message", b'{"event":"heartbeat"}', b"", b"\x00\xff")
unknown("reserved names of events", *sorted(RESERVED_EVENTS))
unknown("an event that does not exist", "*", "nothing", "__class__", " heartbeat", "\x00", "\u202e", EMOJI)
unknown("an event of another path, or of the server", "sendMessage", "updateStatus", "join_room", "notification")
refused("topics in a form that is not known", "subscribe", None, {}, [], 7, True, [[]], {"channels": {}}, ["a", 7])
refused("a topic without a name, or with control characters in it", "subscribe", "", " ", "\x00", ["a\nb"], "\u2028")
refused("a topic whose name is longer than 100 characters", "subscribe", "x" * 101, ["x" * 900_000])
refused("a topic whose name is too long for a room", "subscribe", EMOJI * 100, "/" * 100)
refused("101 topics", "subscribe", TOPICS, {"channels": TOPICS})
refused("no token in `refresh_token`", "refresh_token", "wrong", "x" * 900_000, "a.b.c", {"token": "wrong"})
refused("somebody else's token in `refresh_token`", "refresh_token", token(6), {"token": token(5, guest=True)})
refused("a message to nobody", "sendMessage", *({"receiverId": to, "content": "x"} for to in NOBODY), path="/ws")
refused(
    "a message with nothing in it, or too much",
    "sendMessage",
    *({"receiverId": "9", "content": content} for content in NOTHING),
    path="/ws",
)


@MESSAGES.row("odd ids")
async def _(world: World) -> str:
    wire = await world.plain()
    for id in (0, -1, 1.5, "", "x" * 128, EMOJI, 2**53, "\x00"):
        assert await wire.ask(id, "heartbeat") == {"success": True}
    await wire.say(*heartbeats("1" + "0" * 300))
    assert await wire.answered(1e300) == {"success": True}
    return await wire.goes_on()


@MESSAGES.row("100 topics, again and again")
async def _(world: World) -> str:
    wire, topics = await world.plain(), TOPICS[:100]
    for n in range(20):
        assert (await wire.ask(n, "subscribe", {"channels": topics}))["channels"] == topics
    assert (await wire.ask("last", "unsubscribe", topics))["channels"] == topics
    return await wire.goes_on()


@MESSAGES.row("topics with odd names")
async def _(world: World) -> str:
    wire = await world.plain()
    assert (await wire.ask(1, "subscribe", ODD_TOPICS))["channels"] == ODD_TOPICS
    rooms = set(world.running.parts.connections.twins["/dashboard"].membership.room_names())
    assert all(room.startswith("channel:") for room in rooms - {"user_5", "role_technician"})
    return await wire.goes_on()


@MESSAGES.row("thousands of topics")
async def _(world: World) -> str:
    wire = await world.plain()
    codes = [(await wire.ask(n, "subscribe", [f"{n}-{m}" for m in range(100)])).get("code") for n in range(10)]
    assert codes == [None] * 4 + ["ROOM_LIMIT"] * 6
    await wire.goes_on()
    return f"answer {codes[-1]}"


@MESSAGES.row("900 KB of payload")
async def _(world: World) -> str:
    wire = await world.plain(head=DEFLATE)
    text = json.dumps({"event": "nothing", "data": ["x" * 900_000], "id": 7}).encode()
    for sent in (frame(TEXT, text), frame(TEXT, deflated(text), rsv=4)):
        await wire.send(sent)
        assert (await wire.answered(7))["code"] == "UNKNOWN_EVENT"
    await wire.goes_on()
    return "answer UNKNOWN_EVENT"


@MESSAGES.row("a connection that is cut while it is told what waited")
async def _(world: World) -> str:
    await letters.write(world)
    world.narrow()
    deaf = await world.deaf_plain("/ws")
    await until(lambda: world.plain_outflow().choked, what="a message that is not taken")
    hang_up(deaf)
    await world.forgotten()
    assert await letters.read(world) == list(range(letters.COUNT))
    return "all comes again"


# --- floods ---


@MESSAGES.row("a flood of malformed JSON")
async def _(world: World) -> str:
    wire = await world.plain("/notifications")
    await wire.send(frame(TEXT, b"{") * 5000)
    await wire.say(*heartbeats('"end"'))
    codes = []
    while (message := json.loads(await wire.hears())).get("id") != "end":
        codes.append(message["data"]["code"])
    assert codes == ["INVALID_PAYLOAD"] * MESSAGES_BURST + ["RATE_LIMIT_EXCEEDED"]
    async with flooding(wire, frame(TEXT, b"{") * 500):
        await world.others_go_on()
    return f"error {codes[0]}, then {codes[-1]}"


def flood(name: str, path: str, event: str, payload: object, burst: int) -> None:
    """A row about more events than a person may send at once, over several of their sockets."""

    @MESSAGES.row(name)
    async def _(world: World) -> str:
        wires = [await world.plain(path) for _ in range(3)]
        sent = frame(TEXT, json.dumps({"event": event, "data": payload, "id": 7}).encode())
        codes = []
        for wire in wires:
            await wire.send(sent * 500)
            codes += [(await wire.answered(7)).get("code") for _ in range(500)]
        assert codes.index("RATE_LIMIT_EXCEEDED") == burst
        assert set(codes[burst:]) == {"RATE_LIMIT_EXCEEDED"}
        await goes_on_meanwhile(world, wires[0], sent * 100)
        return f"answer {codes[-1]}"


async def goes_on_meanwhile(world: World, wire: PlainSocket, data: bytes) -> None:
    """Nobody waits for somebody who sends without end, and is answered, too."""
    async with flooding(wire, data):
        await wire.answered(7)
        await world.others_go_on()


flood("a flood of events", "/dashboard", "subscribe", "news", SIGNALS_BURST)
flood("a flood of typing", "/ws", "typing", {"receiverId": "9"}, SIGNALS_BURST)
flood("a flood of messages", "/ws", "markAsRead", {"messageId": "7"}, MESSAGES_BURST)
flood("a flood of events that do not exist", "/notifications", "nothing", {}, MESSAGES_BURST)
flood("a flood of reserved names", "/notifications", "disconnect", {}, MESSAGES_BURST)


@MESSAGES.row("a flood of `PING`")
async def _(world: World) -> str:
    wire = await world.plain("/ws")
    await goes_on_meanwhile(world, wire, frame(TEXT, b'{"event":"PING","id":7}') * 100)
    return GOES_ON
