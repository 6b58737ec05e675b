"""A store of a test's own, and a look at its file from outside."""

import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from realtime.store.sqlite import SqliteStore


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path / "test.db")
    await store.open()
    yield store
    await store.close()


@pytest.fixture
def outside(tmp_path: Path, store: SqliteStore) -> Iterator[sqlite3.Connection]:
    """A connection beside the store's own."""
    db = sqlite3.connect(tmp_path / "test.db", isolation_level=None)
    yield db
    db.close()
