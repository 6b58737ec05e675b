"""The application: its parts, in the order in which they start and stop."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from handlers.http import middleware
from handlers.http.base import Access, Handler, Resource
from handlers.sockets.gate import SocketGate
from realtime.clock import Clock
from realtime.engine import RealtimeServer
from realtime.engine.channel import Channel
from realtime.engine.channels import Channels
from realtime.events import ServerStopping
from realtime.fanout import Fanout
from realtime.metrics import Metrics
from realtime.publisher import Publisher
from realtime.settings import Settings
from realtime.store.base import Store
from realtime.ticker import TICK, Ticker
from realtime.wiring.connections import Connections
from realtime.wiring.edges import Edges, Guards
from realtime.wiring.services import Services
from realtime.wiring.stores import open_store

MAX_BODY = 1 << 20
SWEEP_SECONDS = 60.0
STATS_SECONDS = 5.0
MOMENTS_SECONDS = 0.25
"""Counts follow expiries within half a second, with the time that counting takes."""

CLOSE_SECONDS = 3.0
GOING_AWAY = 1001
RETRY_AFTER = (1.0, 5.0)


@dataclass(slots=True)
class Parts:
    """What tests and the command line may look at. `channel` is that of the root namespace."""

    settings: Settings
    store: Store
    server: RealtimeServer
    connections: Connections
    services: Services
    metrics: Metrics
    gate: SocketGate
    stopping: bool = False

    @property
    def channel(self) -> Channel:
        return self.connections.namespaces["/"]

    @property
    def channels(self) -> Channels:
        return self.connections.channels

    @property
    def publisher(self) -> Publisher:
        return self.connections.publisher

    @property
    def fanout(self) -> Fanout:
        return self.connections.fanout


PARTS = web.AppKey("parts", Parts)


def create_app(
    settings: Settings,
    *,
    dev: bool = False,
    store: Store | None = None,
    clock: Clock = time.time,
    monotonic: Clock = time.monotonic,
) -> web.Application:
    """Build the application. The store is opened when the app starts and closed when it is cleaned up."""
    store = store or open_store(settings)
    return _Application(settings, dev=dev, store=store, clock=clock, monotonic=monotonic).build()


def _spellings(path: str) -> list[str]:
    """REST paths are found with and without a slash at the end, as the backends that frontends know do it."""
    return [path, f"{path}/"] if path.startswith(("/api/", "/notifications")) else [path]


class _Application:
    def __init__(self, settings: Settings, *, dev: bool, store: Store, clock: Clock, monotonic: Clock) -> None:
        self._settings = settings
        self._dev = dev
        self._store = store
        self._clock = clock
        self._http: aiohttp.ClientSession | None = None
        metrics = Metrics()
        guards = Guards(settings, dev=dev, clock=clock, client=self._client)
        connections = Connections(settings, guards.origins, metrics)
        services = Services(
            settings,
            connections,
            store=store,
            clock=clock,
            monotonic=monotonic,
            metrics=metrics,
            client=self._client,
        )
        self._edges = Edges(
            settings,
            guards,
            connections,
            services,
            store=store,
            clock=clock,
            metrics=metrics,
            dev=dev,
            stopping=lambda: self._parts.stopping,
        )
        gate = self._edges.socket_gate
        self._parts = Parts(settings, store, connections.server, connections, services, metrics, gate)

    def _client(self) -> aiohttp.ClientSession:
        if self._http is None:
            self._http = aiohttp.ClientSession()
        return self._http

    def build(self) -> web.Application:
        access: dict[Handler, Access] = {}
        app = web.Application(client_max_size=MAX_BODY, middlewares=self._edges.middlewares(access))
        app[PARTS] = self._parts
        for resource in self._edges.resources():
            _add_routes(app, resource, access)
        app.cleanup_ctx.append(self._run_store)
        app.cleanup_ctx.append(self._run_background)
        app.on_shutdown.append(self._say_goodbye)
        app.on_response_prepare.append(middleware.secure)
        return app

    async def _run_store(self, app: web.Application) -> AsyncIterator[None]:
        services = self._parts.services
        await self._store.open()
        await services.directory.start()
        await services.rooms.start()
        await services.notifications.start()
        await services.communications.start()
        yield
        if self._http is not None:
            await self._http.close()
        await services.errands.stop()
        await services.messaging.stop()
        await services.guests.stop()
        await services.receipts.stop()
        await services.presence.stop()
        await self._store.close()

    async def _run_background(self, app: web.Application) -> AsyncIterator[None]:
        services = self._parts.services

        async def end_typing() -> None:
            services.typing.tick()
            services.messaging.tick()

        ticker = Ticker(
            {
                "token_expiry": (TICK, services.sessions.tick),
                "presence": (TICK, services.presence.tick),
                "typing": (TICK, end_typing),
                "scheduled_notifications": (TICK, services.notifications.run_due),
                "communications": (TICK, services.communications.tick),
                "passing_moments": (MOMENTS_SECONDS, services.counter.tick),
                "live_figures": (STATS_SECONDS, services.dashboards.tick),
                "sweep": (SWEEP_SECONDS, services.sweeping.sweep),
            },
            self._parts.metrics,
        )
        tasks = [asyncio.create_task(work) for work in (ticker.run(), services.counter.run(), services.receipts.run())]
        yield
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self._parts.server.shutdown()

    async def _say_goodbye(self, app: web.Application) -> None:
        """Tell every client when to come back, each another moment, then close without a DISCONNECT packet."""
        connections = self._parts.connections
        self._parts.stopping = True
        connections.fanout.close()
        for session in list(connections.channels.sessions()):
            retry_after = round(random.uniform(*RETRY_AFTER), 2)  # noqa: S311  spreads reconnects, guards nothing
            connections.publisher.publish_to_connection(ServerStopping(self._clock(), retry_after), session)
        await asyncio.gather(
            connections.server.eio.close_all(GOING_AWAY, grace=CLOSE_SECONDS),
            connections.plain.close_all(GOING_AWAY, grace=CLOSE_SECONDS),
        )


def _add_routes(app: web.Application, resource: Resource, access: dict[Handler, Access]) -> None:
    for route in resource.routes():
        for path in _spellings(route.path):
            app.router.add_route(route.method, path, route.handler)
            if route.method == "GET":
                app.router.add_route("HEAD", path, route.handler)
        access[route.handler] = route.access
