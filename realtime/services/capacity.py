"""How many connections a person and a path may have (docs/contract.md, "Connection limits")."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from realtime.clock import Clock
from realtime.engine.channel import Session
from realtime.errors import Code, RealtimeError
from realtime.events import ForcedOut
from realtime.models import Principal
from realtime.publisher import Publisher

Policy = Literal["reject", "evict"]


@dataclass(frozen=True, slots=True)
class Limit:
    """0 means no limit. With `evict` the oldest connection of a person makes room for the next."""

    per_user: int
    per_path: int
    policy: Policy


class Capacity:
    """Counts the connections of limited paths: a namespace and its plain twin have one path, and count together."""

    def __init__(self, limit: Limit, paths: Collection[str], *, publisher: Publisher, clock: Clock) -> None:
        self._limit = limit
        self._publisher = publisher
        self._clock = clock
        self._open: dict[str, dict[Principal, list[Session]]] = {path: defaultdict(list) for path in paths}
        self._total = dict.fromkeys(paths, 0)

    def take(self, session: Session) -> None:
        """Give a connection a place. Raises CONNECTION_LIMIT and NAMESPACE_FULL."""
        path = session.channel.path
        if path not in self._open:
            return
        mine = self._open[path].get(session.identity.principal, [])
        crowded = 0 < self._limit.per_user <= len(mine)
        if crowded and self._limit.policy == "reject":
            raise RealtimeError(Code.CONNECTION_LIMIT, f"At most {self._limit.per_user} connections per user")
        if not crowded and 0 < self._limit.per_path <= self._total[path]:
            raise RealtimeError(Code.NAMESPACE_FULL, "Too many connections, try again later")
        if crowded:
            self._evict(mine[0])
        self._open[path][session.identity.principal].append(session)
        self._total[path] += 1

    def free(self, session: Session) -> None:
        """Give a place back. Idempotent."""
        path = session.channel.path
        people = self._open.get(path, {})
        mine = people.get(session.identity.principal, [])
        if session in mine:
            mine.remove(session)
            self._total[path] -= 1
            if not mine:
                del people[session.identity.principal]

    def _evict(self, oldest: Session) -> None:
        self.free(oldest)
        self._publisher.publish_to_connection(ForcedOut(self._clock(), "Too many connections"), oldest)
        oldest.channel.turn_away(oldest.sid, Code.CONNECTION_LIMIT)
