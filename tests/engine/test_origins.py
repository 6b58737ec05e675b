"""Which web pages may talk to the engine, and what their visitors' browsers may say for them."""

import asyncio
import ipaddress
import json
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import make_mocked_request

from realtime.engine.origins import AllowedOrigins, Rule
from tests.engine.protocol import Endpoint, build, socketio_server

STRANGER = "https://stranger.example"
SECRETS = {"Cookie": "session=secret", "Authorization": "Bearer secret"}
ANYBODY_BEFORE = [ipaddress.ip_network("127.0.0.0/8")]
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
ALLOW_ORIGIN, ALLOW_CREDENTIALS = "Access-Control-Allow-Origin", "Access-Control-Allow-Credentials"


def own(endpoint: Endpoint) -> str:
    """Return the origin of the server's own pages."""
    return endpoint.url.removesuffix("/socket.io/")


async def ask(
    endpoint: Endpoint, method: str = "GET", *, headers: Mapping[str, str], **query: str | None
) -> tuple[int, Mapping[str, str], str]:
    url = endpoint.url + endpoint.query(query)
    data = "3" if method == "POST" else None
    async with endpoint.http.request(method, url, headers=headers, data=data) as response:
        return response.status, response.headers, await response.text()


async def status(endpoint: Endpoint, **headers: str) -> int:
    return (await ask(endpoint, headers={name.replace("_", "-"): value for name, value in headers.items()}))[0]


# --- the server's own pages ---


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        ("http://a.example", "a.example", True),
        ("http://a.example:80", "a.example", True),
        ("http://a.example", "a.example:80", True),
        ("https://a.example", "a.example:443", True),
        ("HTTP://A.Example", "a.EXAMPLE", True),
        ("http://a.example:3000", "a.example:3000", True),
        ("http://a.example:3001", "a.example:3000", False),
        ("http://a.example", "a.example:3000", False),
        ("http://[::1]:3000", "[::1]:3000", True),
        ("http://[::1]", "[::1]:80", True),
        ("http://[::2]:3000", "[::1]:3000", False),
        ("http://b.example", "a.example", False),
        ("http://a.example.b.example", "a.example", False),
        ("null", "a.example", False),
        ("file://", "a.example", False),
        ("", "a.example", False),
        ("http://a.example:port", "a.example", False),
    ],
)
async def test_only_the_servers_own_pages_by_default(origin: str, host: str, *, allowed: bool) -> None:
    async with socketio_server(build()) as endpoint:
        code, headers, _ = await ask(endpoint, headers={"Origin": origin, "Host": host})
        assert code == (200 if allowed else 403)
        assert headers.get(ALLOW_ORIGIN) == (origin if allowed else None)
        assert headers.get(ALLOW_CREDENTIALS) == ("true" if allowed else None)
        assert headers.get("Vary") == ("Origin" if allowed else None)


async def test_a_trusted_proxy_says_which_pages_are_the_servers_own() -> None:
    async with socketio_server(build(trusted_proxies=ANYBODY_BEFORE)) as endpoint:
        proxied = {"X_Forwarded_Proto": "https", "X_Forwarded_Host": "a.example", "X_Forwarded_For": "192.0.2.1"}
        assert await status(endpoint, Origin="https://a.example", **proxied) == 200
        assert await status(endpoint, Origin="http://a.example", **proxied) == 403
        assert await status(endpoint, Origin="https://b.example", **proxied) == 403
        assert await status(endpoint, Origin=own(endpoint), **proxied) == 403


async def test_nobody_else_says_which_pages_are_the_servers_own() -> None:
    async with socketio_server(build()) as endpoint:
        forged = {"X_Forwarded_Proto": "https", "X_Forwarded_Host": "stranger.example"}
        assert await status(endpoint, Origin=STRANGER, **forged) == 403
        assert await status(endpoint, Origin=own(endpoint), **forged) == 200


# --- everybody ---


async def environ_of(endpoint: Endpoint, seen: list[dict[str, Any]], transport: str, **headers: str) -> dict[str, Any]:
    """Connect; return what the connect handler was given."""
    if transport == "websocket":
        url = endpoint.url + endpoint.query({"transport": "websocket"})
        async with endpoint.http.ws_connect(url, headers=headers) as socket:
            await socket.receive_str()
            await socket.send_str("40")
            assert (await socket.receive_str()).startswith("40")
    else:
        _, _, text = await ask(endpoint, headers=headers)
        query = endpoint.query({"sid": json.loads(text.removeprefix("0"))["sid"]})
        async with endpoint.http.post(endpoint.url + query, data="40", headers=headers) as response:
            assert response.status == 200
    return seen.pop()


