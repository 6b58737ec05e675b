"""Work orders, tickets and bookings: rows that another backend may mirror here."""

from collections.abc import Sequence
from typing import Any

from aiohttp import web
from marshmallow import INCLUDE, RAISE, Schema, fields, pre_load, validate

from handlers.http.base import (
    Access,
    Id,
    PageQuery,
    Route,
    actor,
    body,
    identity,
    member,
    pagination,
    path_id,
    query,
    success,
    window,
)
from handlers.http.idempotency import Idempotency
from realtime.errors import Code, RealtimeError
from realtime.models import EntityQuery, JsonObject, wire_id
from realtime.services.bookings import BookingService
from realtime.services.entities import EntityService

STATUS = validate.Length(1, 40)


class RowId(Id):
    """An id that keeps its JSON type: a number stays a number, and numeric text becomes one."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        return wire_id(super()._deserialize(value, attr, data, **kwargs))


class PersonId(Id):
    """A person's id, with the JSON type it came with."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        super()._deserialize(value, attr, data, **kwargs)
        return value


class Row(Schema):
    """Known fields are checked, others kept as they came. camelCase spellings of known fields become snake_case."""

    class Meta:
        unknown = INCLUDE

    aliases: dict[str, str] = {}  # noqa: RUF012
    known: tuple[str, ...] = ()

    @pre_load
    def _rename(self, data: Any, **_: Any) -> Any:
        return {self.aliases.get(name, name): value for name, value in data.items()}


class Job(Row):
    """A work order or a ticket."""

    aliases = {  # noqa: RUF012
        "technicianId": "technician_id",
        "technicianName": "technician_name",
        "customerId": "customer_id",
        "customerName": "customer_name",
        "ticketNumber": "ticket_number",
        "formattedNumber": "formatted_number",
    }
    known: tuple[str, ...] = (
        "description",
        "priority",
        "technician_id",
        "technician_name",
        "customer_id",
        "customer_name",
    )
    description = fields.String(allow_none=True, validate=validate.Length(0, 10_000))
    status = fields.String(validate=STATUS)
    priority = fields.String(allow_none=True, validate=STATUS)
    technician_id = RowId(allow_none=True)
    technician_name = fields.String(allow_none=True, validate=validate.Length(0, 200))
    customer_id = RowId(allow_none=True)
    customer_name = fields.String(allow_none=True, validate=validate.Length(0, 200))


class Ticket(Job):
    known = (*Job.known, "ticket_number", "formatted_number")
    ticket_number = fields.Raw(allow_none=True)
    formatted_number = fields.String(allow_none=True, validate=validate.Length(0, 100))


class Booking(Row):
    aliases = {"user_id": "userId", "owner_id": "ownerId"}  # noqa: RUF012
    userId = PersonId(allow_none=True)
    ownerId = PersonId(allow_none=True)
    status = fields.String(validate=STATUS)
    from_ = fields.String(data_key="from", attribute="from", allow_none=True, validate=validate.Length(0, 64))
    to = fields.String(allow_none=True, validate=validate.Length(0, 64))


class Assignment(Schema):
    class Meta:
        unknown = RAISE

    technicianId = RowId(required=True, allow_none=True)


class Review(Schema):
    class Meta:
        unknown = RAISE

    rating = fields.Integer(required=True, strict=True, validate=validate.Range(1, 5))
    comment = fields.String(load_default=None, allow_none=True, validate=validate.Length(0, 2000))


