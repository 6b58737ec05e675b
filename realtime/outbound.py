"""Other servers that this one asks: the JWK set, and the deployment's own word on who may join a room."""

import asyncio
import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
import structlog

from realtime import wire
from realtime.clock import Clock

log = structlog.get_logger(__name__)

JWKS_TIMEOUT = 5.0
JWKS_BYTES = 256 * 1024
ROOM_AUTH_TIMEOUT = 2.0
ROOM_AUTH_BYTES = 4096
ROOM_AUTH_SECONDS = 30.0
ROOM_AUTH_CACHE = 10_000

SessionFactory = Callable[[], aiohttp.ClientSession]


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Read a whole body. Raises ValueError when it is longer than `limit` bytes."""
    raw = bytearray()
    async for chunk in response.content.iter_any():
        raw += chunk
        if len(raw) > limit:
            raise ValueError("the answer is too long")
    return bytes(raw)


class HttpKeySource:
    """Fetches a JWK set."""

    def __init__(self, url: str, session: SessionFactory) -> None:
        self._url = url
        self._session = session

    async def fetch(self) -> dict[str, Any]:
        """Return the document. Raises aiohttp's errors, TimeoutError and ValueError."""
        timeout = aiohttp.ClientTimeout(total=JWKS_TIMEOUT)
        try:
            async with self._session().get(self._url, timeout=timeout, allow_redirects=False) as response:
                response.raise_for_status()
                raw = await _read(response, JWKS_BYTES)
                if response.status != 200:
                    raise ValueError("not a JWK set")
                document = wire.loads(raw)
        except Exception as error:
            log.warning("signing keys could not be fetched", error=type(error).__name__)
            raise
        if not isinstance(document, dict):
            raise ValueError("not a JWK set")
        return document


class HttpRoomAuthority:
    """Asks ROOM_AUTH_URL. Answers are kept for 30 s; people who ask the same at once share one request."""

    def __init__(self, url: str, secret: str, session: SessionFactory, clock: Clock) -> None:
        self._url = url
        self._secret = secret.encode()
        self._session = session
        self._clock = clock
        self._answers: dict[tuple[str, str, str], tuple[float, bool]] = {}
        self._asking: dict[tuple[str, str, str], asyncio.Task[bool]] = {}

    async def allows(self, user: Mapping[str, object], room: str) -> bool:
        """POST ``{user, room, action: "join"}``, signed. Only ``200 {"allow": true}`` within 2 s is a yes."""
        key = (str(user["id"]), str(user["role"]), room)
        known = self._answers.get(key)
        if known is not None and known[0] > self._clock():
            return known[1]
        task = self._asking.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._ask(user, room))
            self._asking[key] = task
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        allowed = await asyncio.shield(task)
        self._remember(key, allowed)
        return allowed

    async def _ask(self, user: Mapping[str, object], room: str) -> bool:
        body = wire.dumps({"user": user, "room": room, "action": "join"})
        stamp = str(int(self._clock()))
        signature = hmac.new(self._secret, f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
        headers = {"Content-Type": "application/json", "X-Roomcast-Signature": f"t={stamp},v1={signature}"}
        timeout = aiohttp.ClientTimeout(total=ROOM_AUTH_TIMEOUT)
        try:
            async with self._session().post(
                self._url, data=body, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                answer = wire.loads(await _read(response, ROOM_AUTH_BYTES)) if response.status == 200 else None
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            log.warning("room authority did not answer", room=room, error=type(error).__name__)
            return False
        return isinstance(answer, dict) and answer.get("allow") is True

    def _remember(self, key: tuple[str, str, str], allowed: bool) -> None:
        if len(self._answers) >= ROOM_AUTH_CACHE:
            now = self._clock()
            self._answers = {k: v for k, v in self._answers.items() if v[0] > now}
            if len(self._answers) >= ROOM_AUTH_CACHE:
                self._answers.clear()
        self._answers[key] = (self._clock() + ROOM_AUTH_SECONDS, allowed)
