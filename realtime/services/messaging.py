"""Chat between two people: stored first, shown to whoever is connected, kept for whoever is not.

What a person says is never altered, never logged, and never part of a notification.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import structlog

from realtime.auth import Identity
from realtime.clock import Clock
from realtime.engine.channel import Session
from realtime.engine.channels import Channels
from realtime.errors import Code, RealtimeError, StoreUnavailable
from realtime.events import (
    Audience,
    Correspondent,
    MessageDelivered,
    MessageRead,
    MessageReceived,
    MessageSent,
    OnlineListed,
    Ponged,
)
from realtime.models import Conversation, Message, NewMessage, user_principal
from realtime.publisher import Publisher
from realtime.services.afterwards import Afterwards
from realtime.services.correspondents import Correspondents
from realtime.services.directory import Directory
from realtime.services.errands import Errands
from realtime.services.message_notices import MessageNotices
from realtime.services.message_replays import MessageReplays
from realtime.services.message_typing import MessageTypingService
from realtime.services.notifications import NotificationService
from realtime.services.presence import PresenceService
from realtime.services.replays import Drain
from realtime.store.base import Store
from rooms import names
from rooms.typing_state import TypingState

log = structlog.get_logger(__name__)

MAX_CONTENT = 5000
"""Characters of a message."""

MAX_REPLAYED = 100
"""Messages that waited and are sent to one new connection; the rest is found in the history."""

MAX_RECEIPTS = 1000
"""Receipts of one reading that are sent live, those of the newest messages: a reader may catch up with years."""

READ_TOGETHER = 500
"""Messages marked read in one write, so that others can write between."""

RECEIPTS_TOGETHER = 100
"""In one write."""

SOON_SECONDS = 0.5
"""How long a sender waits for a connection that is about to catch up: mostly it has just come, with nothing missed."""

Reached = Literal["taken", "soon", "later", "nobody"]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a sender learns. A duplicate is the earlier message, whatever was sent now."""

    event: MessageSent
    duplicate: bool = False

    @property
    def message(self) -> Message:
        return self.event.message


@dataclass(frozen=True, slots=True)
class Talk:
    """One of a person's conversations, and with whom it is."""

    conversation: Conversation
    other: Correspondent


