"""The notifications frontend's services in Chromium, where a WebSocket has no headers of its own and a cookie helps."""

from collections.abc import Callable

import pytest

from tests.e2e.browser import Browser, Page
from tests.e2e.members import Member, notify
from tests.e2e.process import Server
from tests.e2e.site import Site

SIGN_IN = """async ({api, token}) => {
  const headers = {Authorization: `Bearer ${token}`};
  const answer = await fetch(`${api}/api/auth/cookie`, {method: "POST", headers, credentials: "include"});
  return answer.status;
}"""
SERVICE = """({api, token}) => {
  globalThis.state = {notifications: [], unreadCount: null, toasts: [], refused: null};
  globalThis.service = new NotificationService(api, {getToken: () => token});
  service.connect();
  service.socket.on("connect_error", ({data}) => { state.refused = data.code; });
  service.onNotification((notification) => {
    state.notifications = [notification, ...state.notifications];
    if (notification.isNew) state.toasts.push(`New notification: ${notification.title}`);
  });
  service.onUnreadCountChange((count) => { state.unreadCount = count; });
}"""
ANGULAR = """({api, token}) => {
  globalThis.service = new AngularNotificationService({getToken: () => token}, api);
  service.connect();
}"""

STREAM = """(api) => {
  globalThis.heard = [];
  globalThis.source = new EventSource(`${api}/notifications/events`, {withCredentials: true});
  source.onmessage = ({data}) => heard.push(JSON.parse(data));
}"""


@pytest.fixture(scope="module")
def server(start_server: Callable[..., Server], site: Site) -> Server:
    return start_server(ALLOWED_ORIGIN=site.origin)


@pytest.fixture
def member() -> Member:
    return Member.of_notifications()


def use(site: Site, browser: Browser, module: str) -> Page:
    page = site.open(browser)
    site.import_into(page, module)
    return page


def test_documented_service_works_with_the_cookie(server: Server, browser: Browser, site: Site, member: Member) -> None:
    page = use(site, browser, "notificationService.js")
    who = {"api": server.url, "token": member.token}
    assert page.run(SIGN_IN, who) == 200
    page.run(SERVICE, who)
    page.becomes_true("() => service.connected && service.subscribed && state.unreadCount === 0")
    notify(server, member, "Paid")
    page.becomes_true("() => state.unreadCount === 1")
    assert page.run("() => state.toasts") == ["New notification: Paid"]
    assert page.run("() => state.notifications.map(({title}) => title)") == ["Paid"]
    page.run("() => service.disconnect()")
    page.becomes_true("() => !service.connected")
    assert page.seen()[0] == []


def test_documented_service_without_the_cookie_learns_that_it_is_refused(
    server: Server, browser: Browser, site: Site, member: Member
) -> None:
    page = use(site, browser, "notificationService.js")
    page.run(SERVICE, {"api": server.url, "token": member.token})
    page.becomes_true("() => state.refused === 'AUTH_REQUIRED'")


def test_documented_angular_service_begins_with_polling_and_sends_its_header(
    server: Server, browser: Browser, site: Site, member: Member
) -> None:
    """From another origin, so that the browser asks first whether the header is allowed."""
    page = use(site, browser, "angularNotificationService.js")
    notify(server, member, "Missed")
    page.run(ANGULAR, {"api": server.url, "token": member.token})
    page.becomes_true("() => service.unreadCountSubject.value === 1")
    page.becomes_true("() => service.socket.io.engine.transport.name === 'websocket'")
    notify(server, member, "Live")
    page.becomes_true("() => service.unreadCountSubject.value === 2")
    assert page.run("() => service.notificationsSubject.value.map(({title}) => title)") == ["Live"]
    assert page.run("() => service.notificationsSubject.value[0].userId") == member.id
    assert page.seen()[0] == []


def test_stream_may_be_read_from_an_allowed_page_with_the_cookie(
    server: Server, browser: Browser, site: Site, member: Member
) -> None:
    page = site.open(browser)
    assert page.run(SIGN_IN, {"api": server.url, "token": member.token}) == 200
    page.run(STREAM, server.url)
    page.becomes_true("() => heard[0]?.type === 'unread_count'")
    notify(server, member, "Across origins")
    page.becomes_true("() => heard.some(({data}) => data?.title === 'Across origins')")
    page.run("() => source.close()")
    assert page.seen()[0] == []
