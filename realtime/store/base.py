"""What the services need from a database; `sqlite.py` implements it, a second store can run the same suite.

Rules for every implementation (tests/conformance/ proves them):

- A method that returns has committed. A method that raises has stored nothing.
- Ids of notifications are integers over direct rows, broadcasts and drafts together, and never reused.
- Broadcasts are one row each, ordered by a sequence taken from a persisted head at publication. A reader sees
  one when a membership of theirs was open at that sequence, or now and the row is `late_join`.
- Counts are computed, never stored. Rows past `expires_at` are as if they did not exist; so are broadcasts that
  were retracted. What is read is decided at the time `now` that is given, also when that is before an earlier one.
- Every change of what a reader sees, but for those that time alone makes, takes the next number of a persisted
  head, and becomes visible in the order of these numbers (`Place`). Numbers are never reused.
- A row is on one shelf of its reader: archived, else snoozed (`snoozed_until` > now), else the inbox. Lists and
  counts are of the inbox unless another shelf is asked for.
- Raises StoreUnavailable when the database cannot answer, StoreRefused when it must not be opened.
"""

from asyncio import Future
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from realtime.models import (
    Change,
    Changes,
    Content,
    Conversation,
    Counts,
    Device,
    Draft,
    EntityQuery,
    Held,
    InboxQuery,
    JsonObject,
    LogFacts,
    MembershipChange,
    Message,
    Moments,
    NewMessage,
    Notification,
    Place,
    Principal,
    ReaderFacts,
    Receipt,
    Replay,
    Seen,
    Stored,
    StoredMessage,
    Sweep,
    Target,
    Trace,
    User,
)

DEDUP_SECONDS = 24 * 3600
IDEMPOTENCY_SECONDS = 24 * 3600
CLAIM_SECONDS = 30.0
"""How long a request may run that has claimed an idempotency key; requests are answered within 10 s."""

MESSAGE_DEDUP_SECONDS = 300.0
"""How long a client's own id of a message means that message."""

MESSAGE_REPEAT_SECONDS = 2.0
"""How long the same words to the same person, without an id, are the same message: a double click, not an answer."""

MAX_DEVICES = 20
"""Device tokens of one principal; the oldest is forgotten first."""

RECEIPT_DEVICES = 10
"""Devices of one reader whose receipts of one stage of one notification are kept; a device is what a client says."""


class AskingStore(Protocol):
    """A store that asks before it depends on who holds an audience key (`InboxStore.ask_first`)."""

    def open_memberships_of(
        self, audience: str, readers: Sequence[Principal], *, now: float
    ) -> Future[frozenset[Principal]]:
        """As `change_memberships`, opening one key for many readers; somebody waits for it."""
        ...

    def waits_late(self, audience: str) -> bool:
        """Whether there may be `late_join` rows for a key, which cannot be held back: whoever opens it sees them."""
        ...


