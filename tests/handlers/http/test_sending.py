"""Asking before sending, taking back, and repeating a request that was not answered."""

import asyncio
from typing import Any

import pytest

from realtime.clock import timestamp
from realtime.errors import StoreUnavailable
from tests.conftest import Starter
from tests.handlers.http.answers import ADMIN, GUEST, MANAGER, SERVICE, TECHNICIAN, USER, refused
from tests.handlers.http.inboxes import API, COUNTED, badges, done, ids, sent
from tests.support import Client, FakeClock, Running, bearer, until

NOTE = {"title": "Title", "message": "Message"}


async def preview(running: Running, to: dict[str, Any]) -> Any:
    status, answer = await running.call("POST", f"{API}?dry_run=1", by=ADMIN, json={**NOTE, **to})
    assert status == 200, answer
    return answer


def told(client: Client) -> int | None:
    """Return the count that a client was told last."""
    counts = client.payloads(COUNTED)
    return counts[-1]["count"] if counts else None


# --- asking before ---


async def test_asking_whom_it_would_reach_stores_nothing(running: Running) -> None:
    client = await running.connect(5)
    assert await preview(running, {"userId": 5}) == {
        "recipients": [5],
        "count": 1,
        "reasons": {"5": "named in userId"},
    }
    assert await preview(running, {"userIds": [5, "x7", 6, 5], "except": [6]}) == {
        "recipients": [5, "x7"],
        "count": 2,
        "reasons": {"5": "named in userIds", "x7": "named in userIds", "6": "excluded by except"},
    }
    await client.settle()
    assert (await ids(running), client.payloads("newNotification")) == ([], [])


async def test_audiences_are_named_with_their_reasons(running: Running) -> None:
    for id in (3, 4):
        client = await running.connect(id, "technician")
        await client.ask("join_room", "work_order_7")
    await running.connect("5", "customer")
    for target, words in [
        ({"role": "technician"}, "has the role technician"),
        ({"room": "role_technician"}, "has the role technician"),
        ({"room": "work_order_7"}, "is subscribed to the room work_order_7"),
    ]:
        assert await preview(running, target) == {
            "recipients": [3, 4],
            "count": 2,
            "reasons": {"3": words, "4": words},
        }, target
        assert await preview(running, {**target, "except": ["3"]}) == {
            "recipients": [4],
            "count": 1,
            "reasons": {"4": words, "3": "excluded by except"},
        }, target
    everybody = await preview(running, {"audience": "all"})
    assert (everybody["count"], everybody["recipients"]) == (4, [1, 3, 4, "5"])  # with who asks
    assert set(everybody["reasons"]) == {"1", "3", "4", "5"}


async def test_of_very_many_the_first_are_named_and_all_are_counted(running: Running) -> None:
    answer = await preview(running, {"userIds": list(range(1, 3001))})
    assert (answer["count"], len(answer["recipients"]), len(answer["reasons"])) == (3000, 1000, 1000)


async def test_asking_needs_what_sending_needs(running: Running) -> None:
    path = f"{API}?dry_run=true"
    refused(await running.call("POST", path, by=USER, json={**NOTE, "userId": 6}), 403, "FORBIDDEN")
    refused(await running.call("POST", path, by=TECHNICIAN, json={**NOTE, "audience": "all"}), 403, "FORBIDDEN")
    refused(await running.call("POST", path, by=ADMIN, json={"userId": 6}), 400, "INVALID_PAYLOAD")
    refused(await running.call("POST", path, by=ADMIN, json=NOTE), 400, "INVALID_PAYLOAD")
    refused(await running.call("POST", f"{API}?dry_run=perhaps", by=ADMIN, json=NOTE), 400, "INVALID_PAYLOAD")


async def test_asking_does_not_use_up_a_key(running: Running) -> None:
    by = {**ADMIN, "Idempotency-Key": "k"}
    body = {**NOTE, "userId": 5, "dedupKey": "d"}
    for _ in range(2):
        assert (await running.call("POST", f"{API}?dry_run=1", by=by, json=body))[0] == 200
    assert (await running.call("POST", f"{API}?dry_run=0", by=by, json=body))[0] == 201
    assert (await badges(running))[0] == 1


# --- taking back ---


@pytest.mark.parametrize("target", [{"audience": "all"}, {"role": "user"}, {"room": "work_order_7"}])
async def test_a_broadcast_is_taken_back_from_everybody_at_once(running: Running, target: dict[str, str]) -> None:
    await running.call("PUT", "/api/work-orders/7", by=ADMIN, json={"customer_id": 5})
    clients = [await running.connect(5), await running.connect(5)]
    row = await sent(running, target, by=MANAGER)
    other = await sent(running)
    for client in clients:
        await until(lambda client=client: told(client) == 2)  # type: ignore[misc]
    answer = await done(running, "DELETE", f"/broadcasts/{row['id']}", MANAGER)
    assert answer == {"message": "Notification retracted", "id": row["id"]}
    for client in clients:
        await until(lambda client=client: told(client) == 1)  # type: ignore[misc]
    assert await ids(running) == [other["id"]]
    refused(await running.call("GET", f"{API}/{row['id']}", by=USER), 404, "NOT_FOUND")
    refused(await running.call("DELETE", f"{API}/broadcasts/{row['id']}", by=MANAGER), 404, "NOT_FOUND")


