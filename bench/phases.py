"""What is measured. A phase starts fresh processes, so that no phase lives on memory that another one freed."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import inbox
from driver import Load, loading, publishing
from peers import ENGINE, FLOOR, HOST, NODE, PRESENCE_GRACE, ROOMCAST, STOCK, BenchError, Peers, Server
from slow import SlowReader, slow_reader

WARM_UP_CLIENTS = 20
WARM_UP_CYCLES = 25
WARM_UP_EVENTS = 50
LARGE_PAYLOAD = 4000
PROBE_MILLISECONDS = 5
DROP_SECONDS = 10
SLOW_PAYLOAD = 60_000
SLOW_MESSAGES = 1000
SLOW_CONTROL_MESSAGES = 300
SLOW_OTHERS = 10
SLOW_WATCH_SECONDS = 15.0

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Plan:
    clients: tuple[int, ...]
    rounds: int
    deliveries: int
    acks: int
    payload: int
    idle: int
    leaving: int
    idle_seconds: int

    def messages(self, clients: int) -> int:
        return min(1000, max(5, self.deliveries // clients))

    def heartbeats(self, clients: int) -> int:
        return min(1000, max(2, self.acks // clients))


@dataclass(frozen=True, slots=True)
class Bench:
    peers: Peers
    plan: Plan


class Meter:
    """CPU and memory of a server between two moments, each taken when it has become idle."""

    def __init__(self, server: Server) -> None:
        self._server = server
        server.settle()
        self._cpu = server.cpu_seconds()
        self._rss = server.rss_bytes()

    def cpu_us(self, things: int) -> float:
        """Microseconds per thing since the last call."""
        self._server.settle()
        before, self._cpu = self._cpu, self._server.cpu_seconds()
        return (self._cpu - before) / things * 1e6

    def rss_bytes(self, things: int) -> float:
        """Bytes per thing since the beginning."""
        return (self._server.rss_bytes() - self._rss) / things


def warm_up(server: Server, load: Load, *, heartbeats: bool = True) -> None:
    """Every code path with a few clients, so that imports, first pages and compilers are not counted."""
    for _ in range(WARM_UP_CYCLES):
        load.connect(server, WARM_UP_CLIENTS)
        load.ask("disconnect")
    load.connect(server, WARM_UP_CLIENTS)
    if heartbeats:
        load.ask("broadcast", **publishing(server), messages=WARM_UP_EVENTS, payload=100)
        load.ask("heartbeat", each=WARM_UP_EVENTS)
    load.ask("disconnect")
    time.sleep(PRESENCE_GRACE + 0.5)


def core(bench: Bench, name: str, count: int) -> Figures:
    """Connect, idle memory, broadcast, acknowledged events, disconnect."""
    if name == FLOOR:
        return _floor(bench, count)
    plan = bench.plan
    with bench.peers.serve(name) as server, loading() as load:
        warm_up(server, load)
        meter = Meter(server)
        connected = load.connect(server, count)
        figures = {"connect_us": meter.cpu_us(count), "connects_per_second": count / connected["seconds"]}
        figures["rss_bytes"] = meter.rss_bytes(count)
        sent = load.ask("broadcast", **publishing(server), messages=plan.messages(count), payload=plan.payload)
        figures["delivery_us"] = meter.cpu_us(sent["deliveries"])
        figures["deliveries_per_second"] = sent["deliveries"] / sent["seconds"]
        acked = load.ask("heartbeat", each=plan.heartbeats(count))
        figures["ack_us"] = meter.cpu_us(acked["acks"])
        load.ask("disconnect")
        time.sleep(PRESENCE_GRACE + 0.5)  # going offline, a while later, is part of what a disconnect costs
        figures["disconnect_us"] = meter.cpu_us(count)
        return figures


def _floor(bench: Bench, count: int) -> Figures:
    with bench.peers.serve(FLOOR) as server, loading() as load:
        load.read(server, count)
        where = {"host": HOST, "port": server.port}
        load.ask("floor", **where, messages=5, payload=bench.plan.payload)
        meter = Meter(server)
        sent = load.ask("floor", **where, messages=bench.plan.messages(count), payload=bench.plan.payload)
        return {
            "delivery_us": meter.cpu_us(sent["deliveries"]),
            "deliveries_per_second": sent["deliveries"] / sent["seconds"],
        }


def coalescing(bench: Bench, name: str, count: int) -> Figures:
    """Five events to a client in one tick, against one: what the client asked for itself, and what another did."""
    with bench.peers.serve(ENGINE if name == ROOMCAST else name) as server, loading() as load:
        warm_up(server, load, heartbeats=False)
        load.connect(server, count)
        each = bench.plan.heartbeats(count)
        figures = {}
        for command in ("burst", "fan"):
            for events in (1, 5):
                load.ask(command, each=2, count=events)
                meter = Meter(server)
                turns = load.ask(command, each=each, count=events)["turns"]
                figures[f"{command}_{events}_us"] = meter.cpu_us(turns)
            figures[f"{command}_ratio"] = figures[f"{command}_5_us"] / figures[f"{command}_1_us"]
        return figures


def deflate(bench: Bench, name: str, count: int) -> Figures:
    """Frames of more than 1 KB, to clients that ask for compression and to clients that do not."""
    plain = _large_frames(bench, name, count, deflate=False)
    packed = _large_frames(bench, name, count, deflate=True)
    figures = {"large_us": plain["delivery_us"], "deflating": packed["deflating"]}
    if packed["deflating"]:
        figures["deflated_us"] = packed["delivery_us"]
        figures["deflate_rss_bytes"] = packed["rss_bytes"] - plain["rss_bytes"]
    return figures


def _large_frames(bench: Bench, name: str, count: int, *, deflate: bool) -> Figures:
    with bench.peers.serve(name, deflate=deflate) as server, loading() as load:
        warm_up(server, load)
        meter = Meter(server)
        connected = load.connect(server, count, deflate=deflate)
        meter.cpu_us(count)
        messages = max(5, bench.plan.messages(count) // 4)
        sent = load.ask("broadcast", **publishing(server), messages=messages, payload=LARGE_PAYLOAD)
        return {
            "delivery_us": meter.cpu_us(sent["deliveries"]),
            "rss_bytes": meter.rss_bytes(count),
            "deflating": connected["deflating"] / count,
        }


def stall(bench: Bench, name: str, count: int) -> Figures:
    """How long the event loop does nothing else: the longest heartbeat of one more client, in its own process."""
    plan = bench.plan
    with bench.peers.serve(name) as server, loading() as prober, loading() as leaving, loading() as staying:
        warm_up(server, prober)
        prober.connect(server, 1)
        with suppress(PermissionError):  # the probe shares a core with the load, and must not wait for it
            os.sched_setscheduler(prober.process.pid, os.SCHED_FIFO, os.sched_param(1))
        leaving.connect(server, plan.leaving, first=2)
        if count > plan.leaving:
            staying.connect(server, count - plan.leaving, first=2 + plan.leaving)
        time.sleep(2)
        idle = prober.ask("probe", seconds=plan.idle_seconds, interval=PROBE_MILLISECONDS)
        prober.tell("probe", seconds=DROP_SECONDS, interval=PROBE_MILLISECONDS)
        time.sleep(1)
        waited = _waited_ms(prober)
        leaving.ask("drop")
        dropped = prober.answer()
        waited = _waited_ms(prober) - waited
    return {
        "idle_stall_ms": idle["worst_ms"],
        "idle_median_ms": idle["median_ms"],
        "drop_stall_ms": dropped["worst_ms"],
        "drop_waited_ms": waited,
    }


def _waited_ms(load: Load) -> float:
    """How long a load process has been ready to run and was not run."""
    return int(Path(f"/proc/{load.process.pid}/schedstat").read_text().split()[1]) / 1e6


def slow(bench: Bench, name: str, count: int) -> Figures:
    """60 MB to a room in which one client does not read."""
    with bench.peers.serve(name) as server, loading() as load:
        warm_up(server, load)
        load.connect(server, count)
        options = {**publishing(server), "payload": SLOW_PAYLOAD, "timed": True}
        load.tell("broadcast", **options, messages=SLOW_CONTROL_MESSAGES)
        usual, _ = _watch(server, load, None)
        control = load.answer()
        with slow_reader(server) as reader:
            load.tell("broadcast", **options, messages=SLOW_MESSAGES)
            peak, cut = _watch(server, load, reader)
            sent = load.answer()
    return {
        "slow_rss_bytes": max(0, peak - usual),
        "slow_cut_seconds": cut,
        "slow_delay_ms": sent["worst_delay_ms"],
        "slow_usual_delay_ms": control["worst_delay_ms"],
    }


def _watch(server: Server, load: Load, reader: SlowReader | None) -> tuple[int, float]:
    """Peak memory until the broadcast is done, and after how long the reader was cut; infinity if it was not."""
    started = time.monotonic()
    peak, cut = 0, math.inf
    done = False
    while not done or (reader and cut == math.inf and time.monotonic() - started < SLOW_WATCH_SECONDS):
        done = load.ready(0.02)
        if done:
            time.sleep(0.02)
        peak = max(peak, server.rss_bytes())
        if reader and cut == math.inf and not reader.connected():
            cut = time.monotonic() - started
    return peak, cut


@dataclass(frozen=True, slots=True)
class Phase:
    """`counts` says with how many clients it is run."""

    measure: Callable[[Bench, str, int], Figures]
    title: str
    peers: tuple[str, ...]
    counts: Callable[[Plan], tuple[int, ...]]


SOCKET_IO = (ROOMCAST, NODE, STOCK)
PHASES = {
    "core": Phase(core, "{} clients", (ROOMCAST, FLOOR, NODE, STOCK), lambda plan: plan.clients),
    "coalescing": Phase(coalescing, "events in one tick, {} clients", SOCKET_IO, lambda plan: (min(plan.clients),)),
    "deflate": Phase(deflate, "frames of 4 KB, {} clients", SOCKET_IO, lambda plan: (min(plan.clients),)),
    "slow": Phase(slow, "a client that does not read, {} others", SOCKET_IO, lambda _: (SLOW_OTHERS,)),
    "inbox": Phase(
        lambda bench, _name, users: inbox.measure_sqlite(bench.peers, users),
        "the inbox on SQLite, 200,000 known users, {} connecting",
        (ROOMCAST,),
        lambda plan: (min(plan.clients),),
    ),
    "inbox-mongodb": Phase(
        lambda bench, _name, users: inbox.measure_mongodb(bench.peers, users),
        "the inbox on MongoDB or what the tests use for it, {} clients",
        (ROOMCAST,),
        lambda _: (inbox.SOCKETS,),
    ),
    "stall": Phase(stall, "responsiveness, {} idle clients", (ROOMCAST,), lambda plan: (plan.idle,)),
}


def check(plan: Plan) -> None:
    """Refuses a plan that cannot be run."""
    if plan.leaving > plan.idle:
        raise BenchError("more clients cannot leave (--leaving) than there are (--idle)")
