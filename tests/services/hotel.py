"""A hotel's half of a server for tests: a real store, the guests' service, and sockets that keep what they hear."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from realtime import wire
from realtime.auth import Identity
from realtime.dialects.guests import GUESTS, communication
from realtime.engine.channel import Channel, Session
from realtime.engine.channels import Channels
from realtime.engine.codecs import JsonFrames
from realtime.engine.frames import Burst, Template
from realtime.errors import StoreUnavailable
from realtime.metrics import Metrics
from realtime.models import Content, Held, Notification, Principal, Stored, Target
from realtime.publisher import Outlet, Publisher
from realtime.services.audiences import Audiences
from realtime.services.communications import CommunicationService
from realtime.services.counts import UnreadCounter
from realtime.services.directory import Directory
from realtime.services.errands import Errands
from realtime.services.guests import GuestService
from realtime.services.notifications import NotificationService
from realtime.services.receipts import Devices, ReceiptService, Showings
from realtime.services.replays import Replays
from realtime.store.sqlite import SqliteStore
from rooms.membership import Membership
from rooms.policy import Member, auto_rooms
from tests.support import FakeClock, until

TYPES = JsonFrames("type")
TO_7 = Target(recipient="guest:7")
TO_ALL = Target(audience="guests")
LATE = Target(audience="guests", late_join=True)


class FlakyStore(SqliteStore):
    """A store whose methods can be made to fail by name; notes whom it made known."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.failing: set[str] = set()
        self.made_known: list[Principal] = []

    def _check(self, method: str) -> None:
        if method in self.failing:
            raise StoreUnavailable

    async def add(self, *args: Any, **more: Any) -> list[Stored]:
        self._check("add")
        return await super().add(*args, **more)

    async def add_drafts(self, *args: Any, **more: Any) -> list[Held | Stored]:
        self._check("add_drafts")
        return await super().add_drafts(*args, **more)

    async def cancel_draft(self, id: int) -> bool:
        self._check("cancel_draft")
        return await super().cancel_draft(id)

    async def open_membership(self, reader: Principal, audience: str, *, now: float) -> bool:
        self._check("open_membership")
        self.made_known.append(reader)
        return await super().open_membership(reader, audience, now=now)

    async def undelivered(self, *args: Any, **more: Any) -> list[Notification]:
        self._check("undelivered")
        return await super().undelivered(*args, **more)

    async def set_delivered(self, *args: Any, **more: Any) -> None:
        self._check("set_delivered")
        await super().set_delivered(*args, **more)


class CountedErrands(Errands):
    """Knows how many go on."""

    def __init__(self) -> None:
        super().__init__()
        self.open = 0

    def run(self, session: Session, work: Coroutine[Any, Any, Any]) -> None:
        super().run(session, self._counted(work))

    async def _counted(self, work: Coroutine[Any, Any, Any]) -> None:
        self.open += 1
        try:
            await work
        finally:
            self.open -= 1


class RecordingChannel(Channel):
    """Sockets that keep what they are sent."""

    def __init__(self, path: str) -> None:
        super().__init__(path, Membership())
        self.frames: dict[str, list[Any]] = {}

    def encode(self, event: str, payload: object, mark: object = None) -> Burst:
        return TYPES.encode(event, payload)

    def template(self, event: str, payload: object, mark: object = None) -> Template:
        return TYPES.template(event, payload)

    def deliver(self, sids: Iterable[str], burst: Burst) -> int:
        told = list(sids)
        for sid in told:
            self.frames.setdefault(sid, []).extend(wire.loads(packet) for packet in burst.packets)
        return len(told)


@dataclass
class Tab:
    """One socket of a guest: what it heard, the pings it got, and how fast it reads."""

    session: Session
    channel: RecordingChannel
    guests: GuestService
    errands: Errands
    pings: list[int] = field(default_factory=list)
    reading: asyncio.Event = field(default_factory=asyncio.Event)

    def ping(self) -> int:
        """Note how much had been written before this ping."""
        self.pings.append(len(self.frames))
        return len(self.pings)

    async def drain(self) -> bool:
        await self.reading.wait()
        return True

    def pong(self, number: int | None = None) -> None:
        self.guests.ponged(self.session, number or len(self.pings))

    @property
    def frames(self) -> list[Any]:
        return self.channel.frames.get(self.session.sid, [])

    @property
    def ids(self) -> list[int]:
        """The notifications it heard, in order."""
        return [frame["data"]["id"] for frame in self.frames if frame["type"] == "notification"]

    async def hears(self, *ids: int) -> None:
        await until(lambda: len(self.ids) >= len(ids), what=f"{ids} (heard {self.ids})")
        assert self.ids == list(ids)

    async def gets_ping(self, count: int = 1) -> None:
        await until(lambda: len(self.pings) >= count, what=f"ping {count}")

    def break_off(self) -> None:
        """The connection is lost, and the server notices."""
        self.guests.disconnected(self.session)
        self.errands.end(self.session)
        self.channel.membership.remove(self.session.sid)
        self.channel.release(self.session.sid)


