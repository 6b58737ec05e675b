"""What the engine overrides or uses of python-socketio, python-engineio and aiohttp without being promised it.

An update of one of them that breaks a name here breaks these tests, not a deployment.
"""

import ast
import configparser
import importlib.metadata
import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import engineio
import engineio.base_socket
import pytest
import socketio
from aiohttp import WSMsgType, web
from engineio import packet as eio_packet
from engineio.async_drivers import aiohttp as driver
from engineio.async_socket import AsyncSocket
from socketio import packet as sio_packet

from realtime.engine.frames import WirePacket
from realtime.engine.manager import RoomManager
from realtime.engine.server import EngineServer, RealtimeServer, create_server
from realtime.engine.socket import EngineSocket

ROOT = Path(__file__).resolve().parent.parent.parent

OVERRIDDEN: Mapping[type, Mapping[str, str]] = {
    EngineServer: {
        "_handle_connect": "async (self, environ, transport, jsonp_index=None)",
    },
    EngineSocket: {
        "__init__": "(self, server, sid)",
        "send": "async (self, pkt)",
        "handle_post_request": "async (self, environ)",
        "close": "async (self, wait=True, abort=False, reason=None)",
        "_websocket_handler": "async (self, ws)",
    },
    RealtimeServer: {
        "_engineio_server_class": "(self)",
        "_handle_eio_connect": "async (self, eio_sid, environ)",
        "_handle_eio_message": "async (self, eio_sid, data)",
        "_handle_connect": "async (self, eio_sid, namespace, data)",
        "_handle_disconnect": "async (self, eio_sid, namespace, reason=None)",
        "_handle_event": "async (self, eio_sid, namespace, id, data)",
        "_handle_ack": "async (self, eio_sid, namespace, id, data)",
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
    WirePacket: {
        "decode": "(self, encoded_packet)",
    },
}

ANY_SIGNATURE = {(EngineServer, "__init__")}
"""Overridden, but handed on as it comes."""

USED: Mapping[type, Mapping[str, str]] = {
    engineio.AsyncServer: {
        "generate_id": "(self)",
        "handle_request": "async (self, *args, **kwargs)",
        "shutdown": "async (self)",
        "start_background_task": "(self, target, *args, **kwargs)",
        "_service_task": "async (self)",
        "_trigger_event": "async (self, event, *args, **kwargs)",
        "_upgrades": "(self, sid, transport)",
        "_ok": "(self, packets=None, headers=None, jsonp_index=None)",
        "_bad_request": "(self, message=None)",
    },
    AsyncSocket: {
        "schedule_ping": "(self)",
        "handle_get_request": "async (self, environ)",
        "poll": "async (self)",
        "receive": "async (self, pkt)",
        "check_ping_timeout": "async (self)",
    },
    socketio.AsyncServer: {
        "on": "(self, event, handler=None, namespace=None)",
        "shutdown": "async (self)",
        "_send_packet": "async (self, eio_sid, pkt)",
        "_send_eio_packet": "async (self, eio_sid, eio_pkt)",
        "_trigger_event": "async (self, event, namespace, *args)",
        "_handle_eio_disconnect": "async (self, eio_sid, reason)",
    },
    sio_packet.Packet: {
        "__init__": "(self, packet_type=2, data=None, namespace=None, id=None, binary=None, encoded_packet=None)",
        "encode": "(self)",
    },
    eio_packet.Packet: {
        "__init__": "(self, packet_type=6, data=None, encoded_packet=None)",
        "encode": "(self, b64=False)",
    },
}

FOREIGN_PRIVATE = {
    "_async",
    "_bad_request",
    "_binary_packet",
    "_ok",
    "_send_packet",
    "_server",  # aiohttp's web.TCPSite: the listening socket, for the port that was taken
    "_service_task",
    "_trigger_event",
    "_upgrades",
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


@pytest.mark.parametrize("name", ["_binary_packet", "environ", "handlers", "manager", "packet_class", "eio", "reason"])
def test_a_socketio_server_has_the_state_that_is_used(server: RealtimeServer, name: str) -> None:
    assert hasattr(server, name)


@pytest.mark.parametrize(
    "name",
    [
        "sockets",
        "start_service_task",
        "service_task_handle",
        "ping_interval",
        "ping_timeout",
        "max_http_buffer_size",
        "reason",
        "_async",
    ],
)
def test_an_engineio_server_has_the_state_that_is_used(server: RealtimeServer, name: str) -> None:
    assert hasattr(server.eio, name)


async def test_an_engineio_socket_has_the_state_that_is_used(server: RealtimeServer) -> None:
    stock = AsyncSocket(server.eio, "sid")
    state = {"connected", "upgrading", "upgraded", "closing", "closed", "last_ping", "queue", "server", "sid"}
    assert state <= set(vars(stock))


@pytest.mark.parametrize("name", ["CLIENT_DISCONNECT", "SERVER_DISCONNECT", "TRANSPORT_CLOSE", "TRANSPORT_ERROR"])
def test_reasons_of_disconnects_have_their_names(server: RealtimeServer, name: str) -> None:
    assert isinstance(getattr(server.reason, name), str)
    assert getattr(server.eio.reason, name) == getattr(server.reason, name)


def test_the_client_manager_has_the_state_that_is_used(server: RealtimeServer) -> None:
    assert isinstance(server.manager, RoomManager)
    assert server.manager.server is server
    assert server.manager.callbacks == {}


def test_the_servers_are_ours(server: RealtimeServer) -> None:
    assert isinstance(server.eio, EngineServer)
    assert server.packet_class is WirePacket


def test_the_driver_is_replaced_for_one_server_only(server: RealtimeServer) -> None:
    assert set(driver._async) >= {"asyncio", "create_route", "translate_request", "make_response", "websocket"}
    assert server.eio._async["websocket"] is not driver._async["websocket"]
    assert {**server.eio._async, "websocket": None} == {**driver._async, "websocket": None}


def test_the_driver_hands_on_the_request_under_the_name_that_is_used() -> None:
    assert '"aiohttp.request"' in inspect.getsource(driver).replace("'", '"')


def test_a_packet_class_brings_its_own_json() -> None:
    assert hasattr(sio_packet.Packet, "json")
    assert sio_packet.Packet.json is not WirePacket.json


def test_packet_types_have_their_names() -> None:
    for name in ("CONNECT", "DISCONNECT", "EVENT", "ACK", "CONNECT_ERROR", "BINARY_EVENT", "BINARY_ACK"):
        assert isinstance(getattr(sio_packet, name), int)
    for name in ("OPEN", "CLOSE", "PING", "PONG", "MESSAGE", "UPGRADE", "NOOP"):
        assert isinstance(getattr(eio_packet, name), int)


# --- aiohttp ---


def test_websocket_responses_take_the_options_that_are_used() -> None:
    options = inspect.signature(web.WebSocketResponse).parameters
    assert {"max_msg_size", "compress", "autoclose"} <= set(options)
    for name in ("prepare", "receive", "send_str"):
        assert inspect.iscoroutinefunction(getattr(web.WebSocketResponse, name))


def test_a_request_gives_its_transport() -> None:
    assert isinstance(web.Request.transport, property)


def test_message_types_have_their_names() -> None:
    assert {WSMsgType.TEXT, WSMsgType.BINARY} <= set(WSMsgType)


async def test_a_site_keeps_its_server() -> None:
    runner = web.AppRunner(web.Application())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        [socket] = getattr(site._server, "sockets")  # noqa: B009  typeshed knows no such attribute
        assert socket.getsockname()[1] > 0
    finally:
        await runner.cleanup()


# --- what python-socketio's own methods do with ours ---


async def connected(server: RealtimeServer, eio_sid: str) -> str:
    sid = await server.manager.pre_connect(eio_sid, "/")
    assert sid is not None
    return await server.manager.connect(sid, "/")


class Sent:
    """Keeps what python-socketio sends, instead of sending it."""

    def __init__(self, server: RealtimeServer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.packets: list[tuple[str, str]] = []
        monkeypatch.setattr(server, "_send_eio_packet", self._keep)

    async def _keep(self, eio_sid: str, packet: eio_packet.Packet) -> None:
        self.packets.append((eio_sid, packet.encode()))


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


@pytest.mark.parametrize("package", ["python-socketio", "python-engineio"])
def test_an_installation_without_the_lock_gets_the_same_versions(package: str) -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    wanted = [line.split() for line in config["options"]["install_requires"].split("\n")]
    assert [package, f"=={locked()[package]}"] in wanted
