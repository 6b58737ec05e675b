"""What python-socketio promises to those who write handlers, and what this engine promises beyond it."""

import asyncio
import enum
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
import socketio

from realtime.engine import RealtimeServer
from tests.engine.protocol import Endpoint, Frames, Gone, Refused, build, socketio_server, until
from tests.engine.wires import Member, turns

GOING_AWAY = 1001


@pytest.fixture
def server() -> RealtimeServer:
    server: RealtimeServer = build()
    return server


@pytest.fixture
async def endpoint(server: RealtimeServer) -> AsyncIterator[Endpoint]:
    async with socketio_server(server) as endpoint:
        yield endpoint


async def heard(*members: Member) -> list[list[Any]]:
    """Return the events that each has been sent by the end of what is under way."""
    await turns(3)
    return [member.events() for member in members]


# --- who is reached ---


@pytest.mark.parametrize("target", [{"to": ""}, {"to": []}, {"room": ""}, {"room": []}, {"to": "", "room": "a"}])
async def test_an_empty_target_is_an_error_and_reaches_nobody(server: RealtimeServer, target: dict[str, Any]) -> None:
    members = [Member(server).join() for _ in range(2)]
    await server.enter_room(members[0].sid, "a")
    with pytest.raises(ValueError, match="target"):
        await server.emit("secret", 1, **target)
    assert await heard(*members) == [[], []]


@pytest.mark.parametrize("target", [{"to": ""}, {"to": []}, {"room": ""}])
async def test_a_message_and_a_class_based_namespace_refuse_an_empty_target_too(
    server: RealtimeServer, target: dict[str, Any]
) -> None:
    group = socketio.AsyncNamespace("/")
    server.register_namespace(group)
    member = Member(server).join()
    for send in (server.send, functools.partial(group.emit, "secret"), group.send):
        with pytest.raises(ValueError, match="target"):
            await send(1, **target)
    assert await heard(member) == [[]]


async def test_a_call_needs_a_target(server: RealtimeServer) -> None:
    member = Member(server).join()
    targets: list[dict[str, Any]] = [{}, {"to": ""}, {"sid": ""}]
    for target in targets:
        with pytest.raises(ValueError, match="sid"):
            await server.call("question", 1, **target)
    assert await heard(member) == [[]]


async def test_without_a_target_everybody_is_reached(server: RealtimeServer) -> None:
    members = [Member(server).join() for _ in range(3)]
    await server.emit("news", 1)
    await server.emit("others", 2, skip_sid=members[0].sid)
    news, others = ["news", 1], ["others", 2]
    assert await heard(*members) == [[news], [news, others], [news, others]]


async def test_to_goes_before_room(server: RealtimeServer) -> None:
    members = [Member(server).join() for _ in range(2)]
    for room, member in zip(("a", "b"), members, strict=True):
        await server.enter_room(member.sid, room)
    await server.emit("news", 1, to="a", room="b")
    assert await heard(*members) == [[["news", 1]], []]


async def test_an_emit_may_come_before_any_request(server: RealtimeServer) -> None:
    await server.emit("nobody hears this", 1)
    await server.emit("nobody hears this", 1, to="anybody", callback=lambda *_: None)
    member = Member(server).join()
    await server.emit("news", 1)
    assert await heard(member) == [[["news", 1]]]


# --- rooms ---


async def test_a_connect_handler_may_enter_rooms(server: RealtimeServer) -> None:
    async def connect(sid: str, environ: dict[str, Any]) -> None:
        await server.enter_room(sid, "lobby")

    server.on("connect", connect)
    members = [Member(server).join() for _ in range(2)]
    assert [server.rooms(member.sid) for member in members] == [[member.sid, "lobby"] for member in members]
    await server.emit("news", 1, to="lobby")
    assert await heard(*members) == [[["news", 1]]] * 2


