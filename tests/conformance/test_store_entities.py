"""Business rows in every store (`realtime.store.base.EntityStore`)."""

import asyncio

import pytest

from realtime.errors import RealtimeError
from realtime.models import (
    EntityQuery,
    JsonObject,
)
from realtime.store.base import Store
from tests.conformance.conftest import Opener


async def test_entities_are_created_with_fresh_ids(opener: Opener) -> None:
    store = await opener()
    first = await store.create_entity("job", lambda id: {"id": id, "big": 2**80, "s": "1", "n": 1})
    assert first == {"id": 1, "big": 2**80, "s": "1", "n": 1}
    await store.change_entity("job", "2", lambda old: {"id": 2})
    await store.change_entity("job", "4", lambda old: {"id": 4})
    await store.change_entity("job", "4", lambda old: None)
    assert (await store.create_entity("job", lambda id: {"id": id}))["id"] == 3
    assert (await store.create_entity("job", lambda id: {"id": id}))["id"] == 5
    await store.change_entity("job", "5", lambda old: None)
    await store.close()
    store = await opener()
    assert (await store.create_entity("job", lambda id: {"id": id}))["id"] == 6
    assert (await store.create_entity("ticket", lambda id: {"id": id}))["id"] == 1
    assert await store.entity("job", "1") == first
    assert await store.entity("job", "5") is None
    assert await store.entity("ticket", "6") is None


async def test_a_change_reads_and_writes_atomically(store: Store) -> None:
    created = await store.change_entity("job", "x", lambda old: {"id": "x", "n": 0, "list": []})
    assert (created.old, created.new) == (None, {"id": "x", "n": 0, "list": []})

    def increment(old: JsonObject | None) -> JsonObject:
        assert old is not None
        old["n"] += 1
        return old

    changes = await asyncio.gather(*[store.change_entity("job", "x", increment) for _ in range(100)])
    assert sorted(change.new["n"] for change in changes if change.new) == list(range(1, 101))
    assert all(change.old and change.new and change.old["n"] + 1 == change.new["n"] for change in changes)
    deleted = await store.change_entity("job", "x", lambda old: None)
    assert (deleted.old, deleted.new) == ({"id": "x", "n": 100, "list": []}, None)
    assert await store.entity("job", "x") is None
    nothing = await store.change_entity("job", "x", lambda old: None)
    assert (nothing.old, nothing.new) == (None, None)


async def test_what_a_change_raises_reaches_the_caller_with_nothing_stored(store: Store) -> None:
    await store.change_entity("job", "1", lambda old: {"id": 1})

    def fail(old: JsonObject | None) -> JsonObject:
        if old is not None:
            old["spoilt"] = True
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        await store.change_entity("job", "1", fail)
    with pytest.raises(RealtimeError):
        await store.change_entity("job", "1", lambda old: {"id": 1, "text": "\ud800"})
    assert await store.entity("job", "1") == {"id": 1}

    def fail_to_build(id: int) -> JsonObject:
        raise LookupError("no")

    with pytest.raises(LookupError):
        await store.create_entity("job", fail_to_build)
    assert await store.entities("job", EntityQuery()) == ([{"id": 1}], 1)


async def test_entities_are_listed_newest_id_first(store: Store) -> None:
    for id in ("9", "10", "b", "a", "100", "007"):
        await store.change_entity("job", id, lambda old, id=id: {"id": id})  # type: ignore[misc]
    rows, total = await store.entities("job", EntityQuery(limit=10))
    assert [row["id"] for row in rows] == ["100", "10", "9", "b", "a", "007"]
    rows, total = await store.entities("job", EntityQuery(limit=2, offset=1))
    assert ([row["id"] for row in rows], total) == (["10", "9"], 6)


async def test_equals_compares_fields_as_text(store: Store) -> None:
    rows: list[JsonObject] = [
        {"n": 5}, {"n": "5"}, {"n": None}, {}, {"n": True}, {"n": "true"}, {"n": [5]}, {"n": 1.5}, {"n": "x'y"},
        {"n": 5, "m": "a"}, {"n": ""},
    ]  # fmt: skip
    for row in rows:
        await store.create_entity("job", lambda id, row=row: {"id": id, **row})  # type: ignore[misc]
    expected = {"5": [10, 2, 1], "true": [6, 5], "1.5": [8], "x'y": [9], "null": [], "[5]": [], "1": [], "": [11]}
    for text, ids in expected.items():
        found, total = await store.entities("job", EntityQuery(equals={"n": text}))
        assert ([row["id"] for row in found], total) == (ids, len(ids)), text
    found, total = await store.entities("job", EntityQuery(equals={"n": "5", "m": "a"}))
    assert [row["id"] for row in found] == [10]
    with pytest.raises(ValueError, match="field"):
        await store.entities("job", EntityQuery(equals={"n') OR 1=1 --": "5"}))


async def test_named_finds_the_rows_of_a_person(store: Store) -> None:
    names = ("technician_id", "customer_id")
    for technician, customer in ((7, 8), ("7", None), (8, 8), (None, 9)):
        await store.create_entity(
            "job",
            lambda id, t=technician, c=customer: {"id": id, "technician_id": t, "customer_id": c},  # type: ignore[misc]
            name_fields=names,
        )

    async def named(user: str) -> list[int]:
        rows, total = await store.entities("job", EntityQuery(named=user))
        assert total == len(rows)
        return [row["id"] for row in rows]

    assert [await named(user) for user in ("7", "8", "9", "None", "")] == [[2, 1], [3, 1], [4], [], []]
    await store.change_entity("job", "1", lambda old: {"id": 1, "technician_id": "9"}, name_fields=names)
    await store.change_entity("job", "3", lambda old: None, name_fields=names)
    assert [await named(user) for user in ("7", "8", "9")] == [[2], [], [4, 1]]
    rows, _ = await store.entities("job", EntityQuery(named="9", equals={"technician_id": "9"}))
    assert [row["id"] for row in rows] == [1]
