"""What every store shows of chat: conversations, history, search (`realtime.store.base.MessageStore`)."""

import pytest

from realtime.errors import Code, RealtimeError
from realtime.store.base import Store
from tests.conformance.talk import ANN, BOB, CY, conversations, history, say, search

# --- Conversations


async def test_the_conversation_with_the_newest_message_is_first(store: Store) -> None:
    await say(store, ANN, BOB, now=9.0)
    with_cy = await say(store, CY, ANN, now=1.0)
    await say(store, BOB, CY, now=5.0)
    found = await conversations(store, ANN)
    assert (found[0].other, found[0].last.id) == (CY, with_cy)
    newest = await say(store, BOB, ANN, now=0.0)
    found = await conversations(store, ANN)
    assert [(one.other, one.last.id, one.unread) for one in found] == [(BOB, newest, 1), (CY, with_cy, 1)]
    assert found[0].last == await store.message(newest)
    assert await conversations(store, "nobody") == []


async def test_unread_counts_what_the_user_was_sent_by_that_other(store: Store) -> None:
    for sender, receiver in ((BOB, ANN), (BOB, ANN), (ANN, BOB), (CY, ANN), (BOB, CY)):
        await say(store, sender, receiver)
    assert {one.other: one.unread for one in await conversations(store, ANN)} == {BOB: 2, CY: 1}
    assert {one.other: one.unread for one in await conversations(store, BOB)} == {ANN: 1, CY: 0}
    await store.read_conversation(ANN, BOB, up_to=None, now=5.0)
    assert {one.other: one.unread for one in await conversations(store, ANN)} == {BOB: 0, CY: 1}
    assert await store.unread_messages(BOB) == 1
    assert await store.unread_messages("nobody") == 0


async def test_the_last_message_is_shown_as_it_is_now(store: Store) -> None:
    id = await say(store, BOB, ANN)
    for reader, change in (
        (ANN, store.set_message_notification(id, 7)),
        (BOB, store.set_messages_delivered([id], now=5.0)),
        (ANN, store.read_message(id, ANN, now=6.0)),
    ):
        await change
        (one,) = await conversations(store, reader)
        assert one.last == await store.message(id)


async def test_pages_of_conversations_add_up(store: Store) -> None:
    others = [f"other{number}" for number in range(7)]
    for other in others:
        await say(store, ANN, other)
    for limit, offset in ((3, 0), (3, 3), (3, 6), (3, 9), (0, 0), (7, 0), (100, 1)):
        found, total = await store.conversations(ANN, limit=limit, offset=offset)
        assert [one.other for one in found] == others[::-1][offset : offset + limit]
        assert total == 7


# --- History


async def test_history_is_both_directions_of_two_people_newest_first(store: Store) -> None:
    ids = [await say(store, *((ANN, BOB) if n % 3 else (BOB, ANN)), now=float(9 - n)) for n in range(7)]
    await say(store, ANN, CY)
    await say(store, CY, BOB)
    assert await history(store, ANN, BOB) == await history(store, BOB, ANN) == ids[::-1]
    assert await history(store, ANN, "nobody") == []
    rows = await store.history(ANN, BOB, before=None, limit=100)
    assert rows == [await store.message(one.id) for one in rows]


async def test_history_goes_back_from_a_message(store: Store) -> None:
    ids = []
    for n in range(7):
        ids.append(await say(store, *((ANN, BOB) if n % 2 else (BOB, ANN))))
        between = await say(store, ANN, CY)
    assert await history(store, ANN, BOB, limit=3) == ids[:3:-1]
    assert await history(store, ANN, BOB, before=ids[4], limit=3) == ids[3:0:-1]
    assert await history(store, ANN, BOB, before=ids[1], limit=3) == ids[:1]
    assert await history(store, ANN, BOB, before=between) == ids[::-1]
    for nothing in (ids[0], 0, -(2**70)):
        assert await history(store, ANN, BOB, before=nothing) == []
    assert await history(store, ANN, BOB, before=2**70) == ids[::-1]
    assert await history(store, ANN, BOB, limit=0) == []


