"""What every request passes through, outermost first: address, log, errors, CORS and headers, authentication."""

import functools
import hmac
import math
import re
import time
from collections.abc import Mapping, Sequence

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from handlers.http.base import Access, Handler, member, remember_caller, reply
from handlers.http.origin import OriginPolicy, is_local_host
from handlers.http.remote import AddressLimits, remember_remote, remote, remote_address
from realtime.auth import RecentTokens, find_credential
from realtime.engine.eager import within
from realtime.engine.handshake import Answered
from realtime.errors import Code, RealtimeError
from realtime.metrics import Metrics
from realtime.services.directory import Directory
from realtime.settings import Network
from rooms.policy import PUBLISHER_ROLES

log = structlog.get_logger(__name__)

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
SOCKET_PATH = "/socket.io/"
BODY_SECONDS = 15.0
ANSWER_SECONDS = 10.0

HOTEL_ROLES = PUBLISHER_ROLES | {"staff"}
_COMMUNICATIONS = (Access.COMMUNICATIONS, Access.COMMUNICATIONS_READER)

CORS_METHODS = "GET, POST, PUT, PATCH, DELETE, OPTIONS"
CORS_HEADERS = "Authorization, Content-Type, Idempotency-Key, If-None-Match, X-Requested-With"
_HEADER_NAMES = re.compile(r"[A-Za-z0-9-]{1,64}(?: ?, ?[A-Za-z0-9-]{1,64}){0,31}\Z")
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def trace(*, trusted: Sequence[Network], metrics: Metrics) -> Middleware:
    """Find the client's address; afterwards log and count the request. Query strings carry tokens: never logged."""

    series = functools.lru_cache(maxsize=1024)(metrics.http_seconds.labels)  # finding one takes a lock

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        remember_remote(request, trusted)
        started = time.monotonic()
        status = 499
        try:
            response = await handler(request)
            status = response.status
            return response
        finally:
            spent = time.monotonic() - started
            route = request.match_info.route.resource
            name = route.canonical if route is not None else "unmatched"
            if status != 101:
                series(request.method, name, str(status)).observe(spent)
            write = log.debug if request.path in (SOCKET_PATH, "/healthz", "/readyz", "/metrics") else log.info
            write(
                "http request",
                method=request.method,
                path=request.path[:200],
                status=status,
                milliseconds=round(spent * 1000, 1),
                address=remote_address(request),
            )

    return middleware


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every failure into the error body that all five applications can read."""
    try:
        return await handler(request)
    except RealtimeError as error:
        return _render(error)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        code = {404: Code.NOT_FOUND, 413: Code.INVALID_PAYLOAD}.get(error.status, Code.INVALID_PAYLOAD)
        response = _render(RealtimeError(code, error.reason, status=error.status))
        if hdrs.ALLOW in error.headers:
            response.headers[hdrs.ALLOW] = error.headers[hdrs.ALLOW]
        return response
    except ConnectionResetError:  # the client has gone: nobody reads the answer, and nothing has failed
        return web.Response(status=499)
    except Exception as error:
        log.error("http request failed", method=request.method, path=request.path[:200], exc_info=error)
        return _render(RealtimeError(Code.INTERNAL, "Internal server error"))


def _render(error: RealtimeError) -> web.Response:
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return reply(error.body(), status=error.status, headers=headers)


@web.middleware
async def deliver(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Write the answer here, where that can end: aiohttp waits forever for a client that does not read."""
    response = await handler(request)
    try:
        await within(ANSWER_SECONDS, _write(request, response))
    except ConnectionError:
        pass  # the client has gone
    except TimeoutError:
        log.warning("http client cut: it does not read", address=remote_address(request))
        if request.transport is not None:
            request.transport.abort()
    return Answered(response.status, keep_alive=bool(response.keep_alive))


async def _write(request: web.Request, response: web.StreamResponse) -> None:
    await response.prepare(request)
    await response.write_eof()


