"""Work orders, tickets and bookings over REST: rows, the events of each change, who may do what."""

import asyncio
import json
from typing import Any

import pytest
from yarl import URL

from realtime.clock import timestamp
from tests.conftest import Starter
from tests.handlers.http.answers import ADMIN, GUEST, MANAGER, MONTH, SERVICE, TECHNICIAN, USER, refused
from tests.support import Client, FakeClock, Running, bearer

ORDERS, TICKETS, ALIAS, BOOKINGS = "/api/work-orders", "/api/tickets", "/api/repair-tickets", "/api/bookings"
JOBS = (ORDERS, TICKETS, ALIAS)
NOTIFIED = ("newNotification", "notification_received")
UNKNOWN_YET = ("description", "priority", "technician_id", "technician_name", "customer_id", "customer_name")
LONG_ID = "%20x" * 31  # 62 characters, 124 in a room's name


async def done(running: Running, method: str, path: str, row: Any = None, *, by: dict[str, str] = ADMIN) -> Any:
    """Make a request that must succeed and return its `data`."""
    status, answer = await running.call(method, path, by=by, **({} if row is None else {"json": row}))
    assert status in (200, 201), answer
    assert answer["status"] == "success"
    return answer["data"]


async def statuses(running: Running, by: dict[str, str], *calls: tuple[str, str, Any]) -> list[int]:
    return [(await running.call(method, path, by=by, json=row))[0] for method, path, row in calls]


async def listed(running: Running, path: str, by: dict[str, str] = ADMIN) -> list[Any]:
    return [row["id"] for row in await done(running, "GET", path, by=by)]


async def joined(running: Running, id: int, role: str, *rooms: str) -> Client:
    client = await running.connect(id, role)
    for room in rooms:
        assert (await client.ask("join_room", room))["success"] is True
    return client


async def notified(running: Running, by: dict[str, str]) -> list[tuple[str, Any]]:
    """(type, related entity) of somebody's notifications, oldest first."""
    _, page = await running.call("GET", "/api/notifications", by=by)
    return [(row["type"], row["metadata"]["relatedEntity"]["id"]) for row in reversed(page["notifications"])]


@pytest.mark.parametrize(("path", "default"), [(ORDERS, "pending"), (TICKETS, "open"), (ALIAS, "open")])
async def test_job_is_created_read_changed_and_deleted(
    starter: Starter, clock: FakeClock, path: str, default: str
) -> None:
    running = await starter(app={"clock": clock})
    made_at = timestamp(clock.now)
    status, answer = await running.call("POST", path, by=ADMIN, json={"description": "Leaks", "priority": "high"})
    row = answer["data"]
    missing = UNKNOWN_YET if path == ORDERS else (*UNKNOWN_YET, "ticket_number", "formatted_number")
    assert (status, answer["status"]) == (201, "success")
    assert row == {
        **dict.fromkeys(missing),
        "id": row["id"],
        "description": "Leaks",
        "priority": "high",
        "status": default,
        "created_by": 1,
        "created_at": made_at,
        "updated_at": made_at,
    }
    assert type(row["id"]) is int
    assert await running.call("GET", f"{path}/{row['id']}", by=ADMIN) == (200, {"status": "success", "data": row})
    clock.advance(5)
    changed = await done(running, "PATCH", f"{path}/{row['id']}", {"priority": "low", "id": 99, "created_at": "x"})
    assert changed == {**row, "priority": "low", "updated_at": timestamp(clock.now)}
    assert await listed(running, path) == [row["id"]]
    assert await done(running, "DELETE", f"{path}/{row['id']}") == {"id": row["id"]}
    for method, body in (("GET", None), ("PATCH", {"a": 1}), ("DELETE", None)):
        answer = await running.call(method, f"{path}/{row['id']}", by=ADMIN, json=body)
        refused(answer, 404, "NOT_FOUND", "Work order not found" if path == ORDERS else "Ticket not found")
    assert await done(running, "POST", path, {}) != row
    assert row["id"] not in await listed(running, path)  # a number is not given out twice


@pytest.mark.parametrize("path", JOBS)
async def test_new_job_names_what_is_not_known_yet_and_a_mirrored_one_stays_as_it_came(
    running: Running, path: str
) -> None:
    missing = UNKNOWN_YET if path == ORDERS else (*UNKNOWN_YET, "ticket_number", "formatted_number")
    own = {"id", "status", "created_by", "created_at", "updated_at"}
    made = await done(running, "POST", path, {"customerId": 5, "extra": None})
    assert set(made) == {*own, *missing, "extra"}
    assert {name for name in missing if made[name] is not None} == {"customer_id"}
    assert set(await done(running, "PUT", f"{path}/70", {"customer_id": 5})) == {*own, "customer_id"}
    assert set(await done(running, "PATCH", f"{path}/70", {"note": "x"})) == {*own, "customer_id", "note"}


async def test_both_ticket_paths_are_one_table(running: Running) -> None:
    row = await done(running, "POST", TICKETS, {"ticketNumber": 17, "formattedNumber": "T-17"})
    assert (row["ticket_number"], row["formatted_number"]) == (17, "T-17")
    assert await done(running, "GET", f"{ALIAS}/{row['id']}") == row
    assert await listed(running, ALIAS) == await listed(running, TICKETS) == [row["id"]]
    assert await listed(running, ORDERS) == []


