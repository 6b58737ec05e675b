"""Fixtures for every test."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from tests import mongo
from tests.support import FakeClock, Running, settings_for, start

Starter = Callable[..., Awaitable[Running]]


@pytest.fixture(autouse=True)
def _quiet() -> None:
    """Keep log lines out of the tests' output; tests of logging configure it themselves."""
    structlog.configure(processors=[_drop], cache_logger_on_first_use=False)


def _drop(_logger: Any, _method: str, _event: Any) -> Any:
    raise structlog.DropEvent


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def starter(tmp_path: Path) -> AsyncIterator[Starter]:
    """Start servers with settings of one's own; all are stopped at the end."""
    started: list[Running] = []

    async def run(
        *, dev: bool = False, path: Path | None = None, app: dict[str, Any] | None = None, **more: Any
    ) -> Running:
        running = await start(settings_for(path or tmp_path, **more), dev=dev, **(app or {}))
        started.append(running)
        return running

    yield run
    for running in started:
        await running.stop()


@pytest.fixture
async def running(starter: Starter) -> Running:
    """A server with the default settings and no presence grace."""
    return await starter()


@pytest.fixture(scope="session")
def mongo_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URI of a MongoDB-compatible server; `tests.mongo.fresh_database` makes URLs of it.

    Without one the tests are skipped or, where CI is set, fail.
    """
    try:
        with mongo.serve(tmp_path_factory.mktemp("mongo")) as uri:
            yield uri
            return
    except mongo.NoServer as error:
        missing = str(error)
    if os.environ.get("CI"):
        pytest.fail(missing, pytrace=False)
    pytest.skip(missing)
