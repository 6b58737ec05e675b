"""The stores that must keep the promises of `realtime.store.base`."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from realtime.store.base import Store
from realtime.store.sqlite import SqliteStore

FACTORIES: dict[str, Callable[[Path], Store]] = {"sqlite": lambda directory: SqliteStore(directory / "test.db")}


@dataclass
class Opener:
    """Opens stores over one database, one after the other."""

    make: Callable[[], Store]
    stack: AsyncExitStack

    async def __call__(self) -> Store:
        store = self.make()
        self.stack.push_async_callback(store.close)
        await store.open()
        return store


@pytest.fixture(params=sorted(FACTORIES))
async def opener(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opener]:
    async with AsyncExitStack() as stack:
        yield Opener(lambda: FACTORIES[request.param](tmp_path), stack)


@pytest.fixture
async def store(opener: Opener) -> Store:
    return await opener()
