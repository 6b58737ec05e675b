"""Chat in every store: storing, reading, delivering (`realtime.store.base.MessageStore`)."""

import asyncio
from dataclasses import replace

import pytest

from realtime.errors import Code, RealtimeError, StoreUnavailable
from realtime.models import Message, NewMessage, StoredMessage
from realtime.store.base import MESSAGE_DEDUP_SECONDS, MESSAGE_REPEAT_SECONDS, Store
from tests.conformance.conftest import Opener
from tests.conformance.talk import ANN, BOB, CY, say

HI = NewMessage(ANN, BOB, "Hi", client_id="c1")
OK = NewMessage(ANN, BOB, "ok")

STRANGE = [
    "x" * 5000,
    "é" * 5000,
    "\N{PARTY POPPER}" * 5000,
    "\0",
    "\0 before, \0 between and after \0",
    "'); DROP TABLE message; --",
    "123",
    "1e5",
    " \n\t\r ",
    '{"a": "\\u0000"}',
    "\N{REPLACEMENT CHARACTER}\uffff\N{ZERO WIDTH NO-BREAK SPACE}",
]
UNKNOWN = (0, -1, 999, 2**63, 2**70)


# --- Storing


async def test_a_message_is_stored_as_it_was_written(store: Store) -> None:
    stored = await store.add_message(HI, now=5.0)
    id = stored.message.id
    assert stored == StoredMessage(Message(id, ANN, BOB, "Hi", "c1", 5.0), duplicate=False)
    assert await store.message(id) == stored.message
    (without,) = [await store.add_message(OK, now=6.0)]
    assert without == StoredMessage(Message(id + 1, ANN, BOB, "ok", None, 6.0), duplicate=False)
    for unknown in UNKNOWN:
        assert await store.message(unknown) is None


@pytest.mark.parametrize("content", STRANGE, ids=range(len(STRANGE)))
async def test_content_is_opaque(opener: Opener, content: str) -> None:
    store = await opener()
    for client_id in (content, None):
        stored = await store.add_message(NewMessage(ANN, BOB, content, client_id), now=1.0)
        assert await store.add_message(NewMessage(ANN, BOB, content, client_id), now=1.0) == replace(
            stored, duplicate=True
        )
    await store.close()
    store = await opener()
    assert await store.message(stored.message.id) == stored.message
    assert [(one.content, one.client_id) for one in await store.history(BOB, ANN, before=None, limit=9)] == [
        (content, None),
        (content, content),
    ]


async def test_text_that_is_no_text_is_refused_with_nothing_stored(store: Store) -> None:
    for broken in ("\ud800", "fine until \udfff here"):
        for new in (
            NewMessage(ANN, BOB, broken),
            NewMessage(ANN, BOB, "Hi", broken),
            NewMessage(ANN, broken, "Hi"),
            NewMessage(broken, BOB, "Hi"),
        ):
            with pytest.raises(RealtimeError) as caught:
                await store.add_message(new, now=1.0)
            assert caught.value.code is Code.INVALID_PAYLOAD
    assert await store.message_count() == 0
    assert await store.conversations(ANN, limit=10, offset=0) == ([], 0)
    assert await store.conversations(BOB, limit=10, offset=0) == ([], 0)


async def test_ids_rise_in_the_order_of_storing_and_after_a_restart(opener: Opener) -> None:
    store = await opener()
    ids = [await say(store, ANN, BOB, now=9.0), await say(store, BOB, ANN, now=1.0), await say(store, CY, ANN, now=5.0)]
    ids += [one.message.id for one in await asyncio.gather(*(_said(store, n) for n in range(20)))]
    assert await store.message_count() == 23
    await store.close()
    store = await opener()
    assert await store.message_count() == 23
    ids.append(await say(store, ANN, BOB))
    assert ids == sorted(set(ids))
    assert await store.message_count() == 24