async def test_put_mirrors_another_backends_row(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    columns = {
        "technicianId": "3",
        "customer_id": 5,
        "customerName": "Cleo",
        "technicianName": "Tess",
        "machine": {"serial": "A-1", "parts": [1, 2.5, None]},
        "camelCase": True,
        "täg": "ü",
        "created_at": "2020-01-01T00:00:00Z",
        "created_by": 9,
    }
    status, answer = await running.call("PUT", f"{ORDERS}/700", by=SERVICE, json=columns)
    row = answer["data"]
    assert status == 201
    assert row == {
        "id": 700,
        "technician_id": 3,
        "customer_id": 5,
        "customer_name": "Cleo",
        "technician_name": "Tess",
        "machine": columns["machine"],
        "camelCase": True,
        "täg": "ü",
        "status": "pending",
        "created_at": "2020-01-01T00:00:00Z",
        "created_by": 9,
        "updated_at": timestamp(clock.now),
    }
    clock.advance(1)
    status, answer = await running.call("PUT", f"{ORDERS}/700", by=SERVICE, json={"id": "700", "status": "done"})
    assert status == 200
    assert answer["data"] == {  # a replacement, but for who made it and when
        "id": 700,
        "status": "done",
        "created_at": "2020-01-01T00:00:00Z",
        "created_by": 9,
        "updated_at": timestamp(clock.now),
    }
    refused(await running.call("PUT", f"{ORDERS}/700", by=SERVICE, json={"id": 701}), 400, "INVALID_PAYLOAD")
    refused(await running.call("POST", ORDERS, by=SERVICE, json={"id": 701}), 400, "INVALID_PAYLOAD")


@pytest.mark.parametrize(
    ("id", "wire"), [("42", 42), ("66a1b2c3d4e5", "66a1b2c3d4e5"), ("007", "007"), ("a%2Fb", "a/b")]
)
async def test_ids_are_numbers_where_they_can_be(running: Running, id: str, wire: int | str) -> None:
    client = await running.connect(1, "admin")
    room = "a%2Fb" if id == "a%2Fb" else id
    await client.ask("join_room", f"work_order_{room}")
    url = URL(f"{running.url}{ORDERS}/{id}", encoded=True)
    async with running.http.put(url, json={}, headers=ADMIN) as response:
        assert response.status == 201
        assert (await response.json())["data"]["id"] == wire
    heard = await client.hears("work_order_updated")
    assert heard["workOrderId"] == heard["workOrder"]["id"] == wire
    assert type(heard["workOrderId"]) is type(wire)


@pytest.mark.parametrize(
    ("path", "longest"), [(ORDERS, "%20x" * 29), (TICKETS, "%20x" * 30), (ALIAS, "%20x" * 30), (BOOKINGS, "%20x" * 30)]
)
async def test_id_must_fit_into_the_name_of_its_room(running: Running, path: str, longest: str) -> None:
    async def put(id: str) -> tuple[int, Any]:
        url = URL(f"{running.url}{path}/{id}", encoded=True)
        async with running.http.put(url, json={}, headers=ADMIN) as response:
            return response.status, await response.json()

    refused(await put(LONG_ID), 400, "INVALID_PAYLOAD")
    assert await listed(running, path) == []
    status, answer = await put(longest)
    assert status == 201
    assert await listed(running, path) == [answer["data"]["id"]]


async def test_new_ids_skip_those_that_a_mirror_has_taken(running: Running) -> None:
    await done(running, "PUT", f"{TICKETS}/1", {})
    await done(running, "PUT", f"{TICKETS}/2", {})
    assert (await done(running, "POST", TICKETS, {}))["id"] == 3


async def test_put_of_the_same_row_emits_nothing(running: Running) -> None:
    watcher = await joined(running, 1, "admin", "work_order_7", "ticket_7", "booking_7")
    technician = await running.connect(3, "technician")
    job = {"technician_id": 3, "status": "open", "extra": [1]}
    booking = {"userId": 3, "status": "open"}
    for path, row, stamp in (
        (ORDERS, job, "updated_at"),
        (TICKETS, job, "updated_at"),
        (BOOKINGS, booking, "updatedAt"),
    ):
        first = await done(running, "PUT", f"{path}/7", row)
        again = await done(running, "PUT", f"{path}/7", row)
        assert again == first
        assert await done(running, "PATCH", f"{path}/7", {"status": "open"}) == first
        mirrored = await done(running, "PUT", f"{path}/7", {**row, stamp: "2030-01-01"})
        assert mirrored == {**first, stamp: "2030-01-01"}
    await watcher.settle()
    await technician.settle()
    assert len(watcher.payloads("work_order_updated")) == 1
    assert len(watcher.payloads("repair_ticket_updated")) == 1
    assert len(watcher.payloads("bookingUpdated")) == len(technician.payloads("bookingUpdated")) == 1
    assert len(technician.payloads("work_order_assignment_update")) == 1
    assert len(technician.payloads("newNotification")) == 3


@pytest.mark.parametrize("path", [*JOBS, BOOKINGS])
async def test_row_is_at_most_32_kb(running: Running, path: str) -> None:
    refused(await running.call("POST", path, by=ADMIN, json={"x": "y" * 32_768}), 400, "INVALID_PAYLOAD")
    await done(running, "PUT", f"{path}/7", {"x": "y" * 30_000})
    answer = await running.call("PATCH", f"{path}/7", by=ADMIN, json={"z": "y" * 3000})
    refused(answer, 400, "INVALID_PAYLOAD", "A row is at most 32 KB")
    assert "z" not in await done(running, "GET", f"{path}/7")


BAD_JOBS: list[dict[str, Any]] = [
    {"status": ""},
    {"status": None},
    {"status": "x" * 41},
    {"status": 5},
    {"priority": 1},
    {"description": ["no"]},
    {"description": "x" * 10_001},
    {"technician_id": 1.5},
    {"technicianId": True},
    {"customer_id": {}},
    {"customer_name": "x" * 201},
    {"x" * 101: 1},
    {},
]
BAD_BOOKINGS: list[dict[str, Any]] = [{"status": ""}, {"userId": []}, {"ownerId": True}, {"from": 5}, {"to": "x" * 65}]


async def test_known_fields_are_checked(running: Running) -> None:
    for path, rows in ((ORDERS, BAD_JOBS), (TICKETS, [*BAD_JOBS, {"formatted_number": 5}]), (BOOKINGS, BAD_BOOKINGS)):
        before = await done(running, "PUT", f"{path}/7", {"status": "kept"})
        for row in rows:
            refused(await running.call("PATCH", f"{path}/7", by=ADMIN, json=row), 400, "INVALID_PAYLOAD")
            if row:
                refused(await running.call("POST", path, by=ADMIN, json=row), 400, "INVALID_PAYLOAD")
        for data in (b"[]", b"{", b'{"a": NaN}', b'{"a": "\\ud800"}'):
            refused(await running.call("PUT", f"{path}/7", by=ADMIN, data=data), 400, "INVALID_PAYLOAD")
        assert await done(running, "GET", f"{path}/7") == before
        assert await listed(running, path) == [7]


async def test_work_order_tells_its_room_every_action(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    watcher = await joined(running, 8, "technician", "work_order_7")
    outside = await running.connect(9, "technician")
    at = timestamp(clock.now)
    who = {"updatedBy": 1}
    steps: list[tuple[str, Any, str, dict[str, Any]]] = [
        ("PUT", {"status": "pending"}, "created", {"createdBy": 1}),
        ("PATCH", {"priority": "high"}, "updated", {"updatedFields": ["priority"], **who}),
        (
            "PATCH",
            {"technicianId": 3},
            "assigned",
            {"technicianId": 3, "assignedBy": 1, "updatedFields": ["technician_id"], **who},
        ),
        (
            "PATCH",
            {"status": "in_progress"},
            "status_changed",
            {"oldStatus": "pending", "newStatus": "in_progress", "updatedFields": ["status"], **who},
        ),
        (
            "PATCH",
            {"status": "completed"},
            "completed",
            {"oldStatus": "in_progress", "newStatus": "completed", "updatedFields": ["status"], **who},
        ),
        ("DELETE", None, "deleted", {"deletedBy": 1}),
    ]
    row: Any = None
    for nth, (method, body, action, data) in enumerate(steps, 1):
        answer = await done(running, method, f"{ORDERS}/7", body)
        row = answer if method != "DELETE" else row
        heard = await watcher.hears("work_order_updated", nth)
        assert heard == {"workOrderId": 7, "action": action, "workOrder": row, "data": data, "timestamp": at}
    await outside.settle()
    await watcher.settle()
    assert "work_order_updated" not in outside.names()
    assert len(watcher.payloads("work_order_updated")) == len(steps)


async def test_technician_hears_of_assignments_in_the_personal_room(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    three, four = await running.connect(3, "technician"), await running.connect(4, "technician")
    at = timestamp(clock.now)
    row = await done(running, "PUT", f"{ORDERS}/7", {"technician_id": 3})
    assert await three.hears("work_order_assignment_update") == {
        "workOrderId": 7,
        "action": "created",
        "workOrder": row,
        "timestamp": at,
    }
    row = await done(running, "POST", f"{ORDERS}/7/assign", {"technicianId": 4})
    for client, nth in ((three, 2), (four, 1)):  # the one who loses it hears it, too
        assert await client.hears("work_order_assignment_update", nth) == {
            "workOrderId": 7,
            "action": "assigned",
            "workOrder": row,
            "timestamp": at,
        }
    await done(running, "PATCH", f"{ORDERS}/7", {"status": "completed"})
    assert (await four.hears("work_order_assignment_update", 2))["action"] == "completed"
    await done(running, "DELETE", f"{ORDERS}/7")
    assert (await four.hears("work_order_assignment_update", 3))["action"] == "deleted"
    await three.settle()
    assert len(three.payloads("work_order_assignment_update")) == 2


async def test_one_change_that_does_two_things_is_two_actions(running: Running) -> None:
    await done(running, "PUT", f"{ORDERS}/7", {"status": "pending"})
    watcher = await joined(running, 8, "technician", "work_order_7")
    await done(running, "PATCH", f"{ORDERS}/7", {"technician_id": 3, "status": "in_progress", "note": "x"})
    await watcher.hears("work_order_updated", 2)
    assert [heard["action"] for heard in watcher.payloads("work_order_updated")] == ["assigned", "status_changed"]
    for heard in watcher.payloads("work_order_updated"):
        assert heard["data"]["updatedFields"] == ["note", "status", "technician_id"]
        assert heard["workOrder"]["status"] == "in_progress"


@pytest.mark.parametrize("path", [TICKETS, ALIAS])
async def test_ticket_tells_its_room_and_the_administrators(starter: Starter, clock: FakeClock, path: str) -> None:
    running = await starter(app={"clock": clock})
    watcher = await joined(running, 8, "technician", "ticket_7")
    admin, manager = await running.connect(1, "admin"), await running.connect(2, "manager")
    at = timestamp(clock.now)
    row = await done(running, "PUT", f"{path}/7", {"ticket_number": 7, "formatted_number": "T-7"})
    plain = {"ticketId": 7, "action": "created", "ticket": row, "timestamp": at}
    assert await watcher.hears("repair_ticket_updated") == {**plain, "data": {"createdBy": 1}}
    for client in (admin, manager):
        assert await client.hears("repair_ticket_update") == plain
    row = await done(running, "PATCH", f"{path}/7", {"status": "completed"})
    heard = await watcher.hears("repair_ticket_updated", 2)
    assert (heard["action"], heard["ticket"]) == ("completed", row)
    assert heard["data"]["oldStatus"] == "open"
    await done(running, "POST", f"{path}/7/assign", {"technicianId": 8})
    assert (await watcher.hears("repair_ticket_updated", 3))["action"] == "assigned"
    await done(running, "DELETE", f"{path}/7")
    assert (await watcher.hears("repair_ticket_updated", 4))["action"] == "deleted"
    await admin.hears("repair_ticket_update", 4)
    for client in (admin, manager):
        assert [p["action"] for p in client.payloads("repair_ticket_update")] == [
            "created",
            "completed",
            "assigned",
            "deleted",
        ]
        assert "repair_ticket_updated" not in client.names()  # they are not in the ticket's room
    assert "repair_ticket_update" not in watcher.names()
    assert not {"work_order_updated", "work_order_assignment_update"} & {*watcher.names(), *admin.names()}


async def test_assign_route_wants_exactly_a_technician(running: Running) -> None:
    await done(running, "PUT", f"{ORDERS}/7", {"technician_id": 3})
    for bad in ({}, {"technicianId": 1.5}, {"technicianId": 4, "extra": 1}, {"technician_id": 4}):
        refused(await running.call("POST", f"{ORDERS}/7/assign", by=ADMIN, json=bad), 400, "INVALID_PAYLOAD")
    refused(await running.call("POST", f"{ORDERS}/8/assign", by=ADMIN, json={"technicianId": 4}), 404, "NOT_FOUND")
    assert (await done(running, "POST", f"{ORDERS}/7/assign", {"technicianId": "4"}))["technician_id"] == 4
    assert (await done(running, "POST", f"{ORDERS}/7/assign", {"technicianId": None}))["technician_id"] is None


@pytest.mark.parametrize("path", [ORDERS, TICKETS])
async def test_name_of_the_technician_follows_the_assignment(running: Running, path: str) -> None:
    await running.call("GET", "/api/presence", by=bearer(4, "technician", name="Theo"))
    await running.call("GET", "/api/presence", by=bearer(6, "technician"))
    row = await done(running, "PUT", f"{path}/7", {"technician_id": 3, "technician_name": "Tess"})

    async def name_after(method: str, tail: str, **body: Any) -> Any:
        await done(running, "PUT", f"{path}/7", {"technician_id": 3, "technician_name": "Tess"})
        changed = await done(running, method, f"{path}/7{tail}", body)
        assert changed == await done(running, "GET", f"{path}/7")
        return changed["technician_name"]

    assert row["technician_name"] == "Tess"  # a mirroring backend knows its own people
    for id, name in ((4, "Theo"), ("4", "Theo"), (6, None), (404, None), (None, None)):
        assert await name_after("PATCH", "", technician_id=id) == name
        assert await name_after("PATCH", "", technicianId=id) == name
        assert await name_after("POST", "/assign", technicianId=id) == name
    assert await name_after("PATCH", "", technician_id=4, technician_name="T. H.") == "T. H."
    assert await name_after("PATCH", "", technician_id=4, technicianName=None) is None
    assert await name_after("PATCH", "", technician_id="3", note="x") == "Tess"
    assert await name_after("POST", "/assign", technicianId=3) == "Tess"


@pytest.mark.parametrize(("path", "kind"), [(ORDERS, "work_order"), (TICKETS, "ticket")])
async def test_technician_and_known_customer_are_notified(running: Running, path: str, kind: str) -> None:
    technician, customer = await running.connect(3, "technician"), await running.connect(5)
    await done(running, "PUT", f"{path}/7", {"technician_id": 3, "customer_id": 5, "description": "Leaks"})
    heard = await technician.hears("newNotification")
    assert (heard["type"], heard["message"]) == (f"{kind}_assigned", "Leaks")
    assert heard["relatedEntity"] == {"type": kind, "id": 7}
    received = (await technician.hears("notification_received"))["notification"]
    assert (received["related_entity_type"], received["related_entity_id"]) == (kind, 7)
    assert (await technician.hears("notification_count_updated"))["count"] == 1
    await done(running, "PATCH", f"{path}/7", {"status": "in_progress"})
    assert (await customer.hears("newNotification"))["type"] == f"{kind}_status_changed"
    await done(running, "PATCH", f"{path}/7", {"status": "completed"})
    assert (await customer.hears("newNotification", 2))["type"] == f"{kind}_completed"
    await done(running, "PATCH", f"{path}/7", {"priority": "high"})
    await done(running, "DELETE", f"{path}/7")
    await customer.settle()
    await technician.settle()
    assert await notified(running, TECHNICIAN) == [(f"{kind}_assigned", 7)]
    assert await notified(running, USER) == [(f"{kind}_status_changed", 7), (f"{kind}_completed", 7)]


async def test_customer_who_is_no_user_is_not_notified(running: Running) -> None:
    await done(running, "PUT", f"{ORDERS}/7", {"customer_id": 5})
    await done(running, "PATCH", f"{ORDERS}/7", {"status": "in_progress"})
    assert await notified(running, USER) == []  # 5 was only a number in somebody's table; now it has been seen
    await done(running, "PATCH", f"{ORDERS}/7", {"status": "completed"})
    assert await notified(running, USER) == [("work_order_completed", 7)]


async def test_booking_is_created_read_changed_and_deleted(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    at = timestamp(clock.now)
    row = await done(
        running, "POST", BOOKINGS, {"user_id": 5, "ownerId": "o1", "from": "2030-01-01", "to": "2030-01-02", "seats": 2}
    )
    assert row == {
        "id": row["id"],
        "userId": 5,
        "ownerId": "o1",
        "from": "2030-01-01",
        "to": "2030-01-02",
        "seats": 2,
        "status": "pending",
        "created_by": 1,
        "createdAt": at,
        "updatedAt": at,
    }
    assert await done(running, "GET", f"{BOOKINGS}/{row['id']}", by=USER) == row
    clock.advance(1)
    changed = await done(running, "PATCH", f"{BOOKINGS}/{row['id']}", {"status": "confirmed"})
    assert changed == {**row, "status": "confirmed", "updatedAt": timestamp(clock.now)}
    assert await done(running, "DELETE", f"{BOOKINGS}/{row['id']}") == {"id": row["id"]}
    refused(await running.call("GET", f"{BOOKINGS}/{row['id']}", by=USER), 404, "NOT_FOUND", "Booking not found")
    refused(await running.call("POST", f"{BOOKINGS}/1/assign", by=ADMIN, json={"technicianId": 3}), 404, "NOT_FOUND")


async def test_booking_tells_its_people_and_its_room(running: Running) -> None:
    user, owner, stranger = await running.connect(5), await running.connect(6), await running.connect(7)
    staff = await joined(running, 8, "receptionist", "booking_70")
    row = await done(running, "PUT", f"{BOOKINGS}/70", {"userId": 5, "ownerId": 6, "room": "12"})
    for client in (user, owner, staff):
        assert await client.hears("bookingUpdated") == {**row, "bookingId": 70, "userId": 5, "action": "created"}
    row = await done(running, "PATCH", f"{BOOKINGS}/70", {"status": "confirmed"})
    for client in (user, owner, staff):
        heard = await client.hears("bookingUpdated", 2)
        assert heard == {**row, "bookingId": 70, "action": "status_changed"}
    await done(running, "DELETE", f"{BOOKINGS}/70")
    for client in (user, owner, staff):
        heard = await client.hears("bookingUpdated", 3)
        assert (heard["status"], heard["action"]) == ("deleted", "deleted")
        assert len(client.payloads("bookingUpdated")) == 3
    await stranger.settle()
    assert "bookingUpdated" not in stranger.names()


async def test_booking_names_people_as_their_tokens_do(running: Running) -> None:
    user, owner = await running.connect(5), await running.connect("6")
    await done(running, "PUT", f"{BOOKINGS}/70", {"userId": "5", "ownerId": 6})
    await done(running, "PATCH", f"{BOOKINGS}/70", {"status": "confirmed"})
    row = await done(running, "GET", f"{BOOKINGS}/70")
    assert (row["userId"], row["ownerId"]) == ("5", 6)  # as it was mirrored
    assert (await done(running, "GET", BOOKINGS)) == [row]
    await done(running, "DELETE", f"{BOOKINGS}/70")
    for client in (user, owner):
        await client.hears("bookingUpdated", 3)
        assert [(heard["userId"], heard["ownerId"]) for heard in client.payloads("bookingUpdated")] == [(5, "6")] * 3


async def test_booking_notifies_user_and_owner(running: Running) -> None:
    user, owner = await running.connect(5), await running.connect(6)
    await done(running, "PUT", f"{BOOKINGS}/70", {"userId": 5, "ownerId": 6})
    for client in (user, owner):
        assert (await client.hears("newNotification"))["relatedEntity"] == {"type": "booking", "id": 70}
    await done(running, "PATCH", f"{BOOKINGS}/70", {"status": "confirmed"})
    await done(running, "PATCH", f"{BOOKINGS}/70", {"status": "completed"})
    await done(running, "PATCH", f"{BOOKINGS}/70", {"seats": 3})
    await done(running, "POST", f"{BOOKINGS}/70/reviews", {"rating": 4}, by=USER)
    await done(running, "DELETE", f"{BOOKINGS}/70")
    assert await notified(running, USER) == [("booking_created", 70), ("booking_status", 70), ("booking_status", 70)]
    assert await notified(running, bearer(6)) == [("booking_created", 70), ("review", 70)]


async def test_administrators_stand_in_for_a_missing_owner(running: Running) -> None:
    admin, manager, technician = [
        await running.connect(id, role) for id, role in ((1, "admin"), (2, "manager"), (3, "technician"))
    ]
    await done(running, "PUT", f"{BOOKINGS}/70", {"userId": 5})
    await done(running, "POST", f"{BOOKINGS}/70/reviews", {"rating": 5, "comment": "Lovely"}, by=USER)
    for client in (admin, manager):
        await client.hears("newNotification", 2)
        assert [heard["type"] for heard in client.payloads("newNotification")] == ["booking_created", "review"]
    assert admin.payloads("newNotification")[1]["message"] == "5 of 5: Lovely"
    assert await notified(running, MANAGER) == [("booking_created", 70), ("review", 70)]
    assert await notified(running, USER) == [("booking_created", 70)]
    await technician.settle()
    assert not set(NOTIFIED) & set(technician.names())


async def test_anybody_may_book_but_only_for_themselves(running: Running) -> None:
    mine: list[dict[str, Any]] = [{}, {"userId": 5}, {"userId": "5"}, {"user_id": 5}]
    for body in mine:
        row = await done(running, "POST", BOOKINGS, body, by=USER)
        assert (row["userId"], row["created_by"]) == (5, 5)
    assert (await done(running, "POST", BOOKINGS, {"created_by": 1}, by=USER))["created_by"] == 5
    others: list[dict[str, Any]] = [{"userId": 6}, {"user_id": 6}, {"userId": None}]
    for body in others:
        refused(await running.call("POST", BOOKINGS, by=USER, json=body), 403, "FORBIDDEN")
        refused(await running.call("PUT", f"{BOOKINGS}/900", by=USER, json=body), 403, "FORBIDDEN")
    refused(await running.call("PUT", f"{BOOKINGS}/901", by=USER, json={}), 403, "FORBIDDEN")  # ids are for staff
    refused(await running.call("GET", f"{BOOKINGS}/900", by=ADMIN), 404, "NOT_FOUND")
    for path in (BOOKINGS, ORDERS, TICKETS):
        refused(await running.call("POST", path, by=GUEST, json={}), 403, "FORBIDDEN")
    assert (await done(running, "POST", BOOKINGS, {"userId": 6}, by=TECHNICIAN))["userId"] == 6


async def test_only_staff_bring_their_own_ids_for_bookings(running: Running) -> None:
    for nth, who in enumerate((USER, bearer(9, "Admin"), GUEST)):
        for body in ({}, {"userId": 5}):
            refused(await running.call("PUT", f"{BOOKINGS}/{nth}", by=who, json=body), 403, "FORBIDDEN")
    assert await listed(running, BOOKINGS) == []
    for nth, who in enumerate((TECHNICIAN, SERVICE, MANAGER, ADMIN), 100):
        assert (await running.call("PUT", f"{BOOKINGS}/{nth}", by=who, json={"userId": 5}))[0] == 201


async def test_review_is_of_ones_own_booking(running: Running) -> None:
    await done(running, "PUT", f"{BOOKINGS}/70", {"userId": 5, "ownerId": 6})
    path = f"{BOOKINGS}/70/reviews"
    status, answer = await running.call("POST", path, by=USER, json={"rating": 4, "comment": "Good"})
    review = answer["data"]
    assert (status, answer["status"]) == (201, "success")
    assert review == {
        "id": review["id"],
        "bookingId": 70,
        "userId": 5,
        "rating": 4,
        "comment": "Good",
        "createdAt": review["createdAt"],
    }
    assert await statuses(running, bearer(6), ("POST", path, {"rating": 1}), ("GET", path, None)) == [
        403,
        200,
    ]  # the owner sees it and cannot review
    assert await statuses(running, TECHNICIAN, ("POST", path, {"rating": 1}), ("GET", path, None)) == [403, 200]
    assert await statuses(running, bearer(7), ("POST", path, {"rating": 1}), ("GET", path, None)) == [404, 404]
    assert await statuses(running, GUEST, ("POST", path, {"rating": 1}), ("GET", path, None)) == [403, 403]
    for who in (ADMIN, MANAGER, SERVICE):
        assert await statuses(running, who, ("POST", path, {"rating": 3})) == [201]
    for bad in (
        {},
        {"rating": 0},
        {"rating": 6},
        {"rating": 4.5},
        {"rating": "4"},
        {"rating": True},
        {"rating": 4, "comment": 5},
        {"rating": 4, "comment": "x" * 2001},
        {"rating": 4, "userId": 6},
    ):
        refused(await running.call("POST", path, by=USER, json=bad), 400, "INVALID_PAYLOAD")
    refused(await running.call("POST", f"{BOOKINGS}/71/reviews", by=ADMIN, json={"rating": 1}), 404, "NOT_FOUND")
    status, answer = await running.call("GET", f"{path}?limit=2&page=2", by=USER)
    assert [row["id"] for row in answer["data"]] == [review["id"] + 1, review["id"]]
    assert (answer["pagination"]["total"], answer["pagination"]["hasNext"]) == (4, False)


async def test_who_may_do_what_with_jobs(running: Running) -> None:
    """Columns: create, list, read, change, assign, delete; of a row that names nobody here and of one that does."""
    strangers, own = f"{ORDERS}/70", f"{ORDERS}/71"
    for who, named, expected in [
        (ADMIN, 1, ([201, 200, 200, 200, 200, 200], [200, 200, 200, 200])),
        (MANAGER, 2, ([201, 200, 200, 200, 200, 200], [200, 200, 200, 200])),
        (SERVICE, "backend", ([201, 200, 200, 200, 200, 200], [200, 200, 200, 200])),
        (TECHNICIAN, 3, ([201, 200, 200, 403, 403, 403], [200, 200, 200, 200])),
        (bearer(8, "receptionist"), 8, ([201, 200, 200, 403, 403, 403], [200, 200, 200, 200])),
        (USER, 5, ([403, 200, 404, 403, 403, 403], [200, 403, 403, 403])),
        (bearer(9, "Admin"), 9, ([403, 200, 404, 403, 403, 403], [200, 403, 403, 403])),
        (GUEST, 5, ([403, 403, 403, 403, 403, 403], [403, 403, 403, 403])),
    ]:
        await done(running, "PUT", strangers, {"technician_id": 77}, by=SERVICE)
        await done(running, "PUT", own, {"customer_id": named, "created_by": 77}, by=SERVICE)
        change, assign = {"note": str(named)}, {"technicianId": 78}
        calls: list[tuple[str, str, Any]] = [
            ("POST", ORDERS, {}),
            ("GET", ORDERS, None),
            ("GET", strangers, None),
            ("PATCH", strangers, change),
            ("POST", f"{strangers}/assign", assign),
            ("DELETE", strangers, None),
        ]
        if who is ADMIN:
            calls[5] = ("PUT", strangers, {"technician_id": 77})
        assert await statuses(running, who, *calls) == expected[0], who
        calls = [("GET", own, None), ("PATCH", own, change), ("POST", f"{own}/assign", assign), ("DELETE", own, None)]
        assert await statuses(running, who, *calls) == expected[1], who


async def test_changing_a_row_does_not_give_it_to_oneself(running: Running) -> None:
    await done(running, "PUT", f"{ORDERS}/7", {"technician_id": 4})
    refused(await running.call("PUT", f"{ORDERS}/7", by=TECHNICIAN, json={"technician_id": 3}), 403, "FORBIDDEN")
    refused(await running.call("PATCH", f"{ORDERS}/7", by=TECHNICIAN, json={"created_by": 3}), 403, "FORBIDDEN")
    own = await done(running, "POST", ORDERS, {"created_by": 1}, by=TECHNICIAN)
    assert own["created_by"] == 3
    changed = await done(running, "PATCH", f"{ORDERS}/{own['id']}", {"created_by": 1}, by=TECHNICIAN)
    assert changed["created_by"] == 3
    refused(await running.call("PATCH", f"{BOOKINGS}/7", by=USER, json={"status": "x"}), 404, "NOT_FOUND")
    booking = await done(running, "POST", BOOKINGS, {}, by=USER)
    refused(await running.call("PATCH", f"{BOOKINGS}/{booking['id']}", by=USER, json={"status": "x"}), 403, "FORBIDDEN")
    refused(await running.call("PUT", f"{BOOKINGS}/{booking['id']}", by=USER, json={}), 403, "FORBIDDEN")
    refused(await running.call("DELETE", f"{BOOKINGS}/{booking['id']}", by=USER), 403, "FORBIDDEN")


@pytest.mark.parametrize(
    ("path", "field"), [(ORDERS, "customer_id"), (TICKETS, "technician_id"), (BOOKINGS, "ownerId")]
)
async def test_people_who_are_not_staff_see_the_rows_that_name_them(running: Running, path: str, field: str) -> None:
    await done(running, "PUT", f"{path}/7", {field: 5})
    await done(running, "PUT", f"{path}/8", {field: 6})
    await done(running, "PUT", f"{path}/9", {field: None})
    assert await listed(running, path, USER) == [7]
    assert await listed(running, path, bearer(66)) == []
    assert await listed(running, path, TECHNICIAN) == [9, 8, 7]
    _, answer = await running.call("GET", path, by=USER)
    assert answer["pagination"]["total"] == 1
    assert await statuses(running, USER, ("GET", f"{path}/7", None), ("GET", f"{path}/8", None)) == [200, 404]
    refused(await running.call("GET", path, by=GUEST), 403, "FORBIDDEN")
    refused(await running.call("GET", f"{path}/7", by=GUEST), 403, "FORBIDDEN")
    await done(running, "PATCH", f"{path}/7", {field: 6})
    assert await listed(running, path, USER) == []


@pytest.mark.parametrize(
    ("path", "field", "room", "event"),
    [
        (ORDERS, "customer_id", "work_order_7", "work_order_updated"),
        (ORDERS, "technician_id", "work_order_7", "work_order_updated"),
        (TICKETS, "customer_id", "ticket_7", "repair_ticket_updated"),
        (BOOKINGS, "ownerId", "booking_7", "bookingUpdated"),
    ],
)
async def test_who_is_no_longer_named_leaves_the_room(
    running: Running, path: str, field: str, room: str, event: str
) -> None:
    await done(running, "PUT", f"{path}/7", {field: 5})
    tabs = [await joined(running, 5, "user", room), await joined(running, 5, "user", room)]
    staff = await joined(running, 8, "technician", room)
    await done(running, "PATCH", f"{path}/7", {field: 6})
    await staff.hears(event)
    for tab in tabs:
        await tab.settle()
        assert tab.payloads(event) == []  # the row as it is now is not theirs
        _, rooms = await running.call("GET", "/api/websocket/user/5/rooms", by=ADMIN)
        assert rooms["data"]["rooms"] == ["role_user", "user_5"]
    await done(running, "PATCH", f"{path}/7", {"note": "secret"})
    await running.call("POST", f"/api/websocket/emit/room/{room}", by=ADMIN, json={"event": "secret"})
    await running.call("POST", "/api/notifications", by=ADMIN, json={"room": room, "title": "t", "message": "secret"})
    await staff.hears("secret")
    await staff.hears("newNotification")
    for tab in tabs:
        await tab.settle()
        assert tab.payloads(event) == []
        assert "secret" not in json.dumps(tab.heard)
        assert (await tab.ask("join_room", room))["code"] == "ROOM_FORBIDDEN"
        assert (await tab.ask("typing_start", room))["code"] == "ROOM_FORBIDDEN"


async def test_who_is_taken_off_a_row_is_out_of_the_room_before_it_is_told(running: Running) -> None:
    """The row that replaces the one that named them, whatever took the name off."""
    for nth, (method, body) in enumerate([("PATCH", {"customer_id": 6}), ("PUT", {"note": "x"})], 1):
        await done(running, "PUT", f"{ORDERS}/{nth}", {"customer_id": 5, "technician_id": 3})
        customer = await joined(running, 5, "user", f"work_order_{nth}")
        technician = await joined(running, 3, "technician", f"work_order_{nth}")
        await done(running, "PATCH", f"{ORDERS}/{nth}", {"status": "in_progress"})
        assert (await customer.hears("work_order_updated"))["action"] == "status_changed"
        await done(running, method, f"{ORDERS}/{nth}", body)
        await technician.hears("work_order_updated", 2)
        await customer.settle()
        assert len(customer.payloads("work_order_updated")) == 1
        assert (await customer.ask("leave_room", f"work_order_{nth}"))["success"] is True


async def test_deleting_a_row_empties_its_room_of_those_it_named(running: Running) -> None:
    await done(running, "PUT", f"{ORDERS}/7", {"customer_id": 5})
    customer, staff = (
        await joined(running, 5, "user", "work_order_7"),
        await joined(running, 8, "staff", "work_order_7"),
    )
    await done(running, "DELETE", f"{ORDERS}/7")
    assert (await customer.hears("work_order_updated"))["action"] == "deleted"
    await done(running, "PUT", f"{ORDERS}/7", {"customer_id": 6})
    assert (await staff.hears("work_order_updated", 2))["action"] == "created"
    await customer.settle()
    assert len(customer.payloads("work_order_updated")) == 1


async def test_lists_are_filtered_and_paged(running: Running) -> None:
    for id in range(1, 6):
        row = {"status": "open" if id % 2 else "done", "technician_id": id, "priority": "high" if id > 3 else None}
        await done(running, "PUT", f"{ORDERS}/{id}", row)
    expected = {
        "": [5, 4, 3, 2, 1],
        "?status=open": [5, 3, 1],
        "?status=open&priority=high": [5],
        "?technicianId=2": [2],
        "?technician_id=2": [2],
        "?status=nothing": [],
        "?status=": [5, 4, 3, 2, 1],
        "?limit=2": [5, 4],
        "?page=2&limit=2": [3, 2],
        "?offset=4": [1],
        "?unknown=1": [5, 4, 3, 2, 1],
    }
    for query, ids in expected.items():
        assert await listed(running, ORDERS + query) == ids, query
    _, answer = await running.call("GET", f"{ORDERS}?status=open&limit=2", by=ADMIN)
    assert set(answer) == {"status", "data", "pagination"}
    assert answer["pagination"] == {
        "page": 1,
        "limit": 2,
        "total": 3,
        "totalPages": 2,
        "pages": 2,
        "hasNext": True,
        "hasPrev": False,
    }
    for query in ("page=x", "limit=1.5", "offset=one"):
        refused(await running.call("GET", f"{ORDERS}?{query}", by=ADMIN), 400, "INVALID_PAYLOAD")
    for id, user in ((1, 5), (2, "5"), (3, 6)):
        await done(running, "PUT", f"{BOOKINGS}/{id}", {"userId": user, "ownerId": "o", "status": "new"})
    assert await listed(running, f"{BOOKINGS}?userId=5") == [2, 1]
    assert await listed(running, f"{BOOKINGS}?ownerId=o&status=new&userId=6") == [3]
    assert await listed(running, f"{BOOKINGS}?userId=6", USER) == []  # a filter never widens


@pytest.mark.parametrize("path", [ORDERS, TICKETS, BOOKINGS])
async def test_concurrent_changes_lose_nothing(running: Running, path: str) -> None:
    await done(running, "PUT", f"{path}/7", {})
    room = {ORDERS: "work_order_7", TICKETS: "ticket_7", BOOKINGS: "booking_7"}[path]
    event = {ORDERS: "work_order_updated", TICKETS: "repair_ticket_updated", BOOKINGS: "bookingUpdated"}[path]
    watcher = await joined(running, 8, "technician", room)
    await asyncio.gather(*(done(running, "PATCH", f"{path}/7", {f"field_{n}": n}) for n in range(20)))
    row = await done(running, "GET", f"{path}/7")
    assert {name: row.get(name) for name in (f"field_{n}" for n in range(20))} == {f"field_{n}": n for n in range(20)}
    await watcher.hears(event, 20)


async def test_concurrent_creates_have_their_own_ids(running: Running) -> None:
    rows = await asyncio.gather(*(done(running, "POST", TICKETS, {"n": n}) for n in range(20)))
    assert len({row["id"] for row in rows}) == 20
    answers = await asyncio.gather(*(running.call("PUT", f"{TICKETS}/900", by=ADMIN, json={}) for _ in range(8)))
    assert sorted(status for status, _ in answers) == [200] * 7 + [201]


async def test_repeated_create_with_a_key_is_one_row(running: Running) -> None:
    await done(running, "PUT", f"{BOOKINGS}/70", {"userId": 1})
    for path, body in (
        (ORDERS, {"description": "x"}),
        (TICKETS, {}),
        (BOOKINGS, {}),
        (f"{BOOKINGS}/70/reviews", {"rating": 3}),
    ):
        more: dict[str, Any] = {"by": {**ADMIN, "Idempotency-Key": f"k {path}"}, "json": body}
        first = await running.call("POST", path, **more)
        assert first[0] == 201
        assert await running.call("POST", path, **more) == first
    assert await listed(running, TICKETS) == [1]


@pytest.mark.parametrize(("path", "alias"), [(TICKETS, ALIAS), (ALIAS, f"{TICKETS}/"), (ORDERS, f"{ORDERS}/")])
async def test_key_is_the_same_under_every_spelling_of_a_path(running: Running, path: str, alias: str) -> None:
    more: dict[str, Any] = {"by": {**ADMIN, "Idempotency-Key": "once"}, "json": {"description": "x"}}
    first = await running.call("POST", path, **more)
    assert first[0] == 201
    assert await running.call("POST", alias, **more) == first
    other = TICKETS if path == ORDERS else ORDERS
    refused(await running.call("POST", other, **more), 422, "INVALID_PAYLOAD")
    assert await listed(running, path) == [first[1]["data"]["id"]]
    assert await listed(running, other) == []


async def test_rows_survive_a_restart(starter: Starter, clock: FakeClock) -> None:
    first = await starter(app={"clock": clock})
    row = await done(first, "PUT", f"{ORDERS}/7", {"customer_id": 5, "extra": {"a": [1]}})
    await first.stop()
    clock.advance(MONTH / 2)
    second = await starter(app={"clock": clock})
    assert await done(second, "GET", f"{ORDERS}/7", by=USER) == row
