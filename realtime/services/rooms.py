"""Joining is authorising: every way into a room goes through here."""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Protocol

import structlog

from realtime.clock import Clock
from realtime.engine.channel import Session
from realtime.engine.channels import Channels
from realtime.errors import Code, RealtimeError
from realtime.models import user_principal
from realtime.services.directory import CountWatcher, Directory
from realtime.services.naming import ENTITY_KINDS, names_person
from realtime.services.subscriptions import Subscriptions, audience_key
from realtime.store.base import Store
from rooms import names
from rooms.membership import RoomLimit
from rooms.names import InvalidRoomName, Room
from rooms.policy import STAFF, Decision, Member, auto_rooms, decide, decide_topic

log = structlog.get_logger(__name__)

MAX_ROOMS_PER_CALL = 100
ASK_AGAIN = 5


class RoomAuthority(Protocol):
    """Another backend that may let somebody into a room of a row it knows."""

    async def allows(self, user: Mapping[str, object], room: str) -> bool:
        """Never raises: no answer is a no."""
        ...


class Leavers(Protocol):
    """Told when a connection that goes on is no longer in a room."""

    def left_room(self, sid: str, room: str) -> None: ...


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
        self._subscriptions = Subscriptions(channels=channels, store=store, clock=clock)
        self._authority = authority
        self._leavers: list[Leavers] = []
        self._losses = 0

    def tell(self, leavers: Leavers) -> None:
        self._leavers.append(leavers)

    def tell_counts(self, watcher: CountWatcher) -> None:
        self._subscriptions.tell_counts(watcher)

    async def start(self) -> None:
        await self._subscriptions.start()

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
        self._subscriptions.begin(session, sorted(entering))
        return allowed, [name for name in rooms if name not in allowed]

    def unsubscribe(self, session: Session, topics: Sequence[str]) -> list[str]:
        """Take a connection out of the rooms of topics. Raises INVALID_PAYLOAD, ROOM_LIMIT."""
        _check_number(topics)
        rooms = {name: parse_room(names.topic(name)) for name in topics}
        left = [room.name for room in rooms.values() if self._take_out(session, room.name)]
        self._subscriptions.end(session, left)
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
        self._subscriptions.begin(session, entered)
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
                self._subscriptions.end(session, [room.name])
        return [room.name for room in rooms]

    def of(self, session: Session) -> list[str]:
        return sorted(session.rooms)

    def require_inside(self, session: Session, name: object) -> Room:
        """Return the parsed room if the connection is in it. Raises INVALID_PAYLOAD or ROOM_FORBIDDEN."""
        room = parse_room(name)
        if room.name not in session.rooms:
            raise RealtimeError(Code.ROOM_FORBIDDEN, f"Join {room.name} first")
        return room

    async def follow_names(self, before: Set[str], after: Set[str], room: str) -> None:
        """Follow a row that named other people before.

        Whom it names now is subscribed: they receive what is sent to its room. For the others that ends: staff keep
        what they received, others lose the right to it.
        """
        if before - after:
            self._subscriptions.write_down(room)  # nobody who is inside is subscribed later, and it ends as they leave
        await self._subscriptions.named(after - before, room)
        for user in sorted(before - after):
            known = await self._directory.user(user)
            if known is not None and known.role in STAFF:
                await self._subscriptions.no_longer_named(user, room)
            else:
                await self._subscriptions.drop(user_principal(user), room)
            self._subscriptions.count_may_have_changed(user_principal(user))

    def disconnected(self, session: Session, rooms: Iterable[str]) -> None:
        """End the subscriptions of a connection that is gone and was in `rooms`."""
        self._subscriptions.end(session, rooms)

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
            self._subscriptions.count_may_have_changed(user_principal(user))

    async def _apply_role(self, user: str) -> None:
        sessions = self._channels.of_user(user)
        await self.reauthorise(*sessions)
        known = await self._directory.user(user)
        if known is None:
            return
        grants = frozenset(grant for session in sessions for grant in session.member.grants)
        member = Member(id=user, guest=False, roles=frozenset({known.role}), audience=known.role, grants=grants)
        for room in await self._subscriptions.held(user_principal(user)):
            if not self._channels.is_inside(user, room.name) and not await self.may_join(member, room):
                await self._subscriptions.drop(user_principal(user), room.name)

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
                self._subscriptions.write_down(room.name)  # it goes on until it is known whether they may be inside
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
        with self._subscriptions.kept([room.name for _, room in doubtful]):
            asked = (self._settle_one(session, room) for session, room in doubtful)
            for failed in await asyncio.gather(*asked, return_exceptions=True):
                if failed is not None:
                    raise failed

    async def _settle_one(self, session: Session, room: Room) -> None:
        if await self._may_stay(session, room):
            try:
                session.channel.membership.enter(session.sid, room.name)
            except (RoomLimit, KeyError):  # full, or gone while it was asked: its subscription ends as when it leaves
                self._subscriptions.end(session, [room.name])
            return
        self._take_out(session, room.name)
        log.info("websocket client taken out of a room", sid=session.sid, user=session.identity.id, room=room.name)
        if not session.identity.guest:
            await self._subscriptions.drop(session.identity.principal, room.name)
            self._subscriptions.count_may_have_changed(session.identity.principal)

    async def _may_stay(self, session: Session, room: Room) -> bool:
        try:
            return await self.may_join(session.member, room, topics=session.channel.offers_topics)
        except BaseException:
            self._subscriptions.end(session, [room.name])  # unless it is inside
            raise

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
    return f"role:{room.id}" if room.kind == "role" else audience_key(room.name)


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
