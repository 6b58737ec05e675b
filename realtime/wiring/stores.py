"""Which database `DATABASE_URL` means."""

from realtime.settings import Settings
from realtime.store.base import Store
from realtime.store.sqlite import SqliteStore

TOOL_PATIENCE = 10.0
"""Seconds that a command tries to reach a database server; a server tries for ever."""


def open_store(settings: Settings, *, exclusive: bool = True) -> Store:
    """Return the store of the settings, not opened yet. Not `exclusive`: a tool beside the server."""
    if settings.database_url.startswith("sqlite:"):
        return SqliteStore(settings.database_path, exclusive=exclusive, retention=settings.retention)
    # The driver takes 0.1 s and 16 MB, which only those who use it shall pay.
    from realtime.store.mongo import MongoStore

    patience = None if exclusive else TOOL_PATIENCE
    return MongoStore(settings.database_url, retention=settings.retention, patience=patience)
