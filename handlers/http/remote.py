"""The real address and scheme of a request, and limits per address."""

from collections import Counter
from collections.abc import Sequence

from aiohttp import web

from realtime.clock import Clock
from realtime.engine.handshake import Handshake
from realtime.errors import Code, RealtimeError
from realtime.ratelimit import RateLimiter
from realtime.remote import Remote, is_loopback, remote_of
from realtime.settings import Network

_KEY = web.RequestKey("roomcast.remote", Remote)


def remote(request: web.Request | Handshake) -> Remote:
    """Return where a request came from, or the request that opened a connection."""
    return request.remote if isinstance(request, Handshake) else request[_KEY]


def remote_address(request: web.Request | Handshake) -> str:
    return remote(request).address


def remember_remote(request: web.Request, trusted: Sequence[Network]) -> None:
    """Work out the client's address once, for everybody who asks with `remote`."""
    request[_KEY] = remote_of(request, trusted)


class AddressLimits:
    """Handshakes, refused tokens and open connections of one address. Loopback is exempt."""

    def __init__(self, *, handshakes: int, failures: int, connections: int, clock: Clock) -> None:
        self._handshakes = RateLimiter(per_minute=handshakes)
        self._failures = RateLimiter(per_minute=failures)
        self._max_connections = connections
        self._connections: Counter[str] = Counter()
        self._clock = clock

    def count_handshake(self, address: str) -> None:
        """Raises RATE_LIMIT_EXCEEDED."""
        if not is_loopback(address):
            self._refuse(self._handshakes.hit(address, self._clock()))

    def check_failures(self, address: str) -> None:
        """Raises RATE_LIMIT_EXCEEDED when the address has guessed too often."""
        if not is_loopback(address):
            self._refuse(self._failures.wait(address, self._clock()))

    def count_failure(self, address: str) -> None:
        if not is_loopback(address):
            self._failures.hit(address, self._clock())

    def check_connections(self, address: str) -> None:
        """Raises CONNECTION_LIMIT when the address has as many open as it may."""
        if self._max_connections and not is_loopback(address) and self._connections[address] >= self._max_connections:
            raise RealtimeError(Code.CONNECTION_LIMIT, "Too many connections from this address")

    def connect(self, address: str) -> None:
        """Count an open connection. Raises CONNECTION_LIMIT."""
        self.check_connections(address)
        self._connections[address] += 1

    def disconnect(self, address: str) -> None:
        self._connections[address] -= 1
        if self._connections[address] <= 0:
            del self._connections[address]

    @staticmethod
    def _refuse(wait: float | None) -> None:
        if wait is not None:
            raise RealtimeError(
                Code.RATE_LIMIT_EXCEEDED, f"Too many attempts, try again in {wait:g} seconds", retry_after=wait
            )
