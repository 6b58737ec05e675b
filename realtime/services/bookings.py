"""Bookings and their reviews."""

from collections.abc import Mapping

import structlog

from realtime.clock import Clock, timestamp
from realtime.engine.channel import Session
from realtime.errors import Code, RealtimeError, StoreUnavailable
from realtime.events import Audience, BookingChanged
from realtime.models import Change, Content, EntityQuery, JsonObject, Target, WireId, user_principal, wire_id
from realtime.publisher import Publisher
from realtime.services.directory import ADMIN_AUDIENCE, Directory
from realtime.services.entities import Actor, EntityService, Kind, Step
from realtime.services.naming import names_person
from realtime.services.notifications import NotificationService
from realtime.store.base import Store
from rooms import names
from rooms.policy import PUBLISHER_ROLES, Member

log = structlog.get_logger(__name__)

BOOKING = Kind("booking", "Booking", names.booking, created_at="createdAt", updated_at="updatedAt")


class BookingEntities(EntityService):
    """Bookings as rows. Anybody but a guest may make one for themselves."""

    def _new_row(self, actor: Actor, id: WireId, fields: JsonObject) -> JsonObject:
        if not actor.member.staff:
            if str(fields.get("userId", actor.member.id)) != actor.member.id:
                raise RealtimeError(Code.FORBIDDEN, "You may book only for yourself")
            fields = {**fields, "userId": actor.wire_id}
        return super()._new_row(actor, id, fields)

    def _require_creator(self, actor: Actor) -> None:
        if actor.member.guest:
            self._require_staff(actor)


class BookingAnnouncer:
    """Tells a booking's person, its owner and its room what happened to it."""

    def __init__(
        self, *, publisher: Publisher, notifications: NotificationService, directory: Directory, clock: Clock
    ) -> None:
        self._publisher = publisher
        self._notifications = notifications
        self._directory = directory
        self._clock = clock

    async def __call__(self, actor: Actor, change: Change, steps: list[Step]) -> None:
        row = change.new or change.old or {}
        status = "deleted" if change.new is None else row.get("status")
        # Another backend may mirror ids as text; their owners' clients compare them with what the token says.
        people = {
            field: await self._directory.wire_id(str(row[field]))
            for field in ("userId", "ownerId")
            if row.get(field) not in (None, "")
        }
        data = {**row, **people, "action": steps[-1].action}
        event = BookingChanged(self._clock(), row["id"], status, data.get("userId"), data)
        self._publisher.publish(event, booking_audience(row))
        if change.new is not None:
            await self._notify(actor, change.new, {step.action for step in steps})

    async def _notify(self, actor: Actor, row: JsonObject, actions: set[str]) -> None:
        if "created" in actions:
            content = _content(row, "booking_created", "New booking", f"Booking #{row['id']} was created")
            await self._send(content, row, ("userId", "ownerId"), actor)
        elif actions & {"status_changed", "completed"}:
            content = _content(
                row, "booking_status", "Booking updated", f"Booking #{row['id']} is now {row.get('status')}"
            )
            await self._send(content, row, ("userId",), actor)

    async def _send(self, content: Content, row: JsonObject, fields: tuple[str, ...], actor: Actor) -> None:
        """Notify the people in `fields`; an owner that is missing is stood in for by the administrators."""
        people = [str(row[field]) for field in fields if row.get(field) not in (None, "")]
        targets = [Target(recipient=user_principal(person)) for person in dict.fromkeys(people)]
        if "ownerId" in fields and row.get("ownerId") in (None, ""):
            targets.append(Target(audience=ADMIN_AUDIENCE))
        if targets:
            await self._notifications.send(targets, content, sender=user_principal(actor.member.id))

    async def reviewed(self, actor: Actor, booking: JsonObject, review: JsonObject) -> None:
        text = f"{review['rating']} of 5" + (f": {review['comment']}" if review.get("comment") else "")
        content = _content(booking, "review", f"New review of booking #{booking['id']}", text[:1000])
        await self._send(content, booking, ("ownerId",), actor)