class Hotel:
    """The guests' half of a server over a real store."""

    def __init__(self, store: FlakyStore, clock: FakeClock) -> None:
        self.store, self.clock, self.metrics = store, clock, Metrics()
        self.channel = RecordingChannel(GUESTS.namespace)
        self.channels = Channels([self.channel])
        self.publisher = Publisher([Outlet(self.channel, GUESTS)], self.metrics)
        self.errands = CountedErrands()
        audiences = Audiences(store=store, channels=self.channels, directory=Directory(store, clock))
        counter = UnreadCounter(
            store=store,
            channels=self.channels,
            audiences=audiences,
            publisher=self.publisher,
            clock=clock,
            metrics=self.metrics,
        )
        self.receipts = ReceiptService(store=store, clock=clock, metrics=self.metrics)
        devices = Devices({self.channel: "websocket"})
        self.notifications = NotificationService(
            store=store,
            publisher=self.publisher,
            channels=self.channels,
            audiences=audiences,
            counter=counter,
            receipts=self.receipts,
            replays=Replays(clock),
            clock=clock,
            metrics=self.metrics,
        )
        self.notifications.watch(Showings(self.receipts, devices))
        self.guests = GuestService(
            store=store,
            channel=self.channel,
            publisher=self.publisher,
            notifications=self.notifications,
            errands=self.errands,
            receipts=self.receipts,
            devices=devices,
            clock=clock,
            metrics=self.metrics,
        )
        self.notifications.watch(self.guests)
        self.communications = CommunicationService(
            store=store,
            notifications=self.notifications,
            guests=self.guests,
            shape=communication,
            clock=clock,
            metrics=self.metrics,
        )
        self._sids = 0

    def arrive(self, id: str = "7", *, reading: bool = True) -> Tab:
        """Open a socket; nothing is awaited between its admission and its greeting."""
        self._sids += 1
        member = Member(id=id, guest=True, roles=frozenset({"guest"}), audience="guest")
        identity = Identity(id, id, True, "guest", "Gina", None, frozenset(), issued_at=0.0, expires_at=None)
        session = Session(f"s{self._sids}", identity, member, self.clock(), "127.0.0.1", self.channel)
        tab = Tab(session, self.channel, self.guests, self.errands)
        if reading:
            tab.reading.set()
        self.channel.admit(session, auto_rooms(member))
        self.guests.connected(session, tab.ping, tab.drain)
        return tab

    async def settled(self, id: str = "7") -> Tab:
        """Open a socket that has nothing to catch up with any more."""
        tab = self.arrive(id)
        await self.caught_up()
        return tab

    async def caught_up(self) -> None:
        await until(lambda: self.errands.open == 0, what="the end of the replay")

    async def send(self, target: Target = TO_7, **content: Any) -> int:
        self.clock.advance(1)
        sent = await self.notifications.send(
            [target], Content(**{"type": "notification", "title": "Pool", "message": "Closed", **content}), sender=None
        )
        return sent.stored[0].notification.id

    async def waiting(self, id: str = "7") -> list[int]:
        """Return what the next socket of a guest would be told, when all deliveries are stored."""
        await self.guests.stop()
        rows = await self.store.undelivered(f"guest:{id}", limit=1000, now=self.clock())
        return [row.id for row in rows]


@asynccontextmanager
async def open_hotel(path: Path, clock: FakeClock) -> AsyncIterator[Hotel]:
    """A server's life over the database at `path`; the next one finds what this one left."""
    store = FlakyStore(path)
    await store.open()
    hotel = Hotel(store, clock)
    await hotel.notifications.start()
    await hotel.communications.start()
    try:
        yield hotel
    finally:
        await hotel.errands.stop()
        await hotel.guests.stop()
        await store.close()
