"""From one domain event to the frames of every vocabulary.

`publish` never raises and never waits: what it sends was stored before, and a failed emit must not fail the
request that caused it. Each payload is encoded once, however many connections get it.
"""

import contextlib
import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace

import structlog

from realtime.dialects.base import Dialect, Row
from realtime.engine.channel import Channel, Session
from realtime.engine.frames import Burst, Template
from realtime.events import Audience, Event
from realtime.metrics import Metrics
from realtime.models import WireId

log = structlog.get_logger(__name__)

Item = tuple[Event, Audience]
_NOBODY = Audience()


@dataclass(frozen=True, slots=True)
class Outlet:
    """A group of connections and the vocabulary they speak."""

    channel: Channel
    dialect: Dialect


class Publisher:
    """Sends domain events to connections."""

    def __init__(self, outlets: Sequence[Outlet], metrics: Metrics) -> None:
        self._outlets = tuple(outlets)
        self._outlet_of = {outlet.channel: outlet for outlet in outlets}
        self._metrics = metrics

    def publish(self, event: Event, audience: Audience) -> int:
        """Send one event; return how many frames connections took."""
        return self._guarded([(event, audience)])

    def publish_together(self, items: Sequence[Item]) -> int:
        """Send many events so that each connection gets one write with all that concern it, in order."""
        return self._guarded(items)

    def publish_personally(
        self, event: Callable[[WireId], Event], readers: Mapping[str, WireId], *, skip: frozenset[str] = frozenset()
    ) -> None:
        """Send many people their own copy of one event, which differs in nothing but their id.

        `readers` are personal rooms and the ids of their owners; `skip` are connections that get none.
        """
        for outlet in self._in_use():
            with self._never_raising(outlet, []):
                self._count(_send_personally(outlet, event(Template.PLACEHOLDER), readers, skip))

    def publish_to_connection(self, event: Event, session: Session) -> int:
        """Send one event to a single connection, whatever its audience would be; return how many frames it took."""
        outlet = self._outlet_of.get(session.channel)
        if outlet is None or outlet.channel.session(session.sid) is not session:
            return 0
        return self._guard(outlet, [(event, _NOBODY)], only=session.sid)

    def _in_use(self) -> Iterator[Outlet]:
        return (outlet for outlet in self._outlets if len(outlet.channel))

    def _guarded(self, items: Sequence[Item]) -> int:
        return sum(self._guard(outlet, items) for outlet in self._in_use())

    def _guard(self, outlet: Outlet, items: Sequence[Item], *, only: str | None = None) -> int:
        taken: Counter[str] = Counter()
        with self._never_raising(outlet, items):
            taken = self._send(outlet, items) if only is None else _send_one(outlet, items, only)
            self._count(taken)
        return taken.total()

    def _count(self, taken: Counter[str]) -> None:
        for name, count in taken.items():
            self._metrics.deliveries.labels(name).inc(count)

    @contextlib.contextmanager
    def _never_raising(self, outlet: Outlet, items: Sequence[Item]) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001  see the module's docstring
            self._metrics.publish_failures.inc()
            kinds = sorted({type(event).__name__ for event, _ in items})
            log.error("publish failed", dialect=outlet.dialect.name, events=kinds, error=repr(error))

    def _send(self, outlet: Outlet, items: Sequence[Item]) -> Counter[str]:
        groups = _by_audience(outlet.dialect, items)
        if len(groups) == 1:
            [(audience, lines)] = groups.items()
            return _send_group(outlet.channel, audience, lines)
        return _send_groups(outlet.channel, groups)


def _send_personally(
    outlet: Outlet, sample: Event, readers: Mapping[str, WireId], skip: frozenset[str]
) -> Counter[str]:
    channel, dialect = outlet.channel, outlet.dialect
    rows = dialect.rows(sample)
    templates = [channel.template(row.wire_name(sample), row.shape(sample), row.wire_mark(sample)) for row in rows]
    taken: Counter[str] = Counter()
    for room, id in readers.items() if rows else ():
        sids = channel.membership.members(room) - skip
        if sids:
            own = str(id) if dialect.text_ids else id
            count = channel.deliver(sids, Burst.join(template.fill(own) for template in templates))
            taken.update({row.wire_name(sample): count for row in rows})
    return taken


def _send_one(outlet: Outlet, items: Sequence[Item], sid: str) -> Counter[str]:
    lines = [
        _Line(row, event, None, order=0, place=place)
        for event, _ in items
        for place, row in enumerate(outlet.dialect.rows(event))
    ]
    return _deliver(outlet.channel, [sid], lines)


