"""The way of one notification, for whoever asks why somebody did or did not get it."""

from dataclasses import dataclass

from realtime.clock import Clock
from realtime.errors import Code, RealtimeError
from realtime.models import Principal, Trace
from realtime.services.inbox import not_found
from realtime.services.receipts import ReceiptService
from realtime.store.base import Store

MAX_RECEIPTS = 1000
"""Of one answer; the oldest are shown."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened to a notification; `who` did it, or had it done to them."""

    stage: str
    at: float
    who: Principal | None = None
    device: str | None = None
    detail: str | None = None


class TraceService:
    def __init__(self, *, store: Store, receipts: ReceiptService, clock: Clock) -> None:
        self._store = store
        self._receipts = receipts
        self._clock = clock

    async def of(self, id: int, *, caller: Principal, admin: bool) -> tuple[Trace, list[Step]]:
        """Return what is known of a notification, and its steps in order, `stored` first.

        It tells who has read what, so it is for its sender and administrators. Raises FORBIDDEN for others who
        can see the notification, NOT_FOUND else.
        """
        await self._receipts.flush()
        now = self._clock()
        trace = await self._store.trace(id, limit=MAX_RECEIPTS, now=now)
        if trace is None:
            raise not_found()
        if not admin and trace.notification.sender != caller:
            if await self._store.notification(caller, id, now=now):
                raise RealtimeError(Code.FORBIDDEN, "Forbidden: insufficient permissions")
            raise not_found()
        return trace, _steps(trace, now)


def _steps(trace: Trace, now: float) -> list[Step]:
    """A group's row is stored anew under its id: what happened to the former one is older, and stays behind it."""
    row = trace.notification
    later = [Step(one.stage, one.at, one.reader, one.device, one.detail) for one in trace.receipts]
    if trace.retracted_at is not None:
        later.append(Step("retracted", trace.retracted_at))
    expires_at = row.content.expires_at
    if expires_at is not None and expires_at <= now:
        later.append(Step("expired", expires_at))
    return [Step("stored", row.created_at, row.sender), *sorted(later, key=lambda step: step.at)]
