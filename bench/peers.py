"""The servers that are compared: how each is built, started on its own core, watched and ended."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jwt

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / "bench"

HOST = "127.0.0.1"
START_SECONDS = 30.0
STOP_SECONDS = 10.0
SETTLE_SECONDS = 30.0
QUIET_SECONDS = 0.3
QUIET_CPU = 0.015
PRESENCE_GRACE = 1

ROOMCAST, FLOOR, NODE, STOCK = "roomcast", "floor", "node", "stock"
PEERS = (ROOMCAST, FLOOR, NODE, STOCK)
ENGINE = "engine"
"""Roomcast's engine without the application: bench/engine.py."""


class BenchError(Exception):
    """What made a measurement impossible, in words for the person who ran it."""


@dataclass(frozen=True, slots=True)
class Server:
    pid: int
    port: int
    secret: str

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def cpu_seconds(self) -> float:
        """User + system time of all its threads so far, from the clock that Linux keeps per process."""
        try:
            return time.clock_gettime((~self.pid << 3) | 2)
        except OSError:
            raise BenchError("the server has ended") from None

    def rss_bytes(self) -> int:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        raise BenchError("the server has ended")

    def event_loop(self) -> str:
        return "uvloop" if "uvloop" in Path(f"/proc/{self.pid}/maps").read_text() else "asyncio"

    def settle(self) -> None:
        """Waits until the server is all but idle, so that work it put off is counted too."""
        deadline = time.monotonic() + SETTLE_SECONDS
        before = self.cpu_seconds()
        while time.monotonic() < deadline:
            time.sleep(QUIET_SECONDS)
            now = self.cpu_seconds()
            if now - before <= QUIET_CPU:
                return
            before = now
        raise BenchError(f"the server was still busy {SETTLE_SECONDS:.0f} s after a phase ended")

    def token(self, user_id: str, *, role: str) -> str:
        now = int(time.time())
        claims = {"sub": user_id, "role": role, "name": f"Bench {user_id}", "iat": now, "exp": now + 3600}
        return jwt.encode(claims, self.secret, algorithm="HS256")


@contextlib.contextmanager
def stopping(process: subprocess.Popen[str]) -> Iterator[None]:
    """Ends the process when the block is left: SIGTERM, some seconds later SIGKILL."""
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def pinned(cores: set[int]) -> Iterator[None]:
    """Runs the block on these cores. A child keeps the cores of the moment it is started."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def split_cores() -> tuple[set[int], set[int]]:
    """The server's core and the load's; the same set twice on a machine with one core."""
    cores = sorted(os.sched_getaffinity(0))
    return (set(cores[:1]), set(cores[1:])) if len(cores) > 1 else (set(cores), set(cores))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def build_floor(directory: Path) -> Path:
    """Compiles bench/peers/floor.c."""
    binary = directory / "floor"
    command = ["cc", "-O2", "-o", str(binary), str(BENCH / "peers" / "floor.c")]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise BenchError("the floor needs a C compiler (cc); leave it out with --peers roomcast,node,stock") from None
    if done.returncode:
        raise BenchError(f"the floor does not compile:\n{done.stderr[-2000:]}")
    return binary


@dataclass(frozen=True, slots=True)
class Peers:
    """Starts any of the servers, each time a fresh process on `cores`."""

    cores: set[int]
    floor: Path | None = None

    @contextlib.contextmanager
    def serve(self, name: str, *, deflate: bool = False, database: str | None = None) -> Iterator[Server]:
        """A server in a directory of its own, with a random secret and none of the caller's settings.

        `database` is the URL of one that is there already.
        """
        with tempfile.TemporaryDirectory(prefix="roomcast-bench-") as directory, contextlib.ExitStack() as stack:
            port, secret = free_port(), secrets.token_hex(32)
            log = Path(directory) / "server.log"
            environment = _environment(name, Path(directory), port, secret, deflate=deflate)
            if database is not None:
                environment["DATABASE_URL"] = database
            with log.open("w") as output, pinned(self.cores):
                process = subprocess.Popen(
                    self._command(name, port),
                    cwd=directory,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    text=True,
                )
            stack.enter_context(stopping(process))
            wait_until_listening(name, process, port, log)
            yield Server(pid=process.pid, port=port, secret=secret)

    def _command(self, name: str, port: int) -> list[str]:
        if name == FLOOR:
            return [str(self.floor), str(port)]
        return {
            ROOMCAST: [sys.executable, "-m", "realtime", "serve", "--host", HOST, "--port", str(port)],
            ENGINE: [sys.executable, str(BENCH / "engine.py")],
            STOCK: [sys.executable, str(BENCH / "peers" / "stock.py")],
            NODE: ["node", str(BENCH / "peers" / "node" / "server.mjs")],
        }[name]


def _environment(name: str, directory: Path, port: int, secret: str, *, deflate: bool) -> dict[str, str]:
    common = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "PYTHONUNBUFFERED": "1",
        "PORT": str(port),
        "JWT_SECRET": secret,
    }
    if name == NODE:
        return common | {"DEFLATE": "1" if deflate else "0"}
    if name == STOCK:
        return common
    return common | {
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": f"sqlite:///{directory}/bench.db",
        "PRESENCE_AUDIENCE": "none",
        "PRESENCE_GRACE": str(PRESENCE_GRACE),
        "CONNECTIONS_PER_IP": "0",
    }


def command_environment(database: str) -> dict[str, str]:
    """What a command of Roomcast needs to work on a database."""
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "DATABASE_URL": database}


def wait_until_listening(name: str, process: subprocess.Popen[str], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            code = process.returncode
            ending = signal.Signals(-code).name if code < 0 else f"code {code}"
            raise BenchError(f"{name} ended with {ending}:\n{log.read_text()[-2000:]}")
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            return
        time.sleep(0.05)
    raise BenchError(f"{name} did not listen within {START_SECONDS:.0f} s:\n{log.read_text()[-2000:]}")
