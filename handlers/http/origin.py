"""Which browser origins may talk to the server (docs/contract.md, "CORS")."""

from aiohttp import web

from handlers.http.remote import remote
from realtime.engine.handshake import Handshake
from realtime.remote import is_own_page, page_origin

_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


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
        page = page_origin(origin)
        if page is None:
            return False
        if origin.lower() in self._allowed or (self._dev and page[1] in _LOCAL_HOSTS):
            return True
        return is_own_page(origin, remote(request))

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


def is_local_host(host: str) -> bool:
    """Whether a Host header names this machine: pages of other names must not reach developer routes."""
    place = page_origin(f"http://{host}")
    return place is not None and place[1] in _LOCAL_HOSTS
