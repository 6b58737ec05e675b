"""The hotel's communications: what becomes of a row, and what staff and guests read of it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from realtime.clock import timestamp
from realtime.errors import Code, RealtimeError, StoreUnavailable
from realtime.models import Content, EntityQuery, Held, InboxQuery, JsonObject, Stored
from realtime.services import communications as module
from tests.services.hotel import Hotel, open_hotel
from tests.support import FakeClock

DETAILS = {
    "hotel_id": 1,
    "category": "service",
    "sender_type": "hotel",
    "sender_id": 4,
    "sender_name": "Desk",
    "tags": ["pool"],
    "language": "en",
}


@pytest.fixture
async def hotel(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Hotel]:
    async with open_hotel(tmp_path / "test.db", clock) as hotel:
        yield hotel


async def create(
    hotel: Hotel,
    recipient: int | str | None = None,
    *,
    to: str = "guest",
    type: str = "notification",
    run_at: float | None = None,
    late_join: bool = False,
    expires_at: float | None = None,
) -> JsonObject:
    hotel.clock.advance(1)
    content = Content(
        type=type,
        title="Pool",
        message="Closed",
        priority="high",
        metadata={"floor": 2},
        expires_at=expires_at,
        details={**DETAILS, "type": type, "recipient_type": to},
    )
    return await hotel.communications.create(
        content, recipient=recipient, late_join=late_join, run_at=run_at, sender="user:4"
    )


async def drafted(hotel: Hotel, **more: Any) -> JsonObject:
    return await create(hotel, 7, run_at=hotel.clock() + 61, **more)


async def due(hotel: Hotel) -> None:
    """A minute goes by, with everything that happens by itself."""
    hotel.clock.advance(61)
    await hotel.notifications.run_due()
    await hotel.communications.tick()


async def listed(hotel: Hotel, **equals: str) -> list[tuple[int, str]]:
    rows, _ = await hotel.communications.page(EntityQuery(limit=100, equals=equals))
    return [(row["id"], row["status"]) for row in rows]


async def status(hotel: Hotel, id: int) -> str:
    shown: str = (await hotel.communications.one(id))["status"]
    assert (id, shown) in await listed(hotel)
    return shown


async def refused(code: Code, work: Any) -> RealtimeError:
    with pytest.raises(RealtimeError) as caught:
        await work
    assert caught.value.code is code
    return caught.value


# --- sending ---


async def test_one_row_and_one_frame_with_one_id(hotel: Hotel) -> None:
    tab, other = await hotel.settled("7"), await hotel.settled("8")
    row = await create(hotel, 7)
    at = timestamp(hotel.clock())
    frame = {
        "id": row["id"],
        "hotel_id": 1,
        "type": "notification",
        "category": "service",
        "title": "Pool",
        "message": "Closed",
        "priority": "high",
        "sender_type": "hotel",
        "sender_id": 4,
        "sender_name": "Desk",
        "recipient_type": "guest",
        "recipient_id": 7,
        "status": "sent",
        "metadata": {"floor": 2},
        "tags": ["pool"],
        "language": "en",
        "expires_at": None,
        "read_at": None,
        "created_at": at,
        "updated_at": at,
    }
    assert row == {**frame, "scheduled_at": None}
    assert tab.frames[1:] == [{"type": "notification", "data": frame}]
    assert other.ids == []
    assert await hotel.communications.one(row["id"]) == row
    assert await hotel.communications.received("guest:7", row["id"]) == frame


async def test_the_notification_knows_who_sent_it(hotel: Hotel) -> None:
    row = await create(hotel, 7)
    assert (await hotel.notifications.one("guest:7", row["id"])).sender == "user:4"


@pytest.mark.parametrize("to", ["guest", "specific"])
async def test_a_row_for_one_guest_waits_for_a_guest_never_seen(hotel: Hotel, to: str) -> None:
    row = await create(hotel, 7, to=to)
    assert row["status"] == "sent"
    assert (await hotel.settled()).ids == [row["id"]]


@pytest.mark.parametrize("to", ["all", "walkin"])
async def test_a_row_for_everybody_reaches_every_guest_and_names_none(hotel: Hotel, to: str) -> None:
    tabs = [await hotel.settled(id) for id in ("7", "7", "8")]
    row = await create(hotel, 7, to=to)
    assert (row["recipient_type"], row["recipient_id"]) == (to, None)
    assert [tab.ids for tab in tabs] == [[row["id"]]] * 3
    assert tabs[0].frames[-1]["data"]["recipient_type"] == to


async def test_a_row_for_everybody_is_kept_for_guests_known_when_it_was_sent(hotel: Hotel) -> None:
    await hotel.guests.known("guest:7")
    row = await create(hotel, to="all")
    late = await create(hotel, to="walkin", late_join=True)
    assert (await hotel.settled("7")).ids == [row["id"], late["id"]]
    assert (await hotel.settled("8")).ids == [late["id"]]


@pytest.mark.parametrize("to", ["guest", "specific"])
@pytest.mark.parametrize("type", ["notification", "email"])
async def test_a_row_that_names_nobody_is_failed_and_not_sent(hotel: Hotel, to: str, type: str) -> None:
    tab = await hotel.settled()
    row = await create(hotel, None, to=to, type=type, run_at=hotel.clock() + 61)
    assert (row["status"], row["recipient_id"]) == ("failed", None)
    counted = hotel.metrics.registry.get_sample_value("roomcast_communications_total", {"status": "failed"})
    assert counted == 1
    await due(hotel)
    assert await status(hotel, row["id"]) == "failed"
    assert tab.ids == []


async def test_push_notifications_are_shown_with_their_type(hotel: Hotel) -> None:
    tab = await hotel.settled()
    await create(hotel, 7, type="push_notification")
    assert tab.frames[-1]["data"]["type"] == "push_notification"


@pytest.mark.parametrize("type", ["email", "sms", "announcement"])
async def test_other_types_are_kept_and_not_shown(hotel: Hotel, type: str) -> None:
    tab = await hotel.settled()
    row = await create(hotel, 7, type=type)
    assert (row["status"], row["type"]) == ("pending", type)
    assert tab.ids == []
    assert await hotel.communications.inbox("guest:7", InboxQuery(), {}) == ([], 0)


async def test_what_has_expired_already_is_stored_and_not_shown(hotel: Hotel) -> None:
    tab = await hotel.settled()
    row = await create(hotel, 7, expires_at=hotel.clock() - 60)
    assert (await hotel.communications.one(row["id"]))["expires_at"] == timestamp(hotel.clock() - 61)
    assert tab.ids == []
    assert (await hotel.settled()).ids == []


# --- later ---


async def test_a_draft_is_sent_when_its_time_comes(hotel: Hotel) -> None:
    tab = await hotel.settled()
    row = await drafted(hotel)
    assert (row["status"], row["scheduled_at"]) == ("draft", timestamp(hotel.clock() + 60))
    assert await listed(hotel, status="draft") == [(row["id"], "draft")]
    assert tab.ids == []
    await due(hotel)
    assert tab.ids == [row["id"]]
    sent = await hotel.communications.one(row["id"])
    assert sent == {**row, "status": "sent", "updated_at": timestamp(hotel.clock())}
    assert await listed(hotel, status="sent") == [(row["id"], "sent")]


async def test_a_draft_whose_time_has_come_is_shown_as_sent_at_once(hotel: Hotel) -> None:
    row = await drafted(hotel)
    hotel.clock.advance(61)
    assert await status(hotel, row["id"]) == "sent"


async def test_mail_with_a_time_is_a_draft_until_then(hotel: Hotel) -> None:
    row = await drafted(hotel, type="email")
    assert row["status"] == "draft"
    await due(hotel)
    assert await status(hotel, row["id"]) == "pending"
    assert await listed(hotel, status="pending") == [(row["id"], "pending")]


async def test_a_time_that_has_passed_means_now(hotel: Hotel) -> None:
    tab = await hotel.settled()
    row = await create(hotel, 7, run_at=hotel.clock() - 60)
    assert row["status"] == "sent"
    assert tab.ids == [row["id"]]


@pytest.mark.parametrize("type", ["notification", "email"])
async def test_a_cancelled_draft_is_gone_and_never_sent(hotel: Hotel, type: str) -> None:
    tab = await hotel.settled()
    row = await drafted(hotel, type=type)
    await hotel.communications.cancel(row["id"])
    await refused(Code.NOT_FOUND, hotel.communications.one(row["id"]))
    await refused(Code.NOT_FOUND, hotel.communications.cancel(row["id"]))
    await due(hotel)
    assert tab.ids == []
    assert await listed(hotel) == []


@pytest.mark.parametrize("type", ["notification", "email"])
async def test_only_drafts_can_be_cancelled(hotel: Hotel, type: str) -> None:
    row = await create(hotel, 7, type=type)
    error = await refused(Code.INVALID_PAYLOAD, hotel.communications.cancel(row["id"]))
    assert error.status == 409
    assert await status(hotel, row["id"]) == row["status"]


async def test_a_draft_whose_time_has_come_cannot_be_cancelled(hotel: Hotel) -> None:
    tab = await hotel.settled()
    row = await drafted(hotel)
    hotel.clock.advance(61)
    await refused(Code.INVALID_PAYLOAD, hotel.communications.cancel(row["id"]))
    await hotel.notifications.run_due()
    assert tab.ids == [row["id"]]


async def test_of_a_cancel_and_a_sending_at_once_one_wins(hotel: Hotel, monkeypatch: pytest.MonkeyPatch) -> None:
    tab = await hotel.settled()
    row = await drafted(hotel)
    real = hotel.store.cancel_draft

    async def a_moment_too_late(id: int) -> bool:
        await due(hotel)
        return await real(id)

    monkeypatch.setattr(hotel.store, "cancel_draft", a_moment_too_late)
    error = await refused(Code.INVALID_PAYLOAD, hotel.communications.cancel(row["id"]))
    assert error.status == 409
    assert tab.ids == [row["id"]]
    assert await status(hotel, row["id"]) == "sent"


# --- failures ---


@pytest.mark.parametrize("later", [False, True])
async def test_what_the_database_could_not_take_is_sent_when_it_can(hotel: Hotel, later: bool) -> None:
    tab = await hotel.settled()
    hotel.store.failing = {"add", "add_drafts"}
    row = await (drafted(hotel) if later else create(hotel, 7))
    assert row["status"] == ("draft" if later else "pending")
    with pytest.raises(StoreUnavailable):
        await hotel.communications.tick()
    hotel.store.failing.clear()
    await hotel.communications.tick()
    await due(hotel)
    assert tab.ids == [row["id"]]
    assert await status(hotel, row["id"]) == "sent"


@pytest.mark.parametrize("later", [False, True])
async def test_what_a_crash_left_unsent_is_sent_after_the_next_start(
    tmp_path: Path, clock: FakeClock, later: bool
) -> None:
    async with open_hotel(tmp_path / "test.db", clock) as before:
        before.store.failing = {"add", "add_drafts"}
        row = await (drafted(before) if later else create(before, 7))
    async with open_hotel(tmp_path / "test.db", clock) as after:
        await due(after)
        assert (await after.settled()).ids == [row["id"]]
        assert await status(after, row["id"]) == "sent"


async def test_what_was_sent_before_a_crash_is_not_sent_twice(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_hotel(tmp_path / "test.db", clock) as before:
        with monkeypatch.context() as crash:
            crash.setattr(before.notifications, "_show_all", _fail)
            row = await create(before, 7)
        assert row["status"] == "pending"
        await before.notifications.set_read("guest:7", row["id"], True)
    async with open_hotel(tmp_path / "test.db", clock) as after:
        assert await status(after, row["id"]) == "sent"
        assert (await after.settled()).ids == []


async def _fail(_stored: object) -> None:
    raise StoreUnavailable


async def test_a_draft_is_sent_once_after_a_restart(tmp_path: Path, clock: FakeClock) -> None:
    async with open_hotel(tmp_path / "test.db", clock) as before:
        row = await drafted(before)
    async with open_hotel(tmp_path / "test.db", clock) as after:
        tab = await after.settled()
        await due(after)
        assert tab.ids == [row["id"]]
        assert await listed(after, status="sent") == [(row["id"], "sent")]


async def test_a_cancel_that_a_crash_cut_short_is_finished_at_the_next_start(tmp_path: Path, clock: FakeClock) -> None:
    async with open_hotel(tmp_path / "test.db", clock) as before:
        row = await drafted(before)
        before.store.failing = {"cancel_draft"}
        await refused(Code.UNAVAILABLE, before.communications.cancel(row["id"]))
    async with open_hotel(tmp_path / "test.db", clock) as after:
        tab = await after.settled()
        assert await listed(after) == []
        await due(after)
        assert tab.ids == []


async def test_a_cancel_may_be_repeated(hotel: Hotel) -> None:
    tab = await hotel.settled()
    row = await drafted(hotel)
    hotel.store.failing = {"cancel_draft"}
    await refused(Code.UNAVAILABLE, hotel.communications.cancel(row["id"]))
    hotel.store.failing.clear()
    await hotel.communications.cancel(row["id"])
    await due(hotel)
    assert tab.ids == []
    assert await listed(hotel) == []


async def test_a_draft_cancelled_while_it_is_scheduled_late_is_not_sent(
    hotel: Hotel, monkeypatch: pytest.MonkeyPatch
) -> None:
    tab = await hotel.settled()
    hotel.store.failing = {"add_drafts"}
    row = await drafted(hotel)
    hotel.store.failing.clear()
    real = hotel.store.add_drafts

    async def meanwhile_cancelled(*args: Any, **more: Any) -> list[Held | Stored]:
        await hotel.communications.cancel(row["id"])
        return await real(*args, **more)

    monkeypatch.setattr(hotel.store, "add_drafts", meanwhile_cancelled)
    await hotel.communications.tick()
    await due(hotel)
    assert tab.ids == []
    assert await listed(hotel) == []


async def test_many_rows_left_behind_are_all_sent_in_order(hotel: Hotel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 2)
    tab = await hotel.settled()
    hotel.store.failing = {"add"}
    rows = [await create(hotel, 7) for _ in range(5)]
    hotel.store.failing.clear()
    await hotel.communications.tick()
    assert tab.ids == [row["id"] for row in rows]


# --- reading ---


async def test_a_guest_reads_a_row_and_staff_see_it(hotel: Hotel) -> None:
    tab = await hotel.settled()
    row = await create(hotel, 7)
    read = await hotel.communications.mark_read(row["id"], "guest:7")
    at = timestamp(hotel.clock())
    assert (read["status"], read["read_at"]) == ("read", at)
    stored = await hotel.communications.one(row["id"])
    assert (stored["status"], stored["read_at"]) == ("read", at)
    assert await listed(hotel, status="read") == [(row["id"], "read")]
    assert tab.ids == [row["id"]]


async def test_a_row_read_as_soon_as_it_was_sent_stays_read(hotel: Hotel) -> None:
    row = await drafted(hotel)
    hotel.clock.advance(61)
    await hotel.notifications.run_due()
    read = await hotel.communications.mark_read(row["id"], "guest:7")
    await hotel.communications.tick()
    stored = await hotel.communications.one(row["id"])
    assert (stored["status"], stored["read_at"]) == ("read", read["read_at"])


async def test_reading_twice_keeps_the_time_of_the_first(hotel: Hotel) -> None:
    row = await create(hotel, 7)
    first = await hotel.communications.mark_read(row["id"], "guest:7")
    hotel.clock.advance(60)
    assert await hotel.communications.mark_read(row["id"], "guest:7") == first
    assert (await hotel.communications.one(row["id"]))["read_at"] == first["read_at"]


async def test_a_broadcast_is_read_for_one_guest_only(hotel: Hotel) -> None:
    for guest in ("guest:7", "guest:8"):
        await hotel.guests.known(guest)
    row = await create(hotel, to="all")
    await hotel.communications.mark_read(row["id"], "guest:7")
    assert (await hotel.notifications.counts("guest:7")).unread == 0
    assert (await hotel.notifications.counts("guest:8")).unread == 1
    assert (await hotel.communications.received("guest:8", row["id"]))["status"] == "sent"
    assert await status(hotel, row["id"]) == "sent"


async def test_what_was_read_does_not_come_again(hotel: Hotel) -> None:
    row = await create(hotel, 7)
    await hotel.communications.mark_read(row["id"], "guest:7")
    assert (await hotel.settled()).ids == []


async def test_staff_mark_a_row_read_for_its_guest(hotel: Hotel) -> None:
    row = await create(hotel, 7)
    assert (await hotel.communications.mark_read_for(row["id"], None))["status"] == "read"
    assert (await hotel.notifications.counts("guest:7")).unread == 0


async def test_staff_say_for_whom_a_broadcast_is_read(hotel: Hotel) -> None:
    await hotel.guests.known("guest:7")
    row = await create(hotel, to="walkin")
    await refused(Code.INVALID_PAYLOAD, hotel.communications.mark_read_for(row["id"], None))
    assert (await hotel.communications.mark_read_for(row["id"], "7"))["status"] == "read"
    await refused(Code.NOT_FOUND, hotel.communications.mark_read_for(row["id"], "8"))


async def test_nobody_reads_what_is_not_theirs_or_not_sent(hotel: Hotel) -> None:
    row, draft = await create(hotel, 7), await drafted(hotel)
    await refused(Code.NOT_FOUND, hotel.communications.mark_read(row["id"], "guest:8"))
    await refused(Code.NOT_FOUND, hotel.communications.received("guest:8", row["id"]))
    await refused(Code.NOT_FOUND, hotel.communications.received("guest:7", draft["id"]))
    await refused(Code.NOT_FOUND, hotel.communications.mark_read_for(draft["id"], None))
    await refused(Code.NOT_FOUND, hotel.communications.mark_read_for(12345, None))
    assert await status(hotel, row["id"]) == "sent"


async def test_a_guest_lists_what_they_were_sent_with_their_own_state(hotel: Hotel) -> None:
    await hotel.guests.known("guest:7")
    mine, ours = await create(hotel, 7), await create(hotel, to="all")
    await create(hotel, 8)
    await drafted(hotel)
    await hotel.communications.mark_read(mine["id"], "guest:7")
    rows, total = await hotel.communications.inbox("guest:7", InboxQuery(limit=10), {})
    assert [(row["id"], row["status"]) for row in rows] == [(ours["id"], "sent"), (mine["id"], "read")]
    assert total == 2
    rows, total = await hotel.communications.inbox("guest:7", InboxQuery(limit=1, offset=1), {})
    assert ([row["id"] for row in rows], total) == ([mine["id"]], 2)


async def test_a_guest_filters_by_fields(hotel: Hotel) -> None:
    await hotel.guests.known("guest:7")
    mine, ours = [(await create(hotel, 7))["id"] for _ in range(3)], await create(hotel, to="all")
    rows, total = await hotel.communications.inbox("guest:7", InboxQuery(limit=2), {"recipient_type": "guest"})
    assert ([row["id"] for row in rows], total) == ([mine[2], mine[1]], 3)
    second = InboxQuery(limit=2, offset=2)
    rows, total = await hotel.communications.inbox("guest:7", second, {"recipient_type": "guest"})
    assert ([row["id"] for row in rows], total) == ([mine[0]], 3)
    rows, total = await hotel.communications.inbox("guest:7", InboxQuery(), {"hotel_id": "1", "recipient_type": "all"})
    assert ([row["id"] for row in rows], total) == ([ours["id"]], 1)
    assert await hotel.communications.inbox("guest:7", InboxQuery(), {"hotel_id": "2"}) == ([], 0)


async def test_a_guest_who_only_polls_is_known_from_then_on(hotel: Hotel) -> None:
    await hotel.communications.inbox("guest:7", InboxQuery(), {})
    row = await create(hotel, to="all")
    rows, _ = await hotel.communications.inbox("guest:7", InboxQuery(), {})
    assert [row["id"] for row in rows] == [row["id"]]


async def test_staff_page_newest_first_and_find_rows_by_guest(hotel: Hotel) -> None:
    ids = [(await create(hotel, guest))["id"] for guest in (7, 8, 7)]
    rows, total = await hotel.communications.page(EntityQuery(limit=2))
    assert ([row["id"] for row in rows], total) == ([ids[2], ids[1]], 3)
    rows, total = await hotel.communications.page(EntityQuery(named="7"))
    assert ([row["id"] for row in rows], total) == ([ids[2], ids[0]], 2)


async def test_rows_show_nothing_of_what_the_server_keeps_for_itself(hotel: Hotel) -> None:
    for row in (await create(hotel, 7), await create(hotel, 7, type="email"), await create(hotel)):
        shown = await hotel.communications.one(row["id"])
        assert {"posted_by", "late_join"}.isdisjoint(shown)
        assert shown.keys() == row.keys()
