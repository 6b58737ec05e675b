"""Joining is authorising: every way into a room goes through here."""

import asyncio
import contextlib
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import structlog

from realtime.clock import Clock
from realtime.engine.channel import Session
from realtime.engine.channels import Channels
from realtime.errors import Code, RealtimeError, StoreUnavailable
from realtime.models import JsonObject, MembershipChange, Principal, user_principal
from realtime.services.directory import CountWatcher, Directory
from realtime.store.base import Store
from rooms import names
from rooms.membership import RoomLimit
from rooms.names import InvalidRoomName, Room
from rooms.policy import STAFF, Decision, Member, auto_rooms, decide, decide_topic

log = structlog.get_logger(__name__)

MAX_ROOMS_PER_CALL = 100
AUDIENCE_PREFIX = "room:"
ASK_AGAIN = 5


class RoomAuthority(Protocol):
    """Another backend that may let somebody into a room of a row it knows."""

    async def allows(self, user: Mapping[str, object], room: str) -> bool:
        """Never raises: no answer is a no."""
        ...


class Leavers(Protocol):
    """Told when a connection that goes on is no longer in a room."""

    def left_room(self, sid: str, room: str) -> None: ...


ENTITY_KINDS = {"work_order_": "work_order", "ticket_": "ticket", "booking_": "booking"}
NAME_FIELDS: Mapping[str, Sequence[str]] = {
    "work_order": ("technician_id", "customer_id", "created_by"),
    "ticket": ("technician_id", "customer_id", "created_by"),
    "booking": ("userId", "ownerId", "created_by"),
    "review": ("userId",),
}
"""The fields whose values name people: they may be in the row's room and read the row."""


def people_of(kind: str, row: JsonObject | None) -> set[str]:
    """Return the ids of everybody a row names."""
    return {str(row[field]) for field in NAME_FIELDS[kind] if row.get(field) not in (None, "")} if row else set()


def names_person(kind: str, row: JsonObject | None, user: str) -> bool:
    return user in people_of(kind, row)


