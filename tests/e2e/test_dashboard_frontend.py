"""The dashboard frontend: the namespace ``/dashboard``, its plain twin, and the tokens of devices."""

from typing import Any

import pytest

from tests.e2e.calls import call
from tests.e2e.members import Member, notify
from tests.e2e.node import Clients, Socket
from tests.e2e.people import booking_user, shop_user
from tests.e2e.plain import PlainClients, PlainSocket
from tests.e2e.process import Server, wait_until

LIMIT = 5


@pytest.fixture
def member() -> Member:
    return Member.of_dashboard()


def connect(server: Server, clients: Clients, member: Member, **options: Any) -> Socket:
    """Connect as the document shows."""
    options = {"query": member.query, "transports": ["websocket"], **options}
    return clients.open(f"{server.url}/dashboard", **options).connected()


def connect_plain(server: Server, plain: PlainClients, member: Member) -> PlainSocket:
    socket = plain.open(f"{server.url}/dashboard?{member.address}")
    socket.hears("connected")
    return socket


def both(server: Server, clients: Clients, plain: PlainClients, member: Member) -> tuple[Socket, PlainSocket]:
    return connect(server, clients, member), connect_plain(server, plain, member)


def test_connection_is_confirmed(server: Server, clients: Clients, plain: PlainClients, member: Member) -> None:
    for socket in both(server, clients, plain, member):
        socket.settle()
        (heard,) = socket.heard("connected")
        assert set(heard) == {"userId", "timestamp", "message"}
        assert (heard["userId"], heard["message"]) == (member.id, "Dashboard connection established")


@pytest.mark.parametrize("place", ["query", "auth", "header"])
@pytest.mark.parametrize("transports", [["websocket"], ["polling"], ["polling", "websocket"]], ids="-".join)
def test_token_counts_wherever_it_is(
    server: Server, clients: Clients, member: Member, place: str, transports: list[str]
) -> None:
    given: dict[str, dict[str, Any]] = {
        "query": {"query": member.query},
        "auth": {"auth": member.query},
        "header": {"extraHeaders": {"Authorization": f"Bearer {member.token}"}},
    }
    socket = clients.open(f"{server.url}/dashboard", transports=transports, **given[place])
    assert socket.hears("connected")["userId"] == member.id


def test_notification_has_the_fields_of_a_browser_notification(
    server: Server, clients: Clients, plain: PlainClients, member: Member
) -> None:
    mine = both(server, clients, plain, member)
    stranger = connect(server, clients, Member.of_dashboard())
    row = notify(
        *(server, member, "New Message", "John sent you a message"),
        type="MESSAGE",
        priority="high",
        url="/messages/1",
        metadata={"senderId": "sender-uuid", "icon": "/john.png"},
    )
    for socket in mine:
        heard = socket.hears("notification")
        assert heard.pop("timestamp").endswith("Z")
        assert heard == {
            "id": str(row["id"]),
            "title": "New Message",
            "body": "John sent you a message",
            "message": "John sent you a message",
            "type": "MESSAGE",
            "priority": "high",
            "data": {"senderId": "sender-uuid", "icon": "/john.png"},
            "icon": "/john.png",
            "badge": None,
            "clickAction": "/messages/1",
        }
    for each in (*mine, stranger):
        each.settle()
    assert [len(each.heard("notification")) for each in (*mine, stranger)] == [1, 1, 0]


def test_priority_is_normal_unless_said_otherwise(server: Server, clients: Clients, member: Member) -> None:
    socket = connect(server, clients, member)
    notify(server, member, "Plain")
    assert socket.hears("notification")["priority"] == "normal"


