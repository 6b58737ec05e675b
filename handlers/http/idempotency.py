"""`Idempotency-Key`: the first response again, instead of doing the same thing twice."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web

from handlers.http.remote import remote_address
from realtime.clock import Clock
from realtime.errors import Code, RealtimeError, StoreUnavailable
from realtime.models import Principal
from realtime.store.base import IdempotencyStore

log = structlog.get_logger(__name__)

HEADER = "Idempotency-Key"
MAX_KEY = 255

REPLAYED = {"Idempotent-Replayed": "true"}


def request_name(request: web.Request, principal: Principal) -> str | None:
    """Return the name under which the store knows all attempts of a request; None for one without a key.

    An answer that was not remembered, because the server was killed, is then found by what it was about.
    """
    key = request.headers.get(HEADER)
    return None if key is None else hashlib.sha256(f"{principal}\n{key}".encode(errors="replace")).hexdigest()


def anybody(request: web.Request) -> Principal:
    """Return whose keys those of a request without a token are: its address's."""
    return f"anybody:{remote_address(request)}"


class Idempotency:
    """Remembers responses per principal and key for a day. Failures, also those of the server, are not remembered."""

    def __init__(self, store: IdempotencyStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def run(
        self, request: web.Request, principal: Principal, work: Callable[[], Awaitable[web.Response]]
    ) -> web.Response:
        """Do `work`, or give the remembered answer. Raises INVALID_PAYLOAD: 422 for another body under the same
        key, 409 while the first request is still running."""
        key = request.headers.get(HEADER)
        if key is None:
            return await work()
        if not 1 <= len(key) <= MAX_KEY or not key.isprintable():
            raise RealtimeError(Code.INVALID_PAYLOAD, f"{HEADER} is 1 to {MAX_KEY} characters")
        path = request.path.removeprefix("/api").replace("/repair-tickets", "/tickets").rstrip("/")
        text = f"{request.method} {path}\n".encode() + await request.read()
        fingerprint = hashlib.sha256(text).hexdigest()
        replay = await self._store.begin_request(principal, key, fingerprint, now=self._clock())
        if replay is None:
            return await self._first(principal, key, work)
        if replay.fingerprint != fingerprint:
            raise RealtimeError(Code.INVALID_PAYLOAD, f"This {HEADER} was used with another request", status=422)
        if replay.status is None:
            raise RealtimeError(Code.INVALID_PAYLOAD, "The first request with this key is still running", status=409)
        return web.Response(
            body=replay.body,
            status=replay.status,
            content_type="application/json",
            charset="utf-8",
            headers=REPLAYED,
        )

    async def _first(self, principal: Principal, key: str, work: Callable[[], Awaitable[web.Response]]) -> web.Response:
        try:
            response = await work()
        except BaseException:
            await self._forget(principal, key)
            raise
        if response.status >= 500:
            await self._forget(principal, key)
            return response
        body = response.body if isinstance(response.body, bytes) else b""
        try:
            await self._store.finish_request(principal, key, status=response.status, body=body)
        except StoreUnavailable:  # what was asked for is stored: the answer must not say that it is not
            log.warning("answer not remembered: the database is not available")
        return response

    async def _forget(self, principal: Principal, key: str) -> None:
        """What cannot be forgotten now is free in a moment (CLAIM_SECONDS)."""
        try:
            await asyncio.shield(self._store.forget_request(principal, key))
        except StoreUnavailable:
            log.warning("claim of a request not ended: the database is not available")
