"""The notifications frontend's event stream: an EventSource in Chromium, and what curl sees of it."""

import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.browser import Browser
from tests.e2e.calls import call, curl
from tests.e2e.eventsource import Stream
from tests.e2e.members import Member, notify
from tests.e2e.node import require_program
from tests.e2e.process import Server
from tests.e2e.relay import Relay
from tests.e2e.site import Site

SERVICE = """(token) => {
  globalThis.service = new SSENotificationService("", {getToken: () => token});
  service.connect();
}"""
PATHS = ("/notifications/events", "/api/notifications/events")


@pytest.fixture(scope="module")
def server(start_server: Callable[..., Server]) -> Server:
    """It shows that it is there five times a second, so that tests need not wait."""
    return start_server(PING_INTERVAL=0.2)


@pytest.fixture
def member() -> Member:
    return Member.of_notifications()


@pytest.fixture
def relay(server: Server) -> Iterator[Relay]:
    with Relay(server.port) as relay:
        yield relay


@pytest.mark.parametrize("path", PATHS)
def test_stream_begins_with_the_count_and_goes_on_live(
    server: Server, browser: Browser, member: Member, path: str
) -> None:
    notify(server, member, "Missed")
    stream = Stream.open(browser, server.url, member.token, path)
    stream.hears("unread_count", count=1)
    assert stream.everything()[0]["type"] == "unread_count"
    row = notify(server, member, "Live", "Right now", url="/payments/7", type="payment")
    stream.hears("unread_count", count=2)
    fields = {
        "id": str(row["id"]),
        "userId": member.id,
        "type": "payment",
        "title": "Live",
        "message": "Right now",
        "actionUrl": "/payments/7",
        "metadata": {},
        "isRead": False,
        "isNew": True,
    }
    (heard,) = stream.heard("notification")
    assert {name: heard[name] for name in fields} == fields
    assert member.call(server, "PUT", "/api/notifications/read-all").status == 200
    stream.hears("unread_count", count=0)
    assert stream.counts() == [1, 2, 0]


def test_stream_shows_that_it_is_alive(server: Server, browser: Browser, member: Member) -> None:
    stream = Stream.open(browser, server.url, member.token)
    stream.page.becomes_true("() => heard.filter(({type}) => type === 'ping').length >= 3")
    ping = next(each for each in stream.everything() if each["type"] == "ping")
    assert set(ping) == {"type", "lastEventId"}


def test_stream_is_for_one_person(server: Server, browser: Browser, member: Member) -> None:
    other = Member.of_notifications()
    stream, theirs = (Stream.open(browser, server.url, each.token) for each in (member, other))
    notify(server, other, "Theirs")
    notify(server, member, "Mine")
    stream.hears("notification", title="Mine")
    theirs.hears("notification", title="Theirs")
    assert (stream.titles(), theirs.titles()) == (["Mine"], ["Theirs"])


def test_browser_resumes_where_it_was_cut_off(server: Server, browser: Browser, member: Member, relay: Relay) -> None:
    notify(server, member, "Before the stream")
    stream = Stream.open(browser, relay.url, member.token)
    notify(server, member, "Heard")
    stream.hears("notification", title="Heard")
    relay.cut()
    stream.page.becomes_true("() => source.readyState === EventSource.CONNECTING")
    for n in range(3):
        notify(server, member, f"Missed {n}")
    relay.mend()
    stream.page.becomes_true("() => opened === 2")
    notify(server, member, "After")
    stream.hears("notification", title="After")
    assert stream.titles() == ["Heard", "Missed 0", "Missed 1", "Missed 2", "After"]
    stream.hears("unread_count", count=6)


def test_browser_that_was_cut_off_before_it_heard_anything_resumes_too(
    server: Server, browser: Browser, member: Member, relay: Relay
) -> None:
    stream = Stream.open(browser, relay.url, member.token)
    stream.hears("unread_count", count=0)
    relay.cut()
    stream.page.becomes_true("() => source.readyState === EventSource.CONNECTING")
    notify(server, member, "Missed")
    relay.mend()
    stream.hears("notification", title="Missed")
    notify(server, member, "After")
    stream.hears("notification", title="After")
    assert stream.titles() == ["Missed", "After"]


def test_browser_resumes_after_the_server_was_killed(
    start_server: Callable[..., Server], browser: Browser, member: Member
) -> None:
    server = start_server()
    stream = Stream.open(browser, server.url, member.token)
    notify(server, member, "Heard")
    stream.hears("notification", title="Heard")
    server.kill()
    server.start()
    notify(server, member, "After the restart")
    stream.hears("notification", title="After the restart")
    stream.hears("unread_count", count=2)
    assert stream.titles() == ["Heard", "After the restart"]


def test_documented_service_which_ends_at_any_error_stays_open(
    server: Server, browser: Browser, site: Site, member: Member
) -> None:
    page = Stream.open(browser, server.url, member.token).page
    site.import_into(page, "sseNotificationService.js")
    page.run(SERVICE, member.token)
    for n in range(3):
        page.becomes_true(f"() => service.heard.filter(({{type}}) => type === 'ping').length > {n}")
        notify(server, member, f"number {n}")
    page.becomes_true("() => service.heard.some(({data}) => data?.count === 3)")
    assert page.run("() => service.eventSource.readyState === EventSource.OPEN")
    told = page.run("() => service.heard.filter(({type}) => type === 'notification').map(({data}) => data.title)")
    assert told == ["number 0", "number 1", "number 2"]


def shown_by_curl(server: Server, *arguments: str) -> list[str]:
    """Return what ``curl -i`` prints of the stream up to the first data, as it comes."""
    command = [require_program("curl"), "-s", "-N", "-i", "--noproxy", "*", "--max-time", "20", *arguments]
    url = f"{server.url}/notifications/events"
    with subprocess.Popen([*command, url], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        lines = []
        for line in running.stdout:
            lines.append(line.strip())
            if line.startswith("data:"):
                break
        running.kill()
    return lines


def test_curl_shows_the_documented_headers_and_the_first_data(server: Server, member: Member) -> None:
    *head, data = shown_by_curl(server, "-H", f"Authorization: Bearer {member.token}")
    head = [line.lower() for line in head]
    assert head[0] == "http/1.1 200 ok"
    assert {"content-type: text/event-stream", "cache-control: no-cache", "connection: keep-alive"} < set(head)
    assert "x-accel-buffering: no" in head
    assert not any(line.startswith(("content-length:", "transfer-encoding:")) for line in head)
    assert data.startswith('data: {"type":"unread_count","data":{"count":0,')


def test_stream_wants_a_token_from_header_cookie_or_query(server: Server, member: Member) -> None:
    url = f"{server.url}/notifications/events"
    assert curl(url).status == 401
    assert curl("-H", "Authorization: Bearer nobody", url).status == 401
    for place in (f"Authorization: Bearer {member.token}", f"Cookie: access_token={member.token}"):
        assert curl("-I", "-H", place, url).status == 200
    assert curl("-I", f"{url}?token={member.token}").status == 200
    assert call("GET", url, member.token, Origin="https://elsewhere.example").status == 403
