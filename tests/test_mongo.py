"""The MongoDB-compatible server keeps what the store relies on, whichever server it is."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClient, AsyncIOMotorDatabase
from pymongo import IndexModel, InsertOne, ReturnDocument, UpdateOne, WriteConcern
from pymongo.errors import BulkWriteError, DuplicateKeyError

from tests.mongo import fresh_database

Document = dict[str, Any]
Database = AsyncIOMotorDatabase[Document]


@pytest.fixture
async def database(mongo_uri: str) -> AsyncIterator[Database]:
    client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(fresh_database(mongo_uri))
    yield client.get_default_database()
    client.close()


async def test_updates_at_the_same_time_lose_nothing(database: Database) -> None:
    counted = await asyncio.gather(
        *(
            database.counters.find_one_and_update(
                {"_id": "n"}, {"$inc": {"n": 1}}, upsert=True, return_document=ReturnDocument.AFTER
            )
            for _ in range(50)
        )
    )
    assert sorted(document["n"] for document in counted) == list(range(1, 51))


async def test_only_one_of_many_finds_what_it_changes(database: Database) -> None:
    await database.locks.insert_one({"_id": "lock", "owner": None})
    taken = await asyncio.gather(
        *(database.locks.update_one({"_id": "lock", "owner": None}, {"$set": {"owner": n}}) for n in range(50))
    )
    assert sum(result.modified_count for result in taken) == 1


async def test_duplicates_are_refused_however_they_come(database: Database) -> None:
    await database.people.create_index([("app", 1), ("name", 1)], unique=True)
    await database.people.insert_many([{"_id": 1, "app": 1, "name": "a"}, {"_id": 2, "app": 1, "name": "b"}])
    same = {"$set": {"name": "a"}}
    for attempt in (
        database.people.insert_one({"app": 1, "name": "a"}),
        database.people.update_one({"_id": 2}, same),
        database.people.replace_one({"_id": 2}, {"app": 1, "name": "a"}),
        database.people.find_one_and_update({"_id": 2}, same),
        database.people.update_one({"_id": 3, "app": 1}, same, upsert=True),
    ):
        with pytest.raises(DuplicateKeyError):
            await attempt
    assert await database.people.distinct("name") == ["a", "b"]


@pytest.mark.parametrize(("ordered", "stored", "failed"), [(True, [0], [1]), (False, [0, 3], [1, 2])])
async def test_each_update_of_a_bulk_is_answered(
    database: Database, ordered: bool, stored: list[int], failed: list[int]
) -> None:
    await database.things.create_index("key", unique=True)
    keys = ["a", "a", "a", "b"]
    bulk = [UpdateOne({"_id": n}, {"$set": {"key": key}}, upsert=True) for n, key in enumerate(keys)]
    with pytest.raises(BulkWriteError) as caught:
        await database.things.bulk_write(bulk, ordered=ordered)
    details = caught.value.details
    assert [(one["index"], one["_id"]) for one in details["upserted"]] == [(n, n) for n in stored]
    assert [(one["index"], one["code"]) for one in details["writeErrors"]] == [(n, 11000) for n in failed]
    assert [document["_id"] async for document in database.things.find()] == stored


async def test_indexes_can_be_asked_for_again(database: Database) -> None:
    indexes = [IndexModel("a"), IndexModel([("b", 1), ("c", -1)], unique=True), IndexModel("d")]
    for _ in range(2):
        assert await database.things.create_indexes(indexes) == ["a_1", "b_1_c_-1", "d_1"]
    assert len(await database.things.index_information()) == 4


async def test_an_unordered_bulk_stores_what_it_can(database: Database) -> None:
    with pytest.raises(BulkWriteError):
        await database.things.bulk_write([InsertOne({"_id": n}) for n in (1, 1, 2)], ordered=False)
    assert await database.things.count_documents({}) == 2


async def test_an_unacknowledged_write_is_not_answered(database: Database) -> None:
    await database.get_collection("things", write_concern=WriteConcern(w=0)).insert_one({"_id": 1})
    assert await database.things.find_one({"_id": 1}) == {"_id": 1}


async def test_databases_are_apart(database: Database, mongo_uri: str) -> None:
    await database.things.insert_one({"_id": 1})
    other: AsyncIOMotorClient[Document] = AsyncIOMotorClient(fresh_database(mongo_uri))
    assert await other.get_default_database().things.find_one() is None
    other.close()
