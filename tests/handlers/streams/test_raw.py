"""Plain sockets: what may be said on them, who may open one, how many there may be, and what they hear."""

import asyncio
import ipaddress
from collections.abc import Sequence
from typing import Any

import aiohttp
import pytest
import socketio

from realtime.dialects.base import Dialect
from realtime.dialects.dashboard import DASHBOARD
from realtime.dialects.messaging import MESSAGING
from realtime.dialects.notifications import NOTIFICATIONS
from realtime.engine.server import RESERVED_EVENTS
from tests.conftest import Starter
from tests.support import Client, FakeClock, Plain, Running, Stream, bearer, token, until

TWINS = ["/notifications", "/dashboard", "/ws"]
GUESTS = "/ws/notifications"
ADMIN = bearer(1, "admin")
LOOPBACK = ipaddress.ip_network("127.0.0.0/8")
UNKNOWN = {"success": False, "code": "UNKNOWN_EVENT", "message": "Unknown event", "error": "Unknown event"}


async def refusal(running: Running, id: int | str, namespace: str, **more: Any) -> Any:
    """Return the connect_error of somebody who may not connect."""
    sio = socketio.AsyncClient(reconnection=False, http_session=running.http)
    said: list[Any] = []
    sio.on("connect_error", said.append, namespace=namespace)
    auth = {"token": token(id, **more)}
    with pytest.raises(socketio.exceptions.ConnectionError):
        await sio.connect(running.url, auth=auth, namespaces=[namespace], transports=["websocket"], wait_timeout=5)
    await sio.disconnect()
    return said[0]


async def guest(running: Running, id: int = 123) -> Plain:
    return await running.plain(GUESTS, id, guest=True, query=f"guestId={id}")


# --- what may be said ---


@pytest.mark.parametrize("path", TWINS)
@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        ("{", "The message is not valid JSON"),
        ("", "The message is not valid JSON"),
        ('{"event":"heartbeat","data":NaN}', "The message is not valid JSON"),
        ("[" * 100 + "]" * 100, "The message is not valid JSON"),
        ('"heartbeat"', 'A message is an object: {"event", "data"}'),
        ('["heartbeat"]', 'A message is an object: {"event", "data"}'),
        ("null", 'A message is an object: {"event", "data"}'),
        ('{"type":"heartbeat"}', "An event needs a name"),
        ('{"event":7}', "An event needs a name"),
        ('{"event":""}', "An event needs a name"),
        ('{"event":"' + "x" * 129 + '"}', "An event needs a name"),
        ('{"event":"heartbeat","id":{}}', "id is a text or a number"),
        ('{"event":"heartbeat","id":["1"]}', "id is a text or a number"),
        ('{"event":"heartbeat","id":false}', "id is a text or a number"),
        ('{"event":"heartbeat","id":"' + "x" * 129 + '"}', "id is a text or a number"),
    ],
)
async def test_what_is_no_event_is_an_error_and_the_socket_stays(
    running: Running, path: str, message: str, complaint: str
) -> None:
    plain = await running.plain(path, 7)
    await plain.send(message)
    error = await plain.hears("error")
    assert (error["code"], error["message"], error["error"]) == ("INVALID_PAYLOAD", complaint, complaint)
    assert "event" not in error
    assert (await plain.ask("heartbeat"))["success"] is True


@pytest.mark.parametrize("path", TWINS)
async def test_binary_messages_are_refused(running: Running, path: str) -> None:
    plain = await running.plain(path, 7)
    await plain.ws.send_bytes(b'{"event":"heartbeat"}')
    assert (await plain.hears("error"))["message"] == "Messages are text"
    assert (await plain.ask("heartbeat"))["success"] is True


@pytest.mark.parametrize("path", [*TWINS, GUESTS])
async def test_a_message_that_is_too_long_ends_the_socket(running: Running, path: str) -> None:
    plain = await guest(running) if path == GUESTS else await running.plain(path, 7)
    await plain.send('"' + "x" * 1_000_001 + '"')
    assert (await plain.ends())[0] == 1009


@pytest.mark.parametrize("name", sorted(RESERVED_EVENTS))
async def test_names_that_socket_io_reserves_are_unknown_here_too(running: Running, name: str) -> None:
    plain = await running.plain("/dashboard", 7)
    answer = await plain.ask(name, {})
    assert (answer["success"], answer["code"]) == (False, "UNKNOWN_EVENT")
    assert (await plain.ask("heartbeat"))["success"] is True


