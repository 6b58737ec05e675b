"""Connections that are told which messages wait for them, each once and oldest first, while new ones go on coming.

New messages are held back from a connection that still catches up, and take their place among those that waited;
one that was also read from the store is recognised by its id. For a moment a message is stored and not shown yet:
whoever read it from the store in that moment has caught up only when it has been shown (`sending`).
"""

import asyncio
import contextlib
import heapq
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Literal

import structlog

from realtime.engine.channel import Session
from realtime.events import MessageReceived
from realtime.models import Message
from realtime.services.replays import Drain

log = structlog.get_logger(__name__)

MAX_WAITING = 300
"""Messages that wait for one connection; beyond it the connection ends, and catches up when it comes back."""

TAKEN_TOGETHER = 20
"""Messages that are reported as taken together; so many may come again after a connection breaks."""


Prospect = Literal["already", "soon", "later", "never"]
"""When a message that is held back is told. Soon: its client keeps nobody waiting."""

_SOONEST_FIRST: tuple[Prospect, ...] = ("already", "soon", "later")


class _Replay:
    """What one connection has still to be told, and what of that no notification tells of."""

    __slots__ = ("_events", "_known", "_order", "_told", "_unnoticed", "gone", "overflown", "slow")

    def __init__(self) -> None:
        self.gone = False
        self.overflown = False
        self.slow = False
        self._known: set[int] = set()
        self._told: set[int] = set()
        self._order: list[int] = []
        self._events: dict[int, MessageReceived] = {}
        self._unnoticed: dict[int, MessageReceived] = {}

    @property
    def pending(self) -> bool:
        return bool(self._order)

    def add(self, event: MessageReceived) -> Prospect:
        id = event.message.id
        if id in self._told:
            return "already"
        prospect: Prospect = "later" if self.slow else "soon"
        if id in self._known:
            return prospect
        self.overflown = self.overflown or len(self._order) >= MAX_WAITING
        if self.overflown:
            return "never"
        self._known.add(id)
        self._events[id] = event
        heapq.heappush(self._order, id)
        if event.message.notification is None:
            self._unnoticed[id] = event
        return prospect

    def next(self) -> MessageReceived | None:
        return self._events.pop(heapq.heappop(self._order)) if self._order else None

    def told(self, messages: Iterable[Message]) -> None:
        """The client has taken these."""
        for message in messages:
            self._told.add(message.id)
            self._unnoticed.pop(message.id, None)

    def unnoticed(self) -> list[MessageReceived]:
        return list(self._unnoticed.values())


class MessageReplays:
    """Every connection that catches up, and every message that is just being sent, by receiver."""

    def __init__(
        self,
        *,
        show: Callable[[MessageReceived, Session], int],
        taken: Callable[[Sequence[Message]], Awaitable[None]],
        unnoticed: Callable[[Sequence[MessageReceived]], None],
    ) -> None:
        """`show` writes to one connection and returns how many frames it took; `taken` is told what its client has
        taken, `unnoticed` what it has not and no notification tells of."""
        self._show = show
        self._taken = taken
        self._unnoticed = unnoticed
        self._replays: dict[str, dict[str, _Replay]] = {}
        self._sending: dict[str, set[asyncio.Future[None]]] = {}

    @contextlib.contextmanager
    def sending(self, receiver: str) -> Iterator[None]:
        """From before a message is stored until it has been shown or held back."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        mine = self._sending.setdefault(receiver, set())
        mine.add(done)
        try:
            yield
        finally:
            done.set_result(None)
            mine.discard(done)
            if not mine:
                del self._sending[receiver]

    def hold_back(self, event: MessageReceived) -> tuple[frozenset[str], Prospect]:
        """Return the connections of the receiver that still catch up, and when the first of them will be told."""
        mine = self._replays.get(event.message.receiver, {})
        prospects = {replay.add(event) for replay in mine.values()}
        return frozenset(mine), next((found for found in _SOONEST_FIRST if found in prospects), "never")

    async def run(
        self, session: Session, fetch: Callable[[], Awaitable[Sequence[MessageReceived]]], drain: Drain
    ) -> None:
        """Show a connection what `fetch` returns and what is held back from it meanwhile.

        What is new is held back from the first moment of this. The client has room for the next message, or has
        gone, before it is sent.
        """
        receiver = session.identity.id
        with self._catching_up(session) as replay:
            for event in await fetch():
                replay.add(event)
            being_sent = frozenset(self._sending.get(receiver, ()))
            await self._tell(session, replay, drain)
            if being_sent:
                await asyncio.wait(being_sent)  # which cancels none of them when this is cancelled
                await self._tell(session, replay, drain)

    async def _tell(self, session: Session, replay: _Replay, drain: Drain) -> None:
        """Returns when nothing is pending, at that very moment."""
        while replay.pending and not replay.overflown:
            shown: list[Message] = []
            while len(shown) < TAKEN_TOGETHER and (event := replay.next()) is not None:
                replay.slow = True
                taken = self._show(event, session)
                replay.gone = not await drain()
                replay.slow = False
                if not taken or replay.gone or not _is_open(session):
                    return  # what was written and not taken comes again
                shown.append(event.message)
            replay.told(shown)
            await self._taken(shown)

    @contextlib.contextmanager
    def _catching_up(self, session: Session) -> Iterator[_Replay]:
        mine = self._replays.setdefault(session.identity.id, {})
        replay = mine[session.sid] = _Replay()
        try:
            yield replay
        finally:
            del mine[session.sid]
            if not mine:
                del self._replays[session.identity.id]
            self._leave(session, replay)

    def _leave(self, session: Session, replay: _Replay) -> None:
        """The connection has caught up, has gone, or has to go because it was not told everything."""
        if _is_open(session) and not replay.gone and (replay.overflown or replay.pending):
            log.warning("websocket client fell behind", sid=session.sid, user=session.identity.id)
            session.channel.turn_away(session.sid, "fell behind")
        unnoticed = replay.unnoticed()
        if unnoticed:
            self._unnoticed(unnoticed)


def _is_open(session: Session) -> bool:
    return session.channel.session(session.sid) is session
