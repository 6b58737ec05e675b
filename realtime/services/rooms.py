"""Joining is authorising: every way into a room goes through here."""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import structlog

from realtime.clock import Clock
from realtime.engine.channel import Channel, Session
from realtime.errors import Code, RealtimeError, StoreUnavailable
from realtime.models import JsonObject, user_principal
from realtime.services.directory import Directory
from realtime.store.base import Store
from rooms import names
from rooms.membership import RoomLimit
from rooms.names import InvalidRoomName, Room
from rooms.policy import Decision, Member, auto_rooms, decide

log = structlog.get_logger(__name__)

MAX_ROOMS_PER_CALL = 100
AUDIENCE_PREFIX = "room:"


class RoomAuthority(Protocol):
    """Another backend that may let somebody into a room of a row it knows."""

    async def allows(self, user: Mapping[str, object], room: str) -> bool:
        """Never raises: no answer is a no."""
        ...


class Leavers(Protocol):
    """Told when a connection is no longer in a room."""

    def left_room(self, sid: str, room: str) -> None: ...


ENTITY_KINDS = {"work_order_": "work_order", "ticket_": "ticket", "booking_": "booking"}
NAME_FIELDS: Mapping[str, Sequence[str]] = {
    "work_order": ("technician_id", "customer_id", "created_by"),
    "ticket": ("technician_id", "customer_id", "created_by"),
    "booking": ("userId", "ownerId", "created_by"),
    "review": ("userId",),
}
"""The fields whose values name people: they may be in the row's room and read the row."""


def names_person(kind: str, row: JsonObject | None, user: str) -> bool:
    return row is not None and any(str(row.get(field)) == user for field in NAME_FIELDS[kind] if row.get(field))