def test_others_hear_who_is_online(server: Server, clients: Clients, plain: PlainClients, member: Member) -> None:
    witnesses = both(server, clients, plain, Member.of_dashboard())
    first = connect(server, clients, member)
    for witness in witnesses:
        heard = witness.hears("user_status", userId=member.id)
        assert (heard["status"], set(heard)) == ("online", {"userId", "status", "timestamp"})
    second = connect_plain(server, plain, member)
    first.disconnect()
    notify(server, member, "Still here")
    second.hears("notification", title="Still here")
    second.vanish()
    for witness in witnesses:
        assert witness.hears("user_status", userId=member.id, status="offline")
        told = [each["status"] for each in witness.heard("user_status") if each["userId"] == member.id]
        assert told == ["online", "offline"]
    for socket in (first, second):
        assert member.id not in [each["userId"] for each in socket.heard("user_status")], "nobody hears of themselves"


def test_announcement_reaches_every_dashboard(
    server: Server, clients: Clients, plain: PlainClients, member: Member
) -> None:
    sockets = (*both(server, clients, plain, member), connect(server, clients, Member.of_dashboard()))
    body = {"title": "System Maintenance", "body": "Scheduled maintenance tonight"}
    assert call("POST", f"{server.url}/api/announcements", booking_user("admin")[1], body).status == 201
    for socket in sockets:
        heard = socket.hears("announcement")
        assert set(heard) == {"title", "body", "message", "timestamp"}
        assert (heard["title"], heard["body"]) == ("System Maintenance", "Scheduled maintenance tonight")
        socket.settle()
        assert (len(socket.heard("announcement")), socket.heard("notification")) == (1, [])


def test_activity_and_figures_reach_whom_they_are_for(
    server: Server, clients: Clients, plain: PlainClients, member: Member
) -> None:
    mine = both(server, clients, plain, member)
    stranger = connect(server, clients, Member.of_dashboard())
    service = shop_user("service")[1]
    activity = {"userId": member.id, "type": "connection_request", "message": "New connection request"}
    assert call("POST", f"{server.url}/api/activity", service, activity).status == 201
    figures = {"connections": 150, "messages": 1250, "posts": 89}
    assert call("POST", f"{server.url}/api/stats", service, {**figures, "userId": member.id}).status == 201
    for socket in mine:
        heard = socket.hears("activity")
        assert {name: heard[name] for name in activity} == activity
        heard = socket.hears("stats_update")
        assert {name: heard[name] for name in figures} == figures
    stranger.settle()
    assert stranger.heard("activity") == stranger.heard("stats_update") == []
    assert call("POST", f"{server.url}/api/stats", service, {**figures, "posts": 90}).status == 201
    for each in (*mine, stranger):
        assert each.hears("stats_update", posts=90)


def test_channels_are_subscribed_and_left(
    server: Server, clients: Clients, plain: PlainClients, member: Member
) -> None:
    for socket in both(server, clients, plain, member):
        wanted = {"channels": ["referrals", "events", "projects"]}
        answer = socket.ask("subscribe", wanted)
        assert answer == {"success": True, "rejected": [], **wanted}
        heard = socket.hears("subscribed")
        assert (heard["channels"], set(heard)) == (wanted["channels"], {"channels", "timestamp"})
        publish(server, "channel:referrals", "referral_added")
        assert socket.hears("referral_added")
        assert socket.ask("unsubscribe", {"channels": ["referrals"]})["channels"] == ["referrals"]
        assert socket.hears("unsubscribed")["channels"] == ["referrals"]
        publish(server, "channel:referrals", "another_referral")
        publish(server, "channel:events", "event_added")
        socket.hears("event_added")
        assert socket.heard("another_referral") == []


def publish(server: Server, room: str, event: str) -> None:
    body = {"room": room, "event": event, "data": {"n": 1}}
    assert call("POST", f"{server.url}/api/publish", shop_user("service")[1], body).status == 202


@pytest.mark.parametrize("payload", [None, {}, {"channels": "x" * 101}, {"channels": [7]}, 7, {"channels": []}])
def test_malformed_subscription_is_an_error(
    server: Server, clients: Clients, plain: PlainClients, member: Member, payload: object
) -> None:
    socket = connect(server, clients, member)
    answer = socket.ask("subscribe", payload)
    assert (answer["success"], answer["code"]) == (False, "INVALID_PAYLOAD")
    assert answer["message"] == "Invalid channels format"
    socket.emit("subscribe", payload)
    assert socket.hears("error")["message"] == "Invalid channels format"
    assert connect_plain(server, plain, member).ask("subscribe", payload) == answer


