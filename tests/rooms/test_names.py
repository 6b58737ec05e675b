import string
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rooms import names
from rooms.names import InvalidRoomName, Room

ALLOWED = string.ascii_letters + string.digits + "_.:@|+~%-"
IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (names.user, "user_7"),
        (names.guest, "guest_7"),
        (names.role, "role_7"),
        (names.work_order, "work_order_7"),
        (names.ticket, "ticket_7"),
        (names.booking, "booking_7"),
    ],
)
def test_numbers_and_digits_build_the_same_room(build: Callable[[str], str], name: str) -> None:
    number: object = 7
    assert build("7") == name
    assert build(number) == name  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "room"),
    [
        ("user_64b7f0c2a1", Room("user_64b7f0c2a1", "user", "user_", "64b7f0c2a1")),
        ("guest_123", Room("guest_123", "guest", "guest_", "123")),
        ("role_manager", Room("role_manager", "role", "role_", "manager")),
        ("admin_room", Room("admin_room", "admin", "", "")),
        ("work_order_7", Room("work_order_7", "entity", "work_order_", "7")),
        ("ticket_9", Room("ticket_9", "entity", "ticket_", "9")),
        ("booking_b1", Room("booking_b1", "entity", "booking_", "b1")),
        ("machine_3", Room("machine_3", "entity", "machine_", "3")),
        ("assigned_machine_3", Room("assigned_machine_3", "entity", "assigned_machine_", "3")),
        ("customer_5", Room("customer_5", "entity", "customer_", "5")),
        ("channel:news", Room("channel:news", "channel", "channel:", "news")),
        ("lobby", Room("lobby", "other", "", "lobby")),
        ("admin_room_2", Room("admin_room_2", "other", "", "admin_room_2")),
        ("users", Room("users", "other", "", "users")),
        ("USER_1", Room("USER_1", "other", "", "USER_1")),
    ],
)
def test_each_family_of_rooms_parses(name: str, room: Room) -> None:
    assert names.parse(name) == room


@settings(deadline=None)
@given(IDS)
def test_any_id_survives_being_put_into_a_room_name(id: str) -> None:
    room = names.parse(names.work_order(id))
    assert (room.kind, room.id) == ("entity", id)


@settings(deadline=None)
@given(IDS, IDS)
def test_two_ids_never_share_a_room(one: str, other: str) -> None:
    assert (names.user(one) == names.user(other)) == (one == other)


@settings(deadline=None)
@given(st.text(ALLOWED, min_size=1, max_size=names.MAX_LENGTH))
def test_a_name_of_allowed_characters_parses_to_itself_or_is_refused(name: str) -> None:
    try:
        assert names.parse(name).name == name
    except InvalidRoomName:
        assert name.startswith((*names.ENTITY_PREFIXES, "user_", "guest_", "role_", "channel:"))


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "a b",
        "room\n",
        "room\x00",
        "räume",
        "work_order_é",
        "a/b",
        "room*",
        "x" * 129,
        0,
        7,
        7.5,
        True,
        None,
        b"room",
        ["room"],
        {"room": "a"},
    ],
)
def test_what_is_not_a_room_name_is_refused(value: object) -> None:
    with pytest.raises(InvalidRoomName):
        names.parse(value)
    with pytest.raises(InvalidRoomName):
        names.check(value)


def test_the_longest_name_has_128_characters() -> None:
    assert names.parse("x" * 128).id == "x" * 128


@pytest.mark.parametrize("prefix", [*names.ENTITY_PREFIXES, "user_", "guest_", "role_", "channel:"])
def test_a_family_without_an_id_is_refused(prefix: str) -> None:
    with pytest.raises(InvalidRoomName):
        names.parse(prefix)


@pytest.mark.parametrize(
    "name", ["user_%31", "user_%41", "work_order_a%2fb", "user_%7E1", "user_%", "user_%2", "user_%zz"]
)
def test_a_room_has_one_spelling(name: str) -> None:
    with pytest.raises(InvalidRoomName):
        names.parse(name)


@pytest.mark.parametrize("name", ["user_%FF", "work_order_%C3", "channel:%ED%A0%80"])
def test_escapes_that_are_not_utf8_are_refused(name: str) -> None:
    with pytest.raises(InvalidRoomName):
        names.parse(name)


def test_chosen_rooms_are_those_that_nobody_is_in_by_being_connected() -> None:
    given = ["user_1", "guest_1", "role_user", names.ADMIN_ROOM]
    chosen = ["work_order_1", "customer_user_1", "channel:a", "lobby", "userland"]
    assert names.chosen([*given, *chosen]) == chosen


@pytest.mark.parametrize(
    ("principal", "room"), [("user:5", "user_5"), ("guest:5", "guest_5"), ("user:a:b", "user_a:b")]
)
def test_a_principal_has_a_personal_room(principal: str, room: str) -> None:
    assert names.personal(principal) == room


@pytest.mark.parametrize(("topic", "room"), [("events", "channel:events"), ("a b", "channel:a%20b")])
def test_a_topic_has_a_room_whatever_its_characters(topic: str, room: str) -> None:
    assert names.topic(topic) == room
    assert names.parse(room).id == topic