def _send_group(channel: Channel, audience: Audience, lines: "list[_Line]") -> Counter[str]:
    """One audience: the same bytes for everybody, but for those who may not hear single lines."""
    personal = _exclusions(channel, lines)
    everybody = select(channel, audience)
    taken = _deliver(channel, _but(everybody, personal), lines)
    for sid in everybody & personal:
        taken += _deliver(channel, [sid], _audible(channel, lines, sid))
    return taken


def _send_groups(channel: Channel, groups: "dict[Audience, list[_Line]]") -> Counter[str]:
    """Several audiences: one write to each connection, with its lines in the order they were published in.

    Connections that are in the same audiences get the same bytes, joined once.
    """
    audiences_of: dict[str, list[int]] = defaultdict(list)
    for index, audience in enumerate(groups):
        for sid in select(channel, audience):
            audiences_of[sid].append(index)
    alike: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for sid, indices in audiences_of.items():
        alike[tuple(indices)].append(sid)
    all_lines = list(groups.values())
    personal = _exclusions(channel, (line for lines in all_lines for line in lines))
    taken: Counter[str] = Counter()
    for indices_, sids in alike.items():
        lines = sorted((line for index in indices_ for line in all_lines[index]), key=lambda line: line.order)
        taken += _deliver(channel, [sid for sid in sids if sid not in personal], lines)
        for sid in sids:
            if sid in personal:
                taken += _deliver(channel, [sid], _audible(channel, lines, sid))
    return taken


def _deliver(channel: Channel, sids: Collection[str], lines: "Sequence[_Line]") -> Counter[str]:
    """Write lines to connections, one write each; return how many took each name."""
    if not sids or not lines:
        return Counter()
    count = channel.deliver(sids, Burst.join(line.encode(channel) for line in lines))
    taken: Counter[str] = Counter()
    for line in lines:
        taken[line.label] += count
    return taken


class _Line:
    """One frame to be sent: a row of a dialect applied to an event, encoded when it is first needed."""

    __slots__ = ("_burst", "_event", "_place", "order", "row", "without")

    def __init__(self, row: Row, event: Event, without: str | None, *, order: int, place: int) -> None:
        self.row = row
        self._place = place  # among the event's rows: the same place means the same listener in a frontend
        self.without = without
        self.order = order
        self._event = event
        self._burst: Burst | None = None

    @property
    def label(self) -> str:
        """The name under which it is counted; names that clients of the API choose are counted as one."""
        return self.row.name if isinstance(self.row.name, str) else type(self._event).__name__.lower()

    def encode(self, channel: Channel) -> Burst:
        if self._burst is None:
            row, event = self.row, self._event
            burst = channel.encode(row.wire_name(event), row.shape(event), row.wire_mark(event))
            key = self._event.outdates()
            self._burst = burst if key is None else burst.volatile((self._place, key))
        return self._burst


def _by_audience(dialect: Dialect, items: Sequence[Item]) -> dict[Audience, list[_Line]]:
    """Group the frames by who hears them; the person left out is a matter of each line."""
    groups: dict[Audience, list[_Line]] = defaultdict(list)
    order = itertools.count()
    for event, audience in items:
        for place, row in enumerate(dialect.rows(event)):
            reach = row.reach(event, audience)
            line = _Line(row, event, reach.without, order=next(order), place=place)
            groups[reach if reach.without is None else replace(reach, without=None)].append(line)
    return groups


def select(channel: Channel, audience: Audience) -> Set[str]:
    """Return the connections of an audience: a view that may be live, in the order in which they came.

    Nobody is in no rooms: an empty audience reaches nobody.
    """
    found = channel.membership.all() if audience.everyone else channel.membership.union(audience.rooms)
    deaf: Set[str] = audience.skip
    if audience.everyone and not audience.guests:
        deaf = deaf | channel.guests
    if audience.without:
        deaf = deaf | channel.sids_of_user(audience.without)
    return _but(found, deaf)


def _but(sids: Set[str], others: Set[str]) -> Set[str]:
    """Return `sids` without `others`, in their order."""
    return dict.fromkeys(itertools.filterfalse(others.__contains__, sids)).keys() if others else sids


def _exclusions(channel: Channel, lines: Iterable[_Line]) -> set[str]:
    """Return the connections that may not hear every line."""
    users = {line.without for line in lines if line.without}
    return {sid for user in users for sid in channel.sids_of_user(user)}


def _audible(channel: Channel, lines: Iterable[_Line], sid: str) -> list[_Line]:
    session = channel.session(sid)
    me = None if session is None or session.identity.guest else session.identity.id
    return [line for line in lines if line.without is None or line.without != me]
