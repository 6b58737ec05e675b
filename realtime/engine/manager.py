"""Rooms for python-socketio on `rooms.membership`: a connection is in no room before it is authenticated."""

from collections.abc import Iterator
from typing import Any

from socketio import AsyncManager

from rooms.membership import Membership


class RoomManager(AsyncManager):  # type: ignore[misc]
    """python-socketio's client manager, with O(own rooms) operations.

    `pre_connect` gives a connection a sid and nothing else. It enters its own room, and so becomes reachable,
    when its connect handler has accepted it. `emit` to a falsy or unknown target reaches nobody.
    """

    def __init__(self, *, max_rooms: int) -> None:
        super().__init__()
        self._max_rooms = max_rooms
        self._memberships: dict[str, Membership] = {}
        self.rooms = self._memberships  # python-socketio's `emit` looks here for the namespaces that exist
        self._sid_of: dict[tuple[str, str], str] = {}
        self._eio_of: dict[str, tuple[str, str]] = {}
        self._pending: set[str] = set()

    def membership(self, namespace: str) -> Membership:
        """Return the index of a namespace. Only authenticated connections are in it."""
        if namespace not in self._memberships:
            self._memberships[namespace] = Membership(max_rooms=self._max_rooms)
        return self._memberships[namespace]

    def get_namespaces(self) -> list[str]:
        return list(self._memberships)

    async def pre_connect(self, eio_sid: str, namespace: str) -> str | None:
        if (eio_sid, namespace) in self._sid_of:
            return None
        sid: str = self.server.eio.generate_id()
        self._sid_of[eio_sid, namespace] = sid
        self._eio_of[sid] = (eio_sid, namespace)
        self._pending.add(sid)
        return sid

    async def connect(self, sid: str, namespace: str) -> str:
        self._pending.discard(sid)
        self.membership(namespace).add(sid)
        return sid

    def admit(self, sid: str, namespace: str) -> Membership:
        """Let the connect handler put an authenticated connection into rooms before its CONNECT is answered."""
        membership = self.membership(namespace)
        membership.add(sid)
        return membership

    def is_pre_connected(self, sid: str, namespace: str) -> bool:
        return sid in self._pending

    def is_connected(self, sid: str | None, namespace: str) -> bool:
        return sid is not None and sid in self._eio_of and sid not in self._pending

    def sid_from_eio_sid(self, eio_sid: str, namespace: str) -> str | None:
        return self._sid_of.get((eio_sid, namespace))

    def eio_sid(self, sid: str) -> str | None:
        """Return the Engine.IO session of a connection; sids are unique over all namespaces."""
        found = self._eio_of.get(sid)
        return found[0] if found else None

    def eio_sid_from_sid(self, sid: str, namespace: str) -> str | None:
        return self.eio_sid(sid)

    def sids_of(self, eio_sid: str) -> list[tuple[str, str]]:
        """Return (namespace, sid) of every namespace that an Engine.IO session is connected to."""
        found = ((namespace, self._sid_of.get((eio_sid, namespace))) for namespace in self._memberships)
        return [(namespace, sid) for namespace, sid in found if sid is not None]

    def pre_disconnect(self, sid: str, namespace: str) -> str | None:
        """Mark a connection as leaving: it is not connected any more, but its rooms can still be read."""
        self._pending.add(sid)
        return self.eio_sid(sid)

    def basic_disconnect(self, sid: str, namespace: str, **_: Any) -> None:
        self.membership(namespace).remove(sid)
        eio_sid, _namespace = self._eio_of.pop(sid, ("", ""))
        self._sid_of.pop((eio_sid, namespace), None)
        self._pending.discard(sid)
        self.callbacks.pop(sid, None)

    def basic_enter_room(self, sid: str, namespace: str, room: Any, eio_sid: str | None = None) -> None:
        self.membership(namespace).enter(sid, room)

    def basic_leave_room(self, sid: str, namespace: str, room: Any) -> None:
        self.membership(namespace).leave(sid, room)

    def basic_close_room(self, room: Any, namespace: str) -> None:
        for sid in set(self.membership(namespace).members(room)):
            self.basic_leave_room(sid, namespace, room)

    def get_rooms(self, sid: str, namespace: str) -> list[str]:
        return sorted(self.membership(namespace).rooms(sid))

    def get_participants(self, namespace: str, room: Any) -> Iterator[tuple[str, str]]:
        """Yield (sid, eio sid) of one sid, one room, a list of either, or everybody (None)."""
        membership = self.membership(namespace)
        targets = [room] if isinstance(room, str) else room
        if room is None:
            sids = set(membership.all())
        else:
            sids = membership.union(targets) | {target for target in targets if target in membership}
        for sid in sids:
            if sid in self._eio_of:
                yield sid, self._eio_of[sid][0]

    async def emit(self, event: str, data: Any, namespace: str, room: Any = None, *args: Any, **kwargs: Any) -> None:
        target = kwargs.pop("to", None)
        target = room if target is None else target
        if target is not None and not target:
            raise ValueError("emit needs a target: an empty one never means everybody")
        await super().emit(event, data, namespace, target, *args, **kwargs)
