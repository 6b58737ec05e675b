"""What chat clients send over Socket.IO and over plain sockets, and what they are answered."""

from typing import Any

import pytest

from tests.conftest import Starter
from tests.support import Client, FakeClock, Plain, Running, bearer

Talker = Client | Plain


async def connect(running: Running, id: str, how: str = "socket.io", **more: Any) -> Talker:
    if how == "plain":
        return await running.plain("/ws", id, name=id.capitalize(), **more)
    return await running.connect(id, name=id.capitalize(), namespace="/ws", **more)


@pytest.mark.parametrize("how", ["socket.io", "plain"])
@pytest.mark.parametrize("name", ["sendMessage", "NEW_MESSAGE", "message:send"])
async def test_every_way_to_send_is_answered_with_what_is_heard(running: Running, how: str, name: str) -> None:
    ann, bob = await connect(running, "ann", how), await connect(running, "bob")
    answer = await ann.ask(name, {"receiverId": "bob", "content": " Hello ", "tempId": "t-1", "extra": [1]})
    sent, new = await ann.hears("message:sent"), await bob.hears("message:new")
    message = answer.pop("message")
    assert answer == {
        "success": True,
        "messageId": new["id"],
        "dbMessageId": new["id"],
        "timestamp": new["timestamp"],
        "status": "delivered",
    }
    assert message == sent
    assert (sent["content"], sent["tempId"], sent["uniqueId"]) == (" Hello ", "t-1", "t-1")
    assert {**sent, **new} == sent


async def test_to_somebody_away_the_answer_says_that_it_waits(running: Running) -> None:
    ann = await connect(running, "ann")
    answer = await ann.ask("sendMessage", {"receiverId": 7, "content": "Hello"})
    assert (answer["success"], answer["status"]) == (True, "sent")
    assert answer["message"] == await ann.hears("message:sent")
    assert (answer["message"]["receiverId"], answer["message"]["tempId"]) == ("7", None)
    seven = await connect(running, "7", "plain")
    assert (await seven.hears("message:new"))["id"] == answer["messageId"]
    assert (await ann.hears("message:delivered"))["messageId"] == answer["messageId"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"clientMessageId": "a", "tempId": "b", "uniqueId": "c", "messageId": "d"}, "a"),
        ({"clientMessageId": None, "tempId": "", "uniqueId": "c", "messageId": "d"}, "c"),
        ({"messageId": "x" * 128}, "x" * 128),
        ({"tempId": 1700000000000}, "1700000000000"),
        ({"tempId": 1700000000000.5}, "1700000000000.5"),
        ({"tempId": 0}, "0"),
        ({}, None),
    ],
)
async def test_the_clients_own_id_is_kept_as_text(running: Running, given: dict[str, Any], kept: str | None) -> None:
    ann = await connect(running, "ann")
    answer = await ann.ask("sendMessage", {"receiverId": "bob", "content": "Hello", **given})
    assert answer["message"]["tempId"] == kept
    assert answer["message"]["uniqueId"] == (kept or answer["messageId"])


@pytest.mark.parametrize(
    "payload",
    [
        None,
        "bob",
        ["bob", "Hello"],
        {"content": "Hello"},
        {"receiverId": "bob"},
        {"receiverId": "bob", "content": 7},
        {"receiverId": "bob", "content": {"text": "Hello"}},
        {"receiverId": "bob", "content": "  "},
        {"receiverId": "bob", "content": "x" * 5001},
        {"receiverId": "ann", "content": "Hello"},
        {"receiverId": "", "content": "Hello"},
        {"receiverId": None, "content": "Hello"},
        {"receiverId": True, "content": "Hello"},
        {"receiverId": ["bob"], "content": "Hello"},
        {"receiverId": "b" * 101, "content": "Hello"},
        {"receiverId": "bob", "content": "Hello", "tempId": "x" * 129},
        {"receiverId": "bob", "content": "Hello", "tempId": True},
        {"receiverId": "bob", "content": "Hello", "tempId": {"id": 1}},
    ],
)
async def test_what_cannot_be_sent_is_refused(running: Running, payload: Any) -> None:
    ann = await connect(running, "ann")
    answer = await ann.ask("sendMessage", payload)
    assert (answer["success"], answer["code"]) == (False, "INVALID_PAYLOAD")
    assert answer["message"] == answer["error"]
    assert ann.payloads("message:sent") == []


async def test_a_repetition_is_answered_with_the_first_message(running: Running) -> None:
    ann, bob = await connect(running, "ann"), await connect(running, "bob")
    message = {"receiverId": "bob", "content": "Hello", "clientMessageId": "once"}
    first, again = await ann.ask("sendMessage", message), await ann.ask("NEW_MESSAGE", message)
    assert (again["success"], again["duplicate"], again["status"]) == (True, True, "already_sent")
    assert (again["messageId"], again["timestamp"]) == (first["messageId"], first["timestamp"])
    assert again["message"] == first["message"]
    await bob.settle()
    assert len(bob.payloads("message:new")) == 1