class RoomService:
    """Who may be in a room, who is, and who has to leave."""

    def __init__(
        self,
        *,
        channels: Channels,
        store: Store,
        directory: Directory,
        clock: Clock,
        authority: RoomAuthority | None,
        restricted: frozenset[str] = frozenset(),
    ) -> None:
        """`restricted` are the topics (RESTRICTED_CHANNELS) that need the right to publish, or a grant."""
        self._channels = channels
        self._restricted = frozenset(map(names.topic, restricted))
        self._store = store
        self._directory = directory
        self._clock = clock
        self._authority = authority
        self._leavers: list[Leavers] = []
        self._counts: list[CountWatcher] = []
        self._losses = 0

    def tell(self, leavers: Leavers) -> None:
        self._leavers.append(leavers)

    def tell_counts(self, watcher: CountWatcher) -> None:
        """Losing or gaining a room's audience may change how many unread rows a person sees."""
        self._counts.append(watcher)

    def _count_may_have_changed(self, user: str) -> None:
        for watcher in self._counts:
            watcher.mark(user_principal(user))

    async def start(self) -> None:
        """End the subscriptions of connections that a crash has ended; those of people named by a row go on."""
        left = await self._store.open_memberships(AUDIENCE_PREFIX)
        await self._store.change_memberships(
            [
                _closing(reader, names.parse(audience.removeprefix(AUDIENCE_PREFIX)))
                for reader, audience in left
                if audience != f"{AUDIENCE_PREFIX}{names.ADMIN_ROOM}"
            ],
            now=self._clock(),
        )

    async def may_join(self, member: Member, room: Room, *, topics: bool = True) -> bool:
        """`topics` says whether it is asked about a place where topics are offered."""
        decision = self._decide(member, room, topics=topics)
        if decision is not Decision.ASK:
            return decision is Decision.ALLOW
        if not member.guest and await self._is_named(room, member.id):
            return True
        if self._authority is None:
            return False
        principal = {"id": member.id, "role": member.audience}
        return await self._authority.allows(principal, room.name)

    def _decide(self, member: Member, room: Room, *, topics: bool) -> Decision:
        """What the rules say, also of topics."""
        if room.kind == "channel" and topics:
            return decide_topic(member, room, self._restricted)
        return decide(member, room)

    def _allows(self, session: Session, room: Room) -> bool:
        """Whether the rules alone let a connection be in a room."""
        return self._decide(session.member, room, topics=session.channel.offers_topics) is Decision.ALLOW

    def subscribe(self, session: Session, topics: Sequence[str]) -> tuple[list[str], list[str]]:
        """Put a connection into the rooms of topics; return those it is subscribed to now, and those refused.

        Raises INVALID_PAYLOAD for what cannot name a topic, ROOM_LIMIT.
        """
        _check_number(topics)
        rooms = {name: parse_room(names.topic(name)) for name in topics}
        allowed = [name for name, room in rooms.items() if self._allows(session, room)]
        membership = session.channel.membership
        entering = {rooms[name].name for name in allowed} - set(session.rooms)
        if len(entering) > membership.space(session.sid):
            raise RealtimeError(Code.ROOM_LIMIT, f"A connection may be in {membership.max_rooms} rooms")
        for room in entering:
            membership.enter(session.sid, room)
        self._subscribe(session, sorted(entering))
        return allowed, [name for name in rooms if name not in allowed]

    def unsubscribe(self, session: Session, topics: Sequence[str]) -> list[str]:
        """Take a connection out of the rooms of topics. Raises INVALID_PAYLOAD, ROOM_LIMIT."""
        _check_number(topics)
        rooms = {name: parse_room(names.topic(name)) for name in topics}
        left = [room.name for room in rooms.values() if self._take_out(session, room.name)]
        self._unsubscribe(session, left)
        return list(rooms)

    async def _is_named(self, room: Room, user: str) -> bool:
        kind = ENTITY_KINDS.get(room.prefix)
        return kind is not None and names_person(kind, await self._store.entity(kind, room.id), user)

    async def require(self, member: Member, name: object, *, topics: bool = True) -> Room:
        """Return the parsed room. Raises INVALID_PAYLOAD or ROOM_FORBIDDEN."""
        room = parse_room(name)
        if not await self.may_join(member, room, topics=topics):
            raise _forbidden(room)
        return room

    def join_at_once(self, session: Session, wanted: Sequence[object]) -> list[str] | None:
        """As `join`, where the rules alone decide. None when somebody has to be asked, and then nothing is done."""
        _check_number(wanted)
        rooms = []
        for name in wanted:
            room = parse_room(name)
            decision = self._decide(session.member, room, topics=session.channel.offers_topics)
            if decision is Decision.ASK:
                return None
            if decision is Decision.DENY:
                raise _forbidden(room)
            rooms.append(room)
        return self._enter(session, rooms)

    async def join(self, session: Session, wanted: Sequence[object]) -> list[str]:
        """Put a connection into rooms: all of them, or none and an error. Returns their names."""
        _check_number(wanted)
        return self._enter(session, await self._authorised(session, wanted))

    def _enter(self, session: Session, rooms: Sequence[Room]) -> list[str]:
        membership = session.channel.membership
        if session.sid not in membership:
            raise RealtimeError(Code.FORBIDDEN, "The connection is closed")
        if len({room.name for room in rooms} - membership.rooms(session.sid)) > membership.space(session.sid):
            raise RealtimeError(Code.ROOM_LIMIT, f"A connection may be in {membership.max_rooms} rooms")
        entered = [room.name for room in rooms if membership.enter(session.sid, room.name)]
        self._subscribe(session, entered)
        return [room.name for room in rooms]

    async def _authorised(self, session: Session, wanted: Sequence[object]) -> list[Room]:
        """Return the parsed rooms. Asking takes time: when rights were lost meanwhile, everything is asked anew."""
        for _ in range(ASK_AGAIN):
            losses = self._losses
            topics = session.channel.offers_topics
            rooms = [await self.require(session.member, name, topics=topics) for name in wanted]
            if losses == self._losses:
                return rooms
        raise RealtimeError(Code.UNAVAILABLE, "Access rights are changing, try again")

    async def leave(self, session: Session, wanted: Sequence[object]) -> list[str]:
        """Take a connection out of rooms. Rooms it is not in are no error; the personal one cannot be left."""
        _check_number(wanted)
        rooms = [parse_room(name) for name in wanted]
        for room in rooms:
            if room.kind in ("user", "guest") and room.id == session.identity.id:
                raise RealtimeError(Code.ROOM_FORBIDDEN, "The personal room cannot be left")
            if self._take_out(session, room.name):
                self._unsubscribe(session, [room.name])
        return [room.name for room in rooms]

    def of(self, session: Session) -> list[str]:
        return sorted(session.rooms)

    def require_inside(self, session: Session, name: object) -> Room:
        """Return the parsed room if the connection is in it. Raises INVALID_PAYLOAD or ROOM_FORBIDDEN."""
        room = parse_room(name)
        if room.name not in session.rooms:
            raise RealtimeError(Code.ROOM_FORBIDDEN, f"Join {room.name} first")
        return room

    def _subscribe(self, session: Session, rooms: Iterable[str]) -> None:
        """From now on the person receives what is sent to the rooms' audiences."""
        identity = session.identity
        if identity.guest:
            return
        audiences = [f"{AUDIENCE_PREFIX}{name}" for name in names.chosen(rooms)]
        self._change(session, [MembershipChange(identity.principal, audience, open=True) for audience in audiences])

    def _unsubscribe(self, session: Session, rooms: Iterable[str]) -> None:
        """End what being in rooms gave, unless another tab is there or the row names the person."""
        identity = session.identity
        if identity.guest:
            return
        left = [parse_room(name) for name in names.chosen(rooms) if not self._is_inside(identity.id, name)]
        self._change(session, [_closing(identity.principal, room) for room in left])

    def _change(self, session: Session, changes: Sequence[MembershipChange]) -> None:
        """Nobody has to wait for the result: it comes before whatever the store is asked next."""
        if changes:
            asked = self._store.change_memberships(changes, now=self._clock())
            asked.add_done_callback(functools.partial(self._changed, session, changes[0].open))

    def _changed(self, session: Session, opened: bool, asked: "asyncio.Future[frozenset[Principal]]") -> None:
        if asked.cancelled():
            return
        error = asked.exception()
        if isinstance(error, StoreUnavailable):
            log.warning("room subscription not stored: the database is not available", sid=session.sid, opened=opened)
        elif error is not None:
            log.error("room subscription not stored", sid=session.sid, opened=opened, exc_info=error)
        elif asked.result() or not opened:
            self._count_may_have_changed(session.identity.id)

    async def named(self, users: Iterable[str], room: str) -> None:
        """Subscribe people whom a row has begun to name: they receive what is sent to its room."""
        for user in sorted(users):
            await self._open(user_principal(user), user, room)

    async def no_longer_named(self, users: Iterable[str], room: str) -> None:
        """End what being named gave: staff keep what they received, others lose the right to it."""
        audience = f"{AUDIENCE_PREFIX}{room}"
        for user in sorted(users):
            known = await self._directory.user(user)
            if known is None or known.role not in STAFF:
                await self._store.drop_membership(user_principal(user), audience)
            elif not self._is_inside(user, room):
                await self._store.close_membership(user_principal(user), audience, now=self._clock())
            self._count_may_have_changed(user)

    async def _open(self, principal: Principal, user: str, room: str) -> None:
        if await self._store.open_membership(principal, f"{AUDIENCE_PREFIX}{room}", now=self._clock()):
            self._count_may_have_changed(user)

    def disconnected(self, session: Session, rooms: Iterable[str]) -> None:
        """End the subscriptions of a connection that is gone and was in `rooms`."""
        self._unsubscribe(session, rooms)

    def _is_inside(self, user: str, room: str) -> bool:
        return self._channels.is_inside(user, room)

    async def recheck_room(self, name: str) -> None:
        """Take out everybody who may no longer be in a room whose row has changed."""
        self._losses += 1
        room = parse_room(name)
        members = self._channels.members(name)
        await self._settle([(session, room) for session in members if not self._allows(session, room)])

    async def role_changed(self, user: str) -> None:
        """Apply a new role: live connections leave rooms at once, and what was received there is hidden."""
        try:
            await self._apply_role(user)
        finally:
            self._count_may_have_changed(user)

    async def _apply_role(self, user: str) -> None:
        sessions = self._channels.of_user(user)
        await self.reauthorise(*sessions)
        known = await self._directory.user(user)
        if known is None:
            return
        grants = frozenset(grant for session in sessions for grant in session.member.grants)
        member = Member(id=user, guest=False, roles=frozenset({known.role}), audience=known.role, grants=grants)
        for audience in await self._store.audiences_of(user_principal(user), AUDIENCE_PREFIX):
            room = names.parse(audience.removeprefix(AUDIENCE_PREFIX))
            if not self._is_inside(user, room.name) and not await self.may_join(member, room):
                await self._store.drop_membership(user_principal(user), audience)

    async def reauthorise(self, *sessions: Session) -> None:
        """Recompute what connections may do.

        What the rules deny ends before anything is awaited; what depends on a row or on another backend ends,
        too, and comes back with the answer.
        """
        doubtful: list[tuple[Session, Room]] = []
        for session in sessions:
            former, session.member = session.member, self._directory.member(session.identity)
            if former == session.member:
                continue
            self._losses += 1
            rooms = [parse_room(name) for name in session.rooms]
            lost = [room for room in rooms if not self._allows(session, room)]
            for room in lost:
                self._take_out(session, room.name)
            doubtful += [(session, room) for room in lost]
            self._enter_auto_rooms(session)
        await self._settle(doubtful)

    def _enter_auto_rooms(self, session: Session) -> None:
        for name in auto_rooms(session.member):
            # A connection that is full keeps what it has: it joined the rest by choice.
            if session.sid in session.channel.membership:
                with contextlib.suppress(RoomLimit):
                    session.channel.membership.enter(session.sid, name)

    async def _settle(self, doubtful: Sequence[tuple[Session, Room]]) -> None:
        """Ask about connections in rooms that the rules alone do not grant, all at once."""
        await asyncio.gather(*(self._settle_one(session, room) for session, room in doubtful))

    async def _settle_one(self, session: Session, room: Room) -> None:
        if await self.may_join(session.member, room, topics=session.channel.offers_topics):
            try:
                session.channel.membership.enter(session.sid, room.name)
            except (RoomLimit, KeyError):  # full, or gone while it was asked: its subscription ends as when it leaves
                self._unsubscribe(session, [room.name])
            return
        self._take_out(session, room.name)
        log.info("websocket client taken out of a room", sid=session.sid, user=session.identity.id, room=room.name)
        if not session.identity.guest:
            await self._store.drop_membership(session.identity.principal, f"{AUDIENCE_PREFIX}{room.name}")
            self._count_may_have_changed(session.identity.id)

    def _take_out(self, session: Session, name: str) -> bool:
        """Return whether the connection was in the room."""
        was_inside = session.channel.membership.leave(session.sid, name)
        if was_inside:
            for leavers in self._leavers:
                leavers.left_room(session.sid, name)
        return was_inside


