"""The chat of the dashboard frontend: the namespace ``/ws`` and its plain twin, in the names of three generations."""

import pytest

from tests.e2e.calls import call
from tests.e2e.chat import DELIVERED, NEW, READ, SENT, connect, connect_plain, once
from tests.e2e.members import Member, publish
from tests.e2e.node import Clients
from tests.e2e.plain import PlainClients
from tests.e2e.process import Server


@pytest.fixture
def ann() -> Member:
    return Member.of_messaging("Ann")


@pytest.fixture
def bo() -> Member:
    return Member.of_messaging("Bo")


def unread(server: Server, member: Member) -> int:
    return int(member.call(server, "GET", "/api/messages/unread-count").body["count"])


def test_connection_is_confirmed_in_both_families(
    server: Server, clients: Clients, plain: PlainClients, ann: Member
) -> None:
    for socket in (connect(server, clients, ann), connect_plain(server, plain, ann)):
        success = socket.hears("CONNECTION_SUCCESS")
        assert (success["userId"], success["userEmail"]) == (ann.id, "ann@nexus.example")
        assert type(success["connectedUsers"]) is int
        assert socket.hears("connected")["message"] == "Messaging connection established"
        socket.settle()
        once(socket, "CONNECTION_SUCCESS", "connected")


@pytest.mark.parametrize("event", ["sendMessage", "NEW_MESSAGE", "message:send"])
def test_message_is_heard_under_each_name_once(
    server: Server, clients: Clients, plain: PlainClients, ann: Member, bo: Member, event: str
) -> None:
    mine = connect(server, clients, ann), connect_plain(server, plain, ann)
    theirs = connect(server, clients, bo), connect_plain(server, plain, bo)
    stranger = connect(server, clients, Member.of_messaging())
    answer = mine[0].ask(event, {"receiverId": bo.id, "content": "Hello", "tempId": "temp-1"})
    assert (answer["success"], answer["status"]) == (True, "delivered")
    assert answer["messageId"] == answer["dbMessageId"] == answer["message"]["messageId"]
    for socket in (*mine, *theirs, stranger):
        socket.settle()
    for socket in theirs:
        for heard in once(socket, *NEW):
            assert heard["id"] == heard["messageId"] == answer["messageId"]
            assert type(heard["uniqueId"]) is str
            assert (heard["senderId"], heard["receiverId"], heard["content"]) == (ann.id, bo.id, "Hello")
            assert (heard["status"], heard["isRead"]) == ("delivered", False)
            assert heard["createdAt"] == heard["timestamp"] == answer["timestamp"]
            assert heard["sender"] == {"id": ann.id, "name": "Ann", "email": "ann@nexus.example"}
    for socket in mine:
        for heard in once(socket, *SENT):
            assert (heard["tempId"], heard["confirmation"], heard["status"]) == ("temp-1", True, "delivered")
            assert heard["dbMessageId"] == heard["messageId"] == answer["messageId"]
    for event in (*NEW, *SENT):
        assert stranger.heard(event) == []
    for event in NEW:
        assert all(socket.heard(event) == [] for socket in mine)


def test_message_without_acknowledgement_is_confirmed_by_an_event(
    server: Server, clients: Clients, ann: Member, bo: Member
) -> None:
    """As the documented service sends."""
    mine, theirs = connect(server, clients, ann), connect(server, clients, bo)
    mine.emit("sendMessage", {"receiverId": bo.id, "content": "Hello"})
    assert theirs.hears("MESSAGE_BROADCAST")["content"] == "Hello"
    assert mine.hears("message:sent")["tempId"] is None


@pytest.mark.parametrize("key", ["clientMessageId", "tempId", "uniqueId", "messageId"])
def test_repeated_message_is_sent_once(server: Server, clients: Clients, ann: Member, bo: Member, key: str) -> None:
    mine, theirs = connect(server, clients, ann), connect(server, clients, bo)
    first = mine.ask("sendMessage", {"receiverId": bo.id, "content": "Hello", key: "c-1"})
    again = mine.ask("sendMessage", {"receiverId": bo.id, "content": "Hello", key: "c-1"})
    assert again == {**again, "success": True, "duplicate": True, "status": "already_sent"}
    assert again["messageId"] == first["messageId"]
    other = mine.ask("sendMessage", {"receiverId": bo.id, "content": "Hello", key: "c-2"})
    assert other["messageId"] != first["messageId"]
    theirs.settle()
    assert [heard["uniqueId"] for heard in theirs.heard("MESSAGE_BROADCAST")] == ["c-1", "c-2"]