@pytest.mark.parametrize("name", ["markAsRead", "MESSAGE_READ", "message:read"])
@pytest.mark.parametrize("form", ["object", "text", "number"])
async def test_every_way_to_mark_a_message_read(running: Running, name: str, form: str) -> None:
    ann, bob = await connect(running, "ann"), await connect(running, "bob")
    id = (await ann.ask("sendMessage", {"receiverId": "bob", "content": "Hello"}))["messageId"]
    payload: Any = {"object": {"messageId": id, "senderId": "ann"}, "text": id, "number": int(id)}[form]
    answer = await bob.ask(name, payload)
    assert answer == {"success": True, "messageId": id, "readAt": answer["readAt"]}
    told = await ann.hears("message:read")
    assert (told["messageId"], told["readAt"], told["readBy"]) == (id, answer["readAt"], "bob")
    assert await bob.ask(name, payload) == answer
    await ann.settle()
    assert len(ann.payloads("message:read")) == 1


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (None, "INVALID_PAYLOAD"),
        ({}, "INVALID_PAYLOAD"),
        ({"messageId": True}, "INVALID_PAYLOAD"),
        ({"messageId": [1]}, "INVALID_PAYLOAD"),
        ("temp-1", "NOT_FOUND"),
        (-1, "NOT_FOUND"),
        (9, "NOT_FOUND"),
        ("9" * 99, "NOT_FOUND"),
        ("١", "NOT_FOUND"),
        ({"messageId": "1"}, "NOT_FOUND"),
    ],
)
async def test_what_cannot_be_read_is_refused(running: Running, payload: Any, code: str) -> None:
    ann = await connect(running, "ann")
    await ann.ask("sendMessage", {"receiverId": "bob", "content": "Hello"})
    answer = await ann.ask("markAsRead", payload)
    assert (answer["success"], answer["code"]) == (False, code)


@pytest.mark.parametrize(
    ("name", "payload", "active"),
    [
        ("typing", {"receiverId": "bob", "isTyping": True}, True),
        ("typing", {"receiverId": "bob"}, True),
        ("typing", {"receiverId": "bob", "isTyping": False}, False),
        ("typing:start", {"receiverId": "bob"}, True),
        ("TYPING_START", {"receiverId": "bob"}, True),
        ("typing:stop", {"receiverId": "bob"}, False),
        ("TYPING_STOP", {"receiverId": "bob"}, False),
    ],
)
async def test_every_way_to_show_typing(running: Running, name: str, payload: Any, active: bool) -> None:
    ann, bob = await connect(running, "ann"), await connect(running, "bob")
    assert await ann.ask(name, payload) == {"success": True, "receiverId": "bob", "isTyping": active}
    shown = await bob.hears("TYPING_INDICATOR")
    assert {**shown, "timestamp": ""} == {
        "userId": "ann",
        "senderId": "ann",
        "receiverId": "bob",
        "isTyping": active,
        "timestamp": "",
    }
    assert await bob.hears("typing:start" if active else "typing:stop") == shown


@pytest.mark.parametrize("name", ["typing", "typing:start", "typing:stop"])
@pytest.mark.parametrize("payload", [None, "bob", {}, {"receiverId": "ann"}, {"receiverId": {"id": "bob"}}])
async def test_typing_needs_somebody_to_type_to(running: Running, name: str, payload: Any) -> None:
    ann = await connect(running, "ann")
    assert (await ann.ask(name, payload))["code"] == "INVALID_PAYLOAD"


async def test_typing_is_a_yes_or_a_no(running: Running) -> None:
    ann = await connect(running, "ann")
    assert (await ann.ask("typing", {"receiverId": "bob", "isTyping": "yes"}))["code"] == "INVALID_PAYLOAD"


async def test_typing_ends_by_itself(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    ann, bob = await connect(running, "ann"), await connect(running, "bob")
    await ann.ask("typing", {"receiverId": "bob"})
    clock.advance(5)
    await bob.hears("typing:stop")


@pytest.mark.parametrize("how", ["socket.io", "plain"])
async def test_typing_ends_when_the_typer_goes(running: Running, how: str) -> None:
    ann, bob = await connect(running, "ann", how), await connect(running, "bob")
    await ann.ask("typing", {"receiverId": "bob"})
    await ann.close()
    assert (await bob.hears("typing:stop"))["userId"] == "ann"


async def test_a_ping_is_answered_twice(running: Running) -> None:
    ann = await connect(running, "ann")
    answer = await ann.ask("PING")
    assert answer == {"success": True, **await ann.hears("PONG")}


async def test_who_is_online_counts_every_kind_of_connection(running: Running) -> None:
    await running.connect(5)
    ann = await connect(running, "ann")
    answer = await ann.ask("GET_ONLINE_USERS")
    assert answer == {"success": True, **await ann.hears("ONLINE_USERS")}
    assert (answer["users"], answer["count"]) == (["5", "ann"], 2)


async def test_messages_count_against_one_rate_and_pings_do_not(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    ann = await connect(running, "ann")
    for number in range(100):
        assert (await ann.ask("sendMessage", {"receiverId": "bob", "content": str(number)}))["success"] is True
    for name in ("sendMessage", "markAsRead", "GET_ONLINE_USERS"):
        refused = await ann.ask(name, {"receiverId": "bob", "content": "one more"})
        assert (refused["code"], refused["retryAfter"]) == ("RATE_LIMIT_EXCEEDED", 0.6)
    by_rest = await running.call(
        "POST", "/api/conversations/bob/messages", by=bearer("ann", now=clock()), json={"content": "one more"}
    )
    assert (by_rest[0], by_rest[1]["retryAfter"]) == (429, 0.6)
    for name, payload in (("PING", None), ("typing", {"receiverId": "bob"})):
        assert (await ann.ask(name, payload))["success"] is True
    clock.advance(0.6)
    assert (await ann.ask("sendMessage", {"receiverId": "bob", "content": "one more"}))["success"] is True
    assert await running.parts.store.message_count() == 101
