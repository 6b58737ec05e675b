"""Build and parse every room string (docs/contract.md, "Room names").

A room name matches ``[A-Za-z0-9_.:@|+~%-]{1,128}``. Ids with other characters are percent-encoded, so that
``parse(work_order("a/b"))`` gives back ``"a/b"``.
"""

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, unquote

MAX_LENGTH = 128
_NAME = re.compile(r"[A-Za-z0-9_.:@|+~%-]{1,128}\Z")
_UNRESERVED = "_.:@|+~-"
_PLAIN = re.compile(r"[A-Za-z0-9_.:@|+~-]*\Z")

ADMIN_ROOM = "admin_room"

Kind = Literal["user", "guest", "role", "entity", "admin", "channel", "other"]

ENTITY_PREFIXES = ("work_order_", "ticket_", "booking_", "assigned_machine_", "machine_", "customer_")
"""Rooms of one business row. Longer prefixes that end like a shorter one come first."""

_GIVEN = ("user_", "guest_", "role_")


class InvalidRoomName(ValueError):
    """The value is not a string, or not a well-formed room name."""


@dataclass(frozen=True, slots=True)
class Room:
    """A parsed name: ``Room("work_order_7", "entity", "work_order_", "7")``; ``id`` is decoded."""

    name: str
    kind: Kind
    prefix: str
    id: str


def encode(id: str | int) -> str:
    """Percent-encode an id for use inside a room name."""
    text = str(id)
    return text if _PLAIN.match(text) else quote(text, safe=_UNRESERVED)


def user(id: str | int) -> str:
    return f"user_{encode(id)}"


def guest(id: str | int) -> str:
    return f"guest_{encode(id)}"


def personal(principal: str) -> str:
    """Return the personal room of ``user:{id}`` or ``guest:{id}``."""
    kind, _, id = principal.partition(":")
    return guest(id) if kind == "guest" else user(id)


def role(name: str) -> str:
    return f"role_{encode(name)}"


def work_order(id: str | int) -> str:
    return f"work_order_{encode(id)}"


def ticket(id: str | int) -> str:
    return f"ticket_{encode(id)}"


def booking(id: str | int) -> str:
    return f"booking_{encode(id)}"


def topic(name: str) -> str:
    """Return the room of a topic that dashboards subscribe to."""
    return f"channel:{encode(name)}"


def chosen(names: Iterable[str]) -> list[str]:
    """Return the rooms that people choose to be in: not a personal one, a role's or the administrators'."""
    return [name for name in names if not name.startswith(_GIVEN) and name != ADMIN_ROOM]


def check(name: object) -> str:
    """Return `name` if it is a well-formed room name.

    Raises InvalidRoomName for anything else: numbers, nested values, the empty string, control characters.
    """
    if not isinstance(name, str) or not _NAME.match(name):
        raise InvalidRoomName(f"a room name is 1 to {MAX_LENGTH} characters of A-Z a-z 0-9 _ . : @ | + ~ % -")
    return name


def parse(name: object) -> Room:
    """Parse a room name into its kind and id. Raises InvalidRoomName."""
    return _parsed(check(name))


@functools.lru_cache(maxsize=4096)
def _parsed(text: str) -> Room:
    if text == ADMIN_ROOM:
        return Room(text, "admin", "", "")
    for prefix in ENTITY_PREFIXES:
        if text.startswith(prefix):
            return _with_id(text, "entity", prefix)
    kinds: tuple[tuple[str, Kind], ...] = (
        ("user_", "user"),
        ("guest_", "guest"),
        ("role_", "role"),
        ("channel:", "channel"),
    )
    for prefix, kind in kinds:
        if text.startswith(prefix):
            return _with_id(text, kind, prefix)
    return Room(text, "other", "", text)


def _with_id(text: str, kind: Kind, prefix: str) -> Room:
    try:
        id = unquote(text[len(prefix) :], errors="strict")
    except UnicodeDecodeError as error:
        raise InvalidRoomName("the escapes of an id are UTF-8") from error
    if not id:
        raise InvalidRoomName(f"{prefix} needs an id")
    if encode(id) != text[len(prefix) :]:
        # One room, one spelling: otherwise `user_%31` would be a second `user_1` that no rule knows.
        raise InvalidRoomName("an id is percent-encoded only where it must be")
    return Room(text, kind, prefix, id)
