"""The dashboard frontend's services in Chromium, as its document writes them: two calls of `io`, one connection."""

from collections.abc import Callable

import pytest

from tests.e2e.browser import Browser, Page
from tests.e2e.calls import call
from tests.e2e.members import Member, notify
from tests.e2e.people import shop_user
from tests.e2e.process import Server
from tests.e2e.site import Site

START = """({api, id, token}) => {
  globalThis.dashboardService = new DashboardService(api);
  globalThis.messagingService = new MessagingService(api);
  dashboardService.connect(id, token);
  messagingService.connect(id, token);
}"""


@pytest.fixture(scope="module")
def server(start_server: Callable[..., Server], site: Site) -> Server:
    return start_server(ALLOWED_ORIGIN=site.origin)


def start(site: Site, browser: Browser, server: Server, member: Member) -> Page:
    page = site.open(browser)
    for module in ("dashboardService.js", "messagingService.js", "pushRegistration.js"):
        site.import_into(page, module)
    page.run(START, {"api": server.url, "id": member.id, "token": member.token})
    page.becomes_true("() => dashboardService.shown.connected.length === 1 && messagingService.socket.connected")
    return page


def test_documented_services_share_a_connection_and_hear_what_is_theirs(
    server: Server, browser: Browser, site: Site
) -> None:
    ann, bo = Member.of_dashboard("Ann"), Member.of_messaging("Bo")
    page = start(site, browser, server, ann)
    assert page.run("() => dashboardService.socket.io === messagingService.socket.io")
    start(site, browser, server, bo)
    page.becomes_true(
        "(id) => dashboardService.shown.statuses.some(({userId, status}) => userId === id && status === 'online')",
        bo.id,
    )
    page.run("() => dashboardService.subscribe(['referrals', 'events', 'projects'])")
    notify(server, ann, "New Message", "John sent you a message", type="MESSAGE")
    page.becomes_true("() => dashboardService.shown.notifications.length > 0")
    assert page.run("() => dashboardService.shown.notifications") == [
        ["New Message", {"body": "John sent you a message", "icon": "/logo.png", "badge": None}]
    ]
    service = shop_user("service")[1]
    activity = {"userId": ann.id, "type": "connection_request", "message": "New connection request"}
    assert call("POST", f"{server.url}/api/activity", service, activity).status == 201
    page.becomes_true("() => dashboardService.shown.activities.some(({type}) => type === 'connection_request')")
    stats = {"connections": 150, "messages": 1250, "posts": 89}
    assert call("POST", f"{server.url}/api/stats", service, stats).status == 201
    page.becomes_true("() => dashboardService.shown.stats.some(({posts}) => posts === 89)")
    assert page.run("() => dashboardService.shown.errors") == []
    assert page.run("() => messagingService.shown.messages") == []
    assert page.seen()[0] == []


def test_documented_chat_between_two_browsers(server: Server, browser: Browser, site: Site) -> None:
    ann, bo = Member.of_messaging("Ann"), Member.of_messaging("Bo")
    hers, his = (start(site, browser, server, each) for each in (ann, bo))
    hers.run("(id) => messagingService.startTyping(id)", bo.id)
    his.becomes_true("() => messagingService.shown.typing.at(-1)?.isTyping === true")
    hers.run("(id) => messagingService.stopTyping(id)", bo.id)
    his.becomes_true("() => messagingService.shown.typing.at(-1)?.isTyping === false")
    hers.run("([id, content]) => messagingService.sendMessage(id, content)", [bo.id, "Hello \U0001f44b\x00 שלום"])
    his.becomes_true("() => messagingService.shown.messages.length > 0")
    (message,) = his.run("() => messagingService.shown.messages")
    assert (message["senderId"], message["content"]) == (ann.id, "Hello \U0001f44b\x00 שלום")
    hers.run(
        "() => void messagingService.socket.on('MESSAGE_READ_RECEIPT', (receipt) => { globalThis.read = receipt; })"
    )
    his.run("(id) => messagingService.markAsRead(id)", message["messageId"])
    hers.becomes_true("(id) => globalThis.read?.messageId === id", message["messageId"])
    assert hers.run("() => messagingService.shown.messages") == []
    for page in (hers, his):
        assert page.run("() => dashboardService.shown.errors") == page.seen()[0] == []


def test_documented_push_registration_is_accepted(server: Server, browser: Browser, site: Site) -> None:
    ann = Member.of_dashboard()
    page = start(site, browser, server, ann)
    register = "({api, token}) => registerPushNotifications(api, token, 'fcm-device-token-here')"
    assert page.run(register, {"api": server.url, "token": ann.token}) is True
    assert page.run(register, {"api": server.url, "token": "nonsense"}) is False
