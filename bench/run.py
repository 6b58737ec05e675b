"""Measures a real server process with real clients: `make bench`, or `python bench/run.py --help`.

The server (`python -m realtime serve`) is pinned to the first core and the load (bench/load/load.mjs) to the
others, so that neither steals from the other. CPU is utime + stime of the server process, in ticks of 10 ms; a phase
ends when that stands still, so that work the server put off is counted too. README.md says how to read the lines.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import platform
import resource
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt

ROOT = Path(__file__).resolve().parent.parent
LOAD = ROOT / "bench" / "load" / "load.mjs"
RESULTS = ROOT / "bench" / "results" / "latest.json"

HOST = "127.0.0.1"
ROOM = "work_order_1"
WARM_UP_CLIENTS = 20
MAX_CLIENTS = 20_000
START_SECONDS = 30.0
PHASE_SECONDS = 120.0
PRESENCE_GRACE = 1
TICK = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """What made the measurement impossible, in words for the person who ran it."""


@dataclass(frozen=True, slots=True)
class Plan:
    clients: int
    rounds: int
    messages: int
    heartbeats: int
    payload: int


@dataclass(frozen=True, slots=True)
class Round:
    """One pass over all phases; CPU in microseconds per thing, rates per second."""

    connects_per_second: float
    connect_cpu_us: float
    rss_bytes_per_connection: float
    deliveries_per_second: float
    delivery_cpu_us: float
    acks_per_second: float
    ack_cpu_us: float
    disconnect_cpu_us: float


@dataclass(frozen=True, slots=True)
class Line:
    field: str
    label: str
    unit: str
    target: str = ""


LINES = (
    Line("connects_per_second", "connect rate", "clients/s"),
    Line("connect_cpu_us", "connect + JWT + joins, server CPU", "us", "<= 320"),
    Line("rss_bytes_per_connection", "memory per connection, RSS", "bytes", "<= 6144"),
    Line("deliveries_per_second", "room broadcast", "deliveries/s"),
    Line("delivery_cpu_us", "room broadcast, server CPU per delivery", "us"),
    Line("acks_per_second", "events with ack", "events/s"),
    Line("ack_cpu_us", "event with ack, server CPU", "us", "<= 20"),
    Line("disconnect_cpu_us", "disconnect, server CPU", "us", "<= 50"),
)


@dataclass(frozen=True, slots=True)
class Server:
    pid: int
    url: str
    secret: str

    def cpu_seconds(self) -> float:
        """utime + stime so far; the command's name may hold spaces, so fields are counted after its `)`."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def rss_bytes(self) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise BenchError("the server has no VmRSS: it has ended")

    def event_loop(self) -> str:
        return "uvloop" if "uvloop" in Path(f"/proc/{self.pid}/maps").read_text() else "asyncio"

    def settle(self, *, quiet: float = 0.3, limit: float = 10.0) -> None:
        """Waits until the server used no more than one tick in `quiet` seconds."""
        deadline = time.monotonic() + limit
        before = self.cpu_seconds()
        while time.monotonic() < deadline:
            time.sleep(quiet)
            now = self.cpu_seconds()
            if now - before <= 1.5 / TICK:
                return
            before = now
        raise BenchError(f"the server was still busy {limit:.0f} s after a phase ended")

    def token(self, user_id: str, *, role: str) -> str:
        now = int(time.time())
        claims = {"sub": user_id, "role": role, "name": f"Bench {user_id}", "iat": now, "exp": now + 3600}
        return jwt.encode(claims, self.secret, algorithm="HS256")


@dataclass(frozen=True, slots=True)
class Load:
    process: subprocess.Popen[str]

    def ask(self, command: str, **options: Any) -> dict[str, Any]:
        """One command, one answer; the load itself ends a command that takes longer than PHASE_SECONDS."""
        stdin, stdout = self.process.stdin, self.process.stdout
        if stdin is None or stdout is None:
            raise BenchError("the load has no pipes")
        try:
            print(json.dumps({"command": command, "limit": PHASE_SECONDS, **options}), file=stdin, flush=True)
            line = stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise BenchError("the load process ended; is bench/load installed (make bench does it)?")
        answer: dict[str, Any] = json.loads(line)
        if not answer.pop("ok"):
            raise BenchError(f"{command}: {answer['error']}")
        return answer


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def split_cores() -> tuple[set[int], set[int]]:
    """The server's core and the load's; the same set twice on a machine with one core."""
    cores = sorted(os.sched_getaffinity(0))
    return (set(cores[:1]), set(cores[1:])) if len(cores) > 1 else (set(cores), set(cores))