async def test_what_is_sent_to_a_room_entered_while_connecting_follows_the_answer(server: RealtimeServer) -> None:
    async def connect(sid: str, environ: dict[str, Any]) -> None:
        await server.enter_room(sid, "lobby")
        await server.emit("joined", sid, room="lobby")

    server.on("connect", connect)
    first, second = Member(server).join(), Member(server).join()
    await turns(3)
    assert [text[:2] for text in second.heard[1:]] == ["40", "42"]
    assert await heard(first, second) == [[["joined", first.sid], ["joined", second.sid]], [["joined", second.sid]]]


async def test_a_connect_handler_cannot_enter_more_rooms_than_there_may_be() -> None:
    server: RealtimeServer = build(max_rooms=3)

    async def connect(sid: str, environ: dict[str, Any]) -> None:
        for number in range(4):
            await server.enter_room(sid, f"room {number}")

    server.on("connect", connect)
    member = Member(server)
    member.say("40")
    await turns(3)
    assert [text[:2] for text in member.heard[1:]] == ["44"]
    assert server.manager.sids_of(member.session.sid) == []
    assert not server.manager.membership("/").all()


async def test_a_room_left_again_while_connecting_is_not_entered(server: RealtimeServer) -> None:
    async def connect(sid: str, environ: dict[str, Any]) -> None:
        await server.enter_room(sid, "lobby")
        await server.enter_room(sid, "kitchen")
        await server.leave_room(sid, "lobby")

    server.on("connect", connect)
    member = Member(server).join()
    assert server.rooms(member.sid) == [member.sid, "kitchen"]


@pytest.mark.parametrize("waits", [False, True])
async def test_a_refused_connect_leaves_no_membership(
    server: RealtimeServer, endpoint: Endpoint, *, waits: bool
) -> None:
    seen: list[str] = []

    async def connect(sid: str, environ: dict[str, Any], auth: object) -> bool:
        seen.append(sid)
        await server.enter_room(sid, "lobby")
        if waits:
            await asyncio.sleep(0)
        if auth == {"raise": 1}:
            raise socketio.exceptions.ConnectionRefusedError("no")
        return False

    server.on("connect", connect)
    client = await endpoint.websocket()
    await client.send("40", '40{"raise":1}')
    assert [frame[:2] for frame in await client.take(2)] == ["44", "44"]
    membership = server.manager.membership("/")
    assert (len(membership), membership.room_names(), membership.members("lobby")) == (0, set(), frozenset())
    assert len(seen) == 2
    assert not server.manager.eio_of
    assert not server.manager.early
    with pytest.raises(KeyError):
        await server.enter_room(seen[0], "lobby")


async def test_the_rooms_of_a_connection_contain_its_own(server: RealtimeServer) -> None:
    member = Member(server).join()
    assert server.rooms(member.sid) == [member.sid]
    await server.enter_room(member.sid, "b")
    await server.enter_room(member.sid, "a")
    assert server.rooms(member.sid) == [member.sid, "a", "b"]
    await server.leave_room(member.sid, "a")
    assert server.rooms(member.sid) == [member.sid, "b"]


class Room(enum.StrEnum):
    LOBBY = "lobby"


async def test_a_room_name_may_be_an_enumeration_member(server: RealtimeServer) -> None:
    members = [Member(server).join() for _ in range(3)]
    for member in members:
        await server.enter_room(member.sid, Room.LOBBY)
    await server.emit("by member", 1, to=Room.LOBBY)
    await server.emit("by name", 1, to="lobby")
    assert await heard(*members) == [[["by member", 1], ["by name", 1]]] * 3
    await server.leave_room(members[0].sid, "lobby")
    await server.emit("left", 1, to=[Room.LOBBY])
    assert [events[2:] for events in await heard(*members)] == [[], [["left", 1]], [["left", 1]]]
    await server.close_room(Room.LOBBY)
    assert not server.manager.membership("/").room_names()


# --- a session outlives its disconnect handler ---


