"""What a vocabulary is: rows outward, names inward."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from realtime.events import Audience, Event

Reach = Callable[[Any, Audience], Audience]


def as_given(_event: Event, audience: Audience) -> Audience:
    """The audience that the service named."""
    return audience


@dataclass(frozen=True, slots=True)
class Row:
    """One outgoing frame: a wire name (fixed, or taken from the event), its payload, and who hears it."""

    name: str | Callable[[Any], str]
    shape: Callable[[Any], object]
    reach: Reach = as_given

    def wire_name(self, event: Event) -> str:
        return self.name if isinstance(self.name, str) else self.name(event)


NOT_SENT: Final[Sequence[Row]] = ()
"""The explicit statement that a vocabulary does not know an event."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """A vocabulary: `outbound` has an entry for every event of the catalogue, `inbound` maps client events to
    commands of `handlers.commands`."""

    name: str
    namespace: str
    outbound: Mapping[type[Event], Sequence[Row]]
    inbound: Mapping[str, str]

    def rows(self, event: Event) -> Sequence[Row]:
        return self.outbound[type(event)]
