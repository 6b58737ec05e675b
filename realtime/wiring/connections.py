"""The engine and its channels: which vocabulary is spoken on which path, over which kind of connection."""

from handlers.http.origin import OriginPolicy
from handlers.streams.events import STREAM as STREAM_CODEC
from handlers.streams.guests import TYPES
from handlers.streams.raw import EVENTS
from realtime.dialects.dashboard import DASHBOARD
from realtime.dialects.guests import GUESTS
from realtime.dialects.messaging import MESSAGING
from realtime.dialects.notifications import NOTIFICATIONS, STREAM
from realtime.dialects.root import ROOT
from realtime.engine import create_server
from realtime.engine.channel import Channel, NamespaceChannel
from realtime.engine.channels import Channels
from realtime.engine.hub import Limits
from realtime.engine.plain import PlainServer
from realtime.engine.plain_channel import PlainChannel, StreamChannel
from realtime.engine.server import MAX_ROOMS
from realtime.events import NotificationCreated
from realtime.fanout import Fanout
from realtime.metrics import Metrics
from realtime.publisher import Outlet, Publisher
from realtime.settings import Settings

TWINS = (NOTIFICATIONS, DASHBOARD, MESSAGING)
"""Vocabularies that are a Socket.IO namespace and a plain path of the same name."""


class Connections:
    """Every way in. `namespaces` and `twins` are by path."""

    def __init__(self, settings: Settings, origins: OriginPolicy, metrics: Metrics) -> None:
        self.server = create_server(
            ping_interval=settings.ping_interval,
            ping_timeout=settings.ping_timeout,
            cors_allowed_origins=origins.allows_origin,
            trusted_proxies=settings.trusted_proxies,
            limits=Limits(hard_buffer=settings.slow_client_buffer, policy=settings.slow_client_policy),
            metrics=metrics,
        )
        self.plain = PlainServer(self.server.eio)
        self.namespaces = {
            dialect.namespace: NamespaceChannel(self.server, dialect.namespace, offers_topics=dialect is DASHBOARD)
            for dialect in (ROOT, *TWINS)
        }
        self.twins = {
            dialect.namespace: PlainChannel(
                self.plain, dialect.namespace, EVENTS, max_rooms=MAX_ROOMS, offers_topics=dialect is DASHBOARD
            )
            for dialect in TWINS
        }
        self.guests = PlainChannel(self.plain, GUESTS.namespace, TYPES, max_rooms=MAX_ROOMS)
        self.streams = StreamChannel(self.plain, f"{STREAM.namespace}/events", STREAM_CODEC, max_rooms=MAX_ROOMS)
        self.channels = Channels([*self.namespaces.values(), *self.twins.values(), self.guests, self.streams])
        self.messaging = Channels([self.namespaces[MESSAGING.namespace], self.twins[MESSAGING.namespace]])
        self.lobbies = Channels(
            [way[path] for path in (DASHBOARD.namespace, MESSAGING.namespace) for way in (self.namespaces, self.twins)]
        )
        outlets = [
            *(Outlet(self.namespaces[dialect.namespace], dialect) for dialect in (ROOT, *TWINS)),
            *(Outlet(self.twins[dialect.namespace], dialect) for dialect in TWINS),
            Outlet(self.guests, GUESTS),
            Outlet(self.streams, STREAM),
        ]
        self.publisher = Publisher(outlets, metrics)
        self.fanout = Fanout(self.publisher)
        self.inbox_kinds = {
            outlet.channel: self._kind(outlet.channel)
            for outlet in outlets
            if outlet.dialect.outbound[NotificationCreated]
        }
        """The channels that show notifications, each with a word for how its clients are connected."""

    def _kind(self, channel: Channel) -> str:
        if channel in self.namespaces.values():
            return "socket.io"
        return "stream" if channel is self.streams else "websocket"
