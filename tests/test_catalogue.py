"""Every event has a shape, or an explicit "not sent", in every vocabulary; an undeclared field is a bug."""

import importlib
import pkgutil
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from handlers.commands.dispatch import COMMANDS
from realtime import dialects, events, wire
from realtime.dialects.base import NOT_SENT, Dialect, Row
from realtime.dialects.root import ROOT
from realtime.engine.server import RESERVED_EVENTS
from realtime.events import Audience, Event, Person
from realtime.models import Content, Notification, Target

AT = 1_700_000_000.123
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def all_dialects() -> list[Dialect]:
    found = []
    for info in pkgutil.iter_modules(dialects.__path__):
        module = importlib.import_module(f"{dialects.__name__}.{info.name}")
        found += [value for value in vars(module).values() if isinstance(value, Dialect)]
    return found


def by_name(dialect: Dialect) -> str:
    return dialect.name


def test_the_catalogue_holds_every_event_class() -> None:
    declared = {value for value in vars(events).values() if isinstance(value, type) and issubclass(value, Event)}
    assert events.catalogue() == sorted(declared - {Event}, key=lambda event: event.__name__)


@pytest.mark.parametrize("dialect", all_dialects(), ids=by_name)
def test_a_vocabulary_says_something_about_every_event(dialect: Dialect) -> None:
    assert {event.__name__ for event in dialect.outbound} == {event.__name__ for event in events.catalogue()}


@pytest.mark.parametrize("dialect", all_dialects(), ids=by_name)
def test_an_event_without_rows_is_not_sent_on_purpose(dialect: Dialect) -> None:
    assert [event for event, rows in dialect.outbound.items() if not rows and rows is not NOT_SENT] == []


@pytest.mark.parametrize("dialect", all_dialects(), ids=by_name)
def test_every_name_that_clients_send_means_a_command(dialect: Dialect) -> None:
    assert set(dialect.inbound.values()) <= set(COMMANDS)


@pytest.mark.parametrize("dialect", all_dialects(), ids=by_name)
def test_no_name_collides_with_the_clients_libraries(dialect: Dialect) -> None:
    fixed = {row.name for rows in dialect.outbound.values() for row in rows if isinstance(row.name, str)}
    assert not (fixed | set(dialect.inbound)) & RESERVED_EVENTS


def test_every_command_can_be_reached() -> None:
    assert {command for dialect in all_dialects() for command in dialect.inbound.values()} == set(COMMANDS)


def test_names_of_vocabularies_are_unique() -> None:
    names = [dialect.name for dialect in all_dialects()]
    assert len(names) == len(set(names))


