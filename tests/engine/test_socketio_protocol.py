"""Socket.IO, protocol 5: what clients see on the wire, and what handlers and callers may count on."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest
import socketio
from socketio.exceptions import ConnectionRefusedError as Refusal

from tests.engine import protocol
from tests.engine.protocol import Endpoint, Frame, Frames, Gone, Refused, until

QUICK: dict[str, Any] = {"ping_interval": 0.3, "ping_timeout": 0.2}
Start = Callable[..., Awaitable[Endpoint]]


@pytest.fixture
async def echo() -> AsyncIterator[Endpoint]:
    async with protocol.socketio_echo() as endpoint:
        yield endpoint


@pytest.fixture
async def quick() -> AsyncIterator[Endpoint]:
    """A server that soon takes a silent client for dead."""
    async with protocol.socketio_echo(**QUICK) as endpoint:
        yield endpoint


@pytest.fixture
async def beating() -> AsyncIterator[Endpoint]:
    """A server that pings often, and waits long for the answer."""
    async with protocol.socketio_echo(ping_interval=0.3) as endpoint:
        yield endpoint


@pytest.fixture
def server() -> Any:
    """A server whose handlers the test adds. Anybody may connect to `/`."""
    server = protocol.build()
    server.on("connect", accept)
    return server


@pytest.fixture
async def start(server: Any) -> AsyncIterator[Start]:
    """Start the server, or another one."""
    async with AsyncExitStack() as running:

        async def run(other: Any = None) -> Endpoint:
            return await running.enter_async_context(protocol.socketio_server(other or server))

        yield run


async def accept(sid: str, environ: dict[str, Any], auth: object) -> None:
    """Let everybody in."""


def refusal(frame: Frame, namespace: str = "") -> Any:
    """Return what a CONNECT was refused with."""
    assert isinstance(frame, str)
    assert frame.startswith(f"44{namespace}")
    return json.loads(frame.removeprefix(f"44{namespace}"))


def event_id(frame: Frame, event: str) -> str:
    """Return the id under which the server wants an event acknowledged."""
    assert isinstance(frame, str)
    head, _, rest = frame.partition("[")
    assert json.loads("[" + rest)[0] == event
    assert head.removeprefix("42").isdigit()
    return head.removeprefix("42")


async def ended(frames: Frames) -> list[Frame]:
    """Return what the server says before it closes, but for its goodbye."""
    return [frame for frame in await frames.until_closed() if frame not in ("1", "2")]


# --- Engine.IO below ---


async def test_a_polling_handshake_opens_a_session(quick: Endpoint) -> None:
    session = await quick.poller()
    assert session.sid
    assert session.opening == {
        "sid": session.sid,
        "upgrades": ["websocket"],
        "pingInterval": 300,
        "pingTimeout": 200,
        "maxPayload": 1_000_000,
    }


async def test_a_websocket_handshake_opens_a_session(quick: Endpoint) -> None:
    opening = (await quick.websocket()).opening
    assert isinstance(opening["sid"], str)
    assert opening["upgrades"] == []
    assert (opening["pingInterval"], opening["pingTimeout"], opening["maxPayload"]) == (300, 200, 1_000_000)


@pytest.mark.parametrize("query", [{"EIO": None}, {"EIO": "abc"}, {"transport": None}, {"transport": "abc"}])
async def test_another_version_or_transport_is_refused(echo: Endpoint, query: dict[str, str | None]) -> None:
    assert (await echo.request("GET", **query))[0] == 400
    try:
        frames = await echo.frames(**query)
    except Refused:
        return
    assert await frames.until_closed() == []


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_session_is_opened_with_get_only(echo: Endpoint, method: str) -> None:
    assert (await echo.request(method))[0] == 400


async def test_a_polling_client_that_answers_pings_lives_on(beating: Endpoint) -> None:
    session = await beating.poller()
    for _ in range(3):
        assert await session.poll() == ["2"]
        await session.send("3")


async def test_a_websocket_client_that_answers_pings_lives_on(beating: Endpoint) -> None:
    frames = await beating.websocket()
    for _ in range(3):
        assert await frames.next() == "2"
        await frames.send("3")


async def test_a_polling_client_that_answers_no_ping_is_closed(quick: Endpoint) -> None:
    assert await (await quick.poller()).refused() == 400


async def test_a_websocket_client_that_answers_no_ping_is_closed(quick: Endpoint) -> None:
    frames = await quick.joined()
    assert "auth" in await frames.text()
    assert await ended(frames) == []


async def test_a_close_packet_ends_the_waiting_poll_and_the_session(echo: Endpoint) -> None:
    session = await echo.poller()
    poll = await session.waiting_poll()
    await session.send("1")
    assert await poll == (200, "6")
    assert (await session.get())[0] == 400


async def test_a_session_moves_from_polling_to_websocket(echo: Endpoint) -> None:
    session = await echo.poller()
    await session.send("40")
    connected, greeting = await session.receive(2)
    assert connected.startswith('40{"sid":')
    assert greeting == '42["auth",{}]'
    frames = await session.upgrade()
    await frames.send('42["message","moved"]')
    assert await frames.next() == '42["message-back","moved"]'
    assert (await session.get())[0] == 400


async def test_a_session_that_has_moved_takes_no_other_websocket(echo: Endpoint) -> None:
    session = await echo.poller()
    frames = await session.upgrade()
    with suppress(Refused):
        assert await (await echo.frames(sid=session.sid)).until_closed() == []
    assert await frames.join()


# --- connect ---


@pytest.mark.parametrize("namespace", ["/", "/custom"])
@pytest.mark.parametrize("auth", [None, {"token": "123"}])
async def test_a_connect_is_answered_with_an_id_and_the_handler_gets_the_payload(
    echo: Endpoint, namespace: str, auth: dict[str, str] | None
) -> None:
    frames = await echo.joined(namespace, auth)
    assert frames.sid
    prefix = "" if namespace == "/" else "/custom,"
    assert await frames.next() == f'42{prefix}["auth",' + json.dumps(auth or {}, separators=(",", ":")) + "]"


async def test_the_id_of_a_connection_is_not_that_of_its_session(echo: Endpoint) -> None:
    frames = await echo.greeted()
    first = frames.sid
    await frames.join("/custom")
    assert len({first, frames.sid, frames.opening["sid"]}) == 3


async def test_a_namespace_may_be_named_without_a_comma(echo: Endpoint) -> None:
    frames = await echo.websocket()
    await frames.send("40/custom")
    assert (await frames.text()).startswith('40/custom,{"sid":')


@pytest.mark.parametrize("packet", ["40/random", "40/random,", '40/random,{"token":"123"}'])
async def test_an_unknown_namespace_is_refused_and_the_session_goes_on(echo: Endpoint, packet: str) -> None:
    frames = await echo.websocket()
    await frames.send(packet)
    assert await frames.next() == '44/random,{"message":"Invalid namespace"}'
    assert await frames.join()


async def test_a_session_that_never_connects_is_closed(quick: Endpoint) -> None:
    assert await ended(await quick.websocket()) == []


@pytest.mark.parametrize("packet", ["4abc", '42["message",1]', "41/custom", '431["x"]', '44{"message":"no"}', b"\x01"])
async def test_anything_but_a_connect_at_first_closes(echo: Endpoint, packet: Frame) -> None:
    frames = await echo.websocket()
    with suppress(ConnectionError):
        await frames.send(packet, "40")
    assert await ended(frames) == []


async def test_an_event_before_the_connect_reaches_no_handler(server: Any, start: Start) -> None:
    log: list[object] = []
    server.on("thing", lambda sid, *args: log.append(args))
    endpoint = await start()
    frames = await endpoint.websocket()
    await frames.send('42["thing",1]')
    await ended(frames)
    assert log == []


async def test_a_second_connect_to_a_namespace_gives_no_second_connection(server: Any, start: Start) -> None:
    log: list[str] = []

    async def connect(sid: str, environ: dict[str, Any], auth: object) -> None:
        log.append(sid)

    server.on("connect", connect)
    frames = await (await start()).joined()
    await frames.send("40")
    try:
        answer = await frames.text()
        assert answer in ("1", "41") or answer.startswith("44")
    except Gone:
        pass
    assert log == [frames.sid]


async def test_a_handler_can_refuse_with_a_message_and_data(server: Any, start: Start) -> None:
    async def connect(sid: str, environ: dict[str, Any], auth: object) -> None:
        raise Refusal("not today", {"code": 7})

    server.on("connect", connect)
    frames = await (await start()).websocket()
    await frames.send("40")
    assert refusal(await frames.next()) == {"message": "not today", "data": {"code": 7}}


async def test_a_handler_can_refuse_with_several_values(server: Any, start: Start) -> None:
    def connect(sid: str, environ: dict[str, Any], auth: object) -> None:
        raise Refusal("not today", 1, "b")

    server.on("connect", connect, namespace="/custom")
    frames = await (await start()).websocket()
    await frames.send("40/custom,")
    assert refusal(await frames.next(), "/custom,") == {"message": "not today", "data": [1, "b"]}


async def test_a_handler_can_refuse_with_false(server: Any, start: Start) -> None:
    server.on("connect", lambda sid, environ, auth: False)
    frames = await (await start()).websocket()
    await frames.send("40")
    assert "message" in refusal(await frames.next())


async def test_a_connect_handler_that_fails_lets_nobody_in(server: Any, start: Start) -> None:
    async def connect(sid: str, environ: dict[str, Any], auth: object) -> None:
        raise RuntimeError("broken")

    left: list[object] = []
    server.on("connect", connect)
    server.on("disconnect", lambda sid, reason: left.append(sid))
    frames = await (await start()).websocket()
    await frames.send("40")
    assert "broken" not in json.dumps(refusal(await frames.next()))
    assert left == []


async def test_a_refused_client_may_try_again(server: Any, start: Start) -> None:
    async def connect(sid: str, environ: dict[str, Any], auth: object) -> None:
        if auth != {"token": "right"}:
            raise Refusal("wrong")

    server.on("connect", connect)
    frames = await (await start()).websocket()
    await frames.send('40{"token":"wrong"}')
    assert refusal(await frames.next())["message"] == "wrong"
    assert await frames.join(auth={"token": "right"})


async def test_a_connect_handler_need_not_take_the_payload(server: Any, start: Start) -> None:
    log: list[str] = []
    server.on("connect", lambda sid, environ: log.append(sid))
    frames = await (await start()).joined()
    assert log == [frames.sid]


async def test_events_that_come_right_behind_the_connect_wait_for_it(server: Any, start: Start) -> None:
    log: list[str] = []
    may_go_on = asyncio.Event()

    async def connect(sid: str, environ: dict[str, Any], auth: object) -> None:
        log.append("connecting")
        await may_go_on.wait()
        log.append("connected")

    server.on("connect", connect)
    server.on("thing", lambda sid: log.append("thing"))
    endpoint = await start()
    frames = await endpoint.websocket()
    await frames.send("40", '421["thing"]')
    await until(lambda: log)
    await endpoint.settle()
    assert log == ["connecting"]
    may_go_on.set()
    assert (await frames.text()).startswith("40")
    assert await frames.next() == "431[]"
    assert log == ["connecting", "connected", "thing"]


# --- what the handlers know of a client ---


async def test_the_environ_has_address_headers_and_query(server: Any, start: Start) -> None:
    given: list[dict[str, Any]] = []
    server.on("connect", lambda sid, environ, auth: given.append(environ))
    endpoint = await start()
    endpoint.http.headers.update({"X-Shop": "tea", "Authorization": "Basic YTpi"})
    frames = await endpoint.joined()
    assert given[0]["HTTP_X_SHOP"] == "tea"
    for environ in (given[0], server.get_environ(frames.sid)):
        assert environ["REQUEST_METHOD"] == "GET"
        assert environ["REMOTE_ADDR"] == "127.0.0.1"
        assert environ["HTTP_AUTHORIZATION"] == "Basic YTpi"
        assert environ["HTTP_HOST"] in endpoint.url
        assert "transport=websocket" in environ["QUERY_STRING"]


async def test_a_saved_session_is_read_again(server: Any, start: Start) -> None:
    async def connect(sid: str, environ: dict[str, Any], auth: object) -> None:
        await server.save_session(sid, {"auth": auth})

    async def count(sid: str) -> int:
        async with server.session(sid) as kept:
            kept["count"] = int(kept.get("count", 0)) + 1
            return int(kept["count"])

    server.on("connect", connect)
    server.on("count", count)
    endpoint = await start()
    frames, other = await endpoint.joined(auth={"n": 1}), await endpoint.joined(auth={"n": 2})
    await frames.send('421["count"]', '422["count"]')
    assert await frames.take(2) == ["431[1]", "432[2]"]
    assert await server.get_session(frames.sid) == {"auth": {"n": 1}, "count": 2}
    assert await server.get_session(other.sid) == {"auth": {"n": 2}}


async def test_each_namespace_has_a_saved_session_of_its_own(server: Any, start: Start) -> None:
    server.on("connect", accept, namespace="/custom")
    frames = await (await start()).joined()
    main = frames.sid
    custom = await frames.join("/custom")
    await server.save_session(main, {"of": "main"})
    await server.save_session(custom, {"of": "custom"}, namespace="/custom")
    assert await server.get_session(main) == {"of": "main"}
    assert await server.get_session(custom, namespace="/custom") == {"of": "custom"}


# --- events ---


ARGUMENTS = ['1,"2",{"3":[true]}', "", "null", '"\u20ac \U0001f600"', "[]", "[1,2]", "1.5,-1,0,false", '{"a":{"b":{}}}']


@pytest.mark.parametrize("args", ARGUMENTS)
@pytest.mark.parametrize("prefix", ["", "/custom,"])
async def test_an_event_carries_its_arguments(echo: Endpoint, args: str, prefix: str) -> None:
    frames = await echo.greeted("/custom" if prefix else "/")
    after = f",{args}" if args else ""
    await frames.send(f'42{prefix}["message"{after}]')
    assert json.loads((await frames.text()).removeprefix(f"42{prefix}")) == ["message-back", *json.loads(f"[{args}]")]


TWO = '[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]'


@pytest.mark.parametrize("prefix", ["", "/custom,"])
async def test_an_event_carries_bytes(echo: Endpoint, prefix: str) -> None:
    frames = await echo.greeted("/custom" if prefix else "/")
    await frames.send(f'452-{prefix}["message",{TWO[1:]}', b"\x01\x02\x03", b"\x04\x05\x06")
    assert await frames.take(3) == [f'452-{prefix}["message-back",{TWO[1:]}', b"\x01\x02\x03", b"\x04\x05\x06"]


async def test_bytes_may_be_deep_inside_an_argument(echo: Endpoint) -> None:
    frames = await echo.greeted()
    await frames.send('451-["message",{"a":[1,{"_placeholder":true,"num":0}]}]', b"\xff\x00")
    assert await frames.take(2) == ['451-["message-back",{"a":[1,{"_placeholder":true,"num":0}]}]', b"\xff\x00"]


async def test_bytes_go_over_polling_too(echo: Endpoint) -> None:
    session = await echo.poller()
    await session.send("40")
    await session.receive(2)
    await session.send(f'452-7["message-with-ack",{TWO[1:]}', "bAQID", "bBAUG")
    assert await session.receive(3) == [f"462-7{TWO}", "bAQID", "bBAUG"]


BROKEN: list[tuple[Frame, ...]] = [
    ("4abc",),
    ("4",),
    ("49",),
    ("42{}",),
    ("42[]",),
    ("42",),
    ('42"message"',),
    ('42["message"',),
    ('42abc["message-with-ack",1]',),
    ("45",),
    ('451-["message",{"_placeholder":true,"num":0}]', '42["message"]'),
    ('451-["message",{"_placeholder":true,"num":7}]', b"\x01"),
    ('45x-["message"]',),
    (b"\x01\x02",),
]


@pytest.mark.parametrize("frames", BROKEN)
async def test_what_breaks_the_protocol_closes_that_connection_alone(echo: Endpoint, frames: tuple[Frame, ...]) -> None:
    good, bad = await echo.greeted(), await echo.greeted()
    await bad.send(*frames)
    assert await ended(bad) == []
    await good.send('42["message",1]')
    assert await good.next() == '42["message-back",1]'


@pytest.mark.parametrize("event", ["connect", "disconnect", "connect_error"])
async def test_a_client_cannot_call_a_handler_that_is_not_for_events(server: Any, start: Start, event: str) -> None:
    log: list[tuple[str, object]] = []
    server.on("connect", lambda sid, environ, auth: log.append(("connect", auth)))
    server.on("disconnect", lambda sid, reason: log.append(("disconnect", reason)))
    endpoint = await start()
    frames = await endpoint.joined()
    await frames.send(f'42["{event}",{{}},"forged"]', "1")
    await ended(frames)
    await until(lambda: len(log) > 1)
    assert log[0] == ("connect", None)
    assert [name for name, _ in log] == ["connect", "disconnect"]
    assert ("disconnect", "forged") not in log


async def test_an_event_that_nobody_handles_disturbs_nothing(echo: Endpoint) -> None:
    frames = await echo.greeted()
    await frames.send('42["nobody",1]', '42["message",1]')
    assert await frames.next() == '42["message-back",1]'


async def test_catch_all_handlers_get_the_name_of_the_event(server: Any, start: Start) -> None:
    server.on("*", lambda event, sid, *args: ("any", event, *args))
    server.on("known", lambda sid, *args: ("known", *args))
    frames = await (await start()).joined()
    await frames.send('421["known",1]', '422["other",2,3]', '423["more"]')
    assert await frames.take(3) == ['431["known",1]', '432["any","other",2,3]', '433["any","more"]']


async def test_catch_all_namespaces_get_the_name_of_the_namespace(start: Start) -> None:
    server = protocol.build(namespaces="*")
    connected: list[tuple[str, object]] = []
    server.on("connect", lambda namespace, sid, environ, auth: connected.append((namespace, auth)), namespace="*")
    server.on("thing", lambda namespace, sid, *args: (namespace, *args), namespace="*")
    server.on("*", lambda event, namespace, sid, *args: (event, namespace, *args), namespace="*")
    frames = await (await start(server)).joined("/one", {"n": 1})
    await frames.join("/two")
    await frames.send('42/one,1["thing",5]', '42/two,2["thing"]', '42/two,3["other",6]')
    assert await frames.take(3) == ['43/one,1["/one",5]', '43/two,2["/two"]', '43/two,3["other","/two",6]']
    assert connected == [("/one", {"n": 1}), ("/two", None)]


async def test_a_listed_namespace_needs_no_handler(start: Start) -> None:
    frames = await (await start(protocol.build(namespaces=["/listed"]))).websocket()
    await frames.send("40/other")
    assert refusal(await frames.next(), "/other,")
    assert await frames.join("/listed")


class Shop(socketio.AsyncNamespace):  # type: ignore[misc]
    """A namespace as a class."""

    def __init__(self, namespace: str) -> None:
        super().__init__(namespace)
        self.log: list[object] = []

    async def on_connect(self, sid: str, environ: dict[str, Any], auth: object) -> None:
        self.log.append(("connect", sid, auth))

    async def on_disconnect(self, sid: str, reason: str) -> None:
        self.log.append(("disconnect", sid, reason))

    async def on_order(self, sid: str, what: str) -> tuple[str, int]:
        await self.enter_room(sid, "customers")
        await self.emit("ordered", {"what": what}, room="customers")
        return what, 1

    def on_count(self, sid: str) -> int:
        return len(self.log)


async def test_a_namespace_can_be_a_class(server: Any, start: Start) -> None:
    shop = Shop("/shop")
    server.register_namespace(shop)
    frames = await (await start()).joined("/shop", {"n": 1})
    await frames.send('42/shop,1["order","tea"]', '42/shop,2["count"]', '42/shop,["nothing"]')
    assert await frames.take(3) == ['42/shop,["ordered",{"what":"tea"}]', '43/shop,1["tea",1]', "43/shop,2[1]"]
    await frames.send("41/shop,")
    await until(lambda: len(shop.log) == 2)
    assert shop.log == [("connect", frames.sid, {"n": 1}), ("disconnect", frames.sid, "client disconnect")]


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_handler_that_fails_costs_nobody_the_connection(server: Any, start: Start, asynchronous: bool) -> None:
    async def late(sid: str, *args: Any) -> None:
        raise RuntimeError("broken")

    def early(sid: str, *args: Any) -> None:
        raise RuntimeError("broken")

    server.on("fail", late if asynchronous else early)
    server.on("work", lambda sid: "done")
    frames = await (await start()).joined()
    await frames.send('421["fail"]', '42["fail",1,2,3]', '422["work"]')
    heard = [await frames.text()]
    if heard[0].startswith("431["):
        assert "broken" not in heard[0]
        heard.append(await frames.text())
    assert heard[-1] == '432["done"]'


async def test_a_handler_that_takes_fewer_arguments_costs_nobody_the_connection(server: Any, start: Start) -> None:
    server.on("none", lambda sid: "none")
    frames = await (await start()).joined()
    await frames.send('42["none",1,2]', '422["none"]')
    assert await frames.next() == '432["none"]'


# --- order ---


async def test_the_events_of_one_client_are_handled_one_after_the_other(server: Any, start: Start) -> None:
    log: list[str] = []
    may_go_on = asyncio.Event()

    async def slow(sid: str) -> None:
        log.append("slow begins")
        await may_go_on.wait()
        log.append("slow ends")

    server.on("slow", slow)
    server.on("fast", lambda sid: log.append("fast"))
    endpoint = await start()
    frames, other = await endpoint.joined(), await endpoint.joined()
    await frames.send('42["slow"]', '421["fast"]')
    await until(lambda: log)
    await other.send('427["fast"]')
    assert await other.next() == "437[]"
    await endpoint.settle()
    assert log == ["slow begins", "fast"]
    may_go_on.set()
    assert await frames.next() == "431[]"
    assert log == ["slow begins", "fast", "slow ends", "fast"]


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_a_hundred_events_are_handled_in_order_whatever_their_handlers_wait_for(
    server: Any, start: Start, transport: str
) -> None:
    log: list[int] = []

    async def numbered(sid: str, number: int) -> int:
        for _ in range(number % 4):
            await asyncio.sleep(0)
        log.append(number)
        return number

    server.on("numbered", numbered)
    endpoint = await start()
    events = [f'42{number}["numbered",{number}]' for number in range(100)]
    acks: list[Frame] = [f"43{number}[{number}]" for number in range(100)]
    if transport == "websocket":
        frames = await endpoint.joined()
        await frames.send(*events)
        assert await frames.take(100) == acks
    else:
        session = await endpoint.poller()
        await session.send("40", *events)
        assert (await session.receive(101))[1:] == acks
    assert log == list(range(100))


async def test_what_a_handler_emits_comes_before_its_acknowledgement(server: Any, start: Start) -> None:
    async def thing(sid: str) -> str:
        for number in range(3):
            await server.emit("step", number, to=sid)
        return "done"

    server.on("thing", thing)
    frames = await (await start()).joined()
    await frames.send('421["thing"]')
    assert await frames.take(4) == ['42["step",0]', '42["step",1]', '42["step",2]', '431["done"]']


# --- acknowledgements of the server ---


@pytest.mark.parametrize(
    ("answer", "frame"),
    [
        (None, "431[]"),
        ((), "431[]"),
        ("one", '431["one"]'),
        ((1, "2", {"3": [False]}), '431[1,"2",{"3":[false]}]'),
        ([1, 2], "431[[1,2]]"),
        ((None,), "431[null]"),
        (0, "431[0]"),
        (False, "431[false]"),
        ({}, "431[{}]"),
    ],
)
async def test_what_a_handler_returns_is_the_acknowledgement(
    server: Any, start: Start, answer: object, frame: str
) -> None:
    async def late(sid: str) -> object:
        await asyncio.sleep(0)
        return answer

    server.on("early", lambda sid: answer)
    server.on("late", late)
    frames = await (await start()).joined()
    await frames.send('421["early"]', '421["late"]')
    assert await frames.take(2) == [frame, frame]


async def test_an_event_without_an_id_gets_no_acknowledgement(server: Any, start: Start) -> None:
    server.on("thing", lambda sid: "answer")
    frames = await (await start()).joined()
    await frames.send('42["thing"]', '425["thing"]')
    assert await frames.next() == '435["answer"]'


@pytest.mark.parametrize("id", [0, 1, 456, 2**53 - 1])
@pytest.mark.parametrize("prefix", ["", "/custom,"])
async def test_an_acknowledgement_has_the_id_of_its_event(echo: Endpoint, id: int, prefix: str) -> None:
    frames = await echo.greeted("/custom" if prefix else "/")
    await frames.send(f'42{prefix}{id}["message-with-ack",1,"2",{{"3":[false]}}]')
    assert await frames.next() == f'43{prefix}{id}[1,"2",{{"3":[false]}}]'


async def test_an_id_of_a_thousand_digits_harms_nobody_else(echo: Endpoint) -> None:
    good, bad = await echo.greeted(), await echo.greeted()
    await bad.send("42" + "9" * 1000 + '["message-with-ack",1]')
    await echo.settle()
    await good.send('421["message-with-ack",1]')
    assert await good.next() == "431[1]"


@pytest.mark.parametrize("prefix", ["", "/custom,"])
async def test_an_acknowledgement_carries_bytes(echo: Endpoint, prefix: str) -> None:
    frames = await echo.greeted("/custom" if prefix else "/")
    await frames.send(f'452-{prefix}789["message-with-ack",{TWO[1:]}', b"\x01\x02\x03", b"\x04\x05\x06")
    assert await frames.take(3) == [f"462-{prefix}789{TWO}", b"\x01\x02\x03", b"\x04\x05\x06"]


async def test_bytes_make_an_acknowledgement_binary(server: Any, start: Start) -> None:
    server.on("file", lambda sid: (b"\x01\x02", "name"))
    frames = await (await start()).joined()
    await frames.send('427["file"]')
    assert await frames.take(2) == ['461-7[{"_placeholder":true,"num":0},"name"]', b"\x01\x02"]


# --- acknowledgements of the client ---


@pytest.mark.parametrize(
    ("answer", "result"), [("[]", None), ('["one"]', "one"), ('[1,"b",null]', (1, "b", None)), ("[[1,2]]", [1, 2])]
)
async def test_call_returns_what_the_client_acknowledges(
    server: Any, start: Start, answer: str, result: object
) -> None:
    frames = await (await start()).joined()
    asking = asyncio.create_task(server.call("question", ("a", 1), to=frames.sid))
    frame = await frames.text()
    assert frame.endswith('["question","a",1]')
    await frames.send(f"43{event_id(frame, 'question')}{answer}")
    assert await asking == result


async def test_call_returns_bytes_that_the_client_acknowledges(server: Any, start: Start) -> None:
    frames = await (await start()).joined()
    asking = asyncio.create_task(server.call("question", to=frames.sid))
    id = event_id(await frames.next(), "question")
    await frames.send(f"462-{id}{TWO}", b"\x01", b"\x02")
    assert await asking == (b"\x01", b"\x02")


async def test_call_gives_up_on_a_client_that_does_not_acknowledge(server: Any, start: Start) -> None:
    frames = await (await start()).joined()
    with pytest.raises(socketio.exceptions.TimeoutError):
        await server.call("question", to=frames.sid, timeout=0.01)
    late = event_id(await frames.next(), "question")
    await frames.send(f'43{late}["late"]')
    asking = asyncio.create_task(server.call("again", to=frames.sid))
    await frames.send(f'43{event_id(await frames.next(), "again")}["now"]')
    assert await asking == "now"


async def test_a_handler_can_call_its_client_while_later_events_wait(server: Any, start: Start) -> None:
    log: list[object] = []

    async def ask(sid: str) -> object:
        answer = await server.call("question", to=sid)
        log.append(answer)
        return answer

    server.on("ask", ask)
    server.on("later", lambda sid: log.append("later"))
    endpoint = await start()
    frames = await endpoint.joined()
    await frames.send('421["ask"]', '422["later"]')
    id = event_id(await frames.next(), "question")
    await endpoint.settle()
    assert log == []
    await frames.send(f'43{id}["answer"]')
    assert await frames.take(2) == ['431["answer"]', "432[]"]
    assert log == ["answer", "later"]


async def test_a_handler_can_call_its_client_over_polling(server: Any, start: Start) -> None:
    async def ask(sid: str) -> object:
        return await server.call("question", to=sid)

    server.on("ask", ask)
    session = await (await start()).poller()
    await session.send("40")
    await session.receive(1)
    asking = asyncio.create_task(session.send('421["ask"]'))
    [question] = await session.receive(1)
    await asking
    await session.send(f"43{event_id(question, 'question')}[5]")
    assert await session.receive(1) == ["431[5]"]


async def test_emit_calls_back_with_what_the_client_acknowledges(server: Any, start: Start) -> None:
    log: list[tuple[object, ...]] = []

    async def late(*args: object) -> None:
        log.append(args)

    frames = await (await start()).joined()
    await server.emit("one", 1, to=frames.sid, callback=lambda *args: log.append(args))
    await server.emit("two", 2, to=frames.sid, callback=late)
    first, second = event_id(await frames.next(), "one"), event_id(await frames.next(), "two")
    assert first != second
    await frames.send(f'43{second}["b",2]', f"43{first}[]")
    await until(lambda: len(log) == 2)
    assert sorted(log) == [(), ("b", 2)]


async def test_an_acknowledgement_calls_back_once(server: Any, start: Start) -> None:
    log: list[object] = []
    server.on("thing", lambda sid: "done")
    frames = await (await start()).joined()
    await server.emit("one", to=frames.sid, callback=log.append)
    id = event_id(await frames.next(), "one")
    await frames.send(f"43{id}[1]", f"43{id}[2]", '421["thing"]')
    assert await frames.next() == '431["done"]'
    await until(lambda: log)
    assert log == [1]


@pytest.mark.parametrize("id", [0, 1, 12345, 2**53 - 1])
async def test_an_acknowledgement_of_nothing_is_ignored(echo: Endpoint, id: int) -> None:
    frames = await echo.greeted()
    await frames.send(f'43{id}["x"]', f"461-{id}[" + '{"_placeholder":true,"num":0}]', b"\x01")
    await frames.send('42["message",1]')
    assert await frames.next() == '42["message-back",1]'


async def test_a_forged_acknowledgement_of_0_breaks_no_later_call(server: Any, start: Start) -> None:
    frames = await (await start()).joined()
    for _ in range(2):
        await frames.send("430[]")
        asking = asyncio.create_task(server.call("question", to=frames.sid))
        await frames.send(f"43{event_id(await frames.next(), 'question')}[5]")
        assert await asking == 5


# --- emit, and rooms ---


async def everybody(endpoint: Endpoint, count: int) -> list[Frames]:
    return [await endpoint.joined() for _ in range(count)]


async def heard(server: Any, *clients: Frames) -> list[list[Frame]]:
    """Return what each client has been sent by now."""
    found: list[list[Frame]] = []
    await server.emit("end")
    for client in clients:
        frames: list[Frame] = []
        while (frame := await client.next()) != '42["end"]':
            frames.append(frame)
        found.append(frames)
    return found


@pytest.mark.parametrize(
    ("data", "frame"),
    [
        (None, '42["news"]'),
        ("text", '42["news","text"]'),
        ({"a": 1}, '42["news",{"a":1}]'),
        ([1, 2], '42["news",[1,2]]'),
        ((1, 2), '42["news",1,2]'),
        ((), '42["news"]'),
        (0, '42["news",0]'),
        ("\u20ac", '42["news","\u20ac"]'),
    ],
)
async def test_emit_sends_its_data_as_arguments(server: Any, start: Start, data: object, frame: str) -> None:
    frames = await (await start()).joined()
    await server.emit("news", data)
    assert json.loads((await frames.text()).removeprefix("42")) == json.loads(frame.removeprefix("42"))


async def test_emit_sends_bytes(server: Any, start: Start) -> None:
    frames = await (await start()).joined()
    await server.emit("file", {"name": "a", "body": b"\x01"})
    assert await frames.take(2) == ['451-["file",{"name":"a","body":{"_placeholder":true,"num":0}}]', b"\x01"]


async def test_emit_reaches_everybody_one_room_several_rooms_or_one_client(server: Any, start: Start) -> None:
    one, two, three = clients = await everybody(await start(), 3)
    await server.enter_room(one.sid, "a")
    await server.enter_room(two.sid, "a")
    await server.enter_room(two.sid, "b")
    await server.enter_room(three.sid, "b")
    await server.emit("all")
    await server.emit("to a", to="a")
    await server.emit("room a", room="a")
    await server.emit("both", to=["a", "b"])
    await server.emit("three", to=three.sid)
    await server.emit("nobody", to="nowhere")
    assert await heard(server, *clients) == [
        ['42["all"]', '42["to a"]', '42["room a"]', '42["both"]'],
        ['42["all"]', '42["to a"]', '42["room a"]', '42["both"]'],
        ['42["all"]', '42["both"]', '42["three"]'],
    ]


async def test_emit_can_skip_one_or_several(server: Any, start: Start) -> None:
    one, two, three = clients = await everybody(await start(), 3)
    for client in clients:
        await server.enter_room(client.sid, "a")
    await server.emit("x", to="a", skip_sid=one.sid)
    await server.emit("y", skip_sid=[one.sid, two.sid])
    assert await heard(server, *clients) == [[], ['42["x"]'], ['42["x"]', '42["y"]']]
    assert three


async def test_what_is_emitted_in_a_row_arrives_in_that_row(server: Any, start: Start) -> None:
    one, two = clients = await everybody(await start(), 2)
    for number in range(100):
        await server.emit("n", number, to=one.sid if number % 2 else None)
    assert await heard(server, *clients) == [
        [f'42["n",{number}]' for number in range(100)],
        [f'42["n",{number}]' for number in range(0, 100, 2)],
    ]
    assert two


async def test_rooms_are_entered_left_listed_and_closed(server: Any, start: Start) -> None:
    one, two = clients = await everybody(await start(), 2)
    for client in clients:
        await server.enter_room(client.sid, "a")
    await server.enter_room(one.sid, "b")
    assert {"a", "b"} <= set(server.rooms(one.sid))
    assert "b" not in server.rooms(two.sid)
    await server.leave_room(one.sid, "a")
    assert "a" not in server.rooms(one.sid)
    await server.emit("left", to="a")
    await server.close_room("a")
    await server.emit("closed", to="a")
    assert "a" not in server.rooms(two.sid)
    assert await heard(server, *clients) == [[], ['42["left"]']]


async def test_a_client_that_has_gone_is_in_no_room(server: Any, start: Start) -> None:
    gone: list[str] = []
    server.on("disconnect", lambda sid, reason: gone.append(sid))
    one, two = await everybody(await start(), 2)
    for client in (one, two):
        await server.enter_room(client.sid, "a")
    await one.leave()
    await until(lambda: gone)
    await server.emit("x", to="a")
    await server.emit("y", to=one.sid)
    assert await heard(server, two) == [['42["x"]']]


async def test_a_room_belongs_to_one_namespace(server: Any, start: Start) -> None:
    server.on("connect", accept, namespace="/custom")
    frames = await (await start()).joined()
    main = frames.sid
    custom = await frames.join("/custom")
    await server.enter_room(main, "a")
    await server.enter_room(custom, "a", namespace="/custom")
    await server.emit("main", to="a")
    await server.emit("custom", to="a", namespace="/custom")
    assert await heard(server, frames) == [['42["main"]', '42/custom,["custom"]']]


async def test_several_emits_come_with_one_poll(server: Any, start: Start) -> None:
    session = await (await start()).poller()
    await session.send("40")
    await session.receive(1)
    for number in range(3):
        await server.emit("n", number)
    assert await session.poll() == ['42["n",0]', '42["n",1]', '42["n",2]']


async def test_send_emits_a_message(server: Any, start: Start) -> None:
    frames = await (await start()).joined()
    await server.send({"a": 1}, to=frames.sid)
    assert await frames.next() == '42["message",{"a":1}]'


# --- several namespaces, and the end of them ---


async def test_a_connection_carries_several_namespaces(echo: Endpoint) -> None:
    frames = await echo.greeted()
    await frames.join("/custom")
    assert await frames.next() == '42/custom,["auth",{}]'
    await frames.send('42["message",1]', '42/custom,["message",2]', '42/custom,7["message-with-ack"]')
    assert await frames.take(3) == ['42["message-back",1]', '42/custom,["message-back",2]', "43/custom,7[]"]


async def test_leaving_one_namespace_leaves_the_others(echo: Endpoint) -> None:
    frames = await echo.greeted()
    await frames.join("/custom")
    await frames.next()
    await frames.send("41/custom", '42["message","message to main namespace"]')
    assert await frames.next() == '42["message-back","message to main namespace"]'


async def test_leaving_the_main_namespace_leaves_the_others(echo: Endpoint) -> None:
    frames = await echo.greeted()
    await frames.join("/custom")
    await frames.next()
    await frames.send("41", '42/custom,["message",1]')
    assert await frames.next() == '42/custom,["message-back",1]'


async def test_the_session_outlives_its_last_namespace_for_a_while(beating: Endpoint) -> None:
    frames = await beating.joined()
    while "auth" not in await frames.text():
        pass
    await frames.send("41")
    assert await frames.next() == "2"


async def test_a_namespace_that_was_left_can_be_joined_again(echo: Endpoint) -> None:
    frames = await echo.greeted()
    await frames.join("/custom")
    await frames.next()
    first = frames.sid
    await frames.send("41/custom,")
    assert await frames.join("/custom") != first


async def test_an_event_for_a_namespace_that_was_left_reaches_no_handler(server: Any, start: Start) -> None:
    log: list[object] = []
    server.on("connect", accept, namespace="/custom")
    server.on("thing", lambda sid, *args: log.append(args), namespace="/custom")
    server.on("done", lambda sid: None)
    frames = await (await start()).joined()
    await frames.join("/custom")
    await frames.send("41/custom,", '42/custom,["thing",1]', '421["done"]', "1")
    assert await ended(frames) in ([], ["431[]"])
    assert log == []


@pytest.mark.parametrize(
    ("how", "reasons"),
    [
        ("disconnect packet", {"client disconnect"}),
        ("close packet", {"client disconnect", "transport close"}),
        ("closing handshake", {"transport close"}),
        ("lost connection", {"transport close", "transport error"}),
        ("broken packet", {"transport close", "transport error", "parse error"}),
    ],
)
async def test_the_disconnect_handler_runs_once_and_gets_the_reason(
    server: Any, start: Start, how: str, reasons: set[str]
) -> None:
    log: list[tuple[str, str]] = []

    async def disconnect(sid: str, reason: str) -> None:
        await asyncio.sleep(0)
        log.append((sid, reason))

    server.on("disconnect", disconnect)
    endpoint = await start()
    frames = await endpoint.joined()
    if how == "closing handshake":
        await frames.leave()
    elif how == "lost connection":
        frames.drop()
    else:
        await frames.send({"disconnect packet": "41", "close packet": "1", "broken packet": "4abc"}[how])
    await until(lambda: log)
    frames.drop()
    await endpoint.settle()
    assert [sid for sid, _ in log] == [frames.sid]
    assert log[0][1] in reasons


async def test_a_ping_timeout_is_the_reason_in_every_namespace(start: Start) -> None:
    server = protocol.build(**QUICK)
    log: list[tuple[str, str]] = []
    for namespace in ("/", "/custom"):
        server.on("connect", accept, namespace=namespace)
        server.on("disconnect", lambda sid, reason, of=namespace: log.append((of, reason)), namespace=namespace)
    frames = await (await start(server)).joined()
    await frames.join("/custom")
    await until(lambda: len(log) == 2)
    assert sorted(log) == [("/", "ping timeout"), ("/custom", "ping timeout")]


async def test_an_older_disconnect_handler_takes_no_reason(server: Any, start: Start) -> None:
    log: list[str] = []

    async def disconnect(sid: str) -> None:
        log.append(sid)

    server.on("disconnect", disconnect)
    frames = await (await start()).joined()
    await frames.send("41")
    await until(lambda: log)
    assert log == [frames.sid]


async def test_a_disconnect_handler_still_knows_the_client(server: Any, start: Start) -> None:
    log: list[object] = []

    async def disconnect(sid: str, reason: str) -> None:
        log.append((await server.get_session(sid), "a" in server.rooms(sid)))

    server.on("disconnect", disconnect)
    frames = await (await start()).joined()
    await server.save_session(frames.sid, {"name": "Ada"})
    await server.enter_room(frames.sid, "a")
    await frames.leave()
    await until(lambda: log)
    assert log == [({"name": "Ada"}, True)]


async def test_the_server_can_disconnect_one_namespace(server: Any, start: Start) -> None:
    log: list[str] = []
    server.on("connect", accept, namespace="/custom")
    server.on("disconnect", lambda sid, reason: log.append(reason), namespace="/custom")
    server.on("thing", lambda sid: "done")
    frames = await (await start()).joined()
    custom = await frames.join("/custom")
    await server.disconnect(custom, namespace="/custom")
    assert await frames.next() == "41/custom,"
    assert log == ["server disconnect"]
    await frames.send('421["thing"]')
    assert await frames.next() == '431["done"]'


async def test_a_client_that_the_server_disconnected_hears_no_more(server: Any, start: Start) -> None:
    log: list[str] = []
    server.on("disconnect", lambda sid, reason: log.append(reason))
    frames = await (await start()).joined()
    await server.disconnect(frames.sid)
    await server.emit("news")
    await server.disconnect(frames.sid)
    assert await frames.next() == "41"
    assert log == ["server disconnect"]
    frames.drop()


async def test_a_handler_can_disconnect_its_own_client(server: Any, start: Start) -> None:
    log: list[str] = []

    async def leave(sid: str) -> None:
        await server.disconnect(sid)

    server.on("leave", leave)
    server.on("later", lambda sid: log.append("later"))
    server.on("disconnect", lambda sid, reason: log.append(reason))
    frames = await (await start()).joined()
    await frames.send('42["leave"]', '42["later"]')
    assert await frames.next() == "41"
    await until(lambda: log)
    assert log == ["server disconnect"]
