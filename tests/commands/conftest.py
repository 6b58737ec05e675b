"""Commands run in this process, with nothing but the settings they are given."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import pytest
from click.testing import CliRunner, Result

from realtime import logs
from realtime.__main__ import main
from realtime.store.sqlite import SqliteStore

T = TypeVar("T")


class Roomcast:
    """The command line over one database, and the database itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings = {"DATABASE_URL": f"sqlite:///{path}", "PATH": os.environ["PATH"]}

    def __call__(self, *args: object, **more: Any) -> Result:
        with mock.patch.dict(os.environ, self.settings, clear=True):
            return CliRunner().invoke(main, [str(arg) for arg in args], **more)

    def stored(self, work: Callable[[SqliteStore], Awaitable[T]]) -> T:
        """Do something with the database, as a server that serves it, and return what that returns."""

        async def run() -> T:
            store = SqliteStore(self.path)
            await store.open()
            try:
                return await work(store)
            finally:
                await store.close()

        return asyncio.run(run())


@pytest.fixture
def roomcast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Roomcast:
    monkeypatch.setattr(logs, "configure", lambda **_: None)
    monkeypatch.chdir(tmp_path)
    return Roomcast(tmp_path / "realtime.db")
