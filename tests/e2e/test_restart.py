"""Restarts, in good order and by kill -9: clients come back by themselves and nothing that was stored is lost."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.calls import call
from tests.e2e.node import Clients
from tests.e2e.people import shop_user
from tests.e2e.process import Server, wait_until

QUICK: dict[str, Any] = {"reconnectionDelay": 100, "reconnectionDelayMax": 500}
"""So that tests need not wait; everything else is socket.io-client's default."""


@pytest.fixture
def server(start_server: Callable[..., Server]) -> Server:
    """A server for each test: they end it."""
    return start_server()


def send(server: Server, sender: str, user: int, title: str) -> Any:
    return call("POST", f"{server.url}/api/notifications", sender, {"userId": user, "title": title, "message": "m"})


def inbox(server: Server, token: str) -> Any:
    answer = call("GET", f"{server.url}/api/notifications?limit=100", token)
    assert answer.status == 200
    return answer.body


@pytest.mark.parametrize("transports", [["polling", "websocket"], ["websocket"], ["polling"]], ids="-".join)
def test_clients_come_back_by_themselves_after_sigterm(server: Server, clients: Clients, transports: list[str]) -> None:
    sender = shop_user("admin")[1]
    user, token = shop_user("user")
    socket = clients.connect(server.url, token, transports=transports, **QUICK)
    if len(transports) == 2:
        socket.hears("$upgrade")
    ids = [send(server, sender, user, f"number {n}").body["id"] for n in range(3)]
    call("PATCH", f"{server.url}/api/notifications/{ids[0]}/read", token)
    socket.hears("notification_count_updated", unreadCount=2)
    before = inbox(server, token)

    server.terminate()
    reason = socket.hears("$disconnect")
    if transports == ["polling"]:  # between two polls there is no connection over which it could be told
        assert reason in ("transport close", "transport error")
    else:
        assert reason == "transport close"
        assert 1 <= socket.hears("server_shutdown")["retryAfter"] <= 5
    assert server.wait() == 0
    server.start()

    socket.connected(count=2, seconds=20)
    assert inbox(server, token) == before
    assert before["unreadCount"] == 2
    assert send(server, sender, user, "after").status == 201
    assert socket.hears("newNotification", title="after")
    socket.hears("notification_count_updated", unreadCount=3)
    assert len(socket.heard("newNotification")) == 4, "nothing is replayed on this namespace"


def test_request_that_runs_at_sigterm_is_answered_and_stored(server: Server) -> None:
    sender = shop_user("admin")[1]
    user, token = shop_user("user")
    flood = Flood(server, sender, user)
    wait_until(lambda: len(flood.confirmed) >= 20, what="20 confirmed notifications")
    server.terminate()
    assert server.wait() == 0
    flood.join()
    server.start()
    titles = [row["title"] for row in all_rows(server, token)]
    assert sorted(titles) == sorted(set(titles)), "stored twice"
    assert set(flood.confirmed) <= set(titles), "lost"


def test_every_confirmed_notification_survives_kill_9_exactly_once(server: Server, clients: Clients) -> None:
    sender = shop_user("admin")[1]
    user, token = shop_user("user")
    socket = clients.connect(server.url, token, **QUICK)
    flood = Flood(server, sender, user)
    wait_until(lambda: len(flood.confirmed) >= 50, what="50 confirmed notifications")
    server.kill()
    flood.join()
    assert socket.hears("$disconnect") == "transport close"
    server.start()

    socket.connected(count=2, seconds=20)
    rows = all_rows(server, token)
    titles = [row["title"] for row in rows]
    assert sorted(titles) == sorted(set(titles)), "stored twice"
    assert set(flood.confirmed) <= set(titles), "lost"
    assert inbox(server, token)["unreadCount"] == len(rows)
    assert len({row["id"] for row in rows}) == len(rows)
    later = send(server, sender, user, "after").body["id"]
    assert later > max(row["id"] for row in rows)
    assert socket.hears("notification_count_updated", unreadCount=len(rows) + 1)


class Flood:
    """Sends notifications, four at a time, until the server has gone. `confirmed` are the titles answered with 201."""

    def __init__(self, server: Server, sender: str, user: int) -> None:
        self.confirmed: list[str] = []
        self._threads = [threading.Thread(target=self._run, args=(server, sender, user, n)) for n in range(4)]
        for thread in self._threads:
            thread.start()

    def _run(self, server: Server, sender: str, user: int, lane: int) -> None:
        for n in range(100_000):
            title = f"lane {lane} number {n}"
            try:
                answer = send(server, sender, user, title)
            except OSError:
                return
            if answer.status == 503:
                return
            assert answer.status == 201, answer
            self.confirmed.append(title)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()


def all_rows(server: Server, token: str) -> list[Any]:
    """Return the whole inbox, page by page."""
    rows: list[Any] = []
    while True:
        body = call("GET", f"{server.url}/api/notifications?limit=100&offset={len(rows)}", token).body
        rows += body["notifications"]
        if len(rows) >= body["total"]:
            return rows
