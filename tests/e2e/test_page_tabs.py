"""The test page's tabs in a real browser: each system's main flow, as its frontends use it."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from realtime import places
from tests.e2e.browser import DESKTOP, PHONE, Browser, Page
from tests.e2e.calls import call
from tests.e2e.people import shop_token, sign
from tests.e2e.process import Server, wait_until
from tests.e2e.test_page import SCREENSHOTS, new_id

TABS = {
    "root": "",
    "notifications": "notify-",
    "dashboard": "dash-",
    "messaging": "chat-",
    "guests": "guest-",
}
SMALL: dict[str, Any] = {**PHONE, "viewport": {"width": 360, "height": 740}}
SIZES = {"wide": DESKTOP, "small": SMALL}
WAYS = ("auth", "query", "cookie", "plain-query", "plain-cookie")
MARKUP = "<img src=x onerror=\"document.title='broken'\"><b>bold</b>"
ALL_ARE = """(status) => {
  const all = [...document.querySelectorAll("#chat-messages li")];
  return all.length > 0 && all.every((one) => one.dataset.status === status);
}"""
SEND_IN_THREE_SECONDS = """() => {
  const at = new Date(Date.now() + 3000 - new Date().getTimezoneOffset() * 60000);
  document.getElementById("guest-scheduled").value = at.toISOString().slice(0, 19);
}"""
PRESS = "(key) => document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}))"


@pytest.fixture(scope="module")
def server(start_server: Callable[..., Server]) -> Server:
    return start_server(dev=True)


class Visit:
    """Somebody on one tab of the page. Ids are those of the tab's own elements, without their prefix."""

    def __init__(self, browser: Browser, server: Server, tab: str, **options: Any) -> None:
        self.server = server
        self.tab = tab
        self.prefix = TABS[tab]
        self.page: Page = browser.open(**{**DESKTOP, **options})
        self.page.go(f"{server.url}/socket-example.html#tab={tab}")

    def mint(self, id: int, role: str | None, name: str) -> None:
        """Make a token through the tab's own form; without a role it is a guest's."""
        self.page.becomes_true("(id) => !document.getElementById(id).hidden", f"{self.prefix}mint-form")
        self.fill("mint-user-id", str(id))
        self.fill("mint-name", name)
        if role is not None:
            self.select("mint-role", role)
        before = self.page.value(f"{self.prefix}token")
        self.click("mint")
        made = "([id, before]) => !['', before].includes(document.getElementById(id).value)"
        self.page.becomes_true(made, [f"{self.prefix}token", before])

    def connect(self, id: int, role: str | None, name: str, *, way: str | None = None) -> "Visit":
        self.mint(id, role, name)
        if way is not None:
            self.select("way", way)
        self.click("connect")
        self.shows("state", "Connected")
        return self

    def click(self, id: str) -> None:
        self.page.click(self.prefix + id)

    def fill(self, id: str, text: str) -> None:
        self.page.fill(self.prefix + id, text)

    def select(self, id: str, value: str) -> None:
        self.page.select(self.prefix + id, value)

    def shows(self, id: str, text: str) -> None:
        self.page.shows(self.prefix + id, text)

    def mentions(self, id: str, text: str) -> None:
        self.page.mentions(self.prefix + id, text)

    def omits(self, id: str, text: str) -> None:
        self.page.omits(self.prefix + id, text)

    def logged(self, event: str, direction: str = "in", *, source: str = "") -> None:
        """Return when the tab's event log shows the event."""
        script = (
            "([log, event, way, source]) => document.getElementById(log)"
            ".querySelector(`[data-event='${event}'][data-direction='${way}'][data-source='${source}']`)"
        )
        self.page.becomes_true(script, [f"{self.prefix}log", event, direction, source])

    def count(self, selector: str) -> int:
        return int(self.page.run("(selector) => document.querySelectorAll(selector).length", selector))

    def notify(self, title: str) -> None:
        """Send oneself a notification through the tab's own form."""
        self.fill("quick-title", title)
        self.click("quick-send")
        self.mentions("quick-result", "Sent as #")

    def picture(self, name: str) -> None:
        SCREENSHOTS.mkdir(exist_ok=True)
        self.page.screenshot(str(SCREENSHOTS / f"tab-{self.tab}-{name}.png"))

    def fits(self) -> None:
        """Fail when the page can be scrolled sideways."""
        widths = "() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        scrolled, visible = self.page.run(widths)
        assert scrolled <= visible

    def behaved(self, *, refused: int | None = None) -> None:
        """Fail when anything went wrong on the page, but for answers with that status, or it talked to strangers."""
        errors, hosts = self.page.seen()
        assert [error for error in errors if f"status of {refused} " not in error] == []
        assert hosts == {f"127.0.0.1:{self.server.port}"}


