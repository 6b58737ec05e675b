"""What hotel guests were sent while nobody was listening: kept, told once, in order, and not before it has arrived."""

from collections.abc import Callable

import pytest

from tests.e2e.hotel import Guest, Tab, confirm, in_seconds, open_tab, send, send_to
from tests.e2e.plain import PlainClients
from tests.e2e.process import Server


def titles_after(server: Server, tab: Tab, guest: Guest, title: str = "the last one") -> list[str]:
    """Return all that a tab has heard up to a row that is sent now: it comes behind everything that was missed."""
    send_to(server, guest, title)
    tab.hears("notification", title=title)
    return tab.titles()[:-1]


def test_missed_rows_come_oldest_first_after_the_connection_frame(server: Server, plain: PlainClients) -> None:
    guest = Guest.new()
    open_tab(plain, server, guest).close()  # so that the server knows the guest
    titles = [f"number {n}" for n in range(20)]
    for title in titles:
        send_to(server, guest, title)
    send(server, title="for all", recipient_type="all")
    send(server, title="for walk-ins", recipient_type="walkin")
    tab = open_tab(plain, server, guest)
    assert titles_after(server, tab, guest) == [*titles, "for all", "for walk-ins"]
    assert tab.names()[0] == "connection"


def test_row_for_a_guest_who_was_never_here_waits_for_them(server: Server, plain: PlainClients) -> None:
    guest = Guest.new()
    send(server, title="for all who are here", recipient_type="all")
    send_to(server, guest, "welcome")
    assert titles_after(server, open_tab(plain, server, guest), guest) == ["welcome"]


def test_second_tab_is_not_told_again(server: Server, plain: PlainClients) -> None:
    guest = Guest.new()
    send_to(server, guest, "missed")
    first = open_tab(plain, server, guest)
    first.hears("notification", title="missed")
    confirm(server, first)
    second = open_tab(plain, server, guest)
    assert titles_after(server, second, guest) == []
    first.hears("notification", title="the last one")
    assert first.titles() == ["missed", "the last one"]


def test_missed_rows_of_others_are_nobody_elses(server: Server, plain: PlainClients) -> None:
    guest, other = Guest.new(), Guest.new()
    send_to(server, guest, "private")
    assert titles_after(server, open_tab(plain, server, other), other) == []
    assert titles_after(server, open_tab(plain, server, guest), guest) == ["private"]


def test_client_that_vanishes_before_it_confirms_is_told_again(server: Server, plain: PlainClients) -> None:
    guest = Guest.new()
    lost = open_tab(plain, server, guest, autoPong=False)
    send_to(server, guest, "kept")
    lost.hears("notification", title="kept")
    lost.hears("$ping")
    lost.vanish()
    back = open_tab(plain, server, guest)
    assert titles_after(server, back, guest) == ["kept"]
    confirm(server, back)
    assert titles_after(server, open_tab(plain, server, guest), guest, "the very last one") == []


def test_client_that_vanishes_without_reading_is_told_again(server: Server, plain: PlainClients) -> None:
    guest = Guest.new()
    lost = open_tab(plain, server, guest)
    lost.pause()
    for n in range(3):
        send_to(server, guest, f"unread {n}")
    lost.vanish()
    back = open_tab(plain, server, guest)
    assert titles_after(server, back, guest) == ["unread 0", "unread 1", "unread 2"]


def test_client_that_vanishes_in_the_middle_of_a_replay_is_told_again(server: Server, plain: PlainClients) -> None:
    guest = Guest.new()
    send_to(server, guest, "missed")
    lost = open_tab(plain, server, guest, autoPong=False)
    lost.hears("notification", title="missed")
    lost.vanish()
    assert titles_after(server, open_tab(plain, server, guest), guest) == ["missed"]


def test_one_tab_that_has_it_is_enough(server: Server, plain: PlainClients) -> None:
    guest = Guest.new()
    deaf, awake = open_tab(plain, server, guest, autoPong=False), open_tab(plain, server, guest)
    send_to(server, guest, "seen")
    for tab in (deaf, awake):
        tab.hears("notification", title="seen")
    confirm(server, awake)
    for tab in (deaf, awake):
        tab.vanish()
    assert titles_after(server, open_tab(plain, server, guest), guest) == []


@pytest.fixture
def fragile(start_server: Callable[..., Server]) -> Server:
    """A server for a test that kills it."""
    return start_server()


def test_kill_loses_nothing_that_was_answered(fragile: Server, plain: PlainClients) -> None:
    server, guest, away = fragile, Guest.new(), Guest.new()
    tab = open_tab(plain, server, guest)
    send_to(server, guest, "confirmed")
    tab.hears("notification", title="confirmed")
    confirm(server, tab)
    unconfirmed = open_tab(plain, server, away, autoPong=False)
    for n in range(3):
        send_to(server, away, f"unconfirmed {n}")
    send(server, title="for all", recipient_type="all")
    unconfirmed.hears("notification", title="for all")
    server.kill()
    assert tab.closed()[0] == unconfirmed.closed()[0] == 1006
    server.start()
    expected = ["unconfirmed 0", "unconfirmed 1", "unconfirmed 2", "for all"]
    assert titles_after(server, open_tab(plain, server, away), away) == expected
    back = titles_after(server, open_tab(plain, server, guest), guest)
    assert "confirmed" not in back
    assert set(back) <= {"for all"}, "which may have been confirmed or not when the server was killed"


def test_kill_before_the_time_of_a_scheduled_row_does_not_lose_it(fragile: Server, plain: PlainClients) -> None:
    server, guest = fragile, Guest.new()
    send_to(server, guest, "wake up", scheduled_at=in_seconds(1))
    server.kill()
    server.start()
    tab = open_tab(plain, server, guest)
    tab.hears("notification", title="wake up")
    assert titles_after(server, tab, guest) == ["wake up"]
