"""Compares Roomcast with its peers, side by side: `make bench`, or `python bench/run.py --help`.

Every server is pinned to the first core and the load to the others, so that neither steals from the other. The rounds
go through all peers in turn, so that a slow minute of the machine hits all of them. README.md explains the rows.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import os
import platform
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from peers import FLOOR, PEERS, ROOMCAST, ROOT, BenchError, Peers, build_floor, pinned, split_cores
from phases import PHASES, Bench, Plan, check
from report import Record, save, table

RESULTS = ROOT / "bench" / "results" / "latest.json"
MAX_CLIENTS = 18_000
SPARE_FILES = 200

Step = tuple[int, str, int, str]
"""Round, phase, number of clients, peer."""


def steps(plan: Plan, peers: list[str], phases: list[str]) -> Iterator[Step]:
    for number in range(1, plan.rounds + 1):
        for phase in phases:
            for clients in PHASES[phase].counts(plan):
                for peer in PHASES[phase].peers:
                    if peer in peers:
                        yield number, phase, clients, peer


def measure(bench: Bench, peers: list[str], phases: list[str], deadline: float) -> tuple[list[Record], list[str]]:
    """Runs all steps until the time is up. A step that fails is told and left out."""
    records: list[Record] = []
    failures: list[str] = []
    for number, phase, clients, peer in steps(bench.plan, peers, phases):
        label = f"round {number} of {bench.plan.rounds}, {phase}, {clients} clients, {peer}"
        if time.monotonic() > deadline:
            failures.append(f"{label}: the time was up (--minutes)")
            break
        print(label, file=sys.stderr, flush=True)
        try:
            figures = PHASES[phase].measure(bench, peer, clients)
        except BenchError as error:
            failures.append(f"{label}: {error}")
            print(f"  failed: {error}", file=sys.stderr, flush=True)
        else:
            records.append(Record(phase, clients, peer, number, figures))
    return records, failures


def machine(bench: Bench, peers: list[str]) -> dict[str, Any]:
    facts = {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": cpu_model(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "node": node_version(),
        "python-socketio": importlib.metadata.version("python-socketio"),
        "aiohttp": importlib.metadata.version("aiohttp"),
    }
    if ROOMCAST in peers:
        with contextlib.suppress(BenchError), bench.peers.serve(ROOMCAST) as server:
            facts["event_loop"] = server.event_loop()
    return facts


def node_version() -> str:
    try:
        done = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise BenchError("Node.js 20 is needed: there is no `node`") from None
    return done.stdout.strip()


def cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def allow_open_files(clients: int) -> None:
    """One socket per client on each side; children inherit the limit."""
    needed = clients + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise BenchError(f"{clients} clients need {needed} open files; the limit here is {hard} (ulimit -Hn)")
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def run(plan: Plan, peers: list[str], phases: list[str], *, minutes: int, output: Path) -> int:
    check(plan)
    allow_open_files(max(*plan.clients, plan.idle))
    server_cores, load_cores = split_cores()
    with tempfile.TemporaryDirectory(prefix="roomcast-bench-") as directory:
        floor = build_floor(Path(directory)) if FLOOR in peers else None
        bench = Bench(Peers(server_cores, floor), plan)
        facts = machine(bench, peers)
        with pinned(load_cores):
            records, failures = measure(bench, peers, phases, time.monotonic() + minutes * 60)
    save(output, facts, plan, records, failures)
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    print(f"median of {plan.rounds} round{'s' if plan.rounds > 1 else ''}")
    print(table(records))
    for failure in failures:
        print(f"not measured: {failure.strip().splitlines()[0]}")
    print(f"written to {output}")
    return 1 if failures else 0


def bounded(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"must be from {low} to {high}")
        return value

    return parse


def sizes(text: str) -> tuple[int, ...]:
    return tuple(sorted({bounded(1, MAX_CLIENTS)(word) for word in text.split(",")}))


def some_of(known: tuple[str, ...]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        words = text.split(",")
        if not set(words) <= set(known):
            raise argparse.ArgumentTypeError(f"must be some of {','.join(known)}")
        return [name for name in known if name in words]

    return parse


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare a Roomcast server with others, on this machine only.")
    parser.add_argument("--clients", type=sizes, default=(1000, 5000), help="a comma list, default 1000,5000")
    parser.add_argument("--rounds", type=bounded(1, 20), default=3)
    parser.add_argument("--peers", type=some_of(PEERS), default=list(PEERS), help=f"some of {','.join(PEERS)}")
    parser.add_argument("--phases", type=some_of(tuple(PHASES)), default=list(PHASES), help=f"of {','.join(PHASES)}")
    parser.add_argument("--deliveries", type=bounded(1000, 5_000_000), default=200_000, help="a broadcast phase's")
    parser.add_argument("--acks", type=bounded(1000, 5_000_000), default=40_000, help="acknowledged events of a phase")
    parser.add_argument("--payload", type=bounded(1, 100_000), default=100, help="characters in a broadcast")
    parser.add_argument("--idle", type=bounded(1, MAX_CLIENTS), default=10_000, help="idle clients of the stall phase")
    parser.add_argument("--leaving", type=bounded(1, MAX_CLIENTS), default=5000, help="of them, leave all at once")
    parser.add_argument("--idle-seconds", type=bounded(1, 100), default=32, help="a ping interval and a bit")
    parser.add_argument("--minutes", type=bounded(1, 600), default=90, help="no step starts later than this")
    parser.add_argument("--output", type=Path, default=RESULTS)
    return parser.parse_args()


def main() -> int:
    options = vars(arguments())
    outer = {name: options.pop(name) for name in ("peers", "phases", "minutes", "output")}
    # SIGTERM must unwind too, or the servers would outlive the benchmark.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return run(Plan(**options), **outer)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
