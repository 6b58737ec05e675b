"""Hotel guests on plain sockets: told what they missed, and every row kept until a client of theirs has it.

Written is not delivered: a row that was written to a broken connection is in nobody's hands. So a ping follows each
row, and the row is delivered when its pong is back. What no pong confirms comes again on the next connection.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Collection, Sequence

import structlog

from realtime.clock import Clock
from realtime.engine.channel import Channel, Session
from realtime.errors import StoreUnavailable
from realtime.events import Audience, Connected, GuestTest
from realtime.metrics import Metrics
from realtime.models import JsonObject, Notification, Principal, WireId, guest_principal, wire_id
from realtime.publisher import Publisher
from realtime.services.errands import Errands
from realtime.services.notifications import NotificationService
from realtime.services.receipts import Devices, ReceiptService
from realtime.services.replays import Drain
from realtime.store.base import Store

log = structlog.get_logger(__name__)

AUDIENCE = "guests"
CACHE_SIZE = 50_000
MAX_REPLAY = 100
"""Missed rows that one connection is told; the next one is told the next."""

MAX_PINGS = 8
"""Pings of one connection that may be unanswered; rows written meanwhile share the next one."""

MAX_UNCONFIRMED = 500
"""Rows of one connection that wait for a ping; when no more pings may be sent, the oldest are given up, and come again
on the next connection."""

MAX_NOTES = 100_000
"""Guests whose deliveries wait to be stored; those of further ones come again."""

NOTES_AT_ONCE = 100
"""Deliveries stored at a time, so that a broadcast's pongs leave the database time for others."""

Ping = Callable[[], int]
"""Sends a ping and returns its number; numbers of one connection rise."""


class _Tab:
    """What one connection was sent and has not confirmed."""

    __slots__ = ("_asked", "_ping", "_written")

    def __init__(self, ping: Ping) -> None:
        self._ping = ping
        self._written: deque[int] = deque(maxlen=MAX_UNCONFIRMED)
        self._asked: deque[tuple[int, list[int]]] = deque()

    def wrote(self, id: int) -> None:
        if len(self._written) == MAX_UNCONFIRMED:
            self.ask()
        self._written.append(id)

    def ask(self) -> None:
        """Send a ping behind what was written, unless enough of them are under way."""
        if self._written and len(self._asked) < MAX_PINGS:
            self._asked.append((self._ping(), list(self._written)))
            self._written.clear()

    def confirmed(self, number: int) -> list[int]:
        """Return what was written before ping `number`."""
        taken: list[int] = []
        while self._asked and self._asked[0][0] <= number:
            taken += self._asked.popleft()[1]
        return taken


