"""Every event has a shape, or an explicit "not sent", in every vocabulary; an undeclared field is a bug."""

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from handlers.commands.dispatch import COMMANDS
from realtime import dialects, events
from realtime.dialects.base import NOT_SENT, Dialect, Row
from realtime.dialects.dashboard import DASHBOARD
from realtime.dialects.guests import GUESTS
from realtime.dialects.messaging import MESSAGING
from realtime.dialects.notifications import NOTIFICATIONS, STREAM
from realtime.dialects.root import ROOT
from realtime.engine.server import RESERVED_EVENTS
from realtime.events import Audience, Event
from realtime.models import Content
from tests.golden.shapes import dashboard, guests, messaging, notifications, root
from tests.golden.shapes.samples import (
    ANN,
    AT,
    BARE,
    GUEST,
    MESSAGE,
    NOTE,
    RECEIVER,
    ROW,
    SENDER,
    UNREAD,
    Golden,
    Shapes,
    described,
    frames,
)

ABSTRACT = {Event, events.MessageEvent}
"""What other events are made from, and what never happens itself."""

SHAPES: Mapping[str, Shapes] = {
    ROOT.name: root.SHAPES,
    NOTIFICATIONS.name: notifications.SHAPES,
    STREAM.name: notifications.STREAM_SHAPES,
    DASHBOARD.name: dashboard.SHAPES,
    MESSAGING.name: messaging.SHAPES,
    GUESTS.name: guests.SHAPES,
}
"""By vocabulary: one or more golden examples of every event that it sends."""

ASKED_OF_AN_INBOX = {"notifications_sync", "notification_ack"}
INBOUND: Mapping[str, set[str]] = {
    ROOT.name: {
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
        *ASKED_OF_AN_INBOX,
    },
    NOTIFICATIONS.name: {
        "subscribe_notifications",
        "unsubscribe_notifications",
        "heartbeat",
        "refresh_token",
        *ASKED_OF_AN_INBOX,
    },
    STREAM.name: set(),
    DASHBOARD.name: {"subscribe", "unsubscribe", "heartbeat", "refresh_token", *ASKED_OF_AN_INBOX},
    MESSAGING.name: {
        "sendMessage",
        "NEW_MESSAGE",
        "message:send",
        "typing",
        "typing:start",
        "TYPING_START",
        "typing:stop",
        "TYPING_STOP",
        "markAsRead",
        "MESSAGE_READ",
        "message:read",
        "PING",
        "GET_ONLINE_USERS",
        "heartbeat",
        "refresh_token",
    },
    GUESTS.name: set(),
}
"""By vocabulary: every event that its clients send."""


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
    assert events.catalogue() == sorted(declared - ABSTRACT, key=lambda event: event.__name__)


def test_only_bases_are_left_out_of_the_catalogue() -> None:
    assert all(base.__subclasses__() for base in ABSTRACT)


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


def test_every_vocabulary_has_golden_shapes_and_a_list_of_its_clients_events() -> None:
    assert set(SHAPES) == set(INBOUND) == {dialect.name for dialect in all_dialects()}


@pytest.mark.parametrize("dialect", all_dialects(), ids=by_name)
def test_every_event_that_a_vocabulary_sends_has_a_golden_shape_and_no_other(dialect: Dialect) -> None:
    shown = {type(golden.event).__name__ for golden in SHAPES[dialect.name].values()}
    assert shown == {event.__name__ for event, rows in dialect.outbound.items() if rows is not NOT_SENT}


@pytest.mark.parametrize("dialect", all_dialects(), ids=by_name)
def test_every_row_of_a_vocabulary_is_shown(dialect: Dialect) -> None:
    shown = [(golden.event, [name for name, _ in golden.frames]) for golden in SHAPES[dialect.name].values()]
    seen = [(event, [row.wire_name(event) for row in dialect.rows(event)]) for event, _ in shown]
    assert shown == seen


def every_golden() -> list[Any]:
    return [
        pytest.param(dialect, golden, id=f"{dialect.name}: {what}")
        for dialect in all_dialects()
        for what, golden in SHAPES.get(dialect.name, {}).items()
    ]


@pytest.mark.parametrize(("dialect", "golden"), every_golden())
def test_exactly_the_declared_fields_are_sent(dialect: Dialect, golden: Golden) -> None:
    seen = [
        (name, described(payload, shape))
        for (name, payload), (_, shape) in zip(frames(dialect, golden.event), golden.frames, strict=True)
    ]
    assert seen == list(golden.frames)