class RoomService:
    """Who may be in a room, who is, and who has to leave."""

    def __init__(
        self,
        *,
        channel: Channel,
        store: Store,
        directory: Directory,
        clock: Clock,
        authority: RoomAuthority | None,
    ) -> None:
        self._channel = channel
        self._store = store
        self._directory = directory
        self._clock = clock
        self._authority = authority
        self._leavers: list[Leavers] = []

    def tell(self, leavers: Leavers) -> None:
        self._leavers.append(leavers)

    async def start(self) -> None:
        """End the subscriptions of connections that a crash has ended; those of people named by a row go on."""
        for reader, audience in await self._store.open_memberships(AUDIENCE_PREFIX):
            room = names.parse(audience.removeprefix(AUDIENCE_PREFIX))
            kind, user = ENTITY_KINDS.get(room.prefix), reader.removeprefix("user:")
            if room.kind == "admin":
                continue
            if kind is None or not names_person(kind, await self._store.entity(kind, room.id), user):
                await self._store.close_membership(reader, audience, now=self._clock())

    async def may_join(self, member: Member, room: Room) -> bool:
        decision = decide(member, room)
        if decision is not Decision.ASK:
            return decision is Decision.ALLOW
        if not member.guest and await self._named(member, room):
            return True
        if self._authority is None:
            return False
        principal = {"id": member.id, "role": member.audience}
        return await self._authority.allows(principal, room.name)

    async def _named(self, member: Member, room: Room) -> bool:
        kind = ENTITY_KINDS.get(room.prefix)
        return kind is not None and names_person(kind, await self._store.entity(kind, room.id), member.id)

    async def require(self, member: Member, name: object) -> Room:
        """Return the parsed room. Raises INVALID_PAYLOAD or ROOM_FORBIDDEN."""
        room = parse_room(name)
        if not await self.may_join(member, room):
            raise RealtimeError(Code.ROOM_FORBIDDEN, f"You may not join {room.name}")
        return room

    async def join(self, session: Session, wanted: Sequence[object]) -> list[str]:
        """Put a connection into rooms: all of them, or none and an error. Returns their names."""
        _check_number(wanted)
        rooms = [await self.require(session.member, name) for name in wanted]
        membership = self._channel.membership
        if session.sid not in membership:
            raise RealtimeError(Code.FORBIDDEN, "The connection is closed")
        if len({room.name for room in rooms} - membership.rooms(session.sid)) > membership.space(session.sid):
            raise RealtimeError(Code.ROOM_LIMIT, f"A connection may be in {membership.max_rooms} rooms")
        entered = [room for room in rooms if membership.enter(session.sid, room.name)]
        for room in entered:
            await self._subscribe(session, room)
        return [room.name for room in rooms]

    async def leave(self, session: Session, wanted: Sequence[object]) -> list[str]:
        """Take a connection out of rooms. Rooms it is not in are no error; the personal one cannot be left."""
        _check_number(wanted)
        rooms = [parse_room(name) for name in wanted]
        for room in rooms:
            if room.kind in ("user", "guest") and room.id == session.identity.id:
                raise RealtimeError(Code.ROOM_FORBIDDEN, "The personal room cannot be left")
            if self._channel.membership.leave(session.sid, room.name):
                await self._after_leaving(session, room.name)
        return [room.name for room in rooms]

    def of(self, session: Session) -> list[str]:
        return sorted(self._channel.membership.rooms(session.sid))

    def require_inside(self, session: Session, name: object) -> Room:
        """Return the parsed room if the connection is in it. Raises INVALID_PAYLOAD or ROOM_FORBIDDEN."""
        room = parse_room(name)
        if not self._channel.membership.is_in(session.sid, room.name):
            raise RealtimeError(Code.ROOM_FORBIDDEN, f"Join {room.name} first")
        return room

    async def _subscribe(self, session: Session, room: Room) -> None:
        """From now on the person receives what is sent to the room's audience."""
        if session.identity.guest or room.kind not in ("entity", "other", "channel"):
            return
        try:
            await self._store.open_membership(session.identity.principal, f"room:{room.name}", now=self._clock())
        except StoreUnavailable:
            log.warning("room subscription not stored: the database is not available", sid=session.sid)

    async def _after_leaving(self, session: Session, name: str) -> None:
        for leavers in self._leavers:
            leavers.left_room(session.sid, name)
        room = parse_room(name)
        identity = session.identity
        if identity.guest or room.kind not in ("entity", "other", "channel"):
            return
        if any(self._channel.membership.is_in(other.sid, name) for other in self._channel.of_user(identity.id)):
            return
        try:
            if not await self._named(session.member, room):
                await self._store.close_membership(identity.principal, f"room:{name}", now=self._clock())
        except StoreUnavailable:
            log.warning("room subscription not ended: the database is not available", sid=session.sid)

    async def disconnected(self, session: Session, rooms: Iterable[str]) -> None:
        """End the subscriptions of a connection that is gone."""
        for name in rooms:
            await self._after_leaving(session, name)

    async def recheck_room(self, name: str) -> None:
        """Take out everybody who may no longer be in a room whose row has changed."""
        room = parse_room(name)
        members = [self._channel.session(sid) for sid in set(self._channel.membership.members(name))]
        await asyncio.gather(*(self._recheck(session, room) for session in members if session is not None))

    async def _recheck(self, session: Session, room: Room) -> None:
        if not await self.may_join(session.member, room):
            await self._expel(session, room.name)

    async def _expel(self, session: Session, name: str) -> None:
        if not self._channel.membership.leave(session.sid, name):
            return
        for leavers in self._leavers:
            leavers.left_room(session.sid, name)
        log.info("websocket client taken out of a room", sid=session.sid, user=session.identity.id, room=name)
        if not session.identity.guest:
            await self._store.drop_membership(session.identity.principal, f"room:{name}")

    async def role_changed(self, user: str) -> None:
        """Apply a new role: live connections leave rooms at once, and what was received there is hidden."""
        for session in self._channel.of_user(user):
            await self.reauthorise(session)
        known = await self._directory.user(user)
        if known is None:
            return
        member = Member(id=user, guest=False, roles=frozenset({known.role}), audience=known.role)
        for audience in await self._store.audiences_of(user_principal(user), AUDIENCE_PREFIX):
            if not await self.may_join(member, names.parse(audience.removeprefix(AUDIENCE_PREFIX))):
                await self._store.drop_membership(user_principal(user), audience)

    async def reauthorise(self, session: Session) -> None:
        """Recompute what a connection may do, take it out of what it may not, put it into what follows."""
        session.member = self._directory.member(session.identity)
        for name in list(self._channel.membership.rooms(session.sid)):
            await self._recheck(session, parse_room(name))
        for name in auto_rooms(session.member):
            # A connection that is full keeps what it has: it joined the rest by choice.
            if session.sid in self._channel.membership:
                with contextlib.suppress(RoomLimit):
                    self._channel.membership.enter(session.sid, name)


def audience_of(room: Room) -> str:
    """Return the audience key of those who may be in a room. Raises INVALID_PAYLOAD for somebody's personal room."""
    if room.kind in ("user", "guest"):
        raise RealtimeError(Code.INVALID_PAYLOAD, "Name a person by userId, not by their room")
    return f"role:{room.id}" if room.kind == "role" else f"{AUDIENCE_PREFIX}{room.name}"


def _check_number(wanted: Sequence[object]) -> None:
    if len(wanted) > MAX_ROOMS_PER_CALL:
        raise RealtimeError(Code.ROOM_LIMIT, f"At most {MAX_ROOMS_PER_CALL} rooms in one call")


def parse_room(name: object) -> Room:
    """Return the parsed room. Raises INVALID_PAYLOAD."""
    try:
        return names.parse(name)
    except InvalidRoomName as error:
        raise RealtimeError(Code.INVALID_PAYLOAD, f"Invalid room name: {error}") from error
