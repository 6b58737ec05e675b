"""The JWT middleware of Socket.IO connects: from a CONNECT packet to an identity, or a refusal."""

from typing import Any

import structlog

from handlers.http.origin import OriginPolicy
from handlers.http.remote import AddressLimits, remote_address
from realtime.auth import Identity, TokenVerifier, find_credential, presented_credential, require_same_user
from realtime.clock import Clock
from realtime.engine.handshake import Handshake
from realtime.errors import Code, RealtimeError

log = structlog.get_logger(__name__)


class ConnectMiddleware:
    """Verifies the token of a CONNECT, wherever the client put it, and limits guessing per address."""

    def __init__(self, *, verifier: TokenVerifier, origins: OriginPolicy, limits: AddressLimits, clock: Clock) -> None:
        self._verifier = verifier
        self._origins = origins
        self._limits = limits
        self._clock = clock

    async def __call__(self, request: Handshake, auth: object) -> Identity:
        """Return whom the CONNECT names. Raises AUTH_REQUIRED, AUTH_INVALID, TOKEN_EXPIRED, USER_MISMATCH,
        FORBIDDEN (a cookie from another site) or RATE_LIMIT_EXCEEDED."""
        address = remote_address(request)
        self._limits.check_failures(address)
        try:
            return await self._identify(request, auth)
        except RealtimeError as error:
            if error.code in (Code.AUTH_INVALID, Code.TOKEN_EXPIRED, Code.USER_MISMATCH):
                self._limits.count_failure(address)
            raise

    async def _identify(self, request: Handshake, auth: object) -> Identity:
        query = request.query
        credential = presented_credential(auth) or find_credential(
            query=query, headers=request.headers, cookies=request.cookies
        )
        if credential is None:
            raise RealtimeError(Code.AUTH_REQUIRED, "Authentication error: No token provided")
        if credential.source == "cookie" and not self._origins.proves_same_site(request):
            raise RealtimeError(Code.FORBIDDEN, "Authentication error: Origin not allowed")
        identity = await self._verifier.verify(credential.token)
        given: dict[str, Any] = auth if isinstance(auth, dict) else {}
        require_same_user(
            identity,
            given.get("userId"),
            given.get("guestId"),
            query.get("userId"),
            query.get("guestId"),
        )
        return identity