def json_type(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "timestamp" if TIMESTAMP.fullmatch(value) else "string"
        case list():
            return "array"
        case _:
            return "object"


def described(payload: Any, shape: object) -> object:
    """Describe a payload in the words of `shape`: nested only where `shape` is."""
    if isinstance(payload, dict) and isinstance(shape, dict):
        return {key: described(value, shape.get(key)) for key, value in payload.items()}
    return json_type(payload)


@dataclass(frozen=True)
class Golden:
    """What one event looks like on the wire: (name, shape) of each frame, in order."""

    event: Event
    frames: Sequence[tuple[str, object]]


ANN = Person(id="5", wire_id=5, name="Ann", role="technician")
OBJECT_ID = Person(id="64b7f0", wire_id="64b7f0", name="Bob", role="user")
NOTE = Notification(
    id=12,
    target=Target(recipient="user:5"),
    content=Content(
        type="work_order",
        title="Assigned",
        message="Work order 7 is yours",
        priority="high",
        url="/work-orders/7",
        metadata={"relatedEntity": {"type": "work_order", "id": 7}, "title_key": "wo.title", "message_key": "wo.text"},
        expires_at=AT + 60,
    ),
    sender="user:1",
    created_at=AT,
    updated_at=AT,
)
BARE = replace(NOTE, content=Content(type="announcement", title="Hello", message="All"), sender=None)
ROW = {"id": 7, "status": "open"}

NEW_NOTIFICATION: Mapping[str, object] = {
    "_id": "string",
    "id": "number",
    "user": "number",
    "title": "string",
    "message": "string",
    "type": "string",
    "priority": "string",
    "read": "boolean",
    "archived": "boolean",
    "url": "string",
    "actionUrl": "string",
    "relatedEntity": "object",
    "metadata": "object",
    "createdAt": "timestamp",
    "updatedAt": "timestamp",
    "timestamp": "timestamp",
    # Of our own, beside what the applications read:
    "actions": "array",
    "groupCount": "number",
    "expiresAt": "timestamp",
}
RECEIVED: Mapping[str, object] = {
    "id": "number",
    "user_id": "number",
    "title": "string",
    "message": "string",
    "type": "string",
    "is_read": "boolean",
    "related_entity_type": "string",
    "related_entity_id": "number",
    "title_key": "string",
    "message_key": "string",
    "message_params": "object",
    "created_at": "timestamp",
    "updated_at": "timestamp",
    # Of our own:
    "priority": "string",
}
WHO = {"userId": "number"}
WHO_NAMED = {"userId": "number", "userName": "string", "timestamp": "timestamp"}
TYPING_STOP = {
    "userId": "number",
    "userName": "string",
    "roomName": "string",
    "workOrderId": "number",
    "timestamp": "timestamp",
}
WORK_ORDER = {
    "workOrderId": "number",
    "action": "string",
    "workOrder": {"id": "number", "status": "string"},
    "timestamp": "timestamp",
}
TICKET = {
    "ticketId": "number",
    "action": "string",
    "ticket": {"id": "number", "status": "string"},
    "timestamp": "timestamp",
}
ERROR = {"message": "string", "error": "string", "code": "string", "timestamp": "timestamp"}
TEST_NOTIFICATION = {"title": "string", "message": "string", "type": "string", "timestamp": "timestamp"}

ROOT_GOLDEN: Mapping[str, Golden] = {
    "notification": Golden(
        events.NotificationCreated(AT, NOTE, 5),
        [
            ("newNotification", NEW_NOTIFICATION),
            ("notification_received", {"notification": RECEIVED, "timestamp": "timestamp"}),
        ],
    ),
    "notification of an ObjectId user": Golden(
        events.NotificationCreated(AT, NOTE, "64b7f0"),
        [
            ("newNotification", {**NEW_NOTIFICATION, "user": "string"}),
            ("notification_received", {"notification": {**RECEIVED, "user_id": "string"}, "timestamp": "timestamp"}),
        ],
    ),
    "announcement": Golden(
        events.NotificationCreated(AT, BARE, 7),
        [
            (
                "newNotification",
                {
                    **NEW_NOTIFICATION,
                    "user": "number",
                    "url": "null",
                    "actionUrl": "null",
                    "relatedEntity": "null",
                    "expiresAt": "null",
                },
            ),
            (
                "notification_received",
                {
                    "notification": {
                        **RECEIVED,
                        "user_id": "number",
                        "related_entity_type": "null",
                        "related_entity_id": "null",
                        "title_key": "null",
                        "message_key": "null",
                    },
                    "timestamp": "timestamp",
                },
            ),
        ],
    ),
    "unread": Golden(
        events.UnreadChanged(AT, 5, 3),
        [
            (
                "notification_count_updated",
                {"userId": "number", "count": "number", "unreadCount": "number", "timestamp": "timestamp"},
            )
        ],
    ),
    "online": Golden(events.CameOnline(AT, ANN), [("userOnline", WHO), ("user_online", WHO_NAMED)]),
    "online, ObjectId": Golden(
        events.CameOnline(AT, OBJECT_ID),
        [("userOnline", {"userId": "string"}), ("user_online", {**WHO_NAMED, "userId": "string"})],
    ),
    "offline": Golden(events.WentOffline(AT, ANN), [("userOffline", WHO), ("user_offline", WHO_NAMED)]),
    "activity": Golden(
        events.ActivityChanged(AT, ANN, "online", 4),
        [
            (
                "user_activity_update",
                {**WHO_NAMED, "userRole": "string", "status": "string", "actionsCount": "number"},
            )
        ],
    ),
    "status": Golden(
        events.StatusChanged(AT, ANN, {"status": "busy", "note": "lunch"}),
        [("statusUpdated", {"status": "string", "note": "string", "userId": "number", "timestamp": "timestamp"})],
    ),
    "presence in a room": Golden(
        events.PresenceNoted(AT, ANN, "viewing", 7, {}),
        [("user_presence_update", {**WHO_NAMED, "status": "string", "workOrderId": "number"})],
    ),
    "presence in general": Golden(
        events.PresenceNoted(AT, ANN, "away", None, {"mood": 1}),
        [("user_presence_update", {**WHO_NAMED, "status": "string", "workOrderId": "null", "mood": "number"})],
    ),
    "typing": Golden(
        events.TypingNoted(AT, ANN, True, {"receiverId": "9"}),
        [("userTyping", {"receiverId": "string", "userId": "number", "isTyping": "boolean"})],
    ),
    "typing starts in a room": Golden(
        events.RoomTypingNoted(AT, ANN, True, "work_order_7", 7, "hm"),
        [("user_typing_start", {**TYPING_STOP, "message": "string"})],
    ),
    "typing starts in another room": Golden(
        events.RoomTypingNoted(AT, ANN, True, "lobby", None, None),
        [("user_typing_start", {**TYPING_STOP, "workOrderId": "null", "message": "null"})],
    ),
    "typing stops in a room": Golden(
        events.RoomTypingNoted(AT, ANN, False, "work_order_7", 7, None), [("user_typing_stop", TYPING_STOP)]
    ),
    "work order": Golden(
        events.WorkOrderChanged(AT, 7, "status_changed", ROW, {"oldStatus": "new"}),
        [("work_order_updated", {**WORK_ORDER, "data": "object"})],
    ),
    "work order deleted": Golden(
        events.WorkOrderChanged(AT, 7, "deleted", ROW, {}),
        [("work_order_updated", {**WORK_ORDER, "data": "object"})],
    ),
    "assignment": Golden(
        events.WorkOrderAssignment(AT, 7, "assigned", ROW), [("work_order_assignment_update", WORK_ORDER)]
    ),
    "ticket": Golden(
        events.TicketChanged(AT, 7, "updated", ROW, {}),
        [("repair_ticket_updated", {**TICKET, "data": "object"}), ("repair_ticket_update", TICKET)],
    ),
    "booking": Golden(
        events.BookingChanged(AT, 7, "confirmed", 5, {"from": "2026-01-01"}),
        [("bookingUpdated", {"from": "string", "bookingId": "number", "status": "string", "userId": "number"})],
    ),
    "booking without ids": Golden(
        events.BookingChanged(AT, None, None, None, {}),
        [("bookingUpdated", {"bookingId": "null", "status": "null", "userId": "null"})],
    ),
    "test notification": Golden(
        events.TestNotification(AT, "Hi", "There", "info", None), [("newNotification", TEST_NOTIFICATION)]
    ),
    "test notification to one": Golden(
        events.TestNotification(AT, "Hi", "There", "info", 5),
        [("newNotification", {**TEST_NOTIFICATION, "userId": "number"})],
    ),
    "custom object": Golden(events.Custom(AT, "price", {"eur": 1}), [("price", {"eur": "number"})]),
    "custom scalar": Golden(events.Custom(AT, "price", None), [("price", "null")]),
    "token expired": Golden(
        events.TokenExpired(AT), [("token_expired", {"message": "string", "code": "string", "timestamp": "timestamp"})]
    ),
    "error": Golden(events.ErrorRaised(AT, "INTERNAL", "No"), [("error", ERROR)]),
    "rate limit": Golden(
        events.ErrorRaised(AT, "RATE_LIMIT_EXCEEDED", "Slow down", "typing", 0.6),
        [("error", {**ERROR, "event": "string", "retryAfter": "number"})],
    ),
    "stopping": Golden(
        events.ServerStopping(AT, 2.5),
        [("server_shutdown", {"message": "string", "retryAfter": "number", "timestamp": "timestamp"})],
    ),
}


def frames(dialect: Dialect, event: Event) -> list[tuple[str, Any]]:
    return [(row.wire_name(event), wire.loads(wire.dumps(row.shape(event)))) for row in dialect.rows(event)]


def test_every_event_of_the_root_namespace_has_a_golden_shape() -> None:
    shown = {type(golden.event).__name__ for golden in ROOT_GOLDEN.values()}
    assert shown == {event.__name__ for event in events.catalogue()}


@pytest.mark.parametrize("golden", ROOT_GOLDEN.values(), ids=ROOT_GOLDEN.keys())
def test_the_root_namespace_sends_exactly_the_declared_fields(golden: Golden) -> None:
    seen = [
        (name, described(payload, shape))
        for (name, payload), (_, shape) in zip(frames(ROOT, golden.event), golden.frames, strict=True)
    ]
    assert seen == list(golden.frames)


def sent(event: Event, name: str) -> Any:
    return dict(frames(ROOT, event))[name]


def test_a_notification_says_what_its_two_frontends_read() -> None:
    event = events.NotificationCreated(AT, NOTE, 5)
    flat, wrapped = sent(event, "newNotification"), sent(event, "notification_received")["notification"]
    assert (flat["_id"], flat["id"], flat["read"], flat["archived"]) == ("12", 12, False, False)
    assert flat["url"] == flat["actionUrl"] == "/work-orders/7"
    assert flat["relatedEntity"] == {"type": "work_order", "id": 7}
    assert (wrapped["related_entity_type"], wrapped["related_entity_id"]) == ("work_order", 7)
    assert (wrapped["is_read"], wrapped["message_params"]) == (False, {})
    assert flat["createdAt"] == wrapped["created_at"] == "2023-11-14T22:13:20.123Z"


def test_an_announcement_has_the_type_that_each_frontend_knows() -> None:
    event = events.NotificationCreated(AT, BARE, 7)
    assert sent(event, "newNotification")["type"] == "announcement"
    assert sent(event, "notification_received")["notification"]["type"] == "system"


def test_metadata_of_any_form_is_shown() -> None:
    odd = Content(type="x", title="t", message="m", metadata={"relatedEntity": "text", "message_params": None})
    event = events.NotificationCreated(AT, replace(NOTE, content=odd), 5)
    assert sent(event, "newNotification")["relatedEntity"] is None
    assert sent(event, "notification_received")["notification"]["message_params"] == {}


CLAIMS = {"userId": 666, "userName": "Eve", "timestamp": "never", "status": "x", "isTyping": "x", "workOrderId": 666}


@pytest.mark.parametrize(
    ("event", "truth"),
    [
        (events.StatusChanged(AT, ANN, CLAIMS), {"userId": 5}),
        (events.PresenceNoted(AT, ANN, "away", 7, CLAIMS), {"userId": 5, "userName": "Ann", "status": "away"}),
        (events.PresenceNoted(AT, ANN, "away", 7, CLAIMS), {"workOrderId": 7}),
        (events.TypingNoted(AT, ANN, False, CLAIMS), {"userId": 5, "isTyping": False}),
        (events.BookingChanged(AT, 7, "open", 5, {**CLAIMS, "bookingId": 666}), {"bookingId": 7, "userId": 5}),
    ],
)
def test_what_the_server_knows_wins_over_what_a_client_says(event: Event, truth: dict[str, object]) -> None:
    [(_, payload)] = frames(ROOT, event)
    assert {**payload, **truth} == payload


@pytest.mark.parametrize(
    "event", [events.StatusChanged(AT, ANN, CLAIMS), events.PresenceNoted(AT, ANN, "a", 7, CLAIMS)]
)
def test_a_relayed_event_has_the_servers_time(event: Event) -> None:
    [(_, payload)] = frames(ROOT, event)
    assert payload["timestamp"] == "2023-11-14T22:13:20.123Z"


@pytest.mark.parametrize("data", [None, 0, "text", [1, [2]], {"a": {"b": None}}])
def test_custom_events_pass_untouched(data: object) -> None:
    assert frames(ROOT, events.Custom(AT, "anything", data)) == [("anything", data)]


def row(event: Event, name: str) -> Row:
    return next(row for row in ROOT.rows(event) if row.wire_name(event) == name)


@pytest.mark.parametrize(("kind", "name"), [(events.CameOnline, "user_online"), (events.WentOffline, "user_offline")])
def test_named_presence_is_for_colleagues_and_administrators(
    kind: type[events.CameOnline] | type[events.WentOffline], name: str
) -> None:
    event = kind(AT, ANN)
    reached = row(event, name).reach(event, Audience.all(without="5"))
    assert reached == Audience.room("role_technician", "admin_room", without="5")


@pytest.mark.parametrize(("kind", "name"), [(events.CameOnline, "userOnline"), (events.WentOffline, "userOffline")])
def test_bare_presence_is_for_all_others(kind: type[events.CameOnline] | type[events.WentOffline], name: str) -> None:
    event = kind(AT, ANN)
    assert row(event, name).reach(event, Audience.all(without="5")) == Audience.all(without="5")


def test_presence_for_a_narrower_audience_is_not_widened() -> None:
    event = events.CameOnline(AT, ANN)
    narrow = Audience.room("work_order_7", without="5")
    assert [row.reach(event, narrow) for row in ROOT.rows(event)] == [narrow, narrow]


@pytest.mark.parametrize(
    ("event", "name"),
    [
        (events.ActivityChanged(AT, ANN, "online", 1), "user_activity_update"),
        (events.TicketChanged(AT, 7, "updated", ROW, {}), "repair_ticket_update"),
    ],
)
def test_what_is_for_administrators_goes_to_their_room_alone(event: Event, name: str) -> None:
    assert row(event, name).reach(event, Audience.room("ticket_7", without="5")).rooms == {"admin_room"}


@pytest.mark.parametrize(
    "name",
    [
        "register",
        "updateStatus",
        "typing",
        "bookingUpdate",
        "join_room",
        "leave_room",
        "typing_start",
        "typing_stop",
        "user_presence",
        "heartbeat",
        "user_status_update",
        "refresh_token",
    ],
)
def test_every_client_event_of_the_root_namespace_is_understood(name: str) -> None:
    assert name in ROOT.inbound
