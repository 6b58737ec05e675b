"""Health, metrics, the test page and the developer routes."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web
from marshmallow import RAISE, Schema, ValidationError, fields, validate, validates_schema
from prometheus_client import generate_latest

from handlers.http.base import ROLE, Access, Id, Route, body, reply
from handlers.http.origin import OriginPolicy, is_local_host
from handlers.http.remote import remote
from realtime import __version__
from realtime.auth import mint
from realtime.clock import Clock, timestamp
from realtime.errors import Code, RealtimeError, StoreError
from realtime.metrics import Metrics
from realtime.models import wire_id
from realtime.store.base import Store

DEV_ROLES = ("admin", "manager", "technician", "user")
DEV_TOKEN_SECONDS = 12 * 3600
DEFAULT_ROLE = "user"
GUEST_ROLE = "guest"


class HealthRoutes:
    """`/healthz`: the process lives. `/readyz`: it can commit, and it is not going down."""

    def __init__(self, *, store: Store, stopping: Callable[[], bool], metrics: Metrics) -> None:
        self._store = store
        self._stopping = stopping
        self._metrics = metrics
        self._started = time.monotonic()

    def routes(self) -> Sequence[Route]:
        return [
            Route("GET", "/healthz", self.live, Access.OPEN),
            Route("GET", "/readyz", self.ready, Access.OPEN),
            Route("GET", "/metrics", self.metrics, Access.METRICS),
        ]

    async def live(self, request: web.Request) -> web.Response:
        uptime = round(time.monotonic() - self._started, 1)
        return reply({"status": "ok", "version": __version__, "uptimeSeconds": uptime})

    async def ready(self, request: web.Request) -> web.Response:
        if self._stopping():
            return reply({"ready": False, "reason": "shutting down"}, status=503)
        try:
            await self._store.check()
        except StoreError as error:
            return reply({"ready": False, "reason": error.message}, status=503)
        return reply({"ready": True})

    async def metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._metrics.registry), content_type="text/plain", charset="utf-8")


class PageRoutes:
    """The bundled test page, its files, and the socket.io client that python-socketio does not serve."""

    def __init__(self, static: Path) -> None:
        self._static = static

    def routes(self) -> Sequence[Route]:
        return [
            Route("GET", "/socket-example.html", self.example, Access.OPEN),
            Route("GET", "/socket.io/socket.io.js", self.client, Access.OPEN),
            Route("GET", r"/static/{path:[A-Za-z0-9_./-]+}", self.file, Access.OPEN),
        ]

    async def example(self, request: web.Request) -> web.FileResponse:
        return web.FileResponse(self._static / "socket-example.html", headers={"Cache-Control": "no-cache"})

    async def client(self, request: web.Request) -> web.FileResponse:
        return web.FileResponse(
            self._static / "vendor" / "socket.io.min.js", headers={"Cache-Control": "public, max-age=3600"}
        )

    async def file(self, request: web.Request) -> web.FileResponse:
        path = self._static / request.match_info["path"]
        try:
            found = path.resolve().is_relative_to(self._static) and path.is_file()
        except OSError:  # a name that no file system has
            found = False
        if not found:
            raise RealtimeError(Code.NOT_FOUND, "Not found")
        return web.FileResponse(path, headers={"Cache-Control": "no-cache"})


def _check_flag(value: object) -> None:
    if not isinstance(value, bool):
        raise ValidationError("Must be true or false.")


class DevToken(Schema):
    class Meta:
        unknown = RAISE

    userId = Id(required=True)
    role = fields.String(load_default=None, validate=ROLE)
    name = fields.String(load_default=None, allow_none=True, validate=validate.Length(0, 200))
    guest = fields.Raw(load_default=False, validate=_check_flag)

    @validates_schema
    def _one_kind(self, data: Any, **_: Any) -> None:
        if data["guest"] and data["role"] is not None:
            raise ValidationError("A guest has no role.", "role")


class DevRoutes:
    """Mints tokens for the test page. Registered only in development, answers only this machine's own pages."""

    def __init__(self, *, secret: str, origins: OriginPolicy, clock: Clock) -> None:
        self._secret = secret
        self._origins = origins
        self._clock = clock

    def routes(self) -> Sequence[Route]:
        return [
            Route("GET", "/", self.home, Access.OPEN),
            Route("GET", "/api/dev/info", self.info, Access.OPEN),
            Route("POST", "/api/dev/token", self.token, Access.OPEN),
        ]

    async def home(self, request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "/socket-example.html"})

    async def info(self, request: web.Request) -> web.Response:
        self._require_local(request)
        return reply({"dev": True, "roles": list(DEV_ROLES)})

    async def token(self, request: web.Request) -> web.Response:
        self._require_local(request)
        if request.content_type != "application/json":
            raise RealtimeError(Code.INVALID_PAYLOAD, "The body must be application/json", status=415)
        args = await body(request, DevToken)
        now = self._clock()
        user = wire_id(args["userId"])
        role = GUEST_ROLE if args["guest"] else args["role"] or DEFAULT_ROLE
        token = mint(
            self._secret,
            user_id=user,
            now=now,
            lifetime=DEV_TOKEN_SECONDS,
            role=role,
            name=args["name"],
            guest=args["guest"],
        )
        return reply(
            {
                "token": token,
                "userId": user,
                "role": role,
                "name": args["name"],
                "expiresAt": timestamp(now + DEV_TOKEN_SECONDS),
            },
            status=201,
        )

    def _require_local(self, request: web.Request) -> None:
        """A name that resolves to this machine is not this machine: it may be a stranger's page (rebinding)."""
        local = remote(request).is_this_machine and is_local_host(request.host)
        if not local or not self._origins.allows(request):
            raise RealtimeError(Code.FORBIDDEN, "Developer routes answer only to localhost")