async def _said(store: Store, number: int) -> StoredMessage:
    return await store.add_message(NewMessage(ANN, BOB, f"m{number}"), now=1.0)


async def test_a_store_that_is_closed_is_unavailable(store: Store) -> None:
    await store.close()
    for call in (store.add_message(HI, now=1.0), store.message(1), store.devices("user:1"), store.take_id()):
        with pytest.raises(StoreUnavailable):
            await call


# --- Repetitions


@pytest.mark.parametrize(
    ("new", "window"), [(HI, MESSAGE_DEDUP_SECONDS), (OK, MESSAGE_REPEAT_SECONDS)], ids=["client_id", "content"]
)
async def test_a_repetition_within_the_window_is_the_same_message(store: Store, new: NewMessage, window: float) -> None:
    first = await store.add_message(new, now=1000.0)
    for age in (0.0, window / 2, window):
        assert await store.add_message(new, now=1000.0 + age) == replace(first, duplicate=True)
    second = await store.add_message(new, now=1000.0 + window + 0.5)
    assert not second.duplicate
    assert second.message.id > first.message.id
    again = await store.add_message(new, now=1000.0 + 2 * window)
    assert again == replace(second, duplicate=True)
    assert await store.message_count() == 2


async def test_a_clients_id_means_the_message_whatever_it_says(store: Store) -> None:
    first = await store.add_message(HI, now=1.0)
    assert await store.add_message(replace(HI, content="Else"), now=2.0) == replace(first, duplicate=True)
    assert not (await store.add_message(replace(HI, client_id="c2"), now=2.0)).duplicate
    assert not (await store.add_message(replace(HI, client_id="C1"), now=2.0)).duplicate
    assert not (await store.add_message(replace(HI, client_id=""), now=2.0)).duplicate
    assert (await store.add_message(replace(HI, client_id="", content="Else"), now=2.0)).duplicate


async def test_words_repeat_only_the_same_words(store: Store) -> None:
    await store.add_message(OK, now=1.0)
    for content in ("OK", "ok ", "ok\0", "oké"):
        assert not (await store.add_message(replace(OK, content=content), now=1.0)).duplicate
    assert (await store.add_message(OK, now=1.0)).duplicate


async def test_a_message_with_an_id_and_one_without_do_not_repeat_each_other(store: Store) -> None:
    await store.add_message(HI, now=1.0)
    without = await store.add_message(replace(HI, client_id=None), now=1.0)
    assert not without.duplicate
    assert not (await store.add_message(replace(HI, client_id="c2"), now=1.0)).duplicate
    assert await store.add_message(replace(HI, client_id=None), now=1.0) == replace(without, duplicate=True)


@pytest.mark.parametrize("new", [HI, OK], ids=["client_id", "content"])
async def test_another_receiver_sender_or_direction_is_no_repetition(store: Store, new: NewMessage) -> None:
    ids = set()
    for sender, receiver in ((ANN, BOB), (BOB, ANN), (ANN, CY), (CY, BOB)):
        stored = await store.add_message(replace(new, sender=sender, receiver=receiver), now=1.0)
        assert not stored.duplicate
        ids.add(stored.message.id)
    assert len(ids) == 4


@pytest.mark.parametrize("new", [HI, OK], ids=["client_id", "content"])
async def test_of_many_at_once_that_repeat_each_other_one_is_stored(store: Store, new: NewMessage) -> None:
    results = await asyncio.gather(*(store.add_message(new, now=1.0) for _ in range(20)))
    assert sum(not one.duplicate for one in results) == 1
    assert len({one.message.id for one in results}) == 1
    assert await store.message_count() == 1
    assert await store.unread_messages(BOB) == 1
    assert len(await store.history(ANN, BOB, before=None, limit=100)) == 1


