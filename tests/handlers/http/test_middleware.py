"""What every request passes through: access, errors, CORS, addresses, limits per address, logs, a store that fails."""

import asyncio
import io
import ipaddress
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import jwt
import pytest
import socketio
import structlog
from multidict import CIMultiDict
from socketio.exceptions import ConnectionError as Refused

from handlers.http import middleware
from realtime.clock import timestamp
from realtime.errors import StoreUnavailable
from realtime.store.sqlite import SqliteStore
from tests.conftest import Starter
from tests.handlers.http.answers import ADMIN, MANAGER, MONTH, TECHNICIAN, USER, refused
from tests.support import PATIENCE, SECRET, FakeClock, Running, bearer, token, until

PROXY = (ipaddress.ip_network("127.0.0.0/8"),)
AWAY = {"X-Forwarded-For": "203.0.113.9"}
ELSEWHERE = {"X-Forwarded-For": "198.51.100.7"}
WRONG = {"Authorization": "Bearer wrong"}
APP = "https://app.example"
Half = tuple[asyncio.StreamReader, asyncio.StreamWriter]

OPEN = {
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),  # loopback only
    ("GET", "/socket-example.html"),
    ("GET", "/socket.io/socket.io.js"),
    ("GET", "/static/{path}"),
    *((method, "/socket.io/") for method in ("GET", "POST", "PUT", "PATCH", "DELETE")),  # CONNECT carries the token
    ("GET", "/api/websocket/health"),
    ("DELETE", "/api/auth/cookie"),
    *(("GET", path) for path in ("/dashboard", "/ws", "/ws/notifications")),  # WebSockets ask later
}
HOTEL = "/api/communications"
OPEN_IN_DEVELOPMENT = {
    ("GET", "/"),
    ("GET", "/api/dev/info"),
    ("POST", "/api/dev/token"),
    ("GET", HOTEL),
    ("POST", HOTEL),
    ("GET", f"{HOTEL}/websocket/stats"),
    ("POST", f"{HOTEL}/websocket/test"),
    ("GET", f"{HOTEL}/{{id}}"),
    ("DELETE", f"{HOTEL}/{{id}}"),
    ("PUT", f"{HOTEL}/{{id}}/mark-read"),
    ("PATCH", f"{HOTEL}/{{id}}/mark-read"),
}


def routes(running: Running) -> list[tuple[str, str]]:
    return [(route.method, route.resource.canonical) for route in running.app.router.routes() if route.resource]


@pytest.fixture
def log_lines() -> Iterator[list[dict[str, Any]]]:
    """Everything that is logged during a test."""
    lines: list[dict[str, Any]] = []

    def keep(_logger: Any, _method: str, event: Any) -> Any:
        lines.append(dict(event))
        raise structlog.DropEvent

    structlog.configure(processors=[keep], cache_logger_on_first_use=False)
    yield lines
    structlog.reset_defaults()


@pytest.mark.parametrize("dev", [False, True])
async def test_every_route_but_the_listed_ones_wants_a_token(starter: Starter, dev: bool) -> None:
    running = await starter(dev=dev)
    found = routes(running)
    assert len(found) == len(set(found)) > 60
    expected_open = OPEN | (OPEN_IN_DEVELOPMENT if dev else set())
    assert expected_open <= set(found)
    expected_open |= {(method, f"{path}/") for method, path in expected_open if path.startswith("/api/")}
    for method, path in found:
        if method == "HEAD":  # has no body; the same handler and access as GET
            assert ("GET", path) in found
            continue
        url = re.sub(r"{\w+}", "1", path)
        if (method, path) not in expected_open:
            refused(await running.call(method, url), 401, "AUTH_REQUIRED", "Authentication required")
            refused(await running.call(method, url, by=WRONG), 401, "AUTH_INVALID", "Invalid or expired token")
        else:
            assert (await running.call(method, url))[0] not in (401, 500), (method, path)


