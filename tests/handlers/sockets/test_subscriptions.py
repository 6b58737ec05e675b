"""Being in a room subscribes to its notifications: in which order, for how long, and what a failing store does."""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import structlog

from realtime.errors import StoreUnavailable
from realtime.models import MembershipChange
from realtime.store import sqlite_membership
from tests.conftest import Starter
from tests.support import Running, bearer, until

ADMIN = bearer(1, "admin")
ROOM = "room:work_order_1"


async def send(running: Running, room: str, title: str, **more: Any) -> None:
    body = {"room": room, "title": title, "message": "text", **more}
    status, answer = await running.call("POST", "/api/notifications", by=ADMIN, json=body)
    assert status == 201, answer


async def titles(running: Running, id: int) -> list[str]:
    _, answer = await running.call("GET", "/api/notifications", by=bearer(id, "technician"))
    return [row["title"] for row in answer["notifications"]]


async def dismiss_everybody(running: Running) -> None:
    channel = running.parts.channel
    await asyncio.gather(*(channel.dismiss(session.sid) for session in list(channel.sessions())))


@pytest.fixture
def changes(running: Running, monkeypatch: pytest.MonkeyPatch) -> list[MembershipChange]:
    """Everything that the store was asked to open and close."""
    asked: list[MembershipChange] = []
    change = running.parts.store.change_memberships

    def noted(wanted: Sequence[MembershipChange], *, now: float) -> Any:
        asked.extend(wanted)
        return change(wanted, now=now)

    monkeypatch.setattr(running.parts.store, "change_memberships", noted)
    return asked


@pytest.fixture
def log_lines() -> Iterator[list[str]]:
    """The event of every line that is logged during a test."""
    lines: list[str] = []

    def keep(_logger: Any, _method: str, event: Any) -> Any:
        lines.append(event["event"])
        raise structlog.DropEvent

    structlog.configure(processors=[keep], cache_logger_on_first_use=False)
    yield lines
    structlog.reset_defaults()


async def test_what_is_sent_after_an_acknowledged_join_is_received(running: Running) -> None:
    client = await running.connect(5, "technician")
    for number in range(10):
        assert (await client.ask("join_room", f"work_order_{number}"))["success"] is True
        await send(running, f"work_order_{number}", str(number))
    await client.hears("newNotification", 10)
    assert sorted(await titles(running, 5)) == [str(number) for number in range(10)]


async def test_what_is_sent_after_a_disconnect_is_not_received(running: Running) -> None:
    client = await running.connect(5, "technician")
    await client.ask("join_room", "work_order_1")
    await send(running, "work_order_1", "before")
    await dismiss_everybody(running)
    await send(running, "work_order_1", "after")
    assert await titles(running, 5) == ["before"]


async def test_joining_and_leaving_in_a_row_ends_with_the_last(running: Running) -> None:
    client = await running.connect(5, "technician")
    asked = [client.ask(event, "work_order_1") for event in ("join_room", "leave_room", "join_room")]
    await asyncio.gather(*asked)
    await send(running, "work_order_1", "in")
    assert (await client.hears("newNotification"))["title"] == "in"
    await client.ask("leave_room", "work_order_1")
    await send(running, "work_order_1", "out")
    assert await titles(running, 5) == ["in"]


async def test_rows_for_late_comers_count_from_joining_to_leaving(running: Running) -> None:
    client = await running.connect(5, "technician")
    await send(running, "work_order_1", "for whoever comes", lateJoin=True)
    await client.ask("join_room", {"rooms": ["work_order_1", "work_order_2"]})
    assert (await client.hears("notification_count_updated"))["count"] == 1
    await client.ask("leave_room", "work_order_1")
    assert (await client.hears("notification_count_updated", 2))["count"] == 0


async def test_a_crowd_that_goes_ends_each_subscription_once(running: Running, changes: list[MembershipChange]) -> None:
    crowd = range(10, 40)
    clients = await asyncio.gather(*(running.connect(id, "technician") for id in crowd))
    await asyncio.gather(*(client.ask("join_room", {"rooms": ["work_order_1", "machine_1"]}) for client in clients))
    for room in (ROOM, "room:machine_1"):
        assert len(await running.parts.store.readers(room)) == len(crowd)
    changes.clear()
    await dismiss_everybody(running)
    assert not any(change.open for change in changes)
    expected = {(f"user:{id}", room): 1 for id in crowd for room in (ROOM, "room:machine_1")}
    assert Counter((change.reader, change.audience) for change in changes) == expected
    await running.parts.store.check()
    assert await running.parts.store.open_memberships("room:work_order") == []
    assert await running.parts.store.open_memberships("room:machine") == []