@pytest.mark.parametrize("path", TWINS)
async def test_an_unknown_event_is_answered(running: Running, path: str) -> None:
    plain = await running.plain(path, 7)
    assert await plain.ask("join_room", "user_8") == UNKNOWN


@pytest.mark.parametrize("id", ["text", "", "0", 0, 7, -1, 1.5, 2**53])
async def test_an_id_comes_back_as_it_was(running: Running, id: object) -> None:
    plain = await running.plain("/ws", 7)
    await plain.send({"event": "heartbeat", "id": id})
    await plain.hears("heartbeat")
    assert plain.heard[-1] == {"event": "heartbeat", "data": {"success": True}, "id": id}
    assert type(plain.heard[-1]["id"]) is type(id)


async def test_an_id_of_null_is_none(running: Running) -> None:
    plain = await running.plain("/ws", 7)
    await plain.send({"event": "heartbeat", "id": None})
    await plain.hears("heartbeat")
    assert plain.heard[-1] == {"event": "heartbeat", "data": {"success": True}}


@pytest.mark.parametrize(
    ("dialect", "name"),
    [(dialect, name) for dialect in (NOTIFICATIONS, DASHBOARD, MESSAGING) for name in sorted(dialect.inbound)],
    ids=lambda value: value if isinstance(value, str) else value.namespace,
)
async def test_every_event_is_answered_without_an_id_or_data(running: Running, dialect: Dialect, name: str) -> None:
    plain = await running.plain(dialect.namespace, 7)
    await plain.send({"event": name})
    await until(lambda: answers(plain, name), what=f"an answer to {name}")
    [answer] = answers(plain, name)
    assert "id" not in answer
    assert answer["data"]["success"] is (name not in NEED_DATA)


NEED_DATA = {name for name, command in MESSAGING.inbound.items() if command.endswith(("_message", "_typing"))} | {
    "subscribe",
    "unsubscribe",
    "refresh_token",
    "notification_ack",
}


def answers(plain: Plain, name: str) -> list[Any]:
    """Return the frames that answer an event; events of the server may have the same name."""
    found = [frame for frame in plain.heard if frame["event"] == name]
    return [frame for frame in found if isinstance(frame["data"], dict) and "success" in frame["data"]]


async def test_events_are_answered_in_the_order_they_came(running: Running) -> None:
    plain = await running.plain("/ws", 7)
    events = [("sendMessage", {"receiverId": "8", "content": f"{n}"}) for n in range(5)]
    for n, (name, data) in enumerate([*events, ("heartbeat", None), ("nonsense", None)]):
        await plain.send({"event": name, "data": data, "id": n})
    await until(lambda: any(frame.get("id") == 6 for frame in plain.heard))
    assert [frame["id"] for frame in plain.heard if "id" in frame] == [0, 1, 2, 3, 4, 5, 6]


async def test_what_fails_without_an_id_is_an_error_event_once_in_five_seconds(
    starter: Starter, clock: FakeClock
) -> None:
    running = await starter(app={"clock": clock})
    plain = await running.plain("/dashboard", 7)
    for _ in range(3):
        await plain.send({"event": "nonsense"})
    await plain.settle()
    assert [error["event"] for error in plain.payloads("error")] == ["nonsense"]
    assert len(answers(plain, "nonsense")) == 3
    clock.advance(5)
    await plain.send({"event": "more nonsense"})
    assert (await plain.hears("error", 2))["event"] == "more nonsense"


# --- how much may be said ---


