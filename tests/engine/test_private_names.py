"""What the engine overrides or uses of python-socketio, python-engineio, aiohttp and asyncio without being promised it.

An update of one of them that breaks a name here breaks these tests, not a deployment.
"""

import ast
import asyncio
import configparser
import importlib.metadata
import inspect
import re
from asyncio import tasks
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import engineio
import pytest
import socketio
from aiohttp import WSMsgType, web
from aiohttp._websocket.reader import WebSocketDataQueue, WebSocketReader
from aiohttp.http import HttpRequestParser
from aiohttp.test_utils import TestServer
from engineio import packet as eio_packet

from realtime.engine.engineio import EngineServer
from realtime.engine.frames import Burst
from realtime.engine.manager import RoomManager
from realtime.engine.server import RealtimeServer, create_server

ROOT = Path(__file__).resolve().parent.parent.parent

OVERRIDDEN: Mapping[type, Mapping[str, str]] = {
    EngineServer: {
        "attach": "(self, app, engineio_path='engine.io')",
        "on": "(self, event, handler=None)",
        "generate_id": "(self)",
        "handle_request": "async (self, *args, **kwargs)",
        "shutdown": "async (self)",
        "_get_socket": "(self, sid)",
    },
    RealtimeServer: {
        "_engineio_server_class": "(self)",
        "call": "async (self, event, data=None, to=None, sid=None, namespace=None, timeout=60, ignore_queue=False)",
        "disconnect": "async (self, sid, namespace=None, ignore_queue=False)",
        "emit": "async (self, event, data=None, to=None, room=None, skip_sid=None, namespace=None, callback=None, "
        "ignore_queue=False)",
        "get_environ": "(self, sid, namespace=None)",
    },
    RoomManager: {
        "__init__": "(self)",
        "get_namespaces": "(self)",
        "pre_connect": "async (self, eio_sid, namespace)",
        "connect": "async (self, sid, namespace)",
        "is_pre_connected": "(self, sid, namespace)",
        "is_connected": "(self, sid, namespace)",
        "sid_from_eio_sid": "(self, eio_sid, namespace)",
        "eio_sid_from_sid": "(self, sid, namespace)",
        "pre_disconnect": "(self, sid, namespace)",
        "basic_disconnect": "(self, sid, namespace, **kwargs)",
        "basic_enter_room": "(self, sid, namespace, room, eio_sid=None)",
        "basic_leave_room": "(self, sid, namespace, room)",
        "basic_close_room": "(self, room, namespace)",
        "get_rooms": "(self, sid, namespace)",
        "get_participants": "(self, namespace, room)",
        "emit": "async (self, event, data, namespace, room=None, skip_sid=None, callback=None, to=None, **kwargs)",
    },
}

ANY_SIGNATURE = {(EngineServer, "__init__"), (RealtimeServer, "__init__")}
"""Overridden, but handed on as it comes."""

USED: Mapping[type, Mapping[str, str]] = {
    engineio.AsyncServer: {
        "send": "async (self, sid, data)",
        "get_session": "async (self, sid)",
        "save_session": "async (self, sid, session)",
        "disconnect": "async (self, sid=None)",
        "transport": "(self, sid)",
    },
    socketio.AsyncServer: {
        "attach": "(self, app, socketio_path='socket.io')",
        "on": "(self, event, handler=None, namespace=None)",
        "shutdown": "async (self)",
        "_get_event_handler": "(self, event, namespace, args)",
        "_get_namespace_handler": "(self, namespace, args)",
    },
    socketio.AsyncNamespace: {
        "trigger_event": "async (self, event, *args)",
    },
    eio_packet.Packet: {
        "__init__": "(self, packet_type=6, data=None, encoded_packet=None)",
        "encode": "(self, b64=False)",
    },
}

FOREIGN_PRIVATE = {
    "_enter_task",  # asyncio: documented for those who extend it
    "_get_event_handler",
    "_get_namespace_handler",
    "_leave_task",
    "_message_tail",  # aiohttp: what was read behind the head of an upgraded request
    "_websocket",  # aiohttp: the package of its frame reader
}
"""Underscored names of the libraries that the product's code mentions without defining them."""


def written(function: Any) -> str:
    """Return a signature as in the tables above."""
    prefix = "async " if inspect.iscoroutinefunction(function) else ""
    return prefix + str(inspect.signature(function)).split(" -> ")[0]


def library_class(ours: type) -> type:
    return ours.__mro__[1]


def entries(table: Mapping[type, Mapping[str, str]]) -> list[tuple[type, str, str]]:
    return [(owner, name, signature) for owner, names in table.items() for name, signature in names.items()]


@pytest.mark.parametrize(("ours", "name", "signature"), entries(OVERRIDDEN))
def test_what_is_overridden_is_there_to_be_overridden(ours: type, name: str, signature: str) -> None:
    assert written(getattr(library_class(ours), name)) == signature


