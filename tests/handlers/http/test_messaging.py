"""Chat over REST: the lists, the pages, sending and reading."""

from collections.abc import Sequence
from typing import Any

import pytest

from realtime.models import NewMessage
from tests.conftest import Starter
from tests.handlers.http.answers import GUEST, Answer, refused
from tests.support import FakeClock, Running, bearer

TO_BOB = "/api/conversations/bob/messages"


def by(id: str) -> dict[str, str]:
    return bearer(id, name=id.capitalize(), email=f"{id}@example.org", lifetime=86400.0)


async def say(running: Running, text: str, sender: str = "ann", receiver: str = "bob") -> str:
    """Send a message that repeats no other; return its id."""
    count = await running.parts.store.message_count()
    status, sent = await running.call(
        "POST",
        f"/api/conversations/{receiver}/messages",
        by=by(sender),
        json={"content": text, "clientMessageId": f"after {count}"},
    )
    assert status == 201, sent
    return str(sent["messageId"])


async def get(running: Running, path: str, who: str = "ann", **query: Any) -> Any:
    status, body = await running.call("GET", path, by=by(who), params=query)
    assert status == 200, body
    return body


def texts(body: Any) -> list[str]:
    return [row["content"] for row in body["messages"]]


# --- sending ---


async def test_sending_answers_what_the_senders_connections_hear(running: Running) -> None:
    ann, bob = await running.connect("ann", namespace="/ws"), await running.connect("bob", namespace="/ws")
    status, sent = await running.call("POST", TO_BOB, by=by("ann"), json={"content": " Hello ", "clientMessageId": 17})
    assert (status, sent["success"], sent["status"]) == (201, True, "delivered")
    assert sent["message"] == await ann.hears("message:sent")
    assert (sent["message"]["tempId"], sent["message"]["content"]) == ("17", " Hello ")
    assert (await bob.hears("message:new"))["id"] == sent["messageId"] == sent["dbMessageId"]


async def test_sending_to_somebody_away_leaves_a_notification(running: Running) -> None:
    id = await say(running, "A secret")
    [row] = (await get(running, "/api/notifications", "bob"))["notifications"]
    assert (row["type"], row["title"], row["priority"]) == ("MESSAGE", "New Message", "high")
    assert row["metadata"] == {"senderId": "ann", "messageId": id, "conversationId": "ann"}
    assert "secret" not in str(row)


async def test_a_repetition_is_answered_200_with_the_first_message(running: Running) -> None:
    message = {"content": "Hello", "clientMessageId": "once"}
    _, first = await running.call("POST", TO_BOB, by=by("ann"), json=message)
    status, again = await running.call("POST", TO_BOB, by=by("ann"), json=message)
    assert (status, again["duplicate"], again["status"]) == (200, True, "already_sent")
    assert again["messageId"] == first["messageId"]


async def test_an_idempotency_key_gives_the_first_answer_again(running: Running) -> None:
    headers = {**by("ann"), "Idempotency-Key": "k"}
    answers = [await running.call("POST", TO_BOB, by=headers, json={"content": "Hello"}) for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0][0] == 201
    assert await running.parts.store.message_count() == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"content": ""},
        {"content": " "},
        {"content": "x" * 5001},
        {"content": 7},
        {"content": None},
        {"content": "Hello", "clientMessageId": "x" * 129},
        {"content": "Hello", "clientMessageId": [1]},
        {"content": "Hello", "tempId": "unknown here"},
    ],
)
async def test_bad_bodies_are_refused(running: Running, body: Any) -> None:
    refused(await running.call("POST", TO_BOB, by=by("ann"), json=body), 400, "INVALID_PAYLOAD")
    assert await running.parts.store.message_count() == 0


async def test_nobody_writes_to_themselves(running: Running) -> None:
    path = "/api/conversations/ann/messages"
    refused(await running.call("POST", path, by=by("ann"), json={"content": "Hello"}), 400, "INVALID_PAYLOAD")


