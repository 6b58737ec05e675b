import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from realtime.models import Content, Place, Target
from realtime.store.sqlite import SqliteStore
from tests.commands.conftest import Roomcast

ANN = "user:7"
HELLO = Content("info", "Hello", "Hello there")


async def fill(store: SqliteStore) -> None:
    await store.set_user("7", role=None, name="Ann", now=1.0)
    await store.add([Target(recipient=ANN), Target(audience="all")], HELLO, sender=None, now=2.0)


async def unread(store: SqliteStore) -> int:
    return await store.unread_count(ANN, now=3.0)


async def place(store: SqliteStore) -> Place:
    return await store.place(ANN, now=3.0)


# --- backup and restore ---


def test_a_backup_brings_everything_back_under_another_epoch(roomcast: Roomcast, tmp_path: Path) -> None:
    roomcast.stored(fill)
    before = roomcast.stored(place)
    done = roomcast("backup", tmp_path / "copy")
    assert done.exit_code == 0, done.output
    roomcast.stored(lambda store: store.mark_all_read(ANN, up_to=None, now=3.0))
    refused = roomcast("restore", tmp_path / "copy")
    assert refused.exit_code == 3
    assert "is not empty" in refused.stderr
    assert roomcast.stored(unread) == 0
    done = roomcast("restore", tmp_path / "copy", "--replace")
    assert done.exit_code == 0, done.output
    assert roomcast.stored(unread) == 2
    after = roomcast.stored(place)
    assert after.epoch != before.epoch
    assert replace(after, epoch=before.epoch) == before


def test_a_backup_does_not_replace_a_file(roomcast: Roomcast, tmp_path: Path) -> None:
    roomcast.stored(fill)
    (tmp_path / "copy").write_text("precious")
    done = roomcast("backup", tmp_path / "copy")
    assert done.exit_code == 3
    assert "exists" in done.stderr
    assert (tmp_path / "copy").read_text() == "precious"


def test_a_file_that_is_no_backup_is_refused(roomcast: Roomcast, tmp_path: Path) -> None:
    roomcast.stored(fill)
    (tmp_path / "copy").write_text("precious")
    done = roomcast("restore", tmp_path / "copy", "--replace")
    assert done.exit_code == 3
    assert "is no backup" in done.stderr
    assert roomcast.stored(unread) == 2


# --- recount and sweeps ---


def test_counts_that_are_right_are_counted_again(roomcast: Roomcast) -> None:
    roomcast.stored(fill)
    done = roomcast("recount")
    assert done.exit_code == 0, done.output
    assert "1 readers checked, 0 differences" in done.stdout
    assert "1 readers checked, 0 differences" in roomcast("recount", "--user", "7").stdout


def execute(path: Path, *statements: tuple[str, tuple[object, ...]]) -> list[tuple[object, ...]]:
    """Run statements in a connection of their own; returns what the last one finds."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA writable_schema = ON")
        found = [db.execute(*statement).fetchall() for statement in statements]
    return found[-1]


def test_a_count_that_is_wrong_is_told(roomcast: Roomcast) -> None:
    """The damage: an index that misses a row, as it was not there when the row came."""
    roomcast.stored(fill)
    by_name = "WHERE name = 'inbox_unread'"
    (index,) = execute(roomcast.path, (f"SELECT * FROM sqlite_master {by_name}", ()))
    execute(roomcast.path, (f"DELETE FROM sqlite_master {by_name}", ()))
    roomcast.stored(lambda store: store.add([Target(recipient=ANN)], HELLO, sender=None, now=2.0))
    execute(roomcast.path, ("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", index))
    done = roomcast("recount")
    assert done.exit_code == 1
    assert "user:7: the count is 2, counted again it is 3" in done.stdout
    assert "1 readers checked, 1 differences" in done.stdout
    assert roomcast("recount", "--user", "8").exit_code == 0


@pytest.mark.parametrize("limit", [1, 10])
def test_what_sweeps_have_removed_is_printed(roomcast: Roomcast, limit: int) -> None:
    async def swept(store: SqliteStore) -> None:
        for now in (10.0, 20.0):
            ending = replace(HELLO, expires_at=now - 1)
            await store.add([Target(recipient=ANN)], ending, sender=None, now=1.0)
            await store.sweep(now=now)

    roomcast.stored(swept)
    done = roomcast("sweeps", "--limit", limit)
    lines = ["1970-01-01T00:00:20.000Z  expired 1", "1970-01-01T00:00:10.000Z  expired 1"]
    assert done.stdout.splitlines() == lines[:limit]
