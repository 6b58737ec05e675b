"""The hotel's communications over REST, and what its guests' sockets hear of them."""

from ipaddress import ip_network
from typing import Any

import pytest

from realtime import wire
from realtime.clock import timestamp
from tests.conftest import Starter
from tests.handlers.http.answers import ADMIN, MANAGER, MONTH, SERVICE, TECHNICIAN, USER, Answer, refused
from tests.support import FakeClock, Plain, Running, bearer

API = "/api/communications"
STAFF = bearer(9, "staff", lifetime=MONTH)
GUEST = bearer(7, guest=True, lifetime=MONTH)
OTHER = bearer(8, guest=True, lifetime=MONTH)
REQUIRED = ("hotel_id", "type", "title", "message", "sender_type")
MISSING = "Missing required fields: hotel_id, type, title, message, sender_type"
POOL = {
    "hotel_id": 1,
    "type": "notification",
    "title": "Pool Maintenance",
    "message": "The pool will be closed",
    "sender_type": "hotel",
}
FOR_7 = {"recipient_type": "guest", "recipient_id": 7}


async def post(running: Running, *, by: dict[str, str] | None = STAFF, **fields: Any) -> Answer:
    """POST a communication; None takes a field out."""
    body = {name: value for name, value in {**POOL, **fields}.items() if value is not None}
    return await running.call("POST", API, by=by, json=body)


async def created(running: Running, **fields: Any) -> Any:
    status, body = await post(running, **fields)
    assert (status, body.get("status")) == (201, "success"), body
    return body["data"]


async def listed(running: Running, query: str = "", *, by: dict[str, str] | None = STAFF) -> list[int]:
    status, body = await running.call("GET", API + query, by=by)
    assert (status, body.get("status")) == (200, "success"), body
    return [row["id"] for row in body["data"]]


async def mark(running: Running, id: int, *, by: dict[str, str] | None = STAFF, **more: Any) -> Answer:
    return await running.call("PUT", f"{API}/{id}/mark-read{more.pop('query', '')}", by=by, **more)


async def guest(running: Running, id: int = 7) -> Plain:
    """Open a guest's socket and wait for its greeting."""
    socket = await running.plain("/ws/notifications", id, guest=True, query=f"guestId={id}", lifetime=MONTH)
    await socket.hears("connection")
    return socket


async def heard(socket: Plain) -> list[int]:
    """Return the notifications that a socket has heard by now."""
    pongs = len([frame for frame in socket.heard if frame["type"] == "pong"])
    await socket.send({"type": "ping"})
    await socket.hears("pong", pongs + 1)
    return [row["id"] for row in socket.payloads("notification")]


# --- creating ---


async def test_the_row_of_the_answer_is_the_one_of_the_frame(running: Running) -> None:
    socket = await guest(running)
    row = await created(
        running,
        **FOR_7,
        category="service",
        priority="high",
        sender_id=4,
        sender_name="Desk",
        metadata={"floor": 2},
        tags=["pool"],
        language="en",
    )
    frame = await socket.hears("notification")
    assert {**frame, "scheduled_at": None} == row
    assert row == {
        **POOL,
        "id": row["id"],
        "category": "service",
        "priority": "high",
        "sender_id": 4,
        "sender_name": "Desk",
        "recipient_type": "guest",
        "recipient_id": 7,
        "status": "sent",
        "metadata": {"floor": 2},
        "tags": ["pool"],
        "language": "en",
        "scheduled_at": None,
        "expires_at": None,
        "read_at": None,
        "created_at": row["created_at"],
        "updated_at": row["created_at"],
    }
    assert isinstance(row["id"], int)


async def test_what_is_left_out_has_a_default(running: Running) -> None:
    row = await created(running)
    assert {name: row[name] for name in ("category", "recipient_type", "recipient_id", "priority")} == {
        "category": "general",
        "recipient_type": "all",
        "recipient_id": None,
        "priority": "normal",
    }
    assert (row["metadata"], row["tags"], row["language"], row["sender_id"]) == ({}, [], None, None)


