"""Clients say which notifications have arrived."""

from typing import Any

import pytest

from tests.support import Client, Plain, Running, bearer

ADMIN = bearer(1, "admin")
WAYS = ["/", "/notifications", "/dashboard", "raw /notifications", "raw /dashboard"]
ACK = "notification_ack"


async def connect(running: Running, way: str, id: int = 7) -> Client | Plain:
    if way.startswith("raw "):
        return await running.plain(way.removeprefix("raw "), id)
    return await running.connect(id, namespace=way)


async def notify(running: Running, user: int = 7) -> int:
    body = {"userId": user, "title": "t", "message": "m"}
    _, row = await running.call("POST", "/api/notifications", by=ADMIN, json=body)
    return int(row["id"])


async def stages(running: Running, id: int) -> list[tuple[str, str, str | None]]:
    """Return (stage, reader, device) of what clients have acknowledged of a notification."""
    await running.parts.services.receipts.flush()
    trace = await running.parts.store.trace(id, limit=100, now=0.0)
    assert trace is not None
    return [(one.stage, one.reader, one.device) for one in trace.receipts if one.stage == "acknowledged"]


@pytest.mark.parametrize("way", WAYS)
async def test_what_has_arrived_is_noted_with_its_device(running: Running, way: str) -> None:
    client = await connect(running, way)
    ids = [await notify(running) for _ in range(3)]
    assert await client.ask(ACK, {"id": ids[0], "device": "phone"}) == {"success": True, "count": 1}
    assert await client.ask(ACK, {"ids": [ids[1], str(ids[2])]}) == {"success": True, "count": 2}
    assert await stages(running, ids[0]) == [("acknowledged", "user:7", "phone")]
    assert [len(await stages(running, id)) for id in ids] == [1, 1, 1]


async def test_the_name_of_a_device_has_a_hundred_characters(running: Running) -> None:
    client = await connect(running, "/")
    id, device = await notify(running), "x" * 100
    assert await client.ask(ACK, {"id": id, "device": device}) == {"success": True, "count": 1}
    assert await stages(running, id) == [("acknowledged", "user:7", device)]


async def test_somebody_elses_rows_are_not_counted(running: Running) -> None:
    client = await connect(running, "/")
    mine, other = await notify(running), await notify(running, 8)
    assert await client.ask(ACK, {"ids": [mine, other, 999_999]}) == {"success": True, "count": 1}
    assert await stages(running, other) == []


@pytest.mark.parametrize(
    "payload",
    [
        None,
        "12",
        {},
        {"ids": []},
        {"ids": 12},
        {"ids": list(range(501))},
        {"id": "x"},
        {"id": -1},
        {"id": True},
        {"id": 1.5},
        {"id": "9" * 17},
        {"id": [1]},
        {"id": 1, "device": 5},
        {"id": 1, "device": ""},
        {"id": 1, "device": "x" * 101},
    ],
)
async def test_what_names_no_notifications_is_refused(running: Running, payload: Any) -> None:
    client = await connect(running, "/")
    answer = await client.ask(ACK, payload)
    assert (answer["success"], answer["code"]) == (False, "INVALID_PAYLOAD")


async def test_chat_clients_have_nothing_to_acknowledge_here(running: Running) -> None:
    client = await connect(running, "/ws")
    assert (await client.ask(ACK, {"id": 1}))["code"] == "UNKNOWN_EVENT"