async def test_one_rate_for_all_connections_of_a_person(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    client = await running.connect(7, namespace="/ws")
    plain = await running.plain("/ws", 7)
    other = await running.plain("/ws", 8)
    for n in range(50):
        assert (await client.ask("nonsense"))["code"] == "UNKNOWN_EVENT"
        await plain.send({"event": "nonsense", "id": n})
    await until(lambda: len(answers(plain, "nonsense")) == 50)
    refused = [await plain.ask("sendMessage", {"receiverId": "8", "content": "Hello"}), await client.ask("nonsense")]
    for answer in refused:
        assert (answer["success"], answer["code"], answer["retryAfter"]) == (False, "RATE_LIMIT_EXCEEDED", 0.6)
    said = await plain.hears("RATE_LIMIT_EXCEEDED")
    assert set(said) == {"error", "message", "code", "retryAfter", "timestamp"}
    await client.settle()
    assert client.payloads("RATE_LIMIT_EXCEEDED") == []  # said once per person in five seconds
    assert (await other.ask("nonsense"))["code"] == "UNKNOWN_EVENT"
    assert (await plain.ask("PING"))["success"] is True
    clock.advance(0.6)
    assert (await client.ask("nonsense"))["code"] == "UNKNOWN_EVENT"
    assert (await plain.ask("nonsense"))["code"] == "RATE_LIMIT_EXCEEDED"


async def test_what_is_no_event_counts_too_and_is_not_answered_beyond_the_rate(
    starter: Starter, clock: FakeClock
) -> None:
    running = await starter(app={"clock": clock})
    plain = await running.plain("/dashboard", 7)
    for _ in range(150):
        await plain.send("nonsense")
    await plain.settle()
    codes = [error["code"] for error in plain.payloads("error")]
    assert codes == ["INVALID_PAYLOAD"] * 100 + ["RATE_LIMIT_EXCEEDED"]


# --- who may open one ---


@pytest.mark.parametrize("path", [*TWINS, GUESTS])
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
async def test_pages_of_strangers_are_refused_before_the_upgrade(running: Running, path: str, origin: str) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await running.plain(path, 7, headers={"Origin": origin})
    assert refused.value.status == 403
    assert len(running.parts.channels) == 0


@pytest.mark.parametrize("path", TWINS)
async def test_own_and_listed_pages_may_open_one(starter: Starter, path: str) -> None:
    running = await starter(allowed_origin=("https://app.example",))
    for origin in (running.url, "https://app.example"):
        plain = await running.plain(path, 7, headers={"Origin": origin})
        assert (await plain.ask("heartbeat"))["success"] is True


@pytest.mark.parametrize("path", TWINS)
@pytest.mark.parametrize("place", ["query", "header", "cookie"])
async def test_the_token_is_found_in_every_place(running: Running, path: str, place: str) -> None:
    value = token(7)
    ways: dict[str, dict[str, Any]] = {
        "query": {"query": f"token=Bearer%20{value}"},
        "header": {"headers": {"Authorization": f"Bearer {value}"}},
        "cookie": {"headers": {"Cookie": f"access_token={value}", "Origin": running.url}},
    }
    plain = await running.plain(path, **ways[place])
    assert (await plain.ask("heartbeat"))["success"] is True


@pytest.mark.parametrize("path", TWINS)
async def test_a_cookie_speaks_only_for_a_page_that_is_known(running: Running, path: str) -> None:
    plain = await running.plain(path, headers={"Cookie": f"token={token(7)}"})
    assert (await plain.ends())[0] == 1008
    assert plain.heard == []
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await running.plain(path, headers={"Cookie": f"token={token(7)}", "Origin": "https://evil.example"})


@pytest.mark.parametrize("path", TWINS)
@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("", "Missing authentication credentials"),
        ("token=nonsense", "Invalid authentication token"),
        (f"token={token(7, lifetime=-3600)}", "Authentication token expired"),
        (f"token={token(7)}&userId=8", "The token belongs to another user"),
        (f"token={token(7)}&guestId=8", "The token belongs to another user"),
    ],
)
async def test_who_is_refused_is_told_why_in_the_close_frame(
    running: Running, path: str, query: str, reason: str
) -> None:
    plain = await running.plain(path, query=query)
    assert await plain.ends() == (1008, reason)
    assert plain.heard == []
    await until(lambda: len(running.parts.connections.plain.sockets) == 0)


async def test_the_id_beside_the_token_may_be_its_own(running: Running) -> None:
    for id in (7, "64b7f0"):
        plain = await running.plain("/dashboard", id, query=f"userId={id}")
        assert (await plain.hears("connected"))["userId"] == str(id)


async def test_guests_do_not_chat_and_users_are_no_guests(running: Running) -> None:
    assert await (await running.plain("/ws", 7, guest=True)).ends() == (1008, "Forbidden: insufficient permissions")
    assert (await refusal(running, 7, "/ws", guest=True))["data"] == {"code": "FORBIDDEN"}
    user = await running.plain(GUESTS, 7, query="guestId=7")
    assert await user.ends() == (1008, "Authentication failed")
    assert (await (await guest(running)).hears("connection"))["guestId"] == 123


@pytest.mark.parametrize("path", ["/notifications", "/dashboard"])
async def test_guests_may_open_the_others_and_are_not_the_user_of_that_number(running: Running, path: str) -> None:
    visitor = await running.plain(path, 7, guest=True)
    user = await running.plain(path, 7)
    await running.call("POST", "/api/notifications", by=ADMIN, json={"userId": 7, "title": "Hi", "message": "User"})
    await user.hears("notification")
    await visitor.settle()
    assert visitor.payloads("notification") == []