async def test_empty_fields_of_a_form_count_as_left_out(running: Running) -> None:
    optional = (
        "category",
        "recipient_type",
        "recipient_id",
        "priority",
        "metadata",
        "tags",
        "scheduled_at",
        "language",
    )
    filled = await created(running, **dict.fromkeys(optional, ""))
    _, body = await running.call("POST", API, by=STAFF, json={**POOL, **dict.fromkeys(optional)})
    for row in (filled, body["data"]):
        assert (row["category"], row["recipient_type"], row["recipient_id"]) == ("general", "all", None)


@pytest.mark.parametrize("field", REQUIRED)
@pytest.mark.parametrize("value", ["left out", "", "  ", None])
async def test_missing_fields_are_named_together(running: Running, field: str, value: str | None) -> None:
    body = {name: value_ for name, value_ in POOL.items() if name != field}
    if value != "left out":
        body[field] = value
    refused(await running.call("POST", API, by=STAFF, json=body), 400, "INVALID_PAYLOAD", MISSING)


async def test_an_empty_body_misses_every_field(running: Running) -> None:
    refused(await running.call("POST", API, by=STAFF), 400, "INVALID_PAYLOAD", MISSING)


@pytest.mark.parametrize(
    "wrong",
    [
        {"recipient_type": "everybody"},
        {"recipient_id": [7]},
        {"recipient_id": True},
        {"hotel_id": {"id": 1}},
        {"priority": "extreme"},
        {"title": "x" * 201},
        {"message": "x" * 5001},
        {"title": 5},
        {"type": "x" * 41},
        {"metadata": "{"},
        {"metadata": "[]"},
        {"metadata": [1]},
        {"metadata": {"x": "y" * 8192}},
        {"tags": "pool"},
        {"tags": {"a": 1}},
        {"tags": [1]},
        {"tags": ["x"] * 51},
        {"tags": ["x" * 101]},
        {"scheduled_at": "tomorrow"},
        {"expires_at": 5},
        {"lateJoin": "perhaps"},
        {"title": "\ud800"},
    ],
)
async def test_malformed_fields_are_refused_and_nothing_is_stored(running: Running, wrong: dict[str, Any]) -> None:
    answer = await running.call("POST", API, by=STAFF, data=wire.dumps({**POOL, **wrong}))
    refused(answer, 400, "INVALID_PAYLOAD")
    assert await listed(running) == []


async def test_the_largest_row_is_taken(running: Running) -> None:
    metadata = {"x": "y" * (8192 - 8)}
    row = await created(running, title="x" * 200, message="y" * 5000, metadata=metadata, tags=["x" * 100] * 50)
    assert row["metadata"] == metadata


async def test_numbers_may_come_as_text_and_json_as_text(running: Running) -> None:
    socket = await guest(running)
    row = await created(
        running,
        hotel_id="1",
        sender_id="4",
        recipient_type="specific",
        recipient_id="7",
        metadata='{"floor":2}',
        tags='["pool"]',
    )
    assert (row["hotel_id"], row["sender_id"], row["recipient_id"]) == (1, 4, 7)
    assert (row["metadata"], row["tags"]) == ({"floor": 2}, ["pool"])
    assert await heard(socket) == [row["id"]]


async def test_unknown_fields_are_ignored(running: Running) -> None:
    row = await created(running, status="read", id=99, created_by=1, read_at="2024-01-01T00:00:00Z")
    assert (row["status"], row["read_at"]) == ("sent", None)
    assert row["id"] != 99


async def test_urgent_is_the_hotels_word_for_critical(running: Running) -> None:
    row = await created(running, priority="urgent")
    assert row["priority"] == "critical"
    assert await listed(running, "?priority=urgent") == [row["id"]]


@pytest.mark.parametrize("type", ["guest", "specific"])
async def test_a_guest_who_is_not_named_is_told_nothing(running: Running, type: str) -> None:
    socket = await guest(running)
    row = await created(running, recipient_type=type)
    assert row["status"] == "failed"
    assert await heard(socket) == []


