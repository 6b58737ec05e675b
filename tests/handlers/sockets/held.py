"""A store that answers when a test lets it, so that the order of what happens is the test's."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from realtime.store.base import Store


class Held:
    """The first call of one method that `which` accepts waits until it is let go; all others go through.

    It waits before it asks the store, or with `answered` after that, so that its answer is old when it comes.
    """

    def __init__(
        self,
        monkeypatch: pytest.MonkeyPatch,
        store: Store,
        method: str,
        *,
        which: Callable[..., bool] = lambda *_: True,
        answered: bool = False,
    ) -> None:
        self.reached = asyncio.Event()
        self._release = asyncio.Event()
        self._taken = False
        self._real = getattr(store, method)
        self._which = which
        self._answered = answered
        monkeypatch.setattr(store, method, self._call)

    def _call(self, *args: Any, **named: Any) -> Any:
        """Not a coroutine: what goes through is asked in the order of the calls."""
        if self._taken or not self._which(*args):
            return self._real(*args, **named)
        self._taken = True
        return asyncio.ensure_future(self._hold(self._real(*args, **named) if self._answered else None, args, named))

    async def _hold(self, asked: Any, args: Any, named: Any) -> Any:
        answer = await asked if asked is not None else None
        await self._wait()
        return answer if asked is not None else await self._real(*args, **named)

    async def _wait(self) -> None:
        self.reached.set()
        await self._release.wait()

    def let_go(self) -> None:
        self._release.set()
