from rooms.typing_state import TYPING_SECONDS, Typing, TypingDiff, TypingState

ANN = Typing("s1", "work_order_7")
BOB = Typing("s2", "work_order_7")


def test_typing_that_nobody_renews_ends_after_five_seconds() -> None:
    state = TypingState()
    state.start(ANN, 100.0)
    assert TYPING_SECONDS == 5.0
    assert state.expire(104.999) == TypingDiff()
    assert state.expire(105.0) == TypingDiff((ANN,))
    assert len(state) == 0


def test_another_start_renews_the_indicator() -> None:
    state = TypingState()
    state.start(ANN, 100.0)
    state.start(ANN, 103.0)
    assert len(state) == 1
    assert state.expire(105.0) == TypingDiff()
    assert state.expire(108.0) == TypingDiff((ANN,))


def test_a_renewed_indicator_does_not_hide_one_that_is_over() -> None:
    state = TypingState()
    state.start(ANN, 100.0)
    state.start(BOB, 101.0)
    state.start(ANN, 104.0)
    assert state.expire(106.0) == TypingDiff((BOB,))
    assert state.expire(109.0) == TypingDiff((ANN,))


def test_indicators_end_in_the_order_in_which_they_began() -> None:
    state = TypingState()
    state.start(ANN, 100.0)
    state.start(BOB, 101.0)
    assert state.expire(200.0) == TypingDiff((ANN, BOB))


def test_stopping_closes_an_indicator_once() -> None:
    state = TypingState()
    state.start(ANN, 100.0)
    assert state.stop(ANN) is True
    assert state.stop(ANN) is False
    assert state.expire(200.0) == TypingDiff()


def test_stopping_what_never_started_is_no_change() -> None:
    assert TypingState().stop(ANN) is False


def test_two_devices_type_independently() -> None:
    state = TypingState()
    state.start(ANN, 100.0)
    state.start(BOB, 100.0)
    state.stop(ANN)
    assert state.expire(105.0) == TypingDiff((BOB,))


def test_a_connection_that_leaves_stops_typing_everywhere() -> None:
    state = TypingState()
    elsewhere = Typing("s1", "ticket_9")
    for typing in (ANN, elsewhere, BOB):
        state.start(typing, 100.0)
    assert set(state.leave("s1").stopped) == {ANN, elsewhere}
    assert state.leave("s1") == TypingDiff()
    assert state.expire(105.0) == TypingDiff((BOB,))


def test_leaving_one_room_keeps_what_is_typed_in_others() -> None:
    state = TypingState()
    elsewhere = Typing("s1", "ticket_9")
    state.start(ANN, 100.0)
    state.start(elsewhere, 100.0)
    assert state.leave("s1", "work_order_7") == TypingDiff((ANN,))
    assert state.expire(105.0) == TypingDiff((elsewhere,))


def test_typing_to_everybody_is_a_target_of_its_own() -> None:
    state = TypingState()
    to_all = Typing("s1", "")
    state.start(to_all, 100.0)
    state.start(ANN, 100.0)
    assert state.leave("s1", "") == TypingDiff((to_all,))
    assert len(state) == 1


def test_the_length_of_an_indicator_can_be_chosen() -> None:
    state = TypingState(seconds=1.0)
    state.start(ANN, 100.0)
    assert state.expire(101.0) == TypingDiff((ANN,))
