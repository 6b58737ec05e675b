"""The hotel guests' frontend in Chromium: a bare WebSocket, and the socket service that its document describes."""

from collections.abc import Callable

import pytest

from tests.e2e.browser import Browser, Page
from tests.e2e.hotel import PATH, Guest, send, send_to
from tests.e2e.process import Server
from tests.e2e.site import Site

OPEN = """({url, name}) => new Promise((resolve) => {
  const tab = (globalThis[name] = {heard: [], closed: null});
  tab.socket = new WebSocket(url);
  tab.socket.onmessage = ({data}) => { tab.heard.push(JSON.parse(data)); resolve("open"); };
  tab.socket.onclose = ({code, reason}) => { tab.closed = [code, reason]; resolve("closed"); };
})"""
TITLES = "(name) => globalThis[name].heard.filter(({type}) => type === 'notification').map(({data}) => data.title)"
HEARS = "([name, title]) => globalThis[name].heard.some(({data}) => data?.title === title)"

START = """async ({api, token, guestId}) => {
  websocketService.baseUrl = api.replace("http", "ws");
  globalThis.context = new NotificationContext(api, token, guestId);
  globalThis.heard = [];
  websocketService.addListener("my-component", (message) => heard.push(message));
  websocketService.connect(token, guestId);
}"""
SHOWN = "() => context.notifications.map(({title}) => title)"
IS_SHOWN = "(title) => context.notifications.some((each) => each.title === title)"


@pytest.fixture(scope="module")
def server(start_server: Callable[..., Server], site: Site) -> Server:
    return start_server(ALLOWED_ORIGIN=site.origin)


@pytest.fixture
def home(browser: Browser, site: Site) -> Page:
    return site.open(browser)


def open_tab(page: Page, server: Server, guest: Guest, name: str = "tab") -> None:
    url = f"{server.url.replace('http', 'ws')}{PATH}?{guest.query}"
    assert page.run(OPEN, {"url": url, "name": name}) == "open"


def test_browser_hears_frames_in_every_tab_and_missed_rows_once(
    server: Server, browser: Browser, site: Site, home: Page
) -> None:
    guest, other = Guest.new(), Guest.new()
    send_to(server, guest, "missed")
    open_tab(home, server, guest, "first")
    home.becomes_true(HEARS, ["first", "missed"])
    first = home.run("() => first.heard[0]")
    assert (first["type"], first["data"]["guestId"]) == ("connection", guest.id)
    elsewhere = site.open(browser)
    open_tab(elsewhere, server, other, "stranger")
    open_tab(home, server, guest, "second")
    send_to(server, guest, "live")
    send(server, title="for all", recipient_type="all")
    for name in ("first", "second"):
        home.becomes_true(HEARS, [name, "for all"])
    elsewhere.becomes_true(HEARS, ["stranger", "for all"])
    assert home.run(TITLES, "first") == ["missed", "live", "for all"]
    assert home.run(TITLES, "second")[-2:] == ["live", "for all"]
    assert elsewhere.run(TITLES, "stranger") == ["for all"]
    assert home.seen()[0] == elsewhere.seen()[0] == []


def test_browser_learns_why_it_was_refused(server: Server, home: Page) -> None:
    url = f"{server.url.replace('http', 'ws')}{PATH}"
    for query, reason in (
        ("", "Missing token or guestId"),
        ("?token=x&guestId=1", "Invalid token"),
        (f"?token={Guest.new(1).token}&guestId=2", "Authentication failed"),
    ):
        assert home.run(OPEN, {"url": url + query, "name": "tab"}) == "closed"
        assert home.run("() => tab.closed") == [1008, reason]


def start(site: Site, browser: Browser, server: Server, guest: Guest) -> Page:
    """Return a page of the frontend that has connected as the document shows."""
    page = site.open(browser)
    for module in ("websocketService.js", "notificationContext.js"):
        site.import_into(page, module)
    page.run(START, {"api": server.url, "token": guest.token, "guestId": str(guest.id)})
    page.becomes_true("() => websocketService.isConnected() && context.isConnected")
    return page


def test_documented_service_hands_every_message_to_its_listeners(server: Server, browser: Browser, site: Site) -> None:
    guest = Guest.new()
    page = start(site, browser, server, guest)
    row = send_to(server, guest, "Hello")
    page.becomes_true(IS_SHOWN, "Hello")
    assert page.run("() => heard.map(({type}) => type)") == ["connection", "notification"]
    assert page.run("() => heard[1].data.id") == row["id"]
    assert page.run("() => context.unreadCount") == 1
    page.run("() => websocketService.removeListener('my-component')")
    send_to(server, guest, "Again")
    page.becomes_true(IS_SHOWN, "Again")
    assert page.run("() => heard.length") == 2
    assert page.run("() => context.unreadCount") == 2
    page.run("(id) => context.markRead(String(id))", row["id"])
    assert page.run("() => context.unreadCount") == 1
    page.run("() => websocketService.disconnect()")
    page.becomes_true("() => !websocketService.isConnected()")
    assert page.seen()[0] == []


@pytest.mark.parametrize("end", ["terminate", "kill"])
def test_documented_service_comes_back_and_is_told_what_it_missed(
    start_server: Callable[..., Server], browser: Browser, site: Site, end: str
) -> None:
    server, guest = start_server(ALLOWED_ORIGIN=site.origin), Guest.new()
    page = start(site, browser, server, guest)
    send_to(server, guest, "before")
    page.becomes_true(IS_SHOWN, "before")
    if end == "kill":
        server.kill()
    else:
        server.terminate()
        assert server.wait() == 0
    page.becomes_true("() => !websocketService.isConnected()")
    server.start()
    send_to(server, guest, "while it was away")
    page.becomes_true("() => websocketService.isConnected()")
    send_to(server, guest, "after")
    page.becomes_true(IS_SHOWN, "after")
    assert page.run(SHOWN) == ["after", "while it was away", "before"]
    told = page.run("() => heard.filter(({type}) => type === 'notification').map(({data}) => data.title)")
    assert [title for title in told if title != "before"] == ["while it was away", "after"]


def test_polling_shows_the_same_rows_as_the_socket(server: Server, browser: Browser, site: Site) -> None:
    guest = Guest.new()
    page = start(site, browser, server, guest)
    for title in ("one", "two", "three"):
        send_to(server, guest, title)
    page.becomes_true(IS_SHOWN, "three")
    page.run("() => websocketService.disconnect()")
    page.becomes_true("() => !websocketService.isConnected()")
    send_to(server, guest, "four")
    page.run("() => context.poll()")
    assert page.run(SHOWN) == ["four", "three", "two", "one"]
    assert page.run("() => context.unreadCount") == 4
    assert page.seen()[0] == []