async def test_ids_with_any_characters_can_be_written_to(running: Running) -> None:
    path = "/api/conversations/b%2Fo%20b/messages"
    assert (await running.call("POST", path, by=by("ann"), json={"content": "Hello"}))[0] == 201
    assert (await get(running, "/api/conversations", "b/o b"))["conversations"][0]["id"] == "ann"


async def test_the_rate_is_that_of_sockets(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock})
    for number in range(100):
        await say(running, str(number))
    answer = await running.call("POST", TO_BOB, by=by("ann"), json={"content": "one more"})
    assert refused(answer, 429, "RATE_LIMIT_EXCEEDED")["retryAfter"] == 0.6
    ann = await running.connect("ann", namespace="/ws", now=clock())
    assert (await ann.ask("sendMessage", {"receiverId": "bob", "content": "x"}))["code"] == "RATE_LIMIT_EXCEEDED"
    assert (await running.call("POST", "/api/conversations/ann/messages", by=by("bob"), json={"content": "x"}))[
        0
    ] == 201


# --- who may ---

ROUTES: Sequence[tuple[str, str]] = [
    ("GET", "/api/conversations"),
    ("GET", TO_BOB),
    ("POST", TO_BOB),
    ("POST", "/api/conversations/bob/read"),
    ("GET", "/api/messages/search?q=x"),
    ("GET", "/api/messages/unread-count"),
    ("POST", "/api/messages/1/read"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_guests_and_strangers_have_no_chat(running: Running, method: str, path: str) -> None:
    refused(await running.call(method, path, by=GUEST), 403, "FORBIDDEN")
    refused(await running.call(method, path), 401, "AUTH_REQUIRED")


async def test_an_administrator_reads_nobody_elses_messages(running: Running) -> None:
    id = await say(running, "A secret")
    admin = bearer("root", "admin")
    for path in ("/api/conversations", TO_BOB, "/api/messages/search?q=secret"):
        _, body = await running.call("GET", path, by=admin)
        assert "secret" not in str(body)
    refused(await running.call("POST", f"/api/messages/{id}/read", by=admin), 404, "NOT_FOUND")


# --- lists ---


async def test_conversations_are_listed_with_who_and_what_is_unread(running: Running) -> None:
    await running.connect("ann", name="Ann", email="ann@example.org")
    await say(running, "1")
    last = await say(running, "2")
    await say(running, "from bob", "bob", "cy")
    body = await get(running, "/api/conversations", "bob")
    assert (body["total"], body["unreadCount"]) == (2, 2)
    assert [row["id"] for row in body["conversations"]] == ["cy", "ann"]
    with_cy, with_ann = body["conversations"]
    assert with_ann["user"] == {"id": "ann", "name": "Ann", "email": "ann@example.org", "online": True}
    assert (with_ann["userId"], with_ann["unreadCount"], with_ann["lastMessage"]["id"]) == ("ann", 2, last)
    assert with_ann["updatedAt"] == with_ann["lastMessage"]["createdAt"]
    assert with_cy["user"] == {"id": "cy", "name": "cy", "email": None, "online": False}
    assert with_cy["unreadCount"] == 0


async def test_conversations_come_in_pages(running: Running) -> None:
    for receiver in ("b", "c", "d"):
        await say(running, "Hello", receiver=receiver)
    body = await get(running, "/api/conversations", limit=2, page=2)
    assert [row["id"] for row in body["conversations"]] == ["b"]
    assert body["pagination"] == {
        "page": 2,
        "limit": 2,
        "total": 3,
        "totalPages": 2,
        "pages": 2,
        "hasNext": False,
        "hasPrev": True,
    }
    assert [row["id"] for row in (await get(running, "/api/conversations", offset=1))["conversations"]] == ["c", "b"]


async def test_a_conversation_is_read_backwards_page_by_page(running: Running) -> None:
    for text in ("1", "2", "3", "4", "5"):
        await say(running, text, *(("ann", "bob") if int(text) % 2 else ("bob", "ann")))
    pages, cursor = [], ""
    while True:
        body = await get(running, TO_BOB, limit=2, before=cursor)
        pages.append(texts(body))
        assert body["hasMore"] is (body["nextCursor"] is not None)
        if not body["hasMore"]:
            break
        cursor = body["nextCursor"]
    assert pages == [["5", "4"], ["3", "2"], ["1"]]


async def test_a_page_that_ends_with_the_last_message_has_no_next(running: Running) -> None:
    for text in ("1", "2"):
        await say(running, text)
    body = await get(running, TO_BOB, limit=2)
    assert (texts(body), body["nextCursor"], body["hasMore"]) == (["2", "1"], None, False)


async def test_pages_are_of_fifty_and_of_a_hundred_at_most(running: Running) -> None:
    store = running.parts.store
    for number in range(101):
        await store.add_message(NewMessage("ann", "bob", f"text {number}", client_id=str(number)), now=1.0)
    assert len(texts(await get(running, TO_BOB))) == 50
    for path, query in ((TO_BOB, {}), ("/api/messages/search", {"q": "text"})):
        body = await get(running, path, limit=1000, **query)
        assert (len(texts(body)), body["hasMore"], body["nextCursor"]) == (100, True, "2")
        assert len(texts(await get(running, path, limit=-1, **query))) == 1


async def test_a_row_says_how_far_a_message_has_come(running: Running) -> None:
    id = await say(running, "Hello")
    [row] = (await get(running, TO_BOB))["messages"]
    assert row == {
        "id": id,
        "messageId": id,
        "senderId": "ann",
        "receiverId": "bob",
        "content": "Hello",
        "status": "sent",
        "isRead": False,
        "readAt": None,
        "deliveredAt": None,
        "createdAt": row["createdAt"],
        "timestamp": row["createdAt"],
        "tempId": "after 0",
    }
    ann, bob = await running.connect("ann", namespace="/ws"), await running.connect("bob", namespace="/ws")
    delivered_at = (await ann.hears("message:delivered"))["deliveredAt"]
    [row] = (await get(running, TO_BOB))["messages"]
    assert (row["status"], row["isRead"], row["deliveredAt"]) == ("delivered", False, delivered_at)
    read_at = (await bob.ask("markAsRead", id))["readAt"]
    [row] = (await get(running, TO_BOB))["messages"]
    assert (row["status"], row["isRead"], row["deliveredAt"], row["readAt"]) == ("read", True, delivered_at, read_at)


@pytest.mark.parametrize("query", [{"before": "x"}, {"before": "-1"}, {"limit": "many"}])
@pytest.mark.parametrize("path", [TO_BOB, "/api/messages/search?q=x"])
async def test_bad_queries_are_refused(running: Running, path: str, query: dict[str, str]) -> None:
    answer = await running.call("GET", path, by=by("ann"), params=query)
    refused(answer, 400, "INVALID_PAYLOAD")


# --- searching ---


async def test_search_finds_ones_own_messages_newest_first(running: Running) -> None:
    for text, sender, receiver in (
        ("The 100% key", "ann", "bob"),
        ("No", "bob", "ann"),
        ("your KEY", "cy", "ann"),
        ("not your key", "cy", "bob"),
    ):
        await say(running, text, sender, receiver)
    assert texts(await get(running, "/api/messages/search", q="key")) == ["your KEY", "The 100% key"]
    assert texts(await get(running, "/api/messages/search", q="key", userId="bob")) == ["The 100% key"]
    assert texts(await get(running, "/api/messages/search", q="100%")) == ["The 100% key"]
    assert texts(await get(running, "/api/messages/search", q="%")) == ["The 100% key"]
    first = await get(running, "/api/messages/search", q="key", limit=1)
    assert (texts(first), first["hasMore"]) == (["your KEY"], True)
    rest = await get(running, "/api/messages/search", q="key", before=first["nextCursor"])
    assert (texts(rest), rest["hasMore"], rest["nextCursor"]) == (["The 100% key"], False, None)


@pytest.mark.parametrize("query", [{}, {"q": ""}, {"q": "x" * 201}])
async def test_a_search_has_one_to_two_hundred_characters(running: Running, query: dict[str, str]) -> None:
    answer: Answer = await running.call("GET", "/api/messages/search", by=by("ann"), params=query)
    refused(answer, 400, "INVALID_PAYLOAD")


# --- reading ---


@pytest.mark.parametrize("method", ["PATCH", "PUT", "POST"])
async def test_one_message_is_marked_read(running: Running, method: str) -> None:
    ann = await running.connect("ann", namespace="/ws")
    id = await say(running, "Hello")
    status, row = await running.call(method, f"/api/messages/{id}/read", by=by("bob"))
    assert (status, row["id"], row["status"], row["content"]) == (200, id, "read", "Hello")
    assert row["message"] == "Message marked as read"
    assert (await ann.hears("message:read"))["readAt"] == row["readAt"]
    assert (await running.call(method, f"/api/messages/{id}/read", by=by("bob"))) == (200, row)
    assert (await get(running, "/api/notifications/unread-count", "bob"))["count"] == 0


@pytest.mark.parametrize(("who", "id"), [("ann", "1"), ("cy", "1"), ("bob", "2"), ("bob", "x"), ("bob", "9" * 16)])
async def test_messages_of_others_are_not_found(running: Running, who: str, id: str) -> None:
    await say(running, "Hello")
    refused(await running.call("POST", f"/api/messages/{id}/read", by=by(who)), 404, "NOT_FOUND")


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
async def test_a_conversation_is_marked_read(running: Running, method: str) -> None:
    ann = await running.connect("ann", namespace="/ws")
    ids = [await say(running, text) for text in ("1", "2", "3")]
    path = "/api/conversations/ann/read"
    status, body = await running.call(method, path, by=by("bob"), json={"upTo": ids[1]})
    assert (status, body) == (200, {"message": "Messages marked as read", "count": 2, "updatedCount": 2})
    assert await get(running, "/api/messages/unread-count", "bob") == {"count": 1, "unreadCount": 1}
    assert (await get(running, "/api/notifications/unread-count", "bob"))["count"] == 1
    assert (await running.call(method, path, by=by("bob")))[1]["count"] == 1
    assert (await running.call(method, path, by=by("bob")))[1]["count"] == 0
    await ann.settle()
    assert [payload["messageId"] for payload in ann.payloads("message:read")] == ids


@pytest.mark.parametrize("body", [{"upTo": "x"}, {"upTo": -1}, {"upTo": True}, {"upTo": 1.5}, {"until": 1}])
async def test_bad_bodies_of_reading_are_refused(running: Running, body: Any) -> None:
    answer = await running.call("POST", "/api/conversations/ann/read", by=by("bob"), json=body)
    refused(answer, 400, "INVALID_PAYLOAD")


async def test_searches_count_against_the_rate_of_messages(starter: Starter, clock: FakeClock) -> None:
    running = await starter(app={"clock": clock}, rate_limit_per_minute=60)
    for _ in range(100):
        await get(running, "/api/messages/search", q="x")
    answer = await running.call("GET", "/api/messages/search", by=by("ann"), params={"q": "x"})
    assert refused(answer, 429, "RATE_LIMIT_EXCEEDED")["retryAfter"] == 1.0


async def test_a_long_conversation_is_read_as_a_whole(running: Running) -> None:
    for number in range(600):
        await running.parts.store.add_message(NewMessage("ann", "bob", "Hi", f"{number}"), now=1.0)
    status, read = await running.call("POST", "/api/conversations/ann/read", by=by("bob"))
    assert (status, read["count"]) == (200, 600)
    assert (await get(running, "/api/messages/unread-count", "bob"))["count"] == 0


@pytest.mark.parametrize("receiver", [" bob", "bob ", "bo\nb", "bo\0b"])
async def test_a_receiver_that_no_path_could_name_is_refused(running: Running, receiver: str) -> None:
    ann = await running.connect("ann", namespace="/ws")
    assert (await ann.ask("sendMessage", {"receiverId": receiver, "content": "Hi"}))["code"] == "INVALID_PAYLOAD"
