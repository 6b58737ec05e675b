from collections.abc import MutableSet

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rooms.membership import Membership, RoomLimit

LIMIT = 3
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "enter", "leave", "enter", "remove"]),
        st.sampled_from(["s1", "s2", "s3"]),
        st.sampled_from(["a", "b", "c", "d", "e"]),
    ),
    max_size=60,
)


class NaiveRooms:
    """The same promises as one set of pairs."""

    def __init__(self) -> None:
        self.sids: set[str] = set()
        self.pairs: set[tuple[str, str]] = set()

    def rooms(self, sid: str) -> set[str]:
        return {room for member, room in self.pairs if member == sid}

    def members(self, room: str) -> set[str]:
        return {member for member, other in self.pairs if other == room}

    def step(self, what: str, sid: str, room: str) -> object:
        before = set(self.pairs)
        if what == "add":
            self.sids.add(sid)
            return None
        if what == "remove":
            left = self.rooms(sid)
            self.sids.discard(sid)
            self.pairs = {pair for pair in self.pairs if pair[0] != sid}
            return left
        if what == "leave":
            self.pairs.discard((sid, room))
            return self.pairs != before
        if sid not in self.sids:
            return "unknown"
        if (sid, room) not in self.pairs and len(self.rooms(sid)) >= LIMIT:
            return "limit"
        self.pairs.add((sid, room))
        return self.pairs != before


def take(index: Membership, what: str, sid: str, room: str) -> object:
    try:
        match what:
            case "add":
                index.add(sid)
                return None
            case "remove":
                return index.remove(sid)
            case "leave":
                return index.leave(sid, room)
            case _:
                return index.enter(sid, room)
    except RoomLimit:
        return "limit"
    except KeyError:
        return "unknown"


@settings(deadline=None)
@given(STEPS)
def test_the_index_equals_a_naive_set_of_pairs(steps: list[tuple[str, str, str]]) -> None:
    index, naive = Membership(max_rooms=LIMIT), NaiveRooms()
    for what, sid, room in steps:
        assert take(index, what, sid, room) == naive.step(what, sid, room)
        assert set(index.all()) == naive.sids
        assert len(index) == len(naive.sids)
        assert set(index.room_names()) == {room for _, room in naive.pairs}
        for sid_ in ("s1", "s2", "s3"):
            assert set(index.rooms(sid_)) == naive.rooms(sid_)
            assert (sid_ in index) == (sid_ in naive.sids)
        for room_ in ("a", "b", "c", "d", "e"):
            assert set(index.members(room_)) == naive.members(room_)
            assert {sid_ for sid_ in ("s1", "s2", "s3") if index.is_in(sid_, room_)} == naive.members(room_)
        assert index.union(["a", "b"]) == naive.members("a") | naive.members("b")


def joined(**rooms: str) -> Membership:
    index = Membership()
    for sid, names in rooms.items():
        index.add(sid)
        for room in names.split():
            index.enter(sid, room)
    return index


def test_a_connection_must_be_known_before_it_can_enter_a_room() -> None:
    index = Membership()
    with pytest.raises(KeyError):
        index.enter("ghost", "lobby")
    assert not index.room_names()


def test_a_removed_connection_is_nowhere_and_cannot_come_back_unannounced() -> None:
    index = joined(s1="a b", s2="a")
    assert index.remove("s1") == {"a", "b"}
    assert index.members("a") == {"s2"}
    assert "b" not in index.room_names()
    with pytest.raises(KeyError):
        index.enter("s1", "a")


def test_removing_an_unknown_connection_takes_it_out_of_nothing() -> None:
    assert Membership().remove("ghost") == set()


def test_adding_a_connection_again_keeps_its_rooms() -> None:
    index = joined(s1="a")
    index.add("s1")
    assert index.rooms("s1") == {"a"}


def test_entering_and_leaving_twice_are_no_changes() -> None:
    index = joined(s1="a")
    assert index.enter("s1", "a") is False
    assert index.leave("s1", "a") is True
    assert index.leave("s1", "a") is False
    assert index.leave("ghost", "a") is False


def test_a_room_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="name"):
        joined(s1="").enter("s1", "")


def test_the_room_limit_holds_per_connection_and_frees_up_on_leaving() -> None:
    index = Membership(max_rooms=2)
    for sid in ("s1", "s2"):
        index.add(sid)
        index.enter(sid, "a")
        index.enter(sid, "b")
    with pytest.raises(RoomLimit):
        index.enter("s1", "c")
    assert index.enter("s1", "a") is False  # where it already is, nothing is added
    index.leave("s1", "a")
    assert index.enter("s1", "c") is True
    assert "c" not in index.rooms("s2")


def test_the_limit_is_500_rooms_unless_said_otherwise() -> None:
    index = Membership()
    index.add("s1")
    for number in range(500):
        index.enter("s1", f"room{number}")
    with pytest.raises(RoomLimit, match="500"):
        index.enter("s1", "one-more")


def test_a_union_holds_each_connection_once_and_no_rooms_hold_nobody() -> None:
    index = joined(s1="a b", s2="b", s3="c")
    assert index.union(["a", "b", "nowhere"]) == {"s1", "s2"}
    assert index.union([]) == set()


@pytest.mark.parametrize("rooms", [["a"], ["a", "b"], ["nowhere"]])
def test_nobody_can_change_the_index_by_what_it_returns(rooms: list[str]) -> None:
    index = joined(s1="a", s2="a b", s3="c")
    for view in (index.union(rooms), index.members(rooms[0]), index.all()):
        assert not isinstance(view, MutableSet)
    assert index.members("a") == {"s1", "s2"}


def test_members_are_listed_in_the_order_in_which_they_came() -> None:
    sids = [f"s{number}" for number in range(100)]
    index = joined(**{sid: "a b" if number % 3 == 0 else "a" for number, sid in enumerate(sids)})
    assert [*index.all()] == [*index.members("a")] == [*index.union(["a"])] == sids
    assert [*index.union(["b", "a"])] == sids[::3] + [sid for number, sid in enumerate(sids) if number % 3]
    index.leave("s3", "a")
    index.enter("s3", "a")
    assert [*index.members("a")] == [*(sid for sid in sids if sid != "s3"), "s3"]