class Leaving:
    """A disconnect handler that waits until it may go on, and what it then can still ask of its session."""

    def __init__(self, server: RealtimeServer) -> None:
        self.begun = asyncio.Event()
        self.may_go_on = asyncio.Event()
        self.reasons: list[str] = []
        self.found: list[object] = []
        self._server = server
        server.on("connect", self._connect)
        server.on("disconnect", self._disconnect)

    async def _connect(self, sid: str, environ: dict[str, Any]) -> None:
        await self._server.save_session(sid, {"user": 5})

    async def _disconnect(self, sid: str, reason: str) -> None:
        self.reasons.append(reason)
        self.begun.set()
        await self.may_go_on.wait()
        environ = self._server.get_environ(sid)
        self.found.append(environ and environ["roomcast.handshake"].path)
        self.found.append(await self._server.get_session(sid))
        async with self._server.session(sid) as session:
            session["left"] = True
        self.found.append((await self._server.get_session(sid))["left"])

    async def goes_on(self) -> None:
        """Let the handler end; it must have found everything, and the server must then forget the session."""
        self.may_go_on.set()
        await until(lambda: not self._server.eio.sockets)
        assert self.found == ["/socket.io/", {"user": 5, "left": True}, True]
        assert not self._server.manager.eio_of
        assert not self._server._leaving


@pytest.fixture
def leaving(server: RealtimeServer) -> Leaving:
    return Leaving(server)


@pytest.mark.parametrize("last_words", [(), ("1",), ("41",), ("41", "1"), ("41", "40")])
async def test_a_disconnect_handler_that_waits_still_has_its_session(
    server: RealtimeServer, endpoint: Endpoint, leaving: Leaving, last_words: tuple[str, ...]
) -> None:
    """Also when DISCONNECT comes first and the connection is lost while the handler runs."""
    client = await endpoint.joined()
    if last_words:
        await client.send(*last_words)
        if last_words[0] == "41":
            await leaving.begun.wait()
    client.drop()
    await leaving.begun.wait()
    session = next(iter(server.eio.sockets.values()))
    await until(lambda: session.closed)
    assert len(leaving.reasons) == 1
    await leaving.goes_on()
    assert len(leaving.reasons) == 1


@pytest.mark.parametrize("polls", [False, True])
@pytest.mark.parametrize("last_words", [("1",), ("41",), ("41", "1")])
async def test_a_disconnect_handler_of_a_polling_client_still_has_its_session(
    server: RealtimeServer, endpoint: Endpoint, leaving: Leaving, last_words: tuple[str, ...], *, polls: bool
) -> None:
    client = await endpoint.poller()
    await client.send("40")
    await client.receive(1)
    poll = await client.waiting_poll() if polls else None
    for other in server.eio.sockets.keys() - {client.sid}:
        server.eio._drop(other)
    await client.send(*last_words)
    await leaving.begun.wait()
    session = server.eio.sockets[client.sid]
    if "1" not in last_words:
        session.end("transport error")
    await until(lambda: session.closed)
    if poll is not None:
        assert (await poll)[0] == 200
    assert server.eio.sockets[client.sid] is session
    await leaving.goes_on()
    assert len(leaving.reasons) == 1


async def test_a_session_that_ends_while_a_client_is_sent_away_is_forgotten_afterwards(
    server: RealtimeServer, endpoint: Endpoint, leaving: Leaving
) -> None:
    client = await endpoint.joined()
    dismissal = asyncio.create_task(server.disconnect(client.sid))
    await leaving.begun.wait()
    leaving.may_go_on.set()
    await dismissal
    await client.until_closed()
    await leaving.goes_on()
    assert leaving.reasons == ["server disconnect"]


# --- older and other handlers ---


Seen = list[tuple[Any, ...]]


def plain(seen: Seen) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def connect(sid: str, environ: dict[str, Any]) -> None:
        seen.append(("connect", sid, environ["REQUEST_METHOD"]))

    def disconnect(sid: str) -> None:
        seen.append(("disconnect", sid))

    return connect, disconnect