async def test_mail_is_stored_and_not_shown(running: Running) -> None:
    socket = await guest(running)
    row = await created(running, type="email", **FOR_7)
    assert row["status"] == "pending"
    assert await heard(socket) == []
    assert await listed(running, by=GUEST) == []


async def test_late_join_shows_a_broadcast_to_guests_who_come_later(running: Running) -> None:
    await created(running)
    kept = [(await created(running, lateJoin=True))["id"], (await created(running, late_join=True))["id"]]
    socket = await guest(running)
    await socket.hears("notification", 2)
    assert await heard(socket) == kept


async def test_a_repeated_key_sends_once(running: Running) -> None:
    socket = await guest(running)
    key = {"Idempotency-Key": "pool-1"}
    first = await running.call("POST", API, by=STAFF, json={**POOL, **FOR_7}, headers=key)
    again = await running.call("POST", API, by=STAFF, json={**POOL, **FOR_7}, headers=key)
    assert first == again
    assert await heard(socket) == [first[1]["data"]["id"]]
    assert await listed(running) == [first[1]["data"]["id"]]


# --- later ---


async def test_a_draft_is_sent_at_its_time(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    socket = await guest(running)
    row = await created(running, **FOR_7, scheduled_at=timestamp(clock() + 60))
    assert row["status"] == "draft"
    assert await listed(running, "?status=draft") == [row["id"]]
    assert await listed(running, by=GUEST) == []
    refused(await running.call("GET", f"{API}/{row['id']}", by=GUEST), 404, "NOT_FOUND")
    assert await heard(socket) == []
    clock.advance(61)
    frame = await socket.hears("notification")
    assert (frame["id"], frame["status"]) == (row["id"], "sent")
    _, body = await running.call("GET", f"{API}/{row['id']}", by=STAFF)
    assert (body["data"]["status"], body["data"]["scheduled_at"]) == ("sent", row["scheduled_at"])


async def test_a_draft_can_be_cancelled_until_its_time(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    socket = await guest(running)
    row = await created(running, **FOR_7, scheduled_at=timestamp(clock() + 60))
    path = f"{API}/{row['id']}"
    refused(await running.call("DELETE", path, by=GUEST), 403, "FORBIDDEN")
    answer = await running.call("DELETE", path, by=STAFF)
    assert answer == (200, {"status": "success", "data": {"id": row["id"]}})
    refused(await running.call("DELETE", path, by=STAFF), 404, "NOT_FOUND")
    sent = await created(running, **FOR_7)
    refused(await running.call("DELETE", f"{API}/{sent['id']}", by=STAFF), 409, "INVALID_PAYLOAD")
    clock.advance(61)
    later = await created(running, **FOR_7)
    await socket.hears("notification", 2)
    assert await heard(socket) == [sent["id"], later["id"]]


# --- listing ---


async def test_pages_are_of_ten_newest_first(running: Running) -> None:
    ids = [(await created(running))["id"] for _ in range(11)][::-1]
    status, body = await running.call("GET", API, by=STAFF)
    assert status == 200
    assert [row["id"] for row in body["data"]] == ids[:10]
    wanted = {"page": 1, "limit": 10, "total": 11, "totalPages": 2}
    assert {name: body["pagination"][name] for name in wanted} == wanted
    assert await listed(running, "?page=2") == ids[10:]
    assert await listed(running, "?page=2&limit=4") == ids[4:8]


async def test_staff_filter_by_field(running: Running) -> None:
    await created(running)
    wanted = await created(running, **FOR_7, hotel_id=2, type="push_notification", category="service", priority="low")
    await created(running, recipient_type="guest", recipient_id=8, type="email")
    filters = (
        "hotel_id=2",
        "type=push_notification",
        "category=service",
        "priority=low",
        "recipient_id=7",
        "guest_id=7",
        "guestId=7",
        "recipient_type=guest&status=sent",
        "hotel_id=2&status=&category=",
    )
    for query in filters:
        assert await listed(running, f"?{query}") == [wanted["id"]], query
    await mark(running, wanted["id"])
    assert await listed(running, "?status=read") == [wanted["id"]]
    assert await listed(running, "?unread=false") == [wanted["id"]]
    assert wanted["id"] not in await listed(running, "?unread=true")


async def test_a_guest_lists_only_their_own(running: Running) -> None:
    await listed(running, by=GUEST)
    mine, theirs = await created(running, **FOR_7), await created(running, recipient_type="guest", recipient_id=8)
    ours = await created(running, recipient_type="walkin", hotel_id=2)
    assert await listed(running, by=GUEST) == [ours["id"], mine["id"]]
    assert await listed(running, by=OTHER) == [theirs["id"]]
    await mark(running, mine["id"], by=GUEST)
    for query, rows in {
        "?guest_id=7&limit=1": [ours],
        "?limit=1&page=2": [mine],
        "?unread=true": [ours],
        "?status=read": [mine],
        "?status=sent": [ours],
        "?status=draft": [],
        "?hotel_id=2": [ours],
        "?recipient_type=guest": [mine],
        "?type=notification": [ours, mine],
        "?type=email": [],
    }.items():
        assert await listed(running, query, by=GUEST) == [row["id"] for row in rows], query
    for query in ("?guest_id=8", "?recipient_id=8", "?guestId=8&recipient_id=7"):
        refused(await running.call("GET", API + query, by=GUEST), 403, "FORBIDDEN")


async def test_one_row(running: Running) -> None:
    row = await created(running, **FOR_7)
    path = f"{API}/{row['id']}"
    assert await running.call("GET", path, by=STAFF) == (200, {"status": "success", "data": row})
    _, body = await running.call("GET", path, by=GUEST)
    assert body["data"] == {name: value for name, value in row.items() if name != "scheduled_at"}
    refused(await running.call("GET", path, by=OTHER), 404, "NOT_FOUND")
    refused(await running.call("GET", f"{API}/{row['id'] + 1}", by=STAFF), 404, "NOT_FOUND")
    refused(await running.call("GET", f"{API}/{'9' * 16}", by=STAFF), 404, "NOT_FOUND")
    refused(await running.call("GET", f"{API}/seven", by=STAFF), 404, "NOT_FOUND")


# --- reading ---


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_a_guest_marks_their_row_read(running: Running, method: str) -> None:
    socket = await guest(running)
    row = await created(running, **FOR_7)
    path = f"{API}/{row['id']}/mark-read"
    refused(await running.call(method, path, by=OTHER), 404, "NOT_FOUND")
    status, body = await running.call(method, path, by=GUEST)
    assert (status, body["status"]) == (200, "success")
    assert (body["data"]["id"], body["data"]["status"]) == (row["id"], "read")
    assert body["data"]["read_at"] is not None
    _, seen = await running.call("GET", f"{API}/{row['id']}", by=STAFF)
    assert (seen["data"]["status"], seen["data"]["read_at"]) == ("read", body["data"]["read_at"])
    assert await heard(socket) == [row["id"]]


async def test_reading_changes_the_count_that_other_clients_of_the_guest_show(running: Running) -> None:
    client = await running.connect(7, guest=True, namespace="/notifications")
    row = await created(running, **FOR_7)
    await client.hears("notification")
    await mark(running, row["id"], by=GUEST)
    _, body = await running.call("GET", "/api/notifications/unread-count", by=GUEST)
    assert body["count"] == 0
    assert (await client.hears("unread_count", 3))["count"] == 0


async def test_staff_say_which_guest_has_read_a_broadcast(running: Running) -> None:
    for reader in (GUEST, OTHER):
        await listed(running, by=reader)
    row = await created(running)
    refused(await mark(running, row["id"]), 400, "INVALID_PAYLOAD")
    status, body = await mark(running, row["id"], json={"guestId": 7})
    assert (status, body["data"]["status"]) == (200, "read")
    assert await listed(running, "?unread=true", by=OTHER) == [row["id"]]
    assert (await mark(running, row["id"], query="?guestId=8"))[0] == 200
    assert await listed(running, "?unread=true", by=OTHER) == []
    refused(await mark(running, row["id"], json={"guestId": "9"}), 404, "NOT_FOUND")
    refused(await mark(running, row["id"] + 1), 404, "NOT_FOUND")


async def test_a_guest_cannot_mark_for_somebody_else(running: Running) -> None:
    await listed(running, by=OTHER)
    row = await created(running)
    refused(await mark(running, row["id"], by=GUEST, json={"guestId": 8}), 404, "NOT_FOUND")
    assert await listed(running, "?unread=true", by=OTHER) == [row["id"]]


# --- sockets ---


async def test_stats_count_guests_sockets_only(running: Running) -> None:
    path = f"{API}/websocket/stats"
    empty = {"totalConnections": 0, "uniqueGuests": 0, "guests": []}
    assert await running.call("GET", path, by=STAFF) == (200, {"status": "success", "data": empty})
    sockets = [await guest(running, id) for id in (7, 7, 8)]
    await running.connect(5)
    await running.connect(6, guest=True)
    _, body = await running.call("GET", path, by=STAFF)
    assert body["data"] == {
        "totalConnections": 3,
        "uniqueGuests": 2,
        "guests": [{"guestId": 7, "connections": 2}, {"guestId": 8, "connections": 1}],
    }
    assert [await heard(socket) for socket in sockets] == [[], [], []]


@pytest.mark.parametrize("id", [7, "7"])
async def test_a_test_reaches_the_guests_sockets_and_is_stored_nowhere(running: Running, id: int | str) -> None:
    socket, other = await guest(running), await guest(running, 8)
    elsewhere = await running.connect(7, guest=True)
    status, body = await running.call(
        "POST", f"{API}/websocket/test", by=STAFF, json={"guestId": id, "message": "Hello"}
    )
    assert (status, body) == (200, {"status": "success", "message": "Test notification sent to guest 7"})
    shown = await socket.hears("notification")
    assert (shown["message"], shown["recipient_id"], shown["title"]) == ("Hello", 7, "Test Notification")
    assert await heard(other) == []
    await elsewhere.settle()
    assert elsewhere.heard == []
    assert await listed(running, by=GUEST) == []
    assert await listed(running) == []


async def test_a_test_for_a_guest_who_is_away_succeeds(running: Running) -> None:
    status, body = await running.call(
        "POST", f"{API}/websocket/test", by=STAFF, json={"guestId": 123, "message": "Hello"}
    )
    assert (status, body["message"]) == (200, "Test notification sent to guest 123")


@pytest.mark.parametrize("body", [{}, {"guestId": 7}, {"message": "x"}, {"guestId": "", "message": "x"}])
async def test_a_test_needs_a_guest_and_a_message(running: Running, body: dict[str, Any]) -> None:
    answer = await running.call("POST", f"{API}/websocket/test", by=STAFF, json=body)
    refused(answer, 400, "INVALID_PAYLOAD", "guestId and message are required")


async def test_missed_rows_come_on_the_next_connection_once(running: Running) -> None:
    await (await guest(running)).close()
    missed = [(await created(running, **FOR_7))["id"], (await created(running))["id"]]
    socket = await guest(running)
    await socket.hears("notification", 2)
    assert await heard(socket) == missed
    await socket.close()
    second = await guest(running)
    live = await created(running, **FOR_7)
    await second.hears("notification")
    assert await heard(second) == [live["id"]]


async def test_what_a_client_did_not_confirm_comes_again(running: Running) -> None:
    url = f"{running.url}/ws/notifications?guestId=7&token={GUEST['Authorization'].removeprefix('Bearer ')}"
    async with running.http.ws_connect(url, autoping=False) as deaf:
        assert (await deaf.receive_json())["type"] == "connection"
        row = await created(running, **FOR_7)
        assert (await deaf.receive_json())["data"]["id"] == row["id"]
    socket = await guest(running)
    await socket.hears("notification")
    assert await heard(socket) == [row["id"]]


# --- who may ---

ROUTES = [
    ("POST", API, {"json": POOL}),
    ("GET", f"{API}/websocket/stats", {}),
    ("POST", f"{API}/websocket/test", {"json": {"guestId": 7, "message": "x"}}),
    ("DELETE", f"{API}/1", {}),
]
READER_ROUTES: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", API, {}),
    ("GET", f"{API}/1", {}),
    ("PUT", f"{API}/1/mark-read", {}),
    ("PATCH", f"{API}/1/mark-read", {}),
]


@pytest.mark.parametrize(("method", "path", "more"), [*ROUTES, *READER_ROUTES])
async def test_nobody_gets_in_without_a_token_or_a_hotel_role(
    running: Running, method: str, path: str, more: dict[str, Any]
) -> None:
    refused(await running.call(method, path, **more), 401, "AUTH_REQUIRED")
    for by in (USER, TECHNICIAN):
        refused(await running.call(method, path, by=by, **more), 403, "FORBIDDEN")


@pytest.mark.parametrize(("method", "path", "more"), ROUTES)
async def test_guests_only_read(running: Running, method: str, path: str, more: dict[str, Any]) -> None:
    refused(await running.call(method, path, by=GUEST, **more), 403, "FORBIDDEN")


@pytest.mark.parametrize("by", [ADMIN, MANAGER, STAFF, SERVICE])
async def test_the_hotels_roles_may_write(running: Running, by: dict[str, str]) -> None:
    row = await created(running, by=by)
    assert await listed(running, by=by) == [row["id"]]


@pytest.mark.parametrize("how", [{"dev": True}, {"open_communications": True}])
async def test_open_routes_need_no_token(starter: Starter, how: dict[str, Any]) -> None:
    running = await starter(**how)
    socket = await guest(running)
    row = await created(running, by=None, **FOR_7)
    assert await heard(socket) == [row["id"]]
    assert await listed(running, by=None) == [row["id"]]
    assert (await mark(running, row["id"], by=None))[1]["data"]["status"] == "read"
    assert (await running.call("GET", f"{API}/websocket/stats"))[1]["data"]["uniqueGuests"] == 1
    body = {"guestId": 7, "message": "x"}
    assert (await running.call("POST", f"{API}/websocket/test", json=body))[0] == 200


async def test_open_routes_still_look_at_a_token_that_is_there(starter: Starter) -> None:
    running = await starter(open_communications=True)
    row = await created(running, by=None)
    bad = {"Authorization": "Bearer nonsense"}
    refused(await running.call("GET", API, by=bad), 401, "AUTH_INVALID")
    assert await listed(running, by=USER) == [row["id"]]
    assert await listed(running, by=GUEST) == []
    refused(await running.call("GET", f"{API}/{row['id']}", by=GUEST), 404, "NOT_FOUND")


async def test_development_can_close_them(starter: Starter) -> None:
    running = await starter(dev=True, open_communications=False)
    refused(await post(running, by=None), 401, "AUTH_REQUIRED")


async def test_keys_of_open_routes_are_those_of_an_address(starter: Starter) -> None:
    running = await starter(open_communications=True, trusted_proxies=(ip_network("127.0.0.1/32"),))
    key = {"Idempotency-Key": "pool-1"}
    answers = [
        await running.call("POST", API, json=POOL, headers={**key, "X-Forwarded-For": address})
        for address in ("203.0.113.5", "203.0.113.5", "203.0.113.6")
    ]
    first, again, other = (answer["data"]["id"] for _, answer in answers)
    assert first == again != other


async def test_open_routes_are_open_to_programs_and_not_to_strange_pages(starter: Starter) -> None:
    running = await starter(open_communications=True)
    strange = {"Origin": "https://evil.example"}
    refused(await running.call("POST", API, json=POOL, headers=strange), 403, "FORBIDDEN")
    own = {"Origin": running.url}
    assert (await running.call("POST", API, json=POOL, headers=own))[0] == 201
    assert len(await listed(running, by=None)) == 1


async def test_a_draft_is_taken_back_where_its_row_is_and_nowhere_else(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    row = await created(running, **FOR_7, scheduled_at=timestamp(clock() + 60))
    refused(await running.call("DELETE", f"/api/notifications/{row['id']}", by=ADMIN), 404, "NOT_FOUND")
    assert (await running.call("DELETE", f"{API}/{row['id']}", by=ADMIN))[0] == 200
