"""The inbox: durable notifications under load, broadcasts to everybody known, counts, sync, and connecting."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from driver import Load, loading
from peers import ROOMCAST, ROOT, BenchError, Peers, Server, command_environment, pinned

KNOWN_USERS = 200_000
SOCKETS = 64
POSTS = 10_000
WARM_UP_POSTS = 1000
MONGO_POSTS = 200
MONGO_WIDTH = 4
"""The stand-in for MongoDB looks for everything without an index, and one command at a time."""

BROADCASTS = 20
SYNCS = 50
COMMAND_SECONDS = 300.0
Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Database:
    """Where a phase keeps its data. `path` is None for a server's database."""

    url: str
    path: Path | None = None

    def size(self) -> int:
        """Bytes on disk, with what is still in the log."""
        if self.path is None:
            return 0
        return sum(file.stat().st_size for file in self.path.parent.glob(f"{self.path.name}*"))


@contextlib.contextmanager
def sqlite() -> Iterator[Database]:
    with tempfile.TemporaryDirectory(prefix="roomcast-bench-") as directory:
        path = Path(directory) / "inbox.db"
        yield Database(f"sqlite:///{path}", path)


@contextlib.contextmanager
def mongodb() -> Iterator[Database]:
    """The MongoDB-compatible server that the tests use; mongod when it is on PATH."""
    command = [str(ROOT / "scripts" / "mongo-test-server")]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    try:
        uri = ""
        while process.stdout is not None and not uri.startswith("mongodb://"):
            uri = process.stdout.readline().strip()
            if not uri:
                raise BenchError("there is no MongoDB server to measure with (scripts/mongo-test-server)")
        yield Database(f"{uri.rstrip('/')}/bench")
    finally:
        process.terminate()
        process.wait(30)


def run_python(peers: Peers, *words: str, url: str, stdin: str | None = None) -> str:
    """Run a program of ours on the server's core; returns what it printed."""
    with pinned(peers.cores):
        done = subprocess.run(
            [sys.executable, *words],
            input=stdin,
            env=command_environment(url),
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
    if done.returncode:
        raise BenchError(f"{' '.join(words[:3])} failed: {done.stderr[-500:]}")
    return done.stdout


def store(peers: Peers, command: str, database: Database, users: int = 0) -> dict[str, Any]:
    words = (str(ROOT / "bench" / "store.py"), command, database.url, "--users", str(users))
    answer: dict[str, Any] = json.loads(run_python(peers, *words, url=database.url))
    return answer


def know_everybody(peers: Peers, database: Database, users: int) -> float:
    """Import users; returns the seconds it took."""
    people = "".join(f'{{"id":"{number}","name":"Person {number}","role":"user"}}\n' for number in range(1, users + 1))
    with tempfile.TemporaryDirectory(prefix="roomcast-bench-") as directory:
        file = Path(directory) / "people.jsonl"
        file.write_text(people)
        before = time.monotonic()
        run_python(peers, "-m", "realtime", "import-users", str(file), url=database.url)
        return time.monotonic() - before


def post(peers: Peers, database: Database, *, posts: int, width: int = SOCKETS) -> Figures:
    """Notifications to single users, `width` requests at a time, each heard by a connected socket."""
    with peers.serve(ROOMCAST, database=database.url) as server, loading() as load:
        load.connect(server, SOCKETS)
        options = {
            "url": server.url,
            "token": server.token("sender", role="service"),
            "users": [str(number) for number in range(1, SOCKETS + 1)],
            "width": width,
        }
        load.ask("notify", **options, posts=min(posts // 10, WARM_UP_POSTS))
        server.settle()
        before = server.cpu_seconds()
        told = load.ask("notify", **options, posts=posts)
        server.settle()
        return {
            "posts_per_second": posts / told["seconds"],
            "post_cpu_us": (server.cpu_seconds() - before) / posts * 1e6,
            "post_answered_p99_ms": told["answered_p99_ms"],
            "post_delivered_p99_ms": told["delivered_p99_ms"],
        }


def broadcast(peers: Peers, database: Database) -> Figures:
    """Notifications to everybody known, while somebody is connected."""
    with peers.serve(ROOMCAST, database=database.url) as server, loading() as load:
        load.connect(server, SOCKETS)
        body = {"audience": "all", "type": "news", "title": "We close at noon", "message": "Open again on Monday."}
        options = {"method": "POST", "url": f"{server.url}/api/notifications", "token": _sender(server), "body": body}
        load.ask("repeat", **options, times=2)
        server.settle()
        before = database.size()
        told = load.ask("repeat", **options, times=BROADCASTS)
        server.settle()
        return {
            "broadcast_answered_ms": told["answered_worst_ms"],
            "broadcast_bytes": (database.size() - before) / BROADCASTS,
        }


def sync(peers: Peers, database: Database) -> Figures:
    """The answer to a client that comes back, over HTTP, ten changes later."""
    with peers.serve(ROOMCAST, database=database.url) as server, loading() as load:
        url, token = f"{server.url}/api/notifications", server.token("1", role="user")
        place = _place(load, f"{url}/sync?limit=500", token)
        body = {"userId": "1", "type": "parts", "title": "Part 8", "message": "It has arrived."}
        load.ask("repeat", method="POST", url=url, token=_sender(server), body=body, times=10)
        told = load.ask("repeat", method="GET", url=f"{url}/sync?since={place}", token=token, times=SYNCS)
        if len(told["answer"]["changes"]) != 10:
            raise BenchError(f"sync answered {len(told['answer']['changes'])} changes, not 10")
        return {"sync_http_ms": told["answered_median_ms"]}


def _place(load: Load, url: str, token: str) -> str:
    """Read the whole inbox, as a client does that comes for the first time."""
    address = url
    for _ in range(1000):
        answer = load.ask("repeat", method="GET", url=address, token=token, times=1)["answer"]
        if not answer["hasMore"]:
            return str(answer["token"])
        address = f"{url}&since={answer['token']}"
    raise BenchError("sync does not end")


def _sender(server: Server) -> str:
    return server.token("sender", role="service")


def connecting(peers: Peers, users: int) -> Figures:
    """CPU of a connect when inboxes are full, over that when they are empty."""
    spent = []
    for full in (False, True):
        with sqlite() as database:
            know_everybody(peers, database, users)
            if full:
                store(peers, "fill", database, users)
            with peers.serve(ROOMCAST, database=database.url) as server, loading() as load:
                load.connect(server, 20)
                load.ask("disconnect")
                server.settle()
                before = server.cpu_seconds()
                load.connect(server, users)
                server.settle()
                spent.append(server.cpu_seconds() - before)
    return {"connect_full_ratio": spent[1] / spent[0]}


def measure_sqlite(peers: Peers, users: int) -> Figures:
    figures: Figures = {}
    with sqlite() as database:
        figures["import_seconds"] = know_everybody(peers, database, KNOWN_USERS)
        figures |= broadcast(peers, database)
        figures |= store(peers, "time", database)
        figures |= sync(peers, database)
    with sqlite() as database:
        figures |= post(peers, database, posts=POSTS)
    return figures | connecting(peers, users)


def measure_mongodb(peers: Peers, _users: int) -> Figures:
    with mongodb() as database:
        return post(peers, database, posts=MONGO_POSTS, width=MONGO_WIDTH)
