"""A server per module and kind of database, clients per test. Modules share nothing, so they run side by side."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.browser import Browser
from tests.e2e.node import Clients
from tests.e2e.plain import PlainClients
from tests.e2e.process import Server
from tests.e2e.site import Site
from tests.mongo import fresh_database

StartServer = Callable[..., Server]
DatabaseOf = Callable[[Path], str]


@pytest.fixture(scope="module", params=["sqlite", "mongo"])
def database_of(request: pytest.FixtureRequest) -> DatabaseOf:
    """Return the URL of the database that belongs to a server's directory, the same one each time."""
    if request.param == "sqlite":
        return lambda home: f"sqlite:///{home / 'realtime.db'}"
    uri: str = request.getfixturevalue("mongo_uri")
    known: dict[Path, str] = {}
    return lambda home: known.setdefault(home, fresh_database(uri))


@pytest.fixture(scope="module")
def start_server(database_of: DatabaseOf, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartServer]:
    """Start servers with settings of one's own; at the end all are stopped and their logs searched for secrets."""
    with ExitStack() as started:

        def start(*, dev: bool = False, home: Path | None = None, **settings: object) -> Server:
            directory = home or tmp_path_factory.mktemp("server")
            server = Server(directory, dev=dev, **{"DATABASE_URL": database_of(directory), **settings})
            started.callback(server.stop)
            server.start()
            return server

        yield start


@pytest.fixture(scope="module")
def server(start_server: StartServer) -> Server:
    """The module's server, in production mode with the default limits."""
    return start_server()


@pytest.fixture
def clients() -> Iterator[Clients]:
    with Clients() as clients:
        yield clients


@pytest.fixture
def plain() -> Iterator[PlainClients]:
    with PlainClients() as plain:
        yield plain


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


@pytest.fixture
def browser(chromium: Browser) -> Iterator[Browser]:
    """A browser without pages; those that a test opens are closed at its end."""
    yield chromium
    chromium.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Another web server, with the frontends."""
    with Site(tmp_path_factory.mktemp("site")) as site:
        yield site
