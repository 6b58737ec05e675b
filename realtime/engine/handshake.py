"""The request that opens a connection: what is checked of it, and the little that is kept."""

import base64
import binascii
import hashlib
import itertools
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import HttpVersion11, web
from multidict import CIMultiDict, MultiDict

from realtime.remote import Remote

MAX_HEADERS = 8192
"""Bytes of headers kept until the first CONNECT was accepted."""

KEPT = frozenset({"authorization", "cookie", "host", "origin", "sec-fetch-site", "upgrade", "user-agent"})
"""What may name or place a person; kept as long as the connection, for a CONNECT to another namespace."""

_CREDENTIALS = frozenset({"authorization", "cookie"})
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_EXTENSION = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
_PARAMETERS = {
    "server_no_context_takeover": {""},
    "client_no_context_takeover": {""},
    "server_max_window_bits": {"15"},
    "client_max_window_bits": {"", *map(str, range(8, 16))},
}
"""What an offer may ask for, and with which values."""


class BadHandshake(ValueError):
    """A request whose connection cannot be taken over: no WebSocket handshake (RFC 6455, 4.2.1), or not now."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status

    def answer(self) -> web.Response:
        """Return what says so; with status 426 also what would have been right (RFC 6455, 4.4)."""
        upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
        return web.Response(status=self.status, text=str(self), headers=upgrade if self.status == 426 else None)


class Handshake:
    """What is known of the request that opened an Engine.IO session."""

    __slots__ = ("_headers", "_query", "path", "query_string", "remote")

    method = "GET"

    def __init__(self, request: web.Request, remote: Remote, *, trusted: bool = True) -> None:
        """`trusted` is False for a page of a stranger: what its visitor's browser sends along does not count."""
        self.path = request.path
        self.query_string = request.rel_url.raw_query_string
        self._query: Mapping[str, str] | None = request.query
        self.remote = remote
        headers = tuple(request.headers.items())
        if not trusted:
            headers = tuple((name, value) for name, value in headers if name.lower() not in _CREDENTIALS)
        small = sum(map(len, itertools.chain.from_iterable(headers))) <= MAX_HEADERS
        self._headers = headers if small else _kept(headers)

    def shrink(self) -> None:
        """Forget the headers that nobody will ask for once the client is authenticated."""
        self._headers = _kept(self._headers)
        self._query = None  # it can be read again

    @property
    def headers(self) -> CIMultiDict[str]:
        return CIMultiDict(self._headers)

    @property
    def query(self) -> Mapping[str, str]:
        if self._query is not None:
            return self._query
        return MultiDict(parse_qsl(self.query_string, keep_blank_values=True))

    @property
    def cookies(self) -> Mapping[str, str]:
        sent = "; ".join(value for name, value in self._headers if name.lower() == "cookie")
        try:
            return {name: morsel.value for name, morsel in SimpleCookie(sent).items()} if sent else {}
        except CookieError:
            return {}

    def environ(self) -> dict[str, Any]:
        """Return what python-socketio hands to connect handlers: WSGI's names, and this object."""
        remote = self.remote
        environ: dict[str, Any] = {
            "REQUEST_METHOD": self.method,
            "PATH_INFO": self.path,
            "QUERY_STRING": self.query_string,
            "RAW_URI": f"{self.path}?{self.query_string}",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": remote.address,
            "SERVER_NAME": remote.host,
            "wsgi.url_scheme": remote.scheme or "http",
            "roomcast.handshake": self,
        }
        for name, value in self._headers:
            key = f"HTTP_{name.upper().replace('-', '_')}"
            environ[key] = f"{environ[key]},{value}" if key in environ else value
        return environ


def _kept(headers: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    kept, size = [], 0
    for header in headers:
        if header[0].lower() in KEPT:
            size += len(header[0]) + len(header[1])
            if size <= MAX_HEADERS:
                kept.append(header)
    return tuple(kept)


def is_upgrade(request: web.Request) -> bool:
    return request.headers.get("Upgrade", "").lower() == "websocket"


Accepted = tuple[bytes, bool]
"""The response that upgrades a request, and whether large messages may be compressed."""


def accept(request: web.Request) -> Accepted:
    """Raises BadHandshake."""
    headers = request.headers
    words = [word.strip() for word in headers.get("Connection", "").lower().split(",")]
    modern = request.version >= HttpVersion11
    if not modern or request.method != "GET" or not is_upgrade(request) or "upgrade" not in words:
        raise BadHandshake("not a WebSocket upgrade", 400 if is_upgrade(request) else 426)
    if headers.get("Sec-WebSocket-Version") != "13":
        raise BadHandshake("the WebSocket version must be 13", 426)
    key = headers.get("Sec-WebSocket-Key", "")
    try:
        if len(base64.b64decode(key, validate=True)) != 16:
            raise BadHandshake("the WebSocket key must have 16 bytes")
    except (binascii.Error, ValueError) as error:
        raise BadHandshake("the WebSocket key must have 16 bytes") from error
    accepted = base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest())
    lines = [
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: websocket",
        b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: " + accepted,
    ]
    deflate = _deflate(",".join(headers.getall("Sec-WebSocket-Extensions", ())))
    if deflate is not None:
        lines.append(b"Sec-WebSocket-Extensions: " + deflate.encode())
    return b"\r\n".join(lines) + b"\r\n\r\n", deflate is not None


def _deflate(offers: str) -> str | None:
    """Return the extension that is agreed to, None for none of the offers (RFC 7692, 7.1).

    Frames are compressed once for everybody, so no window but the usual one can be asked of the server.
    """
    for offer in offers.split(","):
        name, *parameters = (word.strip() for word in offer.split(";"))
        asked = dict(_parameter(parameter) for parameter in parameters)
        known = all(value in _PARAMETERS.get(key, ()) for key, value in asked.items())
        if name == "permessage-deflate" and known and len(asked) == len(parameters):
            return f"{_EXTENSION}; server_max_window_bits=15" if "server_max_window_bits" in asked else _EXTENSION
    return None


def _parameter(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    return key.strip(), value.strip().strip('"')


class Answered(web.StreamResponse):
    """What a handler returns when nothing is left to send: the answer was written, or the connection is not HTTP's
    any more."""

    def __init__(self, status: int = 101, *, keep_alive: bool = False) -> None:
        super().__init__(status=status)
        self._goes_on = keep_alive

    @property
    def keep_alive(self) -> bool:
        return self._goes_on

    async def prepare(self, request: web.BaseRequest) -> None:
        return None

    async def write_eof(self, data: Any = b"") -> None:
        return None


def detach(request: web.Request) -> tuple[Any, bytes]:
    """Take a request's connection away from the HTTP server; return its transport and what was read behind it.

    Raises BadHandshake when the client has gone.
    """
    handler = request.protocol
    transport = handler.transport
    if transport is None or transport.is_closing():
        raise BadHandshake("the client has gone")
    already_read, handler._message_tail = handler._message_tail, b""
    handler.transport = None
    handler.connection_lost(None)
    return transport, already_read
