"""Every domain event, declared once. How each vocabulary names and shapes it is in `realtime.dialects`.

An event says what happened, in the server's own words; who hears it is an `Audience`.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Literal

from realtime.models import JsonObject, Message, Notification, Principal, WireId
from rooms import names


@dataclass(frozen=True, slots=True)
class Audience:
    """Who hears an event: the connections in any of `rooms`, or everybody.

    Rooms are spelt the same in every channel. `without` is a user none of whose connections hear it. Everybody
    includes guests unless `guests` is False: people's presence and typing is not for them. `skip` are single
    connections that are told in another way.
    """

    rooms: frozenset[str] = frozenset()
    everyone: bool = False
    guests: bool = True
    without: str | None = None
    skip: frozenset[str] = frozenset()

    @classmethod
    def user(cls, *ids: str) -> "Audience":
        return cls(rooms=frozenset(names.user(id) for id in ids))

    @classmethod
    def principal(cls, principal: Principal, *, skip: frozenset[str] = frozenset()) -> "Audience":
        return cls(rooms=frozenset((names.personal(principal),)), skip=skip)

    @classmethod
    def room(cls, *rooms: str, without: str | None = None) -> "Audience":
        return cls(rooms=frozenset(rooms), without=without)

    @classmethod
    def all_users(cls, *, without: str | None = None) -> "Audience":
        return cls(everyone=True, guests=False, without=without)

    @classmethod
    def all(cls, *, without: str | None = None) -> "Audience":
        return cls(everyone=True, without=without)


@dataclass(frozen=True, slots=True)
class Person:
    """The subject of an event, as the clients see people."""

    id: str
    wire_id: WireId
    name: str
    role: str


@dataclass(frozen=True, slots=True)
class Event:
    """Base of every domain event; `at` is in seconds."""

    at: float

    def outdates(self) -> Hashable | None:
        """Return what an event is the latest word about; None when each one counts.

        Of events with the same key a client that reads too slowly gets only the last.
        """
        return None


@dataclass(frozen=True, slots=True)
class NotificationCreated(Event):
    """A stored notification, as one reader sees it."""

    notification: Notification
    reader: WireId


@dataclass(frozen=True, slots=True)
class AnnouncementCreated(NotificationCreated):
    """A stored announcement, as one reader sees it."""


@dataclass(frozen=True, slots=True)
class NoticeGiven(Event):
    """What everybody should know, for guests, who have no announcements in their inbox."""

    message: str


@dataclass(frozen=True, slots=True)
class UnreadChanged(Event):
    """The exact numbers of a person's notifications that are unread, unread by category, and unseen.

    `revision` never falls: a client ignores a count whose revision is below that of one it knows.
    """

    user: WireId
    count: int
    unseen: int
    categories: dict[str, int]
    revision: int


@dataclass(frozen=True, slots=True)
class InboxSynced(Event):
    """For one connection that said which place of the inbox it knows: a page of what has changed since.

    `rows` are (id, notification, or None when it is not in the inbox any more), `token` is the place they lead to.
    """

    reader: WireId
    token: str
    rows: tuple[tuple[int, Notification | None], ...]
    unread: int
    reset: bool
    more: bool


@dataclass(frozen=True, slots=True)
class Connected(Event):
    """For one new connection. `online` is how many people are."""

    person: Person
    email: str | None
    online: int


@dataclass(frozen=True, slots=True)
class CameOnline(Event):
    person: Person

    def outdates(self) -> Hashable:
        return "presence", self.person.id


@dataclass(frozen=True, slots=True)
class WentOffline(Event):
    person: Person

    def outdates(self) -> Hashable:
        return "presence", self.person.id


@dataclass(frozen=True, slots=True)
class JoinedRoom(Event):
    """Somebody who is online can be seen from now on, by those who share the room."""

    person: Person

    def outdates(self) -> Hashable:
        return "presence", self.person.id


@dataclass(frozen=True, slots=True)
class ActivityChanged(Event):
    """For administrators: what a person's status is and how many events they have sent since they came."""

    person: Person
    status: str
    actions: int

    def outdates(self) -> Hashable:
        return "activity", self.person.id


@dataclass(frozen=True, slots=True)
class StatusChanged(Event):
    """A status that a person set, with the data their client sent along."""

    person: Person
    data: JsonObject

    def outdates(self) -> Hashable:
        return "status", self.person.id


@dataclass(frozen=True, slots=True)
class PresenceNoted(Event):
    """What a person does in a room (`work_order`), or in general."""

    person: Person
    status: str
    work_order: WireId | None
    data: JsonObject

    def outdates(self) -> Hashable:
        return "note", self.person.id, self.work_order