# tabs


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_tab_fits_and_loads_without_errors(server: Server, browser: Browser, size: str, scheme: str) -> None:
    visit = Visit(browser, server, "root", **SIZES[size], colorScheme=scheme)
    for tab, prefix in TABS.items():
        visit.page.click(f"tab-{tab}")
        visit.page.becomes_true("(id) => !document.getElementById(id).hidden", f"{prefix}mint-form")
        visit.fits()
        visit.tab = tab
        visit.picture(f"{size}-{scheme}-1-first-view")
    visit.behaved()


def test_tabs_are_moved_through_with_the_keyboard(server: Server, browser: Browser) -> None:
    page = Visit(browser, server, "root").page
    page.run("() => document.getElementById('tab-root').focus()")
    shown = "() => [...document.querySelectorAll('[role=tabpanel]')].filter((one) => !one.hidden).map((one) => one.id)"
    selected = "() => [...document.querySelectorAll('[role=tab][aria-selected=true]')].map((one) => one.id)"
    steps = {"ArrowLeft": "guests", "ArrowRight": "root", "End": "guests", "Home": "root"}
    for key, tab in steps.items():
        page.run(PRESS, key)
        assert page.run(shown) == [f"panel-{tab}"]
        assert page.run(selected) == [f"tab-{tab}"] == [page.run("() => document.activeElement.id")]
        assert page.run("() => location.hash") == f"#tab={tab}"
    assert page.run("() => document.querySelectorAll('[role=tab][tabindex=\"0\"]').length") == 1


def test_open_tab_survives_a_reload_and_a_jump_inside_it(server: Server, browser: Browser) -> None:
    page = Visit(browser, server, "root").page
    page.click("tab-messaging")
    page.run("() => { location.hash = '#chat-log-card'; }")
    page.becomes_true("() => location.hash === '#tab=messaging'")
    address = page.run("() => location.href")
    page.go("about:blank")
    page.go(address)
    page.becomes_true("() => !document.getElementById('panel-messaging').hidden")
    page.run("() => { location.hash = '#orders-card'; }")
    page.becomes_true("() => location.hash === '#tab=root' && !document.getElementById('panel-root').hidden")


def test_link_with_a_token_opens_its_tab_and_keeps_only_the_tab_in_the_address(
    server: Server, browser: Browser
) -> None:
    id = new_id()
    token = sign({"id": id, "type": "guest", "role": "guest", "name": "Gia"})
    for fragment in (f"tab=guests&token={token}", f"token={token}"):
        page = browser.open(**DESKTOP)
        page.go(f"{server.url}/socket-example.html#{fragment}")
        page.becomes_true("() => location.hash === '#tab=guests'")
        assert page.value("guest-id") == str(id)
        page.click("guest-connect")
        page.shows("guest-state", "Connected")
        page.shows("guest-who", f"Gia #{id}")


def test_token_made_on_one_tab_is_offered_to_the_others(server: Server, browser: Browser) -> None:
    visit = Visit(browser, server, "dashboard")
    visit.mint(new_id(), "technician", "Tess")
    token = visit.page.value("dash-token")
    assert [visit.page.value(f"{prefix}token") for prefix in TABS.values()] == [token, token, token, token, ""]
    visit.page.click("tab-messaging")
    visit.page.fill("chat-token", "one of my own")
    visit.page.click("tab-dashboard")
    visit.mint(new_id(), "user", "Uma")
    assert visit.page.value("token") == visit.page.value("dash-token") != token
    assert visit.page.value("chat-token") == "one of my own"


# notifications


@pytest.mark.parametrize("way", WAYS)
def test_notifications_by_every_way_that_a_token_travels(server: Server, browser: Browser, way: str) -> None:
    visit = Visit(browser, server, "notifications").connect(new_id(), "admin", "Ada", way=way)
    visit.shows("transport", "plain WebSocket" if way.startswith("plain") else "websocket")
    visit.shows("badge", "0")
    visit.notify("Number 1")
    visit.mentions("list", "Number 1")
    visit.shows("badge", "1")
    visit.logged("notification")
    visit.click("disconnect")
    visit.shows("state", "Disconnected")
    visit.behaved()