def test_double_click_without_an_id_is_one_message(server: Server, clients: Clients, ann: Member, bo: Member) -> None:
    mine, theirs = connect(server, clients, ann), connect(server, clients, bo)
    first, second = mine.ask_all("sendMessage", *[{"receiverId": bo.id, "content": "Hello"}] * 2)
    assert (first.get("duplicate"), second["duplicate"]) == (None, True)
    assert first["messageId"] == second["messageId"]
    theirs.settle()
    once(theirs, *NEW)


def test_typing_is_shown_to_the_receiver_alone(
    server: Server, clients: Clients, plain: PlainClients, ann: Member, bo: Member
) -> None:
    mine = connect(server, clients, ann)
    theirs = connect(server, clients, bo), connect_plain(server, plain, bo)
    stranger = connect(server, clients, Member.of_messaging())
    mine.emit("typing", {"receiverId": bo.id, "isTyping": True})
    for socket in theirs:
        for event in ("TYPING_INDICATOR", "typing:start", "USER_TYPING"):
            heard = socket.hears(event)
            assert set(heard) == {"userId", "senderId", "receiverId", "isTyping", "timestamp"}
            assert (heard["userId"], heard["senderId"], heard["receiverId"]) == (ann.id, ann.id, bo.id)
            assert heard["isTyping"] is True
    mine.emit("typing", {"receiverId": bo.id, "isTyping": False})
    for socket in theirs:
        for event in ("TYPING_INDICATOR", "typing:stop", "USER_TYPING"):
            assert socket.hears(event, isTyping=False)
    for event in ("typing:start", "TYPING_START"):
        assert mine.ask(event, {"receiverId": bo.id})["success"]
    for event in ("typing:stop", "TYPING_STOP"):
        assert mine.ask(event, {"receiverId": bo.id})["success"]
    for socket in (mine, stranger):
        socket.settle()
        assert socket.heard("TYPING_INDICATOR") == []


def test_sending_ends_the_typing(server: Server, clients: Clients, ann: Member, bo: Member) -> None:
    mine, theirs = connect(server, clients, ann), connect(server, clients, bo)
    mine.emit("typing", {"receiverId": bo.id, "isTyping": True})
    theirs.hears("TYPING_INDICATOR", isTyping=True)
    mine.ask("sendMessage", {"receiverId": bo.id, "content": "Hello"})
    theirs.hears("TYPING_INDICATOR", isTyping=False)


@pytest.mark.parametrize("event", ["markAsRead", "MESSAGE_READ", "message:read"])
def test_reading_is_told_to_the_sender_in_every_family(
    server: Server, clients: Clients, plain: PlainClients, ann: Member, bo: Member, event: str
) -> None:
    mine = connect(server, clients, ann), connect_plain(server, plain, ann)
    theirs = connect(server, clients, bo)
    sent = mine[0].ask("sendMessage", {"receiverId": bo.id, "content": "Hello"})
    assert unread(server, bo) == 1
    answer = theirs.ask(event, {"messageId": sent["messageId"], "senderId": ann.id})
    assert answer["success"] is True
    assert theirs.ask(event, sent["messageId"])["readAt"] == answer["readAt"], "reading again changes nothing"
    for socket in mine:
        socket.settle()
        for heard in once(socket, *READ):
            assert set(heard) == {"messageId", "userId", "readBy", "readAt", "timestamp"}
            assert (heard["messageId"], heard["readBy"], heard["readAt"]) == (
                sent["messageId"],
                bo.id,
                answer["readAt"],
            )
    assert unread(server, bo) == 0
    refused = mine[0].ask(event, {"messageId": sent["messageId"]})
    assert (refused["success"], refused["code"]) == (False, "NOT_FOUND"), "one's own message is not one's to read"


