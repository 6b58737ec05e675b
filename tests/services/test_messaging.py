"""Chat: who hears what, what waits, and that nothing is lost or comes twice."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from realtime.errors import Code, RealtimeError, StoreUnavailable
from realtime.services import afterwards, message_replays, messaging
from tests.services.chat import Chat, Gate, GatedStore, Tab, person
from tests.support import FakeClock, until

NEW = ["message:new", "MESSAGE_BROADCAST", "NEW_MESSAGE"]
SENT = ["message:sent", "MESSAGE_SENT"]


@pytest.fixture
async def chat(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Chat]:
    store = GatedStore(tmp_path / "test.db")
    await store.open()
    chat = Chat(store, clock)
    yield chat
    await chat.stop()
    await store.close()


# --- sending to somebody who is there ---


async def test_every_connection_of_both_hears_a_message_once(chat: Chat) -> None:
    ann, ann_plain = await chat.settled("ann"), await chat.settled("ann", plain=True)
    bob, bob_plain = await chat.settled("bob"), await chat.settled("bob", plain=True)
    other = await chat.settled("cy")
    await chat.say("Hello")
    assert [tab.names for tab in (bob, bob_plain)] == [NEW, NEW]
    assert [tab.names for tab in (ann, ann_plain)] == [SENT, SENT]
    assert other.names == []


async def test_a_message_says_who_writes_to_whom(chat: Chat) -> None:
    bob = await chat.settled("bob")
    receipt = await chat.say("Hello", id="my-id")
    [message] = bob.payloads("message:new")
    assert message["id"] == message["messageId"] == str(receipt.message.id)
    assert (message["uniqueId"], message["senderId"], message["receiverId"]) == ("my-id", "ann", "bob")
    assert message["sender"] == {"id": "ann", "name": "Ann", "email": "ann@example.org"}
    assert message["receiver"] == {"id": "bob", "name": "Bob", "email": "bob@example.org"}


async def test_what_was_taken_is_delivered_before_its_sender_hears_so(chat: Chat) -> None:
    ann, _ = await chat.settled("ann"), await chat.settled("bob")
    chat.store.marking.open.clear()
    sending = chat.begin("Hello")
    await until(lambda: chat.store.marking.reached == 1)
    assert ann.names == []
    chat.store.marking.open.set()
    receipt = await sending
    assert receipt.message.delivered_at is not None
    assert (await chat.stored(receipt)).delivered_at == receipt.message.delivered_at
    assert ann.payloads("message:sent")[0]["status"] == "delivered"
    assert await chat.notices() == []


@pytest.mark.parametrize("text", ["  two  spaces\n", "x", "x" * 5000, "\u0000", "👩‍🚀 \u202e", "<b>&amp;"])
async def test_what_is_said_arrives_as_it_was_said(chat: Chat, text: str) -> None:
    bob = await chat.settled("bob")
    receipt = await chat.say(text)
    assert bob.texts == [text]
    assert (await chat.stored(receipt)).content == text


@pytest.mark.parametrize("text", ["", " \n\t ", "x" * 5001])
async def test_nothing_and_too_much_cannot_be_said(chat: Chat, text: str) -> None:
    bob = await chat.settled("bob")
    with pytest.raises(RealtimeError) as refused:
        await chat.say(text)
    assert refused.value.code is Code.INVALID_PAYLOAD
    assert bob.names == []
    assert await chat.store.message_count() == 0


@pytest.mark.parametrize("receiver", ["ann", "", "é" * 60, "\ud800"])
async def test_a_receiver_is_somebody_else(chat: Chat, receiver: str) -> None:
    with pytest.raises(RealtimeError) as refused:
        await chat.say("Hello", receiver=receiver)
    assert refused.value.code is Code.INVALID_PAYLOAD
    assert await chat.store.message_count() == 0


async def test_a_guest_cannot_write(chat: Chat) -> None:
    with pytest.raises(RealtimeError) as refused:
        await chat.messaging.send(person("ann", guest=True), "bob", "Hello", None)
    assert refused.value.code is Code.FORBIDDEN


async def test_a_database_that_fails_before_the_commit_fails_the_sender(chat: Chat) -> None:
    ann, bob = await chat.settled("ann"), await chat.settled("bob")
    chat.store.committed.down = True
    with pytest.raises(StoreUnavailable):
        await chat.say("Hello")
    assert ann.names == bob.names == []


async def test_a_database_that_fails_after_the_commit_does_not(chat: Chat) -> None:
    ann, bob = await chat.settled("ann"), await chat.settled("bob")
    chat.store.marking.down = True
    receipt = await chat.say("Hello")
    assert (bob.texts, ann.names) == (["Hello"], SENT)
    assert receipt.message.delivered_at is None


async def test_a_database_that_hangs_after_the_commit_does_not(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(afterwards, "STEP_SECONDS", 0.01)
    ann = await chat.settled("ann")
    chat.store.notifying.open.clear()
    receipt = await chat.say("Hello")
    assert ann.names == SENT
    assert (await chat.stored(receipt)).notification is None


async def test_a_sender_who_gives_up_waiting_has_sent_it(chat: Chat) -> None:
    ann, bob = await chat.settled("ann"), await chat.settled("bob")
    chat.store.committed.open.clear()
    sending = chat.begin("Hello")
    await until(lambda: chat.store.committed.reached == 1)
    sending.cancel()
    chat.store.committed.open.set()
    await bob.hears_texts("Hello")
    assert (await ann.hears("message:sent"))["status"] == "delivered"


async def test_stopping_finishes_what_was_begun(chat: Chat) -> None:
    bob = await chat.settled("bob")
    sending = chat.begin("Hello")
    await asyncio.sleep(0)
    sending.cancel()
    await chat.messaging.stop()
    assert bob.texts == ["Hello"]


# --- repetitions ---


async def test_a_repetition_is_the_first_message_again(chat: Chat) -> None:
    ann, bob = await chat.settled("ann"), await chat.settled("bob")
    first = await chat.say("Hello", id="a")
    again = await chat.say("Hello, edited", id="a")
    assert (first.duplicate, again.duplicate) == (False, True)
    assert again.message == first.message
    assert (ann.names, bob.names) == (SENT, NEW)


async def test_a_repetition_for_somebody_away_leaves_no_second_notification(chat: Chat) -> None:
    for _ in range(2):
        await chat.say("Hello", id="a")
    assert len(await chat.notices()) == 1


async def test_the_same_words_later_are_another_message(chat: Chat) -> None:
    bob = await chat.settled("bob")
    await chat.say("ok")
    await chat.say("ok")
    assert bob.texts == ["ok", "ok"]


# --- sending to somebody who is away ---


async def test_a_message_to_somebody_away_waits_and_leaves_a_notification(chat: Chat) -> None:
    ann = await chat.settled("ann")
    receipt = await chat.say("A secret")
    assert receipt.message.delivered_at is None
    assert ann.payloads("message:sent")[0]["status"] == "sent"
    [row] = await chat.notices()
    content = row.content
    assert (content.type, content.title, content.priority) == ("MESSAGE", "New Message", "high")
    assert content.message == "Ann sent you a message"
    assert content.metadata == {
        "senderId": "ann",
        "messageId": str(receipt.message.id),
        "conversationId": "ann",
    }
    assert row.sender == "user:ann"
    assert "secret" not in repr(row)
    assert (await chat.stored(receipt)).notification == row.id


async def test_a_connection_that_takes_nothing_counts_as_away(chat: Chat) -> None:
    bob = await chat.settled("bob")
    chat.namespace.deaf.add(bob.session.sid)
    receipt = await chat.say("Hello")
    assert receipt.message.delivered_at is None
    assert len(await chat.notices()) == 1


@pytest.mark.parametrize("step", ["notifying", "linking"])
async def test_a_notification_that_cannot_be_stored_does_not_fail_the_sender(chat: Chat, step: str) -> None:
    ann = await chat.settled("ann")
    gate: Gate = getattr(chat.store, step)
    gate.down = True
    await chat.say("Hello")
    assert ann.names == SENT


async def test_people_are_called_as_the_directory_knows_them(chat: Chat) -> None:
    await chat.directory.see(person("bob"))
    ann = await chat.settled("ann")
    await chat.say("Hello")
    await chat.say("Hello", receiver="nobody yet")
    bob, unknown = (payload["receiver"] for payload in ann.payloads("message:sent"))
    assert bob == {"id": "bob", "name": "Bob", "email": "bob@example.org"}
    assert unknown == {"id": "nobody yet", "name": "nobody yet", "email": None}


# --- what waits is told to the next connection ---


async def test_what_waits_is_told_oldest_first_and_its_senders_hear_of_it(chat: Chat) -> None:
    ann = await chat.settled("ann")
    await chat.directory.see(person("ann"))
    receipts = [await chat.say(text) for text in ("1", "2", "3")]
    ann.forget()
    bob = await chat.settled("bob")
    assert bob.texts == ["1", "2", "3"]
    assert bob.names == NEW * 3
    assert bob.payloads("message:new")[0]["sender"] == {"id": "ann", "name": "Ann", "email": "ann@example.org"}
    told = ann.payloads("message:delivered")
    assert [payload["messageId"] for payload in told] == [str(receipt.message.id) for receipt in receipts]
    assert {payload["status"] for payload in told} == {"delivered"}
    assert [(await chat.stored(receipt)).delivered_at is not None for receipt in receipts] == [True] * 3


async def test_what_was_told_once_is_not_told_to_the_next_connection(chat: Chat) -> None:
    await chat.say("Hello")
    await chat.settled("bob")
    assert (await chat.settled("bob", plain=True)).texts == []


async def test_what_was_read_elsewhere_is_not_told(chat: Chat) -> None:
    receipt = await chat.say("Hello")
    await chat.messaging.read("bob", receipt.message.id)
    assert (await chat.settled("bob")).texts == []


async def test_one_connection_is_told_a_hundred_at_most(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    assert messaging.MAX_REPLAYED == 100
    monkeypatch.setattr(messaging, "MAX_REPLAYED", 2)
    for text in ("1", "2", "3"):
        await chat.say(text)
    assert (await chat.settled("bob")).texts == ["1", "2"]
    assert (await chat.settled("bob")).texts == ["3"]


async def test_a_client_is_told_as_fast_as_it_reads(chat: Chat) -> None:
    for text in ("1", "2", "3"):
        await chat.say(text)
    bob = chat.arrive("bob", patient=True)
    await bob.hears_texts("1")
    bob.take()
    await bob.hears_texts("1", "2")
    bob.take(2)
    await bob.hears_texts("1", "2", "3")
    await chat.caught_up()


async def test_two_connections_that_come_together_are_each_told_once(chat: Chat) -> None:
    ann = await chat.settled("ann")
    for text in ("1", "2"):
        await chat.say(text)
    chat.store.read_waiting.open.clear()
    tabs = [chat.arrive("bob"), chat.arrive("bob", plain=True)]
    await until(lambda: chat.store.read_waiting.reached >= 3)
    chat.store.read_waiting.open.set()
    await chat.caught_up()
    assert [tab.texts for tab in tabs] == [["1", "2"], ["1", "2"]]
    assert len(ann.payloads("message:delivered")) == 2


async def test_what_is_said_during_a_replay_follows_it_once(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messaging, "SOON_SECONDS", 1000.0)
    ann = await chat.settled("ann")
    for text in ("1", "2"):
        await chat.say(text)
    ann.forget()
    bob = chat.arrive("bob", patient=True)
    await bob.hears_texts("1")
    receipt = await chat.say("3")
    assert receipt.message.delivered_at is None
    assert ann.payloads("message:sent")[0]["status"] == "sent"
    bob.take(3)
    await bob.hears_texts("1", "2", "3")
    await ann.hears("message:delivered", 3)
    await chat.caught_up()
    await chat.say("4")
    assert bob.texts == ["1", "2", "3", "4"]
    assert len(await chat.notices()) == 2


async def test_what_is_said_while_the_store_is_read_comes_once(chat: Chat) -> None:
    await chat.say("1")
    chat.store.read_waiting.open.clear()
    bob = chat.arrive("bob")
    await until(lambda: chat.store.read_waiting.reached == 1)
    sending = chat.begin("2")
    await until(lambda: chat.store.committed.reached == 2)
    chat.store.read_waiting.open.set()
    await sending
    await chat.caught_up()
    assert bob.texts == ["1", "2"]


async def test_what_is_said_before_the_store_is_read_comes_once(chat: Chat) -> None:
    await chat.say("1")
    chat.store.asked_waiting.open.clear()
    bob = chat.arrive("bob")
    sending = chat.begin("2")
    await until(lambda: chat.store.committed.reached == 2)
    chat.store.asked_waiting.open.set()
    assert (await sending).message.delivered_at is not None
    await chat.caught_up()
    assert bob.texts == ["1", "2"]


async def test_a_message_to_somebody_who_is_just_coming_is_delivered(chat: Chat) -> None:
    ann = await chat.settled("ann")
    chat.store.read_waiting.open.clear()
    bob = chat.arrive("bob")
    sending = chat.begin("Hello")
    await until(lambda: chat.store.committed.reached == 1)
    assert ann.names == []
    chat.store.read_waiting.open.set()
    receipt = await sending
    assert bob.texts == ["Hello"]
    assert receipt.message.delivered_at is not None
    assert ann.names == SENT
    assert ann.payloads("message:sent")[0]["status"] == "delivered"


async def test_a_sender_does_not_wait_for_somebody_who_has_gone_again(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messaging, "SOON_SECONDS", 1000.0)
    chat.store.read_waiting.open.clear()
    bob = chat.arrive("bob")
    sending = chat.begin("Hello")
    await until(lambda: chat.store.committed.reached == 1)
    bob.break_off()
    assert (await sending).message.delivered_at is None
    await chat.messaging.stop()
    assert len(await chat.notices()) == 1


async def test_a_sender_does_not_wait_long_for_somebody_who_is_just_coming(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messaging, "SOON_SECONDS", 0.01)
    ann = await chat.settled("ann")
    chat.store.read_waiting.open.clear()
    chat.arrive("bob")
    receipt = await chat.say("Hello")
    assert receipt.message.delivered_at is None
    chat.store.read_waiting.open.set()
    await chat.caught_up()
    assert ann.names == [*SENT, "message:delivered", "MESSAGE_DELIVERED"]
    assert await chat.notices() == []


async def test_what_is_stored_and_not_yet_shown_when_a_connection_comes_is_told_once(chat: Chat) -> None:
    chat.store.committed.open.clear()
    sending = chat.begin("Hello")
    await until(lambda: chat.store.committed.reached == 1)
    bob = chat.arrive("bob")
    await bob.hears_texts("Hello")
    await until(lambda: chat.store.marking.reached == 1)
    chat.store.committed.open.set()
    assert (await sending).message.delivered_at is not None
    await chat.caught_up()
    await chat.say("And more")
    assert bob.texts == ["Hello", "And more"]
    assert await chat.notices() == []


async def test_a_connection_that_has_caught_up_hears_at_once_what_another_one_waits_for(chat: Chat) -> None:
    await chat.say("1")
    slow = chat.arrive("bob", patient=True)
    await slow.hears_texts("1")
    quick = await _arrive_beside(chat, slow)
    receipt = await chat.say("2")
    assert receipt.message.delivered_at is not None
    assert quick.texts[-1] == "2"
    slow.take(2)
    await slow.hears_texts("1", "2")
    await chat.caught_up()
    assert (slow.texts, quick.texts) == (["1", "2"], ["1", "2"])


async def _arrive_beside(chat: Chat, slow: Tab) -> Tab:
    tab = chat.arrive("bob")
    await until(lambda: chat.errands.open == 1, what="the end of the quick replay")
    assert tab.texts == slow.texts
    return tab


async def test_a_message_of_somebody_else_is_not_held_back(chat: Chat) -> None:
    await chat.say("1")
    bob = chat.arrive("bob", patient=True)
    await bob.hears_texts("1")
    cy = await _quiet(chat, "cy")
    await chat.say("2", receiver="cy")
    assert cy.texts == ["2"]


async def _quiet(chat: Chat, id: str) -> Tab:
    tab = chat.arrive(id)
    await until(lambda: chat.errands.open == 1, what="the end of the quick replay")
    return tab


async def test_what_a_broken_connection_did_not_take_comes_again(chat: Chat) -> None:
    for text in ("1", "2", "3"):
        await chat.say(text)
    lost = chat.arrive("bob", patient=True)
    await lost.hears_texts("1")
    lost.break_off()
    await chat.caught_up()
    assert (await chat.settled("bob")).texts == ["1", "2", "3"]


async def test_what_a_connection_was_cut_for_comes_again(chat: Chat) -> None:
    for text in ("1", "2"):
        await chat.say(text)
    lost = chat.arrive("bob", cut=True)
    await chat.caught_up()
    assert lost.texts == ["1"]
    assert (await chat.settled("bob")).texts == ["1", "2"]


async def test_what_a_broken_connection_had_taken_does_not(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message_replays, "TAKEN_TOGETHER", 2)
    for text in ("1", "2", "3"):
        await chat.say(text)
    lost = chat.arrive("bob", patient=True)
    lost.take(2)
    await lost.hears_texts("1", "2", "3")
    lost.break_off()
    await chat.caught_up()
    assert (await chat.settled("bob")).texts == ["3"]


async def test_a_message_held_back_for_a_connection_that_breaks_leaves_a_notification(chat: Chat) -> None:
    await chat.say("1")
    lost = chat.arrive("bob", patient=True)
    await lost.hears_texts("1")
    receipt = await chat.say("2")
    assert len(await chat.notices()) == 1
    lost.break_off()
    await chat.caught_up()
    await chat.messaging.stop()
    notices = await chat.notices()
    assert notices[0].content.metadata["messageId"] == str(receipt.message.id)
    assert len(notices) == 2
    assert (await chat.settled("bob")).texts == ["1", "2"]


async def test_a_message_that_another_connection_took_leaves_none(chat: Chat) -> None:
    await chat.say("1")
    lost = chat.arrive("bob", patient=True)
    await lost.hears_texts("1")
    await _arrive_beside(chat, lost)
    await chat.say("2")
    lost.break_off()
    await chat.caught_up()
    await chat.messaging.stop()
    assert len(await chat.notices()) == 1


async def test_a_client_that_falls_behind_is_turned_away_and_catches_up_later(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(message_replays, "MAX_WAITING", 2)
    receipts = [await chat.say("1")]
    bob = chat.arrive("bob", patient=True)
    await bob.hears_texts("1")
    receipts += [await chat.say(text) for text in ("2", "3", "4")]
    bob.take()
    await bob.hears_texts("1", "2")
    receipts.append(await chat.say("5"))
    assert chat.namespace.turned_away == []
    bob.take(10)
    await until(lambda: chat.namespace.turned_away == [bob.session.sid])
    bob.break_off()
    await chat.caught_up()
    await chat.messaging.stop()
    assert bob.texts == ["1", "2", "3"]
    assert (await chat.settled("bob")).texts == ["4", "5"]
    told_of = [row.content.metadata["messageId"] for row in await chat.notices()]
    assert told_of == [str(receipt.message.id) for receipt in (receipts[4], receipts[3], receipts[0])]


async def test_a_database_that_cannot_be_read_keeps_nobody_from_hearing_what_is_new(chat: Chat) -> None:
    await chat.say("1")
    chat.store.read_waiting.down = True
    bob = await chat.settled("bob")
    await chat.say("2")
    assert bob.texts == ["2"]
    chat.store.read_waiting.down = False
    assert (await chat.settled("bob")).texts == ["1"]


async def test_a_delivery_that_cannot_be_marked_is_told_again(chat: Chat) -> None:
    await chat.say("1")
    chat.store.marking.down = True
    bob = await chat.settled("bob")
    await chat.say("2")
    assert bob.texts == ["1", "2"]
    chat.store.marking.down = False
    assert (await chat.settled("bob")).texts == ["1", "2"]


@pytest.mark.parametrize("start", range(4))
async def test_whatever_comes_between_everything_arrives_in_order_and_nothing_twice(chat: Chat, start: int) -> None:
    rng = random.Random(start)
    chat.store.dawdle(rng)
    tabs: list[Tab] = []
    said: list[str] = []

    async def talk() -> None:
        for number in range(25):
            said.append(str(number))
            await chat.say(said[-1])

    async def come_and_go() -> None:
        while not talking.done():
            for _ in range(rng.randrange(8)):
                await asyncio.sleep(0)
            if len(tabs) > 2 and rng.random() < 0.5:
                tabs[-rng.randrange(1, 3)].break_off()
            else:
                tabs.append(chat.arrive("bob", plain=rng.random() < 0.5))
            if len(tabs) > 5:
                tabs[-5].break_off()

    talking = asyncio.create_task(talk())
    await come_and_go()
    await talking
    await chat.caught_up()
    await chat.messaging.stop()
    tabs.append(await chat.settled("bob"))
    for tab in tabs:
        numbers = [int(text) for text in tab.texts]
        assert numbers == sorted(set(numbers))
    assert {text for tab in tabs for text in tab.texts} == set(said)
    assert await chat.store.undelivered_messages("bob", limit=100) == []


# --- reading ---


async def test_the_first_reading_is_told_to_every_connection_of_the_sender(chat: Chat) -> None:
    tabs = [await chat.settled("ann"), await chat.settled("ann", plain=True)]
    bob = await chat.settled("bob")
    receipt = await chat.say("Hello")
    for tab in (*tabs, bob):
        tab.forget()
    first = await chat.messaging.read("bob", receipt.message.id)
    chat.clock.advance(60)
    again = await chat.messaging.read("bob", receipt.message.id)
    assert first.read_at == again.read_at
    for tab in tabs:
        assert tab.names == ["message:read", "MESSAGE_READ_UPDATE", "MESSAGE_READ_RECEIPT"]
        [told] = tab.payloads("message:read")
        assert (told["messageId"], told["readBy"]) == (str(receipt.message.id), "bob")
    assert bob.names == []


@pytest.mark.parametrize(("reader", "offset"), [("ann", 0), ("cy", 0), ("bob", 1)])
async def test_only_its_receiver_can_read_a_message(chat: Chat, reader: str, offset: int) -> None:
    ann = await chat.settled("ann")
    receipt = await chat.say("Hello")
    ann.forget()
    with pytest.raises(RealtimeError) as refused:
        await chat.messaging.read(reader, receipt.message.id + offset)
    assert refused.value.code is Code.NOT_FOUND
    assert ann.names == []


async def test_reading_a_message_reads_its_notification(chat: Chat) -> None:
    receipt, other = await chat.say("Hello"), await chat.say("Hello again")
    await chat.messaging.read("bob", receipt.message.id)
    read = {row.content.metadata["messageId"]: row.read for row in await chat.notices()}
    assert read == {str(receipt.message.id): True, str(other.message.id): False}


async def test_a_notification_that_was_deleted_does_not_keep_a_message_from_being_read(chat: Chat) -> None:
    receipt = await chat.say("Hello")
    [row] = await chat.notices()
    await chat.store.delete_notification("user:bob", row.id, now=chat.clock())
    assert (await chat.messaging.read("bob", receipt.message.id)).read_at is not None


async def test_a_message_read_before_its_notification_is_linked_reads_that_too(chat: Chat) -> None:
    chat.store.linking.open.clear()
    sending = chat.begin("Hello")
    await until(lambda: chat.store.linking.reached == 1)
    [talk], _, _ = await chat.messaging.conversations("bob", limit=10, offset=0)
    await chat.messaging.read("bob", talk.conversation.last.id)
    chat.store.linking.open.set()
    await sending
    assert [row.read for row in await chat.notices()] == [True]


async def test_a_conversation_is_read_as_far_as_was_asked(chat: Chat) -> None:
    receipts = [await chat.say(text) for text in ("1", "2", "3")]
    await chat.say("from cy", sender="cy")
    ann = await chat.settled("ann")
    ids = [str(receipt.message.id) for receipt in receipts]
    assert await chat.messaging.read_conversation("bob", "ann", up_to=receipts[1].message.id) == 2
    assert [payload["messageId"] for payload in ann.payloads("message:read")] == ids[:2]
    assert await chat.messaging.unread_count("bob") == 2
    assert await chat.messaging.read_conversation("bob", "ann", up_to=None) == 1
    assert await chat.messaging.read_conversation("bob", "ann", up_to=None) == 0
    assert [payload["messageId"] for payload in ann.payloads("message:read")] == ids
    assert [row.read for row in await chat.notices()] == [False, True, True, True]


async def test_of_a_long_absence_the_newest_receipts_are_told(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messaging, "MAX_RECEIPTS", 3)
    monkeypatch.setattr(messaging, "RECEIPTS_TOGETHER", 2)
    receipts = [await chat.say(str(number)) for number in range(5)]
    ann = await chat.settled("ann")
    assert await chat.messaging.read_conversation("bob", "ann", up_to=None) == 5
    told = [payload["messageId"] for payload in ann.payloads("message:read")]
    assert told == [str(receipt.message.id) for receipt in receipts[2:]]
    assert {row.read for row in await chat.notices()} == {True}


# --- typing ---


def typing(tab: Tab) -> list[tuple[str, bool]]:
    """Return who was shown to type, or not to type any more."""
    return [(payload["userId"], payload["isTyping"]) for payload in tab.payloads("TYPING_INDICATOR")]


async def test_the_receiver_sees_that_somebody_types(chat: Chat) -> None:
    ann, bob, plain = await chat.settled("ann"), await chat.settled("bob"), await chat.settled("bob", plain=True)
    cy = await chat.settled("cy")
    chat.messaging.type_to(ann.session, "bob", active=True)
    chat.messaging.type_to(ann.session, "bob", active=False)
    for tab in (bob, plain):
        assert tab.names == [
            *("TYPING_INDICATOR", "typing:start", "USER_TYPING"),
            *("TYPING_INDICATOR", "typing:stop", "USER_TYPING"),
        ]
        assert typing(tab) == [("ann", True), ("ann", False)]
    assert ann.names == cy.names == []


@pytest.mark.parametrize("receiver", ["ann", "", "é" * 60])
async def test_typing_is_to_somebody_else(chat: Chat, receiver: str) -> None:
    ann = await chat.settled("ann")
    with pytest.raises(RealtimeError) as refused:
        chat.messaging.type_to(ann.session, receiver, active=True)
    assert refused.value.code is Code.INVALID_PAYLOAD


async def test_typing_that_is_not_renewed_ends_after_five_seconds(chat: Chat) -> None:
    ann, bob = await chat.settled("ann"), await chat.settled("bob")
    chat.messaging.type_to(ann.session, "bob", active=True)
    chat.clock.advance(3)
    chat.messaging.type_to(ann.session, "bob", active=True)
    chat.clock.advance(4.9)
    chat.messaging.tick()
    assert typing(bob) == [("ann", True), ("ann", True)]
    chat.clock.advance(0.1)
    chat.messaging.tick()
    chat.clock.advance(10)
    chat.messaging.tick()
    assert typing(bob) == [("ann", True), ("ann", True), ("ann", False)]


async def test_typing_ends_with_the_connection(chat: Chat) -> None:
    ann, bob = await chat.settled("ann"), await chat.settled("bob")
    chat.messaging.type_to(ann.session, "bob", active=True)
    ann.break_off()
    assert typing(bob) == [("ann", True), ("ann", False)]


async def test_typing_ends_with_the_message_wherever_it_is_sent(chat: Chat) -> None:
    ann, bob, cy = await chat.settled("ann"), await chat.settled("bob"), await chat.settled("cy")
    for receiver in ("bob", "cy"):
        chat.messaging.type_to(ann.session, receiver, active=True)
    await chat.say("Hello")
    assert typing(bob) == [("ann", True), ("ann", False)]
    assert bob.names.index("typing:stop") < bob.names.index("message:new")
    assert typing(cy) == [("ann", True)]
    ann.break_off()
    assert len(typing(bob)) == 2


async def test_somebody_types_as_long_as_they_do_on_any_connection(chat: Chat) -> None:
    one, other, bob = await chat.settled("ann"), await chat.settled("ann", plain=True), await chat.settled("bob")
    chat.messaging.type_to(one.session, "bob", active=True)
    chat.messaging.type_to(other.session, "bob", active=True)
    bob.forget()
    chat.messaging.type_to(one.session, "bob", active=False)
    assert typing(bob) == []
    other.break_off()
    assert typing(bob) == [("ann", False)]


async def test_who_stops_without_having_started_is_shown_not_to_type(chat: Chat) -> None:
    ann, bob = await chat.settled("ann"), await chat.settled("bob")
    chat.messaging.type_to(ann.session, "bob", active=False)
    assert typing(bob) == [("ann", False)]


# --- what clients ask ---


async def test_a_ping_is_answered_on_its_own_connection(chat: Chat) -> None:
    ann, other = await chat.settled("ann"), await chat.settled("ann")
    assert chat.messaging.ping(ann.session) == chat.clock()
    assert (ann.names, other.names) == (["PONG"], [])


async def test_who_is_online_is_told_to_the_connection_that_asks(chat: Chat) -> None:
    ann, bob = await chat.settled("ann"), await chat.settled("bob")
    assert chat.messaging.list_online(ann.session).users == ["ann", "bob"]
    [told] = ann.payloads("ONLINE_USERS")
    assert (told["users"], told["count"]) == (["ann", "bob"], 2)
    assert bob.names == []
