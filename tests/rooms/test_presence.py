from hypothesis import given, settings
from hypothesis import strategies as st

from rooms.presence import PresenceDiff, Roster

GRACE = 5.0
NOTHING = PresenceDiff()


def offline_at(roster: Roster, now: float) -> tuple[str, ...]:
    return roster.expire(now)[0].offline


def test_the_first_connection_brings_a_person_online() -> None:
    roster = Roster(grace=GRACE)
    assert roster.connect("ann", "s1", 100.0) == PresenceDiff(online=("ann",))
    assert "ann" in roster
    assert list(roster) == ["ann"]


def test_second_device_keeps_user_online() -> None:
    roster = Roster(grace=GRACE)
    roster.connect("ann", "s1", 100.0)
    assert roster.connect("ann", "s2", 101.0) == NOTHING
    roster.disconnect("ann", "s1", 102.0)
    assert offline_at(roster, 1000.0) == ()
    assert "ann" in roster


def test_a_person_is_offline_when_the_grace_after_the_last_disconnect_is_over() -> None:
    roster = Roster(grace=GRACE)
    roster.connect("ann", "s1", 100.0)
    roster.disconnect("ann", "s1", 110.0)
    assert offline_at(roster, 114.999) == ()
    assert "ann" in roster
    assert offline_at(roster, 115.0) == ("ann",)
    assert "ann" not in roster
    assert len(roster) == 0


def test_without_grace_a_person_is_offline_at_the_next_look() -> None:
    roster = Roster(grace=0.0)
    roster.connect("ann", "s1", 100.0)
    roster.disconnect("ann", "s1", 110.0)
    assert offline_at(roster, 110.0) == ("ann",)


def test_a_reload_within_the_grace_is_nobodys_business() -> None:
    roster = Roster(grace=GRACE)
    roster.connect("ann", "s1", 100.0)
    roster.set_status("ann", "busy", 101.0)
    roster.disconnect("ann", "s1", 110.0)
    assert roster.connect("ann", "s2", 114.0) == NOTHING
    assert offline_at(roster, 1000.0) == ()
    entry = roster.get("ann")
    assert entry is not None
    assert (entry.status, entry.leaves_at) == ("busy", None)


def test_somebody_who_comes_back_after_the_grace_starts_anew() -> None:
    roster = Roster(grace=GRACE)
    roster.connect("ann", "s1", 100.0)
    roster.set_status("ann", "busy", 101.0)
    roster.disconnect("ann", "s1", 110.0)
    roster.expire(115.0)
    assert roster.connect("ann", "s2", 116.0).online == ("ann",)
    entry = roster.get("ann")
    assert entry is not None
    assert (entry.status, entry.actions) == ("online", 0)


def test_a_second_leaving_starts_a_grace_of_its_own() -> None:
    roster = Roster(grace=GRACE)
    roster.connect("ann", "s1", 100.0)
    roster.connect("bob", "s2", 100.0)
    roster.disconnect("ann", "s1", 110.0)
    roster.disconnect("bob", "s2", 111.0)
    roster.connect("ann", "s3", 112.0)
    roster.disconnect("ann", "s3", 113.0)
    assert offline_at(roster, 116.0) == ("bob",)
    assert offline_at(roster, 118.0) == ("ann",)


def test_the_last_entry_of_somebody_gone_tells_when_they_were_last_seen() -> None:
    roster = Roster(grace=GRACE)
    roster.connect("ann", "s1", 100.0)
    roster.disconnect("ann", "s1", 110.0)
    _, gone = roster.expire(200.0)
    assert gone["ann"].last_seen == 110.0


def test_nobody_goes_offline_twice() -> None:
    roster = Roster(grace=GRACE)
    roster.connect("ann", "s1", 100.0)
    roster.disconnect("ann", "s1", 110.0)
    assert offline_at(roster, 200.0) == ("ann",)
    assert roster.expire(200.0) == (NOTHING, {})


def test_disconnects_of_the_unknown_change_nothing() -> None:
    roster = Roster(grace=0.0)
    roster.disconnect("ann", "s1", 100.0)
    roster.connect("ann", "s1", 100.0)
    roster.disconnect("ann", "never-connected", 100.0)
    assert offline_at(roster, 200.0) == ()


def test_a_repeated_disconnect_does_not_prolong_the_grace() -> None:
    roster = Roster(grace=GRACE)
    roster.connect("ann", "s1", 100.0)
    roster.disconnect("ann", "s1", 110.0)
    roster.disconnect("ann", "s1", 114.0)
    assert offline_at(roster, 115.0) == ("ann",)


def test_beats_count_actions_and_move_last_seen() -> None:
    roster = Roster(grace=GRACE)
    roster.beat("ann", 99.0)
    assert "ann" not in roster
    roster.connect("ann", "s1", 100.0)
    roster.beat("ann", 103.0)
    roster.beat("ann", 104.0)
    entry = roster.get("ann")
    assert entry is not None
    assert (entry.actions, entry.last_seen) == (2, 104.0)


def test_a_status_is_news_only_when_it_changes_and_its_owner_is_online() -> None:
    roster = Roster(grace=GRACE)
    assert roster.set_status("ann", "busy", 100.0) is False
    roster.connect("ann", "s1", 100.0)
    assert roster.set_status("ann", "busy", 101.0) is True
    assert roster.set_status("ann", "busy", 102.0) is False
    assert roster.set_status("ann", "away", 103.0) is True


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["connect", "disconnect", "expire"]), st.sampled_from("ab"), st.sampled_from("123")),
        max_size=40,
    )
)
def test_online_and_offline_alternate_and_match_who_is_connected(steps: list[tuple[str, str, str]]) -> None:
    roster = Roster(grace=1.5)
    online: set[str] = set()
    open_sids: set[tuple[str, str]] = set()
    for now, (what, user, number) in enumerate(steps):
        sid = user + number
        if what == "connect":
            diff = roster.connect(user, sid, float(now))
            open_sids.add((user, sid))
        elif what == "disconnect":
            roster.disconnect(user, sid, float(now))
            open_sids.discard((user, sid))
            diff = NOTHING
        else:
            diff, _ = roster.expire(float(now))
        assert not online & set(diff.online)
        assert set(diff.offline) <= online
        online = (online | set(diff.online)) - set(diff.offline)
        assert online == set(roster)
        assert {user for user, _ in open_sids} <= online
    roster.expire(len(steps) + 1.5)
    assert set(roster) == {user for user, _ in open_sids}
