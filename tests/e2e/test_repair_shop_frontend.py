"""The repair shop's frontend: its socket context, rooms as plain strings, numeric ids, badge and monitoring routes."""

from typing import Any

import pytest

from tests.e2e.calls import call, curl
from tests.e2e.node import Clients, Socket
from tests.e2e.people import shop_token, shop_user
from tests.e2e.process import Server

CONTEXT: dict[str, Any] = {"transports": ["websocket", "polling"], "timeout": 20000, "forceNew": True}
"""How the frontend's socket context connects."""


@pytest.fixture
def admin() -> str:
    return shop_user("admin", "Ada")[1]


def put_order(server: Server, admin: str, id: int, **fields: object) -> None:
    answer = call("PUT", f"{server.url}/api/work-orders/{id}", admin, {"description": "Compressor", **fields})
    assert answer.status in (200, 201), answer


def is_number(value: object, wanted: int) -> bool:
    """As ``value === wanted``: true for the number, not for its text."""
    return type(value) is int and value == wanted


def test_joined_work_order_is_live_under_its_number(server: Server, clients: Clients, admin: str) -> None:
    put_order(server, admin, 123, status="pending", priority="low")
    socket = clients.connect(server.url, shop_user()[1], **CONTEXT)
    elsewhere = clients.connect(server.url, shop_user()[1], **CONTEXT)
    assert socket.ask("join_room", "work_order_123")["room"] == "work_order_123"
    assert elsewhere.ask("join_room", "work_order_124")["success"]
    changed = call("PATCH", f"{server.url}/api/work-orders/123", admin, {"status": "in_progress"})
    assert changed.status == 200
    heard = socket.hears("work_order_updated", action="status_changed")
    assert is_number(heard["workOrderId"], 123)
    assert is_number(heard["workOrder"]["id"], 123)
    assert (heard["workOrder"]["status"], heard["workOrder"]["priority"]) == ("in_progress", "low")
    assert (heard["data"]["oldStatus"], heard["data"]["newStatus"]) == ("pending", "in_progress")
    elsewhere.settle()
    assert elsewhere.heard("work_order_updated") == []
    socket.ask("leave_room", "work_order_123")
    call("PATCH", f"{server.url}/api/work-orders/123", admin, {"status": "completed"})
    socket.settle()
    assert len(socket.heard("work_order_updated")) == 1


def test_assigned_technician_hears_of_it_and_is_notified(server: Server, clients: Clients, admin: str) -> None:
    technician, token = shop_user()
    socket = clients.connect(server.url, token, **CONTEXT)
    put_order(server, admin, 125, status="pending")
    assigned = call("POST", f"{server.url}/api/work-orders/125/assign", admin, {"technicianId": technician})
    assert assigned.status == 200
    update = socket.hears("work_order_assignment_update", action="assigned")
    assert is_number(update["workOrderId"], 125)
    assert is_number(update["workOrder"]["technician_id"], technician)
    wrapped = socket.hears("notification_received")
    assert set(wrapped) == {"notification", "timestamp"}
    row = wrapped["notification"]
    assert is_number(row["user_id"], technician)
    assert type(row["id"]) is int
    assert row["is_read"] is False
    assert (row["related_entity_type"], row["related_entity_id"]) == ("work_order", 125)
    assert row["message_params"] == {}


def test_ticket_update_carries_the_ticket_as_an_object(server: Server, clients: Clients, admin: str) -> None:
    socket = clients.connect(server.url, shop_user()[1], **CONTEXT)
    socket.ask("join_room", "ticket_9")
    body = {"ticket_number": "T-9", "formatted_number": "#T-9", "status": "open"}
    assert call("PUT", f"{server.url}/api/repair-tickets/9", admin, body).status == 201
    heard = socket.hears("repair_ticket_updated", action="created")
    assert is_number(heard["ticketId"], 9)
    assert heard["ticket"]["ticket_number"] == "T-9"


def test_count_reaches_every_socket_of_the_user_and_nobody_else(server: Server, clients: Clients, admin: str) -> None:
    user, token = shop_user()
    tabs = [clients.connect(server.url, token, **CONTEXT) for _ in range(2)]
    colleague = clients.connect(server.url, shop_user()[1], **CONTEXT)
    body = {"userId": user, "type": "work_order", "title": "Parts", "message": "Arrived"}
    assert call("POST", f"{server.url}/api/notifications", admin, body).status == 201
    for tab in tabs:
        heard = tab.hears("notification_count_updated", count=1)
        assert is_number(heard["userId"], user)
        assert (heard["count"], heard["unreadCount"]) == (1, 1)
        tab.settle()
        assert len(tab.heard("notification_received")) == 1
    counted = call("GET", f"{server.url}/api/notifications/count", token).body
    assert (counted["count"], counted["unreadCount"]) == (1, 1)
    colleague.settle()
    assert colleague.heard("notification_count_updated") == colleague.heard("notification_received") == []


def test_typing_is_heard_in_the_room_by_everybody_else(server: Server, clients: Clients) -> None:
    user, token = shop_user(name="Tess")
    typist = clients.connect(server.url, token, **CONTEXT)
    reader, outsider = (clients.connect(server.url, shop_user()[1], **CONTEXT) for _ in range(2))
    for socket in (typist, reader):
        assert socket.ask("join_room", "work_order_200")["success"]
    typist.emit("typing_start", {"roomName": "work_order_200", "message": "Looking at it"})
    heard = reader.hears("user_typing_start", roomName="work_order_200")
    assert is_number(heard["userId"], user)
    assert is_number(heard["workOrderId"], 200)
    assert (heard["userName"], heard["message"]) == ("Tess", "Looking at it")
    typist.emit("typing_stop", {"roomName": "work_order_200"})
    stopped = reader.hears("user_typing_stop", roomName="work_order_200")
    assert is_number(stopped["userId"], user)
    assert "message" not in stopped
    for socket in (typist, outsider):
        socket.settle()
        assert socket.heard("user_typing_start") == socket.heard("user_typing_stop") == []


