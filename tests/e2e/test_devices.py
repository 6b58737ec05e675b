"""Two tabs and a second device of one user: whatever one of them does, all show the same, exact count."""

from dataclasses import dataclass

import pytest

from tests.e2e.calls import call
from tests.e2e.node import Clients, Socket
from tests.e2e.people import shop_token, shop_user
from tests.e2e.process import Server


@dataclass
class Devices:
    """One user's sockets. `changes` counts how often the number has changed."""

    server: Server
    user: int
    sockets: list[Socket]
    tokens: list[str]
    sender: str

    def count(self) -> int:
        """Return the number the REST route gives, having seen that every device shows it, whatever token asks."""
        counts = {
            call("GET", f"{self.server.url}/api/notifications/unread-count", t).body["count"] for t in self.tokens
        }
        assert len(counts) == 1
        return int(counts.pop())

    def all_show(self, count: int) -> None:
        for socket in self.sockets:
            socket.shows("notification_count_updated", count=count, unreadCount=count)
        assert self.count() == count

    def send(self, title: str) -> int:
        body = {"userId": self.user, "title": title, "message": "m"}
        answer = call("POST", f"{self.server.url}/api/notifications", self.sender, body)
        assert answer.status == 201
        return int(answer.body["id"])

    def act(self, device: int, method: str, path: str) -> None:
        answer = call(method, f"{self.server.url}/api/notifications/{path}", self.tokens[device])
        assert answer.status == 200, answer


@pytest.fixture
def devices(server: Server, clients: Clients) -> Devices:
    """Two tabs share a token, over the default transports; the second device has its own and only polls."""
    user, token = shop_user("user", "Uma")
    other = shop_token(user, "user", "Uma", lifetime=1800)
    sockets = [
        clients.connect(server.url, token),
        clients.connect(server.url, token, transports=["websocket"]),
        clients.connect(server.url, other, transports=["polling"]),
    ]
    return Devices(server, user, sockets, [token, other], shop_user("admin")[1])


def test_all_devices_show_the_same_count_after_each_change(devices: Devices) -> None:
    first = devices.send("first")
    devices.all_show(1)
    second = devices.send("second")
    devices.all_show(2)
    devices.send("third")
    devices.all_show(3)
    devices.act(1, "PATCH", f"{first}/read")
    devices.all_show(2)
    devices.act(0, "DELETE", f"{second}")
    devices.all_show(1)
    devices.act(0, "PATCH", f"{first}/unread")
    devices.all_show(2)
    devices.act(1, "POST", "mark-all-read")
    devices.all_show(0)


def test_deleting_what_was_read_leaves_the_count(devices: Devices) -> None:
    first, _second = devices.send("first"), devices.send("second")
    devices.act(0, "PATCH", f"{first}/read")
    devices.all_show(1)
    devices.act(1, "DELETE", f"{first}")
    devices.all_show(1)
    devices.send("third")
    devices.all_show(2)


def test_each_notification_is_heard_once_on_each_device(devices: Devices) -> None:
    ids = [devices.send(f"number {n}") for n in range(20)]
    devices.all_show(20)
    for socket in devices.sockets:
        assert [heard["id"] for heard in socket.heard("newNotification")] == ids
        assert [heard["notification"]["id"] for heard in socket.heard("notification_received")] == ids


def test_reading_the_same_one_on_two_devices_counts_once(devices: Devices) -> None:
    first, _second = devices.send("first"), devices.send("second")
    for device in (0, 1):
        devices.act(device, "PATCH", f"{first}/read")
    devices.all_show(1)


def test_device_that_was_away_finds_the_same_list(devices: Devices, clients: Clients) -> None:
    devices.send("before")
    devices.all_show(1)
    away = devices.sockets.pop()
    away.disconnect()
    ids = [devices.send("meanwhile"), devices.send("meanwhile too")]
    devices.all_show(3)
    devices.act(0, "PATCH", f"{ids[0]}/read")
    devices.all_show(2)
    devices.sockets.append(clients.connect(devices.server.url, devices.tokens[1]))
    lists = [call("GET", f"{devices.server.url}/api/notifications", token).body for token in devices.tokens]
    assert lists[0] == lists[1]
    assert lists[0]["unreadCount"] == devices.count() == 2
    assert [row["isRead"] for row in lists[0]["notifications"]] == [False, True, False]