class MessagingService:
    """`channels` are those that chat is shown on: a person is reachable when they have a connection there."""

    def __init__(
        self,
        *,
        store: Store,
        publisher: Publisher,
        channels: Channels,
        presence: PresenceService,
        notifications: NotificationService,
        directory: Directory,
        errands: Errands,
        clock: Clock,
        typing_state: TypingState,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._presence = presence
        self._errands = errands
        self._clock = clock
        self._people = Correspondents(channels, directory)
        self._typing = MessageTypingService(state=typing_state, publisher=publisher, clock=clock)
        self._notices = MessageNotices(store, notifications)
        self._replays = MessageReplays(
            show=publisher.publish_to_connection, taken=self._arrived, unnoticed=self._leave_notices
        )
        self._afterwards = Afterwards()
        self._searching = asyncio.Lock()  # a search reads much: one at a time, so that others can read beside it
        self._awaited: dict[int, asyncio.Future[Message]] = {}

    # --- sending ---

    async def send(self, sender: Identity, receiver: str, content: str, client_id: str | None) -> Receipt:
        """Store a message and show it to both. Raises FORBIDDEN for guests, INVALID_PAYLOAD.

        Once it is stored it has been sent: neither a failure nor the end of the sender's patience keeps it from its
        receiver then.
        """
        if sender.guest:
            raise RealtimeError(Code.FORBIDDEN, "Guests cannot send messages")
        _check_receiver(sender, receiver)
        new = NewMessage(sender.id, receiver, _checked(content), client_id)
        work = self._send(new, self._people.named(sender), await self._people.find(receiver))
        return await asyncio.shield(self._afterwards.begin(work))

    async def _send(self, new: NewMessage, me: Correspondent, them: Correspondent) -> Receipt:
        with self._replays.sending(new.receiver):
            stored = await self._store.add_message(new, now=self._clock())
            message = stored.message
            if stored.duplicate:
                return Receipt(MessageSent(self._clock(), message, me, them), duplicate=True)
            self._typing.sent(me.id, them.id)
            received = MessageReceived(self._clock(), message, me, them)
            reached = self._show(received)
        if reached == "taken":
            message = await self._delivered(message)
        elif reached == "soon":
            message = await self._soon_delivered(message)
        event = MessageSent(self._clock(), message, me, them)
        self._publisher.publish(event, Audience.user(me.id))
        if reached == "nobody":
            await self._afterwards.attempt("notify of a message", self._notices.leave(received), id=message.id)
        return Receipt(event)

    def _show(self, event: MessageReceived) -> Reached:
        """Show a message on the receiver's connections; those that still catch up are told in their turn."""
        catching_up, prospect = self._replays.hold_back(event)
        audience = Audience.principal(user_principal(event.message.receiver), skip=catching_up)
        if self._publisher.publish(event, audience) or prospect == "already":
            return "taken"
        return "nobody" if prospect == "never" else prospect

    async def _delivered(self, message: Message) -> Message:
        """Mark what was taken; without the mark it still waits, and comes again with the next connection."""
        now = self._clock()
        marking = self._store.set_messages_delivered([message.id], now=now)
        changed = await self._afterwards.attempt("mark a message delivered", marking, id=message.id)
        if changed is None:
            return message
        return changed[0] if changed else replace(message, delivered_at=now)

    async def _soon_delivered(self, message: Message) -> Message:
        awaited = self._awaited[message.id] = asyncio.get_running_loop().create_future()
        await asyncio.wait((awaited,), timeout=SOON_SECONDS)
        del self._awaited[message.id]
        return awaited.result() if awaited.done() else message

    # --- messages that wait ---

    def connected(self, session: Session, drain: Drain) -> None:
        """Send a new connection what waits for its owner.

        Call it before anything is awaited after the connection was admitted; `drain` returns when the client has
        taken what was sent.
        """
        if not session.identity.guest:
            self._errands.run(session, self._replays.run(session, lambda: self._waiting(session), drain))

    async def _waiting(self, session: Session) -> list[MessageReceived]:
        try:
            rows = await self._store.undelivered_messages(session.identity.id, limit=MAX_REPLAYED)
            senders = {id: await self._people.find(id) for id in dict.fromkeys(row.sender for row in rows)}
        except StoreUnavailable:
            log.warning("waiting messages not sent: the database is not available", sid=session.sid)
            return []
        me = self._people.named(session.identity)
        return [MessageReceived(self._clock(), row, senders[row.sender], me) for row in rows]

    async def _arrived(self, messages: Sequence[Message]) -> None:
        """Mark what a client has taken after it had to wait, and tell the senders; some wait to hear it."""
        ids = [message.id for message in messages]
        marking = self._store.set_messages_delivered(ids, now=self._clock())
        changed = await self._afterwards.attempt("mark messages delivered", marking, ids=ids) or []
        now = self._clock()
        late = [message for message in changed if not self._answer(message)]
        self._publisher.publish_together(
            [(MessageDelivered(now, message), Audience.user(message.sender)) for message in late]
        )

    def _answer(self, message: Message) -> bool:
        """Tell a sender who waits how far their message has come; False when nobody waits."""
        awaited = self._awaited.get(message.id)
        if awaited is None or awaited.done():
            return False
        awaited.set_result(message)
        return True

    def _leave_notices(self, events: Sequence[MessageReceived]) -> None:
        """A connection has ended before it was told of messages that nobody else may have seen."""
        for event in events:
            self._answer(event.message)

        async def leave() -> None:
            for event in events:
                leaving = self._notices.leave_if_waiting(event)
                await self._afterwards.attempt("notify of a message", leaving, id=event.message.id)

        self._afterwards.begin(leave())

    async def stop(self) -> None:
        """Finish what was begun. Call it before the store is closed."""
        await self._afterwards.stop()

    # --- reading ---

    async def read(self, reader: str, id: int) -> Message:
        """Mark a message read by its receiver. Raises NOT_FOUND, also for a message to somebody else."""
        found = await self._store.read_message(id, reader, now=self._clock())
        if found is None:
            raise RealtimeError(Code.NOT_FOUND, "Message not found")
        message, changed = found
        if changed:
            await self._tell_read([message])
        return message

    async def read_conversation(self, reader: str, other: str, *, up_to: int | None) -> int:
        """Mark read what `other` has sent to `reader`; returns how many messages that changed."""
        count, more = 0, True
        while more:
            changed = await self._store.read_conversation(
                reader, other, up_to=up_to, now=self._clock(), limit=READ_TOGETHER
            )
            await self._tell_read(changed)
            count += len(changed)
            more = len(changed) == READ_TOGETHER
        return count

    async def _tell_read(self, messages: Sequence[Message]) -> None:
        """Tell the senders, and read the notifications of these messages."""
        now = self._clock()
        receipts = [(MessageRead(now, message), Audience.user(message.sender)) for message in messages[-MAX_RECEIPTS:]]
        for start in range(0, len(receipts), RECEIPTS_TOGETHER):
            self._publisher.publish_together(receipts[start : start + RECEIPTS_TOGETHER])
        await self._notices.read(messages)

    async def conversations(self, user: str, *, limit: int, offset: int) -> tuple[list[Talk], int, int]:
        """Return (page, how many there are, how many messages the user has not read)."""
        rows, total = await self._store.conversations(user, limit=limit, offset=offset)
        people = await asyncio.gather(*(self._people.find(row.other) for row in rows))
        unread = await self._store.unread_messages(user)
        return [Talk(row, person) for row, person in zip(rows, people, strict=True)], total, unread

    async def history(self, user: str, other: str, *, before: int | None, limit: int) -> list[Message]:
        """Return messages of both, newest first."""
        return await self._store.history(user, other, before=before, limit=limit)

    async def search(self, user: str, text: str, *, other: str | None, before: int | None, limit: int) -> list[Message]:
        """Return the user's messages that contain `text`, newest first."""
        async with self._searching:
            return await self._store.search_messages(user, text, other=other, before=before, limit=limit)

    async def unread_count(self, user: str) -> int:
        return await self._store.unread_messages(user)

    # --- signals ---

    def type_to(self, session: Session, receiver: str, *, active: bool) -> None:
        """Show somebody that they are written to. Raises INVALID_PAYLOAD."""
        _check_receiver(session.identity, receiver)
        if active:
            self._typing.started(session, receiver)
        else:
            self._typing.stopped(session, receiver)

    def disconnected(self, session: Session) -> None:
        self._typing.disconnected(session)

    def tick(self) -> None:
        """End the typing that nobody renewed."""
        self._typing.tick()

    def ping(self, session: Session) -> float:
        """Answer a client that asks whether the server is there; returns the server's time."""
        now = self._clock()
        self._publisher.publish_to_connection(Ponged(now), session)
        return now

    def list_online(self, session: Session) -> OnlineListed:
        """Tell a connection who is online."""
        event = OnlineListed(self._clock(), [str(view.user) for view in self._presence.online()])
        self._publisher.publish_to_connection(event, session)
        return event


def _check_receiver(sender: Identity, receiver: str) -> None:
    """Refuse what cannot be a user's id, and one's own. Raises INVALID_PAYLOAD."""
    try:
        names.parse(names.user(receiver))
    except ValueError as error:
        raise RealtimeError(Code.INVALID_PAYLOAD, "receiverId must be a user's id") from error
    if receiver != receiver.strip() or not receiver.isprintable():
        raise RealtimeError(Code.INVALID_PAYLOAD, "receiverId must be a user's id")
    if receiver == sender.id:
        raise RealtimeError(Code.INVALID_PAYLOAD, "Nobody writes to themselves")


def _checked(content: str) -> str:
    """Raises INVALID_PAYLOAD; the text stays as it is, its spaces too."""
    if not content.strip() or len(content) > MAX_CONTENT:
        raise RealtimeError(Code.INVALID_PAYLOAD, f"content is text of 1 to {MAX_CONTENT} characters")
    return content
