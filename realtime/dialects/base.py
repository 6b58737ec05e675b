"""What a vocabulary is: rows outward, names inward."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal

from realtime import events as e
from realtime.clock import timestamp
from realtime.errors import Code
from realtime.events import Audience, Event
from realtime.models import JsonObject
from realtime.rows import sync_page

Reach = Callable[[Any, Audience], Audience]


def as_given(_event: Event, audience: Audience) -> Audience:
    """The audience that the service named."""
    return audience


def everybody_else(event: Any, audience: Audience) -> Audience:
    """All users but the event's person, whatever the service named."""
    return Audience.all_users(without=event.person.id)


@dataclass(frozen=True, slots=True)
class Row:
    """One outgoing frame: a wire name (fixed, or taken from the event), its payload, and who hears it.

    `mark` is what a client has come to with this frame; streams make the event's id of it.
    """

    name: str | Callable[[Any], str]
    shape: Callable[[Any], object]
    reach: Reach = as_given
    mark: Callable[[Any], object] | None = None

    def wire_name(self, event: Event) -> str:
        return self.name if isinstance(self.name, str) else self.name(event)

    def wire_mark(self, event: Event) -> object:
        return self.mark(event) if self.mark is not None else None


def error(event: Any) -> JsonObject:
    """An error as every vocabulary says it."""
    body: JsonObject = {
        "message": event.message,
        "error": event.message,
        "code": event.code,
        "timestamp": timestamp(event.at),
    }
    if event.event is not None:
        body["event"] = event.event
    if event.retry_after is not None:
        body["retryAfter"] = event.retry_after
    return body


def token_expired(event: Any) -> JsonObject:
    return {"message": event.message, "code": "TOKEN_EXPIRED", "timestamp": timestamp(event.at)}


def counts(event: Any) -> JsonObject:
    """What badges show, but for `count` itself."""
    categories = dict(sorted(event.categories.items()))
    return {"unseenCount": event.unseen, "categories": categories, "revision": event.revision}


def stopping(event: Any) -> JsonObject:
    return {
        "message": "The server is restarting",
        "retryAfter": event.retry_after,
        "timestamp": timestamp(event.at),
    }


SYNCED: Final = [Row("notifications_sync", sync_page)]
"""Pages of what has changed, in every vocabulary that shows an inbox."""

NOT_SENT: Final[Sequence[Row]] = ()
"""The explicit statement that a vocabulary does not know an event."""


CUSTOM: Final = Row(lambda event: str(event.name), lambda event: event.data)
"""What operators and other backends send passes untouched, in every vocabulary."""

EVERYWHERE: Final[Mapping[type[Event], Sequence[Row]]] = MappingProxyType(
    {
        e.Custom: [CUSTOM],
        e.TokenExpired: [Row("token_expired", token_expired)],
        e.ErrorRaised: [Row("error", error)],
        e.RateExceeded: [Row("error", error)],
        e.ServerStopping: [Row("server_shutdown", stopping)],
    }
)
"""What all vocabularies say alike."""

INBOX_COMMANDS: Final[Mapping[str, str]] = MappingProxyType(
    {"notifications_sync": "sync_notifications", "notification_ack": "acknowledge_notifications"}
)
"""What clients of every vocabulary that shows an inbox may ask."""

AUTHENTICATION: Final = MappingProxyType(
    {
        Code.AUTH_REQUIRED: "Missing authentication credentials",
        Code.AUTH_INVALID: "Invalid authentication token",
        Code.TOKEN_EXPIRED: "Authentication token expired",
        Code.USER_MISMATCH: "The token belongs to another user",
    }
)
"""How the newer frontends' servers refuse a connect."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """A vocabulary: `outbound` has an entry for every event of the catalogue, `inbound` maps client events to
    commands of `handlers.commands`.

    `namespace` is where it is spoken. With `text_ids` its clients know people by text, whatever their token says.
    `speakers` are who may connect; `refusals` are the words for a refused connect, where they are not those of the
    root namespace.
    """

    name: str
    namespace: str
    outbound: Mapping[type[Event], Sequence[Row]]
    inbound: Mapping[str, str]
    text_ids: bool = False
    speakers: Literal["anybody", "users", "guests"] = "anybody"
    refusals: Mapping[Code, str] = field(default_factory=dict)

    def rows(self, event: Event) -> Sequence[Row]:
        return self.outbound[type(event)]
