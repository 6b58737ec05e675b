"""A connection lives as long as its token, unless it brings a newer one of the same user."""

from collections.abc import Callable

import pytest

from tests.e2e.node import Clients
from tests.e2e.people import shop_token, shop_user
from tests.e2e.process import Server

LIFETIME = 5.0


@pytest.fixture(scope="module")
def server(start_server: Callable[..., Server]) -> Server:
    return start_server(JWT_LEEWAY=0)


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_client_is_told_and_disconnected_for_good(server: Server, clients: Clients, transport: str) -> None:
    socket = clients.connect(server.url, shop_user(lifetime=LIFETIME)[1], transports=[transport])
    notice = socket.hears("token_expired")
    assert set(notice) == {"message", "code", "timestamp"}
    assert notice["code"] == "TOKEN_EXPIRED"
    assert notice["timestamp"].endswith("Z")
    assert socket.hears("$disconnect") == "io server disconnect"
    assert socket.state()["active"] is False, "the client waits for somebody to log in again"


def test_reconnecting_with_the_expired_token_is_refused(server: Server, clients: Clients) -> None:
    token = shop_user(lifetime=LIFETIME)[1]
    clients.connect(server.url, token).hears("token_expired")
    refused = clients.open(server.url, auth={"token": token}).hears("$connect_error")
    assert refused["data"] == {"code": "TOKEN_EXPIRED"}


def test_refreshed_connection_outlives_its_first_token(server: Server, clients: Clients) -> None:
    user, token = shop_user(lifetime=LIFETIME)
    witness = clients.connect(server.url, shop_user(lifetime=LIFETIME)[1])
    socket = clients.connect(server.url, token)
    answer = socket.ask("refresh_token", {"token": shop_token(user)})
    assert answer["success"] is True
    assert answer["expiresAt"].endswith("Z")
    doomed = clients.connect(server.url, shop_token(user, lifetime=LIFETIME))
    witness.hears("$disconnect")
    doomed.hears("$disconnect")
    socket.settle()
    assert socket.heard("token_expired") == socket.heard("$disconnect") == []


def test_token_of_another_user_does_not_refresh(server: Server, clients: Clients) -> None:
    socket = clients.connect(server.url, shop_user(lifetime=LIFETIME)[1])
    answer = socket.ask("refresh_token", {"token": shop_user("admin")[1]})
    assert (answer["success"], answer["code"]) == (False, "USER_MISMATCH")
    assert socket.ask("refresh_token", {"token": "forged"})["code"] == "AUTH_INVALID"
    assert socket.hears("token_expired")["code"] == "TOKEN_EXPIRED"