async def test_a_path_without_an_upgrade_says_what_it_wants(running: Running) -> None:
    for path in ("/dashboard", "/ws", GUESTS):
        async with running.http.get(running.url + path) as response:
            assert response.status == 426
            assert response.headers["Upgrade"] == "websocket"
            assert (await response.json())["message"] == "Connect with a WebSocket"


async def test_the_inbox_is_a_list_without_an_upgrade_and_a_socket_with_one(running: Running) -> None:
    status, inbox = await running.call("GET", "/notifications", by=bearer(7))
    assert (status, inbox["notifications"]) == (200, [])
    assert (await running.call("GET", "/notifications"))[0] == 401
    for path in ("/notifications", "/notifications/"):
        assert await (await running.plain(path, 7)).hears("unread_count")


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Sec-WebSocket-Version": "12"}, 426), ({"Sec-WebSocket-Key": "short"}, 400), ({"Connection": "close"}, 400)],
)
async def test_a_bad_upgrade_is_refused(running: Running, headers: dict[str, str], status: int) -> None:
    upgrade = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    async with running.http.get(f"{running.url}/ws?token={token(7)}", headers={**upgrade, **headers}) as response:
        assert response.status == status


async def test_an_address_opens_only_so_many_and_so_fast(starter: Starter, clock: FakeClock) -> None:
    proxied = {"X-Forwarded-For": "203.0.113.9"}
    running = await starter(
        app={"clock": clock}, trusted_proxies=(LOOPBACK,), connections_per_ip=1, handshakes_per_minute_per_ip=3
    )
    first = await running.plain("/ws", 7, headers=proxied)
    await first.hears("connected")
    assert await (await running.plain("/dashboard", 8, headers=proxied)).ends() == (1013, "CONNECTION_LIMIT")
    await first.close()
    await until(lambda: len(running.parts.channels) == 0)
    assert await (await running.plain("/dashboard", 8, headers=proxied)).hears("connected")
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await running.plain("/dashboard", 8, headers=proxied)
    assert refused.value.status == 429


# --- how many there may be ---


@pytest.mark.parametrize("path", ["/dashboard", "/ws"])
async def test_a_person_has_five_connections_over_both_transports(running: Running, path: str) -> None:
    clients = [await running.connect(7, namespace=path) for _ in range(3)]
    plains = [await running.plain(path, 7) for _ in range(2)]
    assert (await refusal(running, 7, path))["data"] == {"code": "CONNECTION_LIMIT"}
    sixth = await running.plain(path, 7)
    assert await sixth.ends() == (1013, "CONNECTION_LIMIT")
    assert sixth.heard == []
    others: list[Client | Plain] = [await running.plain(path, 8), await running.connect(8, namespace=path)]
    everybody: list[Client | Plain] = [*clients, *plains, *others]
    for connection in everybody:
        await connection.settle()
    await plains[0].close()
    await clients[0].close()
    await until(lambda: len(running.parts.channels.of_user("7")) == 3)
    await (await running.plain(path, 7)).settle()
    await (await running.connect(7, namespace=path)).settle()
    assert (await refusal(running, 7, path))["data"] == {"code": "CONNECTION_LIMIT"}


async def test_the_paths_count_apart_and_the_others_do_not_count(starter: Starter) -> None:
    running = await starter(max_connections_per_user=1)
    for path in ("/dashboard", "/ws"):
        await running.plain(path, 7)
    for _ in range(3):
        await running.connect(7)
        await running.connect(7, namespace="/notifications")
        await running.plain("/notifications", 7)
        await guest(running, 7)
    assert len(running.parts.channels.of_user("7")) == 11
    assert (await refusal(running, 7, "/dashboard"))["data"] == {"code": "CONNECTION_LIMIT"}


@pytest.mark.parametrize("path", ["/dashboard", "/ws"])
async def test_a_path_is_full_over_both_transports(starter: Starter, path: str) -> None:
    running = await starter(max_connections_per_namespace=2)
    client = await running.connect(7, namespace=path)
    await (await running.plain(path, 8)).settle()
    assert (await refusal(running, 9, path))["data"] == {"code": "NAMESPACE_FULL"}
    assert await (await running.plain(path, 9)).ends() == (1013, "NAMESPACE_FULL")
    await client.close()
    await until(lambda: len(running.parts.channels) == 1)
    await (await running.plain(path, 9)).settle()


async def test_no_limits_means_none(starter: Starter) -> None:
    running = await starter(max_connections_per_user=0, max_connections_per_namespace=0)
    for plain in await asyncio.gather(*(running.plain("/dashboard", 7) for _ in range(12))):
        await plain.settle()