async def test_paths_are_found_with_a_slash_at_the_end_and_by_head(running: Running) -> None:
    found = set(routes(running))
    for method, path in found:
        if path.startswith(("/api/", "/notifications")):
            assert (method, path.rstrip("/")) in found
            assert (method, path.rstrip("/") + "/") in found
        if method == "GET":
            assert ("HEAD", path) in found
    for path in ("/api/notifications", "/notifications/count", "/api/work-orders/7", "/api/tickets", "/api/users/1"):
        plain = await running.call("GET", path, by=ADMIN)
        assert await running.call("GET", f"{path}/", by=ADMIN) == plain
        for spelling in (path, f"{path}/"):
            async with running.http.head(running.url + spelling, headers=ADMIN) as response:
                assert (response.status, await response.read()) == (plain[0], b"")
                assert response.content_type == "application/json"
            async with running.http.head(running.url + spelling) as response:
                assert response.status == 401
    note = {"userId": 5, "title": "t", "message": "m"}
    status, row = await running.call("POST", "/notifications/", by=ADMIN, json=note)
    assert status == 201
    assert (await running.call("PATCH", f"/api/notifications/{row['id']}/read/", by=USER))[0] == 200
    assert (await running.call("PUT", "/api/tickets/7/", by=ADMIN, json={}))[0] == 201
    for path in ("/healthz", "/readyz", "/socket-example.html", "/socket.io/socket.io.js", "/api/websocket/health"):
        async with running.http.head(running.url + path) as response:
            assert (response.status, await response.read()) == (200, b"")


async def test_body_of_null_is_an_empty_one(running: Running) -> None:
    for method, path, status in [
        ("POST", "/api/tickets", 201),
        ("PUT", "/api/work-orders/7", 201),
        ("PUT", "/api/notifications/read-all", 200),
        ("POST", "/api/socket-test/broadcast", 200),
        ("PATCH", "/api/work-orders/7", 400),
        ("POST", "/api/notifications", 400),
        ("POST", "/api/publish", 400),
    ]:
        null = await running.call(method, path, by=ADMIN, data=b" null ")
        assert null[0] == status, (path, null)
        if status == 400:
            assert null == await running.call(method, path, by=ADMIN, data=b"{}")
    for data in (b"nul", b"[null]", b'"null"', b"0", b"false"):
        refused(await running.call("POST", "/api/tickets", by=ADMIN, data=data), 400, "INVALID_PAYLOAD")


async def test_no_route_fails_on_an_odd_request(running: Running) -> None:
    """Whatever the body or the id, an administrator gets an answer and never a 5xx."""
    for method, path in routes(running):
        if method == "HEAD" or path in ("/socket.io/", "/metrics") or path.rstrip("/").endswith("/events"):
            continue  # an event stream is an answer without an end
        for id in ("0", "-1", "%00", "%F0%9F%98%80", "9" * 30, "a%2Fb"):
            url = re.sub(r"{\w+}", id, path)
            for data in (None, b"{}", b"[1]", b'{"id": {}, "userId": [], "status": 7, "event": {}}'):
                status, body = await running.call(method, url, by=ADMIN, data=data)
                assert status < 500, (method, url, data, body)
            if "{" not in path:
                break


async def test_bad_token_is_told_the_same_whatever_is_wrong(running: Running) -> None:
    claims = {"id": 5, "exp": 4_000_000_000}
    bad = {
        "not a token": "nonsense",
        "wrong key": jwt.encode(claims, "another key that is long enough, really: 0123456789"),
        "no signature": jwt.encode(claims, "", algorithm="none"),
        "other algorithm": jwt.encode(claims, SECRET + SECRET, algorithm="HS512"),
        "no expiry": jwt.encode({"id": 5}, SECRET),
        "no user": jwt.encode({"exp": claims["exp"]}, SECRET),
        "object as id": jwt.encode({"id": {"a": 1}, "exp": claims["exp"]}, SECRET),
        "eternal": jwt.encode({"id": 5, "exp": 9_000_000_000_000}, SECRET),
        "not yet": jwt.encode({**claims, "nbf": 3_999_999_999}, SECRET),
        "too long": "x" * 7000,
        "empty": "",
    }
    for name, value in bad.items():
        answer = await running.call("GET", "/api/notifications", by={"Authorization": f"Bearer {value}"})
        assert refused(answer, 401, "AUTH_INVALID", "Invalid or expired token"), name
    expired = bearer(5, lifetime=-60)
    refused(
        await running.call("GET", "/api/notifications", by=expired), 401, "TOKEN_EXPIRED", "Invalid or expired token"
    )