@pytest.mark.parametrize("size", SIZES)
def test_notifications_are_heard_counted_and_read(server: Server, browser: Browser, size: str) -> None:
    visit = Visit(browser, server, "notifications", **SIZES[size]).connect(new_id(), "admin", "Ada")
    visit.click("subscribe")
    visit.mentions("message", 'Acknowledged with {"success":true}')
    visit.logged("subscribe_notifications", "ack")
    for count in (1, 2, 3):
        visit.notify(f"Number {count}")
        visit.mentions("list", f"Number {count}")
        visit.shows("badge", str(count))
    visit.fits()
    visit.picture(f"{size}-2-heard")
    visit.page.run("() => document.querySelector('#notify-list [data-slot=\"mark-read\"]').click()")
    visit.shows("badge", "2")
    visit.click("unsubscribe")
    visit.mentions("message", "Unsubscribed")
    visit.notify("Unheard")
    visit.click("subscribe")
    visit.shows("badge", "3")
    visit.omits("list", "Unheard")
    visit.click("mark-all")
    visit.shows("badge", "0")
    assert visit.count('#notify-list [data-read="false"]') == 0
    visit.behaved()


def test_event_stream_resumes_where_it_was_left(server: Server, browser: Browser) -> None:
    visit = Visit(browser, server, "notifications").connect(new_id(), "admin", "Ada")
    page = visit.page
    page.click("stream-open")
    page.shows("stream-state", "Connected")
    page.shows("stream-unread", "0")
    visit.notify("While open")
    page.mentions("stream-events", "While open")
    place = page.text("stream-place")
    assert places.decode(place) is not None, "a token"
    page.click("stream-close")
    page.shows("stream-state", "Disconnected")
    visit.notify("While closed")
    visit.mentions("list", "While closed")
    page.omits("stream-events", "While closed")
    page.click("stream-open")
    page.mentions("stream-events", "While closed")
    page.becomes_true("(place) => document.getElementById('stream-place').textContent !== place", place)
    assert page.text("stream-events").count("While open") == 1
    page.click("stream-reopen")
    page.shows("stream-state", "Connected")
    visit.notify("After")
    page.mentions("stream-events", "After")
    page.shows("stream-unread", "3")
    visit.logged("notification", source="event stream")
    visit.picture("wide-3-stream")
    page.click("stream-forget")
    page.shows("stream-place", "–")
    visit.behaved()


def test_stream_without_a_token_says_what_is_missing(server: Server, browser: Browser) -> None:
    visit = Visit(browser, server, "notifications")
    visit.page.click("stream-open")
    visit.page.mentions("stream-message", "token")
    visit.fill("token", "not.a.token")
    visit.page.click("stream-open")
    visit.page.mentions("stream-message", "AUTH_INVALID")
    visit.page.shows("stream-state", "Disconnected")
    visit.behaved(refused=401)


# dashboard


@pytest.mark.parametrize(("way", "size"), [("auth", "wide"), ("query", "small"), ("plain-query", "wide")])
def test_dashboard_shows_everything_that_happens(server: Server, browser: Browser, way: str, size: str) -> None:
    id, other = new_id(), new_id()
    visit = Visit(browser, server, "dashboard", **SIZES[size]).connect(id, "admin", "Ada", way=way)
    visit.mentions("feed", "Dashboard connection established")
    visit.fill("channel", "news, posts")
    visit.click("subscribe")
    visit.shows("channel-message", "Subscribed to news, posts.")
    visit.logged("subscribed")
    visit.page.click("unsubscribe-news")
    visit.omits("channels", "news")
    visit.fill("activity-text", "Bo commented")
    visit.click("activity")
    visit.shows("activity-result", "Reached 1 connection.")
    visit.mentions("feed", "Bo commented")
    visit.fill("stats-posts", "57")
    visit.fill("stats-user", str(id))
    visit.click("stats")
    visit.shows("figure-posts", "57")
    visit.fill("announce-title", f"For {id}")
    visit.click("announce")
    visit.mentions("feed", f"For {id}")
    visit.notify("For me")
    visit.mentions("feed", "For me")
    neighbour = Visit(browser, server, "dashboard").connect(other, "user", "Uma", way="plain-query")
    visit.mentions("people", f"User {other}")
    visit.fits()
    visit.picture(f"{size}-{way}-2-busy")
    neighbour.click("disconnect")
    visit.mentions("people", "offline")
    visit.behaved()


