"""When a token is news for the store."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from realtime.auth import Identity
from realtime.errors import StoreUnavailable
from realtime.models import Seen, User
from realtime.services import directory as module
from realtime.services.directory import Directory
from realtime.store.sqlite import SqliteStore
from tests.support import FakeClock

NO_GRANTS: frozenset[str] = frozenset()
ANN = Identity("5", 5, False, "technician", "Ann", None, NO_GRANTS, issued_at=100.0, expires_at=None)


class Watched(SqliteStore):
    """Notes whose tokens it was asked about."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.asked: list[str] = []
        self.failing = False

    async def touch_user(self, seen: Seen, *, now: float) -> User:
        self.asked.append(seen.id)
        if self.failing:
            raise StoreUnavailable
        return await super().touch_user(seen, now=now)

    def note_user(self, seen: Seen, *, now: float) -> "asyncio.Future[User]":
        self.asked.append(seen.id)
        if self.failing:
            refused: asyncio.Future[User] = asyncio.get_running_loop().create_future()
            refused.set_exception(StoreUnavailable())
            return refused
        return super().note_user(seen, now=now)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Watched]:
    store = Watched(tmp_path / "test.db")
    await store.open()
    yield store
    await store.close()


@pytest.fixture
async def directory(store: Watched, clock: FakeClock) -> Directory:
    directory = Directory(store, clock)
    await directory.start()
    return directory


async def test_a_token_that_says_what_the_last_one_said_asks_nothing(store: Watched, directory: Directory) -> None:
    await directory.see(ANN)
    for token in (ANN, replace(ANN, issued_at=200.0, expires_at=900.0), replace(ANN, grants=frozenset({"ticket_1"}))):
        await directory.see(token)
    await directory.see(replace(ANN, guest=True))
    assert store.asked == ["5"]


async def test_after_a_minute_the_store_is_asked_again(store: Watched, directory: Directory, clock: FakeClock) -> None:
    await directory.see(ANN)
    clock.advance(module.KNOWN_SECONDS - 1)
    await directory.see(ANN)
    assert store.asked == ["5"]
    clock.advance(1)
    for _ in range(2):
        await directory.see(ANN)
    assert store.asked == ["5", "5"]
    clock.advance(-3600)
    await directory.see(ANN)
    assert store.asked == ["5", "5", "5"]


async def test_who_was_deleted_by_another_process_is_a_user_again_with_what_they_receive(
    store: Watched, directory: Directory, clock: FakeClock
) -> None:
    boss = replace(ANN, role="admin")
    await directory.see(boss)
    assert await store.readers(module.ADMIN_AUDIENCE) == ["user:5"]
    await store.delete_user("5")
    clock.advance(module.KNOWN_SECONDS)
    await directory.see(boss)
    assert await store.user("5") is not None
    for audience in ("all", "role:admin", module.ADMIN_AUDIENCE):
        assert await store.readers(audience) == ["user:5"]


async def test_a_database_that_is_away_is_asked_again_a_minute_later(
    store: Watched, directory: Directory, clock: FakeClock
) -> None:
    await directory.see(ANN)
    clock.advance(module.KNOWN_SECONDS)
    store.failing = True
    for _ in range(3):
        await directory.see(ANN)
    assert store.asked == ["5", "5"]
    store.failing = False
    clock.advance(module.KNOWN_SECONDS)
    await directory.see(ANN)
    assert store.asked == ["5", "5", "5"]


@pytest.mark.parametrize(
    "change", [{"role": "manager"}, {"name": "Anna"}, {"name": None}, {"email": "a@example.org"}, {"wire_id": "5"}]
)
async def test_a_token_that_says_something_new_is_recorded(
    store: Watched, directory: Directory, change: dict[str, Any]
) -> None:
    await directory.see(ANN)
    await directory.see(replace(ANN, **change))
    assert store.asked == ["5", "5"]


async def test_a_token_issued_after_an_administrator_set_the_role_is_recorded(
    store: Watched, directory: Directory, clock: FakeClock
) -> None:
    await directory.set_user("5", role="user", name=None)
    await directory.see(replace(ANN, issued_at=clock.now - 1))
    known = await store.user("5")
    assert known is not None
    assert known.role == "user"
    await directory.see(replace(ANN, issued_at=clock.now + 1))
    known = await store.user("5")
    assert known is not None
    assert known.role == "technician"


async def test_who_has_been_forgotten_is_recorded_again(
    store: Watched, directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CACHE_SIZE", 2)
    for id in ("1", "2", "3", "3", "2", "1"):
        await directory.see(replace(ANN, id=id, wire_id=id))
    assert store.asked == ["1", "2", "3", "1"]


# --- connecting ---


async def test_whoever_connects_does_not_wait_for_the_store(store: Watched, directory: Directory) -> None:
    jobs = store.jobs
    await directory.see_connecting(ANN)
    assert store.asked == ["5"]
    assert store.jobs == jobs
    assert await store.user("5") is not None
    await directory.see_connecting(ANN)
    await directory.see(ANN)
    assert store.asked == ["5"], "it has become known"


@pytest.mark.parametrize("role", ["admin", "manager"])
async def test_administrators_hold_their_audience_before_they_are_connected(
    store: Watched, directory: Directory, role: str
) -> None:
    await directory.see_connecting(replace(ANN, role=role))
    assert "user:5" in directory._admin_readers
    assert await store.readers(module.ADMIN_AUDIENCE) == ["user:5"]


async def test_who_was_an_administrator_no_longer_holds_the_audience_when_connected(
    store: Watched, directory: Directory
) -> None:
    await directory.see_connecting(replace(ANN, role="admin"))
    await directory.see_connecting(replace(ANN, issued_at=200.0))
    assert await store.readers(module.ADMIN_AUDIENCE) == []


async def test_counts_are_looked_at_when_a_connecting_user_has_another_role(
    store: Watched, directory: Directory
) -> None:
    marked: list[str] = []

    class Counts:
        def mark(self, *principals: str) -> None:
            marked.extend(principals)

    directory.tell_counts(Counts())
    await directory.see(ANN)
    await directory.see_connecting(replace(ANN, role="user", issued_at=200.0))
    assert marked == ["user:5"]


async def test_a_database_that_is_away_keeps_nobody_from_connecting(
    store: Watched, directory: Directory, clock: FakeClock
) -> None:
    store.failing = True
    await directory.see_connecting(ANN)
    await asyncio.sleep(0)
    store.failing = False
    await directory.see_connecting(ANN)
    assert await store.user("5") is not None
    assert store.asked == ["5", "5"]


async def test_a_role_set_while_a_token_is_noted_counts(store: Watched, directory: Directory, clock: FakeClock) -> None:
    await directory.see_connecting(ANN)
    await directory.set_user("5", role="admin", name=None)
    assert await store.readers(module.ADMIN_AUDIENCE) == ["user:5"]
    await directory.see_connecting(ANN)
    assert store.asked == ["5", "5"], "what the token said alone is not taken for granted"


async def test_an_administrator_made_by_another_process_is_not_taken_for_granted(
    store: Watched, directory: Directory
) -> None:
    await store.set_user("5", role="admin", name=None, now=ANN.issued_at + 1)
    for _ in range(2):
        await directory.see_connecting(ANN)
        assert await store.user("5") is not None
    assert store.asked == ["5", "5"]
    await directory.see(ANN)
    assert await store.readers(module.ADMIN_AUDIENCE) == ["user:5"]
