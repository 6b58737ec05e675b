"""A MongoDB-compatible server for the tests of one process, and databases in it that no other test uses."""

import fcntl
import functools
import os
import secrets
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qsl, quote_plus, urlencode, urlsplit, urlunsplit

from pymongo import MongoClient

SCRIPT = Path(__file__).parents[1] / "scripts/mongo-test-server"
BUILD_SECONDS = 900.0
START_SECONDS = 70.0
STOP_SECONDS = 15.0
PREFIX = "rt_"


class NoServer(Exception):
    """There is no server, and the reason."""


@contextmanager
def serve(directory: Path) -> Iterator[str]:
    """Give the URI of a server that ends afterwards, and with this process. Raises NoServer.

    What it stores and says is in `directory`. Where it runs on, the databases made meanwhile are dropped.
    """
    errors = directory / "stderr.txt"
    _build(errors)
    # The server ends with its stdin, whose other end only this process has.
    with (
        errors.open("ab") as stderr,
        subprocess.Popen(
            [SCRIPT, "--until-eof"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=_environment(TMPDIR=str(directory)),
        ) as process,
    ):
        try:
            uri = _first_line(process)
            if not uri:
                raise NoServer(_last_line(errors))
            yield uri
            if uri == os.environ.get("MONGODB_TEST_URI"):
                _drop_databases(uri)
        finally:
            _stop(process)


def fresh_database(uri: str) -> str:
    """Return the URL of a database that is not there yet."""
    host = urlsplit(uri)
    query = dict(parse_qsl(host.query))
    if "@" in host.netloc:
        query.setdefault("authSource", host.path.strip("/") or "admin")
    name = f"{PREFIX}{_maker()}_{secrets.token_hex(6)}"
    return urlunsplit((host.scheme, host.netloc, f"/{name}", urlencode(query, quote_via=quote_plus), ""))


@functools.cache
def _maker() -> str:
    """Return what tells this process's databases from those of others."""
    return secrets.token_hex(4)


def _environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHON": sys.executable, **more}


def _build(errors: Path) -> None:
    """Make the server; of several processes the first does it and the others wait."""
    with SCRIPT.open("rb") as lock, errors.open("wb") as stderr:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            command = [str(SCRIPT), "--build"]
            built = subprocess.run(command, stderr=stderr, env=_environment(), timeout=BUILD_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise NoServer(f"No MongoDB server for tests: it is not built after {BUILD_SECONDS:g} s") from None
    if built.returncode != 0:
        raise NoServer(_last_line(errors))


def _first_line(process: "subprocess.Popen[bytes]") -> str:
    """Return the URI, or nothing when the server ends or takes too long."""
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], START_SECONDS)
    return process.stdout.readline().decode().strip() if readable else ""


def _last_line(errors: Path) -> str:
    lines = errors.read_text(errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "No MongoDB server for tests, for no known reason")


def _drop_databases(uri: str) -> None:
    client: MongoClient[dict[str, object]] = MongoClient(uri)
    with client:
        for name in client.list_database_names():
            if name.startswith(f"{PREFIX}{_maker()}_"):
                client.drop_database(name)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