async def test_a_repetition_returns_the_message_as_it_is_now_and_survives_a_restart(opener: Opener) -> None:
    store = await opener()
    id = (await store.add_message(HI, now=1.0)).message.id
    await store.set_message_notification(id, 77)
    await store.read_message(id, BOB, now=2.0)
    await store.close()
    store = await opener()
    assert await store.add_message(HI, now=3.0) == StoredMessage(
        Message(id, ANN, BOB, "Hi", "c1", 1.0, 2.0, 2.0, 77), duplicate=True
    )


async def test_a_repetition_does_not_make_a_conversation_newer(store: Store) -> None:
    await store.add_message(HI, now=1.0)
    await say(store, ANN, CY, now=2.0)
    await store.add_message(HI, now=3.0)
    found, _ = await store.conversations(ANN, limit=10, offset=0)
    assert [one.other for one in found] == [CY, BOB]


# --- Reading and delivering


async def test_reading_marks_read_and_delivered_and_keeps_the_first_time(store: Store) -> None:
    stored = (await store.add_message(HI, now=1.0)).message
    read = replace(stored, delivered_at=5.0, read_at=5.0)
    assert await store.read_message(stored.id, BOB, now=5.0) == (read, True)
    assert await store.read_message(stored.id, BOB, now=6.0) == (read, False)
    assert await store.message(stored.id) == read
    assert await store.undelivered_messages(BOB, limit=10) == []
    delivered = (await store.add_message(replace(HI, client_id="c2"), now=7.0)).message
    await store.set_messages_delivered([delivered.id], now=8.0)
    assert await store.read_message(delivered.id, BOB, now=9.0) == (
        replace(delivered, delivered_at=8.0, read_at=9.0),
        True,
    )


async def test_only_the_receiver_reads(store: Store) -> None:
    id = await say(store, ANN, BOB)
    for reader in (ANN, CY, "", "BOB"):
        assert await store.read_message(id, reader, now=5.0) is None
    for unknown in UNKNOWN:
        assert await store.read_message(unknown, BOB, now=5.0) is None
    assert await store.unread_messages(BOB) == 1


async def test_of_many_readings_at_once_one_changes_the_message(store: Store) -> None:
    id = await say(store, ANN, BOB)
    results = await asyncio.gather(*(store.read_message(id, BOB, now=float(n)) for n in range(10)))
    assert sum(changed for _, changed in filter(None, results)) == 1
    assert len({row.read_at for row, _ in filter(None, results)}) == 1


async def test_reading_a_conversation_reads_one_direction_of_it(store: Store) -> None:
    ids = [await say(store, ANN, BOB) for _ in range(3)]
    mine = await say(store, BOB, ANN)
    others = await say(store, CY, BOB)
    await store.read_message(ids[1], BOB, now=4.0)
    changed = await store.read_conversation(BOB, ANN, up_to=None, now=5.0)
    assert [(one.id, one.delivered_at, one.read_at) for one in changed] == [(ids[0], 5.0, 5.0), (ids[2], 5.0, 5.0)]
    assert [await store.message(one.id) for one in changed] == changed
    assert await store.read_conversation(BOB, ANN, up_to=None, now=6.0) == []
    assert [one.id for one in await store.undelivered_messages(BOB, limit=10)] == [others]
    assert [one.id for one in await store.undelivered_messages(ANN, limit=10)] == [mine]
    read = await store.message(ids[1])
    assert read is not None
    assert read.read_at == 4.0


async def test_reading_up_to_a_message_leaves_the_later_ones(store: Store) -> None:
    ids = [await say(store, ANN, BOB, now=float(9 - n)) for n in range(5)]
    answer = await say(store, BOB, ANN)
    assert await store.read_conversation(BOB, ANN, up_to=0, now=20.0) == []
    assert await store.read_conversation(BOB, ANN, up_to=-(2**70), now=20.0) == []
    assert [one.id for one in await store.read_conversation(BOB, ANN, up_to=ids[2], now=20.0)] == ids[:3]
    assert await store.read_conversation(BOB, ANN, up_to=ids[1], now=21.0) == []
    assert await store.unread_messages(BOB) == 2
    assert [one.id for one in await store.read_conversation(BOB, ANN, up_to=answer, now=22.0)] == ids[3:]
    later = await say(store, ANN, BOB)
    assert [one.id for one in await store.read_conversation(BOB, ANN, up_to=2**70, now=23.0)] == [later]
    assert await store.unread_messages(ANN) == 1


