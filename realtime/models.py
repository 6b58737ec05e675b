"""Values that travel between the store, the services and the dialects. Times are seconds since 1970 (UTC)."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

Principal = str
"""`user:{id}` or `guest:{id}`: guest 123 and user 123 are different people."""

WireId = str | int
"""An id with the JSON type that its client expects."""

JsonObject = dict[str, Any]

Priority = Literal["low", "normal", "high", "critical"]
PRIORITIES: tuple[Priority, ...] = ("low", "normal", "high", "critical")


def user_principal(id: WireId) -> Principal:
    return f"user:{id}"


def guest_principal(id: WireId) -> Principal:
    return f"guest:{id}"


def wire_id(id: str) -> WireId:
    """Return the number for a decimal id, else the string itself.

    Numbers that JavaScript cannot hold exactly (over 15 digits) and ids with leading zeros stay strings.
    """
    if id.isascii() and id.isdigit() and len(id) <= 15 and (id == "0" or id[0] != "0"):
        return int(id)
    return id


@dataclass(frozen=True, slots=True)
class Content:
    """What a notification says, whoever receives it."""

    type: str
    title: str
    message: str
    priority: Priority = "normal"
    url: str | None = None
    metadata: JsonObject = field(default_factory=dict)
    actions: list[JsonObject] = field(default_factory=list)
    expires_at: float | None = None
    group_key: str | None = None
    details: JsonObject = field(default_factory=dict)
    """What one application knows beyond that; only its own vocabulary shows it."""


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a notification is for: one principal, or everyone who holds an audience key.

    Exactly one of `recipient` and `audience` is set. An audience key is ``all`` (every user), ``guests`` (every
    guest), ``role:{role}`` or ``room:{room}``; `excluded` principals are never shown it; with `late_join` it is also
    shown to people who came to the audience after it was sent.
    """

    recipient: Principal | None = None
    audience: str | None = None
    excluded: frozenset[Principal] = frozenset()
    late_join: bool = False


@dataclass(frozen=True, slots=True)
class MembershipChange:
    """From now on `reader` receives what is sent to an audience key, or does not any more.

    With `unless_named`, the (kind, id) of a business row, nothing is closed while that row names the reader.
    """

    reader: Principal
    audience: str
    open: bool
    unless_named: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Notification:
    """One stored notification. For an audience, `read_at` is as one reader sees it."""

    id: int
    target: Target
    content: Content
    sender: Principal | None
    created_at: float
    updated_at: float
    read_at: float | None = None
    group_count: int = 1

    @property
    def read(self) -> bool:
        return self.read_at is not None

    def marked(self, read_at: float | None) -> "Notification":
        return replace(self, read_at=read_at)


@dataclass(frozen=True, slots=True)
class Draft:
    """A notification that waits for `run_at`. It keeps its id when it is published."""

    id: int
    target: Target
    content: Content
    sender: Principal | None
    run_at: float
    created_at: float
    dedup_key: str | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """What `add` did: the row, and whether it is the earlier row of the same dedup key."""

    notification: Notification
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class InboxQuery:
    """A page of one person's notifications, newest first."""

    limit: int = 20
    offset: int = 0
    type: str | None = None
    read: bool | None = None


@dataclass(frozen=True, slots=True)
class EntityQuery:
    """A page of business rows, newest id first.

    `equals` compares row fields as text; `named` keeps only rows that name that user id (see `change_entity`).
    """

    limit: int = 20
    offset: int = 0
    equals: dict[str, str] = field(default_factory=dict)
    named: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One committed change of a business row: `old` is None when created, `new` is None when deleted."""

    old: JsonObject | None
    new: JsonObject | None


@dataclass(frozen=True, slots=True)
class Seen:
    """A user as a token describes them. `issued_at` is the token's `iat`, 0 when it has none."""

    id: str
    wire_id: WireId
    role: str
    name: str | None
    email: str | None
    issued_at: float


@dataclass(frozen=True, slots=True)
class User:
    """A directory entry: somebody ever seen, imported or named by an administrator.

    `role_set_at` is when an administrator set the role (0: never); a token issued before does not change it.
    """

    id: str
    wire_id: WireId
    role: str
    name: str | None
    email: str | None
    status: str
    first_seen: float
    last_seen: float | None
    role_set_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Replay:
    """The remembered response of an idempotent request; `status` is None while the first is still running."""

    fingerprint: str
    status: int | None
    body: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message between two users. `content` is opaque: clients may have encrypted it.

    `sender` and `receiver` are user ids. `notification` is the inbox row that was made because the receiver was away.
    """

    id: int
    sender: str
    receiver: str
    content: str
    client_id: str | None
    created_at: float
    delivered_at: float | None = None
    read_at: float | None = None
    notification: int | None = None


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message to be stored. `client_id` is the id that the sender's client gave it, if any."""

    sender: str
    receiver: str
    content: str
    client_id: str | None = None


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """The row, and whether it is the earlier one that this is a repetition of."""

    message: Message
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class Conversation:
    """What one user has said and heard with one other, `unread` of it not read by them."""

    other: str
    last: Message
    unread: int


@dataclass(frozen=True, slots=True)
class Device:
    """Where push messages of a principal may go."""

    token: str
    owner: Principal
    platform: str | None
    registered_at: float