async def test_token_is_taken_from_the_header_only(running: Running) -> None:
    path = "/api/notifications/count"
    for by in ({"Authorization": f"bearer {token(5)}"}, {"Authorization": token(5)}, USER):
        assert (await running.call("GET", path, by=by))[0] == 200
    for by in ({}, {"Authorization": f"Basic {token(5)}"}, {"Authorization": ""}, {"X-Access-Token": token(5)}):
        refused(await running.call("GET", path, by=by), 401, "AUTH_REQUIRED", "Authentication required")
    refused(await running.call("GET", f"{path}?token={token(5)}"), 401, "AUTH_REQUIRED")
    async with running.http.get(running.url + path) as response:
        assert response.headers["WWW-Authenticate"] == "Bearer"


async def test_every_kind_of_refusal_has_the_same_body(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("the password is hunter2")

    api = "/api/notifications"
    monkeypatch.setattr(running.parts.store, "counts", broken)
    refused(await running.call("POST", api, by=ADMIN, json={}), 400, "INVALID_PAYLOAD")
    refused(await running.call("GET", api), 401, "AUTH_REQUIRED")
    refused(await running.call("GET", "/api/websocket/stats", by=USER), 403, "FORBIDDEN")
    for path in ("/nothing", "/api/nothing", f"{api}/nothing", "/api/work-orders/404", "/api/work-orders/404/"):
        refused(await running.call("GET", path, by=ADMIN), 404, "NOT_FOUND")
    refused(await running.call("PATCH", "/healthz", by=ADMIN), 405, "INVALID_PAYLOAD")
    refused(await running.call("OPTIONS", api, by=ADMIN), 405, "INVALID_PAYLOAD")
    refused(
        await running.call("POST", api, by=ADMIN, data=io.BytesIO(b" " * (1 << 20) + b"{}")), 413, "INVALID_PAYLOAD"
    )
    hidden = refused(await running.call("GET", f"{api}/count", by=USER), 500, "INTERNAL", "Internal server error")
    assert "hunter2" not in str(hidden)
    async with running.http.delete(running.url + "/api/presence", headers=ADMIN) as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET,HEAD")
        assert response.content_type == "application/json"


async def test_every_answer_carries_the_safe_headers(running: Running) -> None:
    for path, by in (("/healthz", {}), ("/nothing", {}), ("/api/notifications", {}), ("/api/notifications", USER)):
        async with running.http.get(running.url + path, headers=by) as response:
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Referrer-Policy"] == "no-referrer"
            assert response.headers["Vary"].split(", ")[-1] == "Origin"
            assert "Python" not in response.headers.get("Server", "")


# CORS


def cors_headers(headers: Any) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower().startswith("access-control-")}


async def test_allowed_origin_is_echoed_with_credentials(starter: Starter) -> None:
    running = await starter(allowed_origin=(APP, "http://intranet:8080"))
    for origin in (APP, "http://intranet:8080", running.url, "https://APP.example"):
        for path, by, status in (
            ("/api/notifications", USER, 200),
            ("/api/notifications", {}, 401),
            ("/none", {}, 404),
        ):
            async with running.http.get(running.url + path, headers={**by, "Origin": origin}) as response:
                assert response.status == status
                assert cors_headers(response.headers) == {
                    "Access-Control-Allow-Origin": origin,
                    "Access-Control-Allow-Credentials": "true",
                    "Access-Control-Expose-Headers": "ETag, Retry-After, Idempotent-Replayed",
                }
                assert response.headers["Vary"].split(", ")[-1] == "Origin"


STRANGERS = (
    "https://evil.example",
    "http://app.example",
    "https://app.example:444",
    "https://app.example.evil.example",
    "https://sub.app.example",
    "https://evilapp.example",
    "null",
    "*",
    "file://",
    "http://localhost:3000",
    "http://[",
)


async def test_other_origins_get_no_cors_headers(starter: Starter) -> None:
    running = await starter(allowed_origin=(APP,))
    for origin in STRANGERS:
        async with running.http.get(f"{running.url}/api/notifications", headers={**USER, "Origin": origin}) as response:
            assert response.status == 200  # a Bearer token speaks for itself; the page may not read the answer
            assert cors_headers(response.headers) == {}
            assert response.headers["Vary"].split(", ")[-1] == "Origin"


