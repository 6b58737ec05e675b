"""The MongoDB store when its server goes away, comes back, or is not ours."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from pymongo import MongoClient
from pymongo.errors import DuplicateKeyError

from realtime.errors import Code, RealtimeError, StoreRefused, StoreUnavailable
from realtime.models import JsonObject, MembershipChange, NewMessage, Receipt, Seen, Target
from realtime.store.mongo import MongoStore
from tests.conformance.people import ANN, HELLO, TO_ALL, TO_ANN, listed
from tests.mongo import fresh_database
from tests.store.relay import Relay, command, relay_to

SEEN = Seen("1", 1, "user", "Ann", None, 0)
Act = Callable[[MongoStore], Awaitable[object]]


class Impatient(MongoStore):
    """A store that soon says that the database does not answer."""

    BOUND = 1.0


@pytest.fixture
def url(mongo_uri: str) -> str:
    return fresh_database(mongo_uri)


@pytest.fixture
async def relay(url: str) -> AsyncIterator[Relay]:
    async with relay_to(url) as relay:
        yield relay


@pytest.fixture
async def stack(relay: Relay) -> AsyncIterator[AsyncExitStack]:
    """What is closed before the relay is."""
    async with AsyncExitStack() as stack:
        yield stack


async def opened(stack: AsyncExitStack, store: MongoStore) -> MongoStore:
    stack.push_async_callback(store.close)
    await store.open()
    return store


@pytest.fixture
async def store(stack: AsyncExitStack, relay: Relay, url: str) -> MongoStore:
    return await opened(stack, MongoStore(relay.url(url)))


def increment(old: JsonObject | None) -> JsonObject:
    return {"n": 1 if old is None else old["n"] + 1}


# --- The server goes away


@pytest.mark.parametrize(
    "act",
    [
        lambda store: store.entity("job", "1"),
        lambda store: store.change_entity("job", "1", increment),
        lambda store: store.touch_user(SEEN, now=2.0),
        lambda store: store.add([TO_ANN], HELLO, sender=None, now=2.0),
        lambda store: store.add_message(NewMessage("1", "2", "Hi"), now=2.0),
        lambda store: store.change_memberships([MembershipChange(ANN, "all", open=True)], now=2.0),
        lambda store: store.check(),
    ],
)
async def test_without_a_server_it_is_unavailable_and_with_one_it_works_again(
    act: Act, stack: AsyncExitStack, relay: Relay, url: str
) -> None:
    store = await opened(stack, Impatient(relay.url(url)))
    await relay.cut()
    async with asyncio.timeout(20):
        with pytest.raises(StoreUnavailable):
            await act(store)
        await relay.start()
        await working(store)
        await act(store)


async def working(store: MongoStore) -> None:
    """Return when a store works by itself."""
    while True:
        try:
            await store.check()
        except StoreUnavailable:
            continue
        return


async def test_a_short_outage_is_not_noticed(store: MongoStore, relay: Relay) -> None:
    await relay.cut()
    asked = asyncio.ensure_future(store.change_entity("job", "1", increment))
    await asyncio.sleep(0)
    await relay.start()
    assert (await asked).new == {"n": 1}


async def test_a_store_that_is_closed_without_a_server_closes(store: MongoStore, relay: Relay) -> None:
    await relay.cut()
    async with asyncio.timeout(20):
        await store.close()
    with pytest.raises(StoreUnavailable):
        await store.check()


async def test_opening_waits_for_the_server(stack: AsyncExitStack, relay: Relay, url: str) -> None:
    store = MongoStore(relay.url(url))
    await relay.cut()
    opening = asyncio.ensure_future(opened(stack, store))
    await asyncio.sleep(0)
    assert not opening.done()
    await relay.start()
    await (await opening).check()


async def test_opening_waits_as_long_as_it_is_told(relay: Relay, url: str) -> None:
    await relay.cut()
    store = Impatient(relay.url(url), patience=0.0)
    with pytest.raises(StoreUnavailable):
        await store.open()
    with pytest.raises(StoreUnavailable):
        await store.check()


# --- An answer is lost


async def test_a_row_whose_answer_was_lost_is_created_once(store: MongoStore, relay: Relay) -> None:
    relay.lose(command("insert", "entities"))
    assert await store.create_entity("job", lambda id: {"id": id}) == {"id": 1}
    assert relay.lost == 1
    assert (await store.create_entity("job", lambda id: {"id": id}))["id"] == 2


async def test_a_change_whose_answer_was_lost_is_made_once(store: MongoStore, relay: Relay) -> None:
    await store.change_entity("job", "1", increment)
    relay.lose(command("update", "entities"))
    change = await store.change_entity("job", "1", increment)
    assert relay.lost == 1
    assert (change.old, change.new) == ({"n": 1}, {"n": 2})
    assert await store.entity("job", "1") == {"n": 2}


async def test_a_deletion_whose_answer_was_lost_says_what_it_deleted(store: MongoStore, relay: Relay) -> None:
    await store.change_entity("job", "1", increment)
    relay.lose(command("update", "entities"))
    change = await store.change_entity("job", "1", lambda _: None)
    assert relay.lost == 1
    assert (change.old, change.new) == ({"n": 1}, None)


async def test_a_message_whose_answer_was_lost_is_stored_once_and_no_duplicate(store: MongoStore, relay: Relay) -> None:
    for collection in ("messages", "conversations"):
        relay.lose(command("insert" if collection == "messages" else "update", collection))
        stored = await store.add_message(NewMessage("1", "2", f"in {collection}"), now=1.0)
        assert not stored.duplicate
    assert relay.lost == 2
    assert await store.message_count() == await store.unread_messages("2") == 2
    assert (await store.conversations("2", limit=9, offset=0))[1] == 1


async def test_a_reading_whose_answer_was_lost_has_changed_the_message(store: MongoStore, relay: Relay) -> None:
    id = (await store.add_message(NewMessage("1", "2", "Hi"), now=1.0)).message.id
    relay.lose(command("update", "messages"))
    read = await store.read_message(id, "2", now=2.0)
    assert relay.lost == 1
    assert read is not None
    assert read[1]


async def test_a_claim_whose_answer_was_lost_is_ours(store: MongoStore, relay: Relay) -> None:
    relay.lose(command("insert", "requests"))
    assert await store.begin_request(ANN, "k", "f", now=1.0) is None
    relay.lose(command("update", "requests"))
    assert await store.begin_request(ANN, "k", "f", now=1000.0) is None
    assert relay.lost == 2
    running = await store.begin_request(ANN, "k", "f", now=1000.0)
    assert running is not None


async def test_a_user_whose_answer_was_lost_has_their_memberships(store: MongoStore, relay: Relay) -> None:
    relay.lose(command("insert", "users"))
    assert (await store.touch_user(SEEN, now=1.0)).name == "Ann"
    relay.lose(command("update", "users"))
    await store.set_user("1", role="admin", name=None, now=2.0)
    assert relay.lost == 2
    assert await store.readers("role:admin") == await store.readers("all") == [ANN]
    assert await store.readers("role:user") == []


async def test_a_notification_whose_answer_was_lost_is_sent_once(store: MongoStore, relay: Relay) -> None:
    await store.open_membership(ANN, "all", now=1.0)
    relay.lose(command("insert", "inbox"))
    (direct,) = await store.add([TO_ANN], HELLO, sender=None, now=1.0)
    relay.lose(command("insert", "log"))
    (shared,) = await store.add([TO_ALL], HELLO, sender=None, now=2.0)
    assert relay.lost == 2
    assert [direct.duplicate, shared.duplicate] == [False, False]
    assert await listed(store, ANN) == [shared.notification.id, direct.notification.id]


async def test_receipts_whose_answer_was_lost_are_kept_once(store: MongoStore, relay: Relay) -> None:
    (one,) = await store.add([TO_ANN], HELLO, sender=None, now=1.0)
    relay.lose(command("insert", "receipts"))
    await store.add_receipts([Receipt(one.notification.id, "sent", ANN, 1.0, device) for device in ("a", "b")])
    trace = await store.trace(one.notification.id, limit=9, now=2.0)
    assert relay.lost == 1
    assert trace is not None
    assert len(trace.receipts) == 2


# --- Work that was begun elsewhere


async def test_a_role_whose_memberships_were_not_finished_is_finished_by_the_next_token(
    stack: AsyncExitStack, relay: Relay, url: str, store: MongoStore
) -> None:
    await store.touch_user(SEEN, now=1.0)
    other = await opened(stack, Impatient(url))
    users = other.collection("users")
    await users.update_one({"id": "1"}, {"$set": {"role": "admin", "roles": ["admin", "user"]}})
    await store.touch_user(Seen("1", 1, "admin", None, None, 0), now=2.0)
    assert (await store.readers("role:admin"), await store.readers("role:user")) == ([ANN], [])


async def test_conversations_that_were_not_written_are_there_after_a_restart(
    stack: AsyncExitStack, url: str, store: MongoStore
) -> None:
    await store.add_message(NewMessage("1", "2", "Hi"), now=1.0)
    await store.collection("conversations").delete_many({})
    again = await opened(stack, MongoStore(url))
    assert (await again.conversations("2", limit=9, offset=0))[1] == 1


async def test_numbers_of_two_processes_differ(stack: AsyncExitStack, url: str, store: MongoStore) -> None:
    stores = [store, await opened(stack, MongoStore(url))]
    taken = await asyncio.gather(*(one.take_id() for one in stores * 100))
    assert len(set(taken)) == 200
    assert taken[::2] == sorted(taken[::2])


# --- Databases that are not ours, and what no database takes


async def test_the_database_of_another_program_is_refused_and_left_alone(url: str) -> None:
    with MongoClient[JsonObject](url) as client:
        client.get_default_database()["things"].insert_one({"a": 1})
        with pytest.raises(StoreRefused):
            await MongoStore(url).open()
        assert client.get_default_database().list_collection_names() == ["things"]


@pytest.mark.parametrize("change", [{"version": 999}, {"restoring": True}, {"program": "other"}])
async def test_a_schema_that_is_not_ours_is_refused(url: str, change: JsonObject) -> None:
    store = MongoStore(url)
    await store.open()
    await store.collection("meta").update_one({"_id": "schema"}, {"$set": change})
    await store.close()
    with pytest.raises(StoreRefused):
        await MongoStore(url).open()


async def test_a_url_that_is_none_is_refused_without_its_password() -> None:
    with pytest.raises(StoreRefused) as caught:
        await MongoStore("mongodb://user:hunter2@host:port:1/db").open()
    assert "hunter2" not in str(caught.value)


async def test_the_epoch_is_the_databases(stack: AsyncExitStack, url: str, store: MongoStore) -> None:
    again = await opened(stack, MongoStore(url))
    assert 0 < store.epoch == again.epoch < 2**53


@pytest.mark.parametrize("value", [2**70, "\ud800"], ids=["number", "text"])
async def test_what_cannot_be_stored_is_an_invalid_payload(store: MongoStore, value: object) -> None:
    things = store.collection("heads")
    with pytest.raises(RealtimeError) as caught:
        await store.attempt(lambda: things.insert_one({"value": value}))
    assert caught.value.code is Code.INVALID_PAYLOAD


async def test_a_key_that_is_taken_is_told_to_the_caller(store: MongoStore) -> None:
    things = store.collection("heads")
    await store.attempt(lambda: things.insert_one({"_id": "a"}))
    with pytest.raises(DuplicateKeyError):
        await store.attempt(lambda: things.insert_one({"_id": "a"}))


async def test_names_with_dots_dollars_zeros_and_great_length_are_names(store: MongoStore) -> None:
    for name in ("a.b", "$where", "\0", "x" * 5000, '"]', "\\"):
        seen = Seen(name, name, "user", name, None, 0)
        await store.touch_user(seen, now=1.0)
        found = await store.user(name)
        assert found is not None
        assert (found.id, found.name) == (name, name)
        await store.change_entity(name, name, lambda _, name=name: {name: name, "id": name})  # type: ignore[misc]
        assert await store.entity(name, name) == {name: name, "id": name}
        assert await store.begin_request(name, name, name, now=1.0) is None
        await store.add([Target(recipient=name)], HELLO, sender=name, now=1.0, dedup_key=name)
        assert len(await listed(store, name)) == 1


def test_no_part_of_the_store_has_the_private_name_of_another() -> None:
    owners: dict[str, set[type]] = {}
    for part in MongoStore.__mro__[1:-1]:
        for name, value in vars(part).items():
            if inspect.isfunction(value) and name.startswith("_") and not name.startswith("__"):
                owners.setdefault(name, set()).add(part)
    assert {name for name, parts in owners.items() if len(parts) > 1} <= {"_prepare"}