def test_dashboard_shows_the_servers_refusals(server: Server, browser: Browser) -> None:
    visit = Visit(browser, server, "dashboard").connect(new_id(), "user", "Uma")
    for form in ("activity", "stats", "announce"):
        visit.click(form)
        visit.mentions(f"{form}-result", "FORBIDDEN: Forbidden: insufficient permissions")
    visit.fill("channel", "x" * 300)
    visit.click("subscribe")
    visit.mentions("channel-message", "INVALID_PAYLOAD: Invalid channels format")
    visit.picture("wide-3-refused")
    visit.behaved(refused=403)


def test_dashboard_subscribes_again_after_a_restart(
    start_server: Callable[..., Server], browser: Browser, tmp_path: Path
) -> None:
    server = start_server(dev=True, home=tmp_path)
    visits = [Visit(browser, server, "dashboard").connect(new_id(), "user", "Uma", way=way) for way in WAYS[1:4]]
    for visit in visits:
        visit.fill("channel", "posts")
        visit.click("subscribe")
        visit.mentions("channels", "posts")
        visit.click("log-clear")
    server.terminate()
    for visit in visits:
        visit.mentions("state", "Reconnecting")
    assert server.wait() == 0
    server.start()
    for visit in visits:
        visit.shows("state", "Connected")
        visit.logged("subscribed")


# messaging


@pytest.mark.parametrize(("way", "size"), [("auth", "wide"), ("plain-query", "small")])
def test_chat_between_two_people(server: Server, browser: Browser, way: str, size: str) -> None:
    mine, theirs = new_id(), new_id()
    me = Visit(browser, server, "messaging", **SIZES[size]).connect(mine, "user", "Ana", way=way)
    them = Visit(browser, server, "messaging", **SIZES[size]).connect(theirs, "user", "Bo", way=way)
    me.mentions("online", "Bo")
    me.page.click(f"write-{theirs}")
    me.shows("title", "Bo")
    me.page.type("chat-text", "Hello Bo")
    them.mentions("typing", "Ana types")
    me.click("send")
    them.shows("typing", "Nobody types to you.")
    me.mentions("messages", "Hello Bo")
    me.mentions("messages", "delivered")
    them.mentions("conversations", "Hello Bo")
    them.shows("badge", "1")
    them.page.click(f"conversation-{mine}")
    them.mentions("messages", "Hello Bo")
    them.click("mark-read")
    me.mentions("messages", "read")
    them.shows("badge", "0")
    them.fill("text", "Hello Ana")
    them.click("send")
    me.mentions("messages", "Hello Ana")
    assert me.count("#chat-messages li") == 2, "each message once, whatever tells of it"
    for visit in (me, them):
        visit.fits()
    me.picture(f"{size}-2-chat")
    me.click("read-all")
    them.page.becomes_true(ALL_ARE, "read")
    them.click("disconnect")
    me.omits("online", "Bo")
    for visit in (me, them):
        visit.behaved()


def test_message_waits_for_its_receiver(server: Server, browser: Browser) -> None:
    mine, theirs = new_id(), new_id()
    me = Visit(browser, server, "messaging").connect(mine, "user", "Ana")
    me.fill("receiver", str(theirs))
    me.click("open")
    for count in (1, 2):
        me.fill("text", f"Number {count}")
        me.click("send")
        me.mentions("messages", f"Number {count}")
    me.page.becomes_true(ALL_ARE, "sent")
    them = Visit(browser, server, "messaging").connect(theirs, "user", "Bo")
    me.page.becomes_true(ALL_ARE, "delivered")
    them.mentions("conversations", "Number 2")
    them.page.click(f"conversation-{mine}")
    them.mentions("messages", "Number 1")
    them.click("read-all")
    me.page.becomes_true(ALL_ARE, "read")


def test_refused_message_is_explained(server: Server, browser: Browser) -> None:
    id = new_id()
    visit = Visit(browser, server, "messaging").connect(id, "user", "Ana")
    visit.fill("receiver", str(id))
    visit.click("open")
    visit.fill("text", "To myself")
    visit.click("send")
    visit.mentions("message", "INVALID_PAYLOAD")
    visit.page.becomes_true(ALL_ARE, "failed")


