"""What happens by itself: expiries, ends of typing, drafts that are due, sweeping."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping

import structlog

from realtime.errors import StoreUnavailable
from realtime.metrics import Metrics

log = structlog.get_logger(__name__)

TICK = 0.1

Work = Callable[[], Awaitable[object]]


class Ticker:
    """Runs each piece of work over and over, at the multiples of its `seconds` on the loop's clock.

    The first time comes after half of them at least. One that fails does not stop the others.
    """

    def __init__(self, work: Mapping[str, tuple[float, Work]], metrics: Metrics) -> None:
        self._work = dict(work)
        self._metrics = metrics

    async def run(self) -> None:
        """Tick until cancelled."""
        await asyncio.gather(*(self._repeat(name, seconds, run) for name, (seconds, run) in self._work.items()))

    async def _repeat(self, name: str, seconds: float, run: Work) -> None:
        loop = asyncio.get_running_loop()
        while True:
            now = loop.time()
            next_ = math.floor(now / seconds + 1.5) * seconds  # all wake at the same moments, not one by one
            await asyncio.sleep(next_ - now)
            try:
                await run()
            except StoreUnavailable:
                self._metrics.loop_failures.labels(name).inc()
                log.warning("background work waits: the database is not available", task=name)
                await asyncio.sleep(1.0)
            except Exception as error:
                self._metrics.loop_failures.labels(name).inc()
                log.error("background work failed", task=name, exc_info=error)
                await asyncio.sleep(1.0)
