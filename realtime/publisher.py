"""From one domain event to the frames of every vocabulary.

`publish` never raises and never waits: what it sends was stored before, and a failed emit must not fail the
request that caused it. Each payload is encoded once, however many connections get it.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import structlog

from realtime.dialects.base import Dialect, Row
from realtime.engine.channel import Channel
from realtime.engine.frames import Burst
from realtime.events import Audience, Event
from realtime.metrics import Metrics

log = structlog.get_logger(__name__)

Item = tuple[Event, Audience]


@dataclass(frozen=True, slots=True)
class Outlet:
    """A group of connections and the vocabulary they speak."""

    channel: Channel
    dialect: Dialect


class Publisher:
    """Sends domain events to connections."""

    def __init__(self, outlets: Sequence[Outlet], metrics: Metrics) -> None:
        self._outlets = tuple(outlets)
        self._metrics = metrics

    def publish(self, event: Event, audience: Audience) -> int:
        """Send one event; return how many frames connections took."""
        return self._guarded([(event, audience)])

    def publish_together(self, items: Sequence[Item]) -> int:
        """Send many events so that each connection gets one write with all that concern it, in order."""
        return self._guarded(items)

    def publish_to_connection(self, event: Event, sid: str) -> None:
        """Send one event to a single connection."""
        for outlet in self._outlets:
            if outlet.channel.session(sid) is not None:
                for row in outlet.dialect.rows(event):
                    burst = outlet.channel.encode(row.wire_name(event), row.shape(event))
                    outlet.channel.deliver([sid], burst)

    def _guarded(self, items: Sequence[Item]) -> int:
        frames = 0
        for outlet in self._outlets:
            try:
                frames += self._send(outlet, items)
            except Exception as error:  # noqa: BLE001  see the module's docstring
                self._metrics.publish_failures.inc()
                kinds = sorted({type(event).__name__ for event, _ in items})
                log.error("publish failed", dialect=outlet.dialect.name, events=kinds, error=repr(error))
        return frames

    def _send(self, outlet: Outlet, items: Sequence[Item]) -> int:
        groups = _by_audience(outlet.dialect, items)
        if len(groups) == 1:
            [(audience, lines)] = groups.items()
            return self._send_group(outlet.channel, audience, lines)
        return self._send_groups(outlet.channel, groups)

    def _send_group(self, channel: Channel, audience: Audience, lines: "list[_Line]") -> int:
        """One audience: the same bytes for everybody, but for those who may not hear single lines."""
        personal = _exclusions(channel, lines)
        everybody = select(channel, audience)
        burst = Burst.join(line.encode(channel) for line in lines)
        taken = channel.deliver((sid for sid in everybody if sid not in personal), burst) * len(lines)
        for sid in personal:
            if sid in everybody:
                taken += _deliver_all(channel, sid, _audible(channel, lines, sid))
        self._count(lines, taken)
        return taken

    def _send_groups(self, channel: Channel, groups: "dict[Audience, list[_Line]]") -> int:
        """Several audiences: collect what each connection gets, then write once to each."""
        inbox: dict[str, list[Burst]] = defaultdict(list)
        for audience, lines in groups.items():
            personal = _exclusions(channel, lines)
            burst = Burst.join(line.encode(channel) for line in lines)
            for sid in select(channel, audience):
                if sid in personal:
                    inbox[sid].extend(_audible(channel, lines, sid))
                else:
                    inbox[sid].append(burst)
        taken = sum(_deliver_all(channel, sid, bursts) for sid, bursts in inbox.items())
        self._count([line for lines in groups.values() for line in lines], taken)
        return taken

    def _count(self, lines: "list[_Line]", taken: int) -> None:
        if taken:
            name = lines[0].row.name
            self._metrics.deliveries.labels(name if isinstance(name, str) else "custom").inc(taken)


class _Line:
    """One frame to be sent: a row of a dialect applied to an event, encoded when it is first needed."""

    __slots__ = ("_burst", "_event", "row", "without")

    def __init__(self, row: Row, event: Event, without: str | None) -> None:
        self.row = row
        self.without = without
        self._event = event
        self._burst: Burst | None = None

    def encode(self, channel: Channel) -> Burst:
        if self._burst is None:
            self._burst = channel.encode(self.row.wire_name(self._event), self.row.shape(self._event))
        return self._burst


def _by_audience(dialect: Dialect, items: Sequence[Item]) -> dict[Audience, list[_Line]]:
    """Group the frames by who hears them; the person left out is a matter of each line."""
    groups: dict[Audience, list[_Line]] = defaultdict(list)
    for event, audience in items:
        for row in dialect.rows(event):
            reach = row.reach(event, audience)
            groups[replace(reach, without=None)].append(_Line(row, event, reach.without))
    return groups


def select(channel: Channel, audience: Audience) -> set[str]:
    """Return the connections of an audience. Nobody is in no rooms: an empty audience reaches nobody."""
    found = set(channel.membership.all()) if audience.everyone else channel.membership.union(audience.rooms)
    if audience.everyone and not audience.guests:
        found -= channel.guests
    return found - channel.sids_of_user(audience.without) if audience.without else found


def _exclusions(channel: Channel, lines: Iterable[_Line]) -> set[str]:
    """Return the connections that may not hear every line."""
    users = {line.without for line in lines if line.without}
    return {sid for user in users for sid in channel.sids_of_user(user)}


def _audible(channel: Channel, lines: Iterable[_Line], sid: str) -> list[Burst]:
    session = channel.session(sid)
    me = None if session is None or session.identity.guest else session.identity.id
    return [line.encode(channel) for line in lines if line.without is None or line.without != me]


def _deliver_all(channel: Channel, sid: str, bursts: list[Burst]) -> int:
    return channel.deliver([sid], Burst.join(bursts)) if bursts else 0
