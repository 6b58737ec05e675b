"""What the five applications' documents say under "Testing", followed word for word, apart from ports and tokens.

Left out is what never meets the server: tests of components with a mocked client, and clicks in developer tools.
"""

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.browser import Browser
from tests.e2e.hotel import Guest, open_tab
from tests.e2e.members import Member
from tests.e2e.node import HERE, Clients, require_modules, require_program
from tests.e2e.people import booking_user, shop_token, sign
from tests.e2e.plain import PlainClients
from tests.e2e.process import Server
from tests.e2e.site import Site
from tests.e2e.wscat import Wscat

SECONDS = 20.0


@pytest.fixture(scope="module")
def server(start_server: Callable[..., Server]) -> Server:
    """As on a developer's machine: the documents' commands have no tokens where their servers wanted none."""
    return start_server(dev=True)


@dataclass(frozen=True)
class Document:
    """A document whose server listens on `port`."""

    port: int
    server: Server

    def here(self, text: str) -> str:
        """Return a text with the port of the server under test."""
        return text.replace(f"localhost:{self.port}", f"localhost:{self.server.port}")

    def shell(self, command: str, *, token: str = "") -> Any:
        """Run a command as it stands in the document, and return the JSON that it prints."""
        require_program("curl")
        command = self.here(command).replace("YOUR_TOKEN", token)
        done = subprocess.run(
            ["sh", "-c", command],
            capture_output=True,
            text=True,
            check=True,
            timeout=SECONDS,
            env={"PATH": os.environ["PATH"], "no_proxy": "*"},
        )
        return json.loads(done.stdout)


# --- hotel guests ---

STATISTICS = "curl -X GET http://localhost:3000/api/communications/websocket/stats"
TEST_NOTIFICATION = r"""
curl -X POST http://localhost:3000/api/communications/websocket/test \
  -H "Content-Type: application/json" \
  -d '{"guestId": 123, "message": "Test notification"}'
"""
CONSOLE = """(page) => {
  const lines = [];
  const console = { log: (...words) => lines.push(words) };
  const useNotifications = () => ({ addNotification: (notification) => page.addNotification(notification) });

  // Check connection status
  console.log('Connected:', websocketService.isConnected());

  // Test notification (if you have the context)
  const { addNotification } = useNotifications();

  addNotification({
    id: 999,
    title: 'Test',
    message: 'Test notification',
    // ... other fields
  });
  return lines;
}"""


@pytest.fixture
def hotel(server: Server) -> Document:
    return Document(3000, server)


def test_hotel_1_websocket_connection(hotel: Document, plain: PlainClients) -> None:
    tabs = [open_tab(plain, hotel.server, Guest.new(123)) for _ in range(2)]
    stranger = open_tab(plain, hotel.server, Guest.new())
    stats = hotel.shell(STATISTICS)
    assert stats["status"] == "success"
    assert set(stats["data"]) == {"totalConnections", "uniqueGuests", "guests"}
    assert {"guestId": 123, "connections": 2} in stats["data"]["guests"]
    assert stats["data"]["totalConnections"] == sum(each["connections"] for each in stats["data"]["guests"])
    assert stats["data"]["uniqueGuests"] == len(stats["data"]["guests"])
    answer = hotel.shell(TEST_NOTIFICATION)
    assert answer == {"status": "success", "message": "Test notification sent to guest 123"}
    for tab in tabs:
        heard = tab.hears("notification")
        assert heard["message"] == "Test notification"
        assert type(heard["id"]) is int
        tab.settle()
        assert len(tab.heard("notification")) == 1
    stranger.settle()
    assert stranger.heard("notification") == []


def test_hotel_1_answers_the_same_for_a_guest_who_is_away(hotel: Document) -> None:
    message = hotel.shell(TEST_NOTIFICATION.replace("123", "124"))["message"]
    assert message == "Test notification sent to guest 124"


def test_hotel_2_and_3_frontend_and_its_traffic(hotel: Document, browser: Browser, site: Site) -> None:
    guest = Guest.new()
    page = site.open(browser)
    for module in ("websocketService.js", "notificationContext.js"):
        site.import_into(page, module)
    who = {"api": hotel.server.url, "token": guest.token, "id": guest.id}
    page.run("({api, token, id}) => { globalThis.context = new NotificationContext(api, token, id); }", who)
    page.run("({api}) => { websocketService.baseUrl = api.replace('http', 'ws'); }", who)
    page.run("({token, id}) => websocketService.connect(token, id)", who)
    page.becomes_true("() => websocketService.isConnected()")
    assert page.run(f"() => ({CONSOLE})(context)") == [["Connected:", True]]
    assert page.run("() => context.notifications.map(({id}) => id)") == [999]
    assert hotel.server.url.removeprefix("http://") in page.seen()[1]
    assert "websocket connected" in hotel.server.log, "the document greps for it"