async def test_preflight_is_answered_for_allowed_origins_only(starter: Starter) -> None:
    running = await starter(allowed_origin=(APP,))
    ask = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "authorization"}
    for path in ("/api/notifications/1/read", "/api/publish", "/socket.io/"):
        async with running.http.options(running.url + path, headers={**ask, "Origin": APP}) as response:
            assert response.status == 204
            headers = cors_headers(response.headers)
            assert headers["Access-Control-Allow-Origin"] == APP
            assert headers["Access-Control-Allow-Credentials"] == "true"
            assert {"PATCH", "PUT", "DELETE"} <= set(headers["Access-Control-Allow-Methods"].split(", "))
            assert headers["Access-Control-Allow-Headers"] == "authorization"
            assert "*" not in str(headers)
        for origin in STRANGERS:
            async with running.http.options(running.url + path, headers={**ask, "Origin": origin}) as response:
                assert response.status == 403
                assert cors_headers(response.headers) == {}


async def test_preflight_allows_the_headers_that_a_page_asks_for(starter: Starter) -> None:
    running = await starter(allowed_origin=(APP,))
    ask = {"Origin": APP, "Access-Control-Request-Method": "POST"}

    async def allowed(**more: str) -> str:
        async with running.http.options(f"{running.url}/api/notifications", headers={**ask, **more}) as response:
            assert response.status == 204
            return response.headers["Access-Control-Allow-Headers"]

    usual = await allowed()
    assert {"Authorization", "Idempotency-Key"} <= set(usual.split(", "))
    for names in ("authorization", "authorization,content-type,x-request-id", "X-App-Version, traceparent"):
        assert await allowed(**{"Access-Control-Request-Headers": names}) == names
    for names in ("", "*", ",", "a,,b", "a b", "a: b", "x" * 65, ", ".join(["x"] * 33), "authorization,"):
        assert await allowed(**{"Access-Control-Request-Headers": names}) == usual
    stranger = {**ask, "Origin": STRANGERS[0], "Access-Control-Request-Headers": "authorization"}
    async with running.http.options(f"{running.url}/api/notifications", headers=stranger) as response:
        assert (response.status, cors_headers(response.headers)) == (403, {})


async def test_development_allows_pages_of_this_machine(starter: Starter) -> None:
    running = await starter(dev=True)
    for origin, allowed in [
        ("http://localhost:5173", True),
        ("http://127.0.0.1:8080", True),
        ("http://localhost.evil.example", False),
        ("https://evil.example", False),
    ]:
        async with running.http.get(f"{running.url}/healthz", headers={"Origin": origin}) as response:
            assert response.headers.get("Access-Control-Allow-Origin") == (origin if allowed else None)


async def test_proxy_says_what_the_own_origin_is(starter: Starter) -> None:
    running = await starter(trusted_proxies=PROXY)
    behind = {"X-Forwarded-Host": "chat.example", "X-Forwarded-Proto": "https"}
    for origin, allowed in [("https://chat.example", True), ("http://chat.example", False), (running.url, False)]:
        async with running.http.get(f"{running.url}/healthz", headers={**behind, "Origin": origin}) as response:
            assert (response.headers.get("Access-Control-Allow-Origin") == origin) is allowed


async def test_pages_of_other_sites_cannot_open_a_socket(starter: Starter) -> None:
    running = await starter(allowed_origin=(APP,))
    poll = f"{running.url}/socket.io/?EIO=4&transport=polling"
    for origin in STRANGERS:
        async with running.http.get(poll, headers={"Origin": origin}) as response:
            refused((response.status, await response.json()), 403, "FORBIDDEN", "Origin not allowed")
        with pytest.raises(Refused):
            await running.connect(5, headers={"Origin": origin})
    client = await running.connect(5, headers={"Origin": APP})
    assert (await client.ask("register"))["success"] is True
    assert len(running.parts.channel) == 1


# addresses


async def test_forwarded_addresses_count_only_from_trusted_proxies(
    starter: Starter, log_lines: list[dict[str, Any]]
) -> None:
    running = await starter(trusted_proxies=(*PROXY, ipaddress.ip_network("10.0.0.0/8")))
    cases: list[tuple[list[str], str]] = [
        ([], "127.0.0.1"),
        (["203.0.113.9"], "203.0.113.9"),
        (["2001:db8::7"], "2001:db8::7"),
        (["203.0.113.9, 10.0.0.1"], "203.0.113.9"),
        (["127.0.0.1, 203.0.113.9"], "203.0.113.9"),  # the client wrote the first one itself
        (["1.1.1.1, 203.0.113.9, 10.1.1.1"], "203.0.113.9"),
        (["127.0.0.1", "203.0.113.9"], "203.0.113.9"),  # the proxy added a line of its own
        (["10.0.0.5, 10.0.0.1"], "10.0.0.5"),
        (["unknown"], "127.0.0.1"),
        ([" , "], "127.0.0.1"),
    ]
    for lines, address in cases:
        headers = CIMultiDict([("X-Forwarded-For", line) for line in lines])
        async with running.http.get(f"{running.url}/api/websocket/health", headers=headers):
            pass
        assert log_lines[-1]["address"] == address, lines


