"""The database file: where it is, who may serve it, and how a connection to it is set up."""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from realtime.errors import StoreRefused, StoreUnavailable
from realtime.store.sqlite_requests import free_claims
from realtime.store.sqlite_schema import is_current, migrate, require_ours

BUSY_SECONDS = 5.0
"""How long a statement waits for another process's lock before it is StoreUnavailable."""

STATEMENTS = 512
"""Prepared statements kept per connection."""

WAL_KEPT_BYTES = 64 * 1024 * 1024
"""Size that the WAL file is cut back to after a checkpoint."""

OLDEST_SQLITE = (3, 35, 0)
"""The first with RETURNING."""

NOT_OURS = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}


class DatabaseFile:
    """One SQLite file with its lock. Not thread-safe: connect and close the writer from one thread.

    The lock is the kernel's (flock on `{path}.lock`), so kill -9 releases it. The lock file stays; it holds the
    pid of whoever serves the database. `:memory:` has no file, no lock and no second connection.
    """

    def __init__(self, path: Path | str, *, exclusive: bool) -> None:
        self.in_memory = str(path).startswith(":memory:")
        self._path = Path(path)
        self._exclusive = exclusive and not self.in_memory
        self._lock: int | None = None

    @property
    def serves_alone(self) -> bool:
        """Whether nobody else serves this database: there may be a tool beside, which publishes nothing."""
        return self.in_memory or self._exclusive

    def connect_writer(self) -> sqlite3.Connection:
        """Create or open the database and bring its schema up to date.

        Raises StoreRefused (locked, newer, not ours) or StoreUnavailable (cannot be opened or written).
        """
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise StoreRefused(f"SQLite {sqlite3.sqlite_version} is too old, 3.35 is needed")
        db = None
        try:
            if not self.in_memory:
                self._create()
            db = self._connect()
            self._set_up(db)
        except BaseException as error:
            if db is not None:
                db.close()
            self._unlock()
            if isinstance(error, sqlite3.Error | OSError):
                raise self._explained(error) from error
            raise
        return db

    def connect_reader(self) -> sqlite3.Connection:
        db = self._connect()
        db.execute("PRAGMA query_only = ON")
        return db

    def disconnect_writer(self, db: sqlite3.Connection) -> None:
        """Move the WAL into the database, close and let the next process in."""
        try:
            with suppress(sqlite3.Error):
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            db.close()
        finally:
            self._unlock()

    @contextmanager
    def unserved(self) -> Iterator[Path]:
        """Give the path, and let nobody serve the database meanwhile; there may be no database yet.

        Raises StoreRefused when somebody does, StoreUnavailable when there can be no file.
        """
        if self.in_memory:
            raise StoreRefused("A database in memory is no file")
        try:
            self._find_directory()
            self._take_lock()
        except OSError as error:
            raise self._explained(error) from error
        try:
            yield self._path
        finally:
            self._unlock()

    def _create(self) -> None:
        """Make the directory, take the lock and make the file (0600), as far as they are missing."""
        self._find_directory()
        if self._exclusive:
            self._take_lock()
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))

    def _find_directory(self) -> None:
        """Make it (0700) when it is missing."""
        self._path = self._path.resolve()
        missing = [parent for parent in self._path.parents if not parent.exists()]
        for parent in reversed(missing):
            parent.mkdir(mode=0o700, exist_ok=True)

    def _take_lock(self) -> None:
        lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = os.read(lock, 20).decode("ascii", "replace").strip() or "unknown"
            os.close(lock)
            raise StoreRefused(
                f"{self._path} is already served by process {pid}. Stop that process first: "
                "one database file serves one process"
            ) from None
        os.ftruncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
        self._lock = lock

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(
            ":memory:" if self.in_memory else self._path,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=STATEMENTS,
        )

    def _set_up(self, db: sqlite3.Connection) -> None:
        require_ours(db, str(self._path))
        mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal" and not self.in_memory:
            raise StoreRefused(f"{self._path} is on a file system without SQLite's WAL mode. Use a local disk")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA journal_size_limit = {WAL_KEPT_BYTES}")
        self._migrate(db)
        if self._exclusive:
            free_claims(db)

    def _migrate(self, db: sqlite3.Connection) -> None:
        """Who opens the database beside its server must not change the schema under it. Raises StoreRefused."""
        if self._exclusive or self.in_memory or is_current(db):
            migrate(db)
            return
        self._take_lock()
        try:
            migrate(db)
        finally:
            self._unlock()

    def _explained(self, error: sqlite3.Error | OSError) -> StoreRefused | StoreUnavailable:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in NOT_OURS:
            return StoreRefused(f"{self._path} is not a database, or is damaged: {error}")
        return StoreUnavailable(f"{self._path} cannot be opened: {error}")
