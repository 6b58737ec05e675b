"""The services, each with what it uses."""

from collections.abc import Callable

import aiohttp

from realtime.clock import Clock
from realtime.dialects.dashboard import DASHBOARD
from realtime.dialects.guests import communication
from realtime.dialects.messaging import MESSAGING
from realtime.metrics import Metrics
from realtime.outbound import HttpRoomAuthority
from realtime.services.audiences import Audiences
from realtime.services.bookings import BOOKING, BookingAnnouncer, BookingEntities, BookingService
from realtime.services.broadcasting import BroadcastService
from realtime.services.capacity import Capacity, Limit
from realtime.services.communications import CommunicationService
from realtime.services.counts import UnreadCounter
from realtime.services.dashboards import DashboardService
from realtime.services.devices import DeviceService
from realtime.services.directory import Directory
from realtime.services.entities import EntityService
from realtime.services.errands import Errands
from realtime.services.following import Following
from realtime.services.guests import GuestService
from realtime.services.inbox_pages import InboxPages
from realtime.services.jobs import TICKET, WORK_ORDER, JobAnnouncer
from realtime.services.messaging import MessagingService
from realtime.services.notifications import NotificationService
from realtime.services.presence import PresenceService
from realtime.services.receipts import Devices, ReceiptService, Showings
from realtime.services.recipients import RecipientService
from realtime.services.replays import Replays
from realtime.services.rooms import RoomService
from realtime.services.sessions import SessionService
from realtime.services.sweeping import SweepService
from realtime.services.sync import SyncService
from realtime.services.traces import TraceService
from realtime.services.typing import TypingService
from realtime.settings import Settings
from realtime.store.base import Store
from realtime.wiring.connections import Connections
from rooms.presence import Roster
from rooms.typing_state import TypingState


class Services:
    def __init__(
        self,
        settings: Settings,
        connections: Connections,
        *,
        store: Store,
        clock: Clock,
        monotonic: Clock,
        metrics: Metrics,
        client: Callable[[], aiohttp.ClientSession],
    ) -> None:
        self._connections = connections
        self._store = store
        self._clock = clock
        self._metrics = metrics
        channels, publisher = connections.channels, connections.publisher
        self.directory = Directory(store, clock)
        authority = None
        if settings.room_auth_url and settings.room_auth_secret:
            authority = HttpRoomAuthority(settings.room_auth_url, settings.room_auth_secret, client, clock)
        self.rooms = RoomService(
            channels=channels,
            store=store,
            directory=self.directory,
            clock=clock,
            authority=authority,
            restricted=frozenset(settings.restricted_channels),
        )
        self.presence = PresenceService(
            roster=Roster(grace=settings.presence_grace),
            channels=channels,
            lobbies=connections.lobbies,
            fanout=connections.fanout,
            directory=self.directory,
            store=store,
            clock=clock,
            scope=settings.presence_audience,
        )
        self.typing = TypingService(state=TypingState(), publisher=publisher, clock=clock)
        self.rooms.tell(self.typing)
        self.errands = Errands()
        self._make_sessions(settings)
        self._make_inbox()
        self.sweeping = SweepService(store=store, counter=self.counter, clock=clock, monotonic=monotonic)
        self._make_conversations()
        self._make_entities()

    def _make_sessions(self, settings: Settings) -> None:
        limit = Limit(
            per_user=settings.max_connections_per_user,
            per_path=settings.max_connections_per_namespace,
            policy=settings.connection_limit_policy,
        )
        limited = (DASHBOARD.namespace, MESSAGING.namespace)
        publisher = self._connections.publisher
        self.sessions = SessionService(
            channels=self._connections.channels,
            directory=self.directory,
            rooms=self.rooms,
            presence=self.presence,
            typing=self.typing,
            errands=self.errands,
            capacity=Capacity(limit, limited, publisher=publisher, clock=self._clock),
            publisher=publisher,
            clock=self._clock,
            metrics=self._metrics,
        )

    def _make_inbox(self) -> None:
        channels, publisher = self._connections.channels, self._connections.publisher
        audiences = Audiences(store=self._store, channels=channels, directory=self.directory)
        self.counter = UnreadCounter(
            store=self._store,
            channels=channels,
            audiences=audiences,
            publisher=publisher,
            clock=self._clock,
            metrics=self._metrics,
        )
        self.rooms.tell_counts(self.counter)
        self.directory.tell_counts(self.counter)
        self.receipts = ReceiptService(store=self._store, clock=self._clock, metrics=self._metrics)
        self.clients = Devices(self._connections.inbox_kinds)
        self.sync = SyncService(store=self._store, clock=self._clock)
        replays = Replays(self._clock)
        self.sessions.when_closed(replays.forget)
        self.notifications = NotificationService(
            store=self._store,
            publisher=publisher,
            channels=channels,
            audiences=audiences,
            counter=self.counter,
            receipts=self.receipts,
            replays=replays,
            clock=self._clock,
            metrics=self._metrics,
        )
        self.notifications.watch(Showings(self.receipts, self.clients))
        self.recipients = RecipientService(store=self._store, directory=self.directory)
        self.traces = TraceService(store=self._store, receipts=self.receipts, clock=self._clock)
        self.following = Following(store=self._store, publisher=publisher, clock=self._clock)
        self.pages = InboxPages(
            sync=self.sync,
            notifications=self.notifications,
            counter=self.counter,
            publisher=publisher,
            errands=self.errands,
            clock=self._clock,
        )
        self.broadcasting = BroadcastService(publisher=publisher, notifications=self.notifications, clock=self._clock)
        self.devices = DeviceService(store=self._store, clock=self._clock)

    def _make_conversations(self) -> None:
        connections = self._connections
        self.dashboards = DashboardService(
            channels=connections.channels,
            rooms=self.rooms,
            publisher=connections.publisher,
            store=self._store,
            clock=self._clock,
        )
        self.messaging = MessagingService(
            store=self._store,
            publisher=connections.publisher,
            channels=connections.messaging,
            presence=self.presence,
            notifications=self.notifications,
            directory=self.directory,
            errands=self.errands,
            clock=self._clock,
            typing_state=TypingState(),
        )
        self.sessions.when_closed(self.messaging.disconnected)
        self.guests = GuestService(
            store=self._store,
            channel=connections.guests,
            publisher=connections.publisher,
            notifications=self.notifications,
            errands=self.errands,
            receipts=self.receipts,
            devices=self.clients,
            clock=self._clock,
            metrics=self._metrics,
        )
        self.notifications.watch(self.guests)
        self.sessions.note_guests(self.guests.known)
        self.communications = CommunicationService(
            store=self._store,
            notifications=self.notifications,
            guests=self.guests,
            shape=communication,
            clock=self._clock,
            metrics=self._metrics,
        )

    def _make_entities(self) -> None:
        publisher = self._connections.publisher
        told = {
            "publisher": publisher,
            "notifications": self.notifications,
            "directory": self.directory,
            "clock": self._clock,
        }
        shared = {"store": self._store, "rooms": self.rooms, "clock": self._clock}
        self.jobs = {
            kind: EntityService(kind, announce=JobAnnouncer(kind, **told), **shared)  # type: ignore[arg-type]
            for kind in (WORK_ORDER, TICKET)
        }
        announcer = BookingAnnouncer(**told)  # type: ignore[arg-type]
        self.booking_rows = BookingEntities(BOOKING, announce=announcer, **shared)  # type: ignore[arg-type]
        self.bookings = BookingService(
            store=self._store,
            entities=self.booking_rows,
            announcer=announcer,
            publisher=publisher,
            directory=self.directory,
            clock=self._clock,
        )
