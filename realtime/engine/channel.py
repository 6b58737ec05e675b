"""The authenticated connections of one namespace: who they are, which rooms they are in, and a way to write to them."""

from collections.abc import Iterable
from dataclasses import dataclass

from realtime.auth import Identity
from realtime.engine.frames import Burst, Template
from realtime.engine.server import RealtimeServer
from realtime.events import Person
from realtime.models import WireId
from rooms import names
from rooms.membership import Membership
from rooms.policy import Member


@dataclass(slots=True)
class Session:
    """One connection of one person.

    `identity` changes when the token is refreshed, `member` (what they may do) also when their role changes.
    """

    sid: str
    identity: Identity
    member: Member
    connected_at: float
    address: str

    @property
    def person(self) -> Person:
        identity = self.identity
        return Person(id=identity.id, wire_id=identity.wire_id, name=identity.display_name, role=self.member.audience)


class Channel:
    """The connections of one namespace.

    Every person has a personal room, which holds all of their connections.
    """

    def __init__(self, server: RealtimeServer, namespace: str) -> None:
        self.namespace = namespace
        self._server = server
        self._sessions: dict[str, Session] = {}
        self.guests: set[str] = set()
        self.membership: Membership = server.manager.membership(namespace)

    def __len__(self) -> int:
        return len(self._sessions)

    def sessions(self) -> Iterable[Session]:
        return self._sessions.values()

    def session(self, sid: str) -> Session | None:
        return self._sessions.get(sid)

    def admit(self, session: Session, rooms: Iterable[str]) -> None:
        """Make an authenticated connection reachable, in its first rooms."""
        self._server.manager.admit(session.sid, self.namespace)
        self._sessions[session.sid] = session
        if session.identity.guest:
            self.guests.add(session.sid)
        for room in rooms:
            self.membership.enter(session.sid, room)

    def release(self, sid: str) -> Session | None:
        """Forget a connection that is gone. The engine takes it out of its rooms."""
        self.guests.discard(sid)
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

    def encode(self, event: str, payload: object) -> Burst:
        return Burst.encode(self.namespace, event, payload)

    def template(self, event: str, payload: object) -> Template:
        return Template(self.namespace, event, payload)

    def deliver(self, sids: Iterable[str], burst: Burst) -> int:
        return self._server.deliver(sids, burst)

    async def dismiss(self, sid: str) -> None:
        """Disconnect for good: socket.io-client does not come back by itself."""
        await self._server.disconnect(sid, self.namespace)