@pytest.mark.parametrize(("ours", "name", "signature"), entries(OVERRIDDEN))
def test_an_override_is_as_asynchronous_as_what_it_replaces(ours: type, name: str, signature: str) -> None:
    assert inspect.iscoroutinefunction(vars(ours)[name]) == signature.startswith("async")


@pytest.mark.parametrize(("owner", "name", "signature"), entries(USED))
def test_what_is_used_has_the_expected_form(owner: type, name: str, signature: str) -> None:
    assert written(getattr(owner, name)) == signature


@pytest.mark.parametrize("ours", OVERRIDDEN)
def test_nothing_is_overridden_by_accident(ours: type) -> None:
    base = library_class(ours)
    functions = {name for name, value in vars(ours).items() if inspect.isfunction(value)}
    overriding = {name for name in functions if name in dir(base) and (ours, name) not in ANY_SIGNATURE}
    assert overriding == set(OVERRIDDEN[ours])


def mentioned(tree: ast.Module) -> set[str]:
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__")
    }


def defined(tree: ast.Module) -> set[str]:
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            names |= {
                inner.attr
                for inner in ast.walk(node)
                if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store)
            }
        elif isinstance(node, ast.ClassDef):
            for line in node.body:
                if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                    names.add(line.target.id)
    return names


def test_no_other_private_names_of_the_libraries_are_used() -> None:
    trees = [
        ast.parse(path.read_text())
        for path in [*(ROOT / "realtime" / "engine").rglob("*.py"), ROOT / "realtime/serving.py"]
    ]
    ours = set().union(*(defined(tree) for tree in trees)) - FOREIGN_PRIVATE
    foreign = set().union(*(mentioned(tree) for tree in trees)) - ours
    assert foreign <= FOREIGN_PRIVATE


# --- state that instances have ---


@pytest.fixture
def server() -> RealtimeServer:
    return create_server()


@pytest.mark.parametrize("name", ["handlers", "namespace_handlers", "namespaces", "manager", "eio", "reason"])
def test_a_socketio_server_has_the_state_that_is_used(server: RealtimeServer, name: str) -> None:
    assert hasattr(server, name)


@pytest.mark.parametrize("name", ["sockets", "handlers", "ping_interval", "ping_timeout", "reason"])
def test_an_engineio_server_has_the_state_that_is_used(server: RealtimeServer, name: str) -> None:
    assert hasattr(server.eio, name)


@pytest.mark.parametrize(
    "name", ["CLIENT_DISCONNECT", "SERVER_DISCONNECT", "TRANSPORT_CLOSE", "TRANSPORT_ERROR", "PING_TIMEOUT"]
)
def test_reasons_of_disconnects_have_their_names(server: RealtimeServer, name: str) -> None:
    assert isinstance(getattr(server.reason, name), str)
    assert getattr(server.eio.reason, name) == getattr(server.reason, name)


def test_the_client_manager_has_the_state_that_is_used(server: RealtimeServer) -> None:
    assert isinstance(server.manager, RoomManager)
    assert server.manager.server is server
    assert server.manager.callbacks == {}


def test_the_servers_are_ours(server: RealtimeServer) -> None:
    assert isinstance(server.eio, EngineServer)


def test_packets_have_the_state_that_is_used() -> None:
    packet = eio_packet.Packet(eio_packet.MESSAGE, b"x")
    assert (packet.binary, packet.data) == (True, b"x")


# --- asyncio ---


async def test_a_task_can_be_entered_and_left() -> None:
    loop, mine = asyncio.get_running_loop(), asyncio.current_task()
    assert mine is not None
    tasks._leave_task(loop, mine)
    assert asyncio.current_task() is None
    tasks._enter_task(loop, mine)
    assert asyncio.current_task() is mine


# --- aiohttp ---


class _Kept(WebSocketDataQueue):
    kept: list[Any]

    def feed_data(self, data: Any, size: int) -> None:
        self.kept.append(data)


async def test_the_frame_reader_hands_whole_messages_to_an_overridden_method() -> None:
    queue = _Kept(None, 1 << 16, loop=asyncio.get_running_loop())  # type: ignore[arg-type]
    queue.kept = []
    reader = WebSocketReader(queue, 100, False, True)
    assert reader.feed_data(b"\x81\x02hi\x81\x02yo") == (False, b"")
    assert [(message.type, message.data) for message in queue.kept] == [(WSMsgType.TEXT, "hi"), (WSMsgType.TEXT, "yo")]
    assert reader.feed_data(b"\xf1\x00")[0]
    assert queue.exception() is not None