def test_presence_in_a_work_order_is_heard_in_its_room(server: Server, clients: Clients) -> None:
    user, token = shop_user(name="Tess")
    worker, reader = (
        clients.connect(server.url, token, **CONTEXT),
        clients.connect(server.url, shop_user()[1], **CONTEXT),
    )
    for socket in (worker, reader):
        assert socket.ask("join_room", "work_order_201")["success"]
    worker.emit("user_presence", {"status": "working", "workOrderId": 201})
    heard = reader.hears("user_presence_update", status="working")
    assert is_number(heard["userId"], user)
    assert is_number(heard["workOrderId"], 201)
    assert heard["userName"] == "Tess"


def test_colleagues_and_admins_hear_who_comes_and_goes(server: Server, clients: Clients, admin: str) -> None:
    colleague = clients.connect(server.url, shop_user("technician")[1], **CONTEXT)
    boss = clients.connect(server.url, admin, **CONTEXT)
    customer = clients.connect(server.url, shop_user("user")[1], **CONTEXT)
    user, token = shop_user("technician", "Tom")
    socket = clients.connect(server.url, token, **CONTEXT)
    for witness in (colleague, boss):
        assert witness.hears("user_online", userId=user)["userName"] == "Tom"
    socket.disconnect()
    for witness in (colleague, boss):
        assert witness.hears("user_offline", userId=user)["userName"] == "Tom"
    customer.settle()
    assert [one for one in customer.heard("user_online") if one["userId"] == user] == []


def test_rooms_of_others_are_refused(server: Server, clients: Clients) -> None:
    technician = clients.connect(server.url, shop_user("technician")[1], **CONTEXT)
    customer = clients.connect(server.url, shop_user("user")[1], **CONTEXT)
    assert technician.ask("join_room", "admin_room")["code"] == "ROOM_FORBIDDEN"
    assert customer.ask("join_room", "work_order_123")["code"] == "ROOM_FORBIDDEN"
    assert customer.ask("join_room", "role_technician")["code"] == "ROOM_FORBIDDEN"


def test_refused_token_reads_as_the_context_expects(server: Server, clients: Clients) -> None:
    socket = clients.open(server.url, auth={"token": "expired or forged"}, **CONTEXT)
    assert socket.hears("$connect_error")["data"] == {"code": "AUTH_INVALID"}


@pytest.fixture
def user_one(server: Server, clients: Clients) -> Socket:
    """User 1, whom the document's commands address."""
    return clients.connect(server.url, shop_token(1, "technician", "One"), **CONTEXT)


def test_documented_health_check(server: Server, user_one: Socket) -> None:
    answer = curl(f"{server.url}/api/websocket/health")
    assert answer.status == 200
    assert (answer.body["service"], answer.body["status"]) == ("websocket", "active")
    assert answer.body["connectedUsers"] >= 1


def test_documented_statistics(server: Server, user_one: Socket, admin: str) -> None:
    answer = curl("-H", f"Authorization: Bearer {admin}", f"{server.url}/api/websocket/stats")
    assert answer.status == 200
    stats = answer.body["data"]
    assert stats["isServiceActive"] is True
    assert stats["totalConnections"] >= 1
    (one,) = (each for each in stats["connectedUsers"] if each["userId"] == 1)
    assert (one["userName"], one["userRole"]) == ("One", "technician")


def test_documented_test_message(server: Server, user_one: Socket, admin: str) -> None:
    answer = curl(
        *("-X", "POST", "-H", f"Authorization: Bearer {admin}", "-H", "Content-Type: application/json"),
        *("-d", '{"event": "test", "data": {"message": "Hello"}}', f"{server.url}/api/websocket/emit/1"),
    )
    assert answer.status == 200
    assert answer.body["message"] == "Event 'test' emitted to user 1"
    assert user_one.hears("test") == {"message": "Hello"}


def test_rooms_and_roles_get_test_messages_too(server: Server, user_one: Socket, admin: str) -> None:
    user_one.ask("join_room", "work_order_300")
    for target in ("room/work_order_300", "role/technician"):
        body = {"event": "test", "data": {"to": target}}
        assert call("POST", f"{server.url}/api/websocket/emit/{target}", admin, body).status == 200
        assert user_one.hears("test", to=target)
    rooms = call("GET", f"{server.url}/api/websocket/user/1/rooms", admin).body["data"]
    assert rooms == {"userId": 1, "rooms": ["role_technician", "user_1", "work_order_300"], "isOnline": True}


def test_monitoring_is_for_admins(server: Server) -> None:
    technician = shop_user("technician")[1]
    for method, path in (("GET", "stats"), ("POST", "emit/1"), ("POST", "emit/room/x"), ("POST", "emit/role/admin")):
        url = f"{server.url}/api/websocket/{path}"
        assert curl("-X", method, url).status == 401
        refused = curl("-X", method, "-H", f"Authorization: Bearer {technician}", url)
        assert refused.status == 403
        assert refused.body["message"] == "Forbidden: insufficient permissions"
