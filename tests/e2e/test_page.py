"""The test page in a real browser, on a desktop and on a phone."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.browser import DESKTOP, PHONE, Browser, Page
from tests.e2e.people import shop_user
from tests.e2e.process import ROOT, Server

SCREENSHOTS = ROOT / "tests" / "screenshots"
SIZES = {"desktop": DESKTOP, "phone": PHONE}


@pytest.fixture(scope="module")
def server(start_server: Callable[..., Server]) -> Server:
    return start_server(dev=True)


@pytest.fixture(params=SIZES)
def size(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Person:
    """Somebody who uses the test page."""

    def __init__(self, browser: Browser, server: Server, size: str = "desktop", **options: Any) -> None:
        self.server = server
        self.page: Page = browser.open(**{**SIZES[size], **options})
        self.page.go(f"{server.url}/socket-example.html")

    def mint(self, id: int, role: str, name: str) -> None:
        """Make a token through the page's own form."""
        self.page.becomes_true("() => !document.getElementById('mint-form').hidden")
        self.page.fill("mint-user-id", str(id))
        self.page.select("mint-role", role)
        self.page.fill("mint-name", name)
        self.page.click("mint")
        self.page.becomes_true("() => document.getElementById('token').value.startsWith('eyJ')")

    def connect(self, id: int, role: str, name: str) -> "Person":
        self.mint(id, role, name)
        self.page.click("connect")
        self.page.shows("state", "Connected")
        self.page.mentions("presence", name)
        return self

    def join(self, room: str) -> None:
        self.page.fill("join-room-name", room)
        self.page.click("join-room")
        self.page.shows("join-message", f"Joined {room}.")

    def send(self, id: int, title: str) -> None:
        self.page.select("send-target", "user")
        self.page.fill("send-user-id", str(id))
        self.page.fill("send-title", title)
        self.page.click("send")
        self.page.mentions("send-result", "Sent as #")
        self.page.becomes_true("() => !document.getElementById('send').hasAttribute('aria-busy')")

    def logged(self, event: str, direction: str = "in") -> None:
        """Return when the event log shows the event."""
        script = '([event, way]) => document.querySelector(`[data-event="${event}"][data-direction="${way}"]`)'
        self.page.becomes_true(script, [event, direction])

    def picture(self, name: str) -> None:
        SCREENSHOTS.mkdir(exist_ok=True)
        self.page.screenshot(str(SCREENSHOTS / f"{name}.png"))
        self.page.screenshot(str(SCREENSHOTS / f"{name}-window.png"), full=False)

    def fits(self) -> None:
        """Fail when the page can be scrolled sideways."""
        widths = "() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        scrolled, visible = self.page.run(widths)
        assert scrolled <= visible

    def behaved(self, *, refused: bool = False) -> None:
        """Fail when anything went wrong on the page, or it talked to anybody but its server.

        A refused client polls once more while it closes its session: the answer to that may be 400.
        """
        errors, hosts = self.page.seen()
        assert [error for error in errors if not (refused and "status of 400" in error)] == []
        assert hosts == {f"127.0.0.1:{self.server.port}"}


def new_id() -> int:
    return shop_user()[0]


def test_first_view(server: Server, browser: Browser, size: str) -> None:
    person = Person(browser, server, size)
    person.page.becomes_true("() => !document.getElementById('mint-form').hidden")
    assert person.page.text("state") == "Disconnected"
    person.fits()
    person.picture(f"{size}-1-first-view")
    person.behaved()


def test_visit(server: Server, browser: Browser, size: str) -> None:
    """Mint, connect, join, be notified, read, delete: the whole page, step by step."""
    id = new_id()
    me = Person(browser, server, size).connect(id, "technician", "Tess")
    page = me.page
    page.shows("who", f"Tess #{id}")
    page.shows("transport", "websocket")
    page.shows("badge", "0")
    page.mentions("rooms", f"user_{id}")
    page.mentions("rooms", "role_technician")
    page.mentions("presence", "Tess (you)")

    me.join("work_order_1")
    page.mentions("rooms", "work_order_1")
    for count in (1, 2, 3):
        me.send(id, f"Number {count}")
        page.shows("badge", str(count))
        page.mentions("notifications", f"Number {count}")
    me.logged("newNotification")
    me.logged("notification_count_updated")
    me.logged("join_room", "out")
    me.logged("join_room", "ack")
    me.fits()
    me.picture(f"{size}-2-connected")

    first = "() => document.querySelector('#notifications [data-slot=\"toggle-read\"]').click()"
    page.run(first)
    page.shows("badge", "2")
    page.run("() => document.querySelector('#notifications li:last-child [data-slot=\"delete\"]').click()")
    page.shows("badge", "1")
    page.omits("notifications", "Number 1")
    page.click("mark-all-read")
    page.shows("badge", "0")
    page.click("disconnect")
    page.shows("state", "Disconnected")
    me.fits()
    me.behaved()
    assert not re.search(r"eyJ[\w-]{8,}\.[\w-]+\.", page.text("log")), "tokens are masked in the event log"


