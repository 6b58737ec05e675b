"""Paces presence: a storm of connects becomes a few writes, and never more than a tenth of the CPU."""

import asyncio
import time
from collections.abc import Callable, Hashable

from realtime.events import Audience, Event
from realtime.publisher import Publisher

WINDOW = 0.05
CPU_SHARE = 0.1

CallLater = Callable[[float, Callable[[], None]], asyncio.TimerHandle]


class Fanout:
    """Collects events for a window and publishes the last one of each key, one write per connection.

    The window is at least 50 ms. Sending takes time; the next window is long enough that the time spent
    sending stays under 10 % of the whole.
    """

    def __init__(
        self,
        publisher: Publisher,
        *,
        call_later: CallLater | None = None,
        cpu: Callable[[], float] = time.thread_time,
    ) -> None:
        self._publisher = publisher
        self._call_later = call_later
        self._cpu = cpu
        self._pending: dict[Hashable, tuple[Event, Audience]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.window = WINDOW

    def submit(self, key: Hashable, event: Event, audience: Audience) -> None:
        """Send `event` within the window; an earlier one of the same key that still waits is replaced."""
        self._pending.pop(key, None)
        self._pending[key] = (event, audience)
        if self._timer is None:
            call_later = self._call_later or asyncio.get_running_loop().call_later
            self._timer = call_later(self.window, self.flush)

    def flush(self) -> None:
        """Send everything that waits, now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        pending, self._pending = self._pending, {}
        if not pending:
            return
        started = self._cpu()
        self._publisher.publish_together(list(pending.values()))
        spent = self._cpu() - started
        self.window = max(WINDOW, spent / CPU_SHARE)

    def close(self) -> None:
        """Forget what waits: the connections are going away."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._pending.clear()
