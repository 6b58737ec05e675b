"""The inbox over REST, under /api/notifications and /notifications, in every spelling the clients use."""

from collections.abc import Sequence
from typing import Any

from aiohttp import web
from marshmallow import EXCLUDE, Schema, fields, post_load, validate

from handlers.http import shapes
from handlers.http.base import (
    Access,
    PageQuery,
    Query,
    Route,
    body,
    identity,
    member,
    pagination,
    query,
    reply,
    window,
)
from handlers.http.notifications import ID, PREFIXES, Moment, row_id
from handlers.http.polling import Polling, tagged
from realtime.auth import Identity
from realtime.clock import Clock
from realtime.errors import Code, RealtimeError
from realtime.models import Draft, InboxChange, InboxQuery, JsonObject, Notification
from realtime.ratelimit import RateLimiter, exceeded
from realtime.services.inbox import InboxService
from realtime.services.receipts import MAX_ACKNOWLEDGED, MAX_DEVICE, ReceiptService
from realtime.services.sync import DEFAULT_LIMIT, MAX_LIMIT, SyncService
from rooms.policy import PUBLISHER_ROLES

ROW = validate.Range(1, 2**53)


class ListQuery(PageQuery):
    type = fields.String(load_default=None, validate=validate.Length(1, 40))
    isRead = fields.Boolean(load_default=None)
    is_read = fields.Boolean(load_default=None)
    unreadOnly = fields.Boolean(load_default=False)
    shelf = fields.String(load_default=None, validate=validate.OneOf(("inbox", "archived", "snoozed")))
    archived = fields.Boolean(load_default=False)
    snoozed = fields.Boolean(load_default=False)

    @post_load
    def _choose(self, args: JsonObject, **_: Any) -> JsonObject:
        """`shelf` wins over the flags, `unreadOnly` over `isRead`."""
        flagged = "archived" if args["archived"] else "snoozed" if args["snoozed"] else "inbox"
        args["shelf"] = args["shelf"] or flagged
        read = args["isRead"] if args["isRead"] is not None else args["is_read"]
        args["read"] = False if args["unreadOnly"] else read
        return args


class SyncQuery(Query):
    since = fields.String(load_default=None)
    limit = fields.Integer(load_default=DEFAULT_LIMIT)


class UpTo(Schema):
    class Meta:
        unknown = EXCLUDE

    upTo = fields.Integer(load_default=None, allow_none=True, validate=ROW)


class Snooze(Schema):
    class Meta:
        unknown = EXCLUDE

    until = Moment(required=True)


class Receipt(Schema):
    class Meta:
        unknown = EXCLUDE

    device = fields.String(load_default=None, allow_none=True, validate=validate.Length(1, MAX_DEVICE))


class Receipts(Receipt):
    ids = fields.List(fields.Integer(validate=ROW), required=True, validate=validate.Length(1, MAX_ACKNOWLEDGED))


