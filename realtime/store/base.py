"""What the services need from a database; `sqlite.py` implements it, a second store can run the same suite.

Rules for every implementation (tests/conformance/ proves them):

- A method that returns has committed. A method that raises has stored nothing.
- Ids of notifications are integers over direct rows, broadcasts and drafts together, and never reused.
- Broadcasts are one row each, ordered by a sequence taken from a persisted head at publication. A reader sees
  one when a membership of theirs was open at that sequence, or now and the row is `late_join`.
- Counts are computed, never stored. Rows past `expires_at` are as if they did not exist.
- Raises StoreUnavailable when the database cannot answer, StoreRefused when it must not be opened.
"""

from asyncio import Future
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from realtime.models import (
    Change,
    Content,
    Draft,
    EntityQuery,
    InboxQuery,
    JsonObject,
    MembershipChange,
    Notification,
    Principal,
    Replay,
    Seen,
    Stored,
    Target,
    User,
)

DEDUP_SECONDS = 24 * 3600
IDEMPOTENCY_SECONDS = 24 * 3600


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
    ) -> list[Stored]:
        """Store one row per target in one transaction, in the order of `targets`.

        A `dedup_key` seen for the same target within DEDUP_SECONDS returns the earlier row, marked duplicate.
        A direct row whose content has a `group_key` replaces the recipient's unread row of that key: the row
        keeps its id, takes the new content, `group_count` + 1 and a new `created_at`, so it moves to the top.
        """
        ...

    async def inbox(self, reader: Principal, query: InboxQuery, *, now: float) -> tuple[list[Notification], int]:
        """Return a page, newest (created_at, id) first, and the number of rows that match without paging."""
        ...

    async def notification(self, reader: Principal, id: int, *, now: float) -> Notification | None:
        """Return the row if the reader can see it."""
        ...

    async def unread_count(self, reader: Principal, *, now: float) -> int: ...

    async def set_read(self, reader: Principal, id: int, read: bool, *, now: float) -> Notification | None:
        """Mark one row read or unread for this reader; None when they cannot see it. Idempotent."""
        ...

    async def mark_all_read(self, reader: Principal, *, up_to: int | None, now: float) -> int:
        """Mark every visible unread row read; with `up_to`, only that row and those after it in the list.

        Returns how many changed. An `up_to` that the reader cannot see changes nothing.
        """
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
    ) -> list[Draft]:
        """Store one draft per target in one transaction."""
        ...

    async def draft(self, id: int) -> Draft | None: ...

    async def next_run(self) -> float | None:
        """Return the earliest `run_at` of all drafts."""
        ...

    async def due_drafts(self, *, now: float, limit: int) -> list[Draft]: ...

    async def publish_draft(self, id: int, *, now: float) -> Stored | None:
        """Turn a draft into a notification with the same id, atomically; None when it is gone.

        The compare-and-set that claims a draft: of two callers one gets the row, the other None.
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

    async def user(self, id: str) -> User | None: ...

    async def set_user(self, id: str, *, role: str | None, name: str | None, now: float) -> User:
        """Set what an administrator gave, creating the user if need be; memberships follow the role."""
        ...

    async def set_last_seen(self, seen: Mapping[str, tuple[str, float]]) -> None:
        """Store `{user id: (status, last seen)}` in one transaction; unknown users are ignored."""
        ...

    async def roles_set(self) -> dict[str, tuple[str, float]]:
        """Return `{user id: (role, role_set_at)}` of everybody whose role an administrator set."""
        ...


class IdempotencyStore(Protocol):
    """Responses remembered for IDEMPOTENCY_SECONDS under (principal, key)."""

    async def begin_request(self, principal: Principal, key: str, fingerprint: str, *, now: float) -> Replay | None:
        """Claim the key. None: it is yours, answer and call `finish_request` or `forget_request`."""
        ...

    async def finish_request(self, principal: Principal, key: str, *, status: int, body: bytes) -> None: ...

    async def forget_request(self, principal: Principal, key: str) -> None: ...


class Store(InboxStore, ScheduleStore, EntityStore, DirectoryStore, IdempotencyStore, Protocol):
    async def open(self) -> None: ...

    async def close(self) -> None:
        """Commit what is queued and release the database. Idempotent."""
        ...

    async def check(self) -> None:
        """Prove that the database can commit now. Raises StoreUnavailable."""
        ...

    async def sweep(self, *, now: float) -> int:
        """Remove expired notifications, dedup keys and remembered responses; returns how many rows."""
        ...
