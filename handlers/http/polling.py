"""Answers that are asked for again and again: 304 without a body while nothing has changed for the caller.

The entity tag is the token of the caller's place in their inbox, taken before the answer is made: what comes
meanwhile is at worst told twice.
"""

import re
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from handlers.http.base import reply
from realtime.models import JsonObject, Principal
from realtime.services.sync import SyncService

MAX_TAGS = 5
"""Tags of one request that are looked at."""

_TAG = re.compile(r'(?:W/)?"([0-9.~]{1,400})"')
_HEADERS: Mapping[str, str] = {"Cache-Control": "private, no-cache", "Vary": "Authorization, Cookie"}


class Polling:
    def __init__(self, sync: SyncService) -> None:
        self._sync = sync

    async def answer(
        self, request: web.Request, reader: Principal, work: Callable[[], Awaitable[JsonObject]]
    ) -> web.Response:
        """Return what `work` returns, or 304 while nothing has changed since a tag that the request names."""
        unchanged = await self.unchanged(request, reader)
        if unchanged is not None:
            return unchanged
        token = await self._sync.token(reader)
        return tagged(await work(), token)

    async def unchanged(self, request: web.Request, reader: Principal) -> web.Response | None:
        """Return the 304, if that is the answer."""
        tags = _TAG.findall(", ".join(request.headers.getall("If-None-Match", ())))[:MAX_TAGS]
        token = await self._sync.unchanged_since_any(reader, tags)
        return None if token is None else web.Response(status=304, headers=_headers(token))


def tagged(content: JsonObject, token: str) -> web.Response:
    return reply(content, headers=_headers(token))


def _headers(token: str) -> Mapping[str, str]:
    return {**_HEADERS, "ETag": f'"{token}"'}
