"""What follows a commit: its failure must not fail the request, and the request's end must not end it."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

from realtime.engine.eager import within
from realtime.errors import RealtimeError

log = structlog.get_logger(__name__)

STEP_SECONDS = 3.0
"""For each step: somebody waits, and a command has 10 s in all."""

STOP_SECONDS = 5.0

T = TypeVar("T")


class Afterwards:
    """Work that is not cancelled with whoever began it."""

    def __init__(self) -> None:
        self._begun: set[asyncio.Task[Any]] = set()

    def begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run something to its end. Who waits for it uses `asyncio.shield`."""
        task = asyncio.create_task(work)
        self._begun.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        """Whoever waited may have given up: then this is where a failure is seen."""
        self._begun.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.warning("work after a commit failed", error=repr(task.exception()))

    async def attempt(self, step: str, work: Coroutine[Any, Any, T], **about: object) -> T | None:
        """Do one step; None when it fails, which is logged with `about`."""
        try:
            return await within(STEP_SECONDS, work)
        except (RealtimeError, TimeoutError) as error:
            log.warning("step after a commit failed", step=step, error=repr(error), **about)
            return None

    async def stop(self) -> None:
        """Finish what was begun. Call it before the store is closed."""
        if self._begun:
            await asyncio.wait(self._begun, timeout=STOP_SECONDS)