async def test_a_conversation_of_many_is_read_in_portions(store: Store) -> None:
    ids = sorted(one.message.id for one in await asyncio.gather(*(_said(store, n) for n in range(250))))
    changed = [
        [one.id for one in await store.read_conversation(BOB, ANN, up_to=None, now=5.0, limit=100)] for _ in range(4)
    ]
    assert changed == [ids[:100], ids[100:200], ids[200:], []]
    assert await store.unread_messages(BOB) == 0


async def test_a_clock_that_was_set_back_swallows_nothing(store: Store) -> None:
    await store.add_message(NewMessage(ANN, BOB, "ok"), now=1000.0)
    assert not (await store.add_message(NewMessage(ANN, BOB, "ok"), now=100.0)).duplicate


async def test_delivering_says_what_it_changed_and_keeps_the_first_time(store: Store) -> None:
    ids = [
        await say(store, ANN, BOB),
        await say(store, CY, BOB),
        await say(store, BOB, ANN),
        await say(store, ANN, BOB),
    ]
    await store.read_message(ids[3], BOB, now=4.0)
    changed = await store.set_messages_delivered([*ids[1:], *UNKNOWN, ids[1]], now=5.0)
    assert sorted((one.id, one.delivered_at, one.read_at) for one in changed) == [
        (ids[1], 5.0, None),
        (ids[2], 5.0, None),
    ]
    changed = await store.set_messages_delivered(ids, now=6.0)
    assert [(one.id, one.delivered_at) for one in changed] == [(ids[0], 6.0)]
    assert await store.set_messages_delivered(ids, now=7.0) == []
    assert await store.set_messages_delivered([], now=7.0) == []
    assert await store.unread_messages(BOB) == 2


async def test_undelivered_messages_come_oldest_first(store: Store) -> None:
    ids = [await say(store, ANN if n % 2 else CY, BOB, now=float(9 - n)) for n in range(6)]
    await say(store, BOB, ANN)
    await store.set_messages_delivered([ids[1]], now=10.0)
    await store.read_message(ids[2], BOB, now=10.0)
    left = [ids[0], *ids[3:]]
    for limit in (0, 1, 3, 100):
        assert [one.id for one in await store.undelivered_messages(BOB, limit=limit)] == left[:limit]
    (first, *_) = await store.undelivered_messages(BOB, limit=1)
    assert first == await store.message(first.id)
    assert await store.undelivered_messages("nobody", limit=10) == []


async def test_a_message_remembers_its_notification(opener: Opener) -> None:
    store = await opener()
    id, other = await say(store, ANN, BOB), await say(store, ANN, BOB)
    for notification in (5, 7):
        await store.set_message_notification(id, notification)
    await store.set_message_notification(999, 7)
    await store.close()
    store = await opener()
    found = [await store.message(one) for one in (id, other)]
    assert [one and one.notification for one in found] == [7, None]


async def test_a_message_to_oneself_is_one_message(store: Store) -> None:
    id = await say(store, ANN, ANN)
    assert [one.id for one in await store.history(ANN, ANN, before=None, limit=10)] == [id]
    found = await store.search_messages(ANN, "", other=None, before=None, limit=10)
    assert [one.id for one in found] == [id]
    conversations, total = await store.conversations(ANN, limit=10, offset=0)
    assert [(one.other, one.last.id, one.unread, total) for one in conversations] == [(ANN, id, 1, 1)]
    assert await store.unread_messages(ANN) == 1
    assert len(await store.read_conversation(ANN, ANN, up_to=None, now=5.0)) == 1
    assert await store.unread_messages(ANN) == 0
