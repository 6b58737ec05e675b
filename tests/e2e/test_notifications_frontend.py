"""The notifications frontend over Socket.IO: the namespace ``/notifications``, its envelope and its flat fields."""

from typing import Any

import pytest

from tests.e2e.calls import call
from tests.e2e.members import Member, notify
from tests.e2e.node import Clients, Socket
from tests.e2e.people import booking_user, shop_user, sign
from tests.e2e.process import Server

TRANSPORTS: dict[str, dict[str, Any]] = {
    "websocket": {"transports": ["websocket"]},
    "polling first": {},
    "polling": {"transports": ["polling"]},
}
FORGED = "another-secret-that-is-as-long-as-it-has-to-be"


@pytest.fixture(params=TRANSPORTS)
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The documented service begins with a WebSocket, the documented Angular service with polling."""
    return TRANSPORTS[request.param]


def header(token: str) -> dict[str, Any]:
    return {"extraHeaders": {"Authorization": f"Bearer {token}"}}


def connect(server: Server, clients: Clients, member: Member, **options: Any) -> Socket:
    return clients.open(f"{server.url}/notifications", **header(member.token), **options).connected()


def test_documented_connect_tells_the_count_and_subscribes(
    server: Server, clients: Clients, options: dict[str, Any]
) -> None:
    member = Member.of_notifications()
    for n in range(2):
        notify(server, member, f"missed {n}")
    socket = connect(server, clients, member, **options)
    heard = socket.hears("unread_count")
    told = {"count": 2, "unseenCount": 2, "categories": {"info": 2}, "revision": heard["revision"]}
    assert heard == {"type": "unread_count", "data": told, **told, "timestamp": heard["timestamp"]}
    assert socket.ask("subscribe_notifications", {}) == {"success": True}
    assert socket.hears("unread_count", count=2)["count"] == 2, "told again"
    socket.settle()
    assert socket.heard("notification") == [], "what was missed is listed, not pushed"


@pytest.mark.parametrize("payload", [[], [None], [{}]], ids=["nothing", "null", "object"])
def test_subscribing_always_answers_with_an_object(server: Server, clients: Clients, payload: list[Any]) -> None:
    socket = connect(server, clients, Member.of_notifications())
    assert socket.ask("subscribe_notifications", *payload) == {"success": True}
    assert socket.ask("unsubscribe_notifications", *payload) == {"success": True}
    assert socket.ask("no_such_event", *payload)["success"] is False


def test_notification_is_an_envelope_and_flat_at_once(
    server: Server, clients: Clients, options: dict[str, Any]
) -> None:
    member = Member.of_notifications()
    socket = connect(server, clients, member, **options)
    stranger = connect(server, clients, Member.of_notifications(), **options)
    row = notify(
        *(server, member, "Test Notification", "Test message"),
        type="payment",
        url="/payments/7",
        metadata={"amount": 12.5},
    )
    event = socket.hears("notification")
    fields = {
        "id": str(row["id"]),
        "userId": member.id,
        "title": "Test Notification",
        "message": "Test message",
        "actionUrl": "/payments/7",
        "metadata": {"amount": 12.5},
        "isRead": False,
        "isNew": True,
    }
    assert event["type"] == "notification"
    assert {name: event["data"][name] for name in fields} == fields
    assert event["data"]["type"] == "payment"
    assert {name: event[name] for name in fields} == fields
    assert event["notificationType"] == "payment"
    for stamp in (event["timestamp"], event["createdAt"], event["data"]["createdAt"], event["data"]["updatedAt"]):
        assert stamp.endswith("Z")
    for each in (socket, stranger):
        each.settle()
    assert len(socket.heard("notification")) == 1
    assert stranger.heard("notification") == []


def test_count_follows_every_change(server: Server, clients: Clients, options: dict[str, Any]) -> None:
    member = Member.of_notifications()
    sockets = [connect(server, clients, member, **options) for _ in range(2)]

    def all_show(count: int) -> None:
        for socket in sockets:
            socket.shows("unread_count", count=count, type="unread_count")
            latest = socket.heard("unread_count")[-1]
            assert latest["data"] == {name: latest[name] for name in ("count", "unseenCount", "categories", "revision")}

    all_show(0)
    ids = []
    for n in range(4):
        ids.append(notify(server, member, f"number {n}")["id"])
        all_show(n + 1)
    assert member.call(server, "PATCH", f"/notifications/{ids[0]}/read").status == 200
    all_show(3)
    assert member.call(server, "DELETE", f"/notifications/{ids[1]}").status == 200
    all_show(2)
    assert member.call(server, "PUT", "/notifications/read-all").status == 200
    all_show(0)
    late = connect(server, clients, member, **options)
    assert late.hears("unread_count")["count"] == 0
    for socket in sockets:
        socket.settle()
        assert [heard["title"] for heard in socket.heard("notification")] == [f"number {n}" for n in range(4)]


def test_notification_for_many_reaches_each_with_their_own_id(server: Server, clients: Clients) -> None:
    members = [Member.of_notifications() for _ in range(3)]
    sockets = [connect(server, clients, member) for member in members]
    body = {"userIds": [member.id for member in members[:2]], "title": "Both", "message": "m"}
    assert call("POST", f"{server.url}/api/notifications", shop_user("admin")[1], body).status == 201
    for member, socket in zip(members[:2], sockets[:2], strict=True):
        assert socket.hears("notification", title="Both")["userId"] == member.id
    announced = {"title": "All", "message": "Maintenance tonight"}
    assert call("POST", f"{server.url}/api/announcements", booking_user("admin")[1], announced).status == 201
    for member, socket in zip(members, sockets, strict=True):
        event = socket.hears("notification", title="All")
        assert (event["userId"], event["notificationType"]) == (member.id, "SYSTEM_ANNOUNCEMENT")
        assert event["data"]["type"] == "SYSTEM_ANNOUNCEMENT"
        socket.settle()
    assert [len(socket.heard("notification")) for socket in sockets] == [2, 2, 1]


def options_with(place: str, token: str, page: str) -> dict[str, Any]:
    """Return the options of a client that has put its token there."""
    return {
        "auth": {"auth": {"token": token}},
        "auth with a prefix": {"auth": {"token": f"Bearer {token}"}},
        "query": {"query": {"token": token}},
        "header": header(token),
        "cookie": {"extraHeaders": {"Cookie": f"access_token={token}", "Origin": page}},
    }[place]


@pytest.mark.parametrize("place", ["auth", "auth with a prefix", "query", "header", "cookie"])
def test_token_counts_wherever_clients_put_it(
    server: Server, clients: Clients, options: dict[str, Any], place: str
) -> None:
    member = Member.of_notifications()
    given = options_with(place, member.token, server.url)
    socket = clients.open(f"{server.url}/notifications", **given, **options).connected()
    notify(server, member, "Found you")
    assert socket.hears("notification")["userId"] == member.id


@pytest.mark.parametrize(
    ("token", "message", "code"),
    [
        (None, "Missing authentication credentials", "AUTH_REQUIRED"),
        ("not a token", "Invalid authentication token", "AUTH_INVALID"),
        (sign({"sub": "u"}, secret=FORGED), "Invalid authentication token", "AUTH_INVALID"),
        (Member.of_notifications(lifetime=-3600).token, "Authentication token expired", "TOKEN_EXPIRED"),
    ],
    ids=["none", "malformed", "forged", "expired"],
)
def test_connection_without_a_valid_token_is_refused(
    server: Server, clients: Clients, options: dict[str, Any], token: str | None, message: str, code: str
) -> None:
    given = {} if token is None else header(token)
    socket = clients.open(f"{server.url}/notifications", **given, **options)
    assert socket.hears("$connect_error") == {"message": message, "data": {"code": code}}
    assert socket.heard("$connect") == []


def test_cookie_of_a_foreign_page_does_not_count(server: Server, clients: Clients) -> None:
    cookie = {"Cookie": f"access_token={Member.of_notifications().token}"}
    socket = clients.open(f"{server.url}/notifications", extraHeaders=cookie, transports=["websocket"])
    assert socket.hears("$connect_error")["data"] == {"code": "FORBIDDEN"}


def test_unsubscribed_socket_is_quiet_until_it_subscribes_again(server: Server, clients: Clients) -> None:
    member = Member.of_notifications()
    socket, other = connect(server, clients, member), connect(server, clients, member)
    socket.shows("unread_count", count=0)
    socket.ask("unsubscribe_notifications", {})
    notify(server, member, "Unheard")
    other.hears("notification", title="Unheard")
    socket.settle()
    assert socket.heard("notification") == []
    assert socket.ask("subscribe_notifications", {}) == {"success": True}
    socket.shows("unread_count", count=1)
    notify(server, member, "Heard")
    assert socket.hears("notification")["title"] == "Heard"


def test_client_comes_back_and_finds_its_count(server: Server, clients: Clients) -> None:
    member = Member.of_notifications()
    socket = connect(server, clients, member, reconnectionDelay=100, reconnectionDelayMax=200)
    socket.shows("unread_count", count=0)
    socket.vanish()
    notify(server, member, "While it was away")
    socket.connected(count=2)
    socket.shows("unread_count", count=1)
    notify(server, member, "After")
    socket.hears("notification", title="After")
    socket.shows("unread_count", count=2)