# --- Search


async def test_search_finds_letters_of_ascii_in_either_case(store: Store) -> None:
    upper = await say(store, ANN, BOB, "HELLO Wörld ÉÀ")
    lower = await say(store, BOB, ANN, "well, hello wörld éà")
    assert await search(store, ANN, "hElLo") == [lower, upper]
    assert await search(store, ANN, "HELLO WöRLD") == [lower, upper]
    assert await search(store, ANN, "ÉÀ") == [upper]
    assert await search(store, ANN, "éà") == [lower]
    assert await search(store, ANN, "world") == []
    assert await search(store, ANN, "") == [lower, upper]
    assert await search(store, ANN, "hello hello") == []


@pytest.mark.parametrize(
    "text", ["%", "_", "\\", "*", "?", "[a-z]", ".", "'", '"', "^h", "$", "\n", "--", "%00", "(?i)"]
)
async def test_no_character_is_special_in_a_search(store: Store, text: str) -> None:
    plain = await say(store, ANN, BOB, "hello world abc")
    special = await say(store, ANN, BOB, f"hello{text}world")
    assert await search(store, ANN, text) == [special]
    assert await search(store, ANN, f"O{text}W") == [special]
    assert await search(store, ANN, "WORLD") == [special, plain]


async def test_zero_bytes_are_text_like_any_other(store: Store) -> None:
    start = await say(store, ANN, BOB, "\0hello")
    middle = await say(store, ANN, BOB, "say hello\0to the world\0")
    plain = await say(store, ANN, BOB, "say hello to the world")
    assert await search(store, ANN, "\0") == [middle, start]
    assert await search(store, ANN, "\0HELLO") == [start]
    assert await search(store, ANN, "O\0t") == [middle]
    assert await search(store, ANN, "o\0x") == []
    assert await search(store, ANN, "the World") == [plain, middle]
    assert await search(store, ANN, "hello") == [plain, middle, start]


async def test_search_is_in_ones_own_messages_only(store: Store) -> None:
    mine = await say(store, ANN, BOB, "the word")
    theirs = await say(store, CY, ANN, "the word")
    await say(store, BOB, CY, "the word")
    assert await search(store, ANN, "word") == [theirs, mine]
    assert await search(store, ANN, "word", other=BOB) == [mine]
    assert await search(store, ANN, "word", other=CY) == [theirs]
    assert await search(store, ANN, "word", other="nobody") == []
    assert await search(store, "nobody", "word") == []


async def test_search_goes_back_from_a_message(store: Store) -> None:
    ids = []
    for n in range(6):
        ids.append(await say(store, *((ANN, BOB) if n % 2 else (CY, ANN)), f"word {n}"))
        await say(store, ANN, BOB, "else")

    async def page(before: int | None, limit: int, other: str | None = None) -> list[int]:
        found = await store.search_messages(ANN, "WORD", other=other, before=before, limit=limit)
        assert found == [await store.message(one.id) for one in found]
        return [one.id for one in found]

    assert await page(None, 2) == ids[:3:-1]
    assert await page(ids[4], 2) == ids[3:1:-1]
    assert await page(ids[2], 9) == ids[1::-1]
    assert await page(ids[0], 9) == []
    assert await page(None, 0) == []
    assert await page(ids[5], 9, BOB) == [ids[3], ids[1]]
    assert await page(2**70, 1, CY) == [ids[4]]


async def test_long_texts_are_searched_to_their_end(store: Store) -> None:
    id = await say(store, ANN, BOB, "é" * 4997 + "End")
    assert await search(store, ANN, "éend") == [id]
    assert await search(store, ANN, "é" * 4997 + "END") == [id]
    assert await search(store, ANN, "é" * 4998) == []


async def test_a_search_for_what_is_no_text_is_refused(store: Store) -> None:
    await say(store, ANN, BOB)
    for other in (None, BOB):
        with pytest.raises(RealtimeError) as caught:
            await search(store, ANN, "a\ud800", other=other)
        assert caught.value.code is Code.INVALID_PAYLOAD