async def test_the_oldest_makes_room_and_hears_why_before_it_is_closed(starter: Starter) -> None:
    running = await starter(max_connections_per_user=2, connection_limit_policy="evict")
    oldest = await running.plain("/ws", 7)
    older = await running.connect(7, namespace="/ws")
    await running.plain("/ws", 8)
    await (await running.plain("/ws", 7)).settle()
    assert await oldest.ends() == (1013, "CONNECTION_LIMIT")
    assert oldest.names()[-1] == "FORCE_DISCONNECT"
    assert set(oldest.payloads("FORCE_DISCONNECT")[0]) == {"reason", "timestamp"}
    assert older.sio.connected
    await (await running.connect(7, namespace="/ws")).settle()
    await older.hears("FORCE_DISCONNECT")
    await until(lambda: not older.sio.connected)
    assert len(running.parts.channels.of_user("7")) == 2


async def test_a_dashboard_makes_room_without_a_word(starter: Starter) -> None:
    running = await starter(max_connections_per_user=1, connection_limit_policy="evict")
    oldest = await running.plain("/dashboard", 7)
    await (await running.plain("/dashboard", 7)).settle()
    assert await oldest.ends() == (1013, "CONNECTION_LIMIT")
    assert oldest.names() == ["connected"]


async def test_making_room_for_oneself_works_on_a_full_path_and_for_others_does_not(starter: Starter) -> None:
    running = await starter(
        max_connections_per_user=1, max_connections_per_namespace=1, connection_limit_policy="evict"
    )
    await running.plain("/dashboard", 7)
    assert await (await running.plain("/dashboard", 8)).ends() == (1013, "NAMESPACE_FULL")
    await (await running.plain("/dashboard", 7)).settle()


# --- what they hear ---


async def everywhere(running: Running, id: int, role: str | None = None) -> "list[Client | Plain]":
    """Connect one person by everything that shows presence."""
    return [
        await running.connect(id, role),
        await running.connect(id, role, namespace="/dashboard"),
        await running.plain("/dashboard", id, role),
        await running.connect(id, role, namespace="/ws"),
        await running.plain("/ws", id, role),
    ]


PRESENCE = ("userOnline", "user_status", "presence:online", "userOffline", "presence:offline")


def presence(clients: "Sequence[Client | Plain]") -> list[list[str]]:
    return [[name for name in client.names() if name in PRESENCE] for client in clients]


async def test_presence_is_one_for_all_transports_and_heard_once_by_everybody_else(running: Running) -> None:
    watching = await everywhere(running, 7)
    running.parts.fanout.flush()
    stream = await running.stream(8)
    await stream.hears("unread_count")
    await watching[-1].hears("presence:online")
    own = await everywhere(running, 8)
    await stream.close()
    for client in [*own, *watching]:
        await client.settle()
    running.parts.fanout.flush()
    one_online = [["userOnline"], ["user_status"], ["user_status"], ["presence:online"], ["presence:online"]]
    assert presence(watching) == one_online
    assert presence(own) == [[]] * 5
    await asyncio.gather(*(client.close() for client in own))
    await watching[-1].hears("presence:offline")
    for client in watching:
        await client.settle()
    offline = [["userOffline"], ["user_status"], ["user_status"], ["presence:offline"], ["presence:offline"]]
    assert presence(watching) == [before + after for before, after in zip(one_online, offline, strict=True)]
    statuses = [note["status"] for note in watching[2].payloads("user_status")]
    assert statuses == ["online", "offline"]


@pytest.mark.parametrize("scope", ["rooms", "none"])
async def test_dashboards_and_chats_hear_of_everybody_however_narrow_presence_is_on_the_root(
    starter: Starter, scope: str
) -> None:
    running = await starter(presence_audience=scope)
    watching = await everywhere(running, 7)
    running.parts.fanout.flush()
    await (await running.plain("/ws", 8)).settle()
    running.parts.fanout.flush()
    for client in watching:
        await client.settle()
    assert presence(watching) == [[], ["user_status"], ["user_status"], ["presence:online"], ["presence:online"]]


async def test_guests_hear_nothing_of_presence_and_have_none(running: Running) -> None:
    visitor = await running.plain("/dashboard", 9, guest=True)
    watching = await running.plain("/dashboard", 7)
    await guest(running)
    await running.plain("/dashboard", 8)
    await watching.hears("user_status")
    await visitor.settle()
    await watching.settle()
    assert visitor.payloads("user_status") == []
    assert [note["userId"] for note in watching.payloads("user_status")] == ["8"]


