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


COUNT = "{count}"
"""In the texts of a stacked notification: how many it stands for."""


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

    category: str | None = None
    """What the row counts under in `Counts.categories`; None: its type."""

    stacks: bool = False
    """Of a group: `{count}` in title and message is the number of notifications that the row stands for."""

    def counted(self, count: int) -> "Content":
        """Return the content as a row shows it that stands for `count` notifications."""
        if not self.stacks:
            return self
        return replace(
            self,
            title=self.title.replace(COUNT, str(count)),
            message=self.message.replace(COUNT, str(count)),
        )


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
    """One stored notification. For an audience, what is from `read_at` on is as one reader sees it.

    `rev` says where the row's coming is in the order of what its readers receive: a number of the recipient's own
    rows, or of the log of broadcasts (`Place`).
    """

    id: int
    target: Target
    content: Content
    sender: Principal | None
    created_at: float
    updated_at: float
    read_at: float | None = None
    group_count: int = 1
    seen_at: float | None = None
    archived_at: float | None = None
    snoozed_until: float | None = None
    rev: int = field(default=0, compare=False)

    @property
    def category(self) -> str:
        return self.content.category or self.content.type

    @property
    def read(self) -> bool:
        return self.read_at is not None

    def marked(self, read_at: float | None) -> "Notification":
        """Return the row as read at a time (then it has been seen, too), or as unread."""
        seen_at = read_at if self.seen_at is None else self.seen_at
        return replace(self, read_at=read_at, seen_at=seen_at)


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
class Held:
    """What `add_drafts` did: the draft that waits, and whether it is the earlier one of the same dedup key.

    `repeated`: an earlier attempt of this very request stored it (then it is a duplicate, too).
    """

    draft: Draft
    duplicate: bool = False
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Stored:
    """What `add` did: the row, and whether it is the earlier row of the same dedup key.

    `repeated`: an earlier attempt of this very request stored it (then it is a duplicate, too).
    """

    notification: Notification
    duplicate: bool = False
    repeated: bool = False


Shelf = Literal["inbox", "archived", "snoozed"]
"""Where a reader finds a row: archived ones first, then those whose snooze has not ended, the others in the inbox."""


@dataclass(frozen=True, slots=True)
class InboxQuery:
    """A page of one person's notifications, newest first."""

    limit: int = 20
    offset: int = 0
    type: str | None = None
    read: bool | None = None
    shelf: Shelf = "inbox"


@dataclass(frozen=True, slots=True)
class Counts:
    """What a reader's badges show at one moment, of rows on the shelf `inbox`.

    `categories` has the unread rows by `Notification.category`. `revision` never falls: of two counts of one reader
    the one with the greater revision is the later one; time alone (expiry, a snooze's end) does not raise it.
    """

    unread: int
    unseen: int
    categories: dict[str, int]
    revision: int


@dataclass(frozen=True, slots=True)
class Place:
    """How much of one reader's inbox a client knows: every change up to these revisions, as of a time.

    `epoch` names the database; another one's revisions mean nothing here. `rev` numbers changes of the reader's
    direct rows, `marks` what they did with broadcasts and their memberships, `log_rev` changes of broadcasts.
    `shown` are (rev, log_rev) of the newest rows that the client was shown live since; None: no row.
    """

    epoch: int
    rev: int
    log_rev: int
    marks: int
    at: float
    shown: tuple[int, int] | None = None

    @property
    def heard(self) -> tuple[int, int]:
        """Return (rev, log_rev): rows that came into being after these the client has not heard of."""
        return self.shown or (self.rev, self.log_rev)

    def after(self, row: Notification) -> "Place":
        """Return the place of a client that has been shown one more row."""
        rev, log_rev = self.heard
        if row.target.recipient is not None:
            return replace(self, shown=(max(rev, row.rev), log_rev))
        return replace(self, shown=(rev, max(log_rev, row.rev)))


@dataclass(frozen=True, slots=True)
class InboxChange:
    """What became of one notification for one reader: None when it is not on the shelf `inbox` any more."""

    id: int
    notification: Notification | None


@dataclass(frozen=True, slots=True)
class Changes:
    """A page of what has changed for a reader, in the order of ids.

    `place` is the reader's now. `reset`: the asked place is of no use, this is the whole inbox. `more`: there are
    changes with greater ids.
    """

    changes: tuple[InboxChange, ...]
    place: Place
    reset: bool
    more: bool


@dataclass(frozen=True, slots=True)
class Moments:
    """Whose inbox changes by time alone: readers of their own rows or snoozes, and audiences of broadcasts."""

    readers: frozenset[Principal] = frozenset()
    audiences: frozenset[str] = frozenset()


Stage = Literal["sent", "acknowledged", "seen", "read"]
"""What happens to a stored notification at one reader's."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """One stage of one notification. `device` says which of the reader's clients, as far as it is known."""

    notification: int
    stage: Stage
    reader: Principal
    at: float
    device: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """What is known of one notification: the row as its sender sees it, how many people it is for now, how many of
    them it was sent to and how many have read it, and the oldest receipts."""

    notification: Notification
    retracted_at: float | None
    recipients: int
    sent: int
    read: int
    receipts: tuple[Receipt, ...]


@dataclass(frozen=True, slots=True)
class Retention:
    """How long what is kept. Seconds; 0 = for ever."""

    max_rows: int = 10_000
    """Direct rows of one recipient; the oldest go first."""

    archived: float = 90 * 86400.0
    """Archived direct rows, from when they were archived."""

    rows: float = 0.0
    """Direct rows, from their `created_at`."""

    broadcasts: float = 365 * 86400.0
    """Broadcasts without `expires_at`, from their `created_at`."""

    receipts: float = 30 * 86400.0
    tombstones: float = 30 * 86400.0
    """What is known of rows that are gone; a place older than that is of no use."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """What one sweep removed, by kind."""

    at: float
    removed: dict[str, int]


@dataclass(frozen=True, slots=True)
class MarkFacts:
    """What one reader did with one broadcast; it counts instead of the cursors."""

    read_at: float | None
    seen_at: float | None
    hidden: bool = False
    archived_at: float | None = None
    snoozed_until: float | None = None


@dataclass(frozen=True, slots=True)
class ReaderFacts:
    """All that decides what one reader sees, as it is stored. `unread` is the count that the store gives for the
    same moment; `intervals` are (audience, from_seq, to_seq or None)."""

    reader: Principal
    unread: int
    rows: tuple[Notification, ...]
    intervals: tuple[tuple[str, int, int | None], ...]
    read_upto: int
    marks: dict[int, MarkFacts]


@dataclass(frozen=True, slots=True)
class LogFacts:
    """One broadcast as it is stored."""

    seq: int
    notification: Notification
    retracted: bool


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
    locale: str | None = None
    tz: str | None = None


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
    locale: str | None = None
    tz: str | None = None


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
