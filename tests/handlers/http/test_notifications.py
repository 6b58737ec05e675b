"""The inbox over REST, and the frames that its changes cause."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from realtime.clock import timestamp
from realtime.models import Content, Target
from tests.conftest import Starter
from tests.handlers.http.answers import ADMIN, GUEST, MANAGER, MONTH, SERVICE, TECHNICIAN, USER, Answer, refused
from tests.support import Client, FakeClock, Running, bearer, until

API = "/api/notifications"
PREFIXES = ("/api/notifications", "/notifications")
NEWS = {"newNotification", "notification_received", "notification_count_updated"}
FIRST_DAY = 86400.0


async def post(running: Running, to: Any = None, *, by: dict[str, str] = ADMIN, **fields: Any) -> Answer:
    """POST a notification; without a target it goes to user 5."""
    body = {"title": "Title", "message": "Message", **(to if to is not None else {"userId": 5}), **fields}
    return await running.call("POST", API, by=by, json=body)


async def sent(running: Running, to: Any = None, **more: Any) -> Any:
    """POST a notification that must be taken, and return the answer's body."""
    status, row = await post(running, to, **more)
    assert status == 201, row
    return row


async def inbox(running: Running, by: dict[str, str] = USER, query: str = "") -> Any:
    status, page = await running.call("GET", API + query, by=by)
    assert status == 200, page
    return page


async def ids(running: Running, by: dict[str, str] = USER, query: str = "") -> list[int]:
    return [row["id"] for row in (await inbox(running, by, query))["notifications"]]


async def count(running: Running, by: dict[str, str] = USER) -> int:
    _, answer = await running.call("GET", f"{API}/unread-count", by=by)
    assert answer["count"] == answer["unreadCount"]
    unread: int = answer["count"]
    return unread


async def hear_count(clients: list[Client], nth: int, expected: int) -> None:
    """Wait for the `nth` count on every client and compare it."""
    for client in clients:
        pushed = await client.hears("notification_count_updated", nth)
        assert (pushed["userId"], pushed["count"], pushed["unreadCount"]) == (5, expected, expected)


def fields_of(**changed: Any) -> dict[str, Any]:
    return {
        "type": "work_order_assigned",
        "priority": "high",
        "url": "/work-orders/7",
        "metadata": {"relatedEntity": {"type": "work_order", "id": 7}, "message_params": {"n": 1}},
        "actions": [{"label": "Open", "url": "https://app.example/7"}],
        **changed,
    }


def rest_row(id: int, user: Any, at: str, **changed: Any) -> dict[str, Any]:
    """The row of `fields_of()` as REST spells it, in every client's words."""
    fields = fields_of()
    return {
        "id": id,
        "_id": str(id),
        "userId": user,
        "user_id": user,
        "user": user,
        "audience": None,
        "title": "Title",
        "message": "Message",
        "body": "Message",
        "type": fields["type"],
        "category": fields["type"],
        "priority": fields["priority"],
        "url": fields["url"],
        "actionUrl": fields["url"],
        "metadata": fields["metadata"],
        "actions": fields["actions"],
        "groupKey": None,
        "groupCount": 1,
        "read": False,
        "isRead": False,
        "is_read": False,
        "readAt": None,
        "read_at": None,
        "seen": False,
        "seenAt": None,
        "archived": False,
        "archivedAt": None,
        "snoozedUntil": None,
        "createdAt": at,
        "created_at": at,
        "updatedAt": at,
        "updated_at": at,
        "expiresAt": None,
        "expires_at": None,
        "status": "sent",
        **changed,
    }


def live_frames(id: int, user: Any, at: str) -> dict[str, dict[str, Any]]:
    """The two frames of `fields_of()`, by event name."""
    fields = fields_of()
    return {
        "newNotification": {
            "_id": str(id),
            "id": id,
            "user": user,
            "title": "Title",
            "message": "Message",
            "type": fields["type"],
            "priority": "high",
            "read": False,
            "archived": False,
            "url": "/work-orders/7",
            "actionUrl": "/work-orders/7",
            "relatedEntity": {"type": "work_order", "id": 7},
            "metadata": fields["metadata"],
            "actions": fields["actions"],
            "groupCount": 1,
            "createdAt": at,
            "updatedAt": at,
            "expiresAt": None,
            "timestamp": at,
        },
        "notification_received": {
            "notification": {
                "id": id,
                "user_id": user,
                "title": "Title",
                "message": "Message",
                "type": fields["type"],
                "priority": "high",
                "is_read": False,
                "related_entity_type": "work_order",
                "related_entity_id": 7,
                "title_key": None,
                "message_key": None,
                "message_params": {"n": 1},
                "created_at": at,
                "updated_at": at,
            },
            "timestamp": at,
        },
    }


