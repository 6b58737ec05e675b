"""Where a request really came from: the connection's own address, or what a trusted proxy says of it."""

import functools
import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import web

from realtime.settings import Network

_DEFAULT_PORTS = {"http": 80, "https": 443}
Place = tuple[str, str, int | None]
"""Scheme, host name and port of a web page."""


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


def remote_of(request: web.Request, trusted: Sequence[Network]) -> Remote:
    """Work out the client's address. X-Forwarded-* count only when the peer is a trusted proxy, and of
    X-Forwarded-For only what trusted proxies have added: the last address that is not one of them."""
    peer = request.remote or ""
    scheme = "https" if request.secure else None
    if not _trusted(peer, trusted):
        return Remote(peer, scheme, request.host, undeclared="X-Forwarded-For" in request.headers)
    hops = _forwarded(request, "X-Forwarded-For")
    address = next((hop for hop in reversed(hops) if not _trusted(hop, trusted)), hops[0] if hops else peer)
    proto = (_forwarded(request, "X-Forwarded-Proto") or [""])[-1].lower()
    host = (_forwarded(request, "X-Forwarded-Host") or [request.host])[-1]
    return Remote(address if _is_address(address) else peer, proto if proto in ("http", "https") else scheme, host)


def _forwarded(request: web.Request, name: str) -> list[str]:
    """Return what all lines of a header list: a proxy may add a line of its own after what the client sent."""
    return [value.strip() for value in ",".join(request.headers.getall(name, ())).split(",") if value.strip()]


def _trusted(address: str, trusted: Iterable[Network]) -> bool:
    if not trusted:
        return False
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


def page_origin(origin: str) -> Place | None:
    """Return where a page with this Origin header lives; None for what is no web origin ("null", a file)."""
    try:
        parts = urlsplit(origin.lower())
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS or parts.hostname is None:
        return None
    return parts.scheme, parts.hostname, port


def is_own_page(origin: str, here: Remote) -> bool:
    """Whether a page with this Origin header comes from the server that it now talks to."""
    page = page_origin(origin)
    if page is None or (here.scheme is not None and here.scheme != page[0]):
        return False
    return page == page_origin(f"{page[0]}://{here.host}")


@functools.lru_cache(maxsize=4096)
def is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