async def test_forwarded_addresses_of_strangers_are_ignored(starter: Starter, log_lines: list[dict[str, Any]]) -> None:
    running = await starter(trusted_proxies=(ipaddress.ip_network("10.0.0.0/8"),), failed_logins_per_minute_per_ip=1)
    for _ in range(3):
        refused(await running.call("GET", "/api/notifications", by={**AWAY, **WRONG}), 401, "AUTH_INVALID")
    assert {line["address"] for line in log_lines if line["event"] == "http request"} == {"127.0.0.1"}


# limits per address


async def refused_connect(running: Running, **more: Any) -> Any:
    """Connect to ``/`` and return the data of the connect_error."""
    answers: list[Any] = []
    sio = socketio.AsyncClient(reconnection=False)
    sio.on("connect_error", answers.append)
    with pytest.raises(Refused):
        await sio.connect(running.url, transports=["websocket"], wait_timeout=5, **more)
    await sio.disconnect()
    return answers[0]


async def test_guessing_tokens_is_limited_per_address(starter: Starter, clock: FakeClock) -> None:
    running = await starter(trusted_proxies=PROXY, failed_logins_per_minute_per_ip=3, app={"clock": clock})
    path = f"{running.url}/api/notifications"
    for _ in range(5):  # no token is no guess
        refused(await running.call("GET", "/api/notifications", by=AWAY), 401, "AUTH_REQUIRED")
    for by in (WRONG, bearer(5, lifetime=-60), {"Authorization": "Bearer other"}):
        assert (await running.call("GET", "/api/notifications", by={**AWAY, **by}))[0] == 401
    for by in (WRONG, USER):  # even the right token has to wait: the guesser learns nothing
        async with running.http.get(path, headers={**AWAY, **by}) as response:
            body = refused((response.status, await response.json()), 429, "RATE_LIMIT_EXCEEDED")
            assert (body["retryAfter"], response.headers["Retry-After"]) == (20.0, "20")
    assert (await running.call("GET", "/api/notifications", by={**ELSEWHERE, **USER}))[0] == 200
    assert (await running.call("GET", "/api/notifications", by=USER))[0] == 200
    spoofed = {"X-Forwarded-For": "198.51.100.7, 203.0.113.9", **USER}
    assert (await running.call("GET", "/api/notifications", by=spoofed))[0] == 429
    clock.advance(20)
    assert (await running.call("GET", "/api/notifications", by={**AWAY, **USER}))[0] == 200


async def test_guessing_is_counted_over_http_and_sockets_together(starter: Starter, clock: FakeClock) -> None:
    running = await starter(trusted_proxies=PROXY, failed_logins_per_minute_per_ip=3, app={"clock": clock})
    for auth in ({"token": "wrong"}, {"token": token(5), "userId": 6}):
        await refused_connect(running, auth=auth, headers=AWAY)
    assert (await running.call("GET", "/api/notifications", by={**AWAY, **WRONG}))[0] == 401
    refusal = await refused_connect(running, auth={"token": token(5)}, headers=AWAY)
    assert refusal["data"] == {"code": "RATE_LIMIT_EXCEEDED", "retryAfter": 20.0}
    refused(await running.call("GET", "/api/notifications", by={**AWAY, **USER}), 429, "RATE_LIMIT_EXCEEDED")
    await running.connect(5, headers=ELSEWHERE)


async def test_loopback_is_never_limited(starter: Starter) -> None:
    running = await starter(failed_logins_per_minute_per_ip=1, handshakes_per_minute_per_ip=1, connections_per_ip=1)
    for _ in range(4):
        assert (await running.call("GET", "/api/notifications", by=WRONG))[0] == 401
    for _ in range(3):
        await running.connect(5)