async def test_another_tab_keeps_the_subscription_until_it_goes_too(
    running: Running, changes: list[MembershipChange]
) -> None:
    tabs = [await running.connect(5, "technician") for _ in range(3)]
    for tab in tabs[:2]:
        await tab.ask("join_room", "work_order_1")
    assert await running.parts.store.readers(ROOM) == ["user:5"]
    changes.clear()
    channel = running.parts.channel
    first, second = sorted(channel.membership.members("work_order_1"))
    await channel.dismiss(first)
    assert changes == []
    await send(running, "work_order_1", "still here")
    await channel.dismiss(second)  # the third tab is connected, but not in the room
    assert [(change.audience, change.open) for change in changes] == [(ROOM, False)]
    await send(running, "work_order_1", "gone")
    assert await titles(running, 5) == ["still here"]


async def test_an_administrator_in_somebodys_personal_room_is_not_their_tab(running: Running) -> None:
    admin, client = await running.connect(1, "admin"), await running.connect(5, "technician")
    await admin.ask("join_room", {"rooms": ["user_5", "work_order_1"]})
    await client.ask("join_room", "work_order_1")
    await client.ask("leave_room", "work_order_1")
    assert await running.parts.store.readers(ROOM) == ["user:1"]


async def test_whom_a_row_names_stays_subscribed_without_a_connection(running: Running) -> None:
    await running.call("PUT", "/api/work-orders/1", by=ADMIN, json={"technician_id": 5})
    for id in (5, 6):
        client = await running.connect(id, "technician")
        await client.ask("join_room", "work_order_1")
    await dismiss_everybody(running)
    await send(running, "work_order_1", "parts are here")
    assert (await titles(running, 5))[0] == "parts are here"
    assert await titles(running, 6) == []


async def test_a_start_ends_what_a_crash_left_but_not_what_a_row_or_a_role_gives(
    starter: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = await starter()
    await running.call("PUT", "/api/work-orders/1", by=ADMIN, json={"technician_id": 5})
    for id in (5, 6):
        client = await running.connect(id, "technician")
        await client.ask("join_room", {"rooms": ["work_order_1", "machine_1"]})
    for room in (ROOM, "room:machine_1"):
        assert {"user:5", "user:6"} <= set(await running.parts.store.readers(room))
    monkeypatch.setattr(running.parts.store, "change_memberships", lambda *_, **__: asyncio.Future())  # the crash
    await running.stop()
    again = await starter()
    found = sorted(await again.parts.store.open_memberships("room:"))
    assert found == [("user:1", "room:admin_room"), ("user:1", ROOM), ("user:5", ROOM)]


async def test_a_notification_that_not_everybody_could_be_subscribed_to_is_refused(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await running.connect(5, "technician")
    await client.ask("join_room", "work_order_1")
    body = {"room": "work_order_1", "title": "parts", "message": "text"}
    with monkeypatch.context() as patched:
        patched.setattr(sqlite_membership, "open_all", no_space)
        status, answer = await running.call("POST", "/api/notifications", by=ADMIN, json=body)
        assert (status, answer["code"]) == (503, "UNAVAILABLE")
        status, answer = await running.call("POST", "/api/notifications?dry_run=true", by=ADMIN, json=body)
        assert (status, answer["code"]) == (503, "UNAVAILABLE")
    await send(running, "work_order_1", "parts")
    assert (await client.hears("newNotification"))["title"] == "parts"
    assert await titles(running, 5) == ["parts"]


def no_space(*_: object) -> Any:
    raise sqlite3.OperationalError("database or disk is full")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (StoreUnavailable(), "room subscription not stored: the database is not available"),
        (RuntimeError("boom"), "room subscription not stored"),
    ],
)
async def test_a_store_that_fails_when_somebody_comes_or_goes_is_logged_and_harms_nobody(
    running: Running, monkeypatch: pytest.MonkeyPatch, log_lines: list[str], error: Exception, line: str
) -> None:
    one, two = await running.connect(5, "technician"), await running.connect(6, "technician")
    for client in (one, two):
        await client.ask("join_room", "work_order_1")
    await running.write_down("machine_2")
    assert await running.parts.store.readers(ROOM) == ["user:5", "user:6"]

    def broken(*_: object, **__: object) -> Any:
        failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        failed.set_exception(error)
        return failed

    with monkeypatch.context() as patched:
        patched.setattr(running.parts.store, "change_memberships", broken)
        assert (await two.ask("leave_room", "work_order_1"))["success"] is True
        assert (await two.ask("join_room", "machine_2"))["success"] is True
        [sid] = running.parts.channel.sids_of_user("5")
        await running.parts.channel.dismiss(sid)
        await until(lambda: log_lines.count(line) == 3, what="a line for leaving, joining and disconnecting")
    assert running.parts.channel.membership.members("work_order_1") == frozenset()
    assert (await two.ask("join_room", "work_order_1"))["success"] is True
    await send(running, "work_order_1", "and it goes on")
    assert (await two.hears("newNotification"))["title"] == "and it goes on"