async def test_one_notification_is_heard_once_over_every_transport(running: Running) -> None:
    root = await running.connect(7)
    namespace = await running.connect(7, namespace="/notifications")
    plain = await running.plain("/notifications", 7)
    dashboard = await running.connect(7, namespace="/dashboard")
    twin = await running.plain("/dashboard", 7)
    stream = await running.stream(7)
    chat = await running.plain("/ws", 7)
    await stream.hears("unread_count")
    body = {"userId": 7, "title": "Hi", "message": "You"}
    _, row = await running.call("POST", "/api/notifications", by=ADMIN, json=body)
    ids = [
        (await root.hears("newNotification"))["id"],
        (await root.hears("notification_received"))["notification"]["id"],
        (await namespace.hears("notification"))["id"],
        (await plain.hears("notification"))["data"]["id"],
        (await dashboard.hears("notification"))["id"],
        (await twin.hears("notification"))["id"],
        (await stream.hears("notification"))["id"],
    ]
    assert ids == [row["id"], row["id"], *[str(row["id"])] * 5]
    for client in (root, namespace, plain, dashboard, twin, chat):
        await client.settle()
        assert len(client.payloads("notification")) <= 1
    assert "notification" not in chat.names()
    for counted in (
        (await namespace.hears("unread_count", 2))["count"],
        (await stream.hears("unread_count", 2))["count"],
    ):
        assert counted == 1


async def test_an_announcement_in_every_vocabulary(running: Running) -> None:
    root = await running.connect(7)
    namespace = await running.connect(7, namespace="/notifications")
    plain = await running.plain("/notifications", 7)
    dashboard = await running.connect(7, namespace="/dashboard")
    twin = await running.plain("/dashboard", 7)
    stream = await running.stream(7)
    chat = await running.plain("/ws", 7)
    visitor = await guest(running)
    await stream.hears("unread_count")
    await visitor.hears("connection")
    body = {"title": "Maintenance", "message": "Tonight"}
    assert (await running.call("POST", "/api/announcements", by=ADMIN, json=body))[0] == 201
    assert (await root.hears("newNotification"))["type"] == "announcement"
    assert (await root.hears("notification_received"))["notification"]["type"] == "system"
    for inbox in (namespace, plain):
        assert (await inbox.hears("notification"))["notificationType"] == "SYSTEM_ANNOUNCEMENT"
    assert (await stream.hears("notification"))["type"] == "SYSTEM_ANNOUNCEMENT"
    for shown in (dashboard, twin):
        said = await shown.hears("announcement")
        assert (said["title"], said["body"], said["message"]) == ("Maintenance", "Tonight", "Tonight")
    assert (await visitor.hears("system"))["message"] == "Tonight"
    for client in (dashboard, twin, chat):
        await client.settle()
        assert client.payloads("notification") == []
    assert chat.payloads("announcement") == []
    assert visitor.payloads("notification") == []


async def test_any_event_reaches_every_transport_untouched(running: Running) -> None:
    heard: list[Client | Plain | Stream] = [
        *await everywhere(running, 7),
        await running.plain("/notifications", 7),
        await running.stream(7),
        await guest(running),
    ]
    await heard[-1].hears("connection")
    await heard[-2].hears("unread_count")
    body = {"audience": "all", "event": "price", "data": [1, {"eur": None}]}
    _, answer = await running.call("POST", "/api/publish", by=ADMIN, json=body)
    assert answer["data"]["delivered"] == len(heard)
    for client in heard:
        assert await client.hears("price") == [1, {"eur": None}]


async def test_activity_is_shown_on_the_dashboards_of_its_user(running: Running) -> None:
    mine: list[Client | Plain] = [
        await running.connect(7, namespace="/dashboard"),
        await running.plain("/dashboard", 7),
    ]
    other = await running.plain("/dashboard", 8)
    body = {"userId": 7, "type": "post_comment", "message": "Bob commented"}
    status, answer = await running.call("POST", "/api/activity", by=ADMIN, json=body)
    assert (status, answer["status"], answer["data"]["delivered"]) == (201, "success", 2)
    for client in mine:
        said = await client.hears("activity")
        assert {**said, "timestamp": ""} == {**body, "userId": "7", "timestamp": ""}
    await other.settle()
    assert other.payloads("activity") == []


