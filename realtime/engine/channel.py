"""The authenticated connections of one namespace or path: who they are, their rooms, and a way to write to them."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from realtime.auth import Identity
from realtime.engine import packets
from realtime.engine.frames import Burst, Template
from realtime.engine.server import RealtimeServer
from realtime.engine.session import EngineSession
from realtime.engine.websocket import TRY_LATER
from realtime.events import Person
from realtime.models import WireId
from rooms import names
from rooms.membership import Membership
from rooms.policy import Member


@dataclass(slots=True)
class Session:
    """One connection of one person: of a client to a namespace, or one plain socket or stream.

    `identity` changes when the token is refreshed, `member` (what they may do) also when their role changes.
    """

    sid: str
    identity: Identity
    member: Member
    connected_at: float
    address: str
    channel: "Channel" = field(repr=False)

    @property
    def person(self) -> Person:
        identity = self.identity
        return Person(id=identity.id, wire_id=identity.wire_id, name=identity.display_name, role=self.member.audience)

    @property
    def rooms(self) -> Iterable[str]:
        """A live view."""
        return self.channel.membership.rooms(self.sid)


class Channel:
    """Connections that are written to alike.

    Every person has a personal room, which holds all of their connections. Subclasses say how events are encoded and
    delivered. With `offers_topics` its clients may subscribe to rooms ``channel:{name}``.
    """

    def __init__(self, path: str, membership: Membership, *, offers_topics: bool = False) -> None:
        self.path = path
        self.membership = membership
        self.offers_topics = offers_topics
        self.guests: set[str] = set()
        self.muted: set[str] = set()
        """Connections that asked not to be told of notifications."""

        self._sessions: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def __bool__(self) -> bool:
        return True

    def sessions(self) -> Iterable[Session]:
        return self._sessions.values()

    def session(self, sid: str) -> Session | None:
        return self._sessions.get(sid)

    def admit(self, session: Session, rooms: Iterable[str]) -> None:
        """Make an authenticated connection reachable, in its first rooms."""
        self._enter(session.sid)
        self._sessions[session.sid] = session
        if session.identity.guest:
            self.guests.add(session.sid)
        for room in rooms:
            self.membership.enter(session.sid, room)

    def release(self, sid: str) -> Session | None:
        """Forget a connection that is gone. Whoever calls takes it out of its rooms."""
        self.guests.discard(sid)
        self.muted.discard(sid)
        return self._sessions.pop(sid, None)

    def users(self) -> dict[str, WireId]:
        """Return the users who have a connection, and their ids on the wire."""
        return {s.identity.id: s.identity.wire_id for s in self._sessions.values() if not s.identity.guest}

    def of_user(self, user: str) -> list[Session]:
        """Return the connections of a user, not of a guest with the same id."""
        members = self.membership.members(names.user(user))
        return [self._sessions[sid] for sid in members if self.owns(sid, user)]

    def owns(self, sid: str, user: str) -> bool:
        """An administrator may join anybody's personal room without becoming them."""
        session = self._sessions.get(sid)
        return session is not None and not session.identity.guest and session.identity.id == user

    def sids_of_user(self, user: str) -> set[str]:
        return {session.sid for session in self.of_user(user)}

    def members(self, room: str) -> list[Session]:
        """Return the connections in a room."""
        return [session for sid in self.membership.members(room) if (session := self._sessions.get(sid))]

    def _enter(self, sid: str) -> None:
        self.membership.add(sid)

    def encode(self, event: str, payload: object, mark: object = None) -> Burst:
        """`mark` is what a client has come to with the event; streams count by it."""
        raise NotImplementedError

    def template(self, event: str, payload: object, mark: object = None) -> Template:
        raise NotImplementedError

    def deliver(self, sids: Iterable[str], burst: Burst) -> int:
        """Send encoded events to connections; return how many took them."""
        raise NotImplementedError

    async def drain(self, sid: str) -> bool:
        """Return when a client has taken everything that was sent; False when it is gone."""
        raise NotImplementedError

    async def dismiss(self, sid: str) -> None:
        """Disconnect for good: with another token the client may come back, by itself it does not."""
        raise NotImplementedError

    def turn_away(self, sid: str, reason: str) -> None:
        """Close a connection whose place somebody else gets (close code 1013)."""
        raise NotImplementedError


class NamespaceChannel(Channel):
    """The connections of one Socket.IO namespace."""

    def __init__(self, server: RealtimeServer, namespace: str, *, offers_topics: bool = False) -> None:
        super().__init__(namespace, server.manager.membership(namespace), offers_topics=offers_topics)
        self._server = server

    def _enter(self, sid: str) -> None:
        self._server.manager.admit(sid, self.path)

    def encode(self, event: str, payload: object, mark: object = None) -> Burst:
        return Burst.encode(self.path, event, payload)

    def template(self, event: str, payload: object, mark: object = None) -> Template:
        return Template(packets.event_text(self.path, [event, payload]))

    def deliver(self, sids: Iterable[str], burst: Burst) -> int:
        return self._server.deliver(sids, burst)

    def _engine_session(self, sid: str) -> EngineSession | None:
        return self._server.eio.sockets.get(self._server.manager.eio_sid(sid) or "")

    async def drain(self, sid: str) -> bool:
        session = self._engine_session(sid)
        return session is not None and await session.drain()

    async def dismiss(self, sid: str) -> None:
        await self._server.disconnect(sid, self.path)

    def turn_away(self, sid: str, reason: str) -> None:
        session = self._engine_session(sid)
        if session is not None:
            session.end(self._server.reason.SERVER_DISCONNECT, code=TRY_LATER)