class GuestService:
    """Knows the guests, and what their sockets have taken. `channel` is the one of those sockets."""

    def __init__(
        self,
        *,
        store: Store,
        channel: Channel,
        publisher: Publisher,
        notifications: NotificationService,
        errands: Errands,
        receipts: ReceiptService,
        devices: Devices,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._channel = channel
        self._publisher = publisher
        self._notifications = notifications
        self._errands = errands
        self._receipts = receipts
        self._devices = devices
        self._clock = clock
        self._metrics = metrics
        self._known: dict[Principal, None] = {}
        self._tabs: dict[str, _Tab] = {}
        self._unasked: dict[str, _Tab] = {}
        self._notes: dict[Principal, set[int]] = {}
        self._noting: asyncio.Task[None] | None = None

    # --- known guests ---

    async def known(self, principal: Principal) -> None:
        """Let a guest receive what is sent to all guests from now on. Does nothing for users.

        A database that cannot write keeps nobody out: it is tried again at the next occasion.
        """
        if principal in self._known or not principal.startswith("guest:"):
            return
        try:
            await self._store.open_membership(principal, AUDIENCE, now=self._clock())
        except StoreUnavailable:
            log.warning("websocket guest not noted: the database is not available", guest=principal)
            return
        self._known[principal] = None
        if len(self._known) > CACHE_SIZE:
            del self._known[next(iter(self._known))]

    # --- sockets ---

    def connected(self, session: Session, ping: Ping, drain: Drain) -> None:
        """Greet a socket and tell it what it missed. Call it before anything is awaited after its admission."""
        identity = session.identity
        self._tabs[session.sid] = _Tab(ping)
        event = Connected(self._clock(), session.person, identity.email, len(self._channel))
        self._publisher.publish_to_connection(event, session)
        self._errands.run(session, self._catch_up(session, drain))

    async def _catch_up(self, session: Session, drain: Drain) -> None:
        principal = session.identity.principal

        async def missed() -> Sequence[Notification]:
            await self.known(principal)
            taken = set(self._notes.get(principal, ()))
            rows = await self._store.undelivered(principal, limit=MAX_REPLAY, now=self._clock())
            return [row for row in rows if row.id not in taken]

        await self._notifications.tell_missed(session, missed, drain)
        tab = self._tabs.get(session.sid)
        if tab is not None:
            tab.ask()

    def disconnected(self, session: Session) -> None:
        """Forget a socket. What it has not confirmed stays undelivered."""
        self._tabs.pop(session.sid, None)
        self._unasked.pop(session.sid, None)

    # --- what was written ---

    def shown(self, notification: Notification, rooms: Collection[str], skip: frozenset[str]) -> None:
        if not self._tabs:
            return
        for room in rooms:
            for sid in self._channel.membership.members(room):
                if sid not in skip:
                    self._wrote(sid, notification.id)

    def shown_to(self, notification: Notification, session: Session) -> None:
        self._wrote(session.sid, notification.id)

    def _wrote(self, sid: str, id: int) -> None:
        tab = self._tabs.get(sid)
        if tab is None:
            return
        tab.wrote(id)
        if not self._unasked:
            asyncio.get_running_loop().call_soon(self._ask)
        self._unasked[sid] = tab

    def _ask(self) -> None:
        """One ping for all that was written to a socket in a turn of the loop."""
        unasked, self._unasked = self._unasked, {}
        for tab in unasked.values():
            tab.ask()

    # --- what was taken ---

    def ponged(self, session: Session, number: int) -> None:
        """A client has read everything that was sent before ping `number`."""
        tab = self._tabs.get(session.sid)
        if tab is None:
            return
        taken = tab.confirmed(number)
        tab.ask()
        if taken:
            principal, device = session.identity.principal, self._devices.of(session)
            for id in taken:
                self._receipts.note("acknowledged", id, principal, device)
            self._note(principal, taken)

    def _note(self, principal: Principal, ids: list[int]) -> None:
        if principal not in self._notes and len(self._notes) >= MAX_NOTES:
            return
        self._notes.setdefault(principal, set()).update(ids)
        if self._noting is None or self._noting.done():
            self._noting = asyncio.get_running_loop().create_task(self._store_notes())

    async def _store_notes(self) -> None:
        """Store deliveries until none wait. One that fails is only a row that comes again."""
        while self._notes:
            some = {guest: sorted(ids) for guest, ids in itertools.islice(self._notes.items(), NOTES_AT_ONCE)}
            now = self._clock()
            work = (self._store.set_delivered(guest, ids, now=now) for guest, ids in some.items())
            failed = [error for error in await asyncio.gather(*work, return_exceptions=True) if error is not None]
            for guest, ids in some.items():
                self._notes[guest].difference_update(ids)
                if not self._notes[guest]:
                    del self._notes[guest]
            if failed:
                self._metrics.loop_failures.labels("guest_deliveries").inc(len(failed))
                log.warning("websocket deliveries not stored", guests=len(failed), exc_info=failed[0])

    async def stop(self) -> None:
        """Return when everything that was taken is stored. The store is still open, the sockets are not."""
        if self._noting is not None:
            await self._noting

    # --- operators ---

    def stats(self) -> JsonObject:
        """Return who is connected to the guests' sockets, by how many of them."""
        connections: dict[str, int] = {}
        for session in self._channel.sessions():
            connections[session.identity.id] = connections.get(session.identity.id, 0) + 1
        return {
            "totalConnections": len(self._channel),
            "uniqueGuests": len(connections),
            "guests": [{"guestId": wire_id(guest), "connections": count} for guest, count in connections.items()],
        }

    async def test(self, guest: WireId, message: str) -> None:
        """Show a guest's sockets a notification that is stored nowhere."""
        event = GuestTest(self._clock(), await self._store.take_id(), guest, message)
        self._publisher.publish(event, Audience.principal(guest_principal(guest)))