@pytest.mark.parametrize("transport", ["polling", "websocket"])
@pytest.mark.parametrize(
    ("rule", "page", "kept"),
    [
        ("*", STRANGER, False),
        ("*", "null", False),
        ("*", "file://", False),
        ("*", None, True),
        ("*", "own", True),
        (None, None, True),
        (None, "own", True),
        ([STRANGER], STRANGER, True),
        (STRANGER, STRANGER, True),
    ],
)
async def test_whose_credentials_count(rule: Rule, page: str | None, transport: str, *, kept: bool) -> None:
    """Browsers send cookies along for whatever page wants to connect: that must not open a stranger the door."""
    seen: list[dict[str, Any]] = []
    server = build(cors_allowed_origins=rule)
    server.on("connect", lambda sid, environ: seen.append(environ))
    async with socketio_server(server) as endpoint:
        origin = {} if page is None else {"Origin": own(endpoint) if page == "own" else page}
        environ = await environ_of(endpoint, seen, transport, **SECRETS, **origin)
    found = {name: environ.get(f"HTTP_{name.upper()}") for name in SECRETS}
    handshake = environ["roomcast.handshake"]
    assert found == (SECRETS if kept else dict.fromkeys(SECRETS))
    assert handshake.cookies == ({"session": "secret"} if kept else {})
    assert ("Authorization" in handshake.headers) is kept
    assert ("secret" in repr(environ)) is kept


async def test_everybody_may_come_and_nobody_with_credentials() -> None:
    async with socketio_server(build(cors_allowed_origins="*")) as endpoint:
        for origin in (STRANGER, "null", own(endpoint)):
            code, headers, _ = await ask(endpoint, headers={"Origin": origin})
            assert (code, headers[ALLOW_ORIGIN]) == (200, "*")
            assert ALLOW_CREDENTIALS not in headers


# --- those that are named ---


@pytest.mark.parametrize(
    ("rule", "allowed"),
    [
        ([STRANGER], {STRANGER}),
        ({STRANGER, "https://b.example"}, {STRANGER, "https://b.example"}),
        (STRANGER, {STRANGER}),
        ([], set()),
        (lambda origin, request: origin.endswith("b.example"), {"https://b.example"}),
        (lambda origin, request: request.path == "/elsewhere/", set()),
    ],
)
async def test_named_pages(rule: Rule, allowed: set[str]) -> None:
    async with socketio_server(build(cors_allowed_origins=rule)) as endpoint:
        origins = {STRANGER, "https://b.example", "https://c.example", "https://stranger.example.evil", "null"}
        found = {origin: await endpoint.headers(origin=origin) for origin in origins}
        assert found == {origin: (200, origin) if origin in allowed else (403, None) for origin in origins}
        assert await status(endpoint) == 200


def test_without_an_origin_no_headers_are_needed() -> None:
    request = make_mocked_request("GET", "/")
    rules: list[Rule] = [None, "*", [], lambda *_: False]
    for rule in rules:
        assert AllowedOrigins(rule).headers(None, request) == {}
        assert AllowedOrigins(rule).trusts(request)


# --- every request counts ---


async def test_a_known_session_does_not_open_to_a_stranger() -> None:
    server = build()
    async with socketio_server(server) as endpoint:
        client = await endpoint.poller()
        session = server.eio.sockets[client.sid]
        for method in ("GET", "POST"):
            code, headers, text = await ask(endpoint, method, headers={"Origin": STRANGER}, sid=client.sid)
            assert (code, json.loads(text)) == (403, {"code": 4, "message": "Forbidden"})
            assert ALLOW_ORIGIN not in headers
        url = endpoint.url + endpoint.query({"transport": "websocket", "sid": client.sid})
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await endpoint.http.ws_connect(url, headers={"Origin": STRANGER})
        assert refused.value.status == 403
        url = endpoint.url + endpoint.query({"transport": "websocket"})
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await endpoint.http.ws_connect(url, headers={"Origin": STRANGER})
        assert refused.value.status == 403
        assert [*server.eio.sockets.values()] == [session]
        assert not session.ending
        await client.send("40")
        assert (await client.receive(1))[0].startswith("40")


@pytest.mark.parametrize(("rule", "allowed"), [(None, False), ("*", True), ([STRANGER], True), ([], False)])
async def test_preflight(rule: Rule, *, allowed: bool) -> None:
    async with socketio_server(build(cors_allowed_origins=rule)) as endpoint:
        asked = {"Origin": STRANGER, "Access-Control-Request-Headers": "content-type"}
        code, headers, _ = await ask(endpoint, "OPTIONS", headers=asked)
        assert code == (204 if allowed else 403)
        assert headers.get("Access-Control-Allow-Methods") == ("GET, POST, OPTIONS" if allowed else None)
        assert headers.get("Access-Control-Allow-Headers") == ("content-type" if allowed else None)
        assert headers.get(ALLOW_ORIGIN) == ({"*": "*"}.get(str(rule), STRANGER) if allowed else None)


# --- the version of HTTP ---


@pytest.mark.parametrize(("version", "answer"), [("1.0", b"400"), ("1.1", b"101")])
async def test_an_upgrade_needs_a_newer_http(version: str, answer: bytes) -> None:
    server = build()
    async with socketio_server(server) as endpoint:
        host, _, port = own(endpoint).removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        lines = [f"{name}: {value}" for name, value in {"Host": "a.example", **UPGRADE}.items()]
        query = endpoint.query({"transport": "websocket"})
        writer.write("\r\n".join([f"GET /socket.io/{query} HTTP/{version}", *lines, "", ""]).encode())
        assert (await reader.readline()).split()[1] == answer
        assert len(server.eio.sockets) == (version == "1.1")
        writer.transport.abort()
