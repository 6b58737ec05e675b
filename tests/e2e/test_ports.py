"""One process on three ports, because the applications' documents name three: behind each is all of the server."""

import re
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.browser import Browser
from tests.e2e.calls import call, curl
from tests.e2e.eventsource import Stream
from tests.e2e.hotel import PATH, POOL, Guest, staff
from tests.e2e.members import Member
from tests.e2e.node import Clients, Heard
from tests.e2e.people import shop_user
from tests.e2e.plain import PlainClients
from tests.e2e.ports import kept_ports
from tests.e2e.process import Server, roomcast
from tests.support import SECRET


@pytest.fixture(scope="module")
def server(start_server: Callable[..., Server]) -> Iterator[Server]:
    with kept_ports(2) as extra:
        yield start_server(EXTRA_PORTS=",".join(map(str, extra)))


@pytest.fixture(scope="module")
def urls(server: Server) -> list[str]:
    """Where the server says that it listens."""
    found = re.search(r"listening on ([^\"\n]+)", server.log)
    assert found is not None
    return found[1].split(", ")


def test_every_port_is_named(server: Server, urls: list[str]) -> None:
    assert len(set(urls)) == 3
    assert urls[0] == server.url


@pytest.mark.parametrize("port", range(3))
def test_every_port_serves_everything(urls: list[str], clients: Clients, plain: PlainClients, port: int) -> None:
    url = urls[port]
    assert curl(f"{url}/socket-example.html").status == 200
    assert "socket.io" in call("GET", f"{url}/socket.io/socket.io.js").body.lower()
    for path in ("/healthz", "/readyz", "/api/websocket/health"):
        assert curl(f"{url}{path}").status == 200
    member, guest = Member.of_messaging(), Guest.new()
    for namespace in ("/", "/notifications", "/dashboard", "/ws"):
        for transport in ("websocket", "polling"):
            clients.connect(url + namespace, member.token, transports=[transport]).settle()
    for path in ("/notifications", "/dashboard", "/ws"):
        plain.open(f"{url}{path}?{member.address}").opened().settle()
    assert plain.open(f"{url}{PATH}?{guest.query}").hears("connection")["guestId"] == guest.id
    assert curl("-I", "-H", f"Authorization: Bearer {member.token}", f"{url}/notifications/events").status == 200


def test_notification_sent_over_one_port_reaches_clients_on_all(
    urls: list[str], clients: Clients, plain: PlainClients, browser: Browser
) -> None:
    member = Member.of_notifications()
    sockets = [clients.connect(f"{url}/notifications", member.token) for url in urls]
    plains = [plain.open(f"{url}/dashboard?{member.address}") for url in urls]
    for each in plains:
        each.hears("connected")
    stream = Stream.open(browser, urls[2], member.token)
    for number, url in enumerate(urls):
        body = {"userId": member.id, "title": f"over port {number}", "message": "m"}
        assert call("POST", f"{url}/api/notifications", shop_user("admin")[1], body).status == 201
    titles = [f"over port {number}" for number in range(3)]
    everybody: list[Heard] = [*sockets, *plains]
    for one in everybody:
        one.hears("notification", title=titles[-1])
        assert [heard["title"] for heard in one.heard("notification")] == titles
    stream.hears("notification", title=titles[-1])
    assert stream.titles() == titles
    assert call("GET", f"{urls[1]}/api/notifications/count", member.token).body["count"] == 3


def test_guest_hears_over_one_port_what_was_sent_over_another(urls: list[str], plain: PlainClients) -> None:
    guest = Guest.new()
    tabs = [plain.open(f"{url}{PATH}?{guest.query}") for url in urls]
    for tab in tabs:
        tab.hears("connection")
    assert call("POST", f"{urls[1]}/api/communications", staff(), POOL).status == 201
    for tab in tabs:
        tab.hears("notification", title="Pool Maintenance")
    stats = call("GET", f"{urls[2]}/api/communications/websocket/stats", staff()).body["data"]
    assert {"guestId": guest.id, "connections": 3} in stats["guests"]


def test_busy_extra_port_is_named(urls: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    taken = urls[1].rpartition(":")[2]
    home = tmp_path_factory.mktemp("second")
    done = roomcast("serve", "--port", "0", cwd=home, JWT_SECRET=SECRET, EXTRA_PORTS=taken)
    assert done.returncode == 3
    assert f"cannot listen on 127.0.0.1:{taken}: the port is already in use" in done.stderr