def waiting(seen: Seen) -> tuple[Callable[..., Any], Callable[..., Any]]:
    async def connect(sid: str, environ: dict[str, Any]) -> None:
        await asyncio.sleep(0)
        seen.append(("connect", sid, environ["REQUEST_METHOD"]))

    async def disconnect(sid: str) -> None:
        await asyncio.sleep(0)
        seen.append(("disconnect", sid))

    return connect, disconnect


def partial(seen: Seen) -> tuple[Callable[..., Any], Callable[..., Any]]:
    def connect(kept: Seen, sid: str, environ: dict[str, Any], *, word: str) -> None:
        kept.append((word, sid, environ["REQUEST_METHOD"]))

    def disconnect(kept: Seen, sid: str, *, word: str) -> None:
        kept.append((word, sid))

    return (
        functools.partial(connect, seen, word="connect"),
        functools.partial(disconnect, seen, word="disconnect"),
    )


def waiting_partial(seen: Seen) -> tuple[Callable[..., Any], Callable[..., Any]]:
    connect, disconnect = waiting(seen)

    async def either(work: Callable[..., Awaitable[None]], sid: str, environ: dict[str, Any]) -> None:
        await work(sid, environ)

    async def leaves(work: Callable[..., Awaitable[None]], sid: str) -> None:
        await work(sid)

    return functools.partial(either, connect), functools.partial(leaves, disconnect)


class Methods:
    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    def connect(self, sid: str, environ: dict[str, Any]) -> None:
        self._seen.append(("connect", sid, environ["REQUEST_METHOD"]))

    def disconnect(self, sid: str) -> None:
        self._seen.append(("disconnect", sid))


def methods(seen: Seen) -> tuple[Callable[..., Any], Callable[..., Any]]:
    return Methods(seen).connect, Methods(seen).disconnect


@pytest.mark.parametrize("kind", [plain, waiting, partial, waiting_partial, methods])
async def test_older_handlers_take_neither_auth_nor_a_reason(
    server: RealtimeServer, endpoint: Endpoint, kind: Callable[[Seen], tuple[Callable[..., Any], Callable[..., Any]]]
) -> None:
    seen: Seen = []
    connect, disconnect = kind(seen)
    server.on("connect", connect)
    server.on("disconnect", disconnect)
    client = await endpoint.joined(auth={"token": 1})
    await client.send("41")
    await until(lambda: len(seen) == 2)
    assert seen == [("connect", client.sid, "GET"), ("disconnect", client.sid)]


async def test_a_partial_of_a_newer_handler_takes_everything(server: RealtimeServer, endpoint: Endpoint) -> None:
    seen: Seen = []

    def connect(word: str, sid: str, environ: dict[str, Any], auth: object) -> None:
        seen.append((word, sid, auth))

    def disconnect(word: str, *args: object) -> None:
        seen.append((word, *args))

    server.on("connect", functools.partial(connect, "in"))
    server.on("disconnect", functools.partial(disconnect, "out"))
    client = await endpoint.joined(auth={"token": 1})
    await client.send("41")
    await until(lambda: len(seen) == 2)
    assert seen == [("in", client.sid, {"token": 1}), ("out", client.sid, "client disconnect")]


class Older(socketio.AsyncNamespace):  # type: ignore[misc]
    """A namespace as it was written before there was `auth`."""

    seen: Seen

    async def on_connect(self, sid: str, environ: dict[str, Any]) -> None:
        self.seen.append(("connect", sid, environ["REQUEST_METHOD"]))
        if environ["QUERY_STRING"].endswith("refuse=1"):
            raise socketio.exceptions.ConnectionRefusedError("no")

    async def on_say(self, sid: str, *words: str) -> list[str]:
        self.seen.append(("say", sid, *words))
        return [*words]

    async def on_disconnect(self, sid: str) -> None:
        self.seen.append(("disconnect", sid))


class Overridden(Older):
    """One that looks at every event before it is handled."""

    events: list[str]

    async def trigger_event(self, event: str, *args: Any) -> Any:
        self.events.append(event)
        return await super().trigger_event(event, *args)


