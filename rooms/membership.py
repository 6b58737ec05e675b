"""Which connection is in which room. Every operation costs O(rooms of that connection); counts cost O(1)."""

import itertools
import sys
from collections.abc import Collection, Set

_NOBODY: frozenset[str] = frozenset()


class RoomLimit(ValueError):
    """The connection is in as many rooms as it may be."""


class Membership:
    """A two-way index sid <-> room of one namespace.

    A sid must be `add`ed before it can enter a room, and `remove` takes it out of every room at once, so a
    connection that is gone can stay nowhere. Empty rooms do not exist. Members are listed in the order in which they
    came, which is about that of their memory: whoever writes to thousands meets them as they lie there.
    """

    def __init__(self, *, max_rooms: int = 500) -> None:
        self.max_rooms = max_rooms
        self._rooms_of: dict[str, set[str]] = {}
        self._members: dict[str, str | dict[str, None]] = {}  # most rooms are personal: one member needs no more

    def __len__(self) -> int:
        return len(self._rooms_of)

    def __contains__(self, sid: object) -> bool:
        return sid in self._rooms_of

    def add(self, sid: str) -> None:
        self._rooms_of.setdefault(sid, set())

    def remove(self, sid: str) -> set[str]:
        """Forget a connection; return the rooms it was in. Unknown sids were in none."""
        rooms = self._rooms_of.pop(sid, set())
        for room in rooms:
            self._drop(room, sid)
        return rooms

    def enter(self, sid: str, room: str) -> bool:
        """Put `sid` into `room`; False when it was there already. Raises KeyError, RoomLimit, ValueError."""
        if not room:
            raise ValueError("a room needs a name")
        rooms = self._rooms_of[sid]
        if room in rooms:
            return False
        if len(rooms) >= self.max_rooms:
            raise RoomLimit(f"a connection may be in {self.max_rooms} rooms")
        members = self._members.get(room)
        if members is None:
            self._members[room] = sid
        elif isinstance(members, str):
            self._members[room] = {members: None, sid: None}
        else:
            room = sys.intern(str(room))  # one name for all members, however often it was sent
            members[sid] = None
        rooms.add(room)
        return True

    def space(self, sid: str) -> int:
        """How many more rooms a connection may enter."""
        return self.max_rooms - len(self._rooms_of[sid])

    def leave(self, sid: str, room: str) -> bool:
        """Take `sid` out of `room`; False when it was not there."""
        rooms = self._rooms_of.get(sid)
        if rooms is None or room not in rooms:
            return False
        rooms.discard(room)
        self._drop(room, sid)
        return True

    def _drop(self, room: str, sid: str) -> None:
        members = self._members[room]
        if isinstance(members, str):
            del self._members[room]
            return
        del members[sid]
        if len(members) == 1:
            [self._members[room]] = members

    def rooms(self, sid: str) -> Set[str]:
        """The rooms of a connection: a live view, copy it before changing memberships."""
        return self._rooms_of.get(sid, _NOBODY)

    def members(self, room: str) -> Set[str]:
        """The connections in a room: a view for now, which may be live. Copy it before changing memberships."""
        members = self._members.get(room)
        if members is None:
            return _NOBODY
        return frozenset((members,)) if isinstance(members, str) else members.keys()

    def is_in(self, sid: str, room: str) -> bool:
        return room in self._rooms_of.get(sid, _NOBODY)

    def union(self, rooms: Collection[str]) -> Set[str]:
        """The connections in any of `rooms`, each once, room by room: a view like `members`."""
        if len(rooms) == 1:
            [room] = rooms
            return self.members(room)
        return dict.fromkeys(itertools.chain.from_iterable(map(self.members, rooms))).keys()

    def all(self) -> Set[str]:
        return self._rooms_of.keys()

    def room_names(self) -> Set[str]:
        return self._members.keys()