@contextlib.contextmanager
def stopping(process: subprocess.Popen[str]) -> Iterator[None]:
    """Ends the process when the block is left: SIGTERM, five seconds later SIGKILL."""
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def serving(directory: Path) -> Iterator[Server]:
    """A server of its own: temporary database, random secret, none of the caller's settings."""
    port = free_port()
    secret = secrets.token_hex(32)
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "JWT_SECRET": secret,
        "DATABASE_URL": f"sqlite:///{directory}/bench.db",
        "PRESENCE_AUDIENCE": "none",
        "PRESENCE_GRACE": str(PRESENCE_GRACE),
        "CONNECTIONS_PER_IP": "0",
    }
    log = directory / "server.log"
    command = [sys.executable, "-m", "realtime", "serve", "--host", HOST, "--port", str(port)]
    with log.open("w") as output:
        # Its own directory, so that neither a .env file nor data/ of the checkout plays a part.
        process = subprocess.Popen(command, cwd=directory, env=env, stdout=output, stderr=output, text=True)
    with stopping(process):
        wait_until_listening(process, log)
        yield Server(pid=process.pid, url=f"http://{HOST}:{port}", secret=secret)


def wait_until_listening(process: subprocess.Popen[str], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        text = log.read_text()
        if "listening on" in text:
            return
        if process.poll() is not None:
            raise BenchError(f"the server ended with code {process.returncode}:\n{text[-2000:]}")
        time.sleep(0.05)
    raise BenchError(f"the server did not listen within {START_SECONDS:.0f} s:\n{text[-2000:]}")


@contextlib.contextmanager
def loading() -> Iterator[Load]:
    try:
        process = subprocess.Popen(["node", str(LOAD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    except FileNotFoundError:
        raise BenchError("Node.js 20 is needed: there is no `node`") from None
    with stopping(process):
        yield Load(process)


def connect(server: Server, load: Load, count: int) -> dict[str, Any]:
    tokens = [server.token(str(number), role="technician") for number in range(1, count + 1)]
    return load.ask("connect", url=server.url, tokens=tokens, room=ROOM)


def measure(server: Server, load: Load, plan: Plan) -> Round:
    publisher = server.token("publisher", role="service")
    server.settle()
    marks = [server.cpu_seconds()]
    rss_before = server.rss_bytes()

    def cpu_us(things: int) -> float:
        server.settle()
        marks.append(server.cpu_seconds())
        return (marks[-1] - marks[-2]) / things * 1e6

    connected = connect(server, load, plan.clients)
    connect_cpu = cpu_us(plan.clients)
    rss_after = server.rss_bytes()
    sent = load.ask(
        "broadcast", url=server.url, token=publisher, room=ROOM, messages=plan.messages, payload=plan.payload
    )
    delivery_cpu = cpu_us(sent["deliveries"])
    acked = load.ask("heartbeat", each=plan.heartbeats)
    ack_cpu = cpu_us(acked["acks"])
    load.ask("disconnect")
    # Going offline, PRESENCE_GRACE later, is part of what a disconnect costs.
    time.sleep(PRESENCE_GRACE + 0.5)
    return Round(
        connects_per_second=plan.clients / connected["seconds"],
        connect_cpu_us=connect_cpu,
        rss_bytes_per_connection=(rss_after - rss_before) / plan.clients,
        deliveries_per_second=sent["deliveries"] / sent["seconds"],
        delivery_cpu_us=delivery_cpu,
        acks_per_second=acked["acks"] / acked["seconds"],
        ack_cpu_us=ack_cpu,
        disconnect_cpu_us=cpu_us(plan.clients),
    )


def warm_up(server: Server, load: Load, plan: Plan) -> None:
    """Every code path once with a few clients, so that imports and first pages are not counted."""
    measure(server, load, dataclasses.replace(plan, clients=WARM_UP_CLIENTS, messages=5, heartbeats=5))


def summarise(rounds: list[Round]) -> dict[str, float]:
    """The median round per line, except memory: later rounds reuse what the first one freed."""
    summary = {line.field: statistics.median(getattr(one, line.field) for one in rounds) for line in LINES}
    return summary | {"rss_bytes_per_connection": rounds[0].rss_bytes_per_connection}


def cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def machine(event_loop: str) -> dict[str, Any]:
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": cpu_model(),
        "python": platform.python_version(),
        "event_loop": event_loop,
        "kernel": platform.release(),
    }


def table(summary: dict[str, float], plan: Plan) -> str:
    width = max(len(line.label) for line in LINES)
    title = f"{plan.clients} clients, {plan.rounds} round{'s' if plan.rounds > 1 else ''}"
    rows = [f"{title:<{width}}  {'measured':>12}  {'unit':<12}  target"]
    for line in LINES:
        value = summary[line.field]
        number = f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
        rows.append(f"{line.label:<{width}}  {number:>12}  {line.unit:<12}  {line.target}".rstrip())
    return "\n".join(rows)


def save(facts: dict[str, Any], plan: Plan, rounds: list[Round], summary: dict[str, float]) -> None:
    document = {
        "machine": facts,
        "plan": dataclasses.asdict(plan),
        "summary": {name: round(value, 2) for name, value in summary.items()},
        "rounds": [{name: round(value, 2) for name, value in dataclasses.asdict(one).items()} for one in rounds],
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    unfinished = RESULTS.with_suffix(".tmp")
    unfinished.write_text(json.dumps(document, indent=2) + "\n")
    unfinished.replace(RESULTS)


def allow_open_files(clients: int) -> None:
    """One socket per client on each side; children inherit the limit."""
    needed = clients + 200
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise BenchError(f"{clients} clients need {needed} open files; the limit here is {hard} (ulimit -Hn)")
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def run(plan: Plan) -> None:
    allow_open_files(plan.clients)
    all_cores = os.sched_getaffinity(0)
    server_cores, load_cores = split_cores()
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="roomcast-bench-")))
        # A child inherits the affinity of the moment it is started.
        os.sched_setaffinity(0, server_cores)
        server = stack.enter_context(serving(directory))
        os.sched_setaffinity(0, load_cores)
        load = stack.enter_context(loading())
        warm_up(server, load, plan)
        rounds = []
        for number in range(1, plan.rounds + 1):
            print(f"round {number} of {plan.rounds} ...", file=sys.stderr, flush=True)
            rounds.append(measure(server, load, plan))
        event_loop = server.event_loop()
    os.sched_setaffinity(0, all_cores)
    summary = summarise(rounds)
    facts = machine(event_loop)
    save(facts, plan, rounds, summary)
    print(f"{facts['cores']} x {facts['cpu']}, Python {facts['python']}, {event_loop}")
    print(table(summary, plan))
    print(f"written to {RESULTS.relative_to(ROOT)}")


def bounded(low: int, high: int) -> Any:
    def parse(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be from {low} to {high}")
        return value

    return parse


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure a Roomcast server on this machine (127.0.0.1 only).")
    parser.add_argument("--clients", type=bounded(1, MAX_CLIENTS), default=1000)
    parser.add_argument("--rounds", type=bounded(1, 20), default=3)
    parser.add_argument("--messages", type=bounded(1, 1000), default=100, help="broadcasts per round")
    parser.add_argument("--heartbeats", type=bounded(1, 1000), default=20, help="acked events per client and round")
    parser.add_argument("--payload", type=bounded(1, 100_000), default=100, help="characters in a broadcast")
    plan = Plan(**vars(parser.parse_args()))
    # SIGTERM must unwind too, or the server would outlive the benchmark.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        run(plan)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
