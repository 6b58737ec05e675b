"""Rooms for python-socketio on `rooms.membership`: a connection is in no room before it is authenticated."""

import itertools
from collections.abc import Callable, Collection, Iterator
from typing import Any

from socketio import AsyncManager

from realtime.engine.frames import Burst
from realtime.engine.session import EngineSession
from rooms.membership import Membership

MAX_CALLBACKS = 1000
"""Acknowledgements that one connection may owe; the oldest are forgotten first."""

MAX_EARLY = 1000
"""Bursts kept for one connection until its CONNECT is answered; later ones are refused."""


class Early:
    """What was sent to a connection whose CONNECT is not answered yet."""

    __slots__ = ("_size", "bursts")

    def __init__(self) -> None:
        self.bursts: list[Burst] = []
        self._size = 0

    def keep(self, burst: Burst, most: int) -> bool:
        """Keep a burst; False when that would be more than `most` bytes, or too many."""
        size = self._size + len(burst.frames)
        if size > most or len(self.bursts) >= MAX_EARLY:
            return False
        self.bursts.append(burst)
        self._size = size
        return True


class RoomManager(AsyncManager):  # type: ignore[misc]
    """python-socketio's client manager, with O(own rooms) operations.

    `pre_connect` gives a connection a sid and nothing else. It enters its own room, and so becomes reachable,
    when its connect handler has accepted it. `emit` to a falsy or unknown target reaches nobody.
    """

    def __init__(self, *, max_rooms: int) -> None:
        super().__init__()
        self._max_rooms = max_rooms
        self._memberships: dict[str, Membership] = {}
        self.rooms = self._memberships  # python-socketio looks here for the namespaces that exist
        self._sid_of: dict[str, dict[str, str]] = {}
        self.eio_of: dict[str, str] = {}
        """sid -> Engine.IO sid, of all namespaces; read it, never change it."""
        self.session_of: dict[str, EngineSession] = {}
        """sid -> session, likewise: for those who write to many."""

        self._pending: set[str] = set()
        self._wanted: dict[str, Membership] = {}
        self.early: dict[str, Early] = {}
        self._ack_ids = itertools.count(1)

    def membership(self, namespace: str) -> Membership:
        """Return the index of a namespace. Only authenticated connections are in it."""
        if namespace not in self._memberships:
            self._memberships[namespace] = Membership(max_rooms=self._max_rooms)
            self._sid_of[namespace] = {}
        return self._memberships[namespace]

    def _known(self, namespace: str) -> Membership:
        """Return the index for reading: asking makes no namespace, whose name a client may have chosen."""
        known = self._memberships.get(namespace)
        return Membership() if known is None else known

    def is_in(self, sid: str, namespace: str) -> bool:
        """Whether a connection was accepted or admitted, and has not left."""
        return sid in self._known(namespace)

    def get_namespaces(self) -> list[str]:
        return list(self._memberships)

    def begin(self, eio_sid: str, namespace: str) -> str | None:
        """Give a connection its sid; None when the session is in the namespace already."""
        self.membership(namespace)
        sids = self._sid_of[namespace]
        if eio_sid in sids:
            return None
        sid: str = self.server.eio.generate_id()
        sids[eio_sid] = sid
        self.eio_of[sid] = eio_sid
        session = self.server.eio.sockets.get(eio_sid)
        if session is not None:
            self.session_of[sid] = session
        self._pending.add(sid)
        self.early[sid] = Early()
        return sid

    async def pre_connect(self, eio_sid: str, namespace: str) -> str | None:
        return self.begin(eio_sid, namespace)

    def accept(self, sid: str, namespace: str) -> None:
        """Make a connection reachable: its connect handler has accepted it."""
        self._pending.discard(sid)
        membership = self.membership(namespace)
        membership.add(sid)
        wanted = self._wanted.pop(sid, None)
        for room in wanted.rooms(sid) if wanted is not None else ():
            membership.enter(sid, room)

    async def connect(self, sid: str, namespace: str) -> str:
        self.accept(sid, namespace)
        self.take_early(sid)
        return sid

    def take_early(self, sid: str) -> list[Burst]:
        early = self.early.pop(sid, None)
        return [] if early is None else early.bursts

    def admit(self, sid: str, namespace: str) -> Membership:
        """Let the connect handler put an authenticated connection into rooms before its CONNECT is answered."""
        membership = self.membership(namespace)
        membership.add(sid)
        return membership

    def is_pre_connected(self, sid: str, namespace: str) -> bool:
        return sid in self._pending

    def is_connected(self, sid: str | None, namespace: str) -> bool:
        return sid is not None and sid in self.eio_of and sid not in self._pending

    def sid_from_eio_sid(self, eio_sid: str, namespace: str) -> str | None:
        return self._sid_of.get(namespace, {}).get(eio_sid)

    def eio_sid(self, sid: str) -> str | None:
        """Return the Engine.IO session of a connection; sids are unique over all namespaces."""
        return self.eio_of.get(sid)

    def eio_sid_from_sid(self, sid: str, namespace: str) -> str | None:
        return self.eio_of.get(sid)

    def sids_of(self, eio_sid: str) -> list[tuple[str, str]]:
        """Return (namespace, sid) of every namespace that an Engine.IO session is connected to."""
        return [(namespace, sids[eio_sid]) for namespace, sids in self._sid_of.items() if eio_sid in sids]

    def pre_disconnect(self, sid: str, namespace: str) -> str | None:
        """Mark a connection as leaving: it is not connected any more, but its rooms can still be read."""
        self._pending.add(sid)
        return self.eio_of.get(sid)

    def basic_disconnect(self, sid: str, namespace: str, **_: Any) -> None:
        self._known(namespace).remove(sid)
        self.session_of.pop(sid, None)
        eio_sid = self.eio_of.pop(sid, None)
        if eio_sid is not None:
            self._sid_of[namespace].pop(eio_sid, None)
            declared = (self.server.handlers, self.server.namespace_handlers, self.server.namespaces)
            if not self._sid_of[namespace] and not any(namespace in names for names in declared):
                del self._sid_of[namespace], self._memberships[namespace]  # with namespaces="*" clients choose names
        self._pending.discard(sid)
        self.early.pop(sid, None)
        self._wanted.pop(sid, None)
        self.callbacks.pop(sid, None)

    def basic_enter_room(self, sid: str, namespace: str, room: Any, eio_sid: str | None = None) -> None:
        if sid in self.early and sid not in self._known(namespace):
            # Its connect handler runs, and may still refuse it. What would fail later fails here, in the handler.
            wanted = self._wanted.setdefault(sid, Membership(max_rooms=self._max_rooms))
            wanted.add(sid)
            wanted.enter(sid, room)
        else:
            self._known(namespace).enter(sid, room)

    def basic_leave_room(self, sid: str, namespace: str, room: Any) -> None:
        self._wanted.get(sid, self._known(namespace)).leave(sid, room)

    def basic_close_room(self, room: Any, namespace: str) -> None:
        for sid in set(self._known(namespace).members(room)):
            self.basic_leave_room(sid, namespace, room)

    def get_rooms(self, sid: str, namespace: str) -> list[str]:
        """Return the rooms of a connection, its own first."""
        return [sid, *sorted(self._known(namespace).rooms(sid))]

    def targets(self, namespace: str, room: Any, skip_sid: Any = None) -> Collection[str]:
        """Return the sids of one sid, one room, a list of either, or everybody (None), each once. Unknown ones are
        nobody.

        Raises ValueError for an empty target.
        """
        if room is not None and not room:
            raise ValueError("emit needs a target: an empty one never means everybody")
        membership = self._known(namespace)
        if room is None:
            sids = dict.fromkeys(membership.all())
        else:
            names = (room,) if isinstance(room, str) else tuple(room)
            sids = dict.fromkeys(membership.union(names))
            for name in names:
                if self._is_sid(membership, name):
                    sids[name] = None
            if self._wanted:
                sids.update(dict.fromkeys(self._wanting(namespace, set(names))))
        for skipped in (skip_sid,) if isinstance(skip_sid, str) else skip_sid or ():
            sids.pop(skipped, None)
        return sids.keys()

    def _wanting(self, namespace: str, rooms: set[str]) -> set[str]:
        """Return the connections that will be in a room when their connect handler has accepted them."""
        here = self._sid_of.get(namespace, {})
        return {
            sid
            for sid, wanted in self._wanted.items()
            if not rooms.isdisjoint(wanted.rooms(sid)) and here.get(self.eio_of[sid]) == sid
        }

    def _is_sid(self, membership: Membership, name: str) -> bool:
        return name in membership or name in self.early

    def get_participants(self, namespace: str, room: Any) -> Iterator[tuple[str, str]]:
        """Yield (sid, eio sid) of `targets`."""
        for sid in self.targets(namespace, room):
            if sid in self.eio_of:
                yield sid, self.eio_of[sid]

    async def emit(self, event: str, data: Any, namespace: str, room: Any = None, *args: Any, **kwargs: Any) -> None:
        """Send an event, as `RealtimeServer.emit` does."""
        skip_sid = args[0] if args else kwargs.get("skip_sid")
        callback = args[1] if len(args) > 1 else kwargs.get("callback")
        target = kwargs.get("to")
        target = room if target is None else target
        await self.server.emit(event, data, target, None, skip_sid, namespace, callback)

    def remember_callback(self, sid: str, callback: Callable[..., Any]) -> int:
        """Return the id under which a client is to acknowledge. Ids begin at 1 and are never used twice."""
        waiting = self.callbacks.setdefault(sid, {})
        if len(waiting) >= MAX_CALLBACKS:
            del waiting[next(iter(waiting))]
        id = next(self._ack_ids)
        waiting[id] = callback
        return id

    def forget_callback(self, callback: Callable[..., Any], sid: str) -> None:
        waiting = self.callbacks.get(sid, {})
        for id in [id for id, waits in waiting.items() if waits is callback]:
            del waiting[id]

    def take_callback(self, sid: str, id: int) -> Callable[..., Any] | None:
        """Return what waits for an acknowledgement, once; None for ids that nobody was given."""
        waiting = self.callbacks.get(sid)
        if waiting is None:
            return None
        callback: Callable[..., Any] | None = waiting.pop(id, None)
        if not waiting:
            del self.callbacks[sid]
        return callback