@dataclass(frozen=True, slots=True)
class TypingNoted(Event):
    """Somebody types to everybody or to one person, with the data their client sent along."""

    person: Person
    active: bool
    data: JsonObject

    def outdates(self) -> Hashable:
        return "typing", self.person.id


@dataclass(frozen=True, slots=True)
class RoomTypingNoted(Event):
    """Somebody types, or stopped typing, in a room."""

    person: Person
    active: bool
    room: str
    work_order: WireId | None
    message: str | None

    def outdates(self) -> Hashable:
        return "typing", self.person.id, self.room


Action = Literal["created", "updated", "status_changed", "assigned", "completed", "deleted"]


@dataclass(frozen=True, slots=True)
class WorkOrderChanged(Event):
    id: WireId
    action: Action
    row: JsonObject
    data: JsonObject


@dataclass(frozen=True, slots=True)
class WorkOrderAssignment(Event):
    """The same change, for the technician it concerns."""

    id: WireId
    action: Action
    row: JsonObject


@dataclass(frozen=True, slots=True)
class TicketChanged(Event):
    id: WireId
    action: Action
    row: JsonObject
    data: JsonObject


@dataclass(frozen=True, slots=True)
class BookingChanged(Event):
    """A booking's new state; `data` holds whatever else the row or the client said."""

    id: WireId | None
    status: str | None
    user: WireId | None
    data: JsonObject


@dataclass(frozen=True, slots=True)
class ActivityReported(Event):
    """Something that another backend says happened around a user."""

    user: WireId
    type: str
    message: str


@dataclass(frozen=True, slots=True)
class StatsReported(Event):
    """Figures for dashboards, from another backend or of this server itself."""

    connections: int
    messages: int
    posts: int

    def outdates(self) -> Hashable:
        return "stats"


@dataclass(frozen=True, slots=True)
class TopicsChanged(Event):
    """For the connection that asked: what it is subscribed to now, or not any more."""

    topics: list[str]
    subscribed: bool


@dataclass(frozen=True, slots=True)
class Correspondent:
    """One side of a conversation, as far as the directory knows them."""

    id: str
    name: str
    email: str | None


@dataclass(frozen=True, slots=True)
class MessageEvent(Event):
    """Base of what happens to one chat message."""

    message: Message


@dataclass(frozen=True, slots=True)
class MessageReceived(MessageEvent):
    """For the receiver."""

    sender: Correspondent
    receiver: Correspondent


@dataclass(frozen=True, slots=True)
class MessageSent(MessageEvent):
    """For the sender, on all of their connections."""

    sender: Correspondent
    receiver: Correspondent


@dataclass(frozen=True, slots=True)
class MessageDelivered(MessageEvent):
    """For the sender: a message that had to wait has reached its receiver."""


@dataclass(frozen=True, slots=True)
class MessageRead(MessageEvent):
    """For the sender."""


@dataclass(frozen=True, slots=True)
class MessageTyping(Event):
    """For the receiver: somebody types a message to them."""

    sender: str
    receiver: str
    active: bool

    def outdates(self) -> Hashable:
        return "typing", self.sender


@dataclass(frozen=True, slots=True)
class Ponged(Event):
    """For the connection that pinged."""


@dataclass(frozen=True, slots=True)
class OnlineListed(Event):
    """For the connection that asked who is online."""

    users: list[str]


@dataclass(frozen=True, slots=True)
class ForcedOut(Event):
    """For a connection that has to make room for another one of the same person."""

    reason: str


@dataclass(frozen=True, slots=True)
class TestNotification(Event):
    """A notification that is shown once and stored nowhere. `user` is None for everybody."""

    title: str
    message: str
    type: str
    user: WireId | None

    __test__ = False


@dataclass(frozen=True, slots=True)
class GuestTest(Event):
    """A test notification for one hotel guest. It is stored nowhere, its id is nobody else's."""

    id: int
    guest: WireId
    message: str


@dataclass(frozen=True, slots=True)
class Custom(Event):
    """Any event an operator or another backend sends; name and data pass untouched."""

    name: str
    data: Any


@dataclass(frozen=True, slots=True)
class TokenExpired(Event):
    message: str = "Your session has expired"


@dataclass(frozen=True, slots=True)
class ErrorRaised(Event):
    """An error that is not only the answer to one event."""

    code: str
    message: str
    event: str | None = None
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class RateExceeded(ErrorRaised):
    """The error of somebody who sends too much."""


@dataclass(frozen=True, slots=True)
class ServerStopping(Event):
    """The server goes down; `retry_after` seconds is when this client should come back."""

    retry_after: float


def catalogue() -> list[type[Event]]:
    """Return every domain event class, by name."""
    found = (kind for kind in globals().values() if isinstance(kind, type) and issubclass(kind, Event))
    return sorted((kind for kind in found if kind not in (Event, MessageEvent)), key=lambda kind: kind.__name__)
