"""What happened to notifications at their readers': sent, acknowledged, seen, read.

Receipts say why somebody did or did not get a notification; counts do not depend on them. So they are stored a moment
later and many at a time, a crash loses those of that moment, and of too many the oldest are given up.
"""

import asyncio
import functools
import hashlib
from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence

import structlog

from realtime.clock import Clock
from realtime.engine.channel import Channel, Session
from realtime.errors import Code, RealtimeError, StoreUnavailable
from realtime.metrics import Metrics
from realtime.models import Notification, Principal, Receipt, Stage
from realtime.store.base import Store
from rooms import names

log = structlog.get_logger(__name__)

MAX_WAITING = 20_000
"""Receipts in memory; of more the oldest are dropped."""

MAX_WAITING_OF_ONE = 1000
"""Receipts of one reader in memory; of more the newest are dropped, so that nobody pushes out what others did."""

TOGETHER = 500
"""Receipts stored in one transaction."""

PAUSE_SECONDS = 0.2
RETRY_SECONDS = 1.0

NOTED_PER_SHOW = 2000
"""Connections of which it is noted that they were sent one notification. Of a broadcast to more of them the rest is
not noted: it would take the database longer than the sending."""

MAX_ACKNOWLEDGED = 500
"""Notifications acknowledged in one call."""

MAX_DEVICE = 100


class ReceiptService:
    def __init__(self, *, store: Store, clock: Clock, metrics: Metrics) -> None:
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._waiting: deque[Receipt] = deque()
        self._waiting_of: Counter[Principal] = Counter()
        self._wake = asyncio.Event()
        self._dropping = False
        self._storing = asyncio.Lock()

    def note(
        self, stage: Stage, notification: int, reader: Principal, device: str | None = None, *, at: float | None = None
    ) -> None:
        """Have a receipt stored soon. `device` is not a connection's id: who knows that id may be taken for it."""
        if self._waiting_of[reader] >= MAX_WAITING_OF_ONE:
            self._note_drop()
            return
        if len(self._waiting) >= MAX_WAITING:
            self._note_drop()
            self._take(1)
        self._waiting.append(Receipt(notification, stage, reader, self._clock() if at is None else at, device))
        self._waiting_of[reader] += 1
        self._wake.set()

    def _take(self, number: int) -> list[Receipt]:
        """Take the oldest out."""
        taken = [self._waiting.popleft() for _ in range(min(number, len(self._waiting)))]
        for one in taken:
            self._waiting_of[one.reader] -= 1
            if not self._waiting_of[one.reader]:
                del self._waiting_of[one.reader]
        return taken

    def _note_drop(self) -> None:
        self._metrics.receipts_dropped.inc()
        if not self._dropping:
            log.warning("receipts dropped: more come than are stored", waiting=len(self._waiting))
        self._dropping = True

    async def acknowledge(self, reader: Principal, ids: Sequence[int], device: str | None = None) -> int:
        """Note that a client of the reader has notifications; returns how many of them the reader can see.

        Raises INVALID_PAYLOAD.
        """
        if len(ids) > MAX_ACKNOWLEDGED:
            raise RealtimeError(Code.INVALID_PAYLOAD, f"At most {MAX_ACKNOWLEDGED} ids in one call")
        if device is not None and not (1 <= len(device) <= MAX_DEVICE and device.isprintable()):
            raise RealtimeError(Code.INVALID_PAYLOAD, f"device is 1 to {MAX_DEVICE} printable characters")
        now = self._clock()
        visible = await self._store.visible(reader, list(dict.fromkeys(ids)), now=now)
        if visible:
            await self._store.set_delivered(reader, visible, now=now)
        for id in visible:
            self.note("acknowledged", id, reader, device)
        return len(visible)

    # --- storing ---

    async def run(self) -> None:
        """Store receipts until cancelled."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(PAUSE_SECONDS)
            self._wake.clear()
            try:
                await self.flush()
            except StoreUnavailable:
                self._metrics.loop_failures.labels("receipts").inc()
                log.warning("receipts wait: the database is not available", waiting=len(self._waiting))
                await asyncio.sleep(RETRY_SECONDS)
                self._wake.set()
            except Exception as error:
                self._metrics.loop_failures.labels("receipts").inc()
                log.error("receipts not stored", exc_info=error)

    async def flush(self) -> None:
        """Store what waits now. What the database cannot take goes on waiting."""
        async with self._storing:
            due = len(self._waiting)
            while due > 0 and self._waiting:
                some = self._take(min(due, TOGETHER))
                due -= len(some)
                try:
                    await self._store.add_receipts(some)
                except (StoreUnavailable, asyncio.CancelledError):
                    self._put_back(some)
                    raise
            self._dropping = False

    def _put_back(self, receipts: list[Receipt]) -> None:
        """Storing a receipt twice is storing it once. The newest may have taken the place of these."""
        space = MAX_WAITING - len(self._waiting)
        if len(receipts) > space:
            self._metrics.receipts_dropped.inc(len(receipts) - space)
        kept = receipts[max(0, len(receipts) - space) :]
        self._waiting.extendleft(reversed(kept))
        self._waiting_of.update(one.reader for one in kept)

    async def stop(self) -> None:
        """Store what waits. The store is still open, `run` has ended."""
        try:
            await self.flush()
        except StoreUnavailable:
            log.warning("receipts lost: the database is not available", waiting=len(self._waiting))


class Devices:
    """How receipts name the connections on which inboxes are shown. `kinds` has a word for each kind of channel."""

    def __init__(self, kinds: Mapping[Channel, str]) -> None:
        self._kinds = dict(kinds)

    @property
    def channels(self) -> Collection[Channel]:
        return self._kinds.keys()

    def of(self, session: Session) -> str:
        """Return path, kind and a few characters that tell the connection from others, but not its id."""
        mark = _mark(session.sid)
        return f"{session.channel.path} {self._kinds.get(session.channel, 'other')} {mark}"


@functools.lru_cache(maxsize=4096)
def _mark(sid: str) -> str:
    """Return what tells connections apart; their id itself is a credential."""
    return hashlib.sha256(sid.encode()).hexdigest()[:8]


class Showings:
    """Notes to which connections notifications were sent; told by the service that shows them."""

    def __init__(self, receipts: ReceiptService, devices: Devices) -> None:
        self._receipts = receipts
        self._devices = devices

    def shown(self, notification: Notification, rooms: Collection[str], skip: frozenset[str]) -> None:
        left = NOTED_PER_SHOW
        for room in rooms:
            for channel in self._devices.channels:
                for session in channel.members(room):
                    if session.sid in skip or names.personal(session.identity.principal) != room:
                        continue
                    if not left:
                        return
                    left -= 1
                    self.shown_to(notification, session)

    def shown_to(self, notification: Notification, session: Session) -> None:
        if session.channel in self._devices.channels:
            self._receipts.note("sent", notification.id, session.identity.principal, self._devices.of(session))