class InboxStore(Protocol):
    """Notifications as their readers see them."""

    async def add(
        self,
        targets: Sequence[Target],
        content: Content,
        *,
        sender: Principal | None,
        now: float,
        dedup_key: str | None = None,
        request: str | None = None,
        id: int | None = None,
    ) -> list[Stored]:
        """Store one row per target in one transaction, in the order of `targets`.

        `request` names an attempt that a client repeats until it is answered (at most 200 characters): rows that an
        attempt of the same name stored for a target in the last IDEMPOTENCY_SECONDS are returned, marked duplicate
        and repeated.

        `id`, for a single target, is one that `take_id` gave: asked again with it, this returns the row that is
        there, marked duplicate, and a draft with that id is not touched.

        A `dedup_key` seen from the same sender for the same target within DEDUP_SECONDS returns the earlier row,
        marked duplicate. Other senders' keys are others.
        A direct row whose content has a `group_key` replaces the recipient's unread row of that key (of any shelf):
        the row keeps its id, takes the new content, `group_count` + 1 and a new `created_at`, so it moves to the
        top, unseen and in the inbox. The content of every row is stored as `Content.counted` gives it.

        A recipient who has more than `Retention.max_rows` direct rows loses the oldest.
        """
        ...

    async def take_id(self) -> int:
        """Return the id of a notification that is still to be stored; nobody else gets it."""
        ...

    async def undelivered(self, reader: Principal, *, limit: int, now: float) -> list[Notification]:
        """Return what the reader can see, has not read, and `set_delivered` was not told of; oldest
        (created_at, id) first. A row that its group has replaced counts as new."""
        ...

    async def set_delivered(self, reader: Principal, ids: Sequence[int], *, now: float) -> None:
        """Note that a client of the reader has taken these rows. Idempotent; unknown ids are ignored."""
        ...

    async def missed(self, reader: Principal, since: Place, *, limit: int, now: float) -> list[Notification]:
        """Return the newest rows of the inbox that came after `since.heard` and are unread, oldest (created_at, id)
        first. A row that its group has replaced came when it was replaced. Another epoch's place: none."""
        ...

    async def inbox(self, reader: Principal, query: InboxQuery, *, now: float) -> tuple[list[Notification], int]:
        """Return a page, newest (created_at, id) first, and the number of rows that match without paging."""
        ...

    async def notification(self, reader: Principal, id: int, *, now: float) -> Notification | None:
        """Return the row if the reader can see it."""
        ...

    async def visible(self, reader: Principal, ids: Sequence[int], *, now: float) -> list[int]:
        """Return those of the ids that the reader can see, on any shelf, in the given order."""
        ...

    async def unread_count(self, reader: Principal, *, now: float) -> int: ...

    async def counts(self, readers: Sequence[Principal], *, now: float) -> dict[Principal, Counts]:
        """Return the counts of each reader."""
        ...

    async def place(self, reader: Principal, *, now: float) -> Place:
        """Return where the reader's inbox is now."""
        ...

    async def changed(self, reader: Principal, since: Place, *, now: float) -> bool:
        """Whether `changes` would have anything to tell. It may say yes when there is nothing, never no when there
        is something. Cheap."""
        ...

    async def changes(
        self, reader: Principal, since: Place | None, *, above: int = 0, limit: int, now: float
    ) -> Changes:
        """Return what has become of the reader's inbox since a place, in the order of ids, only ids > `above`.

        A row that came, or of which anything changed that a list shows, is there as it is now; one that is not in
        the inbox, because it has left it (read `Shelf`) or its reader has lost it, is there as None, also when it
        came after the place: a later page of an earlier walk may have shown it. What time alone has changed between
        `since.at` and `now`, in either direction, is there, too.

        With None, a place of another epoch, one ahead of the reader's, or one older than `Retention.tombstones`,
        it is the whole inbox, with `reset`.
        """
        ...

    async def moments(self, after: float, until: float) -> Moments:
        """Return whose rows expire, or come back from a snooze, in (after, until]."""
        ...

    async def set_read(self, reader: Principal, id: int, read: bool, *, now: float) -> Notification | None:
        """Mark one row, on any shelf, read or unread for this reader; None when they cannot see it. Idempotent.
        A row that is read has been seen; one that is unread again stays seen."""
        ...

    async def set_seen(self, reader: Principal, id: int, *, now: float) -> Notification | None:
        """Note that the reader has seen a row; None when they cannot see it. Seen again, it keeps its `seen_at`."""
        ...

    async def set_archived(self, reader: Principal, id: int, archived: bool, *, now: float) -> Notification | None:
        """Put a row on the shelf `archived`, or back; None when they cannot see it. Idempotent. An archived row
        is not snoozed any more."""
        ...

    async def snooze(self, reader: Principal, id: int, until: float | None, *, now: float) -> Notification | None:
        """Put a row aside until a time, unread and not archived, or with None back; None when they cannot see it."""
        ...

    async def mark_all_read(self, reader: Principal, *, up_to: int | None, now: float) -> int:
        """Mark every unread row of the inbox read; with `up_to`, only that row and those after it in the list.

        Returns how many changed. An `up_to` that the reader cannot see changes nothing; of one on another shelf its
        place in the list counts.
        """
        ...

    async def mark_all_seen(self, reader: Principal, *, up_to: int | None, now: float) -> int:
        """As `mark_all_read`, of what is unseen."""
        ...

    async def broadcast(self, id: int) -> Notification | None:
        """Return a broadcast as its sender sees it, if it is stored, has not been retracted and has not expired
        long ago (a sweep has not removed it)."""
        ...

    async def retract(self, id: int, *, now: float) -> Notification | None:
        """Take a broadcast away from everybody. Returns it; None when there is none, or was retracted before."""
        ...

    async def audience_size(self, target: Target, *, limit: int) -> tuple[int, list[Principal]]:
        """Return how many readers a broadcast to `target` would have now, and up to `limit` of them in order."""
        ...

    async def delete_notification(self, reader: Principal, id: int, *, now: float) -> bool:
        """Delete a direct row, or hide a broadcast from this reader. False when they cannot see it."""
        ...

    async def readers(self, audience: str) -> list[Principal]:
        """Return who holds an audience key now (open memberships)."""
        ...

    async def open_membership(self, reader: Principal, audience: str, *, now: float) -> bool:
        """Let the reader see broadcasts to the key that are published from now on. Idempotent while open.

        Returns whether `late_join` rows of before may have become visible.
        """
        ...

    async def close_membership(self, reader: Principal, audience: str, *, now: float) -> None:
        """End what the reader receives; what they received before stays visible."""
        ...

    def change_memberships(self, changes: Sequence[MembershipChange], *, now: float) -> Future[frozenset[Principal]]:
        """Open and close in the given order, all or nothing, as `open_membership` and `close_membership` do.

        Takes effect in the order of calls, awaited or not: what this store is asked to write later comes after it,
        and so does what it is asked to read of these readers' notifications and of memberships. Calls of the same
        few milliseconds may be committed together. Never raises: failures are the future's.
        Returns the readers for whom `late_join` rows of before have become visible, or are so no more.
        """
        ...

    def ask_first(self, ask: Callable[[str, bool], Future[Any] | None]) -> AskingStore | None:
        """Offer to store memberships no sooner than something depends on them. Returns None unless the store agrees.

        If so `add`, `publish_draft`, `readers` and `audience_size` call `ask` with an audience key first. It has what
        is not stored yet stored, and returns what has to succeed before they go on; when that fails they fail, too.
        Then they ask again (True), because people may have come meanwhile, until nothing is returned.
        A store to which other processes publish does not agree.
        """
        ...

    async def drop_membership(self, reader: Principal, audience: str) -> None:
        """Take the key away: broadcasts seen only through it are hidden."""
        ...

    async def audiences_of(self, reader: Principal, prefix: str) -> list[str]:
        """Return the keys that start with `prefix` and that the reader holds or has held."""
        ...

    async def open_memberships(self, prefix: str) -> list[tuple[Principal, str]]:
        """Return (reader, audience) of every open membership whose key starts with `prefix`."""
        ...


