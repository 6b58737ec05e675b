"""A chat for tests: the real service over a real store, and connections that keep what they hear."""

import asyncio
import random
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from realtime import wire
from realtime.auth import Identity
from realtime.dialects.messaging import MESSAGING
from realtime.engine.channel import Channel, Session
from realtime.engine.channels import Channels
from realtime.engine.codecs import JsonFrames
from realtime.engine.frames import Burst, Template
from realtime.errors import StoreUnavailable
from realtime.fanout import Fanout
from realtime.metrics import Metrics
from realtime.models import InboxQuery, Message, NewMessage, Notification, StoredMessage
from realtime.publisher import Outlet, Publisher
from realtime.services.audiences import Audiences
from realtime.services.counts import UnreadCounter
from realtime.services.directory import Directory
from realtime.services.errands import Errands
from realtime.services.messaging import MessagingService, Receipt
from realtime.services.notifications import NotificationService
from realtime.services.presence import PresenceService
from realtime.services.receipts import ReceiptService
from realtime.services.replays import Replays
from realtime.store.sqlite import SqliteStore
from rooms.membership import Membership
from rooms.policy import Member, auto_rooms
from rooms.presence import Roster
from rooms.typing_state import TypingState
from tests.support import FakeClock, until

EVENTS = JsonFrames("event")


class Gate:
    """Where a call to the store may be made to wait, or to fail."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.reached = 0
        self.down = False
        self.dawdling: random.Random | None = None

    async def passed(self) -> None:
        self.reached += 1
        if self.down:
            raise StoreUnavailable
        await self.open.wait()
        for _ in range(self.dawdling.randrange(4) if self.dawdling else 0):
            await asyncio.sleep(0)


class GatedStore(SqliteStore):
    """A store that can be slow and can fail, at the steps that matter to chat."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.committed = Gate()
        """After a message is committed, before its sender knows."""
        self.asked_waiting = Gate()
        """Before the messages that wait are read."""
        self.read_waiting = Gate()
        """After the messages that wait were read, before the connection is told."""
        self.marking = Gate()
        self.linking = Gate()
        self.notifying = Gate()
        """Before a notification is stored."""

    def dawdle(self, dawdling: random.Random) -> None:
        """Let every step take another moment."""
        for gate in (self.committed, self.read_waiting, self.marking, self.linking, self.notifying):
            gate.dawdling = dawdling

    async def add_message(self, new: NewMessage, *, now: float) -> StoredMessage:
        stored = await super().add_message(new, now=now)
        await self.committed.passed()
        return stored

    async def undelivered_messages(self, receiver: str, *, limit: int) -> list[Message]:
        await self.asked_waiting.passed()
        found = await super().undelivered_messages(receiver, limit=limit)
        await self.read_waiting.passed()
        return found

    async def set_messages_delivered(self, ids: Sequence[int], *, now: float) -> list[Message]:
        await self.marking.passed()
        return await super().set_messages_delivered(ids, now=now)

    async def set_message_notification(self, id: int, notification: int) -> None:
        await self.linking.passed()
        await super().set_message_notification(id, notification)

    async def add(self, *args: Any, **more: Any) -> Any:
        await self.notifying.passed()
        return await super().add(*args, **more)


class RecordingChannel(Channel):
    """Connections that keep what they are sent; `deaf` ones take nothing."""

    def __init__(self, path: str) -> None:
        super().__init__(path, Membership())
        self.frames: dict[str, list[Any]] = {}
        self.deaf: set[str] = set()
        self.turned_away: list[str] = []

    def encode(self, event: str, payload: object, mark: object = None) -> Burst:
        return EVENTS.encode(event, payload)

    def template(self, event: str, payload: object, mark: object = None) -> Template:
        return EVENTS.template(event, payload)

    def deliver(self, sids: Iterable[str], burst: Burst) -> int:
        told = [sid for sid in sids if sid not in self.deaf]
        for sid in told:
            self.frames.setdefault(sid, []).extend(wire.loads(packet) for packet in burst.packets)
        return len(told)

    def turn_away(self, sid: str, reason: str) -> None:
        self.turned_away.append(sid)


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