async def test_a_handler_lets_go_of_its_connection() -> None:
    """What `handshake.detach` does: the transport stays open, and nothing of the request is left."""
    taken: list[Any] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        protocol = request.protocol
        taken.extend((protocol.transport, protocol._message_tail))
        protocol.transport = None
        protocol.connection_lost(None)
        taken[0].write(b"HTTP/1.1 204 No Content\r\n\r\n")
        return _Nothing()

    app = web.Application()
    app.router.add_get("/", handle)
    async with TestServer(app) as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nbehind")
        assert (await reader.readline()).startswith(b"HTTP/1.1 204")
        assert taken[1] == b"behind"
        assert not taken[0].is_closing()
        taken[0].close()
        writer.close()


class _Nothing(web.StreamResponse):
    async def prepare(self, request: web.BaseRequest) -> None:
        return None

    async def write_eof(self, data: Any = b"") -> None:
        return None


def test_a_parser_of_heads_needs_no_protocol_and_says_what_was_asked() -> None:
    """`realtime.engine.door` reads the head of a handshake by itself."""
    loop = asyncio.new_event_loop()
    try:
        parser = HttpRequestParser(None, loop, 8190, max_line_size=8190, max_field_size=8190, max_headers=128)
        head = b"GET /a?b=c HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        ((message, _),), upgraded, tail = parser.feed_data(head)
    finally:
        loop.close()
    assert (message.method, str(message.url), message.headers["Upgrade"]) == ("GET", "/a?b=c", "websocket")
    assert (upgraded, tail) == (True, b"")


# --- what python-socketio's own methods do with ours ---


async def connected(server: RealtimeServer, eio_sid: str) -> str:
    sid = await server.manager.pre_connect(eio_sid, "/")
    assert sid is not None
    return await server.manager.connect(sid, "/")


class Sent:
    """Keeps what python-socketio sends, instead of sending it."""

    def __init__(self, server: RealtimeServer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.packets: list[tuple[str, str]] = []
        self._server = server
        monkeypatch.setattr(server, "deliver", self._keep)
        monkeypatch.setattr(server.eio, "hub", Quiet(), raising=False)

    def _keep(self, sids: Iterable[str], burst: Burst) -> int:
        found = sorted(self._server.manager.eio_sid(sid) or "" for sid in sids)
        self.packets += [(eio_sid, packet.decode()) for eio_sid in found for packet in burst.packets]
        return len(found)


class Quiet:
    def emitted(self, frames: int) -> bool:
        return False


@pytest.fixture
def sent(server: RealtimeServer, monkeypatch: pytest.MonkeyPatch) -> Sent:
    return Sent(server, monkeypatch)


async def test_emit_reaches_a_room(server: RealtimeServer, sent: Sent) -> None:
    one, other = await connected(server, "e1"), await connected(server, "e2")
    await server.enter_room(one, "lobby")
    await server.emit("hello", {"n": 1}, to="lobby")
    await server.emit("hello", {"n": 2}, to=other)
    assert sent.packets == [("e1", '42["hello",{"n":1}]'), ("e2", '42["hello",{"n":2}]')]


async def test_emit_without_a_target_reaches_everybody(server: RealtimeServer, sent: Sent) -> None:
    await connected(server, "e1")
    await connected(server, "e2")
    await server.emit("hello")
    assert {eio_sid for eio_sid, _ in sent.packets} == {"e1", "e2"}


@pytest.mark.parametrize("target", ["", 0, [], ()])
async def test_emit_to_an_empty_target_never_means_everybody(
    server: RealtimeServer, sent: Sent, target: object
) -> None:
    await connected(server, "e1")
    with pytest.raises(ValueError, match="target"):
        await server.manager.emit("hello", None, "/", to=target)
    assert sent.packets == []


async def test_rooms_are_entered_left_and_listed_through_the_public_names(server: RealtimeServer) -> None:
    sid = await connected(server, "e1")
    await server.enter_room(sid, "lobby")
    assert "lobby" in server.rooms(sid)
    await server.leave_room(sid, "lobby")
    assert "lobby" not in server.rooms(sid)
    await server.enter_room(sid, "lobby")
    await server.close_room("lobby")
    assert "lobby" not in server.rooms(sid)


# --- versions ---


def locked() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return {m[1]: m[2] for line in lines if (m := re.match(r"([A-Za-z0-9_.-]+)==([^ ]+)", line))}


@pytest.mark.parametrize("package", ["python-socketio", "python-engineio", "aiohttp"])
def test_the_libraries_whose_private_names_are_used_have_the_locked_version(package: str) -> None:
    assert importlib.metadata.version(package) == locked()[package]


@pytest.mark.parametrize("package", ["python-socketio", "python-engineio", "aiohttp"])
def test_an_installation_without_the_lock_gets_the_same_versions(package: str) -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    wanted = [line.split() for line in config["options"]["install_requires"].split("\n")]
    assert [package, f"=={locked()[package]}"] in wanted