# --- bookings ---


def test_bookings_page_and_endpoints(server: Server, browser: Browser) -> None:
    user, token = booking_user()
    document = Document(5000, server)
    page = browser.open()
    page.go(document.here("http://localhost:5000/socket-example.html"))
    page.fill("token", token)
    page.click("connect")
    page.shows("state", "Connected")
    routes = f'-H "Authorization: Bearer YOUR_TOKEN" {document.here("http://localhost:5000")}/api/socket-test'
    answers = [
        document.shell(f"curl -X POST {routes}/broadcast", token=token),
        document.shell(f"curl -X POST {routes}/send/{user}", token=token),
    ]
    assert [answer["message"] for answer in answers] == [
        "Broadcast sent successfully",
        "Direct message sent successfully",
    ]
    page.mentions("log", "newNotification")
    assert user in document.shell(f"curl {routes}/stats", token=token)["userIds"]


# --- notifications ---


def test_notifications_backend(server: Server) -> None:
    require_modules()
    member = Member.of_notifications()
    given = {
        "API_URL": f"http://localhost:{server.port}",
        "TOKEN": member.token,
        "USER_ID": member.id,
        "SENDER_TOKEN": booking_user("service")[1],
    }
    done = subprocess.run(
        [require_program("node"), str(HERE / "frontends" / "notifications.test.mjs")],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
        env={"PATH": os.environ["PATH"], **given},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pass 1" in done.stdout


# --- repair shop ---

HEALTH = "curl http://localhost:3001/api/websocket/health"
CONNECTIONS = 'curl -H "Authorization: Bearer YOUR_TOKEN" http://localhost:3001/api/websocket/stats'
EMISSION = r"""
curl -X POST -H "Authorization: Bearer YOUR_TOKEN" \
  -H "Content-Type: application/json" \
  -d '{"event": "test", "data": {"message": "Hello"}}' \
  http://localhost:3001/api/websocket/emit/1
"""


def test_repair_shop_commands(server: Server, clients: Clients) -> None:
    shop = Document(3001, server)
    socket = clients.connect(server.url, shop_token(1))
    admin = shop_token(2, "admin", "Ada")
    health = shop.shell(HEALTH)
    assert (health["service"], health["status"]) == ("websocket", "active")
    stats = shop.shell(CONNECTIONS, token=admin)
    assert 1 in [each["userId"] for each in stats["data"]["connectedUsers"]]
    assert shop.shell(EMISSION, token=admin)["message"] == "Event 'test' emitted to user 1"
    assert socket.hears("test") == {"message": "Hello"}


# --- dashboard and messaging ---

DASHBOARD = "ws://localhost:3000/dashboard?userId=user-uuid&token=your-jwt-token"
SUBSCRIBE = '> {"event": "subscribe", "data": {"channels": ["referrals", "events"]}}'
MESSAGING = "ws://localhost:3000/ws?userId=user-uuid&token=your-jwt-token"
SEND = '> {"event": "sendMessage", "data": {"receiverId": "receiver-uuid", "content": "Hello"}}'


@pytest.fixture
def nexus(server: Server) -> Document:
    return Document(3000, server)


def named(id: str) -> Member:
    return Member(id, sign({"userId": id, "sub": id, "role": "user"}), id)


def test_dashboard_wscat(nexus: Document) -> None:
    member = named("user-uuid")
    with Wscat(nexus.here(DASHBOARD).replace("your-jwt-token", member.token)) as wscat:
        assert wscat.hears("connected")["userId"] == "user-uuid"
        wscat.type(SUBSCRIBE)
        assert wscat.hears("subscribed")["channels"] == ["referrals", "events"]
        assert wscat.hears("subscribe") == {"success": True, "channels": ["referrals", "events"], "rejected": []}


def test_messaging_wscat(nexus: Document, plain: PlainClients) -> None:
    sender, receiver = named("user-uuid"), named("receiver-uuid")
    theirs = plain.open(f"{nexus.server.url}/ws?{receiver.address}")
    theirs.hears("connected")
    with Wscat(nexus.here(MESSAGING).replace("your-jwt-token", sender.token)) as wscat:
        wscat.hears("connected")
        wscat.type(SEND)
        answer = wscat.hears("sendMessage")
        assert (answer["success"], answer["status"]) == (True, "delivered")
        assert wscat.hears("message:sent")["content"] == "Hello"
    for event in ("MESSAGE_BROADCAST", "message:new", "NEW_MESSAGE"):
        heard = theirs.hears(event)
        assert (heard["senderId"], heard["content"]) == ("user-uuid", "Hello")
