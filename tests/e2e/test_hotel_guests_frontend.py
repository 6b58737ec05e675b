"""The hotel guests' frontend: a plain WebSocket that gets ``{type, data}``, and the REST routes it falls back to."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.calls import call
from tests.e2e.hotel import PATH, POOL, Guest, in_seconds, open_tab, send, send_to, staff
from tests.e2e.node import Clients
from tests.e2e.people import booking_user, shop_user, sign
from tests.e2e.plain import PlainClients
from tests.e2e.process import Server, wait_until

ROW = {
    *("id", "hotel_id", "type", "category", "title", "message", "priority", "sender_type", "sender_id", "sender_name"),
    *("recipient_type", "recipient_id", "status", "metadata", "tags", "language", "expires_at", "read_at"),
    *("created_at", "updated_at"),
}


def test_first_frame_confirms_the_connection(server: Server, plain: PlainClients) -> None:
    guest = Guest.new()
    tab = open_tab(plain, server, guest)
    tab.settle()
    heard = tab.heard("connection")
    assert len(heard) == 1
    assert set(heard[0]) == {"status", "guestId", "timestamp"}
    assert heard[0]["status"] == "connected"
    assert heard[0]["guestId"] == guest.id, "a number: the clients compare it strictly"
    assert heard[0]["timestamp"].endswith("Z")
    assert tab.names()[0] == "connection"


def test_documented_notification_reaches_every_tab_once(server: Server, plain: PlainClients) -> None:
    guest = Guest.new()
    tabs = [open_tab(plain, server, guest) for _ in range(3)]
    row = send(server)
    for tab in tabs:
        heard = tab.hears("notification")
        assert set(heard) == ROW
        assert {name: heard[name] for name in POOL} == POOL
        assert (heard["id"], heard["hotel_id"], heard["status"]) == (row["id"], 1, "sent")
        assert (heard["metadata"], heard["tags"], heard["recipient_id"]) == ({}, [], None)
        assert heard["created_at"].endswith("Z")
        tab.settle()
        assert tab.titles() == ["Pool Maintenance"]


def test_closed_tab_does_not_disturb_the_others(server: Server, plain: PlainClients) -> None:
    guest = Guest.new()
    first, second, third = (open_tab(plain, server, guest) for _ in range(3))
    first.close()
    first.closed()
    second.vanish()
    send_to(server, guest, "Still here")
    third.hears("notification", title="Still here")
    third.settle()
    assert third.titles() == ["Still here"]


def test_guest_may_have_many_connections(server: Server, plain: PlainClients) -> None:
    guest = Guest.new()
    tabs = [open_tab(plain, server, guest) for _ in range(12)]
    send_to(server, guest, "Everywhere")
    for tab in tabs:
        tab.hears("notification", title="Everywhere")


@pytest.mark.parametrize("recipient_type", ["guest", "specific"])
@pytest.mark.parametrize("spelling", [int, str])
def test_row_for_one_guest_reaches_nobody_else(
    server: Server, plain: PlainClients, recipient_type: str, spelling: Callable[[int], object]
) -> None:
    guest, other = Guest.new(), Guest.new()
    tab, stranger = open_tab(plain, server, guest), open_tab(plain, server, other)
    row = send(server, title="For you", recipient_type=recipient_type, recipient_id=spelling(guest.id))
    heard = tab.hears("notification", title="For you")
    assert (heard["recipient_type"], heard["recipient_id"]) == (recipient_type, guest.id)
    stranger.settle()
    assert stranger.titles() == []
    listed = call("GET", f"{server.url}/api/communications", other.token).body["data"]
    assert row["id"] not in [each["id"] for each in listed]
    assert call("GET", f"{server.url}/api/communications/{row['id']}", other.token).status == 404
    assert call("PUT", f"{server.url}/api/communications/{row['id']}/mark-read", other.token).status == 404


@pytest.mark.parametrize("recipient_type", ["all", "walkin"])
def test_row_for_all_reaches_every_connected_guest(server: Server, plain: PlainClients, recipient_type: str) -> None:
    tabs = [open_tab(plain, server, Guest.new()) for _ in range(3)]
    send(server, title="For all", recipient_type=recipient_type)
    for tab in tabs:
        assert tab.hears("notification", title="For all")["recipient_type"] == recipient_type
        tab.settle()
        assert tab.titles() == ["For all"]


def test_guest_and_user_of_the_same_number_are_two_people(
    server: Server, plain: PlainClients, clients: Clients
) -> None:
    user, token = shop_user("user")
    guest = Guest.new(user)
    tab, socket = open_tab(plain, server, guest), clients.connect(server.url, token)
    send_to(server, guest, "For the guest")
    body = {"userId": user, "title": "For the user", "message": "m"}
    assert call("POST", f"{server.url}/api/notifications", shop_user("admin")[1], body).status == 201
    assert socket.hears("newNotification")["title"] == "For the user"
    tab.hears("notification", title="For the guest")
    tab.settle()
    socket.settle()
    assert tab.titles() == ["For the guest"]
    assert len(socket.heard("newNotification")) == 1


def test_expired_row_is_not_shown_and_a_later_one_says_when(server: Server, plain: PlainClients) -> None:
    guest = Guest.new()
    tab = open_tab(plain, server, guest)
    send_to(server, guest, "Too late", expires_at=in_seconds(-60))
    send_to(server, guest, "In time", expires_at="2035-01-15T10:00:00.000Z")
    assert tab.hears("notification")["title"] == "In time"
    assert tab.heard("notification")[0]["expires_at"] == "2035-01-15T10:00:00.000Z"


def test_row_that_expires_while_its_guest_is_away_is_not_told(server: Server, plain: PlainClients) -> None:
    guest = Guest.new()
    send_to(server, guest, "Breakfast", expires_at=in_seconds(0.2))
    send_to(server, guest, "Dinner")

    def titles() -> list[str]:
        rows = call("GET", f"{server.url}/api/communications", guest.token).body["data"]
        return [row["title"] for row in rows]

    wait_until(lambda: titles() == ["Dinner"], what="the end of breakfast")
    tab = open_tab(plain, server, guest)
    assert tab.hears("notification")["title"] == "Dinner"


def test_scheduled_row_comes_at_its_time(server: Server, plain: PlainClients) -> None:
    guest = Guest.new()
    tab = open_tab(plain, server, guest)
    later = send_to(server, guest, "Checkout", scheduled_at=in_seconds(3600))
    soon = send_to(server, guest, "Wake up", scheduled_at=in_seconds(0.3))
    assert (later["status"], soon["status"]) == ("draft", "draft")
    assert tab.hears("notification")["title"] == "Wake up"
    assert tab.heard("notification")[0]["id"] == soon["id"]
    tab.settle()
    assert tab.titles() == ["Wake up"]
    one = f"{server.url}/api/communications"
    wait_until(
        lambda: call("GET", f"{one}/{soon['id']}", staff()).body["data"]["status"] == "sent", what="the status sent"
    )
    assert call("GET", f"{one}/{later['id']}", staff()).body["data"]["status"] == "draft"


def test_row_without_a_recipient_is_kept_and_not_sent(server: Server, plain: PlainClients) -> None:
    tab = open_tab(plain, server, Guest.new())
    send(server, title="For whom?", recipient_type="guest")
    tab.settle()
    assert tab.titles() == []
    assert "names no recipient" in server.log


def test_incomplete_or_unknown_bodies_are_refused(server: Server) -> None:
    url = f"{server.url}/api/communications"
    missing = call("POST", url, staff(), {"title": "No more"})
    assert missing.status == 400
    assert missing.body["message"] == "Missing required fields: hotel_id, type, title, message, sender_type"
    assert call("POST", url, staff(), {**POOL, "recipient_type": "everyone"}).status == 400


def test_announcement_is_a_system_frame(server: Server, plain: PlainClients) -> None:
    tab = open_tab(plain, server, Guest.new())
    body = {"title": "Maintenance", "message": "Server maintenance in 5 minutes"}
    assert call("POST", f"{server.url}/api/announcements", booking_user("admin")[1], body).status == 201
    heard = tab.hears("system")
    assert set(heard) == {"message", "timestamp"}
    assert heard["message"] == "Server maintenance in 5 minutes"
    tab.settle()
    assert (len(tab.heard("system")), tab.titles()) == (1, [])


def test_pings_are_answered_and_other_frames_do_no_harm(server: Server, plain: PlainClients) -> None:
    guest = Guest.new()
    tab = open_tab(plain, server, guest)
    for frame in ("", "hello", "{", "null", "[]", "7", '{"type":', {"type": "subscribe"}, {"type": 7}, {"event": "x"}):
        tab.send(frame)
    tab.send("x" * 100_000)
    tab.send("[" * 10_000)
    tab.send_bytes(b"\x00\xff\x00")
    tab.settle()
    assert tab.names() == ["connection", "pong"]
    tab.ping("are you there")
    tab.hears("$pong")
    assert tab.heard("$pong") == ["are you there"]
    send_to(server, guest, "As before")
    tab.hears("notification", title="As before")


def test_frame_of_more_than_a_megabyte_closes(server: Server, plain: PlainClients) -> None:
    tab = open_tab(plain, server, Guest.new())
    tab.send("x" * 1_100_000)
    assert tab.closed()[0] == 1009


FORGED = "another-secret-that-is-as-long-as-it-has-to-be"


def refusals() -> dict[str, tuple[str, str]]:
    """Return (query, reason) of connections that the server does not want."""
    missing, invalid, failed = "Missing token or guestId", "Invalid token", "Authentication failed"
    forged = sign({"id": 1, "type": "guest"}, secret=FORGED)
    return {
        "nothing": ("", missing),
        "no token": ("guestId=1", missing),
        "no id": (f"token={Guest.new(1).token}", missing),
        "empty": ("token=&guestId=", missing),
        "malformed": ("token=not-a-token&guestId=1", invalid),
        "forged": (f"token={forged}&guestId=1", invalid),
        "expired": (f"token={Guest.new(1, lifetime=-3600).token}&guestId=1", invalid),
        "another guest's": (f"token={Guest.new(1).token}&guestId=2", failed),
        "a user's": (f"token={sign({'id': 1, 'role': 'user'})}&guestId=1", failed),
        "an admin's": (f"token={sign({'id': 1, 'role': 'admin'})}&guestId=1", failed),
    }


@pytest.mark.parametrize("case", refusals())
def test_refused_connection_is_opened_and_closed_with_a_reason(server: Server, plain: PlainClients, case: str) -> None:
    query, reason = refusals()[case]
    socket = plain.open(f"{server.url}{PATH}?{query}")
    socket.opened()
    assert socket.closed() == (1008, reason)
    assert socket.names() == []


def test_shutdown_is_going_away(start_server: Callable[..., Server], plain: PlainClients) -> None:
    server = start_server()
    tab = open_tab(plain, server, Guest.new())
    server.terminate()
    assert tab.closed()[0] == 1001
    assert server.wait() == 0


def test_polling_finds_what_the_socket_would_have_shown(server: Server, plain: PlainClients) -> None:
    guest = Guest.new()
    open_tab(plain, server, guest)
    ids = [send_to(server, guest, f"number {n}")["id"] for n in range(12)]
    url = f"{server.url}/api/communications"

    def page(query: str = "") -> Any:
        answer = call("GET", url + query, guest.token)
        assert answer.status == 200
        return answer.body

    first = page()
    assert [row["id"] for row in first["data"]] == ids[:1:-1], "ten a page, newest first"
    assert {name: first["pagination"][name] for name in ("page", "limit", "total", "totalPages")} == {
        "page": 1,
        "limit": 10,
        "total": 12,
        "totalPages": 2,
    }
    assert [row["id"] for row in page("?page=2")["data"]] == ids[1::-1]
    assert set(first["data"][0]) >= ROW


def test_read_row_is_read_for_guest_and_staff_and_not_pushed(server: Server, plain: PlainClients) -> None:
    guest = Guest.new()
    tab = open_tab(plain, server, guest)
    row = send_to(server, guest, "Read me")
    tab.hears("notification", title="Read me")
    one = f"{server.url}/api/communications/{row['id']}"
    answer = call("PUT", f"{one}/mark-read", guest.token)
    assert answer.status == 200
    assert answer.body["status"] == "success"
    assert answer.body["data"]["status"] == "read"
    assert answer.body["data"]["read_at"].endswith("Z")
    for token in (guest.token, staff()):
        assert call("GET", one, token).body["data"]["status"] == "read"
    unread = call("GET", f"{server.url}/api/communications?unread=true", guest.token).body
    assert unread["pagination"]["total"] == 0
    tab.settle()
    assert tab.titles() == ["Read me"]


def test_routes_are_closed_without_a_role_of_the_hotel(server: Server) -> None:
    base = f"{server.url}/api/communications"
    guest, user = Guest.new().token, shop_user("user")[1]
    for method, path, body in (
        ("POST", "", POOL),
        ("GET", "/websocket/stats", None),
        ("POST", "/websocket/test", {"guestId": 123, "message": "Test notification"}),
    ):
        assert call(method, base + path, None, body).status == 401
        for token in (guest, user):
            refused = call(method, base + path, token, body)
            assert refused.status == 403, (path, refused)
            assert refused.body["message"] == "Forbidden: insufficient permissions"
        for role in ("admin", "manager", "staff", "service"):
            assert call(method, base + path, staff(role), body).status in (200, 201)
    assert call("GET", base).status == 401
    assert call("GET", base, guest).status == 200
