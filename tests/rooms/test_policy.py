import pytest

from rooms import names, policy
from rooms.policy import Decision, Member, auto_rooms, decide, decide_topic

ALLOW, DENY, ASK = Decision.ALLOW, Decision.DENY, Decision.ASK
ENTITY_ROOMS = ["work_order_7", "ticket_7", "booking_7", "machine_7", "assigned_machine_7", "customer_7"]
STAFF_ROLES = ["manager", "technician", "staff", "employee", "receptionist", "service"]


def member(role: str = "user", *more: str, id: str = "5", guest: bool = False, grants: tuple[str, ...] = ()) -> Member:
    return Member(id=id, guest=guest, roles=frozenset({role, *more}), audience=role, grants=frozenset(grants))


def answer(who: Member, room: str) -> Decision:
    return decide(who, names.parse(room))


GUEST = member("guest", guest=True)


@pytest.mark.parametrize(
    "room", [*ENTITY_ROOMS, "user_9", "guest_9", "role_technician", "admin_room", "channel:news", "lobby"]
)
def test_an_admin_may_join_any_room(room: str) -> None:
    assert answer(member("admin"), room) is ALLOW


@pytest.mark.parametrize("role", STAFF_ROLES)
@pytest.mark.parametrize("room", ENTITY_ROOMS)
def test_staff_may_join_the_rooms_of_every_row(role: str, room: str) -> None:
    assert answer(member(role), room) is ALLOW


@pytest.mark.parametrize("who", [member("user"), member("customer"), GUEST], ids=["user", "customer", "guest"])
@pytest.mark.parametrize("room", ENTITY_ROOMS)
def test_for_everyone_else_the_row_decides(who: Member, room: str) -> None:
    assert answer(who, room) is ASK


@pytest.mark.parametrize("role", [*STAFF_ROLES, "user"])
def test_only_its_owner_may_join_a_personal_room(role: str) -> None:
    assert answer(member(role), "user_5") is ALLOW
    assert answer(member(role), "user_6") is DENY


def test_a_guest_and_a_user_of_the_same_id_have_different_rooms() -> None:
    assert answer(GUEST, "guest_5") is ALLOW
    assert answer(GUEST, "user_5") is DENY
    assert answer(GUEST, "guest_6") is DENY
    assert answer(member(), "guest_5") is DENY


def test_an_id_is_compared_decoded() -> None:
    assert answer(member(id="a/b"), "user_a%2Fb") is ALLOW


def test_a_role_room_is_for_those_who_hold_the_role() -> None:
    assert answer(member("technician"), "role_technician") is ALLOW
    assert answer(member("technician"), "role_manager") is DENY
    assert answer(member("manager"), "role_technician") is DENY
    assert answer(GUEST, "role_guest") is DENY


@pytest.mark.parametrize(
    ("role", "decision"), [("manager", ALLOW), ("technician", DENY), ("service", DENY), ("user", DENY)]
)
def test_the_admin_room_is_for_admins_and_managers(role: str, decision: Decision) -> None:
    assert answer(member(role), "admin_room") is decision


@pytest.mark.parametrize("room", ["lobby", "admin_room_2", "work_orders", "channel:news"])
def test_rooms_that_no_rule_knows_are_refused_to_all_but_admins(room: str) -> None:
    assert answer(member("manager"), room) is DENY
    assert answer(GUEST, room) is DENY


@pytest.mark.parametrize(
    ("grant", "room", "decision"),
    [
        ("work_order_7", "work_order_7", ALLOW),
        ("work_order_7", "work_order_77", ASK),
        ("work_order_*", "work_order_7", ALLOW),
        ("work_order_*", "ticket_7", ASK),
        ("machine_*", "assigned_machine_7", ASK),
        ("*", "work_order_7", ASK),
        ("w*", "work_order_7", ASK),
        ("work_order_7*", "work_order_77", ASK),
        ("*_*", "work_order_7", ASK),
        ("", "work_order_7", ASK),
    ],
)
def test_a_tokens_rooms_claim_grants_exact_names_and_prefixes(grant: str, room: str, decision: Decision) -> None:
    assert answer(member(grants=(grant,)), room) is decision