def test_message_to_somebody_who_is_away_waits_and_is_announced(
    server: Server, clients: Clients, plain: PlainClients, ann: Member, bo: Member
) -> None:
    mine = connect(server, clients, ann), connect_plain(server, plain, ann)
    desk = clients.open(f"{server.url}/dashboard", query=bo.query, transports=["websocket"]).connected()
    sent = [mine[0].ask("sendMessage", {"receiverId": bo.id, "content": f"number {n}"}) for n in range(3)]
    assert [answer["status"] for answer in sent] == ["sent"] * 3
    notice = desk.hears("notification")
    assert (notice["type"], notice["title"], notice["body"]) == ("MESSAGE", "New Message", "Ann sent you a message")
    assert (notice["priority"], notice["data"]["senderId"]) == ("high", ann.id)
    (talk,) = bo.call(server, "GET", "/api/conversations").body["conversations"]
    assert (talk["userId"], talk["unreadCount"], talk["lastMessage"]["content"]) == (ann.id, 3, "number 2")
    inbox = bo.call(server, "GET", "/api/notifications?type=MESSAGE").body
    assert inbox["total"] == inbox["unreadCount"] == 3
    assert "number" not in str(inbox), "a notification never says what was written"

    ids = [answer["messageId"] for answer in sent]
    theirs = connect(server, clients, bo)
    for socket in mine:
        for event in DELIVERED:
            for id in ids:
                receipt = socket.hears(event, messageId=id)
                assert (receipt["userId"], receipt["status"]) == (bo.id, "delivered")
    theirs.settle()
    for event in NEW:
        assert [heard["messageId"] for heard in theirs.heard(event)] == ids, "oldest first"
    second = connect_plain(server, plain, bo)
    mine[0].ask("sendMessage", {"receiverId": bo.id, "content": "number 3"})
    second.hears("MESSAGE_BROADCAST", content="number 3")
    assert len(second.heard("MESSAGE_BROADCAST")) == 1, "they were delivered"
    assert bo.call(server, "GET", "/api/notifications?type=MESSAGE").body["total"] == 3, "somebody is there now"

    assert bo.call(server, "POST", f"/api/conversations/{ann.id}/read").body["count"] == 4
    for socket in mine:
        for event in READ:
            socket.hears(event, count=4)
    assert bo.call(server, "GET", "/api/notifications").body["unreadCount"] == 0, "reading reads the notification"
    assert unread(server, bo) == 0


def test_others_hear_in_both_families_who_is_online(
    server: Server, clients: Clients, plain: PlainClients, ann: Member, bo: Member
) -> None:
    witnesses = connect(server, clients, ann), connect_plain(server, plain, ann)
    theirs = connect(server, clients, bo)
    for status in ("online", "offline"):
        loud = status.upper()
        for witness in witnesses:
            assert witness.hears(f"presence:{status}", userId=bo.id)["status"] == status
            assert set(witness.hears(f"USER_{loud}", userId=bo.id)) == {"userId", "timestamp"}
            assert witness.hears("USER_STATUS_CHANGE", userId=bo.id, status=loud)
            assert witness.hears("USER_PRESENCE_UPDATE", userId=bo.id, status=status)["lastSeen"].endswith("Z")
        if status == "online":
            listed = witnesses[0].ask("GET_ONLINE_USERS")
            assert {ann.id, bo.id} <= set(listed["users"])
            assert witnesses[0].hears("ONLINE_USERS")["users"] == listed["users"]
            assert listed["count"] == len(listed["users"])
            theirs.disconnect()
    for witness in witnesses:
        witness.settle()
        for event in ("presence:online", "presence:offline", "USER_ONLINE", "USER_OFFLINE"):
            assert len([heard for heard in witness.heard(event) if heard["userId"] == bo.id]) == 1
        assert [heard for heard in witness.heard("USER_ONLINE") if heard["userId"] == ann.id] == []


def test_ping_is_answered_with_the_time(server: Server, clients: Clients, plain: PlainClients, ann: Member) -> None:
    for socket in (connect(server, clients, ann), connect_plain(server, plain, ann)):
        assert socket.ask("PING")["timestamp"] == socket.hears("PONG")["timestamp"]


def test_two_namespaces_share_one_connection(server: Server, clients: Clients, ann: Member, bo: Member) -> None:
    """As two calls of `io` with the same origin do: the second one's query goes nowhere."""
    shared = {"forceNew": False, "query": ann.query, "transports": ["websocket"]}
    desk = clients.open(f"{server.url}/dashboard", **shared).connected()
    chat = clients.open(f"{server.url}/ws", **shared).connected()
    assert desk.state()["connection"] == chat.state()["connection"]
    connect(server, clients, bo).ask("sendMessage", {"receiverId": ann.id, "content": "Hello"})
    assert chat.hears("MESSAGE_BROADCAST")["content"] == "Hello"
    chat.disconnect()
    publish(server, "after_the_chat")
    desk.hears("after_the_chat")
    assert desk.heard("MESSAGE_BROADCAST") == chat.heard("after_the_chat") == []


def test_chat_over_rest_reaches_sockets(server: Server, clients: Clients, ann: Member, bo: Member) -> None:
    theirs = connect(server, clients, bo)
    answer = ann.call(server, "POST", f"/api/conversations/{bo.id}/messages", {"content": "By letter"})
    assert (answer.status, answer.body["status"]) == (201, "delivered")
    assert theirs.hears("NEW_MESSAGE")["messageId"] == answer.body["messageId"]
    assert call("GET", f"{server.url}/api/conversations").status == 401
