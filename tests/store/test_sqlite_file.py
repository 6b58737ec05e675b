"""Which files the store opens, for whom, and what a killed process leaves behind."""

import asyncio
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from realtime.errors import StoreRefused, StoreUnavailable
from realtime.models import Content, InboxQuery, Target
from realtime.store import sqlite_schema
from realtime.store.sqlite import SqliteStore

ROOT = Path(__file__).parents[2]
ANN = "user:1"


@asynccontextmanager
async def opened(path: Path | str, *, exclusive: bool = True) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, exclusive=exclusive)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def serving(path: Path, callers: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """Another process that has the database open."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.store.serve", str(path), str(callers), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"open\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_every_answered_id_survives_kill_9_exactly_once(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    async with serving(path, 32) as process:
        assert process.stdout is not None
        answered = [int(await process.stdout.readline()) for _ in range(1500)]
        process.send_signal(signal.SIGKILL)
        rest = await process.stdout.read()
        answered += [int(line) for line in rest.splitlines()]
    async with opened(path) as store:
        rows, total = await store.inbox(ANN, InboxQuery(limit=1_000_000), now=2.0)
        stored = {row.id for row in rows}
        assert len(answered) == len(set(answered))
        assert set(answered) <= stored
        assert total == len(rows) == len(stored) == await store.unread_count(ANN, now=2.0)
        (new,) = await store.add([Target(recipient=ANN)], Content("t", "t", "m"), sender=None, now=3.0)
        assert new.notification.id > max(stored)
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()


async def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    async with serving(path, 0) as process:
        with pytest.raises(StoreRefused, match=f"already served by process {process.pid}") as caught:
            await SqliteStore(path).open()
        assert "one database file serves one process" in caught.value.message
        process.send_signal(signal.SIGKILL)
        await process.wait()
        async with opened(path):
            assert (tmp_path / "test.db.lock").read_text() == str(os.getpid())


async def test_a_link_to_the_database_is_the_same_database(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "test.db")
    async with opened(tmp_path / "test.db"):
        with pytest.raises(StoreRefused, match="already served"):
            await SqliteStore(tmp_path / "link.db").open()
        async with opened(tmp_path / "link.db", exclusive=False) as tool:
            await tool.check()
    async with opened(tmp_path / "link.db"):
        pass


async def test_a_newer_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    async with opened(path):
        pass
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    before = path.read_bytes()
    with pytest.raises(StoreRefused, match=rf"version 99.* knows {sqlite_schema.VERSION}\. Run the newer"):
        await SqliteStore(path).open()
    assert path.read_bytes() == before
    with pytest.raises(StoreRefused, match="version 99"):  # and not: already served
        await SqliteStore(path).open()


async def test_a_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE theirs (a)")
    db.close()
    before = path.read_bytes()
    with pytest.raises(StoreRefused, match="another program"):
        await SqliteStore(path).open()
    assert path.read_bytes() == before


async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    path.write_bytes(b"not a database " * 100)
    with pytest.raises(StoreRefused, match="not a database"):
        await SqliteStore(path).open()
    assert path.read_bytes() == b"not a database " * 100


async def test_an_older_database_is_brought_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "test.db"
    with monkeypatch.context() as old:
        old.setattr(sqlite_schema, "VERSION", 1)
        async with opened(path):
            pass
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA user_version").fetchone() == (1,)
    db.close()
    async with opened(path) as store:
        (first,) = await store.add([Target(recipient=ANN)], Content("t", "t", "m"), sender=None, now=1.0)
        assert await store.notification(ANN, first.notification.id, now=2.0) == first.notification
        await store.set_user("1", role="admin", name=None, now=3.0)


async def test_a_step_that_fails_leaves_the_version_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "test.db"
    steps = (*sqlite_schema.MIGRATIONS, ("CREATE TABLE half (a)", "CREATE TABLE heads (a)"))
    with monkeypatch.context() as broken:
        broken.setattr(sqlite_schema, "MIGRATIONS", steps)
        broken.setattr(sqlite_schema, "VERSION", len(steps))
        with pytest.raises(StoreUnavailable, match="heads already exists"):
            await SqliteStore(path).open()
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA user_version").fetchone() == (sqlite_schema.VERSION,)
    assert db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'half'").fetchone() == (0,)
    db.close()
    async with opened(path):
        pass


async def test_missing_directories_and_the_file_are_for_the_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "test.db"
    umask = os.umask(0)
    try:
        async with opened(path) as store:
            await store.check()
            modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    finally:
        os.umask(umask)
    assert modes == dict.fromkeys(("test.db", "test.db-wal", "test.db-shm", "test.db.lock"), 0o600)
    assert (tmp_path / "a").stat().st_mode & 0o777 == (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


async def test_a_path_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "test.db"):
        store = SqliteStore(path)
        with pytest.raises(StoreUnavailable, match="cannot be opened"):
            await store.open()
        await store.close()


async def test_close_leaves_everything_in_one_file(tmp_path: Path) -> None:
    async with opened(tmp_path / "test.db") as store:
        await store.add([Target(recipient=ANN)], Content("t", "t", "m"), sender=None, now=1.0)
    assert sorted(os.listdir(tmp_path)) == ["test.db", "test.db.lock"]
