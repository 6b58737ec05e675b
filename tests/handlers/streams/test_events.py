"""Server-sent events: how a stream begins, what it tells, how it goes on after a break, and how it ends."""

import asyncio
import ipaddress
import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from realtime import wire
from tests.conftest import Starter
from tests.handlers.sockets.held import Held
from tests.support import FakeClock, Running, Stream, bearer, token, until

PATHS = ["/notifications/events", "/api/notifications/events"]
EVENTS = PATHS[0]
ADMIN = bearer(1, "admin", lifetime=86400.0)
LOOPBACK = ipaddress.ip_network("127.0.0.0/8")


async def notify(running: Running, title: str, **more: Any) -> Any:
    body = {"userId": 7, "title": title, "message": "text", **more}
    if "audience" in more:
        del body["userId"]
    status, row = await running.call("POST", "/api/notifications", by=ADMIN, json=body)
    assert status == 201, row
    return row


async def opened(running: Running, id: int = 7, **more: Any) -> Stream:
    """Open a stream and wait until it is live, and has been told what it missed."""
    stream = await running.stream(id, **more)
    await stream.hears("unread_count")
    await until(lambda: not running.parts.services.errands._running, what="the end of what was missed")
    await running.call("POST", "/api/publish", by=ADMIN, json={"userId": id, "event": "are you there"})
    await stream.hears("are you there")
    return stream


def titles(stream: Stream) -> list[str]:
    return [row["title"] for row in stream.payloads("notification")]


def place(stream: Stream) -> dict[str, str]:
    """Return what an EventSource sends when it comes back."""
    return {"Last-Event-ID": stream.ids()[-1]}


# --- how it begins ---


@pytest.mark.parametrize("path", PATHS)
async def test_a_stream_begins_with_its_headers_and_the_count(running: Running, path: str) -> None:
    await notify(running, "Unread")
    stream = await running.stream(7, path=path)
    count = await stream.hears("unread_count")
    assert (count["count"], count["unseenCount"], count["categories"]) == (1, 1, {"info": 1})
    assert set(count) == {"count", "unseenCount", "categories", "revision"}
    headers = stream.response.headers
    assert headers["Content-Type"] == "text/event-stream"
    assert headers["Cache-Control"] == "no-cache"
    assert headers["Connection"] == "keep-alive"
    assert headers["X-Accel-Buffering"] == "no"
    assert "Content-Length" not in headers
    assert "Transfer-Encoding" not in headers
    assert stream.text.startswith("retry: 3000\n\nid: ")
    assert "event:" not in stream.text  # clients only listen to `onmessage`


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("place", ["query", "header", "cookie"])
async def test_the_token_is_found_in_every_place(running: Running, path: str, place: str) -> None:
    value = token(7)
    ways: dict[str, dict[str, Any]] = {
        "query": {"params": {"token": value}},
        "header": {"headers": {"Authorization": f"Bearer {value}"}},
        "cookie": {"headers": {"Cookie": f"access_token={value}"}},
    }
    async with running.http.get(running.url + path, **ways[place]) as response:
        assert response.status == 200
        assert (await response.content.readline()) == b"retry: 3000\n"


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("", 401, "AUTH_REQUIRED"),
        ("?token=nonsense", 401, "AUTH_INVALID"),
        (f"?token={token(7, lifetime=-3600)}", 401, "TOKEN_EXPIRED"),
        (f"?token={token(7)}&userId=8", 403, "USER_MISMATCH"),
        (f"?token={token(7)}&guestId=8", 403, "USER_MISMATCH"),
    ],
)
async def test_who_is_refused_gets_an_answer_that_ends(running: Running, query: str, status: int, code: str) -> None:
    got, body = await running.call("GET", EVENTS + query)
    assert (got, body["code"]) == (status, code)


async def test_head_answers_without_a_stream(running: Running) -> None:
    async with running.http.head(running.url + EVENTS, headers=bearer(7)) as response:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/event-stream")
        assert response.headers["Cache-Control"] == "no-cache"
    assert len(running.parts.channels) == 0