async def test_handshakes_are_limited_per_address(starter: Starter, clock: FakeClock) -> None:
    running = await starter(trusted_proxies=PROXY, handshakes_per_minute_per_ip=11, app={"clock": clock})
    path = f"{running.url}/socket.io/?EIO=4&transport=polling"
    for _ in range(11):
        async with running.http.get(path, headers=AWAY) as response:
            assert response.status == 200
    async with running.http.get(path, headers=AWAY) as response:
        body = refused((response.status, await response.json()), 429, "RATE_LIMIT_EXCEEDED")
        assert (body["retryAfter"], response.headers["Retry-After"]) == (5.455, "6")  # never earlier than allowed
    with pytest.raises(Refused):
        await running.connect(5, headers=AWAY)
    client = await running.connect(5, headers=ELSEWHERE, transports=["polling"])
    for _ in range(5):  # requests within a session are no handshakes
        await client.settle()
    clock.advance(5.5)
    async with running.http.get(path, headers=AWAY) as response:
        assert response.status == 200


async def test_connections_are_limited_per_address(starter: Starter) -> None:
    running = await starter(trusted_proxies=PROXY, connections_per_ip=2)
    first = await running.connect(5, headers=AWAY)
    await running.connect(6, headers=AWAY)
    refusal = await refused_connect(running, auth={"token": token(7)}, headers=AWAY)
    assert refusal["data"] == {"code": "CONNECTION_LIMIT"}
    await running.connect(7, headers=ELSEWHERE)
    await first.close()
    await until(lambda: len(running.parts.channel) == 2)
    await running.connect(7, headers=AWAY)


# logs


async def test_logs_hold_no_query_and_no_token(
    running: Running, log_lines: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("broken")

    secret, wrong = token(5), "a-wrong-token-nobody-should-see"
    await running.call("GET", f"/api/notifications?token={secret}&limit=3", by=bearer(5))
    await running.call("GET", f"/nothing?token={secret}")
    await running.call("GET", "/api/notifications", by={"Authorization": f"Bearer {wrong}"})
    await running.call("GET", "/api/notifications", by={"Cookie": f"token={secret}"})
    await running.call("POST", "/api/notifications", by=ADMIN, json={"userId": 5, "title": "t", "message": "private"})
    client = await running.connect(query=f"?token={secret}")
    await client.ask("refresh_token", {"token": wrong})
    with pytest.raises(Refused):
        await running.connect(auth={"token": wrong})
    monkeypatch.setattr(running.parts.store, "counts", broken)
    await running.call("GET", f"/api/notifications?token={secret}", by={"Authorization": f"Bearer {secret}"})
    requests = [line for line in log_lines if line["event"] == "http request"]
    assert [line["path"] for line in requests][:4] == [
        "/api/notifications",
        "/nothing",
        "/api/notifications",
        "/api/notifications",
    ]
    assert [line["status"] for line in requests][:4] == [200, 404, 401, 200]
    assert set(requests[0]) == {"event", "method", "path", "status", "milliseconds", "address"}
    text = repr(log_lines)
    for hidden in (secret, wrong, "?", "limit=3", "private", secret.rpartition(".")[2]):
        assert hidden not in text, hidden


# bodies that take their time


@asynccontextmanager
async def half_sent(running: Running, method: str, path: str, by: dict[str, str], body: bytes) -> AsyncIterator[Half]:
    """A request whose handling has begun, but for the last byte of its body."""
    reader, writer = await asyncio.open_connection(running.server.host, running.server.port)
    headers = {"Host": "localhost", "Content-Length": str(len(body)), "Expect": "100-continue", **by}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    writer.write("\r\n".join(lines).encode() + body[:-1])
    async with asyncio.timeout(PATIENCE):
        assert b" 100 " in await reader.readuntil(b"\r\n\r\n")  # said when the headers were understood
    yield reader, writer
    writer.close()
    await writer.wait_closed()


async def answered(reader: asyncio.StreamReader) -> tuple[int, Any]:
    async with asyncio.timeout(PATIENCE):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"content-length: (\d+)", head.lower())
        assert length is not None
        return int(head.split()[1]), json.loads(await reader.readexactly(int(length[1])))