@pytest.mark.parametrize("room", ["admin_room", "user_6", "role_admin", "lobby", "channel:news"])
def test_a_grant_opens_rooms_of_rows_only(room: str) -> None:
    assert answer(member(grants=(room, "user_*", "role_*", "admin_*", "_*")), room) is DENY


def test_an_old_token_gives_back_nothing_that_the_newer_role_took_away() -> None:
    demoted = Member(id="5", guest=False, roles=frozenset({"admin", "user"}), audience="user")
    assert answer(demoted, "lobby") is DENY
    assert answer(demoted, "admin_room") is DENY
    assert answer(demoted, "work_order_7") is ASK
    assert answer(demoted, "role_user") is ALLOW
    assert answer(demoted, "role_admin") is DENY


def test_a_promotion_gives_an_old_token_nothing_either() -> None:
    promoted = Member(id="5", guest=False, roles=frozenset({"user", "manager"}), audience="manager")
    assert answer(promoted, "admin_room") is DENY
    assert answer(promoted, "role_manager") is ALLOW


def test_two_staff_roles_together_are_still_staff() -> None:
    moved = Member(id="5", guest=False, roles=frozenset({"technician", "manager"}), audience="technician")
    assert answer(moved, "work_order_7") is ALLOW
    assert answer(moved, "admin_room") is DENY


def test_a_guest_holds_no_staff_role_whatever_its_token_says() -> None:
    pretender = Member(id="5", guest=True, roles=frozenset({"admin"}), audience="admin")
    assert not pretender.admin
    assert not pretender.staff
    assert answer(pretender, "work_order_7") is ASK
    assert answer(pretender, "admin_room") is DENY


def test_nobody_without_a_role_is_staff() -> None:
    nobody = Member(id="5", guest=False, roles=frozenset(), audience="user")
    assert not nobody.staff
    assert not nobody.admin


@pytest.mark.parametrize(
    ("who", "rooms"),
    [
        (member("user"), ["user_5", "role_user"]),
        (member("technician"), ["user_5", "role_technician"]),
        (member("manager"), ["user_5", "role_manager", "admin_room"]),
        (member("admin"), ["user_5", "role_admin", "admin_room"]),
        (member("user", id="a/b"), ["user_a%2Fb", "role_user"]),
        (GUEST, ["guest_5"]),
    ],
    ids=["user", "technician", "manager", "admin", "encoded", "guest"],
)
def test_connecting_joins_the_rooms_of_the_contract(who: Member, rooms: list[str]) -> None:
    assert auto_rooms(who) == rooms


@pytest.mark.parametrize(
    "who", [member(role) for role in ("user", "admin", "manager", "technician")] + [GUEST], ids=lambda who: who.audience
)
def test_everyone_may_be_where_connecting_puts_them(who: Member) -> None:
    assert {answer(who, room) for room in auto_rooms(who)} == {ALLOW}


def test_publishers_are_admins_managers_and_services() -> None:
    assert {"admin", "manager", "service"} == policy.PUBLISHER_ROLES
    assert policy.PUBLISHER_ROLES <= policy.STAFF


# --- topics of dashboards ---

RESTRICTED = frozenset({names.topic("money")})


@pytest.mark.parametrize("who", [member("user"), member("technician"), member("guest", guest=True), member("admin")])
def test_a_topic_is_open_to_everybody(who: Member) -> None:
    assert decide_topic(who, names.parse(names.topic("events")), RESTRICTED) is Decision.ALLOW


@pytest.mark.parametrize(
    ("who", "decision"),
    [
        (member("user"), Decision.DENY),
        (member("technician"), Decision.DENY),
        (member("guest", guest=True), Decision.DENY),
        (member("manager"), Decision.ALLOW),
        (member("service"), Decision.ALLOW),
        (member("admin"), Decision.ALLOW),
        (member("user", grants=("channel:money",)), Decision.ALLOW),
        (member("user", grants=("channel:other",)), Decision.DENY),
    ],
)
def test_a_restricted_topic_needs_a_right_or_a_grant(who: Member, decision: Decision) -> None:
    assert decide_topic(who, names.parse(names.topic("money")), RESTRICTED) is decision
