"""Every error a client can see, and the one table that says how each transport shows it.

    RealtimeError
    +-- StoreError
        +-- StoreUnavailable   the database cannot answer now; nothing was stored
        +-- StoreRefused       the database must not be used at all (newer schema, locked by another process)

The codes are those of docs/contract.md. `UNAVAILABLE` is the server's own: the store cannot answer now.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Code(StrEnum):
    AUTH_REQUIRED = "AUTH_REQUIRED"
    AUTH_INVALID = "AUTH_INVALID"
    TOKEN_EXPIRED = "TOKEN_EXPIRED"  # noqa: S105
    USER_MISMATCH = "USER_MISMATCH"
    CONNECTION_LIMIT = "CONNECTION_LIMIT"
    NAMESPACE_FULL = "NAMESPACE_FULL"
    RATE_LIMIT_EXCEEDED = "RATE_LIMIT_EXCEEDED"
    INVALID_PAYLOAD = "INVALID_PAYLOAD"
    ROOM_FORBIDDEN = "ROOM_FORBIDDEN"
    ROOM_LIMIT = "ROOM_LIMIT"
    FORBIDDEN = "FORBIDDEN"
    NOT_FOUND = "NOT_FOUND"
    UNKNOWN_EVENT = "UNKNOWN_EVENT"
    UNAVAILABLE = "UNAVAILABLE"
    INTERNAL = "INTERNAL"


@dataclass(frozen=True, slots=True)
class Rendering:
    """How one code looks outside: HTTP status, WebSocket close code, and whether trying again can help."""

    status: int
    close: int
    retryable: bool = False


RENDERING: Mapping[Code, Rendering] = MappingProxyType(
    {
        Code.AUTH_REQUIRED: Rendering(401, 1008),
        Code.AUTH_INVALID: Rendering(401, 1008),
        Code.TOKEN_EXPIRED: Rendering(401, 1008),
        Code.USER_MISMATCH: Rendering(403, 1008),
        Code.CONNECTION_LIMIT: Rendering(429, 1013, retryable=True),
        Code.NAMESPACE_FULL: Rendering(503, 1013, retryable=True),
        Code.RATE_LIMIT_EXCEEDED: Rendering(429, 1008, retryable=True),
        Code.INVALID_PAYLOAD: Rendering(400, 1008),
        Code.ROOM_FORBIDDEN: Rendering(403, 1008),
        Code.ROOM_LIMIT: Rendering(409, 1008),
        Code.FORBIDDEN: Rendering(403, 1008),
        Code.NOT_FOUND: Rendering(404, 1008),
        Code.UNKNOWN_EVENT: Rendering(400, 1008),
        Code.UNAVAILABLE: Rendering(503, 1013, retryable=True),
        Code.INTERNAL: Rendering(500, 1011, retryable=True),
    }
)


class RealtimeError(Exception):
    """An error to show to the client.

    `retry_after` is in seconds; `errors` lists single complaints about a body, one short sentence each.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        retry_after: float | None = None,
        errors: Sequence[str] = (),
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after = retry_after
        self.errors = tuple(errors) or (message,)
        self._status = status

    @property
    def status(self) -> int:
        """HTTP status; the table's, unless the HTTP layer itself refused (405, 413, 415)."""
        return self._status or RENDERING[self.code].status

    @property
    def retryable(self) -> bool:
        return RENDERING[self.code].retryable

    def ack(self) -> dict[str, object]:
        """The acknowledgement of a client event that failed."""
        body: dict[str, object] = {
            "success": False,
            "code": self.code.value,
            "message": self.message,
            "error": self.message,
        }
        if self.retry_after is not None:
            body["retryAfter"] = self.retry_after
        return body

    def body(self) -> dict[str, object]:
        """The HTTP body: the union of what the five applications' clients read."""
        body: dict[str, object] = {
            "status": "fail" if self.status < 500 else "error",
            "statusCode": self.status,
            "message": self.message,
            "error": self.message,
            "code": self.code.value,
            "errors": [{"msg": text, "message": text} for text in self.errors],
        }
        if self.retry_after is not None:
            body["retryAfter"] = self.retry_after
        return body


class StoreError(RealtimeError):
    """Any failure of the database."""


class StoreUnavailable(StoreError):
    """The database cannot answer now (full disk, lost connection). Nothing was stored."""

    def __init__(self, message: str = "The database is not available, try again later") -> None:
        super().__init__(Code.UNAVAILABLE, message)


class StoreRefused(StoreError):
    """The database must not be opened: a newer schema, or another process serves it."""

    def __init__(self, message: str) -> None:
        super().__init__(Code.UNAVAILABLE, message)