@pytest.mark.parametrize("by", [ADMIN, WRONG, {}])
async def test_body_that_drips_ends(running: Running, monkeypatch: pytest.MonkeyPatch, by: dict[str, str]) -> None:
    monkeypatch.setattr(middleware, "BODY_SECONDS", 0.05)
    async with half_sent(running, "POST", "/api/tickets", by, b'{"description": "x"}') as (reader, _):
        refused(await answered(reader), 408, "INVALID_PAYLOAD")
    assert (await running.call("GET", "/api/tickets", by=ADMIN))[1]["data"] == []


async def test_right_that_ends_while_the_body_comes_is_gone(running: Running) -> None:
    body = b'{"title": "t", "message": "m"}'
    async with half_sent(running, "POST", "/api/announcements", MANAGER, body) as (reader, writer):
        assert (await running.call("PATCH", "/api/users/2", by=ADMIN, json={"role": "user"}))[0] == 200
        writer.write(body[-1:])
        refused(await answered(reader), 403, "FORBIDDEN")


# a store that fails


async def test_store_that_cannot_answer_is_unavailable(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async def down(*_: Any, **__: Any) -> None:
        raise StoreUnavailable

    client = await running.connect(5)
    await running.call("GET", "/api/notifications", by=ADMIN)
    for method in ("add", "inbox", "set_read", "change_entity", "entities", "create_entity", "user", "begin_request"):
        monkeypatch.setattr(running.parts.store, method, down)
    monkeypatch.setattr(running.parts.store, "check", down)
    note = {"userId": 5, "title": "t", "message": "m"}
    for method, path, body in [
        ("POST", "/api/notifications", note),
        ("GET", "/api/notifications", None),
        ("PATCH", "/api/notifications/1/read", None),
        ("POST", "/api/announcements", {"title": "t", "message": "m"}),
        ("PUT", "/api/work-orders/7", {}),
        ("POST", "/api/tickets", {}),
        ("GET", "/api/bookings", None),
        ("GET", "/api/users/404", None),
    ]:
        refused(await running.call(method, path, by=ADMIN, json=body), 503, "UNAVAILABLE")
    keyed = {**ADMIN, "Idempotency-Key": "k"}
    refused(await running.call("POST", "/api/notifications", by=keyed, json=note), 503, "UNAVAILABLE")
    status, answer = await running.call("GET", "/readyz")
    assert (status, answer["ready"]) == (503, False)
    assert answer["reason"]
    assert (await running.call("GET", "/healthz"))[0] == 200
    await client.settle()
    assert not {"newNotification", "notification_count_updated", "work_order_updated"} & set(client.names())


async def test_change_that_is_stored_is_a_success_whoever_could_be_told(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[str] = []

    def down(name: str) -> Any:
        async def fail(*_: Any, **__: Any) -> None:
            failures.append(name)
            raise StoreUnavailable

        return fail

    async def rows(path: str) -> list[Any]:
        found: list[Any] = (await running.call("GET", path, by=ADMIN))[1]["data"]
        return found

    await running.connect(5)
    await running.call("PUT", "/api/work-orders/7", by=ADMIN, json={"customer_id": 5})
    await running.call("PUT", "/api/bookings/7", by=ADMIN, json={"userId": 5})
    calls: list[tuple[str, str, Any, int]] = [
        ("PATCH", "/api/work-orders/7", {"customer_id": 77, "status": "completed"}, 200),
        ("PUT", "/api/work-orders/8", {"technician_id": 3}, 201),
        ("POST", "/api/tickets", {"technician_id": 78}, 201),
        ("PUT", "/api/bookings/8", {"userId": "79"}, 201),
        ("POST", "/api/bookings/7/reviews", {"rating": 5}, 201),
        ("DELETE", "/api/work-orders/8", None, 200),
    ]
    notes: list[dict[str, Any]] = [{"userId": 80}, {"userIds": [81, 82]}, {"room": "work_order_7"}]
    with monkeypatch.context() as broken:
        for name in ("open_membership", "drop_membership", "close_membership", "readers", "user", "counts"):
            broken.setattr(running.parts.store, name, down(name))
        for target in notes:
            body = {"title": "t", "message": "m", **target}
            assert (await running.call("POST", "/api/notifications", by=ADMIN, json=body))[0] == 201, target
        broken.setattr(running.parts.store, "add", down("add"))
        for method, path, row, status in calls:
            assert (await running.call(method, path, by=ADMIN, json=row))[0] == status, (method, path)
    assert {"open_membership", "readers", "user", "add"} <= set(failures)
    assert [(row["id"], row["status"], row["customer_id"]) for row in await rows("/api/work-orders")] == [
        (7, "completed", 77)
    ]
    assert [len(await rows(path)) for path in ("/api/tickets", "/api/bookings", "/api/bookings/7/reviews")] == [1, 2, 1]
    for id in (80, 81, 82):
        assert (await running.call("GET", "/api/notifications", by=bearer(id)))[1]["total"] == 1


async def test_full_disk_refuses_writes_stores_nothing_and_recovers(running: Running) -> None:
    store = running.parts.store
    assert isinstance(store, SqliteStore)
    client = await running.connect(5)
    for who in (ADMIN, USER, TECHNICIAN):
        await running.call("GET", "/api/notifications", by=who)
    big = {"userId": 5, "title": "t", "message": "m" * 5000, "metadata": {"x": "y" * 8000}}
    await store.limit_pages(1)
    assert await running.call("GET", "/readyz") == (
        503,
        {"ready": False, "reason": "The database is not available, try again later"},
    )
    for _ in range(3):
        refused(await running.call("POST", "/api/notifications", by=ADMIN, json=big), 503, "UNAVAILABLE")
        refused(await running.call("PUT", "/api/tickets/7", by=ADMIN, json={"x": "y" * 30_000}), 503, "UNAVAILABLE")
    assert (await running.call("GET", "/api/notifications", by=USER))[1]["total"] == 0  # reading goes on
    stranger = await running.connect(66)  # and so does connecting
    await stranger.settle()
    assert "newNotification" not in client.names()
    await store.limit_pages(None)
    assert await running.call("GET", "/readyz") == (200, {"ready": True})
    status, row = await running.call("POST", "/api/notifications", by=ADMIN, json=big)
    assert status == 201
    assert (await client.hears("newNotification"))["id"] == row["id"]
    assert (await running.call("GET", "/api/notifications", by=USER))[1]["total"] == 1
    refused(await running.call("GET", "/api/tickets/7", by=ADMIN), 404, "NOT_FOUND")


async def test_failed_request_with_a_key_can_be_repeated_after_a_failure(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def down(*_: Any, **__: Any) -> None:
        raise StoreUnavailable

    by = {**ADMIN, "Idempotency-Key": "k"}
    note = {"userId": 5, "title": "t", "message": "m"}
    with monkeypatch.context() as broken:
        broken.setattr(running.parts.store, "add", down)
        refused(await running.call("POST", "/api/notifications", by=by, json=note), 503, "UNAVAILABLE")
    first = await running.call("POST", "/api/notifications", by=by, json=note)
    assert first[0] == 201
    assert await running.call("POST", "/api/notifications", by=by, json=note) == first


async def test_times_of_tokens_follow_the_servers_clock(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock}, jwt_leeway=10.0)
    short = bearer(5, lifetime=60, now=clock.now)
    assert (await running.call("GET", "/api/notifications", by=short))[0] == 200
    clock.advance(69)
    assert (await running.call("GET", "/api/notifications", by=short))[0] == 200
    clock.advance(2)
    refused(await running.call("GET", "/api/notifications", by=short), 401, "TOKEN_EXPIRED", "Invalid or expired token")
    clock.advance(MONTH)
    refused(await running.call("GET", "/api/notifications", by=USER), 401, "TOKEN_EXPIRED")


async def test_what_a_sweep_removes_is_logged_in_one_line_and_counted_again(
    starter: Starter, clock: FakeClock, log_lines: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("realtime.app.SWEEP_SECONDS", 0.02)
    running = await starter(app={"clock": clock, "monotonic": clock}, retention_days=1)
    client = await running.connect(5, lifetime=MONTH)
    note = {"userId": 5, "title": "t", "message": "m"}
    for more in ({}, {"expiresAt": timestamp(clock.now + 60)}):
        assert (await running.call("POST", "/api/notifications", by=ADMIN, json={**note, **more}))[0] == 201
    assert (await client.hears("notification_count_updated", 2))["count"] == 2
    clock.advance(2 * 86400.0)
    await until(lambda: any(line["event"] == "database swept" for line in log_lines))
    await until(lambda: client.payloads("notification_count_updated")[-1]["count"] == 0)
    swept = [line for line in log_lines if line["event"] == "database swept"]
    removed = [(kind, count) for line in swept for kind, count in line.items() if kind != "event"]
    assert {("aged", 1), ("expired", 1)} <= set(removed)
