"""What other backends tell dashboards: activity and figures."""

from collections.abc import Sequence

from aiohttp import web
from marshmallow import RAISE, Schema, fields, validate

from handlers.http.base import Access, Id, Route, body, identity, success
from handlers.http.idempotency import Idempotency
from realtime.models import wire_id
from realtime.services.dashboards import DashboardService

FIGURE = validate.Range(0, 2**53 - 1)


class Activity(Schema):
    class Meta:
        unknown = RAISE

    userId = Id(required=True)
    type = fields.String(required=True, validate=validate.Length(1, 40))
    message = fields.String(required=True, validate=validate.Length(1, 5000))


class Stats(Schema):
    class Meta:
        unknown = RAISE

    userId = Id(load_default=None, allow_none=True)
    connections = fields.Integer(strict=True, load_default=0, validate=FIGURE)
    messages = fields.Integer(strict=True, load_default=0, validate=FIGURE)
    posts = fields.Integer(strict=True, load_default=0, validate=FIGURE)


class DashboardRoutes:
    def __init__(self, dashboards: DashboardService, *, idempotency: Idempotency) -> None:
        self._dashboards = dashboards
        self._idempotency = idempotency

    def routes(self) -> Sequence[Route]:
        return [
            Route("POST", "/api/activity", self.activity, Access.STAFF),
            Route("POST", "/api/stats", self.stats, Access.PUBLISHER),
        ]

    async def activity(self, request: web.Request) -> web.Response:
        return await self._idempotency.run(request, identity(request).principal, lambda: self._activity(request))

    async def _activity(self, request: web.Request) -> web.Response:
        args = await body(request, Activity)
        user = wire_id(args["userId"])
        delivered = self._dashboards.report_activity(user, args["type"], args["message"])
        return success({**args, "userId": user, "delivered": delivered}, status=201)

    async def stats(self, request: web.Request) -> web.Response:
        return await self._idempotency.run(request, identity(request).principal, lambda: self._stats(request))

    async def _stats(self, request: web.Request) -> web.Response:
        args = await body(request, Stats)
        user = None if args["userId"] is None else wire_id(args["userId"])
        figures = {name: args[name] for name in ("connections", "messages", "posts")}
        delivered = self._dashboards.report_stats(user=user, **figures)
        return success({"userId": user, **figures, "delivered": delivered}, status=201)