async def test_a_listed_page_may_read_it_and_a_strangers_may_not(starter: Starter) -> None:
    running = await starter(allowed_origin=("https://app.example",))
    for origin in (running.url, "https://app.example"):
        stream = await running.stream(7, headers={"Origin": origin})
        assert stream.response.headers["Access-Control-Allow-Origin"] == origin
        assert stream.response.headers["Access-Control-Allow-Credentials"] == "true"
        assert stream.response.headers["Vary"] == "Origin"
    for path in PATHS:
        for method in ("GET", "HEAD"):
            headers = {**bearer(7), "Origin": "https://evil.example"}
            async with running.http.request(method, running.url + path, headers=headers) as response:
                assert response.status == 403
                assert "Access-Control-Allow-Origin" not in response.headers


async def test_a_page_may_ask_before_it_sends_a_token_in_a_header(starter: Starter) -> None:
    running = await starter(allowed_origin=("https://app.example",))
    asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization,last-event-id"}
    for origin, status in (("https://app.example", 204), ("https://evil.example", 403)):
        async with running.http.options(running.url + EVENTS, headers={"Origin": origin, **asked}) as response:
            assert response.status == status
            allowed = response.headers.get("Access-Control-Allow-Headers")
            assert allowed == (asked["Access-Control-Request-Headers"] if status == 204 else None)


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_a_strangers_image_opens_nothing_with_its_visitors_cookie(running: Running, site: str) -> None:
    headers = {"Cookie": f"token={token(7)}", "Sec-Fetch-Site": site}
    status, body = await running.call("GET", EVENTS, headers=headers)
    assert (status, body["code"]) == (403, "FORBIDDEN")


