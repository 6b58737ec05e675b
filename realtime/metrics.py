"""Counters and gauges, in a registry of their own so that two servers in one process do not mix."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """What operators and alerts read on `/metrics`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.connections = Gauge(
            "roomcast_connections", "Open connections, by namespace or path", ["namespace"], registry=self.registry
        )
        self.connects = Counter("roomcast_connects_total", "Connects by outcome", ["outcome"], registry=self.registry)
        self.disconnects = Counter(
            "roomcast_disconnects_total", "Disconnects by reason", ["reason"], registry=self.registry
        )
        self.client_events = Counter(
            "roomcast_client_events_total", "Client events by outcome", ["outcome"], registry=self.registry
        )
        self.deliveries = Counter(
            "roomcast_deliveries_total", "Frames handed to connections", ["event"], registry=self.registry
        )
        self.communications = Counter(
            "roomcast_communications_total", "Communications by first status", ["status"], registry=self.registry
        )
        self.publish_failures = Counter(
            "roomcast_publish_failures_total", "Stored changes that could not be sent live", registry=self.registry
        )
        self.loop_failures = Counter(
            "roomcast_background_failures_total", "Failures of background work", ["task"], registry=self.registry
        )
        self.slow_clients = Counter(
            "roomcast_slow_clients_total",
            "Connections cut because they did not read",
            ["reason"],
            registry=self.registry,
        )
        self.dropped_frames = Counter(
            "roomcast_dropped_frames_total",
            "Frames dropped for clients that did not read (SLOW_CLIENT_POLICY=drop_oldest)",
            registry=self.registry,
        )
        self.receipts_dropped = Counter(
            "roomcast_receipts_dropped_total",
            "Receipts of notifications that were not stored, because too many waited",
            registry=self.registry,
        )
        self.closes = Counter(
            "roomcast_engine_closes_total", "Sockets and streams ended, by reason", ["reason"], registry=self.registry
        )
        self.http_seconds = Histogram(
            "roomcast_http_seconds", "HTTP requests by route", ["method", "route", "status"], registry=self.registry
        )
