"""The inbox from outside: counts, sync and idempotency, across restarts, devices and processes, on each database."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from realtime.store.base import CLAIM_SECONDS
from tests.e2e.browser import Browser
from tests.e2e.calls import Answer, call
from tests.e2e.conftest import DatabaseOf
from tests.e2e.eventsource import Stream
from tests.e2e.node import Clients
from tests.e2e.people import shop_user
from tests.e2e.process import Server, roomcast, wait_until
from tests.e2e.relay import Relay

QUICK: dict[str, Any] = {"reconnectionDelay": 100, "reconnectionDelayMax": 500}


@pytest.fixture
def server(start_server: Callable[..., Server]) -> Server:
    return start_server()


def notify(server: Server, sender: str, key: str | None = None, **body: object) -> Answer:
    given = {"title": "t", "message": "m", **body}
    headers = {} if key is None else {"Idempotency_Key": key}
    return call("POST", f"{server.url}/api/notifications", sender, given, **headers)


def sync(server: Server, token: str, since: str | None = None) -> Any:
    """Return the changes of all pages, with the last page's token and count, and whether the first was a reset."""
    changes: list[Any] = []
    resets: list[bool] = []
    while True:
        query = "?limit=3" if since is None else f"?limit=3&since={since}"
        page = call("GET", f"{server.url}/api/notifications/sync{query}", token).body
        changes += page["changes"]
        resets.append(page["reset"])
        since = page["token"]
        if not page["hasMore"]:
            assert not any(resets[1:])
            return {**page, "changes": changes, "reset": resets[0]}


def unread(server: Server, token: str) -> int:
    count: int = call("GET", f"{server.url}/api/notifications/unread-count", token).body["unreadCount"]
    return count


def soon(seconds: float) -> str:
    return datetime.fromtimestamp(time.time() + seconds, UTC).isoformat()


def test_requests_repeated_after_kill_9_are_each_stored_once(server: Server) -> None:
    """Clients that got no answer send again with the same key, as they should: on MongoDB, where another process might
    still be at work on it, until the claim of the one that has died lapses."""
    sender = shop_user("admin")[1]
    user, token = shop_user("user")
    titles = [f"number {n}" for n in range(200)]
    answered: list[str] = []

    def send(title: str) -> None:
        for _ in range(250):
            try:
                answer = notify(server, sender, key=title, userId=user, title=title)
            except OSError:
                time.sleep(0.1)
                continue
            if answer.status == 201:
                answered.append(title)
                return
            assert answer.status in (409, 503), answer
            time.sleep(0.3)
        raise AssertionError(f"{title} was never answered")

    with ThreadPoolExecutor(8) as lanes:
        sent = [lanes.submit(send, title) for title in titles]
        wait_until(lambda: len(answered) >= 40, what="40 answers")
        server.kill()
        server.start()
        for one in sent:
            one.result(120)

    rows = sync(server, token)["changes"]
    assert sorted(row["notification"]["title"] for row in rows) == sorted(titles)
    assert unread(server, token) == len(titles)


def test_sync_after_a_restart_tells_only_what_has_changed(server: Server) -> None:
    sender = shop_user("admin")[1]
    user, token = shop_user("user")
    ids = [notify(server, sender, userId=user, title=f"number {n}").body["id"] for n in range(5)]
    known = sync(server, token)
    assert known["reset"]
    assert [change["id"] for change in known["changes"]] == ids
    call("PATCH", f"{server.url}/api/notifications/{ids[0]}/read", token)
    call("DELETE", f"{server.url}/api/notifications/{ids[1]}", token)

    server.terminate()
    assert server.wait() == 0
    server.start()

    everybody = notify(server, sender, audience="all", title="to all").body["id"]
    told = sync(server, token, known["token"])
    assert not told["reset"]
    assert [(change["op"], change["id"]) for change in told["changes"]] == [
        ("upsert", ids[0]),
        ("remove", ids[1]),
        ("upsert", everybody),
    ]
    assert told["changes"][0]["notification"]["isRead"] is True
    assert told["unreadCount"] == unread(server, token) == 4
    assert sync(server, token, told["token"])["changes"] == []


def test_a_client_that_says_which_place_it_knows_is_told_the_rest_when_it_connects(
    server: Server, clients: Clients
) -> None:
    sender = shop_user("admin")[1]
    user, token = shop_user("user")
    notify(server, sender, userId=user, title="before")
    place = sync(server, token)["token"]
    late = notify(server, sender, userId=user, title="after").body["id"]
    for namespace in ("/", "/notifications", "/dashboard"):
        client = clients.open(server.url + namespace.rstrip("/"), auth={"token": token, "since": place}).connected()
        told = client.hears("notifications_sync")
        assert [(change["op"], int(change["id"])) for change in told["changes"]] == [("upsert", late)]
        assert told["unreadCount"] == 2
        assert told["hasMore"] is False
        client.settle()
        assert client.heard("newNotification") == [], "nothing else is replayed"


def test_badges_are_right_after_retraction_on_every_device(server: Server, clients: Clients, browser: Browser) -> None:
    sender = shop_user("admin")[1]
    _, token = shop_user("user")
    desk = clients.connect(server.url, token), "notification_count_updated"
    phone = clients.connect(f"{server.url}/notifications", token), "unread_count"
    board = clients.connect(f"{server.url}/dashboard", token), "unread_count"
    stream = Stream.open(browser, server.url, token)
    row = notify(server, sender, audience="all", title="a mistake").body
    for client, event in (desk, phone, board):
        client.shows(event, count=1)
    stream.hears("unread_count", count=1)
    assert call("DELETE", f"{server.url}/api/notifications/broadcasts/{row['id']}", sender).status == 200
    for client, event in (desk, phone, board):
        client.shows(event, count=0)
    wait_until(lambda: stream.counts()[-1] == 0, what="the stream's count")
    assert unread(server, token) == 0


