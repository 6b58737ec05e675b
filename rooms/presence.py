"""Presence of people, not of sockets: online on the first connection, offline some seconds after the last."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PresenceDiff:
    """Who changed: user ids that came online, and those that went offline."""

    online: tuple[str, ...] = ()
    offline: tuple[str, ...] = ()


@dataclass(slots=True)
class Entry:
    """One person. `last_seen` is when they last did anything, in seconds."""

    sids: tuple[str, ...] = ()
    status: str = "online"
    last_seen: float = 0.0
    actions: int = 0
    leaves_at: float | None = None


_NOTHING = PresenceDiff()


class Roster:
    """The people who are online.

    After the last connection of a person has gone they stay online for `grace` seconds, so that a reload or a
    short loss of network is nobody's business. A person who comes back within the grace keeps their status.
    """

    def __init__(self, *, grace: float) -> None:
        self._grace = grace
        self._people: dict[str, Entry] = {}
        self._leaving: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._people)

    def __contains__(self, user: object) -> bool:
        return user in self._people

    def __iter__(self) -> Iterator[str]:
        return iter(self._people)

    def get(self, user: str) -> Entry | None:
        return self._people.get(user)

    def connect(self, user: str, sid: str, now: float) -> PresenceDiff:
        entry = self._people.get(user)
        if entry is None:
            self._people[user] = Entry(sids=(sid,), last_seen=now)
            return PresenceDiff(online=(user,))
        if sid not in entry.sids:
            entry.sids = (*entry.sids, sid)
        entry.last_seen = now
        entry.leaves_at = None
        self._leaving.pop(user, None)
        return _NOTHING

    def disconnect(self, user: str, sid: str, now: float) -> None:
        """Note that a connection is gone. The person goes offline in `expire`, when the grace is over."""
        entry = self._people.get(user)
        if entry is None or sid not in entry.sids:
            return
        entry.sids = tuple(other for other in entry.sids if other != sid)
        entry.last_seen = now
        if not entry.sids:
            entry.leaves_at = now + self._grace
            self._leaving[user] = entry.leaves_at

    def beat(self, user: str, now: float) -> None:
        """Note that a person did something."""
        entry = self._people.get(user)
        if entry is not None:
            entry.last_seen = now
            entry.actions += 1

    def set_status(self, user: str, status: str, now: float) -> bool:
        """Set a person's status; False when they are not online or it is the same already."""
        entry = self._people.get(user)
        if entry is None:
            return False
        entry.last_seen = now
        changed = entry.status != status
        entry.status = status
        return changed

    def expire(self, now: float) -> tuple[PresenceDiff, dict[str, Entry]]:
        """Take out everybody whose grace is over; also return their last entries."""
        due = []
        for user, leaves_at in self._leaving.items():
            if leaves_at > now:
                break  # the grace is one constant, so `_leaving` is in order of time
            due.append(user)
        for user in due:
            del self._leaving[user]
        gone = {user: self._people.pop(user) for user in due}
        return (PresenceDiff(offline=tuple(gone)) if gone else _NOTHING), gone