def test_typing_and_presence_between_two_people(server: Server, browser: Browser, size: str) -> None:
    mine, theirs = new_id(), new_id()
    me = Person(browser, server, size).connect(mine, "technician", "Tess")
    them = Person(browser, server, size).connect(theirs, "technician", "Tom")
    me.page.mentions("presence", "Tom")
    them.page.mentions("presence", "Tess")
    for person in (me, them):
        person.join("work_order_7")
        person.page.select("typing-room", "work_order_7")
    me.page.type("typing-input", "Hello")
    them.page.shows("typing-status", "Tess types in work_order_7")
    them.logged("user_typing_start")
    me.page.shows("typing-status", "Nobody else is typing.")
    them.picture(f"{size}-3-typing")
    me.page.fill("typing-input", "")
    them.page.shows("typing-status", "Nobody else is typing.")
    me.page.select("my-status", "busy")
    me.page.click("set-status")
    them.page.mentions("presence", "Busy")
    me.page.click("disconnect")
    them.page.omits("presence", "Tess")
    for person in (me, them):
        person.behaved()


def test_two_pages_of_one_user_show_the_same(server: Server, browser: Browser) -> None:
    id = new_id()
    pages = [Person(browser, server, size).connect(id, "technician", "Uma") for size in ("desktop", "phone")]
    for count in (1, 2):
        pages[0].send(id, f"Number {count}")
        for each in pages:
            each.page.shows("badge", str(count))
            each.page.mentions("notifications", f"Number {count}")
    pages[1].page.run("() => document.querySelector('#notifications [data-slot=\"toggle-read\"]').click()")
    for each in pages:
        each.page.shows("badge", "1")
    pages[0].page.run("() => document.querySelector('#notifications [data-slot=\"delete\"]').click()")
    for each in pages:
        each.page.omits("notifications", "Number 2")
        each.page.shows("badge", "1")
    pages[1].page.click("mark-all-read")
    for each in pages:
        each.page.shows("badge", "0")
        each.behaved()


def test_work_order_is_live_in_another_tab(server: Server, browser: Browser) -> None:
    boss = Person(browser, server).connect(new_id(), "admin", "Ada")
    boss.page.fill("wo-description", "Replace the fan")
    boss.page.click("wo-create")
    boss.page.mentions("wo-message", "Created work order")
    number = boss.page.text("wo-message").split()[-1].rstrip(".")
    watcher = Person(browser, server, "phone").connect(new_id(), "technician", "Tess")
    watcher.join(f"work_order_{number}")
    boss.page.select(f"wo-status-{number}", "in_progress")
    boss.page.click(f"wo-set-{number}")
    for person in (boss, watcher):
        person.page.shows(f"wo-shown-{number}", "In progress")
        person.logged("work_order_updated")
        person.behaved()
    boss.picture("desktop-4-work-order")


def test_token_in_the_link_is_filled_in_and_leaves_the_address(server: Server, browser: Browser) -> None:
    id, token = shop_user("technician", "Tess")
    page = browser.open(**DESKTOP)
    page.go(f"{server.url}/socket-example.html#token={token}")
    page.click("connect")
    page.shows("who", f"Tess #{id}")
    page.shows("state", "Connected")
    assert "eyJ" not in page.run("() => location.href")


def test_refused_token_is_explained(server: Server, browser: Browser, size: str) -> None:
    person = Person(browser, server, size)
    person.page.fill("token", "not.a.token")
    person.page.click("connect")
    person.page.mentions("connect-message", "AUTH_INVALID")
    person.page.shows("state", "Refused")
    person.fits()
    person.picture(f"{size}-5-refused")
    person.behaved(refused=True)


def test_dark_page(server: Server, browser: Browser, size: str) -> None:
    person = Person(browser, server, size, colorScheme="dark").connect(new_id(), "admin", "Ada")
    person.picture(f"{size}-6-dark")
    person.behaved()


def test_page_comes_back_after_a_restart(start_server: Callable[..., Server], browser: Browser, tmp_path: Path) -> None:
    server = start_server(dev=True, home=tmp_path)
    id = new_id()
    person = Person(browser, server).connect(id, "technician", "Tess")
    person.join("work_order_1")
    person.send(id, "Before")
    person.page.shows("badge", "1")
    server.terminate()
    person.page.mentions("state", "Reconnecting")
    assert server.wait() == 0
    server.start()
    person.page.shows("state", "Connected")
    person.page.mentions("rooms", "work_order_1")
    person.page.shows("badge", "1")
    person.send(id, "After")
    person.page.shows("badge", "2")