def test_channel_cannot_be_somebody_elses_room(server: Server, clients: Clients, member: Member) -> None:
    other = Member.of_dashboard()
    socket = connect(server, clients, member)
    socket.ask("subscribe", {"channels": [f"user:{other.id}", f"user_{other.id}", "admin_room"]})
    notify(server, other, "Private")
    publish(server, "admin_room", "for_admins")
    socket.settle()
    assert socket.heard("notification") == socket.heard("for_admins") == []


def test_sixth_connection_is_refused_until_one_ends(
    server: Server, clients: Clients, plain: PlainClients, member: Member
) -> None:
    """Socket.IO and plain connections count together."""
    first = connect(server, clients, member)
    connect(server, clients, member)
    for _ in range(LIMIT - 2):
        connect_plain(server, plain, member)
    refused = clients.open(f"{server.url}/dashboard", query=member.query, transports=["websocket"])
    assert refused.hears("$connect_error")["data"] == {"code": "CONNECTION_LIMIT"}
    assert refused.state()["active"] is False
    assert plain.open(f"{server.url}/dashboard?{member.address}").closed() == (1013, "CONNECTION_LIMIT")
    connect(server, clients, Member.of_dashboard())
    first.disconnect()

    def has_left() -> bool:
        return bool(member.call(server, "GET", f"/api/presence/{member.id}").body["connections"] == LIMIT - 1)

    wait_until(has_left, what="the end of the first connection")
    connect_plain(server, plain, member)


@pytest.mark.parametrize(
    ("query", "message", "code"),
    [
        ({}, "Missing authentication credentials", "AUTH_REQUIRED"),
        ({"userId": "1", "token": "nonsense"}, "Invalid authentication token", "AUTH_INVALID"),
        ({**Member.of_dashboard().query, "userId": "other"}, "The token belongs to another user", "USER_MISMATCH"),
    ],
    ids=["none", "malformed", "another's"],
)
def test_connection_of_nobody_or_of_somebody_else_is_refused(
    server: Server, clients: Clients, plain: PlainClients, query: dict[str, str], message: str, code: str
) -> None:
    socket = clients.open(f"{server.url}/dashboard", query=query, transports=["websocket"])
    assert socket.hears("$connect_error") == {"message": message, "data": {"code": code}}
    address = "&".join(f"{name}={value}" for name, value in query.items())
    assert plain.open(f"{server.url}/dashboard?{address}").closed() == (1008, message)


def test_broken_plain_message_is_answered_with_an_error(server: Server, plain: PlainClients, member: Member) -> None:
    socket = connect_plain(server, plain, member)
    for message in ("{", "[]", {"data": 1}, {"event": 7}, {"event": ""}):
        errors = len(socket.heard("error"))
        socket.send(message)
        assert socket.hears("error", count=errors + 1)["code"] == "INVALID_PAYLOAD"
    assert socket.ask("no_such_event")["code"] == "UNKNOWN_EVENT"
    socket.settle()


@pytest.mark.parametrize("prefix", ["/notifications", "/api/notifications"])
def test_device_token_is_registered_and_unregistered(server: Server, member: Member, prefix: str) -> None:
    path = f"{prefix}/device-token"
    registered = member.call(server, "POST", path, {"token": "fcm-device-token-here"})
    assert (registered.status, registered.body) == (200, {"message": "Device token registered successfully"})
    for body in ({"token": "fcm-device-token-here"}, None):
        removed = member.call(server, "DELETE", path, body)
        assert (removed.status, removed.body) == (200, {"message": "Device token unregistered successfully"})
    assert member.call(server, "POST", path, {"token": "  "}).status == 400
    assert call("POST", server.url + path, None, {"token": "x"}).status == 401
