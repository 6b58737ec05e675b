"""Which web pages may talk to the engine: CORS for polling, and the same rule for WebSockets."""

from collections.abc import Callable, Collection, Mapping, Sequence

from aiohttp import web

from realtime.remote import is_own_page, remote_of
from realtime.settings import Network

Rule = str | Collection[str] | Callable[[str, web.Request], bool] | None


class AllowedOrigins:
    """`rule` is None (only the server's own origin), "*", an origin, a collection of them, or a function.

    With "*" every page may connect, but a page of a stranger must not act with its visitor's cookies: the answer never
    allows credentials, and what a browser sends along by itself is not kept (`trusts`). An empty collection allows no
    page at all.
    """

    def __init__(self, rule: Rule, trusted_proxies: Sequence[Network] = ()) -> None:
        self._rule: Rule = [rule] if isinstance(rule, str) and rule != "*" else rule
        self._trusted = trusted_proxies

    def headers(self, origin: str | None, request: web.Request) -> Mapping[str, str] | None:
        """Return the headers of an answer; None when the page may not talk to us."""
        if origin is None:
            return {}
        if self._rule == "*":
            return {"Access-Control-Allow-Origin": "*", **_preflight(request)}
        if not self._allows(origin, request):
            return None
        return {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Credentials": "true",
            "Vary": "Origin",
            **_preflight(request),
        }

    def trusts(self, request: web.Request) -> bool:
        """Whether cookies may speak for the sender: it is no page, or one that was allowed by name."""
        origin = request.headers.get("Origin")
        return origin is None or self._rule != "*" or is_own_page(origin, remote_of(request, self._trusted))

    def _allows(self, origin: str, request: web.Request) -> bool:
        rule = self._rule
        if rule is None:
            return is_own_page(origin, remote_of(request, self._trusted))
        if callable(rule):
            return rule(origin, request)
        return origin in rule


def _preflight(request: web.Request) -> Mapping[str, str]:
    if request.method != "OPTIONS":
        return {}
    wanted = request.headers.get("Access-Control-Request-Headers")
    return {
        "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
        **({"Access-Control-Allow-Headers": wanted} if wanted else {}),
    }