async def test_only_its_sender_and_administrators_take_a_broadcast_back(running: Running) -> None:
    await running.connect(5)
    row = await sent(running, {"audience": "all"}, by=MANAGER)
    refused(await running.call("DELETE", f"{API}/broadcasts/{row['id']}", by=USER), 403, "FORBIDDEN")
    for who in (TECHNICIAN, SERVICE, GUEST, bearer(22, "manager")):  # who has not received it may not know of it
        refused(await running.call("DELETE", f"{API}/broadcasts/{row['id']}", by=who), 404, "NOT_FOUND")
    refused(await running.call("DELETE", f"{API}/broadcasts/{row['id']}"), 401, "AUTH_REQUIRED")
    assert await ids(running) == [row["id"]]
    await done(running, "DELETE", f"/broadcasts/{row['id']}", ADMIN)
    assert await ids(running) == []


async def test_what_is_no_broadcast_is_not_taken_back(running: Running) -> None:
    direct = await sent(running)
    for id in (direct["id"], 987654, "9" * 16):
        refused(await running.call("DELETE", f"{API}/broadcasts/{id}", by=ADMIN), 404, "NOT_FOUND")
    assert await ids(running) == [direct["id"]]


async def test_a_communication_is_not_taken_back_as_a_broadcast(running: Running) -> None:
    fields = {"hotel_id": 1, "type": "notification", "sender_type": "staff", **NOTE}
    status, answer = await running.call("POST", "/api/communications", by=ADMIN, json=fields)
    assert status == 201, answer
    id = answer["data"]["id"]
    refused(await running.call("DELETE", f"{API}/broadcasts/{id}", by=ADMIN), 404, "NOT_FOUND")
    assert await running.parts.store.broadcast(id) is not None


async def test_hiding_a_broadcast_hides_it_from_one(running: Running) -> None:
    for id in (5, 6):
        await running.connect(id)
    row = await sent(running, {"audience": "all"})
    await done(running, "DELETE", f"/{row['id']}")
    assert (await ids(running), await ids(running, bearer(6))) == ([], [row["id"]])


# --- keys of repeated requests ---


async def keyed(
    running: Running, path: str, body: Any, *, key: str = "k", by: dict[str, str] = ADMIN
) -> tuple[int, Any, str | None]:
    """POST with a key; return (status, body, whether it is the first answer again)."""
    headers = {**by, "Idempotency-Key": key}
    async with running.http.post(running.url + path, json=body, headers=headers) as response:
        return response.status, await response.json(), response.headers.get("Idempotent-Replayed")


CREATING: list[tuple[str, dict[str, Any], str]] = [
    (API, {**NOTE, "userId": 5}, "title"),
    (API, {**NOTE, "userIds": [5, 6]}, "title"),
    (API, {**NOTE, "audience": "all"}, "title"),
    ("/notifications", {**NOTE, "userId": 5, "scheduledAt": "2999-01-01T00:00:00Z"}, "title"),
    ("/api/announcements", {**NOTE}, "title"),
    ("/api/publish", {"audience": "all", "event": "custom", "data": 1}, "data"),
    ("/api/activity", {"userId": 5, "type": "login", "message": "m"}, "message"),
    ("/api/stats", {"connections": 5}, "connections"),
    ("/api/websocket/emit/5", {"event": "custom", "data": 1}, "data"),
    ("/api/websocket/emit/room/work_order_7", {"event": "custom", "data": 1}, "data"),
    ("/api/websocket/emit/role/user", {"event": "custom", "data": 1}, "data"),
    ("/api/work-orders", {"description": "d"}, "description"),
    ("/api/tickets", {"description": "d"}, "description"),
    ("/api/repair-tickets", {"description": "d"}, "description"),
    ("/api/bookings", {"userId": 5}, "userId"),
    ("/api/bookings/7/reviews", {"rating": 5}, "rating"),
    ("/api/conversations/5/messages", {"content": "hello"}, "content"),
    (
        "/api/communications",
        {"hotel_id": 1, "type": "notification", "title": "t", "message": "m", "sender_type": "staff"},
        "title",
    ),
]


@pytest.mark.parametrize(("path", "body", "field"), CREATING)
async def test_a_repeated_request_is_answered_and_done_once(
    running: Running, path: str, body: dict[str, Any], field: str
) -> None:
    client = await running.connect(5)
    await running.call("PUT", "/api/bookings/7", by=ADMIN, json={"userId": 5})
    first = await keyed(running, path, body)
    assert first[0] in (200, 201, 202), first
    assert first[2] is None
    await client.settle()
    before = [name for name in client.names() if name != COUNTED]  # counts follow when they are counted
    assert await keyed(running, path, body) == (first[0], first[1], "true")
    other = {**body, field: 4 if isinstance(body[field], int) else "other"}
    status, answer, _ = await keyed(running, path, other)
    refused((status, answer), 422, "INVALID_PAYLOAD")
    await client.settle()
    assert [name for name in client.names() if name != COUNTED] == before


