"""What every command needs: the settings, the database, and an exit code that says what was wrong."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import click

from realtime import logs
from realtime.errors import RealtimeError, StoreError
from realtime.settings import BadSetting, Settings, load
from realtime.store.base import Store
from realtime.wiring.stores import open_store

EXIT_CONFIG = 2
EXIT_CANNOT_SERVE = 3

T = TypeVar("T")


class ConfigProblem(click.ClickException):
    exit_code = EXIT_CONFIG


class ServeProblem(click.ClickException):
    exit_code = EXIT_CANNOT_SERVE


def read_settings() -> Settings:
    """Raises ConfigProblem."""
    try:
        return load()
    except BadSetting as error:
        raise ConfigProblem(str(error)) from error


def beside_server(work: Callable[[Store], Awaitable[T]], *, create: bool = False) -> T:
    """Do `work` with the open database, which a server may be serving. Returns what it returns.

    Without `create` a SQLite file that is not there is an error and not a new database. Raises ServeProblem.
    """
    settings = read_settings()
    if not create and settings.database_url.startswith("sqlite:") and not settings.database_path.exists():
        raise ServeProblem(f"There is no database {settings.database_path}")

    async def run() -> T:
        store = open_store(settings, exclusive=False)
        await store.open()
        try:
            return await work(store)
        finally:
            await store.close()

    return explained(run)


def explained(run: Callable[[], Awaitable[T]]) -> T:
    """Run a coroutine to its end; its log goes to standard error. Raises ServeProblem and ClickException."""
    logs.configure(level="warning", readable=True)

    async def main() -> T:
        return await run()

    try:
        return asyncio.run(main())
    except StoreError as error:
        raise ServeProblem(str(error)) from error
    except RealtimeError as error:
        raise click.ClickException(str(error)) from error