class BookingService:
    """Reviews, and the relay of a client's booking updates."""

    def __init__(
        self,
        *,
        store: Store,
        entities: EntityService,
        announcer: BookingAnnouncer,
        publisher: Publisher,
        directory: Directory,
        clock: Clock,
    ) -> None:
        self._store = store
        self._entities = entities
        self._announcer = announcer
        self._publisher = publisher
        self._directory = directory
        self._clock = clock

    async def review(self, actor: Actor, booking_id: str, *, rating: int, comment: str | None) -> JsonObject:
        """Store a review of one's own booking; who may write everything, of any. Raises NOT_FOUND, FORBIDDEN."""
        booking = await self._entities.one(actor.member, booking_id)
        if str(booking.get("userId")) != actor.member.id and not actor.member.has(PUBLISHER_ROLES):
            raise RealtimeError(Code.FORBIDDEN, "Only your own booking can be reviewed")
        row = {
            "bookingId": booking["id"],
            "userId": actor.wire_id,
            "rating": rating,
            "comment": comment,
            "createdAt": timestamp(self._clock()),
        }
        review = await self._store.create_entity("review", lambda id: {"id": id, **row}, name_fields=("userId",))
        try:
            await self._announcer.reviewed(actor, booking, review)
        except StoreUnavailable:  # the review is stored: the author must not try again
            log.warning("review stored, but nobody was told: the database is not available")
        return review

    async def reviews(self, member: Member, booking_id: str, query: EntityQuery) -> tuple[list[JsonObject], int]:
        booking = await self._entities.one(member, booking_id)
        mine = EntityQuery(query.limit, query.offset, {"bookingId": str(booking["id"])})
        return await self._store.entities("review", mine)

    async def relay(self, session: Session, data: Mapping[str, object]) -> int:
        """Pass a client's update on: staff to anybody, others between the people the stored booking names.

        Without a userId it goes to the booking's room and the administrators, from staff only. Returns how many
        connections got it. Raises FORBIDDEN, INVALID_PAYLOAD.
        """
        booking_id, user = _id_of(data.get("bookingId"), "bookingId"), _id_of(data.get("userId"), "userId")
        if not session.member.staff:
            row = await self._store.entity("booking", booking_id) if booking_id else None
            named = names_person("booking", row, session.identity.id) and not session.member.guest
            if user is None or not named or not names_person("booking", row, user):
                raise RealtimeError(Code.FORBIDDEN, "Forbidden: insufficient permissions")
        if user is not None:
            audience = Audience.user(user)
        elif booking_id is not None:
            audience = Audience.room(names.booking(booking_id), names.ADMIN_ROOM)
        else:
            raise RealtimeError(Code.INVALID_PAYLOAD, "bookingId or userId is required")
        status = data.get("status")
        event = BookingChanged(
            self._clock(),
            wire_id(booking_id) if booking_id else None,
            status if isinstance(status, str) else None,
            await self._directory.wire_id(user) if user else None,
            dict(data),
        )
        return self._publisher.publish(event, audience)


def booking_audience(row: JsonObject) -> Audience:
    people = {str(row[field]) for field in ("userId", "ownerId") if row.get(field) not in (None, "")}
    return Audience.room(names.booking(row["id"]), *(names.user(person) for person in people))


def _id_of(value: object, field: str) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int) or not 1 <= len(str(value)) <= 100:
        raise RealtimeError(Code.INVALID_PAYLOAD, f"{field} must be an id")
    return str(value)


def _content(row: JsonObject, type: str, title: str, message: str) -> Content:
    related = {"type": "booking", "id": row["id"]}
    return Content(type=type, title=title, message=message, metadata={"relatedEntity": related, "bookingId": row["id"]})
