"""Everything that requests and connections meet first: tokens, origins, limits, and who handles what."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import aiohttp
from aiohttp.typedefs import Middleware

from handlers.commands.base import Bucket, CommandServices
from handlers.commands.dispatch import Dispatcher, error_event_rate
from handlers.http import entities as http_entities
from handlers.http import middleware
from handlers.http.base import Access, Handler, Resource
from handlers.http.communications import CommunicationRoutes
from handlers.http.dashboards import DashboardRoutes
from handlers.http.devices import DeviceRoutes
from handlers.http.entities import EntityRoutes, ReviewRoutes
from handlers.http.idempotency import Idempotency
from handlers.http.inbox import InboxRoutes
from handlers.http.messaging import MessagingRoutes
from handlers.http.notifications import NotificationRoutes
from handlers.http.operations import PublishRoutes, SocketTestRoutes, WebsocketRoutes
from handlers.http.origin import OriginPolicy
from handlers.http.people import CookieRoutes, PresenceRoutes, UserRoutes
from handlers.http.remote import AddressLimits
from handlers.http.system import DevRoutes, HealthRoutes, PageRoutes
from handlers.sockets.connect import ConnectMiddleware
from handlers.sockets.entrance import Entrance
from handlers.sockets.gate import SocketGate
from handlers.sockets.namespace import Greet, Namespace, no_greeting
from handlers.streams.events import EventStreams
from handlers.streams.gate import PlainGate
from handlers.streams.guests import GuestEndpoint
from handlers.streams.raw import RawEndpoint
from realtime.auth import KeySet, RecentTokens, TokenVerifier
from realtime.clock import Clock
from realtime.dialects.base import Dialect
from realtime.dialects.dashboard import DASHBOARD
from realtime.dialects.guests import GUESTS
from realtime.dialects.messaging import MESSAGING
from realtime.dialects.notifications import NOTIFICATIONS
from realtime.dialects.root import ROOT
from realtime.engine.channel import Session
from realtime.engine.plain import Endpoint
from realtime.events import Connected
from realtime.metrics import Metrics
from realtime.outbound import HttpKeySource
from realtime.ratelimit import RateLimiter
from realtime.services.jobs import TICKET, WORK_ORDER
from realtime.settings import Settings
from realtime.store.base import Store
from realtime.wiring.connections import TWINS, Connections
from realtime.wiring.services import Services

STATIC = Path(__file__).resolve().parent.parent.parent / "static"
SIGNALS_PER_MINUTE = 600
SIGNALS_BURST = 200
MESSAGES_BURST = 100

JOB_FILTERS = {
    "status": "status",
    "priority": "priority",
    "technicianId": "technician_id",
    "technician_id": "technician_id",
    "customerId": "customer_id",
    "customer_id": "customer_id",
}
BOOKING_FILTERS = {"status": "status", "userId": "userId", "ownerId": "ownerId"}


class Guards:
    """What decides who may come in at all."""

    def __init__(
        self,
        settings: Settings,
        *,
        dev: bool,
        clock: Clock,
        client: Callable[[], aiohttp.ClientSession],
    ) -> None:
        keys = KeySet(HttpKeySource(settings.jwt_jwks_url, client), clock) if settings.jwt_jwks_url else None
        self.verifier = TokenVerifier(
            secrets=[secret for secret in (settings.jwt_secret, settings.jwt_secret_previous) if secret],
            algorithms=settings.jwt_algorithms,
            clock=clock,
            keys=keys,
            audience=settings.jwt_audience,
            issuer=settings.jwt_issuer,
            leeway=settings.jwt_leeway,
            require_exp=settings.jwt_require_exp,
        )
        self.origins = OriginPolicy(allowed=settings.allowed_origin, dev=dev)
        self.limits = AddressLimits(
            handshakes=settings.handshakes_per_minute_per_ip,
            failures=settings.failed_logins_per_minute_per_ip,
            connections=settings.connections_per_ip,
            clock=clock,
        )
        self.messages = RateLimiter(per_minute=settings.rate_limit_per_minute, burst=MESSAGES_BURST)
        self.signals = RateLimiter(per_minute=SIGNALS_PER_MINUTE, burst=SIGNALS_BURST)
        self.error_events = error_event_rate()


class Edges:
    """Namespaces, plain endpoints and routes."""

    def __init__(
        self,
        settings: Settings,
        guards: Guards,
        connections: Connections,
        services: Services,
        *,
        store: Store,
        clock: Clock,
        metrics: Metrics,
        dev: bool,
        stopping: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._guards = guards
        self._connections = connections
        self._services = services
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._dev = dev
        self._stopping = stopping
        self._entrance = Entrance(
            middleware=ConnectMiddleware(
                verifier=guards.verifier, origins=guards.origins, limits=guards.limits, clock=clock
            ),
            sessions=services.sessions,
            limits=guards.limits,
            metrics=metrics,
        )
        self._greetings: Mapping[str, Greet] = {
            ROOT.namespace: self._resume,
            NOTIFICATIONS.namespace: self._greet_with_count,
            DASHBOARD.namespace: self._greet_and_resume,
            MESSAGING.namespace: self._greet_with_messages,
        }
        self._dispatchers = {dialect.name: self._dispatcher(dialect) for dialect in (ROOT, *TWINS)}
        self._register_namespaces()
        self.socket_gate = SocketGate(connections.server, guards.limits, trusted=settings.trusted_proxies)
        self.plain_gate = PlainGate(
            server=connections.plain, endpoints=self._endpoints(), origins=guards.origins, limits=guards.limits
        )

    # --- greetings ---

    def _greet(self, session: Session) -> None:
        identity = session.identity
        event = Connected(self._clock(), session.person, identity.email, len(self._services.presence))
        self._connections.publisher.publish_to_connection(event, session)

    def _resume(self, session: Session, since: str | None) -> None:
        if since is not None:
            self._services.pages.tell(session, since)

    def _greet_and_resume(self, session: Session, since: str | None) -> None:
        self._greet(session)
        self._resume(session, since)

    def _greet_with_count(self, session: Session, since: str | None) -> None:
        if since is None:
            self._services.counter.greet(session)
        else:
            self._services.pages.tell(session, since, counted=True)

    def _greet_with_messages(self, session: Session, _since: str | None) -> None:
        self._greet(session)
        self._services.messaging.connected(session, lambda: session.channel.drain(session.sid))

    # --- sockets ---

    def _dispatcher(self, dialect: Dialect) -> Dispatcher:
        services, guards = self._services, self._guards
        return Dispatcher(
            inbound=dialect.inbound,
            services=CommandServices(
                rooms=services.rooms,
                presence=services.presence,
                typing=services.typing,
                bookings=services.bookings,
                counter=services.counter,
                pages=services.pages,
                receipts=services.receipts,
                dashboards=services.dashboards,
                messaging=services.messaging,
                sessions=services.sessions,
                verifier=guards.verifier,
            ),
            limits={Bucket.MESSAGES: guards.messages, Bucket.SIGNALS: guards.signals},
            publisher=self._connections.publisher,
            clock=self._clock,
            error_events=guards.error_events,
            metrics=self._metrics,
        )

    def _register_namespaces(self) -> None:
        server = self._connections.server
        namespaces = [
            Namespace(
                channel=self._connections.namespaces[dialect.namespace],
                dialect=dialect,
                entrance=self._entrance,
                dispatcher=self._dispatchers[dialect.name],
                greet=self._greetings.get(dialect.namespace, no_greeting),
            )
            for dialect in (ROOT, *TWINS)
        ]
        for namespace in namespaces:
            namespace.register(server)

        def unheard(sid: str, event: object, answer: dict[str, object]) -> None:
            any(namespace.unheard(sid, event, answer) for namespace in namespaces)

        server.on_unheard = unheard

    def _endpoints(self) -> dict[str, Endpoint]:
        twins: dict[str, Endpoint] = {
            dialect.namespace: RawEndpoint(
                channel=self._connections.twins[dialect.namespace],
                dialect=dialect,
                entrance=self._entrance,
                dispatcher=self._dispatchers[dialect.name],
                greet=self._greetings.get(dialect.namespace, no_greeting),
            )
            for dialect in TWINS
        }
        guests = GuestEndpoint(
            channel=self._connections.guests,
            dialect=GUESTS,
            entrance=self._entrance,
            guests=self._services.guests,
        )
        return {**twins, GUESTS.namespace: guests}

    # --- HTTP ---

    def middlewares(self, access: Mapping[Handler, Access]) -> list[Middleware]:
        settings, guards = self._settings, self._guards
        authentication = middleware.Authentication(
            access=access,
            tokens=RecentTokens(guards.verifier, self._clock),
            directory=self._services.directory,
            origins=guards.origins,
            limits=guards.limits,
            metrics_token=settings.metrics_token,
            dev=self._dev,
            open_communications=self._dev if settings.open_communications is None else settings.open_communications,
        )
        return [
            middleware.trace(trusted=settings.trusted_proxies, metrics=self._metrics),
            middleware.deliver,
            middleware.cors(origins=guards.origins),
            middleware.errors,
            self.plain_gate.middleware(),
            authentication.middleware(),
        ]

    def resources(self) -> list[Resource]:
        services, clock = self._services, self._clock
        idempotency = Idempotency(self._store, clock)
        resources: list[Resource] = [
            HealthRoutes(store=self._store, stopping=self._stopping, metrics=self._metrics),
            PageRoutes(STATIC),
            self.socket_gate,
            self.plain_gate,
            *self._inbox(idempotency),
            *self._entities(idempotency),
            *self._operations(idempotency),
            MessagingRoutes(
                messaging=services.messaging,
                presence=services.presence,
                limiter=self._guards.messages,
                idempotency=idempotency,
                clock=clock,
            ),
            CommunicationRoutes(
                communications=services.communications, guests=services.guests, idempotency=idempotency
            ),
            PresenceRoutes(presence=services.presence, rooms=services.rooms),
            UserRoutes(directory=services.directory, rooms=services.rooms, presence=services.presence),
            CookieRoutes(clock=clock),
        ]
        if self._dev and self._settings.jwt_secret:
            resources.append(DevRoutes(secret=self._settings.jwt_secret, origins=self._guards.origins, clock=clock))
        return resources

    def _inbox(self, idempotency: Idempotency) -> Sequence[Resource]:
        """Literal paths before those with an id."""
        services = self._services
        return [
            DeviceRoutes(services.devices),
            EventStreams(
                server=self._connections.plain,
                channel=self._connections.streams,
                entrance=self._entrance,
                following=services.following,
                notifications=services.notifications,
                counter=services.counter,
                errands=services.errands,
                origins=self._guards.origins,
                limits=self._guards.limits,
            ),
            NotificationRoutes(
                notifications=services.notifications,
                recipients=services.recipients,
                traces=services.traces,
                rooms=services.rooms,
                idempotency=idempotency,
            ),
            InboxRoutes(
                inbox=services.notifications,
                sync=services.sync,
                receipts=services.receipts,
                limiter=self._guards.signals,
                clock=self._clock,
            ),
        ]

    def _entities(self, idempotency: Idempotency) -> Sequence[Resource]:
        services = self._services
        return [
            EntityRoutes(
                services.jobs[WORK_ORDER],
                paths=["/api/work-orders"],
                schema=http_entities.Job,
                filters=JOB_FILTERS,
                default_status="pending",
                idempotency=idempotency,
                assignable=True,
            ),
            EntityRoutes(
                services.jobs[TICKET],
                paths=["/api/tickets", "/api/repair-tickets"],
                schema=http_entities.Ticket,
                filters=JOB_FILTERS,
                default_status="open",
                idempotency=idempotency,
                assignable=True,
            ),
            EntityRoutes(
                services.booking_rows,
                paths=["/api/bookings"],
                schema=http_entities.Booking,
                filters=BOOKING_FILTERS,
                default_status="pending",
                idempotency=idempotency,
            ),
            ReviewRoutes(services.bookings, idempotency=idempotency),
        ]

    def _operations(self, idempotency: Idempotency) -> Sequence[Resource]:
        services, channels = self._services, self._connections.channels
        return [
            WebsocketRoutes(
                channels=channels,
                rooms=services.rooms,
                broadcasting=services.broadcasting,
                presence=services.presence,
                stopping=self._stopping,
                clock=self._clock,
                idempotency=idempotency,
            ),
            PublishRoutes(
                broadcasting=services.broadcasting, rooms=services.rooms, clock=self._clock, idempotency=idempotency
            ),
            SocketTestRoutes(
                broadcasting=services.broadcasting,
                directory=services.directory,
                presence=services.presence,
                channels=channels,
            ),
            DashboardRoutes(services.dashboards, idempotency=idempotency),
        ]