async def test_figures_are_shown_to_everybody_or_to_one(running: Running) -> None:
    one, two = await running.plain("/dashboard", 7), await running.connect(8, namespace="/dashboard")
    everybody = {"connections": 1, "messages": 2, "posts": 3}
    assert (await running.call("POST", "/api/stats", by=ADMIN, json=everybody))[0] == 201
    assert (await running.call("POST", "/api/stats", by=ADMIN, json={**everybody, "posts": 4, "userId": 7}))[0] == 201
    assert (await one.hears("stats_update", 2))["posts"] == 4
    assert (await two.hears("stats_update"))["posts"] == 3
    await two.settle()
    assert len(two.payloads("stats_update")) == 1


# --- topics ---


async def test_live_figures_go_to_whoever_subscribed_to_them(running: Running) -> None:
    watching = await running.plain("/dashboard", 7)
    client = await running.connect(8, namespace="/dashboard")
    other = await running.plain("/dashboard", 9)
    await watching.ask("subscribe", {"channels": ["stats"]})
    await client.ask("subscribe", ["stats"])
    chat = await running.plain("/ws", 7)
    await chat.ask("sendMessage", {"receiverId": "8", "content": "Hello"})
    await running.call("POST", "/api/stats", by=ADMIN, json={"userId": 1, "posts": 5})
    await running.parts.services.dashboards.tick()
    for told in (watching, client):
        said = await told.hears("stats_update")
        assert {**said, "timestamp": ""} == {"connections": 4, "messages": 1, "posts": 0, "timestamp": ""}
    await running.call("POST", "/api/stats", by=ADMIN, json={"posts": 6})
    assert (await other.hears("stats_update"))["posts"] == 6
    await client.ask("unsubscribe", ["stats"])
    await running.parts.services.dashboards.tick()
    assert (await watching.hears("stats_update", 3))["posts"] == 6
    await client.settle()
    assert len(client.payloads("stats_update")) == 2


async def test_a_topic_is_heard_until_it_is_left(running: Running) -> None:
    plain, client = await running.plain("/dashboard", 7), await running.connect(7, namespace="/dashboard")
    for way in (plain, client):
        assert (await way.ask("subscribe", ["jobs", "news"]))["channels"] == ["jobs", "news"]
    assert (await plain.hears("subscribed"))["channels"] == ["jobs", "news"]
    assert await _publish(running, "channel:jobs") == 2
    assert (await plain.ask("unsubscribe", "jobs"))["channels"] == ["jobs"]
    assert (await plain.hears("unsubscribed"))["channels"] == ["jobs"]
    assert await _publish(running, "channel:jobs") == 1
    assert await _publish(running, "channel:news") == 2


async def _publish(running: Running, room: str) -> int:
    body = {"room": room, "event": "news", "data": {}}
    _, answer = await running.call("POST", "/api/publish", by=ADMIN, json=body)
    delivered: int = answer["data"]["delivered"]
    return delivered


@pytest.mark.parametrize("name", ["ein Thema", "größe", "a/b", "user_8", "role_admin", "100%"])
async def test_a_topic_may_have_any_printable_name_and_is_only_a_topic(running: Running, name: str) -> None:
    plain = await running.plain("/dashboard", 7)
    assert (await plain.ask("subscribe", [name])) == {"success": True, "channels": [name], "rejected": []}
    await running.call("POST", "/api/notifications", by=ADMIN, json={"userId": 8, "title": "Hi", "message": "Eight"})
    await running.call("POST", "/api/publish", by=ADMIN, json={"role": "admin", "event": "secret"})
    await plain.settle()
    assert {"notification", "secret"} & set(plain.names()) == set()


@pytest.mark.parametrize(
    "payload", [None, {}, [], "", " ", 7, [7], ["a", None], ["a\n"], ["x" * 101], {"channels": {}}]
)
async def test_bad_names_of_topics_are_refused(running: Running, payload: object) -> None:
    plain = await running.plain("/dashboard", 7)
    answer = await plain.ask("subscribe", payload)
    assert (answer["code"], answer["message"]) == ("INVALID_PAYLOAD", "Invalid channels format")
    assert (await plain.ask("unsubscribe", payload))["code"] == "INVALID_PAYLOAD"


async def test_restricted_topics_are_for_publishers_and_who_was_granted_them(starter: Starter) -> None:
    running = await starter(restricted_channels=("board", "a b"))
    plain = await running.plain("/dashboard", 7, "technician")
    assert await plain.ask("subscribe", ["board", "news"]) == {
        "success": True,
        "channels": ["news"],
        "rejected": ["board"],
    }
    refused = await plain.ask("subscribe", ["board", "a b"])
    assert (refused["success"], refused["code"], refused["rejected"]) == (False, "ROOM_FORBIDDEN", ["board", "a b"])
    for role in ("admin", "manager", "service"):
        allowed = await (await running.plain("/dashboard", 9, role)).ask("subscribe", ["board", "a b"])
        assert allowed["channels"] == ["board", "a b"]
    assert await _publish(running, "channel:board") == 3


