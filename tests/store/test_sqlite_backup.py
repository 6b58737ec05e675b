"""Copies of the database file: whole, of one moment, ours alone; and what restoring them leaves of the old one."""

import asyncio
import os
import signal
import sqlite3
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from realtime.errors import StoreRefused, StoreUnavailable
from realtime.models import Content, InboxQuery, Target
from realtime.store import sqlite_backup, sqlite_schema
from realtime.store.sqlite import SqliteStore

ROOT = Path(__file__).parents[2]
ANN, BOB = "user:1", "user:2"
HELLO = Content("info", "Hello", "Hello there")


@asynccontextmanager
async def opened(path: Path, *, exclusive: bool = True) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(path, exclusive=exclusive)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def add(store: SqliteStore, *readers: str) -> None:
    await store.add([Target(recipient=reader) for reader in readers], HELLO, sender=None, now=1.0)


async def rows(store: SqliteStore, reader: str) -> int:
    _, total = await store.inbox(reader, InboxQuery(), now=2.0)
    return total


@pytest.fixture
async def copy(tmp_path: Path) -> Path:
    """A backup of a database that has one row of Ann and a request that runs."""
    async with opened(tmp_path / "first.db") as store:
        await add(store, ANN)
        await store.begin_request(ANN, "key", "fingerprint", now=1.0)
        await store.backup(tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture
async def target(tmp_path: Path) -> Path:
    """A database with three rows of Bob."""
    async with opened(tmp_path / "test.db") as store:
        for _ in range(3):
            await add(store, BOB)
    return tmp_path / "test.db"


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def leftovers(directory: Path) -> list[str]:
    return [name for name in names(directory) if name.endswith((".part", "-wal", "-shm", "-journal"))]


# --- backup ---


async def test_a_backup_while_others_write_is_of_one_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each transaction gives Ann and Bob a row; a copy that is made page by page has as many of one as of the other."""
    monkeypatch.setattr(sqlite_backup, "STEP_PAGES", 1)
    async with opened(tmp_path / "test.db") as store:
        await asyncio.gather(*[add(store, ANN, BOB) for _ in range(500)])

        async def write(stop: asyncio.Event) -> int:
            written = 0
            while not stop.is_set():
                await add(store, ANN, BOB)
                written += 1
            return written

        stop = asyncio.Event()
        writing = asyncio.create_task(write(stop))
        await store.backup(tmp_path / "copy")
        stop.set()
        assert await writing > 0
    async with opened(tmp_path / "copy") as store:
        assert await rows(store, ANN) == await rows(store, BOB) >= 500


async def test_a_backup_is_one_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        async with opened(tmp_path / "test.db") as store:
            await store.backup(tmp_path / "copy")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o600
    assert names(tmp_path) == ["copy", "test.db", "test.db.lock"]


async def test_a_tool_makes_a_backup_beside_the_server(target: Path, tmp_path: Path) -> None:
    async with opened(target) as server, opened(target, exclusive=False) as tool:
        await add(server, BOB)
        await tool.backup(tmp_path / "copy")
    async with opened(tmp_path / "copy") as store:
        assert await rows(store, BOB) == 4


async def test_a_backup_replaces_nothing(target: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").write_text("precious")
    async with opened(target) as store:
        with pytest.raises(StoreRefused, match="exists"):
            await store.backup(tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "precious"


async def test_a_file_that_comes_meanwhile_is_not_replaced(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examine = sqlite_backup._examine

    def slowly(part: Path, name: Path) -> None:
        examine(part, name)
        name.write_text("precious")

    monkeypatch.setattr(sqlite_backup, "_examine", slowly)
    async with opened(target) as store:
        with pytest.raises(StoreRefused, match="exists"):
            await store.backup(tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "precious"
    assert leftovers(tmp_path) == []


async def test_a_directory_that_is_not_there_is_named(target: Path, tmp_path: Path) -> None:
    async with opened(target) as store:
        with pytest.raises(StoreUnavailable, match="nowhere/copy cannot be written"):
            await store.backup(tmp_path / "nowhere" / "copy")


async def test_a_damaged_database_gives_no_backup(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    async with opened(path) as store:
        await asyncio.gather(*[add(store, ANN) for _ in range(500)])
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff" * 8192)
    async with opened(path) as store:
        with pytest.raises((StoreRefused, StoreUnavailable)):
            await store.backup(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    assert leftovers(tmp_path) == []


async def test_a_database_in_memory_has_no_backup(copy: Path, tmp_path: Path) -> None:
    store = SqliteStore(":memory:")
    await store.open()
    with pytest.raises(StoreRefused, match="in memory"):
        await store.backup(tmp_path / "another")
    await store.close()
    with pytest.raises(StoreRefused, match="in memory"):
        await SqliteStore(":memory:").restore(copy, replace=True)


# --- restore ---


async def test_a_backup_makes_a_database_where_there_was_none(copy: Path, tmp_path: Path) -> None:
    path = tmp_path / "new" / "test.db"
    await SqliteStore(path).restore(copy, replace=False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    async with opened(path) as store:
        assert await rows(store, ANN) == 1
        assert await store.begin_request(ANN, "key", "fingerprint", now=1.0) is None


async def test_a_database_that_was_never_used_is_empty(copy: Path, tmp_path: Path) -> None:
    async with opened(tmp_path / "test.db"):
        pass
    await SqliteStore(tmp_path / "test.db").restore(copy, replace=False)


async def test_a_restored_database_has_another_epoch(copy: Path, target: Path, tmp_path: Path) -> None:
    epochs = set()
    for path in (tmp_path / "first.db", target):
        async with opened(path) as store:
            epochs.add((await store.place(ANN, now=1.0)).epoch)
    for _ in range(2):
        await SqliteStore(target).restore(copy, replace=True)
        async with opened(target) as store:
            epochs.add((await store.place(ANN, now=1.0)).epoch)
    assert len(epochs) == 4
    assert all(0 < epoch < 2**53 for epoch in epochs)


async def test_nothing_is_replaced_unless_asked_to(copy: Path, target: Path) -> None:
    with pytest.raises(StoreRefused, match="is not empty"):
        await SqliteStore(target).restore(copy, replace=False)
    async with opened(target) as store:
        assert (await rows(store, ANN), await rows(store, BOB)) == (0, 3)


async def test_restoring_is_refused_while_somebody_serves_the_database(copy: Path, target: Path) -> None:
    async with opened(target) as store:
        with pytest.raises(StoreRefused, match=f"already served by process {os.getpid()}"):
            await SqliteStore(target).restore(copy, replace=True)
        assert await rows(store, BOB) == 3
    await SqliteStore(target).restore(copy, replace=True)


async def test_restoring_is_refused_while_a_tool_has_the_database_open(copy: Path, target: Path) -> None:
    async with opened(target, exclusive=False) as tool:
        await add(tool, BOB)
        with pytest.raises(StoreRefused, match="open in another process"):
            await SqliteStore(target).restore(copy, replace=True)
        assert await rows(tool, BOB) == 4
    assert leftovers(target.parent) == []


async def test_what_a_killed_server_left_beside_the_database_goes(copy: Path, target: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.store.serve", str(target), "8", cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    for _ in range(100):
        await process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    await process.wait()
    assert f"{target.name}-wal" in leftovers(target.parent)
    await SqliteStore(target).restore(copy, replace=True)
    assert leftovers(target.parent) == []
    async with opened(target) as store:
        assert (await rows(store, ANN), await rows(store, BOB)) == (1, 0)


async def test_what_fails_half_way_leaves_the_old_database(
    copy: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("the disk is gone")

    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", fail)
        with pytest.raises(StoreUnavailable, match="the disk is gone"):
            await SqliteStore(target).restore(copy, replace=True)
    assert leftovers(target.parent) == []
    async with opened(target) as store:
        assert await rows(store, BOB) == 3


async def test_a_damaged_database_can_be_replaced(copy: Path, target: Path) -> None:
    ruin(target, "text")
    ruin(target.with_name("test.db-wal"), "text")
    with pytest.raises(StoreRefused, match="is not empty"):
        await SqliteStore(target).restore(copy, replace=False)
    await SqliteStore(target).restore(copy, replace=True)
    async with opened(target) as store:
        assert await rows(store, ANN) == 1


async def test_a_newer_database_can_be_replaced(copy: Path, target: Path) -> None:
    with closing(sqlite3.connect(target)) as db:
        db.execute("PRAGMA user_version = 99")
    await SqliteStore(target).restore(copy, replace=True)
    async with opened(target) as store:
        assert await rows(store, ANN) == 1


async def test_a_database_of_another_program_is_not_replaced(copy: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "theirs.db")) as db:
        db.execute("CREATE TABLE theirs (a)")
        db.execute("INSERT INTO theirs VALUES (1)")
        db.commit()
    before = (tmp_path / "theirs.db").read_bytes()
    with pytest.raises(StoreRefused, match="another program"):
        await SqliteStore(tmp_path / "theirs.db").restore(copy, replace=True)
    assert (tmp_path / "theirs.db").read_bytes() == before


def ruin(path: Path, how: str) -> None:
    if how == "missing":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("no backup")
    elif how == "cut short":
        path.write_bytes(path.read_bytes()[:-4096])
    else:
        with closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA user_version = 99" if how == "newer" else "PRAGMA application_id = 1")


@pytest.mark.parametrize(
    ("how", "complaint"),
    [
        ("missing", "There is no file"),
        ("empty", "is no backup"),
        ("text", "is no backup"),
        ("cut short", "damaged"),
        ("newer", "newer Roomcast"),
        ("another program's", "is no backup"),
    ],
)
async def test_what_is_no_good_backup_is_refused(copy: Path, target: Path, how: str, complaint: str) -> None:
    ruin(copy, how)
    with pytest.raises(StoreRefused, match=complaint):
        await SqliteStore(target).restore(copy, replace=True)
    assert leftovers(target.parent) == []
    async with opened(target) as store:
        assert await rows(store, BOB) == 3


async def test_an_older_backup_is_brought_up_to_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as old:
        old.setattr(sqlite_schema, "VERSION", 3)
        async with opened(tmp_path / "old.db"):
            pass
    await SqliteStore(tmp_path / "test.db").restore(tmp_path / "old.db", replace=False)
    async with opened(tmp_path / "test.db") as store:
        assert (await store.place(ANN, now=1.0)).epoch > 0
    with closing(sqlite3.connect(tmp_path / "old.db")) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (3,)


async def test_restoring_is_for_a_store_that_is_not_open(copy: Path, target: Path) -> None:
    async with opened(target) as store:
        with pytest.raises(RuntimeError):
            await store.restore(copy, replace=True)


async def test_a_tool_does_not_change_the_schema_under_an_older_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "test.db"
    with monkeypatch.context() as old:
        old.setattr(sqlite_schema, "VERSION", 3)
        server = SqliteStore(path)
        await server.open()
    with pytest.raises(StoreRefused, match="already served"):
        await SqliteStore(path, exclusive=False).open()
    await server.close()
    async with opened(path, exclusive=False), opened(path):
        pass