class ScheduleStore(Protocol):
    """Notifications to be sent later."""

    async def add_drafts(
        self,
        targets: Sequence[Target],
        content: Content,
        *,
        sender: Principal | None,
        run_at: float,
        now: float,
        dedup_key: str | None = None,
        request: str | None = None,
        id: int | None = None,
    ) -> list[Held | Stored]:
        """Store one draft per target in one transaction.

        The dedup key is taken now, as `add` does: of a key that was used the earlier draft, or the notification
        that it has become, is returned, marked duplicate. So it is with `request`.

        `id`, for a single target, is one that `take_id` gave: asked again with it, this returns the draft that waits.
        """
        ...

    async def draft(self, id: int) -> Draft | None: ...

    async def next_run(self) -> float | None:
        """Return the earliest `run_at` of all drafts."""
        ...

    async def due_drafts(self, *, now: float, limit: int) -> list[Draft]: ...

    async def publish_draft(self, id: int, *, now: float) -> Stored | None:
        """Turn a draft into a notification with the same id, atomically; None when it is gone.

        The compare-and-set that claims a draft: of two callers one gets the row, the other None. When a row with
        its id exists, the draft goes and that row is returned, marked duplicate.
        """
        ...

    async def cancel_draft(self, id: int) -> bool: ...


class EntityStore(Protocol):
    """Business rows (work orders, tickets, bookings, reviews) as JSON objects with an `id` field."""

    async def entity(self, kind: str, id: str) -> JsonObject | None: ...

    async def entities(self, kind: str, query: EntityQuery) -> tuple[list[JsonObject], int]: ...

    async def change_entity(
        self,
        kind: str,
        id: str,
        change: Callable[[JsonObject | None], JsonObject | None],
        *,
        name_fields: Sequence[str] = (),
    ) -> Change:
        """Read, change and write one row atomically. `change` gets a private copy of the row or None, and
        returns the new row, or None to delete it. It is pure, may run more than once, and what it raises
        reaches the caller with nothing stored. The values of `name_fields`, as text, become the people that
        `EntityQuery.named` finds the row by; values that are None or missing name nobody."""
        ...

    async def create_entity(
        self, kind: str, build: Callable[[int], JsonObject], *, name_fields: Sequence[str] = ()
    ) -> JsonObject:
        """Allocate the next free integer id of the kind and store `build(id)`. Ids are never reused, and an
        id that an upsert has taken is skipped."""
        ...


