"""All channels of a server together: one person may be connected through several of them at once."""

from collections.abc import Iterator, Sequence

from realtime.engine.channel import Channel, Session
from realtime.models import Principal, WireId
from rooms import names


class Channels:
    """Answers questions about people and rooms whatever they are connected by. Connection ids are unique over all."""

    def __init__(self, channels: Sequence[Channel]) -> None:
        self._channels = tuple(channels)
        self._rooms = tuple((channel, channel.membership.room_names()) for channel in channels)  # live views

    def __iter__(self) -> Iterator[Channel]:
        return iter(self._channels)

    def __len__(self) -> int:
        """How many connections there are."""
        return sum(map(len, self._channels))

    def __bool__(self) -> bool:
        return True

    def session(self, sid: str) -> Session | None:
        for channel in self._channels:
            session = channel.session(sid)
            if session is not None:
                return session
        return None

    def sessions(self) -> Iterator[Session]:
        for channel in self._channels:
            yield from channel.sessions()

    def users(self) -> dict[str, WireId]:
        """Return the users who have a connection, and their ids on the wire."""
        return {id: wire_id for channel in self._channels for id, wire_id in channel.users().items()}

    def of_user(self, user: str) -> list[Session]:
        """Return the connections of a user, not of a guest with the same id."""
        return [session for channel in self._channels for session in channel.of_user(user)]

    def of(self, principal: Principal) -> list[Session]:
        """Return the connections of a user or a guest."""
        room = names.personal(principal)
        return [
            session
            for channel in self._channels
            for session in channel.members(room)
            if session.identity.principal == principal
        ]

    def is_connected(self, principal: Principal) -> bool:
        """Whether anybody is in the personal room of a principal: nearly always it is they themselves."""
        room = names.personal(principal)
        for _, rooms in self._rooms:  # noqa: SIM110  without a generator: it is asked of everybody who leaves
            if room in rooms:
                return True
        return False

    def muted(self) -> frozenset[str]:
        """Return the connections that asked not to be told of notifications."""
        return frozenset().union(*(channel.muted for channel in self._channels))

    def members(self, room: str) -> list[Session]:
        """Return the connections in a room."""
        return [session for channel in self._channels for session in channel.members(room)]

    def has_members(self, room: str) -> bool:
        return any(room in rooms for _, rooms in self._rooms)

    def room_names(self) -> set[str]:
        return {name for channel in self._channels for name in channel.membership.room_names()}

    def is_inside(self, user: str, room: str) -> bool:
        """Whether a connection of a user is in a room."""
        personal = names.user(user)
        for channel, rooms in self._rooms:
            if personal not in rooms or room not in rooms:
                continue
            membership = channel.membership
            if any(membership.is_in(sid, room) and channel.owns(sid, user) for sid in membership.members(personal)):
                return True
        return False