@pytest.mark.parametrize(("dialect", "golden"), every_golden())
def test_an_event_looks_the_same_to_everybody_but_for_who_reads_it(dialect: Dialect, golden: Golden) -> None:
    """Broadcasts are encoded once, with a mark where the reader's id belongs."""
    event = golden.event
    if isinstance(event, events.NotificationCreated) and dialect is not GUESTS:
        marked = frames(dialect, replace(event, reader="\ue000"))
        own = str(event.reader) if dialect.text_ids else event.reader
        assert _filled(marked, own) == frames(dialect, event)


def _filled(value: Any, own: object) -> Any:
    if isinstance(value, dict):
        return {key: _filled(item, own) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_filled(item, own) for item in value)
    return own if value == "\ue000" else value


@pytest.mark.parametrize("dialect", all_dialects(), ids=by_name)
def test_clients_are_understood_in_all_they_say_and_nothing_else(dialect: Dialect) -> None:
    assert set(dialect.inbound) == INBOUND[dialect.name]


@pytest.mark.parametrize("dialect", all_dialects(), ids=by_name)
def test_only_streams_say_how_far_a_client_has_got(dialect: Dialect) -> None:
    marked = {event for event, rows in dialect.outbound.items() for row in rows if row.mark is not None}
    assert marked == ({events.NotificationCreated, events.AnnouncementCreated} if dialect is STREAM else set())


@pytest.mark.parametrize("dialect", [each for each in all_dialects() if each is not MESSAGING], ids=by_name)
def test_chat_stays_in_the_messaging_vocabulary(dialect: Dialect) -> None:
    chat = [event for event in events.catalogue() if issubclass(event, (events.MessageEvent, events.MessageTyping))]
    assert len(chat) == 5
    assert all(dialect.outbound[event] is NOT_SENT for event in chat)


# --- the root namespace ---


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


# --- the inbox: /notifications and its stream ---


def only(dialect: Dialect, event: Event) -> Any:
    [(_, payload)] = frames(dialect, event)
    return payload


def test_a_notification_is_an_envelope_and_a_flat_object_at_once() -> None:
    frame = only(NOTIFICATIONS, events.NotificationCreated(AT, NOTE, 5))
    inner = frame["data"]
    assert (frame["type"], inner["type"], frame["notificationType"]) == ("notification", "work_order", "work_order")
    flat = set(inner) - {"type", "updatedAt"}
    assert {name: frame[name] for name in flat} == {name: inner[name] for name in flat}
    assert (inner["id"], inner["userId"], inner["isRead"], inner["isNew"]) == ("12", "5", False, True)
    assert inner["actionUrl"] == "/work-orders/7"


def test_a_stream_says_what_the_envelope_holds_and_what_its_client_has_come_to() -> None:
    event = events.NotificationCreated(AT, NOTE, 5)
    assert only(STREAM, event) == only(NOTIFICATIONS, event)["data"]
    assert STREAM.rows(event)[0].wire_mark(event) == NOTE


@pytest.mark.parametrize("dialect", [NOTIFICATIONS, STREAM], ids=by_name)
def test_an_announcement_in_the_inbox_has_a_type_of_its_own(dialect: Dialect) -> None:
    frame = only(dialect, events.AnnouncementCreated(AT, BARE, 7))
    assert frame.get("notificationType", frame["type"]) == "SYSTEM_ANNOUNCEMENT"


def test_a_count_is_said_twice_in_the_namespace_and_once_in_the_stream() -> None:
    bare = {"count": 3, "unseenCount": 1, "categories": {"work_order": 2, "info": 1}, "revision": 17}
    frame = only(NOTIFICATIONS, UNREAD)
    assert (frame["type"], frame["data"], {name: frame[name] for name in bare}) == ("unread_count", bare, bare)
    assert only(STREAM, UNREAD) == bare


@pytest.mark.parametrize("dialect", [ROOT, DASHBOARD], ids=by_name)
def test_a_count_has_both_of_its_names_where_frontends_know_both(dialect: Dialect) -> None:
    frame = only(dialect, UNREAD)
    assert (frame["count"], frame["unreadCount"], frame["unseenCount"], frame["revision"]) == (3, 3, 1, 17)
    assert frame["categories"] == {"work_order": 2, "info": 1}


@pytest.mark.parametrize("dialect", [ROOT, NOTIFICATIONS, DASHBOARD], ids=by_name)
def test_changes_are_told_alike_wherever_there_is_an_inbox(dialect: Dialect) -> None:
    seen = replace(NOTE, seen_at=AT, snoozed_until=AT + 1)
    event = events.InboxSynced(AT, 5, "1.2.3.0.5", ((11, None), (12, seen)), unread=1, reset=False, more=True)
    page = only(dialect, event)
    assert {name: value for name, value in page.items() if name != "changes"} == {
        "token": "1.2.3.0.5",
        "unreadCount": 1,
        "reset": False,
        "hasMore": True,
        "timestamp": "2023-11-14T22:13:20.123Z",
    }
    gone, changed = page["changes"]
    assert gone == {"op": "remove", "id": 11}
    assert (changed["op"], changed["id"]) == ("upsert", 12)
    row = changed["notification"]
    assert (row["id"], row["_id"], row["userId"], row["read"], row["seen"]) == (12, "12", 5, False, True)
    assert (row["category"], row["archived"], row["archivedAt"]) == ("work_order", False, None)
    assert (row["seenAt"], row["snoozedUntil"]) == ("2023-11-14T22:13:20.123Z", "2023-11-14T22:13:21.123Z")


