"""The only place where parts are wired together."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import structlog
from aiohttp import web

from handlers.commands.base import Bucket, CommandServices
from handlers.commands.dispatch import Dispatcher
from handlers.http import entities as http_entities
from handlers.http import middleware
from handlers.http.base import Access, Handler, Resource
from handlers.http.entities import EntityRoutes, ReviewRoutes
from handlers.http.idempotency import Idempotency
from handlers.http.notifications import NotificationRoutes
from handlers.http.operations import PublishRoutes, SocketTestRoutes, WebsocketRoutes
from handlers.http.origin import OriginPolicy
from handlers.http.people import CookieRoutes, PresenceRoutes, UserRoutes
from handlers.http.remote import AddressLimits
from handlers.http.system import DevRoutes, HealthRoutes, PageRoutes
from handlers.sockets.connect import ConnectMiddleware
from handlers.sockets.gate import SocketGate
from handlers.sockets.root import RootNamespace
from realtime.auth import KeySet, TokenVerifier
from realtime.clock import Clock
from realtime.dialects.root import ROOT
from realtime.engine import RealtimeServer, create_server
from realtime.engine.channel import Channel
from realtime.engine.hub import Limits
from realtime.events import ServerStopping
from realtime.fanout import Fanout
from realtime.metrics import Metrics
from realtime.outbound import HttpKeySource, HttpRoomAuthority
from realtime.publisher import Outlet, Publisher
from realtime.ratelimit import RateLimiter
from realtime.services.bookings import BOOKING, BookingAnnouncer, BookingEntities, BookingService
from realtime.services.broadcasting import BroadcastService
from realtime.services.directory import Directory
from realtime.services.entities import EntityService
from realtime.services.jobs import TICKET, WORK_ORDER, JobAnnouncer
from realtime.services.notifications import NotificationService, UnreadCounter
from realtime.services.presence import PresenceService
from realtime.services.rooms import RoomService
from realtime.services.sessions import SessionService
from realtime.services.typing import TypingService
from realtime.settings import Settings
from realtime.store.base import Store
from realtime.store.sqlite import SqliteStore
from realtime.ticker import TICK, Ticker
from rooms.presence import Roster
from rooms.typing_state import TypingState

log = structlog.get_logger(__name__)

STATIC = Path(__file__).resolve().parent.parent / "static"
MAX_BODY = 1 << 20
SIGNALS_PER_MINUTE = 600
SIGNALS_BURST = 200
SWEEP_SECONDS = 60.0
CLOSE_SECONDS = 3.0
RETRY_AFTER = (1.0, 5.0)


@dataclass(slots=True)
class Parts:
    """What tests and the command line may look at."""

    settings: Settings
    store: Store
    server: RealtimeServer
    channel: Channel
    publisher: Publisher
    fanout: Fanout
    metrics: Metrics
    stopping: bool = False


PARTS = web.AppKey("parts", Parts)


def create_app(
    settings: Settings, *, dev: bool = False, store: Store | None = None, clock: Clock = time.time
) -> web.Application:
    """Build the application. The store is opened when the app starts and closed when it is cleaned up."""
    builder = _Builder(settings, dev=dev, store=store or SqliteStore(settings.database_path), clock=clock)
    return builder.build()


def _spellings(path: str) -> list[str]:
    """REST paths are found with and without a slash at the end, as the backends that frontends know do it."""
    return [path, f"{path}/"] if path.startswith(("/api/", "/notifications")) else [path]


class _Builder:
    """Makes every part once, lower layers first."""

    def __init__(self, settings: Settings, *, dev: bool, store: Store, clock: Clock) -> None:
        self.settings = settings
        self.dev = dev
        self.store = store
        self.clock = clock
        self._http: aiohttp.ClientSession | None = None
        self.metrics = Metrics()
        self._make_edges()
        self._make_engine()
        self._make_services()

    def _make_edges(self) -> None:
        settings = self.settings
        keys = None
        if settings.jwt_jwks_url:
            keys = KeySet(HttpKeySource(settings.jwt_jwks_url, self._client), self.clock)
        self.verifier = TokenVerifier(
            secrets=[secret for secret in (settings.jwt_secret, settings.jwt_secret_previous) if secret],
            algorithms=settings.jwt_algorithms,
            clock=self.clock,
            keys=keys,
            audience=settings.jwt_audience,
            issuer=settings.jwt_issuer,
            leeway=settings.jwt_leeway,
            require_exp=settings.jwt_require_exp,
        )
        self.origins = OriginPolicy(allowed=settings.allowed_origin, dev=self.dev)
        self.limits = AddressLimits(
            handshakes=settings.handshakes_per_minute_per_ip,
            failures=settings.failed_logins_per_minute_per_ip,
            connections=settings.connections_per_ip,
            clock=self.clock,
        )

    def _client(self) -> aiohttp.ClientSession:
        if self._http is None:
            self._http = aiohttp.ClientSession()
        return self._http

    def _make_engine(self) -> None:
        self.server = create_server(
            ping_interval=self.settings.ping_interval,
            ping_timeout=self.settings.ping_timeout,
            cors_allowed_origins=self.origins.allows_origin,
            trusted_proxies=self.settings.trusted_proxies,
            limits=Limits(hard_buffer=self.settings.slow_client_buffer, policy=self.settings.slow_client_policy),
            metrics=self.metrics,
        )
        self.channel = Channel(self.server, ROOT.namespace)
        self.publisher = Publisher([Outlet(self.channel, ROOT)], self.metrics)
        self.fanout = Fanout(self.publisher)

    def _make_services(self) -> None:
        settings, store, clock, channel, publisher = self.settings, self.store, self.clock, self.channel, self.publisher
        self.directory = Directory(store, clock)
        authority = None
        if settings.room_auth_url and settings.room_auth_secret:
            authority = HttpRoomAuthority(settings.room_auth_url, settings.room_auth_secret, self._client, clock)
        self.rooms = RoomService(
            channel=channel, store=store, directory=self.directory, clock=clock, authority=authority
        )
        self.presence = PresenceService(
            roster=Roster(grace=settings.presence_grace),
            channel=channel,
            fanout=self.fanout,
            directory=self.directory,
            store=store,
            clock=clock,
            scope=settings.presence_audience,
        )
        self.typing = TypingService(state=TypingState(), publisher=publisher, clock=clock)
        self.rooms.tell(self.typing)
        self.sessions = SessionService(
            channel=channel,
            directory=self.directory,
            rooms=self.rooms,
            presence=self.presence,
            typing=self.typing,
            publisher=publisher,
            clock=clock,
            metrics=self.metrics,
        )
        self.counter = UnreadCounter(
            store=store, channel=channel, publisher=publisher, clock=clock, metrics=self.metrics
        )
        self.rooms.tell_counts(self.counter)
        self.notifications = NotificationService(
            store=store,
            publisher=publisher,
            channel=channel,
            directory=self.directory,
            counter=self.counter,
            clock=clock,
        )
        self.broadcasting = BroadcastService(publisher=publisher, notifications=self.notifications, clock=clock)
        self._make_entities()

    def _make_entities(self) -> None:
        shared = {"store": self.store, "rooms": self.rooms, "clock": self.clock}
        self.jobs = {
            kind: EntityService(
                kind,
                announce=JobAnnouncer(
                    kind,
                    publisher=self.publisher,
                    notifications=self.notifications,
                    directory=self.directory,
                    clock=self.clock,
                ),
                **shared,  # type: ignore[arg-type]
            )
            for kind in (WORK_ORDER, TICKET)
        }
        announcer = BookingAnnouncer(
            publisher=self.publisher,
            notifications=self.notifications,
            directory=self.directory,
            clock=self.clock,
        )
        self.booking_rows = BookingEntities(BOOKING, announce=announcer, **shared)  # type: ignore[arg-type]
        self.bookings = BookingService(
            store=self.store,
            entities=self.booking_rows,
            announcer=announcer,
            publisher=self.publisher,
            directory=self.directory,
            clock=self.clock,
        )

    def build(self) -> web.Application:
        parts = Parts(
            settings=self.settings,
            store=self.store,
            server=self.server,
            channel=self.channel,
            publisher=self.publisher,
            fanout=self.fanout,
            metrics=self.metrics,
        )
        self.parts = parts
        access: dict[Handler, Access] = {}
        authentication = middleware.Authentication(
            access=access,
            verifier=self.verifier,
            directory=self.directory,
            origins=self.origins,
            limits=self.limits,
            metrics_token=self.settings.metrics_token,
            dev=self.dev,
        )
        app = web.Application(
            client_max_size=MAX_BODY,
            middlewares=[
                middleware.trace(trusted=self.settings.trusted_proxies, metrics=self.metrics),
                middleware.deliver,
                middleware.cors(origins=self.origins),
                middleware.errors,
                authentication.middleware(),
            ],
        )
        app[PARTS] = parts
        for resource in self._resources():
            for route in resource.routes():
                for path in _spellings(route.path):
                    app.router.add_route(route.method, path, route.handler)
                    if route.method == "GET":
                        app.router.add_route("HEAD", path, route.handler)
                access[route.handler] = route.access
        self._namespace().register(self.server)
        app.cleanup_ctx.append(self._run_store)
        app.cleanup_ctx.append(self._run_background)
        app.on_shutdown.append(self._say_goodbye)
        app.on_response_prepare.append(middleware.secure)
        return app

    def _resources(self) -> list[Resource]:
        idempotency = Idempotency(self.store, self.clock)
        jobs = {"WO": self.jobs[WORK_ORDER], "T": self.jobs[TICKET]}
        job_filters = {
            "status": "status",
            "priority": "priority",
            "technicianId": "technician_id",
            "technician_id": "technician_id",
            "customerId": "customer_id",
            "customer_id": "customer_id",
        }
        booking_filters = {"status": "status", "userId": "userId", "ownerId": "ownerId"}
        resources: list[Resource] = [
            HealthRoutes(store=self.store, stopping=self._is_stopping, metrics=self.metrics),
            PageRoutes(STATIC),
            SocketGate(self.server, self.limits),
            NotificationRoutes(notifications=self.notifications, rooms=self.rooms, idempotency=idempotency),
            EntityRoutes(
                jobs["WO"],
                paths=["/api/work-orders"],
                schema=http_entities.Job,
                filters=job_filters,
                default_status="pending",
                idempotency=idempotency,
                assignable=True,
            ),
            EntityRoutes(
                jobs["T"],
                paths=["/api/tickets", "/api/repair-tickets"],
                schema=http_entities.Ticket,
                filters=job_filters,
                default_status="open",
                idempotency=idempotency,
                assignable=True,
            ),
            EntityRoutes(
                self.booking_rows,
                paths=["/api/bookings"],
                schema=http_entities.Booking,
                filters=booking_filters,
                default_status="pending",
                idempotency=idempotency,
            ),
            ReviewRoutes(self.bookings, idempotency=idempotency),
            WebsocketRoutes(
                channel=self.channel,
                rooms=self.rooms,
                broadcasting=self.broadcasting,
                presence=self.presence,
                stopping=self._is_stopping,
                clock=self.clock,
            ),
            PublishRoutes(broadcasting=self.broadcasting, rooms=self.rooms, clock=self.clock, idempotency=idempotency),
            SocketTestRoutes(
                broadcasting=self.broadcasting,
                directory=self.directory,
                presence=self.presence,
                channel=self.channel,
            ),
            PresenceRoutes(presence=self.presence, rooms=self.rooms),
            UserRoutes(directory=self.directory, rooms=self.rooms, presence=self.presence),
            CookieRoutes(clock=self.clock),
        ]
        if self.dev and self.settings.jwt_secret:
            resources.append(DevRoutes(secret=self.settings.jwt_secret, origins=self.origins, clock=self.clock))
        return resources

    def _is_stopping(self) -> bool:
        return self.parts.stopping

    def _namespace(self) -> RootNamespace:
        dispatcher = Dispatcher(
            inbound=ROOT.inbound,
            services=CommandServices(
                rooms=self.rooms,
                presence=self.presence,
                typing=self.typing,
                bookings=self.bookings,
                sessions=self.sessions,
                verifier=self.verifier,
            ),
            limits={
                Bucket.MESSAGES: RateLimiter(per_minute=self.settings.rate_limit_per_minute, burst=100),
                Bucket.SIGNALS: RateLimiter(per_minute=SIGNALS_PER_MINUTE, burst=SIGNALS_BURST),
            },
            publisher=self.publisher,
            clock=self.clock,
            metrics=self.metrics,
        )
        middleware_ = ConnectMiddleware(
            verifier=self.verifier, origins=self.origins, limits=self.limits, clock=self.clock
        )
        return RootNamespace(
            channel=self.channel,
            middleware=middleware_,
            sessions=self.sessions,
            dispatcher=dispatcher,
            limits=self.limits,
            metrics=self.metrics,
        )

    async def _run_store(self, app: web.Application) -> AsyncIterator[None]:
        await self.store.open()
        await self.directory.start()
        await self.rooms.start()
        await self.notifications.start()
        yield
        if self._http is not None:
            await self._http.close()
        await self.presence.stop()
        await self.store.close()

    async def _run_background(self, app: web.Application) -> AsyncIterator[None]:
        async def end_typing() -> None:
            self.typing.tick()

        async def sweep() -> None:
            await self.store.sweep(now=self.clock())

        ticker = Ticker(
            {
                "token_expiry": (TICK, self.sessions.tick),
                "presence": (TICK, self.presence.tick),
                "typing": (TICK, end_typing),
                "scheduled_notifications": (TICK, self.notifications.run_due),
                "expired_notifications": (TICK, self.notifications.end_expired),
                "sweep": (SWEEP_SECONDS, sweep),
            },
            self.metrics,
        )
        tasks = [asyncio.create_task(work) for work in (ticker.run(), self.counter.run())]
        yield
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self.server.shutdown()

    async def _say_goodbye(self, app: web.Application) -> None:
        """Tell every client when to come back, each another moment, then close without a DISCONNECT packet."""
        self.parts.stopping = True
        self.fanout.close()
        for session in list(self.channel.sessions()):
            retry_after = round(random.uniform(*RETRY_AFTER), 2)  # noqa: S311  spreads reconnects, guards nothing
            self.publisher.publish_to_connection(ServerStopping(self.clock(), retry_after), session.sid)
        await self.server.eio.close_all(1001, grace=CLOSE_SECONDS)