def test_expiry_is_pushed_also_of_rows_from_before_a_restart(server: Server, clients: Clients) -> None:
    sender = shop_user("admin")[1]
    user, token = shop_user("user")
    assert unread(server, token) == 0, "who has not been seen yet has no broadcasts"
    notify(server, sender, userId=user, title="short", expiresAt=soon(4.0))
    notify(server, sender, audience="all", title="short, too", expiresAt=soon(4.0))
    place = sync(server, token)["token"]
    server.kill()
    server.start()
    socket = clients.connect(server.url, token, **QUICK)
    notify(server, sender, userId=user, title="long")
    socket.shows("notification_count_updated", count=1)
    told = sync(server, token, place)
    assert sorted(change["op"] for change in told["changes"]) == ["remove", "remove", "upsert"]


def test_a_role_that_changes_takes_its_broadcasts_along(server: Server, clients: Clients) -> None:
    sender = shop_user("admin")[1]
    user, token = shop_user("technician")
    socket = clients.connect(server.url, token)
    row = notify(server, sender, role="technician", title="to technicians").body
    socket.shows("notification_count_updated", count=1)
    place = sync(server, token)["token"]
    assert call("PATCH", f"{server.url}/api/users/{user}", sender, {"role": "user"}).status == 200
    socket.shows("notification_count_updated", count=0)
    told = sync(server, token, place)
    assert [(change["op"], change["id"]) for change in told["changes"]] == [("remove", row["id"])]


def test_counts_agree_with_a_recount_while_the_server_runs(
    server: Server, database_of: DatabaseOf, tmp_path: Path
) -> None:
    sender = shop_user("admin")[1]
    people = [shop_user("user") for _ in range(4)]
    for _, token in people:
        unread(server, token)
    for n in range(6):
        notify(server, sender, audience="all", title=f"all {n}")
        notify(server, sender, userId=people[n % 4][0], title=f"one {n}")
    call("POST", f"{server.url}/api/notifications/mark-all-read", people[0][1])
    notify(server, sender, audience="all", title="after")
    done = roomcast("recount", cwd=tmp_path, DATABASE_URL=database_of(server.home))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 readers" in done.stdout or "5 " in done.stdout, done.stdout


@pytest.mark.parametrize("database_of", ["mongo"], indirect=True, scope="module")
class TestOnMongo:
    """What only a database of several processes has."""

    @pytest.fixture
    def url(self, database_of: DatabaseOf, tmp_path: Path) -> str:
        return database_of(tmp_path)

    def test_simultaneous_posts_to_two_processes_store_once(
        self, url: str, start_server: Callable[..., Server]
    ) -> None:
        servers = [start_server(DATABASE_URL=url) for _ in range(2)]
        sender = shop_user("admin")[1]
        user, token = shop_user("user")
        for key in ("a", "b", "c"):
            barrier = threading.Barrier(6)

            def send(n: int, key: str = key, barrier: threading.Barrier = barrier) -> Answer:
                barrier.wait(10)
                return notify(servers[n % 2], sender, key=key, userId=user, title=key)

            with ThreadPoolExecutor(6) as lanes:
                answers = list(lanes.map(send, range(6)))
            assert {answer.status for answer in answers} <= {201, 409}, answers
            assert len({answer.body["id"] for answer in answers if answer.status == 201}) == 1
        assert len(sync(servers[0], token)["changes"]) == 3
        assert unread(servers[1], token) == 3

    def test_a_server_recovers_by_itself_from_a_lost_database(
        self, url: str, start_server: Callable[..., Server], clients: Clients
    ) -> None:
        port = int(url.split(":")[2].split("/")[0])
        with Relay(port) as relay:
            name = url.rpartition("/")[2]
            server = start_server(DATABASE_URL=f"{relay.url.replace('http', 'mongodb')}/{name}")
            sender = shop_user("admin")[1]
            user, token = shop_user("user")
            socket = clients.connect(server.url, token)
            assert notify(server, sender, userId=user, title="before").status == 201
            relay.cut()
            wait_until(lambda: call("GET", f"{server.url}/readyz").status == 503, what="not ready", seconds=20)
            refused = notify(server, sender, userId=user, title="meanwhile", key="retry")
            assert (refused.status, refused.body["code"]) == (503, "UNAVAILABLE")
            assert call("GET", f"{server.url}/healthz").status == 200
            socket.settle()
            relay.mend()
            wait_until(lambda: call("GET", f"{server.url}/readyz").status == 200, what="ready again", seconds=20)

            def repeated() -> bool:
                """The refused attempt may have claimed its key after all, as the database came back: a while."""
                answer = notify(server, sender, userId=user, title="meanwhile", key="retry")
                assert answer.status in (201, 409), answer
                return answer.status == 201

            wait_until(repeated, what="the key is free again", seconds=CLAIM_SECONDS + 10)
            titles = [change["notification"]["title"] for change in sync(server, token)["changes"]]
            assert titles == ["before", "meanwhile"]
            socket.shows("notification_count_updated", count=2)
            relay.cut()
            server.terminate()
            assert server.wait(30) == 0, "it stops without its database, too"