class Newer(Overridden):
    async def on_connect(self, sid: str, environ: dict[str, Any], auth: object = None) -> None:
        assert auth == {"token": 1}
        await super().on_connect(sid, environ)

    async def on_disconnect(self, sid: str, reason: str = "") -> None:
        assert reason == "client disconnect"
        await super().on_disconnect(sid)


class Bare(socketio.AsyncNamespace):  # type: ignore[misc]
    """One that overrides `trigger_event` and has no handlers at all."""

    seen: Seen

    async def trigger_event(self, event: str, *args: Any) -> Any:
        self.seen.append((event, *args))
        return "done"


@pytest.mark.parametrize("kind", [Older, Overridden, Newer])
async def test_class_based_namespaces_work_with_older_and_newer_methods(
    server: RealtimeServer, endpoint: Endpoint, kind: type[Older]
) -> None:
    group = kind("/shop")
    group.seen = []
    if isinstance(group, Overridden):
        group.events = []
    server.register_namespace(group)
    client = await endpoint.joined("/shop", {"token": 1})
    await client.send('42/shop,7["say","a","b"]')
    assert await client.next() == '43/shop,7[["a","b"]]'
    await client.send("41/shop,")
    await until(lambda: len(group.seen) == 3)
    assert group.seen == [("connect", client.sid, "GET"), ("say", client.sid, "a", "b"), ("disconnect", client.sid)]
    if isinstance(group, Overridden):
        assert group.events == ["connect", "say", "disconnect"]


@pytest.mark.parametrize("kind", [Older, Overridden])
async def test_a_class_based_namespace_may_refuse(
    server: RealtimeServer, endpoint: Endpoint, kind: type[Older]
) -> None:
    group = kind("/shop")
    group.seen = []
    if isinstance(group, Overridden):
        group.events = []
    server.register_namespace(group)
    client = await endpoint.websocket(refuse="1")
    await client.send("40/shop,")
    assert await client.next() == '44/shop,{"message":"no"}'
    assert [name for name, *_ in group.seen] == ["connect"]


async def test_an_overridden_trigger_event_without_methods_gets_everything(
    server: RealtimeServer, endpoint: Endpoint
) -> None:
    group = Bare("/shop")
    group.seen = []
    server.register_namespace(group)
    client = await endpoint.joined("/shop", {"token": 1})
    await client.send('42/shop,7["say","a"]')
    assert await client.next() == '43/shop,7["done"]'
    await client.send("41/shop,")
    await until(lambda: len(group.seen) == 3)
    (connect, sid, environ, auth), *rest = group.seen
    assert (connect, sid, environ["REQUEST_METHOD"], auth) == ("connect", client.sid, "GET", {"token": 1})
    assert rest == [("say", sid, "a"), ("disconnect", sid, "client disconnect")]


# --- namespaces ---


async def answer_to_connect(endpoint: Endpoint, namespace: str) -> str:
    client = await endpoint.websocket()
    await client.send("40" if namespace == "/" else f"40{namespace},")
    return (await client.text())[:2]


@pytest.mark.parametrize(
    ("namespaces", "accepted"),
    [
        (None, {"/"}),
        ("/chat", {"/chat"}),
        (["/chat"], {"/chat"}),
        (["/", "/chat"], {"/", "/chat"}),
        ("*", {"/", "/chat", "/cha", "/c", "/chat2"}),
    ],
)
async def test_the_namespaces_that_are_accepted_without_a_handler(namespaces: Any, accepted: set[str]) -> None:
    async with socketio_server(build(namespaces=namespaces)) as endpoint:
        answers = {name: await answer_to_connect(endpoint, name) for name in ("/", "/chat", "/cha", "/c", "/chat2")}
    assert {name for name, answer in answers.items() if answer == "40"} == accepted
    assert {name for name, answer in answers.items() if answer == "44"} == answers.keys() - accepted


