"""Copies of a database file: made while it is served, and put in its place while it is not."""

import os
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from realtime.errors import StoreRefused, StoreUnavailable
from realtime.places import new_epoch
from realtime.store.sqlite_file import NOT_OURS, DatabaseFile
from realtime.store.sqlite_requests import free_claims
from realtime.store.sqlite_rows import set_head
from realtime.store.sqlite_schema import APPLICATION_ID, migrate, require_ours

STEP_PAGES = 2000
"""Pages copied at once, 8 MB; other threads of the process run in between."""

BESIDE = ("-wal", "-shm", "-journal")
"""Files that SQLite keeps beside a database, and that must not meet another one."""

Connect = Callable[[], sqlite3.Connection]


def write(connect: Connect, path: Path) -> None:
    """Copy the database to a new file, mode 0600, as it is now. Others may write meanwhile.

    The copy is made and examined under another name, so `path` is there when it is whole. Raises StoreRefused when
    `path` exists, StoreUnavailable when it cannot be written.
    """
    if path.exists():
        raise StoreRefused(f"{path} exists: a backup is a new file")
    with _explained(path), _part(path) as part:
        with closing(connect()) as db:
            _copy(db, part)
        _examine(part, path)
        _give_name(part, path)


def restore(file: DatabaseFile, path: Path, *, replace: bool) -> None:
    """Put a copy of a backup in the place of a database that nobody serves. Of the old one nothing is left.

    What a crash leaves is the old database or the new one. Raises StoreRefused and StoreUnavailable.
    """
    if not path.is_file():
        raise StoreRefused(f"There is no file {path}")
    with file.unserved() as target, _explained(target):
        if not replace and not _is_empty(target):
            raise StoreRefused(f"{target} is not empty. Restoring deletes what is in it: say that it may be replaced")
        with _part(target) as part:
            _take(path, part)
            _retire(target)
            os.replace(part, target)
            _sync(target.parent)


@contextmanager
def _part(path: Path) -> Iterator[Path]:
    """Give the name of a file beside `path` that only we can read, and see that it goes unless it was renamed."""
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    os.close(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        yield part
    finally:
        for suffix in ("", *BESIDE):
            with suppress(OSError):
                os.unlink(f"{part}{suffix}")


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StoreUnavailable(f"{path} cannot be written: {error}") from error


def _copy(source: sqlite3.Connection, part: Path) -> None:
    """Copy one moment: SQLite would begin anew with each commit of others if no transaction were open."""
    source.execute("BEGIN")
    source.execute("SELECT count(*) FROM sqlite_master").fetchone()
    with closing(sqlite3.connect(part, isolation_level=None)) as copy:
        source.backup(copy, pages=STEP_PAGES)
        copy.execute("PRAGMA journal_mode = DELETE").fetchone()  # one file, which can be read where nobody may write
    source.execute("ROLLBACK")


def _examine(part: Path, name: Path) -> None:
    """Raise StoreRefused for a copy that is damaged."""
    with closing(sqlite3.connect(part, isolation_level=None)) as db:
        (verdict,) = db.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        raise StoreRefused(f"{name} would be damaged: {verdict}")


def _give_name(part: Path, path: Path) -> None:
    """Rename without replacing what has come to be there meanwhile."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    try:
        os.link(part, path)
    except FileExistsError:
        raise StoreRefused(f"{path} exists: a backup is a new file") from None
    _sync(path.parent)


def _take(path: Path, part: Path) -> None:
    """Copy a backup and make a database of it that clients cannot take for the one they know."""
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)) as source:
            if source.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
                raise StoreRefused(f"{path} is no backup of a Roomcast database")
            require_ours(source, str(path))
            _copy(source, part)
    except sqlite3.Error as error:
        raise StoreRefused(f"{path} is no backup of a Roomcast database, or is damaged: {error}") from error
    _examine(part, path)
    with closing(sqlite3.connect(part, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = FULL")
        migrate(db)
        db.execute("BEGIN IMMEDIATE")
        set_head(db, "epoch", new_epoch())
        free_claims(db)
        db.execute("COMMIT")


def _is_empty(target: Path) -> bool:
    """Whether a database holds nothing but its schema. One that cannot be read is not empty."""
    if not target.exists() or target.stat().st_size == 0:
        return True
    try:
        with closing(sqlite3.connect(target, isolation_level=None)) as db:
            tables = db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'heads'").fetchall()
            return not any(db.execute(f'SELECT 1 FROM "{name}" LIMIT 1').fetchone() for (name,) in tables)  # noqa: S608
    except sqlite3.DatabaseError:
        return False


def _retire(target: Path) -> None:
    """Take from the old database the files beside it, which SQLite would play into the new one.

    Raises StoreRefused when another process has it open, and when it is another program's.
    """
    if target.exists():
        try:
            with closing(sqlite3.connect(target, timeout=0, isolation_level=None)) as db:
                _require_replaceable(db, target)
                if db.execute("PRAGMA journal_mode = DELETE").fetchone()[0] != "delete":
                    raise StoreRefused(f"{target} is open in another process. Stop that process first")
        except sqlite3.DatabaseError as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code == sqlite3.SQLITE_BUSY:
                raise StoreRefused(f"{target} is open in another process. Stop that process first") from error
            if code not in NOT_OURS:
                raise
    for suffix in BESIDE:
        Path(f"{target}{suffix}").unlink(missing_ok=True)


def _require_replaceable(db: sqlite3.Connection, target: Path) -> None:
    """A newer Roomcast's database may go: that is what the backup from before an upgrade is for."""
    application = db.execute("PRAGMA application_id").fetchone()[0]
    if application != APPLICATION_ID:
        require_ours(db, str(target))


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