class DirectoryStore(Protocol):
    """Users ever seen."""

    async def touch_user(self, seen: Seen, *, now: float) -> User:
        """Record a token: create the user or refresh name, email and role.

        The role is kept when `role_set_at` is later than the token's `issued_at`. A new user gets the
        membership `all`; a role gives the membership `role:{role}`, and a change of role drops the former.
        """
        ...

    def note_user(self, seen: Seen, *, now: float) -> Future[User]:
        """As `touch_user`, for whoever does not wait: what is asked from now on comes after it. Never raises; the
        future does."""
        ...

    async def user(self, id: str) -> User | None: ...

    async def import_users(
        self, seen: Sequence[Seen], *, audiences: Mapping[str, Sequence[str]], now: float
    ) -> tuple[int, int]:
        """Record users as `touch_user` does, in one transaction; returns (new ones, changed ones).

        `audiences` are further memberships of a role, such as ``{"admin": ["room:admin_room"]}``: who has the role
        holds them, who had and has it not loses them.
        """
        ...

    async def set_user(self, id: str, *, role: str | None, name: str | None, now: float) -> User:
        """Set what an administrator gave, creating the user if need be; memberships follow the role."""
        ...

    async def set_last_seen(self, seen: Mapping[str, tuple[str, float]]) -> None:
        """Store `{user id: (status, last seen)}` in one transaction; unknown users are ignored."""
        ...

    async def roles_set(self) -> dict[str, tuple[str, float]]:
        """Return `{user id: (role, role_set_at)}` of everybody whose role an administrator set."""
        ...


class PeopleStore(Protocol):
    """All that is known of one user; docs/inbox.md."""

    async def export_user(self, id: str) -> dict[str, list[JsonObject]]:
        """Return everything about a user as JSON objects, by kind, from one moment where the database can."""
        ...

    async def delete_user(self, id: str) -> dict[str, int]:
        """Remove everything about a user; returns how many of each kind. Idempotent.

        Chat messages go for both sides, drafts and broadcasts that they sent lose their sender, business rows lose
        the fields that name them. The user's ids of notifications are not used again.
        """
        ...


class ReceiptStore(Protocol):
    """What happened to notifications, for whoever asks why somebody did or did not get one."""

    async def add_receipts(self, receipts: Sequence[Receipt]) -> None:
        """Store receipts. Of one (notification, reader, stage, device) the first counts, of one (notification,
        reader, stage) the first RECEIPT_DEVICES devices; what comes later is left out."""
        ...

    async def trace(self, id: int, *, limit: int, now: float) -> Trace | None:
        """Return what is known of a notification, expired and retracted ones included until they are swept; None
        when there is none. `limit` is the number of receipts."""
        ...


class AuditStore(Protocol):
    """The database proves what it says."""

    async def sweeps(self, limit: int) -> list[Sweep]:
        """Return what sweeps have removed, the newest first; those that removed nothing are not kept."""
        ...

    async def readers_after(self, reader: Principal, limit: int) -> list[Principal]:
        """Return, in order, principals greater than `reader` who have rows, marks or memberships."""
        ...

    async def reader_facts(self, reader: Principal, *, now: float) -> ReaderFacts:
        """Return what is stored for a reader, nothing interpreted, and the count of the same moment."""
        ...

    async def log_facts(self) -> list[LogFacts]:
        """Return every broadcast that has not been swept, expired ones too, in the order of `seq`."""
        ...


class IdempotencyStore(Protocol):
    """Responses remembered for IDEMPOTENCY_SECONDS under (principal, key)."""

    async def begin_request(self, principal: Principal, key: str, fingerprint: str, *, now: float) -> Replay | None:
        """Claim the key. None: it is yours, answer and call `finish_request` or `forget_request`.

        Of several processes on one database one gets it. A claim that was not finished in CLAIM_SECONDS is free for
        the same fingerprint: its process has ended. So are, when a store is opened that nobody else may write, all
        that were not. Another fingerprint does not get it, as the first one may have stored something.
        """
        ...

    async def finish_request(self, principal: Principal, key: str, *, status: int, body: bytes) -> None: ...

    async def forget_request(self, principal: Principal, key: str) -> None: ...


