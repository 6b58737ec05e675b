"""No log line holds a token, at the most talkative level, wherever clients put their tokens."""

import socket as network
from pathlib import Path

from tests.e2e.calls import call
from tests.e2e.node import Clients
from tests.e2e.people import HOUR, shop_token, shop_user, sign
from tests.e2e.process import Server

FORGED = "another-secret-that-is-as-long-as-it-has-to-be"


def test_no_token_reaches_the_log(server: Server, clients: Clients) -> None:
    tokens: list[str] = []

    def fresh(role: str = "technician", *, lifetime: float = HOUR) -> str:
        tokens.append(shop_user(role, lifetime=lifetime)[1])
        return tokens[-1]

    for transports in (["polling"], ["websocket"], ["polling", "websocket"]):
        clients.connect(server.url, fresh(), transports=transports).settle()
        clients.open(server.url, query={"token": fresh()}, transports=transports).connected().settle()
        header = {"extraHeaders": {"Authorization": f"Bearer {fresh()}"}}
        clients.open(server.url, transports=transports, **header).connected().settle()
    user, token = shop_user(lifetime=2)
    socket = clients.connect(server.url, token)
    tokens += [token, shop_token(user), sign({"id": 1}, secret=FORGED)]
    socket.ask("refresh_token", {"token": tokens[-1]})
    socket.ask("refresh_token", {"token": tokens[-2], "more": tokens[-2]})
    socket.ask(tokens[-2], {"token": tokens[-2]})
    socket.ask("join_room", tokens[-2])
    for refused in (tokens[-1], fresh(lifetime=-3600)):
        for options in ({"auth": {"token": refused}}, {"query": {"token": refused}}):
            clients.open(server.url, **options).hears("$connect_error")
        assert call("GET", f"{server.url}/api/notifications", refused).status == 401
    call("GET", f"{server.url}/api/notifications?token={fresh()}")
    call("GET", f"{server.url}/socket.io/?EIO=4&transport=polling&token={fresh()}")
    call("GET", f"{server.url}/nowhere?token={fresh()}", tokens[0])
    call("GET", f"{server.url}/api/notifications", None, None, Cookie=f"access_token={fresh()}")
    call("POST", f"{server.url}/api/notifications", fresh("admin"), {"userId": 1, "title": fresh(), "message": fresh()})
    for unreadable in (f"GET /?token={fresh()} HTTP/9.x", f"GET / {fresh()}", f"GET / HTTP/1.1\r\nBad {fresh()}: x"):
        with network.create_connection(("127.0.0.1", server.port), timeout=5) as raw:
            raw.sendall(unreadable.encode() + b"\r\n\r\n")
            assert b" 400 " in raw.recv(100)
    server.stop()

    written = server.log + server.output_file.read_text()
    assert "websocket connected" in written
    assert "websocket connect refused" in written
    assert "http request" in written
    for token in tokens:
        for part in (token, *token.split(".")[1:]):
            assert part not in written
    server.check_log()


def test_development_log_holds_no_token_either(tmp_path: Path, clients: Clients) -> None:
    server = Server(tmp_path, dev=True)
    server.start()
    try:
        token = shop_user()[1]
        clients.open(server.url, query={"token": token}).connected().settle()
        minted = call("POST", f"{server.url}/api/dev/token", None, {"userId": 1, "role": "admin"}).body["token"]
        clients.connect(server.url, minted).settle()
    finally:
        server.stop()
    assert token not in server.log
    assert minted not in server.log
    assert "eyJ" in server.output_file.read_text(), "ready tokens are printed for the developer, not logged"
