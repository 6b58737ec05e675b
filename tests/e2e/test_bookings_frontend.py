"""The bookings frontend, as its document shows it: io(url, {auth: {token}}), its six events and its test routes."""

from typing import Any

import pytest

from tests.e2e.calls import call, curl
from tests.e2e.node import Clients, Socket
from tests.e2e.people import booking_user, sign
from tests.e2e.process import Server

TRANSPORTS: dict[str, dict[str, Any]] = {
    "default": {},
    "websocket": {"transports": ["websocket"]},
    "polling": {"transports": ["polling"]},
}


@pytest.fixture(params=TRANSPORTS)
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The transport options of the client; the document's own client gives none."""
    return TRANSPORTS[request.param]


def post_test(server: Server, path: str, token: str, **body: str) -> Any:
    answer = call("POST", f"{server.url}/api/socket-test/{path}", token, body)
    assert answer.status == 200, answer
    return answer.body


def test_client_begins_with_polling_and_upgrades(server: Server, clients: Clients) -> None:
    socket = clients.open(server.url, auth={"token": booking_user()[1]})
    assert socket.hears("$open") == "polling"
    assert socket.hears("$upgrade") == "websocket"
    socket.connected().settle()


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_client_stays_on_the_one_transport_it_was_given(server: Server, clients: Clients, transport: str) -> None:
    socket = clients.connect(server.url, booking_user()[1], transports=[transport])
    socket.settle()
    assert socket.state()["transport"] == transport
    assert socket.heard("$upgrade") == []


def test_stored_notification_reaches_its_user_once(server: Server, clients: Clients, options: dict[str, Any]) -> None:
    user, token = booking_user()
    socket = clients.connect(server.url, token, **options)
    stranger = clients.connect(server.url, booking_user()[1], **options)
    body = {"userId": user, "type": "booking", "title": "Booked", "message": "Room 7 is yours", "url": "/bookings/7"}
    sent = call("POST", f"{server.url}/api/notifications", booking_user("admin")[1], body)
    assert sent.status == 201
    heard = socket.hears("newNotification")
    assert {key: heard[key] for key in ("title", "message", "type", "read", "url")} == {
        "title": "Booked",
        "message": "Room 7 is yours",
        "type": "booking",
        "read": False,
        "url": "/bookings/7",
    }
    assert heard["_id"] == str(sent.body["id"])
    assert heard["user"] == user
    assert heard["createdAt"].endswith("Z")
    for each in (socket, stranger):
        each.settle()
    assert len(socket.heard("newNotification")) == 1
    assert stranger.heard("newNotification") == []


def test_others_hear_who_comes_and_goes(server: Server, clients: Clients, options: dict[str, Any]) -> None:
    witness = clients.connect(server.url, booking_user()[1], **options)
    user, token = booking_user()
    first = clients.connect(server.url, token, **options)
    assert witness.hears("userOnline", userId=user) == {"userId": user}
    second = clients.connect(server.url, token, **options)
    first.disconnect()
    post_test(server, "broadcast", booking_user("admin")[1], title="Still here")
    second.hears("newNotification", title="Still here")
    second.disconnect()
    assert witness.hears("userOffline", userId=user) == {"userId": user}
    for event in ("userOnline", "userOffline"):
        assert witness.heard(event).count({"userId": user}) == 1
    assert {"userId": user} not in second.heard("userOnline")


def test_status_reaches_the_others_under_the_name_of_the_token(
    server: Server, clients: Clients, options: dict[str, Any]
) -> None:
    user, token = booking_user()
    socket = clients.connect(server.url, token, **options)
    witness = clients.connect(server.url, booking_user()[1], **options)
    assert socket.ask("updateStatus", {"status": "away", "userId": "somebody else"}) == {
        "success": True,
        "status": "away",
    }
    heard = witness.hears("statusUpdated", userId=user)
    assert heard["status"] == "away"
    socket.settle()
    assert socket.heard("statusUpdated") == []


def test_typing_reaches_the_others_under_the_name_of_the_token(
    server: Server, clients: Clients, options: dict[str, Any]
) -> None:
    user, token = booking_user()
    socket = clients.connect(server.url, token, **options)
    witness = clients.connect(server.url, booking_user()[1], **options)
    socket.emit("typing", {"userId": "somebody else", "isTyping": True, "conversationId": "c1"})
    assert witness.hears("userTyping", userId=user) == {"userId": user, "isTyping": True, "conversationId": "c1"}
    socket.emit("typing", {"isTyping": False})
    assert witness.hears("userTyping", userId=user, isTyping=False)
    assert socket.heard("userTyping") == []


def test_booking_update_of_staff_reaches_only_its_user(
    server: Server, clients: Clients, options: dict[str, Any]
) -> None:
    user, token = booking_user()
    socket = clients.connect(server.url, token, **options)
    stranger = clients.connect(server.url, booking_user()[1], **options)
    staff = clients.connect(server.url, booking_user("manager")[1], **options)
    update = {"bookingId": "b-1", "status": "confirmed", "userId": user, "roomNumber": 7}
    assert staff.ask("bookingUpdate", update) == {"success": True, "delivered": 1}
    assert socket.hears("bookingUpdated") == update
    assert stranger.ask("bookingUpdate", update)["code"] == "FORBIDDEN"
    stranger.settle()
    assert stranger.heard("bookingUpdated") == []


def test_register_confirms_ones_own_id_and_no_other(server: Server, clients: Clients, options: dict[str, Any]) -> None:
    user, token = booking_user()
    socket = clients.connect(server.url, token, **options)
    assert socket.ask("register", user) == {"success": True, "userId": user}
    assert socket.ask("register", booking_user()[0])["code"] == "USER_MISMATCH"


