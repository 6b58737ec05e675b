"""Work that goes on beside one connection, such as telling it what it missed, and ends with it."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from realtime.engine import eager
from realtime.engine.channel import Session
from realtime.errors import StoreUnavailable
from realtime.services.replays import FellBehind

log = structlog.get_logger(__name__)


class Errands:
    """Runs coroutines for connections; each ends by itself, with its connection, or at shutdown."""

    def __init__(self) -> None:
        self._running: dict[str, set[asyncio.Task[Any]]] = {}

    def run(self, session: Session, work: Coroutine[Any, Any, Any]) -> None:
        """Begin at once, up to the first thing that has to be waited for; what fails is logged."""
        if session.channel.session(session.sid) is not session:
            work.close()  # it has gone already
            return
        task = eager.start(asyncio.get_running_loop(), self._guarded(session, work))
        if not isinstance(task, asyncio.Task):
            return
        self._running.setdefault(session.sid, set()).add(task)
        task.add_done_callback(lambda done: self._done(session.sid, done))

    async def _guarded(self, session: Session, work: Coroutine[Any, Any, Any]) -> None:
        try:
            await work
        except FellBehind:
            session.channel.turn_away(session.sid, "More has come than was read")
        except StoreUnavailable:
            log.warning("websocket errand stopped: the database is not available", sid=session.sid)
        except Exception as error:
            log.error("websocket errand failed", sid=session.sid, exc_info=error)

    def _done(self, sid: str, task: asyncio.Task[Any]) -> None:
        mine = self._running.get(sid)
        if mine is not None:
            mine.discard(task)
            if not mine:
                del self._running[sid]

    def end(self, session: Session) -> None:
        """The connection is gone."""
        for task in self._running.get(session.sid, ()):
            task.cancel()

    async def stop(self) -> None:
        tasks = [task for mine in self._running.values() for task in mine]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