async def test_old_proxies_get_the_same_stream(running: Running) -> None:
    where = urlsplit(running.url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.write(f"GET {EVENTS}?token={token(7)} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).decode()
    assert head.startswith("HTTP/1.1 200 OK\r\n")
    assert "chunked" not in head.lower()
    body = await asyncio.wait_for(reader.readuntil(b"}}\n\n"), 10)
    assert re.match(rb'retry: 3000\n\nid: [0-9.]+\ndata: \{"type":"unread_count","data":\{"count":0,', body)
    await notify(running, "Live")
    assert b'"title":"Live"' in await asyncio.wait_for(reader.readuntil(b"}\n\n"), 10)
    writer.close()
    await until(lambda: len(running.parts.channels) == 0)


async def test_an_address_opens_only_so_many_and_so_fast(starter: Starter, clock: FakeClock) -> None:
    proxied = {"X-Forwarded-For": "203.0.113.9"}
    running = await starter(
        app={"clock": clock}, trusted_proxies=(LOOPBACK,), connections_per_ip=1, handshakes_per_minute_per_ip=3
    )
    first = await running.stream(7, headers=proxied)
    await first.hears("unread_count")
    status, body = await running.call("GET", EVENTS, by=bearer(7), headers=proxied)
    assert (status, body["code"]) == (429, "CONNECTION_LIMIT")
    await first.close()
    await until(lambda: len(running.parts.channels) == 0)
    await (await running.stream(7, headers=proxied)).hears("unread_count")
    status, body = await running.call("GET", EVENTS, by=bearer(7), headers=proxied)
    assert (status, body["code"]) == (429, "RATE_LIMIT_EXCEEDED")


# --- what it tells ---


async def test_notifications_and_counts_are_live(running: Running) -> None:
    stream = await opened(running)
    row = await notify(running, "Hello", type="payment", url="/p/1", metadata={"a": 1}, priority="high")
    told = await stream.hears("notification")
    assert told == {
        "id": str(row["id"]),
        "userId": "7",
        "type": "payment",
        "title": "Hello",
        "message": "text",
        "actionUrl": "/p/1",
        "metadata": {"a": 1},
        "priority": "high",
        "isRead": False,
        "isNew": True,
        "createdAt": row["createdAt"],
        "updatedAt": row["updatedAt"],
    }
    await stream.hears("unread_count", 2)
    await running.call("PATCH", f"/notifications/{row['id']}/read", by=bearer(7))
    await stream.hears("unread_count", 3)
    assert [count["count"] for count in stream.payloads("unread_count")] == [0, 1, 0]


async def test_everybody_hears_only_their_own(running: Running) -> None:
    mine, other = await opened(running), await opened(running, 8)
    visitor = await running.stream(7, guest=True)
    await visitor.hears("unread_count")
    await notify(running, "Mine")
    await notify(running, "For all", audience="all")
    await mine.hears("notification", 2)
    await other.hears("notification")
    await running.call("POST", "/api/publish", by=ADMIN, json={"audience": "all", "event": "the end"})
    await visitor.hears("the end")
    assert (titles(mine), titles(other), titles(visitor)) == (["Mine", "For all"], ["For all"], [])


async def test_both_streams_of_a_person_hear_the_same_and_each_goes_on_from_where_it_began(running: Running) -> None:
    first = await opened(running)
    await notify(running, "Before the second")
    await first.hears("notification")
    streams = [first, await opened(running)]
    await notify(running, "Hello")
    await streams[0].hears("notification", 2)
    assert await streams[1].hears("notification") == first.payloads("notification")[1]
    for stream in streams:
        again = await opened(running, headers={"Last-Event-ID": stream.ids()[0]})
        assert titles(again) == titles(stream)


async def test_something_is_said_while_nothing_happens(starter: Starter) -> None:
    running = await starter(ping_interval=0.1)
    stream = await running.stream(7)
    await until(lambda: [event["type"] for event in stream.events()].count("ping") >= 2)
    assert 'data: {"type":"ping"}\n\n' in stream.text


async def test_a_stream_makes_its_owner_present(running: Running) -> None:
    watching = await running.connect(8)
    stream = await opened(running)
    assert await watching.hears("userOnline") == {"userId": 7}
    await stream.close()
    assert await watching.hears("userOffline") == {"userId": 7}


# --- how it goes on ---


async def test_what_was_missed_is_told_in_order_and_nothing_twice(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    stream = await opened(running)
    await notify(running, "Heard")
    await stream.hears("notification")
    await stream.close()
    for title in ("One", "Two"):  # in the same microsecond
        await notify(running, title)
    clock.advance(1)
    await running.call("POST", "/api/announcements", by=ADMIN, json={"title": "Three", "message": "text"})
    await notify(running, "For somebody else", userId=8)
    again = await running.stream(7, headers=place(stream))
    await again.hears("notification", 3)
    await notify(running, "Live")
    await again.hears("notification", 4)
    assert titles(again) == ["One", "Two", "Three", "Live"]
    assert again.payloads("notification")[2]["type"] == "SYSTEM_ANNOUNCEMENT"
    assert again.payloads("unread_count")[0]["count"] == 4
    assert len(set(again.ids()[1:])) == 4
    third = await opened(running, headers=place(again))
    assert titles(third) == []


@pytest.mark.parametrize("heard", [0, 1, 2, 3])
async def test_wherever_a_stream_breaks_the_next_begins_there(running: Running, heard: int) -> None:
    stream = await opened(running)
    for n in range(3):
        await notify(running, str(n))
    await stream.hears("notification", 3)
    last = stream.ids()[heard]  # the first one came with the count
    again = await opened(running, headers={"Last-Event-ID": last})
    assert titles(again) == [str(n) for n in range(heard, 3)]


@pytest.mark.parametrize("name", ["lastEventId", "since"])
async def test_the_place_may_be_in_the_query(running: Running, name: str) -> None:
    stream = await opened(running)
    await notify(running, "Missed")
    again = await opened(running, path=f"{EVENTS}?{name}={stream.ids()[0]}")
    assert titles(again) == ["Missed"]


async def test_what_a_browser_says_when_it_comes_back_counts_more_than_its_old_address(running: Running) -> None:
    stream = await opened(running)
    await notify(running, "Told")
    await stream.hears("notification")
    await notify(running, "Missed")
    path = f"{EVENTS}?since={stream.ids()[0]}"
    again = await opened(running, path=path, headers={"Last-Event-ID": stream.ids()[1]})
    assert titles(again) == ["Missed"]


async def test_what_was_read_or_deleted_meanwhile_is_left_out(running: Running) -> None:
    stream = await opened(running)
    await stream.close()
    read, deleted = await notify(running, "Read"), await notify(running, "Deleted")
    await notify(running, "Missed")
    await running.call("PATCH", f"/notifications/{read['id']}/read", by=bearer(7))
    await running.call("DELETE", f"/notifications/{deleted['id']}", by=bearer(7))
    again = await opened(running, headers=place(stream))
    assert titles(again) == ["Missed"]


async def test_a_draft_counts_from_when_it_was_sent(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    at = datetime.fromtimestamp(clock() + 60, UTC).isoformat()
    await notify(running, "Draft", scheduledAt=at)
    clock.advance(1)
    stream = await opened(running)
    await notify(running, "Before")
    await stream.hears("notification")
    await stream.close()
    clock.advance(60)
    await running.parts.services.notifications.run_due()
    again = await opened(running, headers=place(stream))
    assert titles(again) == ["Draft"]


async def test_only_the_newest_hundred_are_told_and_the_count_says_the_rest(running: Running) -> None:
    stream = await opened(running)
    await stream.close()
    await asyncio.gather(*(notify(running, str(n)) for n in range(105)))
    again = await running.stream(7, headers=place(stream))
    await again.hears("notification", 100)
    await notify(running, "Live")
    await again.hears("notification", 101)
    _, inbox = await running.call("GET", "/notifications?limit=100&page=1", by=bearer(7))
    newest = [row["title"] for row in inbox["notifications"]]
    assert titles(again)[::-1][:100] == newest
    assert again.payloads("unread_count")[0]["count"] == 105


@pytest.mark.parametrize("given", ["", "nonsense", "12", "1700000000000000-12", "1.2.3", "1.2.3.4.5", "٣.٣.٣.٣.٣"])
async def test_a_place_that_is_none_means_now(running: Running, given: str) -> None:
    await notify(running, "Old")
    stream = await opened(running, headers={"Last-Event-ID": given})
    assert titles(stream) == []
    await notify(running, "New")
    await stream.hears("notification")
    assert titles(stream) == ["New"]


async def test_what_comes_while_a_stream_catches_up_comes_once_and_in_its_place(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = await opened(running)
    await stream.close()
    await notify(running, "Missed")
    for answered in (False, True):  # the list is read after the new row was stored, and before
        with monkeypatch.context() as patch:
            held = Held(patch, running.parts.store, "missed", answered=answered)
            again = await running.stream(7, headers=place(stream))
            await held.reached.wait()
            await notify(running, f"Meanwhile {answered}")
            held.let_go()
            await again.hears("notification", 2 + answered)
        await notify(running, f"After {answered}")
        await until(lambda again=again, title=f"After {answered}": title in titles(again))  # type: ignore[misc]
        told = titles(again)
        assert len(told) == len(set(told))
        assert told[-2:] == [f"Meanwhile {answered}", f"After {answered}"]
        await again.close()


async def test_what_is_sent_while_a_stream_opens_is_told(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held(monkeypatch, running.parts.store, "counts", answered=True)
    opening = asyncio.ensure_future(running.stream(7))
    await held.reached.wait()
    await notify(running, "In between")
    held.let_go()
    stream = await opening
    await stream.hears("notification")
    await stream.hears("unread_count", 2)
    assert titles(stream) == ["In between"]
    assert [count["count"] for count in stream.payloads("unread_count")] == [0, 1]


# --- how it ends ---


async def test_the_end_of_a_token_is_told_and_ends_the_stream(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock}, jwt_leeway=0.0)
    stream = await running.stream(7, lifetime=60, now=clock.now)
    other = await running.stream(8)
    await stream.hears("unread_count")
    clock.advance(61)
    assert (await stream.hears("token_expired"))["code"] == "TOKEN_EXPIRED"
    await until(lambda: stream.ended)
    assert stream.events()[-1]["type"] == "token_expired"
    await other.hears("unread_count")
    assert not other.ended


async def test_a_client_that_goes_is_forgotten(running: Running) -> None:
    stream = await opened(running)
    await stream.close()
    await until(lambda: len(running.parts.channels) == 0)
    await until(lambda: len(running.parts.connections.plain.sockets) == 0)


async def test_a_stopping_server_ends_every_stream(running: Running) -> None:
    streams = [await opened(running), await opened(running, 8)]
    await running.server.close()
    for stream in streams:
        await until(lambda stream=stream: stream.ended)  # type: ignore[misc]
        last = stream.events()[-1]
        assert last["type"] == "server_shutdown"
        assert 1 <= last["data"]["retryAfter"] <= 5


async def test_while_the_server_stops_no_stream_begins(running: Running) -> None:
    await opened(running)
    keeping = aiohttp.ClientSession()
    await running.parts.connections.plain.close_all(1001, grace=1)
    async with keeping.get(running.url + EVENTS, headers=bearer(7)) as response:
        assert response.status == 503
    await keeping.close()


async def test_a_stream_is_lines_of_json_and_nothing_else(running: Running) -> None:
    stream = await opened(running)
    await notify(running, "Zwei\nZeilen", message="data: id: \r\n\u2028")
    told = await stream.hears("notification")
    assert (told["title"], told["message"]) == ("Zwei\nZeilen", "data: id: \r\n\u2028")
    for line in filter(None, stream.text.split("\n")):
        field, _, value = line.partition(": ")
        assert field in ("retry", "id", "data")
        assert field != "data" or isinstance(wire.loads(value), dict)


async def test_a_stream_resumes_after_the_clock_was_set_back(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    clock.advance(1000)
    stream = await opened(running)
    await notify(running, "before")
    await stream.hears("notification")
    await stream.close()
    clock.advance(-300)
    for title in ("one", "two"):
        await notify(running, title)
    again = await opened(running, headers=place(stream))
    await again.hears("notification", 2)
    assert titles(again) == ["one", "two"]


async def test_what_is_told_in_a_break_goes_on_wherever_it_breaks_whatever_the_clock_said(
    starter: Starter, clock: FakeClock
) -> None:
    running = await starter(app={"clock": clock})
    clock.advance(1000)
    stream = await opened(running)
    await stream.close()
    await notify(running, "one")
    clock.advance(-300)
    await notify(running, "two")
    await notify(running, "to all", audience="all")
    clock.advance(600)
    await notify(running, "three")
    again = await opened(running, headers=place(stream))
    told = titles(again)
    assert sorted(told) == sorted(["one", "two", "to all", "three"])
    for broken in range(5):
        rest = await opened(running, headers={"Last-Event-ID": again.ids()[broken]})
        assert titles(rest) == told[broken:]


async def test_an_event_id_is_a_place_that_sync_knows_and_the_other_way_round(running: Running) -> None:
    stream = await opened(running)
    row = await notify(running, "Shown")
    await stream.hears("notification")
    client = await running.connect(7)
    since_beginning = await client.ask("notifications_sync", {"since": stream.ids()[0]})
    assert [change["id"] for change in since_beginning["changes"]] == [row["id"]]
    shown = await client.ask("notifications_sync", {"since": stream.ids()[-1]})
    assert [change["id"] for change in shown["changes"]] == [row["id"]], "a stream tells of no other changes"
    await notify(running, "Next")
    again = await opened(running, headers={"Last-Event-ID": since_beginning["token"]})
    assert titles(again) == ["Next"]


async def test_a_place_in_another_database_means_now(running: Running, starter: Starter) -> None:
    stream = await opened(running)
    epoch, _, rest = stream.ids()[0].partition(".")
    await notify(running, "Old")
    again = await opened(running, headers={"Last-Event-ID": f"{int(epoch) + 1}.{rest}"})
    assert titles(again) == []


async def test_of_two_rows_that_came_at_once_the_one_stored_later_is_not_lost(
    starter: Starter, clock: FakeClock
) -> None:
    running = await starter(app={"clock": clock})
    stream = await opened(running)
    await notify(running, "stored first")
    await stream.hears("notification")
    await stream.close()
    clock.advance(-0.5)
    await notify(running, "stored second")
    again = await opened(running, headers=place(stream))
    await again.hears("notification")
    assert titles(again) == ["stored second"]
