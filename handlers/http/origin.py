"""Which browser origins may talk to the server (docs/contract.md, "CORS")."""

from urllib.parse import urlsplit

from aiohttp import web

from handlers.http.remote import remote
from realtime.engine.handshake import Handshake

_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
_DEFAULT_PORTS = {"http": 80, "https": 443}
_Place = tuple[str | None, int | None]


class OriginPolicy:
    """The server's own origin, those on the list, and with `dev` every port of this machine."""

    def __init__(self, *, allowed: tuple[str, ...], dev: bool) -> None:
        self._allowed = frozenset(allowed)
        self._dev = dev

    def allows(self, request: web.Request) -> bool:
        """Whether a request may go on: it comes from no browser page, or from a page that is allowed."""
        origin = request.headers.get("Origin")
        return origin is None or self.allows_origin(origin, request)

    def allows_origin(self, origin: str, request: web.Request | Handshake) -> bool:
        try:
            parts = urlsplit(origin.lower())
            place = parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)
        except ValueError:
            return False
        if parts.scheme not in _DEFAULT_PORTS or parts.hostname is None:
            return False
        if origin.lower() in self._allowed or (self._dev and parts.hostname in _LOCAL_HOSTS):
            return True
        here = remote(request)
        if here.scheme is not None and here.scheme != parts.scheme:
            return False
        return place == _place(here.host, parts.scheme)

    def proves_same_site(self, request: web.Request | Handshake) -> bool:
        """Whether a cookie may speak for a write, an upgrade or a poll: the page's origin must be known and allowed.

        Browsers send no Origin with a GET to the page's own server; `Sec-Fetch-Site` then says the same.
        """
        origin = request.headers.get("Origin")
        if origin is not None:
            return self.allows_origin(origin, request)
        upgrade = request.headers.get("Upgrade") is not None
        return (
            request.method in ("GET", "HEAD") and not upgrade and request.headers.get("Sec-Fetch-Site") == "same-origin"
        )


def _place(host: str, scheme: str) -> _Place:
    try:
        parts = urlsplit(f"//{host.lower()}")
        return parts.hostname, parts.port or _DEFAULT_PORTS[scheme]
    except ValueError:
        return None, None


def is_local_host(host: str) -> bool:
    """Whether a Host header names this machine: pages of other names must not reach developer routes."""
    return _place(host, "http")[0] in _LOCAL_HOSTS