def cors(*, origins: OriginPolicy) -> Middleware:
    """Echo an allowed origin with credentials, answer preflights, refuse strange pages on the socket path."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = request.headers.get("Origin")
        allowed = origin is not None and origins.allows_origin(origin, request)
        if origin is not None and not allowed and request.path == SOCKET_PATH:
            response: web.StreamResponse = _render(RealtimeError(Code.FORBIDDEN, "Origin not allowed"))
        elif request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            response = web.Response(status=204 if allowed else 403)
            if allowed:
                response.headers["Access-Control-Allow-Methods"] = CORS_METHODS
                asked = request.headers.get("Access-Control-Request-Headers", "")
                response.headers["Access-Control-Allow-Headers"] = asked if _HEADER_NAMES.match(asked) else CORS_HEADERS
                response.headers["Access-Control-Max-Age"] = "600"
        else:
            response = await handler(request)
        if not response.prepared:
            varies = [text for text in (response.headers.get("Vary"), "Origin") if text]
            response.headers["Vary"] = ", ".join(varies)
            if allowed and origin is not None:
                response.headers["Access-Control-Allow-Origin"] = origin
                response.headers["Access-Control-Allow-Credentials"] = "true"
                response.headers["Access-Control-Expose-Headers"] = "ETag, Retry-After, Idempotent-Replayed"
        return response

    return middleware


async def secure(_request: web.Request, response: web.StreamResponse) -> None:
    """Set the headers that every response carries, once its content type is known."""
    response.headers["Server"] = "roomcast"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    if response.content_type == "text/html":
        response.headers["Content-Security-Policy"] = PAGE_POLICY


async def _read_body(request: web.Request) -> None:
    """Read the body before the token is looked at: a right may end while a client drips it."""
    try:
        await within(BODY_SECONDS, request.read())
    except TimeoutError as error:
        raise RealtimeError(Code.INVALID_PAYLOAD, "The body took too long", status=408) from error


class Authentication:
    """Verifies the token of a request and whether its role may call the route."""

    def __init__(
        self,
        *,
        access: Mapping[Handler, Access],
        tokens: RecentTokens,
        directory: Directory,
        origins: OriginPolicy,
        limits: AddressLimits,
        metrics_token: str | None,
        dev: bool,
        open_communications: bool = False,
    ) -> None:
        self._access = access
        self._tokens = tokens
        self._directory = directory
        self._origins = origins
        self._limits = limits
        self._metrics_token = metrics_token
        self._dev = dev
        self._open_communications = open_communications

    def middleware(self) -> Middleware:
        @web.middleware
        async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
            if request.match_info.http_exception is None:
                await self._admit(request, self._access[request.match_info.handler])
            return await handler(request)

        return middleware

    async def _admit(self, request: web.Request, access: Access) -> None:
        if access is Access.OPEN:
            return
        if access is Access.METRICS:
            self._admit_scraper(request)
            return
        await _read_body(request)
        address = remote_address(request)
        self._limits.check_failures(address)
        try:
            await self._authenticate(request, access)
        except RealtimeError as error:
            if error.code in (Code.AUTH_INVALID, Code.TOKEN_EXPIRED):
                self._limits.count_failure(address)
                raise RealtimeError(error.code, "Invalid or expired token") from error
            raise
        if not self._allowed(request, access):
            raise RealtimeError(Code.FORBIDDEN, "Forbidden: insufficient permissions")

    async def _authenticate(self, request: web.Request, access: Access) -> None:
        credential = find_credential(query={}, headers=request.headers, cookies=request.cookies)
        if credential is None and access is Access.STREAM:
            credential = find_credential(query=request.query, headers={}, cookies={})
        if credential is None and access in _COMMUNICATIONS and self._open_communications:
            if not self._origins.allows(request) or (self._dev and not is_local_host(request.host)):
                raise RealtimeError(Code.FORBIDDEN, "Origin not allowed")  # open to programs, not to strange pages
            return
        if credential is None:
            raise RealtimeError(Code.AUTH_REQUIRED, "Authentication required")
        identity = await self._tokens.verify(credential.token)
        unsafe = request.method not in SAFE_METHODS
        if credential.source == "cookie" and unsafe and not self._origins.proves_same_site(request):
            raise RealtimeError(Code.FORBIDDEN, "Origin not allowed")
        await self._directory.see(identity)
        remember_caller(request, identity, self._directory)

    def _allowed(self, request: web.Request, access: Access) -> bool:
        if access in _COMMUNICATIONS and self._open_communications:
            return True
        caller = member(request)
        if access in (Access.ANY, Access.STREAM):
            return True
        if access is Access.USER:
            return not caller.guest
        if access is Access.STAFF:
            return caller.staff
        if access is Access.ADMIN:
            return caller.admin
        if access in _COMMUNICATIONS:
            return caller.has(HOTEL_ROLES) or (caller.guest and access is Access.COMMUNICATIONS_READER)
        return caller.has(PUBLISHER_ROLES) or (access is Access.TESTER and self._dev)

    def _admit_scraper(self, request: web.Request) -> None:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self._metrics_token and hmac.compare_digest(given.encode(), self._metrics_token.encode()):
            return
        if not remote(request).is_this_machine:
            raise RealtimeError(Code.FORBIDDEN, "Forbidden: insufficient permissions")
