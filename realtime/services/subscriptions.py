"""Who receives what is sent to a room: whoever is inside, until they leave, and whom the room's row names.

The store knows it as memberships of the room's audience key. Most rooms are never sent a notification, so where the
store agrees nobody's coming and going is stored before it matters: the store asks before it depends on a room
(`realtime.store.base.InboxStore.ask_first`), everybody inside is written down, and whoever comes and goes from then
on, until the room is empty. In a room that is not written down nobody has received anything by being inside, so
whatever ends the process loses nothing. What could not be stored is tried again when the store asks next, and what it
asks for waits for that.
"""

import asyncio
import functools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import structlog

from realtime.clock import Clock
from realtime.engine.channel import Session
from realtime.engine.channels import Channels
from realtime.errors import StoreUnavailable
from realtime.models import MembershipChange, Principal, user_principal
from realtime.services.directory import CountWatcher
from realtime.services.naming import ENTITY_KINDS
from realtime.store.base import Store
from rooms import names
from rooms.names import Room

log = structlog.get_logger(__name__)

AUDIENCE_PREFIX = "room:"


def audience_key(room: str) -> str:
    return f"{AUDIENCE_PREFIX}{room}"


class Subscriptions:
    """Guests have none: they read no inbox of rooms."""

    def __init__(self, *, channels: Channels, store: Store, clock: Clock) -> None:
        self._channels = channels
        self._store = store
        self._clock = clock
        self._counts: list[CountWatcher] = []
        self._written: dict[str, asyncio.Future[frozenset[Principal]] | None] = {}
        """Rooms of which it is stored who comes and goes. None: of everybody inside; or what is about to make it so,
        or has failed to."""

        self._unended: dict[str, set[Principal]] = {}
        """Whose end in a room could not be stored."""

        self._changing: dict[asyncio.Future[frozenset[Principal]], Sequence[MembershipChange]] = {}
        self._kept: Counter[str] = Counter()
        self._asking = store.ask_first(self._asked)

    def tell_counts(self, watcher: CountWatcher) -> None:
        """Losing or gaining a room's audience may change how many unread rows a person sees."""
        self._counts.append(watcher)

    def count_may_have_changed(self, *readers: Principal) -> None:
        for watcher in self._counts:
            watcher.mark(*readers)

    async def start(self) -> None:
        """End the subscriptions of connections that a crash has ended; those of people named by a row go on."""
        left = await self._store.open_memberships(AUDIENCE_PREFIX)
        await self._store.change_memberships(
            [
                _closing(reader, audience.removeprefix(AUDIENCE_PREFIX))
                for reader, audience in left
                if audience != audience_key(names.ADMIN_ROOM)
            ],
            now=self._clock(),
        )

    def begin(self, session: Session, rooms: Iterable[str]) -> None:
        """From now on the person receives what is sent to rooms that the connection has entered."""
        identity = session.identity
        if identity.guest:
            return
        opening = []
        for name in names.chosen(rooms):
            if self._asking is None or name in self._written:
                opening.append(MembershipChange(identity.principal, audience_key(name), open=True))
            elif self._asking.waits_late(audience_key(name)):
                self.write_down(name)
        self._change(opening, session)

    def end(self, session: Session, rooms: Iterable[str]) -> None:
        """End what being in rooms gave, now that the connection has left them.

        It goes on while another tab is there, or the row names the person.
        """
        left, identity = names.chosen(rooms), session.identity
        if not identity.guest:
            gone = [name for name in left if not self._channels.is_inside(identity.id, name)]
            stored = [name for name in gone if self._asking is None or name in self._written]
            self._change([_closing(identity.principal, name) for name in stored], session)
            if gone and not stored:
                self.count_may_have_changed(identity.principal)
        if self._written:
            self._forget_empty(left)

    def write_down(self, room: str) -> asyncio.Future[frozenset[Principal]] | None:
        """Store who is inside, and from now on who comes and goes.

        Returns what everybody's being stored depends on; None when nobody has to be. Failures are logged.
        """
        if self._asking is None or not names.chosen([room]):
            return None
        known = room in self._written
        writing = self._written.get(room)
        if known and (writing is None or not writing.done()):
            return writing
        readers = {s.identity.principal: None for s in self._channels.members(room) if not s.identity.guest}
        if not readers:
            return None
        asked = self._asking.open_memberships_of(audience_key(room), list(readers), now=self._clock())
        self._written[room] = asked
        asked.add_done_callback(functools.partial(self._wrote_down, room))
        return asked

    def _wrote_down(self, room: str, asked: asyncio.Future[frozenset[Principal]]) -> None:
        if not _failed(asked, room=room, opened=True):
            if self._written.get(room) is asked:
                self._written[room] = None
            self.count_may_have_changed(*asked.result())

    @contextmanager
    def kept(self, rooms: Sequence[str]) -> Iterator[None]:
        """Meanwhile what is written down stays so, also of rooms that are empty: people may come back to them."""
        self._kept.update(rooms)
        try:
            yield
        finally:
            self._kept.subtract(rooms)
            self._kept = +self._kept
            self._forget_empty(rooms)

    def _asked(self, audience: str, again: bool) -> asyncio.Future[Any] | None:
        """Somebody is about to depend on who holds an audience; `again` after waiting for what this has returned."""
        if not audience.startswith(AUDIENCE_PREFIX):
            return None
        room = audience.removeprefix(AUDIENCE_PREFIX)
        changing = [] if again else self._changes_of(audience)
        awaited = [one for one in (*changing, self._end_again(room), self.write_down(room)) if one is not None]
        return asyncio.gather(*awaited) if awaited else None

    def _changes_of(self, audience: str) -> list[asyncio.Future[frozenset[Principal]]]:
        return [asked for asked, changes in self._changing.items() if any(one.audience == audience for one in changes)]

    def _end_again(self, room: str) -> asyncio.Future[frozenset[Principal]] | None:
        """End what could not be ended when people left."""
        readers = self._unended.pop(room, None)
        gone = [one for one in readers or () if not self._channels.is_inside(one.partition(":")[2], room)]
        return self._change([_closing(reader, room) for reader in gone], None)

    def _forget_empty(self, rooms: Iterable[str]) -> None:
        """A room that somebody enters later begins anew."""
        for name in rooms:
            if name in self._written and name not in self._kept and not self._channels.has_members(name):
                del self._written[name]

    async def named(self, users: Iterable[str], room: str) -> None:
        """Subscribe people whom a row has begun to name, inside or not."""
        for user in sorted(users):
            reader = user_principal(user)
            if await self._store.open_membership(reader, audience_key(room), now=self._clock()):
                self.count_may_have_changed(reader)

    async def no_longer_named(self, user: str, room: str) -> None:
        """End what being named gave, and leave what was received."""
        if not self._channels.is_inside(user, room):
            await self._store.close_membership(user_principal(user), audience_key(room), now=self._clock())

    async def drop(self, reader: Principal, room: str) -> None:
        """Take away what was received, too."""
        self._forget_empty([room])
        await self._store.drop_membership(reader, audience_key(room))

    async def held(self, reader: Principal) -> list[Room]:
        """Return the rooms of which a reader has, or had, what is sent to them."""
        audiences = await self._store.audiences_of(reader, AUDIENCE_PREFIX)
        return [names.parse(audience.removeprefix(AUDIENCE_PREFIX)) for audience in audiences]

    def _change(
        self, changes: Sequence[MembershipChange], session: Session | None
    ) -> asyncio.Future[frozenset[Principal]] | None:
        """Nobody has to wait for the result: it comes before whatever the store is asked next."""
        if not changes:
            return None
        asked = self._store.change_memberships(changes, now=self._clock())
        if self._asking is not None:
            self._changing[asked] = changes
        asked.add_done_callback(functools.partial(self._changed, changes, session.sid if session else ""))
        return asked

    def _changed(
        self, changes: Sequence[MembershipChange], sid: str, asked: asyncio.Future[frozenset[Principal]]
    ) -> None:
        """What could not be stored is stored when somebody depends on it; without a store that asks, it is lost."""
        self._changing.pop(asked, None)
        opened = changes[0].open
        if not _failed(asked, sid=sid, opened=opened):
            self.count_may_have_changed(*(asked.result() if opened else {change.reader for change in changes}))
        elif self._asking is not None:
            for change in changes:
                room = change.audience.removeprefix(AUDIENCE_PREFIX)
                if not opened:
                    self._unended.setdefault(room, set()).add(change.reader)
                elif room in self._written:
                    self._written[room] = asked


def _failed(asked: asyncio.Future[frozenset[Principal]], **about: object) -> bool:
    """Log why a change was not stored."""
    if asked.cancelled():
        return True
    error = asked.exception()
    if isinstance(error, StoreUnavailable):
        log.warning("room subscription not stored: the database is not available", **about)
    elif error is not None:
        log.error("room subscription not stored", **about, exc_info=error)
    return error is not None


def _closing(reader: Principal, room: str) -> MembershipChange:
    """Return the end of a subscription, which goes on while the room's row names the reader."""
    parsed = names.parse(room)
    kind = ENTITY_KINDS.get(parsed.prefix)
    row = None if kind is None else (kind, parsed.id)
    return MembershipChange(reader, audience_key(room), open=False, unless_named=row)
