"""The stores that must keep the promises of `realtime.store.base`."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Protocol

import pytest

from realtime.models import Retention
from realtime.store.base import Store
from realtime.store.mongo import MongoStore
from realtime.store.sqlite import SqliteStore
from tests.mongo import fresh_database


class Make(Protocol):
    """Makes stores over one database that are not open yet; one that is not `first` comes beside another."""

    def __call__(self, *, retention: Retention | None = None, first: bool = True) -> Store: ...


def sqlite(path: Path, *, retention: Retention | None = None, first: bool = True) -> Store:
    """The second one is like a tool beside the server."""
    return SqliteStore(path, exclusive=first, retention=retention or Retention())


def mongo(uri: str, *, retention: Retention | None = None, first: bool = True) -> Store:
    return MongoStore(uri, retention=retention or Retention())


CROWD = {"sqlite": 2500, "mongo": 60}
"""Readers or rows at once: more than one statement of SQLite takes; for Mongo each is a document of its own."""


@dataclass
class Opener:
    """Opens stores over one database, one after the other or beside each other."""

    make: Make
    stack: AsyncExitStack

    async def __call__(self, *, retention: Retention | None = None) -> Store:
        return await self._opened(self.make(retention=retention))

    async def beside(self) -> Store:
        """Open one more while another is open, as a second process has it."""
        return await self._opened(self.make(first=False))

    async def _opened(self, store: Store) -> Store:
        self.stack.push_async_callback(store.close)
        await store.open()
        return store


@pytest.fixture(params=sorted(CROWD))
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def crowd(kind: str) -> int:
    return CROWD[kind]


@pytest.fixture
def new_database(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Make]:
    """Make databases, each with nothing in it."""
    if kind == "mongo":
        uri = request.getfixturevalue("mongo_uri")
        return lambda: partial(mongo, fresh_database(uri))
    names = count(1)
    return lambda: partial(sqlite, tmp_path / f"{next(names)}.db")


@pytest.fixture
async def opener(new_database: Callable[[], Make]) -> AsyncIterator[Opener]:
    async with AsyncExitStack() as stack:
        yield Opener(new_database(), stack)


@pytest.fixture
async def store(opener: Opener) -> Store:
    return await opener()