async def go(client: Frames, namespace: str) -> None:
    await client.send(f"41{namespace},")


async def drop(client: Frames, namespace: str) -> None:
    client.drop()


async def leave(client: Frames, namespace: str) -> None:
    await client.send("1")
    with suppress(Gone):
        await client.next()


@pytest.mark.parametrize("way", [go, drop, leave])
async def test_nothing_is_kept_of_names_that_clients_chose(way: Callable[[Frames, str], Awaitable[None]]) -> None:
    server: RealtimeServer = build(namespaces="*")

    async def connect(namespace: str, sid: str, environ: dict[str, Any], auth: object) -> bool:
        await server.enter_room(sid, "lobby", namespace=namespace)
        return auth != {"refuse": 1}

    server.on("connect", connect, namespace="*")
    async with socketio_server(server) as endpoint:
        for name in ("/a", "/b", "/c"):
            client = await endpoint.joined(name)
            await client.send('40/d,{"refuse":1}')
            assert (await client.text())[:2] == "44"
            await server.emit("news", 1, namespace=name)
            assert (await client.text()) == f'42{name},["news",1]'
            await way(client, name)
            await until(lambda: not server.manager.eio_of)
        assert server.manager._memberships == {}
        assert server.manager._sid_of == {}
        assert server.manager.get_namespaces() == []


async def test_a_name_goes_only_with_its_last_client() -> None:
    server: RealtimeServer = build(namespaces="*")
    first, second = (Member(server).join("/a") for _ in range(2))
    await server.enter_room(first.sid, "lobby", namespace="/a")
    await server.enter_room(second.sid, "lobby", namespace="/a")
    first.say("41/a,")
    await server.emit("news", 1, to="lobby", namespace="/a")
    await turns(3)
    assert '42/a,["news",1]' in second.heard
    assert [*server.manager._memberships] == ["/a"]
    second.say("41/a,")
    assert not server.manager._memberships


@pytest.mark.parametrize("declared", ["handler", "class", "list"])
async def test_the_rooms_of_a_declared_namespace_stay_the_same_object(declared: str) -> None:
    server: RealtimeServer = build(namespaces=["/a"] if declared == "list" else None)
    if declared == "handler":
        server.on("say", lambda *_: None, namespace="/a")
    elif declared == "class":
        server.register_namespace(socketio.AsyncNamespace("/a"))
    membership = server.manager.membership("/a")
    Member(server).join("/a").say("41/a,")
    assert not server.manager.eio_of
    assert server.manager.membership("/a") is membership


async def test_a_late_emit_keeps_nothing_of_a_name_that_a_client_chose() -> None:
    """Its handler may go on after the client has left."""
    server: RealtimeServer = build(namespaces="*")
    member = Member(server).join("/a")
    member.say("41/a,")
    await server.emit("too late", 1, to=member.sid, namespace="/a")
    await server.emit("too late", 1, namespace="/a")
    assert server.rooms(member.sid, "/a") == [member.sid]
    await server.leave_room(member.sid, "lobby", namespace="/a")
    await server.close_room("lobby", namespace="/a")
    assert not server.manager._memberships


# --- after the end ---


async def test_no_session_opens_after_the_server_was_stopped(server: RealtimeServer, endpoint: Endpoint) -> None:
    client, poller = await endpoint.joined(), await endpoint.poller()
    await server.eio.close_all(GOING_AWAY, grace=0.0)
    await client.until_closed()
    assert (await endpoint.request("GET"))[0] == 400
    with pytest.raises(Refused):
        await endpoint.frames()
    assert (await poller.get())[0] == 400
    assert not server.eio.sockets


async def test_no_session_opens_when_the_server_was_stopped_before_any_request(
    server: RealtimeServer, endpoint: Endpoint
) -> None:
    await server.eio.close_all(GOING_AWAY, grace=0.0)
    assert (await endpoint.request("GET"))[0] == 400
    with pytest.raises(Refused):
        await endpoint.frames()
    assert not server.eio.sockets
