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

    async def _call(self, *args: Any, **named: Any) -> Any:
        if self._taken or not self._which(*args):
            return await self._real(*args, **named)
        self._taken = True
        if self._answered:
            answer = await self._real(*args, **named)
            await self._wait()
            return answer
        await self._wait()
        return await self._real(*args, **named)

    async def _wait(self) -> None:
        self.reached.set()
        await self._release.wait()

    def let_go(self) -> None:
        self._release.set()