def test_older_messages_are_fetched_page_by_page(server: Server, browser: Browser) -> None:
    mine, theirs = new_id(), new_id()
    token = shop_token(mine, "user", "Ana")
    for count in range(35):
        sent = call("POST", f"{server.url}/api/conversations/{theirs}/messages", token, {"content": f"Number {count}."})
        assert sent.status == 201
    visit = Visit(browser, server, "messaging").connect(mine, "user", "Ana")
    visit.page.click(f"conversation-{theirs}")
    visit.mentions("messages", "Number 34.")
    visit.omits("messages", "Number 4.")
    visit.click("older")
    visit.mentions("messages", "Number 0.")
    assert visit.count("#chat-messages li") == 35


# hotel guests


@pytest.mark.parametrize("size", SIZES)
def test_guest_is_told_at_once_and_reads(server: Server, browser: Browser, size: str) -> None:
    id = new_id()
    visit = Visit(browser, server, "guests", **SIZES[size]).connect(id, None, "Gia")
    visit.logged("connection")
    assert visit.page.value("guest-recipient-id") == str(id)
    visit.fill("title", "Your room is ready")
    visit.click("send")
    visit.mentions("send-result", ": sent.")
    visit.mentions("list", "Your room is ready")
    visit.shows("badge", "1")
    visit.select("recipient-type", "all")
    visit.fill("title", f"Breakfast for {id} and everybody")
    visit.click("send")
    visit.mentions("list", f"Breakfast for {id}")
    visit.fill("test-text", "Hello from the desk")
    visit.click("test")
    visit.shows("test-result", f"Test notification sent to guest {id}")
    visit.mentions("list", "Hello from the desk")
    visit.click("ping")
    visit.mentions("ping-result", "Pong after")
    visit.click("stats-refresh")
    visit.mentions("connections", f"Guest {id}")
    visit.page.run("() => document.querySelectorAll('#guest-list [data-slot=\"mark-read\"]').forEach((b) => b.click())")
    visit.shows("badge", "0")
    visit.click("poll")
    visit.mentions("inbox-message", "2 in all")
    visit.fits()
    visit.picture(f"{size}-2-told")
    visit.behaved()


def test_guest_gets_what_was_missed_and_what_was_scheduled(server: Server, browser: Browser) -> None:
    id = new_id()
    visit = Visit(browser, server, "guests")
    visit.fill("recipient-id", str(id))
    visit.fill("title", "While you were out")
    visit.click("send")
    visit.mentions("send-result", ": sent.")
    visit.connect(id, None, "Gia")
    visit.mentions("list", "While you were out")
    visit.fill("title", "Check-out is at noon")
    visit.page.run(SEND_IN_THREE_SECONDS)
    visit.click("send")
    visit.mentions("send-result", "a draft until")
    visit.mentions("list", "Check-out is at noon")
    visit.fill("scheduled", "")
    visit.fill("recipient-id", "")
    visit.click("send")
    visit.mentions("send-result", "it names no guest")
    visit.fill("title", " ")
    visit.click("send")
    visit.mentions("send-result", "Missing required fields")
    visit.behaved(refused=400)


def test_guest_reconnects_after_losing_the_line(server: Server, browser: Browser) -> None:
    id = new_id()
    visit = Visit(browser, server, "guests").connect(id, None, "Gia")
    visit.fill("title", "First")
    visit.click("send")
    visit.mentions("list", "First")
    visit.click("break")
    visit.mentions("state", "Reconnecting")
    visit.fill("title", "Second")
    visit.click("send")
    visit.shows("state", "Connected")
    visit.mentions("list", "Second")
    visit.behaved()


def test_guest_polls_while_the_socket_is_away(
    start_server: Callable[..., Server], browser: Browser, tmp_path: Path
) -> None:
    server = start_server(dev=True, home=tmp_path)
    visit = Visit(browser, server, "guests").connect(new_id(), None, "Gia")
    server.terminate()
    visit.mentions("state", "Reconnecting")
    visit.mentions("inbox-message", "The server cannot be reached")
    assert server.wait() == 0
    server.start()
    visit.shows("state", "Connected")
    visit.click("poll")
    visit.mentions("inbox-message", "Asked the route.")