class EntityRoutes:
    """List, create, read, replace, change and delete rows of one kind. `filters` maps query names to fields."""

    def __init__(
        self,
        service: EntityService,
        *,
        paths: Sequence[str],
        schema: type[Row],
        filters: dict[str, str],
        default_status: str,
        idempotency: Idempotency,
        assignable: bool = False,
    ) -> None:
        self._service = service
        self._paths = paths
        self._schema = schema
        self._filters = filters
        self._default_status = default_status
        self._idempotency = idempotency
        self._assignable = assignable

    def routes(self) -> Sequence[Route]:
        table = [
            ("GET", "", self.page),
            ("POST", "", self.create),
            ("GET", "/{id}", self.one),
            ("PUT", "/{id}", self.put),
            ("PATCH", "/{id}", self.patch),
            ("DELETE", "/{id}", self.delete),
        ]
        if self._assignable:
            table.append(("POST", "/{id}/assign", self.assign))
        return [Route(verb, path + tail, run, Access.USER) for path in self._paths for verb, tail, run in table]

    async def page(self, request: web.Request) -> web.Response:
        limit, offset = window(await query(request, PageQuery))
        equals = {field: request.query[name] for name, field in self._filters.items() if request.query.get(name)}
        rows, total = await self._service.page(member(request), EntityQuery(limit, offset, equals))
        return success(rows, pagination=pagination(limit=limit, offset=offset, total=total))

    async def create(self, request: web.Request) -> web.Response:
        return await self._idempotency.run(request, identity(request).principal, lambda: self._create(request))

    async def _create(self, request: web.Request) -> web.Response:
        row = await self._row(request)
        if "id" in row:
            raise RealtimeError(Code.INVALID_PAYLOAD, "The server chooses the id; use PUT to bring your own")
        # Clients spread the row into their state: what is not known yet is null, not missing.
        row = {**dict.fromkeys(self._schema.known), "status": self._default_status, **row}
        return success(await self._service.create(actor(request), row), status=201)

    async def one(self, request: web.Request) -> web.Response:
        return success(await self._service.one(member(request), path_id(request)))

    async def put(self, request: web.Request) -> web.Response:
        row = await self._row(request)
        id = path_id(request)
        if str(row.pop("id", id)) != id:
            raise RealtimeError(Code.INVALID_PAYLOAD, "id: differs from the path")
        row.setdefault("status", self._default_status)
        stored, created = await self._service.put(actor(request), id, row)
        return success(stored, status=201 if created else 200)

    async def patch(self, request: web.Request) -> web.Response:
        row = await self._row(request)
        if not row:
            raise RealtimeError(Code.INVALID_PAYLOAD, "Nothing to change")
        return success(await self._service.patch(actor(request), path_id(request), row))

    async def delete(self, request: web.Request) -> web.Response:
        row = await self._service.delete(actor(request), path_id(request))
        return success({"id": row["id"]})

    async def assign(self, request: web.Request) -> web.Response:
        args = await body(request, Assignment)
        row = {"technician_id": args["technicianId"]}
        return success(await self._service.patch(actor(request), path_id(request), row))

    async def _row(self, request: web.Request) -> JsonObject:
        row = await body(request, self._schema())
        if any(not isinstance(name, str) or len(name) > 100 for name in row):
            raise RealtimeError(Code.INVALID_PAYLOAD, "A field's name is at most 100 characters")
        return row


class ReviewRoutes:
    """Reviews of bookings."""

    def __init__(self, bookings: BookingService, *, idempotency: Idempotency) -> None:
        self._bookings = bookings
        self._idempotency = idempotency

    def routes(self) -> Sequence[Route]:
        path = "/api/bookings/{id}/reviews"
        return [Route("POST", path, self.create, Access.USER), Route("GET", path, self.page, Access.USER)]

    async def create(self, request: web.Request) -> web.Response:
        return await self._idempotency.run(request, identity(request).principal, lambda: self._create(request))

    async def _create(self, request: web.Request) -> web.Response:
        args = await body(request, Review)
        review = await self._bookings.review(
            actor(request), path_id(request), rating=args["rating"], comment=args["comment"]
        )
        return success(review, status=201)

    async def page(self, request: web.Request) -> web.Response:
        limit, offset = window(await query(request, PageQuery))
        rows, total = await self._bookings.reviews(member(request), path_id(request), EntityQuery(limit, offset))
        return success(rows, pagination=pagination(limit=limit, offset=offset, total=total))