async def test_more_than_a_hundred_topics_at_once_are_too_many(running: Running) -> None:
    plain = await running.plain("/dashboard", 7)
    topics = [f"topic {n}" for n in range(501)]
    for event in ("subscribe", "unsubscribe"):
        assert (await plain.ask(event, topics[:101]))["code"] == "ROOM_LIMIT"
    for start in range(0, 400, 100):
        assert (await plain.ask("subscribe", topics[start : start + 100]))["success"] is True
    # Its personal room and its role's count, too.
    assert (await plain.ask("subscribe", topics[400:500]))["code"] == "ROOM_LIMIT"
    assert (await plain.ask("subscribe", topics[400:498]))["success"] is True
    assert (await plain.ask("subscribe", topics[:100]))["success"] is True
    assert (await plain.ask("subscribe", ["one more"]))["code"] == "ROOM_LIMIT"


async def test_silence_is_for_one_connection_and_for_notifications_alone(running: Running) -> None:
    client = await running.connect(7, namespace="/notifications")
    plain = await running.plain("/notifications", 7)
    loud = await running.plain("/notifications", 7)
    for quiet in (client, plain):
        assert await quiet.ask("unsubscribe_notifications", {}) == {"success": True}
        await quiet.hears("unread_count", 2)
    body: dict[str, object] = {"title": "Hi", "message": "You"}
    await running.call("POST", "/api/notifications", by=ADMIN, json={**body, "userId": 7})
    await running.call("POST", "/api/notifications", by=ADMIN, json={**body, "audience": "all"})
    await running.call("POST", "/api/publish", by=ADMIN, json={"userId": 7, "event": "price"})
    await loud.hears("notification", 2)
    await loud.hears("unread_count", 3)
    for quiet in (client, plain):
        await quiet.hears("price")
        assert len(quiet.payloads("unread_count")) == 2
        assert quiet.payloads("notification") == []
    assert await plain.ask("subscribe_notifications") == {"success": True}
    assert (await plain.hears("unread_count", 3))["count"] == 2
    await running.call("POST", "/api/notifications", by=ADMIN, json={**body, "userId": 7})
    await plain.hears("notification")


# --- the end ---


@pytest.mark.parametrize("path", TWINS)
async def test_the_end_of_a_token_ends_the_socket(starter: Starter, clock: FakeClock, path: str) -> None:
    running = await starter(app={"clock": clock}, jwt_leeway=0.0)
    plain = await running.plain(path, 7, lifetime=60, now=clock.now)
    renewed = await running.plain(path, 7, lifetime=60, now=clock.now)
    await renewed.settle()
    answer = await renewed.ask("refresh_token", {"token": token(7, now=clock.now, lifetime=600)})
    assert answer["success"] is True
    clock.advance(61)
    assert await plain.ends() == (1008, "Token expired")
    assert plain.names()[-1] == "token_expired"
    assert plain.payloads("token_expired")[0]["code"] == "TOKEN_EXPIRED"
    assert (await renewed.ask("heartbeat"))["success"] is True


async def test_a_stopping_server_says_goodbye_over_every_transport(running: Running) -> None:
    plains = [await running.plain(path, 7) for path in TWINS]
    visitor, stream = await guest(running), await running.stream(7)
    await visitor.hears("connection")
    await stream.hears("unread_count")
    for plain in plains:
        await plain.settle()
    await running.server.close()
    for plain in (*plains, visitor):
        assert (await plain.ends())[0] == 1001
        assert plain.names()[-1] == "server_shutdown"
        assert 1 <= plain.payloads("server_shutdown")[0]["retryAfter"] <= 5
    await until(lambda: stream.ended)
    assert stream.events()[-1]["type"] == "server_shutdown"


async def test_nothing_stays_behind_a_socket_that_is_gone(running: Running) -> None:
    plains = [await running.plain(path, 7) for path in TWINS]
    await plains[1].ask("subscribe", ["jobs"])
    for plain in plains:
        await plain.settle()
        await plain.close()
    await until(lambda: len(running.parts.channels) == 0)
    await until(lambda: len(running.parts.connections.plain.sockets) == 0)
    assert running.parts.channels.room_names() == set()