def test_invalid_token_is_a_connect_error_with_a_code(
    server: Server, clients: Clients, options: dict[str, Any]
) -> None:
    forged = sign({"userId": "65f0c0ffee", "role": "admin"}, secret="another-secret-that-is-as-long-as-it-has-to-be")
    refusals = [
        ({"token": forged}, "Authentication error: Invalid token", "AUTH_INVALID"),
        ({"token": "not a token"}, "Authentication error: Invalid token", "AUTH_INVALID"),
        ({"token": booking_user(lifetime=-3600)[1]}, "Authentication error: Token expired", "TOKEN_EXPIRED"),
        ({}, "Authentication error: No token provided", "AUTH_REQUIRED"),
    ]
    for auth, message, code in refusals:
        socket = clients.open(server.url, auth=auth, **options)
        assert socket.hears("$connect_error") == {"message": message, "data": {"code": code}}
        assert socket.state()["active"] is False, "a refused client does not try again by itself"
        assert socket.heard("$connect") == []


def test_token_in_the_query_or_a_header_also_counts(server: Server, clients: Clients, options: dict[str, Any]) -> None:
    for place in ("query", "header"):
        user, token = booking_user()
        given = (
            {"query": {"token": token}} if place == "query" else {"extraHeaders": {"Authorization": f"Bearer {token}"}}
        )
        socket = clients.open(server.url, **given, **options).connected()
        assert socket.ask("register") == {"success": True, "userId": user}


@pytest.fixture
def audience(server: Server, clients: Clients) -> tuple[str, Socket, Socket]:
    """(id, socket of that user, socket of another user)."""
    user, token = booking_user()
    return user, clients.connect(server.url, token), clients.connect(server.url, booking_user()[1])


def test_documented_broadcast_reaches_everybody(server: Server, audience: tuple[str, Socket, Socket]) -> None:
    answer = curl(
        *("-X", "POST", f"{server.url}/api/socket-test/broadcast"),
        *("-H", f"Authorization: Bearer {booking_user('admin')[1]}", "-H", "Content-Type: application/json"),
        *("-d", '{"title": "Test Broadcast", "message": "This is a test broadcast message", "type": "info"}'),
    )
    assert answer.status == 200
    assert answer.body["message"] == "Broadcast sent successfully"
    for socket in audience[1:]:
        assert socket.hears("newNotification") == answer.body["notification"]


def test_documented_direct_message_reaches_one_user(server: Server, audience: tuple[str, Socket, Socket]) -> None:
    user, socket, stranger = audience
    answer = curl(
        *("-X", "POST", f"{server.url}/api/socket-test/send/{user}"),
        *("-H", f"Authorization: Bearer {booking_user('admin')[1]}", "-H", "Content-Type: application/json"),
        *("-d", '{"title": "Direct Message", "message": "This is a direct message", "type": "info"}'),
    )
    assert answer.status == 200
    assert answer.body["message"] == "Direct message sent successfully"
    heard = socket.hears("newNotification", title="Direct Message")
    assert heard["message"] == "This is a direct message"
    assert heard["userId"] == user
    stranger.settle()
    assert stranger.heard("newNotification") == []


def test_documented_statistics_count_people(server: Server, audience: tuple[str, Socket, Socket]) -> None:
    answer = curl("-H", f"Authorization: Bearer {booking_user()[1]}", f"{server.url}/api/socket-test/stats")
    assert answer.status == 200
    assert audience[0] in answer.body["userIds"]
    assert answer.body["connectedUsers"] == len(answer.body["userIds"]) >= 2


def test_test_routes_want_a_token_and_a_role(server: Server) -> None:
    assert curl("-X", "POST", f"{server.url}/api/socket-test/broadcast").status == 401
    assert curl(f"{server.url}/api/socket-test/stats").status == 401
    user = f"Authorization: Bearer {booking_user()[1]}"
    assert curl("-X", "POST", "-H", user, f"{server.url}/api/socket-test/broadcast").status == 403


def test_booking_notifies_on_creation_change_review_and_announcement(server: Server, clients: Clients) -> None:
    guest, guest_token = booking_user()
    owner, owner_token = booking_user()
    admin = booking_user("admin")[1]
    booker, host = clients.connect(server.url, guest_token), clients.connect(server.url, owner_token)
    bookings = f"{server.url}/api/bookings"
    made = call("POST", bookings, admin, {"userId": guest, "ownerId": owner, "from": "2030-01-01", "to": "2030-01-02"})
    assert made.status == 201
    id = made.body["data"]["id"]
    assert booker.hears("newNotification", type="booking_created")
    assert host.hears("newNotification", type="booking_created")
    assert call("PATCH", f"{bookings}/{id}", admin, {"status": "confirmed"}).status == 200
    assert booker.hears("bookingUpdated", status="confirmed")["bookingId"] == id
    assert booker.hears("newNotification", type="booking_status")
    review = call("POST", f"{bookings}/{id}/reviews", guest_token, {"rating": 5, "comment": "Lovely"})
    assert review.status == 201
    assert "Lovely" in host.hears("newNotification", type="review")["message"]
    announced = call("POST", f"{server.url}/api/announcements", admin, {"title": "Closed", "message": "On Sunday"})
    assert announced.status == 201
    for socket in (booker, host):
        assert socket.hears("newNotification", type="announcement")["title"] == "Closed"


def test_another_backend_sends_any_event_to_everybody(server: Server, audience: tuple[str, Socket, Socket]) -> None:
    body = {"audience": "all", "event": "customEvent", "data": {"data": "example"}}
    assert call("POST", f"{server.url}/api/publish", booking_user("service")[1], body).status == 202
    for socket in audience[1:]:
        assert socket.hears("customEvent") == {"data": "example"}