async def test_requests_without_a_token_have_keys_too(starter: Starter) -> None:
    running = await starter(open_communications=True)
    body = {"hotel_id": 1, "type": "notification", "title": "t", "message": "m", "sender_type": "staff"}
    first = await keyed(running, "/api/communications", body, by={})
    assert first[0] == 201
    assert await keyed(running, "/api/communications", body, by={}) == (201, first[1], "true")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (API, {**NOTE, "userId": 5}),
        (API, {**NOTE, "userIds": [5, 6]}),
        (API, {**NOTE, "audience": "all"}),
        (API, {**NOTE, "userId": 5, "groupKey": "g"}),
        (API, {**NOTE, "userId": 5, "scheduledAt": "2999-01-01T00:00:00Z"}),
        ("/api/announcements", NOTE),
    ],
)
async def test_a_request_whose_answer_was_lost_is_not_done_twice(
    starter: Starter, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, path: str, body: dict[str, Any]
) -> None:
    running = await starter(app={"clock": clock})
    await running.connect(5)

    async def killed(*_: Any, **__: Any) -> None:
        raise StoreUnavailable

    with monkeypatch.context() as broken:
        broken.setattr(running.parts.store, "finish_request", killed)
        first = await keyed(running, path, body)
    assert (first[0], first[2]) == (201, None)  # what is stored is not called a failure
    clock.advance(60)  # the claim has ended
    assert await keyed(running, path, body) == (201, first[1], "true")
    assert await keyed(running, path, body) == (201, first[1], "true")
    assert (await badges(running))[0] == (0 if "scheduledAt" in body else 1)


async def test_failures_of_the_server_are_not_remembered(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("broken")

    body = {**NOTE, "userId": 5}
    with monkeypatch.context() as broken:
        broken.setattr(running.parts.store, "add", fails)
        assert (await keyed(running, API, body))[0] == 500
    assert (await keyed(running, API, body))[0] == 201


async def test_a_duplicate_of_a_draft_is_that_draft(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    later: dict[str, Any] = {"scheduledAt": "2999-01-01T00:00:00Z", "dedupKey": "d"}
    first = await sent(running, **later)
    assert first["status"] == "draft"
    status, second = await running.call("POST", API, by=ADMIN, json={**NOTE, "userId": 5, **later, "title": "Other"})
    assert (status, second) == (200, first)
    stored = await sent(running, dedupKey="e")
    status, found = await running.call("POST", API, by=ADMIN, json={**NOTE, "userId": 5, **later, "dedupKey": "e"})
    assert (status, found["id"], found["status"]) == (200, stored["id"], "sent")
    status, both = await running.call("POST", API, by=ADMIN, json={**NOTE, "userIds": [5, 6], **later, "dedupKey": "d"})
    assert (status, both["count"], both["ids"][0]) == (201, 2, first["id"])


# --- the order of showing ---


async def test_notifications_are_shown_in_the_order_of_storing(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await running.connect(5)
    add = running.parts.store.add
    answered: dict[str, asyncio.Event] = {title: asyncio.Event() for title in ("first", "second")}
    stored: list[str] = []

    async def late(targets: Any, content: Any, **more: Any) -> Any:
        found = await add(targets, content, **more)
        stored.append(content.title)
        await answered[content.title].wait()
        return found

    monkeypatch.setattr(running.parts.store, "add", late)
    posts = []
    for title in answered:
        posts.append(asyncio.create_task(sent(running, title=title)))
        await until(lambda title=title: title in stored)  # type: ignore[misc]
    answered["second"].set()
    await client.settle()
    assert client.payloads("newNotification") == []
    answered["first"].set()
    await asyncio.gather(*posts)
    await client.hears("newNotification", 2)
    assert [heard["title"] for heard in client.payloads("newNotification")] == ["first", "second"]


async def test_one_that_could_not_be_stored_stops_nobody(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await running.connect(5)
    add = running.parts.store.add

    async def sometimes(targets: Any, content: Any, **more: Any) -> Any:
        if content.title == "lost":
            raise StoreUnavailable
        return await add(targets, content, **more)

    monkeypatch.setattr(running.parts.store, "add", sometimes)
    answers = await asyncio.gather(
        *(running.call("POST", API, by=ADMIN, json={**NOTE, "userId": 5, "title": title}) for title in ("lost", "kept"))
    )
    assert [status for status, _ in answers] == [503, 201]
    assert (await client.hears("newNotification"))["title"] == "kept"


async def test_counts_go_on_after_a_restart(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    await running.call("GET", API, by=USER)
    await sent(running, {"audience": "all"}, expiresAt=timestamp(clock.now + 60))
    await running.server.close()
    running = await starter(app={"clock": clock})
    client = await running.connect(5, namespace="/notifications")
    assert (await client.hears("unread_count"))["count"] == 1
    clock.advance(61)
    assert (await client.hears("unread_count", 2))["count"] == 0
