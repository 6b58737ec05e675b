"""The hotel's communications: rows of its own table, and the notifications that they become for guests.

A row is stored before its notification is sent, and both have one id, so that sending again is harmless: what a crash
or a failing database leaves unsent is sent later. A row's life: `draft` until its time, `pending` until it is sent,
then `sent`, and `read` once its one recipient has read it; `failed` when it names nobody.
"""

import heapq
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime

import structlog

from realtime.clock import Clock, optional_timestamp, timestamp
from realtime.errors import Code, RealtimeError, StoreUnavailable
from realtime.metrics import Metrics
from realtime.models import (
    Content,
    EntityQuery,
    InboxQuery,
    JsonObject,
    Notification,
    Principal,
    Target,
    WireId,
    guest_principal,
)
from realtime.services.guests import AUDIENCE, GuestService
from realtime.services.notifications import NotificationService
from realtime.store.base import Store

log = structlog.get_logger(__name__)

KIND = "communication"
NAMED = ("recipient_id",)
SINGLE_RECIPIENT = ("guest", "specific")
RECIPIENT_TYPES = (*SINGLE_RECIPIENT, "all", "walkin")
SHOWN_TYPES = frozenset({"notification", "push_notification"})
"""What guests' applications show. Mail and texts are only kept here: another program sends them."""

DRAFT, PENDING, SENT, READ, FAILED, CANCELLED = "draft", "pending", "sent", "read", "failed", "cancelled"
DETAILS = (
    "hotel_id",
    "type",
    "category",
    "sender_type",
    "sender_id",
    "sender_name",
    "recipient_type",
    "tags",
    "language",
)
_PRIVATE = frozenset({"late_join", "posted_by"})
"""Fields of the stored row that are for nobody else."""

PAGE = 500
GUEST_SCAN = 1000
"""Newest rows of a guest that filters look through."""


Shape = Callable[[Notification], JsonObject]
"""Makes the row that the hotel's applications know."""