class InboxRoutes:
    """Everybody's own notifications: those of somebody else do not exist."""

    def __init__(
        self, *, inbox: InboxService, sync: SyncService, receipts: ReceiptService, limiter: RateLimiter, clock: Clock
    ) -> None:
        """`limiter` is that of acknowledgements over sockets: they count together."""
        self._inbox = inbox
        self._sync = sync
        self._receipts = receipts
        self._limiter = limiter
        self._clock = clock
        self._polling = Polling(sync)

    def routes(self) -> Sequence[Route]:
        table = [
            ("GET", "", self.page),
            ("GET", "/sync", self.sync),
            *(("GET", path, self.count) for path in ("/unread-count", "/count", "/count/unread")),
            *((verb, "/mark-all-read", self.mark_all_read) for verb in ("POST", "PATCH")),
            ("PATCH", "/read/all", self.mark_all_read),
            ("PUT", "/read-all", self.mark_all_read),
            *((verb, "/mark-all-seen", self.mark_all_seen) for verb in ("POST", "PATCH")),
            ("POST", "/ack", self.acknowledge_some),
            ("GET", ID, self.one),
            *((verb, f"{ID}/read", self.mark_read) for verb in ("PATCH", "PUT")),
            ("PATCH", f"{ID}/mark-read", self.mark_read),
            ("PATCH", f"{ID}/unread", self.mark_unread),
            *((verb, f"{ID}/seen", self.mark_seen) for verb in ("PATCH", "POST")),
            *((verb, f"{ID}/archive", self.archive) for verb in ("PATCH", "POST")),
            *((verb, f"{ID}/unarchive", self.unarchive) for verb in ("PATCH", "POST")),
            *((verb, f"{ID}/snooze", self.snooze) for verb in ("PATCH", "POST")),
            *((verb, f"{ID}/unsnooze", self.unsnooze) for verb in ("PATCH", "POST", "DELETE")),
            ("DELETE", f"{ID}/snooze", self.unsnooze),
            ("POST", f"{ID}/ack", self.acknowledge),
            ("DELETE", ID, self.delete),
        ]
        return [Route(verb, prefix + path, run, Access.ANY) for prefix in PREFIXES for verb, path, run in table]

    # --- looking ---

    async def page(self, request: web.Request) -> web.Response:
        args = await query(request, ListQuery)
        reader = identity(request)
        return await self._polling.answer(request, reader.principal, lambda: self._page(reader, args))

    async def _page(self, reader: Identity, args: JsonObject) -> JsonObject:
        limit, offset = window(args)
        wanted = InboxQuery(limit=limit, offset=offset, type=args["type"], read=args["read"], shelf=args["shelf"])
        rows, total, counts = await self._inbox.inbox(reader.principal, wanted)
        return {
            "notifications": [shapes.notification(row, reader) for row in rows],
            "total": total,
            **shapes.counts(counts),
            "pagination": pagination(limit=limit, offset=offset, total=total),
        }

    async def one(self, request: web.Request) -> web.Response:
        reader = identity(request)
        token = await self._sync.token(reader.principal)
        row = await self._inbox.one(reader.principal, row_id(request))  # first: no tag may hide that it is gone
        unchanged = await self._polling.unchanged(request, reader.principal)
        return tagged(shapes.notification(row, reader), token) if unchanged is None else unchanged

    async def count(self, request: web.Request) -> web.Response:
        reader = identity(request).principal

        async def counts() -> JsonObject:
            counts = await self._inbox.counts(reader)
            return {"count": counts.unread, **shapes.counts(counts)}

        return await self._polling.answer(request, reader, counts)

    async def sync(self, request: web.Request) -> web.Response:
        args = await query(request, SyncQuery)
        reader = identity(request)
        limit = min(max(args["limit"], 1), MAX_LIMIT)
        self._sync.check(args["since"])
        unchanged = await self._polling.unchanged(request, reader.principal)
        if unchanged is not None:
            return unchanged
        page = await self._sync.page(reader.principal, args["since"], limit=limit)
        content = {
            "token": page.token,
            "changes": [_change(change, reader) for change in page.changes],
            **shapes.counts(page.counts),
            "reset": page.reset,
            "hasMore": page.more,
        }
        return tagged(content, page.token)

    # --- marking ---

    async def mark_read(self, request: web.Request) -> web.Response:
        row = await self._inbox.set_read(identity(request).principal, row_id(request), True)
        return _marked(request, row, "marked as read")

    async def mark_unread(self, request: web.Request) -> web.Response:
        row = await self._inbox.set_read(identity(request).principal, row_id(request), False)
        return _marked(request, row, "marked as unread")

    async def mark_seen(self, request: web.Request) -> web.Response:
        row = await self._inbox.set_seen(identity(request).principal, row_id(request))
        return _marked(request, row, "marked as seen")

    async def archive(self, request: web.Request) -> web.Response:
        row = await self._inbox.set_archived(identity(request).principal, row_id(request), True)
        return _marked(request, row, "archived")

    async def unarchive(self, request: web.Request) -> web.Response:
        row = await self._inbox.set_archived(identity(request).principal, row_id(request), False)
        return _marked(request, row, "unarchived")

    async def snooze(self, request: web.Request) -> web.Response:
        args = await body(request, Snooze)
        row = await self._inbox.snooze(identity(request).principal, row_id(request), args["until"])
        return _marked(request, row, "snoozed")

    async def unsnooze(self, request: web.Request) -> web.Response:
        row = await self._inbox.snooze(identity(request).principal, row_id(request), None)
        return _marked(request, row, "unsnoozed")

    async def mark_all_read(self, request: web.Request) -> web.Response:
        args = await body(request, UpTo)
        count = await self._inbox.mark_all_read(identity(request).principal, args["upTo"])
        return reply({"message": "All notifications marked as read", "count": count, "updatedCount": count})

    async def mark_all_seen(self, request: web.Request) -> web.Response:
        args = await body(request, UpTo)
        count = await self._inbox.mark_all_seen(identity(request).principal, args["upTo"])
        return reply({"message": "All notifications marked as seen", "count": count, "updatedCount": count})

    def _count(self, request: web.Request) -> None:
        """Count against the caller's rate of signals. Raises RATE_LIMIT_EXCEEDED."""
        wait = self._limiter.hit(identity(request).principal, self._clock())
        if wait is not None:
            raise exceeded(wait)

    async def acknowledge(self, request: web.Request) -> web.Response:
        self._count(request)
        args = await body(request, Receipt)
        count = await self._receipts.acknowledge(identity(request).principal, [row_id(request)], args["device"])
        if not count:
            raise RealtimeError(Code.NOT_FOUND, "Notification not found")
        return reply({"message": "Notification acknowledged", "count": count})

    async def acknowledge_some(self, request: web.Request) -> web.Response:
        """Ids that are not there, or are somebody else's, are not counted."""
        self._count(request)
        args = await body(request, Receipts)
        count = await self._receipts.acknowledge(identity(request).principal, args["ids"], args["device"])
        return reply({"message": "Notifications acknowledged", "count": count})

    async def delete(self, request: web.Request) -> web.Response:
        caller = identity(request)
        publisher = member(request).has(PUBLISHER_ROLES)

        def may_cancel(draft: Draft) -> bool:
            """A communication is taken back under its own path, where its row is."""
            return not draft.content.details and (publisher or draft.sender == caller.principal)

        await self._inbox.delete(caller.principal, row_id(request), may_cancel=may_cancel)
        return reply({"message": "Notification deleted successfully"})


def _marked(request: web.Request, row: Notification, done: str) -> web.Response:
    """The row has a `message` of its own: clients read this one as the answer, `body` stays the text."""
    return reply({**shapes.notification(row, identity(request)), "message": f"Notification {done}"})


def _change(change: InboxChange, reader: Identity) -> JsonObject:
    if change.notification is None:
        return {"op": "remove", "id": change.id}
    return {"op": "upsert", "id": change.id, "notification": shapes.notification(change.notification, reader)}