def audience_of(room: Room) -> str:
    """Return the audience key of those who may be in a room. Raises INVALID_PAYLOAD for somebody's personal room."""
    if room.kind in ("user", "guest"):
        raise RealtimeError(Code.INVALID_PAYLOAD, "Name a person by userId, not by their room")
    return f"role:{room.id}" if room.kind == "role" else f"{AUDIENCE_PREFIX}{room.name}"


def _closing(reader: Principal, room: Room) -> MembershipChange:
    """Return the end of a subscription, which goes on while the room's row names the reader."""
    kind = ENTITY_KINDS.get(room.prefix)
    row = None if kind is None else (kind, room.id)
    return MembershipChange(reader, f"{AUDIENCE_PREFIX}{room.name}", open=False, unless_named=row)


def _forbidden(room: Room) -> RealtimeError:
    return RealtimeError(Code.ROOM_FORBIDDEN, f"You may not join {room.name}")


def _check_number(wanted: Sequence[object]) -> None:
    if len(wanted) > MAX_ROOMS_PER_CALL:
        raise RealtimeError(Code.ROOM_LIMIT, f"At most {MAX_ROOMS_PER_CALL} rooms in one call")


def parse_room(name: object) -> Room:
    """Return the parsed room. Raises INVALID_PAYLOAD."""
    try:
        return names.parse(name)
    except InvalidRoomName as error:
        raise RealtimeError(Code.INVALID_PAYLOAD, f"Invalid room name: {error}") from error
