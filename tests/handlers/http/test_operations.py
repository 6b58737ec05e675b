"""Statistics, emitting, publishing, announcements, presence, roles, cookies, pages and developer routes."""

import ipaddress
from http.cookies import Morsel
from typing import Any

import pytest
from yarl import URL

from realtime.clock import timestamp
from tests.conftest import Starter
from tests.handlers.http.answers import ADMIN, GUEST, MANAGER, SERVICE, TECHNICIAN, USER, refused
from tests.support import Client, FakeClock, Running, bearer, token, until

FORBIDDEN = "Forbidden: insufficient permissions"
RESERVED = (
    "connect",
    "connect_error",
    "disconnect",
    "disconnecting",
    "newListener",
    "removeListener",
    "__disconnect_final",
)


PROXY = (ipaddress.ip_network("127.0.0.0/8"),)


# /api/websocket


async def test_health_is_open_and_bare(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    for _ in range(2):
        await running.connect(5)
    assert await running.call("GET", "/api/websocket/health") == (
        200,
        {"service": "websocket", "status": "active", "connectedUsers": 1, "timestamp": timestamp(clock.now)},
    )


async def test_connected_users_have_a_connection(starter: Starter, clock: FakeClock) -> None:
    running = await starter(presence_grace=60.0, app={"clock": clock})

    async def counted() -> tuple[int, int, list[Any], list[Any]]:
        _, health = await running.call("GET", "/api/websocket/health")
        _, stats = await running.call("GET", "/api/socket-test/stats", by=USER)
        return health["connectedUsers"], stats["connectedUsers"], stats["userIds"], stats["users"]

    staying, going = await running.connect("abc"), await running.connect(5)
    assert await counted() == (2, 2, ["abc", 5], ["abc", 5])
    await going.close()
    await until(lambda: len(running.parts.channel) == 1)
    assert await counted() == (1, 1, ["abc"], ["abc"])
    _, presence = await running.call("GET", "/api/presence", by=USER)
    assert [view["userId"] for view in presence["online"]] == ["abc", 5]  # the grace is presence's alone
    await staying.settle()


async def test_health_says_when_the_server_stops(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    running.parts.stopping = True
    assert await running.call("GET", "/api/websocket/health") == (
        503,
        {"service": "websocket", "status": "stopping", "connectedUsers": 0, "timestamp": timestamp(clock.now)},
    )


async def test_statistics_list_people_once(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    await running.connect(5, "technician", name="Tess")
    await running.connect(5, "technician", name="Tess")
    await running.connect("abc")
    status, answer = await running.call("GET", "/api/websocket/stats", by=ADMIN)
    at = timestamp(clock.now)
    assert (status, answer) == (
        200,
        {
            "status": "success",
            "data": {
                "connectedUsers": [
                    {"userId": 5, "userName": "Tess", "userRole": "technician", "connectedAt": at},
                    {"userId": "abc", "userName": "abc", "userRole": "user", "connectedAt": at},
                ],
                "totalConnections": 3,
                "isServiceActive": True,
                "timestamp": at,
            },
        },
    )
    for who in (MANAGER, SERVICE, TECHNICIAN, USER, GUEST):
        refused(await running.call("GET", "/api/websocket/stats", by=who), 403, "FORBIDDEN", FORBIDDEN)


async def test_rooms_of_a_user_are_for_themselves_and_admins(running: Running) -> None:
    client = await running.connect(5)
    expected = {"status": "success", "data": {"userId": 5, "rooms": ["role_user", "user_5"], "isOnline": True}}
    for who in (USER, ADMIN):
        assert await running.call("GET", "/api/websocket/user/5/rooms", by=who) == (200, expected)
    for who in (MANAGER, bearer(6), GUEST):
        refused(await running.call("GET", "/api/websocket/user/5/rooms", by=who), 403, "FORBIDDEN", FORBIDDEN)
    await client.close()
    await until(lambda: len(running.parts.channel) == 0)
    _, answer = await running.call("GET", "/api/websocket/user/5/rooms", by=USER)
    assert answer["data"] == {"userId": 5, "rooms": [], "isOnline": False}


@pytest.mark.parametrize(
    ("path", "target", "message"),
    [
        ("5", {"userId": 5}, "Event 'test' emitted to user 5"),
        ("room/work_order_7", {"roomName": "work_order_7"}, "Event 'test' emitted to room 'work_order_7'"),
        ("role/technician", {"role": "technician"}, "Event 'test' emitted to role 'technician'"),
    ],
)
async def test_emit_passes_name_and_data_untouched(
    starter: Starter, clock: FakeClock, path: str, target: dict[str, Any], message: str
) -> None:
    running = await starter(app={"clock": clock})
    member, outside = await running.connect(5, "technician"), await running.connect(6, "user")
    await member.ask("join_room", "work_order_7")
    payloads: list[Any] = [{"a": [1, {"ü": None}]}, "text", 0, [], None]
    for data in payloads:
        answer = await running.call(
            "POST", f"/api/websocket/emit/{path}", by=ADMIN, json={"event": "test", "data": data, "extra": 1}
        )
        expected = {**target, "event": "test", "data": data, "timestamp": timestamp(clock.now)}
        assert answer == (200, {"status": "success", "data": expected, "message": message})
    await member.hears("test", len(payloads))
    assert member.payloads("test") == payloads
    await outside.settle()
    assert "test" not in outside.names()


@pytest.mark.parametrize("path", ["5", "room/work_order_7", "role/technician"])
async def test_emit_is_for_admins_and_wants_a_name(running: Running, path: str) -> None:
    url = f"/api/websocket/emit/{path}"
    for body in ({}, {"event": ""}, {"event": "  "}, {"data": 1}):
        refused(await running.call("POST", url, by=ADMIN, json=body), 400, "INVALID_PAYLOAD", "Event name is required")
    for name in (*RESERVED, "x" * 129, "a\nb"):
        refused(await running.call("POST", url, by=ADMIN, json={"event": name}), 400, "INVALID_PAYLOAD")
    refused(await running.call("POST", url, by=ADMIN, json={"event": 5}), 400, "INVALID_PAYLOAD")
    refused(await running.call("POST", url, json={"event": "x"}), 401, "AUTH_REQUIRED", "Authentication required")
    bad = {"Authorization": "Bearer nonsense"}
    refused(
        await running.call("POST", url, by=bad, json={"event": "x"}), 401, "AUTH_INVALID", "Invalid or expired token"
    )
    for who in (MANAGER, SERVICE, TECHNICIAN, USER, GUEST):
        refused(await running.call("POST", url, by=who, json={"event": "x"}), 403, "FORBIDDEN", FORBIDDEN)


async def test_emit_to_somebody_away_or_to_a_bad_room(running: Running) -> None:
    status, answer = await running.call("POST", "/api/websocket/emit/404", by=ADMIN, json={"event": "x"})
    assert (status, answer["message"]) == (200, "Event 'x' emitted to user 404")
    answer = await running.call("POST", "/api/websocket/emit/room/a b", by=ADMIN, json={"event": "x"})
    refused(answer, 400, "INVALID_PAYLOAD")


@pytest.mark.parametrize("path", ["room", "room/", "role", "role/"])
async def test_emit_without_a_name_is_not_a_message_to_somebody(running: Running, path: str) -> None:
    namesake = await running.connect(path.rstrip("/"))
    status, body = await running.call("POST", f"/api/websocket/emit/{path}", by=ADMIN, json={"event": "x"})
    assert status in (404, 405), body
    refused((status, body), status, "NOT_FOUND" if status == 404 else "INVALID_PAYLOAD")
    await namesake.settle()
    assert "x" not in namesake.names()
    longer = f"{path.rstrip('/')}s"
    cousin = await running.connect(longer)
    assert (await running.call("POST", f"/api/websocket/emit/{longer}", by=ADMIN, json={"event": "x"}))[0] == 200
    await cousin.hears("x")


# /api/socket-test


async def test_broadcast_of_the_test_page_has_defaults_and_is_not_stored(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    clients = [await running.connect(5), await running.connect(6)]
    expected = {
        "title": "Test Broadcast",
        "message": "This is a test broadcast message",
        "type": "info",
        "timestamp": timestamp(clock.now),
    }
    for body in ({}, {"title": "", "message": None, "unknown": 1}):
        answer = await running.call("POST", "/api/socket-test/broadcast", by=ADMIN, json=body)
        assert answer == (200, {"message": "Broadcast sent successfully", "notification": expected})
    _, answer = await running.call(
        "POST", "/api/socket-test/broadcast", by=ADMIN, json={"title": "T", "message": "M", "type": "warning"}
    )
    own = {**expected, "title": "T", "message": "M", "type": "warning"}
    assert answer["notification"] == own
    for client in clients:
        await client.hears("newNotification", 3)
        assert client.payloads("newNotification") == [expected, expected, own]
        await client.settle()
        assert not {"notification_received", "notification_count_updated"} & set(client.names())
    _, page = await running.call("GET", "/api/notifications", by=USER)
    assert (page["total"], page["unreadCount"]) == (0, 0)


async def test_direct_message_of_the_test_page(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    tabs = [await running.connect(5), await running.connect(5)]
    other = await running.connect(6)
    expected = {
        "title": "Direct Message",
        "message": "This is a direct message",
        "type": "info",
        "timestamp": timestamp(clock.now),
        "userId": 5,
    }
    answer = await running.call("POST", "/api/socket-test/send/5", by=SERVICE)
    assert answer == (200, {"message": "Direct message sent successfully", "notification": expected})
    for tab in tabs:
        assert await tab.hears("newNotification") == expected
    await other.settle()
    assert "newNotification" not in other.names()
    status, answer = await running.call("POST", "/api/socket-test/send/abc", by=ADMIN, json={"title": "T"})
    assert (status, answer["notification"]["userId"], answer["notification"]["title"]) == (200, "abc", "T")  # offline


async def test_statistics_of_the_test_page_speak_both_dialects(running: Running) -> None:
    await running.connect(5)
    await running.connect(5)
    await running.connect(6, guest=True)
    for who in (USER, ADMIN, GUEST):
        status, answer = await running.call("GET", "/api/socket-test/stats", by=who)
        assert (status, answer) == (
            200,
            {"connectedUsers": 1, "userIds": [5], "connections": 3, "rooms": 3, "users": [5]},
        )


@pytest.mark.parametrize("dev", [False, True])
async def test_who_may_use_the_test_routes(starter: Starter, dev: bool) -> None:
    running = await starter(dev=dev)
    for path in ("/api/socket-test/broadcast", "/api/socket-test/send/5"):
        for who in (ADMIN, MANAGER, SERVICE):
            assert (await running.call("POST", path, by=who, json={}))[0] == 200
        for who in (TECHNICIAN, USER, GUEST):
            answer = await running.call("POST", path, by=who, json={})
            if dev:
                assert answer[0] == 200
            else:
                refused(answer, 403, "FORBIDDEN", FORBIDDEN)
        refused(await running.call("POST", path, json={}), 401, "AUTH_REQUIRED")
        refused(await running.call("POST", path, by=ADMIN, json={"title": 5}), 400, "INVALID_PAYLOAD")


# /api/publish and /api/announcements


async def test_publish_reaches_its_target_only(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    tabs = [await running.connect(3, "technician"), await running.connect(3, "technician")]
    user, guest = await running.connect(5), await running.connect(5, guest=True)
    await tabs[0].ask("join_room", "ticket_7")
    cases: list[tuple[dict[str, Any], int, list[Client]]] = [
        ({"userId": 3}, 2, tabs),
        ({"userId": 5}, 1, [user]),
        ({"role": "technician"}, 2, tabs),
        ({"room": "ticket_7"}, 1, tabs[:1]),
        ({"room": "guest_5"}, 1, [guest]),
        ({"audience": "all"}, 4, [*tabs, user, guest]),
        ({"userId": 404}, 0, []),
        ({"role": "nobody"}, 0, []),
    ]
    for target, delivered, ears in cases:
        name = f"stock:{next(iter(target.items()))}"
        answer = await running.call(
            "POST", "/api/publish", by=SERVICE, json={**target, "event": name, "data": {"n": [1]}}
        )
        expected = {**target, "event": name, "delivered": delivered, "timestamp": timestamp(clock.now)}
        assert answer == (202, {"status": "success", "data": expected})
        for client in ears:
            assert await client.hears(name) == {"n": [1]}
        for client in (*tabs, user, guest):
            await client.settle()
            assert len(client.payloads(name)) == (client in ears)


async def test_publish_wants_one_target_and_a_free_name(running: Running) -> None:
    for body in [
        {"event": "x"},
        {"event": "x", "userId": 1, "role": "user"},
        {"event": "x", "audience": "all", "room": "ticket_1"},
        {"event": "x", "audience": "most"},
        {"event": "x", "room": "not a room"},
        {"event": "x", "userId": None},
        {"event": "x", "userId": 5, "extra": 1},
        {"userId": 5},
        {"event": "", "userId": 5},
        {"event": " ", "userId": 5},
        {"event": "x" * 129, "userId": 5},
        *({"event": name, "userId": 5} for name in RESERVED),
    ]:
        refused(await running.call("POST", "/api/publish", by=SERVICE, json=body), 400, "INVALID_PAYLOAD")
    for who in (TECHNICIAN, USER, GUEST):
        answer = await running.call("POST", "/api/publish", by=who, json={"userId": 5, "event": "x"})
        refused(answer, 403, "FORBIDDEN", FORBIDDEN)


async def test_announcement_is_stored_once_and_typed_for_each_client(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    clients = [await running.connect(5), await running.connect(5), await running.connect(3, "technician")]
    status, answer = await running.call(
        "POST", "/api/announcements", by=MANAGER, json={"title": "Closed", "body": "On Monday"}
    )
    at, row = timestamp(clock.now), answer["data"]
    assert (status, answer["status"]) == (201, "success")
    assert row == {
        "id": row["id"],
        "title": "Closed",
        "message": "On Monday",
        "body": "On Monday",
        "audience": "all",
        "timestamp": at,
    }
    for client in clients:
        heard = await client.hears("newNotification")
        assert (heard["type"], heard["title"], heard["message"], heard["id"]) == (
            "announcement",
            "Closed",
            "On Monday",
            row["id"],
        )
        received = (await client.hears("notification_received"))["notification"]
        assert (received["type"], received["id"]) == ("system", row["id"])
        assert (await client.hears("notification_count_updated"))["count"] == 1
        assert len(client.payloads("newNotification")) == len(client.payloads("notification_received")) == 1
    for who in (USER, TECHNICIAN):
        _, page = await running.call("GET", "/api/notifications", by=who)
        assert [(r["id"], r["type"], r["audience"]) for r in page["notifications"]] == [
            (row["id"], "announcement", "all")
        ]


async def test_announcement_to_a_role_or_a_room(running: Running) -> None:
    technician, user = await running.connect(3, "technician"), await running.connect(5)
    await technician.ask("join_room", "ticket_7")
    for audience, stored in [
        ("role:technician", "role:technician"),
        ("room:ticket_7", "room:ticket_7"),
        ("room:role_technician", "role:technician"),
    ]:
        status, answer = await running.call(
            "POST", "/api/announcements", by=ADMIN, json={"title": "T", "message": audience, "audience": audience}
        )
        assert (status, answer["data"]["audience"]) == (201, stored)
    await technician.hears("notification_count_updated")
    await technician.hears("newNotification", 3)
    await user.settle()
    assert "newNotification" not in user.names()
    assert (await running.call("GET", "/api/notifications", by=TECHNICIAN))[1]["total"] == 3


async def test_bad_announcements_are_refused(running: Running) -> None:
    good = {"title": "T", "message": "M"}
    for bad in [
        {"title": "T"},
        {"message": "M"},
        {**good, "title": ""},
        {**good, "title": "x" * 201},
        {**good, "message": "x" * 5001},
        {**good, "audience": "some"},
        {**good, "audience": "role:"},
        {**good, "audience": "room:bad name"},
        {**good, "audience": "room:user_5"},
        {**good, "audience": 5},
        {**good, "extra": 1},
        {"title": "T", "message": "", "body": ""},
    ]:
        refused(await running.call("POST", "/api/announcements", by=ADMIN, json=bad), 400, "INVALID_PAYLOAD")
    answer = await running.call("POST", "/api/announcements", by=MANAGER, json={**good, "audience": "room:user_5"})
    refused(answer, 403, "ROOM_FORBIDDEN")
    for who in (TECHNICIAN, USER, GUEST):
        refused(await running.call("POST", "/api/announcements", by=who, json=good), 403, "FORBIDDEN", FORBIDDEN)
    by = {**ADMIN, "Idempotency-Key": "once"}
    first = await running.call("POST", "/api/announcements", by=by, json=good)
    assert await running.call("POST", "/api/announcements", by=by, json=good) == first
    assert (await running.call("GET", "/api/notifications", by=ADMIN))[1]["total"] == 1


# presence and users


async def test_presence_is_readable_by_users(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    tabs = [await running.connect(5, "technician", name="Tess"), await running.connect(5, "technician", name="Tess")]
    await running.connect("abc")
    await running.connect(9, guest=True)
    await tabs[0].ask("updateStatus", "busy")
    at = timestamp(clock.now)
    tess = {
        "userId": 5,
        "userName": "Tess",
        "userRole": "technician",
        "online": True,
        "status": "busy",
        "lastSeen": at,
        "connections": 2,
    }
    _, answer = await running.call("GET", "/api/presence", by=USER)
    assert answer["count"] == 2
    assert [view["userId"] for view in answer["online"]] == [5, "abc"]
    assert answer["online"][0] == tess
    assert await running.call("GET", "/api/presence/5", by=USER) == (200, tess)
    _, unknown = await running.call("GET", "/api/presence/404", by=USER)
    assert unknown == {
        "userId": 404,
        "userName": "404",
        "userRole": "",
        "online": False,
        "status": "offline",
        "lastSeen": None,
        "connections": 0,
    }
    for path in ("/api/presence", "/api/presence/5"):
        refused(await running.call("GET", path, by=GUEST), 403, "FORBIDDEN")
        refused(await running.call("GET", path), 401, "AUTH_REQUIRED")


async def test_last_seen_is_kept_after_somebody_left(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    watcher = await running.connect(1, "admin")
    client = await running.connect(5, name="Una")
    left_at = timestamp(clock.now)
    await client.close()
    await watcher.hears("userOffline")
    clock.advance(60)

    async def view() -> Any:
        return (await running.call("GET", "/api/presence/5", by=ADMIN))[1]

    seen = await view()
    assert (seen["online"], seen["status"], seen["connections"]) == (False, "offline", 0)
    assert (seen["userName"], seen["lastSeen"]) == ("Una", left_at)


async def test_presence_in_a_room_is_for_those_who_may_join_it(running: Running) -> None:
    inside = await running.connect(3, "technician", name="Tess")
    await inside.ask("join_room", "work_order_7")
    await running.connect(8, "technician")
    path = "/api/rooms/work_order_7/presence"
    for who in (ADMIN, TECHNICIAN):
        status, answer = await running.call("GET", path, by=who)
        assert (status, answer["room"], answer["count"]) == (200, "work_order_7", 1)
        assert [view["userName"] for view in answer["online"]] == ["Tess"]
    for who in (USER, GUEST):
        refused(await running.call("GET", path, by=who), 403, "ROOM_FORBIDDEN")
    await running.call("PUT", "/api/work-orders/7", by=ADMIN, json={"customer_id": 5})
    assert (await running.call("GET", path, by=USER))[0] == 200
    refused(await running.call("GET", path, by=GUEST), 403, "ROOM_FORBIDDEN")
    refused(await running.call("GET", "/api/rooms/a b/presence", by=ADMIN), 400, "INVALID_PAYLOAD")


async def rooms_of(running: Running, id: int) -> list[str]:
    _, answer = await running.call("GET", f"/api/websocket/user/{id}/rooms", by=ADMIN)
    rooms: list[str] = answer["data"]["rooms"]
    return rooms


async def test_new_role_takes_live_sockets_out_of_rooms_at_once(running: Running) -> None:
    tabs = [await running.connect(2, "manager"), await running.connect(2, "manager")]
    for room in ("work_order_7", "ticket_7"):
        await tabs[0].ask("join_room", room)
    assert await rooms_of(running, 2) == ["admin_room", "role_manager", "ticket_7", "user_2", "work_order_7"]
    status, answer = await running.call("PATCH", "/api/users/2", by=ADMIN, json={"role": "user"})
    assert (status, answer) == (200, {"status": "success", "data": {"id": 2, "role": "user", "name": None}})
    assert await rooms_of(running, 2) == ["role_user", "user_2"]
    for target in ({"role": "manager"}, {"room": "admin_room"}, {"room": "work_order_7"}, {"room": "ticket_7"}):
        await running.call("POST", "/api/publish", by=ADMIN, json={**target, "event": "secret"})
    await running.call("POST", "/api/tickets", by=ADMIN, json={})
    await running.call("POST", "/api/publish", by=ADMIN, json={"role": "user", "event": "for users"})
    for tab in tabs:
        await tab.hears("for users")
        assert not {"secret", "repair_ticket_update"} & set(tab.names())
        for room in ("admin_room", "role_manager", "work_order_7"):
            assert (await tab.ask("join_room", room))["code"] == "ROOM_FORBIDDEN"


async def test_old_token_gives_nothing_back(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    await running.call("PATCH", "/api/users/2", by=ADMIN, json={"role": "technician"})
    announcement = {"title": "T", "message": "M"}
    refused(await running.call("POST", "/api/announcements", by=MANAGER, json=announcement), 403, "FORBIDDEN")
    again = await running.connect(2, "manager", now=clock.now)
    assert await rooms_of(running, 2) == ["role_technician", "user_2"]
    assert (await again.ask("join_room", "admin_room"))["code"] == "ROOM_FORBIDDEN"
    as_old_as_the_role = token(2, "manager", now=clock.now)
    assert (await again.ask("refresh_token", {"token": as_old_as_the_role}))["success"] is True
    assert await rooms_of(running, 2) == ["role_technician", "user_2"]
    await running.call("PATCH", "/api/users/2", by=ADMIN, json={"role": "admin"})
    refused(await running.call("PATCH", "/api/users/1", by=MANAGER, json={"role": "user"}), 403, "FORBIDDEN")


async def test_role_set_is_remembered_over_a_restart_until_a_newer_token(starter: Starter, clock: FakeClock) -> None:
    first = await starter(app={"clock": clock})
    await first.call("PATCH", "/api/users/2", by=ADMIN, json={"role": "user"})
    await first.stop()
    second = await starter(app={"clock": clock})
    announcement = {"title": "T", "message": "M"}
    refused(await second.call("POST", "/api/announcements", by=MANAGER, json=announcement), 403, "FORBIDDEN")
    clock.advance(2)
    newer = bearer(2, "manager", now=clock.now)
    assert (await second.call("POST", "/api/announcements", by=newer, json=announcement))[0] == 201


async def test_user_directory_is_for_staff_and_oneself(running: Running) -> None:
    await running.call("GET", "/api/presence", by=bearer(5, name="Una"))
    for who in (USER, TECHNICIAN, ADMIN):
        status, answer = await running.call("GET", "/api/users/5", by=who)
        assert (status, answer["status"]) == (200, "success")
        assert answer["data"] == {
            "id": 5,
            "role": "user",
            "name": "Una",
            "email": None,
            "online": False,
            "status": "offline",
            "lastSeen": None,
        }
    refused(await running.call("GET", "/api/users/5", by=bearer(6)), 403, "FORBIDDEN", FORBIDDEN)
    refused(await running.call("GET", "/api/users/5", by=GUEST), 403, "FORBIDDEN", FORBIDDEN)
    refused(await running.call("GET", "/api/users/404", by=ADMIN), 404, "NOT_FOUND", "User not found")
    status, answer = await running.call("PATCH", "/api/users/5", by=ADMIN, json={"name": "Uma"})
    assert (status, answer["data"]) == (200, {"id": 5, "role": "user", "name": "Uma"})
    for bad in ({}, {"role": ""}, {"role": "a b"}, {"role": None}, {"name": ""}, {"name": 5}, {"email": "x"}):
        refused(await running.call("PATCH", "/api/users/5", by=ADMIN, json=bad), 400, "INVALID_PAYLOAD")
    for who in (MANAGER, SERVICE, TECHNICIAN, USER, GUEST):
        refused(await running.call("PATCH", "/api/users/5", by=who, json={"role": "admin"}), 403, "FORBIDDEN")


async def test_user_is_shown_as_they_are_now(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    watcher = await running.connect(1, "admin")
    client = await running.connect(5, name="Una")

    async def live() -> tuple[bool, str, str]:
        _, answer = await running.call("GET", "/api/users/5", by=TECHNICIAN)
        return answer["data"]["online"], answer["data"]["status"], answer["data"]["lastSeen"]

    assert await live() == (True, "online", timestamp(clock.now))
    clock.advance(30)
    await client.ask("updateStatus", "busy")
    left_at = timestamp(clock.now)
    assert await live() == (True, "busy", left_at)
    await client.close()
    await watcher.hears("userOffline")
    clock.advance(60)
    await until(lambda: len(running.parts.channel) == 1)
    assert await live() == (False, "offline", left_at)


async def test_user_id_must_fit_into_the_name_of_a_room(running: Running) -> None:
    for id, status in (("%20x" * 31, 400), ("%20x" * 30, 200)):
        url = URL(f"{running.url}/api/users/{id}", encoded=True)
        async with running.http.patch(url, json={"name": "Long"}, headers=ADMIN) as response:
            assert response.status == status
            if status == 400:
                refused((status, await response.json()), 400, "INVALID_PAYLOAD")
        async with running.http.get(url, headers=ADMIN) as response:
            assert response.status == (404 if status == 400 else 200)


# health and metrics


async def test_health_and_readiness_are_open(running: Running) -> None:
    status, answer = await running.call("GET", "/healthz")
    assert (status, answer["status"]) == (200, "ok")
    assert set(answer) == {"status", "version", "uptimeSeconds"}
    assert await running.call("GET", "/readyz") == (200, {"ready": True})
    running.parts.stopping = True
    assert await running.call("GET", "/readyz") == (503, {"ready": False, "reason": "shutting down"})
    assert (await running.call("GET", "/healthz"))[0] == 200


async def test_metrics_are_for_loopback_or_the_token(starter: Starter) -> None:
    running = await starter(trusted_proxies=PROXY, metrics_token="scrape-me")
    status, text = await running.call("GET", "/metrics")
    assert status == 200
    assert "roomcast_connections" in text
    away = {"X-Forwarded-For": "203.0.113.9"}
    refused(await running.call("GET", "/metrics", by=away), 403, "FORBIDDEN", FORBIDDEN)
    for wrong in ("Bearer wrong", "Bearer ", "scrape-m", ADMIN["Authorization"]):
        refused(await running.call("GET", "/metrics", by={**away, "Authorization": wrong}), 403, "FORBIDDEN")
    assert (await running.call("GET", "/metrics", by={**away, "Authorization": "Bearer scrape-me"}))[0] == 200


async def test_metrics_are_closed_behind_a_proxy_that_nobody_declared(starter: Starter) -> None:
    running = await starter(metrics_token="scrape-me")
    for forwarded in ("203.0.113.9", "127.0.0.1", ""):
        by = {"X-Forwarded-For": forwarded}
        refused(await running.call("GET", "/metrics", by=by), 403, "FORBIDDEN", FORBIDDEN)
        assert (await running.call("GET", "/metrics", by={**by, "Authorization": "Bearer scrape-me"}))[0] == 200
    assert (await running.call("GET", "/metrics"))[0] == 200


async def test_metrics_without_a_token_are_closed_beyond_loopback(starter: Starter) -> None:
    running = await starter(trusted_proxies=PROXY)
    for given in ({}, {"Authorization": ""}, {"Authorization": "Bearer "}, {"Authorization": "Bearer None"}):
        answer = await running.call("GET", "/metrics", by={"X-Forwarded-For": "203.0.113.9", **given})
        refused(answer, 403, "FORBIDDEN")


# the session cookie


async def cookie_of(running: Running, **headers: str) -> Morsel[str]:
    async with running.http.post(
        f"{running.url}/api/auth/cookie", headers={"Authorization": f"Bearer {token(5)}", **headers}
    ) as response:
        assert response.status == 200
        assert set((await response.json())["data"]) == {"expiresAt"}
        return response.cookies["access_token"]


async def test_cookie_is_hidden_from_scripts_and_other_sites(running: Running) -> None:
    cookie = await cookie_of(running)
    assert cookie["httponly"] is True
    assert (cookie["samesite"], cookie["path"], cookie["secure"]) == ("Lax", "/", "")
    assert 3500 < int(cookie["max-age"]) <= 3630
    running.http.cookie_jar.clear()
    refused(await running.call("POST", "/api/auth/cookie"), 401, "AUTH_REQUIRED")
    jar = {"Cookie": f"access_token={cookie.value}", "Origin": running.url}
    refused(await running.call("POST", "/api/auth/cookie", by=jar), 401, "AUTH_REQUIRED")
    async with running.http.delete(f"{running.url}/api/auth/cookie") as response:
        assert response.status == 200
        assert response.cookies["access_token"]["max-age"] == "0"


async def test_cookie_is_secure_behind_tls(starter: Starter) -> None:
    running = await starter(trusted_proxies=PROXY)
    assert (await cookie_of(running, **{"X-Forwarded-Proto": "https"}))["secure"] is True
    assert (await cookie_of(running, **{"X-Forwarded-Proto": "http"}))["secure"] == ""


async def test_strangers_do_not_say_what_is_tls(running: Running) -> None:
    assert (await cookie_of(running, **{"X-Forwarded-Proto": "https"}))["secure"] == ""


@pytest.mark.parametrize("name", ["access_token", "accessToken", "token"])
async def test_cookie_reads_and_writes_only_from_allowed_pages(starter: Starter, name: str) -> None:
    running = await starter(allowed_origin=("https://app.example",))
    by = {"Cookie": f"{name}={token(5)}"}
    body = {"json": {"upTo": None}}
    assert (await running.call("GET", "/api/notifications", by=by))[0] == 200
    for origin in (None, "https://evil.example", "null", "http://app.example", "https://app.example.evil.example"):
        headers = by if origin is None else {**by, "Origin": origin}
        answer = await running.call("PUT", "/api/notifications/read-all", by=headers, **body)
        refused(answer, 403, "FORBIDDEN", "Origin not allowed")
        refused(await running.call("POST", "/api/bookings", by=headers, json={}), 403, "FORBIDDEN")
    for origin in ("https://app.example", running.url):
        answer = await running.call("PUT", "/api/notifications/read-all", by={**by, "Origin": origin}, **body)
        assert answer[0] == 200
    both = {**by, **bearer(6), "Origin": "https://evil.example"}
    assert (await running.call("PUT", "/api/notifications/read-all", by=both, **body))[0] == 200  # the header counts
    bad_first = {**by, "Authorization": "Bearer nonsense"}
    refused(await running.call("GET", "/api/notifications", by=bad_first), 401, "AUTH_INVALID")


# pages and files


async def test_test_page_and_its_policy(running: Running) -> None:
    async with running.http.get(f"{running.url}/socket-example.html") as response:
        assert response.status == 200
        assert response.content_type == "text/html"
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        page = await response.text()
    assert "<script>" not in page  # the policy would not run it
    assert "/socket.io/socket.io.js" in page
    for path, kind in [
        ("/socket.io/socket.io.js", "javascript"),
        ("/static/socket-example.js", "javascript"),
        ("/static/socket-example.css", "css"),
    ]:
        async with running.http.get(running.url + path) as response:
            assert response.status == 200
            assert kind in response.content_type
            assert "Content-Security-Policy" not in response.headers
            assert len(await response.read()) > 500


@pytest.mark.parametrize(
    "path",
    [
        "/static/../setup.cfg",
        "/static/%2e%2e/setup.cfg",
        "/static/..%2fsetup.cfg",
        "/static/%2e%2e%2fsetup.cfg",
        "/static/vendor/../../setup.cfg",
        "/static/....//setup.cfg",
        "/static//etc/passwd",
        "/static/%2fetc/passwd",
        "/static/..%5csetup.cfg",
        "/static/%00",
        "/static/",
        "/static/vendor",
        "/static/none.js",
        "/socket.io/../setup.cfg",
    ],
)
async def test_no_path_leads_out_of_the_static_files(running: Running, path: str) -> None:
    async with running.http.get(URL(running.url + path, encoded=True)) as response:
        refused((response.status, await response.json()), 404, "NOT_FOUND")


async def test_name_that_no_file_system_has_is_not_found(running: Running) -> None:
    for name in ("a" * 300, "vendor/" + "a" * 300, "a/" * 2500):
        refused(await running.call("GET", f"/static/{name}"), 404, "NOT_FOUND")


async def test_home_leads_to_the_test_page_in_development_only(starter: Starter) -> None:
    dev = await starter(dev=True)
    async with dev.http.get(f"{dev.url}/", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (302, "/socket-example.html")
    async with dev.http.get(f"{dev.url}/") as response:
        assert (response.status, response.content_type) == (200, "text/html")
    await dev.stop()
    running = await starter()
    refused(await running.call("GET", "/"), 404, "NOT_FOUND")


# developer routes


async def test_developer_routes_exist_only_in_development(running: Running) -> None:
    for method, path in (("GET", "/api/dev/info"), ("POST", "/api/dev/token")):
        refused(await running.call(method, path, by=ADMIN, json={"userId": 1}), 404, "NOT_FOUND")


async def test_developer_token_opens_the_server(starter: Starter, clock: FakeClock) -> None:
    running = await starter(dev=True, app={"clock": clock})
    assert await running.call("GET", "/api/dev/info") == (
        200,
        {"dev": True, "roles": ["admin", "manager", "technician", "user"]},
    )
    status, made = await running.call(
        "POST", "/api/dev/token", json={"userId": "5", "role": "technician", "name": "Tess"}
    )
    assert status == 201
    assert {name: value for name, value in made.items() if name != "token"} == {
        "userId": 5,
        "role": "technician",
        "name": "Tess",
        "expiresAt": timestamp(clock.now + 12 * 3600),
    }
    client = await running.connect(auth={"token": made["token"]})
    assert await client.ask("register") == {"success": True, "userId": 5}
    for bad in ({}, {"userId": None}, {"userId": 5, "role": "a b"}, {"userId": 5, "exp": 1}):
        refused(await running.call("POST", "/api/dev/token", json=bad), 400, "INVALID_PAYLOAD")
    answer = await running.call("POST", "/api/dev/token", data='{"userId": 1}', headers={"Content-Type": "text/plain"})
    refused(answer, 415, "INVALID_PAYLOAD")


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "localhost.evil.example"},
        {"Host": "127.0.0.1.evil.example:3000"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "null"},
        {"Host": "localhost", "Origin": "http://evil.example:3000"},
    ],
)
async def test_developer_routes_answer_only_this_machines_pages(starter: Starter, headers: dict[str, str]) -> None:
    running = await starter(dev=True)
    answer = await running.call("POST", "/api/dev/token", headers=headers, json={"userId": 1, "role": "admin"})
    refused(answer, 403, "FORBIDDEN", "Developer routes answer only to localhost")
    refused(await running.call("GET", "/api/dev/info", headers=headers), 403, "FORBIDDEN")


@pytest.mark.parametrize(
    "headers",
    [{"Host": "localhost"}, {"Host": "[::1]:3000"}, {"Origin": "http://localhost:5173"}, {"Host": "LOCALHOST:1"}],
)
async def test_developer_routes_answer_local_pages(starter: Starter, headers: dict[str, str]) -> None:
    running = await starter(dev=True)
    assert (await running.call("GET", "/api/dev/info", headers=headers))[0] == 200


async def test_developer_routes_want_a_peer_on_this_machine(starter: Starter) -> None:
    running = await starter(dev=True, trusted_proxies=PROXY)
    for address, status in (("203.0.113.9", 403), ("127.0.0.1", 200)):
        headers = {"Host": "localhost", "X-Forwarded-For": address}
        assert (await running.call("GET", "/api/dev/info", headers=headers))[0] == status
        made = await running.call("POST", "/api/dev/token", headers=headers, json={"userId": 1, "role": "admin"})
        assert made[0] == (403 if status == 403 else 201)
