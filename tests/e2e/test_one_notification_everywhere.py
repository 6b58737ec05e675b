"""One notification for one person who is connected in every way at once: each hears it once, in its own words."""

from typing import Any

import pytest

from tests.e2e.browser import Browser
from tests.e2e.calls import call
from tests.e2e.eventsource import Stream
from tests.e2e.hotel import Guest, Tab, open_tab, send
from tests.e2e.members import Member, publish
from tests.e2e.node import Clients, Heard
from tests.e2e.people import booking_user, shop_user
from tests.e2e.plain import PlainClients
from tests.e2e.process import Server

END = "that_was_all"
FIELDS = {"title": "Parts", "message": "They have arrived"}


class Everywhere:
    """The connections of one person, by where they are."""

    def __init__(self, server: Server, clients: Clients, plain: PlainClients, browser: Browser) -> None:
        self.member = Member.of_messaging("Ann")
        token = self.member.token
        self.root = clients.connect(server.url, token)
        self.inbox = clients.connect(f"{server.url}/notifications", token)
        self.desk = clients.connect(f"{server.url}/dashboard", token)
        self.plain_inbox = plain.open(f"{server.url}/notifications?{self.member.address}")
        self.plain_desk = plain.open(f"{server.url}/dashboard?{self.member.address}")
        self.stream = Stream.open(browser, server.url, token)
        for socket in (self.inbox, self.plain_inbox):
            socket.hears("unread_count")
        self.plain_desk.hears("connected")
        self.stream.hears("unread_count", count=0)

    @property
    def sockets(self) -> tuple[Heard, ...]:
        return self.root, self.inbox, self.desk, self.plain_inbox, self.plain_desk

    def end(self, server: Server, *others: Heard) -> None:
        """Return when all has been heard that was sent before now."""
        publish(server, END)
        for socket in (*self.sockets, *others):
            socket.hears(END)
        self.stream.hears(END)


@pytest.fixture
def everywhere(server: Server, clients: Clients, plain: PlainClients, browser: Browser) -> Everywhere:
    return Everywhere(server, clients, plain, browser)


@pytest.fixture
def guest(server: Server, plain: PlainClients) -> Tab:
    return open_tab(plain, server, Guest.new())


def shown(payload: Any, *names: str) -> dict[str, Any]:
    return {name: payload[name] for name in names}


def notification_events(socket: Heard) -> dict[str, int]:
    """Return how often each event that tells of a notification was heard."""
    told = ("newNotification", "notification_received", "notification", "announcement", "system")
    return {event: count for event in told if (count := len(socket.heard(event)))}


def test_one_notification_is_heard_once_everywhere(server: Server, everywhere: Everywhere, guest: Tab) -> None:
    me = everywhere
    body = {"userId": me.member.id, "type": "parts", "url": "/parts/7", **FIELDS}
    sent = call("POST", f"{server.url}/api/notifications", shop_user("admin")[1], body)
    assert sent.status == 201
    id = sent.body["id"]
    pool = send(server)
    me.end(server, guest)

    (new,) = me.root.heard("newNotification")
    assert shown(new, "_id", "id", "user", "type", "read") == {
        "_id": str(id),
        "id": id,
        "user": me.member.id,
        "type": "parts",
        "read": False,
    }
    (received,) = me.root.heard("notification_received")
    assert shown(received["notification"], "id", "user_id", "type", "is_read") == {
        "id": id,
        "user_id": me.member.id,
        "type": "parts",
        "is_read": False,
    }
    for socket in (me.inbox, me.plain_inbox):
        (event,) = socket.heard("notification")
        assert event["type"] == "notification"
        assert shown(event["data"], "id", "userId", "type", "isRead", "isNew") == {
            "id": str(id),
            "userId": me.member.id,
            "type": "parts",
            "isRead": False,
            "isNew": True,
        }
        assert shown(event, "id", "title", "isNew", "notificationType") == {
            "id": str(id),
            "title": "Parts",
            "isNew": True,
            "notificationType": "parts",
        }
        assert [heard["count"] for heard in socket.heard("unread_count")] == [0, 1]
    for socket in (me.desk, me.plain_desk):
        (card,) = socket.heard("notification")
        assert shown(card, "id", "body", "type", "priority", "clickAction") == {
            "id": str(id),
            "body": "They have arrived",
            "type": "parts",
            "priority": "normal",
            "clickAction": "/parts/7",
        }
    (line,) = me.stream.heard("notification")
    assert shown(line, "id", "userId", "type", "isNew", "actionUrl") == {
        "id": str(id),
        "userId": me.member.id,
        "type": "parts",
        "isNew": True,
        "actionUrl": "/parts/7",
    }
    assert me.stream.counts() == [0, 1]
    for payload in (new, received["notification"], event, event["data"], card, line):
        assert shown(payload, "title", "message") == FIELDS
    assert [heard["count"] for heard in me.root.heard("notification_count_updated")] == [1]

    (row,) = guest.heard("notification")
    assert shown(row, "id", "title", "recipient_type") == {
        "id": pool["id"],
        "title": "Pool Maintenance",
        "recipient_type": "all",
    }
    assert [notification_events(socket) for socket in (*me.sockets, guest)] == [
        {"newNotification": 1, "notification_received": 1},
        *[{"notification": 1}] * 5,
    ]


def test_one_announcement_is_heard_once_everywhere(server: Server, everywhere: Everywhere, guest: Tab) -> None:
    me = everywhere
    body = {"title": "Maintenance", "message": "Tonight at ten"}
    assert call("POST", f"{server.url}/api/announcements", booking_user("admin")[1], body).status == 201
    me.end(server, guest)
    assert [notification_events(socket) for socket in (*me.sockets, guest)] == [
        {"newNotification": 1, "notification_received": 1},
        {"notification": 1},
        {"announcement": 1},
        {"notification": 1},
        {"announcement": 1},
        {"system": 1},
    ]
    assert me.root.heard("newNotification")[0]["type"] == "announcement"
    assert me.root.heard("notification_received")[0]["notification"]["type"] == "system"
    for socket in (me.inbox, me.plain_inbox):
        assert socket.heard("notification")[0]["notificationType"] == "SYSTEM_ANNOUNCEMENT"
    for socket in (me.desk, me.plain_desk):
        assert shown(socket.heard("announcement")[0], "title", "body") == {
            "title": "Maintenance",
            "body": "Tonight at ten",
        }
    (line,) = me.stream.heard("notification")
    assert line["type"] == "SYSTEM_ANNOUNCEMENT"
    assert guest.heard("system")[0]["message"] == "Tonight at ten"


def test_reading_it_in_one_place_is_counted_in_all(server: Server, everywhere: Everywhere) -> None:
    me = everywhere
    body = {"userId": me.member.id, **FIELDS}
    row = call("POST", f"{server.url}/api/notifications", shop_user("admin")[1], body).body
    for socket in (me.inbox, me.plain_inbox):
        socket.shows("unread_count", count=1)
    assert me.member.call(server, "PUT", f"/api/notifications/{row['id']}/read").status == 200
    for socket in (me.inbox, me.plain_inbox):
        socket.shows("unread_count", count=0)
    me.root.shows("notification_count_updated", count=0)
    me.end(server)
    assert me.stream.counts() == [0, 1, 0]
