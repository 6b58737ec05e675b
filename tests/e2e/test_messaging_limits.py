"""What may be written in the chat, how fast, and over how many connections."""

import base64

import pytest

from tests.e2e.chat import connect, connect_plain
from tests.e2e.members import Member
from tests.e2e.node import Clients
from tests.e2e.plain import PlainClients
from tests.e2e.process import Server, wait_until

LIMIT = 5
RATE = 100


@pytest.fixture
def ann() -> Member:
    return Member.of_messaging("Ann")


@pytest.fixture
def bo() -> Member:
    return Member.of_messaging("Bo")


CONTENTS = {
    "base64": base64.b64encode(bytes(range(256))).decode(),
    "emoji": "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 \U0001f9ff",
    "right to left": "שלום \u202eمرحبا\u202c \u200f!",
    "control characters": "a\x00b\x01\x1f\x7f\u2028\u2029\ufeff",
    "markup": '<script>alert("x")</script> & \\" \\u0000 %00',
    "spaces": "  kept \n\t ",
    "combined": "e\u0301 is not \u00e9",
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_content_comes_back_exactly(
    server: Server, clients: Clients, plain: PlainClients, ann: Member, bo: Member, kind: str
) -> None:
    content = CONTENTS[kind]
    mine, theirs = connect(server, clients, ann), (connect(server, clients, bo), connect_plain(server, plain, bo))
    answer = mine.ask("sendMessage", {"receiverId": bo.id, "content": content})
    assert answer["message"]["content"] == content
    for socket in theirs:
        assert socket.hears("MESSAGE_BROADCAST")["content"] == content
    assert mine.hears("message:sent")["content"] == content
    for member, other in ((ann, bo), (bo, ann)):
        page = member.call(server, "GET", f"/api/conversations/{other.id}/messages").body
        assert [row["content"] for row in page["messages"]] == [content]


def test_content_has_up_to_5000_characters(
    server: Server, clients: Clients, plain: PlainClients, ann: Member, bo: Member
) -> None:
    mine, theirs = connect(server, clients, ann), connect_plain(server, plain, bo)
    for letter in ("x", "ü", "👍"):
        answer = mine.ask("sendMessage", {"receiverId": bo.id, "content": letter * 5000})
        assert answer["success"] is True
        assert theirs.hears("MESSAGE_BROADCAST", messageId=answer["messageId"])["content"] == letter * 5000
    for content in ("x" * 5001, "", " \n\t ", 7, None):
        refused = mine.ask("sendMessage", {"receiverId": bo.id, "content": content})
        assert (refused["success"], refused["code"]) == (False, "INVALID_PAYLOAD"), content
    theirs.settle()
    assert len(theirs.heard("MESSAGE_BROADCAST")) == 3


def test_hundred_messages_are_allowed_at_once_and_the_next_must_wait(
    server: Server, clients: Clients, ann: Member, bo: Member
) -> None:
    mine, theirs = connect(server, clients, ann), connect(server, clients, bo)
    answers = mine.ask_all("sendMessage", *({"receiverId": bo.id, "content": f"number {n}"} for n in range(2 * RATE)))
    assert all(answer["success"] for answer in answers[:RATE])
    refused = [answer for answer in answers if not answer["success"]]
    assert refused
    for answer in refused:
        assert answer["code"] == "RATE_LIMIT_EXCEEDED"
        assert 0 < answer["retryAfter"] <= 60 / RATE
    for event in ("RATE_LIMIT_EXCEEDED", "error", "ERROR"):
        heard = mine.hears(event)
        assert heard["code"] == "RATE_LIMIT_EXCEEDED"
        assert heard["retryAfter"] > 0
    wait_until(
        lambda: mine.ask("sendMessage", {"receiverId": bo.id, "content": "Patience"})["success"],
        what="the end of the wait",
    )
    theirs.hears("MESSAGE_BROADCAST", content="Patience")
    assert mine.heard("$disconnect") == []
    accepted = [f"number {n}" for n, answer in enumerate(answers) if answer["success"]]
    assert [heard["content"] for heard in theirs.heard("MESSAGE_BROADCAST")] == [*accepted, "Patience"]


def test_rate_is_one_persons_over_all_their_connections(
    server: Server, clients: Clients, plain: PlainClients, ann: Member, bo: Member
) -> None:
    first, second = connect(server, clients, ann), connect_plain(server, plain, ann)
    other = connect(server, clients, bo)
    first.ask_all("sendMessage", *({"receiverId": bo.id, "content": f"number {n}"} for n in range(2 * RATE)))
    answers = [second.ask("sendMessage", {"receiverId": bo.id, "content": f"more {n}"}) for n in range(20)]
    assert "RATE_LIMIT_EXCEEDED" in [answer.get("code") for answer in answers]
    assert second.ask("PING")["success"], "keepalives cost nothing"
    assert other.ask("sendMessage", {"receiverId": ann.id, "content": "I may"})["success"]


def test_sixth_connection_is_refused(server: Server, clients: Clients, plain: PlainClients, ann: Member) -> None:
    for n in range(LIMIT):
        connect(server, clients, ann) if n % 2 else connect_plain(server, plain, ann)
    refused = clients.open(f"{server.url}/ws", query=ann.query, transports=["websocket"])
    assert refused.hears("$connect_error")["data"] == {"code": "CONNECTION_LIMIT"}
    assert plain.open(f"{server.url}/ws?{ann.address}").closed() == (1013, "CONNECTION_LIMIT")
    clients.open(f"{server.url}/dashboard", query=ann.query).connected()
