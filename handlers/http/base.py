"""What every resource shares: routes with their access, parsed input, and replies."""

import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NoReturn, Protocol, cast

from aiohttp import web
from marshmallow import EXCLUDE, RAISE, Schema, ValidationError, fields, post_load, pre_load, validate
from webargs.aiohttpparser import AIOHTTPParser

from realtime import wire
from realtime.auth import Identity
from realtime.errors import Code, RealtimeError
from realtime.models import JsonObject
from realtime.services.directory import Directory
from realtime.services.entities import Actor
from rooms.policy import Member

MAX_PAGE = 100
MAX_OFFSET = 1_000_000_000
_IDENTITY = web.RequestKey("roomcast.identity", Identity)
_MEMBER = web.RequestKey("roomcast.member", Member)


class Access(Enum):
    """Who may call a route at all; what they may do there is the service's business."""

    OPEN = "open"
    ANY = "any token"
    USER = "any user, no guest"
    STREAM = "any token, in the query too"
    STAFF = "staff"
    ADMIN = "admin"
    PUBLISHER = "admin, manager or service"
    TESTER = "admin, manager or service; any token in development"
    COMMUNICATIONS = "admin, manager, staff or service; anybody with OPEN_COMMUNICATIONS"
    COMMUNICATIONS_READER = "the same, and guests"
    METRICS = "loopback or the metrics token"


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    path: str
    handler: Handler
    access: Access


class Resource(Protocol):
    def routes(self) -> Sequence[Route]: ...


def identity(request: web.Request) -> Identity:
    return request[_IDENTITY]


def known_caller(request: web.Request) -> Identity | None:
    """Return who calls a route that is open to requests without a token."""
    return request.get(_IDENTITY)


def member(request: web.Request) -> Member:
    return request[_MEMBER]


def actor(request: web.Request) -> Actor:
    return Actor(member(request), identity(request).wire_id)


def remember_caller(request: web.Request, caller: Identity, directory: Directory) -> None:
    request[_IDENTITY] = caller
    request[_MEMBER] = directory.member(caller)


class _Parser(AIOHTTPParser):
    """webargs on our JSON, with our errors."""

    DEFAULT_UNKNOWN_BY_LOCATION = {"json": RAISE, "query": EXCLUDE}  # noqa: RUF012

    async def load_json(self, req: web.Request, schema: Schema) -> Any:
        raw = await req.read()
        if not raw:
            return {}
        try:
            body = wire.loads(raw)
        except wire.BadJson as error:
            raise RealtimeError(Code.INVALID_PAYLOAD, "The body is not valid JSON") from error
        if body is None:
            return {}
        if not isinstance(body, dict):
            raise RealtimeError(Code.INVALID_PAYLOAD, "The body must be a JSON object")
        return body

    def handle_error(self, error: ValidationError, req: web.Request, schema: Schema, **_: Any) -> NoReturn:
        complaints = _flatten(error.messages)
        raise RealtimeError(Code.INVALID_PAYLOAD, complaints[0], errors=complaints)


_parser = _Parser()


def _flatten(messages: Any, path: str = "") -> list[str]:
    if isinstance(messages, Mapping):
        # The first level is the location ("json", "query").
        return [
            text
            for key, value in messages.items()
            for text in _flatten(value, path if key in ("json", "query", "_schema") else f"{path}.{key}".lstrip("."))
        ]
    if isinstance(messages, list):
        return [text for value in messages for text in _flatten(value, path)]
    return [f"{path}: {messages}" if path else str(messages)]


async def body(request: web.Request, schema: Schema | type[Schema]) -> JsonObject:
    """Parse the JSON body. Raises INVALID_PAYLOAD with one complaint per field."""
    return cast(JsonObject, await _parser.parse(_made(schema), request, location="json", unknown=None))


async def query(request: web.Request, schema: Schema | type[Schema]) -> JsonObject:
    return cast(JsonObject, await _parser.parse(_made(schema), request, location="query"))


def _made(schema: Schema | type[Schema]) -> Schema:
    return schema if isinstance(schema, Schema) else _instance(schema)


@functools.cache
def _instance(schema: type[Schema]) -> Schema:
    """Making a schema copies all of its fields, a fifth of a whole request; using it changes nothing in it."""
    return schema()


ROLE = validate.Regexp(r"\A[A-Za-z0-9_.:-]{1,40}\Z", error="Must be a role: letters, digits and _ . : -")


class Query(Schema):
    """Deployed clients leave filters empty: that means absent."""

    @pre_load
    def _absent(self, data: Any, **_: Any) -> Any:
        return {name: value for name, value in data.items() if value != ""}


class PageQuery(Query):
    """They ask for huge pages, too: sizes are clamped."""

    page = fields.Integer(load_default=None)
    limit = fields.Integer(load_default=20)
    offset = fields.Integer(load_default=0)

    @post_load
    def _clamp(self, args: JsonObject, **_: Any) -> JsonObject:
        args["limit"] = min(max(args["limit"], 1), MAX_PAGE)
        args["offset"] = min(max(args["offset"], 0), MAX_OFFSET)
        if args["page"] is not None:
            args["page"] = min(max(args["page"], 1), MAX_OFFSET // MAX_PAGE)
        return args


def window(args: JsonObject) -> tuple[int, int]:
    """Return (limit, offset); a page number counts from 1 and wins over an offset."""
    limit = args["limit"]
    return limit, (args["page"] - 1) * limit if args["page"] else args["offset"]


def pagination(*, limit: int, offset: int, total: int) -> JsonObject:
    pages = -(-total // limit)
    page = offset // limit + 1
    return {
        "page": page,
        "limit": limit,
        "total": total,
        "totalPages": pages,
        "pages": pages,
        "hasNext": offset + limit < total,
        "hasPrev": offset > 0,
    }


def reply(content: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        body=wire.dumps(content), status=status, content_type="application/json", charset="utf-8", headers=headers
    )


def success(data: object, *, status: int = 200, **more: object) -> web.Response:
    return reply({"status": "success", "data": data, **more}, status=status)


class Id(fields.Field[str]):
    """A person's or a row's id: text or a whole number, kept as text."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, str | int) or not 1 <= len(str(value).strip()) <= 100:
            raise ValidationError("Must be an id: text or a whole number.")
        return str(value).strip()


def path_id(request: web.Request, name: str = "id") -> str:
    value = request.match_info[name]
    if not 1 <= len(value) <= 100 or not value.isprintable():
        raise RealtimeError(Code.NOT_FOUND, "Not found")
    return value
