"""Behind nginx, with README's configuration and with one that says as little as possible."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.browser import Browser
from tests.e2e.calls import call, curl
from tests.e2e.eventsource import Stream
from tests.e2e.hotel import PATH, Guest, send_to
from tests.e2e.members import Member, notify
from tests.e2e.nginx import DEFAULTS, Nginx, documented
from tests.e2e.node import Clients
from tests.e2e.plain import PlainClients
from tests.e2e.process import Server

QUICK: dict[str, Any] = {"reconnectionDelay": 100, "reconnectionDelayMax": 500}
TRUSTED = "127.0.0.1/32"
SOCKET = """(path) => new Promise((resolve) => {
  globalThis.socket = new WebSocket(path.replace("http", "ws"));
  socket.onmessage = ({data}) => resolve(JSON.parse(data));
  socket.onclose = ({code, reason}) => resolve({code, reason});
})"""


@pytest.fixture(scope="module")
def server(start_server: Callable[..., Server]) -> Server:
    return start_server(TRUSTED_PROXIES=TRUSTED)


@pytest.fixture(scope="module", params=["documented", "defaults"])
def proxy(request: pytest.FixtureRequest, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    configuration = documented() if request.param == "documented" else DEFAULTS
    with Nginx(tmp_path_factory.mktemp("nginx"), configuration, backend=server.port) as proxy:
        yield proxy


@pytest.fixture
def member() -> Member:
    return Member.of_messaging()


@pytest.mark.parametrize("transports", [["polling", "websocket"], ["websocket"], ["polling"]], ids="-".join)
def test_socket_io_connects_and_hears(
    server: Server, proxy: Nginx, clients: Clients, member: Member, transports: list[str]
) -> None:
    for namespace, event in (("/", "newNotification"), ("/notifications", "notification")):
        socket = clients.connect(proxy.url + namespace, member.token, transports=transports)
        if len(transports) == 2:
            assert socket.hears("$upgrade") == "websocket"
        notify(server, member, f"through the proxy to {namespace}")
        socket.hears(event, title=f"through the proxy to {namespace}")
        assert socket.state()["transport"] == transports[-1]


def test_plain_sockets_connect_and_hear(server: Server, proxy: Nginx, plain: PlainClients, member: Member) -> None:
    guest = Guest.new()
    tab = plain.open(f"{proxy.url}{PATH}?{guest.query}")
    desk = plain.open(f"{proxy.url}/dashboard?{member.address}")
    tab.hears("connection")
    desk.hears("connected")
    send_to(server, guest, "For the guest")
    notify(server, member, "For the user")
    tab.hears("notification", title="For the guest")
    desk.hears("notification", title="For the user")
    desk.settle()


def test_event_stream_arrives_at_once(server: Server, proxy: Nginx, browser: Browser, member: Member) -> None:
    """Nothing follows that could push a buffered event out."""
    stream = Stream.open(browser, proxy.url, member.token)
    stream.hears("unread_count", count=0)
    for n in range(3):
        notify(server, member, f"number {n}")
        stream.hears("notification", title=f"number {n}")
    assert stream.titles() == ["number 0", "number 1", "number 2"]


def test_cookie_opens_a_socket_of_the_proxys_own_page(proxy: Nginx, browser: Browser, member: Member) -> None:
    page = Stream.open(browser, proxy.url, member.token).page
    heard = page.run(SOCKET, f"{proxy.url}/dashboard")
    assert (heard.get("event"), heard.get("data", {}).get("userId")) == ("connected", member.id), heard


def test_rest_and_page_come_through(proxy: Nginx, member: Member) -> None:
    assert curl(f"{proxy.url}/socket-example.html").status == 200
    counted = call("GET", f"{proxy.url}/api/notifications/count", member.token).body
    assert (counted["count"], counted["unreadCount"]) == (0, 0)
    assert call("GET", f"{proxy.url}/api/notifications").status == 401


def test_metrics_are_not_for_strangers(server: Server, proxy: Nginx) -> None:
    assert curl(f"{server.url}/metrics").status == 200
    assert curl("-H", "X-Forwarded-For: 203.0.113.9", f"{proxy.url}/metrics").status in (403, 404)


@pytest.fixture
def limited(start_server: Callable[..., Server]) -> Server:
    """A server that allows two connections from one address, this machine excepted."""
    return start_server(TRUSTED_PROXIES=TRUSTED, CONNECTIONS_PER_IP=2)


def test_limits_count_the_clients_own_address(
    limited: Server, clients: Clients, plain: PlainClients, member: Member, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def from_address(address: str) -> dict[str, Any]:
        return {"headers": {"X-Forwarded-For": address}}

    with Nginx(tmp_path_factory.mktemp("nginx"), documented(), backend=limited.port) as proxy:
        url = f"{proxy.url}/notifications?{member.address}"
        for _ in range(2):
            plain.open(url, **from_address("203.0.113.9")).hears("unread_count")
        assert plain.open(url, **from_address("203.0.113.9")).closed() == (1013, "CONNECTION_LIMIT")
        refused = clients.open(
            f"{proxy.url}/notifications",
            auth={"token": member.token},
            transports=["websocket"],
            extraHeaders={"X-Forwarded-For": "203.0.113.9"},
        )
        assert refused.hears("$connect_error")["data"]["code"] == "CONNECTION_LIMIT"
        plain.open(url, **from_address("203.0.113.10")).hears("unread_count")
        plain.open(url, **from_address("203.0.113.9, 203.0.113.11")).hears("unread_count")
    assert '"address":"203.0.113.9"' in limited.log


def test_clients_come_back_when_the_server_behind_the_proxy_restarts(
    start_server: Callable[..., Server], clients: Clients, member: Member, tmp_path_factory: pytest.TempPathFactory
) -> None:
    server = start_server(TRUSTED_PROXIES=TRUSTED)
    with Nginx(tmp_path_factory.mktemp("nginx"), documented(), backend=server.port) as proxy:
        socket = clients.connect(f"{proxy.url}/notifications", member.token, **QUICK)
        socket.hears("$upgrade")
        server.terminate()
        socket.hears("server_shutdown")
        socket.hears("$disconnect")
        assert server.wait() == 0
        server.start()
        socket.connected(count=2, seconds=20)
        notify(server, member, "After")
        socket.hears("notification", title="After")
