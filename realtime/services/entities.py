"""Business rows that another backend may mirror here: who may see and change them, and what changed."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from realtime import wire
from realtime.clock import Clock, timestamp
from realtime.errors import Code, RealtimeError, StoreUnavailable
from realtime.events import Action
from realtime.models import Change, EntityQuery, JsonObject, WireId, wire_id
from realtime.services.naming import NAME_FIELDS, names_person, people_of
from realtime.services.rooms import RoomService, parse_room
from realtime.store.base import Store
from rooms.policy import PUBLISHER_ROLES, Member

log = structlog.get_logger(__name__)

ROW_BYTES = 32 * 1024


@dataclass(frozen=True, slots=True)
class Actor:
    """Who changes a row. `wire_id` goes into the events."""

    member: Member
    wire_id: WireId


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that a change did to a row, with the data that its event carries."""

    action: Action
    data: JsonObject


class Announcer(Protocol):
    """Tells everybody concerned what happened to a row of one kind."""

    def __call__(self, actor: Actor, change: Change, steps: list[Step]) -> Awaitable[None]: ...


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of row. `assignee` is the field that `assigned` follows; `room` builds its room's name."""

    name: str
    label: str
    room: Callable[[str], str]
    assignee: str | None = None
    assignee_name: str = "technician_name"
    created_at: str = "created_at"
    updated_at: str = "updated_at"

    @property
    def name_fields(self) -> tuple[str, ...]:
        return tuple(NAME_FIELDS[self.name])