@pytest.mark.parametrize("dialect", [STREAM, MESSAGING, GUESTS], ids=by_name)
def test_changes_are_told_nowhere_else(dialect: Dialect) -> None:
    assert dialect.outbound[events.InboxSynced] is NOT_SENT


# --- dashboards ---


def test_a_dashboard_shows_a_notification_as_a_browser_does() -> None:
    pictures = replace(NOTE, content=dashboard.PICTURES)
    frame = only(DASHBOARD, events.NotificationCreated(AT, pictures, 5))
    assert (frame["id"], frame["body"], frame["message"], frame["priority"]) == ("12", "There", "There", "normal")
    assert (frame["icon"], frame["badge"]) == ("/a.png", "/b.png")


@pytest.mark.parametrize("dialect", [DASHBOARD, MESSAGING], ids=by_name)
@pytest.mark.parametrize("kind", [events.CameOnline, events.WentOffline])
@pytest.mark.parametrize("named", [Audience.all_users(without="5"), Audience.room("work_order_7"), Audience()])
def test_dashboards_and_chats_hear_of_everybody_else_whoever_hears_it_on_the_root(
    dialect: Dialect, kind: type[events.CameOnline] | type[events.WentOffline], named: Audience
) -> None:
    event = kind(AT, ANN)
    assert {row.reach(event, named) for row in dialect.rows(event)} == {Audience.all_users(without="5")}


# --- chat ---


def test_the_names_of_an_event_say_the_same() -> None:
    for golden in messaging.SHAPES.values():
        seen = frames(MESSAGING, golden.event)
        if isinstance(golden.event, events.MessageEvent | events.MessageTyping):
            assert all(payload == seen[0][1] for _, payload in seen)


def test_a_message_is_known_by_the_same_id_everywhere() -> None:
    event = events.MessageSent(AT, MESSAGE, SENDER, RECEIVER)
    frame = dict(frames(MESSAGING, event))["message:sent"]
    assert (frame["id"], frame["messageId"], frame["dbMessageId"]) == ("31", "31", "31")
    assert (frame["uniqueId"], frame["tempId"], frame["status"]) == ("tmp-1", "tmp-1", "sent")


def test_a_message_that_was_taken_is_delivered_for_its_sender_too() -> None:
    event = events.MessageSent(AT, messaging.LATER, SENDER, RECEIVER)
    assert dict(frames(MESSAGING, event))["message:sent"]["status"] == "delivered"


def test_statuses_are_loud_in_one_name_and_quiet_in_the_others() -> None:
    seen = dict(frames(MESSAGING, events.WentOffline(AT, ANN)))
    assert seen["USER_STATUS_CHANGE"]["status"] == "OFFLINE"
    assert {seen[name]["status"] for name in ("presence:offline", "USER_PRESENCE_UPDATE")} == {"offline"}


# --- hotel guests ---


def test_a_guests_ids_are_numbers() -> None:
    frame = only(GUESTS, events.NotificationCreated(AT, guests.ROW, 123))
    assert (frame["id"], frame["hotel_id"], frame["recipient_id"]) == (12, 1, 123)
    assert only(GUESTS, events.Connected(AT, GUEST, None, 1))["guestId"] == 123


def test_a_guests_row_says_whether_it_was_read() -> None:
    sent, read = (
        only(GUESTS, events.NotificationCreated(AT, row, 123))["status"] for row in (guests.ROW, guests.ROW.marked(AT))
    )
    assert (sent, read) == ("sent", "read")


# --- who may speak ---


def test_each_vocabulary_is_for_its_own_kind_of_people() -> None:
    assert {dialect.name: dialect.speakers for dialect in all_dialects()} == {
        "root": "anybody",
        "notifications": "anybody",
        "stream": "anybody",
        "dashboard": "anybody",
        "messaging": "users",
        "guests": "guests",
    }


def test_people_are_known_by_text_where_clients_compare_text() -> None:
    assert {dialect.name for dialect in all_dialects() if dialect.text_ids} == {
        "notifications",
        "stream",
        "dashboard",
        "messaging",
    }