class CommunicationService:
    def __init__(
        self,
        *,
        store: Store,
        notifications: NotificationService,
        guests: GuestService,
        shape: Shape,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._notifications = notifications
        self._guests = guests
        self._shape = shape
        self._clock = clock
        self._metrics = metrics
        self._unfinished = False
        self._due: list[tuple[float, int]] = []

    # --- sending ---

    async def create(
        self,
        content: Content,
        *,
        recipient: WireId | None,
        late_join: bool,
        run_at: float | None,
        sender: Principal | None,
    ) -> JsonObject:
        """Store a communication and send it, at once or at `run_at`. `content.details` has the fields of DETAILS.

        One for a single guest who is not named is stored as failed.
        """
        target = _target(content.details["recipient_type"], recipient, late_join=late_join)
        id, now = await self._store.take_id(), self._clock()
        unsent = Notification(id, target or Target(), content, sender, now, now)
        row = {
            **self._shape(unsent),
            "status": _first_status(content, target, run_at, now=now),
            "scheduled_at": optional_timestamp(run_at),
            "late_join": late_join,
            "posted_by": sender,
        }
        await self._store.change_entity(KIND, str(id), lambda _: row, name_fields=NAMED)
        self._metrics.communications.labels(row["status"]).inc()
        if target is None:
            log.warning("websocket notification not sent: it names no recipient", id=id)
        elif content.type in SHOWN_TYPES:
            row = await self._send_or_wait(row)
        else:
            self._await_time(row)
        return self._public(row)

    async def _send_or_wait(self, row: JsonObject) -> JsonObject:
        try:
            return await self._send(row)
        except StoreUnavailable:  # the row is stored, so the caller must not try again
            self._unfinished = True
            log.warning("websocket notification waits: the database is not available", id=row["id"])
            return row

    async def _send(self, row: JsonObject) -> JsonObject:
        """Send or schedule a stored row; harmless when that was done before. Returns the row as it is then."""
        id = int(row["id"])
        target = _target(row["recipient_type"], row["recipient_id"], late_join=row["late_join"])
        if target is None:
            return row
        run_at = _seconds(row["scheduled_at"])
        sent = await self._notifications.send([target], _content(row), sender=row["posted_by"], run_at=run_at, id=id)
        if sent.stored:
            return await self._settle(id, SENT, at=sent.stored[0].notification.created_at) or row
        scheduled = await self._settle(id, DRAFT, at=self._clock())
        if scheduled is None or scheduled["status"] == CANCELLED:
            await self._store.cancel_draft(id)
        self._await_time(scheduled)
        return scheduled or row

    def _await_time(self, row: JsonObject | None) -> None:
        if row is not None and row["status"] == DRAFT:
            heapq.heappush(self._due, (_seconds(row["scheduled_at"]) or 0.0, int(row["id"])))

    async def _settle(self, id: int, status: str, *, at: float) -> JsonObject | None:
        """Note what became of a row that is a draft or pending. Returns the row, if there is one."""
        stamp = timestamp(at)

        def settle(old: JsonObject | None) -> JsonObject | None:
            if old is None or old["status"] not in (DRAFT, PENDING):
                return old
            # One that was not scheduled is as old as what the guests see.
            created = old["created_at"] if old["scheduled_at"] else stamp
            return {**old, "status": status, "created_at": created, "updated_at": stamp}

        return (await self._store.change_entity(KIND, str(id), settle, name_fields=NAMED)).new

    # --- what is left to do ---

    async def start(self) -> None:
        """Finish what was begun before the server ended."""
        for row in await self._all(DRAFT):
            self._await_time(row)
        await self._finish()

    async def tick(self) -> None:
        """Finish what the database could not take, and note what was sent because its time has come."""
        if self._unfinished:
            await self._finish()
        while self._due and self._due[0][0] <= self._clock():
            run_at, id = heapq.heappop(self._due)
            try:
                row = await self._store.entity(KIND, str(id))
                if row is not None:
                    await self._settle(id, _last_status(row), at=self._clock())
            except BaseException:
                heapq.heappush(self._due, (run_at, id))
                raise

    async def _finish(self) -> None:
        self._unfinished = False  # what fails meanwhile says so again
        try:
            for row in await self._all(CANCELLED):
                await self._withdraw(row)
            for type in sorted(SHOWN_TYPES):
                for row in await self._all(PENDING, type=type):
                    await self._send(row)
        except BaseException:
            self._unfinished = True
            raise

    async def _all(self, status: str, **equals: str) -> list[JsonObject]:
        """Return every row of a status, oldest first."""
        found: list[JsonObject] = []
        more = True
        while more:
            query = EntityQuery(limit=PAGE, offset=len(found), equals={"status": status, **equals})
            rows, total = await self._store.entities(KIND, query)
            found += rows
            more = bool(rows) and len(found) < total
        return found[::-1]

    async def cancel(self, id: int) -> None:
        """Take a draft back. Raises NOT_FOUND, and INVALID_PAYLOAD (409) for what is none, or none any more."""

        def cancel(old: JsonObject | None) -> JsonObject:
            if old is None:
                raise _not_found()
            if _shown_status(old, now=self._clock()) not in (DRAFT, CANCELLED):
                raise _no_draft()
            return {**old, "status": CANCELLED}

        change = await self._store.change_entity(KIND, str(id), cancel, name_fields=NAMED)
        try:
            withdrawn = await self._withdraw(change.new or {})
        except StoreUnavailable:
            self._unfinished = True
            raise
        if not withdrawn:
            raise _no_draft()

    async def _withdraw(self, row: JsonObject) -> bool:
        """Remove a cancelled row and its notification; False when that was published a moment before."""
        id, run_at = int(row["id"]), _seconds(row["scheduled_at"]) or 0.0
        shown = row["type"] in SHOWN_TYPES and not await self._store.cancel_draft(id) and run_at <= self._clock()
        change = {**row, "status": SENT} if shown else None
        await self._store.change_entity(KIND, str(id), lambda _: change, name_fields=NAMED)
        return not shown

    # --- what staff see ---

    async def page(self, query: EntityQuery) -> tuple[list[JsonObject], int]:
        """Return a page of all rows, newest first, and how many match."""
        rows, total = await self._store.entities(KIND, query)
        return [self._public(row) for row in rows], total

    async def one(self, id: int) -> JsonObject:
        """Raises NOT_FOUND."""
        return self._public(await self._row(id))

    async def _row(self, id: int) -> JsonObject:
        row = await self._store.entity(KIND, str(id))
        if row is None:
            raise _not_found()
        return row

    async def mark_read_for(self, id: int, guest: WireId | None) -> JsonObject:
        """Mark a row read for a guest, without one for its recipient. Raises NOT_FOUND, INVALID_PAYLOAD."""
        row = await self._row(id)
        reader = row["recipient_id"] if guest is None else guest
        if reader is None:
            raise RealtimeError(Code.INVALID_PAYLOAD, "guestId is required: the row is for more than one guest")
        return await self.mark_read(id, guest_principal(reader))

    def _public(self, row: JsonObject) -> JsonObject:
        shown = {name: value for name, value in row.items() if name not in _PRIVATE}
        return {**shown, "status": _shown_status(row, now=self._clock())}

    # --- what a guest sees ---

    async def inbox(
        self, guest: Principal, query: InboxQuery, equals: Mapping[str, str]
    ) -> tuple[list[JsonObject], int]:
        """Return a page of what a guest was sent, newest first, and how many match.

        `equals` compares fields as text, in the newest GUEST_SCAN rows.
        """
        await self._guests.known(guest)
        if not equals:
            rows, total, _ = await self._notifications.inbox(guest, query)
            return [self._shape(row) for row in rows], total
        rows, _, _ = await self._notifications.inbox(guest, replace(query, limit=GUEST_SCAN, offset=0))
        shaped = map(self._shape, rows)
        found = [row for row in shaped if all(str(row[name]) == value for name, value in equals.items())]
        return found[query.offset : query.offset + query.limit], len(found)

    async def received(self, guest: Principal, id: int) -> JsonObject:
        """Return a row as a guest sees it. Raises NOT_FOUND, also for one of somebody else and for drafts."""
        return self._shape(await self._notifications.one(guest, id))

    async def mark_read(self, id: int, guest: Principal) -> JsonObject:
        """Mark a row read for one guest; a row for one guest is then read for staff, too. Raises NOT_FOUND."""
        notification = await self._notifications.set_read(guest, id, True)
        row = self._shape(notification)

        def mark(old: JsonObject | None) -> JsonObject | None:
            return old and {**old, "status": READ, "read_at": row["read_at"]}

        if notification.target.recipient is not None:
            await self._store.change_entity(KIND, str(id), mark, name_fields=NAMED)
        return row


def _target(recipient_type: str, recipient: WireId | None, *, late_join: bool) -> Target | None:
    """Return whom a communication is for; None when it should name a guest and does not."""
    if recipient_type not in SINGLE_RECIPIENT:
        return Target(audience=AUDIENCE, late_join=late_join)
    return None if recipient is None else Target(recipient=guest_principal(recipient))


def _first_status(content: Content, target: Target | None, run_at: float | None, *, now: float) -> str:
    """What is to be sent is pending until it is handed over, also when that is for later."""
    if target is None:
        return FAILED
    return DRAFT if content.type not in SHOWN_TYPES and run_at is not None and run_at > now else PENDING


def _last_status(row: JsonObject) -> str:
    """The status of a draft whose time has come."""
    return SENT if row["type"] in SHOWN_TYPES else PENDING


def _shown_status(row: JsonObject, *, now: float) -> str:
    """What waits for its time is a draft, and what had its time is none, whatever is stored."""
    status, run_at = str(row["status"]), _seconds(row["scheduled_at"])
    if run_at is None or status not in (DRAFT, PENDING):
        return status
    if run_at > now:
        return DRAFT
    return _last_status(row) if status == DRAFT else status


def _content(row: JsonObject) -> Content:
    return Content(
        type=row["type"],
        title=row["title"],
        message=row["message"],
        priority=row["priority"],
        metadata=row["metadata"],
        expires_at=_seconds(row["expires_at"]),
        details={name: row[name] for name in DETAILS},
    )


def _seconds(stamp: str | None) -> float | None:
    return None if stamp is None else datetime.fromisoformat(stamp).timestamp()


def _not_found() -> RealtimeError:
    return RealtimeError(Code.NOT_FOUND, "Communication not found")


def _no_draft() -> RealtimeError:
    return RealtimeError(Code.INVALID_PAYLOAD, "Only a draft can be cancelled, until its time", status=409)