class EntityService:
    """Rows of one kind."""

    def __init__(
        self,
        kind: Kind,
        *,
        store: Store,
        rooms: RoomService,
        clock: Clock,
        announce: Announcer,
    ) -> None:
        self.kind = kind
        self._store = store
        self._rooms = rooms
        self._clock = clock
        self._announce = announce

    async def one(self, member: Member, id: str) -> JsonObject:
        """Raises NOT_FOUND, also for a row that the member may not see."""
        row = await self._store.entity(self.kind.name, id)
        if row is None or not (member.staff or self._names(row, member)):
            raise self._not_found()
        return row

    async def page(self, member: Member, query: EntityQuery) -> tuple[list[JsonObject], int]:
        """Staff see every row, others those that name them."""
        if member.guest:
            return [], 0
        if not member.staff:
            query = EntityQuery(query.limit, query.offset, query.equals, named=member.id)
        return await self._store.entities(self.kind.name, query)

    async def create(self, actor: Actor, fields: JsonObject) -> JsonObject:
        """Store a row under a new id. Raises FORBIDDEN, INVALID_PAYLOAD (too large)."""
        self._require_creator(actor)
        row = await self._store.create_entity(
            self.kind.name, lambda id: self._new_row(actor, id, fields), name_fields=self.kind.name_fields
        )
        await self._after(actor, Change(None, row))
        return row

    async def put(self, actor: Actor, id: str, fields: JsonObject) -> tuple[JsonObject, bool]:
        """Replace a row or create it under `id`; returns it and whether it is new.

        Raises INVALID_PAYLOAD for an id that does not fit into a room's name.
        """
        parse_room(self.kind.room(id))

        def replace(old: JsonObject | None) -> JsonObject:
            if old is None:
                self._require_staff(actor)
                return self._new_row(actor, wire_id(id), fields)
            self._require_writer(actor, old)
            kept = {name: old[name] for name in ("id", self.kind.created_at, "created_by") if name in old}
            if actor.member.has(PUBLISHER_ROLES):
                kept = {**kept, **{name: fields[name] for name in kept if name in fields and name != "id"}}
            return self._stamped({**fields, **kept}, old)

        change = await self._change(id, replace)
        await self._after(actor, change)
        return change.new or {}, change.old is None

    async def patch(self, actor: Actor, id: str, fields: JsonObject) -> JsonObject:
        """Change some fields. Raises NOT_FOUND, FORBIDDEN."""
        assignee = self.kind.assignee
        name = await self._assignee_name(fields)

        def merge(old: JsonObject | None) -> JsonObject:
            if old is None:
                raise self._not_found()
            self._require_writer(actor, old)
            fixed = {"id", self.kind.created_at} | (set() if actor.member.has(PUBLISHER_ROLES) else {"created_by"})
            row = {**old, **{k: v for k, v in fields.items() if k not in fixed}}
            reassigned = assignee is not None and row.get(assignee) != old.get(assignee)
            if reassigned and self.kind.assignee_name not in fields:
                row[self.kind.assignee_name] = name
            return self._stamped(row, old)

        change = await self._change(id, merge)
        await self._after(actor, change)
        return change.new or {}

    async def _assignee_name(self, fields: JsonObject) -> str | None:
        """Return the name of whom a change assigns, so that the row does not keep the former one's."""
        assigned = fields.get(self.kind.assignee or "")
        user = await self._store.user(str(assigned)) if assigned not in (None, "") else None
        return user.name if user else None

    async def delete(self, actor: Actor, id: str) -> JsonObject:
        def remove(old: JsonObject | None) -> None:
            if old is None:
                raise self._not_found()
            self._require_writer(actor, old)

        change = await self._change(id, remove)
        await self._after(actor, change)
        return change.old or {}

    async def _change(self, id: str, change: Callable[[JsonObject | None], JsonObject | None]) -> Change:
        return await self._store.change_entity(self.kind.name, id, change, name_fields=self.kind.name_fields)

    def _new_row(self, actor: Actor, id: WireId, fields: JsonObject) -> JsonObject:
        now = timestamp(self._clock())
        row = {**fields, "id": id}
        if "created_by" not in row or not actor.member.has(PUBLISHER_ROLES):
            row["created_by"] = actor.wire_id
        row.setdefault(self.kind.created_at, now)
        row.setdefault(self.kind.updated_at, now)
        return _checked(row)

    def _stamped(self, row: JsonObject, old: JsonObject) -> JsonObject:
        """Set the time of the change, unless nothing changed or a mirroring backend gave its own."""
        stamp = self.kind.updated_at
        if row.get(stamp, old.get(stamp)) == old.get(stamp):
            same = {k: v for k, v in row.items() if k != stamp} == {k: v for k, v in old.items() if k != stamp}
            row[stamp] = old.get(stamp) if same else timestamp(self._clock())
        return _checked(row)

    async def _after(self, actor: Actor, change: Change) -> None:
        """Tell everybody concerned and keep the room true to the row.

        The row is committed, so a database that fails now must not make the caller try again.
        """
        steps = steps_of(change, self.kind, actor)
        work: list[Callable[[], Awaitable[None]]] = [lambda: self._follow_names(change)]
        if steps:
            # Whoever the row no longer names must not read its new state; of its end they may still hear.
            work.insert(0 if change.new is None else 1, lambda: self._announce(actor, change, steps))
        for step in work:
            try:
                await step()
            except StoreUnavailable:
                log.warning("change stored, but not everybody was told: the database is not available")

    async def _follow_names(self, change: Change) -> None:
        """Being named by a row subscribes to its room's audience; no longer being named ends that."""
        row = change.new or change.old or {}
        room = self.kind.room(str(row["id"]))
        before, after = people_of(self.kind.name, change.old), people_of(self.kind.name, change.new)
        try:
            await self._rooms.follow_names(before, after, room)
        finally:
            if before - after:
                await self._rooms.recheck_room(room)

    def _names(self, row: JsonObject, member: Member) -> bool:
        return not member.guest and names_person(self.kind.name, row, member.id)

    def _require_creator(self, actor: Actor) -> None:
        """Who may make a row under an id of the server's choice."""
        self._require_staff(actor)

    def _require_staff(self, actor: Actor) -> None:
        if not actor.member.staff:
            raise _forbidden()

    def _require_writer(self, actor: Actor, row: JsonObject) -> None:
        """Administrators, managers and services change every row; other staff those that name them."""
        member = actor.member
        if not (member.has(PUBLISHER_ROLES) or (member.staff and self._names(row, member))):
            raise _forbidden()

    def _not_found(self) -> RealtimeError:
        return RealtimeError(Code.NOT_FOUND, f"{self.kind.label} not found")


def steps_of(change: Change, kind: Kind, actor: Actor) -> list[Step]:
    """Say what a change did, in the words of the contract. A change of nothing is no step."""
    old, new = change.old, change.new
    if new is None:
        return [Step("deleted", {"deletedBy": actor.wire_id})]
    if old is None:
        return [Step("created", {"createdBy": actor.wire_id})]
    changed = [name for name in {**old, **new} if old.get(name) != new.get(name) and name != kind.updated_at]
    if not changed:
        return []
    data: JsonObject = {"updatedFields": sorted(changed), "updatedBy": actor.wire_id}
    steps: list[Step] = []
    if kind.assignee in changed:
        steps.append(Step("assigned", {"technicianId": new.get(kind.assignee), "assignedBy": actor.wire_id, **data}))
    if "status" in changed:
        action: Action = "completed" if new.get("status") == "completed" else "status_changed"
        steps.append(Step(action, {"oldStatus": old.get("status"), "newStatus": new.get("status"), **data}))
    return steps or [Step("updated", data)]


def _checked(row: JsonObject) -> JsonObject:
    if len(wire.dumps(row)) > ROW_BYTES:
        raise RealtimeError(Code.INVALID_PAYLOAD, f"A row is at most {ROW_BYTES // 1024} KB")
    return row


def _forbidden() -> RealtimeError:
    return RealtimeError(Code.FORBIDDEN, "Forbidden: insufficient permissions")
