"""Receipts of clients, and the way of a notification for whoever asks."""

from typing import Any

import pytest

from realtime.clock import timestamp
from tests.conftest import Starter
from tests.handlers.http.answers import ADMIN, GUEST, MANAGER, SERVICE, TECHNICIAN, USER, refused
from tests.handlers.http.inboxes import API, done, sent
from tests.support import FakeClock, Running, bearer


async def trace(running: Running, id: int, by: dict[str, str] = ADMIN) -> Any:
    found = await done(running, "GET", f"/{id}/trace", by)
    assert found["id"] == id
    assert found["stages"][0]["stage"] == "stored"
    return found


async def stages(running: Running, id: int) -> list[str]:
    return [step["stage"] for step in (await trace(running, id))["stages"]]


async def test_the_whole_way_of_a_notification(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    client = await running.connect(5)
    begun = clock.now
    row = await sent(running, by=MANAGER, expiresAt=timestamp(clock.now + 60))
    await client.hears("newNotification")
    steps: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "ack", {"device": "Ann's phone"}),
        ("PATCH", "seen", {}),
        ("PATCH", "read", {}),
    ]
    for method, path, body in steps:
        clock.advance(1)
        await done(running, method, f"/{row['id']}/{path}", **body)
    found = await trace(running, row["id"])
    device = found["stages"][1].pop("device")
    assert device.startswith("/ socket.io ")
    assert client.sio.get_sid() not in device
    assert found["stages"] == [
        {"stage": "stored", "at": timestamp(begun), "userId": 2},
        {"stage": "sent", "at": timestamp(begun), "userId": 5},
        {"stage": "acknowledged", "at": timestamp(begun + 1), "userId": 5, "device": "Ann's phone"},
        {"stage": "seen", "at": timestamp(begun + 2), "userId": 5},
        {"stage": "read", "at": timestamp(begun + 3), "userId": 5},
    ]
    assert found["recipients"] == {"count": 1, "sent": 1, "read": 1}
    clock.advance(60)
    assert (await stages(running, row["id"]))[-1] == "expired"


async def test_every_connection_that_was_shown_a_broadcast_is_noted(running: Running) -> None:
    client = await running.connect(5)
    _others = [
        await running.connect(5, namespace="/notifications"),
        await running.connect(6, namespace="/dashboard"),
        await running.connect(6, namespace="/ws"),
        await running.plain("/notifications", 6),
        await running.stream(7),
    ]
    row = await sent(running, {"audience": "all"})
    await client.hears("newNotification")
    sent_to = [step for step in (await trace(running, row["id"]))["stages"] if step["stage"] == "sent"]
    assert sorted((step["userId"], step["device"].rpartition(" ")[0]) for step in sent_to) == [
        (5, "/ socket.io"),
        (5, "/notifications socket.io"),
        (6, "/dashboard socket.io"),
        (6, "/notifications websocket"),
        (7, "/notifications/events stream"),
    ]
    assert (await trace(running, row["id"]))["recipients"]["sent"] == 3


async def test_a_broadcast_that_was_taken_back_says_so(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    await running.connect(5)
    row = await sent(running, {"audience": "all"})
    clock.advance(1)
    await done(running, "DELETE", f"/broadcasts/{row['id']}", ADMIN)
    found = (await trace(running, row["id"]))["stages"][-1]
    assert found == {"stage": "retracted", "at": timestamp(clock.now)}


async def test_reading_everything_is_noted(running: Running) -> None:
    rows = [await sent(running) for _ in range(3)]
    await done(running, "POST", "/mark-all-seen", upTo=rows[1]["id"])
    await done(running, "POST", "/mark-all-read", upTo=rows[0]["id"])
    assert [(await stages(running, row["id"]))[1:] for row in rows] == [["seen", "read"], ["seen"], []]
    assert [(await trace(running, row["id"]))["recipients"]["read"] for row in rows] == [1, 0, 0]


async def test_traces_are_for_administrators_and_senders(running: Running) -> None:
    row = await sent(running, by=MANAGER)
    await trace(running, row["id"], MANAGER)
    await trace(running, row["id"], ADMIN)
    # user 5 has it, and no right to its trace
    refused(await running.call("GET", f"{API}/{row['id']}/trace", by=USER), 403, "FORBIDDEN")
    for who in (bearer(6), GUEST, TECHNICIAN, SERVICE, bearer(22, "manager")):
        refused(await running.call("GET", f"{API}/{row['id']}/trace", by=who), 404, "NOT_FOUND")
    for who in (ADMIN, USER):
        refused(await running.call("GET", f"{API}/987654/trace", by=who), 404, "NOT_FOUND")
    refused(await running.call("GET", f"{API}/{row['id']}/trace"), 401, "AUTH_REQUIRED")


async def test_many_are_acknowledged_at_once(running: Running) -> None:
    rows = [await sent(running) for _ in range(3)]
    foreign = await sent(running, {"userId": 6})
    ids = [row["id"] for row in rows[:2]]
    answer = await done(running, "POST", "/ack", ids=[*ids, ids[0], foreign["id"], 987654], device="tablet")
    assert answer == {"message": "Notifications acknowledged", "count": 2}
    assert [await stages(running, row["id"]) for row in (*rows, foreign)] == [
        ["stored", "acknowledged"],
        ["stored", "acknowledged"],
        ["stored"],
        ["stored"],
    ]
    await done(running, "POST", "/ack", ids=ids, device="tablet")  # again is once
    assert len((await trace(running, ids[0]))["stages"]) == 2
    await done(running, "POST", "/ack", ids=ids, device="phone")
    assert len((await trace(running, ids[0]))["stages"]) == 3


async def test_acknowledging_counts_against_the_rate_of_sockets(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    row = await sent(running)
    client = await running.connect(5)
    for _ in range(98):
        assert (await client.ask("notification_ack", {"id": row["id"]}))["success"]
        await done(running, "POST", "/ack", ids=[row["id"]])
    for _ in range(4):
        await done(running, "POST", f"/{row['id']}/ack")
    for path, body in ((f"/{row['id']}/ack", {}), ("/ack", {"ids": [row["id"]]})):
        answer = await running.call("POST", API + path, by=USER, json=body)
        assert refused(answer, 429, "RATE_LIMIT_EXCEEDED")["retryAfter"] == 0.1
    async with running.http.post(f"{running.url}{API}/ack", headers=USER, json={"ids": [row["id"]]}) as response:
        assert response.headers["Retry-After"] == "1"
    refused(await running.call("POST", f"{API}/{row['id']}/ack", by=bearer(6)), 404, "NOT_FOUND")
    clock.advance(0.1)
    await done(running, "POST", "/ack", ids=[row["id"]])


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"ids": []},
        {"ids": list(range(1, 502))},
        {"ids": ["x"]},
        {"ids": [0]},
        {"ids": [-1]},
        {"ids": [2**53 + 1]},
        {"ids": 5},
        {"ids": [1], "device": ""},
        {"ids": [1], "device": "x" * 101},
        {"ids": [1], "device": "a\u0000b"},
        {"ids": [1], "device": 5},
    ],
)
async def test_what_cannot_be_acknowledged_is_refused(running: Running, body: dict[str, Any]) -> None:
    refused(await running.call("POST", f"{API}/ack", by=USER, json=body), 400, "INVALID_PAYLOAD")