class MessageStore(Protocol):
    """Chat between two users. Ids are integers that rise in the order of storing and are never reused."""

    async def add_message(self, new: NewMessage, *, now: float) -> StoredMessage:
        """Store a message, or return the one that it repeats, marked duplicate.

        A repetition has the sender, receiver and `client_id` of one at most MESSAGE_DEDUP_SECONDS old, whatever its
        content; without a `client_id`, the sender, receiver and content of one without a `client_id` that is at
        most MESSAGE_REPEAT_SECONDS old. Atomic: of two that repeat each other one is stored.
        """
        ...

    async def message(self, id: int) -> Message | None: ...

    async def read_message(self, id: int, reader: str, *, now: float) -> tuple[Message, bool] | None:
        """Mark a message read by its receiver, and delivered if it was not. Returns (row, whether that changed it);
        None when `reader` is not its receiver. Read again, it keeps its `read_at`."""
        ...

    async def read_conversation(
        self, reader: str, other: str, *, up_to: int | None, now: float, limit: int = 500
    ) -> list[Message]:
        """Mark read, and delivered, what `other` has sent to `reader`; with `up_to` that id and those before it.

        At most `limit` of them, the oldest first: call again while it returns as many.

        Returns the messages that this changed, oldest first.
        """
        ...

    async def set_messages_delivered(self, ids: Sequence[int], *, now: float) -> list[Message]:
        """Note that a client of their receivers has taken messages; returns those that this changed, in any order."""
        ...

    async def set_message_notification(self, id: int, notification: int) -> None: ...

    async def undelivered_messages(self, receiver: str, *, limit: int) -> list[Message]:
        """Return what is neither delivered nor read, oldest first."""
        ...

    async def conversations(self, user: str, *, limit: int, offset: int) -> tuple[list[Conversation], int]:
        """Return a page of the user's conversations, the one with the newest message first, and how many there
        are."""
        ...

    async def history(self, user: str, other: str, *, before: int | None, limit: int) -> list[Message]:
        """Return messages of both directions, newest first, with `before` only those with a smaller id."""
        ...

    async def search_messages(
        self, user: str, text: str, *, other: str | None, before: int | None, limit: int
    ) -> list[Message]:
        """Return the user's messages that contain `text` (letters of ASCII in either case), newest first; with
        `other` those of one conversation, with `before` those with a smaller id. No character has a special
        meaning in `text`."""
        ...

    async def unread_messages(self, user: str) -> int:
        """Return how many messages the user has not read."""
        ...

    async def message_count(self) -> int:
        """Return how many messages have ever been stored."""
        ...


class DeviceStore(Protocol):
    """Device tokens for push."""

    async def register_device(self, owner: Principal, token: str, *, platform: str | None, now: float) -> None:
        """Store a token, or move it here from whoever had it. Of more than MAX_DEVICES the oldest go."""
        ...

    async def unregister_devices(self, owner: Principal, token: str | None) -> int:
        """Remove one token of the owner, or all of them (None); returns how many."""
        ...

    async def devices(self, owner: Principal) -> list[Device]:
        """Return an owner's devices, the newest first."""
        ...


class Store(
    InboxStore,
    ScheduleStore,
    EntityStore,
    DirectoryStore,
    PeopleStore,
    ReceiptStore,
    AuditStore,
    IdempotencyStore,
    MessageStore,
    DeviceStore,
    Protocol,
):
    async def open(self) -> None: ...

    async def close(self) -> None:
        """Commit what is queued and release the database. Idempotent."""
        ...

    async def check(self) -> None:
        """Prove that the database can commit now. Raises StoreUnavailable."""
        ...

    async def sweep(self, *, now: float) -> dict[str, int]:
        """Remove what has expired and what Retention says; returns how many of each kind, without zeros.

        Kinds: ``expired``, ``archived``, ``aged``, ``surplus`` (over max_rows), ``broadcasts``, ``memberships``,
        ``receipts``, ``tombstones``, ``dedup_keys``, ``responses``. What it returns is kept for `sweeps`.
        """
        ...

    async def backup(self, path: Path) -> None:
        """Write a copy of one moment to a new file, while others write. Raises StoreRefused when `path` exists."""
        ...

    async def restore(self, path: Path, *, replace: bool) -> None:
        """Take the content of a backup, under a new epoch; call it on a store that is not open.

        Raises StoreRefused: somebody serves the database, it is not empty and `replace` is not given, or the file
        is no backup of this kind of store.
        """
        ...
