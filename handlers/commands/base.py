"""What a command is, and what it gets."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import Enum
from typing import Any

from realtime import wire
from realtime.auth import TokenVerifier
from realtime.engine.channel import Session
from realtime.errors import Code, RealtimeError
from realtime.services.bookings import BookingService
from realtime.services.counts import UnreadCounter
from realtime.services.dashboards import DashboardService
from realtime.services.inbox_pages import InboxPages
from realtime.services.messaging import MessagingService
from realtime.services.presence import PresenceService
from realtime.services.receipts import ReceiptService
from realtime.services.rooms import RoomService
from realtime.services.sessions import SessionService
from realtime.services.typing import TypingService


@dataclass(frozen=True, slots=True)
class CommandServices:
    """Every service that a command may call one method of."""

    rooms: RoomService
    presence: PresenceService
    typing: TypingService
    bookings: BookingService
    counter: UnreadCounter
    pages: InboxPages
    receipts: ReceiptService
    dashboards: DashboardService
    messaging: MessagingService
    sessions: SessionService
    verifier: TokenVerifier


class Bucket(Enum):
    """Which rate a command counts against (docs/contract.md, "Rates")."""

    MESSAGES = "messages"
    SIGNALS = "signals"
    EXEMPT = "exempt"


Ack = dict[str, object]
Answer = dict[str, object]
"""What goes over the wire: an `Ack` with `success`."""
Run = Callable[[CommandServices, Session, Any], Coroutine[Any, Any, Ack] | Ack]


@dataclass(frozen=True, slots=True)
class Command:
    """`run` gets the decoded payload (None when there was none) and returns what the ack says beside success."""

    run: Run
    bucket: Bucket


def relayed(payload: object) -> dict[str, object]:
    """Return client data that will be passed on: an object of at most 2 KB and 4 levels, or nothing."""
    if payload is None:
        return {}
    if not isinstance(payload, dict):
        raise RealtimeError(Code.INVALID_PAYLOAD, "The payload must be an object")
    if not wire.relayable(payload):
        raise RealtimeError(
            Code.INVALID_PAYLOAD, f"The payload is at most {wire.RELAY_BYTES} bytes and {wire.RELAY_DEPTH} levels deep"
        )
    return payload


def entity_id(value: object, field: str) -> str:
    """Return a row's id as text. Raises INVALID_PAYLOAD."""
    if isinstance(value, bool) or not isinstance(value, str | int) or not 1 <= len(str(value)) <= 100:
        raise RealtimeError(Code.INVALID_PAYLOAD, f"{field} must be an id")
    return str(value)
