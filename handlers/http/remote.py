"""The real address and scheme of a request, and limits per address."""

import ipaddress
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aiohttp import web

from realtime.clock import Clock
from realtime.errors import Code, RealtimeError
from realtime.ratelimit import RateLimiter
from realtime.settings import Network


@dataclass(frozen=True, slots=True)
class Remote:
    """Where a request came from. `scheme` is None when a proxy in front hides it.

    `undeclared` is true behind a proxy that nobody declared trusted: it brings strangers under its own address.
    """

    address: str
    scheme: str | None
    host: str
    undeclared: bool = False

    @property
    def is_this_machine(self) -> bool:
        return is_loopback(self.address) and not self.undeclared


_KEY = web.RequestKey("roomcast.remote", Remote)


def remote(request: web.Request) -> Remote:
    return request[_KEY]


def remote_address(request: web.Request) -> str:
    return remote(request).address


def remember_remote(request: web.Request, trusted: Sequence[Network]) -> None:
    """Work out the client's address. X-Forwarded-* count only when the peer is a trusted proxy, and of
    X-Forwarded-For only what trusted proxies have added: the last address that is not one of them."""
    peer = request.remote or ""
    scheme = "https" if request.secure else None
    if not _trusted(peer, trusted):
        request[_KEY] = Remote(peer, scheme, request.host, undeclared="X-Forwarded-For" in request.headers)
        return
    hops = _forwarded(request, "X-Forwarded-For")
    address = next((hop for hop in reversed(hops) if not _trusted(hop, trusted)), hops[0] if hops else peer)
    proto = (_forwarded(request, "X-Forwarded-Proto") or [""])[-1].lower()
    host = (_forwarded(request, "X-Forwarded-Host") or [request.host])[-1]
    request[_KEY] = Remote(
        address if _is_address(address) else peer, proto if proto in ("http", "https") else scheme, host
    )


def _forwarded(request: web.Request, name: str) -> list[str]:
    """Return what all lines of a header list: a proxy may add a line of its own after what the client sent."""
    return [value.strip() for value in ",".join(request.headers.getall(name, ())).split(",") if value.strip()]


def _trusted(address: str, trusted: Iterable[Network]) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(ip in network for network in trusted)


def _is_address(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


def is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


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

    def connect(self, address: str) -> None:
        """Count an open connection. Raises CONNECTION_LIMIT."""
        if self._max_connections and not is_loopback(address) and self._connections[address] >= self._max_connections:
            raise RealtimeError(Code.CONNECTION_LIMIT, "Too many connections from this address")
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