def test_guest_of_another_id_is_refused(server: Server, browser: Browser) -> None:
    visit = Visit(browser, server, "guests")
    visit.mint(new_id(), None, "Gia")
    visit.fill("id", "1")
    visit.click("connect")
    visit.shows("connect-message", "1008: Authentication failed")
    visit.shows("state", "Refused")
    visit.fill("token", shop_token(new_id()))
    visit.click("connect")
    visit.shows("connect-message", "1008: Authentication failed")
    visit.behaved()


# what may not happen


def test_text_from_others_is_never_markup(server: Server, browser: Browser) -> None:
    theirs = new_id()
    admin = shop_token(new_id(), "admin", "Ada")
    visits = {
        tab: Visit(browser, server, tab).connect(theirs, None if tab == "guests" else "admin", MARKUP)
        for tab in ("notifications", "dashboard", "messaging", "guests")
    }
    visits["notifications"].page.click("stream-open")
    visits["notifications"].page.shows("stream-state", "Connected")
    posts: list[tuple[str, dict[str, object]]] = [
        ("/api/notifications", {"userId": theirs, "title": MARKUP, "message": MARKUP, "type": "<b>type</b>"}),
        ("/api/activity", {"userId": theirs, "type": "<b>type</b>", "message": MARKUP}),
        ("/api/announcements", {"title": MARKUP, "message": MARKUP}),
        (f"/api/conversations/{theirs}/messages", {"content": MARKUP}),
        (
            "/api/communications",
            {
                "hotel_id": 1,
                "type": "notification",
                "title": MARKUP,
                "message": MARKUP,
                "category": "<b>type</b>",
                "sender_type": "staff",
                "recipient_type": "guest",
                "recipient_id": theirs,
            },
        ),
    ]
    for path, body in posts:
        answer = call("POST", server.url + path, admin, body)
        assert answer.status == 201, (path, answer)
    for tab, place in {
        "notifications": "list",
        "dashboard": "feed",
        "messaging": "conversations",
        "guests": "list",
    }.items():
        visits[tab].mentions(place, "<b>bold</b>")
        assert visits[tab].count("[role=tabpanel] img, [role=tabpanel] b") == 0
        assert visits[tab].page.run("() => document.title") != "broken"
        visits[tab].behaved()
    visits["notifications"].page.mentions("stream-events", "<b>bold</b>")


def test_tokens_never_reach_the_log_of_any_tab(server: Server, browser: Browser) -> None:
    for tab, prefix in list(TABS.items())[1:]:
        visit = Visit(browser, server, tab)
        for way in (None,) if tab == "guests" else WAYS:
            visit.connect(new_id(), None if tab == "guests" else "user", "Uma", way=way)
            visit.click("disconnect")
        logged = visit.page.run("(id) => document.getElementById(id).textContent", f"{prefix}log")
        assert not re.search(r"eyJ[\w-]{8,}\.[\w-]+\.", logged)
        assert "eyJ" not in visit.page.run("() => location.href")


# developer tokens


def test_developer_route_makes_guests_tokens(server: Server) -> None:
    url = f"{server.url}/api/dev/token"
    made = call("POST", url, None, {"userId": 123, "guest": True, "name": "Gia"})
    assert made.status == 201
    assert {name: made.body[name] for name in ("userId", "role", "name")} == {
        "userId": 123,
        "role": "guest",
        "name": "Gia",
    }
    listed = call("GET", f"{server.url}/api/communications?guestId=124", made.body["token"])
    assert listed.status == 403, "it is a guest's token, which sees that guest's rows only"
    for bad in (
        {"userId": 123, "guest": True, "role": "admin"},
        {"userId": 123, "guest": "yes"},
        {"userId": 123, "guest": 1},
        {"userId": 123, "guest": None},
        {"guest": True},
    ):
        assert call("POST", url, None, bad).status == 400, json.dumps(bad)
    user = call("POST", url, None, {"userId": 123, "guest": False})
    assert (user.status, user.body["role"]) == (201, "user")


def test_development_server_prints_a_link_for_a_guest(server: Server, browser: Browser) -> None:
    link = wait_until(
        lambda: re.search(r"http://\S+#tab=guests&token=\S+", server.output_file.read_text()), what="the guest's link"
    )
    page = browser.open(**DESKTOP)
    page.go(link[0])
    page.click("guest-connect")
    page.shows("guest-state", "Connected")
    page.shows("guest-who", "Gia Guest #123")
