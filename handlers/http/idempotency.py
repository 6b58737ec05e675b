"""`Idempotency-Key`: the first response again, instead of doing the same thing twice."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable

from aiohttp import web

from realtime.clock import Clock
from realtime.errors import Code, RealtimeError
from realtime.models import Principal
from realtime.store.base import IdempotencyStore

HEADER = "Idempotency-Key"
MAX_KEY = 255


class Idempotency:
    """Remembers responses per principal and key for a day. Failures of the server (5xx) are not remembered."""

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
        if not 1 <= len(key) <= MAX_KEY:
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
            headers={"Idempotent-Replayed": "true"},
        )

    async def _first(self, principal: Principal, key: str, work: Callable[[], Awaitable[web.Response]]) -> web.Response:
        try:
            response = await work()
        except BaseException:
            await asyncio.shield(self._store.forget_request(principal, key))
            raise
        body = response.body if isinstance(response.body, bytes) else b""
        await self._store.finish_request(principal, key, status=response.status, body=body)
        return response