@dataclass
class Tab:
    """One connection of a person: what it heard, and how fast it reads."""

    session: Session
    channel: RecordingChannel
    chat: "Chat"
    allowed: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    patient: bool = False
    cut: bool = False
    """Whether the connection is lost as soon as something was written to it."""

    async def drain(self) -> bool:
        if self.cut:
            self.break_off()
        if self.patient:
            await self.allowed.acquire()
        return not self.cut

    def take(self, count: int = 1) -> None:
        """Read so many of the messages that were sent."""
        for _ in range(count):
            self.allowed.release()

    @property
    def frames(self) -> list[Any]:
        return self.channel.frames.get(self.session.sid, [])

    @property
    def names(self) -> list[str]:
        return [frame["event"] for frame in self.frames]

    def payloads(self, event: str) -> list[Any]:
        return [frame["data"] for frame in self.frames if frame["event"] == event]

    @property
    def texts(self) -> list[str]:
        """The messages that it was sent, in order."""
        return [payload["content"] for payload in self.payloads("message:new")]

    async def hears(self, event: str, count: int = 1) -> Any:
        await until(lambda: len(self.payloads(event)) >= count, what=f"{event} x {count} (heard {self.names})")
        return self.payloads(event)[count - 1]

    async def hears_texts(self, *texts: str) -> None:
        await until(lambda: len(self.texts) >= len(texts), what=f"{texts} (heard {self.texts})")
        assert self.texts == list(texts)

    def forget(self) -> None:
        self.channel.frames.pop(self.session.sid, None)

    def break_off(self) -> None:
        """The connection is lost, and the server notices."""
        if self.channel.session(self.session.sid) is not self.session:
            return
        self.chat.errands.end(self.session)
        self.chat.messaging.disconnected(self.session)
        rooms = self.channel.membership.remove(self.session.sid)
        self.channel.release(self.session.sid)
        self.chat.presence.disconnected(self.session, rooms)


class Chat:
    """People who write to each other, over two kinds of connections."""

    def __init__(self, store: GatedStore, clock: FakeClock) -> None:
        self.store, self.clock, metrics = store, clock, Metrics()
        self.namespace, self.twin = RecordingChannel("/ws"), RecordingChannel("/ws")
        channels = Channels([self.namespace, self.twin])
        publisher = Publisher([Outlet(self.namespace, MESSAGING), Outlet(self.twin, MESSAGING)], metrics)
        self.directory = Directory(store, clock)
        self.errands = CountedErrands()
        self.presence = PresenceService(
            roster=Roster(grace=0.0),
            channels=channels,
            lobbies=channels,
            fanout=Fanout(Publisher([], metrics)),
            directory=self.directory,
            store=store,
            clock=clock,
            scope="none",
        )
        audiences = Audiences(store=store, channels=channels, directory=self.directory)
        counter = UnreadCounter(
            store=store, channels=channels, audiences=audiences, publisher=publisher, clock=clock, metrics=metrics
        )
        self.notifications = NotificationService(
            store=store,
            publisher=publisher,
            channels=channels,
            audiences=audiences,
            counter=counter,
            receipts=ReceiptService(store=store, clock=clock, metrics=metrics),
            replays=Replays(clock),
            clock=clock,
            metrics=metrics,
        )
        self.messaging = MessagingService(
            store=store,
            publisher=publisher,
            channels=channels,
            presence=self.presence,
            notifications=self.notifications,
            directory=self.directory,
            errands=self.errands,
            clock=clock,
            typing_state=TypingState(),
        )
        self._sids = 0

    def arrive(self, id: str, *, plain: bool = False, patient: bool = False, cut: bool = False) -> Tab:
        """Open a connection; nothing is awaited between its admission and what it is sent first."""
        self._sids += 1
        channel = self.twin if plain else self.namespace
        member = Member(id=id, guest=False, roles=frozenset({"user"}), audience="user")
        session = Session(f"s{self._sids}", person(id), member, self.clock(), "127.0.0.1", channel)
        tab = Tab(session, channel, self, patient=patient, cut=cut)
        channel.admit(session, auto_rooms(member))
        self.presence.connected(session)
        self.messaging.connected(session, tab.drain)
        return tab

    async def settled(self, id: str, *, plain: bool = False) -> Tab:
        """Open a connection that has nothing to catch up with any more."""
        tab = self.arrive(id, plain=plain)
        await self.caught_up()
        return tab

    async def caught_up(self) -> None:
        await until(lambda: self.errands.open == 0, what="the end of the replay")

    async def say(self, text: str, sender: str = "ann", receiver: str = "bob", id: str | None = None) -> Receipt:
        """Send a message that repeats no other one."""
        self.clock.advance(3)
        return await self.messaging.send(person(sender), receiver, text, id)

    def begin(self, text: str, sender: str = "ann", receiver: str = "bob") -> "asyncio.Task[Receipt]":
        return asyncio.create_task(self.say(text, sender, receiver))

    async def stored(self, receipt: Receipt) -> Message:
        message = await self.store.message(receipt.message.id)
        assert message is not None
        return message

    async def notices(self, user: str = "bob") -> list[Notification]:
        """Return the notifications of somebody, the newest first."""
        rows, _ = await self.store.inbox(f"user:{user}", InboxQuery(limit=100), now=self.clock())
        return rows

    async def stop(self) -> None:
        await self.errands.stop()
        await self.messaging.stop()


def person(id: str, *, guest: bool = False) -> Identity:
    """Somebody whose name is their id with a capital letter."""
    return Identity(
        id=id,
        wire_id=id,
        guest=guest,
        role="guest" if guest else "user",
        name=id.capitalize(),
        email=f"{id}@example.org",
        grants=frozenset(),
        issued_at=0.0,
        expires_at=None,
    )
