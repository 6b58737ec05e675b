"""What guests' sockets are sent, and what counts as delivered."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from realtime.models import Content, InboxQuery, Notification, Principal, Target
from realtime.services import guests as module
from realtime.services.guests import MAX_PINGS, MAX_REPLAY, MAX_UNCONFIRMED
from tests.services.hotel import LATE, TO_7, TO_ALL, Hotel, open_hotel
from tests.support import FakeClock


@pytest.fixture
async def hotel(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Hotel]:
    async with open_hotel(tmp_path / "test.db", clock) as hotel:
        yield hotel


# --- greeting and replay ---


async def test_the_connection_frame_comes_first_and_has_a_numeric_id(hotel: Hotel) -> None:
    missed = await hotel.send()
    tab = await hotel.settled()
    assert [frame["type"] for frame in tab.frames] == ["connection", "notification"]
    greeting = tab.frames[0]["data"]
    assert {**greeting, "timestamp": ""} == {"status": "connected", "guestId": 7, "timestamp": ""}
    assert tab.ids == [missed]


async def test_what_was_missed_comes_oldest_first_with_one_ping_behind_it(hotel: Hotel) -> None:
    missed = [await hotel.send(), await hotel.send(), await hotel.send()]
    tab = await hotel.settled()
    await tab.hears(*missed)
    assert tab.pings == [1 + len(missed)]


async def test_nothing_missed_means_no_ping(hotel: Hotel) -> None:
    tab = await hotel.settled()
    assert tab.pings == []


async def test_a_replay_is_capped_and_goes_on_at_the_next_connection(
    hotel: Hotel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_REPLAY", 2)
    missed = [await hotel.send() for _ in range(3)]
    tab = await hotel.settled()
    assert tab.ids == missed[:2]
    tab.pong()
    assert await hotel.waiting() == missed[2:]
    tab.break_off()
    assert (await hotel.settled()).ids == missed[2:]


def test_a_connection_is_told_a_hundred_rows_at_most() -> None:
    assert MAX_REPLAY == 100


async def test_expired_rows_are_not_replayed(hotel: Hotel) -> None:
    await hotel.send(expires_at=hotel.clock() + 60)
    kept = await hotel.send()
    hotel.clock.advance(61)
    assert (await hotel.settled()).ids == [kept]


async def test_rows_of_other_guests_and_of_users_are_not_replayed(hotel: Hotel) -> None:
    await hotel.send(Target(recipient="guest:8"))
    await hotel.send(Target(recipient="user:7"))
    await hotel.send(Target(audience="all"))
    assert (await hotel.settled()).ids == []


async def test_what_comes_during_a_replay_follows_it_once(hotel: Hotel) -> None:
    missed = [await hotel.send(), await hotel.send()]
    tab = hotel.arrive(reading=False)
    await tab.hears(missed[0])
    live = await hotel.send()
    assert tab.ids == missed[:1]
    tab.reading.set()
    await tab.hears(*missed, live)
    await hotel.caught_up()
    tab.pong()
    assert await hotel.waiting() == []


async def test_what_is_held_back_during_a_replay_is_not_taken_for_written(hotel: Hotel) -> None:
    missed = [await hotel.send(), await hotel.send()]
    tab = hotel.arrive(reading=False)
    await tab.hears(missed[0])
    live = await hotel.send()
    assert await hotel.waiting() == [*missed, live]
    await tab.gets_ping()
    tab.pong()
    tab.break_off()
    assert await hotel.waiting() == [missed[1], live]


async def test_what_is_sent_while_the_missed_rows_are_looked_for_comes_once(
    hotel: Hotel, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hotel.guests.known("guest:7")
    asked, go = asyncio.Event(), asyncio.Event()
    real = hotel.store.undelivered

    async def slowly(reader: Principal, *, limit: int, now: float) -> list[Notification]:
        asked.set()
        await go.wait()
        return await real(reader, limit=limit, now=now)

    monkeypatch.setattr(hotel.store, "undelivered", slowly)
    missed = await hotel.send()
    tab = hotel.arrive()
    await asked.wait()
    meanwhile = [await hotel.send(), await hotel.send(TO_ALL)]
    go.set()
    await tab.hears(missed, *meanwhile)
    await hotel.caught_up()
    assert tab.ids == [missed, *meanwhile]


async def test_a_socket_that_closes_during_its_replay_is_told_no_more(hotel: Hotel) -> None:
    missed = [await hotel.send(), await hotel.send()]
    tab = hotel.arrive(reading=False)
    await tab.hears(missed[0])
    tab.break_off()
    tab.reading.set()
    await hotel.caught_up()
    assert tab.ids == missed[:1]
    assert await hotel.waiting() == missed


# --- delivery ---


async def test_a_row_is_delivered_when_the_ping_behind_it_is_answered(hotel: Hotel) -> None:
    tab = await hotel.settled()
    row = await hotel.send()
    await tab.gets_ping()
    assert await hotel.waiting() == [row]
    tab.pong()
    assert await hotel.waiting() == []


async def test_what_a_guest_was_sent_and_has_taken_is_noted(hotel: Hotel) -> None:
    first, second = await hotel.settled(), await hotel.settled()
    id = await hotel.send()
    await second.gets_ping()
    hotel.clock.advance(1)
    second.pong()
    await hotel.receipts.flush()
    trace = await hotel.store.trace(id, limit=10, now=hotel.clock())
    assert trace is not None
    noted = [(one.stage, one.reader, (one.device or "").rpartition(" ")[0]) for one in trace.receipts]
    path = "/ws/notifications websocket"
    assert noted == [("sent", "guest:7", path), ("sent", "guest:7", path), ("acknowledged", "guest:7", path)]
    assert trace.receipts[2].device in {one.device for one in trace.receipts[:2]}
    assert first.session.sid not in str(trace.receipts)


async def test_a_connection_that_breaks_in_flight_loses_nothing(hotel: Hotel) -> None:
    tab = await hotel.settled()
    row = await hotel.send()
    await tab.gets_ping()
    tab.break_off()
    assert (await hotel.settled()).ids == [row]


async def test_a_pong_confirms_nothing_that_was_written_after_its_ping(hotel: Hotel) -> None:
    tab = await hotel.settled()
    await hotel.send()
    await tab.gets_ping()
    later = await hotel.send()
    tab.pong(1)
    assert await hotel.waiting() == [later]
    await tab.gets_ping(2)
    tab.pong(2)
    assert await hotel.waiting() == []


async def test_the_pong_of_a_heartbeat_confirms_what_was_asked_about_before(hotel: Hotel) -> None:
    tab = await hotel.settled()
    await hotel.send()
    await tab.gets_ping()
    tab.ping()
    tab.pong(2)
    assert await hotel.waiting() == []


async def test_rows_of_one_turn_share_a_ping(hotel: Hotel) -> None:
    tab = await hotel.settled()
    rows = await hotel.store.add([TO_7, TO_7], Content("notification", "a", "b"), sender=None, now=hotel.clock())
    for one in rows:
        hotel.guests.shown(one.notification, ["guest_7"], frozenset())
    await tab.gets_ping()
    tab.pong()
    assert await hotel.waiting() == []
    assert len(tab.pings) == 1


async def test_a_second_tab_hears_what_is_live_and_not_what_the_first_one_has(hotel: Hotel) -> None:
    missed = await hotel.send()
    first = await hotel.settled()
    first.pong()
    await hotel.guests.stop()
    second = await hotel.settled()
    live = await hotel.send(TO_ALL)
    assert (first.ids, second.ids) == ([missed, live], [live])
    await second.gets_ping()
    second.pong()
    assert await hotel.waiting() == []


async def test_a_tab_that_opens_before_a_delivery_is_stored_gets_no_replay(
    hotel: Hotel, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, go = await hotel.settled(), asyncio.Event()
    real: Callable[..., Awaitable[None]] = hotel.store.set_delivered

    async def slowly(*args: Any, **more: Any) -> None:
        await go.wait()
        await real(*args, **more)

    monkeypatch.setattr(hotel.store, "set_delivered", slowly)
    row = await hotel.send()
    await first.gets_ping()
    first.pong()
    second = await hotel.settled()
    live = await hotel.send()
    await first.gets_ping(2)
    first.pong()
    go.set()
    assert await hotel.waiting() == []
    assert (first.ids, second.ids) == ([row, live], [live])


async def test_pings_are_held_back_when_a_client_answers_none(hotel: Hotel) -> None:
    tab = await hotel.settled()
    rows = []
    for count in range(MAX_PINGS):
        rows.append(await hotel.send())
        await tab.gets_ping(count + 1)
    rows += [await hotel.send(), await hotel.send()]
    await asyncio.sleep(0)
    assert len(tab.pings) == MAX_PINGS
    tab.pong(1)
    assert len(tab.pings) == MAX_PINGS + 1
    assert await hotel.waiting() == rows[1:]
    tab.pong()
    assert await hotel.waiting() == []


async def test_rows_beyond_the_bound_come_again(hotel: Hotel) -> None:
    tab = await hotel.settled()
    [one] = await hotel.store.add([TO_7], Content("notification", "a", "b"), sender=None, now=hotel.clock())
    for _ in range(MAX_PINGS):
        hotel.guests.shown(one.notification, ["guest_7"], frozenset())
        await asyncio.sleep(0)
    await tab.gets_ping(MAX_PINGS)
    lost = await hotel.send()
    for _ in range(MAX_UNCONFIRMED):
        hotel.guests.shown(one.notification, ["guest_7"], frozenset())
    tab.pong()
    tab.pong()
    assert await hotel.waiting() == [lost]


async def test_a_full_turn_is_confirmed_by_more_than_one_ping(hotel: Hotel) -> None:
    tab = await hotel.settled()
    content = Content("notification", "a", "b")
    first, other = await hotel.store.add([TO_7, TO_7], content, sender=None, now=hotel.clock())
    for one in (first, *[other] * MAX_UNCONFIRMED):
        hotel.guests.shown(one.notification, ["guest_7"], frozenset())
    await tab.gets_ping(2)
    tab.pong()
    assert await hotel.waiting() == []


async def test_a_late_pong_of_a_closed_socket_confirms_nothing(hotel: Hotel) -> None:
    tab = await hotel.settled()
    row = await hotel.send()
    await tab.gets_ping()
    tab.break_off()
    tab.pong()
    assert await hotel.waiting() == [row]


async def test_deliveries_that_cannot_be_stored_are_counted_and_come_again(hotel: Hotel) -> None:
    tab = await hotel.settled()
    row = await hotel.send()
    await tab.gets_ping()
    hotel.store.failing = {"set_delivered"}
    tab.pong()
    await hotel.guests.stop()
    hotel.store.failing.clear()
    failures = hotel.metrics.registry.get_sample_value(
        "roomcast_background_failures_total", {"task": "guest_deliveries"}
    )
    assert failures == 1
    tab.break_off()
    assert (await hotel.settled()).ids == [row]


async def test_deliveries_of_a_broadcast_are_stored_some_at_a_time(
    hotel: Hotel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NOTES_AT_ONCE", 2)
    tabs = [await hotel.settled(id) for id in ("1", "2", "3", "4", "5")]
    running, most = 0, 0
    real: Callable[..., Awaitable[None]] = hotel.store.set_delivered

    async def watched(*args: Any, **more: Any) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await real(*args, **more)
        running -= 1

    monkeypatch.setattr(hotel.store, "set_delivered", watched)
    await hotel.send(TO_ALL)
    for tab in tabs:
        await tab.gets_ping()
        tab.pong()
    assert [await hotel.waiting(tab.session.identity.id) for tab in tabs] == [[]] * 5
    assert most == 2


# --- known guests ---


async def test_a_broadcast_waits_for_guests_who_have_been_here(hotel: Hotel) -> None:
    (await hotel.settled()).break_off()
    row = await hotel.send(TO_ALL)
    assert (await hotel.settled("7")).ids == [row]
    assert (await hotel.settled("8")).ids == []


async def test_a_guest_seen_later_gets_a_broadcast_only_with_late_join(hotel: Hotel) -> None:
    await hotel.send(TO_ALL)
    row = await hotel.send(LATE)
    assert (await hotel.settled()).ids == [row]


async def test_a_guest_is_made_known_once(hotel: Hotel) -> None:
    for _ in range(2):
        await hotel.settled()
        await hotel.guests.known("guest:7")
    await hotel.guests.known("user:7")
    assert hotel.store.made_known == ["guest:7"]


async def test_guests_forgotten_by_the_cache_stay_known(hotel: Hotel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CACHE_SIZE", 1)
    for guest in ("guest:7", "guest:8", "guest:7"):
        await hotel.guests.known(guest)
    row = await hotel.send(TO_ALL)
    assert hotel.store.made_known == ["guest:7", "guest:8", "guest:7"]
    assert await hotel.waiting("7") == await hotel.waiting("8") == [row]


async def test_a_database_that_cannot_write_keeps_nobody_out(hotel: Hotel) -> None:
    hotel.store.failing = {"open_membership", "undelivered"}
    tab = await hotel.settled()
    hotel.store.failing.clear()
    assert [frame["type"] for frame in tab.frames] == ["connection"]
    await hotel.guests.known("guest:7")
    assert hotel.store.made_known == ["guest:7"]


# --- operators ---


async def test_stats_count_sockets_by_guest(hotel: Hotel) -> None:
    for id in ("7", "7", "g-1"):
        await hotel.settled(id)
    assert hotel.guests.stats() == {
        "totalConnections": 3,
        "uniqueGuests": 2,
        "guests": [{"guestId": 7, "connections": 2}, {"guestId": "g-1", "connections": 1}],
    }


async def test_stats_of_an_empty_house(hotel: Hotel) -> None:
    assert hotel.guests.stats() == {"totalConnections": 0, "uniqueGuests": 0, "guests": []}


async def test_a_test_reaches_every_tab_of_the_guest_and_is_stored_nowhere(hotel: Hotel) -> None:
    first, second, other = await hotel.settled(), await hotel.settled(), await hotel.settled("8")
    await hotel.guests.test(7, "Hello")
    frame = first.frames[-1]
    assert (frame["type"], frame["data"]["message"], frame["data"]["recipient_id"]) == ("notification", "Hello", 7)
    assert second.frames[-1] == frame
    assert other.ids == []
    rows, total = await hotel.store.inbox("guest:7", InboxQuery(), now=hotel.clock())
    assert (rows, total) == ([], 0)
    assert first.pings == []
    assert await hotel.send() > frame["data"]["id"]


async def test_a_test_for_somebody_who_is_not_here_is_no_error(hotel: Hotel) -> None:
    await hotel.guests.test("nobody", "Hello")


async def test_a_guest_with_the_id_of_a_user_hears_only_their_own(hotel: Hotel) -> None:
    tab = await hotel.settled()
    await hotel.send(Target(recipient="user:7"))
    assert [frame["type"] for frame in tab.frames] == ["connection"]