async def test_one_user_is_told_once_under_both_names_on_every_tab(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    tabs = [await running.connect(5), await running.connect(5)]
    other = await running.connect(6)
    row = await sent(running, **fields_of())
    at = timestamp(clock.now)
    assert row == rest_row(row["id"], 5, at)
    for tab in tabs:
        await tab.hears("notification_count_updated")
        for event, frame in live_frames(row["id"], 5, at).items():
            assert tab.payloads(event) == [frame]
    await other.settle()
    assert not NEWS & set(other.names())
    assert (await inbox(running))["notifications"] == [row]
    assert await running.call("GET", f"{API}/{row['id']}", by=USER) == (200, row)


@pytest.mark.parametrize(("id", "user"), [(5, 5), ("5", "5"), ("66a1b2c3d4e5f60718293a4b", "66a1b2c3d4e5f60718293a4b")])
async def test_ids_of_people_keep_their_json_type(running: Running, id: int | str, user: int | str) -> None:
    client = await running.connect(id)
    await sent(running, {"userId": str(id)})
    assert (await client.hears("newNotification"))["user"] == user
    assert (await client.hears("notification_received"))["notification"]["user_id"] == user
    assert (await client.hears("notification_count_updated"))["userId"] == user
    row = (await inbox(running, bearer(id)))["notifications"][0]
    assert (row["userId"], row["user_id"], row["user"]) == (user, user, user)
    assert type(row["id"]) is int
    assert type(row["_id"]) is str


async def test_nothing_is_heard_before_it_is_stored(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await running.connect(5)
    asked, release = asyncio.Event(), asyncio.Event()
    add = running.parts.store.add

    async def slow(*args: Any, **more: Any) -> Any:
        asked.set()
        await release.wait()
        return await add(*args, **more)

    monkeypatch.setattr(running.parts.store, "add", slow)
    posting = asyncio.create_task(sent(running))
    await asked.wait()
    await client.settle()
    assert client.payloads("newNotification") == []
    release.set()
    heard = await client.hears("newNotification")
    assert await ids(running) == [heard["id"]]
    assert (await posting)["id"] == heard["id"]


async def test_many_users_get_one_row_each(running: Running) -> None:
    five, six = await running.connect(5), await running.connect("six")
    answer = await sent(running, {"userIds": [5, "six", "5", 7]})
    assert answer["count"] == 3
    assert len(set(answer["ids"])) == 3
    assert [(await client.hears("newNotification"))["id"] for client in (five, six)] == answer["ids"][:2]
    readers = (USER, bearer("six"), bearer(7))
    assert [await ids(running, who) for who in readers] == [[id] for id in answer["ids"]]
    await five.settle()
    assert len(five.payloads("newNotification")) == 1


@pytest.mark.parametrize(
    ("target", "audience"),
    [
        ({"role": "technician"}, "role:technician"),
        ({"room": "role_technician"}, "role:technician"),
        ({"room": "work_order_7"}, "room:work_order_7"),
        ({"audience": "all"}, "all"),
    ],
)
async def test_an_audience_shares_one_row(running: Running, target: dict[str, str], audience: str) -> None:
    readers = [await running.connect(3, "technician"), await running.connect(4, "technician")]
    outside = await running.connect(5, guest=True)
    for client in readers:
        await client.ask("join_room", "work_order_7")
    row = await sent(running, target)
    assert (row["audience"], row["userId"]) == (audience, None)
    following = await sent(running, {"userId": 99})
    assert following["id"] == row["id"] + 1  # however many readers, one row
    for id, client in zip((3, 4), readers, strict=True):
        heard = await client.hears("newNotification")
        assert (heard["id"], heard["user"]) == (row["id"], id)
        received = (await client.hears("notification_received"))["notification"]
        assert (received["id"], received["user_id"]) == (row["id"], id)
        assert (await client.hears("notification_count_updated"))["count"] == 1
        found = (await inbox(running, bearer(id, "technician")))["notifications"]
        assert [(r["id"], r["userId"], r["audience"]) for r in found] == [(row["id"], id, audience)]
        assert len(client.payloads("newNotification")) == 1
    await outside.settle()
    assert not NEWS & set(outside.names())


@pytest.mark.parametrize("target", [{"role": "technician"}, {"room": "work_order_7"}, {"audience": "all"}, "announced"])
async def test_broadcast_names_each_reader_as_their_token_does(running: Running, target: Any) -> None:
    readers: list[int | str] = [3, "4", "66a1b2c3d4e5f60718293a4b"]
    clients = [await running.connect(id, "technician") for id in readers]
    second_tab = await running.connect(3, "technician")
    for client in clients:
        await client.ask("join_room", "work_order_7")
    if target == "announced":
        body = {"title": "Title", "message": "Message", "audience": "role:technician"}
        assert (await running.call("POST", "/api/announcements", by=ADMIN, json=body))[0] == 201
    else:
        await sent(running, target)
    for id, client in zip([*readers, 3], [*clients, second_tab], strict=True):
        named = (
            (await client.hears("newNotification"))["user"],
            (await client.hears("notification_received"))["notification"]["user_id"],
            (await client.hears("notification_count_updated"))["userId"],
        )
        assert named == (id, id, id)
        assert {type(user) for user in named} == {type(id)}


async def test_admin_room_reaches_administrators_who_are_away(running: Running) -> None:
    await running.call("GET", API, by=ADMIN)
    await running.call("GET", API, by=MANAGER)
    await running.call("GET", API, by=TECHNICIAN)
    row = await sent(running, {"room": "admin_room"})
    assert [await ids(running, who) for who in (ADMIN, MANAGER, TECHNICIAN)] == [[row["id"]], [row["id"]], []]


@pytest.mark.parametrize("room", ["user_5", "guest_5"])
async def test_personal_rooms_are_not_an_audience(running: Running, room: str) -> None:
    refused(await post(running, {"room": room}), 400, "INVALID_PAYLOAD", "Name a person by userId, not by their room")


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_counts_follow_every_change_in_every_spelling(running: Running, prefix: str) -> None:
    tabs = [await running.connect(5), await running.connect(5)]
    id = (await sent(running))["id"]
    await hear_count(tabs, 1, 1)
    nth = 1
    for method, path in [("PATCH", "read"), ("PATCH", "mark-read"), ("PUT", "read")]:
        status, row = await running.call(method, f"{prefix}/{id}/{path}", by=USER)
        assert (status, row["id"], row["isRead"], row["read"], row["is_read"]) == (200, id, True, True, True)
        assert row["message"] == "Notification marked as read"
        assert row["body"] == "Message"
        assert row["readAt"] == row["read_at"] is not None
        await hear_count(tabs, nth + 1, 0)
        status, row = await running.call("PATCH", f"{prefix}/{id}/unread", by=USER)
        assert (status, row["isRead"], row["readAt"]) == (200, False, None)
        await hear_count(tabs, nth + 2, 1)
        nth += 2
    for method, path in [
        ("POST", "mark-all-read"),
        ("PATCH", "mark-all-read"),
        ("PATCH", "read/all"),
        ("PUT", "read-all"),
    ]:
        await sent(running)
        await hear_count(tabs, nth + 1, 2 if path == "mark-all-read" and method == "POST" else 1)
        status, answer = await running.call(method, f"{prefix}/{path}", by=USER)
        assert status == 200
        assert answer["count"] == answer["updatedCount"] == tabs[0].payloads("notification_count_updated")[-1]["count"]
        assert answer["message"]
        await hear_count(tabs, nth + 2, 0)
        nth += 2
    last = (await sent(running))["id"]
    await hear_count(tabs, nth + 1, 1)
    for path in ("unread-count", "count", "count/unread"):
        status, answer = await running.call("GET", f"{prefix}/{path}", by=USER)
        assert (status, answer["count"], answer["unreadCount"]) == (200, 1, 1)
    status, answer = await running.call("DELETE", f"{prefix}/{last}", by=USER)
    assert (status, answer) == (200, {"message": "Notification deleted successfully"})
    await hear_count(tabs, nth + 2, 0)
    assert (await running.call("GET", f"{prefix}/{last}", by=USER))[0] == 404
    assert (await running.call("GET", prefix, by=USER))[1]["total"] == 5


async def test_read_all_up_to_a_row_leaves_newer_ones(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    tabs = [await running.connect(5), await running.connect(5)]
    await running.call("GET", API, by=USER)
    made = []
    for target in ({"userId": 5}, {"audience": "all"}, {"userId": 5}, {"audience": "all"}):
        made.append((await sent(running, target))["id"])
        await hear_count(tabs, len(made), len(made))
        clock.advance(1)
    status, answer = await running.call("POST", f"{API}/mark-all-read", by=USER, json={"upTo": made[1]})
    assert (status, answer["count"]) == (200, 2)
    await hear_count(tabs, 5, 2)
    assert await ids(running, query="?unreadOnly=true") == [made[3], made[2]]
    somebody_elses = (await sent(running, {"userId": 6}))["id"]
    _, answer = await running.call("PATCH", f"{API}/read/all", by=USER, json={"upTo": somebody_elses})
    assert answer["count"] == 0
    bad_bodies: list[dict[str, Any]] = [{"upTo": 0}, {"upTo": "x"}, {"upTo": []}, {"upTo": -1}]
    for bad in bad_bodies:
        refused(await running.call("PUT", f"{API}/read-all", by=USER, json=bad), 400, "INVALID_PAYLOAD")
    assert await count(running) == 2
    _, answer = await running.call("PUT", f"{API}/read-all", by=USER, json={"client": "sends extras"})
    assert answer["count"] == 2


async def test_marking_twice_is_the_same_as_once(running: Running) -> None:
    id = (await sent(running))["id"]
    _, first = await running.call("PATCH", f"{API}/{id}/read", by=USER)
    _, second = await running.call("PATCH", f"{API}/{id}/read", by=USER)
    assert first == second
    assert await count(running) == 0


async def test_broadcasts_are_read_and_deleted_by_each_reader(running: Running) -> None:
    for who in (USER, TECHNICIAN):
        await running.call("GET", API, by=who)
    id = (await sent(running, {"audience": "all"}))["id"]
    await running.call("PATCH", f"{API}/{id}/read", by=USER)
    assert (await count(running, USER), await count(running, TECHNICIAN)) == (0, 1)
    await running.call("PATCH", f"{API}/{id}/unread", by=USER)
    assert await count(running, USER) == 1
    await running.call("DELETE", f"{API}/{id}", by=USER)
    assert (await ids(running, USER), await ids(running, TECHNICIAN)) == ([], [id])
    assert await count(running, USER) == 0


async def test_pages_are_newest_first(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    made = []
    for _ in range(5):
        made.append((await sent(running))["id"])
        clock.advance(1)
    newest = made[::-1]
    page = await inbox(running, query="?page=2&limit=2")
    assert [row["id"] for row in page["notifications"]] == newest[2:4]
    assert (page["total"], page["unreadCount"]) == (5, 5)
    assert page["pagination"] == {
        "page": 2,
        "limit": 2,
        "total": 5,
        "totalPages": 3,
        "pages": 3,
        "hasNext": True,
        "hasPrev": True,
    }
    assert await ids(running, query="?offset=3&limit=10") == newest[3:]
    assert await ids(running, query="?page=4&limit=2") == []
    last = (await inbox(running, query="?page=3&limit=2"))["pagination"]
    assert (last["hasNext"], last["hasPrev"]) == (False, True)
    empty = await inbox(running, bearer(77))
    assert (empty["notifications"], empty["total"], empty["unreadCount"]) == ([], 0, 0)
    assert empty["pagination"]["totalPages"] == 0
    for query in ("page=x", "limit=1.5", "offset=one", "isRead=perhaps", f"type={'x' * 41}"):
        refused(await running.call("GET", f"{API}?{query}", by=USER), 400, "INVALID_PAYLOAD")


@pytest.mark.parametrize("path", [API, "/notifications", "/api/work-orders", "/api/bookings"])
async def test_pages_out_of_range_are_brought_into_it(running: Running, path: str) -> None:
    for id in range(1, 4):
        await sent(running, {"userId": 1})
        for rows in ("/api/work-orders", "/api/bookings"):
            await running.call("PUT", f"{rows}/{id}", by=ADMIN, json={"ownerId": 9})

    async def page_of(query: str) -> tuple[list[int], Any]:
        status, answer = await running.call("GET", f"{path}?{query}", by=ADMIN)
        assert status == 200, (query, answer)
        return [row["id"] for row in answer.get("data") or answer.get("notifications") or []], answer["pagination"]

    newest, _ = await page_of("")
    assert len(newest) == 3
    expected: dict[str, tuple[int, int, list[int]]] = {
        "limit=0": (1, 1, newest[:1]),
        "limit=-5": (1, 1, newest[:1]),
        "limit=1000000": (1, 100, newest),
        "page=0&limit=2": (1, 2, newest[:2]),
        "page=-1&limit=2": (1, 2, newest[:2]),
        "offset=-1": (1, 20, newest),
        "page=&limit=&offset=": (1, 20, newest),
        "type=&isRead=&is_read=&unreadOnly=&status=&userId=": (1, 20, newest),
        "page=7&limit=2": (7, 2, []),
        "page=1000000&limit=100": (1_000_000, 100, []),
    }
    for query, (page, limit, found) in expected.items():
        ids_, shown = await page_of(query)
        assert ids_ == found, query
        assert (shown["page"], shown["limit"], shown["total"]) == (page, limit, 3), query
        assert (shown["hasNext"], shown["hasPrev"]) == (0 < len(found) < 3, page > 1), query


async def test_lists_are_filtered_in_every_clients_words(running: Running) -> None:
    read = (await sent(running, type="info"))["id"]
    unread = (await sent(running, type="info"))["id"]
    other = (await sent(running, type="review"))["id"]
    await running.call("PATCH", f"{API}/{read}/read", by=USER)
    expected = {
        "type=info": [unread, read],
        "type=review": [other],
        "type=none": [],
        "isRead=true": [read],
        "is_read=true": [read],
        "isRead=false": [other, unread],
        "is_read=0": [other, unread],
        "unreadOnly=true": [other, unread],
        "unreadOnly=false": [other, unread, read],
        "unreadOnly=1&type=info": [unread],
        "unknown=1&_=123": [other, unread, read],
    }
    for query, rows in expected.items():
        page = await inbox(running, query=f"?{query}")
        assert [row["id"] for row in page["notifications"]] == rows, query
        assert page["total"] == len(rows), query
        assert page["unreadCount"] == 2, query  # the badge is not filtered


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_somebody_elses_row_does_not_exist(running: Running, prefix: str) -> None:
    row = await sent(running)
    for who in (bearer(6), ADMIN, GUEST):
        for method, path in [
            ("GET", ""),
            ("PATCH", "/read"),
            ("PUT", "/read"),
            ("PATCH", "/mark-read"),
            ("PATCH", "/unread"),
            ("PATCH", "/seen"),
            ("POST", "/archive"),
            ("POST", "/unarchive"),
            ("DELETE", "/snooze"),
            ("POST", "/ack"),
            ("DELETE", ""),
        ]:
            refused(await running.call(method, f"{prefix}/{row['id']}{path}", by=who), 404, "NOT_FOUND")
    assert (await inbox(running))["notifications"] == [row]
    for unknown in (0, 987654, "9" * 16):
        refused(await running.call("GET", f"{prefix}/{unknown}", by=USER), 404, "NOT_FOUND")
    refused(await running.call("GET", f"{prefix}/abc", by=USER), 404, "NOT_FOUND")


async def test_every_route_wants_a_token(running: Running) -> None:
    for method, path in [
        ("GET", ""),
        ("POST", ""),
        ("GET", "/unread-count"),
        ("PATCH", "/1/read"),
        ("PUT", "/read-all"),
        ("DELETE", "/1"),
    ]:
        for prefix in PREFIXES:
            refused(await running.call(method, prefix + path), 401, "AUTH_REQUIRED", "Authentication required")


@pytest.mark.parametrize(
    "body",
    [
        b"no json",
        b'{"userId": 5',
        b"[]",
        b'"text"',
        b"null",
        b"\xff\xfe",
        b'{"userId": 5, "title": "a", "message": NaN}',
        b'{"userId": 5, "title": "a", "message": "m", "metadata": {"n": Infinity}}',
        b'{"userId": 5, "title": "\\ud800", "message": "m"}',
        b'{"userId": 5, "title": "a", "message": "m", "metadata": {"deep": ' + b"[" * 70 + b"]" * 70 + b"}}",
        b"",
    ],
)
async def test_bodies_that_are_no_json_object_are_refused(running: Running, body: bytes) -> None:
    refused(await running.call("POST", API, by=ADMIN, data=body), 400, "INVALID_PAYLOAD")
    assert (await inbox(running))["total"] == 0


BAD_FIELDS: list[tuple[str, Any]] = [
    ("title", None),
    ("title", ""),
    ("title", 7),
    ("title", "x" * 201),
    ("message", ""),
    ("message", ["m"]),
    ("message", "x" * 5001),
    ("type", ""),
    ("type", "x" * 41),
    ("priority", "urgent"),
    ("userId", True),
    ("userId", 1.5),
    ("userId", ""),
    ("userId", {"id": 5}),
    ("userId", "x" * 101),
    ("url", "javascript:alert(1)"),
    ("url", "JavaScript:alert(1)"),
    ("url", " javascript:alert(1)"),
    ("url", "java\tscript:alert(1)"),
    ("url", "data:text/html,x"),
    ("url", "vbscript:x"),
    ("url", "http://["),
    ("url", "http://\u2100.com/"),
    ("url", "\\\\evil.example"),
    ("url", ""),
    ("url", "/" + "x" * 2048),
    ("url", 7),
    ("metadata", []),
    ("metadata", "text"),
    ("metadata", {"x": "y" * 8192}),
    ("actions", {}),
    ("actions", [{"url": "/x"}]),
    ("actions", [{"label": "x", "url": "javascript:1"}]),
    ("actions", [{"label": "x", "onclick": "1"}]),
    ("actions", [{"label": "x"}] * 6),
    ("expiresAt", "tomorrow"),
    ("expiresAt", 1_900_000_000),
    ("expiresAt", "9999-12-31T23:59:59-23:59"),
    ("expiresAt", "0001-01-01T00:00:00+23:59"),
    ("scheduledAt", "2030-13-01T00:00:00Z"),
    ("scheduledAt", "9999-12-31T23:59:59.999999"),
    ("dedupKey", ""),
    ("dedupKey", "x" * 201),
    ("groupKey", 5),
    ("except", 5),
    ("except", [None]),
    ("lateJoin", "perhaps"),
    ("audience", "everybody"),
    ("unknown", 1),
    ("sender", "user:1"),
    ("id", 1),
]


async def test_bad_fields_are_refused_by_name(running: Running) -> None:
    for name, value in BAD_FIELDS:
        answer = await post(running, **{name: value})
        body = refused(answer, 400, "INVALID_PAYLOAD")
        assert any(c["msg"].startswith(name) for c in body["errors"]), (name, value, body["errors"])
    assert (await inbox(running))["total"] == 0


async def test_null_means_the_default(running: Running) -> None:
    optional = {
        *("userIds", "role", "room", "audience", "type", "priority", "url", "metadata", "actions", "expiresAt"),
        *("scheduledAt", "expires_at", "scheduled_at", "dedupKey", "groupKey", "except", "lateJoin"),
    }
    row = await sent(running)
    nothing: dict[str, Any] = dict.fromkeys(optional)
    same = await sent(running, **nothing)
    changing = {"id", "_id", *(name for name in row if name.lower().replace("_", "") in ("createdat", "updatedat"))}
    assert {k: v for k, v in same.items() if k not in changing} == {k: v for k, v in row.items() if k not in changing}
    assert (same["type"], same["priority"], same["url"], same["metadata"], same["actions"], same["expiresAt"]) == (
        *("info", "normal", None, {}, [], None),
    )
    refused(await post(running, title=None), 400, "INVALID_PAYLOAD")
    refused(await post(running, message=None), 400, "INVALID_PAYLOAD")


async def test_times_are_welcome_in_both_spellings(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    runs_at, ends_at = timestamp(clock.now + 60), timestamp(clock.now + 120)
    for names in (("scheduledAt", "expiresAt"), ("scheduled_at", "expires_at")):
        draft = await sent(running, **dict(zip(names, (runs_at, ends_at), strict=True)))
        assert (draft["status"], draft["scheduledAt"], draft["expiresAt"]) == ("draft", runs_at, ends_at)
    refused(await post(running, scheduled_at="tomorrow"), 400, "INVALID_PAYLOAD")
    refused(await post(running, expires_at="tomorrow"), 400, "INVALID_PAYLOAD")


async def test_role_that_is_addressed_is_well_formed(running: Running) -> None:
    for role in ("technician", "x" * 40, "A-z_0.9:b"):
        assert (await sent(running, {"role": role}))["audience"] == f"role:{role}"
        body = {"title": "T", "message": "M", "audience": f"role:{role}"}
        assert (await running.call("POST", "/api/announcements", by=ADMIN, json=body))[0] == 201
    for role in ("", "x" * 41, "a b", "a/b", "rôle", "technician\n"):
        refused(await post(running, {"role": role}), 400, "INVALID_PAYLOAD")
        body = {"title": "T", "message": "M", "audience": f"role:{role}"}
        refused(await running.call("POST", "/api/announcements", by=ADMIN, json=body), 400, "INVALID_PAYLOAD")


async def test_each_complaint_is_listed(running: Running) -> None:
    body = refused(await post(running, title="", priority="urgent", surprise=1), 400, "INVALID_PAYLOAD")
    assert sorted(c["msg"].partition(":")[0] for c in body["errors"]) == ["priority", "surprise", "title"]
    assert body["message"] == body["errors"][0]["message"]


@pytest.mark.parametrize(
    "target",
    [
        {},
        {"userId": None},
        {"userId": 5, "role": "technician"},
        {"userIds": [5], "audience": "all"},
        {"userIds": []},
        {"userIds": 5},
        {"userIds": [None]},
        {"userId": 5, "except": [5]},
        {"room": "no such spelling"},
        {"room": 7},
        {"role": ""},
        {"role": "somebody else"},
        {"role": "x" * 41},
        {"role": "technician\n"},
        {"role": "rôle"},
        {"role": 7},
    ],
)
async def test_a_notification_has_one_kind_of_target(running: Running, target: dict[str, Any]) -> None:
    refused(await post(running, target), 400, "INVALID_PAYLOAD")
    assert await ids(running) == []


async def test_who_may_send_what(running: Running) -> None:
    everything = [{"userId": 5}, {"userIds": [5, 6]}, {"room": "work_order_7"}, {"role": "user"}, {"audience": "all"}]
    staff = [201, 201, 201, 403, 403]
    nobody = [403, 403, 403, 403, 403]
    for who, expected in [
        (ADMIN, [201] * 5),
        (MANAGER, [201] * 5),
        (SERVICE, [201] * 5),
        (TECHNICIAN, staff),
        (bearer(8, "receptionist"), staff),
        (USER, nobody),
        (bearer(9, "Admin"), nobody),
        (GUEST, nobody),
    ]:
        answers = [await post(running, target, by=who) for target in everything]
        assert [status for status, _ in answers] == expected, who
        for answer in answers:
            if answer[0] == 403:
                refused(answer, 403, answer[1]["code"])
                assert answer[1]["code"] in ("FORBIDDEN", "ROOM_FORBIDDEN")


async def test_staff_send_only_to_rooms_they_may_join(running: Running) -> None:
    for room in ("admin_room", "role_admin", "anything"):
        refused(await post(running, {"room": room}, by=TECHNICIAN), 403, "ROOM_FORBIDDEN")
    assert (await post(running, {"room": "role_technician"}, by=TECHNICIAN))[0] == 201
    assert (await post(running, {"room": "ticket_1"}, by=TECHNICIAN))[0] == 201


async def test_somebody_named_by_a_row_may_be_in_its_room_but_not_send_to_it(running: Running) -> None:
    await running.call("PUT", "/api/work-orders/7", by=ADMIN, json={"customer_id": 5})
    refused(await post(running, {"room": "work_order_7"}, by=USER), 403, "FORBIDDEN")


async def test_guest_and_user_of_one_number_share_nothing(running: Running) -> None:
    user, guest = await running.connect(5), await running.connect(5, guest=True)
    await running.call("GET", API, by=USER)
    row = await sent(running)
    await sent(running, {"audience": "all"})
    await sent(running, {"role": "guest"})
    await user.hears("notification_count_updated")
    await guest.settle()
    assert not NEWS & set(guest.names())
    assert await ids(running, GUEST) == []
    [stored] = await running.parts.store.add(
        [Target(recipient="guest:5")], Content("info", "For the guest", "m"), sender=None, now=1.0
    )
    id = stored.notification.id
    assert await ids(running, GUEST) == [id]
    assert (await count(running, GUEST), await count(running, USER)) == (1, 2)
    refused(await running.call("PATCH", f"{API}/{id}/read", by=USER), 404, "NOT_FOUND")
    refused(await running.call("PATCH", f"{API}/{row['id']}/read", by=GUEST), 404, "NOT_FOUND")
    status, marked = await running.call("PATCH", f"{API}/{id}/read", by=GUEST)
    assert (status, marked["userId"], marked["isRead"]) == (200, 5, True)
    await running.call("PUT", f"{API}/read-all", by=GUEST)
    assert await count(running, USER) == 2
    await user.settle()
    assert all(pushed["count"] <= 2 for pushed in user.payloads("notification_count_updated"))
    assert id not in [heard["id"] for heard in user.payloads("newNotification")]


async def test_dedup_key_gives_the_first_row_for_a_day(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    client = await running.connect(5, lifetime=MONTH)
    first = await sent(running, dedupKey="k", title="First")
    clock.advance(FIRST_DAY - 1)
    assert await post(running, dedupKey="k", title="Second") == (200, first)
    assert (await sent(running, {"userId": 6}, dedupKey="k"))["id"] != first["id"]
    status, answer = await post(running, {"userIds": [5, 6]}, dedupKey="k")
    assert (status, answer["count"]) == (200, 2)
    assert (await post(running, {"userIds": [5, 7]}, dedupKey="k"))[0] == 201
    await client.settle()
    assert [heard["title"] for heard in client.payloads("newNotification")] == ["First"]
    clock.advance(2)
    again = await sent(running, dedupKey="k", title="Third")
    assert again["id"] != first["id"]
    assert (await client.hears("newNotification", 2))["title"] == "Third"


@pytest.mark.parametrize(
    ("method", "path"), [("PATCH", "read"), ("PATCH", "seen"), ("POST", "archive"), ("POST", "snooze")]
)
async def test_senders_are_not_told_what_was_done_with_a_row(running: Running, method: str, path: str) -> None:
    first = await sent(running, dedupKey="k")
    body = {"until": timestamp(time.time() + 3600)}
    assert (await running.call(method, f"{API}/{first['id']}/{path}", by=USER, json=body))[0] == 200
    assert await post(running, dedupKey="k") == (200, first)


@pytest.mark.parametrize("target", [{"userId": 5}, {"audience": "all"}])
async def test_a_dedup_key_is_its_senders(running: Running, target: dict[str, Any]) -> None:
    first = await sent(running, target, dedupKey="k", title="Mine")
    status, row = await post(running, target, by=MANAGER, dedupKey="k", title="Another")
    assert (status, row["title"]) == (201, "Another")
    assert row["id"] != first["id"]
    assert (await post(running, target, by=MANAGER, dedupKey="k"))[0] == 200


@pytest.mark.parametrize("target", [{"role": "user"}, {"room": "work_order_1"}, {"audience": "all"}])
async def test_dedup_key_of_an_audience(running: Running, target: dict[str, str]) -> None:
    await running.call("GET", API, by=USER)
    first = await sent(running, target, dedupKey="k")
    status, second = await post(running, target, dedupKey="k", title="Other")
    assert (status, second["id"], second["title"]) == (200, first["id"], "Title")
    assert (await sent(running, {"role": "somebody-else"}, dedupKey="k"))["id"] != first["id"]


async def test_group_key_replaces_the_unread_row(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    client = await running.connect(5)
    first = await sent(running, groupKey="g", title="One comment")
    await hear_count([client], 1, 1)
    clock.advance(1)
    other = await sent(running)
    await hear_count([client], 2, 2)
    clock.advance(1)
    second = await sent(running, groupKey="g", title="Two comments")
    assert (second["id"], second["groupCount"], second["groupKey"]) == (first["id"], 2, "g")
    heard = await client.hears("newNotification", 3)
    assert (heard["id"], heard["groupCount"], heard["title"]) == (first["id"], 2, "Two comments")
    page = (await inbox(running))["notifications"]
    assert [(row["id"], row["title"]) for row in page] == [(first["id"], "Two comments"), (other["id"], "Title")]
    await hear_count([client], 3, 2)
    await running.call("PATCH", f"{API}/{first['id']}/read", by=USER)
    third = await sent(running, groupKey="g")
    assert third["id"] != first["id"]
    assert third["groupCount"] == 1
    assert (await sent(running, {"userId": 6}, groupKey="g"))["groupCount"] == 1
    assert await count(running) == 2


async def test_except_leaves_people_out(running: Running) -> None:
    clients = {id: await running.connect(id, "technician") for id in (3, 4)}
    for client in clients.values():
        await client.ask("join_room", "work_order_7")
    for target in ({"audience": "all"}, {"role": "technician"}, {"room": "work_order_7"}, {"userIds": [3, 4]}):
        await sent(running, target, **{"except": ["3"]})
    await clients[4].hears("newNotification", 4)
    await clients[3].settle()
    assert not NEWS & set(clients[3].names())
    assert await ids(running, bearer(3, "technician")) == []
    assert await count(running, bearer(4, "technician")) == 4


async def test_broadcast_is_for_those_who_were_there(running: Running) -> None:
    await running.call("GET", API, by=USER)
    early = await sent(running, {"audience": "all"})
    late = await sent(running, {"audience": "all"}, lateJoin=True)
    newcomer = bearer(66)
    assert await ids(running, newcomer) == [late["id"]]
    assert await count(running, newcomer) == 1
    assert sorted(await ids(running)) == [early["id"], late["id"]]
    next_one = await sent(running, {"audience": "all"})
    assert next_one["id"] in await ids(running, newcomer)
    assert await count(running, newcomer) == 2


async def test_expired_rows_are_gone(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    await running.call("GET", API, by=USER)
    ends = timestamp(clock.now + 60)
    direct = await sent(running, expiresAt=ends)
    assert direct["expiresAt"] == direct["expires_at"] == ends
    broadcast = await sent(running, {"audience": "all"}, expiresAt=ends.replace("Z", "+00:00"))
    assert sorted(await ids(running)) == [direct["id"], broadcast["id"]]
    assert await count(running) == 2
    clock.advance(60)
    page = await inbox(running)
    assert page.pop("revision") > 0
    assert page == {
        "notifications": [],
        "total": 0,
        "unreadCount": 0,
        "unseenCount": 0,
        "categories": {},
        "pagination": (await inbox(running, bearer(66)))["pagination"],
    }
    for id in (direct["id"], broadcast["id"]):
        refused(await running.call("GET", f"{API}/{id}", by=USER), 404, "NOT_FOUND")
        refused(await running.call("PATCH", f"{API}/{id}/read", by=USER), 404, "NOT_FOUND")


async def test_row_that_has_expired_is_never_shown(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    client = await running.connect(5)
    for target in ({"userId": 5}, {"audience": "all"}):
        await sent(running, target, expiresAt=timestamp(clock.now - 1))
    await sent(running, scheduledAt=timestamp(clock.now + 60), expiresAt=timestamp(clock.now + 50), title="Stale")
    later = await sent(running, scheduledAt=timestamp(clock.now + 61))
    clock.advance(62)
    assert (await client.hears("newNotification"))["id"] == later["id"]
    assert (await client.hears("notification_received"))["notification"]["id"] == later["id"]
    assert len(client.payloads("newNotification")) == len(client.payloads("notification_received")) == 1
    assert await ids(running) == [later["id"]]


async def test_scheduled_row_takes_the_place_of_its_group(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    client = await running.connect(5)
    await sent(running, groupKey="g")
    draft = await sent(running, groupKey="g", scheduledAt=timestamp(clock.now + 60))
    clock.advance(61)
    heard = await client.hears("newNotification", 2)
    assert (heard["id"], heard["groupCount"]) == (draft["id"], 2)
    assert await ids(running) == [draft["id"]]


@pytest.mark.parametrize("target", [{"userId": 5}, {"role": "user"}, {"audience": "all"}])
async def test_scheduled_row_is_a_draft_until_its_time(
    starter: Starter, clock: FakeClock, target: dict[str, Any]
) -> None:
    running = await starter(app={"clock": clock})
    client = await running.connect(5)
    runs_at = timestamp(clock.now + 3600)
    draft = await sent(running, target, scheduledAt=runs_at)
    assert (draft["status"], draft["scheduledAt"], draft["scheduled_at"]) == ("draft", runs_at, runs_at)
    refused(await running.call("GET", f"{API}/{draft['id']}", by=USER), 404, "NOT_FOUND")
    assert (await ids(running), await count(running)) == ([], 0)
    clock.advance(3598)
    await client.settle()
    assert "newNotification" not in client.names()
    clock.advance(3)
    assert (await client.hears("newNotification"))["id"] == draft["id"]
    assert (await client.hears("notification_received"))["notification"]["id"] == draft["id"]
    assert (await client.hears("notification_count_updated"))["count"] == 1
    [row] = (await inbox(running, bearer(5, now=clock.now)))["notifications"]
    assert (row["id"], row["status"], row["createdAt"]) == (draft["id"], "sent", timestamp(clock.now))
    assert len(client.payloads("newNotification")) == 1


async def test_scheduled_rows_of_many_users(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    five, six = await running.connect(5), await running.connect(6)
    answer = await sent(running, {"userIds": [5, 6]}, scheduledAt=timestamp(clock.now + 60))
    assert (answer["count"], answer["status"]) == (2, "draft")
    clock.advance(61)
    assert [(await client.hears("newNotification"))["id"] for client in (five, six)] == answer["ids"]


async def test_a_time_that_has_passed_is_now(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    row = await sent(running, scheduledAt=timestamp(clock.now - 60))
    assert row["status"] == "sent"
    assert await ids(running) == [row["id"]]


async def test_draft_is_cancelled_by_its_sender_or_a_publisher(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    client = await running.connect(5, lifetime=MONTH)
    when = timestamp(clock.now + 60)
    doomed = (await sent(running, by=TECHNICIAN, scheduledAt=when))["id"]
    kept = (await sent(running, by=TECHNICIAN, scheduledAt=when))["id"]
    for who in (USER, bearer(4, "technician"), GUEST):
        refused(await running.call("DELETE", f"{API}/{doomed}", by=who), 404, "NOT_FOUND")
    assert (await running.call("DELETE", f"{API}/{doomed}", by=TECHNICIAN))[0] == 200
    refused(await running.call("DELETE", f"{API}/{doomed}", by=TECHNICIAN), 404, "NOT_FOUND")
    for who in (ADMIN, MANAGER, SERVICE):
        other = (await sent(running, by=TECHNICIAN, scheduledAt=when))["id"]
        assert (await running.call("DELETE", f"{API}/{other}", by=who))[0] == 200
        refused(await running.call("DELETE", f"{API}/{other}", by=who), 404, "NOT_FOUND")
    clock.advance(61)
    assert (await client.hears("newNotification"))["id"] == kept
    refused(await running.call("DELETE", f"{API}/{kept}", by=TECHNICIAN), 404, "NOT_FOUND")  # it is user 5's now
    assert await ids(running) == [kept]


async def test_draft_survives_a_restart(starter: Starter, clock: FakeClock) -> None:
    first = await starter(app={"clock": clock})
    draft = await sent(first, scheduledAt=timestamp(clock.now + 60))
    await first.stop()
    second = await starter(app={"clock": clock})
    client = await second.connect(5)
    clock.advance(61)
    assert (await client.hears("newNotification"))["id"] == draft["id"]
    assert await ids(second) == [draft["id"]]


async def keyed(running: Running, key: str, *, by: dict[str, str] = ADMIN, **body: Any) -> tuple[int, Any, str | None]:
    """POST with an Idempotency-Key; return status, body and whether it was a replay."""
    async with running.http.post(
        running.url + API,
        json={"userId": 5, "title": "Title", "message": "Message", **body},
        headers={**by, "Idempotency-Key": key},
    ) as response:
        return response.status, await response.json(), response.headers.get("Idempotent-Replayed")


async def test_repeated_request_gets_the_first_answer(running: Running) -> None:
    client = await running.connect(5)
    status, row, replayed = await keyed(running, "once")
    assert (status, replayed) == (201, None)
    assert await keyed(running, "once") == (201, row, "true")
    assert (await keyed(running, "twice"))[1]["id"] != row["id"]
    assert (await keyed(running, "once", by=MANAGER))[1]["id"] != row["id"]  # keys are each sender's own
    await client.hears("newNotification", 3)
    await client.settle()
    assert len(client.payloads("newNotification")) == 3
    assert await count(running) == 3


async def test_key_is_the_same_under_every_prefix(running: Running) -> None:
    note = {"userId": 5, "title": "Title", "message": "Message"}
    by = {**ADMIN, "Idempotency-Key": "once"}
    first = await running.call("POST", PREFIXES[0], by=by, json=note)
    assert first[0] == 201
    for path in (PREFIXES[1], f"{PREFIXES[0]}/", f"{PREFIXES[1]}/"):
        assert await running.call("POST", path, by=by, json=note) == first
    refused(await running.call("POST", PREFIXES[1], by=by, json={**note, "title": "Another"}), 422, "INVALID_PAYLOAD")
    assert await count(running) == 1


async def test_key_of_another_request_is_refused(running: Running) -> None:
    await keyed(running, "once")
    status, body, _ = await keyed(running, "once", title="Another")
    refused((status, body), 422, "INVALID_PAYLOAD")
    for key in ("", "x" * 256):
        status, body, _ = await keyed(running, key)
        refused((status, body), 400, "INVALID_PAYLOAD")
    assert await count(running) == 1


async def test_key_of_a_running_request_is_refused(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, release = asyncio.Event(), asyncio.Event()
    add = running.parts.store.add

    async def slow(*args: Any, **more: Any) -> Any:
        asked.set()
        await release.wait()
        return await add(*args, **more)

    monkeypatch.setattr(running.parts.store, "add", slow)
    first = asyncio.create_task(keyed(running, "once"))
    await asked.wait()
    status, body, _ = await keyed(running, "once")
    refused((status, body), 409, "INVALID_PAYLOAD")
    release.set()
    status, row, _ = await first
    assert status == 201
    assert await keyed(running, "once") == (201, row, "true")
    assert await count(running) == 1


async def test_failed_request_does_not_use_up_its_key(running: Running) -> None:
    assert (await keyed(running, "once", title=""))[0] == 400
    assert (await keyed(running, "once"))[0] == 201


async def test_simultaneous_repeats_make_one_row(running: Running) -> None:
    answers = await asyncio.gather(*(keyed(running, "once") for _ in range(8)))
    assert {status for status, _, _ in answers} <= {201, 409}
    assert len({row["id"] for status, row, _ in answers if status == 201}) == 1
    assert await count(running) == 1


async def test_change_of_role_hides_what_the_role_heard(running: Running) -> None:
    client = await running.connect(3, "technician")
    row = await sent(running, {"role": "technician"})
    await client.hears("newNotification")
    assert await ids(running, TECHNICIAN) == [row["id"]]
    await running.call("PATCH", "/api/users/3", by=ADMIN, json={"role": "user"})
    assert (await ids(running, TECHNICIAN), await count(running, TECHNICIAN)) == ([], 0)
    refused(await running.call("GET", f"{API}/{row['id']}", by=TECHNICIAN), 404, "NOT_FOUND")
    await sent(running, {"role": "technician"})
    as_user = await sent(running, {"role": "user"})
    assert (await client.hears("newNotification", 2))["id"] == as_user["id"]
    assert await ids(running, TECHNICIAN) == [as_user["id"]]


async def test_losing_the_right_to_a_room_hides_what_it_heard(running: Running) -> None:
    client = await running.connect(3, "technician")
    await client.ask("join_room", "work_order_7")
    row = await sent(running, {"room": "work_order_7"})
    assert await ids(running, TECHNICIAN) == [row["id"]]
    await running.call("PATCH", "/api/users/3", by=ADMIN, json={"role": "user"})
    assert await ids(running, TECHNICIAN) == []


async def test_leaving_a_room_ends_what_comes_and_hides_nothing(running: Running) -> None:
    client = await running.connect(3, "technician")
    await client.ask("join_room", "work_order_7")
    inside = await sent(running, {"room": "work_order_7"})
    await client.ask("leave_room", "work_order_7")
    await sent(running, {"room": "work_order_7"})
    await client.settle()
    assert [heard["id"] for heard in client.payloads("newNotification")] == [inside["id"]]
    assert await ids(running, TECHNICIAN) == [inside["id"]]


async def test_being_named_by_a_row_subscribes_and_being_dropped_hides(running: Running) -> None:
    await running.call("PUT", "/api/work-orders/7", by=ADMIN, json={"customer_id": 5})
    row = await sent(running, {"room": "work_order_7"})
    assert await ids(running) == [row["id"]]  # user 5 has never been connected
    await running.call("PATCH", "/api/work-orders/7", by=ADMIN, json={"customer_id": 6})
    assert (await ids(running), await count(running)) == ([], 0)
    refused(await running.call("GET", f"{API}/{row['id']}", by=USER), 404, "NOT_FOUND")


async def last_count(client: Client, expected: int) -> None:
    """Wait until the newest count that was pushed is the expected one."""

    def newest() -> list[Any]:
        return [pushed["count"] for pushed in client.payloads("notification_count_updated")[-1:]]

    await until(lambda: newest() == [expected], what=f"a count of {expected} (last {newest()})")


@pytest.mark.parametrize("target", [{"userId": 5}, {"role": "user"}, {"audience": "all"}, {"room": "work_order_7"}])
async def test_count_is_pushed_when_a_row_expires(starter: Starter, clock: FakeClock, target: dict[str, Any]) -> None:
    running = await starter(app={"clock": clock})
    await running.call("PUT", "/api/work-orders/7", by=ADMIN, json={"customer_id": 5})
    tabs = [await running.connect(5), await running.connect(5)]
    await sent(running, target, expiresAt=timestamp(clock.now + 60))
    await hear_count(tabs, 1, 1)
    clock.advance(61)
    await hear_count(tabs, 2, 0)


async def test_count_is_pushed_when_a_new_role_hides_rows(running: Running) -> None:
    client = await running.connect(3, "technician")
    await client.ask("join_room", "work_order_7")
    for nth, target in enumerate([{"role": "technician"}, {"room": "work_order_7"}, {"userId": 3}], 1):
        await sent(running, target)
        await last_count(client, nth)
    await running.call("PATCH", "/api/users/3", by=ADMIN, json={"role": "user"})
    await last_count(client, 1)
    assert await count(running, TECHNICIAN) == 1


async def test_count_is_pushed_when_a_row_stops_naming_somebody(running: Running) -> None:
    client = await running.connect(5)
    await running.call("PUT", "/api/work-orders/7", by=ADMIN, json={"customer_id": 5})
    await sent(running, {"room": "work_order_7"})
    await last_count(client, 1)
    await running.call("PATCH", "/api/work-orders/7", by=ADMIN, json={"customer_id": 6})
    await last_count(client, 0)


async def test_count_is_pushed_when_a_join_shows_earlier_rows(running: Running) -> None:
    client = await running.connect(3, "technician")
    await sent(running, {"room": "work_order_7"})
    await sent(running, {"room": "work_order_7"}, lateJoin=True)
    await client.settle()
    assert client.payloads("notification_count_updated") == []
    await client.ask("join_room", "work_order_7")
    assert (await client.hears("notification_count_updated"))["count"] == 1
    assert await count(running, TECHNICIAN) == 1


@pytest.mark.parametrize("target", [lambda n: {"userId": n}, lambda n: {"userIds": [n, 1000 + n]}])
async def test_concurrent_sends_lose_nothing(running: Running, target: Callable[[int], dict[str, Any]]) -> None:
    clients = [await running.connect(n) for n in range(4)]
    answers = await asyncio.gather(*(post(running, target(n % 4)) for n in range(40)))
    assert {status for status, _ in answers} == {201}
    for n, client in enumerate(clients):
        await client.hears("newNotification", 10)
        assert await count(running, bearer(n)) == 10
        heard = [row["id"] for row in client.payloads("newNotification")]
        assert sorted(heard) == sorted(await ids(running, bearer(n)))


async def test_last_pushed_count_is_the_true_one(running: Running) -> None:
    client = await running.connect(5)
    await asyncio.gather(*(post(running) for _ in range(10)))
    await running.call("PUT", f"{API}/read-all", by=USER)
    row = await sent(running)
    await client.hears("newNotification", 11)
    _, counted = await running.call("PATCH", f"{API}/{row['id']}/unread", by=USER)
    assert counted["isRead"] is False
    await until(lambda: [p["count"] for p in client.payloads("notification_count_updated")][-1:] == [1])
    assert await count(running) == 1
