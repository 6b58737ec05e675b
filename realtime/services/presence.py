"""Presence of users over all of their connections. Guests never appear in it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import structlog

from realtime.clock import Clock
from realtime.engine.channel import Session
from realtime.engine.channels import Channels
from realtime.errors import Code, RealtimeError, StoreUnavailable
from realtime.events import (
    ActivityChanged,
    Audience,
    CameOnline,
    Event,
    JoinedRoom,
    Person,
    PresenceNoted,
    StatusChanged,
    WentOffline,
)
from realtime.fanout import Fanout
from realtime.models import JsonObject, User, WireId, wire_id
from realtime.services.directory import Directory
from realtime.store.base import Store
from rooms import names
from rooms.presence import Entry, Roster

log = structlog.get_logger(__name__)

MAX_STATUS = 40
Scope = Literal["all", "rooms", "none"]


@dataclass(frozen=True, slots=True)
class PresenceView:
    """What anybody may read about a user's presence. `last_seen` is in seconds."""

    user: WireId
    name: str
    role: str
    online: bool
    status: str
    last_seen: float | None
    connections: int


class PresenceService:
    """Keeps the roster and tells the audiences.

    `scope` is PRESENCE_AUDIENCE; in the channels of `lobbies` everybody hears who is online, whatever it says.
    """

    def __init__(
        self,
        *,
        roster: Roster,
        channels: Channels,
        lobbies: Channels,
        fanout: Fanout,
        directory: Directory,
        store: Store,
        clock: Clock,
        scope: Scope,
    ) -> None:
        self._roster = roster
        self._channels = channels
        self._lobbies = lobbies
        self._fanout = fanout
        self._directory = directory
        self._store = store
        self._clock = clock
        self._scope = scope
        self._people: dict[str, Person] = {}
        self._shared: dict[str, frozenset[str]] = {}

    def connected(self, session: Session) -> None:
        if session.identity.guest:
            return
        person = session.person
        self._people[person.id] = person
        now = self._clock()
        if self._roster.connect(person.id, session.sid, now).online and not self._nobody_hears:
            self._announce(CameOnline(now, person), Audience.all_users(without=person.id))
            self._tell_admins(person)

    def disconnected(self, session: Session, rooms: Iterable[str]) -> None:
        """`rooms` are those the connection was in: who shared one may hear that its owner went offline."""
        if session.identity.guest:
            return
        user = session.identity.id
        if self._scope == "rooms":
            self._shared[user] = self._shared.get(user, frozenset()).union(names.chosen(rooms))
        self._roster.disconnect(user, session.sid, self._clock())

    def joined(self, session: Session, rooms: Iterable[str]) -> None:
        """With the scope `rooms`, those who share a new room learn that the person is online."""
        if self._scope != "rooms" or session.identity.guest:
            return
        for room in dict.fromkeys(names.chosen(rooms)):
            event = JoinedRoom(self._clock(), session.person)
            self._fanout.submit(
                ("joined", room, session.identity.id), event, Audience.room(room, without=session.identity.id)
            )

    def beat(self, session: Session) -> None:
        """Note that a person did something."""
        if not session.identity.guest:
            self._roster.beat(session.identity.id, self._clock())

    def set_status(self, session: Session, status: str, data: JsonObject | None) -> None:
        """Set the person's status; `data` is relayed in `StatusChanged` when it is not None."""
        person = self._visible(session)
        now = self._clock()
        changed = self._roster.set_status(person.id, checked_status(status), now)
        if data is not None:
            self._announce(StatusChanged(now, person, data), Audience.all_users(without=person.id))
        if changed:
            self._tell_admins(person)

    def note(self, session: Session, status: str, *, work_order: WireId | None, data: JsonObject) -> None:
        """Tell a work order's room what the person does there; without one, colleagues and administrators."""
        person = self._visible(session)
        now = self._clock()
        event = PresenceNoted(now, person, checked_status(status), work_order, data)
        if work_order is not None:
            room = names.work_order(work_order)
            if self._scope != "none":
                self._fanout.submit((PresenceNoted, room, person.id), event, Audience.room(room, without=person.id))
            return
        self._roster.set_status(person.id, status, now)
        if self._scope != "none":
            audience = Audience.room(names.role(person.role), names.ADMIN_ROOM, without=person.id)
            self._fanout.submit((PresenceNoted, "", person.id), event, audience)
        self._tell_admins(person)

    def _visible(self, session: Session) -> Person:
        if session.identity.guest:
            raise RealtimeError(Code.FORBIDDEN, "Guests have no presence")
        return session.person

    @property
    def _nobody_hears(self) -> bool:
        return self._scope == "none" and len(self._lobbies) == 0

    def _announce(self, event: Event, audience: Audience) -> None:
        """`scope` narrows who hears it on ``/``; other vocabularies say in their tables that everybody does."""
        person: Person = event.person  # type: ignore[attr-defined]
        kind = "presence" if isinstance(event, CameOnline | WentOffline) else type(event).__name__
        if self._nobody_hears:
            return
        if self._scope == "none":
            audience = Audience(without=person.id)
        elif self._scope == "rooms":
            rooms = self._shared.get(person.id, frozenset()).union(names.chosen(self._rooms_of(person.id)))
            audience = Audience.room(*rooms, names.ADMIN_ROOM, without=person.id)
        self._fanout.submit((kind, person.id), event, audience)

    def _rooms_of(self, user: str) -> set[str]:
        return {room for session in self._channels.of_user(user) for room in session.rooms}

    def _tell_admins(self, person: Person, actions: int = 0) -> None:
        """`actions` counts for somebody who has just gone."""
        if self._scope == "none":
            return
        entry = self._roster.get(person.id)
        event = ActivityChanged(
            self._clock(), person, entry.status if entry else "offline", entry.actions if entry else actions
        )
        self._fanout.submit((ActivityChanged, person.id), event, Audience(without=person.id))

    async def tick(self) -> None:
        """Take out people whose grace is over, tell the audiences, store when they were last seen."""
        now = self._clock()
        diff, entries = self._roster.expire(now)
        heard = not self._nobody_hears
        for user in diff.offline:
            person = self._people.pop(user)
            if heard:
                self._announce(WentOffline(now, person), Audience.all_users(without=person.id))
                self._tell_admins(person, entries[user].actions)
            self._shared.pop(user, None)
        if entries:
            await self._store_last_seen(entries)

    async def stop(self) -> None:
        """Store when everybody who is online was last seen."""
        await self._store_last_seen({user: entry for user in self._roster if (entry := self._roster.get(user))})

    async def _store_last_seen(self, entries: dict[str, Entry]) -> None:
        try:
            await self._store.set_last_seen({user: (e.status, e.last_seen) for user, e in entries.items()})
        except StoreUnavailable:
            log.warning("last seen not stored: the database is not available", users=len(entries))

    def online(self) -> list[PresenceView]:
        """Return everybody who is online, longest first."""
        return [self._live(user, entry) for user in self._roster if (entry := self._roster.get(user))]

    def in_room(self, room: str) -> list[PresenceView]:
        """Return the users who are in a room."""
        users = sorted({s.identity.id for s in self._channels.members(room) if not s.identity.guest})
        return [self._live(user, entry) for user in users if (entry := self._roster.get(user))]

    async def of(self, user: str) -> PresenceView:
        entry = self._roster.get(user)
        if entry is not None:
            return self._live(user, entry)
        known: User | None = await self._directory.user(user)
        if known is None:
            return PresenceView(wire_id(user), user, "", False, "offline", None, 0)
        return PresenceView(known.wire_id, known.name or user, known.role, False, "offline", known.last_seen, 0)

    def _live(self, user: str, entry: Entry) -> PresenceView:
        person = self._people[user]
        return PresenceView(
            person.wire_id, person.name, person.role, True, entry.status, entry.last_seen, len(entry.sids)
        )

    def renamed(self, user: str, *, role: str, name: str | None) -> None:
        """Keep the live picture true after an administrator changed a person."""
        if user in self._people:
            person = self._people[user]
            self._people[user] = replace(person, role=role, name=name or person.name)

    def __len__(self) -> int:
        return len(self._roster)


def checked_status(status: object) -> str:
    """Return a status word. Raises INVALID_PAYLOAD."""
    if not isinstance(status, str) or not status.strip() or len(status) > MAX_STATUS or not status.isprintable():
        raise RealtimeError(Code.INVALID_PAYLOAD, f"status is a word of 1 to {MAX_STATUS} characters")
    return status.strip()
